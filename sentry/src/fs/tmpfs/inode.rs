//! An object of a tmpfs: attributes, and what depends on its type.

use super::data::Data;
use super::dir::Dir;
use super::file::{DirectoryFile, RegularFile};
use super::xattr::Xattrs;
use super::{PAGE, Tmpfs, TmpfsOptions, is_special};
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::vfs::loan::Copies;
use crate::vfs::pages::Borrowers;
use crate::vfs::told::{Of, Teller};
use crate::vfs::{
    Caller, FileOps, FileType, Inode, InodeMeta, InodeRef, OpenFlags, Permissions, RenameFlags,
    SetAttr, SetTime, Stat, StatFs, Timestamp, permission,
};
use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

/// A file, directory, link or node of a [`Tmpfs`].
pub struct TmpfsInode {
    meta: InodeMeta,
    pub(super) fs: Arc<Tmpfs>,
    pub(super) ino: u64,
    kind: FileType,
    attr: Mutex<Attr>,
    copies: Copies,
    /// Who has its contents.
    pub(super) lent: Borrowers,
    pub(super) content: Content,
    /// What procfs shows for a file outside the tree (memfd).
    label: Option<Box<[u8]>>,
}

pub(super) enum Content {
    Regular {
        data: Mutex<Data>,
        /// Held over a whole write, so that writes do not mix and appends do not overlap.
        writers: Mutex<()>,
    },
    Directory(Mutex<Dir>),
    Symlink(Box<[u8]>),
    Special(u64),
}

pub(super) struct Attr {
    pub perm: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    pub xattrs: Xattrs,
    /// FS_*_FL.
    pub flags: u32,
}

/// FS_NOATIME_FL.
const FS_NOATIME_FL: u32 = 0x80;
/// SHMEM_FL_USER_MODIFIABLE: immutable, append, nodump, noatime.
const FLAGS_KNOWN: u32 = 0x10 | 0x20 | 0x40 | FS_NOATIME_FL;

/// How an inode comes to be.
pub(super) struct New<'a> {
    pub kind: FileType,
    pub perm: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub rdev: u64,
    pub target: &'a [u8],
    pub seals: u32,
    pub parent: u64,
    pub label: Option<&'a [u8]>,
}

impl Default for New<'_> {
    fn default() -> Self {
        New {
            kind: FileType::Regular,
            perm: 0,
            uid: 0,
            gid: 0,
            nlink: 1,
            rdev: 0,
            target: b"",
            seals: super::F_SEAL_SEAL,
            parent: 0,
            label: None,
        }
    }
}

impl Attr {
    /// Whether no reads are noted.
    pub(super) fn is_noatime(&self) -> bool {
        self.flags & FS_NOATIME_FL != 0
    }
}

impl TmpfsInode {
    pub(super) fn root(fs: &Arc<Tmpfs>, options: &TmpfsOptions) -> Arc<TmpfsInode> {
        // The root is not charged, so it cannot fail.
        fs.used_inodes
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = TmpfsInode::uncharged(
            fs,
            New {
                kind: FileType::Directory,
                perm: options.mode,
                uid: options.uid,
                gid: options.gid,
                nlink: 2,
                ..New::default()
            },
        );
        if let Content::Directory(d) = &root.content {
            d.lock().parent = root.ino;
        }
        root
    }

    /// A new object, counted against the quota.
    ///
    /// # Errors
    /// ENOSPC.
    pub(super) fn make(fs: &Arc<Tmpfs>, new: New<'_>) -> Result<Arc<TmpfsInode>> {
        fs.charge_inode()?;
        if long_target(new.target)
            && let Err(e) = fs.charge_pages(1)
        {
            fs.release_inode();
            return Err(e);
        }
        Ok(TmpfsInode::uncharged(fs, new))
    }

