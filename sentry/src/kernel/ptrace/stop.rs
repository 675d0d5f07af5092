//! The tracee's side: it stops, tells its tracer, and goes on as that says (`ptrace_stop`).

use super::{At, Due, Kind, Options, TracedStop, event_code, flag, trap_info};
use crate::abi::Errno;
use crate::kernel::signal::{
    self, Origin, SaFlags, SigInfo, Signal, TaskStop, code, one_less, recalculate, send_group,
    send_task, ticks,
};
use crate::kernel::{Cx, ExitStatus, Task};
use crate::sync::Events;
use crate::syscalls::OnSignal;
use std::sync::Arc;

/// The processor's trap flag.
pub(in crate::kernel) const TRAP_FLAG: u64 = 1 << 8;
/// `si_code` of a trap behind a call that was stepped over (`user_single_step_report`).
const TRAP_BRKPT: i32 = 1;

/// How the worker goes on with a task that was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) enum Step {
    /// On the way to the guest.
    Resume,
    /// With the call, from the start.
    Begin,
    /// With the call; its seccomp filters have had their say, but are asked about what the tracer changed.
    Again,
    /// With the handler of the call in flight.
    Call,
    /// The call is not made; its result is in the registers.
    Skip,
}

struct What {
    code: i32,
    info: Option<SigInfo>,
    kind: Kind,
    /// CLD_TRAPPED, or CLD_STOPPED for group stops.
    why: i32,
    /// For PTRACE_GETEVENTMSG.
    message: u64,
}

impl What {
    fn trapped(code: i32, kind: Kind) -> What {
        What {
            code,
            info: Some(trap_info(code)),
            kind,
            why: code::CLD_TRAPPED,
            message: 0,
        }
    }
}

/// Begins a stop. False if there is no tracer, or if the task is about to die and does not stop for that.
fn stop(cx: &mut Cx<'_>, at: At, what: What, even_dying: bool) -> bool {
    let task = cx.task;
    if !task.tracing.is_traced() {
        return false;
    }
    // Its tracer is to find memory as the call left it, and the program's own text. The thread is that of now: execve changes it.
    let (thread, mm) = (task.thread(), task.mm());
    if let Some(thread) = &thread {
        let _ = thread.settle();
        mm.keep_own_text(&**thread);
    }
    let mut regs = *cx.regs();
    regs.rip = mm.shown_address(regs.rip);
    let mut tell_job_control = false;
    let tracer = {
        let mut g = task.group().signals.lock();
        let mut t = task.signals.lock();
        let dying = g.exiting.is_some() || t.exit.is_some();
        let Some(trace) = t.trace.as_mut().filter(|_| !dying || even_dying) else {
            return false;
        };
        trace.message = what.message;
        let tracer = trace.tracer.upgrade();
        t.traced_stop = Some(Box::new(TracedStop {
            code: what.code,
            info: what.info,
            kind: what.kind,
            regs,
            listening: false,
            dying,
            go: None,
            held: 0,
        }));
        if what.why == code::CLD_STOPPED && t.stop == TaskStop::Wanted {
            t.stop = TaskStop::None;
            one_less(&mut g);
            if g.notice.is_some() {
                let parent = task.group().parent_pid();
                if tracer.as_ref().is_some_and(|t| t.group().pid() == parent) {
                    // Its parent is told by the trace (`ptrace_reparented`).
                    g.notice = None;
                } else {
                    tell_job_control = true;
                }
            }
        }
        recalculate(&g, task, &t);
        tracer
    };
    cx.local.trace.at = Some(at);
    if let Some(tracer) = tracer {
        tell(task, &tracer, what.why, what.code);
    }
    if tell_job_control {
        signal::tell_parent(task);
    }
    true
}

