//! The end of tasks and processes (`kernel/exit.c`).

use super::Task;
use crate::auth::Credentials;
use crate::kernel::tree::{Life, Node, TaskTree};
use crate::kernel::{Cx, ExitStatus, Kernel, ThreadGroup};
use crate::kernel::{ptrace, signal};
use crate::sync::Events;
use crate::syscalls::{SysErr, SysResult};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Starts ending the whole process with `status`, unless it is being ended already. Its threads end themselves when
/// their workers next look.
pub fn group_exit(group: &Arc<ThreadGroup>, status: ExitStatus) {
    let Some(kernel) = group.kernel() else { return };
    {
        let mut tree = kernel.tree.lock();
        let Some(node) = tree.nodes.get_mut(&group.pid()) else {
            return;
        };
        if node.life != Life::Alive {
            return;
        }
        node.life = Life::Exiting(status);
        group.set_exiting();
    }
    signal::start_group_exit(group, status);
}

/// [`exit_task`] as a call does it: a tracer may want to know before.
pub fn exit_call(cx: &mut Cx<'_>, status: ExitStatus) -> SysResult {
    if ptrace::dying(cx, status) {
        return Err(SysErr::Traced);
    }
    exit_task(cx, status);
    Err(SysErr::Exited)
}

/// Ends the running task. `status` becomes the process's if this is its last thread and nothing ended the group before.
pub fn exit_task(cx: &mut Cx<'_>, status: ExitStatus) {
    let task = cx.task;
    let kernel = task.kernel().clone();
    cx.local.call = None;
    cx.local.interrupted = None;
    crate::kernel::futex::exit_robust_list(cx);
    crate::kernel::futex::clear_child_tid(cx);
    cx.mm.leave();
    if let Some(done) = cx.local.vfork_done.take() {
        done.finish();
    }
    let rss = final_peak(cx);
    let last = release_fds(task);
    if last {
        crate::kernel::windows::closed(cx);
    }
    let thread = task.replace_thread(task.token(), None);
    if let Some(t) = thread {
        t.terminate();
        kernel.await_end(&**cx.mm.space(), rss);
    }
    leave(&kernel, task, status, rss);
    if last {
        kernel.look_at_heap();
    }
}

/// The process's greatest resident size, if this is its leader or its last thread.
pub(super) fn final_peak(cx: &Cx<'_>) -> u64 {
    let group = cx.group();
    if cx.task.tid() != group.pid() && group.threads().len() > 1 {
        return 0;
    }
    let cpu = std::time::Duration::from_nanos(group.cpu_total());
    cx.thread()
        .map_or(0, |thread| cx.mm.final_peak(thread, cpu))
}

/// Drops the task's descriptors, as its last user closing them; whether it was that.
fn release_fds(task: &Arc<Task>) -> bool {
    let (old, last) = task.set_fds(Arc::default());
    if last {
        let tgid = task.group().pid();
        for e in old.remove_where(|_, _| true) {
            e.file.closed(old.id(), tgid);
        }
    }
    last
}

/// Takes the task out of the tree; the last thread makes its process a zombie.
fn leave(kernel: &Arc<Kernel>, task: &Arc<Task>, status: ExitStatus, rss: u64) {
    let group = task.group();
    let used = group.cpu_time();
    {
        let mut t = group.times.lock();
        // The process's time so far: final with its last thread.
        t.dead_threads = used;
        t.maxrss = t.maxrss.max(rss);
    }
    signal::detach(task);
    group.last_uid.store(task.creds().uid, Ordering::Relaxed);
    *group.last_name.lock() = task.name();
    let ipc = task.namespaces().ipc.clone();
    if group.threads().iter().all(|t| Arc::ptr_eq(t, task)) {
        // Before the parent can learn of the end.
        ipc.objects.exit_process(group.pid());
    }
    let freed = ptrace::detach_all(kernel, task);
    zombies_freed(kernel, &freed);
    let mut news = News {
        dead: Some(task.creds()),
        ..News::default()
    };
    {
        let mut tree = kernel.tree.lock();
        tree.tasks.remove(&task.tid());
        if task.tid() != group.pid() {
            kernel.release_pids(&tree, &[task.tid()]);
        }
        let Some(node) = tree.nodes.get_mut(&group.pid()) else {
            return;
        };
        node.threads.retain(|t| !Arc::ptr_eq(t, task));
        let last = node.threads.is_empty();
        let status = match node.life {
            Life::Exiting(s) | Life::Zombie(s) => s,
            Life::Alive => status,
        };
        if last {
            group.set_exiting();
        }
        let waits = last
            && group.is_namespace_init()
            && namespace_ends(&mut tree, group, status, &mut news);
        if waits {
            // It is not gone before the others are, and then for its parent alone.
            tree.traced.remove(&task.tid());
        } else {
            if last && let Some(node) = tree.nodes.get_mut(&group.pid()) {
                node.life = Life::Zombie(status);
            }
            if let Some(tracer) = ptrace::died(&mut tree, task, status) {
                let child = ChildNews {
                    pid: kernel.pid_seen(tracer.pid_ns(), task.tid()),
                    uid: group.last_uid.load(Ordering::Relaxed),
                    status,
                    times: used,
                };
                news.deaths.push((tracer, libc::SIGCHLD, child));
            }
        }
        if last && !waits {
            process_ended(&mut tree, group, status, &mut news);
        }
    }
    let last = group.signals.lock().tasks().next().is_none();
    crate::kernel::keys::exit(kernel, task.tid(), last.then(|| group.pid()));
    if last {
        ipc.objects.exit_process(group.pid());
        crate::kernel::timers::exit(group);
        group.cpu.end(used);
        kernel.count_ended(used);
    }
    news.tell(kernel);
    group.exit_events.wake(Events::IN);
    namespaces_ended(kernel);
}

