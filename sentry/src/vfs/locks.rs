//! Advisory file locks: POSIX and open-file-description record locks (fcntl(2)), and flock(2).
//!
//! [`FileLocks`] hangs on the inode. Requests never wait: a conflict is EAGAIN, the caller waits on the queue and asks again.
//! Locks: one inode's state, then the table of who waits for whom; both LEAF, never together.

use crate::abi::{Errno, Result};
use crate::sync::{Charge, Events, Mutex, Quota, Rank, WaitQueue};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// All record locks of the sandbox; more is ENOLCK.
static QUOTA: Quota = Quota::new(32768);

/// Last offset: a lock up to it covers whatever the file grows to.
pub const OFFSET_MAX: u64 = i64::MAX as u64;

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LockKind {
    Read,
    Write,
}

/// Whose a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockOwner {
    /// A descriptor table, by its number: POSIX record locks.
    Table(u64),
    /// An open file description, by its address: OFD locks and flock.
    Description(usize),
}

/// A record lock on bytes `start..=end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RecordLock {
    pub kind: LockKind,
    pub start: u64,
    pub end: u64,
    pub owner: LockOwner,
    /// What F_GETLK reports: the process, or -1 for OFD locks.
    pub pid: i32,
}

impl RecordLock {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start <= end && start <= self.end
    }
    fn conflicts(&self, other: &RecordLock) -> bool {
        self.owner != other.owner
            && self.overlaps(other.start, other.end)
            && (self.kind == LockKind::Write || other.kind == LockKind::Write)
    }
}

/// The locks on one inode (an extension of its `InodeMeta`).
pub struct FileLocks {
    state: Mutex<State>,
    /// Woken when a lock goes or shrinks.
    pub queue: Arc<WaitQueue>,
}

#[derive(Default)]
struct State {
    records: Vec<(RecordLock, Charge)>,
    /// Who may have record locks here. Every close asks to have its owner's released: most have none.
    owners: HashSet<LockOwner>,
    /// By description. Either all are shared or there is one.
    flocks: HashMap<usize, LockKind>,
}

impl Default for FileLocks {
    fn default() -> FileLocks {
        FileLocks {
            state: Mutex::new(Rank::LEAF, State::default()),
            queue: Arc::new(WaitQueue::new()),
        }
    }
}

impl FileLocks {
    /// F_GETLK: the first lock that stands in the way of `lock`.
    pub fn test(&self, lock: &RecordLock) -> Option<RecordLock> {
        let s = self.state.lock();
        s.records
            .iter()
            .map(|(l, _)| *l)
            .find(|l| l.conflicts(lock))
    }

    /// F_SETLK: takes `lock`, replacing what its owner has there.
    ///
    /// # Errors
    /// EAGAIN on a conflict; ENOLCK.
    pub fn set(&self, lock: RecordLock) -> Result<()> {
        {
            let mut s = self.state.lock();
            if s.records.iter().any(|(l, _)| l.conflicts(&lock)) {
                return Err(Errno::EAGAIN);
            }
            // Cutting a hole into one lock makes two.
            let spare = QUOTA.charge(1).ok_or(Errno::ENOLCK)?;
            let own = QUOTA.charge(1).ok_or(Errno::ENOLCK)?;
            s.cut(lock.owner, lock.start, lock.end, spare);
            s.merge(lock, own);
            s.owners.insert(lock.owner);
        }
        self.queue.wake(Events::IN);
        Ok(())
    }

    /// F_UNLCK of `start..=end`.
    ///
    /// # Errors
    /// ENOLCK if a lock would have to be split and there are too many.
    pub fn unlock(&self, owner: LockOwner, start: u64, end: u64) -> Result<()> {
        {
            let mut s = self.state.lock();
            let spare = QUOTA.charge(1).ok_or(Errno::ENOLCK)?;
            s.cut(owner, start, end, spare);
        }
        self.queue.wake(Events::IN);
        Ok(())
    }

    /// Drops all record locks of an owner, and its flock.
    pub fn release(&self, owner: LockOwner) {
        let changed = {
            let mut s = self.state.lock();
            let before = s.records.len();
            if s.owners.remove(&owner) {
                s.records.retain(|(l, _)| l.owner != owner);
            }
            let flock = match owner {
                LockOwner::Description(d) => s.flocks.remove(&d),
                LockOwner::Table(_) => None,
            };
            flock.is_some() || before != s.records.len()
        };
        if changed {
            self.queue.wake(Events::IN);
        }
    }

