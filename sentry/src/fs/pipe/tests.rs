use super::*;
use crate::sync::Notify;
use crate::usermem::{GuestMemory, IoVecs, KernelSink, KernelSource};
use crate::vfs::caller::KernelCaller;
use crate::vfs::{File, InodeMeta, OpenFlags};
use std::sync::atomic::{AtomicUsize, Ordering};

fn pair(flags: OpenFlags) -> (Arc<File>, Arc<File>) {
    create(&KernelCaller, flags).unwrap()
}
fn read(f: &File, n: usize) -> Result<Vec<u8>> {
    let mut s = KernelSink::new(n);
    let got = f.ops().read(f, &KernelCaller, &mut s, &mut 0)?;
    assert_eq!(got, s.data.len());
    Ok(s.data)
}
fn write(f: &File, data: &[u8]) -> Result<usize> {
    f.ops().write(
        f,
        &KernelCaller,
        &mut KernelSource::new(data),
        &mut 0,
        false,
    )
}

#[test]
fn holds_64k_and_says_when() {
    let (r, w) = pair(OpenFlags::empty());
    assert_eq!(read(&r, 10), Err(Errno::EAGAIN));
    assert_eq!(w.poll(), Events::WRITABLE);
    assert_eq!(write(&w, &[7; 70000]), Ok(65536));
    assert_eq!(write(&w, &[7]), Err(Errno::EAGAIN));
    assert_eq!((r.poll(), w.poll()), (Events::READABLE, Events::empty()));
    // A page must be free before the pipe is writable again.
    assert_eq!(read(&r, 4095).unwrap().len(), 4095);
    assert_eq!(w.poll(), Events::empty());
    assert_eq!(read(&r, 1).unwrap().len(), 1);
    assert_eq!(w.poll(), Events::WRITABLE);
    assert_eq!(write(&w, &[1; 4096]), Ok(4096));
    assert_eq!(read(&r, 100_000).unwrap().len(), 65536);
}

#[test]
fn writes_of_a_page_or_less_are_atomic() {
    let (r, w) = pair(OpenFlags::empty());
    assert_eq!(write(&w, &[0; 65536 - 100]), Ok(65436));
    assert_eq!(write(&w, &[1; 101]), Err(Errno::EAGAIN));
    assert_eq!(write(&w, &[1; 100]), Ok(100));
    assert_eq!(read(&r, 65436).unwrap().len(), 65436);
    assert_eq!(read(&r, 200).unwrap(), [1; 100]);
}

#[test]
fn small_writes_share_pages() {
    let (r, w) = pair(OpenFlags::empty());
    for i in 0..65536u32 {
        assert_eq!(write(&w, &[i as u8]), Ok(1));
    }
    assert_eq!(write(&w, &[0]), Err(Errno::EAGAIN));
    let all = read(&r, 65536).unwrap();
    assert!(all.iter().enumerate().all(|(i, b)| *b == i as u8));
}

#[test]
fn end_of_file_and_broken_pipe() {
    let (r, w) = pair(OpenFlags::empty());
    write(&w, b"abc").unwrap();
    drop(w);
    assert_eq!(r.poll(), Events::READABLE | Events::HUP);
    assert_eq!(read(&r, 2).unwrap(), b"ab");
    assert_eq!(read(&r, 2).unwrap(), b"c");
    assert_eq!(read(&r, 2).unwrap(), b"");
    assert_eq!(r.poll(), Events::HUP);

    let (r, w) = pair(OpenFlags::empty());
    drop(r);
    assert_eq!(w.poll(), Events::WRITABLE | Events::ERR);
    assert_eq!(write(&w, b"x"), Err(Errno::EPIPE));
    assert_eq!(write(&w, b""), Ok(0));
}

#[test]
fn packets_are_read_one_at_a_time() {
    let (r, w) = pair(OpenFlags::DIRECT);
    write(&w, b"hello").unwrap();
    write(&w, b"world").unwrap();
    write(&w, &[9; 5000]).unwrap();
    assert_eq!(read(&r, 3).unwrap(), b"hel");
    assert_eq!(read(&r, 100).unwrap(), b"world");
    assert_eq!(read(&r, 9000).unwrap().len(), 4096);
    assert_eq!(read(&r, 9000).unwrap().len(), 904);
}

#[test]
fn capacity_changes() {
    let (r, w) = pair(OpenFlags::empty());
    let p = pipe_of(&w).unwrap();
    assert_eq!(p.capacity(), 65536);
    assert_eq!(p.set_capacity(&KernelCaller, 5000), Ok(8192));
    assert_eq!(write(&w, &[0; 9000]), Ok(8192));
    assert_eq!(p.set_capacity(&KernelCaller, 100), Err(Errno::EBUSY));
    assert_eq!(p.set_capacity(&KernelCaller, 1 << 20), Ok(1 << 20));
    assert_eq!(write(&w, &[0; 4096]), Ok(4096));
    assert_eq!(p.set_capacity(&KernelCaller, u32::MAX), Err(Errno::EINVAL));
    assert_eq!(pipe_of(&r).unwrap().len(), 12288);
}

