//! Sending signals (kill(2), signal(7)): permission, what is dropped at once, and which task wakes.

use super::info::SigInfo;
use super::queue::{Queued, QuotaGuard, SignalQuota};
use super::set::{SigSet, Signal};
use super::state::{GroupSignals, Notice, Report, Stop, TaskState, TaskStop, recalculate};
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials};
use crate::kernel::{ExitStatus, Kernel, Task, ThreadGroup, worker};
use crate::sync::Events;
use smallvec::SmallVec;
use std::sync::Arc;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A guest program.
    Guest,
    /// The sentry: terminals, timers, children, faults.
    Kernel,
    /// A guest program above the target's PID namespace: SIGKILL and SIGSTOP reach even the init there.
    Above,
    /// Outside of the sandbox (`cofferdam` forwarding a signal): SIGKILL and SIGSTOP reach even init.
    Outside,
}

impl Origin {
    fn is_guest(self) -> bool {
        matches!(self, Origin::Guest | Origin::Above)
    }
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits, or it ended, stopped or continued the process.
    Pending,
    /// The same standard signal was already waiting.
    Coalesced,
    /// The process ignores it, or is about to end.
    Dropped,
}

/// Tasks to kick once the locks are released.
#[derive(Default)]
pub(super) struct Kicks(SmallVec<[Arc<Task>; 4]>);

impl Kicks {
    pub(super) fn add(&mut self, task: &Arc<Task>) {
        task.signals.set_attention(true);
        self.0.push(task.clone());
    }
    pub(super) fn run(self) {
        for t in self.0 {
            worker::kick(&t);
        }
    }
}

/// Whether `sender` may send `signal` to a process with identity `target` (`kill_ok_by_cred`); a process may always signal itself.
pub fn may_signal(
    sender: &Credentials,
    target: &Credentials,
    signal: Option<Signal>,
    same_session: bool,
) -> bool {
    sender.euid == target.suid
        || sender.euid == target.uid
        || sender.uid == target.suid
        || sender.uid == target.uid
        || sender.has_in(&target.user_ns, Caps::KILL)
        || (signal == Some(Signal::CONT) && same_session)
}

/// [`may_signal`] for a task and a process; EPERM.
pub fn check_permission(
    sender: &Task,
    target: &Arc<ThreadGroup>,
    target_task: Option<&Task>,
    signal: Option<Signal>,
) -> Result<()> {
    if Arc::ptr_eq(sender.group(), target) {
        return Ok(());
    }
    let creds = match target_task {
        Some(t) => Some(t.creds()),
        None => group_creds(target),
    };
    let same_session = sender.group().sid() == target.sid();
    match creds {
        Some(c) if !may_signal(&sender.creds(), &c, signal, same_session) => Err(Errno::EPERM),
        _ => Ok(()),
    }
}

/// What a user is called where a process lives.
pub fn uid_for(group: &ThreadGroup, user: u32) -> u32 {
    group_creds(group).map_or(user, |c| c.user_ns.show_user(user))
}

/// Identity of a process: that of its leader, or of what is left of it.
pub fn group_creds(group: &ThreadGroup) -> Option<Arc<Credentials>> {
    let (first, last) = {
        let g = group.signals.lock();
        let leader = g.tasks().find(|t| t.tid() == group.pid());
        let first = leader.or_else(|| g.tasks().next());
        (first, g.last_creds.clone())
    };
    first.map(|t| t.creds()).or(last)
}

/// Sends a signal to one task.
///
/// # Errors
/// EAGAIN if a real-time signal finds RLIMIT_SIGPENDING used up.
pub fn send_task(task: &Arc<Task>, info: SigInfo, origin: Origin) -> Result<Sent> {
    send(task.group(), Some(task), Queued::new(info), origin)
}

/// Sends a signal to a process; any of its tasks takes it.
///
/// # Errors
/// EAGAIN if a real-time signal finds RLIMIT_SIGPENDING used up.
pub fn send_group(group: &Arc<ThreadGroup>, info: SigInfo, origin: Origin) -> Result<Sent> {
    send(group, None, Queued::new(info), origin)
}

/// Sends a kernel signal (SI_KERNEL) to every process of a process group: terminals' SIGINT, SIGHUP …
/// How many processes there were.
pub fn send_pgrp(kernel: &Kernel, pgid: i32, signal: Signal) -> usize {
    let members = kernel.tree.lock().group_members(pgid);
    for g in &members {
        let _ = send_group(g, SigInfo::kernel(signal), Origin::Kernel);
    }
    members.len()
}

