//! Everything at once, at random, for a few seconds: no hang, no lost event, and the platform is well afterwards.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cofferdam_platform::{
    AddressSpace, Error, Event, MemOp, Platform, Registers, Thread, Token, Trap,
};

use crate::code;
use crate::guest::*;

/// xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct One {
    space: Arc<dyn AddressSpace>,
    thread: Arc<dyn Thread>,
    running: bool,
}

/// An operation on a thread may fail only because something killed its process.
fn gone<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Gone) => None,
        Err(e) => panic!("{e}"),
    }
}

pub fn random_walk(p: Box<dyn Platform>) {
    let p: Arc<dyn Platform> = Arc::from(p);
    let seed = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()) << 20 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    // Counts, then either computes a while or calls.
    let code = code!(
        "lock inc qword ptr [rdi]",
        "mov rcx, rsi",
        "4: dec rcx",
        "jnz 4b",
        "syscall",
        "jmp 2b"
    );
    let mut all: HashMap<u64, One> = HashMap::new();
    let mut next = 0;
    let stop = Arc::new(AtomicBool::new(false));
    let shared: Arc<std::sync::Mutex<Vec<Arc<dyn Thread>>>> = Arc::default();
    let pest = {
        let (p, stop, shared) = (Arc::clone(&p), Arc::clone(&stop), Arc::clone(&shared));
        std::thread::spawn(move || {
            while !stop.load(SeqCst) {
                p.wake();
                for thread in shared.lock().unwrap().iter() {
                    thread.interrupt();
                }
                std::thread::sleep(Duration::from_micros(700));
            }
        })
    };
    let end = Instant::now() + Duration::from_secs(3);
    let mut events = 0;
    while Instant::now() < end {
        if all.len() < 3 {
            next += 1;
            let g = load(&*p, next, code);
            all.insert(
                next,
                One {
                    space: g.space,
                    thread: Arc::from(g.thread),
                    running: false,
                },
            );
        }
        let keys: Vec<u64> = all.keys().copied().collect();
        let key = keys[random.below(keys.len() as u64) as usize];
        let one = all.get_mut(&key).unwrap();
        if !one.running {
            let room = keys.len() < 24;
            match random.below(12) {
                0 if room => {
                    next += 1;
                    if let Some((space, thread)) = gone(one.thread.fork(Token(next))) {
                        all.insert(
                            next,
                            One {
                                space,
                                thread: Arc::from(thread),
                                running: false,
                            },
                        );
                    }
                }
                1 if room => {
                    next += 1;
                    if let Some(thread) = gone(one.thread.spawn(Token(next))) {
                        let space = Arc::clone(&one.space);
                        all.insert(
                            next,
                            One {
                                space,
                                thread: Arc::from(thread),
                                running: false,
                            },
                        );
                    }
                }
                2 => {
                    all.remove(&key);
                }
                3 => {
                    let _ = gone(one.thread.execute(&[
                        MemOp::MapAnon {
                            addr: 0x30_0000,
                            len: PAGE,
                            prot: RW,
                        },
                        MemOp::Unmap {
                            addr: 0x30_0000,
                            len: PAGE,
                        },
                    ]));
                }
                4 => {
                    let _ = gone(one.thread.compare_exchange(DATA + 64, 0, 0))
                        .map(|v| assert_eq!(v, Some(0)));
                }
                5 => one.thread.terminate(),
                6 if random.below(4) == 0 => one.space.kill(),
                _ => {
                    let regs = Registers {
                        rdi: DATA,
                        rsi: 1 + random.below(100_000),
                        ..start()
                    };
                    one.running = gone(one.thread.resume(&regs)).is_some();
                    if !one.running {
                        all.remove(&key);
                    }
                }
            }
        } else if random.below(50) == 0 {
            match random.below(3) {
                0 => one.space.kill(),
                1 => {
                    one.thread.terminate();
                    all.remove(&key);
                }
                _ => one.thread.interrupt(),
            }
        }
        *shared.lock().unwrap() = all
            .values()
            .take(4)
            .map(|one| Arc::clone(&one.thread))
            .collect();
        if all.values().filter(|one| one.running).count() > 4 || random.below(8) == 0 {
            let mut woken = 0;
            while woken < 3 {
                p.wake();
                let Event::Trap(Token(token), trap) = p.next_event().unwrap() else {
                    woken += 1;
                    continue;
                };
                events += 1;
                assert!(
                    matches!(trap, Trap::Syscall | Trap::Interrupted | Trap::Gone),
                    "{trap:?}"
                );
                let one = all
                    .get_mut(&token)
                    .expect("an event of a thread that was terminated");
                assert!(
                    std::mem::replace(&mut one.running, false),
                    "an event of a thread that does not run"
                );
                if trap == Trap::Gone {
                    all.remove(&token);
                }
            }
        }
    }
    stop.store(true, SeqCst);
    pest.join().unwrap();
    assert!(events > 100, "{events}");
    // Each running thread still gives its one event.
    shared.lock().unwrap().clear();
    let mut running = all.values().filter(|one| one.running).count();
    while running > 0 {
        if let Event::Trap(Token(token), _) = p.next_event().unwrap() {
            assert!(std::mem::replace(
                &mut all.get_mut(&token).unwrap().running,
                false
            ));
            running -= 1;
        }
    }
    drop(all);
    // The last wake may still be pending.
    p.wake();
    assert_eq!(p.next_event().unwrap(), Event::Woken);
    let g = load(&*p, 1, code!("syscall"));
    assert_eq!(g.run(&*p, &start()).0, Trap::Syscall);
}
