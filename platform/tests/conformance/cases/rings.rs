//! Pipes whose bytes stubs move by themselves (`Ring`, `Descriptor::ring`).
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use cofferdam_platform::{
    Descriptor, GUEST_END, Known, MemOp, Platform, RING_BYTES_LEN, RING_READER_LEN, RING_SIZE,
    Registers, Ring, Taken, Token, Trap, WINDOWS,
};

use super::attacks::region;
use super::descriptors::{FD, OTHER, asking, call};
use crate::code;
use crate::guest::*;

/// A descriptor of the same file that can only read.
fn read_only(fd: &OwnedFd) -> File {
    File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
}

fn show(g: &Guest, index: usize, len: u64, file: Option<BorrowedFd<'_>>, writable: bool) {
    g.thread
        .execute(&[MemOp::Window {
            index,
            len,
            file,
            writable,
        }])
        .unwrap();
}

/// Both ends of a pipe in windows of the guest's process: the write end is [`FD`], the other one the next.
fn ends(g: &Guest, ring: &Ring) {
    let (bytes, reader) = (read_only(ring.bytes_fd()), read_only(ring.reader_fd()));
    show(g, 20, RING_BYTES_LEN, Some(ring.bytes_fd().as_fd()), true);
    show(g, 21, RING_READER_LEN, Some(reader.as_fd()), false);
    show(g, 30, RING_BYTES_LEN, Some(bytes.as_fd()), false);
    show(g, 31, RING_READER_LEN, Some(ring.reader_fd().as_fd()), true);
    for (fd, known, window) in [(FD, Known::WRITE_RING, 20), (FD + 1, Known::READ_RING, 30)] {
        assert!(g.thread.describe(&Descriptor {
            fd,
            known,
            position: None,
            stat: None,
            pages: None,
            ring: Some(window),
        }));
    }
}

/// A pipe whose bytes are shared: what can be moved is, the rest is seen; what was written and not read is there when the ring is taken.
pub fn rings_move_bytes(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = asking(&*p);
    let (write_end, read_end) = (u64::from(FD), u64::from(FD) + 1);
    let ask = |number: i64, fd: u64, at: u64, len: u64| {
        let (trap, at) = g.run(&*p, &call(gate, number, [fd, at, len, 0]));
        assert_eq!(trap, Trap::Syscall);
        (at.syscall_number() == OTHER).then_some(at.r12.cast_signed())
    };
    let write = |at, len| ask(libc::SYS_write, write_end, at, len);
    let read = |at, len| ask(libc::SYS_read, read_end, at, len);
    let ring = Ring::new().unwrap();
    ends(&g, &ring);
    assert_eq!(write(DATA, 1), None, "not given yet");
    assert_eq!(read(DATA, 1), None);
    ring.give();
    assert_eq!(read(DATA, 1), None, "nothing to read");
    assert_eq!(write(DATA, 0), None);
    assert_eq!(
        ask(libc::SYS_read, write_end, DATA, 1),
        None,
        "the other end"
    );
    assert_eq!(ask(libc::SYS_write, read_end, DATA, 1), None);

    // Lengths that come round to each place of the ring.
    let data: Vec<u8> = (0..PAGE).map(|i| (i % 251) as u8).collect();
    let mut sent = 0;
    for len in (1..300).chain([1000, 2500, 4095, 4096]) {
        g.space.write(DATA, &data[..len]);
        assert_eq!(write(DATA, len as u64), Some(len as i64));
        g.space.write(DATA, &vec![0; len]);
        assert_eq!(read(DATA, PAGE), Some(len as i64));
        let mut got = vec![0; len];
        g.space.read(DATA, &mut got);
        assert!(got == data[..len], "{len} after {sent}");
        sent += len;
    }
    // In parts, and when it is full.
    g.space.write(DATA, &data);
    for _ in 0..RING_SIZE as u64 / PAGE - 1 {
        assert_eq!(write(DATA, PAGE), Some(PAGE as i64));
    }
    assert_eq!(write(DATA, 3000), Some(3000));
    assert_eq!(write(DATA, 1097), None, "too much");
    assert_eq!(write(DATA + 3000, 1096), Some(1096));
    assert_eq!(write(DATA, 1), None, "full");
    assert_eq!(read(DATA + PAGE, 1000), Some(1000));
    let bad = 0x6000_0000;
    assert_eq!(read(bad, 1), None, "a fault is the sentry's");
    assert_eq!(write(bad, 1), None);
    assert_eq!(read(DATA + 2 * PAGE - 8, 64), None);
    for (at, len) in [(GUEST_END, 1), (u64::MAX - 4, 8), (DATA, 1 << 40)] {
        assert_eq!(read(at, len), None);
        assert_eq!(write(at, len), None);
    }
    let taken = ring.take();
    assert!(taken.bytes == data.repeat(RING_SIZE / data.len())[1000..]);
    assert_ne!(taken.read, 0);
    assert_eq!(write(DATA, 1), None, "taken");
    assert_eq!(read(DATA, 1), None);
    ring.give();
    assert_eq!(write(DATA, 5), Some(5), "given again");
    ring.stop();
    assert_eq!(write(DATA, 5), None);
    assert_eq!(ring.take().bytes, data[..5]);

    // The read end's process cannot write the bytes, nor the other one the reader's word; emptied windows are faults.
    ring.give();
    for (window, known, number, fd) in [
        (30, Known::WRITE_RING, libc::SYS_write, write_end),
        (20, Known::READ_RING, libc::SYS_read, read_end),
    ] {
        ask(libc::SYS_write, write_end, DATA, 9);
        assert!(g.thread.describe(&Descriptor {
            fd: fd as u32,
            known,
            position: None,
            stat: None,
            pages: None,
            ring: Some(window),
        }));
        assert_eq!(ask(number, fd, DATA, 1), None, "{window}");
        ends(&g, &ring);
    }
    assert_eq!(read(DATA, PAGE), Some(18));
    show(&g, 20, RING_BYTES_LEN, None, false);
    assert_eq!(write(DATA, 1), None);
    let none = g.thread.execute(&[MemOp::Window {
        index: WINDOWS,
        len: PAGE,
        file: None,
        writable: false,
    }]);
    assert!(none.is_err());

    // A child has none of it.
    let (space, child) = g.thread.fork(Token(7)).unwrap();
    let mut byte = [0];
    let (base, _) = region(&*p).unwrap();
    assert_eq!(space.read(base + (16 << 20) + (30 << 20), &mut byte), 0);
    drop(child);
}

