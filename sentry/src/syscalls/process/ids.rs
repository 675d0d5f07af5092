//! Process, thread, group and session ids.

use super::super::{Args, Cx, SysResult};
use crate::abi::Errno;
use crate::kernel::task::job;

/// `getpid()`.
pub fn getpid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(cx.own_pid().into())
}
/// `gettid()`.
pub fn gettid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(cx.task.own_tid().into())
}
/// `getppid()`.
pub fn getppid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(cx.seen(cx.group().parent_pid()).into())
}
/// `getpgrp()`.
pub fn getpgrp(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(cx.seen(cx.group().pgid()).into())
}
/// `getpgid(pid)`.
pub fn getpgid(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let pgid = job::process_or_self(cx, a.get(0))?.pgid();
    Ok(cx.seen(pgid).into())
}
/// `getsid(pid)`.
pub fn getsid(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let sid = job::process_or_self(cx, a.get(0))?.sid();
    Ok(cx.seen(sid).into())
}
/// `setpgid(pid, pgid)`.
pub fn setpgid(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (pid, pgid): (i32, i32) = (a.get(0), a.get(1));
    // A pgid of 0 stands for the pid, also if that is negative.
    if pgid < 0 || (pgid == 0 && pid < 0) {
        return Err(Errno::EINVAL.into());
    }
    if pid < 0 {
        return Err(Errno::ESRCH.into());
    }
    job::setpgid(cx, pid, pgid)?;
    Ok(0)
}
/// `setsid()`.
pub fn setsid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(job::setsid(cx)?.into())
}
/// `set_tid_address(*tid)`.
pub fn set_tid_address(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    cx.local.clear_child_tid = a.get(0);
    Ok(cx.task.own_tid().into())
}
