//! Futex calls on the host: see [`crate::stub::futex`]. What the sentry orders, and which threads likely sleep there.
use std::sync::atomic::Ordering::Relaxed;

use super::{Inner, Task};
use crate::stub::futex::{self, Then};
use crate::stub::slot::{NAP, RESULT};
use crate::{Error, Result, sys};

/// Where the timeout of an ordered call lies in the slot: behind its arguments.
const TIMEOUT: usize = RESULT + 40;
const NS: u64 = 1_000_000_000;
/// How long the number of sleepers is taken for right, in processor cycles, and how many times as long as it took to count them.
const COUNTED: u64 = 150_000;
const SHARE: u64 = 30;

impl Task {
    /// The thread says that it is in a futex call on the host.
    pub(super) fn naps(&self) -> bool {
        let [nap] = self.process.mailboxes.words(self.slot, NAP);
        nap != 0
    }
}

impl Inner {
    /// Puts a call's arguments into the slot; the order for it. A wait may end at a point in time (CLOCK_MONOTONIC, in nanoseconds) instead of as the guest says.
    pub(super) fn prepare_futex(
        &self,
        task: &Task,
        args: [u64; 6],
        until: Option<u64>,
        then: Then,
    ) -> Result<u64> {
        let [word, operation, value, mut timeout, word2, mut value3] = args;
        let mut operation = operation as u32;
        // Duty of the caller; the filter would not let it pass.
        if !self.inline
            || !futex::is_for_host(operation)
            || futex::waits(operation) != (then == Then::Run)
        {
            return Err(Error::Op {
                index: 0,
                errno: libc::EINVAL,
            });
        }
        let mailboxes = &task.process.mailboxes;
        if let Some(until) = until {
            if operation & 0xf == libc::FUTEX_WAIT as u32 {
                value3 = u64::from(u32::MAX);
            }
            operation = futex::WAIT_UNTIL;
            timeout = self.slot_address(task.slot) + TIMEOUT as u64;
            mailboxes.set_words(task.slot, TIMEOUT, &[until / NS, until % NS]);
        }
        mailboxes.set_words(task.slot, RESULT, &[word, value, timeout, word2, value3]);
        Ok(futex::order(operation, then))
    }

    /// A call that does not sleep, made by a stopped thread; its result.
    pub(super) fn futex(&self, task: &Task, args: [u64; 6]) -> Result<i64> {
        let order = self.prepare_futex(task, args, None, Then::Say)?;
        self.order(task, order)?;
        let (_, result) = self.done(task, &[])?;
        Ok(result.cast_signed())
    }

    /// How many of so many running threads do not sleep in the host's futexes. About: they are counted now and then.
    pub(super) fn awake(&self, running: usize) -> usize {
        if !self.inline || running == 0 {
            return running;
        }
        let now = sys::cycles();
        if now >= self.nappers_until.load(Relaxed) {
            let nappers = self.tasks.lock().values().filter(|t| t.naps()).count();
            self.nappers.store(nappers, Relaxed);
            let cost = sys::cycles().saturating_sub(now);
            let next = now.saturating_add(COUNTED.max(SHARE * cost));
            self.nappers_until.store(next, Relaxed);
        }
        running.saturating_sub(self.nappers.load(Relaxed))
    }
}
