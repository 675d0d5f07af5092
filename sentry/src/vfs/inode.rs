//! What a file system implements: one object per file, directory, link or node.

use super::caller::Caller;
use super::file::{FileOps, OpenFlags};
use super::loan::Copies;
use super::told::{Of, Teller};
use crate::abi::{Errno, Result};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A shared inode.
pub type InodeRef = Arc<dyn Inode>;

/// S_IFMT part of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileType {
    Fifo,
    CharDevice,
    Directory,
    BlockDevice,
    Regular,
    Symlink,
    Socket,
}

impl FileType {
    /// S_IF* bits.
    pub fn mode_bits(self) -> u32 {
        match self {
            FileType::Fifo => 0o010000,
            FileType::CharDevice => 0o020000,
            FileType::Directory => 0o040000,
            FileType::BlockDevice => 0o060000,
            FileType::Regular => 0o100000,
            FileType::Symlink => 0o120000,
            FileType::Socket => 0o140000,
        }
    }
    /// From the S_IF* bits of a mode.
    pub fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode & 0o170000 {
            0o010000 => FileType::Fifo,
            0o020000 => FileType::CharDevice,
            0o040000 => FileType::Directory,
            0o060000 => FileType::BlockDevice,
            0o100000 => FileType::Regular,
            0o120000 => FileType::Symlink,
            0o140000 => FileType::Socket,
            _ => return None,
        })
    }
    /// DT_* of getdents64.
    pub fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// Seconds and nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Timestamp {
    pub sec: i64,
    pub nsec: u32,
}

impl Timestamp {
    /// Now to within a few milliseconds, in half the time.
    pub fn coarse() -> Timestamp {
        Timestamp::from_ns(crate::time::Clock::RealtimeCoarse.now())
    }
    /// Now on CLOCK_REALTIME.
    pub fn now() -> Timestamp {
        Timestamp::from_ns(crate::time::realtime_ns())
    }
    /// So many nanoseconds after the epoch.
    pub fn from_ns(ns: u64) -> Timestamp {
        Timestamp {
            sec: (ns / 1_000_000_000) as i64,
            nsec: (ns % 1_000_000_000) as u32,
        }
    }
}

/// Attributes of an inode (stat(2), statx(2)).
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Stat {
    /// Device of the file system (`makedev` form).
    pub dev: u64,
    pub ino: u64,
    pub file_type: FileType,
    /// Permission bits, 0o7777.
    pub perm: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    pub blksize: u32,
    /// 512-byte units.
    pub blocks: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
}

impl Stat {
    /// What decides on access.
    pub fn permissions(&self) -> Permissions {
        Permissions {
            perm: self.perm,
            uid: self.uid,
            gid: self.gid,
        }
    }
    /// `st_mode`.
    pub fn mode(&self) -> u32 {
        self.file_type.mode_bits() | self.perm
    }
}

/// A new time for atime or mtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SetTime {
    Now,
    At(Timestamp),
}

/// What chmod, chown, truncate and utimensat change; permissions have been checked by the VFS.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct SetAttr {
    /// Permission bits, 0o7777.
    pub perm: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
}

/// statfs(2).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct StatFs {
    /// Magic number of linux/magic.h.
    pub magic: u64,
    pub block_size: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub name_max: u64,
}

bitflags::bitflags! {
    /// RENAME_* of renameat2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct RenameFlags: u32 {
        const NOREPLACE = 1;
        const EXCHANGE = 2;
        const WHITEOUT = 4;
    }
}

/// State that the VFS keeps with every inode, whatever its file system (file locks, watches). Each implementation embeds one.
#[derive(Default)]
pub struct InodeMeta {
    /// Slots that VFS layers fill on first use, keyed by type.
    extensions: parking_lot::Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
    /// Whether there is any.
    used: AtomicBool,
    /// Open file descriptions that only read (`i_readcount`).
    readers: AtomicU32,
}

impl InodeMeta {
    /// Open file descriptions that only read.
    pub fn readers(&self) -> u32 {
        self.readers.load(Ordering::Relaxed)
    }
    pub(super) fn reader_added(&self) {
        self.readers.fetch_add(1, Ordering::Relaxed);
    }
    pub(super) fn reader_gone(&self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }
    /// The extension of type `T`, made on first use.
    pub fn extension<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut v = self.extensions.lock();
        if let Some(t) = find(&v) {
            return t;
        }
        let t = Arc::new(T::default());
        v.push(t.clone());
        self.used.store(true, Ordering::Release);
        t
    }
    /// The extension of type `T` if it was ever used.
    pub fn existing<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        if !self.used.load(Ordering::Acquire) {
            return None;
        }
        find(&self.extensions.lock())
    }
}

fn find<T: Any + Send + Sync>(extensions: &[Arc<dyn Any + Send + Sync>]) -> Option<Arc<T>> {
    let found = extensions.iter().find(|e| (***e).is::<T>())?;
    found.clone().downcast().ok()
}

/// What decides on access to an inode.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Permissions {
    /// Permission bits, 0o7777.
    pub perm: u32,
    pub uid: u32,
    pub gid: u32,
}

