//! Waits for the host that may take long: whoever works for the sandbox lets somebody else do so meanwhile.
//!
//! A thread that works says once how that is done ([`work_for`]); [`aside`] does it around a wait. On other threads, and within another
//! such wait, [`aside`] just waits. What is locked meanwhile is what [`super::before_exchange`] allows; whoever wants such a lock waits aside, too
//! ([`super::Mutex::lock`] does), so the thread that holds it comes back to its work.

use super::before_exchange;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// What a thread works for.
pub trait Workplace: Send + Sync {
    /// The caller ceases to work.
    fn leave(&self);
    /// The caller works again, once nobody else does.
    fn come_back(&self);
}

thread_local! {
    static WORKPLACE: RefCell<Option<Arc<dyn Workplace>>> = const { RefCell::new(None) };
    static IS_ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// This thread works there from now on.
pub fn work_for(workplace: Option<Arc<dyn Workplace>>) {
    WORKPLACE.set(workplace);
}

/// Runs `wait`, which touches nothing of the sandbox's but what this thread has locked, while others may work.
pub fn aside<T>(wait: impl FnOnce() -> T) -> T {
    before_exchange();
    aside_locked(wait)
}

/// The same whatever is locked: who wants one of those locks waits aside, too, and longer than it should.
pub fn aside_locked<T>(wait: impl FnOnce() -> T) -> T {
    let workplace = WORKPLACE.with_borrow(Clone::clone);
    let Some(workplace) = workplace.filter(|_| !IS_ASIDE.get()) else {
        return wait();
    };
    IS_ASIDE.set(true);
    workplace.leave();
    let result = wait();
    workplace.come_back();
    IS_ASIDE.set(false);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Mutex, Rank};
    use parking_lot::{Condvar, Mutex as Plain};
    use std::sync::mpsc;

    /// A place for one at a time.
    #[derive(Default)]
    struct Desk {
        taken: Plain<bool>,
        free: Condvar,
    }

    impl Workplace for Desk {
        fn leave(&self) {
            *self.taken.lock() = false;
            self.free.notify_one();
        }
        fn come_back(&self) {
            let mut taken = self.taken.lock();
            while *taken {
                self.free.wait(&mut taken);
            }
            *taken = true;
        }
    }

    #[test]
    fn others_work_meanwhile_and_give_way_for_a_lock() {
        let desk: Arc<Desk> = Arc::default();
        let lock = Arc::new(Mutex::new(Rank::FILE_POS, 0));
        let (started, starts) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel();
        let (place, held) = (desk.clone(), lock.clone());
        let first = std::thread::spawn(move || {
            work_for(Some(place.clone()));
            place.come_back();
            let mut held = held.lock();
            aside(|| {
                started.send(()).unwrap();
                // It comes back only when the other one waits for the lock, or not at all.
                goes_on.recv().unwrap();
            });
            *held += 1;
            drop(held);
            place.leave();
        });
        starts.recv().unwrap();
        // The desk is free: this thread works, and wants what the other one has.
        work_for(Some(desk.clone()));
        desk.come_back();
        go_on.send(()).unwrap();
        assert_eq!(*lock.lock(), 1);
        assert!(*desk.taken.lock());
        work_for(None);
        first.join().unwrap();
    }

    #[test]
    fn who_works_for_nobody_just_waits() {
        assert_eq!(aside(|| aside(|| 7)), 7);
    }
}
