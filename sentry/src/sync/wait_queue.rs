//! Wait queues: who wants to know when something changes.

use super::{Mutex, Rank};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

bitflags::bitflags! {
    /// Readiness of a file, the EPOLL*/POLL* bits of poll(2) and epoll_ctl(2) (they share values).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u32 {
        /// Data to read.
        const IN = 0x1;
        /// Urgent data.
        const PRI = 0x2;
        /// Room to write.
        const OUT = 0x4;
        /// Error; always reported.
        const ERR = 0x8;
        /// Hang-up; always reported.
        const HUP = 0x10;
        /// Descriptor not open (poll only).
        const NVAL = 0x20;
        /// Same as IN for most files.
        const RDNORM = 0x40;
        /// Priority band data.
        const RDBAND = 0x80;
        /// Same as OUT for most files.
        const WRNORM = 0x100;
        /// Priority band writable.
        const WRBAND = 0x200;
        /// Unused by Linux.
        const MSG = 0x400;
        /// Peer shut down writing.
        const RDHUP = 0x2000;
    }
}

impl Events {
    /// Readable, as files report it (IN and RDNORM).
    pub const READABLE: Events = Events::IN.union(Events::RDNORM);
    /// Writable, as files report it (OUT and WRNORM).
    pub const WRITABLE: Events = Events::OUT.union(Events::WRNORM);
}

/// Something that can be told that a queue's condition may have changed: a parked task, an epoll item.
pub trait Notify: Send + Sync {
    /// Called without the queue's lock held; must be quick and must not block. Spurious calls are allowed.
    fn notify(&self, events: Events);
    /// Whether it always stands for somebody who waits. Otherwise [`Notify::is_awaited`] tells.
    fn always_awaited(&self) -> bool {
        true
    }
    /// Whether somebody waits for it now: if not, an exclusive waiter is told but does not keep the others from being woken
    /// (`ep_poll_callback`). Called without the queue's lock held.
    fn is_awaited(&self) -> bool {
        true
    }
}

/// Names one registration in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitKey(u64);

/// Room for so many waiters is kept.
const ROOM: usize = 64;

struct Waiter {
    key: u64,
    events: Events,
    exclusive: bool,
    /// `None`: unregistered.
    target: Option<Arc<dyn Notify>>,
}

/// Registered waiters of one object. Waking is by re-evaluation: a woken waiter looks at the object again.
pub struct WaitQueue {
    len: AtomicUsize,
    inner: Mutex<Inner>,
}

struct Inner {
    next: u64,
    /// By key. What was unregistered stays until half of them are such: a guest can have very many, and have them go in
    /// any order.
    waiters: Vec<Waiter>,
    /// How many are registered.
    live: usize,
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        WaitQueue {
            len: AtomicUsize::new(0),
            inner: Mutex::new(
                Rank::WAIT_QUEUE,
                Inner {
                    next: 0,
                    waiters: Vec::new(),
                    live: 0,
                },
            ),
        }
    }

    /// Adds a waiter for `events` (ERR and HUP always included). The caller looks at the object *after* registering.
    pub fn register(&self, target: Arc<dyn Notify>, events: Events) -> WaitKey {
        self.add(target, events, false)
    }

    /// Like [`Self::register`], but a wake stops after the first exclusive waiter that matches (EPOLLEXCLUSIVE, accept).
    pub fn register_exclusive(&self, target: Arc<dyn Notify>, events: Events) -> WaitKey {
        self.add(target, events, true)
    }

    fn add(&self, target: Arc<dyn Notify>, events: Events, exclusive: bool) -> WaitKey {
        let mut q = self.inner.lock();
        let key = q.next;
        q.next = q.next.wrapping_add(1);
        q.waiters.push(Waiter {
            key,
            events: events | Events::ERR | Events::HUP,
            exclusive,
            target: Some(target),
        });
        q.live += 1;
        self.len.store(q.live, Ordering::SeqCst);
        WaitKey(key)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::SeqCst) == 0
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// Removes a registration; unknown keys are ignored.
    pub fn unregister(&self, key: WaitKey) {
        let removed = {
            let mut q = self.inner.lock();
            let at = q.waiters.binary_search_by_key(&key.0, |w| w.key).ok();
            let waiter = at.and_then(|i| q.waiters.get_mut(i));
            let removed = waiter.and_then(|w| w.target.take());
            if removed.is_some() {
                q.live -= 1;
                if q.live <= q.waiters.len() / 2 {
                    q.waiters.retain(|w| w.target.is_some());
                    let room = q.live.max(ROOM) * 2;
                    q.waiters.shrink_to(room);
                }
            }
            self.len.store(q.live, Ordering::SeqCst);
            removed
        };
        drop(removed);
    }

    /// Tells every waiter interested in one of `events`. Costs one atomic load when nobody waits.
    pub fn wake(&self, events: Events) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.len.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut targets: SmallVec<[(Arc<dyn Notify>, bool); 8]> = SmallVec::new();
        {
            let q = self.inner.lock();
            for w in q.waiters.iter().filter(|w| w.events.intersects(events)) {
                let Some(target) = &w.target else { continue };
                targets.push((target.clone(), w.exclusive));
                if w.exclusive && target.always_awaited() {
                    break;
                }
            }
        }
        for (t, exclusive) in targets {
            let enough = exclusive && t.is_awaited();
            t.notify(events);
            if enough {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    struct Count(AtomicUsize);
    impl Notify for Count {
        fn notify(&self, _: Events) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_only_matching_and_registered_waiters() {
        let q = WaitQueue::new();
        let a = Arc::new(Count(AtomicUsize::new(0)));
        let k = q.register(a.clone(), Events::IN);
        q.wake(Events::OUT);
        assert_eq!(a.0.load(Ordering::Relaxed), 0);
        q.wake(Events::IN);
        q.wake(Events::HUP);
        assert_eq!(a.0.load(Ordering::Relaxed), 2);
        q.unregister(k);
        q.wake(Events::IN);
        assert_eq!(a.0.load(Ordering::Relaxed), 2);
    }

    /// A guest may register a queue's waiters by the hundred thousand and take them away in any order.
    #[test]
    fn many_waiters_go_quickly_in_any_order() {
        const MANY: usize = 300_000;
        let q = WaitQueue::new();
        let a = Arc::new(Count(AtomicUsize::new(0)));
        let start = std::time::Instant::now();
        let keys: Vec<WaitKey> = (0..MANY)
            .map(|_| q.register(a.clone(), Events::IN))
            .collect();
        // Coprime to their number: every one once, far apart.
        for i in 0..MANY - 1 {
            q.unregister(keys[i * 7919 % MANY]);
        }
        assert!(!q.is_empty());
        q.wake(Events::IN);
        assert_eq!(a.0.load(Ordering::Relaxed), 1);
        let last = keys[(MANY - 1) * 7919 % MANY];
        q.unregister(last);
        q.unregister(last);
        assert!(q.is_empty());
        assert!(q.inner.lock().waiters.capacity() <= 2 * ROOM);
        let took = start.elapsed();
        assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    }
}
