//! Who traces whom: PTRACE_TRACEME, ATTACH, SEIZE, DETACH, what clone and execve inherit, and the end of either side.

use super::{Kind, Options, Trace, flag};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::futex::host;
use crate::kernel::signal::{Origin, SigInfo, Signal, Stop, TaskStop, recalculate, send_task};
use crate::kernel::tree::TaskTree;
use crate::kernel::{Cx, ExitStatus, Kernel, Task, ThreadGroup, identity, worker};
use crate::sync::Events;
use std::sync::{Arc, Weak};

/// In the tree: a task that is traced, alive or not yet waited for. By its tid.
pub(in crate::kernel) struct Link {
    pub tracer: Weak<Task>,
    pub task: Weak<Task>,
    pub group: Arc<ThreadGroup>,
    /// How it ended, and its real uid.
    pub ended: Option<(ExitStatus, u32)>,
}

impl Link {
    pub fn is_by(&self, tracer: &Arc<Task>) -> bool {
        std::ptr::eq(self.tracer.as_ptr(), Arc::as_ptr(tracer))
    }
}

/// Enters the relation, with the tree locked. EPERM if the task is traced already or has ended.
fn link(tree: &mut TaskTree, tracer: &Arc<Task>, task: &Arc<Task>, trace: Trace) -> Result<()> {
    let tid = task.tid();
    let alive = tree
        .tasks
        .get(&tid)
        .is_some_and(|t| std::ptr::eq(t.as_ptr(), Arc::as_ptr(task)));
    if !alive || tree.traced.contains_key(&tid) {
        return Err(Errno::EPERM);
    }
    let link = Link {
        tracer: Arc::downgrade(tracer),
        task: Arc::downgrade(task),
        group: task.group().clone(),
        ended: None,
    };
    tree.traced.insert(tid, link);
    let g = task.group().signals.lock();
    let mut t = task.signals.lock();
    t.trace = Some(Box::new(trace));
    if t.stop == TaskStop::Standing {
        // From the one kind of stop to the other.
        t.stop = TaskStop::None;
        if let Some(trace) = &mut t.trace {
            trace.trap = true;
        }
    }
    task.tracing.change(u32::MAX ^ flag::DUE, flag::TRACED);
    recalculate(&g, task, &t);
    Ok(())
}

/// Its calls, and its futexes, are no longer answered without the sentry.
fn watch(task: &Arc<Task>) {
    host::bring_home(task.kernel(), &task.mm());
    task.unpublish();
}

fn trace_by(tracer: &Arc<Task>, seized: bool, options: Options) -> Trace {
    Trace {
        tracer: Arc::downgrade(tracer),
        creds: tracer.creds(),
        seized,
        options,
        message: 0,
        trap: false,
        notify: false,
    }
}

/// PTRACE_TRACEME: the task's parent becomes its tracer.
///
/// # Errors
/// EPERM: it has one, or the parent may not.
pub fn traceme(cx: &Cx<'_>) -> Result<()> {
    let task = cx.task;
    {
        let mut tree = cx.kernel().tree.lock();
        let node = tree.nodes.get(&cx.group().pid()).ok_or(Errno::EPERM)?;
        let (forker, parent) = (node.forker.upgrade(), node.parent);
        let parent = tree.nodes.get(&parent).ok_or(Errno::EPERM)?;
        let tracer = forker
            .filter(|t| parent.threads.iter().any(|p| Arc::ptr_eq(p, t)))
            .or_else(|| parent.threads.first().cloned());
        let Some(tracer) = tracer else {
            return if tree.traced.contains_key(&task.tid()) {
                Err(Errno::EPERM)
            } else {
                Ok(())
            };
        };
        // `cap_ptrace_traceme`.
        let (theirs, own) = (tracer.creds(), cx.creds());
        let above = *theirs.user_ns == *own.user_ns && theirs.permitted.contains(own.permitted);
        if !above && !theirs.has_in(&own.user_ns, Caps::SYS_PTRACE) {
            return Err(Errno::EPERM);
        }
        link(
            &mut tree,
            &tracer,
            task,
            trace_by(&tracer, false, Options::empty()),
        )?;
    }
    watch(task);
    Ok(())
}

