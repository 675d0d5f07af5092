//! ptrace(2) between guest tasks: who traces whom, how a tracee stops, and what its tracer does to it meanwhile. Nothing of it knows how
//! guest code runs: a tracee that stands is a parked task like any other, and single steps are the processor's trap flag.
//!
//! - [`Trace`]: a tracee's tracer and options, [`TracedStop`]: the stop it is in. Both are signal state, guarded as that is.
//! - [`Link`]: in the task tree, who traces whom; it outlives the tracee until its tracer has waited for it.
//! - [`TraceLocal`]: where the tracee goes on once it is let go. Only its own worker has it.
//! - `link` attaches and detaches, `stop` is the tracee's side, `request` the tracer's, `regs` the layouts of registers, `wait` finds news.
//!
//! Stops are made where Linux makes them: at both ends of a system call, before a signal is delivered (`signal::deliver`), in the middle of fork
//! and execve, before the end. The worker parks the task then; a tracer's request sets [`TracedStop::go`] and kicks it.

mod link;
mod regs;
mod request;
mod stop;
mod wait;

pub(in crate::kernel) use link::{
    Link, clone_traced, detach_all, died, exec_renames, exec_signal, is_watched, orphaned,
};
pub use link::{attach, detach, traceme};
pub use regs::{RegSet, USER_SIZE};
pub use request::{Resume, Stopped, SyscallInfo, interrupt, kill, with_thread_in};
pub use stop::event;
pub(in crate::kernel) use stop::{
    Step, TRAP_FLAG, dying, enter_call, go_on, handler_starts, left_call, next_due, ready,
    seccomp_stop, signal_stop, trap, wants,
};
pub(in crate::kernel) use wait::{News, candidates, untold};

use super::Task;
use super::signal::{SigInfo, Signal};
use crate::auth::{Caps, Credentials, UserNamespace};
use cofferdam_platform::Registers;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

bitflags::bitflags! {
    /// PTRACE_O_*.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct Options: u32 {
        const SYSGOOD = 1;
        const FORK = 1 << 1;
        const VFORK = 1 << 2;
        const CLONE = 1 << 3;
        const EXEC = 1 << 4;
        const VFORK_DONE = 1 << 5;
        const EXIT = 1 << 6;
        const SECCOMP = 1 << 7;
        const EXIT_KILL = 1 << 20;
        const SUSPEND_SECCOMP = 1 << 21;
    }
}

/// PTRACE_EVENT_*; bit n of [`Options`] asks for event n.
#[allow(missing_docs)]
pub mod event_code {
    pub const FORK: u32 = 1;
    pub const VFORK: u32 = 2;
    pub const CLONE: u32 = 3;
    pub const EXEC: u32 = 4;
    pub const VFORK_DONE: u32 = 5;
    pub const EXIT: u32 = 6;
    pub const SECCOMP: u32 = 7;
    pub const STOP: u32 = 128;
}

/// What a task's worker looks at on its ways.
#[derive(Default)]
pub struct Tracing(AtomicU32);

/// Bits of [`Tracing`].
pub(in crate::kernel) mod flag {
    /// There is a tracer.
    pub const TRACED: u32 = 1;
    /// It wants to see both ends of calls (PTRACE_SYSCALL).
    pub const CALLS: u32 = 2;
    /// It makes the calls itself (PTRACE_SYSEMU).
    pub const EMULATE: u32 = 4;
    /// One instruction only.
    pub const STEP: u32 = 8;
    /// The task has something to stop for before it runs again. Set by its own worker.
    pub const DUE: u32 = 16;
}

impl Tracing {
    pub(in crate::kernel) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
    /// Whether there is a tracer.
    pub fn is_traced(&self) -> bool {
        self.get() & flag::TRACED != 0
    }
    pub(in crate::kernel) fn is_due(&self) -> bool {
        self.get() & flag::DUE != 0
    }
    fn change(&self, clear: u32, set: u32) {
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |f| {
                Some((f & !clear) | set)
            });
    }
}

/// A tracee's part of the relation.
pub(in crate::kernel) struct Trace {
    pub tracer: Weak<Task>,
    /// The tracer's identity when it attached (`ptracer_cred`).
    pub creds: Arc<Credentials>,
    /// By PTRACE_SEIZE.
    pub seized: bool,
    pub options: Options,
    /// What PTRACE_GETEVENTMSG says.
    pub message: u64,
    /// It is to stop (PTRACE_INTERRUPT; JOBCTL_TRAP_STOP).
    pub trap: bool,
    /// Job control changed: it is to tell (JOBCTL_TRAP_NOTIFY).
    pub notify: bool,
}

