//! A queue that is nearly always empty: to see that costs no lock.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use parking_lot::Mutex;

#[derive(Debug)]
pub(super) struct Backlog<T> {
    /// Whether `items` is not empty; changed under its lock.
    any: AtomicBool,
    items: Mutex<VecDeque<T>>,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Backlog {
            any: AtomicBool::new(false),
            items: Mutex::default(),
        }
    }
}

impl<T> Backlog<T> {
    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(SeqCst)
    }

    pub(super) fn push(&self, item: T) {
        let mut items = self.items.lock();
        items.push_back(item);
        self.any.store(true, SeqCst);
    }

    /// The oldest item.
    pub(super) fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mut items = self.items.lock();
        let item = items.pop_front();
        self.any.store(!items.is_empty(), SeqCst);
        item
    }

    /// All items.
    pub(super) fn take(&self) -> VecDeque<T> {
        if self.is_empty() {
            return VecDeque::new();
        }
        let mut items = self.items.lock();
        self.any.store(false, SeqCst);
        std::mem::take(&mut *items)
    }
}