fn end_process(tree: &mut TaskTree, group: &Arc<ThreadGroup>, status: ExitStatus, news: &mut News) {
    if let Some(node) = tree.nodes.get_mut(&group.pid()) {
        node.life = Life::Zombie(status);
    }
    process_ended(tree, group, status, news);
}

/// The init of a PID namespace has no thread left: nothing is born there any more, and every process there is killed
/// (`zap_pid_ns_processes`). Whether there were any, for which it must wait.
fn namespace_ends(
    tree: &mut TaskTree,
    init: &Arc<ThreadGroup>,
    status: ExitStatus,
    news: &mut News,
) -> bool {
    let ns = init.pid_ns();
    ns.set_dying();
    // Its own dead children it reaps itself.
    let dead = |pid: &i32| {
        let node = tree.nodes.get(pid);
        node.is_some_and(|n| matches!(n.life, Life::Zombie(_)))
    };
    let children = tree.nodes.get(&init.pid()).map(|n| n.children.clone());
    let dead: Vec<i32> = children
        .unwrap_or_default()
        .into_iter()
        .filter(dead)
        .collect();
    for pid in dead {
        reap(tree, pid);
    }
    let members: Vec<_> = tree
        .namespace_members(ns)
        .map(|n| n.group.clone())
        .collect();
    if members.is_empty() {
        return false;
    }
    news.killed = members;
    if let Some(node) = tree.nodes.get_mut(&init.pid()) {
        node.life = Life::Exiting(status);
        node.waits_for_namespace = true;
    }
    true
}

/// Ends inits whose namespaces have become empty. Call whenever a process was removed, without the tree's lock.
pub(in crate::kernel) fn namespaces_ended(kernel: &Arc<Kernel>) {
    loop {
        let mut news = News::default();
        let init = {
            let mut tree = kernel.tree.lock();
            let Some(pid) = tree.emptied.pop() else {
                return;
            };
            let Some(node) = tree.nodes.get_mut(&pid) else {
                continue;
            };
            let Life::Exiting(status) = node.life else {
                continue;
            };
            node.waits_for_namespace = false;
            let group = node.group.clone();
            end_process(&mut tree, &group, status, &mut news);
            group
        };
        news.tell(kernel);
        init.exit_events.wake(Events::IN);
    }
}

/// What to do after the tree's lock is released.
#[derive(Default)]
struct News {
    /// (parent, child status) pairs: SIGCHLD-like signal number, child pid, uid.
    deaths: Vec<(Arc<ThreadGroup>, i32, ChildNews)>,
    /// Orphaned process groups with stopped members: SIGHUP, SIGCONT.
    orphaned: Vec<Arc<ThreadGroup>>,
    /// Session leader's death: hang up its terminal.
    hangup: Option<Arc<ThreadGroup>>,
    /// PR_SET_PDEATHSIG receivers.
    parent_died: Vec<Arc<Task>>,
    /// Whose death it is.
    dead: Option<Arc<Credentials>>,
    init_ended: Option<ExitStatus>,
    /// Processes whose PID namespace ends.
    killed: Vec<Arc<ThreadGroup>>,
    /// A process whose parent is outside.
    outside: Option<(i32, ExitStatus)>,
}

/// What a SIGCHLD says.
#[derive(Clone, Copy)]
pub(crate) struct ChildNews {
    pub pid: i32,
    pub uid: u32,
    pub status: ExitStatus,
    pub times: (u64, u64),
}

