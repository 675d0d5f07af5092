//! Namespaces (namespaces(7)): what a task shares with some others and not with all.
//!
//! A task has a set of them ([`Namespaces`], Linux's `nsproxy`); its mount namespace is in its file-system context, its user
//! namespace in its credentials, and its PID namespace is its process's. All of them exist in the sentry alone: the host's
//! are never changed. [`nsfs`] makes descriptors of them, [`change`] is unshare(2) and setns(2).

pub mod change;
pub mod nsfs;
mod pid;
mod time;
mod uts;

pub use nsfs::Namespace;
pub use pid::{PidNamespace, PidTable, QUOTA as PID_QUOTA};
pub use time::{QUOTA as TIME_QUOTA, TimeNamespace};
pub use uts::{QUOTA as UTS_QUOTA, UtsNamespace};

use super::ipc::IpcNamespace;
use super::ipc::mq::MqNamespace;
use crate::abi::Result;
use crate::auth::{NsCommon, UserNamespace};
use crate::net::NetNamespace;
use crate::sync::Quota;
use std::sync::Arc;

/// Numbers of the initial ones, as in Linux (`linux/proc_ns.h`).
pub const INITIAL_IPC: u64 = 4_026_531_839;
/// PROC_UTS_INIT_INO.
pub const INITIAL_UTS: u64 = 4_026_531_838;
/// PROC_PID_INIT_INO.
pub const INITIAL_PID: u64 = 4_026_531_836;
/// PROC_CGROUP_INIT_INO.
pub const INITIAL_CGROUP: u64 = 4_026_531_835;
/// PROC_TIME_INIT_INO.
pub const INITIAL_TIME: u64 = 4_026_531_834;

/// Most IPC namespaces (`user.max_ipc_namespaces`).
pub static IPC_QUOTA: Quota = Quota::new(1024);
/// Most cgroup namespaces (`user.max_cgroup_namespaces`).
pub static CGROUP_QUOTA: Quota = Quota::new(1024);

/// System V objects and POSIX message queues.
pub struct Ipc {
    /// Number and owner.
    pub common: NsCommon,
    /// Shared memory, semaphores, message queues.
    pub objects: IpcNamespace,
    /// POSIX message queues.
    pub queues: Arc<MqNamespace>,
}

/// A cgroup namespace. The sandbox has one control group, so all look alike.
pub struct CgroupNamespace {
    /// Number and owner.
    pub common: NsCommon,
}

/// What a task shares with some others.
#[derive(Clone)]
pub struct Namespaces {
    /// Names of the machine.
    pub uts: Arc<UtsNamespace>,
    /// IPC objects.
    pub ipc: Arc<Ipc>,
    /// Sockets, ports, interfaces.
    pub net: Arc<NetNamespace>,
    /// Where its children are born.
    pub pid_for_children: Arc<PidNamespace>,
    /// Control groups.
    pub cgroup: Arc<CgroupNamespace>,
    /// Clocks.
    pub time: Arc<TimeNamespace>,
    /// Those of children, and its own after execve.
    pub time_for_children: Arc<TimeNamespace>,
}

/// CLONE_NEWTIME.
pub const NEWTIME: u64 = 0x80;
/// The flags of clone(2) that make namespaces.
pub const ALL: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u64
    & 0xffff_ffff;

impl Ipc {
    fn new(common: NsCommon, queues: MqNamespace) -> Arc<Ipc> {
        Arc::new(Ipc {
            objects: IpcNamespace::new(common.owner()),
            queues: Arc::new(queues),
            common,
        })
    }
}

impl Namespaces {
    /// Those of the first process.
    pub(super) fn initial(hostname: &[u8]) -> Namespaces {
        let time = TimeNamespace::initial();
        Namespaces {
            uts: UtsNamespace::initial(hostname),
            ipc: Ipc::new(NsCommon::initial(INITIAL_IPC), MqNamespace::default()),
            net: Arc::default(),
            pid_for_children: PidNamespace::initial(),
            cgroup: Arc::new(CgroupNamespace {
                common: NsCommon::initial(INITIAL_CGROUP),
            }),
            time_for_children: time.clone(),
            time,
        }
    }
    /// New ones where CLONE_NEW* `flags` ask for them, owned by `owner`.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn unshare(&self, flags: u64, owner: &Arc<UserNamespace>) -> Result<Namespaces> {
        let has = |f: i32| flags & (f as u64 & 0xffff_ffff) != 0;
        let mut new = self.clone();
        if has(libc::CLONE_NEWUTS) {
            new.uts = self.uts.duplicate(owner)?;
        }
        if has(libc::CLONE_NEWIPC) {
            let common = NsCommon::create(&IPC_QUOTA, owner)?;
            new.ipc = Ipc::new(common, self.ipc.queues.sibling());
        }
        if has(libc::CLONE_NEWPID) {
            new.pid_for_children = self.pid_for_children.create(owner)?;
        }
        if has(libc::CLONE_NEWCGROUP) {
            new.cgroup = Arc::new(CgroupNamespace {
                common: NsCommon::create(&CGROUP_QUOTA, owner)?,
            });
        }
        if has(libc::CLONE_NEWNET) {
            new.net = NetNamespace::create(owner)?;
        }
        if flags & NEWTIME != 0 {
            new.time_for_children = self.time_for_children.duplicate(owner)?;
        }
        Ok(new)
    }
}
