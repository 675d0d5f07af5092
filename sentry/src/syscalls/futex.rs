//! futex, futex_waitv, futex_wake, futex_wait, futex_requeue, robust lists.

use super::ArgKind::{Hex, Int, Pid, Ptr, Timespec, Uint};
use super::time::read_timespec;
use super::{Args, Block, Cx, OnSignal, SysErr, SysResult, Syscall};
use crate::abi::{Errno, Result};
use crate::kernel::futex::host::{self, HostWait};
use crate::kernel::futex::{
    Enqueued, FutexTable, LockPi, MATCH_ANY, Pair, Requeue, Target, cmp_requeue_pi, lock_pi,
    target, unlock_pi, wait_requeue_pi, wake_op,
};
use crate::sync::Events;
use crate::time::{Clock, Instant, realtime_ns};
use crate::usermem::UserPtr;
use std::sync::Arc;

/// This family's calls.
pub static TABLE: &[Syscall] = &[
    Syscall::new(
        libc::SYS_futex,
        "futex",
        futex,
        &[Ptr, super::strace::FUTEX, Int, Timespec, Ptr, Hex],
    )
    .partial("PI locks do not inherit priorities"),
    Syscall::new(
        libc::SYS_futex_waitv,
        "futex_waitv",
        futex_waitv,
        &[Ptr, Uint, Hex, Timespec, Int],
    ),
    Syscall::new(
        SYS_FUTEX_WAKE,
        "futex_wake",
        futex_wake,
        &[Ptr, Hex, Int, Hex],
    ),
    Syscall::new(
        SYS_FUTEX_WAIT,
        "futex_wait",
        futex_wait,
        &[Ptr, Uint, Hex, Hex, Timespec, Int],
    ),
    Syscall::new(
        SYS_FUTEX_REQUEUE,
        "futex_requeue",
        futex_requeue,
        &[Ptr, Hex, Int, Int],
    ),
    Syscall::new(
        libc::SYS_set_robust_list,
        "set_robust_list",
        set_robust_list,
        &[Ptr, Uint],
    ),
    Syscall::new(
        libc::SYS_get_robust_list,
        "get_robust_list",
        get_robust_list,
        &[Pid, Ptr, Ptr],
    )
    .partial("of the caller only"),
];

const SYS_FUTEX_WAKE: i64 = 454;
const SYS_FUTEX_WAIT: i64 = 455;
const SYS_FUTEX_REQUEUE: i64 = 456;

const PRIVATE: u32 = 128;
const CLOCK_REALTIME: u32 = 256;
const COMMAND: u32 = !(PRIVATE | CLOCK_REALTIME);

const WAIT: u32 = 0;
const WAKE: u32 = 1;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE_OP: u32 = 5;
const LOCK_PI: u32 = 6;
const UNLOCK_PI: u32 = 7;
const TRYLOCK_PI: u32 = 8;
const WAIT_BITSET: u32 = 9;
const WAKE_BITSET: u32 = 10;
const WAIT_REQUEUE_PI: u32 = 11;
const CMP_REQUEUE_PI: u32 = 12;
const LOCK_PI2: u32 = 13;

fn table(cx: &Cx<'_>) -> Arc<FutexTable> {
    cx.kernel().extensions.extension()
}

