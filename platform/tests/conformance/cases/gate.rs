//! The gate, for backends that have one: calls of rewritten sites, their memory, and interrupts that meet them anywhere. As at rewritten
//! sites, the `syscall` stays where it was, before the address in r11: what is interrupted before anything has happened starts there.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cofferdam_platform::{Event, MemOp, Platform, Registers, Token, Trap};

use crate::code;
use crate::guest::*;

/// A number that the stub hands over without looking at memory.
const PLAIN: u64 = 500;

/// Values that a call must keep, flags among them; r14 is the gate.
fn marked(gate: u64) -> Registers {
    Registers {
        rax: PLAIN,
        rbx: 0x1111,
        rbp: 0x2222,
        r12: 0x3333,
        r13: 0x4444,
        r14: gate,
        r15: 0x5555,
        rdi: 1,
        rsi: 2,
        rdx: 3,
        r10: 4,
        r8: 5,
        r9: 6,
        eflags: 0x8d5, // CF PF AF ZF SF OF
        ..start()
    }
}

/// Many calls in a row, so that they become hot; now and then slowly, so that they cool.
pub fn gate_calls(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    // Two calls, and a count in between that leaves the flags alone.
    let g = load(
        &*p,
        1,
        code!(
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "lea r13, [r13 + 1]",
            "jmp 2b"
        ),
    );
    let mut regs = marked(gate);
    for i in 0..20_000u64 {
        let (trap, got) = g.run(&*p, &regs);
        assert_eq!(trap, Trap::Syscall);
        assert_eq!(got.syscall_number(), PLAIN + i % 3);
        let expected = Registers {
            rax: (-i64::from(libc::ENOSYS)).cast_unsigned(),
            orig_rax: got.orig_rax,
            r13: 0x4444 + i,
            rip: got.rip,
            rcx: got.rip,
            r11: got.eflags,
            eflags: 0xad7,
            cs: got.cs,
            ss: got.ss,
            ..marked(gate)
        };
        assert_eq!((got.fs_base, got.gs_base), (0, 0));
        assert_eq!(
            got,
            Registers {
                fs_base: 0,
                gs_base: 0,
                ..expected
            },
            "call {i}"
        );
        regs = got;
        regs.rax = PLAIN + (i + 1) % 3;
        if i % 4000 == 3999 {
            std::thread::sleep(Duration::from_millis(30));
        }
        if i % 1000 == 999 {
            // Everything else that a handler may do to the thread meanwhile.
            g.thread
                .execute(&[MemOp::MapAnon {
                    addr: 0x30_0000,
                    len: PAGE,
                    prot: RW,
                }])
                .unwrap();
            assert_eq!(g.thread.compare_exchange(DATA, 0, 0).unwrap(), Some(0));
            let state = g.thread.fpstate().unwrap();
            if i % 2000 == 999 {
                g.thread.set_fpstate(&state).unwrap();
            }
        }
        if i % 5000 == 4999 {
            // New registers: a signal's handler, say.
            regs = Registers {
                rip: CODE,
                r13: regs.r13 + 1,
                eflags: 0xad7,
                ..regs
            };
            regs.rcx = 0;
        }
    }
}

