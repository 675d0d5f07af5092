//! The mqueue file system, mostly at /dev/mqueue: the POSIX message queues of an IPC namespace as files (mq_overview(7)).

use super::mq::{MqInode, MqNamespace};
use crate::abi::{Errno, Result};
use crate::kernel::namespaces::Ipc;
use crate::kernel::task_of;
use crate::sync::{Mutex, Rank};
use crate::usermem::Sink;
use crate::vfs::{
    Caller, DirEntry, File, FileOps, FileType, Inode, InodeMeta, InodeRef, OpenFlags, Permissions,
    Readdir, SetAttr, SetTime, Stat, StatFs, Timestamp,
};
use std::any::Any;
use std::sync::{Arc, Weak};

/// What a name adds to the size of the directory, in bytes (`DIRENT_SIZE`).
const ENTRY_SIZE: u64 = 20;
/// Its inode number; queues have others.
const INO: u64 = 1;

/// The directory with all queues.
pub struct MqDir {
    meta: InodeMeta,
    queues: Arc<MqNamespace>,
    /// Whose queues they are: once nobody lives there, none is made any more.
    ipc: Weak<Ipc>,
    attr: Mutex<Attr>,
}

struct Attr {
    permissions: Permissions,
    atime: Timestamp,
    mtime: Timestamp,
    ctime: Timestamp,
}

impl MqDir {
    /// That of a namespace, for a new mount; `owner` is its user and group.
    pub fn root(ipc: &Arc<Ipc>, (uid, gid): (u32, u32)) -> InodeRef {
        let now = Timestamp::now();
        Arc::new(MqDir {
            meta: InodeMeta::default(),
            queues: ipc.queues.clone(),
            ipc: Arc::downgrade(ipc),
            attr: Mutex::new(
                Rank::LEAF,
                Attr {
                    permissions: Permissions {
                        perm: 0o1777,
                        uid,
                        gid,
                    },
                    atime: now,
                    mtime: now,
                    ctime: now,
                },
            ),
        })
    }
    fn changed(&self) {
        let now = Timestamp::now();
        let mut a = self.attr.lock();
        (a.mtime, a.ctime) = (now, now);
    }
}

impl Inode for MqDir {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        FileType::Directory
    }
    fn stat(&self) -> Result<Stat> {
        let count = self.queues.all().len() as u64;
        let a = self.attr.lock();
        Ok(Stat {
            dev: super::mq::DEVICE,
            ino: INO,
            file_type: FileType::Directory,
            perm: a.permissions.perm,
            nlink: 2,
            uid: a.permissions.uid,
            gid: a.permissions.gid,
            rdev: 0,
            size: (count + 2).saturating_mul(ENTRY_SIZE),
            blksize: 4096,
            blocks: 0,
            atime: a.atime,
            mtime: a.mtime,
            ctime: a.ctime,
            btime: a.ctime,
        })
    }
    fn set_attr(&self, _: &dyn Caller, changes: &SetAttr) -> Result<()> {
        let now = Timestamp::now();
        let time = |t| match t {
            SetTime::Now => now,
            SetTime::At(t) => t,
        };
        let mut a = self.attr.lock();
        let p = &mut a.permissions;
        p.perm = changes.perm.unwrap_or(p.perm);
        p.uid = changes.uid.unwrap_or(p.uid);
        p.gid = changes.gid.unwrap_or(p.gid);
        a.atime = changes.atime.map_or(a.atime, time);
        a.mtime = changes.mtime.map_or(a.mtime, time);
        a.ctime = now;
        Ok(())
    }
    fn statfs(&self) -> Result<StatFs> {
        super::mq::statfs()
    }
    fn open(self: Arc<Self>, _: &dyn Caller, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(Opened(self)))
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let queue = self.queues.find(name).ok_or(Errno::ENOENT)?;
        Ok(queue)
    }
    fn cacheable(&self) -> bool {
        // mq_open and mq_unlink change it, too.
        false
    }
    fn create(&self, cx: &dyn Caller, name: &[u8], perm: u32) -> Result<InodeRef> {
        if self.ipc.upgrade().is_none() {
            return Err(Errno::EACCES);
        }
        let limit = task_of(cx).map_or(0, |t| t.group().limit(libc::RLIMIT_MSGQUEUE));
        let queue = self.queues.create(cx, name, perm, None, limit)?;
        self.changed();
        Ok(queue)
    }
    fn unlink(&self, _: &dyn Caller, name: &[u8]) -> Result<()> {
        self.queues.remove(name)?;
        self.changed();
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The open directory. Positions: 0 ".", 1 "..", then 1 more than a queue's number, which grow.
struct Opened(Arc<MqDir>);

impl FileOps for Opened {
    fn read(&self, _: &File, _: &dyn Caller, _: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn readdir(
        &self,
        _: &File,
        _: &dyn Caller,
        pos: &mut u64,
        emit: &mut Readdir<'_>,
    ) -> Result<()> {
        for (at, name) in [(0u64, b".".as_slice()), (1, b"..")] {
            if *pos == at {
                let e = DirEntry {
                    ino: INO,
                    file_type: FileType::Directory,
                    name,
                    next: at + 1,
                };
                if !emit(&e) {
                    return Ok(());
                }
                *pos = at + 1;
            }
        }
        let mut all: Vec<(u64, Vec<u8>)> = self.0.queues.all();
        all.sort_unstable();
        for (ino, name) in all {
            if ino < *pos {
                continue;
            }
            let e = DirEntry {
                ino,
                file_type: FileType::Regular,
                name: &name,
                next: ino + 1,
            };
            if !emit(&e) {
                return Ok(());
            }
            *pos = ino + 1;
        }
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl MqNamespace {
    /// The queue of this name.
    fn find(&self, name: &[u8]) -> Option<Arc<MqInode>> {
        self.lock().get(name).cloned()
    }
    /// Numbers and names of all.
    fn all(&self) -> Vec<(u64, Vec<u8>)> {
        let queues = self.lock();
        queues
            .iter()
            .map(|(n, q)| (q.number(), n.clone()))
            .collect()
    }
    /// Takes a name away.
    ///
    /// # Errors
    /// ENOENT.
    fn remove(&self, name: &[u8]) -> Result<()> {
        let gone = self.lock().remove(name).ok_or(Errno::ENOENT)?;
        gone.unlinked();
        Ok(())
    }
}
