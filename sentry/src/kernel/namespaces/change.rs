//! unshare(2) and setns(2): who may leave a namespace for another (`kernel/nsproxy.c`).

use super::{ALL, NEWTIME, Namespace, Namespaces};
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials, UserNamespace};
use crate::kernel::pidfd::PidFd;
use crate::kernel::{Cx, Task, identity};
use crate::vfs::{File, FsContext, MountNamespace};
use std::sync::Arc;

const fn bit(flag: i32) -> u64 {
    flag as u64 & 0xffff_ffff
}

/// CLONE_NEWUSER.
pub const NEWUSER: u64 = bit(libc::CLONE_NEWUSER);
/// CLONE_NEWNS.
pub const NEWNS: u64 = bit(libc::CLONE_NEWNS);
/// CLONE_NEWPID.
pub const NEWPID: u64 = bit(libc::CLONE_NEWPID);
/// CLONE_NEWIPC.
pub const NEWIPC: u64 = bit(libc::CLONE_NEWIPC);
const FS: u64 = bit(libc::CLONE_FS);
const FILES: u64 = bit(libc::CLONE_FILES);
const SIGHAND: u64 = bit(libc::CLONE_SIGHAND);
const THREAD: u64 = bit(libc::CLONE_THREAD);
const VM: u64 = bit(libc::CLONE_VM);
const SYSVSEM: u64 = bit(libc::CLONE_SYSVSEM);

/// Credentials in a new user namespace (`create_user_ns`).
///
/// # Errors
/// EPERM for a task whose root is not its mount namespace's; those of [`UserNamespace::create`].
pub fn new_user(fs: &FsContext, old: &Credentials) -> Result<Credentials> {
    if fs.root() != fs.namespace().root() {
        // It could leave its root by a mount namespace of its own.
        return Err(Errno::EPERM);
    }
    Ok(old.in_new(UserNamespace::create(old)?))
}

