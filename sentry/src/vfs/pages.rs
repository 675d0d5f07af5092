//! The beginning of a regular file's contents, lent to the code in guest processes that answers reads and writes there ([`super::loan`]).
//!
//! The file's inode keeps its [`Borrowers`]. It ends or holds them before the contents change otherwise than by themselves, and asks them before anybody
//! looks at its times: they leave time stamps, which are the guest's word and count only as far as they lie between two looks.
//! Of the loans of one inode either none may write, or it is the only one: so a write excludes every other, as natively, and no two times of access
//! have to be compared.

use super::Timestamp;
use super::loan::Loan;
use crate::sync::{Mutex, Rank};
use crate::time::realtime_ns;
use cofferdam_platform::{Stamps, ticks};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much of a file may be lent, in bytes.
pub const MOST: u64 = cofferdam_platform::WINDOW_LEN;
/// So many of a process's windows are for files; the others are for pipes.
pub const WINDOWS: usize = 16;

/// So many may borrow from one inode.
const BORROWERS: usize = 64;

/// What was lent of a file by one descriptor of one guest thread. All methods take short locks only.
pub trait PageLoan: Loan {
    /// What the borrower did since it was last asked.
    fn stamps(&self) -> Stamps;
    /// Whether its next read is one that the access time follows.
    fn read_is_due(&self, due: bool);
    /// It does not write until it is released. A write that is under way is waited for, but not for long.
    fn hold(&self);
    /// It may write again, if it might.
    fn release(&self);
    /// It does not write any more.
    fn end_writing(&self);
    /// It is over, and nothing of it is left under way.
    fn is_settled(&self) -> bool;
}

/// What a file lends.
pub struct LentPages {
    /// The memory, open for writing if the file is.
    pub fd: Arc<OwnedFd>,
    /// Bytes that can be read, and of those how many can be written.
    pub read: u32,
    #[allow(missing_docs)]
    pub write: u32,
    /// Whether and when the borrower is to stamp reads.
    pub reads: Reads,
}

/// Which reads the access time follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The next one.
    Due,
    /// The first one after the next write.
    AfterWrite,
    /// None.
    Never,
}

/// Who has pages of an inode.
pub struct Borrowers {
    any: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    loans: Vec<Arc<dyn PageLoan>>,
    /// No stamp is older: ticks, and nanoseconds of CLOCK_REALTIME.
    since: (u64, u64),
}

impl Default for Borrowers {
    fn default() -> Borrowers {
        Borrowers {
            any: AtomicBool::new(false),
            inner: Mutex::new(Rank::PAGES, Inner::default()),
        }
    }
}

/// Times that borrowers tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The last write.
    pub written: Option<Timestamp>,
    /// The first read that counts.
    pub read: Option<Timestamp>,
}

/// The clock first: a time that comes of the pair is rather too early than too late, as those of a coarse clock.
fn now() -> (u64, u64) {
    let ns = realtime_ns();
    (ticks(), ns)
}

/// The time of a stamp between two moments.
fn time_of(stamp: u64, from: (u64, u64), to: (u64, u64)) -> Timestamp {
    let passed = u128::from(to.1.saturating_sub(from.1));
    let ticks = u128::from(to.0.saturating_sub(from.0)).max(1);
    let at = u128::from(stamp.saturating_sub(from.0)).min(ticks);
    let ns = u64::try_from(at * passed / ticks).unwrap_or(0);
    Timestamp::from_ns(from.1.saturating_add(ns))
}

impl Inner {
    /// Takes what the borrowers did, and forgets those that do nothing more.
    fn collect(&mut self) -> Option<Times> {
        let mut all = Stamps::default();
        self.loans.retain(|loan| {
            let settled = loan.is_settled();
            let stamps = loan.stamps();
            all.written = all.written.max(stamps.written);
            if stamps.read > 0 && (all.read == 0 || stamps.read < all.read) {
                all.read = stamps.read;
            }
            !settled
        });
        if all == Stamps::default() {
            return None;
        }
        let to = now();
        let from = std::mem::replace(&mut self.since, to);
        let time = |stamp: u64| (stamp > 0).then(|| time_of(stamp, from, to));
        Some(Times {
            written: time(all.written),
            read: time(all.read),
        })
    }
}

impl Borrowers {
    /// Whether there may be any.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }
    /// Has `apply` enter the times that borrowers tell, if any; it says whether the next read is one that the access time follows.
    pub fn settle(&self, apply: impl FnOnce(Times) -> bool) {
        if !self.any() {
            return;
        }
        let mut inner = self.inner.lock();
        if let Some(times) = inner.collect() {
            let due = apply(times);
            inner.loans.iter().for_each(|l| l.read_is_due(due));
        }
        if inner.loans.is_empty() {
            self.any.store(false, Ordering::SeqCst);
        }
    }
    /// The times have changed; as [`Borrowers::settle`], which came before.
    pub fn changed(&self, due: bool) {
        if self.any() {
            let inner = self.inner.lock();
            inner.loans.iter().for_each(|l| l.read_is_due(due));
        }
    }
    /// Another one, which may write or not: the others end, or write no more. The times are settled; false if there are too many.
    pub fn add(&self, loan: Arc<dyn PageLoan>, writes: bool) -> bool {
        let mut inner = self.inner.lock();
        self.any.store(true, Ordering::SeqCst);
        for l in &inner.loans {
            if writes {
                l.end();
            } else {
                l.end_writing();
            }
        }
        if inner.loans.is_empty() {
            inner.since = now();
        }
        let has_room = inner.loans.len() < BORROWERS;
        if has_room {
            inner.loans.push(loan);
        }
        has_room
    }
    /// The contents change in a way that no borrower may meet.
    pub fn end(&self) {
        if self.any() {
            let inner = self.inner.lock();
            inner.loans.iter().for_each(|l| l.end());
        }
    }
    /// Nobody writes until what this gives is dropped.
    pub fn hold(&self) -> Held<'_> {
        Held(self.each(|l| l.hold()))
    }
    fn each(&self, f: impl Fn(&dyn PageLoan)) -> Option<&Borrowers> {
        if !self.any() {
            return None;
        }
        let inner = self.inner.lock();
        inner.loans.iter().for_each(|l| f(&**l));
        Some(self)
    }
}

