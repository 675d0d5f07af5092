//! Futexes that the stub leaves to the host, for backends that do: results, sleepers and interrupts, and guests that make such calls
//! where and how they should not.
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cofferdam_platform::{CutShort, Error, Event, Platform, Registers, Thread, Token, Trap};

use super::attacks::{next_interrupting, region, system_calls};
use crate::code;
use crate::guest::*;

const FUTEX: u64 = libc::SYS_futex as u64;
const PRIVATE: u64 = 128;
const WAIT: u64 = PRIVATE;
const WAKE: u64 = PRIVATE | 1;
const CMP_REQUEUE: u64 = PRIVATE | 4;
const WAKE_OP: u64 = PRIVATE | 5;
const WAIT_BITSET: u64 = PRIVATE | 9;
const WAKE_BITSET: u64 = PRIVATE | 10;
const REALTIME: u64 = 256;

/// A call, then one that the sentry sees.
fn two_calls() -> &'static [u8] {
    code!(
        "lea r11, [rip + 5f]",
        "jmp r14",
        "syscall",
        "5:",
        "mov r13, rax",
        "mov eax, 500",
        "lea r11, [rip + 6f]",
        "jmp r14",
        "syscall",
        "6:",
        "jmp 2b"
    )
}

fn allow(thread: &dyn Thread, futexes: bool) {
    thread.answer(Some(&answers(futexes)));
}

fn call(gate: u64, args: [u64; 6]) -> Registers {
    let [rdi, rsi, rdx, r10, r8, r9] = args;
    Registers {
        rax: FUTEX,
        rbx: 0x1111,
        rbp: 0x2222,
        r12: 0x3333,
        r14: gate,
        r15: 0x5555,
        rdi,
        rsi,
        rdx,
        r10,
        r8,
        r9,
        eflags: 0x8d5, // CF PF AF ZF SF OF
        ..start()
    }
}

fn error(errno: i32) -> u64 {
    (-i64::from(errno)).cast_unsigned()
}

/// Runs until the thread sleeps in a futex.
fn fall_asleep(thread: &dyn Thread, regs: &Registers) {
    thread.resume(regs).unwrap();
    let start = Instant::now();
    while !thread.asleep() {
        assert!(start.elapsed() < Duration::from_secs(5));
        std::thread::yield_now();
    }
    // On its way.
    std::thread::sleep(Duration::from_millis(20));
}

fn host_gate(p: &dyn Platform) -> Option<u64> {
    let gate = gate_of(p)?;
    assert!(load(p, 9, two_calls()).thread.host_futexes());
    Some(gate)
}

