//! The memory of processes that have ended: when it is gone.
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::time::Duration;

use cofferdam_platform::{MemOp, Platform, Registers, Token, Trap};

use crate::code;
use crate::guest::*;

const LONG: Duration = Duration::from_secs(10);
const THERE: u64 = 0x30_0000;

fn sealable() -> File {
    // SAFETY: a new descriptor, which is nobody else's.
    let file = unsafe {
        File::from_raw_fd(libc::memfd_create(
            c"test".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        ))
    };
    file.set_len(PAGE).unwrap();
    file
}

/// Whether it can be sealed: not while somebody has it mapped writable.
fn seal(file: &File) -> bool {
    // SAFETY: no memory involved.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE) == 0 }
}

/// What a process had mapped is mapped no more when its end has been awaited, killed or not, alone or not.
pub fn ends_can_be_awaited(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("mov [rdi], rdi", "5: syscall", "jmp 5b"));
    let with = |rdi| Registers { rdi, ..start() };
    g.run(&*p, &with(DATA));
    for round in 0..40 {
        let file = sealable();
        let token = Token(10 + round);
        let (space, child) = g.thread.fork(token).unwrap();
        let map = MemOp::MapFile {
            addr: THERE,
            len: PAGE,
            prot: RW,
            fd: file.as_fd(),
            offset: 0,
            shared: true,
            common: false,
        };
        child.execute(&[map]).unwrap();
        let (_, mut regs) = run(&*p, &*child, token, &with(THERE));
        // So often that it is watched.
        for _ in 0..100 {
            let (trap, at) = run(&*p, &*child, token, &regs);
            assert_eq!(trap, Trap::Syscall);
            regs = at;
        }
        let another = (round % 4 == 1).then(|| child.spawn(Token(9)).unwrap());
        assert!(!space.await_end(Duration::ZERO), "{round}: it lives");
        assert!(!seal(&file), "{round}: it is mapped");
        drop(another);
        match round % 4 {
            2 => space.kill(),
            _ => child.terminate(),
        }
        if round % 4 == 3 {
            assert!(space.await_end(LONG), "{round}");
        } else {
            let ending = p.ending();
            assert!(!ending.is_empty() || space.has_ended(), "{round}");
            assert!(ending.iter().all(|e| e.await_end(LONG)), "{round}");
        }
        assert!(seal(&file), "{round}: nobody has it mapped");
        assert!(!g.space.await_end(Duration::ZERO), "{round}");
    }
    g.run(&*p, &with(DATA));
}
