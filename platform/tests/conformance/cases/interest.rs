//! Changes of epoll sets that stubs note by themselves (`Thread::lend_interest`).
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cofferdam_platform::{INTEREST_FDS, NOTED, Noted, Platform, Registers, Trap};

use super::descriptors::{OTHER, asking, call};
use crate::code;
use crate::guest::*;

const EPOLL: u32 = 40;
const FD: u32 = 5;
const ADD: u64 = libc::EPOLL_CTL_ADD.cast_unsigned() as u64;
const DEL: u64 = libc::EPOLL_CTL_DEL.cast_unsigned() as u64;
const MOD: u64 = libc::EPOLL_CTL_MOD.cast_unsigned() as u64;

fn event(events: u32, data: u64) -> Vec<u8> {
    [&events.to_le_bytes()[..], &data.to_le_bytes()].concat()
}

fn noted(op: u64, fd: u32, events: u32, data: u64) -> Noted {
    Noted {
        op: op as i32,
        fd,
        events,
        data,
    }
}

/// What cannot fail is noted, in order, and all else is seen.
pub fn changes_are_noted(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = asking(&*p);
    let ask = |args: [u64; 4]| {
        let (trap, at) = g.run(&*p, &call(gate, libc::SYS_epoll_ctl, args));
        assert_eq!(trap, Trap::Syscall);
        (at.syscall_number() == OTHER).then_some(at.r12.cast_signed())
    };
    let (ep, fd) = (u64::from(EPOLL), u64::from(FD));
    let high = 1 << 32;
    g.space
        .write(DATA, &event(libc::EPOLLIN as u32, 0x1234_5678_9abc));
    assert_eq!(ask([ep, ADD, fd, DATA]), None, "not lent yet");
    assert!(g.thread.lend_interest(EPOLL));
    for op in 0..5 {
        assert_eq!(ask([ep, op, fd, DATA]), None, "nothing is known of it");
    }
    g.thread.set_interest(FD, Some(false));
    for op in [0, DEL, MOD, 4, u64::MAX] {
        assert_eq!(ask([ep, op, fd, DATA]), None, "not in the set: {op}");
    }
    assert_eq!(ask([ep + 1, ADD, fd, DATA]), None, "another instance");
    assert_eq!(ask([ep, ADD, fd + 1, DATA]), None, "another descriptor");
    assert_eq!(ask([ep, ADD, u64::from(INTEREST_FDS), DATA]), None);
    assert_eq!(ask([ep, ADD, u64::from(u32::MAX), DATA]), None);
    for bad in [0x6000_0000, 0, DATA + 3 * PAGE - 5, u64::MAX] {
        if g.space.read(bad, &mut [0; 12]) < 12 {
            assert_eq!(ask([ep, ADD, fd, bad]), None, "a fault is the sentry's");
        }
    }
    assert!(g.thread.take_noted(false).is_empty());
    assert_eq!(ask([ep | high, ADD | high, fd | high, DATA]), Some(0));
    for op in [ADD, 0, 4] {
        assert_eq!(ask([ep, op, fd, DATA]), None, "in the set: {op}");
    }
    g.space.write(DATA, &event(1 << 31 | 4, 7));
    assert_eq!(ask([ep, MOD, fd, DATA]), Some(0));
    g.space.write(DATA, &event(1 << 28 | 1, 7));
    assert_eq!(ask([ep, MOD, fd, DATA]), None, "EPOLLEXCLUSIVE");
    assert_eq!(ask([ep, DEL, fd, 0]), Some(0));
    let all = g.thread.take_noted(false);
    let (add, change) = (
        noted(ADD, FD, 1, 0x1234_5678_9abc),
        noted(MOD, FD, 1 << 31 | 4, 7),
    );
    assert_eq!(all[..2], [add, change]);
    assert_eq!((all[2].op, all[2].fd, all.len()), (2, FD, 3));

    // As many as there is room for; then the sentry has to take them.
    let last = INTEREST_FDS - 1;
    g.thread.set_interest(last, Some(true));
    for round in 0..3 {
        for i in 0..NOTED {
            g.space.write(DATA, &event(4, i as u64));
            assert_eq!(
                ask([ep, MOD, u64::from(last), DATA]),
                Some(0),
                "{round} {i}"
            );
        }
        assert_eq!(ask([ep, MOD, u64::from(last), DATA]), None, "full");
        let all = g.thread.take_noted(false);
        let data: Vec<u64> = all.iter().map(|n| n.data).collect();
        assert_eq!(data, (0..NOTED as u64).collect::<Vec<_>>());
    }
    assert_eq!(ask([ep, MOD, u64::from(last), DATA]), Some(0));
    assert_eq!(g.thread.take_noted(true).len(), 1);
    assert_eq!(ask([ep, MOD, u64::from(last), DATA]), None, "over");
    g.thread.note_on();
    assert_eq!(ask([ep, MOD, u64::from(last), DATA]), Some(0), "and on");
    g.thread.set_interest(last, None);
    assert_eq!(ask([ep, MOD, u64::from(last), DATA]), None);
    assert_eq!(g.thread.take_noted(false).len(), 1);
    g.thread.set_interest(last, Some(true));
    g.thread.answer(None);
    assert_eq!(ask([ep, MOD, u64::from(last), DATA]), None, "all is over");
    assert!(g.thread.lend_interest(EPOLL));
    assert_eq!(ask([ep, MOD, u64::from(last), DATA]), None, "known no more");
}