/// What each call gives, without being asked; and which calls are asked all the same.
pub fn futex_results(p: Box<dyn Platform>) {
    let Some(gate) = host_gate(&*p) else { return };
    let g = load(&*p, 1, two_calls());
    g.space.write(DATA, &[5, 0, 0, 0, 6, 0, 0, 0]);
    g.space.write(DATA + 64, &[0; 16]);
    let zero = DATA + 64;
    // Adds 1 to the second word, wakes if it was above 0.
    let encoded = 1 << 28 | 4 << 24 | 1 << 12;
    let made: [([u64; 6], u64); 14] = [
        ([DATA, WAKE, 1, 0, 0, 0], 0),
        ([DATA, WAKE, u64::MAX, 0, 0, 0], 0),
        ([DATA, WAIT, 4, 0, 0, 0], error(libc::EAGAIN)),
        ([DATA, WAIT_BITSET, 4, 0, 0, 1], error(libc::EAGAIN)),
        ([DATA, WAIT_BITSET, 5, 0, 0, 0], error(libc::EINVAL)),
        ([DATA, WAIT_BITSET, 5, zero, 0, 1], error(libc::ETIMEDOUT)),
        (
            [DATA, WAIT_BITSET | REALTIME, 5, zero, 0, 1],
            error(libc::ETIMEDOUT),
        ),
        ([DATA, WAKE_BITSET, 1, 0, 0, 0], error(libc::EINVAL)),
        ([DATA, PRIVATE | 3, 1, 1, DATA + 8, 0], 0),
        ([DATA, CMP_REQUEUE, 1, 1, DATA + 8, 5], 0),
        ([DATA, CMP_REQUEUE, 1, 1, DATA + 8, 4], error(libc::EAGAIN)),
        ([DATA, WAKE_OP, 1, 1, DATA + 4, encoded], 0),
        ([DATA + 1, WAKE, 1, 0, 0, 0], error(libc::EINVAL)),
        // The upper half of the operation does not count.
        ([DATA, WAKE | 7 << 32, 1, 0, 0, 0], 0),
    ];
    let asked: [[u64; 6]; 12] = [
        [DATA, 1, 1, 0, 0, 0],
        [DATA, 0, 4, 0, 0, 0],
        [DATA, WAIT, 5, zero, 0, 0],
        [DATA, WAIT | REALTIME, 4, 0, 0, 0],
        [DATA, PRIVATE | 6, 0, 0, 0, 0],
        [DATA, PRIVATE | 7, 0, 0, 0, 0],
        [DATA, PRIVATE | 11, 0, 0, DATA + 8, 0],
        [DATA, PRIVATE | 12, 1, 1, DATA + 8, 5],
        [DATA, PRIVATE | 13, 0, 0, 0, 0],
        [DATA, WAKE | 1 << 30, 1, 0, 0, 0],
        // What faults.
        [8, WAIT, 0, 0, 0, 0],
        [DATA, WAIT_BITSET, 5, 8, 0, 1],
    ];
    for round in 0..200 {
        allow(&*g.thread, round % 4 != 3);
        for (args, result) in made {
            let regs = call(gate, args);
            let (trap, at) = g.run(&*p, &regs);
            if round % 4 == 3 {
                assert_eq!((trap, at.syscall_number()), (Trap::Syscall, FUTEX));
                assert_eq!(g.thread.cut_short(), None);
                continue;
            }
            assert_eq!(
                (trap, at.syscall_number()),
                (Trap::Syscall, 500),
                "{args:x?}"
            );
            let expected = Registers {
                rax: at.rax,
                orig_rax: at.orig_rax,
                r13: result,
                rip: at.rip,
                rcx: at.rip,
                r11: at.eflags,
                eflags: 0xad7,
                cs: at.cs,
                ss: at.ss,
                ..regs
            };
            assert_eq!(at, expected, "{args:x?}");
        }
        for args in asked {
            let (trap, at) = g.run(&*p, &call(gate, args));
            assert_eq!(
                (trap, at.syscall_number(), at.syscall_args()),
                (Trap::Syscall, FUTEX, args)
            );
            assert_eq!(g.thread.cut_short(), None);
        }
    }
    // Each of the 150 rounds in which the stub made them.
    assert_eq!(g.word(DATA) >> 32, 6 + 150);
    // By order.
    assert_eq!(g.thread.futex([DATA, WAKE, 1, 0, 0, 0]).unwrap(), 0);
    let einval = i64::from(-libc::EINVAL);
    assert_eq!(
        g.thread.futex([DATA + 2, WAKE, 1, 0, 0, 0]).unwrap(),
        einval
    );
    for refused in [WAIT, WAIT_BITSET, 1, PRIVATE | 6, WAKE | REALTIME] {
        let got = g.thread.futex([DATA, refused, 4, 0, 0, 1]);
        assert!(matches!(got, Err(Error::Op { .. })), "{refused:#x}");
        let regs = g.thread.registers().unwrap();
        if ![WAIT, WAIT_BITSET].contains(&refused) {
            let got = g
                .thread
                .resume_asleep(&regs, [DATA, refused, 4, 0, 0, 1], None);
            assert!(matches!(got, Err(Error::Op { .. })), "{refused:#x}");
        }
    }
}

