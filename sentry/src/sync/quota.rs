//! Limits on how many objects, pages or bytes of one kind the guest may make the sentry hold.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A sandbox-wide limit. What is taken comes back when the [`Charge`] is dropped.
#[derive(Debug)]
pub struct Quota {
    used: AtomicUsize,
    max: usize,
}

impl Quota {
    /// A quota of `max` units, all free.
    pub const fn new(max: usize) -> Quota {
        Quota {
            used: AtomicUsize::new(0),
            max,
        }
    }
    /// Units taken now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
    /// The limit.
    pub fn max(&self) -> usize {
        self.max
    }
    /// Takes `n` units; `None` if that many are not free.
    pub fn charge(&'static self, n: usize) -> Option<Charge> {
        // Lazily: a charge that is made and dropped would give back what was never taken.
        self.take(n).then(|| Charge { quota: self, n })
    }
    /// A charge of nothing, to be resized.
    pub const fn nothing(&'static self) -> Charge {
        Charge { quota: self, n: 0 }
    }

    /// Whether `n` units are free now.
    pub fn has_room(&self, n: usize) -> bool {
        self.used().checked_add(n).is_some_and(|t| t <= self.max)
    }

    fn take(&self, n: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |u| {
                u.checked_add(n).filter(|t| *t <= self.max)
            })
            .is_ok()
    }
}

/// Units taken from a [`Quota`].
#[derive(Debug)]
pub struct Charge {
    quota: &'static Quota,
    n: usize,
}

impl Charge {
    /// Units held.
    pub fn amount(&self) -> usize {
        self.n
    }
    /// Changes the amount; false (and no change) if the quota has no room.
    #[must_use]
    pub fn resize(&mut self, n: usize) -> bool {
        if n > self.n {
            if !self.quota.take(n - self.n) {
                return false;
            }
        } else {
            self.quota.used.fetch_sub(self.n - n, Ordering::Relaxed);
        }
        self.n = n;
        true
    }
    /// Changes the amount to what there already is, even beyond the limit: for what cannot be counted before it is made. Its
    /// maker has asked [`Quota::has_room`].
    pub fn settle(&mut self, n: usize) {
        if n > self.n {
            self.quota.used.fetch_add(n - self.n, Ordering::Relaxed);
        } else {
            self.quota.used.fetch_sub(self.n - n, Ordering::Relaxed);
        }
        self.n = n;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.n, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_bounded_and_returned() {
        static Q: Quota = Quota::new(10);
        let mut a = Q.charge(6).unwrap();
        assert!(Q.charge(5).is_none());
        assert!(a.resize(10));
        assert!(!a.resize(11));
        assert_eq!((a.amount(), Q.used()), (10, 10));
        assert!(a.resize(1));
        let b = Q.charge(9).unwrap();
        drop((a, b));
        assert_eq!(Q.used(), 0);
    }
}
