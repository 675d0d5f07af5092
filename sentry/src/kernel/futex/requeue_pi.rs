//! FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI: from a condition variable straight to a PI lock.

use super::op::{MAX_TRIES, exchange};
use super::pi::{
    ELSEWHERE, Parked, PiWaiter, Ticket, WAITING, block, check_owner, check_owner_task, grant,
    resume,
};
use super::{OWNER_DIED, TID_MASK, WAITERS};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::syscalls::SysResult;
use crate::time::Instant;
use crate::usermem::UserPtr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A parked FUTEX_WAIT_REQUEUE_PI: first on one futex, then for the lock. Dropping it ends both waits.
struct Requeued {
    enqueued: Arc<super::Enqueued>,
    parked: Parked,
}

/// Two futexes of a requeue: addresses and whether they are shared.
pub struct Pair {
    /// The condition variable.
    pub from: u64,
    /// The PI lock.
    pub to: u64,
    /// Without FUTEX_PRIVATE_FLAG.
    pub shared: bool,
}

/// FUTEX_WAIT_REQUEUE_PI: waits at `from` until FUTEX_CMP_REQUEUE_PI moves the caller to the lock at `to`, and for that.
///
/// # Errors
/// EAGAIN if the value is not as expected; ETIMEDOUT, EFAULT, EINVAL.
pub fn wait_requeue_pi(
    cx: &mut Cx<'_>,
    pair: &Pair,
    expected: u32,
    bitset: u32,
    deadline: Option<Instant>,
) -> SysResult {
    let table = cx.kernel().extensions.extension::<super::FutexTable>();
    let earlier = cx
        .progress()
        .object
        .clone()
        .and_then(|o| o.downcast::<Requeued>().ok());
    if let Some(r) = earlier {
        if cx.expired() && r.parked.waiter.state() == ELSEWHERE {
            r.enqueued.cancel();
            // Unless a requeue was quicker.
            if r.parked.waiter.state() == ELSEWHERE {
                return Err(Errno::ETIMEDOUT.into());
            }
        }
        if r.parked.waiter.state() == ELSEWHERE {
            return Err(block(r.parked.waiter.queue().clone(), deadline));
        }
        return resume(cx, (pair.to, pair.shared), &table, &r.parked);
    }
    let from = super::target(cx.mm, pair.from, pair.shared)?;
    let to = super::target(cx.mm, pair.to, pair.shared)?;
    if from.key == to.key || bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let tid = cx.task.tid();
    let key = to.key;
    // A signal interrupted the call just when it got the lock.
    if table.pi.claim_earlier(key, tid) {
        return Ok(0);
    }
    let waiter = PiWaiter::new(tid, cx.task.own_tid().cast_unsigned(), ELSEWHERE);
    let futexes = vec![(pair.from, from, expected, bitset)];
    let enqueued = table.enqueue(cx.mem(), futexes, Some((key, waiter.clone())))?;
    let queue = waiter.queue().clone();
    let p = cx.progress();
    p.deadline = deadline;
    p.object = Some(Arc::new(Requeued {
        enqueued,
        parked: Parked { table, key, waiter },
    }));
    Err(block(queue, deadline))
}

/// FUTEX_CMP_REQUEUE_PI: gives the lock at `to` to the first waiter at `from` if it is free, and makes up to `requeue` others wait
/// for it. How many were woken or moved.
///
/// # Errors
/// EAGAIN if the value is not as expected; EINVAL, ESRCH, EFAULT.
pub fn cmp_requeue_pi(
    cx: &mut Cx<'_>,
    pair: &Pair,
    wake: i32,
    requeue: i32,
    expected: u32,
) -> SysResult {
    let table = cx.kernel().extensions.extension::<super::FutexTable>();
    let Ok(requeue) = usize::try_from(requeue) else {
        return Err(Errno::EINVAL.into());
    };
    if wake != 1 {
        return Err(Errno::EINVAL.into());
    }
    let from = super::target(cx.mm, pair.from, pair.shared)?;
    let to = super::target(cx.mm, pair.to, pair.shared)?;
    if from.key == to.key {
        return Err(Errno::EINVAL.into());
    }
    let key = to.key;
    let ticket = table.pi.ticket(to)?;
    let thread = cx.thread()?;
    let mem = cx.mem();
    let count = requeue.saturating_add(1);
    let candidates = table.take_for_pi(mem, (from.key, pair.from, expected), key, count)?;
    let Some(first) = candidates.first().map(|c| c.pi.clone()) else {
        return Ok(0);
    };
    match claim(cx, thread, &ticket, pair.to, &first) {
        Err(e) => {
            table.put_back(from.key, candidates);
            Err(e.into())
        }
        Ok(owner) => {
            let granted = owner == first.tid;
            let n = candidates.len();
            ticket.with(|s| {
                s.owner = owner;
                if granted {
                    grant(s, &first);
                }
                for c in candidates.into_iter().skip(usize::from(granted)) {
                    c.pi.set(WAITING);
                    if !c.pi.abandoned.load(Ordering::SeqCst) {
                        s.waiters.push_back(c.pi);
                    }
                }
            });
            drop(ticket);
            check_owner(cx, &table, &first);
            Ok(i64::try_from(n).unwrap_or(i64::MAX))
        }
    }
}

/// Enters `first` as the owner of the lock at `addr` if it is free, else notes in the word that somebody waits. The owner then.
fn claim(
    cx: &Cx<'_>,
    thread: &dyn cofferdam_platform::Thread,
    ticket: &Ticket<'_>,
    addr: u64,
    first: &PiWaiter,
) -> crate::abi::Result<i32> {
    let contended = ticket.with(|s| !s.waiters.is_empty() || s.owner != 0);
    for _ in 0..MAX_TRIES {
        let value = cx.mem().get(UserPtr::<u32>::new(addr))?;
        let word = (value & TID_MASK).cast_signed();
        let owner = if word == 0 {
            0
        } else {
            cx.named(word).unwrap_or(-1)
        };
        let new = if owner == 0 {
            // With WAITERS, so that it is unlocked here and this table is told.
            first.word | (value & OWNER_DIED) | WAITERS
        } else {
            if owner == first.tid {
                return Err(Errno::EDEADLK);
            }
            if !contended {
                check_owner_task(cx, ticket.key, owner)?;
            }
            value | WAITERS
        };
        if value == new || exchange(thread, addr, value, new)? == value {
            return Ok(if owner == 0 { first.tid } else { owner });
        }
    }
    Err(Errno::EAGAIN)
}
