//! Priorities and affinity: recorded per task and reported back; the host schedules.

use super::super::{Args, Cx, SysResult};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::{Task, ThreadGroup};
use crate::usermem::UserPtr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) fn target(cx: &Cx<'_>, pid: i32) -> Result<Arc<Task>> {
    match pid {
        0 => Ok(cx.task.clone()),
        p if p < 0 => Err(Errno::EINVAL),
        p => cx.find_task(p).ok_or(Errno::ESRCH),
    }
}

fn may_change(cx: &Cx<'_>, task: &Task) -> Result<()> {
    let (me, it) = (cx.creds(), task.creds());
    if me.euid == it.euid || me.euid == it.uid || me.has_in(&it.user_ns, Caps::SYS_NICE) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

pub(super) fn selected(cx: &Cx<'_>, which: u32, who: i32) -> Result<Vec<Arc<Task>>> {
    let all = |g: Vec<Arc<ThreadGroup>>| g.iter().flat_map(|g| g.threads()).collect();
    Ok(match which {
        libc::PRIO_PROCESS if who == 0 => vec![cx.task.clone()],
        libc::PRIO_PROCESS => cx.find_task(who).into_iter().collect(),
        libc::PRIO_PGRP if who == 0 => all(cx.kernel().process_group(cx.group().pgid())),
        libc::PRIO_PGRP => all(cx.find_group(who)),
        libc::PRIO_USER => {
            let uid = if who == 0 {
                Some(cx.creds().uid)
            } else {
                cx.creds().user_ns.user(who.cast_unsigned())
            };
            let mut v: Vec<Arc<Task>> = all(cx.kernel().processes());
            v.retain(|t| Some(t.creds().uid) == uid && cx.seen(t.tid()) != 0);
            v
        }
        _ => return Err(Errno::EINVAL),
    })
}

/// `getpriority(which, who)`: 20 - nice, as the raw call returns it.
pub fn getpriority(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let tasks = selected(cx, a.get(0), a.get(1))?;
    let best = tasks
        .iter()
        .map(|t| 20 - t.sched.nice.load(Ordering::Relaxed))
        .max();
    Ok(best.ok_or(Errno::ESRCH)?.into())
}

/// `setpriority(which, who, nice)`.
pub fn setpriority(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let nice = a.get::<i32>(2).clamp(-20, 19);
    let tasks = selected(cx, a.get(0), a.get(1))?;
    if tasks.is_empty() {
        return Err(Errno::ESRCH.into());
    }
    for t in &tasks {
        may_change(cx, t)?;
        let floor = 20
            - i64::try_from(t.group().limit(libc::RLIMIT_NICE))
                .unwrap_or(40)
                .min(40);
        let now = t.sched.nice.load(Ordering::Relaxed);
        if nice < now && i64::from(nice) < floor && !cx.creds().has(Caps::SYS_NICE) {
            return Err(Errno::EACCES.into());
        }
        t.sched.nice.store(nice, Ordering::Relaxed);
    }
    Ok(0)
}

fn range(policy: i32) -> Result<(i32, i32)> {
    match policy {
        libc::SCHED_FIFO | libc::SCHED_RR => Ok((1, 99)),
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE | 6 | 7 => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

/// `sched_get_priority_max(policy)`.
pub fn priority_max(_: &mut Cx<'_>, a: &Args) -> SysResult {
    Ok(range(a.get(0))?.1.into())
}

/// `sched_get_priority_min(policy)`.
pub fn priority_min(_: &mut Cx<'_>, a: &Args) -> SysResult {
    Ok(range(a.get(0))?.0.into())
}

/// `sched_rr_get_interval(pid, *timespec)`: the slice; a SCHED_FIFO task has none.
pub fn rr_interval(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let task = target(cx, a.get(0))?;
    let policy = task.sched.policy.load(Ordering::Relaxed) & !super::policy::RESET_ON_FORK;
    let slice: i64 = match policy {
        libc::SCHED_FIFO => 0,
        libc::SCHED_RR => 100_000_000,
        _ => 4_000_000,
    };
    cx.mem().put(UserPtr::new(a.get(1)), &[0i64, slice])?;
    Ok(0)
}

/// The task whose affinity is meant: here a negative pid is merely nobody's.
fn affinity_target(cx: &Cx<'_>, pid: i32) -> Result<Arc<Task>> {
    if pid < 0 {
        Err(Errno::ESRCH)
    } else {
        target(cx, pid)
    }
}

/// `sched_getaffinity(pid, size, *mask)`: bytes written.
pub fn getaffinity(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let task = affinity_target(cx, a.get(0))?;
    let size: usize = a.get(1);
    if size < 8 || !size.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let mask = task.sched.affinity.load(Ordering::Relaxed);
    cx.mem().put(UserPtr::new(a.get(2)), &mask)?;
    Ok(8)
}

/// `sched_setaffinity(pid, size, *mask)`.
pub fn setaffinity(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let task = affinity_target(cx, a.get(0))?;
    let mut raw = [0u8; 8];
    let n = a.get::<usize>(1).min(8);
    cx.mem()
        .read_bytes(a.get(2), raw.get_mut(..n).unwrap_or_default())?;
    may_change(cx, &task)?;
    let mask = u64::from_le_bytes(raw) & cx.kernel().cpu_mask();
    if mask == 0 {
        return Err(Errno::EINVAL.into());
    }
    task.sched.affinity.store(mask, Ordering::Relaxed);
    Ok(0)
}
