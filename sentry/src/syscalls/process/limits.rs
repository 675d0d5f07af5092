//! getrlimit(2), setrlimit(2), prlimit64(2), getrusage(2).

use super::super::{Args, Cx, SysResult};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::ThreadGroup;
use crate::usermem::UserPtr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Rlimit = [u64; 2];

fn resource(raw: u32) -> Result<usize> {
    if raw < 16 {
        Ok(raw as usize)
    } else {
        Err(Errno::EINVAL)
    }
}

fn get(group: &Arc<ThreadGroup>, which: usize) -> Rlimit {
    group
        .limits()
        .lock()
        .0
        .get(which)
        .map_or([u64::MAX; 2], |l| [l.0, l.1])
}

fn set(cx: &Cx<'_>, group: &Arc<ThreadGroup>, which: usize, [soft, hard]: Rlimit) -> Result<()> {
    if soft > hard {
        return Err(Errno::EINVAL);
    }
    if which == libc::RLIMIT_NOFILE as usize && hard > crate::kernel::NR_OPEN.get() {
        return Err(Errno::EPERM);
    }
    let privileged = cx.creds().has(Caps::SYS_RESOURCE);
    let mut limits = group.limits().lock();
    let slot = limits.0.get_mut(which).ok_or(Errno::EINVAL)?;
    if hard > slot.1 && !privileged {
        return Err(Errno::EPERM);
    }
    *slot = (soft, hard);
    drop(limits);
    if which == libc::RLIMIT_CPU as usize {
        crate::kernel::timers::limits_changed(group);
    }
    if which == libc::RLIMIT_FSIZE as usize {
        // It was looked at when files were lent.
        for task in group.threads() {
            task.forget_answers();
        }
    }
    Ok(())
}

/// `getrlimit(resource, *rlim)`.
pub fn getrlimit(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let r = get(cx.group(), resource(a.get(0))?);
    cx.mem().put(UserPtr::new(a.get(1)), &r)?;
    Ok(0)
}

/// `setrlimit(resource, *rlim)`.
pub fn setrlimit(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let new: Rlimit = cx.mem().get(UserPtr::new(a.get(1)))?;
    set(cx, cx.group(), resource(a.get(0))?, new)?;
    Ok(0)
}

/// `prlimit64(pid, resource, *new, *old)`.
pub fn prlimit64(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let which = resource(a.get(1))?;
    let new = match a.get::<u64>(2) {
        0 => None,
        p => Some(cx.mem().get::<Rlimit>(UserPtr::new(p))?),
    };
    let group = match a.get::<i32>(0) {
        0 => cx.group().clone(),
        pid => {
            let task = cx.find_task(pid).ok_or(Errno::ESRCH)?;
            let (me, it) = (cx.creds(), task.creds());
            let same = [it.uid, it.euid, it.suid] == [me.uid; 3]
                && [it.gid, it.egid, it.sgid] == [me.gid; 3];
            if !Arc::ptr_eq(task.group(), cx.group())
                && !same
                && !me.has_in(&it.user_ns, Caps::SYS_RESOURCE)
            {
                return Err(Errno::EPERM.into());
            }
            task.group().clone()
        }
    };
    let old = get(&group, which);
    if let Some(new) = new {
        set(cx, &group, which, new)?;
    }
    cx.mem().put_opt(UserPtr::new(a.get(3)), &old)?;
    Ok(0)
}

/// `struct rusage`: ru_utime, ru_stime, ru_maxrss (KiB), then 13 counters.
#[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
pub struct Rusage {
    utime: [i64; 2],
    stime: [i64; 2],
    maxrss: i64,
    rest: [i64; 13],
}

impl Rusage {
    /// From (user ns, system ns, maximum RSS in bytes).
    pub fn of((user, system, maxrss): (u64, u64, u64)) -> Rusage {
        let tv = |ns: u64| {
            [
                (ns / 1_000_000_000) as i64,
                (ns % 1_000_000_000 / 1000) as i64,
            ]
        };
        Rusage {
            utime: tv(user),
            stime: tv(system),
            maxrss: (maxrss / 1024) as i64,
            rest: [0; 13],
        }
    }
}

/// `getrusage(who, *rusage)`.
pub fn getrusage(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let usage = match a.get::<i32>(0) {
        libc::RUSAGE_SELF => {
            let (u, s) = cx.group().cpu_time();
            (
                u,
                s,
                cx.mm.resident_peak().max(cx.group().times.lock().maxrss),
            )
        }
        libc::RUSAGE_CHILDREN => {
            let t = *cx.group().times.lock();
            (t.children.0, t.children.1, t.children_maxrss)
        }
        libc::RUSAGE_THREAD => {
            let (u, s) = cx.thread()?.cpu_time();
            (u, s, cx.mm.resident_peak())
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let mut r = Rusage::of(usage);
    let switches = cx.group().switches.load(Ordering::Relaxed);
    if let Some(nvcsw) = r.rest.get_mut(11) {
        *nvcsw = i64::try_from(switches).unwrap_or(i64::MAX);
    }
    cx.mem().put(UserPtr::new(a.get(1)), &r)?;
    Ok(0)
}
