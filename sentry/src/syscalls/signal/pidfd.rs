//! pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).

use crate::abi::{Errno, Result};
use crate::kernel::pidfd::PidFd;
use crate::kernel::signal::kill::{self, Message};
use crate::kernel::signal::{SigInfo, code};
use crate::kernel::{Cx, identity};
use crate::procfs;
use crate::syscalls::{Args, Fd, SysResult};
use crate::usermem::UserPtr;
use crate::vfs::{File, OpenFlags};
use std::sync::Arc;

/// PIDFD_THREAD.
const THREAD: u32 = 0o200;

pub(super) fn pidfd_open(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (pid, flags): (i32, u32) = (args.get(0), args.get(1));
    let nonblock = OpenFlags::NONBLOCK;
    if flags & !(nonblock.bits() | THREAD) != 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = cx.find_task(pid);
    let group = cx.find_process(pid);
    if task.is_none() && group.is_none() {
        return Err(Errno::ESRCH.into());
    }
    let open = OpenFlags::from_bits_retain(flags) & nonblock;
    let file = if flags & THREAD != 0 {
        let task = task.ok_or(Errno::EINVAL)?;
        PidFd::create(&cx.caller(), task.group().clone(), Some(&task), open)?
    } else {
        PidFd::create(&cx.caller(), group.ok_or(Errno::EINVAL)?, None, open)?
    };
    Ok(i64::from(cx.install_fd(file, true)?))
}

fn pidfd(cx: &Cx<'_>, fd: Fd) -> Result<Arc<File>> {
    let file = cx.file(fd)?;
    match file.downcast::<PidFd>() {
        Some(_) => Ok(file),
        None => Err(Errno::EBADF),
    }
}

/// The same for pidfd_send_signal, which takes a directory of /proc too: what there was before pidfd_open.
fn pidfd_or_directory(cx: &Cx<'_>, fd: Fd) -> Result<Arc<File>> {
    let file = cx.file(fd)?;
    if file.downcast::<PidFd>().is_some() {
        return Ok(file);
    }
    let group = procfs::process_of(file.inode())?;
    PidFd::create(&cx.caller(), group, None, OpenFlags::empty())
}

const SIGNAL_THREAD: u32 = 1;
const SIGNAL_THREAD_GROUP: u32 = 2;
const SIGNAL_PROCESS_GROUP: u32 = 4;

pub(super) fn pidfd_send_signal(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (signo, ptr): (i32, UserPtr<SigInfo>) = (args.get(1), args.get(2));
    let flags: u32 = args.get(3);
    if !matches!(
        flags,
        0 | SIGNAL_THREAD | SIGNAL_THREAD_GROUP | SIGNAL_PROCESS_GROUP
    ) {
        return Err(Errno::EINVAL.into());
    }
    let file = pidfd_or_directory(cx, args.get(0))?;
    let target = file.downcast::<PidFd>().ok_or(Errno::EBADF)?;
    let to_thread = flags == SIGNAL_THREAD || (flags == 0 && target.thread().is_some());
    let given = match ptr.non_null() {
        Some(p) => {
            let info = cx.mem().get(p)?;
            if info.signo != signo {
                return Err(Errno::EINVAL.into());
            }
            let myself = target.pid() == cx.task.tid() && flags != SIGNAL_PROCESS_GROUP;
            if !myself && (info.code >= 0 || info.code == code::SI_TKILL) {
                return Err(Errno::EPERM.into());
            }
            Some(info)
        }
        None => None,
    };
    if target.reaped() {
        return Err(Errno::ESRCH.into());
    }
    let (pid, uid) = (cx.own_pid(), cx.own_uid());
    // Only downwards.
    if !target.group().pid_ns().is_within(cx.group().pid_ns()) {
        return Err(Errno::EINVAL.into());
    }
    let message: Message = kill::number(signo)?.map(|s| match given {
        Some(info) => info,
        None if to_thread => SigInfo::tkill(s, pid, uid),
        None => SigInfo::user(s, pid, uid),
    });
    if to_thread {
        let task = match target.thread() {
            Some(t) => t,
            None => cx.kernel().task(target.group().pid()),
        };
        kill::to_task(cx.task, &task.ok_or(Errno::ESRCH)?, &message)?;
    } else if flags == SIGNAL_PROCESS_GROUP {
        kill::to_pgrp(cx.task, target.group().pid(), &message)?;
    } else {
        kill::to_process(cx.task, target.group(), &message)?;
    }
    Ok(0)
}

pub(super) fn pidfd_getfd(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    if args.get::<u32>(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = pidfd(cx, args.get(0))?;
    let target = file.downcast::<PidFd>().ok_or(Errno::EBADF)?;
    let task = match target.thread() {
        Some(t) => t,
        None => target.group().threads().into_iter().next(),
    }
    .ok_or(Errno::ESRCH)?;
    let wanted = identity::attach(cx, &task, || task.fds().get_any(args.get(1)))?;
    Ok(i64::from(cx.install_fd(wanted, true)?))
}
