//! Exchanges that take long: the worker waits aside, and another one takes rings meanwhile.
//!
//! Most exchanges are over in microseconds, and the worker takes the next ring itself until the right one comes. A guest can make one take
//! long: by much memory, by hundreds of threads that run meanwhile, or by rewriting what the stub works from. Then the worker leaves its work
//! ([`crate::Platform::wait_by`]), and whoever takes over puts the rings of that exchange into the task's [`Letters`].
//!
//! Exchanges of one process come one after the other (`Process::exchange`): what they know of the stub's descriptors is common to its threads.
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::exchange::is_first;
use super::{Inner, Process, Task};
use crate::Aside;
use crate::bell::Ring;

/// How a worker waits aside, once that is known.
#[derive(Default)]
pub(super) struct Way(OnceLock<Box<Aside>>);

impl Way {
    pub(super) fn set(&self, aside: Box<Aside>) {
        let _ = self.0.set(aside);
    }

    pub(super) fn get(&self) -> Option<&Aside> {
        self.0.get().map(AsRef::as_ref)
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Way({})", self.0.get().is_some())
    }
}

/// Rings that came for an exchange.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// `None` while nobody waits aside for them.
    rings: Mutex<Option<VecDeque<Ring>>>,
    came: Condvar,
}

impl Letters {
    /// Puts one in, if somebody waits for it.
    fn put(&self, ring: &Ring) -> bool {
        let mut rings = self.rings.lock();
        let Some(rings) = &mut *rings else {
            return false;
        };
        rings.push_back(*ring);
        self.came.notify_one();
        true
    }

    /// The next one, if it comes in time.
    pub(super) fn next(&self, within: Duration) -> Option<Ring> {
        let mut rings = self.rings.lock();
        if !within.is_zero() && rings.as_ref().is_some_and(VecDeque::is_empty) {
            self.came.wait_for(&mut rings, within);
        }
        rings.as_mut().and_then(VecDeque::pop_front)
    }
}

/// An exchange that takes long; while this lives its rings become letters.
pub(super) struct Pause<'a> {
    inner: &'a Inner,
    task: &'a Task,
    /// Of the new task that is waited for.
    nonce: Option<u64>,
}

impl<'a> Pause<'a> {
    pub(super) fn begin(inner: &'a Inner, task: &'a Task) -> Pause<'a> {
        *task.letters.rings.lock() = Some(VecDeque::new());
        inner.paused.fetch_add(1, SeqCst);
        Pause {
            inner,
            task,
            nonce: None,
        }
    }

    /// A new task with this nonce is waited for, too.
    pub(super) fn expect(&mut self, nonce: Option<u64>) {
        if let Some(nonce) = nonce.filter(|_| self.nonce.is_none()) {
            self.nonce = Some(nonce);
            self.inner.births.lock().insert(nonce, self.task.tid);
        }
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.inner.paused.fetch_sub(1, SeqCst);
        if let Some(nonce) = self.nonce {
            self.inner.births.lock().remove(&nonce);
        }
        // Nobody asked for those that are left.
        let unread = self.task.letters.rings.lock().take();
        for ring in unread.into_iter().flatten() {
            self.inner.rang(ring);
        }
    }
}

impl Inner {
    /// Hands a ring over to an exchange whose worker waits aside for it.
    pub(super) fn is_letter(&self, ring: &Ring) -> bool {
        if self.paused.load(SeqCst) == 0 {
            return false;
        }
        let tasks = self.tasks.lock();
        let task = tasks.get(&ring.tid).or_else(|| {
            let [_, nonce, ..] = ring.args;
            let parent = is_first(ring).then(|| self.births.lock().get(&nonce).copied());
            tasks.get(&parent.flatten()?)
        });
        task.is_some_and(|task| task.letters.put(ring))
    }

    /// An exchange with a thread of this process begins, once no other one is under way.
    pub(super) fn begin_exchange<'a>(&self, process: &'a Process) -> MutexGuard<'a, ()> {
        let mut guard = process.exchange.try_lock();
        if guard.is_none()
            && let Some(aside) = self.aside.get()
        {
            aside(&mut || guard = Some(process.exchange.lock()));
        }
        guard.unwrap_or_else(|| process.exchange.lock())
    }
}
