//! Duties 5 to 8: processes and threads, their birth and end, and what they carry along.
use std::time::{Duration, Instant};

use cofferdam_platform::{
    AddressSpace, Error, Event, MemOp, Platform, Registers, Thread, Token, Trap,
};

use crate::code;
use crate::guest::*;

pub fn fork_copies_memory(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("inc qword ptr [rdi]", "syscall"));
    let (_, at) = g.run(
        &*p,
        &Registers {
            rdi: DATA,
            rbx: 42,
            ..start()
        },
    );
    let (space, child) = g.thread.fork(Token(2)).unwrap();
    let regs = child.registers().unwrap();
    assert_eq!((regs.rbx, regs.rip, regs.rdi), (42, at.rip, DATA));
    assert_eq!(word(&*space, DATA), 1);
    for i in 2..10 {
        let (trap, _) = run(&*p, &*child, Token(2), &Registers { rip: CODE, ..regs });
        assert_eq!(trap, Trap::Syscall);
        assert_eq!((word(&*space, DATA), g.word(DATA)), (i, 1));
    }
    // Both can map on their own.
    child
        .execute(&[MemOp::MapAnon {
            addr: 0x30_0000,
            len: PAGE,
            prot: RW,
        }])
        .unwrap();
    assert_eq!(space.write(0x30_0000, b"x"), 1);
    assert_eq!(g.space.write(0x30_0000, b"x"), 0);
    drop(child);
    g.run(
        &*p,
        &Registers {
            rdi: DATA,
            ..start()
        },
    );
    assert_eq!(g.word(DATA), 2);
    // Killed, it is gone as soon as it has run once more.
    eventually(&*p, || space.read(DATA, &mut [0; 1]) == 0);
}

pub fn fork_of_fork(p: Box<dyn Platform>) {
    let g = load(&*p, 0, code!("inc qword ptr [rdi]", "syscall"));
    let mut chain: Vec<(std::sync::Arc<dyn AddressSpace>, Box<dyn Thread>)> =
        vec![(g.space, g.thread)];
    for i in 1..20 {
        let last = &chain.last().unwrap().1;
        run(
            &*p,
            &**last,
            Token(i - 1),
            &Registers {
                rdi: DATA,
                ..start()
            },
        );
        let next = last.fork(Token(i)).unwrap();
        chain.push(next);
    }
    for (i, (space, _)) in chain.iter().enumerate() {
        assert_eq!(word(&**space, DATA), (i as u64 + 1).min(19));
    }
}

pub fn spawn_shares_memory(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("lock inc qword ptr [rdi]", "syscall"));
    let threads: Vec<_> = (10..20)
        .map(|i| (Token(i), g.thread.spawn(Token(i)).unwrap()))
        .collect();
    for (_, thread) in &threads {
        thread
            .resume(&Registers {
                rdi: DATA,
                ..start()
            })
            .unwrap();
    }
    for _ in &threads {
        assert!(matches!(
            p.next_event().unwrap(),
            Event::Trap(Token(10..20), Trap::Syscall)
        ));
    }
    assert_eq!(g.word(DATA), 10);
    // Mappings by one are seen by all; a thread of a thread is a thread.
    threads[3]
        .1
        .execute(&[MemOp::MapAnon {
            addr: 0x30_0000,
            len: PAGE,
            prot: RW,
        }])
        .unwrap();
    let nested = threads[3].1.spawn(Token(30)).unwrap();
    assert_eq!(
        run(
            &*p,
            &*nested,
            Token(30),
            &Registers {
                rdi: 0x30_0000,
                ..start()
            }
        )
        .0,
        Trap::Syscall
    );
    assert_eq!(g.word(0x30_0000), 1);
    // A fork has one thread.
    let (space, child) = threads[5].1.fork(Token(40)).unwrap();
    assert_eq!(
        run(
            &*p,
            &*child,
            Token(40),
            &Registers {
                rdi: DATA,
                ..start()
            }
        )
        .0,
        Trap::Syscall
    );
    assert_eq!((word(&*space, DATA), g.word(DATA)), (11, 10));
    for (i, (_, thread)) in threads.iter().enumerate() {
        if i % 2 == 0 {
            thread.terminate();
            assert!(matches!(thread.resume(&start()), Err(Error::Gone)));
        }
    }
    assert_eq!(
        run(
            &*p,
            &*threads[1].1,
            Token(11),
            &Registers {
                rdi: DATA,
                ..start()
            }
        )
        .0,
        Trap::Syscall
    );
    assert_eq!(g.word(DATA), 11);
}

