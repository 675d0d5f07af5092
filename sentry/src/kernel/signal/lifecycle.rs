//! What the life of tasks and processes does to their signals: birth, execve, death, and the news of it.

use super::action::{SIG_IGN, SaFlags};
use super::altstack::AltStack;
use super::info::{SigInfo, code};
use super::send::{Kicks, Origin, begin_exit, may_signal, rouse_others, send_group};
use super::set::{SigSet, Signal};
use super::state::{GroupSignals, Stop, TaskSignals, TaskStop, recalculate};
use super::stop::{one_less, ticks};
use crate::abi::{Errno, Result};
use crate::auth::Credentials;
use crate::kernel::task::exit::ChildNews;
use crate::kernel::{Cx, ExitStatus, Task, ThreadGroup};
use std::sync::Arc;

/// Whether a waiting call of this task must stop waiting: a signal, a stop or the end is there.
pub fn interrupts(task: &Arc<Task>) -> bool {
    task.signals.attention()
}

/// Whether this task is being killed.
pub fn must_die(task: &Arc<Task>) -> bool {
    task.signals.attention() && {
        let g = task.group().signals.lock();
        g.exiting.is_some() || task.signals.lock().exit.is_some()
    }
}

/// The signal state of a new process. `share`: CLONE_SIGHAND; `clear`: CLONE_CLEAR_SIGHAND.
pub fn clone_group(parent: &Arc<ThreadGroup>, share: bool, clear: bool) -> GroupSignals {
    let handlers = parent.signals.lock().handlers.clone();
    GroupSignals::new(if share {
        handlers
    } else {
        handlers.duplicate(clear)
    })
}

/// The signal state of a new task: the parent's mask, nothing pending.
pub fn clone_task(parent: &Arc<Task>) -> TaskSignals {
    TaskSignals::new(parent.signals.blocked())
}

/// execve: caught signals go back to their default action, the alternate stack is forgotten, handlers are no longer shared.
pub fn exec(cx: &mut Cx<'_>) {
    let mut g = cx.group().signals.lock();
    if Arc::strong_count(&g.handlers) > 1 {
        let own = g.handlers.duplicate(false);
        g.handlers = own;
    }
    g.handlers.reset();
    drop(g);
    crate::kernel::timers::exec(cx.group());
    cx.task.signals.lock().debug_addresses = Default::default();
    cx.local.alt_stack = AltStack::none();
    cx.local.restart = None;
}

/// Whether a parent is to be sent `exit_signal`, and whether the child is reaped without a wait (SIGCHLD ignored or
/// SA_NOCLDWAIT; `do_notify_parent`).
pub fn child_exit_policy(parent: &Arc<ThreadGroup>, exit_signal: i32) -> (bool, bool) {
    if exit_signal != Signal::CHLD.number() {
        return (exit_signal != 0, false);
    }
    let action = parent.signals.lock().handlers.get(Signal::CHLD);
    let ignored = action.handler == SIG_IGN;
    let reap = ignored || action.sa_flags().contains(SaFlags::NOCLDWAIT);
    (!ignored, reap)
}

/// Sends the parent its child's exit signal.
pub(crate) fn send_child_exit(parent: &Arc<ThreadGroup>, signal: i32, child: &ChildNews) {
    let Some(signal) = Signal::new(signal) else {
        return;
    };
    let (why, status) = match child.status {
        ExitStatus::Exited(c) => (code::CLD_EXITED, i32::from(c)),
        ExitStatus::Signaled(s, false) => (code::CLD_KILLED, s),
        ExitStatus::Signaled(s, true) => (code::CLD_DUMPED, s),
    };
    let info = SigInfo::new(signal, why).with_child(
        child.pid,
        super::send::uid_for(parent, child.uid),
        status,
        ticks(child.times.0),
        ticks(child.times.1),
    );
    let _ = send_group(parent, info, Origin::Kernel);
}

/// Sends a signal from the kernel (SI_KERNEL) to a process.
pub fn send_kernel(group: &Arc<ThreadGroup>, signal: i32) {
    if let Some(s) = Signal::new(signal) {
        let _ = send_group(group, SigInfo::kernel(s), Origin::Kernel);
    }
}

/// Whether a signal would have no effect on the task: it is blocked, or the process ignores it (SIG_IGN).
pub fn is_ignored(task: &Arc<Task>, signal: i32) -> bool {
    let Some(s) = Signal::new(signal) else {
        return true;
    };
    let group = task.group().signals.lock();
    task.signals.blocked().contains(s) || group.handlers().get(s).handler == SIG_IGN
}

