//! FUTEX_LOCK_PI and FUTEX_UNLOCK_PI: locks whose word holds the owner's tid. Priorities are not inherited (the
//! host schedules the guest's threads); ownership, hand-over and owner death are as in Linux.
//!
//! All steps on one lock word are serialised by a ticket, as exchanges with the stub happen in between: who finds it
//! taken waits for its queue. The table's own lock is never held during an exchange.

use super::op::{MAX_TRIES, exchange};
use super::{Key, OWNER_DIED, TID_MASK, Target, WAITERS};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::sync::{Events, Mutex, Rank, WaitQueue};
use crate::syscalls::{Block, OnSignal, SysErr, SysResult};
use crate::time::Instant;
use crate::usermem::UserPtr;
use crate::vfs::InodeRef;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Waits for the lock.
pub(super) const WAITING: u8 = 0;
/// The owner is writing this waiter's tid into the word.
const TRANSFER: u8 = 1;
/// The word holds this waiter's tid.
const GRANTED: u8 = 2;
/// The owner died: this waiter has to enter itself.
const TAKE_OVER: u8 = 3;
/// The call has returned.
const DONE: u8 = 4;

/// FUTEX_WAIT_REQUEUE_PI: still waits on the first futex.
pub(super) const ELSEWHERE: u8 = 5;

/// One task that wants a PI lock.
pub(super) struct PiWaiter {
    pub(super) tid: i32,
    /// What lock words call it: its number in its own PID namespace.
    pub(super) word: u32,
    state: AtomicU8,
    /// Its call has ended; set under the table's lock.
    pub(super) abandoned: AtomicBool,
    queue: Arc<WaitQueue>,
}

impl PiWaiter {
    pub(super) fn new(tid: i32, word: u32, state: u8) -> Arc<PiWaiter> {
        Arc::new(PiWaiter {
            tid,
            word,
            state: AtomicU8::new(state),
            abandoned: AtomicBool::new(false),
            queue: Arc::new(WaitQueue::new()),
        })
    }
    /// Where it is told of the lock.
    pub(super) fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }
    pub(super) fn state(&self) -> u8 {
        self.state.load(Ordering::SeqCst)
    }
    pub(super) fn set(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }
    /// A requeue takes it from the first futex.
    pub(super) fn begin_transfer(&self) {
        self.set(TRANSFER);
    }
    /// The requeue failed.
    pub(super) fn end_transfer(&self) {
        self.set(ELSEWHERE);
    }
}

#[derive(Default)]
pub(super) struct PiState {
    busy: bool,
    /// Tid of the owner as far as the sentry handed the lock on; 0 otherwise.
    pub(super) owner: i32,
    /// The owner has not yet learnt that it has the lock: its call was interrupted by a signal and comes again.
    pub(super) unclaimed: bool,
    /// The owner died, and who was to take over (now `owner`) was interrupted before; anybody may.
    orphan: bool,
    pub(super) waiters: VecDeque<Arc<PiWaiter>>,
    /// Woken when the ticket is free.
    free: Arc<WaitQueue>,
    _keep: Option<InodeRef>,
}

/// All PI locks with waiters.
pub(super) struct PiTable {
    locks: Mutex<HashMap<Key, PiState>>,
}

impl Default for PiTable {
    fn default() -> Self {
        PiTable {
            locks: Mutex::new(Rank::FUTEX, HashMap::new()),
        }
    }
}

/// The right to work on one lock.
pub(super) struct Ticket<'a> {
    table: &'a PiTable,
    pub(super) key: Key,
}

impl PiTable {
    /// Takes note of a lock that `tid` got while a signal interrupted its call; whether there was one.
    pub(super) fn claim_earlier(&self, key: Key, tid: i32) -> bool {
        let mut locks = self.locks.lock();
        match locks
            .get_mut(&key)
            .filter(|s| s.unclaimed && s.owner == tid)
        {
            Some(s) => {
                s.unclaimed = false;
                true
            }
            None => false,
        }
    }

