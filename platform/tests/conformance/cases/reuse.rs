//! Host threads that run one guest thread after the other: what the first one had is not the next one's.
use cofferdam_platform::{Answers, Error, Event, Platform, Registers, Token, Trap};

use super::attacks::region;
use super::tasks::eventually;
use crate::code;
use crate::guest::*;

/// Registers, vector registers and CPU time of a thread that follows another one.
pub fn threads_begin_anew(p: Box<dyn Platform>) {
    let g = load(
        &*p,
        1,
        code!(
            "movq xmm7, rdi",
            "syscall",
            "movq rax, xmm7",
            "syscall",
            "4: jmp 4b"
        ),
    );
    let with = |rdi| Registers { rdi, ..start() };
    let mut stale: Vec<Box<dyn cofferdam_platform::Thread>> = Vec::new();
    for round in 0..20u64 {
        let (_, at) = g.run(&*p, &with(0x100 + round));
        let token = Token(10 + round);
        let thread = g.thread.spawn(token).unwrap();
        let regs = thread.registers().unwrap();
        assert_eq!((regs.rip, regs.rdi), (at.rip, 0x100 + round));
        if round % 2 == 0 {
            assert_eq!(thread.compare_exchange(DATA, 0, 0).unwrap(), Some(0));
        }
        let (user, system) = thread.cpu_time();
        assert!(user + system < 5_000_000, "{round}: {user} {system}");
        // Its parent's vector registers, not those of the one before.
        let (trap, at) = run(&*p, &*thread, token, &at);
        assert_eq!((trap, at.orig_rax), (Trap::Syscall, 0x100 + round));
        let (user, system) = thread.cpu_time();
        assert!(user + system < 5_000_000, "{round}: {user} {system}");
        // For the next one to inherit, if there were such a thing.
        run(&*p, &*thread, token, &with(0xbad));
        if round % 4 == 0 {
            thread.resume(&at).unwrap();
            let begin = g.space.cpu_time().0;
            eventually(&*p, || g.space.cpu_time().0 - begin > 20_000_000);
            thread.interrupt();
            assert_eq!(next(&*p, token), Trap::Interrupted);
            let (user, system) = thread.cpu_time();
            assert!(user + system > 5_000_000, "{user} {system}");
        }
        thread.terminate();
        for old in stale.iter().chain([&thread]) {
            assert!(matches!(old.resume(&start()), Err(Error::Gone)));
            assert!(matches!(old.spawn(Token(5)), Err(Error::Gone)));
            assert!(old.registers().is_err());
            old.interrupt();
            old.terminate();
        }
        stale.push(thread);
    }
}

/// The thread that leads the process ends, and others come and go: the process stays, with all their memory.
pub fn leaders_are_reused(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("lock inc qword ptr [rdi]", "syscall"));
    let at = Registers {
        rdi: DATA,
        ..start()
    };
    let mut last = g.thread.spawn(Token(2)).unwrap();
    g.thread.terminate();
    let host = g.space.host_pid();
    for i in 1..50 {
        let token = Token(2 + i);
        let next = last.spawn(token).unwrap();
        assert_eq!(run(&*p, &*next, token, &at).0, Trap::Syscall);
        drop(std::mem::replace(&mut last, next));
        assert_eq!((g.word(DATA), g.space.host_pid()), (i, host));
    }
    // Many at once, more than wait for others when they end; all together are one process.
    for round in 1..4 {
        let many: Vec<_> = (0..40)
            .map(|i| (Token(100 + i), last.spawn(Token(100 + i)).unwrap()))
            .collect();
        for (_, thread) in &many {
            thread.resume(&at).unwrap();
        }
        for _ in &many {
            assert!(matches!(
                p.next_event().unwrap(),
                Event::Trap(_, Trap::Syscall)
            ));
        }
        assert_eq!(g.word(DATA), 49 + 40 * round);
    }
    drop(last);
    eventually(&*p, || g.space.read(DATA, &mut [0]) == 0);
}

/// What the stub answered for one thread it does not answer for the next.
pub fn answers_are_forgotten(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = load(
        &*p,
        1,
        code!(
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "mov rax, 500",
            "jmp 2b"
        ),
    );
    let ask = |rax: i64| Registers {
        rax: rax.cast_unsigned(),
        r14: gate,
        ..start()
    };
    for round in 0..10u32 {
        let token = Token(u64::from(round) + 2);
        let thread = g.thread.spawn(token).unwrap();
        let (_, at) = run(&*p, &*thread, token, &ask(libc::SYS_gettid));
        assert_eq!(at.syscall_number(), libc::SYS_gettid.cast_unsigned());
        thread.answer(Some(&Answers {
            tid: 1000 + round,
            ..answers(true)
        }));
        // Answered: the call behind it is seen.
        let (_, at) = run(&*p, &*thread, token, &ask(libc::SYS_gettid));
        assert_eq!(at.syscall_number(), 500);
        thread.terminate();
    }
}

/// A thread that scribbles over the slots of others while those end and begin.
pub fn scribbled_idle_threads(p: Box<dyn Platform>) {
    let Some((_, window)) = region(&*p) else {
        return;
    };
    // Answers to go on, to end, to carry out lists, and nonsense; registers are what they are.
    for word in [
        0x102u64,
        0x602,
        0x702,
        0x0002_0202,
        0x0b02,
        0x103,
        1,
        u64::MAX,
    ] {
        for offset in [0xf00u64, 0xf40, 0xc80, 0] {
            // Over eight slots but its own.
            let g = load(
                &*p,
                1,
                code!(
                    "lea rbx, [rdi + 0x10000]",
                    "mov ecx, 8",
                    "4: mov [rbx], rsi",
                    "add rbx, 0x10000",
                    "dec ecx",
                    "jnz 4b",
                    "jmp 2b"
                ),
            );
            assert_eq!(g.space.write(DATA, &[0x0f, 0x05]), 2);
            let worker = g.thread.spawn(Token(2)).unwrap();
            g.thread
                .resume(&Registers {
                    rdi: window + offset,
                    rsi: word,
                    ..start()
                })
                .unwrap();
            'rounds: for round in 0..50u64 {
                let threads: Vec<_> = (0..3).map(|i| worker.spawn(Token(3 + i))).collect();
                for thread in threads.iter().flatten() {
                    let regs = Registers {
                        rip: CODE,
                        ..start()
                    };
                    if round % 3 == 0 && thread.resume(&regs).is_err() {
                        break 'rounds;
                    }
                }
                if threads.iter().any(Result::is_err) {
                    break;
                }
            }
            drop(worker);
            g.thread.terminate();
            eventually(&*p, || g.space.read(CODE, &mut [0]) == 0);
        }
    }
    // The platform is well.
    let g = load(&*p, 3, code!("syscall"));
    assert_eq!(g.run(&*p, &start()).0, Trap::Syscall);
}
