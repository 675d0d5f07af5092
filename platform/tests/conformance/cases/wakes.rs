//! Duty 4, and waking the worker.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cofferdam_platform::{Event, MemOp, Platform, Registers, Token, Trap};

use crate::code;
use crate::guest::*;

pub fn interrupt_busy_loop(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("inc rax", "jmp 2b"));
    let mut regs = start();
    for round in 0..50 {
        g.thread.resume(&regs).unwrap();
        if round % 2 == 0 {
            g.thread.interrupt();
            assert_eq!(next(&*p, Token(1)), Trap::Interrupted);
        } else {
            std::thread::scope(|s| {
                s.spawn(|| {
                    std::thread::sleep(Duration::from_millis(2));
                    g.thread.interrupt();
                });
                assert_eq!(next(&*p, Token(1)), Trap::Interrupted);
            });
        }
        regs = g.thread.registers().unwrap();
        assert!((CODE..CODE + 5).contains(&regs.rip));
    }
    assert!(regs.rax > 1000);
    // Also when the guest can take no signal on its stack, and steps itself.
    g.thread
        .resume(&Registers {
            rsp: 8,
            eflags: 0x400,
            ..regs
        })
        .unwrap();
    g.thread.interrupt();
    assert_eq!(next(&*p, Token(1)), Trap::Interrupted);
}

pub fn interrupt_when_stopped(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall", "jmp 2b"));
    let (_, mut at) = g.run(&*p, &start());
    for _ in 0..5 {
        g.thread.interrupt();
    }
    g.thread
        .execute(&[MemOp::MapAnon {
            addr: 0x30_0000,
            len: PAGE,
            prot: RW,
        }])
        .unwrap();
    let mut spurious = 0;
    for _ in 0..10 {
        let (trap, regs) = g.run(&*p, &at);
        at = regs;
        spurious += u32::from(trap == Trap::Interrupted);
    }
    assert!(spurious <= 1);
}

/// Interrupts from another thread at any moment harm neither traps nor exchanges.
pub fn interrupt_storm(p: Box<dyn Platform>) {
    let g = load(
        &*p,
        1,
        code!("mov eax, 39", "syscall", "inc qword ptr [rdi]", "jmp 2b"),
    );
    let stop = AtomicBool::new(false);
    let mut regs = Registers {
        rdi: DATA,
        ..start()
    };
    let mut done = 0;
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut pause = 1;
            while !stop.load(SeqCst) {
                g.thread.interrupt();
                std::thread::sleep(Duration::from_micros(pause));
                pause = (pause * 7 + 3) % 200;
            }
        });
        for i in 0..3000u64 {
            let (trap, at) = g.run(&*p, &regs);
            regs = at;
            match trap {
                Trap::Interrupted => {}
                Trap::Syscall => {
                    assert_eq!(regs.orig_rax, 39);
                    done += 1;
                    regs.set_return(1);
                    if i % 8 == 0 {
                        g.thread
                            .execute(&[MemOp::MapAnon {
                                addr: 0x30_0000,
                                len: PAGE,
                                prot: RW,
                            }])
                            .unwrap();
                        assert_eq!(g.thread.compare_exchange(DATA + 64, 0, 0).unwrap(), Some(0));
                    }
                    if i % 64 == 0 {
                        let (space, child) = g.thread.fork(Token(2)).unwrap();
                        assert_eq!(word(&*space, DATA), g.word(DATA));
                        let thread = g.thread.spawn(Token(3)).unwrap();
                        thread.terminate();
                        child.terminate();
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, SeqCst);
    });
    assert!(done > 10, "{done}");
    assert!(g.word(DATA) >= done - 1);
}

pub fn wake_coalesces(p: Box<dyn Platform>) {
    for _ in 0..10 {
        p.wake();
    }
    assert_eq!(p.next_event().unwrap(), Event::Woken);
    let g = load(&*p, 1, code!("syscall"));
    assert_eq!(g.run(&*p, &start()).0, Trap::Syscall); // no second Woken
    g.thread.resume(&start()).unwrap();
    p.wake();
    let (a, b) = (p.next_event().unwrap(), p.next_event().unwrap());
    let trap = Event::Trap(Token(1), Trap::Syscall);
    assert!((a, b) == (trap, Event::Woken) || (a, b) == (Event::Woken, trap));
}

pub fn wake_from_elsewhere(p: Box<dyn Platform>) {
    let p: Arc<dyn Platform> = Arc::from(p);
    for _ in 0..50 {
        let start = Instant::now();
        let other = Arc::clone(&p);
        let waker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(3));
            other.wake();
        });
        assert_eq!(p.next_event().unwrap(), Event::Woken);
        assert!(start.elapsed() >= Duration::from_millis(3));
        waker.join().unwrap();
    }
}

/// A strict ping-pong: one lost wake would hang it.
pub fn wake_is_never_lost(p: Box<dyn Platform>) {
    let p: Arc<dyn Platform> = Arc::from(p);
    let turn = Arc::new(AtomicU64::new(0));
    let rounds = 100_000;
    let waker = {
        let (p, turn) = (Arc::clone(&p), Arc::clone(&turn));
        std::thread::spawn(move || {
            for i in 0..rounds {
                p.wake();
                while turn.load(SeqCst) == i {
                    std::hint::spin_loop();
                    if i % 16 == 0 {
                        std::thread::yield_now();
                    }
                }
            }
        })
    };
    for _ in 0..rounds {
        assert_eq!(p.next_event().unwrap(), Event::Woken);
        turn.fetch_add(1, SeqCst);
    }
    waker.join().unwrap();
}