impl News {
    fn tell(self, kernel: &Arc<Kernel>) {
        for t in &self.parent_died {
            // Before anybody hears of it: getppid(2) has another answer now.
            t.unpublish();
        }
        for (parent, signal, child) in self.deaths {
            if signal != 0 {
                signal::send_child_exit(&parent, signal, &child);
            }
            parent.child_events.wake(Events::IN);
        }
        for g in self.killed {
            let kill = signal::SigInfo::kernel(signal::Signal::KILL);
            let _ = signal::send_group(&g, kill, signal::Origin::Outside);
        }
        for g in self.orphaned {
            signal::send_kernel(&g, libc::SIGHUP);
            signal::send_kernel(&g, libc::SIGCONT);
        }
        if let Some(g) = self.hangup {
            crate::kernel::jobs::session_leader_exited(&g);
        }
        for t in self.parent_died {
            signal::parent_died(&t, self.dead.as_deref());
        }
        if let Some((pid, status)) = self.outside {
            let watcher = kernel.outside.lock().remove(&pid);
            if let Some(tell) = watcher {
                tell(status);
            }
        }
        if let Some(status) = self.init_ended {
            *kernel.init_status.lock() = Some(status);
            kernel.shut_down();
        }
    }
}

fn process_ended(
    tree: &mut TaskTree,
    group: &Arc<ThreadGroup>,
    status: ExitStatus,
    news: &mut News,
) {
    let pid = group.pid();
    let _ = group.ended_with.set(status.wait_status());
    if pid == 1 {
        news.init_ended = Some(status);
    }
    let (parent_pid, children, exit_signal) = match tree.nodes.get_mut(&pid) {
        Some(n) => (n.parent, std::mem::take(&mut n.children), n.exit_signal),
        None => return,
    };
    if parent_pid == 0 {
        news.outside = Some((pid, status));
    }
    if group.sid() == pid {
        news.hangup = Some(group.clone());
    }
    // Children go to the nearest subreaper, else to init.
    let heir = nearest_reaper(tree, group, parent_pid);
    // An ordinary program as init is told of no strangers, unless it asked for them.
    let unseen =
        heir == 1 && tree.reap_orphans && !tree.nodes.get(&heir).is_some_and(|h| h.subreaper);
    for child in &children {
        let mut zombie = None;
        if let Some(n) = tree.nodes.get_mut(child) {
            n.set_parent(heir);
            n.adopted |= unseen;
            n.exit_signal = libc::SIGCHLD;
            news.parent_died.extend(n.threads.iter().cloned());
            if let Life::Zombie(s) = n.life {
                zombie = Some((n.group.clone(), s));
            }
        }
        if let Some(h) = tree.nodes.get_mut(&heir) {
            h.children.push(*child);
        }
        if let Some((g, s)) = zombie {
            notify_parent(tree, &g, heir, libc::SIGCHLD, s, news);
        }
    }
    orphaned_groups(tree, group, parent_pid, &children, news);
    notify_parent(tree, group, parent_pid, exit_signal, status, news);
}

/// Tells the parents of these processes, if they have ended, what their tracers knew until now.
pub(in crate::kernel) fn zombies_freed(kernel: &Arc<Kernel>, pids: &[i32]) {
    if pids.is_empty() {
        return;
    }
    let mut news = News::default();
    {
        let mut tree = kernel.tree.lock();
        for pid in pids {
            if let Some(n) = tree.nodes.get(pid)
                && let Life::Zombie(status) = n.life
            {
                let (group, parent, signal) = (n.group.clone(), n.parent, n.exit_signal);
                notify_parent(&mut tree, &group, parent, signal, status, &mut news);
            }
        }
    }
    news.tell(kernel);
}

/// Tells the parent of a zombie, or reaps it at once if the parent ignores SIGCHLD.
fn notify_parent(
    tree: &mut TaskTree,
    child: &Arc<ThreadGroup>,
    parent: i32,
    exit_signal: i32,
    status: ExitStatus,
    news: &mut News,
) {
    let tracer = ptrace::orphaned(tree, child.pid());
    let uid = child.last_uid.load(Ordering::Relaxed);
    let times = child.times.lock().dead_threads;
    let news_item = |told: &ThreadGroup| ChildNews {
        pid: told
            .kernel()
            .map_or(0, |k| k.pid_seen(told.pid_ns(), child.pid())),
        uid,
        status,
        times,
    };
    if let Some(tracer) = tracer {
        // Whoever it is, the tracer waits; the parent's turn comes afterwards.
        let signal = if tracer.pid() == parent {
            exit_signal
        } else {
            libc::SIGCHLD
        };
        let item = news_item(&tracer);
        news.deaths.push((tracer, signal, item));
        return;
    }
    let Some(p) = tree.nodes.get(&parent).map(|n| n.group.clone()) else {
        // Init itself, or a parent that is gone: nobody will wait.
        if child.pid() != 1 {
            reap(tree, child.pid());
        }
        return;
    };
    let adopted = tree.nodes.get(&child.pid()).is_some_and(|n| n.adopted);
    // An init that is ending reaps whatever comes to it.
    let ending = tree
        .nodes
        .get(&parent)
        .is_some_and(|n| n.waits_for_namespace);
    if adopted || ending {
        reap(tree, child.pid());
        return;
    }
    let (send, autoreap) = signal::child_exit_policy(&p, exit_signal);
    // It must still have its number there.
    let news_item = news_item(&p);
    if autoreap {
        forget(tree, child.pid());
    }
    news.deaths
        .push((p, if send { exit_signal } else { 0 }, news_item));
}