/// Threads asleep are woken by siblings, by orders and by time, and nobody is told.
pub fn futex_sleepers(p: Box<dyn Platform>) {
    let Some(gate) = host_gate(&*p) else { return };
    let g = load(&*p, 1, two_calls());
    let sibling = g.thread.spawn(Token(2)).unwrap();
    allow(&*g.thread, true);
    allow(&*sibling, true);
    let wait = call(gate, [DATA, WAIT, 0, 0, 0, 0]);
    for round in 0..50 {
        assert!(!sibling.asleep());
        fall_asleep(&*sibling, &wait);
        let woken = if round % 2 == 0 {
            g.thread
                .futex([DATA, WAKE, 9, 0, 0, 0])
                .unwrap()
                .cast_unsigned()
        } else {
            g.thread
                .resume(&call(gate, [DATA, WAKE, 9, 0, 0, 0]))
                .unwrap();
            let Event::Trap(first, Trap::Syscall) = p.next_event().unwrap() else {
                panic!()
            };
            let other = Token(3 - first.0);
            assert_eq!(next(&*p, other), Trap::Syscall);
            let at = g.thread.registers().unwrap();
            assert_eq!(at.syscall_number(), 500);
            at.r13
        };
        assert_eq!(woken, 1);
        if round % 2 == 0 {
            assert_eq!(next(&*p, Token(2)), Trap::Syscall);
        }
        let at = sibling.registers().unwrap();
        assert_eq!((at.syscall_number(), at.r13), (500, 0));
        assert!(!sibling.asleep() && sibling.cut_short().is_none());
    }
    // By order, of a call that trapped; vector registers survive.
    let regs = call(gate, [DATA, WAIT, 0, 0, 0, 0]);
    let trapped = Registers {
        rip: CODE + 10,
        ..regs
    };
    allow(&*sibling, false);
    let (trap, at) = run(&*p, &*sibling, Token(2), &trapped);
    assert_eq!((trap, at.syscall_number()), (Trap::Syscall, FUTEX));
    let now = |add: u64| {
        let t = nix_now();
        Some(t + add)
    };
    let begin = Instant::now();
    sibling
        .resume_asleep(&at, at.syscall_args(), now(30_000_000))
        .unwrap();
    assert_eq!(next(&*p, Token(2)), Trap::Syscall);
    assert!(begin.elapsed() >= Duration::from_millis(29));
    let at = sibling.registers().unwrap();
    assert_eq!((at.syscall_number(), at.r13), (500, error(libc::ETIMEDOUT)));
    assert_eq!(
        (at.rdi, at.rsi, at.rdx, at.r10, at.r8, at.r9, at.rbx, at.r15),
        (DATA, WAIT, 0, 0, 0, 0, 0x1111, 0x5555)
    );
}

/// CLOCK_MONOTONIC in nanoseconds.
fn nix_now() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills `t`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut t) };
    t.tv_sec.cast_unsigned() * 1_000_000_000 + t.tv_nsec.cast_unsigned()
}