/// Memory that changes on the way back from a call: it is there when the guest goes on, and when somebody settles, not before; and what the host
/// refuses is the end of the process.
pub fn gate_changes_memory_later(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    const NEW: u64 = 0x40_0000;
    let map = |addr: u64| MemOp::MapAnon {
        addr,
        len: PAGE,
        prot: RW,
    };
    let unmap = MemOp::Unmap {
        addr: NEW,
        len: PAGE,
    };
    let writes = code!(
        "lea r11, [rip + 5f]",
        "jmp r14",
        "syscall",
        "5:",
        "mov [r15], rax",
        "jmp 2b"
    );
    let g = load(&*p, 1, writes);
    let answered = |at: &Registers, result: u64| Registers { rax: result, ..*at };
    let mapped = || g.space.read(NEW, &mut [0; 8]) == 8;
    let marked = Registers {
        r15: NEW,
        ..marked(gate)
    };
    let (trap, mut at) = g.run(&*p, &marked);
    assert_eq!(trap, Trap::Syscall);
    for i in 0..2000u64 {
        // Two lists for one way back; the second replaces what the first mapped.
        assert!(g.thread.execute_later(&[map(NEW), map(NEW + PAGE)]));
        assert!(g.thread.execute_later(&[map(NEW)]));
        assert!(!mapped());
        let result = if i % 2 == 0 { PLAIN } else { 1 << 40 | PLAIN };
        let trap;
        (trap, at) = g.run(&*p, &answered(&at, result));
        assert_eq!((trap, g.word(NEW)), (Trap::Syscall, result));
        assert!(g.thread.execute_later(std::slice::from_ref(&unmap)));
        match i % 4 {
            0 => g.thread.settle().unwrap(),
            // Whatever else the thread is to do comes after.
            1 => assert_eq!(g.thread.compare_exchange(NEW, 0, 0).unwrap(), None),
            2 => g.thread.execute(&[]).unwrap(),
            _ => {
                let (space, _child) = g.thread.fork(Token(2)).unwrap();
                assert_eq!(space.read(NEW, &mut [0; 8]), 0);
            }
        }
        assert!(!mapped());
    }
    // Not by the gate's way back.
    assert!(g.thread.execute_later(&[map(NEW)]));
    let elsewhere = Registers {
        rip: CODE,
        rbx: 9,
        ..answered(&at, PLAIN)
    };
    let (trap, at) = g.run(&*p, &elsewhere);
    assert_eq!((trap, at.rbx), (Trap::Syscall, 9));
    assert!(mapped());
    // What may fail for other reasons, takes long, or while others run, is not put off.
    let long = MemOp::Unmap {
        addr: 0x1000_0000,
        len: 1 << 30,
    };
    assert!(!g.thread.execute_later(&[long]));
    let executable = MemOp::Protect {
        addr: NEW,
        len: PAGE,
        prot: RWX,
    };
    assert!(!g.thread.execute_later(&[executable]));
    let sibling = g.thread.spawn(Token(3)).unwrap();
    assert!(!g.thread.execute_later(&[map(NEW)]));
    drop(sibling);
    let nowhere = MemOp::Protect {
        addr: 0x7000_0000,
        len: PAGE,
        prot: RW,
    };
    let other = load(&*p, 4, writes);
    let (trap, at) = other.run(&*p, &marked);
    assert_eq!(trap, Trap::Syscall);
    assert!(other.thread.execute_later(&[map(NEW), nowhere]));
    let (trap, _) = other.run(&*p, &answered(&at, PLAIN));
    assert_eq!(trap, Trap::Gone);
}

/// The vector registers of a thread that calls, of its child and of a sibling.
pub fn gate_vector_registers(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = load(
        &*p,
        1,
        code!(
            "movq xmm7, rbx",
            "7:",
            "mov eax, 500",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "movq [rdi], xmm7",
            "mov eax, 501",
            "lea r11, [rip + 6f]",
            "jmp r14",
            "syscall",
            "6:",
            "jmp 7b"
        ),
    );
    let mut regs = Registers {
        rbx: 0xfeed,
        rdi: DATA,
        ..marked(gate)
    };
    for round in 0..50 {
        let (trap, at) = g.run(&*p, &regs);
        assert_eq!((trap, at.syscall_number()), (Trap::Syscall, 500));
        if round % 10 == 9 {
            let (space, thread) = g.thread.fork(Token(2)).unwrap();
            let (trap, _) = run(&*p, &*thread, Token(2), &Registers { rip: at.rip, ..at });
            assert_eq!((trap, word(&*space, DATA)), (Trap::Syscall, 0xfeed));
            let sibling = g.thread.spawn(Token(3)).unwrap();
            let (trap, _) = run(
                &*p,
                &*sibling,
                Token(3),
                &Registers {
                    rdi: DATA + 8,
                    ..at
                },
            );
            assert_eq!((trap, g.word(DATA + 8)), (Trap::Syscall, 0xfeed));
            g.space.write(DATA + 8, &[0; 8]);
        }
        let (trap, at) = g.run(&*p, &at);
        assert_eq!((trap, at.syscall_number()), (Trap::Syscall, 501));
        assert_eq!(g.word(DATA), 0xfeed);
        g.space.write(DATA, &[0; 8]);
        regs = at;
    }
}