/// Sends with everything spelled out; `target` picks one task of `group`.
///
/// # Errors
/// EAGAIN as [`send_group`].
pub fn send(
    group: &Arc<ThreadGroup>,
    target: Option<&Arc<Task>>,
    queued: Queued,
    origin: Origin,
) -> Result<Sent> {
    let Some(signal) = queued.info.signal() else {
        return Err(Errno::EINVAL);
    };
    let mut kicks = Kicks::default();
    let (sent, arrivals) = {
        let mut g = group.signals.lock();
        let sent = place(&mut g, group, target, signal, queued, origin, &mut kicks);
        (sent, g.arrivals.clone())
    };
    kicks.run();
    if sent == Ok(Sent::Pending) {
        arrivals.wake(Events::READABLE);
    }
    sent
}

fn place(
    g: &mut GroupSignals,
    group: &ThreadGroup,
    target: Option<&Arc<Task>>,
    signal: Signal,
    queued: Queued,
    origin: Origin,
    kicks: &mut Kicks,
) -> Result<Sent> {
    if g.exiting.is_some() {
        return Ok(Sent::Dropped);
    }
    prepare(g, signal, kicks);
    let Some(task) = target.cloned().or_else(|| representative(g, group)) else {
        return Ok(Sent::Dropped);
    };
    let action = g.handlers.get(signal);
    {
        let t = task.signals.lock();
        let force = matches!(origin, Origin::Outside | Origin::Above);
        let protected = g.unkillable
            && action.handler == super::action::SIG_DFL
            && !(force && signal.is_kernel_only());
        // A tracer sees also what is ignored (`sig_ignored`).
        let seen = t.trace.is_some() && signal != Signal::KILL;
        if !seen && !t.blocked.contains(signal) && (protected || action.ignores(signal)) {
            return Ok(Sent::Dropped);
        }
        let pending = if target.is_some() {
            &t.pending
        } else {
            &g.pending
        };
        // Each POSIX timer has its own entry, whatever else waits.
        if queued.info.code != super::info::code::SI_TIMER && pending.coalesces(signal) {
            return Ok(Sent::Coalesced);
        }
    }
    let quota = admit(&task, group, signal, &queued, origin)?;
    let mut t = task.signals.lock();
    let pending = if target.is_some() {
        &mut t.pending
    } else {
        &mut g.pending
    };
    match quota {
        Admission::Queue(q) => pending.push(signal, queued, q),
        Admission::Bare => pending.push_bare(signal),
    }
    drop(t);
    choose(g, target, signal, kicks);
    Ok(Sent::Pending)
}

/// What a signal undoes before it is queued (`prepare_signal`): stop signals and SIGCONT cancel each other, SIGCONT continues.
fn prepare(g: &mut GroupSignals, signal: Signal, kicks: &mut Kicks) {
    let flush = if signal.is_stop() {
        SigSet::of(Signal::CONT)
    } else if signal == Signal::CONT {
        SigSet::STOP
    } else {
        return;
    };
    g.pending.flush(flush);
    let tasks: SmallVec<[Arc<Task>; 8]> = g.tasks().collect();
    for t in &tasks {
        let mut s = t.signals.lock();
        s.pending.flush(flush);
        if signal == Signal::CONT {
            s.stop = TaskStop::None;
            if let Some(trace) = s.trace.as_mut().filter(|t| t.seized) {
                trace.notify = true;
                trap_again(&mut s);
            }
        }
    }
    if signal != Signal::CONT {
        return;
    }
    let stop = std::mem::take(&mut g.stop);
    if stop != Stop::Running {
        g.report = Some(Report::Continued);
    }
    match stop {
        Stop::Running => {
            tasks
                .iter()
                .filter(|t| wants_trap(t))
                .for_each(|t| kicks.add(t));
            return;
        }
        Stop::Stopping { signal, .. } => g.notice = Some(Notice::Stopped(signal)),
        Stop::Stopped { .. } => g.notice = Some(Notice::Continued),
    }
    for t in &tasks {
        kicks.add(t);
    }
}

/// A tracee that its tracer leaves stopped (PTRACE_LISTEN) stops anew, to tell of something.
pub(in crate::kernel) fn trap_again(s: &mut TaskState) {
    if let Some(stop) = s.traced_stop.as_mut().filter(|s| s.listening) {
        stop.go = Some(0);
    }
}

fn wants_trap(t: &Task) -> bool {
    t.signals
        .lock()
        .trace
        .as_ref()
        .is_some_and(|t| t.wants_trap())
}

