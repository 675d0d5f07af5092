//! What happens to a task's signals before it resumes (`get_signal`, `arch_do_signal_or_restart`).

use super::action::{SIG_DFL, SIG_IGN, SaFlags, SigAction};
use super::altstack::{AltStack, SS_AUTODISARM};
use super::frame::{self, FaultRecord};
use super::info::SigInfo;
use super::send::{Kicks, Origin, send};
use super::set::{DefaultAction, SigSet, Signal};
use super::state::{GroupSignals, TaskStop, recalculate};
use super::{Queued, set_blocked, stop};
use crate::abi::Errno;
use crate::kernel::{Cx, ExitStatus, Task, ThreadGroup, ptrace};
use crate::sync::MutexGuard;
use crate::syscalls::OnSignal;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the worker does next with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Resume it with `cx.local.regs`.
    Resume,
    /// Park it until it is kicked, then ask again.
    Stopped,
    /// The process ends with this status, and the task with it.
    Exit(ExitStatus),
    /// The task alone ends; the status counts if it is the last one.
    ExitTask(ExitStatus),
}

enum Next {
    Nothing,
    Exit(ExitStatus),
    ExitTask(ExitStatus),
    Stopped,
    Tell,
    /// The tracer is to decide what becomes of this signal.
    Ask(SigInfo),
    /// A trap for the tracer: a group stop, or PTRACE_INTERRUPT.
    Trap,
    Handler(SigInfo, SigAction),
    /// Default action of a stop signal other than SIGSTOP: needs a look at the process group.
    MayStop(Signal),
    Again,
}

/// Delivers what waits for the task. `cx.local.interrupted` says what becomes of the call that was interrupted (`None`: no call,
/// or it has its result in rax).
pub fn deliver(cx: &mut Cx<'_>) -> Delivery {
    if cx.local.interrupted.is_some() {
        super::stop_waiting(cx.task);
    }
    // A call that completed with a temporary mask gets the old one back before anything is delivered.
    if cx.local.interrupted.is_none()
        && let Some(mask) = cx.local.saved_mask.take()
    {
        set_blocked(cx.task, SigSet(mask));
    }
    loop {
        if cx.local.trace.is_stopped() {
            if !ptrace::ready(cx.task) {
                return Delivery::Stopped;
            }
            ptrace::go_on(cx);
        }
        if cx.task.tracing.is_due() && ptrace::next_due(cx) {
            continue;
        }
        let what = match cx.local.trace.decided.take() {
            Some(info) => decided(cx.task, info),
            None if cx.task.signals.attention() => next(cx.task),
            None => break,
        };
        match what {
            Next::Ask(info) => {
                if !ptrace::signal_stop(cx, info) {
                    // No tracer any more.
                    cx.local.trace.decide(info);
                }
            }
            Next::Trap => ptrace::trap(cx),
            Next::Nothing => break,
            Next::Exit(status) => return Delivery::Exit(status),
            Next::ExitTask(status) => return Delivery::ExitTask(status),
            Next::Stopped => return Delivery::Stopped,
            Next::Tell => stop::tell_parent(cx.task),
            Next::Again => {}
            Next::MayStop(signal) => {
                if !cx.kernel().is_orphaned_group(cx.group().pgid()) {
                    begin_stop(cx.task, signal);
                }
            }
            Next::Handler(info, action) => {
                run_handler(cx, &info, &action);
                ptrace::handler_starts(cx);
            }
        }
    }
    // No handler: the call is restarted, unless it says EINTR anyhow.
    if let Some(on) = cx.local.interrupted.take() {
        finish_call(cx, on, None);
    }
    if let Some(mask) = cx.local.saved_mask.take() {
        set_blocked(cx.task, SigSet(mask));
    }
    Delivery::Resume
}

fn begin_stop(task: &Arc<Task>, signal: Signal) {
    let mut kicks = Kicks::default();
    {
        let mut g = task.group().signals.lock();
        // SIGCONT may have come since the signal was taken; Linux checks JOBCTL_STOP_DEQUEUED likewise.
        stop::begin(&mut g, task, signal, &mut kicks);
        recalculate(&g, task, &task.signals.lock());
    }
    kicks.run();
}

