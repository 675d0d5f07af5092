//! Duties 1 to 3: system calls and faults.
use std::os::fd::AsFd;

use cofferdam_platform::{MemOp, Platform, Registers, Trap};

use crate::code;
use crate::guest::*;

pub fn syscall_trap(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall", "mov rbx, rax", "syscall"));
    let regs = Registers {
        rax: 39,
        rdi: 1,
        rsi: 2,
        rdx: 3,
        r10: 4,
        r8: 5,
        r9: 6,
        rbx: 7,
        rbp: 8,
        r12: 9,
        r15: 10,
        ..start()
    };
    let (trap, mut at) = g.run(&*p, &regs);
    assert_eq!(trap, Trap::Syscall);
    assert_eq!(at.syscall_number(), 39);
    assert_eq!(at.syscall_args(), [1, 2, 3, 4, 5, 6]);
    assert_eq!((at.rip, at.rcx), (CODE + 2, CODE + 2));
    assert_eq!(
        (at.rbx, at.rbp, at.r12, at.r15, at.rsp),
        (7, 8, 9, 10, start().rsp)
    );
    at.set_return(-38);
    let (trap, at) = g.run(&*p, &at);
    assert_eq!(trap, Trap::Syscall);
    assert_eq!(at.rbx.cast_signed(), -38);
    assert_eq!(at.orig_rax.cast_signed(), -38);
}

/// No number reaches the host, not even those the stub may use.
pub fn syscall_numbers(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    for n in (0..600).chain([0x3fd0, 0x4000_0000, 0x4000_0027, u64::MAX, 1 << 32]) {
        // uprobe(2) passes every seccomp filter and does nothing (Linux 6.18); so does uretprobe(2), but with a signal.
        if n == 336 && p.name() != "ptrace" {
            continue;
        }
        let (trap, at) = g.run(&*p, &Registers { rax: n, ..start() });
        assert_eq!((trap, at.orig_rax), (Trap::Syscall, n));
    }
    assert_eq!(g.word(CODE) & 0xffff, 0x050f);
}

pub fn syscall32(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("int 0x80", "syscall"));
    for n in [1, 20, 120, 224] {
        let (trap, mut at) = g.run(
            &*p,
            &Registers {
                rax: n,
                rbx: 5,
                ..start()
            },
        );
        match trap {
            Trap::Syscall32 => {
                assert_eq!((at.orig_rax, at.rip), (n, CODE + 2));
                at.set_return(-38);
                let (trap, at) = g.run(&*p, &at);
                assert_eq!((trap, at.orig_rax.cast_signed()), (Trap::Syscall, -38));
            }
            // The host kernel may be without 32-bit entries.
            Trap::Fault {
                signo: libc::SIGSEGV,
                ..
            } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(g.space.write(CODE, &[0x0f, 0x34]), 2); // sysenter
    let (trap, _) = g.run(
        &*p,
        &Registers {
            rax: 20,
            rbp: DATA,
            ..start()
        },
    );
    assert!(
        matches!(
            trap,
            Trap::Syscall32
                | Trap::Fault {
                    signo: libc::SIGILL | libc::SIGSEGV,
                    ..
                }
        ),
        "{trap:?}"
    );
}

/// The vsyscall page: a system call, or a fault where the host has none.
pub fn vsyscall(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("call r12", "mov rbx, rax", "ud2"));
    for (addr, number) in [
        (0xffff_ffff_ff60_0000, 96),
        (0xffff_ffff_ff60_0400, 201),
        (0xffff_ffff_ff60_0800, 309),
    ] {
        let (trap, mut at) = g.run(
            &*p,
            &Registers {
                r12: addr,
                rdi: DATA,
                ..start()
            },
        );
        match trap {
            Trap::Syscall => {
                assert_eq!(
                    (at.orig_rax, at.rip, at.rsp),
                    (number, CODE + 3, start().rsp)
                );
                at.set_return(77);
                let (trap, at) = g.run(&*p, &at);
                assert!(matches!(
                    trap,
                    Trap::Fault {
                        signo: libc::SIGILL,
                        ..
                    }
                ));
                assert_eq!(at.rbx, 77);
            }
            Trap::Fault {
                signo: libc::SIGSEGV,
                ..
            } => {}
            other => panic!("{other:?}"),
        }
    }
}

