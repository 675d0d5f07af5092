//! Inodes of objects that no file system names: pipes, sockets, epoll instances, eventfds …
//!
//! procfs shows [`AnonInode::link_name`] as the target of `/proc/PID/fd/N`.

use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::vfs::{
    Caller, File, FileOps, FileType, Inode, InodeMeta, OpenFlags, SetAttr, SetTime, Stat, StatFs,
    Timestamp,
};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What kind of object an anonymous inode stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonKind {
    /// A pipe(2), in pipefs.
    Pipe,
    /// A socket(2), in sockfs.
    Socket,
    /// Anything else; the name is shown in brackets, e.g. `[eventpoll]`.
    Other(&'static str),
}

/// An inode without a name.
pub struct AnonInode {
    meta: InodeMeta,
    kind: AnonKind,
    ino: u64,
    attr: Mutex<Attr>,
}

struct Attr {
    perm: u32,
    uid: u32,
    gid: u32,
    times: [Timestamp; 3],
    born: Timestamp,
}

static NEXT_INO: AtomicU64 = AtomicU64::new(1024);

impl AnonInode {
    /// A new inode, owned by the caller.
    pub fn new(cx: &dyn Caller, kind: AnonKind) -> Arc<AnonInode> {
        let now = Timestamp::now();
        let creds = cx.credentials();
        Arc::new(AnonInode {
            meta: InodeMeta::default(),
            kind,
            ino: NEXT_INO.fetch_add(1, Ordering::Relaxed),
            attr: Mutex::new(
                Rank::INODE,
                Attr {
                    perm: match kind {
                        AnonKind::Socket => 0o777,
                        AnonKind::Pipe | AnonKind::Other(_) => 0o600,
                    },
                    uid: creds.fsuid,
                    gid: creds.fsgid,
                    times: [now; 3],
                    born: now,
                },
            ),
        })
    }
    /// What it stands for.
    pub fn kind(&self) -> AnonKind {
        self.kind
    }
    /// Inode number.
    pub fn ino(&self) -> u64 {
        self.ino
    }
    /// What /proc/PID/fd shows: `pipe:[N]`, `socket:[N]`, `anon_inode:[eventpoll]`.
    pub fn link_name(&self) -> Vec<u8> {
        match self.kind {
            AnonKind::Pipe => format!("pipe:[{}]", self.ino),
            AnonKind::Socket => format!("socket:[{}]", self.ino),
            AnonKind::Other(name) => format!("anon_inode:{name}"),
        }
        .into_bytes()
    }
}

/// An open file on a new anonymous inode. `flags`: access mode and status flags.
pub fn anon_file(
    cx: &dyn Caller,
    ops: Box<dyn FileOps>,
    kind: AnonKind,
    flags: OpenFlags,
) -> Arc<File> {
    File::new(ops, AnonInode::new(cx, kind), None, flags)
}

impl Inode for AnonInode {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        match self.kind {
            AnonKind::Pipe => FileType::Fifo,
            AnonKind::Socket => FileType::Socket,
            AnonKind::Other(_) => FileType::Regular,
        }
    }
    fn stat(&self) -> Result<Stat> {
        let a = self.attr.lock();
        let [atime, mtime, ctime] = a.times;
        Ok(Stat {
            // Device numbers of pipefs, sockfs and anon_inodefs: minor numbers no mount of the guest has.
            dev: match self.kind {
                AnonKind::Pipe => 14,
                AnonKind::Socket => 8,
                AnonKind::Other(_) => 15,
            },
            // All anonymous inodes of Linux share one; programs do not look.
            ino: self.ino,
            file_type: self.file_type(),
            perm: a.perm,
            nlink: 1,
            uid: a.uid,
            gid: a.gid,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime,
            mtime,
            ctime,
            btime: a.born,
        })
    }
    fn set_attr(&self, _cx: &dyn Caller, changes: &SetAttr) -> Result<()> {
        if changes.size.is_some() {
            return Err(Errno::EINVAL);
        }
        if matches!(self.kind, AnonKind::Other(_)) {
            return Err(Errno::EOPNOTSUPP);
        }
        let now = Timestamp::now();
        let time = |t: SetTime| match t {
            SetTime::Now => now,
            SetTime::At(t) => t,
        };
        let mut a = self.attr.lock();
        a.perm = changes.perm.unwrap_or(a.perm);
        a.uid = changes.uid.unwrap_or(a.uid);
        a.gid = changes.gid.unwrap_or(a.gid);
        let [atime, mtime, _] = a.times;
        a.times = [
            changes.atime.map_or(atime, time),
            changes.mtime.map_or(mtime, time),
            now,
        ];
        Ok(())
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            // PIPEFS_MAGIC, SOCKFS_MAGIC, ANON_INODE_FS_MAGIC.
            magic: match self.kind {
                AnonKind::Pipe => 0x5049_5045,
                AnonKind::Socket => 0x534f_434b,
                AnonKind::Other(_) => 0x0904_1934,
            },
            block_size: 4096,
            name_max: 255,
            ..StatFs::default()
        })
    }
    fn open(self: Arc<Self>, _cx: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        match self.kind {
            AnonKind::Pipe => super::pipe::open_fifo(&self.meta, flags),
            AnonKind::Socket | AnonKind::Other(_) => Err(Errno::ENXIO),
        }
    }
    fn describe(&self) -> Vec<u8> {
        self.link_name()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::caller::KernelCaller;

    #[test]
    fn link_names_are_linux_names() {
        let a = AnonInode::new(&KernelCaller, AnonKind::Pipe);
        assert_eq!(a.link_name(), format!("pipe:[{}]", a.ino()).into_bytes());
        let e = AnonInode::new(&KernelCaller, AnonKind::Other("[eventpoll]"));
        assert_eq!(e.link_name(), b"anon_inode:[eventpoll]");
        assert_ne!(a.ino(), e.ino());
    }
}
