//! Waiters by key: WAIT, WAKE, REQUEUE.

use super::pi::PiWaiter;
use super::{Key, MATCH_ANY, Target};
use crate::abi::{Errno, Result};
use crate::sync::{Events, Mutex, MutexGuard, Rank, WaitQueue};
use crate::usermem::{GuestMemory, UserPtr};
use crate::vfs::InodeRef;
use ahash::RandomState;
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const SHARDS: usize = 64;

/// One registered wait on one key.
struct Waiter {
    /// Changes only under the locks of both shards concerned.
    place: Mutex<(Key, Option<InodeRef>)>,
    bitset: u32,
    /// Where it began to wait, and the value that it found there.
    began: (Key, u32),
    /// 0 while it waits; then the bitset of the wake that ended it.
    woken: AtomicU32,
    queue: Arc<WaitQueue>,
    /// Nobody waits on it any more; set before it is dequeued.
    gone: AtomicBool,
    /// FUTEX_WAIT_REQUEUE_PI: may only be requeued to this PI lock, not woken.
    pi: Option<(Key, Arc<PiWaiter>)>,
}

impl Waiter {
    fn key(&self) -> Key {
        self.place.lock().0
    }
    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst) != 0
    }
}

/// Keys are addresses of the guest's choice: the hash is keyed.
type Shard = HashMap<Key, VecDeque<Arc<Waiter>>, RandomState>;

/// All waiters of a sandbox.
pub struct FutexTable {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    pub(super) pi: super::pi::PiTable,
}

impl Default for FutexTable {
    fn default() -> Self {
        FutexTable {
            hasher: RandomState::new(),
            shards: (0..SHARDS)
                .map(|_| Mutex::new(Rank::FUTEX, Shard::default()))
                .collect(),
            pi: Default::default(),
        }
    }
}

/// What one call waits on; dropping it ends the wait. A wake that came too late for the call goes to another waiter.
pub struct Enqueued {
    table: Arc<FutexTable>,
    waiters: SmallVec<[Arc<Waiter>; 1]>,
    queue: Arc<WaitQueue>,
    /// The call has returned the wake to the guest.
    consumed: AtomicBool,
}

impl Enqueued {
    /// Where a wake is announced.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }
    /// Which of the futexes was woken (the last one, as futex_waitv has it), if any.
    pub fn woken(&self) -> Option<usize> {
        let at = self.waiters.iter().rposition(|w| w.is_woken())?;
        self.consumed.store(true, Ordering::Relaxed);
        Some(at)
    }
    /// Stops waiting; which futex was woken before that, if any.
    pub fn cancel(&self) -> Option<usize> {
        for w in &self.waiters {
            self.table.dequeue(w);
        }
        self.woken()
    }
}

impl Drop for Enqueued {
    fn drop(&mut self) {
        for w in &self.waiters {
            self.table.dequeue(w);
        }
        if *self.consumed.get_mut() {
            return;
        }
        for w in &self.waiters {
            let by = w.woken.load(Ordering::SeqCst);
            if by != 0 {
                let _ = self.table.wake(w.key(), 1, by);
            }
        }
    }
}

/// A waiter on its way to a PI lock.
pub(super) struct PiCandidate {
    waiter: Arc<Waiter>,
    /// What it becomes there.
    pub pi: Arc<PiWaiter>,
}

/// The arguments of FUTEX_REQUEUE beyond the keys.
pub struct Requeue {
    /// How many to wake.
    pub wake: usize,
    /// How many of the others to move.
    pub requeue: usize,
}