/// SIGCHLD for a tracer, and its waits look again (`do_notify_parent_cldstop`).
fn tell(task: &Arc<Task>, tracer: &Arc<Task>, why: i32, status: i32) {
    let group = tracer.group();
    let action = group.signals.lock().handlers().get(Signal::CHLD);
    if action.handler != signal::SIG_IGN && !action.sa_flags().contains(SaFlags::NOCLDSTOP) {
        let (user, system) = task.group().cpu_time();
        let info = SigInfo::child(
            why,
            task.kernel().pid_seen(group.pid_ns(), task.tid()),
            signal::uid_for(group, task.creds().uid),
            status & 0x7f,
            ticks(user),
            ticks(system),
        );
        let _ = send_group(group, info, Origin::Kernel);
    }
    group.child_events.wake(Events::IN);
}

/// Whether a task that stopped may go on: its tracer said so or is gone, or it must die.
pub(in crate::kernel) fn ready(task: &Arc<Task>) -> bool {
    let g = task.group().signals.lock();
    let t = task.signals.lock();
    let fatal = g.exiting.is_some() || t.exit.is_some();
    t.traced_stop
        .as_ref()
        .is_none_or(|s| s.held == 0 && s.may_end(fatal))
}

/// Ends the stop that the task is in, once it is [`ready`].
pub(in crate::kernel) fn go_on(cx: &mut Cx<'_>) -> Step {
    let task = cx.task;
    let Some(at) = cx.local.trace.at.take() else {
        return Step::Resume;
    };
    let (stopped, killed, tracer) = {
        let g = task.group().signals.lock();
        let mut t = task.signals.lock();
        let stopped = t.traced_stop.take();
        let tracer = t.trace.as_ref().and_then(|t| t.tracer.upgrade());
        recalculate(&g, task, &t);
        let killed = g.exiting.is_some() || t.exit.is_some();
        (stopped, killed, tracer)
    };
    cx.local.trace.step = task.tracing.get() & flag::STEP != 0;
    let Some(stopped) = stopped else {
        return Step::Resume;
    };
    let mut regs = stopped.regs;
    regs.rip = task.mm().real_address(regs.rip);
    cx.local.regs = regs.into();
    let signal = stopped.go.filter(|_| !killed).and_then(Signal::new);
    let inject = || {
        if let Some(s) = signal {
            let _ = send_task(task, SigInfo::kernel(s), Origin::Kernel);
        }
    };
    match at {
        At::Entry { .. } | At::Seccomp => {
            if matches!(at, At::Entry { .. }) {
                inject();
            }
            cx.local.call = Some((regs.syscall_number(), regs.syscall_args()));
            let skip = matches!(at, At::Entry { emulate: true })
                || regs.syscall_number() == u64::MAX
                || killed;
            match at {
                _ if skip => Step::Skip,
                At::Seccomp => Step::Again,
                _ => Step::Begin,
            }
        }
        At::Call => Step::Call,
        At::Exit => {
            inject();
            reconsider(cx);
            Step::Resume
        }
        At::Signal => {
            reconsider(cx);
            if let (Some(signal), Some(info)) = (signal, stopped.info) {
                let info = if info.signo == signal.number() {
                    info
                } else {
                    // As the tracee sees its tracer.
                    let (pid, uid) =
                        tracer.map_or((task.group().parent_pid(), 0), |t| (t.tid(), t.creds().uid));
                    let own = task.creds();
                    SigInfo::user(signal, cx.seen(pid), own.user_ns.show_user(uid))
                };
                cx.local.trace.decide(info);
                if cx.local.trace.due.is_empty() {
                    set_due(cx);
                }
            }
            Step::Resume
        }
        At::Trap => {
            reconsider(cx);
            Step::Resume
        }
    }
}

/// What rax shows of a call that a signal ended (`include/linux/errno.h`).
pub(in crate::kernel) fn restart_code(on: OnSignal) -> i64 {
    match on {
        OnSignal::RestartSys => -512,
        OnSignal::RestartNoIntr => -513,
        OnSignal::RestartNoHand => -514,
        OnSignal::RestartBlock => -516,
        OnSignal::Eintr | OnSignal::Killable => -i64::from(Errno::EINTR.raw()),
        OnSignal::Value(v) => v,
    }
}