    pub(super) fn ticket(&self, target: Target) -> Result<Ticket<'_>, SysErr> {
        let mut locks = self.locks.lock();
        let state = locks.entry(target.key).or_insert_with(|| PiState {
            _keep: target.keep,
            ..PiState::default()
        });
        if state.busy {
            return Err(Block::on(state.free.clone(), Events::READABLE)
                .on_signal(OnSignal::RestartNoIntr)
                .into());
        }
        state.busy = true;
        Ok(Ticket {
            table: self,
            key: target.key,
        })
    }

    /// A task ends: the locks handed to it go to the next waiter.
    pub(super) fn owner_exits(&self, tid: i32) {
        let mut wake = Vec::new();
        let mut gone = Vec::new();
        {
            let mut locks = self.locks.lock();
            let owned: Vec<Key> = locks
                .iter()
                .filter(|(_, s)| s.owner == tid)
                .map(|(k, _)| *k)
                .collect();
            for key in owned {
                let Some(s) = locks.get_mut(&key) else {
                    continue;
                };
                s.owner = 0;
                s.unclaimed = false;
                s.orphan = false;
                match next_takes_over(s) {
                    Some(w) => wake.push(w),
                    None if !s.busy => gone.extend(locks.remove(&key)),
                    None => {}
                }
            }
        }
        drop(gone);
        for w in wake {
            w.queue.wake(Events::READABLE);
        }
    }
}

/// Makes the first waiter take over a lock without owner.
fn next_takes_over(s: &mut PiState) -> Option<Arc<PiWaiter>> {
    let next = s.waiters.pop_front()?;
    s.owner = next.tid;
    next.set(TAKE_OVER);
    Some(next)
}

impl Ticket<'_> {
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut PiState) -> R) -> R {
        let mut locks = self.table.locks.lock();
        // The entry exists while its ticket is out; an empty one would do no harm.
        f(locks.entry(self.key).or_default())
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let (free, old) = {
            let mut locks = self.table.locks.lock();
            let Some(s) = locks.get_mut(&self.key) else {
                return;
            };
            s.busy = false;
            let free = s.free.clone();
            let idle = s.waiters.is_empty() && s.owner == 0 && !s.unclaimed && !s.orphan;
            let old = if idle { locks.remove(&self.key) } else { None };
            (free, old)
        };
        drop(old);
        free.wake(Events::READABLE);
    }
}

/// A parked FUTEX_LOCK_PI; dropping it ends the wait.
pub(super) struct Parked {
    pub(super) table: Arc<super::FutexTable>,
    pub(super) key: Key,
    pub(super) waiter: Arc<PiWaiter>,
}

impl Parked {
    /// Takes the waiter out; the state it had.
    fn cancel(&self) -> u8 {
        let mut locks = self.table.pi.locks.lock();
        let state = self.waiter.state();
        if state == WAITING
            && let Some(s) = locks.get_mut(&self.key)
        {
            s.waiters.retain(|w| !Arc::ptr_eq(w, &self.waiter));
        }
        state
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let next = {
            let mut locks = self.table.pi.locks.lock();
            self.waiter.abandoned.store(true, Ordering::SeqCst);
            let Some(s) = locks.get_mut(&self.key) else {
                return;
            };
            match self.waiter.state() {
                WAITING => {
                    s.waiters.retain(|w| !Arc::ptr_eq(w, &self.waiter));
                    None
                }
                // Interrupted after the lock became ours: the call will come again and must find it so.
                GRANTED if s.owner == self.waiter.tid => {
                    s.unclaimed = true;
                    None
                }
                TAKE_OVER if s.owner == self.waiter.tid => {
                    let next = next_takes_over(s);
                    s.orphan = next.is_none();
                    next
                }
                // TRANSFER: whoever hands the lock over finds the waiter abandoned.
                _ => None,
            }
        };
        if let Some(w) = next {
            w.queue.wake(Events::READABLE);
        }
    }
}

/// The word names `w` as the owner: tells it, or keeps the lock for a call of it that a signal interrupted.
pub(super) fn grant(s: &mut PiState, w: &PiWaiter) {
    s.owner = w.tid;
    w.set(GRANTED);
    s.unclaimed = w.abandoned.load(Ordering::SeqCst);
}

