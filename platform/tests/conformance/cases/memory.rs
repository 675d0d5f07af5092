//! Duty 9 and the memory operations.
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use cofferdam_platform::{
    Error, Event, GUEST_END, GUEST_START, MemOp, Platform, Prot, Registers, Token, Trap,
};

use super::traps::file_of;
use crate::code;
use crate::guest::*;

const AT: u64 = 0x30_0000;

pub fn file_mappings(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("mov [rdi], rsi", "syscall"));
    let file = file_of(4 * PAGE);
    file.write_all_at(b"first", 0).unwrap();
    file.write_all_at(b"third", 2 * PAGE).unwrap();
    let map = |addr, offset, shared| MemOp::MapFile {
        addr,
        len: PAGE,
        prot: RW,
        fd: file.as_fd(),
        offset,
        shared,
        common: false,
    };
    g.thread
        .execute(&[
            map(AT, 0, true),
            map(AT + PAGE, 2 * PAGE, false),
            map(AT + 2 * PAGE, 0, false),
        ])
        .unwrap();
    let mut b = [0; 5];
    assert_eq!((g.space.read(AT, &mut b), &b), (5, b"first"));
    assert_eq!((g.space.read(AT + PAGE, &mut b), &b), (5, b"third"));
    let (_, _) = g.run(
        &*p,
        &Registers {
            rdi: AT,
            rsi: u64::from_le_bytes(*b"shared!!"),
            ..start()
        },
    );
    let (_, _) = g.run(
        &*p,
        &Registers {
            rdi: AT + PAGE,
            rsi: u64::from_le_bytes(*b"private!"),
            ..start()
        },
    );
    let mut b = [0; 8];
    file.read_exact_at(&mut b, 0).unwrap();
    assert_eq!(&b, b"shared!!");
    file.read_exact_at(&mut b, 2 * PAGE).unwrap();
    assert_eq!(&b, b"third\0\0\0");
    // Shared mappings stay shared over fork, private ones part.
    let (space, child) = g.thread.fork(Token(2)).unwrap();
    assert_eq!(space.write(AT, b"by child"), 8);
    assert_eq!(space.write(AT + PAGE, b"by child"), 8);
    assert_eq!((g.space.read(AT, &mut b), &b), (8, b"by child"));
    assert_eq!((g.space.read(AT + PAGE, &mut b), &b), (8, b"private!"));
    // Descriptors do not pile up in the stub.
    for _ in 0..40 {
        child
            .execute(&[map(AT, 0, true), map(AT + PAGE, 0, true)])
            .unwrap();
    }
}

pub fn protections(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("mov rax, [rdi]", "syscall"));
    let protect = |prot| {
        g.thread
            .execute(&[MemOp::Protect {
                addr: DATA,
                len: PAGE,
                prot,
            }])
            .unwrap()
    };
    let mut b = [0; 8];
    protect(Prot::READ);
    assert_eq!(
        (g.space.read(DATA, &mut b), g.space.write(DATA, &b)),
        (8, 0)
    );
    assert_eq!(
        g.run(
            &*p,
            &Registers {
                rdi: DATA,
                ..start()
            }
        )
        .0,
        Trap::Syscall
    );
    protect(Prot::empty());
    assert_eq!(
        (g.space.read(DATA, &mut b), g.space.write(DATA, &b)),
        (0, 0)
    );
    let (trap, _) = g.run(
        &*p,
        &Registers {
            rdi: DATA,
            ..start()
        },
    );
    assert_eq!(
        trap,
        Trap::Fault {
            signo: libc::SIGSEGV,
            code: 2,
            addr: DATA
        }
    );
    protect(RW);
    assert_eq!(
        (g.space.read(DATA, &mut b), g.space.write(DATA, &b)),
        (8, 8)
    );
}