    fn uncharged(fs: &Arc<Tmpfs>, new: New<'_>) -> Arc<TmpfsInode> {
        let now = Timestamp::now();
        let content = match new.kind {
            FileType::Regular => Content::Regular {
                data: Mutex::new(Rank::INODE, Data::new(new.seals)),
                writers: Mutex::new(Rank::FILE_WRITE, ()),
            },
            FileType::Directory => {
                Content::Directory(Mutex::new(Rank::INODE, Dir::new(new.parent)))
            }
            FileType::Symlink => Content::Symlink(new.target.into()),
            _ => Content::Special(new.rdev),
        };
        Arc::new(TmpfsInode {
            meta: InodeMeta::default(),
            fs: fs.clone(),
            ino: fs.next_ino(),
            kind: new.kind,
            attr: Mutex::new(
                Rank::LEAF,
                Attr {
                    perm: new.perm,
                    uid: new.uid,
                    gid: new.gid,
                    nlink: new.nlink,
                    atime: now,
                    mtime: now,
                    ctime: now,
                    btime: now,
                    xattrs: Xattrs::default(),
                    flags: 0,
                },
            ),
            copies: Copies::default(),
            lent: Borrowers::default(),
            content,
            label: new.label.map(Into::into),
        })
    }

    /// The file system it belongs to.
    pub fn file_system(&self) -> &Arc<Tmpfs> {
        &self.fs
    }
    pub(super) fn data(&self) -> Result<&Mutex<Data>> {
        match &self.content {
            Content::Regular { data, .. } => Ok(data),
            Content::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }
    pub(super) fn dir(&self) -> Result<&Mutex<Dir>> {
        match &self.content {
            Content::Directory(d) => Ok(d),
            _ => Err(Errno::ENOTDIR),
        }
    }
    /// Its attributes, to be looked at.
    pub(super) fn attr(&self) -> impl Deref<Target = Attr> {
        self.settle();
        self.attr.lock()
    }
    /// Changes its attributes without a word.
    pub(super) fn with_attr<T>(&self, f: impl FnOnce(&mut Attr) -> T) -> T {
        f(&mut self.attr.lock())
    }
    /// Changes its attributes.
    pub(super) fn change<T>(&self, f: impl FnOnce(&mut Attr) -> T) -> T {
        // What was done before is not to come after it.
        self.settle();
        self.copies.changed();
        let (result, due) = self.with_attr(|attr| {
            let before = (attr.perm, attr.uid, attr.gid);
            let result = f(attr);
            if (attr.perm, attr.uid, attr.gid) != before {
                self.copies.search_changed();
            }
            (result, self.lent.any() && attr.read_is_due())
        });
        self.copies.changed();
        self.lent.changed(due);
        result
    }
    /// Size or blocks are about to change, or may from now on. Said with the contents locked: a copy that begins after that has to wait for the lock, and
    /// has what came of it.
    pub(super) fn resizes(&self) {
        self.copies.changed();
    }
    /// The contents changed: mtime and ctime.
    pub(super) fn touch_mtime(&self) {
        let now = Timestamp::now();
        self.change(|a| {
            a.mtime = now;
            a.ctime = now;
        });
    }
    /// Attributes or links changed: ctime.
    pub(super) fn changed(&self) {
        let now = Timestamp::now();
        self.change(|a| a.ctime = now);
    }
    /// The contents were read: atime, by the rules of relatime.
    pub(super) fn touch_atime(&self, relatime: bool) {
        let due = {
            let a = self.attr();
            !a.is_noatime() && (!relatime || a.read_is_due())
        };
        if due {
            self.change(|a| a.atime = Timestamp::now());
        }
    }
    /// Size and 512-byte blocks.
    fn extent(&self) -> (u64, u64) {
        match &self.content {
            Content::Regular { data, .. } => {
                let d = data.lock();
                (d.size(), d.pages().saturating_mul(PAGE as u64 / 512))
            }
            Content::Directory(d) => (d.lock().stat_size(), 0),
            Content::Symlink(t) => (t.len() as u64, 0),
            Content::Special(_) => (0, 0),
        }
    }
}

/// Whether a link's target takes a page of the quota.
fn long_target(target: &[u8]) -> bool {
    target.len() > 128
}

impl Drop for TmpfsInode {
    /// Returns quotas; takes a tree apart in a loop, for it may be very deep.
    fn drop(&mut self) {
        self.fs.release_inode();
        self.fs.release_pages(self.attr.get_mut().xattrs.pages());
        let mut todo = Vec::new();
        match &mut self.content {
            Content::Regular { data, .. } => data.get_mut().discard(&self.fs),
            Content::Symlink(t) if long_target(t) => self.fs.release_pages(1),
            Content::Directory(d) => todo.extend(d.get_mut().drain()),
            _ => {}
        }
        while let Some(child) = todo.pop() {
            if let Some(mut child) = Arc::into_inner(child)
                && let Content::Directory(d) = &mut child.content
            {
                todo.extend(d.get_mut().drain());
            }
        }
    }
}

impl Inode for TmpfsInode {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        self.kind
    }
    fn stat(&self) -> Result<Stat> {
        let (size, blocks) = self.extent();
        let rdev = match self.content {
            Content::Special(rdev) => rdev,
            _ => 0,
        };
        let a = self.attr();
        Ok(Stat {
            dev: self.fs.dev,
            ino: self.ino,
            file_type: self.kind,
            perm: a.perm,
            nlink: a.nlink,
            uid: a.uid,
            gid: a.gid,
            rdev,
            size,
            blksize: PAGE as u32,
            blocks,
            atime: a.atime,
            mtime: a.mtime,
            ctime: a.ctime,
            btime: a.btime,
        })
    }
    fn copies(&self) -> Option<&Copies> {
        // Of a memfd the guest may fill pages by itself.
        match &self.content {
            Content::Regular { data, .. } if data.lock().is_host() => None,
            _ => Some(&self.copies),
        }
    }
    fn tell(&self, teller: &Teller, of: Of) -> bool {
        self.copies.tell(teller, of);
        self.copies().is_some()
    }
    fn permissions(&self) -> Result<Permissions> {
        let a = self.attr.lock();
        Ok(Permissions {
            perm: a.perm,
            uid: a.uid,
            gid: a.gid,
        })
    }
    fn set_attr(&self, _cx: &dyn Caller, c: &SetAttr) -> Result<()> {
        if let (Some(perm), Content::Regular { data, .. }) = (c.perm, &self.content) {
            let sealed = data.lock().seals & super::F_SEAL_EXEC != 0;
            if sealed && (perm ^ self.attr.lock().perm) & 0o111 != 0 {
                return Err(Errno::EPERM);
            }
        }
        if let Some(size) = c.size {
            self.set_size(size)?;
        }
        if (c.perm, c.uid, c.gid) != (None, None, None) {
            // Set-user-ID bits have to be minded from now on.
            self.lent.end();
        }
        let now = Timestamp::now();
        let time = |t: SetTime| match t {
            SetTime::Now => now,
            SetTime::At(t) => t,
        };
        self.change(|a| {
            a.perm = c.perm.unwrap_or(a.perm);
            a.uid = c.uid.unwrap_or(a.uid);
            a.gid = c.gid.unwrap_or(a.gid);
            if c.size.is_some() {
                a.mtime = now;
            }
            a.atime = c.atime.map_or(a.atime, time);
            a.mtime = c.mtime.map_or(a.mtime, time);
            a.ctime = now;
        });
        Ok(())
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(self.fs.statfs())
    }
    fn open(self: Arc<Self>, cx: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        match self.kind {
            FileType::Regular => Ok(Box::new(RegularFile(self))),
            FileType::Directory => Ok(Box::new(DirectoryFile(self))),
            FileType::Fifo => crate::fs::pipe::open_fifo(&self.meta, flags),
            FileType::CharDevice | FileType::BlockDevice => {
                let Content::Special(rdev) = self.content else {
                    return Err(Errno::ENXIO);
                };
                let inode: InodeRef = self;
                crate::fs::devices::open(cx, &inode, rdev, flags)
            }
            FileType::Socket => Err(Errno::ENXIO),
            FileType::Symlink => Err(Errno::ELOOP),
        }
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let found = self.dir()?.lock().get(name);
        Ok(found.ok_or(Errno::ENOENT)?)
    }
    fn create(&self, cx: &dyn Caller, name: &[u8], perm: u32) -> Result<InodeRef> {
        self.add(cx, name, FileType::Regular, perm, 0, b"")
    }
    fn mkdir(&self, cx: &dyn Caller, name: &[u8], perm: u32) -> Result<InodeRef> {
        self.add(cx, name, FileType::Directory, perm, 0, b"")
    }
    fn mknod(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        kind: FileType,
        perm: u32,
        rdev: u64,
    ) -> Result<InodeRef> {
        if !is_special(kind) {
            return Err(Errno::EINVAL);
        }
        self.add(cx, name, kind, perm, rdev, b"")
    }
    fn symlink(&self, cx: &dyn Caller, name: &[u8], target: &[u8]) -> Result<InodeRef> {
        self.add(cx, name, FileType::Symlink, 0o777, 0, target)
    }
    fn link(&self, _cx: &dyn Caller, name: &[u8], target: &InodeRef) -> Result<()> {
        self.add_link(name, target)
    }
    fn unlink(&self, _cx: &dyn Caller, name: &[u8]) -> Result<()> {
        self.remove(name)
    }
    fn rmdir(&self, _cx: &dyn Caller, name: &[u8]) -> Result<()> {
        self.remove_dir(name)
    }
    fn rename(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        new_dir: &InodeRef,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let new_dir = new_dir
            .as_any()
            .downcast_ref::<TmpfsInode>()
            .filter(|d| Arc::ptr_eq(&d.fs, &self.fs))
            .ok_or(Errno::EXDEV)?;
        self.move_to(cx, name, new_dir, new_name, flags)
    }
    fn tmpfile(&self, cx: &dyn Caller, perm: u32) -> Result<InodeRef> {
        self.dir()?;
        let (uid, gid, perm) = permission::ownership(cx, &self.stat()?, FileType::Regular, perm);
        Ok(TmpfsInode::make(
            &self.fs,
            New {
                perm,
                uid,
                gid,
                nlink: 0,
                ..New::default()
            },
        )?)
    }
    fn readlink(&self, _cx: &dyn Caller) -> Result<Vec<u8>> {
        match &self.content {
            Content::Symlink(t) => Ok(t.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }
    fn getxattr(&self, _cx: &dyn Caller, name: &[u8]) -> Result<Vec<u8>> {
        self.attr.lock().xattrs.get(name)
    }
    fn setxattr(&self, _cx: &dyn Caller, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let now = Timestamp::now();
        self.change(|a| {
            a.xattrs.set(&self.fs, name, value, flags)?;
            a.ctime = now;
            Ok(())
        })
    }
    fn listxattr(&self, _cx: &dyn Caller) -> Result<Vec<Vec<u8>>> {
        Ok(self.attr.lock().xattrs.names())
    }
    fn removexattr(&self, _cx: &dyn Caller, name: &[u8]) -> Result<()> {
        let now = Timestamp::now();
        self.change(|a| {
            a.xattrs.remove(&self.fs, name)?;
            a.ctime = now;
            Ok(())
        })
    }
    fn accessed(&self, relatime: bool) {
        self.touch_atime(relatime);
    }
    fn modified(&self) {
        self.touch_mtime();
    }
    fn file_flags(&self) -> Result<u32> {
        Ok(self.attr.lock().flags)
    }
    fn set_file_flags(&self, flags: u32) -> Result<()> {
        if flags & !FLAGS_KNOWN != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        self.lent.end();
        let now = Timestamp::now();
        self.change(|a| {
            a.flags = flags;
            a.ctime = now;
        });
        Ok(())
    }
    fn describe(&self) -> Vec<u8> {
        match &self.label {
            Some(l) => l.to_vec(),
            None => format!("/#{} (deleted)", self.ino).into_bytes(),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
