//! pidfd_open(2): a process as a descriptor; readable once it has ended.

use super::namespaces::Namespace;
use super::tree::Life;
use super::{Task, ThreadGroup, identity};
use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonKind, anon_file};
use crate::sync::{Charge, Events, Quota, WaitQueue};
use crate::usermem::UserPtr;
use crate::vfs::{Caller, File, FileOps, OpenFlags};
use std::any::Any;
use std::sync::{Arc, Weak};

/// Most pidfds in the sandbox.
static QUOTA: Quota = Quota::new(1 << 16);

/// Names one process, whatever becomes of its pid.
pub struct PidFd {
    group: Arc<ThreadGroup>,
    /// PIDFD_THREAD: one task of it.
    thread: Option<(i32, Weak<Task>)>,
    _charge: Charge,
}

impl PidFd {
    /// A descriptor for a process (`thread` `None`) or one task. `flags`: O_NONBLOCK.
    ///
    /// # Errors
    /// ENFILE if there are too many.
    pub fn create(
        cx: &dyn Caller,
        group: Arc<ThreadGroup>,
        thread: Option<&Arc<Task>>,
        flags: OpenFlags,
    ) -> Result<Arc<File>> {
        let ops = PidFd {
            group,
            thread: thread.map(|t| (t.tid(), Arc::downgrade(t))),
            _charge: QUOTA.charge(1).ok_or(Errno::ENFILE)?,
        };
        Ok(anon_file(
            cx,
            Box::new(ops),
            AnonKind::Other("[pidfd]"),
            OpenFlags::RDWR | flags,
        ))
    }
    /// The process.
    pub fn group(&self) -> &Arc<ThreadGroup> {
        &self.group
    }
    /// The task of a PIDFD_THREAD descriptor: `Some(None)` if it has ended.
    pub fn thread(&self) -> Option<Option<Arc<Task>>> {
        self.thread.as_ref().map(|(_, t)| t.upgrade())
    }
    /// What fdinfo shows as Pid: -1 once it is reaped.
    pub fn pid(&self) -> i32 {
        let pid = self.thread.as_ref().map_or(self.group.pid(), |(t, _)| *t);
        if self.reaped() { -1 } else { pid }
    }
    /// Whether nothing is left of the process, not even a zombie.
    pub fn reaped(&self) -> bool {
        let Some(kernel) = self.group.kernel() else {
            return true;
        };
        let tree = kernel.tree.lock();
        !tree
            .nodes
            .get(&self.group.pid())
            .is_some_and(|n| Arc::ptr_eq(&n.group, &self.group))
    }
    fn ended(&self) -> Events {
        let Some(kernel) = self.group.kernel() else {
            return Events::IN | Events::RDNORM | Events::HUP;
        };
        let tree = kernel.tree.lock();
        let node = tree
            .nodes
            .get(&self.group.pid())
            .filter(|n| Arc::ptr_eq(&n.group, &self.group));
        let readable = Events::IN | Events::RDNORM;
        match node {
            None => readable | Events::HUP,
            Some(n) if matches!(n.life, Life::Zombie(_)) => readable,
            Some(n) => match &self.thread {
                Some((_, t))
                    if !n
                        .threads
                        .iter()
                        .any(|l| Weak::ptr_eq(&Arc::downgrade(l), t)) =>
                {
                    readable | Events::HUP
                }
                _ => Events::empty(),
            },
        }
    }
}

/// Namespaces by the number of their ioctl less 1 (PIDFD_GET_CGROUP_NAMESPACE and on), as `/proc/PID/ns` calls them.
const NAMESPACES: [&str; 10] = [
    "cgroup",
    "ipc",
    "mnt",
    "net",
    "pid",
    "pid_for_children",
    "time",
    "time_for_children",
    "user",
    "uts",
];
/// Type of the ioctls of pidfds (PIDFS_IOCTL_MAGIC).
const MAGIC: u32 = 0xff;
/// Number of PIDFD_GET_INFO.
const GET_INFO: u32 = 11;
/// Length of the first `struct pidfd_info`.
const INFO_LEN: u32 = 64;
/// PIDFD_INFO_PID and PIDFD_INFO_CREDS, which are always told.
const INFO_ALWAYS: u64 = 3;
/// PIDFD_INFO_EXIT, told if asked for.
const INFO_EXIT: u64 = 8;

