//! Who a signal of a guest goes to: kill(2), tgkill(2), rt_sigqueueinfo(2).

use super::info::{SigInfo, code};
use super::send::{Origin, check_permission, send_group, send_task, uid_for};
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

/// The sender as the target's namespaces know it, and whether it is above (`send_signal_locked`).
fn address(sender: &Task, target: &ThreadGroup, mut info: SigInfo) -> (SigInfo, Origin) {
    if std::ptr::eq(&**sender.group(), target) {
        return (info, Origin::Guest);
    }
    let seen = sender
        .kernel()
        .pid_seen(target.pid_ns(), sender.group().pid());
    let creds = sender.creds();
    // SI_TIMER and SI_SIGIO have no sender.
    let has_sender = info.code <= 0 && !matches!(info.code, code::SI_TIMER | code::SI_SIGIO);
    if has_sender && !creds.user_ns.is_initial() {
        let user = creds.user_ns.user(info.uid());
        let user = user.unwrap_or(crate::auth::user_ns::INVALID_ID);
        info.set_sender(info.pid(), uid_for(target, user));
    } else if has_sender {
        info.set_sender(info.pid(), uid_for(target, info.uid()));
    }
    if seen != 0 {
        return (info, Origin::Guest);
    }
    if has_sender {
        info.set_sender(0, info.uid());
    }
    (info, Origin::Above)
}

/// Sends to one process.
///
/// # Errors
/// EPERM, EAGAIN.
pub fn to_process(sender: &Arc<Task>, target: &Arc<ThreadGroup>, message: &Message) -> Result<()> {
    check_permission(sender, target, None, signal_of(message))?;
    if let Some(info) = message {
        let (info, origin) = address(sender, target, *info);
        send_group(target, info, origin)?;
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
        let (info, origin) = address(sender, target.group(), *info);
        send_task(target, info, origin)?;
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
    let ns = sender.group().pid_ns();
    for g in sender.kernel().processes() {
        if g.pid() == ns.init() || !g.pid_ns().is_within(ns) || Arc::ptr_eq(&g, sender.group()) {
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
        p if p < 0 => to_pgrp(sender, named(sender, -p)?, message),
        p => {
            let target = find_process(sender, p)?;
            to_process(sender, &target, message)
        }
    }
}

/// What a number of the sender's means.
fn named(sender: &Task, number: i32) -> Result<i32> {
    let ns = sender.group().pid_ns();
    sender.kernel().pid_named(ns, number).ok_or(Errno::ESRCH)
}

/// The process that `pid` names: a thread's id means its process, as in Linux.
///
/// # Errors
/// ESRCH.
pub fn find_process(sender: &Arc<Task>, pid: i32) -> Result<Arc<ThreadGroup>> {
    let kernel = sender.kernel();
    let pid = named(sender, pid)?;
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
    let tid = named(sender, tid)?;
    let tgid = tgid.map(|tgid| named(sender, tgid)).transpose()?;
    sender
        .kernel()
        .task(tid)
        .filter(|t| tgid.is_none_or(|g| t.group().pid() == g))
        .ok_or(Errno::ESRCH)
}
