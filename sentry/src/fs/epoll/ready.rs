//! The ready list of an instance: items that may be ready, in the order in which they became so.

use super::item::Item;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many places may be void besides as many as are not.
const VOID: usize = 64;

/// The list. An item that is taken out leaves a void place, which costs nothing to find.
#[derive(Default)]
pub(super) struct Ready {
    list: VecDeque<(Arc<Item>, u64)>,
    /// The last number of a place.
    last: u64,
    void: usize,
}

/// The number of the place where an item is listed, 0 if it is not; changed under the list's lock.
#[derive(Default)]
pub(super) struct Listed(AtomicU64);

impl Ready {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.list.len().saturating_sub(self.void)
    }
    /// How long the list is.
    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.list.len()
    }
    /// Appends an item unless it is there; whether it was not.
    pub fn push(&mut self, item: &Arc<Item>) -> bool {
        match self.place(item) {
            Some(place) => {
                self.list.push_back((item.clone(), place));
                true
            }
            None => false,
        }
    }
    /// As [`Self::push`], at the front.
    pub fn push_first(&mut self, item: &Arc<Item>) {
        if let Some(place) = self.place(item) {
            self.list.push_front((item.clone(), place));
        }
    }
    fn place(&mut self, item: &Item) -> Option<u64> {
        let listed = &item.listed().0;
        if listed.load(Ordering::Relaxed) != 0 {
            return None;
        }
        self.last += 1;
        listed.store(self.last, Ordering::Relaxed);
        Some(self.last)
    }
    /// Takes the first item out.
    pub fn pop(&mut self) -> Option<Arc<Item>> {
        while let Some((item, place)) = self.list.pop_front() {
            let listed = &item.listed().0;
            if listed.load(Ordering::Relaxed) == place {
                listed.store(0, Ordering::Relaxed);
                return Some(item);
            }
            self.void = self.void.saturating_sub(1);
        }
        None
    }
    /// Takes an item out.
    pub fn remove(&mut self, item: &Item) {
        if item.listed().0.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        self.void += 1;
        if self.void > self.list.len() / 2 + VOID {
            self.list
                .retain(|(item, place)| item.listed().0.load(Ordering::Relaxed) == *place);
            self.void = 0;
        }
    }
}