/// Small buffers travel along; the guest cannot tell, whatever it passes.
pub fn gate_buffers(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = load(
        &*p,
        1,
        code!("lea r11, [rip + 5f]", "jmp r14", "syscall", "5:", "jmp 2b"),
    );
    let end = DATA + 2 * PAGE;
    let call = |number: i64, rdi: u64, rsi: u64, rdx: u64| {
        let regs = Registers {
            rax: number.cast_unsigned(),
            rdi,
            rsi,
            rdx,
            rip: CODE,
            ..marked(gate)
        };
        let (trap, at) = g.run(&*p, &regs);
        assert_eq!(
            (trap, at.syscall_number()),
            (Trap::Syscall, number.cast_unsigned())
        );
        at
    };
    let go_on = |regs: &Registers, result: u64| {
        let (trap, _) = g.run(
            &*p,
            &Registers {
                rax: result,
                ..*regs
            },
        );
        assert_eq!(trap, Trap::Syscall);
    };
    let pattern: Vec<u8> = (0..4096u32).map(|i| (i % 251) as u8).collect();
    for (addr, len) in [
        (DATA, 1),
        (DATA + 3, 4096),
        (end - 7, 7),
        (DATA + 4090, 100),
        (DATA, 4096),
        (DATA + 1, 0),
        (DATA + 5, 48),
        (DATA + 9, 49),
        (DATA, 96),
    ] {
        let data = &pattern[..len];
        // Out: within one call by pieces, read back, and seen afterwards.
        let at = call(libc::SYS_read, 0, addr, len as u64);
        assert_eq!(g.space.write(addr, &data[..len / 2]), len / 2);
        assert_eq!(
            g.space.write(addr + (len / 2) as u64, &data[len / 2..]),
            len - len / 2
        );
        if len == 100 {
            let mut back = vec![0; len];
            assert_eq!(g.space.read(addr, &mut back), len);
            assert_eq!(back, data);
        }
        go_on(&at, len as u64);
        let mut back = vec![0; len];
        assert_eq!(g.space.read(addr, &mut back), len);
        assert_eq!(back, data, "{addr:#x} {len}");
        // In.
        let at = call(libc::SYS_write, 1, addr, len as u64);
        let mut seen = vec![0; len];
        assert_eq!(g.space.read(addr, &mut seen), len);
        assert_eq!(seen, data);
        // Another thread of the guest writes there: later reads may see either, never a mixture of other places.
        go_on(&at, len as u64);
    }
    // What cannot be written, or only in part.
    for (addr, len, writable) in [
        (0, 8, 0),
        (CODE + PAGE, 8, 0),
        (end - 4, 8, 4),
        (u64::MAX - 3, 2, 0),
        (1 << 63, 8, 0),
    ] {
        let at = call(libc::SYS_read, 0, addr, len as u64);
        assert_eq!(g.space.write(addr, &pattern[..len]), writable, "{addr:#x}");
        go_on(&at, 1);
        let at = call(libc::SYS_write, 0, addr, len as u64);
        assert_eq!(
            g.space.read(addr, &mut [0; 8][..len]),
            writable,
            "{addr:#x}"
        );
        go_on(&at, 1);
    }
    // A read-only page is not written.
    g.thread
        .execute(&[MemOp::Protect {
            addr: DATA + PAGE,
            len: PAGE,
            prot: cofferdam_platform::Prot::READ,
        }])
        .unwrap();
    let at = call(libc::SYS_read, 0, DATA + PAGE, 8);
    assert_eq!(g.space.write(DATA + PAGE, &[1; 8]), 0);
    go_on(&at, 0);
    // Strings: short, at the end of memory, not terminated, too long to travel.
    for (at_end, text) in [(10, "path"), (5, "path"), (4, "path")] {
        let addr = DATA + PAGE - at_end;
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        bytes.truncate(at_end as usize);
        assert_eq!(g.space.write(addr, &bytes), bytes.len());
        let at = call(libc::SYS_open, addr, 0, 0);
        let mut seen = [0xff; 256];
        let n = g.space.read(addr, &mut seen);
        assert!(
            n >= bytes.len() && seen.starts_with(&bytes),
            "{text} {at_end}: {n}"
        );
        go_on(&at, 0);
    }
    let long = vec![b'a'; 3000];
    g.space.write(DATA, &long);
    let at = call(libc::SYS_open, DATA, 0, 0);
    let mut seen = vec![0; 3000];
    assert_eq!(g.space.read(DATA, &mut seen), 3000);
    assert_eq!(seen, long);
    go_on(&at, 0);
    // A call that is never answered as such: its writes are there all the same.
    let at = call(libc::SYS_read, 0, DATA, 8);
    assert_eq!(g.space.write(DATA, &[7; 8]), 8);
    let (child, _thread) = g.thread.fork(Token(2)).unwrap();
    assert_eq!(word(&*child, DATA), 0x0707_0707_0707_0707);
    assert_eq!(g.space.write(DATA, &[8; 8]), 8);
    g.thread
        .resume(&Registers {
            rip: CODE,
            rax: PLAIN,
            ..at
        })
        .unwrap();
    assert_eq!(next(&*p, g.token), Trap::Syscall);
    assert_eq!(g.word(DATA), 0x0808_0808_0808_0808);
    let at = call(libc::SYS_read, 0, DATA, 8);
    assert_eq!(g.space.write(DATA, &[9; 8]), 8);
    p.wake();
    assert_eq!(p.next_event().unwrap(), Event::Woken);
    assert_eq!(g.word(DATA), 0x0909_0909_0909_0909);
    go_on(&at, 8);
}