/// The first thread may end before the others; memory stays reachable; the last one ends the process.
pub fn leader_ends_first(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("inc qword ptr [rdi]", "syscall"));
    let other = g.thread.spawn(Token(2)).unwrap();
    g.thread.terminate();
    assert!(matches!(g.thread.execute(&[]), Err(Error::Gone)));
    assert_eq!(
        run(
            &*p,
            &*other,
            Token(2),
            &Registers {
                rdi: DATA,
                ..start()
            }
        )
        .0,
        Trap::Syscall
    );
    assert_eq!(word(&*g.space, DATA), 1);
    let third = other.spawn(Token(3)).unwrap();
    let (child_space, child) = third.fork(Token(4)).unwrap();
    drop(other);
    assert_eq!(
        run(
            &*p,
            &*third,
            Token(3),
            &Registers {
                rdi: DATA,
                ..start()
            }
        )
        .0,
        Trap::Syscall
    );
    assert_eq!(word(&*g.space, DATA), 2);
    drop(third);
    eventually(&*p, || g.space.read(DATA, &mut [0]) == 0);
    assert_eq!(word(&*child_space, DATA), 1);
    drop(child);
}

/// Waits for `done`, letting the platform work meanwhile.
pub fn eventually(p: &dyn Platform, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "never happened");
        p.wake();
        assert_eq!(p.next_event().unwrap(), Event::Woken);
    }
}

pub fn terminate_running(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("inc qword ptr [rdi]", "jmp 2b"));
    let busy = g.thread.spawn(Token(2)).unwrap();
    busy.resume(&Registers {
        rdi: DATA,
        ..start()
    })
    .unwrap();
    eventually(&*p, || g.word(DATA) > 1000);
    busy.terminate();
    let mut last = u64::MAX;
    eventually(&*p, || {
        std::thread::sleep(Duration::from_millis(1));
        std::mem::replace(&mut last, g.word(DATA)) == g.word(DATA)
    });
    // The last one, while it runs.
    g.thread
        .resume(&Registers {
            rdi: DATA,
            ..start()
        })
        .unwrap();
    g.thread.terminate();
    eventually(&*p, || g.space.read(DATA, &mut [0]) == 0);
}

/// Handles may be dropped on any thread.
pub fn drop_elsewhere(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("inc qword ptr [rdi]", "jmp 2b"));
    let stopped = g.thread.spawn(Token(2)).unwrap();
    let running = g.thread.spawn(Token(3)).unwrap();
    running
        .resume(&Registers {
            rdi: DATA,
            ..start()
        })
        .unwrap();
    let space = g.space.clone();
    std::thread::spawn(move || {
        drop(stopped);
        drop(running);
        drop(g);
    })
    .join()
    .unwrap();
    eventually(&*p, || space.read(DATA, &mut [0]) == 0);
}

pub fn kill_running(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("jmp 2b"));
    let other = g.thread.spawn(Token(2)).unwrap();
    g.thread.resume(&start()).unwrap();
    other.resume(&start()).unwrap();
    let space = g.space.clone();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        space.kill();
        space.kill();
    });
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let Event::Trap(Token(t), Trap::Gone) = p.next_event().unwrap() else {
            panic!()
        };
        tokens.push(t);
    }
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 2]);
    killer.join().unwrap();
    p.wake();
    assert_eq!(p.next_event().unwrap(), Event::Woken); // and not Gone again
    assert!(matches!(g.thread.resume(&start()), Err(Error::Gone)));
}