/// After a hand-over: if the new owner ended meanwhile, the lock goes on.
pub(super) fn check_owner(cx: &Cx<'_>, table: &super::FutexTable, w: &PiWaiter) {
    w.queue.wake(Events::READABLE);
    if w.abandoned.load(Ordering::SeqCst) && cx.kernel().task(w.tid).is_none() {
        table.pi.owner_exits(w.tid);
    }
}

/// The arguments of a lock call.
pub struct LockPi {
    /// Address of the word.
    pub addr: u64,
    /// Without FUTEX_PRIVATE_FLAG.
    pub shared: bool,
    /// FUTEX_TRYLOCK_PI.
    pub only_try: bool,
    /// When to give up.
    pub deadline: Option<Instant>,
}

/// FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI.
///
/// # Errors
/// EDEADLK if the caller owns it; ESRCH if the owner does not exist; EPERM if it is not of this process; EAGAIN, ETIMEDOUT, EFAULT, EINVAL.
pub fn lock_pi(cx: &mut Cx<'_>, how: &LockPi) -> SysResult {
    let table = cx.kernel().extensions.extension::<super::FutexTable>();
    let parked = cx
        .progress()
        .object
        .clone()
        .and_then(|o| o.downcast::<Parked>().ok());
    if let Some(p) = parked {
        return resume(cx, (how.addr, how.shared), &table, &p);
    }
    let target = super::target(cx.mm, how.addr, how.shared)?;
    let key = target.key;
    let ticket = table.pi.ticket(target)?;
    let tid = cx.task.tid();
    let thread = cx.thread()?;
    let me = cx.task.own_tid().cast_unsigned();
    for _ in 0..MAX_TRIES {
        let value = cx.mem().get(UserPtr::<u32>::new(how.addr))?;
        let owner = value & TID_MASK;
        let (contended, orphan, mine) = ticket.with(|s| {
            let mine = s.unclaimed && s.owner == tid;
            (!s.waiters.is_empty() || s.owner != 0, s.orphan, mine)
        });
        if owner == me {
            if mine {
                ticket.with(|s| s.unclaimed = false);
                return Ok(0);
            }
            return Err(Errno::EDEADLK.into());
        }
        if owner == 0 || orphan {
            let died = if orphan {
                OWNER_DIED
            } else {
                value & OWNER_DIED
            };
            let waiters = if contended { WAITERS } else { value & WAITERS };
            if exchange(thread, how.addr, value, me | died | waiters)? == value {
                ticket.with(|s| {
                    s.orphan = false;
                    // Without waiters the sentry need not know the owner.
                    s.owner = if s.waiters.is_empty() { 0 } else { tid };
                });
                return Ok(0);
            }
            continue;
        }
        if value & WAITERS == 0 && exchange(thread, how.addr, value, value | WAITERS)? != value {
            continue;
        }
        // The word has the number that the owner goes by here.
        let owner_pid = cx.named(owner.cast_signed()).unwrap_or(0);
        if !contended {
            check_owner_task(cx, key, owner_pid)?;
        }
        if how.only_try {
            return Err(Errno::EAGAIN.into());
        }
        let waiter = PiWaiter::new(tid, me, WAITING);
        ticket.with(|s| {
            s.owner = owner_pid;
            s.waiters.push_back(waiter.clone());
        });
        drop(ticket);
        let queue = waiter.queue.clone();
        let p = cx.progress();
        p.deadline = how.deadline;
        p.object = Some(Arc::new(Parked { table, key, waiter }));
        return Err(block(queue, how.deadline));
    }
    Err(Errno::EAGAIN.into())
}

/// ESRCH if the owner of a lock does not exist, EPERM if it cannot be the owner of a private lock of the caller.
pub(super) fn check_owner_task(cx: &Cx<'_>, key: Key, owner: i32) -> crate::abi::Result<()> {
    let task = cx.kernel().task(owner).ok_or(Errno::ESRCH)?;
    if matches!(key, Key::Private(..)) && task.mm().id() != cx.mm.id() {
        return Err(Errno::EPERM);
    }
    Ok(())
}

