//! Scheduling policies (sched(7)): checked as Linux does, recorded per task and reported back; the host schedules.

use super::super::{Args, Cx, SysResult};
use super::sched::target;
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::{Task, task::SchedState};
use crate::usermem::UserPtr;
use std::sync::atomic::Ordering::Relaxed;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// SCHED_DEADLINE.
const DEADLINE: i32 = 6;
/// SCHED_RESET_ON_FORK, in the policy argument of sched_setscheduler(2).
pub(crate) const RESET_ON_FORK: i32 = 0x4000_0000;
/// SCHED_FLAG_*.
const FLAG_RESET_ON_FORK: u64 = 1;
const FLAG_KEEP_POLICY: u64 = 8;
const FLAG_KEEP_PARAMS: u64 = 16;
const FLAG_UTIL_CLAMP: u64 = 0x60;
const FLAGS: u64 = 0x7f;
/// Size of the first published `struct sched_attr`.
const ATTR_SIZE_VER0: u32 = 48;

/// `struct sched_attr`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Attr {
    size: u32,
    policy: i32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

const ATTR_SIZE: usize = size_of::<Attr>();

fn is_realtime(policy: i32) -> bool {
    matches!(policy, libc::SCHED_FIFO | libc::SCHED_RR)
}

fn is_fair(policy: i32) -> bool {
    matches!(policy, libc::SCHED_OTHER | libc::SCHED_BATCH)
}

/// Whether deadline parameters make sense (`__checkparam_dl`): nanoseconds, at most about four seconds.
fn valid_deadline(a: &Attr) -> bool {
    let period = if a.period == 0 { a.deadline } else { a.period };
    a.deadline != 0
        && a.runtime >= 1 << 10
        && (a.deadline | a.period) >> 63 == 0
        && period >= a.deadline
        && a.deadline >= a.runtime
        && (100_000..=4_194_304_000).contains(&period)
}

/// What an unprivileged task may not do (`user_check_sched_setscheduler`).
fn needs_privilege(cx: &Cx<'_>, task: &Task, policy: i32, reset: bool, a: &Attr) -> bool {
    let s = &task.sched;
    let (me, it) = (cx.creds(), task.creds());
    let old = s.policy.load(Relaxed);
    let limit = |resource| task.group().limit(resource);
    let allows_nice = |nice: i32| i64::from(20 - nice) <= limit(libc::RLIMIT_NICE).cast_signed();
    let nice = s.nice.load(Relaxed);
    if is_fair(policy) && a.nice < nice && !allows_nice(a.nice) {
        return true;
    }
    if is_realtime(policy) {
        let most = limit(libc::RLIMIT_RTPRIO);
        let now = s.rt_priority.load(Relaxed).unsigned_abs();
        if (policy != old & !RESET_ON_FORK && most == 0)
            || (a.priority > now && u64::from(a.priority) > most)
        {
            return true;
        }
    }
    policy == DEADLINE
        || (old & !RESET_ON_FORK == libc::SCHED_IDLE
            && policy != libc::SCHED_IDLE
            && !allows_nice(nice))
        || (me.euid != it.euid && me.euid != it.uid)
        || (old & RESET_ON_FORK != 0 && !reset)
}

/// Sets policy and parameters; a `policy` of `None` keeps the policy and whether it is reset on fork.
fn set(cx: &Cx<'_>, task: &Task, policy: Option<i32>, reset: bool, a: &Attr) -> Result<()> {
    let old = task.sched.policy.load(Relaxed);
    let (policy, reset) = match policy {
        Some(p) => (p, reset),
        None => (old & !RESET_ON_FORK, old & RESET_ON_FORK != 0),
    };
    if !is_fair(policy) && !is_realtime(policy) && !matches!(policy, libc::SCHED_IDLE | DEADLINE)
        || a.priority > 99
        || (policy == DEADLINE && !valid_deadline(a))
        || is_realtime(policy) != (a.priority != 0)
    {
        return Err(Errno::EINVAL);
    }
    if needs_privilege(cx, task, policy, reset, a) && !cx.creds().has(Caps::SYS_NICE) {
        return Err(Errno::EPERM);
    }
    store(&task.sched, policy, reset, a);
    Ok(())
}

fn store(s: &SchedState, policy: i32, reset: bool, a: &Attr) {
    let flag = if reset { RESET_ON_FORK } else { 0 };
    s.policy.store(policy | flag, Relaxed);
    s.rt_priority.store(a.priority.cast_signed(), Relaxed);
    if is_fair(policy) {
        s.nice.store(a.nice, Relaxed);
    }
    for (to, from) in s.deadline.iter().zip([a.runtime, a.deadline, a.period]) {
        to.store(from, Relaxed);
    }
}

fn current_nice(task: &Task) -> i32 {
    task.sched.nice.load(Relaxed)
}

/// A field of a task; 0 of a zombie, which has lost what it had.
fn recorded(cx: &Cx<'_>, pid: i32, field: fn(&SchedState) -> i32) -> Result<i32> {
    match target(cx, pid) {
        Ok(task) => Ok(field(&task.sched)),
        Err(Errno::ESRCH) if cx.find_process(pid).is_some() => Ok(0),
        Err(e) => Err(e),
    }
}

/// `sched_getscheduler(pid)`.
pub fn getscheduler(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    Ok(recorded(cx, a.get(0), |s| s.policy.load(Relaxed))?.into())
}

