//! Who a signal of a guest goes to: kill(2), tgkill(2), rt_sigqueueinfo(2).

use super::info::SigInfo;
use super::send::{Origin, check_permission, send_group, send_task};
use super::set::Signal;
use crate::abi::{Errno, Result};
use crate::kernel::{Task, ThreadGroup};
use std::sync::Arc;

/// What a guest sends: a signal with its information, or nothing (signal 0: only the checks).
pub type Message = Option<SigInfo>;

fn signal_of(message: &Message) -> Option<Signal> {
    message.as_ref().and_then(SigInfo::signal)
}

/// A raw signal number argument: `None` for 0.
///
/// # Errors
/// EINVAL. Linux finds this out only after it has found the target: see callers.
pub fn number(raw: i32) -> Result<Option<Signal>> {
    match raw {
        0 => Ok(None),
        n => Signal::new(n).map(Some).ok_or(Errno::EINVAL),
    }
}

/// Sends to one process.
///
/// # Errors
/// EPERM, EAGAIN.
pub fn to_process(sender: &Arc<Task>, target: &Arc<ThreadGroup>, message: &Message) -> Result<()> {
    check_permission(sender, target, None, signal_of(message))?;
    if let Some(info) = message {
        send_group(target, *info, Origin::Guest)?;
    }
    Ok(())
}

/// Sends to one task.
///
/// # Errors
/// EPERM, EAGAIN.
pub fn to_task(sender: &Arc<Task>, target: &Arc<Task>, message: &Message) -> Result<()> {
    check_permission(sender, target.group(), Some(target), signal_of(message))?;
    if let Some(info) = message {
        send_task(target, *info, Origin::Guest)?;
    }
    Ok(())
}

/// Sends to each process of a process group; success if it reached one.
///
/// # Errors
/// ESRCH, else the last one's error.
pub fn to_pgrp(sender: &Arc<Task>, pgid: i32, message: &Message) -> Result<()> {
    let mut outcome = Err(Errno::ESRCH);
    let mut reached = false;
    for g in sender.kernel().process_group(pgid) {
        outcome = to_process(sender, &g, message);
        reached |= outcome.is_ok();
    }
    if reached { Ok(()) } else { outcome }
}

/// kill(-1): every process but init and the sender's own.
///
/// # Errors
/// ESRCH if there is none; EPERM of single processes does not count.
pub fn to_all(sender: &Arc<Task>, message: &Message) -> Result<()> {
    let mut outcome = Ok(());
    let mut any = false;
    for g in sender.kernel().processes() {
        if g.pid() <= 1 || Arc::ptr_eq(&g, sender.group()) {
            continue;
        }
        any = true;
        match to_process(sender, &g, message) {
            Err(Errno::EPERM) => {}
            other => outcome = other,
        }
    }
    if any { outcome } else { Err(Errno::ESRCH) }
}

/// Sends to the target that kill(2) names by `pid`.
///
/// # Errors
/// ESRCH, EPERM, EAGAIN.
pub fn by_pid(sender: &Arc<Task>, pid: i32, message: &Message) -> Result<()> {
    match pid {
        -1 => to_all(sender, message),
        0 => to_pgrp(sender, sender.group().pgid(), message),
        i32::MIN => Err(Errno::ESRCH),
        p if p < 0 => to_pgrp(sender, -p, message),
        p => {
            let target = find_process(sender, p)?;
            to_process(sender, &target, message)
        }
    }
}

/// The process that `pid` names: a thread's id means its process, as in Linux.
///
/// # Errors
/// ESRCH.
pub fn find_process(sender: &Arc<Task>, pid: i32) -> Result<Arc<ThreadGroup>> {
    let kernel = sender.kernel();
    kernel
        .process(pid)
        .or_else(|| kernel.task(pid).map(|t| t.group().clone()))
        .ok_or(Errno::ESRCH)
}

/// The task `tid`, which must belong to process `tgid` if that is given.
///
/// # Errors
/// ESRCH.
pub fn find_task(sender: &Arc<Task>, tgid: Option<i32>, tid: i32) -> Result<Arc<Task>> {
    sender
        .kernel()
        .task(tid)
        .filter(|t| tgid.is_none_or(|g| t.group().pid() == g))
        .ok_or(Errno::ESRCH)
}