pub fn partial_counts(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    let len = 16 * PAGE;
    g.thread
        .execute(&[
            MemOp::MapAnon {
                addr: AT,
                len,
                prot: RW,
            },
            MemOp::MapAnon {
                addr: AT + 2 * len,
                len,
                prot: RW,
            },
        ])
        .unwrap();
    let mut buf = vec![1u8; 3 * len as usize];
    for pages in 1..16 {
        g.thread
            .execute(&[MemOp::Unmap {
                addr: AT + pages * PAGE,
                len: PAGE,
            }])
            .unwrap();
        for offset in [0, 1, 4095] {
            let expected = (pages * PAGE - offset) as usize;
            assert_eq!(g.space.read(AT + offset, &mut buf), expected);
            assert_eq!(g.space.write(AT + offset, &buf), expected);
            assert_eq!(
                g.space.read(AT + offset, &mut buf[..expected - 1]),
                expected - 1
            );
        }
        g.thread
            .execute(&[MemOp::MapAnon {
                addr: AT + pages * PAGE,
                len: PAGE,
                prot: RW,
            }])
            .unwrap();
    }
    assert_eq!(g.space.read(AT, &mut []), 0);
    assert_eq!(g.space.read(0, &mut buf), 0);
    assert_eq!(g.space.read(u64::MAX, &mut buf), 0);
    assert_eq!(g.space.read(AT - 1, &mut buf), 0);
}

pub fn remap(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    let op = |addr, old_len, new_addr, new_len, keep_old| MemOp::Remap {
        addr,
        old_len,
        new_addr,
        new_len,
        keep_old,
    };
    g.thread
        .execute(&[MemOp::MapAnon {
            addr: AT,
            len: 2 * PAGE,
            prot: RW,
        }])
        .unwrap();
    assert_eq!(g.space.write(AT, b"content"), 7);
    let mut b = [0; 7];
    g.thread
        .execute(&[op(AT, 2 * PAGE, AT, 4 * PAGE, false)])
        .unwrap();
    assert_eq!(g.space.write(AT + 3 * PAGE, b"more"), 4);
    g.thread
        .execute(&[op(AT, 4 * PAGE, 2 * AT, 3 * PAGE, false)])
        .unwrap();
    assert_eq!(
        (g.space.read(AT, &mut b), g.space.read(2 * AT, &mut b)),
        (0, 7)
    );
    assert_eq!(
        (&b, g.space.read(2 * AT + 3 * PAGE, &mut [0])),
        (b"content", 0)
    );
    g.thread
        .execute(&[op(2 * AT, 3 * PAGE, AT, 3 * PAGE, true)])
        .unwrap();
    assert_eq!((g.space.read(AT, &mut b), &b), (7, b"content"));
    assert_eq!((g.space.read(2 * AT, &mut b), &b), (7, &[0; 7]));
    // A second mapping of a shared one.
    let file = file_of(PAGE);
    g.thread
        .execute(&[
            MemOp::MapFile {
                addr: AT,
                len: PAGE,
                prot: RW,
                fd: file.as_fd(),
                offset: 0,
                shared: true,
                common: false,
            },
            op(AT, 0, 2 * AT, PAGE, false),
        ])
        .unwrap();
    assert_eq!(g.space.write(AT, b"content"), 7);
    assert_eq!((g.space.read(2 * AT, &mut b), &b), (7, b"content"));
}