fn futex(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (addr, op, value): (u64, u32, u32) = (a.get(0), a.get(1), a.get(2));
    let (time, addr2, value3): (UserPtr<[i64; 2]>, u64, u32) = (a.get(3), a.get(4), a.get(5));
    let shared = op & PRIVATE == 0;
    let command = op & COMMAND;
    let realtime = op & CLOCK_REALTIME != 0;
    if realtime && !matches!(command, WAIT_BITSET | WAIT_REQUEUE_PI | LOCK_PI2) {
        return Err(Errno::ENOSYS.into());
    }
    // For these the fourth argument is a second count.
    let count2 = a.get::<i32>(3);
    match command {
        WAIT | WAIT_BITSET => {
            let bitset = if command == WAIT { MATCH_ANY } else { value3 };
            let kind = match (command, realtime) {
                (WAIT, _) => Timeout::Relative,
                (_, false) => Timeout::Monotonic,
                (_, true) => Timeout::Realtime,
            };
            let deadline = deadline(cx, time, kind)?;
            if bitset == 0 {
                return Err(Errno::EINVAL.into());
            }
            if !shared && cx.progress().object.is_none() && host::serves(cx)? {
                let relative = matches!(kind, Timeout::Relative);
                let wait = HostWait {
                    until: deadline.filter(|_| relative),
                    on_signal: on_signal(deadline),
                };
                return host::wait(cx, addr, value, wait);
            }
            wait(cx, deadline, |cx| {
                Ok(vec![(addr, target(cx.mm, addr, shared)?, value, bitset)])
            })
            .map(|_| 0)
        }
        WAKE | WAKE_BITSET | REQUEUE | CMP_REQUEUE | WAKE_OP if !shared && host::serves(cx)? => {
            host::call(cx, a.0)
        }
        WAKE => wake(cx, addr, shared, value.cast_signed(), MATCH_ANY),
        WAKE_BITSET => wake(cx, addr, shared, value.cast_signed(), value3),
        REQUEUE | CMP_REQUEUE => {
            let expected = (command == CMP_REQUEUE).then_some(value3);
            let to = (addr2, shared);
            requeue(
                cx,
                (addr, shared),
                to,
                value.cast_signed(),
                count2,
                expected,
            )
        }
        WAKE_OP => {
            let first = target(cx.mm, addr, shared)?;
            let second = target(cx.mm, addr2, shared)?;
            let n = wake_op(
                &table(cx),
                cx.mem(),
                cx.thread()?,
                (first, at_least_one(value.cast_signed())),
                (second, addr2, at_least_one(count2)),
                value3,
            )?;
            Ok(count(n))
        }
        LOCK_PI | LOCK_PI2 | TRYLOCK_PI => {
            // FUTEX_LOCK_PI's timeout has always been on CLOCK_REALTIME.
            let kind = if command == LOCK_PI || realtime {
                Timeout::Realtime
            } else {
                Timeout::Monotonic
            };
            let deadline = if command == TRYLOCK_PI {
                None
            } else {
                deadline(cx, time, kind)?
            };
            lock_pi(
                cx,
                &LockPi {
                    addr,
                    shared,
                    only_try: command == TRYLOCK_PI,
                    deadline,
                },
            )
        }
        WAIT_REQUEUE_PI => {
            let kind = if realtime {
                Timeout::Realtime
            } else {
                Timeout::Monotonic
            };
            let deadline = deadline(cx, time, kind)?;
            let pair = Pair {
                from: addr,
                to: addr2,
                shared,
            };
            keep_here(cx, shared);
            wait_requeue_pi(cx, &pair, value, MATCH_ANY, deadline)
        }
        CMP_REQUEUE_PI => {
            let pair = Pair {
                from: addr,
                to: addr2,
                shared,
            };
            keep_here(cx, shared);
            cmp_requeue_pi(cx, &pair, value.cast_signed(), count2, value3)
        }
        UNLOCK_PI => unlock_pi(cx, addr, shared),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// The call is one that the host does not make, of a futex that other threads may wait on or wake.
fn keep_here(cx: &Cx<'_>, shared: bool) {
    if !shared {
        host::come_home(cx);
    }
}

/// What a timeout means.
#[derive(Clone, Copy)]
enum Timeout {
    Relative,
    Monotonic,
    Realtime,
}

/// The deadline of this call; of its first run, if that computed it.
fn deadline(cx: &mut Cx<'_>, ptr: UserPtr<[i64; 2]>, kind: Timeout) -> Result<Option<Instant>> {
    if ptr.is_null() {
        return Ok(None);
    }
    if let Some(d) = cx.progress().deadline {
        return Ok(Some(d));
    }
    let ns = read_timespec(cx.mem(), ptr)?;
    let at = match kind {
        Timeout::Relative => Instant::now().after(ns),
        Timeout::Monotonic => cx.task.time_offsets().instant(Clock::Monotonic, ns),
        Timeout::Realtime => Instant::now().after(ns.saturating_sub(realtime_ns())),
    };
    cx.progress().deadline = Some(at);
    Ok(Some(at))
}

/// Waits on the futexes that `futexes` names (asked in the first run only); which one was woken.
fn wait(
    cx: &mut Cx<'_>,
    deadline: Option<Instant>,
    futexes: impl FnOnce(&Cx<'_>) -> Result<Vec<(u64, Target, u32, u32)>>,
) -> std::result::Result<usize, SysErr> {
    let earlier = cx
        .progress()
        .object
        .clone()
        .and_then(|o| o.downcast::<Enqueued>().ok());
    let enqueued = match earlier {
        Some(e) => {
            let woken = if cx.expired() { e.cancel() } else { e.woken() };
            if let Some(which) = woken {
                return Ok(which);
            }
            if cx.expired() {
                return Err(Errno::ETIMEDOUT.into());
            }
            e
        }
        None => {
            let e = table(cx).wait(cx.mem(), futexes(cx)?)?;
            cx.progress().object = Some(e.clone());
            e
        }
    };
    Err(Block::on(enqueued.queue().clone(), Events::READABLE)
        .deadline(deadline)
        .on_signal(on_signal(deadline))
        .into())
}

fn on_signal(deadline: Option<Instant>) -> OnSignal {
    if deadline.is_some() {
        OnSignal::RestartBlock
    } else {
        OnSignal::RestartSys
    }
}

/// Linux looks at the count only after it has woken one.
fn at_least_one(n: i32) -> usize {
    usize::try_from(n.max(1)).unwrap_or(1)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn wake(cx: &mut Cx<'_>, addr: u64, shared: bool, n: i32, bitset: u32) -> SysResult {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = target(cx.mm, addr, shared)?;
    Ok(count(table(cx).wake(
        target.key,
        at_least_one(n),
        bitset,
    )?))
}

fn requeue(
    cx: &mut Cx<'_>,
    (addr, shared): (u64, bool),
    (addr2, shared2): (u64, bool),
    wake: i32,
    requeue: i32,
    expected: Option<u32>,
) -> SysResult {
    let (Ok(wake), Ok(requeue)) = (usize::try_from(wake), usize::try_from(requeue)) else {
        return Err(Errno::EINVAL.into());
    };
    let from = target(cx.mm, addr, shared)?;
    let to = target(cx.mm, addr2, shared2)?;
    let how = Requeue { wake, requeue };
    let expected = expected.map(|v| (addr, v));
    let n = table(cx).requeue(cx.mem(), from.key, &to, &how, expected)?;
    Ok(count(n))
}

const FUTEX2_SIZE_MASK: u32 = 3;
const FUTEX2_SIZE_U32: u32 = 2;
const FUTEX2_PRIVATE: u32 = 128;
const FUTEX_WAITV_MAX: u64 = 128;

/// Checks the flags of the futex2 calls; whether the futex is shared.
fn futex2_shared(flags: u32) -> Result<bool> {
    if flags & !(FUTEX2_SIZE_MASK | FUTEX2_PRIVATE) != 0
        || flags & FUTEX2_SIZE_MASK != FUTEX2_SIZE_U32
    {
        return Err(Errno::EINVAL);
    }
    Ok(flags & FUTEX2_PRIVATE == 0)
}

fn futex2_clock(clock: i32) -> Result<Timeout> {
    match clock {
        libc::CLOCK_MONOTONIC => Ok(Timeout::Monotonic),
        libc::CLOCK_REALTIME => Ok(Timeout::Realtime),
        _ => Err(Errno::EINVAL),
    }
}

/// `struct futex_waitv` as three 64-bit words: value, address, flags with a reserved upper half.
fn read_waitv(cx: &Cx<'_>, ptr: UserPtr<[u64; 3]>, n: usize) -> Result<Vec<(u64, bool, u32)>> {
    let raw: Vec<[u64; 3]> = cx.mem().get_array(ptr, n)?;
    raw.into_iter()
        .map(|[value, addr, flags]| {
            let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
            let shared = futex2_shared(flags)?;
            let value = u32::try_from(value).map_err(|_| Errno::EINVAL)?;
            Ok((addr, shared, value))
        })
        .collect()
}

fn futex_waitv(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (waiters, n, flags): (UserPtr<[u64; 3]>, u32, u32) = (a.get(0), a.get(1), a.get(2));
    let n = u64::from(n);
    if flags != 0 || n == 0 || n > FUTEX_WAITV_MAX || waiters.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let time: UserPtr<[i64; 2]> = a.get(3);
    let deadline = if time.is_null() {
        None
    } else {
        deadline(cx, time, futex2_clock(a.get(4))?)?
    };
    let n = usize::try_from(n).map_err(|_| Errno::EINVAL)?;
    let which = wait(cx, deadline, |cx| {
        let futexes = read_waitv(cx, waiters, n)?;
        keep_here(cx, futexes.iter().all(|(_, shared, _)| *shared));
        futexes
            .into_iter()
            .map(|(addr, shared, v)| Ok((addr, target(cx.mm, addr, shared)?, v, MATCH_ANY)))
            .collect()
    })?;
    Ok(count(which))
}

fn mask32(raw: u64) -> Result<u32> {
    u32::try_from(raw)
        .ok()
        .filter(|m| *m != 0)
        .ok_or(Errno::EINVAL)
}

fn futex_wake(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let shared = futex2_shared(a.get(3))?;
    let mask = mask32(a.get(1))?;
    let n: i32 = a.get(2);
    let target = target(cx.mm, a.get(0), shared)?;
    keep_here(cx, shared);
    if n == 0 {
        return Ok(0);
    }
    Ok(count(table(cx).wake(target.key, at_least_one(n), mask)?))
}

fn futex_wait(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let addr: u64 = a.get(0);
    let shared = futex2_shared(a.get(3))?;
    let value = u32::try_from(a.get::<u64>(1)).map_err(|_| Errno::EINVAL)?;
    let mask = mask32(a.get(2))?;
    let time: UserPtr<[i64; 2]> = a.get(4);
    let deadline = if time.is_null() {
        None
    } else {
        deadline(cx, time, futex2_clock(a.get(5))?)?
    };
    keep_here(cx, shared);
    wait(cx, deadline, |cx| {
        Ok(vec![(addr, target(cx.mm, addr, shared)?, value, mask)])
    })
    .map(|_| 0)
}

fn futex_requeue(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let waiters: UserPtr<[u64; 3]> = a.get(0);
    if a.get::<u32>(1) != 0 || waiters.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let parsed = read_waitv(cx, waiters, 2)?;
    let [(addr, shared, value), (addr2, shared2, _)] = parsed.as_slice() else {
        return Err(Errno::EINVAL.into());
    };
    keep_here(cx, *shared && *shared2);
    requeue(
        cx,
        (*addr, *shared),
        (*addr2, *shared2),
        a.get(2),
        a.get(3),
        Some(*value),
    )
}

/// sizeof(struct robust_list_head).
const ROBUST_HEAD: u64 = 24;

fn set_robust_list(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    if a.get::<u64>(1) != ROBUST_HEAD {
        return Err(Errno::EINVAL.into());
    }
    cx.local.robust_list = (a.get(0), ROBUST_HEAD);
    Ok(0)
}

fn get_robust_list(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let pid: i32 = a.get(0);
    if pid != 0 && pid != cx.task.own_tid() {
        // The list of another task is known to its worker alone.
        let other = cx.find_task(pid).ok_or(Errno::ESRCH)?;
        let may = crate::kernel::identity::may_attach(cx, &other);
        return Err(if may { Errno::ENOSYS } else { Errno::EPERM }.into());
    }
    let head = cx.local.robust_list.0;
    cx.mem().put(UserPtr::<u64>::new(a.get(2)), &ROBUST_HEAD)?;
    cx.mem().put(UserPtr::<u64>::new(a.get(1)), &head)?;
    Ok(0)
}
