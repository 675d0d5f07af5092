//! Signal state of processes and tasks.
//!
//! `ThreadGroup::signals` is Linux's `siglock`: whoever changes pending sets, masks, or the stop and exit state of
//! a process or of one of its tasks holds it. A task's own state is taken inside it ([`Rank::TASK_SIGNALS`]).

use super::action::SignalHandlers;
use super::queue::Pending;
use super::set::{SigSet, Signal};
use crate::auth::Credentials;
use crate::kernel::ptrace::{Trace, TracedStop};
use crate::kernel::{ExitStatus, Task};
use crate::sync::{Mutex, MutexGuard, Rank, WaitQueue};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Job-control state of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::kernel) enum Stop {
    /// Not stopped.
    #[default]
    Running,
    /// A stop signal was taken; `left` tasks have yet to stop.
    Stopping { signal: Signal, left: usize },
    /// All tasks stand.
    Stopped { signal: Signal },
}

/// A job-control change that wait4(WUNTRACED | WCONTINUED) may report once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) enum Report {
    /// All tasks stand, by this signal.
    Stopped(i32),
    /// SIGCONT was sent.
    Continued,
}

/// What the next task to look at its signals tells the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) enum Notice {
    Stopped(Signal),
    Continued,
}

/// Signal state of a process: actions, process-directed pending signals, job-control stop, exit.
#[derive(Default)]
pub struct GroupSignals {
    pub(super) handlers: Arc<SignalHandlers>,
    pub(super) pending: Pending,
    pub(super) threads: Vec<Weak<Task>>,
    /// Where the search for a task that takes the next signal starts.
    pub(super) turn: usize,
    pub(in crate::kernel) exiting: Option<ExitStatus>,
    pub(in crate::kernel) stop: Stop,
    pub(in crate::kernel) notice: Option<Notice>,
    /// A stop or continue that no wait has reported yet.
    pub(in crate::kernel) report: Option<Report>,
    pub(super) unkillable: bool,
    /// Identity of the leader when it exited, for permission to signal a zombie.
    pub(super) last_creds: Option<Arc<Credentials>>,
    /// Woken at every new signal (signalfd).
    pub(super) arrivals: Arc<WaitQueue>,
}

impl GroupSignals {
    /// State of a new process. `handlers`: shared (CLONE_SIGHAND) or a duplicate.
    pub fn new(handlers: Arc<SignalHandlers>) -> GroupSignals {
        GroupSignals {
            handlers,
            ..GroupSignals::default()
        }
    }
    /// Actions.
    pub fn handlers(&self) -> &Arc<SignalHandlers> {
        &self.handlers
    }
    /// Signals that wait for any task of the process (ShdPnd).
    pub fn pending(&self) -> SigSet {
        self.pending.set()
    }
    /// Waiting signals themselves, oldest first.
    pub(in crate::kernel) fn queue(&self) -> &Pending {
        &self.pending
    }
    /// Set once the process is to end.
    pub fn exiting(&self) -> Option<ExitStatus> {
        self.exiting
    }
    /// The stop signal that is in effect, whether or not all tasks stand already.
    pub(in crate::kernel) fn stopping(&self) -> Option<Signal> {
        match self.stop {
            Stop::Running => None,
            Stop::Stopping { signal, .. } | Stop::Stopped { signal } => Some(signal),
        }
    }
    /// The signal that stopped it, if all its tasks stand.
    pub fn stopped(&self) -> Option<Signal> {
        match self.stop {
            Stop::Stopped { signal } => Some(signal),
            _ => None,
        }
    }
    /// Marks the sandbox's init: signals with default action do not reach it (SIGNAL_UNKILLABLE).
    pub fn set_unkillable(&mut self, on: bool) {
        self.unkillable = on;
    }
    /// Live tasks.
    pub fn tasks(&self) -> impl Iterator<Item = Arc<Task>> + '_ {
        self.threads.iter().filter_map(Weak::upgrade)
    }
    /// Queue that is woken at every new signal of the process or one of its tasks.
    pub fn arrivals(&self) -> &Arc<WaitQueue> {
        &self.arrivals
    }
}