pub fn unmap_and_advise(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    assert_eq!(g.space.write(DATA, b"x"), 1);
    g.thread
        .execute(&[MemOp::Advise {
            addr: DATA,
            len: PAGE,
            advice: libc::MADV_DONTNEED,
        }])
        .unwrap();
    assert_eq!(g.word(DATA), 0);
    g.thread
        .execute(&[MemOp::Advise {
            addr: DATA,
            len: PAGE,
            advice: libc::MADV_DONTFORK,
        }])
        .unwrap();
    let (space, child) = g.thread.fork(Token(2)).unwrap();
    assert_eq!(
        (
            space.read(DATA, &mut [0]),
            space.read(DATA + PAGE, &mut [0])
        ),
        (0, 1)
    );
    drop(child);
    for advice in [
        libc::MADV_HUGEPAGE,
        libc::MADV_MERGEABLE,
        libc::MADV_HWPOISON,
        libc::MADV_DOFORK,
        -1,
        12345,
    ] {
        let e = g
            .thread
            .execute(&[MemOp::Advise {
                addr: DATA,
                len: PAGE,
                advice,
            }])
            .unwrap_err();
        assert!(
            matches!(
                e,
                Error::Op {
                    index: 0,
                    errno: libc::EINVAL
                }
            ),
            "{e}"
        );
    }
    g.thread
        .execute(&[MemOp::Unmap {
            addr: DATA,
            len: 2 * PAGE,
        }])
        .unwrap();
    assert_eq!(g.space.read(DATA, &mut [0]), 0);
}