/// PTRACE_ATTACH; PTRACE_SEIZE with its options.
///
/// # Errors
/// EPERM.
pub fn attach(cx: &Cx<'_>, task: &Arc<Task>, seize: Option<Options>) -> Result<()> {
    if Arc::ptr_eq(task.group(), cx.group()) {
        return Err(Errno::EPERM);
    }
    identity::attach(cx, task, || Ok(()))?;
    let trace = trace_by(cx.task, seize.is_some(), seize.unwrap_or_default());
    link(&mut cx.kernel().tree.lock(), cx.task, task, trace)?;
    if !identity::may_attach(cx, task) {
        // It has called execve since.
        detach_one(&mut cx.kernel().tree.lock(), task, None);
        return Err(Errno::EPERM);
    }
    watch(task);
    if seize.is_none() {
        let _ = send_task(task, SigInfo::kernel(Signal::STOP), Origin::Kernel);
    }
    worker::kick(task);
    Ok(())
}

/// PTRACE_DETACH of a stopped tracee, with a signal or 0.
pub fn detach(cx: &Cx<'_>, task: &Arc<Task>, signal: i32) {
    detach_one(&mut cx.kernel().tree.lock(), task, Some(signal));
    worker::kick(task);
}

/// PTRACE_KILL.
pub(super) fn kill_task(task: &Arc<Task>) {
    let _ = send_task(task, SigInfo::kernel(Signal::KILL), Origin::Kernel);
}

/// Takes the relation apart; a stop ends with `signal`, else with that of the stop if nobody has been told of it (`__ptrace_unlink`). To be kicked then.
fn detach_one(tree: &mut TaskTree, task: &Arc<Task>, signal: Option<i32>) {
    tree.traced.remove(&task.tid());
    let mut g = task.group().signals.lock();
    let mut t = task.signals.lock();
    t.trace = None;
    task.tracing.change(u32::MAX ^ flag::DUE, 0);
    if let Some(stop) = t.traced_stop.as_mut() {
        let untold = if stop.kind == Kind::Signal {
            stop.code
        } else {
            0
        };
        if stop.go.is_none() {
            stop.go = Some(signal.unwrap_or(untold));
        }
    }
    if t.exit.is_none() && g.exiting.is_none() && t.stop == TaskStop::None {
        // The process is stopped: from now on the task is, too.
        match &mut g.stop {
            Stop::Running => {}
            Stop::Stopping { left, .. } => {
                *left = left.saturating_add(1);
                t.stop = TaskStop::Wanted;
            }
            Stop::Stopped { .. } => t.stop = TaskStop::Wanted,
        }
    }
    recalculate(&g, task, &t);
    drop(t);
    drop(g);
    task.republish();
}

/// clone: the child of a tracee, if its tracer wants it (`ptrace_init_task`). With the tree locked, before the child runs.
pub(in crate::kernel) fn clone_traced(tree: &mut TaskTree, parent: &Arc<Task>, child: &Arc<Task>) {
    let Some((tracer, trace)) = ({
        let t = parent.signals.lock();
        t.trace.as_ref().and_then(|t| {
            let trace = Trace {
                tracer: t.tracer.clone(),
                creds: t.creds.clone(),
                seized: t.seized,
                options: t.options,
                message: 0,
                trap: t.seized,
                notify: false,
            };
            Some((t.tracer.upgrade()?, trace))
        })
    }) else {
        return;
    };
    let seized = trace.seized;
    if link(tree, &tracer, child, trace).is_err() || seized {
        return;
    }
    let g = child.group().signals.lock();
    let mut t = child.signals.lock();
    t.add_bare(Signal::STOP);
    recalculate(&g, child, &t);
}

