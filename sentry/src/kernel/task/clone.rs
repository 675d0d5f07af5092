//! New tasks: fork, vfork, clone, clone3 (`kernel/fork.c`).

use super::{Task, TaskLocal, TaskParts, VforkDone, exit};
use crate::abi::Errno;
use crate::auth::{Caps, Credentials};
use crate::kernel::namespaces;
use crate::kernel::namespaces::change::{self, NEWIPC, NEWNS, NEWPID, NEWUSER};
use crate::kernel::pidfd::PidFd;
use crate::kernel::ptrace::{self, event_code};
use crate::kernel::tree::{Life, Node};
use crate::kernel::{Cx, ExitStatus, ThreadGroup, signal};
use crate::mm::MemoryManager;
use crate::sync::before_exchange;
use crate::syscalls::{Block, OnSignal, SysErr, SysResult};
use crate::usermem::{GuestMemory, UserPtr};
use crate::vfs::OpenFlags;
use cofferdam_platform::MemOp;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Arguments of clone3(2), however they came.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct CloneArgs {
    /// CLONE_* without the exit signal.
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: i32,
    /// New stack pointer; 0 keeps the caller's.
    pub stack: u64,
    pub tls: u64,
    /// What it is to be called, from its own PID namespace upwards.
    pub set_tid: Vec<i32>,
}

const VM: u64 = libc::CLONE_VM as u64;
const FS: u64 = libc::CLONE_FS as u64;
const FILES: u64 = libc::CLONE_FILES as u64;
const SIGHAND: u64 = libc::CLONE_SIGHAND as u64;
const PIDFD: u64 = libc::CLONE_PIDFD as u64;
const VFORK: u64 = libc::CLONE_VFORK as u64;
const PARENT: u64 = libc::CLONE_PARENT as u64;
const THREAD: u64 = libc::CLONE_THREAD as u64;
const SETTLS: u64 = libc::CLONE_SETTLS as u64;
const PARENT_SETTID: u64 = libc::CLONE_PARENT_SETTID as u64;
const CHILD_CLEARTID: u64 = libc::CLONE_CHILD_CLEARTID as u64;
const CHILD_SETTID: u64 = libc::CLONE_CHILD_SETTID as u64;
const SYSVSEM: u64 = libc::CLONE_SYSVSEM as u64;
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const DETACHED: u64 = 0x0040_0000;
const PTRACE: u64 = libc::CLONE_PTRACE as u64;
const UNTRACED: u64 = libc::CLONE_UNTRACED as u64;

