//! What a task does with its own signals: mask, actions, taking pending ones without a handler.

use super::action::SigAction;
use super::info::SigInfo;
use super::info::code::SI_TIMER;
use super::queue::Queued;
use super::send::{Kicks, rouse_others};
use super::set::{SigSet, Signal};
use super::state::{TaskState, recalculate};
use crate::kernel::{Task, ThreadGroup};
use smallvec::SmallVec;
use std::sync::Arc;

/// Replaces a task's signal mask (its own task only); signals that this lets through are delivered at the next
/// resume. The old mask.
pub fn set_blocked(task: &Arc<Task>, blocked: SigSet) -> SigSet {
    let mut kicks = Kicks::default();
    let old = {
        let g = task.group().signals.lock();
        let old = {
            let mut t = task.signals.lock();
            let old = std::mem::replace(&mut t.blocked, blocked.blockable());
            recalculate(&g, task, &t);
            old
        };
        if !(blocked & !old & g.pending.set()).is_empty() {
            rouse_others(&g, task, &mut kicks);
        }
        old
    };
    kicks.run();
    old
}

/// Signals that wait for the task or its process although blocked (rt_sigpending(2)).
pub fn pending(task: &Arc<Task>) -> SigSet {
    let g = task.group().signals.lock();
    let t = task.signals.lock();
    (g.pending.set() | t.pending.set()) & t.blocked
}

/// Takes one pending signal of `wanted`, the task's own first. The task is the running one or (signalfd) any that reads.
pub fn take(task: &Arc<Task>, wanted: SigSet) -> Option<SigInfo> {
    take_or(task, wanted, |_| {})
}

/// [`take`] for rt_sigtimedwait: if there is none, from now on a signal of `wanted` wakes the task although it is blocked.
/// [`stop_waiting`] ends that.
pub fn take_or_wait(task: &Arc<Task>, wanted: SigSet) -> Option<SigInfo> {
    take_or(task, wanted, |t| t.awaited = wanted)
}

fn take_or(
    task: &Arc<Task>,
    wanted: SigSet,
    otherwise: impl FnOnce(&mut TaskState),
) -> Option<SigInfo> {
    let mut group = task.group().signals.lock();
    let g = &mut *group;
    let mut t = task.signals.lock();
    let found = t.pending.next(!wanted).or_else(|| g.pending.next(!wanted));
    let taken = found.map(|(mut info, hook)| {
        if let Some(hook) = hook {
            hook.dequeued(&mut info);
        }
        info
    });
    if taken.is_none() {
        otherwise(&mut t);
    }
    recalculate(g, task, &t);
    taken
}

/// Blocked signals no longer wake the task.
pub fn stop_waiting(task: &Arc<Task>) {
    let _g = task.group().signals.lock();
    task.signals.lock().awaited = SigSet::EMPTY;
}

/// Replaces the action of a signal (`do_sigaction`); instances that it now ignores are dropped. The old action.
pub fn set_action(task: &Arc<Task>, signal: Signal, action: &SigAction) -> SigAction {
    let new = SigAction {
        flags: action.sa_flags().bits(),
        mask: SigSet(action.mask).blockable().0,
        ..*action
    };
    let mut gone: SmallVec<[_; 4]> = SmallVec::new();
    let mut group = task.group().signals.lock();
    let g = &mut *group;
    let old = g.handlers.get(signal);
    g.handlers.set(signal, new);
    if new.ignores(signal) {
        let which = SigSet::of(signal);
        gone.push(g.pending.flush(which));
        let tasks: SmallVec<[Arc<Task>; 8]> = g.tasks().collect();
        for t in tasks {
            let mut s = t.signals.lock();
            gone.push(s.pending.flush(which));
            recalculate(g, &t, &s);
        }
    }
    // What was flushed may own timers: dropped without the lock.
    drop(group);
    old
}

/// Drops what a POSIX timer has queued (it is set anew or deleted).
pub fn remove_timer_signals(group: &ThreadGroup, id: i32) {
    let mut gone: SmallVec<[_; 4]> = SmallVec::new();
    let mut guard = group.signals.lock();
    let g = &mut *guard;
    let of_timer = |q: &Queued| q.hook.is_some() && q.info.code == SI_TIMER && q.info.pid() == id;
    gone.push(g.pending.remove_where(of_timer));
    let tasks: SmallVec<[Arc<Task>; 8]> = g.tasks().collect();
    for t in tasks {
        let mut s = t.signals.lock();
        gone.push(s.pending.remove_where(of_timer));
        recalculate(g, &t, &s);
    }
    // What was removed owns the timer: dropped without the lock.
    drop(guard);
}
