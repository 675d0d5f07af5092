//! Timers that send signals: itimers, POSIX timers, and what watches CPU time.
//!
//! A periodic timer is armed again only when its signal is taken, as in Linux: however short its interval, it costs no more
//! than the process that handles it. Locks: each timer has its own ([`Rank::TIMERS`]), taken under signal locks when a signal
//! is dequeued; no two are held together.

mod cpu;
mod itimer;
mod posix;

pub use cpu::{CpuWatch, limits_changed};
pub use itimer::{Which, getitimer, setitimer};
pub use posix::{Notification, PosixTimer, TimerClock, create, delete, find};

use super::ThreadGroup;
use crate::sync::{Mutex, Rank};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shortest time between two expiries that nobody sees (the signal is ignored), in nanoseconds.
const UNSEEN: u64 = 10_000_000;

/// A process's timers, an extension of its [`ThreadGroup`].
pub struct ProcessTimers {
    real: Mutex<Option<Arc<itimer::RealTimer>>>,
    watch: Mutex<Option<Arc<CpuWatch>>>,
    posix: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    timers: BTreeMap<i32, Arc<PosixTimer>>,
    next_id: i32,
}

impl Default for ProcessTimers {
    fn default() -> Self {
        ProcessTimers {
            real: Mutex::new(Rank::TIMERS, None),
            watch: Mutex::new(Rank::TIMERS, None),
            posix: Mutex::new(Rank::TIMERS, Table::default()),
        }
    }
}

impl ProcessTimers {
    fn of(group: &ThreadGroup) -> Arc<ProcessTimers> {
        group.extensions.extension()
    }
    fn existing(group: &ThreadGroup) -> Option<Arc<ProcessTimers>> {
        group.extensions.existing()
    }
    fn watch(&self, group: &Arc<ThreadGroup>) -> Arc<CpuWatch> {
        self.watch
            .lock()
            .get_or_insert_with(|| CpuWatch::new(group))
            .clone()
    }
    /// All POSIX timers.
    fn all(&self) -> Vec<Arc<PosixTimer>> {
        self.posix.lock().timers.values().cloned().collect()
    }
}

/// execve deletes POSIX timers; itimers go on.
pub fn exec(group: &Arc<ThreadGroup>) {
    let Some(own) = ProcessTimers::existing(group) else {
        return;
    };
    for t in own.all() {
        let _ = delete(group, t.id());
    }
}

/// The process has ended: nothing is armed any more.
pub fn exit(group: &ThreadGroup) {
    let Some(own) = ProcessTimers::existing(group) else {
        return;
    };
    let real = own.real.lock().take();
    let watch = own.watch.lock().take();
    let posix = std::mem::take(&mut own.posix.lock().timers);
    if let Some(r) = real {
        r.disarm();
    }
    if let Some(w) = watch {
        w.disarm();
    }
    for t in posix.into_values() {
        t.disarm();
    }
}
