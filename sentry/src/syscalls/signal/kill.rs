//! kill(2), tkill(2), tgkill(2), rt_sigqueueinfo(2), rt_tgsigqueueinfo(2).

use crate::abi::{Errno, Result};
use crate::kernel::Cx;
use crate::kernel::signal::kill::{self, Message};
use crate::kernel::signal::{SigInfo, code};
use crate::syscalls::{Args, SysResult};
use crate::usermem::UserPtr;

pub(super) fn kill(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let pid: i32 = args.get(0);
    if pid > 0 {
        // ESRCH comes before EINVAL.
        kill::find_process(cx.task, pid)?;
    }
    let message = kill::number(args.get(1))?.map(|s| SigInfo::user(s, cx.own_pid(), cx.own_uid()));
    kill::by_pid(cx.task, pid, &message)?;
    Ok(0)
}

pub(super) fn tkill(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    send_specific(cx, None, args.get(0), args.get(1))
}

pub(super) fn tgkill(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    send_specific(cx, Some(args.get(0)), args.get(1), args.get(2))
}

fn send_specific(cx: &mut Cx<'_>, tgid: Option<i32>, tid: i32, signo: i32) -> SysResult {
    if tid <= 0 || tgid.is_some_and(|t| t <= 0) {
        return Err(Errno::EINVAL.into());
    }
    let target = kill::find_task(cx.task, tgid, tid)?;
    let message = kill::number(signo)?.map(|s| SigInfo::tkill(s, cx.own_pid(), cx.own_uid()));
    kill::to_task(cx.task, &target, &message)?;
    Ok(0)
}

/// The guest's own `siginfo_t` under the number of the call.
fn read_info(cx: &Cx<'_>, ptr: UserPtr<SigInfo>, signo: i32) -> Result<SigInfo> {
    let mut info = cx.mem().get(ptr)?;
    info.signo = signo;
    Ok(info)
}

/// Whether it looks like the kernel's or kill(2)'s: only to itself may a task send such.
fn forged(info: &SigInfo) -> bool {
    info.code >= 0 || info.code == code::SI_TKILL
}

fn message(info: SigInfo) -> Result<Message> {
    Ok(kill::number(info.signo)?.map(|_| info))
}

pub(super) fn rt_sigqueueinfo(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let pid: i32 = args.get(0);
    let info = read_info(cx, args.get(2), args.get(1))?;
    if forged(&info) && pid != cx.task.own_tid() {
        return Err(Errno::EPERM.into());
    }
    let target = kill::find_process(cx.task, pid)?;
    kill::to_process(cx.task, &target, &message(info)?)?;
    Ok(0)
}

pub(super) fn rt_tgsigqueueinfo(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (tgid, tid): (i32, i32) = (args.get(0), args.get(1));
    let info = read_info(cx, args.get(3), args.get(2))?;
    if tid <= 0 || tgid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    if forged(&info) && tid != cx.task.own_tid() {
        return Err(Errno::EPERM.into());
    }
    let target = kill::find_task(cx.task, Some(tgid), tid)?;
    kill::to_task(cx.task, &target, &message(info)?)?;
    Ok(0)
}