/// Whether a call is restarted is written in the registers, which a tracer may have changed; debuggers save and restore them.
fn reconsider(cx: &mut Cx<'_>) {
    let (shown, in_call) = {
        let regs = cx.regs();
        (regs.rax.cast_signed(), regs.orig_rax.cast_signed() >= 0)
    };
    let before = cx.local.interrupted;
    if in_call && before.is_some_and(|on| restart_code(on) == shown) {
        return;
    }
    if before == Some(OnSignal::RestartBlock)
        && let Some((number, args)) = cx.local.call
    {
        let progress = std::mem::take(&mut cx.local.progress);
        cx.local.restart = Some((number, args, progress));
    }
    cx.local.interrupted = match shown {
        -512 if in_call => Some(OnSignal::RestartSys),
        -513 if in_call => Some(OnSignal::RestartNoIntr),
        -514 if in_call => Some(OnSignal::RestartNoHand),
        -516 if in_call => Some(OnSignal::RestartBlock),
        _ => None,
    };
    if cx.local.interrupted.is_none() && before.is_some() {
        cx.local.call = None;
        cx.local.progress = Default::default();
    }
}

fn calls_code(cx: &Cx<'_>) -> i32 {
    let t = cx.task.signals.lock();
    let good = t
        .trace
        .as_ref()
        .is_some_and(|t| t.options.contains(Options::SYSGOOD));
    libc::SIGTRAP | if good { 0x80 } else { 0 }
}

/// A call begins. True if the task stops for it.
pub(in crate::kernel) fn enter_call(cx: &mut Cx<'_>) -> bool {
    let flags = cx.task.tracing.get();
    if flags & (flag::CALLS | flag::EMULATE) == 0 {
        return false;
    }
    let at = At::Entry {
        emulate: flags & flag::EMULATE != 0,
    };
    let code = calls_code(cx);
    let what = What {
        message: 1, // PTRACE_EVENTMSG_SYSCALL_ENTRY
        ..What::trapped(code, Kind::Entry)
    };
    stop(cx, at, what, false)
}

/// A call has its result, or was interrupted.
pub(in crate::kernel) fn left_call(cx: &mut Cx<'_>) {
    let flags = cx.task.tracing.get();
    if let Some(on) = cx.local.interrupted {
        cx.local.regs.set_return(restart_code(on));
    }
    if flags & flag::CALLS != 0 {
        cx.local.trace.due.push_back(Due::Exit);
        set_due(cx);
    } else if cx.local.trace.step && flags & flag::EMULATE == 0 {
        let info = SigInfo::fault(Signal::TRAP, TRAP_BRKPT, cx.local.regs.rip());
        signal::force(cx.task, info);
    }
}

/// A handler's frame has been built: a single step ends at its first instruction.
pub(in crate::kernel) fn handler_starts(cx: &mut Cx<'_>) {
    if std::mem::take(&mut cx.local.trace.step) {
        cx.local.trace.due.push_back(Due::Handler);
        set_due(cx);
    }
}

fn set_due(cx: &Cx<'_>) {
    cx.task.tracing.change(0, flag::DUE);
    cx.task.signals.set_attention(true);
}

/// Begins the next stop that is due. False: there is none.
pub(in crate::kernel) fn next_due(cx: &mut Cx<'_>) -> bool {
    while let Some(due) = cx.local.trace.due.pop_front() {
        let (at, what) = match due {
            Due::Exit => {
                let what = What {
                    message: 2, // PTRACE_EVENTMSG_SYSCALL_EXIT
                    ..What::trapped(calls_code(cx), Kind::Exit)
                };
                (At::Exit, what)
            }
            Due::Handler => (At::Trap, What::trapped(libc::SIGTRAP, Kind::Other)),
        };
        if stop(cx, at, what, false) {
            return true;
        }
    }
    cx.task.tracing.change(flag::DUE, 0);
    let g = cx.task.group().signals.lock();
    recalculate(&g, cx.task, &cx.task.signals.lock());
    false
}