/// The next thing to do, under the locks.
fn next(task: &Arc<Task>) -> Next {
    let mut kicks = Kicks::default();
    let what = {
        let mut group = task.group().signals.lock();
        let g = &mut *group;
        let mut t = task.signals.lock();
        if let Some(status) = g.exiting {
            return Next::Exit(status);
        }
        if let Some(status) = t.exit {
            return Next::ExitTask(status);
        }
        if g.notice.is_some() {
            return Next::Tell;
        }
        match t.stop {
            TaskStop::Wanted if t.trace.is_some() => return Next::Trap,
            TaskStop::Wanted => {
                t.stop = TaskStop::Standing;
                stop::one_less(g);
                recalculate(g, task, &t);
                return if g.notice.is_some() {
                    Next::Tell
                } else {
                    Next::Stopped
                };
            }
            TaskStop::Standing => return Next::Stopped,
            TaskStop::None => {}
        }
        if t.trace.as_ref().is_some_and(|t| t.wants_trap()) {
            return Next::Trap;
        }
        let traced = t.trace.is_some();
        let blocked = t.blocked;
        let taken = t.pending.next(blocked).or_else(|| g.pending.next(blocked));
        recalculate(g, task, &t);
        drop(t);
        let Some((mut info, hook)) = taken else {
            return Next::Nothing;
        };
        if let Some(hook) = hook {
            hook.dequeued(&mut info);
        }
        let Some(signal) = info.signal() else {
            return Next::Again;
        };
        if traced && signal != Signal::KILL {
            return Next::Ask(info);
        }
        act(task, group, signal, info, &mut kicks)
    };
    kicks.run();
    what
}

/// What a tracer let through takes its course, unless it is blocked now (`ptrace_signal`).
fn decided(task: &Arc<Task>, info: SigInfo) -> Next {
    let Some(signal) = info.signal() else {
        return Next::Again;
    };
    let mut kicks = Kicks::default();
    let what = {
        let group = task.group().signals.lock();
        if let Some(status) = group.exiting {
            return Next::Exit(status);
        }
        let blocked = task.signals.lock().blocked.contains(signal);
        if blocked {
            None
        } else {
            Some(act(task, group, signal, info, &mut kicks))
        }
    };
    kicks.run();
    what.unwrap_or_else(|| {
        let _ = send(task.group(), Some(task), Queued::new(info), Origin::Kernel);
        Next::Again
    })
}

/// What a signal that was taken does.
fn act(
    task: &Arc<Task>,
    mut group: MutexGuard<'_, GroupSignals>,
    signal: Signal,
    info: SigInfo,
    kicks: &mut Kicks,
) -> Next {
    let g = &mut *group;
    let action = g.handlers.get(signal);
    if action.handler == SIG_IGN {
        Next::Again
    } else if action.is_handler() {
        if action.sa_flags().contains(SaFlags::RESETHAND) {
            g.handlers.set(
                signal,
                SigAction {
                    handler: SIG_DFL,
                    ..action
                },
            );
        }
        Next::Handler(info, action)
    } else {
        match signal.default_action() {
            DefaultAction::Ignore | DefaultAction::Continue => Next::Again,
            _ if g.unkillable && !signal.is_kernel_only() => Next::Again,
            DefaultAction::Stop if signal == Signal::STOP => {
                stop::begin(g, task, signal, kicks);
                recalculate(g, task, &task.signals.lock());
                Next::Again
            }
            DefaultAction::Stop => Next::MayStop(signal),
            DefaultAction::Terminate | DefaultAction::Core => {
                drop(group);
                let core =
                    signal.default_action() == DefaultAction::Core && would_dump_core(task.group());
                let status = ExitStatus::Signaled(signal.number(), core);
                Next::Exit(super::start_group_exit(task.group(), status))
            }
        }
    }
}

/// Whether Linux would write a core file for this process: that is what the status says, although none is written here.
pub(in crate::kernel) fn would_dump_core(group: &ThreadGroup) -> bool {
    // min_coredump of ELF programs: a page.
    group.limit(libc::RLIMIT_CORE) >= 4096 && group.dumpable.load(Ordering::Relaxed) == 1
}

