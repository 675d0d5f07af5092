//! When a running program's system calls are rewritten: what traps often is counted, and no other thread of the process may run while
//! its text is exchanged, since one might be between instructions that move.
//!
//! The rewriting is *wanted* from the moment a file has had enough traps. Threads that run are interrupted; each that would run
//! again is *held* instead (parked), until that is done. Whoever finds that none runs exchanges the text and lets the held ones go.
//! Mappings made later are rewritten from the start and need none of this.

use super::worker::{self, state};
use super::{Cx, Task, ThreadGroup};
use crate::mm::RewriteWanted;
use crate::sync::{Mutex, Rank};
use cofferdam_platform::Thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many traps of a process pass at most while threads of it sleep in futexes of the host.
const PATIENCE: u32 = 1000;

/// Part of a thread group.
pub struct Rewriting {
    /// Quick look at whether `inner.what` is something.
    wanted: AtomicBool,
    /// How often it was not the time because threads slept on the host.
    put_off: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    what: Option<RewriteWanted>,
    held: Vec<Arc<Task>>,
}

impl Default for Rewriting {
    fn default() -> Self {
        Rewriting {
            wanted: AtomicBool::new(false),
            put_off: AtomicU32::new(0),
            inner: Mutex::new(Rank::LEAF, Inner::default()),
        }
    }
}

impl Rewriting {
    /// Whether threads of the process must be held.
    pub(super) fn wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }
}

/// The task's system call came from an instruction.
pub(super) fn note_trap(cx: &Cx<'_>) {
    let made_by_instruction = |t: &Arc<dyn Thread>| t.by_instruction() && t.cut_short().is_none();
    let Some(thread) = cx.task.thread().filter(made_by_instruction) else {
        return;
    };
    let group = cx.group();
    if group.rewriting.wanted() {
        return;
    }
    let Some(what) = cx.mm.trapped(cx.local.regs.rip()) else {
        return;
    };
    let threads = group.threads();
    // Others run in the same memory (vfork): another time.
    if cx.kernel().tasks_of(cx.mm).len() > threads.len() {
        return;
    }
    let others: Vec<&Arc<Task>> = threads
        .iter()
        .filter(|t| !Arc::ptr_eq(t, cx.task))
        .collect();
    if others.is_empty() {
        cx.mm.rewrite_now(&*thread, &what);
        return;
    }
    // A sleeper that is interrupted is not among those that a wake finds, for a moment: programs bear that, but better is a time when nobody sleeps.
    let sleeps = |t: &&Arc<Task>| t.thread().is_some_and(|host| host.asleep());
    if others.iter().any(sleeps)
        && group.rewriting.put_off.fetch_add(1, Ordering::Relaxed) < PATIENCE
    {
        return;
    }
    group.rewriting.inner.lock().what = Some(what);
    group.rewriting.wanted.store(true, Ordering::SeqCst);
    for t in others {
        if runs(t)
            && let Some(host) = t.thread()
        {
            host.interrupt();
        }
    }
}

fn runs(t: &Task) -> bool {
    t.run_state.load(Ordering::SeqCst) == state::GUEST
}

/// Instead of running again: true if the task is held.
pub(super) fn hold(cx: &Cx<'_>) -> bool {
    let rewriting = &cx.group().rewriting;
    if !rewriting.wanted() {
        return false;
    }
    let mut inner = rewriting.inner.lock();
    // Also while the text is being exchanged, for which a worker may wait aside.
    if !rewriting.wanted() || !worker::park_held(cx.task) {
        return false;
    }
    inner.held.push(cx.task.clone());
    true
}

/// Called when a worker has done with a task: if no thread of the process runs, the time has come.
pub(super) fn settle(group: &ThreadGroup) {
    let rewriting = &group.rewriting;
    if !rewriting.wanted() {
        return;
    }
    let threads = group.threads();
    let (what, held) = {
        let mut inner = rewriting.inner.lock();
        if inner.what.is_none() || threads.iter().any(|t| runs(t)) {
            return;
        }
        let what = inner.what.take();
        (what, std::mem::take(&mut inner.held))
    };
    // `wanted` is still set: nobody runs meanwhile. With nobody held, all wait or exit: another time.
    if let (Some(what), Some(task)) = (what, held.first()) {
        let _stays_held = task.lock_local();
        if let Some(thread) = task.thread() {
            task.mm().rewrite_now(&*thread, &what);
        }
    }
    // Others were served while the worker waited for that: who would have run is held, too.
    let late = {
        let mut inner = rewriting.inner.lock();
        rewriting.wanted.store(false, Ordering::SeqCst);
        std::mem::take(&mut inner.held)
    };
    for t in held.into_iter().chain(late) {
        worker::wake(&t);
    }
}