/// One file system object. The VFS has resolved paths and checked permissions (search, write, sticky) before it calls;
/// names are single components without '/' or NUL, at most 255 bytes, never "." or "..". Directory methods
/// of a non-directory keep their defaults (ENOTDIR). Modes come with the umask applied.
pub trait Inode: Any + Send + Sync {
    /// VFS-owned state.
    fn meta(&self) -> &InodeMeta;
    /// Type; never changes.
    fn file_type(&self) -> FileType;
    /// Attributes now.
    fn stat(&self) -> Result<Stat>;
    /// Where to say that one copies the attributes; `None` if they may change without a word.
    fn copies(&self) -> Option<&Copies> {
        None
    }
    /// Somebody is about to look at its attributes to tell others of them, for as long as nothing changes: marks what they depend on. False if they may change
    /// without a word.
    fn tell(&self, _teller: &Teller, _of: Of) -> bool {
        false
    }
    /// Whether who follows it, a link, changes nothing; if so, [`Inode::tell`] marks that, too.
    fn is_followed_without_trace(&self) -> bool {
        false
    }
    /// Of the attributes those that decide on access: asked for each directory of a path.
    fn permissions(&self) -> Result<Permissions> {
        self.stat().map(|s| s.permissions())
    }
    /// Changes attributes; ctime follows by itself. ENOSPC, EROFS, EPERM, EFBIG.
    fn set_attr(&self, cx: &dyn Caller, changes: &SetAttr) -> Result<()>;
    /// Of the file system that this inode is in.
    fn statfs(&self) -> Result<StatFs>;

    /// Opens for I/O. Called for every type but symlinks; sockets give ENXIO. O_TRUNC has been done by the VFS
    /// through `set_attr`.
    fn open(self: Arc<Self>, cx: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>>;

    /// Child by name, or ENOENT.
    fn lookup(&self, _name: &[u8]) -> Result<InodeRef> {
        Err(Errno::ENOTDIR)
    }
    /// Whether the VFS may keep `lookup` results (also negative ones) without asking again. Directories that change
    /// by themselves (procfs, shared gofer trees) say false.
    fn cacheable(&self) -> bool {
        true
    }
    /// New regular file; EEXIST if the name is taken.
    fn create(&self, _cx: &dyn Caller, _name: &[u8], _perm: u32) -> Result<InodeRef> {
        Err(Errno::EPERM)
    }
    /// New directory.
    fn mkdir(&self, _cx: &dyn Caller, _name: &[u8], _perm: u32) -> Result<InodeRef> {
        Err(Errno::EPERM)
    }
    /// New FIFO, socket or device node (`rdev` in makedev form).
    fn mknod(
        &self,
        _cx: &dyn Caller,
        _name: &[u8],
        _kind: FileType,
        _perm: u32,
        _rdev: u64,
    ) -> Result<InodeRef> {
        Err(Errno::EPERM)
    }
    /// New symbolic link.
    fn symlink(&self, _cx: &dyn Caller, _name: &[u8], _target: &[u8]) -> Result<InodeRef> {
        Err(Errno::EPERM)
    }
    /// New hard link to `target`, which is of this file system (EXDEV otherwise is the VFS's business).
    fn link(&self, _cx: &dyn Caller, _name: &[u8], _target: &InodeRef) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Removes a non-directory.
    fn unlink(&self, _cx: &dyn Caller, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Removes an empty directory; ENOTEMPTY.
    fn rmdir(&self, _cx: &dyn Caller, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Moves `name` here to `new_name` in `new_dir` (same file system). The VFS has excluded cycles and type mismatches.
    fn rename(
        &self,
        _cx: &dyn Caller,
        _name: &[u8],
        _new_dir: &InodeRef,
        _new_name: &[u8],
        _flags: RenameFlags,
    ) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// An unnamed regular file of this directory's file system (O_TMPFILE).
    fn tmpfile(&self, _cx: &dyn Caller, _perm: u32) -> Result<InodeRef> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Target of a symlink.
    fn readlink(&self, _cx: &dyn Caller) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }
    /// A magic link (procfs `fd/N`, `exe`, `cwd`, `root`): where it leads, past all path checks. `None` for ordinary symlinks.
    fn magic_target(&self, _cx: &dyn Caller) -> Option<Result<super::file::MagicTarget>> {
        None
    }
    /// Whether the inode's permission check must be asked of the inode itself (`None`: by mode, uid and gid). `mask`: 4 read, 2 write, 1 execute.
    fn permission(&self, _cx: &dyn Caller, _mask: u32) -> Option<Result<()>> {
        None
    }
    /// Value of an extended attribute; ENODATA.
    fn getxattr(&self, _cx: &dyn Caller, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Sets an extended attribute; flags XATTR_CREATE 1, XATTR_REPLACE 2.
    fn setxattr(&self, _cx: &dyn Caller, _name: &[u8], _value: &[u8], _flags: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Names of all extended attributes.
    fn listxattr(&self, _cx: &dyn Caller) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
    /// Removes an extended attribute; ENODATA.
    fn removexattr(&self, _cx: &dyn Caller, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// It was read, through a mount that keeps access times; `relatime` by those rules.
    fn accessed(&self, _relatime: bool) {}
    /// Something was written to a FIFO here: its times follow.
    fn modified(&self) {}
    /// File flags, FS_*_FL (ioctl_iflags(2)).
    fn file_flags(&self) -> Result<u32> {
        Err(Errno::ENOTTY)
    }
    /// Replaces them; whoever asks may. EOPNOTSUPP for flags that are not known here.
    fn set_file_flags(&self, _flags: u32) -> Result<()> {
        Err(Errno::ENOTTY)
    }
    /// What /proc/PID/fd shows for an object outside any tree: `pipe:[7]`, `anon_inode:[eventfd]`, `/memfd:x (deleted)`.
    fn describe(&self) -> Vec<u8> {
        b"anon_inode:[file]".to_vec()
    }
    /// For downcasts to the concrete type (sockets bound to a path, overlay).
    fn as_any(&self) -> &dyn Any;
    /// Same, owned.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Whether two references are one inode.
pub fn same_inode(a: &InodeRef, b: &InodeRef) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}