/// A stopped thread that is killed makes no event, and its handle says so.
pub fn kill_stopped(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    let other = g.thread.spawn(Token(2)).unwrap();
    g.run(&*p, &start());
    g.space.kill();
    assert!(
        matches!(g.thread.resume(&start()), Err(Error::Gone)) || next(&*p, Token(1)) == Trap::Gone
    );
    assert!(matches!(
        g.thread.execute(&[MemOp::Unmap {
            addr: DATA,
            len: PAGE
        }]),
        Err(Error::Gone)
    ));
    assert!(matches!(g.thread.fork(Token(3)), Err(Error::Gone)));
    assert!(matches!(other.spawn(Token(3)), Err(Error::Gone)));
    assert!(matches!(
        other.compare_exchange(DATA, 0, 0),
        Err(Error::Gone)
    ));
    assert!(matches!(other.fpstate(), Err(Error::Gone)));
    for _ in 0..100 {
        p.wake();
        assert_eq!(p.next_event().unwrap(), Event::Woken);
    }
    // The platform is well.
    let g = load(&*p, 3, code!("syscall"));
    assert_eq!(g.run(&*p, &start()).0, Trap::Syscall);
}

/// Ids of dead processes are used again by others; old handles must not reach those.
pub fn handles_after_death(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    g.space.kill();
    let mut b = [0; 8];
    eventually(&*p, || g.space.read(CODE, &mut b) == 0);
    let live = load(&*p, 2, code!("syscall"));
    assert_eq!(g.space.read(CODE, &mut b), 0);
    assert_eq!(g.space.write(CODE, &b), 0);
    g.space.kill();
    g.thread.interrupt();
    g.thread.terminate();
    let _ = g.space.cpu_time();
    assert_eq!(live.run(&*p, &start()).0, Trap::Syscall);
}

pub fn many_threads(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("lock inc qword ptr [rdi]", "syscall"));
    let threads: Vec<_> = (0..300)
        .map(|i| g.thread.spawn(Token(i + 10)).unwrap())
        .collect();
    for thread in &threads {
        thread
            .resume(&Registers {
                rdi: DATA,
                ..start()
            })
            .unwrap();
    }
    for _ in &threads {
        assert!(matches!(
            p.next_event().unwrap(),
            Event::Trap(_, Trap::Syscall)
        ));
    }
    assert_eq!(g.word(DATA), 300);
    // Slots are used again.
    for round in 0..3000 {
        g.thread.spawn(Token(round)).unwrap();
        if round % 100 == 0 {
            p.wake();
            p.next_event().unwrap();
        }
    }
}

pub fn many_processes(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("inc qword ptr [rdi]", "syscall"));
    let mut all: Vec<_> = (0..100)
        .map(|i| g.thread.fork(Token(i + 10)).unwrap())
        .collect();
    all.extend(
        (0..50)
            .map(|i| load(&*p, i + 110, code!("inc qword ptr [rdi]", "syscall")))
            .map(|g| (g.space, g.thread)),
    );
    for (_, thread) in &all {
        thread
            .resume(&Registers {
                rdi: DATA,
                ..start()
            })
            .unwrap();
    }
    for _ in &all {
        assert!(matches!(
            p.next_event().unwrap(),
            Event::Trap(_, Trap::Syscall)
        ));
    }
    assert!(all.iter().all(|(space, _)| word(&**space, DATA) == 1));
}

pub fn cpu_time(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("jmp 2b"));
    let idle = g.thread.spawn(Token(2)).unwrap();
    g.thread.resume(&start()).unwrap();
    eventually(&*p, || g.space.cpu_time().0 > 20_000_000);
    g.thread.interrupt();
    assert_eq!(next(&*p, Token(1)), Trap::Interrupted);
    let (user, _) = g.thread.cpu_time();
    assert!(user > 10_000_000, "{user}");
    let (user, system) = idle.cpu_time();
    assert!(user + system < 10_000_000, "{user} {system}");
    drop(idle);
    g.space.kill();
    eventually(&*p, || g.space.read(CODE, &mut [0]) == 0);
    assert!(g.space.cpu_time().0 > 10_000_000);
}

