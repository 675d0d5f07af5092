//! Signals: pending queues, actions, delivery (signal(7)).

/// Signal state of a process: actions, process-directed pending signals, job-control stop.
#[derive(Default)]
pub struct GroupSignals {}

/// Signal state of a task: mask and thread-directed pending signals.
#[derive(Default)]
pub struct TaskSignals {}

/// sigaltstack(2).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct AltStack {
    pub addr: u64,
    pub size: u64,
    pub flags: u32,
}

use crate::kernel::{Cx, ExitStatus, Task, ThreadGroup};
use std::sync::Arc;

/// What [`deliver`] decided.
pub enum Delivery {
    /// The guest may run.
    Resume,
    /// The process is stopped; the task waits for SIGCONT or SIGKILL.
    Stopped,
    /// The process ends.
    Exit(ExitStatus),
}

/// Delivers pending signals before the guest runs.
pub fn deliver(cx: &mut Cx<'_>) -> Delivery {
    if cx.local.interrupted.take().is_some() {
        cx.local.call = None;
    }
    Delivery::Resume
}

/// Whether a waiting call of this task must stop waiting.
pub fn interrupts(_task: &Arc<Task>) -> bool {
    false
}

/// Whether this task is being killed.
pub fn must_die(_task: &Arc<Task>) -> bool {
    false
}

/// A CPU exception: the signal is delivered even if blocked or ignored (then by its default action).
pub fn force_fault(_cx: &mut Cx<'_>, _signo: i32, _code: i32, _addr: u64) {}

/// The signal state of a new process.
pub fn clone_group(_parent: &Arc<ThreadGroup>, _share: bool, _clear: bool) -> GroupSignals {
    GroupSignals::default()
}
/// The signal state of a new task: the parent's mask, nothing pending.
pub fn clone_task(_parent: &Arc<Task>) -> TaskSignals {
    TaskSignals::default()
}
/// exec: caught signals go back to their default action, the alternate stack is forgotten, handlers are no longer shared.
pub fn exec(_cx: &mut Cx<'_>) {}
/// Whether a parent is to be sent `exit_signal`, and whether the child is reaped without a wait (SIGCHLD ignored or SA_NOCLDWAIT).
pub fn child_exit_policy(_parent: &Arc<ThreadGroup>, _exit_signal: i32) -> (bool, bool) {
    (true, false)
}
/// Sends the parent its child's exit signal.
pub fn send_child_exit(
    _parent: &Arc<ThreadGroup>,
    _signal: i32,
    _child: &super::task::exit::ChildNews,
) {
}
/// Sends a signal from the kernel (SI_KERNEL) to a process.
pub fn send_kernel(_group: &Arc<ThreadGroup>, _signal: i32) {}
/// A session leader has ended: its terminal hangs up.
pub fn session_leader_exited(_leader: &Arc<ThreadGroup>) {}
/// The task's parent has ended (PR_SET_PDEATHSIG).
pub fn parent_died(_task: &Arc<Task>) {}
/// Whether the process is stopped by a job-control signal.
pub fn is_stopped(_group: &Arc<ThreadGroup>) -> bool {
    false
}