/// A task's part in a group stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::kernel) enum TaskStop {
    #[default]
    None,
    /// Must stop at its next look.
    Wanted,
    /// Stands.
    Standing,
}

/// What a task's lock guards.
#[derive(Default)]
pub struct TaskState {
    /// Signal mask.
    pub(super) blocked: SigSet,
    /// Signals that rt_sigtimedwait waits for: they reach the task although blocked.
    pub(super) awaited: SigSet,
    pub(super) pending: Pending,
    pub(in crate::kernel) stop: TaskStop,
    /// The task alone is to end (execve of a sibling).
    pub(in crate::kernel) exit: Option<ExitStatus>,
    /// Who traces it, and what that task has asked for.
    pub(in crate::kernel) trace: Option<Box<Trace>>,
    /// It stands for its tracer, or has just been let go.
    pub(in crate::kernel) traced_stop: Option<Box<TracedStop>>,
    /// Where a tracer would break, if there were hardware breakpoints (debug registers 0 to 3).
    pub(in crate::kernel) debug_addresses: [u64; 4],
}

impl TaskState {
    /// Signal mask (SigBlk).
    pub fn blocked(&self) -> SigSet {
        self.blocked
    }
    /// Waiting signals themselves, oldest first.
    pub(in crate::kernel) fn queue(&self) -> &Pending {
        &self.pending
    }
    /// Replaces the mask of a task that stands.
    pub(in crate::kernel) fn set_blocked(&mut self, mask: SigSet) {
        self.blocked = mask.blockable();
    }
    /// Adds a signal that says nothing.
    pub(in crate::kernel) fn add_bare(&mut self, signal: Signal) {
        self.pending.push_bare(signal);
    }
    /// Whether it stands for its tracer and was not let go.
    pub(in crate::kernel) fn is_trace_stopped(&self) -> bool {
        self.traced_stop.as_ref().is_some_and(|s| s.go.is_none())
    }
    /// Thread-directed pending signals (SigPnd).
    pub fn pending(&self) -> SigSet {
        self.pending.set()
    }
}

/// Signal state of a task: mask, thread-directed pending signals, and the flag that says it should look.
pub struct TaskSignals {
    /// TIF_SIGPENDING: something for [`super::deliver`] to do.
    attention: AtomicBool,
    state: Mutex<TaskState>,
}

impl Default for TaskSignals {
    fn default() -> Self {
        TaskSignals::new(SigSet::EMPTY)
    }
}

impl TaskSignals {
    /// State of a new task with this mask (inherited over clone and exec).
    pub fn new(blocked: SigSet) -> TaskSignals {
        TaskSignals {
            attention: AtomicBool::new(false),
            state: Mutex::new(
                Rank::TASK_SIGNALS,
                TaskState {
                    blocked: blocked.blockable(),
                    ..TaskState::default()
                },
            ),
        }
    }
    /// Signal mask.
    pub fn blocked(&self) -> SigSet {
        self.state.lock().blocked
    }
    /// The state; to change it hold the group's lock too.
    pub fn lock(&self) -> MutexGuard<'_, TaskState> {
        self.state.lock()
    }
    /// Whether there is something to deliver: a signal that is not blocked, a stop, an exit. One atomic load.
    pub fn attention(&self) -> bool {
        self.attention.load(Ordering::SeqCst)
    }
    pub(in crate::kernel) fn set_attention(&self, on: bool) {
        self.attention.store(on, Ordering::SeqCst);
    }
}

/// Sets a task's attention flag from the state (`recalc_sigpending`); the new value.
pub(in crate::kernel) fn recalculate(group: &GroupSignals, task: &Task, state: &TaskState) -> bool {
    let on = state.exit.is_some()
        || group.exiting.is_some()
        || state.stop == TaskStop::Wanted
        || group.notice.is_some()
        || state.trace.as_ref().is_some_and(|t| t.wants_trap())
        || task.tracing.is_due()
        || !((state.pending.set() | group.pending.set()) & !state.blocked).is_empty();
    task.signals.set_attention(on);
    on
}