/// As long as it lives borrowers do not write.
pub struct Held<'a>(Option<&'a Borrowers>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(borrowers) = self.0 {
            borrowers.each(|l| l.release());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A borrower that remembers what it was told.
    pub(crate) struct Fake(Mutex<State>);
    #[derive(Default)]
    pub(crate) struct State {
        stamps: Stamps,
        due: Option<bool>,
        held: bool,
        no_writing: bool,
        over: bool,
        copying: bool,
    }
    impl Fake {
        pub(crate) fn new() -> Arc<Fake> {
            Arc::new(Fake(Mutex::new(Rank::LEAF, State::default())))
        }
        fn told(&self) -> (bool, bool, bool) {
            let s = self.0.lock();
            (s.held, s.no_writing, s.over)
        }
        fn wrote(&self) {
            self.0.lock().stamps.written = ticks();
        }
    }
    impl Loan for Fake {
        fn end(&self) {
            self.0.lock().over = true;
        }
        fn is_over(&self) -> bool {
            self.0.lock().over
        }
    }
    impl PageLoan for Fake {
        fn stamps(&self) -> Stamps {
            std::mem::take(&mut self.0.lock().stamps)
        }
        fn read_is_due(&self, due: bool) {
            self.0.lock().due = Some(due);
        }
        fn hold(&self) {
            self.0.lock().held = true;
        }
        fn release(&self) {
            self.0.lock().held = false;
        }
        fn end_writing(&self) {
            self.0.lock().no_writing = true;
        }
        fn is_settled(&self) -> bool {
            let s = self.0.lock();
            s.over && !s.copying
        }
    }

    #[test]
    fn one_that_writes_is_alone() {
        let b = Borrowers::default();
        let (first, second, third) = (Fake::new(), Fake::new(), Fake::new());
        assert!(!b.any() && b.add(first.clone(), true) && b.any());
        assert!(b.add(second.clone(), false));
        assert_eq!(first.told(), (false, true, false));
        {
            let _held = b.hold();
            assert!(first.told().0 && second.told().0);
        }
        assert!(!first.told().0 && !second.told().0);
        assert!(b.add(third.clone(), true));
        assert!(first.told().2 && second.told().2 && !third.told().2);
        b.end();
        assert!(third.told().2);
    }

    #[test]
    fn what_ended_loans_tell_is_heard() {
        let b = Borrowers::default();
        let (one, other) = (Fake::new(), Fake::new());
        b.add(one.clone(), true);
        b.settle(|_| panic!("nothing was done"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        // What is read at once is a little too early.
        let before = Timestamp::from_ns(realtime_ns() - 1_000_000);
        one.wrote();
        one.0.lock().stamps.read = u64::MAX;
        b.end();
        one.0.lock().copying = true;
        b.add(other.clone(), false);
        let mut seen = Times::default();
        b.settle(|times| {
            seen = times;
            true
        });
        let now = Timestamp::now();
        assert!(seen.written.is_some_and(|t| before <= t && t <= now));
        assert!(
            seen.read
                .is_some_and(|t| seen.written < Some(t) && t <= now)
        );
        assert_eq!(other.0.lock().due, Some(true));
        // Its last copy comes to an end after all, and says when.
        one.0.lock().copying = false;
        one.wrote();
        seen = Times::default();
        b.settle(|times| {
            seen = times;
            false
        });
        assert!(seen.written >= Some(now) && seen.read.is_none());
        one.wrote();
        b.settle(|_| panic!("it is forgotten"));
        b.changed(true);
        assert_eq!(other.0.lock().due, Some(true));
        other.end();
        b.settle(|_| panic!("nothing was done"));
        assert!(!b.any());
    }

    #[test]
    fn there_are_not_too_many() {
        let b = Borrowers::default();
        let mut all = (0..BORROWERS).map(|_| Fake::new());
        assert!(all.all(|f| b.add(f, false)));
        assert!(!b.add(Fake::new(), false));
        b.end();
        b.settle(|_| false);
        assert!(b.add(Fake::new(), false));
    }

    #[test]
    fn stamps_lie_between_the_looks() {
        let (from, to) = ((1000, 50_000_000_000), (3000, 50_000_002_000));
        let ns = |stamp| time_of(stamp, from, to);
        let at = |ns: u64| Timestamp::from_ns(50_000_000_000 + ns);
        assert_eq!(ns(1000), at(0));
        assert_eq!(ns(1500), at(500));
        assert_eq!(ns(3000), at(2000));
        for wild in [0, 1, 999] {
            assert_eq!(ns(wild), at(0));
        }
        for wild in [3001, u64::MAX] {
            assert_eq!(ns(wild), at(2000));
        }
        // A clock that was set back, and two looks at once.
        assert_eq!(time_of(2000, from, (3000, 7)), at(0));
        assert_eq!(time_of(2000, from, from), at(0));
    }
}
