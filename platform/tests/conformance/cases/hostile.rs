//! Guests that mean harm: the worst that may happen is their own death.
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use cofferdam_platform::{Error, Event, GUEST_END, MemOp, Platform, Registers, Token, Trap};

use super::host::living;
use super::tasks::eventually;
use crate::code;
use crate::guest::*;

/// Whatever a forged signal frame holds.
pub fn wild_registers(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    let wild = [
        0,
        1,
        3,
        0x10,
        0x23,
        0x2b,
        0x33,
        0xffff,
        1 << 47,
        0x8000_0000_0000_0000,
        0x7fff_ffff_f000,
        u64::MAX,
    ];
    for w in wild {
        let bases = Registers {
            fs_base: w,
            gs_base: w,
            ..start()
        };
        let selectors = Registers {
            cs: w,
            ss: w,
            ds: w,
            es: w,
            fs: w,
            gs: w,
            ..start()
        };
        let flags = Registers {
            eflags: w & !0x100,
            orig_rax: w,
            ..start()
        };
        for regs in [bases, selectors, flags] {
            assert_eq!(g.run(&*p, &regs).0, Trap::Syscall, "{regs:x?}");
        }
        let (trap, _) = g.run(
            &*p,
            &Registers {
                rip: w,
                rsp: w,
                ..start()
            },
        );
        assert!(!matches!(trap, Trap::Gone), "{w:#x} {trap:?}");
        let all = Registers {
            r15: w,
            r14: w,
            r13: w,
            r12: w,
            rbp: w,
            rbx: w,
            r11: w,
            r10: w,
            r9: w,
            r8: w,
            rax: w,
            rcx: w,
            rdx: w,
            rsi: w,
            rdi: w,
            orig_rax: w,
            rip: w,
            cs: w,
            eflags: w,
            rsp: w,
            ss: w,
            fs_base: w,
            gs_base: w,
            ds: w,
            es: w,
            fs: w,
            gs: w,
        };
        let (trap, _) = g.run(&*p, &all);
        assert!(!matches!(trap, Trap::Gone), "{w:#x} {trap:?}");
        // The stub is not impressed.
        g.thread
            .execute(&[MemOp::MapAnon {
                addr: 0x30_0000,
                len: PAGE,
                prot: RW,
            }])
            .unwrap();
    }
    // User flags survive, others do not appear.
    let (_, at) = g.run(
        &*p,
        &Registers {
            eflags: 0x8d5 | 0x3000 | 0x2_0000,
            ..start()
        },
    );
    assert_eq!(at.eflags & 0x3_38d5, 0x8d5);
}

/// The host does not restart a call because rax looks like ERESTARTSYS.
pub fn no_restart(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall", "mov rbx, rax", "4: jmp 4b"));
    for code in [-512i64, -513, -514, -516] {
        let (_, mut at) = g.run(&*p, &Registers { rax: 39, ..start() });
        at.set_return(code);
        g.thread.resume(&at).unwrap();
        g.thread.interrupt();
        assert_eq!(next(&*p, Token(1)), Trap::Interrupted);
        let at = g.thread.registers().unwrap();
        assert!(
            at.rip >= CODE + 2 && at.rax.cast_signed() == code,
            "{at:x?}"
        );
    }
}

/// Every byte of the stub as an entry point, with registers that would hurt if a call got through.
pub fn jump_into_stub(p: Box<dyn Platform>) {
    let Some(vdso) = p.vdso() else { return };
    let base = (GUEST_END..vdso.vvar.0)
        .rev()
        .find(|a| a % (64 << 20) == (GUEST_END % (64 << 20)))
        .unwrap();
    let mut g = load(&*p, 1, code!("syscall"));
    let mut traps = 0;
    let length = if p.name() == "ptrace" { 320 } else { 1500 };
    for offset in 0..length {
        for number in [9u64, 11, 39, 56, 60, 231, 0x3fd0] {
            let regs = Registers {
                rip: base + offset,
                rax: number,
                rdi: 0,
                rsi: TASK_END,
                rbx: DATA,
                rbp: 3,
                r12: 0,
                ..start()
            };
            g.thread.resume(&regs).unwrap();
            // From the middle of an instruction there may be endless loops.
            let trap = std::thread::scope(|s| {
                let (sender, receiver) = std::sync::mpsc::channel::<()>();
                let thread = &*g.thread;
                s.spawn(move || {
                    while receiver.recv_timeout(Duration::from_millis(5))
                        == Err(RecvTimeoutError::Timeout)
                    {
                        thread.interrupt();
                    }
                });
                let event = p.next_event().unwrap();
                drop(sender);
                event
            });
            match trap {
                Event::Trap(_, Trap::Gone) => g = load(&*p, 1, code!("syscall")),
                Event::Trap(_, trap) => traps += u32::from(trap == Trap::Syscall),
                Event::Woken => panic!(),
            }
        }
    }
    assert!(traps > 0, "never met a system call: is {base:#x} the stub?");
    let fresh = load(&*p, 2, code!("syscall"));
    assert_eq!(fresh.run(&*p, &start()).0, Trap::Syscall);
}

const TASK_END: u64 = 0x7fff_ffff_f000;