impl PidFd {
    /// The task that is asked about: ESRCH once it is gone.
    fn living(&self) -> Result<Arc<Task>> {
        match self.thread() {
            Some(task) => task,
            None => {
                let all = self.group.threads();
                let leader = all.iter().find(|t| t.tid() == self.group.pid());
                leader.or(all.first()).cloned()
            }
        }
        .ok_or(Errno::ESRCH)
    }

    /// PIDFD_GET_*_NAMESPACE: a descriptor of the namespace.
    fn open_namespace(&self, cx: &dyn Caller, name: &str) -> Result<i64> {
        let caller = super::task_of(cx).ok_or(Errno::ENOTTY)?;
        let task = self.living()?;
        let me = cx.credentials();
        let own = Arc::ptr_eq(caller.group(), task.group());
        if !own && !identity::may_access(me, (me.fsuid, me.fsgid), me.effective, &task) {
            return Err(Errno::EPERM);
        }
        let ns = Namespace::of(&task, name).ok_or(Errno::EOPNOTSUPP)?;
        let file = crate::vfs::open_path(cx, &ns.path(), OpenFlags::empty())?;
        let limit = caller.group().limit(libc::RLIMIT_NOFILE);
        caller.fds().install(file, true, 0, limit).map(i64::from)
    }

    /// PIDFD_GET_INFO.
    fn info(&self, cx: &dyn Caller, size: u32, to: u64) -> Result<i64> {
        if to == 0 || size < INFO_LEN {
            return Err(Errno::EINVAL);
        }
        let asked: u64 = cx.memory().get(UserPtr::new(to))?;
        let caller = super::task_of(cx).ok_or(Errno::ENOTTY)?;
        if self.reaped() {
            // How it ended is all that is left of it.
            let status = self
                .group
                .ended_with
                .get()
                .filter(|_| asked & INFO_EXIT != 0);
            let mut words = [0u32; INFO_LEN as usize / 4];
            let [mask, .., last] = &mut words;
            *mask = INFO_EXIT as u32;
            *last = status.ok_or(Errno::ESRCH)?.cast_unsigned();
            cx.memory().put_array(UserPtr::<u32>::new(to), &words)?;
            return Ok(0);
        }
        let kernel = self.group.kernel().ok_or(Errno::ESRCH)?;
        let seen = |pid| {
            kernel
                .pid_seen(caller.group().pid_ns(), pid)
                .cast_unsigned()
        };
        let (user, group) = {
            let ns = &cx.credentials().user_ns;
            let creds = self.living().map(|t| t.creds()).ok();
            let ids = creds.map_or(([0; 4], [0; 4]), |c| {
                (
                    [c.uid, c.euid, c.suid, c.fsuid],
                    [c.gid, c.egid, c.sgid, c.fsgid],
                )
            });
            (
                ids.0.map(|u| ns.show_user(u)),
                ids.1.map(|g| ns.show_group(g)),
            )
        };
        let pid = self.thread.as_ref().map_or(self.group.pid(), |(t, _)| *t);
        let mut words = vec![INFO_ALWAYS as u32, 0, 0, 0];
        words.extend([
            seen(pid),
            seen(self.group.pid()),
            seen(self.group.parent_pid()),
        ]);
        for i in 0..4 {
            words.extend(user.get(i));
            words.extend(group.get(i));
        }
        words.push(0);
        cx.memory().put_array(UserPtr::<u32>::new(to), &words)?;
        Ok(0)
    }
}

impl FileOps for PidFd {
    fn ioctl(&self, _: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        let (number, size) = (cmd & 0xff, cmd >> 16 & 0x3fff);
        if cmd >> 8 & 0xff != MAGIC {
            return Err(Errno::ENOTTY);
        }
        if number == GET_INFO && cmd >> 30 == 3 {
            return self.info(cx, size, arg);
        }
        let name = number
            .checked_sub(1)
            .and_then(|n| NAMESPACES.get(n as usize))
            .filter(|_| cmd >> 16 == 0)
            .ok_or(Errno::ENOTTY)?;
        if arg != 0 {
            return Err(Errno::EINVAL);
        }
        self.open_namespace(cx, name)
    }
    fn poll(&self, _: &File) -> Events {
        self.ended()
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.group.exit_events.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