/// Two processes send a byte to and fro by two rings while the sentry takes and gives them: each byte arrives once.
pub fn rings_change_hands(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    // Writes the count and reads until it has a byte, for ever; what is not answered is tried again.
    let g = load(
        &*p,
        1,
        code!(
            "13:",
            "mov eax, 1",
            "mov edi, 37",
            "mov edx, 1",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "cmp rax, 1",
            "jne 13b",
            "14:",
            "xor eax, eax",
            "mov edi, 38",
            "mov edx, 1",
            "lea r11, [rip + 6f]",
            "jmp r14",
            "syscall",
            "6:",
            "cmp rax, 1",
            "jne 14b",
            "movzx eax, byte ptr [rsi]",
            "cmp al, r13b",
            "jne 19f",
            "inc r13",
            "mov [rsi], r13b",
            "jmp 13b",
            "19:",
            "ud2"
        ),
    );
    let ring = Ring::new().unwrap();
    ends(&g, &ring);
    ring.give();
    g.space.write(DATA, &[0]);
    let mut at = Registers {
        rsi: DATA,
        r13: 0,
        r14: gate,
        rip: CODE,
        ..start()
    };
    let (over, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let kept = std::sync::Mutex::new(Vec::new());
    let mut seen = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20_000u64 {
                // As the sentry: what was there is first in the queue, and the ring is given when that is empty.
                let mut queue = kept.lock().unwrap();
                let Taken { bytes, .. } = ring.take();
                assert!(bytes.len() <= RING_SIZE);
                queue.extend(bytes);
                if queue.is_empty() {
                    ring.give();
                }
                drop(queue);
                std::thread::yield_now();
            }
            over.store(true, SeqCst);
            while !done.load(SeqCst) {
                g.thread.interrupt();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        loop {
            let (trap, regs) = g.run(&*p, &at);
            at = regs;
            match trap {
                Trap::Syscall => {
                    seen += 1;
                    let mut queue = kept.lock().unwrap();
                    at.rip = regs.rip;
                    at.rax = u64::MAX;
                    // A call that the stub left is made for it, if the ring is not in use.
                    let mut byte = [0];
                    if regs.syscall_number() == libc::SYS_read.cast_unsigned() && !queue.is_empty()
                    {
                        byte[0] = queue.remove(0);
                        g.space.write(DATA, &byte);
                        at.rax = 1;
                        if queue.is_empty() {
                            ring.give();
                        }
                    }
                }
                _ if over.load(SeqCst) => {
                    done.store(true, SeqCst);
                    break;
                }
                trap => assert_eq!(trap, Trap::Interrupted, "a byte came twice, or never"),
            }
        }
    });
    // How many calls the stub left for the worker depends on what else the machine does.
    assert!(at.r13 > 1000, "{seen} left, {} bytes", at.r13);
}
