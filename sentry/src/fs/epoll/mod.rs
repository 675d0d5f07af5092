//! epoll(7) instances.
//!
//! An [`Epoll`] has a set of [`Item`]s, each registered in its file's wait queue. A wake-up puts the item on the ready list;
//! [`Epoll::collect`] asks each listed file what is really ready. Items do not keep files open.
//!
//! Programs change interests all the time; most changes are noted by the stub, see [`noted`].
//!
//! Locks: `EPOLL_TREE` (which instance watches which) → `EPOLL` (items; outer instance before inner) → `EPOLL_READY`.

mod item;
mod nesting;
pub mod noted;
mod ready;
#[cfg(test)]
mod tests;

use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonKind, anon_file};
use crate::sync::{Charge, Events, Mutex, Quota, Rank, WaitQueue};
use crate::vfs::{Caller, File, FileOps, OpenFlags};
use item::Item;
pub use item::Key;
use noted::Lent;
use ready::Ready;
use smallvec::SmallVec;
use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// EPOLLEXCLUSIVE.
pub const EXCLUSIVE: u32 = 1 << 28;
/// EPOLLWAKEUP: needs suspend, which a sandbox does not have; ignored.
pub const WAKEUP: u32 = 1 << 29;
/// EPOLLONESHOT.
pub const ONESHOT: u32 = 1 << 30;
/// EPOLLET.
pub const EDGE: u32 = 1 << 31;
/// Bits that say how to report, not what.
const PRIVATE: u32 = EXCLUSIVE | WAKEUP | ONESHOT | EDGE;
const ALWAYS: u32 = Events::ERR.union(Events::HUP).bits();

/// Most epoll instances in the sandbox.
static INSTANCES: Quota = Quota::new(1 << 16);
/// `fs.epoll.max_user_watches`.
static WATCHES: Quota = Quota::new(1 << 18);

/// `struct epoll_event`: packed on x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct EpollEvent {
    /// EPOLL* bits.
    pub events: u32,
    /// The caller's own.
    pub data: u64,
}

/// An epoll instance.
pub struct Epoll {
    me: Weak<Epoll>,
    interest: Mutex<Interest>,
    /// Whether notes count; changed under that lock.
    is_lent: AtomicBool,
    ready: Mutex<Ready>,
    queue: Arc<WaitQueue>,
    /// Instances that watch this one; changed under `EPOLL_TREE`.
    parents: Mutex<Vec<Weak<Epoll>>>,
    _charge: Charge,
}

struct Interest {
    /// Also those that are retired, if notes count.
    items: HashMap<Key, Arc<Item>, ahash::RandomState>,
    lent: Lent,
    /// Items of closed files are looked for when there are this many.
    purge_at: usize,
}

/// The open file of an epoll instance.
pub struct EpollFile(Arc<Epoll>);

/// epoll_create1(2).
///
/// # Errors
/// ENFILE if the sandbox has too many.
pub fn create(cx: &dyn Caller) -> Result<Arc<File>> {
    let charge = INSTANCES.charge(1).ok_or(Errno::ENFILE)?;
    let epoll = Arc::new_cyclic(|me| Epoll {
        me: me.clone(),
        interest: Mutex::new(
            Rank::EPOLL,
            Interest {
                items: HashMap::default(),
                lent: Lent::default(),
                purge_at: 64,
            },
        ),
        is_lent: AtomicBool::new(false),
        ready: Mutex::new(Rank::EPOLL_READY, Ready::default()),
        queue: Arc::new(WaitQueue::new()),
        parents: Mutex::new(Rank::LEAF, Vec::new()),
        _charge: charge,
    });
    Ok(anon_file(
        cx,
        Box::new(EpollFile(epoll)),
        AnonKind::Other("[eventpoll]"),
        OpenFlags::RDWR,
    ))
}

/// The instance behind a file.
pub fn epoll_of(file: &File) -> Option<&Arc<Epoll>> {
    file.downcast::<EpollFile>().map(|f| &f.0)
}

impl Epoll {
    /// Woken when an item becomes ready.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }

    /// EPOLL_CTL_ADD: watches `file`, known as descriptor `fd`.
    ///
    /// # Errors
    /// EEXIST; EPERM if the file's readiness never changes; EINVAL for EPOLLEXCLUSIVE with what it excludes; ELOOP;
    /// ENOSPC over the sandbox's limit of watches.
    pub fn add(&self, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        let queue = file.ops().wait_queue().ok_or(Errno::EPERM)?;
        let EpollEvent { events, data } = event;
        let target = epoll_of(file);
        if events & EXCLUSIVE != 0 {
            let allowed =
                Events::IN.bits() | Events::OUT.bits() | ALWAYS | WAKEUP | EDGE | EXCLUSIVE;
            if target.is_some() || events & !allowed != 0 {
                return Err(Errno::EINVAL);
            }
        }
        // EEXIST comes before ELOOP; a race with another add is found below.
        let key = Key::new(fd, file);
        if let Some(revived) = self.revive(key, event) {
            let item = revived?;
            item.check(file);
            return Ok(());
        }
        let charge = WATCHES.charge(1).ok_or(Errno::ENOSPC)?;
        let _tree = match target {
            Some(inner) => Some(nesting::link(self, inner)?),
            None => None,
        };
        let item = Item::new(key, file, &self.me, queue, events | ALWAYS, data, charge);
        let dead = {
            let mut i = self.interest.lock();
            let dead = i.purge();
            match i.items.entry(key) {
                std::collections::hash_map::Entry::Occupied(_) => return Err(Errno::EEXIST),
                std::collections::hash_map::Entry::Vacant(v) => v.insert(item.clone()),
            };
            item.register();
            dead
        };
        self.forget(&dead);
        item.check(file);
        Ok(())
    }

    /// For EPOLL_CTL_ADD: the item that is there already, if it was retired, or EEXIST.
    fn revive(&self, key: Key, event: EpollEvent) -> Option<Result<Arc<Item>>> {
        let mut i = self.interest.lock();
        let item = i.items.get(&key)?.clone();
        let EpollEvent { events, data } = event;
        if !item.is_retired() {
            return Some(Err(Errno::EEXIST));
        }
        if events & EXCLUSIVE == 0 {
            item.revive(events | ALWAYS, data);
            return Some(Ok(item));
        }
        i.items.remove(&key);
        drop(i);
        self.forget(&[item]);
        None
    }

    /// EPOLL_CTL_MOD.
    ///
    /// # Errors
    /// ENOENT; EINVAL if EPOLLEXCLUSIVE is asked for or was used.
    pub fn modify(&self, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        let EpollEvent { events, data } = event;
        if events & EXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        let item = {
            let i = self.interest.lock();
            let item = i.items.get(&Key::new(fd, file));
            let item = item.filter(|i| !i.is_retired()).ok_or(Errno::ENOENT)?;
            if item.events() & EXCLUSIVE != 0 {
                return Err(Errno::EINVAL);
            }
            item.set(events | ALWAYS, data);
            item.clone()
        };
        item.check(file);
        Ok(())
    }

    /// EPOLL_CTL_DEL.
    ///
    /// # Errors
    /// ENOENT.
    pub fn remove(&self, fd: i32, file: &Arc<File>) -> Result<()> {
        let item = {
            let mut guard = self.interest.lock();
            let i = &mut *guard;
            let key = Key::new(fd, file);
            let item = i.items.get(&key).filter(|i| !i.is_retired());
            let item = item.ok_or(Errno::ENOENT)?.clone();
            item.retire(&mut self.ready.lock());
            if i.lent.keeps(&item) && epoll_of(file).is_none() {
                return Ok(());
            }
            i.items.remove(&key);
            item
        };
        if let Some(inner) = epoll_of(file) {
            nesting::unlink(self, inner);
        }
        self.forget(&[item]);
        Ok(())
    }

