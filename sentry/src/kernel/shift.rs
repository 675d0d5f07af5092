//! Who works: platforms serve one worker at a time, so of all worker threads one is *at work*, taking events and running handlers.
//!
//! One that waits for the host (`sync::aside`) leaves its work. If there is something to do meanwhile, another thread that stands by takes over, or is
//! made. Who comes back goes first: the one at work is woken, and stands by instead, between two events. So handlers meet each other only where they
//! wait, and at the locks; nothing of a sandbox is touched by two workers at once.
//!
//! Lock: `turn`, inside everything else.

use super::Kernel;
use super::worker;
use crate::sync::Workplace;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Most worker threads: so many may wait for the host at once while others are served.
const MOST: usize = 32;
/// How many threads stand by at most; others end.
const STANDBY: usize = 2;
/// Stack of a worker, as that of the first thread, in bytes (what is not touched takes no memory).
const STACK: usize = 8 << 20;

/// Whose turn it is.
#[derive(Default)]
pub(super) struct Shift {
    turn: Mutex<Turn>,
    /// For those that come back.
    back: Condvar,
    /// For those that stand by.
    offered: Condvar,
    /// How many wait for `back`.
    returning: AtomicUsize,
    /// The first platform error of a worker other than the first.
    failed: Mutex<Option<cofferdam_platform::Error>>,
}

struct Turn {
    /// Somebody is at work.
    taken: bool,
    /// There is something to do for one that stands by.
    offer: bool,
    standby: usize,
    /// Worker threads beside the first.
    threads: usize,
    /// The host has refused one, which was said.
    refused: bool,
}

impl Default for Turn {
    /// The first worker, which launched the platform, is at work: also while it boots the sandbox.
    fn default() -> Turn {
        Turn {
            taken: true,
            offer: false,
            standby: 0,
            threads: 0,
            refused: false,
        }
    }
}

impl Shift {
    /// Whether somebody wants to come back.
    pub(super) fn is_wanted(&self) -> bool {
        self.returning.load(SeqCst) > 0
    }
}

impl Kernel {
    /// There is something to do for a worker.
    pub(super) fn rouse(self: &Arc<Self>) {
        self.platform.wake();
        if self.platform.is_movable() {
            let mut turn = self.shift.turn.lock();
            if self.is_stopping() {
                self.shift.offered.notify_all();
            } else if !turn.taken {
                self.offer(&mut turn);
            }
        }
    }

    /// Somebody shall take over, if nobody comes back.
    fn offer(self: &Arc<Self>, turn: &mut Turn) {
        turn.offer = true;
        if turn.standby > 0 {
            self.shift.offered.notify_one();
            return;
        }
        if turn.threads >= MOST {
            return;
        }
        let kernel = Arc::clone(self);
        let thread = std::thread::Builder::new().name("worker".into());
        let started = thread
            .stack_size(STACK)
            .spawn(move || worker::run_beside(&kernel));
        match started {
            Ok(_) => turn.threads += 1,
            // Then all wait for whoever is away. It is tried again at each wait, but said once.
            Err(e) if !turn.refused => {
                turn.refused = true;
                log::warn!("no further worker thread: {e}");
            }
            Err(_) => {}
        }
    }

    /// The caller ceases to work.
    pub(super) fn leave_work(self: &Arc<Self>) {
        let busy = self.platform.leave();
        let shift = &self.shift;
        let mut turn = shift.turn.lock();
        turn.taken = false;
        if shift.is_wanted() {
            shift.back.notify_one();
        } else if self.is_stopping() {
            shift.offered.notify_all();
        } else if busy || self.has_work() {
            self.offer(&mut turn);
        }
    }

    /// The caller works, after whoever does now.
    fn take_turn(&self) {
        let shift = &self.shift;
        let mut turn = shift.turn.lock();
        if turn.taken {
            shift.returning.fetch_add(1, SeqCst);
            self.platform.wake();
            while turn.taken {
                shift.back.wait(&mut turn);
            }
            shift.returning.fetch_sub(1, SeqCst);
        }
        turn.taken = true;
        turn.offer = false;
        drop(turn);
        self.platform.take_over();
    }

    /// Lets somebody who comes back work, and stands by. False: the thread is to end.
    pub(super) fn change_shift(self: &Arc<Self>, is_first: bool) -> bool {
        self.leave_work();
        self.stand_by(is_first)
    }

    /// Waits until there is something to do; then the caller works. False: it is to end.
    pub(super) fn stand_by(&self, is_first: bool) -> bool {
        let shift = &self.shift;
        let mut turn = shift.turn.lock();
        if !is_first && turn.standby >= STANDBY {
            turn.threads -= 1;
            return false;
        }
        turn.standby += 1;
        let works = loop {
            // Who is at work finishes what it does first.
            if self.is_stopping() && !turn.taken {
                break false;
            }
            if turn.offer && !turn.taken && !shift.is_wanted() {
                turn.taken = true;
                turn.offer = false;
                break true;
            }
            shift.offered.wait(&mut turn);
        };
        turn.standby -= 1;
        drop(turn);
        if works {
            self.platform.take_over();
        }
        works
    }

    /// A worker ends with an error of the platform's: the sandbox ends.
    pub(super) fn fail(self: &Arc<Self>, error: cofferdam_platform::Error) {
        self.shift.failed.lock().get_or_insert(error);
        self.shut_down();
    }

    /// What a worker other than the first failed with.
    pub(super) fn failure(&self) -> Option<cofferdam_platform::Error> {
        self.shift.failed.lock().take()
    }
}

/// A kernel as what its workers work for.
pub(super) struct Work(pub Arc<Kernel>);

impl Workplace for Work {
    fn leave(&self) {
        self.0.leave_work();
    }
    fn come_back(&self) {
        self.0.take_turn();
    }
}