/// Duty 6, through traps, interrupts, exchanges, fork and spawn.
pub fn xmm_survives(p: Box<dyn Platform>) {
    let g = load(
        &*p,
        1,
        code!(
            "movq xmm0, rdi",
            "movq xmm15, rsi",
            "fld1",
            "syscall", // first
            "movq rax, xmm0",
            "movq rbx, xmm15",
            "fstp qword ptr [rsp - 8]",
            "mov rcx, [rsp - 8]",
            "mov [rdx], rcx",
            "syscall",
        ),
    );
    let (_, at) = g.run(
        &*p,
        &Registers {
            rdi: 0x1111,
            rsi: 0x2222,
            ..start()
        },
    );
    g.thread
        .execute(&[MemOp::MapAnon {
            addr: 0x30_0000,
            len: PAGE,
            prot: RW,
        }])
        .unwrap();
    assert_eq!(g.thread.compare_exchange(DATA, 0, 0).unwrap(), Some(0));
    let (space, child) = g.thread.fork(Token(2)).unwrap();
    let sibling = g.thread.spawn(Token(3)).unwrap();
    let end = Registers {
        rdx: DATA + 64,
        ..at
    };
    for (space, thread, token) in [
        (&*space, &*child, Token(2)),
        (&*g.space, &*sibling, Token(3)),
        (&*g.space, &*g.thread, Token(1)),
    ] {
        let (trap, at) = run(&*p, thread, token, &end);
        assert_eq!((trap, at.orig_rax, at.rbx), (Trap::Syscall, 0x1111, 0x2222));
        assert_eq!(word(space, DATA + 64), 1f64.to_bits());
    }
    // A new process does not see what another had.
    let fresh = load(&*p, 4, code!("movq rax, xmm15", "syscall"));
    assert_eq!(fresh.run(&*p, &start()).1.orig_rax, 0);
}

pub fn fpstate(p: Box<dyn Platform>) {
    let g = load(
        &*p,
        1,
        code!("movq xmm3, rdi", "syscall", "movq rax, xmm3", "syscall"),
    );
    let (_, at) = g.run(
        &*p,
        &Registers {
            rdi: 0xabcd,
            ..start()
        },
    );
    let saved = g.thread.fpstate().unwrap();
    assert!(saved.len() >= 576);
    assert_eq!(saved[160 + 48..160 + 56], 0xabcdu64.to_le_bytes());
    let mut changed = saved.clone();
    changed[160 + 48..160 + 56].copy_from_slice(&0x77u64.to_le_bytes());
    g.thread.set_fpstate(&changed).unwrap();
    assert_eq!(g.run(&*p, &at).1.orig_rax, 0x77);
    // Hostile states are refused and leave the thread usable.
    let mut bad_mxcsr = saved.clone();
    bad_mxcsr[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut bad_header = saved.clone();
    bad_header[512..576].fill(0xff);
    for bad in [
        &bad_mxcsr[..],
        &bad_header,
        &[],
        &saved[..100],
        &vec![0xff; 100_000],
    ] {
        assert!(g.thread.set_fpstate(bad).is_err());
    }
    g.thread.set_fpstate(&saved).unwrap();
    assert_eq!(g.run(&*p, &at).1.orig_rax, 0xabcd);
}

pub fn segment_bases(p: Box<dyn Platform>) {
    let g = load(
        &*p,
        1,
        code!("mov rax, fs:[0]", "mov rbx, gs:[8]", "syscall"),
    );
    assert_eq!(g.space.write(DATA, &5u64.to_le_bytes()), 8);
    assert_eq!(g.space.write(DATA + 16, &6u64.to_le_bytes()), 8);
    let (_, at) = g.run(
        &*p,
        &Registers {
            fs_base: DATA,
            gs_base: DATA + 8,
            ..start()
        },
    );
    assert_eq!(
        (at.orig_rax, at.rbx, at.fs_base, at.gs_base),
        (5, 6, DATA, DATA + 8)
    );
    let (_, child) = g.thread.fork(Token(2)).unwrap();
    let regs = child.registers().unwrap();
    assert_eq!((regs.fs_base, regs.gs_base), (DATA, DATA + 8));
    let (_, at) = run(&*p, &*child, Token(2), &Registers { rip: CODE, ..regs });
    assert_eq!((at.orig_rax, at.rbx), (5, 6));
}
