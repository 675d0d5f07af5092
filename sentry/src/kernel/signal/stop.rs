//! Job control: stopping all tasks of a process and telling its parent (`do_signal_stop`, `do_notify_parent_cldstop`).

use super::action::SaFlags;
use super::info::{SigInfo, code};
use super::send::{Kicks, Origin, send_group};
use super::set::Signal;
use super::state::{GroupSignals, Notice, Report, Stop, TaskStop, recalculate};
use crate::kernel::Task;
use crate::sync::Events;
use std::sync::Arc;

/// Starts a group stop by `signal`, taken by `task`.
pub(super) fn begin(g: &mut GroupSignals, task: &Arc<Task>, signal: Signal, kicks: &mut Kicks) {
    if g.exiting.is_some() || matches!(g.stop, Stop::Stopping { .. }) {
        return;
    }
    if let Stop::Stopped { .. } = g.stop {
        // A tracer has let the task go on although its process is stopped: it stops again.
        for t in g.tasks() {
            let mut s = t.signals.lock();
            if s.trace.is_some() && s.stop == TaskStop::None {
                s.stop = TaskStop::Wanted;
                recalculate(g, &t, &s);
                drop(s);
                if !Arc::ptr_eq(&t, task) {
                    kicks.add(&t);
                }
            }
        }
        return;
    }
    let mut left = 0;
    for t in g.tasks() {
        let mut s = t.signals.lock();
        s.stop = TaskStop::Wanted;
        if let Some(trace) = s.trace.as_mut().filter(|t| t.seized) {
            trace.notify = true;
        }
        drop(s);
        if !Arc::ptr_eq(&t, task) {
            kicks.add(&t);
        }
        left += 1;
    }
    g.stop = Stop::Stopping { signal, left };
}

/// One task fewer has yet to stop. With the last one the stop is complete, and the parent is to be told.
pub(in crate::kernel) fn one_less(g: &mut GroupSignals) {
    let Stop::Stopping { signal, left } = &mut g.stop else {
        return;
    };
    *left = left.saturating_sub(1);
    if *left == 0 {
        let signal = *signal;
        g.stop = Stop::Stopped { signal };
        g.report = Some(Report::Stopped(signal.number()));
        g.notice = Some(Notice::Stopped(signal));
    }
}

/// Tells the parent of a stop or continue, if there is one to tell: SIGCHLD, and its waits look again.
pub(in crate::kernel) fn tell_parent(task: &Task) {
    let kernel = task.kernel();
    let group = task.group();
    let Some(notice) = group.signals.lock().notice.take() else {
        return;
    };
    let parent = kernel.process(group.parent_pid());
    let Some(parent) = parent else { return };
    let action = parent.signals.lock().handlers().get(Signal::CHLD);
    if action.handler != super::action::SIG_IGN && !action.sa_flags().contains(SaFlags::NOCLDSTOP) {
        let (why, status) = match notice {
            Notice::Stopped(s) => (code::CLD_STOPPED, s.number()),
            Notice::Continued => (code::CLD_CONTINUED, Signal::CONT.number()),
        };
        let (user, system) = group.cpu_time();
        let info = SigInfo::child(
            why,
            kernel.pid_seen(parent.pid_ns(), group.pid()),
            super::send::uid_for(&parent, task.creds().uid),
            status,
            ticks(user),
            ticks(system),
        );
        let _ = send_group(&parent, info, Origin::Kernel);
    }
    parent.child_events.wake(Events::IN);
}

/// Clock ticks (USER_HZ 100) of nanoseconds.
pub fn ticks(ns: u64) -> i64 {
    i64::try_from(ns / 10_000_000).unwrap_or(i64::MAX)
}