    /// Gives up to `max` ready events to `emit`, which may fail with EFAULT (they stay ready then). How many.
    pub fn collect(
        &self,
        max: usize,
        emit: &mut dyn FnMut(&[EpollEvent]) -> Result<()>,
    ) -> Result<usize> {
        // Files and items are dropped after the lock: a file's end may take any other.
        let mut files: SmallVec<[Arc<File>; 16]> = SmallVec::new();
        let mut dead: SmallVec<[Arc<Item>; 4]> = SmallVec::new();
        let outcome = {
            let mut interest = self.interest.lock();
            let mut events: SmallVec<[EpollEvent; 16]> = SmallVec::new();
            let mut reported: SmallVec<[(Arc<Item>, u32); 16]> = SmallVec::new();
            let listed = self.ready.lock().len();
            for _ in 0..listed {
                if events.len() >= max {
                    break;
                }
                let Some(item) = self.take_ready() else {
                    break;
                };
                let Some(file) = item.file() else {
                    interest.items.remove(&item.key());
                    item.retire(&mut self.ready.lock());
                    dead.push(item);
                    continue;
                };
                if item.is_retired() {
                    files.push(file);
                    continue;
                }
                let mask = item.events();
                let now = file.poll().bits() & mask & !PRIVATE;
                files.push(file);
                if now == 0 || mask & !PRIVATE == 0 {
                    continue;
                }
                events.push(EpollEvent {
                    events: now,
                    data: item.data(),
                });
                if mask & ONESHOT != 0 {
                    item.set(mask & PRIVATE, item.data());
                }
                reported.push((item, mask));
            }
            let outcome = if events.is_empty() {
                Ok(())
            } else {
                emit(&events)
            };
            let mut ready = self.ready.lock();
            for (item, mask) in reported {
                if outcome.is_err() {
                    item.set(mask, item.data());
                    ready.push(&item);
                } else if mask & (EDGE | ONESHOT) == 0 {
                    ready.push(&item);
                }
            }
            outcome.map(|()| events.len())
        };
        self.forget(&dead);
        outcome
    }

    /// What is watched: descriptor, events, data (for /proc/PID/fdinfo).
    pub fn targets(&self) -> Vec<(i32, u32, u64)> {
        let mut i = self.interest.lock();
        i.settle_now(self);
        i.items
            .values()
            .filter(|t| !t.is_retired() && !t.is_closed())
            .map(|t| (t.key().fd, t.events(), t.data()))
            .collect()
    }

    fn take_ready(&self) -> Option<Arc<Item>> {
        self.ready.lock().pop()
    }

    /// Whether anybody waits for events now.
    fn is_awaited(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Called by an item whose file may be ready.
    fn became_ready(&self, item: &Arc<Item>) {
        let new = self.ready.lock().push(item);
        if new {
            self.queue.wake(Events::READABLE);
        }
    }

    /// Takes items that are no longer of interest out of queues and the ready list.
    fn forget(&self, items: &[Arc<Item>]) {
        for item in items {
            item.unregister();
            self.ready.lock().remove(item);
        }
    }

    /// Whether something is ready, dropping what is not from the ready list.
    fn is_ready(&self) -> bool {
        // Dropped after the lock, as in `collect`.
        let mut files: SmallVec<[Arc<File>; 4]> = SmallVec::new();
        let mut interest = self.interest.lock_nested();
        interest.settle(self, None);
        let listed = self.ready.lock().len();
        let mut found = false;
        for _ in 0..listed {
            let Some(item) = self.take_ready() else {
                break;
            };
            let Some(file) = item.file() else {
                continue;
            };
            found = !item.is_retired() && file.poll().bits() & item.events() & !PRIVATE != 0;
            files.push(file);
            if found {
                // It goes back to the front: nothing was reported.
                self.ready.lock().push_first(&item);
                break;
            }
        }
        drop(interest);
        found
    }
}

impl Interest {
    /// Takes out the items of closed files, now and then.
    fn purge(&mut self) -> Vec<Arc<Item>> {
        if self.items.len() < self.purge_at {
            return Vec::new();
        }
        let dead: Vec<_> = self
            .items
            .values()
            .filter(|i| i.is_closed())
            .cloned()
            .collect();
        for d in &dead {
            self.items.remove(&d.key());
            d.mark_gone();
        }
        self.purge_at = self.items.len().saturating_mul(2).max(64);
        dead
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for item in self.interest.get_mut().items.values() {
            item.unregister();
        }
    }
}

impl FileOps for EpollFile {
    fn poll(&self, _: &File) -> Events {
        if self.0.is_ready() {
            Events::READABLE
        } else {
            Events::empty()
        }
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.0.queue.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
