//! Process groups, sessions and subreapers (setpgid(2), setsid(2), PR_SET_CHILD_SUBREAPER).

use crate::abi::{Errno, Result};
use crate::kernel::tree::Life;
use crate::kernel::{Cx, ThreadGroup};
use std::sync::Arc;

/// The process of `pid`, the caller's for 0.
///
/// # Errors
/// ESRCH.
pub fn process_or_self(cx: &Cx<'_>, pid: i32) -> Result<Arc<ThreadGroup>> {
    match pid {
        0 => Ok(cx.group().clone()),
        p => cx
            .find_task(p)
            .map(|t| t.group().clone())
            .or_else(|| cx.find_process(p))
            .ok_or(Errno::ESRCH),
    }
}

/// setpgid(2); zeros mean the caller and the process's own pid.
///
/// # Errors
/// ESRCH: neither the caller nor its child. EACCES: the child has called execve. EPERM: a session leader, another session, or no such group.
pub fn setpgid(cx: &Cx<'_>, pid: i32, pgid: i32) -> Result<()> {
    let own = cx.group();
    let pid = match pid {
        0 => own.pid(),
        p => cx.named(p).ok_or(Errno::ESRCH)?,
    };
    // A group that the caller cannot see is none of its session.
    let pgid = match pgid {
        0 => pid,
        p => cx.named(p).unwrap_or(0),
    };
    let tree = cx.kernel().tree.lock();
    let node = tree.nodes.get(&pid).ok_or(Errno::ESRCH)?;
    if pid != own.pid() {
        if node.parent != own.pid() {
            return Err(Errno::ESRCH);
        }
        if node.group.sid() != own.sid() {
            return Err(Errno::EPERM);
        }
        if node.execed {
            return Err(Errno::EACCES);
        }
    }
    if node.group.sid() == pid {
        return Err(Errno::EPERM);
    }
    if pgid != pid
        && !tree
            .nodes
            .values()
            .any(|n| n.group.pgid() == pgid && n.group.sid() == own.sid())
    {
        return Err(Errno::EPERM);
    }
    node.group.set_pgid(pgid);
    Ok(())
}

/// setsid(2): a new session and process group led by the caller, without a terminal.
///
/// # Errors
/// EPERM: the caller leads a process group.
pub fn setsid(cx: &Cx<'_>) -> Result<i32> {
    let own = cx.group();
    let tree = cx.kernel().tree.lock();
    if tree.nodes.values().any(|n| n.group.pgid() == own.pid()) {
        return Err(Errno::EPERM);
    }
    own.set_pgid(own.pid());
    own.set_sid(own.pid());
    drop(tree);
    *own.tty.lock() = None;
    Ok(cx.own_pid())
}

/// Makes the caller adopt orphaned descendants, or not.
pub fn set_subreaper(cx: &Cx<'_>, on: bool) {
    if let Some(n) = cx.kernel().tree.lock().nodes.get_mut(&cx.group().pid()) {
        n.subreaper = on;
    }
}

/// Whether the caller adopts orphaned descendants.
pub fn is_subreaper(cx: &Cx<'_>) -> bool {
    cx.kernel()
        .tree
        .lock()
        .nodes
        .get(&cx.group().pid())
        .is_some_and(|n| n.subreaper && n.life == Life::Alive)
}
