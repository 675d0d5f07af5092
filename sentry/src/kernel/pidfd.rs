//! pidfd_open(2): a process as a descriptor; readable once it has ended.

use super::tree::Life;
use super::{Task, ThreadGroup};
use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonKind, anon_file};
use crate::sync::{Charge, Events, Quota, WaitQueue};
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

impl FileOps for PidFd {
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
