//! A mutex with a rank.

use super::aside::aside_locked;
use std::ops::{Deref, DerefMut};

/// How often a lock that is not free is tried again before its holder is taken to wait for something.
const TRIES: usize = 200;

/// Place of a lock in the global order; higher ranks are taken later (further in).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub u8);

impl Rank {
    /// State of a task that only its worker touches, held while a system call runs.
    pub const TASK_LOCAL: Rank = Rank(10);
    /// Position of an open file (serialises read/write/lseek on it).
    pub const FILE_POS: Rank = Rank(20);
    /// Writers of one regular file (serialises whole writes; guest memory is read while it is held).
    pub const FILE_WRITE: Rank = Rank(22);
    /// Which epoll instance watches which: one change at a time.
    pub const EPOLL_TREE: Rank = Rank(24);
    /// An epoll instance's interest list.
    pub const EPOLL: Rank = Rank(25);
    /// Memory map of a guest process.
    pub const MM: Rank = Rank(28);
    /// Working directory, root, umask.
    pub const FS_CONTEXT: Rank = Rank(30);
    /// One change of mounts at a time, in whatever namespaces.
    pub const MOUNT_CHANGES: Rank = Rank(31);
    /// Mount table.
    pub const MOUNTS: Rank = Rank(32);
    /// A rename in one file system (one at a time).
    pub const RENAME: Rank = Rank(34);
    /// The names of one directory, over a whole change of them (`i_rwsem`).
    pub const DIRECTORY: Rank = Rank(35);
    /// A directory entry's cached children.
    pub const DENTRY: Rank = Rank(36);
    /// An overlay inode (above the inodes of its layers).
    pub const OVERLAY: Rank = Rank(38);
    /// Descriptor table.
    pub const FD_TABLE: Rank = Rank(40);
    /// Which directory is where in one tmpfs (rename, rmdir).
    pub const TMPFS_TREE: Rank = Rank(43);
    /// An inode's own data (tmpfs contents, directory maps).
    pub const INODE: Rank = Rank(44);
    /// A socket namespace table (bound addresses, ports).
    pub const NET_TABLE: Rank = Rank(46);
    /// A table of System V IPC objects.
    pub const IPC_TABLE: Rank = Rank(47);
    /// Bytes on their way between a guest terminal and the host's.
    pub const BRIDGE: Rank = Rank(48);
    /// A socket, pipe, tty, eventfd … : one open object's buffers.
    pub const OBJECT: Rank = Rank(50);
    /// The table of tasks, groups and sessions.
    pub const TASKS: Rank = Rank(60);
    /// Signal handlers and pending signals of a thread group.
    pub const SIGNALS: Rank = Rank(64);
    /// A task's signal mask and pending signals.
    pub const TASK_SIGNALS: Rank = Rank(65);
    /// A task's fields that other tasks may read (credentials, name, parking state).
    pub const TASK: Rank = Rank(66);
    /// Futex buckets.
    pub const FUTEX: Rank = Rank(70);
    /// An epoll instance's ready list (taken from wait queue callbacks).
    pub const EPOLL_READY: Rank = Rank(80);
    /// Wait queues.
    pub const WAIT_QUEUE: Rank = Rank(90);
    /// Timers.
    pub const TIMERS: Rank = Rank(92);
    /// The run queue.
    pub const RUN_QUEUE: Rank = Rank(94);
    /// IP options of a socket: groups and interfaces are looked at while they are set.
    pub const SOCKET_OPTIONS: Rank = Rank(96);
    /// The interfaces of a network namespace.
    pub const INTERFACES: Rank = Rank(97);
    /// Who has pages of an inode, and which file a guest process sees in which window.
    pub const PAGES: Rank = Rank(98);
    /// Locks that never nest anything inside.
    pub const LEAF: Rank = Rank(100);
}

