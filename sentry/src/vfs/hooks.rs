//! What an open file keeps alive for signal-driven I/O and directory notification: objects of the kernel above, opaque here.

use crate::sync::{Mutex, Rank, WaitKey, WaitQueue};
use std::any::Any;
use std::sync::Arc;

/// A place in a wait queue, given up when dropped.
pub struct Registration {
    queue: Arc<WaitQueue>,
    key: WaitKey,
}

impl Registration {
    /// Takes over `key` of `queue`.
    pub fn new(queue: Arc<WaitQueue>, key: WaitKey) -> Registration {
        Registration { queue, key }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.queue.unregister(self.key);
    }
}

/// A directory watch of F_NOTIFY.
pub type DirWatch = Arc<dyn Any + Send + Sync>;

#[derive(Default)]
struct Inner {
    async_io: Option<Registration>,
    /// By descriptor table.
    dir_watches: Vec<(u64, DirWatch)>,
}

/// Hooks of one file; nothing is allocated until there is one. Whatever is replaced is dropped without the lock.
pub(super) struct Hooks(Mutex<Option<Box<Inner>>>);

impl Hooks {
    pub(super) const fn new() -> Hooks {
        Hooks(Mutex::new(Rank::LEAF, None))
    }
    pub(super) fn set_async(&self, new: Option<Registration>) {
        let old = {
            let mut h = self.0.lock();
            if h.is_none() && new.is_none() {
                return;
            }
            std::mem::replace(&mut h.get_or_insert_default().async_io, new)
        };
        drop(old);
    }
    pub(super) fn dir_watch(&self, table: u64) -> Option<DirWatch> {
        let h = self.0.lock();
        let mut all = h.as_ref()?.dir_watches.iter();
        all.find(|(t, _)| *t == table).map(|(_, w)| w.clone())
    }
    pub(super) fn set_dir_watch(&self, table: u64, new: Option<DirWatch>) {
        let old = {
            let mut h = self.0.lock();
            if h.is_none() && new.is_none() {
                return;
            }
            let all = &mut h.get_or_insert_default().dir_watches;
            let at = all.iter().position(|(t, _)| *t == table);
            let old = at.map(|i| all.swap_remove(i));
            all.extend(new.map(|w| (table, w)));
            old
        };
        drop(old);
    }
}