/// Puts the outcome of an interrupted call into the registers; `handler`: the action about to run, if any.
fn finish_call(cx: &mut Cx<'_>, on: OnSignal, handler: Option<&SigAction>) {
    let call = cx.local.call.take();
    let progress = std::mem::take(&mut cx.local.progress);
    let eintr = -i64::from(Errno::EINTR.raw());
    let restarts = match (on, handler) {
        (OnSignal::Value(v), _) => {
            cx.local.regs.set_return(v);
            return;
        }
        (OnSignal::Eintr | OnSignal::Killable, _) => false,
        (OnSignal::RestartNoIntr, _) => true,
        (OnSignal::RestartSys, Some(a)) => a.sa_flags().contains(SaFlags::RESTART),
        (OnSignal::RestartSys | OnSignal::RestartNoHand, None) => true,
        (OnSignal::RestartNoHand | OnSignal::RestartBlock, Some(_)) => false,
        (OnSignal::RestartBlock, None) => {
            if let Some((number, args)) = call {
                cx.local.restart = Some((number, args, progress));
            }
            let regs = cx.regs();
            regs.rax = libc::SYS_restart_syscall.cast_unsigned();
            regs.rip = regs.rip.wrapping_sub(2);
            return;
        }
    };
    if restarts {
        let regs = cx.regs();
        regs.rax = regs.orig_rax;
        // The length of `syscall`.
        regs.rip = regs.rip.wrapping_sub(2);
    } else {
        cx.local.regs.set_return(eintr);
    }
}

fn run_handler(cx: &mut Cx<'_>, info: &SigInfo, action: &SigAction) {
    if let Some(on) = cx.local.interrupted.take() {
        finish_call(cx, on, Some(action));
    }
    let Some(signal) = info.signal() else { return };
    let blocked = cx.task.signals.blocked();
    let mask = cx.local.saved_mask.take().map_or(blocked, SigSet);
    if frame::push(cx, signal, info, action, mask).is_err() {
        return force_fatal_segv(cx, signal);
    }
    let mut block = blocked | SigSet(action.mask);
    if !action.sa_flags().contains(SaFlags::NODEFER) {
        block.insert(signal);
    }
    set_blocked(cx.task, block);
    if cx.local.alt_stack.flags & SS_AUTODISARM != 0 {
        cx.local.alt_stack = AltStack::none();
    }
}

/// The frame of `signal` could not be written (`force_sigsegv`): SIGSEGV, without a handler if that was its own frame.
fn force_fatal_segv(cx: &Cx<'_>, signal: Signal) {
    let task = cx.task;
    if signal == Signal::SEGV {
        let g = task.group().signals.lock();
        let action = g.handlers.get(Signal::SEGV);
        g.handlers.set(
            Signal::SEGV,
            SigAction {
                handler: SIG_DFL,
                ..action
            },
        );
    }
    force_segv(cx);
}

/// The task's memory could not be read or written where it must be: SIGSEGV; SIGKILL if the host has ended the process (out of memory), of which
/// this may be the first that is heard.
pub(super) fn force_segv(cx: &Cx<'_>) {
    let ended = cx.mm.space().has_ended();
    let signal = if ended { Signal::KILL } else { Signal::SEGV };
    force(cx.task, SigInfo::kernel(signal));
}

/// Blocks `mask` for the duration of one call (sigsuspend, ppoll, pselect, epoll_pwait). Only the first run of the call
/// has an effect; [`deliver`] restores the old mask, after the handler if the call was interrupted by one.
pub fn set_temporary_mask(cx: &mut Cx<'_>, mask: SigSet) {
    if cx.local.saved_mask.is_none() {
        cx.local.saved_mask = Some(set_blocked(cx.task, mask).0);
    }
}

/// Sends a signal that the task cannot escape (`force_sig_info`): if it is blocked or ignored, its action becomes
/// the default first.
pub fn force(task: &Arc<Task>, info: SigInfo) {
    let Some(signal) = info.signal() else { return };
    {
        let mut g = task.group().signals.lock();
        let mut t = task.signals.lock();
        let action = g.handlers.get(signal);
        let blocked = t.blocked.contains(signal);
        if blocked || action.handler == SIG_IGN {
            g.handlers.set(
                signal,
                SigAction {
                    handler: SIG_DFL,
                    ..action
                },
            );
            t.blocked.remove(signal);
        }
        if g.handlers.get(signal).handler == SIG_DFL {
            g.unkillable = false;
        }
        recalculate(&g, task, &t);
    }
    let _ = send(task.group(), Some(task), Queued::new(info), Origin::Kernel);
}

/// A synchronous fault of the running task: signal, `si_code`, address.
pub fn force_fault(cx: &mut Cx<'_>, signo: i32, code: i32, addr: u64) {
    let signal = Signal::new(signo).unwrap_or(Signal::SEGV);
    cx.local.fault = FaultRecord::of(signal, code, addr, cx.local.fault);
    force(cx.task, SigInfo::fault(signal, code, addr));
}