pub fn faults(p: Box<dyn Platform>) {
    let table: &[(&[u8], i32, i32, Option<u64>)] = &[
        (
            code!("mov rax, [0x1234000]"),
            libc::SIGSEGV,
            1,
            Some(0x123_4000),
        ),
        (
            code!("mov byte ptr [rdi], 1"),
            libc::SIGSEGV,
            2,
            Some(DATA + PAGE),
        ),
        (
            code!("mov rax, 0x8000000000000000", "mov rax, [rax]"),
            libc::SIGSEGV,
            0x80,
            Some(0),
        ),
        (code!("hlt"), libc::SIGSEGV, 0x80, None),
        (code!("in al, dx"), libc::SIGSEGV, 0x80, None),
        (code!("xor ecx, ecx", "div ecx"), libc::SIGFPE, 1, None),
        (code!("ud2"), libc::SIGILL, 2, Some(CODE)),
        (code!("int3"), libc::SIGTRAP, 0x80, None),
        (code!("xor eax, eax", "jmp rax"), libc::SIGSEGV, 1, Some(0)),
        (
            code!("mov rax, rdi", "jmp rax"),
            libc::SIGSEGV,
            2,
            Some(DATA + PAGE),
        ),
    ];
    for (code, signo, si_code, addr) in table {
        let g = load(&*p, 1, code);
        g.thread
            .execute(&[MemOp::Protect {
                addr: DATA + PAGE,
                len: PAGE,
                prot: cofferdam_platform::Prot::READ,
            }])
            .unwrap();
        let (trap, _) = g.run(
            &*p,
            &Registers {
                rdi: DATA + PAGE,
                ..start()
            },
        );
        let Trap::Fault {
            signo: s,
            code: c,
            addr: a,
        } = trap
        else {
            panic!("{trap:?}")
        };
        assert_eq!((s, c), (*signo, *si_code), "{code:x?}");
        assert!(addr.is_none_or(|addr| a == addr), "{code:x?}: {a:#x}");
    }
    // A fault repeated, then repaired.
    let g = load(&*p, 1, code!("mov byte ptr [0x300000], 5", "syscall"));
    for _ in 0..3 {
        assert!(matches!(
            g.run(&*p, &start()).0,
            Trap::Fault {
                signo: libc::SIGSEGV,
                addr: 0x30_0000,
                ..
            }
        ));
    }
    g.thread
        .execute(&[MemOp::MapAnon {
            addr: 0x30_0000,
            len: PAGE,
            prot: RW,
        }])
        .unwrap();
    assert_eq!(g.run(&*p, &g.thread.registers().unwrap()).0, Trap::Syscall);
    assert_eq!(g.word(0x30_0000), 5);
}

/// The trap flag belongs to the guest, and the stub is not stepped.
pub fn single_step(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("nop", "nop", "nop", "syscall"));
    let (trap, mut at) = g.run(
        &*p,
        &Registers {
            eflags: 0x100,
            ..start()
        },
    );
    assert!(
        matches!(
            trap,
            Trap::Fault {
                signo: libc::SIGTRAP,
                code: 2,
                ..
            }
        ),
        "{trap:?}"
    );
    assert_eq!(at.rip, CODE + 1);
    g.thread
        .execute(&[MemOp::MapAnon {
            addr: 0x30_0000,
            len: PAGE,
            prot: RW,
        }])
        .unwrap();
    let (trap, next) = g.run(&*p, &at);
    assert!(matches!(
        trap,
        Trap::Fault {
            signo: libc::SIGTRAP,
            ..
        }
    ));
    assert_eq!((next.rip, next.eflags & 0x100), (CODE + 2, 0x100));
    at = next;
    at.eflags = 0;
    assert_eq!(g.run(&*p, &at).0, Trap::Syscall);
}

/// Beyond the end of a file.
pub fn bus_error(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("mov al, [0x301000]"));
    let file = file_of(PAGE);
    g.thread
        .execute(&[MemOp::MapFile {
            addr: 0x30_0000,
            len: 2 * PAGE,
            prot: RW,
            fd: file.as_fd(),
            offset: 0,
            shared: true,
            common: false,
        }])
        .unwrap();
    let (trap, _) = g.run(&*p, &start());
    assert_eq!(
        trap,
        Trap::Fault {
            signo: libc::SIGBUS,
            code: 2,
            addr: 0x30_1000
        }
    );
    assert_eq!(g.space.read(0x30_1000, &mut [0; 1]), 0);
}

/// A memfd of `len` bytes.
pub fn file_of(len: u64) -> std::fs::File {
    use std::os::fd::FromRawFd;
    // SAFETY: a fresh descriptor of our own.
    let file = unsafe {
        std::fs::File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC))
    };
    file.set_len(len).unwrap();
    file
}
