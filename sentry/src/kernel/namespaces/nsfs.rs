//! Descriptors of namespaces: what the links of `/proc/PID/ns` lead to, and their ioctls (ioctl_ns(2)).

use super::{CgroupNamespace, Ipc, PidNamespace, TimeNamespace, UtsNamespace};
use crate::abi::{Errno, Result};
use crate::auth::{NsCommon, UserNamespace};
use crate::kernel::{Task, task_of};
use crate::net::NetNamespace;
use crate::usermem::UserPtr;
use crate::vfs::{
    Caller, Dentry, File, FileOps, FileType, Inode, InodeMeta, Mount, MountFlags, MountNamespace,
    OpenFlags, Path, SetAttr, Stat, StatFs, SuperBlock, Timestamp,
};
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// A namespace of any kind.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum Namespace {
    Mount(Arc<MountNamespace>),
    Uts(Arc<UtsNamespace>),
    Ipc(Arc<Ipc>),
    Net(Arc<NetNamespace>),
    Pid(Arc<PidNamespace>),
    User(Arc<UserNamespace>),
    Cgroup(Arc<CgroupNamespace>),
    Time(Arc<TimeNamespace>),
}

/// The links of `/proc/PID/ns`.
pub const LINKS: &[&str] = &[
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

impl Namespace {
    /// That of a task which the link `name` leads to.
    pub fn of(task: &Task, name: &str) -> Option<Namespace> {
        let own = task.namespaces();
        Some(match name {
            "mnt" => Namespace::Mount(task.fs().namespace()),
            "uts" => Namespace::Uts(own.uts.clone()),
            "ipc" => Namespace::Ipc(own.ipc.clone()),
            "net" => Namespace::Net(own.net.clone()),
            "pid" => Namespace::Pid(task.group().pid_ns().clone()),
            // Not before somebody lives there.
            "pid_for_children" if own.pid_for_children.init() == 0 => return None,
            "pid_for_children" => Namespace::Pid(own.pid_for_children.clone()),
            "user" => Namespace::User(task.creds().user_ns.clone()),
            "cgroup" => Namespace::Cgroup(own.cgroup.clone()),
            "time" => Namespace::Time(own.time.clone()),
            "time_for_children" => Namespace::Time(own.time_for_children.clone()),
            _ => return None,
        })
    }
    fn common(&self) -> Option<&NsCommon> {
        Some(match self {
            Namespace::Mount(n) => n.common(),
            Namespace::Uts(n) => &n.common,
            Namespace::Ipc(n) => &n.common,
            Namespace::Net(n) => &n.common,
            Namespace::Pid(n) => &n.common,
            Namespace::Cgroup(n) => &n.common,
            Namespace::Time(n) => &n.common,
            Namespace::User(_) => return None,
        })
    }
    /// Inode number.
    pub fn number(&self) -> u64 {
        match self {
            Namespace::User(n) => n.number(),
            other => other.common().map_or(0, NsCommon::number),
        }
    }
    /// The user namespace that owns it: the one above, if it is one itself.
    pub fn owner(&self) -> Option<&Arc<UserNamespace>> {
        match self {
            Namespace::User(n) => n.parent(),
            other => other.common().map(NsCommon::owner),
        }
    }
    /// CLONE_NEW*.
    pub fn flag(&self) -> u64 {
        let flag = match self {
            Namespace::Mount(_) => libc::CLONE_NEWNS,
            Namespace::Uts(_) => libc::CLONE_NEWUTS,
            Namespace::Ipc(_) => libc::CLONE_NEWIPC,
            Namespace::Net(_) => libc::CLONE_NEWNET,
            Namespace::Pid(_) => libc::CLONE_NEWPID,
            Namespace::User(_) => libc::CLONE_NEWUSER,
            Namespace::Cgroup(_) => libc::CLONE_NEWCGROUP,
            Namespace::Time(_) => return super::NEWTIME,
        };
        flag as u64 & 0xffff_ffff
    }
    fn kind(&self) -> &'static str {
        match self {
            Namespace::Mount(_) => "mnt",
            Namespace::Uts(_) => "uts",
            Namespace::Ipc(_) => "ipc",
            Namespace::Net(_) => "net",
            Namespace::Pid(_) => "pid",
            Namespace::User(_) => "user",
            Namespace::Cgroup(_) => "cgroup",
            Namespace::Time(_) => "time",
        }
    }
    /// `uts:[4026531838]`.
    pub fn text(&self) -> Vec<u8> {
        format!("{}:[{}]", self.kind(), self.number()).into_bytes()
    }
    /// Where a link leads.
    pub fn path(self) -> Path {
        let name = self.text();
        Path {
            mount: mount(),
            dentry: Dentry::anonymous(NsInode::new(self), &name),
        }
    }
    /// The namespace that a file is of.
    pub fn of_file(file: &File) -> Option<Namespace> {
        Some(Namespace::of_inode(&**file.inode())?.clone())
    }
    /// The namespace that an inode is of.
    pub fn of_inode(inode: &dyn Inode) -> Option<&Namespace> {
        Some(&inode.as_any().downcast_ref::<NsInode>()?.ns)
    }
}

