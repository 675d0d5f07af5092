//! A count of changes that many may follow.

use super::{Events, WaitQueue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the changes of an object and tells those who wait for one.
#[derive(Default)]
pub struct Changes {
    count: AtomicU64,
    queue: Arc<WaitQueue>,
}

impl Changes {
    /// One more. Waiters see PRI and ERR, as of /proc/mounts.
    pub fn tell(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.queue.wake(Events::PRI | Events::ERR);
    }
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
    /// Woken with each.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }
}