pub(super) fn block(queue: Arc<WaitQueue>, deadline: Option<Instant>) -> SysErr {
    Block::on(queue, Events::READABLE)
        .deadline(deadline)
        .on_signal(OnSignal::RestartNoIntr)
        .into()
}

/// A later run of a parked call.
pub(super) fn resume(
    cx: &mut Cx<'_>,
    (addr, shared): (u64, bool),
    table: &Arc<super::FutexTable>,
    parked: &Parked,
) -> SysResult {
    let deadline = cx.progress().deadline;
    let done = |r: SysResult| {
        parked.waiter.set(DONE);
        r
    };
    match parked.waiter.state() {
        GRANTED => done(Ok(0)),
        TAKE_OVER => {
            let target = super::target(cx.mm, addr, shared)?;
            let ticket = table.pi.ticket(target)?;
            let thread = cx.thread()?;
            let new = parked.waiter.word | WAITERS | OWNER_DIED;
            for _ in 0..MAX_TRIES {
                let value = cx.mem().get(UserPtr::<u32>::new(addr))?;
                if exchange(thread, addr, value, new)? == value {
                    ticket.with(|s| {
                        if s.waiters.is_empty() {
                            s.owner = 0;
                        }
                    });
                    return done(Ok(0));
                }
            }
            Err(Errno::EAGAIN.into())
        }
        TRANSFER => Err(block(parked.waiter.queue.clone(), None)),
        _ if cx.expired() => match parked.cancel() {
            WAITING => done(Err(Errno::ETIMEDOUT.into())),
            GRANTED => done(Ok(0)),
            _ => Err(block(parked.waiter.queue.clone(), None)),
        },
        _ => Err(block(parked.waiter.queue.clone(), deadline)),
    }
}

/// FUTEX_UNLOCK_PI.
///
/// # Errors
/// EPERM if the caller does not own it; EFAULT, EINVAL.
pub fn unlock_pi(cx: &mut Cx<'_>, addr: u64, shared: bool) -> SysResult {
    let table = cx.kernel().extensions.extension::<super::FutexTable>();
    let target = super::target(cx.mm, addr, shared)?;
    let ticket = table.pi.ticket(target)?;
    let thread = cx.thread()?;
    let me = cx.task.own_tid().cast_unsigned();
    let next = ticket.with(|s| {
        let next = s.waiters.front().cloned();
        if let Some(w) = &next {
            w.set(TRANSFER);
        }
        next
    });
    let written = hand_over(cx, thread, addr, me, next.as_deref());
    ticket.with(|s| match (&written, &next) {
        (Ok(()), Some(w)) => {
            s.waiters.retain(|o| !Arc::ptr_eq(o, w));
            grant(s, w);
        }
        (Ok(()), None) => s.owner = 0,
        (Err(_), Some(w)) => {
            w.set(WAITING);
            if w.abandoned.load(Ordering::SeqCst) {
                s.waiters.retain(|o| !Arc::ptr_eq(o, w));
            }
        }
        (Err(_), None) => {}
    });
    drop(ticket);
    if let Some(w) = next {
        check_owner(cx, &table, &w);
    }
    written?;
    Ok(0)
}

/// Writes the next owner, or nobody, into the word.
fn hand_over(
    cx: &Cx<'_>,
    thread: &dyn cofferdam_platform::Thread,
    addr: u64,
    me: u32,
    next: Option<&PiWaiter>,
) -> crate::abi::Result<()> {
    for _ in 0..MAX_TRIES {
        let value = cx.mem().get(UserPtr::<u32>::new(addr))?;
        if value & TID_MASK != me {
            return Err(Errno::EPERM);
        }
        let new = next.map_or(0, |w| w.word | WAITERS);
        if exchange(thread, addr, value, new)? == value {
            return Ok(());
        }
    }
    Err(Errno::EAGAIN)
}
