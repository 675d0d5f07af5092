//! Signals: pending queues, actions, sending, job-control stops, delivery (signal(7)).
//!
//! Life of a task: [`attach`] at birth, [`deliver`] by the worker before each resume, [`detach`] at its end. A call that would
//! wait looks at [`TaskSignals::attention`] first, and so does the worker after parking it. Whoever sends wakes with
//! `worker::kick`.
//!
//! Locks: `ThreadGroup::signals` ([`Rank::SIGNALS`](crate::sync::Rank::SIGNALS)) guards all signal state of a process and its
//! tasks; inside it one task's state (`TASK_SIGNALS`), then handlers and quotas (`LEAF`). Kicks and wake-ups happen after
//! they are released. [`send_group`] may be called with the task tree locked.

mod action;
mod altstack;
mod deliver;
mod fpstate;
mod frame;
mod info;
pub mod kill;
mod lifecycle;
mod own;
mod queue;
mod send;
mod set;
mod signalfd;
mod state;
mod stop;

pub use action::{SIG_DFL, SIG_IGN, SaFlags, SigAction, SignalHandlers};
pub use altstack::{AltStack, MINSIGSTKSZ, SS_AUTODISARM};
pub(in crate::kernel) use deliver::would_dump_core;
pub use deliver::{Delivery, deliver, force, force_fault, set_temporary_mask};
pub use frame::{FaultRecord, StackT, sigreturn};
pub use info::{AUDIT_ARCH_X86_64, SigInfo, code};
pub(crate) use lifecycle::send_child_exit;
pub use lifecycle::{
    attach, child_exit_policy, clone_group, clone_task, detach, end_siblings, end_task, exec,
    interrupts, is_ignored, is_stopped, must_die, parent_died, send_kernel, stands,
    start_group_exit,
};
pub use own::{
    pending, remove_timer_signals, set_action, set_blocked, stop_waiting, take, take_or_wait,
};
pub use queue::{OnDequeue, Pending, Queued, QuotaGuard, SignalQuota};
pub(in crate::kernel) use send::trap_again;
pub use send::{
    Origin, Sent, check_permission, group_creds, may_signal, send, send_group, send_pgrp,
    send_task, uid_for,
};
pub use set::{DefaultAction, SigSet, Signal};
pub use signalfd::SignalFd;
pub use state::{GroupSignals, TaskSignals, TaskState};
pub(in crate::kernel) use state::{Report, Stop, TaskStop, recalculate};
pub use stop::ticks;
pub(in crate::kernel) use stop::{one_less, tell_parent};