/// The task's parent has ended, which had these credentials: PR_SET_PDEATHSIG. It is a signal of the parent's, if that may send it.
pub fn parent_died(task: &Arc<Task>, parent: Option<&Credentials>) {
    if let Some(s) = Signal::new(task.parent_death_signal()) {
        if parent.is_some_and(|p| !may_signal(p, &task.creds(), Some(s), false)) {
            return;
        }
        let info = SigInfo::user(s, 0, 0);
        // The parent of a PID namespace's init was above it.
        let origin = if task.group().is_namespace_init() {
            Origin::Above
        } else {
            Origin::Kernel
        };
        let _ = send_group(task.group(), info, origin);
    }
}

/// Whether the process is stopped by a job-control signal.
pub fn is_stopped(group: &Arc<ThreadGroup>) -> bool {
    group.signals.lock().stopped().is_some()
}

/// Whether the task is stopped by a job-control signal: with its process, unless its tracer has let it go on alone.
pub fn stands(task: &Arc<Task>) -> bool {
    let g = task.group().signals.lock();
    let t = task.signals.lock();
    g.stopped().is_some() && (t.trace.is_none() || t.stop == TaskStop::Standing)
}

/// Ends a process (exit_group, a fatal signal): every task of it will get [`super::Delivery::Exit`]. The status that holds:
/// that of the first who asked.
pub fn start_group_exit(group: &ThreadGroup, status: ExitStatus) -> ExitStatus {
    let mut kicks = Kicks::default();
    let status = begin_exit(&mut group.signals.lock(), status, &mut kicks);
    kicks.run();
    status
}

/// execve in a process with several tasks: all others will get [`super::Delivery::ExitTask`]. How many there are.
/// EAGAIN if the process is being ended: the caller gets [`super::Delivery::Exit`] itself.
pub fn end_siblings(task: &Arc<Task>) -> Result<usize> {
    let mut kicks = Kicks::default();
    let mut count = 0;
    {
        let g = task.group().signals.lock();
        if g.exiting.is_some() || task.signals.lock().exit.is_some() {
            return Err(Errno::EAGAIN);
        }
        for t in g.tasks().filter(|t| !Arc::ptr_eq(t, task)) {
            t.signals.lock().exit = Some(ExitStatus::Exited(0));
            kicks.add(&t);
            count += 1;
        }
    }
    kicks.run();
    Ok(count)
}

/// Ends one task; the others of its process go on.
pub fn end_task(task: &Arc<Task>, status: ExitStatus) {
    let mut kicks = Kicks::default();
    {
        let _g = task.group().signals.lock();
        task.signals.lock().exit = Some(status);
        kicks.add(task);
    }
    kicks.run();
}

/// Makes a new task known to its process's signals. False if the process is being ended: the task must not start.
pub fn attach(task: &Arc<Task>) -> bool {
    let mut g = task.group().signals.lock();
    g.threads.retain(|t| t.strong_count() > 0);
    g.threads.push(Arc::downgrade(task));
    let mut t = task.signals.lock();
    match &mut g.stop {
        Stop::Running => {}
        Stop::Stopping { left, .. } => {
            *left += 1;
            t.stop = TaskStop::Wanted;
        }
        // The stop is complete and reported; the newcomer joins it.
        Stop::Stopped { .. } => t.stop = TaskStop::Wanted,
    }
    recalculate(&g, task, &t);
    g.exiting.is_none()
}

/// Takes an exiting task out: signals it would have taken go to others, a group stop no longer waits for it.
/// Call with no lock of rank TASKS or higher held.
pub fn detach(task: &Arc<Task>) {
    let mut kicks = Kicks::default();
    let creds = task.creds();
    {
        let mut g = task.group().signals.lock();
        g.threads
            .retain(|t| t.upgrade().is_some_and(|t| !Arc::ptr_eq(&t, task)));
        if task.tid() == task.group().pid() || g.last_creds.is_none() {
            g.last_creds = Some(creds);
        }
        let (wanted, gone) = {
            let mut t = task.signals.lock();
            let wanted = std::mem::take(&mut t.stop) == TaskStop::Wanted;
            (wanted, t.pending.flush(!SigSet::EMPTY))
        };
        drop(gone);
        if wanted && !g.threads.is_empty() {
            one_less(&mut g);
        }
        rouse_others(&g, task, &mut kicks);
    }
    kicks.run();
}
