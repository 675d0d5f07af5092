//! Waiting for children (wait4(2), waitid(2)).

use super::exit::{reap, zombies_freed};
use crate::abi::Errno;
use crate::kernel::signal::Report;
use crate::kernel::tree::Life;
use crate::kernel::{Cx, ExitStatus, ThreadGroup, ptrace};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Which children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Any child.
    Any,
    /// The child with this pid.
    Pid(i32),
    /// Children in this process group.
    Group(i32),
}

impl Which {
    fn fits(self, pid: i32, group: &ThreadGroup) -> bool {
        match self {
            Which::Any => true,
            Which::Pid(p) => p == pid,
            Which::Group(g) => group.pgid() == g,
        }
    }
}

/// What a child did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It ended.
    Ended(ExitStatus),
    /// A signal stopped it.
    Stopped(i32),
    /// It stands for its tracer, who asks; the signal, with what ptrace(2) adds.
    Trapped(i32),
    /// SIGCONT continued it.
    Continued,
}

/// One child's change, as wait4 and waitid report it.
pub struct Found {
    /// Child's pid, as the caller sees it.
    pub pid: i32,
    /// Its real uid.
    pub uid: u32,
    /// What it did.
    pub change: Change,
    /// CPU nanoseconds of the child and its waited-for children (user, system), maximum RSS in bytes.
    pub usage: (u64, u64, u64),
}

/// WNOHANG and friends that matter to the search.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Wanted {
    pub exited: bool,
    pub stopped: bool,
    pub continued: bool,
    /// WNOWAIT: leave the child as it is.
    pub keep: bool,
    /// __WALL, else __WCLONE: children whose exit signal is not SIGCHLD.
    pub all: bool,
    pub clone_only: bool,
    /// __WNOTHREAD: only what the calling thread traces itself.
    pub own_only: bool,
}

/// Looks for a child that changed. `Ok(None)`: there are children, but none changed.
///
/// # Errors
/// ECHILD if there is no such child.
pub fn find(cx: &Cx<'_>, which: Which, wanted: Wanted) -> Result<Option<Found>, Errno> {
    let found = find_child(cx, which, wanted);
    super::exit::namespaces_ended(cx.kernel());
    found
}

fn find_child(cx: &Cx<'_>, which: Which, wanted: Wanted) -> Result<Option<Found>, Errno> {
    let kernel = cx.kernel();
    let mut tree = kernel.tree.lock();
    let children = tree
        .nodes
        .get(&cx.group().pid())
        .map(|n| n.children.clone())
        .unwrap_or_default();
    let mut any = false;
    for pid in children {
        let Some(node) = tree.nodes.get(&pid) else {
            continue;
        };
        if node.adopted {
            continue;
        }
        let fits = which.fits(pid, &node.group);
        let (group, life) = (node.group.clone(), node.life);
        let is_clone = node.exit_signal != libc::SIGCHLD;
        if !fits || (!wanted.all && is_clone != wanted.clone_only) {
            continue;
        }
        any = true;
        match ptrace::orphaned(&tree, pid) {
            // Looked at below.
            Some(tracer) if Arc::ptr_eq(&tracer, cx.group()) => continue,
            // Its end is the tracer's news first.
            Some(_) if matches!(life, Life::Zombie(_)) => continue,
            _ => {}
        }
        let report = group.signals.lock().report;
        let change = match (life, report) {
            (Life::Zombie(s), _) if wanted.exited => Change::Ended(s),
            (Life::Zombie(_), _) => continue,
            (_, Some(Report::Stopped(sig))) if wanted.stopped => Change::Stopped(sig),
            (_, Some(Report::Continued)) if wanted.continued => Change::Continued,
            _ => continue,
        };
        if !wanted.keep && !matches!(change, Change::Ended(_)) {
            group.signals.lock().report = None;
        }
        let found = describe(cx, &group, change);
        if matches!(change, Change::Ended(_)) && !wanted.keep {
            reap(&mut tree, pid);
        }
        return Ok(Some(found));
    }
    if !tree.traced.is_empty() {
        let tracees = ptrace::candidates(&tree, cx.task, !wanted.own_only);
        for c in tracees.into_iter().filter(|c| which.fits(c.tid, &c.group)) {
            any = true;
            let change = match c.news {
                Some(ptrace::News::Ended(s)) if wanted.exited => Change::Ended(s),
                Some(ptrace::News::Stopped(code)) => Change::Trapped(code),
                Some(ptrace::News::Continued) if wanted.continued => Change::Continued,
                _ => continue,
            };
            let found = Found {
                pid: cx.seen(c.tid),
                uid: cx.creds().user_ns.show_user(c.uid),
                ..describe(cx, &c.group, change)
            };
            if !wanted.keep {
                c.take(&mut tree);
                if matches!(change, Change::Ended(_)) && c.tid == c.group.pid() {
                    let own = c.group.parent_pid() == cx.group().pid();
                    if own {
                        reap(&mut tree, c.tid);
                    } else {
                        // Now it is its parent's turn.
                        drop(tree);
                        zombies_freed(kernel, &[c.tid]);
                    }
                }
            }
            return Ok(Some(found));
        }
    }
    if any { Ok(None) } else { Err(Errno::ECHILD) }
}

fn describe(cx: &Cx<'_>, group: &Arc<ThreadGroup>, change: Change) -> Found {
    let t = *group.times.lock();
    Found {
        pid: cx.seen(group.pid()),
        uid: cx
            .creds()
            .user_ns
            .show_user(group.last_uid.load(Ordering::Relaxed)),
        change,
        usage: (
            t.dead_threads.0.saturating_add(t.children.0),
            t.dead_threads.1.saturating_add(t.children.1),
            t.maxrss.max(t.children_maxrss),
        ),
    }
}