/// A sleeper that is interrupted tells of its call, and can go on with it; one that is terminated ends.
pub fn futex_interrupted(p: Box<dyn Platform>) {
    let Some(gate) = host_gate(&*p) else { return };
    let g = load(&*p, 1, two_calls());
    let sibling = g.thread.spawn(Token(2)).unwrap();
    allow(&*sibling, true);
    let args = [DATA, WAIT_BITSET, 0, 0, 7, 0xf0];
    for round in 0..50 {
        fall_asleep(&*sibling, &call(gate, args));
        for nth in 0..3 {
            sibling.interrupt();
            assert_eq!(next(&*p, Token(2)), Trap::Syscall);
            let expected = match nth {
                0 => [Some(CutShort::Own); 2],
                _ => [Some(CutShort::Ordered), Some(CutShort::Before)],
            };
            assert!(expected.contains(&sibling.cut_short()) && !sibling.asleep());
            let at = sibling.registers().unwrap();
            assert_eq!((at.syscall_number(), at.syscall_args()), (FUTEX, args));
            assert_eq!((at.rcx, at.r11), (at.rip, at.eflags));
            sibling.resume_asleep(&at, args, None).unwrap();
            let start = Instant::now();
            while !sibling.asleep() {
                assert!(start.elapsed() < Duration::from_secs(5));
            }
            if round % 2 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let start = Instant::now();
        while g.thread.futex([DATA, WAKE_BITSET, 9, 0, 0, 0x80]).unwrap() != 1 {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(next(&*p, Token(2)), Trap::Syscall);
        let at = sibling.registers().unwrap();
        assert_eq!((at.syscall_number(), at.r13), (500, 0));
        assert_eq!(
            (at.rbx, at.rbp, at.r12, at.r15),
            (0x1111, 0x2222, 0x3333, 0x5555)
        );
    }
    fall_asleep(&*sibling, &call(gate, args));
    sibling.terminate();
    // A process whose threads all sleep.
    let other = load(&*p, 3, two_calls());
    allow(&*other.thread, true);
    fall_asleep(&*other.thread, &call(gate, args));
    other.space.kill();
    assert_eq!(next(&*p, Token(3)), Trap::Gone);
    assert_eq!(
        g.thread.futex([DATA, WAKE_BITSET, 9, 0, 0, 0x80]).unwrap(),
        0
    );
}

/// Interrupts meet the way into the sleep at every instruction: each ends it.
pub fn futex_interrupts_arrive(p: Box<dyn Platform>) {
    let Some(gate) = host_gate(&*p) else { return };
    let g = load(&*p, 1, two_calls());
    allow(&*g.thread, true);
    let wait = call(gate, [DATA, WAIT, 0, 0, 0, 0]);
    let (mut gates, mut calls, mut sleeps) = (0, 0, 0);
    let mut by_order = None;
    for round in 0..6000u64 {
        match by_order.take() {
            Some(at) => g
                .thread
                .resume_asleep(&at, wait.syscall_args(), None)
                .unwrap(),
            None => g.thread.resume(&wait).unwrap(),
        }
        for _ in 0..round % 700 {
            std::hint::spin_loop();
        }
        g.thread.interrupt();
        let start = Instant::now();
        let trap = next(&*p, g.token);
        assert!(start.elapsed() < Duration::from_secs(2), "round {round}");
        let at = g.thread.registers().unwrap();
        match trap {
            Trap::Interrupted => {
                gates += 1;
                assert!((CODE..CODE + PAGE).contains(&at.rip), "{:#x}", at.rip);
            }
            Trap::Syscall => {
                // What is met just before it sleeps is told as any call.
                match g.thread.cut_short() {
                    Some(_) => sleeps += 1,
                    None => calls += 1,
                }
                assert_eq!(
                    (at.syscall_number(), at.syscall_args()),
                    (FUTEX, wait.syscall_args())
                );
                by_order = (round % 3 == 0).then_some(at);
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{gates} before the call, {calls} as a call, {sleeps} in it");
    assert!(sleeps > 0);
}

/// Signals from outside are not the guest's, and its sleep goes on.
pub fn futex_signals_from_outside(p: Box<dyn Platform>) {
    let Some(gate) = host_gate(&*p) else { return };
    let g = load(&*p, 1, two_calls());
    allow(&*g.thread, true);
    let wait = call(gate, [DATA, WAIT, 0, 0, 0, 0]);
    let Some(pid) = g.space.host_pid() else {
        panic!("no pid")
    };
    let send = |signals: &[i32]| {
        for signal in signals {
            // SAFETY: no memory involved.
            unsafe { libc::kill(pid.cast_signed(), *signal) };
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // Stopped and let go on: the host does that by itself, with a system call of its own where there is a timeout.
    fall_asleep(&*g.thread, &wait);
    send(&[libc::SIGSTOP, libc::SIGCONT, libc::SIGUSR1, libc::SIGTERM]);
    assert!(g.thread.asleep());
    // One that has a handler is as an interrupt that nobody asked for.
    for _ in 0..20 {
        send(&[libc::SIGSEGV]);
        assert_eq!(next(&*p, g.token), Trap::Syscall);
        assert!(g.thread.cut_short().is_some());
        let at = g.thread.registers().unwrap();
        let until = Some(nix_now() + 100_000_000);
        g.thread
            .resume_asleep(&at, at.syscall_args(), until)
            .unwrap();
        send(&[libc::SIGSTOP, libc::SIGCONT]);
        assert_eq!(next(&*p, g.token), Trap::Syscall);
        let at = g.thread.registers().unwrap();
        assert_eq!((at.syscall_number(), at.r13), (500, error(libc::ETIMEDOUT)));
        fall_asleep(&*g.thread, &wait);
    }
}

/// Many sleepers: threads, wakes by the hundred, and no processor time while nothing happens.
pub fn futex_crowd(p: Box<dyn Platform>) {
    let Some(gate) = host_gate(&*p) else { return };
    let g = load(&*p, 1, two_calls());
    allow(&*g.thread, true);
    let crowd: Vec<Box<dyn Thread>> = (0..100)
        .map(|i| g.thread.spawn(Token(100 + i)).unwrap())
        .collect();
    for thread in &crowd {
        allow(&**thread, true);
        thread
            .resume(&call(gate, [DATA, WAIT, 0, 0, 0, 0]))
            .unwrap();
    }
    let start = Instant::now();
    while !crowd.iter().all(|t| t.asleep()) {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
    let time = |s: &dyn cofferdam_platform::AddressSpace| {
        let (user, system) = s.cpu_time();
        user + system
    };
    let before = time(&*g.space);
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            p.wake();
        });
        assert_eq!(p.next_event().unwrap(), Event::Woken);
    });
    let spent = time(&*g.space) - before;
    assert!(spent < 5_000_000, "{spent} ns while all slept");
    // A hundred calls of somebody else pass unhindered.
    let mut regs = call(gate, [DATA, 1, 0, 0, 0, 0]);
    for _ in 0..100 {
        let (trap, at) = g.run(&*p, &regs);
        assert_eq!(trap, Trap::Syscall);
        regs = at;
    }
    assert_eq!(
        g.thread
            .futex([DATA, CMP_REQUEUE, 30, 30, DATA + 8, 0])
            .unwrap(),
        60
    );
    assert_eq!(g.thread.futex([DATA + 8, WAKE, 99, 0, 0, 0]).unwrap(), 30);
    assert_eq!(g.thread.futex([DATA, WAKE, 99, 0, 0, 0]).unwrap(), 40);
    for _ in &crowd {
        let Event::Trap(Token(100..200), Trap::Syscall) = p.next_event().unwrap() else {
            panic!()
        };
    }
}

/// The guest makes the stub's futex call itself, with any registers, from all of the stub's instructions that call: it is one that the filter lets
/// pass, a trap, or the guest's end; and it can be interrupted.
pub fn futex_jumped_to(p: Box<dyn Platform>) {
    let Some((base, window)) = region(&*p) else {
        return;
    };
    let words = [DATA, window, window + 0xf00, base, 8, u64::MAX];
    let operations = [
        WAIT,
        WAKE,
        WAKE_OP,
        WAIT_BITSET,
        0,
        1,
        5,
        6,
        9,
        11,
        134,
        139,
        140,
        141,
    ];
    for place in system_calls(&*p, base) {
        for rsi in operations {
            for rdi in words {
                for r15 in [DATA, window, 0] {
                    let g = load(&*p, 1, code!("syscall"));
                    let regs = Registers {
                        rip: place,
                        rax: FUTEX,
                        rdi,
                        rsi,
                        rdx: 0,
                        r8: rdi,
                        r9: 1,
                        r15,
                        ..start()
                    };
                    g.thread.resume(&regs).unwrap();
                    let begin = Instant::now();
                    match next_interrupting(&*p, &*g.thread) {
                        Event::Trap(Token(1), _) => {}
                        other => panic!("{other:?}"),
                    }
                    assert!(begin.elapsed() < Duration::from_secs(5), "{rsi:#x}");
                }
            }
        }
        // What the host keeps of an interrupted call.
        let g = load(&*p, 1, code!("syscall"));
        let regs = Registers {
            rip: place,
            rax: libc::SYS_restart_syscall as u64,
            ..start()
        };
        g.thread.resume(&regs).unwrap();
        assert!(matches!(
            next_interrupting(&*p, &*g.thread),
            Event::Trap(Token(1), _)
        ));
    }
    let fresh = load(&*p, 4, code!("syscall"));
    assert_eq!(fresh.run(&*p, &start()).0, Trap::Syscall);
}

/// A thread leads another one, whose signal frames it rewrites, to where it sleeps for ever while the sentry waits for it: nobody else waits long.
pub fn futex_hijacked_exchange(p: Box<dyn Platform>) {
    let Some((base, window)) = region(&*p) else {
        return;
    };
    // Calls for ever; from its 11th byte on one word is rewritten for ever; from its 16th on it goes to sleep at r14.
    let code = code!(
        "mov rax, 39",
        "syscall",
        "jmp 2b",
        "5: mov [rdi], rdx",
        "jmp 5b",
        "mov eax, 202",
        "mov edi, 0x200000",
        "mov esi, 128",
        "xor edx, edx",
        "xor r10d, r10d",
        "mov r15, rdi",
        "lea rsp, [rdi + 4096]",
        "mov r14, [rdi + 256]",
        "jmp r14"
    );
    let places = system_calls(&*p, base);
    let mut slowest = Duration::ZERO;
    let over = Instant::now() + Duration::from_secs(3);
    // The alternate stack's end, where the frame that `iretq` takes may lie.
    for (i, offset) in (0xe000..0xffc0u64).step_by(16).enumerate() {
        if Instant::now() > over {
            break;
        }
        let place = places[i % places.len()];
        let g = load(&*p, 1, code);
        g.space.write(DATA + 256, &place.to_le_bytes());
        let busy = g.thread.spawn(Token(2)).unwrap();
        busy.resume(&Registers {
            rip: CODE + 11,
            rdi: window + offset,
            rdx: CODE + 16,
            ..start()
        })
        .unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                while !stop.load(SeqCst) {
                    g.thread.interrupt();
                }
            });
            for _ in 0..30 {
                if g.thread.resume(&start()).is_err() {
                    break;
                }
                let gone = loop {
                    match p.next_event().unwrap() {
                        Event::Trap(Token(1), trap) => break trap == Trap::Gone,
                        Event::Trap(..) => {}
                        Event::Woken => panic!("woken"),
                    }
                };
                let begin = Instant::now();
                let failed = g.thread.compare_exchange(DATA, 0, 0).is_err();
                slowest = slowest.max(begin.elapsed());
                if gone || failed {
                    break;
                }
            }
            stop.store(true, SeqCst);
        });
        drop(busy);
        drop(g);
        p.wake();
        while p.next_event().unwrap() != Event::Woken {}
    }
    println!("the slowest exchange took {slowest:?}");
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
}
