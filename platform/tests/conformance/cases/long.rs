//! Exchanges that take long: the worker waits for them aside, and others are served meanwhile.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use cofferdam_platform::{Event, MemOp, Platform, Token, Trap};

use crate::code;
use crate::guest::*;

const BIG: u64 = 0x1_0000_0000;
const LENGTH: u64 = 1 << 30;

/// Takes a good part of a second.
fn fill() -> [MemOp<'static>; 2] {
    [
        MemOp::MapAnon {
            addr: BIG,
            len: LENGTH,
            prot: RW,
        },
        MemOp::Advise {
            addr: BIG,
            len: LENGTH,
            advice: libc::MADV_POPULATE_WRITE,
        },
    ]
}

/// Serves the guest `other` as another worker while `wait` runs; counts its calls.
fn serve(p: &dyn Platform, other: &Guest, calls: &AtomicU64, wait: &mut dyn FnMut()) {
    p.leave();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            p.take_over();
            loop {
                match p.next_event().unwrap() {
                    Event::Trap(token, trap) => {
                        assert_eq!((token, trap), (other.token, Trap::Syscall));
                        calls.fetch_add(1, SeqCst);
                        other.thread.resume(&start()).unwrap();
                    }
                    Event::Woken if over.load(SeqCst) => break,
                    Event::Woken => {}
                }
            }
            p.leave();
        });
        wait();
        over.store(true, SeqCst);
        p.wake();
        worker.join().unwrap();
    });
    p.take_over();
}

/// While one process fills a gigabyte of memory and then copies itself, another one makes calls and gets them answered.
pub fn others_are_served_meanwhile(p: Box<dyn Platform>) {
    let p: Arc<dyn Platform> = Arc::from(p);
    if !p.is_movable() {
        return println!("skipped: this backend's worker is one thread for good");
    }
    let g = load(&*p, 1, code!("syscall"));
    let other = Arc::new(load(&*p, 2, code!("syscall")));
    let calls = Arc::new(AtomicU64::new(0));
    let (platform, guest, counter) = (Arc::downgrade(&p), Arc::clone(&other), Arc::clone(&calls));
    p.wait_by(Box::new(move |wait| {
        let platform = platform.upgrade().unwrap();
        serve(&*platform, &guest, &counter, wait);
    }));
    other.thread.resume(&start()).unwrap();
    g.thread.execute(&fill()).unwrap();
    let filled = calls.swap(0, SeqCst);
    let (_, child) = g.thread.fork(Token(3)).unwrap();
    println!(
        "{filled} calls of others while memory was filled, then {}",
        calls.load(SeqCst)
    );
    assert!(filled > 10);
    // All came to its end, and the worker is the same as before.
    assert_eq!(next(&*p, other.token), Trap::Syscall);
    assert_eq!(g.run(&*p, &start()).0, Trap::Syscall);
    let child = Guest {
        space: g.space.clone(),
        thread: child,
        token: Token(3),
    };
    assert_eq!(child.run(&*p, &start()).0, Trap::Syscall);
}

/// All threads that could be the worker may wait for the end of an exchange: whoever began it takes its rings then, and those of others.
pub fn one_ends_though_nobody_takes_over(p: Box<dyn Platform>) {
    let p: Arc<dyn Platform> = Arc::from(p);
    if !p.is_movable() {
        return println!("skipped: this backend's worker is one thread for good");
    }
    let g = load(&*p, 1, code!("syscall"));
    let other = load(&*p, 2, code!("syscall"));
    let waits = Arc::new(AtomicU64::new(0));
    let (platform, counter) = (Arc::downgrade(&p), Arc::clone(&waits));
    p.wait_by(Box::new(move |wait| {
        let platform = platform.upgrade().unwrap();
        counter.fetch_add(1, SeqCst);
        platform.leave();
        wait();
        platform.take_over();
    }));
    other.thread.resume(&start()).unwrap();
    g.thread.execute(&fill()).unwrap();
    assert!(waits.load(SeqCst) > 0);
    let (_, child) = g.thread.fork(Token(3)).unwrap();
    drop(child);
    assert_eq!(next(&*p, other.token), Trap::Syscall);
    assert_eq!(g.run(&*p, &start()).0, Trap::Syscall);
}
