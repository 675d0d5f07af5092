//! On which processor a stub wakes that is answered at the doorbell.
//!
//! A ring always runs the worker on the ringer's processor (SYNC_WAKE_UP, Linux 6.6), and an answer can run the stub on the worker's: a switch on one processor, where the wake-up of
//! another costs ten times as much. But then the two share it. So it is done where it costs nothing: the thread that called just now goes on where it called, and a
//! thread that another one's call woke takes its waker's place if wakers, of late, have soon waited themselves (pipes, locks, joins).
//! Else the scheduler chooses.
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{Inner, Task, Waits};
use crate::{bell, sys};

/// What is soon, in processor cycles.
const SOON: u64 = 300_000;
/// How many calls a waker may make before it waits.
const CALLS: u32 = 2;
/// Bounds of the score.
const SURE: i32 = 4;

/// What the worker knows of wakers. Changed on the worker only.
#[derive(Debug, Default)]
pub(super) struct Handoff {
    /// Host thread id of the task whose trap is in hand.
    current: AtomicI32,
    /// Of the last task whose call woke another, when that was in cycles, and how many calls it has made since.
    waker: AtomicI32,
    woke: AtomicU64,
    calls: AtomicU32,
    /// Above 0: wakers soon wait.
    score: AtomicI32,
}

impl Handoff {
    /// The trap of this thread is in hand.
    pub(super) fn begin(&self, tid: libc::pid_t) {
        self.current.store(tid, Relaxed);
    }

    /// Host thread id of the task whose trap is in hand; 0 if none.
    pub(super) fn current(&self) -> libc::pid_t {
        self.current.load(Relaxed)
    }

    /// Another event is about to be in hand: if the last thread was not let run, it waits. Which.
    pub(super) fn end(&self) -> Option<libc::pid_t> {
        let current = self.current.load(Relaxed);
        if current == 0 {
            return None;
        }
        self.current.store(0, Relaxed);
        if current == self.waker.load(Relaxed) {
            let soon = sys::cycles().wrapping_sub(self.woke.load(Relaxed)) < SOON;
            self.learn(if soon { 1 } else { -1 });
        }
        Some(current)
    }

    fn learn(&self, step: i32) {
        let score = self.score.load(Relaxed) + step;
        self.score.store(score.clamp(-SURE, SURE), Relaxed);
        self.waker.store(0, Relaxed);
    }

    /// Whether a thread that is about to run beside `others` shall run here.
    fn here(&self, task: &Task, others: usize) -> bool {
        let current = self.current.load(Relaxed);
        if task.tid == current {
            self.current.store(0, Relaxed);
            if current == self.waker.load(Relaxed) && self.calls.fetch_add(1, Relaxed) > CALLS {
                self.learn(-1);
            }
            return others == 0 || task.pace.processor() == sys::current_cpu();
        }
        if current != 0 {
            self.waker.store(current, Relaxed);
            self.woke.store(sys::cycles(), Relaxed);
            self.calls.store(0, Relaxed);
        }
        (others == 0 || self.score.load(Relaxed) > 0) && !task.pace.is_apart()
    }
}

impl Inner {
    /// A task is about to be answered: says where it shall wake. To be undone by [`Inner::answered`].
    pub(super) fn place(&self, task: &Task, waits: Waits, others: usize) {
        let here = self.handoff.here(task, others);
        if matches!(waits, Waits::Ring(_)) {
            // Whoever is watched must get to another processor than the worker's, unless that one leaves.
            self.set_sync(self.hot.leaves() || here && !task.is_hot());
        }
    }

    /// Rings run the worker where they come from.
    pub(super) fn answered(&self) {
        self.set_sync(true);
        self.have_condemned_sleep();
        self.leave();
    }

    fn set_sync(&self, sync: bool) {
        if self.has_sync && self.sync.load(Relaxed) != sync {
            self.sync.store(sync, Relaxed);
            let _ = bell::set_sync(self.listener.as_fd(), sync);
        }
    }
}