impl Trace {
    /// Whether the tracer has CAP_SYS_PTRACE over what belongs to `ns` (`ptracer_capable`).
    fn is_capable(&self, ns: &UserNamespace) -> bool {
        self.creds.has_in(ns, Caps::SYS_PTRACE)
    }
    pub(in crate::kernel) fn wants_trap(&self) -> bool {
        self.trap || self.notify
    }
}

/// What kind of stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At the start of a call.
    Entry,
    /// At the end of one.
    Exit,
    /// A seccomp filter asked; its data.
    Seccomp(u32),
    /// Before a signal.
    Signal,
    /// Anything else.
    Other,
}

/// A tracee stands.
pub(in crate::kernel) struct TracedStop {
    /// As wait(2) reports it, above the low byte; 0 once it has.
    pub code: i32,
    /// For PTRACE_GETSIGINFO; group stops have none.
    pub info: Option<SigInfo>,
    pub kind: Kind,
    pub regs: Registers,
    /// PTRACE_LISTEN: it stands as if by job control alone.
    pub listening: bool,
    /// It was being killed when it stopped: only its tracer lets it go.
    pub dying: bool,
    /// It may go on, with this signal or 0.
    pub go: Option<i32>,
    /// How many work with its host thread: until they are done it does not go on, whatever happens.
    pub held: u32,
}

impl TracedStop {
    /// `fatal`: the task is being killed.
    fn may_end(&self, fatal: bool) -> bool {
        self.go.is_some() || (fatal && !self.dying)
    }
}

/// Where a tracee goes on.
#[derive(Clone, Copy, Debug)]
enum At {
    /// With the call, if its number is still one.
    Entry { emulate: bool },
    /// With the call, of which the seccomp filters are asked once more.
    Seccomp,
    /// In the handler of the call in flight, which is run again.
    Call,
    /// Behind the call.
    Exit,
    /// With the signal, if its tracer says so.
    Signal,
    /// On its way to the guest.
    Trap,
}

/// Stops to come.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// The end of a call.
    Exit,
    /// The first instruction of a handler, single-stepped to.
    Handler,
}

/// The tracee's own part.
#[derive(Default)]
pub struct TraceLocal {
    at: Option<At>,
    due: VecDeque<Due>,
    /// A signal that its tracer has seen and let through.
    pub(in crate::kernel) decided: Option<SigInfo>,
    /// The trap flag is set for its tracer.
    pub(in crate::kernel) step: bool,
    /// PTRACE_EVENT_EXIT is over.
    told_exit: bool,
}

impl TraceLocal {
    /// Whether a stop began that is not over.
    pub(in crate::kernel) fn is_stopped(&self) -> bool {
        self.at.is_some()
    }
    pub(in crate::kernel) fn decide(&mut self, info: SigInfo) {
        self.decided = Some(info);
    }
}

/// Whether the task stands for its tracer, and its tracer's id (0 without one): /proc/PID/status.
pub fn shown(task: &Task) -> (bool, i32) {
    if !task.tracing.is_traced() {
        return (false, 0);
    }
    let t = task.signals.lock();
    let tracer = t.trace.as_ref().and_then(|t| t.tracer.upgrade());
    (t.is_trace_stopped(), tracer.map_or(0, |t| t.tid()))
}

/// What the tracer of `task` calls `pid`.
pub(in crate::kernel) fn seen_by_tracer(task: &Task, pid: i32) -> i32 {
    let tracer = {
        let t = task.signals.lock();
        t.trace.as_ref().and_then(|t| t.tracer.upgrade())
    };
    tracer.map_or(pid, |t| task.kernel().pid_seen(t.group().pid_ns(), pid))
}

/// Registers of a task that stands for its tracer.
pub fn stopped_registers(task: &Task) -> Option<Registers> {
    let t = task.signals.lock();
    let stop = t.traced_stop.as_ref();
    stop.filter(|s| s.go.is_none()).map(|s| s.regs)
}

/// Whether `task` is traced by `tracer`.
fn is_traced_by(task: &Task, tracer: &Arc<Task>) -> bool {
    let t = task.signals.lock();
    t.trace
        .as_ref()
        .is_some_and(|t| std::ptr::eq(t.tracer.as_ptr(), Arc::as_ptr(tracer)))
}

fn trap_info(code: i32) -> SigInfo {
    SigInfo::new(Signal::TRAP, code)
}