/// Interrupts meet calls at every instruction: none is lost, and no call runs twice or not at all.
pub fn gate_interrupt_storm(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = load(
        &*p,
        1,
        code!(
            "mov eax, 500",
            "mov ecx, 500",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "lock inc qword ptr [rdi]",
            "add rbx, rax",
            "mov eax, 39",
            "lea r11, [rip + 6f]",
            "jmp r14",
            "syscall",
            "6:",
            "add rbp, rax",
            "jmp 2b"
        ),
    );
    let mut regs = Registers {
        rdi: DATA,
        rbx: 0,
        rbp: 0,
        ..marked(gate)
    };
    let over = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let (mut plain, mut pid, mut interrupted) = (0u64, 0u64, 0u64);
    std::thread::scope(|s| {
        let (thread, over, sent) = (&*g.thread, &over, &sent);
        s.spawn(move || {
            while !over.load(SeqCst) {
                thread.interrupt();
                sent.fetch_add(1, SeqCst);
                std::hint::spin_loop();
            }
        });
        let start = Instant::now();
        while plain < 30_000 && start.elapsed() < Duration::from_secs(20) {
            let (trap, at) = g.run(&*p, &regs);
            regs = at;
            match (trap, at.syscall_number()) {
                (Trap::Interrupted, _) => interrupted += 1,
                (Trap::Syscall, 500) => {
                    plain += 1;
                    regs.rax = 1;
                }
                (Trap::Syscall, 39) => {
                    pid += 1;
                    regs.rax = 2;
                }
                other => panic!("{other:?}"),
            }
        }
        over.store(true, SeqCst);
    });
    assert!(
        plain > 100 && interrupted > 0,
        "{plain} calls, {interrupted} interrupts"
    );
    assert!(plain - g.word(DATA) <= 1 && plain.abs_diff(pid) <= 1);
    assert!(
        plain - regs.rbx <= 1 && 2 * pid - regs.rbp <= 2,
        "{plain} {pid} {:x} {:x}",
        regs.rbx,
        regs.rbp
    );
}

