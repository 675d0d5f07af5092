use super::*;
use crate::sync::Notify;
use crate::usermem::{KernelSink, KernelSource};
use crate::vfs::caller::KernelCaller;
use std::io::{Read, Seek, Write};
use std::sync::mpsc;

fn read(f: &File, n: usize) -> Result<Vec<u8>> {
    let mut sink = KernelSink::new(n);
    f.with_position(|p| f.ops().read(f, &KernelCaller, &mut sink, p))?;
    Ok(sink.data)
}

fn write(f: &File, data: &[u8]) -> Result<usize> {
    let append = f.flags().contains(OpenFlags::APPEND);
    f.with_position(|p| {
        f.ops()
            .write(f, &KernelCaller, &mut KernelSource::new(data), p, append)
    })
}

fn temporary() -> std::fs::File {
    let dir = std::env::temp_dir();
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(dir)
        .unwrap()
}

struct Tell(mpsc::Sender<Events>);
impl Notify for Tell {
    fn notify(&self, e: Events) {
        let _ = self.0.send(e);
    }
}

#[test]
fn a_regular_file_shares_its_offset_with_the_host() {
    let poller = HostPoller::start().unwrap();
    let mut host = temporary();
    host.write_all(b"one two three").unwrap();
    host.rewind().unwrap();
    let f = HostFile::open(host.try_clone().unwrap().into(), &poller).unwrap();
    assert_eq!(read(&f, 4).unwrap(), b"one ");
    let mut rest = [0; 4];
    host.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"two ");
    assert_eq!(f.seek(0, Whence::Current).unwrap(), 8);
    assert_eq!(write(&f, b"THREE").unwrap(), 5);
    assert_eq!(host.stream_position().unwrap(), 13);
    // pread leaves the offset alone.
    let mut sink = KernelSink::new(3);
    f.ops().read(&f, &KernelCaller, &mut sink, &mut 8).unwrap();
    assert_eq!(sink.data, b"THR");
    assert_eq!(host.stream_position().unwrap(), 13);
    assert!(f.ops().wait_queue().is_none());
}

#[test]
fn append_goes_to_the_end_without_changing_the_description() {
    let poller = HostPoller::start().unwrap();
    let mut host = temporary();
    host.write_all(b"abc").unwrap();
    host.rewind().unwrap();
    let f = HostFile::open(host.try_clone().unwrap().into(), &poller).unwrap();
    f.set_flags(OpenFlags::APPEND);
    assert_eq!(write(&f, b"def").unwrap(), 3);
    assert_eq!(host.stream_position().unwrap(), 6);
    let raw = nix::fcntl::fcntl(&host, FcntlArg::F_GETFL).unwrap();
    assert_eq!(raw & libc::O_APPEND, 0);
    host.rewind().unwrap();
    let mut all = String::new();
    host.read_to_string(&mut all).unwrap();
    assert_eq!(all, "abcdef");
}

#[test]
fn an_empty_pipe_is_eagain_and_wakes_once_written() {
    let poller = HostPoller::start().unwrap();
    let (r, mut w) = io::pipe().unwrap();
    let shared = r.try_clone().unwrap();
    let f = HostFile::open(r.into(), &poller).unwrap();
    assert_eq!(read(&f, 10), Err(Errno::EAGAIN));
    let raw = nix::fcntl::fcntl(&shared, FcntlArg::F_GETFL).unwrap();
    assert_eq!(raw & libc::O_NONBLOCK, 0, "the shared description changed");
    let (tx, rx) = mpsc::channel();
    let queue = f.ops().wait_queue().unwrap();
    let key = queue.register(Arc::new(Tell(tx)), Events::IN);
    assert!(!f.poll().contains(Events::IN));
    w.write_all(b"x").unwrap();
    let e = rx.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    assert!(e.contains(Events::IN));
    assert_eq!(read(&f, 10).unwrap(), b"x");
    queue.unregister(key);
    drop(w);
    assert_eq!(read(&f, 10).unwrap(), b"");
}

#[test]
fn a_full_pipe_is_eagain_and_a_closed_one_epipe() {
    let poller = HostPoller::start().unwrap();
    let (r, w) = io::pipe().unwrap();
    let f = HostFile::open(w.into(), &poller).unwrap();
    let n = write(&f, &[0; 1 << 20]).unwrap();
    assert_eq!(n, 65536);
    assert_eq!(write(&f, b"more"), Err(Errno::EAGAIN));
    drop(r);
    assert_eq!(write(&f, b"more"), Err(Errno::EPIPE));
}

#[test]
fn sockets_are_read_without_waiting() {
    let poller = HostPoller::start().unwrap();
    let (a, mut b) = std::os::unix::net::UnixStream::pair().unwrap();
    let f = HostFile::open(a.into(), &poller).unwrap();
    assert_eq!(read(&f, 4), Err(Errno::EAGAIN));
    b.write_all(b"hello").unwrap();
    assert_eq!(read(&f, 4).unwrap(), b"hell");
    assert_eq!(write(&f, b"ok").unwrap(), 2);
    let mut got = [0; 2];
    b.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ok");
}

#[test]
fn directories_are_refused_and_devices_are_always_ready() {
    let poller = HostPoller::start().unwrap();
    let dir = std::fs::File::open("/").unwrap();
    let e = HostFile::open(dir.into(), &poller).err().unwrap();
    assert_eq!(e.raw_os_error(), Some(libc::EISDIR));
    let null = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .unwrap();
    let f = HostFile::open(null.into(), &poller).unwrap();
    assert_eq!(write(&f, b"gone").unwrap(), 4);
    assert!(f.ops().wait_queue().is_none());
}