/// A mutual-exclusion lock whose place in the lock order is checked in debug builds.
#[derive(Debug)]
pub struct Mutex<T: ?Sized> {
    rank: Rank,
    inner: parking_lot::Mutex<T>,
}

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    pub const fn new(rank: Rank, value: T) -> Self {
        Mutex {
            rank,
            inner: parking_lot::Mutex::new(value),
        }
    }
    /// The value, without the lock.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock. Debug builds panic if a lock of this or a higher rank is held by this thread.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        check::acquire(self.rank, false);
        MutexGuard {
            rank: self.rank,
            inner: self.acquire(),
        }
    }
    /// Takes the lock while another lock of the same rank may be held.
    pub fn lock_nested(&self) -> MutexGuard<'_, T> {
        check::acquire(self.rank, true);
        MutexGuard {
            rank: self.rank,
            inner: self.acquire(),
        }
    }
    fn acquire(&self) -> parking_lot::MutexGuard<'_, T> {
        match self.inner.try_lock() {
            Some(guard) => guard,
            None => self.wait(),
        }
    }
    /// A worker that waits here lets others work: the holder may be one that is to come back to its work.
    #[cold]
    fn wait(&self) -> parking_lot::MutexGuard<'_, T> {
        for _ in 0..TRIES {
            std::hint::spin_loop();
            if let Some(guard) = self.inner.try_lock() {
                return guard;
            }
        }
        aside_locked(|| self.inner.lock())
    }
    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = self.inner.try_lock()?;
        check::acquire(self.rank, true);
        Some(MutexGuard {
            rank: self.rank,
            inner,
        })
    }
    /// Access without locking, for the sole owner.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

/// Holds a [`Mutex`] locked.
pub struct MutexGuard<'a, T: ?Sized> {
    rank: Rank,
    inner: parking_lot::MutexGuard<'a, T>,
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}
impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}
impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        check::release(self.rank);
    }
}

/// To be called before an exchange with a stub or the gofer, which may never answer: debug builds panic if this thread holds a
/// lock that others than callers of the same object could wait for.
pub fn before_exchange() {
    check::exchange();
}

#[cfg(debug_assertions)]
mod check {
    use super::Rank;
    use std::cell::RefCell;

    /// May be held: the task's own state, and what makes callers of one object wait for each other on Linux, too.
    const ACROSS_EXCHANGES: [Rank; 5] = [
        Rank::TASK_LOCAL,
        Rank::FILE_POS,
        Rank::FILE_WRITE,
        Rank::RENAME,
        Rank::DIRECTORY,
    ];
    thread_local!(static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) });

    pub(super) fn acquire(rank: Rank, nested: bool) {
        HELD.with_borrow_mut(|held| {
            if let Some(max) = held.iter().max() {
                assert!(
                    *max < rank || (nested && *max <= rank),
                    "lock order: {rank:?} wanted, {held:?} held"
                );
            }
            held.push(rank);
        });
    }
    pub(super) fn exchange() {
        HELD.with_borrow(|held| {
            let allowed = held.iter().all(|r| ACROSS_EXCHANGES.contains(r));
            assert!(allowed, "an exchange with {held:?} held");
        });
    }
    pub(super) fn release(rank: Rank) {
        HELD.with_borrow_mut(|held| {
            if let Some(i) = held.iter().rposition(|r| *r == rank) {
                held.remove(i);
            }
        });
    }
}

#[cfg(not(debug_assertions))]
mod check {
    use super::Rank;
    pub(super) fn acquire(_: Rank, _: bool) {}
    pub(super) fn exchange() {}
    pub(super) fn release(_: Rank) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_of_one_object_may_wait_for_an_exchange() {
        let (local, position) = (
            Mutex::new(Rank::TASK_LOCAL, ()),
            Mutex::new(Rank::FILE_POS, ()),
        );
        let _guards = (local.lock(), position.lock());
        before_exchange();
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "an exchange with")]
    fn nobody_else_may() {
        let table = Mutex::new(Rank::MM, ());
        let _guard = table.lock();
        before_exchange();
    }
}