/// Memory whose first `0.len()` bytes are mapped.
struct Mem(parking_lot::Mutex<Vec<u8>>);
impl GuestMemory for Mem {
    fn read_partial(&self, addr: u64, buf: &mut [u8]) -> usize {
        let m = self.0.lock();
        let from = m.get(addr as usize..).unwrap_or(&[]);
        let n = from.len().min(buf.len());
        buf[..n].copy_from_slice(&from[..n]);
        n
    }
    fn write_partial(&self, addr: u64, buf: &[u8]) -> usize {
        let mut m = self.0.lock();
        let to = m.get_mut(addr as usize..).unwrap_or(&mut []);
        let n = to.len().min(buf.len());
        to[..n].copy_from_slice(&buf[..n]);
        n
    }
}

#[test]
fn nothing_is_lost_in_a_fault() {
    let (r, w) = pair(OpenFlags::empty());
    let mem = Mem(parking_lot::Mutex::new(vec![5; 100]));
    // As Linux: a page of the pipe that cannot be filled is not written at all.
    let mut src = IoVecs::single(&mem, 50, 100);
    let n = w.ops().write(&w, &KernelCaller, &mut src, &mut 0, false);
    assert_eq!(n, Err(Errno::EFAULT));
    let mut src = IoVecs::single(&mem, 50, 50);
    let n = w.ops().write(&w, &KernelCaller, &mut src, &mut 0, false);
    assert_eq!(n, Ok(50));
    let mut dst = IoVecs::single(&mem, 90, 100);
    assert_eq!(r.ops().read(&r, &KernelCaller, &mut dst, &mut 0), Ok(10));
    let mut dst = IoVecs::single(&mem, 200, 100);
    assert_eq!(
        r.ops().read(&r, &KernelCaller, &mut dst, &mut 0),
        Err(Errno::EFAULT)
    );
    assert_eq!(read(&r, 100).unwrap(), [5; 40]);
}

#[test]
fn fifo_ends_wait_for_each_other() {
    let meta = InodeMeta::default();
    let inode: crate::vfs::InodeRef =
        crate::fs::anon::AnonInode::new(&KernelCaller, crate::fs::anon::AnonKind::Pipe);
    let open = |flags: OpenFlags| {
        open_fifo(&meta, flags).map(|ops| File::new(ops, inode.clone(), None, flags))
    };
    let rd = OpenFlags::empty();
    assert_eq!(
        open(OpenFlags::WRONLY | OpenFlags::NONBLOCK).err(),
        Some(Errno::ENXIO)
    );
    let r = open(rd).unwrap();
    assert_eq!(r.ops().open_ready(&r), Err(Errno::EAGAIN));
    let w = open(OpenFlags::WRONLY).unwrap();
    assert_eq!(w.ops().open_ready(&w), Ok(()));
    // The reader's open completes even if the writer has gone again.
    write(&w, b"x").unwrap();
    drop(w);
    assert_eq!(r.ops().open_ready(&r), Ok(()));
    assert_eq!(read(&r, 5).unwrap(), b"x");
    assert_eq!(r.poll(), Events::HUP);
    // A non-blocking reader sees no hang-up before the first writer.
    let quiet = open(OpenFlags::NONBLOCK).unwrap();
    assert_eq!(quiet.ops().open_ready(&quiet), Ok(()));
    assert_eq!(quiet.poll(), Events::empty());
    assert_eq!(read(&quiet, 1).unwrap(), b"");
    let both = open(OpenFlags::RDWR).unwrap();
    assert_eq!(both.ops().open_ready(&both), Ok(()));
    drop((both, r));
    assert_eq!(quiet.poll(), Events::HUP);
    drop(quiet);
    // Data dies with the last end.
    let w = open(OpenFlags::RDWR).unwrap();
    write(&w, b"y").unwrap();
    drop(w);
    let w = open(OpenFlags::RDWR).unwrap();
    assert_eq!(read(&w, 1), Err(Errno::EAGAIN));
}

#[test]
fn wakes_the_other_side() {
    struct Count(AtomicUsize);
    impl Notify for Count {
        fn notify(&self, _: Events) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (r, w) = pair(OpenFlags::empty());
    let (rn, wn) = (
        Arc::new(Count(AtomicUsize::new(0))),
        Arc::new(Count(AtomicUsize::new(0))),
    );
    let q = r.ops().wait_queue().unwrap();
    q.register(rn.clone(), Events::IN);
    q.register(wn.clone(), Events::OUT);
    write(&w, b"1").unwrap();
    write(&w, b"2").unwrap();
    assert_eq!(rn.0.load(Ordering::Relaxed), 2);
    read(&r, 1).unwrap();
    assert_eq!(wn.0.load(Ordering::Relaxed), 0, "it was not full");
    write(&w, &[0; 65535]).unwrap();
    read(&r, 1).unwrap();
    assert_eq!(wn.0.load(Ordering::Relaxed), 1);
    let before = wn.0.load(Ordering::Relaxed);
    drop(r);
    assert_eq!(wn.0.load(Ordering::Relaxed), before + 1);
}