/// The mount of nsfs that nobody sees.
fn mount() -> Arc<Mount> {
    static NSFS: OnceLock<Arc<Mount>> = OnceLock::new();
    NSFS.get_or_init(|| {
        // Nothing looks at its root.
        let root = crate::vfs::open::nothing_inode();
        let sb = SuperBlock::new(root, "nsfs", "");
        let root = sb.root().clone();
        Mount::new(sb, root, b"nsfs", MountFlags::default())
    })
    .clone()
}

struct NsInode {
    meta: InodeMeta,
    ns: Namespace,
}

impl NsInode {
    fn new(ns: Namespace) -> Arc<NsInode> {
        Arc::new(NsInode {
            meta: InodeMeta::default(),
            ns,
        })
    }
}

impl Inode for NsInode {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        FileType::Regular
    }
    fn stat(&self) -> Result<Stat> {
        let now = Timestamp::now();
        Ok(Stat {
            // Nothing else has this minor number.
            dev: 4,
            ino: self.ns.number(),
            file_type: FileType::Regular,
            perm: 0o444,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: Timestamp::default(),
        })
    }
    fn set_attr(&self, _: &dyn Caller, _: &SetAttr) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            // NSFS_MAGIC.
            magic: 0x6e73_6673,
            block_size: 4096,
            name_max: 255,
            ..StatFs::default()
        })
    }
    fn open(self: Arc<Self>, _: &dyn Caller, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(NsFile(self.ns.clone())))
    }
    fn describe(&self) -> Vec<u8> {
        self.ns.text()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

struct NsFile(Namespace);

const GET_USERNS: u32 = 0xb701;
const GET_PARENT: u32 = 0xb702;
const GET_NSTYPE: u32 = 0xb703;
const GET_OWNER_UID: u32 = 0xb704;
/// NS_GET_PID_FROM_PIDNS and its like: a number there, as it is here, and the other way round.
const PID_FROM: u32 = 0x8004_b706;
const TGID_FROM: u32 = 0x8004_b707;
const PID_IN: u32 = 0x8004_b708;
const TGID_IN: u32 = 0x8004_b709;

impl NsFile {
    /// EPERM for what is above or beside the caller's own (`ns_get_owner`, `pidns_get_parent`).
    fn user_parent(&self, task: &Arc<Task>, ns: Option<&Arc<UserNamespace>>) -> Result<Namespace> {
        ns.filter(|ns| ns.is_within(&task.creds().user_ns))
            .map(|ns| Namespace::User(ns.clone()))
            .ok_or(Errno::EPERM)
    }
    fn parent(&self, task: &Arc<Task>) -> Result<Namespace> {
        match &self.0 {
            Namespace::User(ns) => self.user_parent(task, ns.parent()),
            Namespace::Pid(ns) => {
                let parent = ns.parent().ok_or(Errno::EPERM)?;
                if !parent.is_within(task.group().pid_ns()) {
                    return Err(Errno::EPERM);
                }
                Ok(Namespace::Pid(parent.clone()))
            }
            _ => Err(Errno::EINVAL),
        }
    }
    fn translate(&self, task: &Arc<Task>, cmd: u32, arg: u64) -> Result<i64> {
        let Namespace::Pid(there) = &self.0 else {
            return Err(Errno::EINVAL);
        };
        let kernel = task.kernel();
        let here = task.group().pid_ns();
        let (from, to) = if matches!(cmd, PID_FROM | TGID_FROM) {
            (there, here)
        } else {
            (here, there)
        };
        let number = i32::try_from(arg).map_err(|_| Errno::ESRCH)?;
        let pid = kernel.pid_named(from, number).ok_or(Errno::ESRCH)?;
        let found = kernel.task(pid).ok_or(Errno::ESRCH)?;
        let pid = if matches!(cmd, TGID_FROM | TGID_IN) {
            found.group().pid()
        } else {
            found.tid()
        };
        match kernel.pid_seen(to, pid) {
            0 => Err(Errno::ESRCH),
            n => Ok(n.into()),
        }
    }
}

impl FileOps for NsFile {
    fn ioctl(&self, _: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        let task = task_of(cx).ok_or(Errno::ENOTTY)?;
        let found = match cmd {
            GET_USERNS => self.user_parent(task, self.0.owner())?,
            GET_PARENT => self.parent(task)?,
            GET_NSTYPE => return i64::try_from(self.0.flag()).map_err(|_| Errno::EINVAL),
            GET_OWNER_UID => {
                let Namespace::User(ns) = &self.0 else {
                    return Err(Errno::EINVAL);
                };
                let uid = cx.credentials().user_ns.show_user(ns.owner());
                cx.memory().put(UserPtr::<u32>::new(arg), &uid)?;
                return Ok(0);
            }
            PID_FROM | TGID_FROM | PID_IN | TGID_IN => return self.translate(task, cmd, arg),
            _ => return Err(Errno::ENOTTY),
        };
        let path = found.path();
        let file = crate::vfs::open_path(cx, &path, OpenFlags::empty())?;
        let limit = task.group().limit(libc::RLIMIT_NOFILE);
        task.fds().install(file, true, 0, limit).map(i64::from)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