/// The parameter of the calls that know only a priority. A null pointer is EINVAL, before anything else.
fn read_param(cx: &Cx<'_>, pid: i32, addr: u64) -> Result<Attr> {
    if addr == 0 || pid < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: u32 = cx.mem().get(UserPtr::new(addr))?;
    Ok(Attr {
        priority,
        ..Attr::default()
    })
}

/// `sched_setscheduler(pid, policy, *param)`.
pub fn setscheduler(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let policy = a.get::<i32>(1);
    if policy < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut attr = read_param(cx, a.get(0), a.get(2))?;
    let task = target(cx, a.get(0))?;
    attr.nice = current_nice(&task);
    let reset = policy & RESET_ON_FORK != 0;
    set(cx, &task, Some(policy & !RESET_ON_FORK), reset, &attr)?;
    Ok(0)
}

/// `sched_getparam(pid, *param)`.
pub fn getparam(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    if a.get::<u64>(1) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = recorded(cx, a.get(0), |s| s.rt_priority.load(Relaxed))?;
    cx.mem().put(UserPtr::new(a.get(1)), &priority)?;
    Ok(0)
}

/// `sched_setparam(pid, *param)`.
pub fn setparam(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let mut attr = read_param(cx, a.get(0), a.get(1))?;
    let task = target(cx, a.get(0))?;
    attr.nice = current_nice(&task);
    set(cx, &task, None, false, &attr)?;
    Ok(0)
}

/// Reads a `struct sched_attr` of whatever size the caller knows; what is beyond ours must be zero.
fn read_attr(cx: &Cx<'_>, addr: u64) -> Result<Attr> {
    let told: u32 = cx.mem().get(UserPtr::new(addr))?;
    let size = if told == 0 { ATTR_SIZE_VER0 } else { told };
    let too_big = || {
        // The caller learns how large it may be.
        let _ = cx.mem().put(UserPtr::new(addr), &(ATTR_SIZE as u32));
        Errno::E2BIG
    };
    if !(ATTR_SIZE_VER0..=4096).contains(&size) {
        return Err(too_big());
    }
    let mut raw = vec![0u8; size as usize];
    cx.mem().read_bytes(addr, &mut raw)?;
    if raw.iter().skip(ATTR_SIZE).any(|b| *b != 0) {
        return Err(too_big());
    }
    let mut attr = Attr::default();
    for (to, from) in attr.as_mut_bytes().iter_mut().zip(&raw) {
        *to = *from;
    }
    if attr.flags & FLAG_UTIL_CLAMP != 0 && (size as usize) < ATTR_SIZE {
        return Err(Errno::EINVAL);
    }
    attr.nice = attr.nice.clamp(-20, 19);
    Ok(attr)
}

/// `sched_setattr(pid, *attr, flags)`.
pub fn setattr(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (pid, addr): (i32, u64) = (a.get(0), a.get(1));
    if addr == 0 || pid < 0 || a.get::<u32>(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut attr = read_attr(cx, addr)?;
    if attr.policy < 0 || attr.flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = target(cx, pid)?;
    if attr.flags & FLAG_UTIL_CLAMP != 0 {
        // As without CONFIG_UCLAMP_TASK.
        return Err(Errno::EOPNOTSUPP.into());
    }
    if attr.flags & FLAG_KEEP_PARAMS != 0 {
        let s = &task.sched;
        attr.nice = current_nice(&task);
        attr.priority = s.rt_priority.load(Relaxed).unsigned_abs();
        let [runtime, deadline, period] = s.deadline.each_ref().map(|v| v.load(Relaxed));
        (attr.runtime, attr.deadline, attr.period) = (runtime, deadline, period);
    }
    let reset = attr.flags & FLAG_RESET_ON_FORK != 0;
    let keep = attr.flags & FLAG_KEEP_POLICY != 0;
    set(cx, &task, (!keep).then_some(attr.policy), reset, &attr)?;
    Ok(0)
}

/// `sched_getattr(pid, *attr, size, flags)`.
pub fn getattr(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (pid, addr, size): (i32, u64, u32) = (a.get(0), a.get(1), a.get(2));
    if addr == 0 || pid < 0 || a.get::<u32>(3) != 0 || !(ATTR_SIZE_VER0..=4096).contains(&size) {
        return Err(Errno::EINVAL.into());
    }
    let task = target(cx, pid)?;
    let s = &task.sched;
    let policy = s.policy.load(Relaxed);
    let size = (size as usize).min(ATTR_SIZE);
    let mut attr = Attr {
        size: size as u32,
        policy: policy & !RESET_ON_FORK,
        flags: if policy & RESET_ON_FORK != 0 {
            FLAG_RESET_ON_FORK
        } else {
            0
        },
        ..Attr::default()
    };
    match attr.policy {
        DEADLINE => {
            let [runtime, deadline, period] = s.deadline.each_ref().map(|v| v.load(Relaxed));
            (attr.runtime, attr.deadline, attr.period) = (runtime, deadline, period);
        }
        p if is_realtime(p) => attr.priority = s.rt_priority.load(Relaxed).unsigned_abs(),
        _ => attr.nice = current_nice(&task),
    }
    let bytes = attr.as_bytes().get(..size).unwrap_or_default();
    cx.mem().write_bytes(addr, bytes)?;
    Ok(0)
}