/// execve by a thread that is not the leader: it takes the leader's id. With the tree locked.
pub(in crate::kernel) fn exec_renames(tree: &mut TaskTree, old: i32, new: i32) {
    if tree.traced.is_empty() {
        return;
    }
    tree.traced.remove(&new);
    if let Some(link) = tree.traced.remove(&old) {
        tree.traced.insert(new, link);
    }
}

/// SIGTRAP after execve, if the tracer asked for no event (`ptrace_event`).
pub(in crate::kernel) fn exec_signal(cx: &Cx<'_>) {
    if !cx.task.tracing.is_traced() {
        return;
    }
    let plain = {
        let t = cx.task.signals.lock();
        t.trace
            .as_ref()
            .is_some_and(|t| !t.seized && !t.options.contains(Options::EXEC))
    };
    if plain {
        let creds = cx.task.creds();
        let uid = creds.user_ns.show_user(creds.uid);
        let info = SigInfo::user(Signal::TRAP, cx.own_pid(), uid);
        let _ = send_task(cx.task, info, Origin::Kernel);
    }
}

/// Whether a program with more rights must not have them, since its tracer has not (LSM_UNSAFE_PTRACE).
pub(in crate::kernel) fn is_watched(task: &Task) -> bool {
    if !task.tracing.is_traced() {
        return false;
    }
    let creds = task.creds();
    let t = task.signals.lock();
    t.trace
        .as_ref()
        .is_some_and(|t| !t.is_capable(&creds.user_ns))
}

/// A tracee has ended; its tracer is to wait for it. The tracer's process if it is to be told now: that of a process is told at the end of its last thread.
pub(in crate::kernel) fn died(
    tree: &mut TaskTree,
    task: &Task,
    status: ExitStatus,
) -> Option<Arc<ThreadGroup>> {
    let link = tree.traced.get_mut(&task.tid())?;
    link.ended = Some((status, task.creds().uid));
    let tracer = link.tracer.upgrade();
    if tracer.is_none() {
        tree.traced.remove(&task.tid());
    }
    let tracer = tracer?;
    (task.tid() != task.group().pid()).then(|| tracer.group().clone())
}

/// The process that traces the leader of process `pid` from elsewhere: it is told of its end instead of the parent.
pub(in crate::kernel) fn orphaned(tree: &TaskTree, pid: i32) -> Option<Arc<ThreadGroup>> {
    let tracer = tree.traced.get(&pid)?.tracer.upgrade()?;
    Some(tracer.group().clone())
}

/// A tracer has ended (`exit_ptrace`). The processes whose end their parents are to be told of now.
pub(in crate::kernel) fn detach_all(kernel: &Kernel, tracer: &Arc<Task>) -> Vec<i32> {
    let mut zombies = Vec::new();
    let mut freed = Vec::new();
    {
        let mut tree = kernel.tree.lock();
        if tree.traced.is_empty() {
            return zombies;
        }
        let own = |(tid, l): (&i32, &Link)| l.is_by(tracer).then_some(*tid);
        let tids: Vec<i32> = tree.traced.iter().filter_map(own).collect();
        for tid in tids {
            let task = match tree.traced.get(&tid) {
                Some(l) if l.ended.is_none() => l.task.upgrade(),
                _ => None,
            };
            match task {
                Some(task) => {
                    let kill = {
                        let t = task.signals.lock();
                        let options = t.trace.as_ref().map(|t| t.options);
                        options.is_some_and(|o| o.contains(Options::EXIT_KILL))
                    };
                    detach_one(&mut tree, &task, None);
                    freed.push((task, kill));
                }
                None => {
                    if let Some(link) = tree.traced.remove(&tid) {
                        // An execve may wait for that.
                        link.group.exit_events.wake(Events::IN);
                    }
                    zombies.push(tid);
                }
            }
        }
    }
    for (task, kill) in freed {
        if kill {
            let _ = send_task(&task, SigInfo::kernel(Signal::KILL), Origin::Kernel);
        }
        worker::kick(&task);
    }
    zombies
}