/// A signal is about to be delivered. False: nobody wants to know.
pub(in crate::kernel) fn signal_stop(cx: &mut Cx<'_>, info: SigInfo) -> bool {
    let what = What {
        code: info.signo,
        info: Some(info),
        kind: Kind::Signal,
        why: code::CLD_TRAPPED,
        message: 0,
    };
    stop(cx, At::Signal, what, false)
}

/// A group stop, or a trap that was asked for (`do_jobctl_trap`).
pub(in crate::kernel) fn trap(cx: &mut Cx<'_>) {
    let what = {
        let g = cx.task.group().signals.lock();
        let mut t = cx.task.signals.lock();
        let by = g.stopping();
        let Some(trace) = t.trace.as_mut() else {
            recalculate(&g, cx.task, &t);
            return;
        };
        trace.trap = false;
        trace.notify = false;
        let what = if trace.seized {
            let signal = by.unwrap_or(Signal::TRAP);
            let code = signal.number() | (event_code::STOP << 8).cast_signed();
            What {
                code,
                info: Some(SigInfo::new(signal, code)),
                kind: Kind::Other,
                why: code::CLD_STOPPED,
                message: 0,
            }
        } else {
            What {
                code: by.unwrap_or(Signal::STOP).number(),
                info: None,
                kind: Kind::Other,
                why: code::CLD_STOPPED,
                message: 0,
            }
        };
        recalculate(&g, cx.task, &t);
        what
    };
    stop(cx, At::Trap, what, false);
}

/// Whether the task's tracer asked for this event.
pub(in crate::kernel) fn wants(task: &Task, event: u32) -> bool {
    if !task.tracing.is_traced() {
        return false;
    }
    let t = task.signals.lock();
    let option = Options::from_bits_truncate(1 << event);
    t.trace.as_ref().is_some_and(|t| t.options.contains(option))
}

/// Something happened in the call in flight that the tracer wants to know. True: the task stops, and the call's handler is run again afterwards;
/// the handler returns [`SysErr::Traced`](crate::syscalls::SysErr::Traced).
pub fn event(cx: &mut Cx<'_>, event: u32, message: u64) -> bool {
    if !wants(cx.task, event) {
        return false;
    }
    let code = libc::SIGTRAP | (event << 8).cast_signed();
    let what = What {
        message,
        ..What::trapped(code, Kind::Other)
    };
    stop(cx, At::Call, what, false)
}

/// A seccomp filter said SECCOMP_RET_TRACE. `None`: nobody wants to know.
pub(in crate::kernel) fn seccomp_stop(cx: &mut Cx<'_>, data: u32) -> bool {
    if !wants(cx.task, event_code::SECCOMP) {
        return false;
    }
    let code = libc::SIGTRAP | (event_code::SECCOMP << 8).cast_signed();
    let what = What {
        message: data.into(),
        ..What::trapped(code, Kind::Seccomp(data))
    };
    stop(cx, At::Seccomp, what, false)
}

/// The task is about to end. True: it stops before (PTRACE_EVENT_EXIT); whoever called asks again afterwards.
pub(in crate::kernel) fn dying(cx: &mut Cx<'_>, status: ExitStatus) -> bool {
    if !wants(cx.task, event_code::EXIT) || cx.local.trace.told_exit {
        return false;
    }
    cx.local.trace.told_exit = true;
    let code = libc::SIGTRAP | (event_code::EXIT << 8).cast_signed();
    let what = What {
        message: status.wait_status().cast_unsigned().into(),
        ..What::trapped(code, Kind::Other)
    };
    // From the middle of exit(2) it goes on with that; else there is no call.
    stop(cx, At::Call, what, true)
}