/// A thread that overwrites all mailboxes while another's exchanges are under way: wrong results or death, nothing else.
pub fn scribbled_mailboxes(p: Box<dyn Platform>) {
    let Some(vdso) = p.vdso() else { return };
    let window = vdso.vvar.0 + (15 << 20);
    // rdx: what to store into the first entries of the first two slots, for ever.
    let scribbler = code!(
        "mov rax, rdi",
        "mov ecx, ebx",
        "4: mov [rax], rdx",
        "mov [rax + r8], rdx",
        "add rax, 8",
        "dec ecx",
        "jnz 4b",
        "jmp 2b"
    );
    // Where in a slot, how many words, and how long a slot is.
    let areas: &[(u64, u64, u64)] = match p.name() {
        "ptrace" => &[(0, 64, 0x2000)],
        _ => &[
            (0, 64, 0x8000),
            (0xc00, 128, 0x8000),
            (0xc00, 27, 0),
            (0xd00, 1, 0),
            (0xd20, 3, 0),
            (0, 0x1000, 0x8000),
        ],
    };
    let values = [0, 9, 11, 56, 60, 231, 0x3fd0, u64::MAX, window];
    let rounds = areas.iter().flat_map(|a| values.map(|v| (*a, v)));
    for ((offset, words, next), value) in rounds {
        let g = load(&*p, 1, scribbler);
        let busy = g.thread.spawn(Token(2)).unwrap();
        busy.resume(&Registers {
            rdi: window + offset,
            rdx: value,
            rbx: words,
            r8: next,
            ..start()
        })
        .unwrap();
        for i in 0..200u64 {
            match g.thread.execute(&[
                MemOp::MapAnon {
                    addr: 0x30_0000 + i * PAGE,
                    len: PAGE,
                    prot: RW,
                },
                MemOp::Protect {
                    addr: 0x30_0000,
                    len: PAGE,
                    prot: RW,
                },
                MemOp::Unmap {
                    addr: 0x50_0000,
                    len: PAGE,
                },
            ]) {
                Ok(()) | Err(Error::Op { .. }) => {}
                Err(Error::Gone) => break,
                Err(e) => panic!("{e}"),
            }
            let _ = g.thread.compare_exchange(DATA, 0, 0);
            let _ = g.thread.cpu_time();
            if i % 50 == 0 {
                let _ = g.thread.fpstate();
                let _ = g.thread.spawn(Token(3));
                let _ = g.thread.fork(Token(4));
            }
        }
    }
    // Whatever these did, others are unharmed.
    for i in 0..5 {
        p.wake();
        while p.next_event().unwrap() != Event::Woken {}
        let g = load(&*p, 10 + i, code!("syscall"));
        assert_eq!(g.run(&*p, &start()).0, Trap::Syscall);
        let (_, child) = g.thread.fork(Token(20)).unwrap();
        assert_eq!(run(&*p, &*child, Token(20), &start()).0, Trap::Syscall);
    }
}

/// What a process wrote into its mailboxes, also into slots that no thread of it had, no later process finds.
pub fn mailboxes_of_the_dead(p: Box<dyn Platform>) {
    let Some(vdso) = p.vdso() else { return };
    let (slot, slots) = match p.name() {
        "ptrace" => (0x2000, 4096),
        _ => (0x1_0000, 2048),
    };
    let window = vdso.vvar.0 - (1 << 20) + (128 << 20);
    // The control words of every slot but the first: all that is there is gathered in rbx, and replaced by rdx.
    let visitor = code!(
        "mov ecx, 64",
        "mov rax, rdi",
        "4: or rbx, [rax]",
        "mov [rax], rdx",
        "add rax, 8",
        "dec ecx",
        "jnz 4b",
        "add rdi, r8",
        "dec r9d",
        "jnz 2b",
        "syscall"
    );
    let before = living();
    for round in 0..12 {
        let g = load(&*p, 1, visitor);
        let (trap, at) = g.run(
            &*p,
            &Registers {
                rdi: window + slot + 0xe00,
                rdx: u64::MAX,
                r8: slot,
                r9: slots - 1,
                ..start()
            },
        );
        assert_eq!((trap, at.rbx), (Trap::Syscall, 0), "process {round}");
        drop(g);
        eventually(&*p, || living() <= before + 4);
    }
}

/// Duty 5: exchanges end although other threads of the guest never stop.
pub fn exchange_beside_busy_thread(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("inc qword ptr [rdi]", "jmp 2b"));
    let busy: Vec<_> = (0..4)
        .map(|i| g.thread.spawn(Token(10 + i)).unwrap())
        .collect();
    for (i, thread) in busy.iter().enumerate() {
        thread
            .resume(&Registers {
                rdi: DATA + 64 * i as u64,
                ..start()
            })
            .unwrap();
    }
    for i in 0..50 {
        g.thread
            .execute(&[MemOp::MapAnon {
                addr: 0x30_0000,
                len: PAGE,
                prot: RW,
            }])
            .unwrap();
        let (_, child) = g.thread.fork(Token(2)).unwrap();
        let thread = g.thread.spawn(Token(3)).unwrap();
        if i % 2 == 0 {
            thread.terminate();
        }
        drop(child);
    }
}
