//! What was lent by the descriptors of a table: see [`crate::kernel::loan`].
//!
//! Thousands of threads may share a table, and each be lent something by a thousand descriptors of it. What is done to one descriptor does not depend on
//! the loans of the others.

use crate::vfs::loan::Loan;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

/// So many others are looked at when there is a new one: about as many that are over may stay as are not.
const LOOKS: usize = 2;

/// The descriptor, and the loan's address.
type Key = (usize, usize);

/// Those that are not over, and some that are.
#[derive(Default)]
pub(super) struct Loans {
    all: BTreeMap<Key, Arc<dyn Loan>>,
    /// Which one was looked at last.
    looked_at: Key,
}

/// They are over: to be dropped without locks.
pub(super) type Over = SmallVec<[Arc<dyn Loan>; LOOKS]>;

fn key(at: usize, loan: &Arc<dyn Loan>) -> Key {
    (at, Arc::as_ptr(loan).addr())
}

impl Loans {
    pub fn add(&mut self, at: usize, loan: Arc<dyn Loan>) {
        self.all.insert(key(at, &loan), loan);
    }
    pub fn remove(&mut self, at: usize, loan: &Arc<dyn Loan>) {
        self.all.remove(&key(at, loan));
    }
    /// Takes out those of the next few that are over.
    pub fn look(&mut self) -> Over {
        let mut over: SmallVec<[Key; LOOKS]> = SmallVec::new();
        let mut next = self.all.range((Excluded(self.looked_at), Unbounded));
        for _ in 0..LOOKS {
            let Some((key, loan)) = next.next() else {
                self.looked_at = (0, 0);
                break;
            };
            self.looked_at = *key;
            if loan.is_over() {
                over.push(*key);
            }
        }
        over.iter().filter_map(|k| self.all.remove(k)).collect()
    }
    /// Ends those by this descriptor.
    pub fn end(&mut self, at: usize) {
        while let Some((&key, _)) = self.all.range((at, 0)..=(at, usize::MAX)).next() {
            if let Some(loan) = self.all.remove(&key) {
                loan.end();
            }
        }
    }
    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Whether it is over.
    #[derive(Default)]
    struct Fake(AtomicBool);

    impl Loan for Fake {
        fn end(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
        fn is_over(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn those_of_one_descriptor_end() {
        let mut loans = Loans::default();
        let all: Vec<_> = (0..9).map(|_| Arc::new(Fake::default())).collect();
        for (i, loan) in all.iter().enumerate() {
            loans.add(i % 3, loan.clone());
        }
        loans.remove(1, &(all[4].clone() as Arc<dyn Loan>));
        loans.end(1);
        loans.end(7);
        let ended = all.iter().map(|l| l.0.load(Ordering::Relaxed));
        assert!(ended.enumerate().all(|(i, e)| e == (i == 1 || i == 7)));
        assert_eq!(loans.len(), 6);
    }

    #[test]
    fn those_that_are_over_stay_few() {
        let mut loans = Loans::default();
        for i in 0..10_000 {
            let loan = Arc::new(Fake::default());
            // Every hundredth lasts.
            loan.0.store(i % 100 != 0, Ordering::Relaxed);
            drop(loans.look());
            loans.add(i % 960, loan);
            assert!(loans.len() < 300 + i / 50, "{i}: {}", loans.len());
        }
        // Also when there are no new ones for want of room.
        for _ in 0..100 {
            drop(loans.look());
        }
        assert!((100..105).contains(&loans.len()), "{}", loans.len());
    }
}