/// Files that every process may read show their own contents in each process, however many there are and however they came there; several pieces of one in
/// one batch too.
pub fn common_files(p: Box<dyn Platform>) {
    // More than a stub keeps, and than it is born with.
    let files: Vec<std::fs::File> = (0..40u64)
        .map(|n| {
            let path = std::env::temp_dir().join(format!("common-{}-{n}", std::process::id()));
            std::fs::write(&path, n.to_le_bytes().repeat(1024)).unwrap();
            let file = std::fs::File::open(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            file
        })
        .collect();
    for round in 0..4 {
        let g = load(&*p, 10 + round, code!("syscall"));
        for (n, file) in files.iter().enumerate() {
            let piece = |i: u64| MemOp::MapFile {
                addr: AT + i * PAGE,
                len: PAGE,
                prot: Prot::READ,
                fd: file.as_fd(),
                offset: i * PAGE,
                shared: false,
                common: n % 4 != 0,
            };
            g.thread.execute(&[piece(0), piece(1)]).unwrap();
            assert_eq!(
                (word(&*g.space, AT), word(&*g.space, AT + PAGE)),
                (n as u64, n as u64),
                "round {round}"
            );
        }
    }
}

/// Operations before the failing one took effect, later ones did not.
pub fn batch_errors(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    let file = std::fs::File::open("/dev/null").unwrap();
    let e = g.thread.execute(&[
        MemOp::MapAnon {
            addr: AT,
            len: PAGE,
            prot: RW,
        },
        MemOp::MapFile {
            addr: AT + PAGE,
            len: PAGE,
            prot: Prot::READ,
            fd: file.as_fd(),
            offset: 0,
            shared: false,
            common: false,
        },
        MemOp::MapAnon {
            addr: AT + 2 * PAGE,
            len: PAGE,
            prot: RW,
        },
    ]);
    assert!(
        matches!(
            e,
            Err(Error::Op {
                index: 1,
                errno: libc::ENODEV
            })
        ),
        "{e:?}"
    );
    assert_eq!(
        (g.space.write(AT, b"x"), g.space.write(AT + 2 * PAGE, b"x")),
        (1, 0)
    );
    let e = g.thread.execute(&[MemOp::Protect {
        addr: 0x50_0000,
        len: PAGE,
        prot: RW,
    }]);
    assert!(
        matches!(
            e,
            Err(Error::Op {
                index: 0,
                errno: libc::ENOMEM
            })
        ),
        "{e:?}"
    );
    // A failure before a descriptor is asked for.
    let e = g.thread.execute(&[
        MemOp::Protect {
            addr: 0x50_0000,
            len: PAGE,
            prot: RW,
        },
        MemOp::MapFile {
            addr: AT,
            len: PAGE,
            prot: RW,
            fd: file.as_fd(),
            offset: 0,
            shared: false,
            common: false,
        },
    ]);
    assert!(
        matches!(
            e,
            Err(Error::Op {
                index: 0,
                errno: libc::ENOMEM
            })
        ),
        "{e:?}"
    );
    // A shared writable mapping needs a writable descriptor.
    let read_only = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let e = g.thread.execute(&[MemOp::MapFile {
        addr: AT,
        len: PAGE,
        prot: RW,
        fd: read_only.as_fd(),
        offset: 0,
        shared: true,
        common: false,
    }]);
    assert!(
        matches!(
            e,
            Err(Error::Op {
                index: 0,
                errno: libc::EACCES
            })
        ),
        "{e:?}"
    );
}

pub fn long_batches(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    let file = file_of(PAGE);
    let ops: Vec<MemOp> = (0..500)
        .map(|i| match i % 3 {
            0 => MemOp::MapFile {
                addr: AT + i * PAGE,
                len: PAGE,
                prot: RW,
                fd: file.as_fd(),
                offset: 0,
                shared: true,
                common: false,
            },
            _ => MemOp::MapAnon {
                addr: AT + i * PAGE,
                len: PAGE,
                prot: RW,
            },
        })
        .collect();
    g.thread.execute(&ops).unwrap();
    for i in 0..500 {
        assert_eq!(g.space.write(AT + i * PAGE, b"x"), 1);
    }
    let mut ops = ops;
    ops[333] = MemOp::Protect {
        addr: 0x5000_0000,
        len: PAGE,
        prot: RW,
    };
    let e = g.thread.execute(&ops);
    assert!(
        matches!(
            e,
            Err(Error::Op {
                index: 333,
                errno: libc::ENOMEM
            })
        ),
        "{e:?}"
    );
    g.thread.execute(&[]).unwrap();
}

/// Duty 9.
pub fn out_of_range(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    let file = file_of(PAGE);
    for (addr, len) in [
        (GUEST_END, PAGE),
        (GUEST_END - PAGE, 2 * PAGE),
        (GUEST_END - PAGE, u64::MAX - PAGE + 1),
        (0, PAGE),
        (GUEST_START - PAGE, 2 * PAGE),
        (AT + 1, PAGE),
        (AT, PAGE + 1),
        (u64::MAX - PAGE + 1, PAGE),
        (p.vdso().map_or(GUEST_END, |v| v.vdso.0), PAGE),
    ] {
        for op in [
            MemOp::MapAnon {
                addr,
                len,
                prot: RW,
            },
            MemOp::MapFile {
                addr,
                len,
                prot: RW,
                fd: file.as_fd(),
                offset: 0,
                shared: true,
                common: false,
            },
            MemOp::Unmap { addr, len },
            MemOp::Protect {
                addr,
                len,
                prot: RW,
            },
            MemOp::Remap {
                addr,
                old_len: len,
                new_addr: AT,
                new_len: PAGE,
                keep_old: false,
            },
            MemOp::Remap {
                addr: DATA,
                old_len: PAGE,
                new_addr: addr,
                new_len: len,
                keep_old: false,
            },
            MemOp::Advise {
                addr,
                len,
                advice: libc::MADV_DONTNEED,
            },
        ] {
            let e = g.thread.execute(std::slice::from_ref(&op));
            assert!(
                matches!(
                    e,
                    Err(Error::Op {
                        index: 0,
                        errno: libc::EINVAL
                    })
                ),
                "{op:?}: {e:?}"
            );
        }
        let mut b = [0; 16];
        if addr >= GUEST_END || addr == 0 {
            assert_eq!(
                (g.space.read(addr, &mut b), g.space.write(addr, &b)),
                (0, 0)
            );
            assert_eq!(g.thread.compare_exchange(addr, 0, 1).unwrap(), None);
        }
    }
    // Up to the end, not beyond.
    g.thread
        .execute(&[MemOp::MapAnon {
            addr: GUEST_END - PAGE,
            len: PAGE,
            prot: RW,
        }])
        .unwrap();
    assert_eq!(
        g.space.write(GUEST_END - PAGE, &[1; 3 * PAGE as usize]),
        PAGE as usize
    );
    assert_eq!(g.space.read(GUEST_END - 4, &mut [0; 16]), 4);
}

pub fn compare_exchange(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    assert_eq!(g.thread.compare_exchange(DATA + 4, 0, 7).unwrap(), Some(0));
    assert_eq!(g.thread.compare_exchange(DATA + 4, 0, 8).unwrap(), Some(7));
    assert_eq!(
        g.thread.compare_exchange(DATA + 4, 7, u32::MAX).unwrap(),
        Some(7)
    );
    assert_eq!(g.word(DATA), 0xffff_ffff_0000_0000);
    assert_eq!(g.thread.compare_exchange(AT, 0, 1).unwrap(), None);
    assert_eq!(g.thread.compare_exchange(DATA + 2, 0, 1).unwrap(), None);
    g.thread
        .execute(&[MemOp::Protect {
            addr: DATA,
            len: PAGE,
            prot: Prot::READ,
        }])
        .unwrap();
    assert_eq!(g.thread.compare_exchange(DATA, 0, 1).unwrap(), None);
    let file = file_of(0);
    g.thread
        .execute(&[MemOp::MapFile {
            addr: AT,
            len: PAGE,
            prot: RW,
            fd: file.as_fd(),
            offset: 0,
            shared: true,
            common: false,
        }])
        .unwrap();
    assert_eq!(g.thread.compare_exchange(AT, 0, 1).unwrap(), None); // SIGBUS
    // Still usable, with its registers.
    let (trap, at) = g.run(&*p, &Registers { rbx: 3, ..start() });
    assert_eq!((trap, at.rbx), (Trap::Syscall, 3));
}

/// Which pages are in memory; of what is not mapped nothing is said.
pub fn residence(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    g.thread
        .execute(&[MemOp::MapAnon {
            addr: AT,
            len: 4 * PAGE,
            prot: RW,
        }])
        .unwrap();
    let look = || {
        let mut pages = [7u8; 4];
        g.thread.resident(AT, &mut pages).map(|()| pages)
    };
    assert_eq!(look().unwrap(), [0; 4]);
    assert_eq!(g.space.write(AT + PAGE, &[1]), 1);
    assert_eq!(look().unwrap(), [0, 1, 0, 0]);
    g.thread
        .execute(&[MemOp::Unmap {
            addr: AT + 2 * PAGE,
            len: PAGE,
        }])
        .unwrap();
    assert!(look().is_err());
    assert!(g.thread.resident(GUEST_END - PAGE, &mut [0; 2]).is_err());
    assert!(g.thread.resident(AT + 1, &mut [0; 1]).is_err());
    assert!(g.thread.resident(AT, &mut []).is_err());
    // Still usable, with its registers.
    let (trap, at) = g.run(&*p, &Registers { rbx: 3, ..start() });
    assert_eq!((trap, at.rbx), (Trap::Syscall, 3));
}

/// It is atomic against other threads of the guest.
pub fn contended_compare_exchange(p: Box<dyn Platform>) {
    let g = load(
        &*p,
        1,
        code!("lock inc dword ptr [rdi]", "dec rcx", "jnz 2b", "syscall"),
    );
    let busy = g.thread.spawn(Token(2)).unwrap();
    let turns = 20_000_000u32;
    busy.resume(&Registers {
        rdi: DATA,
        rcx: turns.into(),
        ..start()
    })
    .unwrap();
    let mut mine = 0u32;
    let mut seen = 0;
    for _ in 0..500 {
        let found = g
            .thread
            .compare_exchange(DATA, seen, seen.wrapping_add(1))
            .unwrap()
            .unwrap();
        mine += u32::from(found == seen);
        seen = if found == seen {
            found.wrapping_add(1)
        } else {
            found
        };
    }
    assert_eq!(next(&*p, Token(2)), Trap::Syscall);
    assert_eq!(g.word(DATA), u64::from(turns + mine));
}

pub fn fresh_process_is_empty(p: Box<dyn Platform>) {
    for i in 0..6 {
        let (space, thread) = p.new_process(Token(i)).unwrap();
        for addr in (GUEST_START..0x100_0000).step_by(4096).chain([
            0x4000_0000,
            0x5555_5555_5000,
            GUEST_END - PAGE,
        ]) {
            assert_eq!(space.read(addr, &mut [0]), 0);
        }
        assert_eq!(thread.registers().unwrap().rax, 0);
        p.wake();
        assert_eq!(p.next_event().unwrap(), Event::Woken);
    }
}

/// The host's vDSO answers clock_gettime without a trap.
pub fn vdso_works(p: Box<dyn Platform>) {
    let Some(vdso) = p.vdso() else {
        println!("skipped: the host has no vDSO");
        return;
    };
    assert!(vdso.vvar.0 >= GUEST_END && vdso.vdso.0 == vdso.vvar.0 + vdso.vvar.1);
    let entry = vdso.vdso.0 + vdso_symbol("__vdso_clock_gettime");
    let g = load(&*p, 1, code!("call r12", "mov rbx, rax", "syscall"));
    let (trap, at) = g.run(
        &*p,
        &Registers {
            r12: entry,
            rdi: 1,
            rsi: DATA,
            rax: 99,
            ..start()
        },
    );
    assert_eq!((trap, at.rip, at.rbx), (Trap::Syscall, CODE + 8, 0));
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the output outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert!((now.tv_sec as u64).abs_diff(g.word(DATA)) <= 2);
    // Forks keep it.
    let (space, child) = g.thread.fork(Token(2)).unwrap();
    let (trap, _) = run(
        &*p,
        &*child,
        Token(2),
        &Registers {
            r12: entry,
            rdi: 1,
            rsi: DATA + 32,
            ..start()
        },
    );
    assert_eq!(trap, Trap::Syscall);
    assert!(word(&*space, DATA + 32) > 0);
    // Concealed from the child, its calls fault where they begin; the parent calls it as before.
    let (addr, len) = vdso.vdso;
    let conceal = |callable| MemOp::Vdso {
        addr,
        len,
        callable,
    };
    let call = Registers {
        r12: entry,
        rdi: 1,
        rsi: DATA + 32,
        ..start()
    };
    child.execute(&[conceal(false)]).unwrap();
    let (trap, at) = run(&*p, &*child, Token(2), &call);
    let fault = Trap::Fault {
        signo: libc::SIGSEGV,
        code: 2,
        addr: entry,
    };
    assert_eq!((trap, at.rip), (fault, entry));
    assert_eq!(g.run(&*p, &call).0, Trap::Syscall);
    child.execute(&[conceal(true)]).unwrap();
    assert_eq!(run(&*p, &*child, Token(2), &call).0, Trap::Syscall);
}

/// Offset of a symbol in this process's own vDSO.
fn vdso_symbol(name: &str) -> u64 {
    // SAFETY: the vDSO is a well-formed ELF image that stays mapped.
    unsafe {
        let base = libc::getauxval(libc::AT_SYSINFO_EHDR);
        let cname = std::ffi::CString::new(name).unwrap();
        let word = |at: u64| *((base + at) as *const u64);
        let (phoff, phnum) = (word(32), u64::from(*((base + 56) as *const u16)));
        let dynamic = (0..phnum)
            .map(|i| phoff + 56 * i)
            .find(|ph| *((base + ph) as *const u32) == 2)
            .map(|ph| word(ph + 16))
            .unwrap();
        let (mut strings, mut symbols) = (0, 0);
        for i in (0..).map(|i| dynamic + 16 * i) {
            match word(i) {
                0 => break,
                5 => strings = word(i + 8),
                6 => symbols = word(i + 8),
                _ => {}
            }
        }
        (1..)
            .map(|i| symbols + 24 * i)
            .find(|s| {
                let at = (base + strings + u64::from(*((base + s) as *const u32)))
                    as *const libc::c_char;
                libc::strcmp(at, cname.as_ptr()) == 0
            })
            .map(|s| word(s + 8))
            .unwrap()
    }
}