/// Who gets the children of `child`: a subreaper above it, else the init of its PID namespace.
fn nearest_reaper(tree: &TaskTree, child: &ThreadGroup, mut pid: i32) -> i32 {
    let ns = child.pid_ns();
    let init = ns.init();
    while let Some(n) = tree.nodes.get(&pid) {
        if pid == init || n.group.pid_ns() != ns {
            break;
        }
        if n.subreaper && n.life == Life::Alive {
            return pid;
        }
        if n.parent == pid || n.parent == 0 {
            break;
        }
        pid = n.parent;
    }
    init
}

/// Removes a zombie for which nobody waited: nobody is told what it used (getrusage(2), times(2)).
fn forget(tree: &mut TaskTree, pid: i32) -> Option<Node> {
    let node = tree.nodes.remove(&pid)?;
    if let Some(parent) = tree.nodes.get_mut(&node.parent) {
        parent.children.retain(|c| *c != pid);
    }
    let group = &node.group;
    if let Some(kernel) = group.kernel() {
        kernel.release_pids(tree, &[pid, group.pgid(), group.sid()]);
    }
    let mut at = group.pid_ns();
    while !at.is_initial() {
        let init = at.init();
        let waits = tree.nodes.get(&init).is_some_and(|n| n.waits_for_namespace);
        if waits && tree.namespace_members(at).next().is_none() {
            tree.emptied.push(init);
        }
        match at.parent() {
            Some(above) => at = above,
            None => break,
        }
    }
    Some(node)
}

/// Removes a zombie that was waited for; what it used goes to its parent's children times.
pub(in crate::kernel) fn reap(tree: &mut TaskTree, pid: i32) {
    let Some(node) = forget(tree, pid) else {
        return;
    };
    let Some(parent) = tree.nodes.get(&node.parent) else {
        return;
    };
    let own = *node.group.times.lock();
    let mut p = parent.group.times.lock();
    p.children.0 = p
        .children
        .0
        .saturating_add(own.dead_threads.0)
        .saturating_add(own.children.0);
    p.children.1 = p
        .children
        .1
        .saturating_add(own.dead_threads.1)
        .saturating_add(own.children.1);
    p.children_maxrss = p.children_maxrss.max(own.maxrss).max(own.children_maxrss);
}

/// Whether no live member of the process group has a parent in the same session but another group (setpgid(2)). `without`
/// is left out: it is just ending.
pub(in crate::kernel) fn is_orphaned(tree: &TaskTree, pgid: i32, without: i32) -> bool {
    !tree.nodes.values().any(|n| {
        n.group.pgid() == pgid
            && n.group.pid() != without
            && !matches!(n.life, Life::Zombie(_))
            && !n.adopted
            && tree.nodes.get(&n.parent).is_some_and(|p| {
                p.group.pgid() != pgid && p.group.sid() == n.group.sid() && n.parent != without
            })
    })
}

/// SIGHUP and SIGCONT for groups that this death orphans, if they have stopped members (POSIX, `kill_orphaned_pgrp`).
fn orphaned_groups(
    tree: &TaskTree,
    group: &Arc<ThreadGroup>,
    parent: i32,
    children: &[i32],
    news: &mut News,
) {
    let mut consider = |pgid: i32, sid: i32, tie: bool| {
        if !tie || !is_orphaned(tree, pgid, group.pid()) {
            return;
        }
        let members: Vec<&Node> = tree
            .nodes
            .values()
            .filter(|n| n.group.pgid() == pgid && n.group.sid() == sid && n.life == Life::Alive)
            .collect();
        if members.iter().any(|n| signal::is_stopped(&n.group)) {
            news.orphaned
                .extend(members.iter().map(|n| n.group.clone()));
        }
    };
    // The tie of its own group to the session was this process's parent.
    let own_tie = tree
        .nodes
        .get(&parent)
        .is_some_and(|p| p.group.pgid() != group.pgid() && p.group.sid() == group.sid());
    consider(group.pgid(), group.sid(), own_tie);
    for c in children {
        if let Some(n) = tree.nodes.get(c) {
            let tie = n.group.pgid() != group.pgid() && n.group.sid() == group.sid();
            consider(n.group.pgid(), n.group.sid(), tie);
        }
    }
}