fn check(cx: &Cx<'_>, a: &CloneArgs) -> Result<(), Errno> {
    let has = |f| a.flags & f != 0;
    if (has(THREAD) && !has(SIGHAND))
        || (has(SIGHAND) && !has(VM))
        || (has(PIDFD) && has(DETACHED))
        || (has(CLEAR_SIGHAND) && has(SIGHAND))
        || (has(NEWNS | NEWUSER) && has(FS))
        || (has(NEWIPC) && has(SYSVSEM))
        || (has(PARENT) && cx.group().is_namespace_init())
        || !(0..=64).contains(&a.exit_signal)
    {
        return Err(Errno::EINVAL);
    }
    // Threads of one process are in one user and one PID namespace.
    let elsewhere = cx.task.namespaces().pid_for_children != *cx.group().pid_ns();
    if has(THREAD) && (has(NEWUSER | NEWPID) || elsewhere) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Makes a task and returns its tid in the caller.
///
/// # Errors
/// EINVAL, EAGAIN (RLIMIT_NPROC, no pid), ENOMEM, EFAULT.
pub fn clone(cx: &mut Cx<'_>, a: &CloneArgs) -> SysResult {
    if cx.local.progress.started {
        return wait_for_vfork(cx);
    }
    check(cx, a)?;
    if a.flags & PIDFD != 0 {
        cx.mem().write_bytes(a.pidfd, &[0; 4])?;
        cx.fds().has_room(cx.limit(libc::RLIMIT_NOFILE))?;
    }
    let done = (a.flags & VFORK != 0).then(Arc::<VforkDone>::default);
    let event = trace_event(a);
    let traced = event.is_some_and(|e| ptrace::wants(cx.task, e)) || a.flags & PTRACE != 0;
    let child = make(cx, a, done.clone(), traced)?;
    // Whatever becomes of the child: it is not on its way yet.
    let child_tid = child.tid();
    let tid = cx.seen(child_tid);
    if a.flags & PARENT_SETTID != 0 {
        // A fault here is ignored by Linux too.
        let _ = cx.mem().put(UserPtr::<i32>::new(a.parent_tid), &tid);
    }
    if a.flags & PIDFD != 0
        && let Err(e) = give_pidfd(cx, &child, a.pidfd)
    {
        // Another thread took the last descriptor, or the page, since we looked. A task that exists must also end.
        exit::group_exit(child.group(), ExitStatus::Signaled(libc::SIGKILL, false));
        cx.kernel().start(child);
        return Err(e.into());
    }
    cx.kernel().start(child);
    if a.flags & VM != 0 && done.is_none() && event.is_none() {
        return Ok(i64::from(tid));
    }
    let p = cx.progress();
    p.started = true;
    p.value = tid.cast_unsigned().into();
    p.object = done.map(|d| d as Arc<_>);
    let message = ptrace::seen_by_tracer(cx.task, child_tid).cast_unsigned();
    if event.is_some_and(|e| ptrace::event(cx, e, message.into())) {
        return Err(SysErr::Traced);
    }
    if a.flags & (VM | VFORK) == 0 {
        // A new process first: mostly its parent soon waits for it.
        return Err(SysErr::Later);
    }
    wait_for_vfork(cx)
}

/// The event that a tracer may have asked for (`kernel_clone`).
fn trace_event(a: &CloneArgs) -> Option<u32> {
    if a.flags & UNTRACED != 0 {
        return None;
    }
    Some(match a.exit_signal {
        _ if a.flags & VFORK != 0 => event_code::VFORK,
        libc::SIGCHLD => event_code::FORK,
        _ => event_code::CLONE,
    })
}

fn give_pidfd(cx: &Cx<'_>, child: &Arc<Task>, to: u64) -> Result<(), Errno> {
    let file = PidFd::create(
        &cx.caller(),
        child.group().clone(),
        None,
        OpenFlags::empty(),
    )?;
    cx.give_fd(file, true, |fd| cx.mem().put(UserPtr::<i32>::new(to), &fd))
        .map(drop)
}

fn wait_for_vfork(cx: &mut Cx<'_>) -> SysResult {
    let tid = cx.progress().value.cast_signed();
    let Some(d) = cx
        .progress()
        .object
        .clone()
        .and_then(|o| o.downcast::<VforkDone>().ok())
    else {
        return Ok(tid);
    };
    if d.done.load(Ordering::SeqCst) {
        cx.progress().object = None;
        let child = i32::try_from(tid).ok().and_then(|tid| cx.named(tid));
        let shown = child.map_or(0, |child| ptrace::seen_by_tracer(cx.task, child));
        if ptrace::event(cx, event_code::VFORK_DONE, shown.cast_unsigned().into()) {
            return Err(SysErr::Traced);
        }
        return Ok(tid);
    }
    Err(Block::on(d.queue.clone(), crate::sync::Events::IN)
        .on_signal(OnSignal::Killable)
        .into())
}

/// RLIMIT_NPROC: tasks of the same real user. Root and the privileged are exempt.
fn too_many(cx: &Cx<'_>, creds: &Credentials) -> bool {
    let limit = cx.limit(libc::RLIMIT_NPROC);
    if creds.uid == 0 || creds.has(Caps::SYS_RESOURCE) || creds.has(Caps::SYS_ADMIN) {
        return false;
    }
    // All tasks together are an upper bound that is quickly known.
    cx.kernel().task_count() as u64 >= limit && cx.kernel().task_count_of(creds.uid) as u64 >= limit
}

fn make(
    cx: &mut Cx<'_>,
    a: &CloneArgs,
    vfork_done: Option<Arc<VforkDone>>,
    traced: bool,
) -> Result<Arc<Task>, SysErr> {
    let kernel = cx.kernel().clone();
    let has = |f| a.flags & f != 0;
    let creds = if has(NEWUSER) {
        Arc::new(change::new_user(cx.fs(), cx.creds())?)
    } else {
        cx.creds().clone()
    };
    let mut namespaces = if has(namespaces::ALL | namespaces::NEWTIME) {
        Arc::new(change::new_set(cx.task, a.flags, &creds)?)
    } else {
        cx.task.namespaces()
    };
    // Who shares memory shares its clocks (`timens_on_fork`).
    if !has(VM) && !Arc::ptr_eq(&namespaces.time, &namespaces.time_for_children) {
        let own = Arc::make_mut(&mut namespaces);
        own.time = own.time_for_children.clone();
    }
    let pid_ns = namespaces.pid_for_children.clone();
    pid_ns.check_wanted(&creds, &a.set_tid)?;
    let thread = cx.thread()?;
    if kernel.task_count() as u64 >= kernel.task_limit() || too_many(cx, cx.creds()) {
        return Err(Errno::EAGAIN.into());
    }
    let token = kernel.new_token();
    before_exchange();
    let (mm, host) = if has(VM) {
        (cx.mm.clone(), thread.spawn(token).map_err(host_error)?)
    } else {
        let (mm, host) = cx.mm.fork(|| thread.fork(token))?;
        let mm = Arc::new(mm);
        namespaces.time.enter(&kernel, &mm, &*host)?;
        (mm, host)
    };
    let mut regs = *cx.regs();
    regs.set_return(0);
    if a.stack != 0 {
        regs.rsp = a.stack;
    }
    if has(SETTLS) {
        regs.fs_base = a.tls;
    }
    let local = TaskLocal {
        personality: cx.local.personality,
        regs: regs.into(),
        clear_child_tid: if has(CHILD_CLEARTID) { a.child_tid } else { 0 },
        alt_stack: if has(VM) && !has(VFORK) {
            Default::default()
        } else {
            cx.local.alt_stack
        },
        vfork_done,
        ..TaskLocal::default()
    };
    let fs = if has(FS) {
        cx.fs().clone()
    } else if has(NEWNS) {
        Arc::new(cx.fs().duplicate_namespace(&creds.user_ns)?)
    } else {
        Arc::new(cx.fs().duplicate())
    };
    let fds = if has(FILES) {
        cx.fds().clone()
    } else {
        Arc::new(cx.fds().duplicate()?)
    };
    let group_signals =
        (!has(THREAD)).then(|| signal::clone_group(cx.group(), has(SIGHAND), has(CLEAR_SIGHAND)));
    let task_signals = signal::clone_task(cx.task);
    let mut tree = kernel.tree.lock();
    // The last of them is for the initial namespace, if there are as many as levels.
    let pid = match a.set_tid.get(pid_ns.level()) {
        Some(wanted) if tree.is_used(*wanted) => return Err(Errno::EEXIST.into()),
        Some(wanted) => *wanted,
        None => tree.allocate_pid().ok_or(Errno::EAGAIN)?,
    };
    let own = tree.nodes.get(&cx.group().pid()).ok_or(Errno::ESRCH)?;
    if own.life != Life::Alive {
        return Err(Errno::EAGAIN.into());
    }
    let (own_parent, own_exit_signal) = (own.parent, own.exit_signal);
    let own_forker = own.forker.clone();
    kernel.assign_pid(pid, &pid_ns, &a.set_tid)?;
    let group = match group_signals {
        None => cx.group().clone(),
        Some(signals) => {
            let g = ThreadGroup::new(
                &kernel,
                (pid, &pid_ns),
                (cx.group().pgid(), cx.group().sid()),
                *cx.group().limits().lock(),
                signals,
                kernel.boot.elapsed(),
            );
            if g.is_namespace_init() {
                g.signals.lock().set_unkillable(true);
            }
            let terminal = cx.group().tty.lock().clone();
            *g.tty.lock() = terminal;
            g.dumpable.store(
                cx.group().dumpable.load(Ordering::Relaxed),
                Ordering::Relaxed,
            );
            g.coredump_filter.store(
                cx.group().coredump_filter.load(Ordering::Relaxed),
                Ordering::Relaxed,
            );
            g.oom_score_adj.store(
                cx.group().oom_score_adj.load(Ordering::Relaxed),
                Ordering::Relaxed,
            );
            g
        }
    };
    let task = Task::new(
        &kernel,
        TaskParts {
            group: group.clone(),
            tid: pid,
            token,
            creds,
            name: cx.task.name(),
            mm: mm.clone(),
            fs,
            fds,
            thread: host,
            signals: task_signals,
            local,
            sched: cx.task.sched.inherit(),
            namespaces,
            program_ns: cx.task.program_ns(),
        },
    );
    if has(THREAD) && signal::must_die(cx.task) {
        // A sibling called execve while this one was made, and waits for all to end (`copy_process`: a fatal signal is pending).
        signal::end_task(&task, ExitStatus::Exited(0));
    }
    task.seccomp.inherit(&cx.task.seccomp);
    crate::kernel::keys::inherit(&kernel, cx.task.tid(), pid);
    tree.tasks.insert(pid, Arc::downgrade(&task));
    if has(THREAD) {
        if let Some(n) = tree.nodes.get_mut(&group.pid()) {
            n.threads.push(task.clone());
        }
    } else {
        let parent = if has(PARENT) {
            own_parent
        } else {
            cx.group().pid()
        };
        let exit_signal = if has(PARENT) {
            own_exit_signal
        } else {
            a.exit_signal
        };
        let mut node = Node {
            group,
            parent: 0,
            children: Vec::new(),
            threads: vec![task.clone()],
            life: Life::Alive,
            exit_signal,
            forker: if has(PARENT) {
                own_forker
            } else {
                Arc::downgrade(cx.task)
            },
            subreaper: false,
            execed: false,
            adopted: false,
            waits_for_namespace: false,
        };
        node.set_parent(parent);
        tree.nodes.insert(pid, node);
        if let Some(p) = tree.nodes.get_mut(&parent) {
            p.children.push(pid);
        }
    }
    if traced {
        ptrace::clone_traced(&mut tree, cx.task, &task);
    }
    drop(tree);
    if has(CHILD_SETTID) {
        write_tid(&task, &mm, a.child_tid, !has(VM));
    }
    Ok(task)
}

/// CLONE_CHILD_SETTID: a fault is ignored by Linux too.
fn write_tid(child: &Task, mm: &MemoryManager, to: u64, is_process: bool) {
    let tid = child.own_tid();
    let write = MemOp::Write {
        addr: to,
        bytes: &tid.to_ne_bytes(),
        vital: false,
    };
    let put_off = is_process && child.thread().is_some_and(|t| t.execute_later(&[write]));
    if !put_off {
        let mem: &dyn GuestMemory = mm;
        let _ = mem.put(UserPtr::<i32>::new(to), &tid);
    }
}

pub(in crate::kernel) fn host_error(e: cofferdam_platform::Error) -> Errno {
    match e {
        cofferdam_platform::Error::Op { errno, .. } => Errno::from_raw(errno),
        cofferdam_platform::Error::Gone => Errno::ESRCH,
        cofferdam_platform::Error::Host(why) => {
            log::warn!("the host refused a new process or thread: {why}");
            Errno::EAGAIN
        }
    }
}