fn representative(g: &GroupSignals, group: &ThreadGroup) -> Option<Arc<Task>> {
    g.tasks()
        .find(|t| t.tid() == group.pid())
        .or_else(|| g.tasks().next())
}

enum Admission {
    Queue(Option<QuotaGuard>),
    Bare,
}

fn admit(
    task: &Task,
    group: &ThreadGroup,
    signal: Signal,
    queued: &Queued,
    origin: Origin,
) -> Result<Admission> {
    if signal == Signal::KILL {
        return Ok(Admission::Bare);
    }
    // A timer counted its own place when it was made.
    if queued.hook.is_some() {
        return Ok(Admission::Queue(None));
    }
    let limit = group.limit(libc::RLIMIT_SIGPENDING);
    let quota = task.kernel().extensions.extension::<SignalQuota>();
    match quota.take(task.creds().uid, limit) {
        Some(q) => Ok(Admission::Queue(Some(q))),
        // Standard signals of the kernel and of kill(2) keep their information beyond the limit; at most 31 can wait.
        None if !signal.is_realtime() && (!origin.is_guest() || queued.info.code >= 0) => {
            Ok(Admission::Queue(None))
        }
        None if signal.is_realtime()
            && origin.is_guest()
            && queued.info.code != super::info::code::SI_USER =>
        {
            Err(Errno::EAGAIN)
        }
        None => Ok(Admission::Bare),
    }
}

fn wants(t: &TaskState, signal: Signal) -> bool {
    t.exit.is_none()
        && (!t.blocked.contains(signal) || t.awaited.contains(signal))
        && (signal == Signal::KILL || (t.stop != TaskStop::Standing && !t.is_trace_stopped()))
}

/// Wakes the task that is to take `signal` (`complete_signal`); a signal that is certainly fatal ends the process at once.
fn choose(g: &mut GroupSignals, target: Option<&Arc<Task>>, signal: Signal, kicks: &mut Kicks) {
    let found = match target {
        Some(t) => wants(&t.signals.lock(), signal).then(|| t.clone()),
        None => {
            let tasks: SmallVec<[Arc<Task>; 8]> = g.tasks().collect();
            let n = tasks.len().max(1);
            let start = g.turn % n;
            let order = (0..n).map(|i| (start + i) % n);
            let mut fits = order.filter(|i| {
                tasks
                    .get(*i)
                    .is_some_and(|t| wants(&t.signals.lock(), signal))
            });
            // A task without other business, else any that lets the signal through.
            let first = fits.next();
            let idle = |i: &usize| tasks.get(*i).is_some_and(|t| !t.signals.attention());
            let pick = first.filter(idle).or_else(|| fits.find(idle)).or(first);
            if let Some(i) = pick {
                g.turn = i;
            }
            pick.and_then(|i| tasks.get(i).cloned())
        }
    };
    let Some(task) = found else { return };
    let (blocked, awaited, traced) = {
        let t = task.signals.lock();
        (
            t.blocked.contains(signal),
            t.awaited.contains(signal),
            t.trace.is_some(),
        )
    };
    let action = g.handlers.get(signal);
    let fatal = signal == Signal::KILL
        || (action.is_fatal(signal)
            // It may have been blocked when it came, and no longer.
            && !g.unkillable
            && !blocked
            && !awaited
            && !traced
            && signal.default_action() == super::set::DefaultAction::Terminate);
    if fatal {
        begin_exit(g, ExitStatus::Signaled(signal.number(), false), kicks);
    } else {
        kicks.add(&task);
    }
}

pub(super) fn begin_exit(
    g: &mut GroupSignals,
    status: ExitStatus,
    kicks: &mut Kicks,
) -> ExitStatus {
    let status = *g.exiting.get_or_insert(status);
    g.stop = Stop::Running;
    g.notice = None;
    for t in g.tasks() {
        t.signals.lock().stop = TaskStop::None;
        kicks.add(&t);
    }
    status
}

/// Signals to the process that `task` no longer takes wake another task (`retarget_shared_pending`).
pub(super) fn rouse_others(g: &GroupSignals, task: &Arc<Task>, kicks: &mut Kicks) {
    if g.pending.set().is_empty() && g.notice.is_none() {
        return;
    }
    for t in g.tasks().filter(|t| !Arc::ptr_eq(t, task)) {
        let was = t.signals.attention();
        let now = recalculate(g, &t, &t.signals.lock());
        if now && !was {
            kicks.add(&t);
        }
    }
}