/// Namespaces for CLONE_NEW* `flags`, made by a task that will have `creds` (`copy_namespaces`).
///
/// # Errors
/// EPERM, ENOSPC; EINVAL for a PID namespace below one that has been made and not entered.
pub fn new_set(task: &Task, flags: u64, creds: &Credentials) -> Result<Namespaces> {
    let own = task.namespaces();
    let flags = flags & (ALL | NEWTIME) & !NEWUSER;
    if flags == 0 {
        return Ok((*own).clone());
    }
    if !creds.has_own(Caps::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    if flags & NEWPID != 0 && own.pid_for_children != *task.group().pid_ns() {
        return Err(Errno::EINVAL);
    }
    own.unshare(flags, &creds.user_ns)
}

/// unshare(2).
///
/// # Errors
/// As the man page; nothing has changed then.
pub fn unshare(cx: &mut Cx<'_>, flags: u64) -> Result<()> {
    let mut flags = flags;
    if flags & NEWUSER != 0 {
        flags |= THREAD | FS;
    }
    if flags & NEWNS != 0 {
        flags |= FS;
    }
    if flags & !(FS | FILES | SIGHAND | THREAD | VM | SYSVSEM | ALL | NEWTIME) != 0
        || flags & (THREAD | SIGHAND | VM) != 0 && cx.group().threads().len() > 1
    {
        return Err(Errno::EINVAL);
    }
    let fds = if flags & FILES != 0 {
        Some(cx.fds().duplicate()?)
    } else {
        None
    };
    let creds = if flags & NEWUSER != 0 {
        Some(new_user(cx.fs(), cx.creds())?)
    } else {
        None
    };
    let user_ns = creds.as_ref().map_or(&cx.creds().user_ns, |c| &c.user_ns);
    let namespaces = new_set(cx.task, flags, creds.as_ref().unwrap_or(cx.creds()))?;
    let fs = if flags & NEWNS != 0 {
        Some(cx.fs().duplicate_namespace(user_ns)?)
    } else {
        (flags & FS != 0).then(|| cx.fs().duplicate())
    };
    if let Some(own) = fs {
        cx.task.set_fs(Arc::new(own));
    }
    if let Some(own) = fds {
        cx.task.set_fds(Arc::new(own));
    }
    if flags & (NEWIPC | SYSVSEM) != 0 {
        leave_ipc(cx);
    }
    cx.task.set_namespaces(Arc::new(namespaces));
    if let Some(new) = creds {
        identity::commit(cx, new);
    }
    Ok(())
}

/// What is to be undone of semaphores is undone where they are.
fn leave_ipc(cx: &Cx<'_>) {
    let ipc = cx.task.namespaces().ipc.clone();
    ipc.objects.exit_process(cx.group().pid());
}

/// What setns(2) prepares before anything changes (`struct nsset`).
struct Entering {
    creds: Option<Credentials>,
    set: Namespaces,
    mounts: Option<Arc<MountNamespace>>,
    leaves_ipc: bool,
    time: bool,
}

/// setns(2).
///
/// # Errors
/// As the man page.
pub fn setns(cx: &mut Cx<'_>, file: &File, kind: u64) -> Result<()> {
    let wanted = if let Some(ns) = Namespace::of_file(file) {
        if kind != 0 && kind != ns.flag() {
            return Err(Errno::EINVAL);
        }
        vec![ns]
    } else if let Some(pidfd) = file.downcast::<PidFd>() {
        if kind == 0 || kind & !(ALL | NEWTIME) != 0 {
            return Err(Errno::EINVAL);
        }
        of_process(cx, pidfd, kind)?
    } else {
        return Err(Errno::EINVAL);
    };
    let mut e = Entering {
        creds: None,
        set: (*cx.task.namespaces()).clone(),
        mounts: None,
        leaves_ipc: false,
        time: false,
    };
    for ns in wanted {
        install(cx, &mut e, ns)?;
    }
    if e.time {
        e.set.time.enter(cx.kernel(), cx.mm, cx.thread()?)?;
    }
    if e.leaves_ipc {
        leave_ipc(cx);
    }
    cx.task.set_namespaces(Arc::new(e.set));
    if let Some(ns) = e.mounts {
        cx.fs().enter(ns);
    }
    if let Some(new) = e.creds {
        identity::commit(cx, new);
    }
    Ok(())
}

/// Those of a process that `kind` names, the user namespace first.
fn of_process(cx: &Cx<'_>, pidfd: &PidFd, kind: u64) -> Result<Vec<Namespace>> {
    let task = match pidfd.thread() {
        Some(t) => t,
        None => pidfd.group().threads().into_iter().next(),
    }
    .ok_or(Errno::ESRCH)?;
    identity::attach(cx, &task, || {
        let order = ["user", "mnt", "uts", "ipc", "pid", "cgroup", "net", "time"];
        let all = order.iter().filter_map(|name| Namespace::of(&task, name));
        Ok(all.filter(|ns| kind & ns.flag() != 0).collect())
    })
}

/// Whether another task has the caller's root and working directory.
fn shares_fs(cx: &Cx<'_>) -> bool {
    let all = cx.kernel().tasks();
    all.iter()
        .any(|t| !Arc::ptr_eq(t, cx.task) && Arc::ptr_eq(&t.fs(), cx.fs()))
}

fn install(cx: &Cx<'_>, e: &mut Entering, ns: Namespace) -> Result<()> {
    let me = cx.creds();
    if let Namespace::User(ns) = ns {
        if ns == me.user_ns || cx.group().threads().len() > 1 || shares_fs(cx) {
            return Err(Errno::EINVAL);
        }
        if !me.has_in(&ns, Caps::SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        e.creds = Some(me.in_new(ns));
        return Ok(());
    }
    // Rights over the namespace, and over the user namespace that the task will be in.
    let home = e.creds.as_ref().map_or(&me.user_ns, |c| &c.user_ns);
    let allowed = ns
        .owner()
        .is_some_and(|owner| me.has_in(owner, Caps::SYS_ADMIN));
    if !allowed || !me.has_in(home, Caps::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    match ns {
        Namespace::Mount(ns) => {
            if !me.has_in(home, Caps::SYS_CHROOT) {
                return Err(Errno::EPERM);
            }
            if shares_fs(cx) {
                return Err(Errno::EINVAL);
            }
            e.mounts = Some(ns);
        }
        Namespace::Uts(ns) => e.set.uts = ns,
        Namespace::Ipc(ns) => {
            e.leaves_ipc = true;
            e.set.ipc = ns;
        }
        Namespace::Net(ns) => e.set.net = ns,
        Namespace::Pid(ns) => {
            // Never upwards.
            if !ns.is_within(cx.group().pid_ns()) {
                return Err(Errno::EINVAL);
            }
            e.set.pid_for_children = ns;
        }
        Namespace::Cgroup(ns) => e.set.cgroup = ns,
        Namespace::Time(ns) => {
            if cx.group().threads().len() > 1 {
                return Err(Errno::EUSERS);
            }
            e.set.time_for_children = ns.clone();
            e.set.time = ns;
            e.time = true;
        }
        Namespace::User(_) => {}
    }
    Ok(())
}