/// Interrupts, and a sentry that takes the notes and has the stub ask, meet calls at every instruction: none is lost or made twice.
pub fn changes_interrupted(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    // For ever: puts the descriptor in, with a count, and takes it out.
    let g = load(
        &*p,
        1,
        code!(
            "mov edi, r13d",
            "mov edx, 5",
            "mov r10, r15",
            "mov esi, 1",
            "mov eax, 233",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "test rax, rax",
            "jne 9f",
            "mov esi, 2",
            "mov eax, 233",
            "lea r11, [rip + 6f]",
            "jmp r14",
            "syscall",
            "6:",
            "test rax, rax",
            "jne 9f",
            "inc qword ptr [r15 + 4]",
            "jmp 2b",
            "9:",
            "ud2"
        ),
    );
    g.space.write(DATA, &event(1, 0));
    assert!(g.thread.lend_interest(EPOLL));
    // Of all changes: the last one, and the count of the last that put it in.
    let last = Mutex::new((DEL, u64::MAX));
    let change = |last: &mut (u64, u64), op: u64, data: u64| {
        assert_eq!(op, ADD + DEL - last.0, "after {last:?}");
        if op == ADD {
            assert_eq!(data, last.1.wrapping_add(1));
            last.1 = data;
        }
        last.0 = op;
    };
    let take = |last: &mut (u64, u64), end: bool| {
        for n in g.thread.take_noted(end) {
            assert_eq!(n.fd, FD);
            change(last, n.op as u64, n.data);
        }
    };
    let mut regs = Registers {
        r13: EPOLL.into(),
        r14: gate,
        r15: DATA,
        ..start()
    };
    let over = AtomicBool::new(false);
    let (mut interrupted, mut seen) = (0u64, 0u64);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut round = 0u32;
            while !over.load(SeqCst) {
                round = round.wrapping_add(1);
                g.thread.interrupt();
                for _ in 0..round % 300 {
                    std::hint::spin_loop();
                }
                if round.is_multiple_of(7) {
                    let mut last = last.lock().unwrap();
                    take(&mut last, true);
                    g.thread.set_interest(FD, None);
                    g.thread.note_on();
                }
            }
        });
        let start = Instant::now();
        while (interrupted < 20_000 || seen < 500) && start.elapsed() < Duration::from_secs(10) {
            let (trap, at) = g.run(&*p, &regs);
            regs = at;
            if trap == Trap::Interrupted {
                assert!((CODE..CODE + PAGE).contains(&at.rip), "{:#x}", at.rip);
                interrupted += 1;
                continue;
            }
            assert_eq!(
                (trap, at.syscall_number().cast_signed()),
                (Trap::Syscall, libc::SYS_epoll_ctl)
            );
            let [epoll, op, fd, address, ..] = at.syscall_args();
            assert_eq!((epoll, fd, address), (EPOLL.into(), FD.into(), DATA));
            seen += 1;
            let mut data = [0; 12];
            assert_eq!(g.space.read(DATA, &mut data), 12);
            let data = u64::from_le_bytes(data[4..].try_into().unwrap());
            let mut last = last.lock().unwrap();
            take(&mut last, false);
            change(&mut last, op, data);
            g.thread.set_interest(FD, Some(op == ADD));
            regs.rax = 0;
        }
        over.store(true, SeqCst);
    });
    let mut last = last.lock().unwrap();
    take(&mut last, true);
    let count = last.1;
    println!("{count} rounds, {interrupted} interrupts, {seen} calls seen");
    assert!(
        interrupted > 100 && seen > 100 && count > seen,
        "{count} {interrupted} {seen}"
    );
}