    /// flock(2) for the description at `who`; `None` unlocks. A conversion gives up the old lock first.
    ///
    /// # Errors
    /// EAGAIN on a conflict.
    pub fn flock(&self, who: usize, kind: Option<LockKind>) -> Result<()> {
        let (released, outcome) = {
            let mut s = self.state.lock();
            let had = s.flocks.get(&who).copied();
            if had == kind {
                return Ok(());
            }
            s.flocks.remove(&who);
            let outcome = match kind {
                None => Ok(()),
                Some(kind) => {
                    let other = s.flocks.values().next();
                    if other.is_some_and(|k| kind == LockKind::Write || *k == LockKind::Write) {
                        Err(Errno::EAGAIN)
                    } else {
                        s.flocks.insert(who, kind);
                        Ok(())
                    }
                }
            };
            (had.is_some(), outcome)
        };
        if released {
            self.queue.wake(Events::IN);
        }
        outcome
    }

    /// All record locks, for /proc/locks and fdinfo.
    pub fn records(&self) -> Vec<RecordLock> {
        self.state.lock().records.iter().map(|(l, _)| *l).collect()
    }

    /// Notes that the owner of `lock` waits for the first who holds a conflicting lock, until the result is dropped.
    ///
    /// # Errors
    /// EDEADLK if that one (through others) waits for the owner. As Linux (`posix_locks_deadlock`), this follows one blocker of
    /// each and gives up after a few.
    pub fn wait_for(&self, lock: &RecordLock) -> Result<Waiting> {
        const MAX_ITERATIONS: usize = 10;
        let blocker = self.test(lock).map(|l| l.owner);
        let mut w = WAITERS.lock();
        // Linux looks for deadlocks among POSIX locks only.
        if matches!(lock.owner, LockOwner::Table(_)) {
            let next = |owner: &LockOwner| w.waits.get(owner)?.values().next().copied();
            let mut chain = std::iter::successors(blocker, next).take(MAX_ITERATIONS);
            if chain.any(|owner| owner == lock.owner) {
                return Err(Errno::EDEADLK);
            }
        }
        let key = w.next;
        w.next = w.next.wrapping_add(1);
        if let Some(blocker) = blocker {
            w.waits.entry(lock.owner).or_default().insert(key, blocker);
        }
        Ok(Waiting(lock.owner, key))
    }
}

impl State {
    /// Takes `start..=end` out of the locks of `owner`.
    fn cut(&mut self, owner: LockOwner, start: u64, end: u64, spare: Charge) {
        let mut spare = Some(spare);
        let mut tail = None;
        self.records.retain_mut(|(l, _)| {
            if l.owner != owner || !l.overlaps(start, end) {
                return true;
            }
            match (l.start < start, l.end > end) {
                (true, true) => {
                    tail = Some(RecordLock {
                        start: end + 1,
                        ..*l
                    });
                    l.end = start - 1;
                    true
                }
                (true, false) => {
                    l.end = start - 1;
                    true
                }
                (false, true) => {
                    l.start = end + 1;
                    true
                }
                (false, false) => false,
            }
        });
        if let (Some(t), Some(charge)) = (tail, spare.take()) {
            self.records.push((t, charge));
        }
    }

    /// Adds `lock`, joined with neighbours of the same kind and owner.
    fn merge(&mut self, mut lock: RecordLock, charge: Charge) {
        self.records.retain(|(l, _)| {
            let joins = l.owner == lock.owner
                && l.kind == lock.kind
                && (l.end.checked_add(1) == Some(lock.start)
                    || lock.end.checked_add(1) == Some(l.start));
            if joins {
                lock.start = lock.start.min(l.start);
                lock.end = lock.end.max(l.end);
            }
            !joins
        });
        self.records.push((lock, charge));
        self.records.sort_by_key(|(l, _)| l.start);
    }
}

struct Waiters {
    next: u64,
    /// By owner, for each of its waiting calls: for whom it waits.
    waits: HashMap<LockOwner, BTreeMap<u64, LockOwner>>,
}

static WAITERS: std::sync::LazyLock<Mutex<Waiters>> = std::sync::LazyLock::new(|| {
    Mutex::new(
        Rank::LEAF,
        Waiters {
            next: 0,
            waits: HashMap::new(),
        },
    )
});

