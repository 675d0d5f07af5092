//! Processes that end while others are watched die a little later: the end of a process's memory takes the host as long as dozens of calls, on the processor where
//! it ran and where somebody else is about to run. The next fork is a good moment: the worker, the parent and the child share one processor while that lasts, and
//! the other one is free. Until then they are stopped, in the hands of the sentry, and as good as dead: nothing reaches their memory.
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::{Inner, Task, Waits};
use crate::sys;

/// How many wait at most: they hold memory.
const MOST: usize = 4;
/// How many die while a process is forked.
pub(super) const AT_BIRTH: usize = 2;
/// How long at most while the worker watches, in processor cycles.
const LONGEST: u64 = 6_000_000;

impl Inner {
    /// The last guest thread of a process has ended, and is stopped.
    pub(super) fn end_process(&self, task: &Arc<Task>) {
        self.unwatch(task);
        let alone = task.process.hosts.load(SeqCst) == 1;
        let mut condemned = self.condemned.lock();
        if !alone || !self.is_watching() || condemned.len() >= MOST {
            drop(condemned);
            self.send_away(task);
            task.process.kill();
            return;
        }
        condemned.push((Arc::clone(task), sys::cycles()));
        drop(condemned);
        task.process.killed.store(true, SeqCst);
        self.drowsy.store(true, Relaxed);
    }

    /// Those that wait shall not look for an answer meanwhile. Not before somebody else is about to run: an idle processor takes longer to wake.
    pub(super) fn have_condemned_sleep(&self) {
        if self.drowsy.load(Relaxed) {
            self.drowsy.store(false, Relaxed);
            let condemned = self.condemned.lock().clone();
            for (task, _) in condemned {
                if task.state.lock().waits == Waits::Slot {
                    task.doze();
                }
            }
        }
    }

    /// Whether some have waited for long.
    pub(super) fn is_overdue(&self) -> bool {
        let condemned = self.condemned.lock();
        condemned
            .first()
            .is_some_and(|(_, since)| sys::cycles().wrapping_sub(*since) > LONGEST)
    }

    /// Kills those that wait, the oldest first, so many at most; whether there were any. If `here`, they end on the worker's processor, else on another one.
    pub(super) fn execute_condemned(&self, most: usize, here: bool) -> bool {
        let condemned: Vec<_> = {
            let mut all = self.condemned.lock();
            let count = all.len().min(most);
            all.drain(..count).collect()
        };
        for (task, _) in &condemned {
            if here {
                self.bind_here(task);
            } else {
                self.send_away(task);
            }
            task.process.kill();
        }
        !condemned.is_empty()
    }
}