/// An interrupt reaches a guest that does nothing but call.
pub fn gate_interrupt_arrives(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = load(
        &*p,
        1,
        code!(
            "mov eax, 500",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "pause",
            "cmp eax, 7",
            "jne 2b",
            "6:",
            "jmp 6b"
        ),
    );
    for delay in 0..200u64 {
        let mut regs = marked(gate);
        for _ in 0..20 {
            let (trap, at) = g.run(&*p, &regs);
            assert!(matches!(trap, Trap::Syscall | Trap::Interrupted));
            regs = at;
        }
        // The last call's result sends it into an endless loop, while the interrupt is on its way.
        regs.rax = 7;
        g.thread.resume(&regs).unwrap();
        for _ in 0..delay * 10 {
            std::hint::spin_loop();
        }
        g.thread.interrupt();
        let start = Instant::now();
        loop {
            match next(&*p, g.token) {
                Trap::Interrupted => break,
                Trap::Syscall => {
                    // It was interrupted before the last call returned.
                    regs = Registers {
                        rax: 7,
                        ..g.thread.registers().unwrap()
                    };
                    g.thread.resume(&regs).unwrap();
                    g.thread.interrupt();
                }
                other => panic!("{other:?}"),
            }
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }
}

/// Programs that use %gs themselves.
pub fn gate_with_own_gs(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = load(
        &*p,
        1,
        code!(
            "mov rbx, gs:[0]",
            "mov eax, 39",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "jmp 2b"
        ),
    );
    assert_eq!(g.space.write(DATA + 64, &77u64.to_le_bytes()), 8);
    let mut regs = Registers {
        gs_base: DATA + 64,
        ..marked(gate)
    };
    for _ in 0..100 {
        let (trap, at) = g.run(&*p, &regs);
        assert_eq!((trap, at.syscall_number(), at.rbx), (Trap::Syscall, 39, 77));
        assert_eq!((at.gs_base, at.rcx, at.r11), (DATA + 64, at.rip, at.eflags));
        regs = Registers { rax: 1, ..at };
    }
}

/// Two threads whose calls overlap, one of which waits long.
pub fn gate_overlapping_calls(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = load(
        &*p,
        1,
        code!(
            "mov eax, 500",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "lock inc qword ptr [rdi]",
            "jmp 2b"
        ),
    );
    let base = Registers {
        rdi: DATA,
        ..marked(gate)
    };
    let (_, first) = g.run(&*p, &base);
    let sibling = g.thread.spawn(Token(2)).unwrap();
    let (child, other) = g.thread.fork(Token(3)).unwrap();
    let mut waiting = first;
    for round in 0..30 {
        // The first waits while the others make many calls.
        for (thread, token) in [(&sibling, Token(2)), (&other, Token(3))] {
            let mut regs = base;
            for _ in 0..50 {
                let (trap, at) = run(&*p, &**thread, token, &regs);
                assert_eq!(trap, Trap::Syscall);
                regs = at;
            }
        }
        let (trap, at) = g.run(&*p, &waiting);
        assert_eq!(trap, Trap::Syscall);
        waiting = at;
        assert_eq!(g.word(DATA), (round + 1) * 50);
        assert_eq!(word(&*child, DATA), (round + 1) * 49);
    }
}

/// A call that arrives while another one is in hand does not disturb what that has written.
pub fn gate_buffers_of_two(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let code = code!("lea r11, [rip + 5f]", "jmp r14", "syscall", "5:", "jmp 2b");
    let (a, b) = (load(&*p, 1, code), load(&*p, 2, code));
    let call = |rsi| Registers {
        rax: libc::SYS_read.cast_unsigned(),
        rsi,
        rdx: 16,
        ..marked(gate)
    };
    for round in 0..300u64 {
        b.thread.resume(&call(DATA + 64)).unwrap();
        a.thread.resume(&call(DATA)).unwrap();
        let mut open = vec![(Token(1), &a), (Token(2), &b)];
        while !open.is_empty() {
            let Event::Trap(token, trap) = p.next_event().unwrap() else {
                panic!("woken")
            };
            assert_eq!(trap, Trap::Syscall);
            let at = open.iter().position(|(t, _)| *t == token).unwrap();
            let (_, g) = open.swap_remove(at);
            let regs = g.thread.registers().unwrap();
            assert_eq!(g.space.write(regs.rsi, &round.to_le_bytes()), 8);
            // An exchange in which the other's call may arrive.
            assert_eq!(
                g.thread.compare_exchange(DATA + 128, 0, 0).unwrap(),
                Some(0)
            );
            assert_eq!(g.space.write(regs.rsi + 8, &(!round).to_le_bytes()), 8);
            std::thread::sleep(Duration::from_micros(round % 50));
            assert!(
                g.thread
                    .compare_exchange(DATA + 128, 0, 0)
                    .unwrap()
                    .is_some()
            );
            assert_eq!(g.space.write(regs.rsi + 8, &(!round).to_le_bytes()), 8);
            let (trap, _) = g
                .thread
                .resume(&Registers { rax: 8, ..regs })
                .map(|()| {
                    loop {
                        match p.next_event().unwrap() {
                            Event::Trap(t, trap) if t == g.token => break (trap, 0),
                            Event::Trap(t, _) => {
                                // The other one's: handled at once, so that its writes are deferred while this one runs.
                                let at = open.iter().position(|(o, _)| *o == t).unwrap();
                                let (_, other) = open.swap_remove(at);
                                let regs = other.thread.registers().unwrap();
                                assert_eq!(other.space.write(regs.rsi, &round.to_le_bytes()), 8);
                                assert_eq!(
                                    other.space.write(regs.rsi + 8, &(!round).to_le_bytes()),
                                    8
                                );
                            }
                            Event::Woken => panic!("woken"),
                        }
                    }
                })
                .unwrap();
            assert_eq!(trap, Trap::Syscall);
        }
        for (g, addr) in [(&a, DATA), (&b, DATA + 64)] {
            assert_eq!((g.word(addr), g.word(addr + 8)), (round, !round));
        }
    }
}
