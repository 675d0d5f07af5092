//! ioprio_get(2), ioprio_set(2): recorded per task and reported back; the host orders its I/O.

use super::super::{Args, Cx, SysResult};
use super::sched::selected;
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::Task;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const CLASS_SHIFT: u32 = 13;
const CLASS_NONE: i32 = 0;
const CLASS_RT: i32 = 1;
const CLASS_BE: i32 = 2;
const CLASS_IDLE: i32 = 3;
/// The level within a class; above it are hints.
const LEVEL: i32 = 7;

/// IOPRIO_WHO_PROCESS, _PGRP and _USER are one more than the PRIO_* of getpriority(2).
fn tasks(cx: &Cx<'_>, which: i32, who: i32) -> Result<Vec<Arc<Task>>> {
    let which = which.checked_sub(1).and_then(|w| u32::try_from(w).ok());
    let tasks = selected(cx, which.ok_or(Errno::EINVAL)?, who)?;
    if tasks.is_empty() {
        return Err(Errno::ESRCH);
    }
    Ok(tasks)
}

/// What counts for a task that has set none: its nice value decides.
fn effective(task: &Task) -> i32 {
    let set = task.sched.io_priority.load(Relaxed);
    if set >> CLASS_SHIFT != CLASS_NONE {
        return set;
    }
    let nice = task.sched.nice.load(Relaxed);
    CLASS_BE << CLASS_SHIFT | ((nice + 20) / 5).clamp(0, LEVEL)
}

/// `ioprio_get(which, who)`: of several tasks the most urgent.
pub fn get(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (which, who): (i32, i32) = (a.get(0), a.get(1));
    let tasks = tasks(cx, which, who)?;
    let best = match tasks.as_slice() {
        [one] if which == 1 => Some(one.sched.io_priority.load(Relaxed)),
        all => all.iter().map(|t| effective(t)).min(),
    };
    Ok(best.ok_or(Errno::ESRCH)?.into())
}

/// `ioprio_set(which, who, priority)`.
pub fn set(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let priority: i32 = a.get(2);
    let me = cx.creds();
    match priority >> CLASS_SHIFT {
        CLASS_RT if !me.has(Caps::SYS_ADMIN) && !me.has(Caps::SYS_NICE) => {
            return Err(Errno::EPERM.into());
        }
        CLASS_RT | CLASS_BE | CLASS_IDLE => {}
        CLASS_NONE if priority & LEVEL == 0 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    for task in tasks(cx, a.get(0), a.get(1))? {
        let it = task.creds();
        if it.uid != me.euid && it.uid != me.uid && !me.has_in(&it.user_ns, Caps::SYS_NICE) {
            return Err(Errno::EPERM.into());
        }
        task.sched.io_priority.store(priority, Relaxed);
    }
    Ok(0)
}
