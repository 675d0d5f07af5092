//! A task's identity: what a change of it entails, and the prctl(2) operations on capabilities and privileges.

use super::{Cx, Task, seccomp};
use crate::abi::{Errno, Result};
use crate::auth::securebits::KEEP_CAPS;
use crate::auth::{Caps, Credentials, UserNamespace};
use crate::syscalls::{Args, SysResult};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Gives the running task new credentials (`commit_creds`): one that gained or changed rights is no longer dumpable and its
/// parent's death no longer signals it.
pub fn commit(cx: &mut Cx<'_>, new: Credentials) {
    let old = cx.creds();
    let changed = old.euid != new.euid
        || old.egid != new.egid
        || old.fsuid != new.fsuid
        || old.fsgid != new.fsgid
        || !old.covers(&new);
    if changed {
        cx.group().dumpable.store(0, Ordering::Relaxed);
        cx.task.set_parent_death_signal(0);
    }
    cx.task.set_creds(new);
}

/// [`look`] with ptrace(2)'s check of the running task (PTRACE_MODE_ATTACH_REALCREDS): EPERM.
pub fn attach<T>(cx: &Cx<'_>, target: &Task, take: impl Fn() -> Result<T>) -> Result<T> {
    let may = || may_attach(cx, target).then_some(()).ok_or(Errno::EPERM);
    look(target, may, take)
}

/// Whether the running task may look into another one and change it (PTRACE_MODE_ATTACH_REALCREDS).
pub fn may_attach(cx: &Cx<'_>, target: &Task) -> bool {
    if Arc::ptr_eq(cx.group(), target.group()) {
        return true;
    }
    let own = cx.creds();
    may_access(own, (own.uid, own.gid), own.permitted, target)
}

/// Whether a task with credentials `own` may look into another process's, by `ids` and `caps` of them (`__ptrace_may_access`).
pub fn may_access(own: &Credentials, (uid, gid): (u32, u32), caps: Caps, target: &Task) -> bool {
    let other = target.creds();
    let may_trace = |ns: &UserNamespace| own.has_in(ns, Caps::SYS_PTRACE);
    let same = [other.uid, other.euid, other.suid] == [uid; 3]
        && [other.gid, other.egid, other.sgid] == [gid; 3];
    if !same && !may_trace(&other.user_ns) {
        return false;
    }
    if target.group().dumpable.load(Ordering::Relaxed) != 1 && !may_trace(&target.program_ns()) {
        return false;
    }
    // Not into one that has rights which the caller has not.
    own.user_ns == other.user_ns && caps.contains(other.permitted) || may_trace(&other.user_ns)
}

/// Takes something of a task that `may` look into it. The program that is looked into is the one the answer was for: execve gives
/// a task another one, and with it other rights, at any time ([`super::task`]'s `commit` changes those first).
///
/// # Errors
/// Those of `may` and `take`.
pub fn look<T>(
    task: &Task,
    may: impl Fn() -> Result<()>,
    take: impl Fn() -> Result<T>,
) -> Result<T> {
    loop {
        let program = task.mm();
        may()?;
        let taken = take();
        if Arc::ptr_eq(&program, &task.mm()) {
            return taken;
        }
    }
}

const PR_CAP_AMBIENT_IS_SET: u64 = 1;
const PR_CAP_AMBIENT_RAISE: u64 = 2;
const PR_CAP_AMBIENT_LOWER: u64 = 3;
const PR_CAP_AMBIENT_CLEAR_ALL: u64 = 4;

/// prctl(2) for capabilities, secure bits, no_new_privs and seccomp; EINVAL for other options.
pub fn prctl(cx: &mut Cx<'_>, option: i32, a: &Args) -> SysResult {
    let [_, arg2, arg3, arg4, arg5, _] = a.0;
    let creds = cx.creds();
    let cap = |n| Caps::from_number(n).ok_or(Errno::EINVAL);
    match option {
        libc::PR_CAPBSET_READ => Ok(creds.bounding.contains(cap(arg2)?).into()),
        libc::PR_CAPBSET_DROP => {
            // The right is asked for before the number is looked at.
            creds.without_bounding(Caps::empty())?;
            let new = creds.without_bounding(cap(arg2)?)?;
            commit(cx, new);
            Ok(0)
        }
        libc::PR_GET_SECUREBITS => Ok(creds.securebits.into()),
        libc::PR_SET_SECUREBITS => {
            let new = creds.with_securebits(arg2)?;
            commit(cx, new);
            Ok(0)
        }
        libc::PR_GET_KEEPCAPS => Ok((creds.securebits & KEEP_CAPS != 0).into()),
        libc::PR_SET_KEEPCAPS if arg2 > 1 => Err(Errno::EINVAL.into()),
        libc::PR_SET_KEEPCAPS => {
            let new = creds.with_keep_caps(arg2 == 1)?;
            commit(cx, new);
            Ok(0)
        }
        libc::PR_CAP_AMBIENT => ambient(cx, arg2, [arg3, arg4, arg5]),
        libc::PR_SET_NO_NEW_PRIVS => {
            if arg2 != 1 || arg3 != 0 || arg4 != 0 || arg5 != 0 {
                return Err(Errno::EINVAL.into());
            }
            let new = Credentials {
                no_new_privs: true,
                ..(**creds).clone()
            };
            commit(cx, new);
            Ok(0)
        }
        libc::PR_GET_NO_NEW_PRIVS => {
            if arg2 != 0 || arg3 != 0 || arg4 != 0 || arg5 != 0 {
                return Err(Errno::EINVAL.into());
            }
            Ok(creds.no_new_privs.into())
        }
        libc::PR_GET_SECCOMP => Ok(seccomp::mode(cx.task)),
        libc::PR_SET_SECCOMP => seccomp::prctl(cx, arg2, arg3),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn ambient(cx: &mut Cx<'_>, operation: u64, [number, arg4, arg5]: [u64; 3]) -> SysResult {
    let creds = cx.creds();
    if operation == PR_CAP_AMBIENT_CLEAR_ALL {
        if number != 0 || arg4 != 0 || arg5 != 0 {
            return Err(Errno::EINVAL.into());
        }
        let new = creds.with_ambient(Caps::all(), false)?;
        commit(cx, new);
        return Ok(0);
    }
    let cap = Caps::from_number(number).ok_or(Errno::EINVAL)?;
    if arg4 != 0 || arg5 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let new = match operation {
        PR_CAP_AMBIENT_IS_SET => return Ok(creds.ambient.contains(cap).into()),
        PR_CAP_AMBIENT_RAISE => creds.with_ambient(cap, true)?,
        PR_CAP_AMBIENT_LOWER => creds.with_ambient(cap, false)?,
        _ => return Err(Errno::EINVAL.into()),
    };
    commit(cx, new);
    Ok(0)
}