impl FutexTable {
    fn index(&self, key: &Key) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0)
    }
    fn shard(&self, key: &Key) -> Result<&Mutex<Shard>> {
        self.shards.get(self.index(key)).ok_or(Errno::ENOMEM)
    }

    /// Waits on each futex (address for the check, target, expected value, bitset).
    ///
    /// # Errors
    /// EAGAIN if a value is not as expected; EFAULT.
    pub fn wait(
        self: &Arc<Self>,
        mem: &dyn GuestMemory,
        futexes: Vec<(u64, Target, u32, u32)>,
    ) -> Result<Arc<Enqueued>> {
        self.enqueue(mem, futexes, None)
    }

    /// [`Self::wait`], with `pi` as FUTEX_WAIT_REQUEUE_PI does it.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        mem: &dyn GuestMemory,
        futexes: Vec<(u64, Target, u32, u32)>,
        pi: Option<(Key, Arc<PiWaiter>)>,
    ) -> Result<Arc<Enqueued>> {
        let queue = match &pi {
            Some((_, w)) => w.queue().clone(),
            None => Arc::new(WaitQueue::new()),
        };
        let mut all = Enqueued {
            table: self.clone(),
            waiters: SmallVec::new(),
            queue: queue.clone(),
            consumed: AtomicBool::new(false),
        };
        for (addr, target, expected, bitset) in futexes {
            let key = target.key;
            let waiter = Arc::new(Waiter {
                place: Mutex::new(Rank::LEAF, (key, target.keep)),
                bitset,
                began: (key, expected),
                woken: AtomicU32::new(0),
                queue: queue.clone(),
                gone: AtomicBool::new(false),
                pi: pi.clone(),
            });
            let mut shard = self.shard(&key)?.lock();
            let value = mem.get(UserPtr::<u32>::new(addr));
            if value != Ok(expected) {
                drop(shard);
                value?;
                return Err(Errno::EAGAIN);
            }
            shard.entry(key).or_default().push_back(waiter.clone());
            drop(shard);
            all.waiters.push(waiter);
        }
        Ok(Arc::new(all))
    }

    /// Wakes up to `count` waiters whose bitset meets `bitset`; how many it woke.
    ///
    /// # Errors
    /// EINVAL if one of them may only be requeued (FUTEX_WAIT_REQUEUE_PI); those before it are woken.
    pub fn wake(&self, key: Key, count: usize, bitset: u32) -> Result<usize> {
        let (woken, legal) = {
            let mut shard = self.shard(&key)?.lock();
            take(&mut shard, key, count, bitset)
        };
        let n = announce(woken);
        legal.map(|()| n)
    }

    /// Wakes who began to wait on a private futex of this address space whose value is another one now.
    pub(super) fn wake_outdated(&self, mm: u64, mem: &dyn GuestMemory) {
        for shard in &self.shards {
            let mut woken = Vec::new();
            let mut shard = shard.lock();
            shard.retain(|key, queue| {
                let Key::Private(id, addr) = *key else {
                    return true;
                };
                if id == mm
                    && let Ok(value) = mem.get(UserPtr::<u32>::new(addr))
                {
                    queue.retain(|w| {
                        let stays = w.pi.is_some() || w.began.0 != *key || w.began.1 == value;
                        if !stays {
                            w.woken.store(MATCH_ANY, Ordering::SeqCst);
                            woken.push(w.clone());
                        }
                        stays
                    });
                }
                !queue.is_empty()
            });
            drop(shard);
            announce(woken);
        }
    }

    /// FUTEX_CMP_REQUEUE_PI, first half: takes out up to `count` waiters that wait to be requeued to `to`.
    ///
    /// # Errors
    /// EAGAIN if the value is not as expected; EINVAL if a waiter does not wait for that; EFAULT.
    pub(super) fn take_for_pi(
        &self,
        mem: &dyn GuestMemory,
        (from, addr, expected): (Key, u64, u32),
        to: Key,
        count: usize,
    ) -> Result<Vec<PiCandidate>> {
        let mut shard = self.shard(&from)?.lock();
        if mem.get(UserPtr::<u32>::new(addr))? != expected {
            return Err(Errno::EAGAIN);
        }
        let Some(queue) = shard.get_mut(&from) else {
            return Ok(Vec::new());
        };
        let mut out = Vec::new();
        for w in queue.iter().take(count) {
            match &w.pi {
                Some((key, pi)) if *key == to => out.push(PiCandidate {
                    waiter: w.clone(),
                    pi: pi.clone(),
                }),
                _ => return Err(Errno::EINVAL),
            }
        }
        for c in &out {
            c.pi.begin_transfer();
        }
        queue.drain(..out.len());
        if queue.is_empty() {
            shard.remove(&from);
        }
        Ok(out)
    }

    /// Undoes [`Self::take_for_pi`].
    pub(super) fn put_back(&self, from: Key, candidates: Vec<PiCandidate>) {
        let Ok(shard) = self.shard(&from) else {
            return;
        };
        let mut shard = shard.lock();
        let queue = shard.entry(from).or_default();
        for c in candidates.into_iter().rev() {
            c.pi.end_transfer();
            if !c.waiter.gone.load(Ordering::SeqCst) {
                queue.push_front(c.waiter);
            }
        }
        if queue.is_empty() {
            shard.remove(&from);
        }
    }

    /// FUTEX_REQUEUE and FUTEX_CMP_REQUEUE (`expected`: address and value for the check). How many it woke or moved.
    ///
    /// # Errors
    /// EAGAIN if the value is not as expected; EFAULT.
    pub fn requeue(
        &self,
        mem: &dyn GuestMemory,
        from: Key,
        to: &Target,
        how: &Requeue,
        expected: Option<(u64, u32)>,
    ) -> Result<usize> {
        let (a, b) = (self.index(&from), self.index(&to.key));
        let mut garbage = Vec::new();
        let (woken, moved) = {
            // Two shards are locked in the order of their indices.
            let mut low = self.shards.get(a.min(b)).ok_or(Errno::ENOMEM)?.lock();
            let mut high = match a == b {
                true => None,
                false => Some(
                    self.shards
                        .get(a.max(b))
                        .ok_or(Errno::ENOMEM)?
                        .lock_nested(),
                ),
            };
            if let Some((addr, value)) = expected
                && mem.get(UserPtr::<u32>::new(addr))? != value
            {
                return Err(Errno::EAGAIN);
            }
            let source: &mut MutexGuard<'_, Shard> = match &mut high {
                Some(h) if a > b => h,
                _ => &mut low,
            };
            if source
                .get(&from)
                .is_some_and(|q| q.iter().any(|w| w.pi.is_some()))
            {
                return Err(Errno::EINVAL);
            }
            let (woken, _) = take(source, from, how.wake, MATCH_ANY);
            let mut moving = VecDeque::new();
            if from != to.key
                && let Some(queue) = source.get_mut(&from)
            {
                let n = how.requeue.min(queue.len());
                moving.extend(queue.drain(..n));
                if queue.is_empty() {
                    source.remove(&from);
                }
            } else if from == to.key {
                // Linux counts them as moved.
                let n = source.get(&from).map_or(0, VecDeque::len);
                let moved = n.min(how.requeue);
                drop(high);
                drop(low);
                return Ok(announce(woken) + moved);
            }
            for w in &moving {
                let old = std::mem::replace(&mut *w.place.lock(), (to.key, to.keep.clone()));
                garbage.push(old.1);
            }
            let moved = moving.len();
            let dest: &mut MutexGuard<'_, Shard> = match &mut high {
                Some(h) if b > a => h,
                _ => &mut low,
            };
            if !moving.is_empty() {
                dest.entry(to.key).or_default().append(&mut moving);
            }
            (woken, moved)
        };
        drop(garbage);
        Ok(announce(woken) + moved)
    }

    fn dequeue(&self, waiter: &Arc<Waiter>) {
        waiter.gone.store(true, Ordering::SeqCst);
        loop {
            let key = waiter.key();
            let Ok(shard) = self.shard(&key) else {
                return;
            };
            let mut shard = shard.lock();
            if waiter.key() != key {
                // Requeued meanwhile.
                continue;
            }
            if let Some(queue) = shard.get_mut(&key) {
                queue.retain(|w| !Arc::ptr_eq(w, waiter));
                if queue.is_empty() {
                    shard.remove(&key);
                }
            }
            return;
        }
    }

    /// Number of waiters, for tests.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|s| s.lock().values().map(VecDeque::len).sum::<usize>())
            .sum()
    }
}

/// Takes up to `count` matching waiters out and marks them; EINVAL if it met one that must not be woken.
fn take(shard: &mut Shard, key: Key, count: usize, bitset: u32) -> (Vec<Arc<Waiter>>, Result<()>) {
    let mut out = Vec::new();
    let mut legal = Ok(());
    let Some(queue) = shard.get_mut(&key) else {
        return (out, legal);
    };
    queue.retain(|w| {
        if out.len() >= count || legal.is_err() {
            return true;
        }
        if w.pi.is_some() {
            legal = Err(Errno::EINVAL);
            return true;
        }
        if w.bitset & bitset == 0 {
            return true;
        }
        w.woken.store(bitset, Ordering::SeqCst);
        out.push(w.clone());
        false
    });
    if queue.is_empty() {
        shard.remove(&key);
    }
    (out, legal)
}

fn announce(woken: Vec<Arc<Waiter>>) -> usize {
    for w in &woken {
        w.queue.wake(Events::READABLE);
    }
    woken.len()
}