/// A blocked F_SETLKW, as deadlock detection sees it.
pub struct Waiting(LockOwner, u64);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut w = WAITERS.lock();
        if let Some(calls) = w.waits.get_mut(&self.0) {
            calls.remove(&self.1);
            if calls.is_empty() {
                w.waits.remove(&self.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(kind: LockKind, start: u64, end: u64, owner: u64) -> RecordLock {
        RecordLock {
            kind,
            start,
            end,
            owner: LockOwner::Table(owner),
            pid: i32::try_from(owner).unwrap(),
        }
    }
    fn ranges(l: &FileLocks) -> Vec<(LockKind, u64, u64)> {
        l.records()
            .iter()
            .map(|l| (l.kind, l.start, l.end))
            .collect()
    }
    use LockKind::{Read, Write};

    #[test]
    fn ranges_split_and_join() {
        let l = FileLocks::default();
        l.set(lock(Write, 0, 99, 1)).unwrap();
        l.unlock(LockOwner::Table(1), 40, 59).unwrap();
        assert_eq!(ranges(&l), [(Write, 0, 39), (Write, 60, 99)]);
        l.set(lock(Read, 50, 69, 1)).unwrap();
        assert_eq!(
            ranges(&l),
            [(Write, 0, 39), (Read, 50, 69), (Write, 70, 99)]
        );
        l.set(lock(Write, 40, 69, 1)).unwrap();
        assert_eq!(ranges(&l), [(Write, 0, 99)]);
        l.set(lock(Write, 100, OFFSET_MAX, 1)).unwrap();
        assert_eq!(ranges(&l), [(Write, 0, OFFSET_MAX)]);
        l.release(LockOwner::Table(1));
        assert!(ranges(&l).is_empty());
    }

    #[test]
    fn conflicts_are_between_owners() {
        let l = FileLocks::default();
        l.set(lock(Read, 0, 9, 1)).unwrap();
        l.set(lock(Read, 5, 9, 2)).unwrap();
        assert_eq!(l.set(lock(Write, 9, 20, 1)), Err(Errno::EAGAIN));
        assert_eq!(l.test(&lock(Write, 0, 0, 2)).map(|l| l.pid), Some(1));
        assert_eq!(l.test(&lock(Write, 0, 4, 1)), None);
        l.release(LockOwner::Table(2));
        l.set(lock(Write, 9, 20, 1)).unwrap();
    }

    #[test]
    fn a_circle_of_waiters_is_a_deadlock() {
        let (a, b) = (FileLocks::default(), FileLocks::default());
        a.set(lock(Write, 0, 0, 1)).unwrap();
        b.set(lock(Write, 0, 0, 2)).unwrap();
        let waits = b.wait_for(&lock(Write, 0, 0, 1)).unwrap();
        assert_eq!(
            a.wait_for(&lock(Write, 0, 0, 2)).err(),
            Some(Errno::EDEADLK)
        );
        drop(waits);
        assert!(a.wait_for(&lock(Write, 0, 0, 2)).is_ok());
    }

    /// Every close asks for a release, every wait asks who is in the way.
    #[test]
    fn many_locks_cost_those_who_have_none_nothing() {
        let l = FileLocks::default();
        for n in 0..15_000 {
            l.set(lock(Write, 2 * n, 2 * n, n)).unwrap();
        }
        let begin = std::time::Instant::now();
        for _ in 0..200_000 {
            l.release(LockOwner::Table(1 << 20));
        }
        let waits: Vec<Waiting> = (0..1000)
            .map(|n| {
                l.wait_for(&lock(Read, 0, OFFSET_MAX, (1 << 21) + n))
                    .unwrap()
            })
            .collect();
        for n in 0..50_000 {
            l.flock(n, Some(Read)).unwrap();
        }
        for n in 0..50_000 {
            l.release(LockOwner::Description(n));
        }
        assert!(begin.elapsed().as_secs() < 2, "{:?}", begin.elapsed());
        let w = WAITERS.lock();
        let held: usize = w.waits.values().map(BTreeMap::len).sum();
        assert!(held < 2 * waits.len(), "{held}");
    }

    #[test]
    fn flock_conversion_is_not_atomic() {
        let l = FileLocks::default();
        l.flock(1, Some(Read)).unwrap();
        l.flock(2, Some(Read)).unwrap();
        assert_eq!(l.flock(1, Some(Write)), Err(Errno::EAGAIN));
        // 1 lost its lock on the way.
        l.flock(2, Some(Write)).unwrap();
        l.flock(2, None).unwrap();
        l.flock(1, Some(Write)).unwrap();
    }
}
