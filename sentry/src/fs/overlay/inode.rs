//! One object of an overlay.

use super::{Key, MAGIC, Overlay};
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::vfs::{
    Caller, FileOps, FileType, Inode, InodeMeta, InodeRef, OpenFlags, RenameFlags, SetAttr, Stat,
    StatFs,
};
use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};

/// One object: in the upper layer, the lower one, or (directories) both.
pub struct OverlayInode {
    me: Weak<OverlayInode>,
    meta: InodeMeta,
    pub(super) fs: Arc<Overlay>,
    key: Key,
    ino: u64,
    file_type: FileType,
    /// Born in the upper layer: VFS state is kept with the upper inode, which lives as long as the object does.
    born_upper: bool,
    /// Set once: at birth or by copy-up.
    pub(super) upper: OnceLock<InodeRef>,
    pub(super) lower: Option<InodeRef>,
    /// Where it was found, for copy-up: parent and name. `None` for the root.
    pub(super) place: Mutex<Option<(Arc<OverlayInode>, Vec<u8>)>>,
}

impl Drop for OverlayInode {
    fn drop(&mut self) {
        self.fs.forget(self.key);
    }
}

impl OverlayInode {
    pub(super) fn new(
        fs: &Arc<Overlay>,
        parent: Option<Arc<OverlayInode>>,
        name: &[u8],
        upper: Option<InodeRef>,
        lower: Option<InodeRef>,
        key: Key,
        ino: u64,
    ) -> Arc<OverlayInode> {
        let file_type = upper
            .as_ref()
            .or(lower.as_ref())
            .map_or(FileType::Regular, |i| i.file_type());
        Arc::new_cyclic(|me| OverlayInode {
            me: me.clone(),
            meta: InodeMeta::default(),
            fs: fs.clone(),
            key,
            ino,
            file_type,
            born_upper: matches!(key, Key::Upper { .. }),
            upper: upper.map_or_else(OnceLock::new, OnceLock::from),
            lower,
            place: Mutex::new(Rank::LEAF, parent.map(|p| (p, name.to_vec()))),
        })
    }

    pub(super) fn arc(&self) -> Result<Arc<OverlayInode>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    /// The object has been found in the upper layer as well (another name of it was copied up).
    pub(super) fn adopt_upper(&self, upper: InodeRef) {
        let _ = self.upper.set(upper);
    }

    /// Its origin in the lower layer, if it was born there: key and inode number.
    pub(super) fn origin(&self) -> Option<(Key, u64)> {
        matches!(self.key, Key::Lower { .. }).then_some((self.key, self.ino))
    }

    /// Where its contents and attributes are now.
    pub(super) fn top(&self) -> Result<&InodeRef> {
        self.upper.get().or(self.lower.as_ref()).ok_or(Errno::EIO)
    }

    /// The upper inode, copied up if need be.
    pub(super) fn upper(&self) -> Result<&InodeRef> {
        self.upper_with_size(u64::MAX)
    }

    /// The same; only the first `size` bytes of contents are wanted.
    pub(super) fn upper_with_size(&self, size: u64) -> Result<&InodeRef> {
        if self.upper.get().is_none() {
            self.copy_up(size)?;
        }
        self.upper.get().ok_or(Errno::EIO)
    }
}

impl Inode for OverlayInode {
    fn meta(&self) -> &InodeMeta {
        match self.upper.get() {
            Some(u) if self.born_upper => u.meta(),
            _ => &self.meta,
        }
    }
    fn file_type(&self) -> FileType {
        self.file_type
    }
    fn stat(&self) -> Result<Stat> {
        let mut stat = self.top()?.stat()?;
        let from_lower = match self.key {
            Key::Lower { dev, .. } => Some(dev),
            Key::Upper { .. } => None,
        };
        (stat.dev, stat.ino) = self.fs.identity(&stat, self.ino, from_lower);
        if self.file_type == FileType::Directory
            && self.upper.get().is_some()
            && self.lower.is_some()
        {
            // As overlayfs: the link count of a merged directory is not known.
            stat.nlink = 1;
        }
        Ok(stat)
    }
    fn set_attr(&self, cx: &dyn Caller, changes: &SetAttr) -> Result<()> {
        self.upper_with_size(changes.size.unwrap_or(u64::MAX))?
            .set_attr(cx, changes)
    }
    fn statfs(&self) -> Result<StatFs> {
        let root = match &self.upper.get() {
            Some(u) => u.statfs()?,
            None => self.top()?.statfs()?,
        };
        Ok(StatFs {
            magic: MAGIC,
            ..root
        })
    }
    fn open(self: Arc<Self>, cx: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        match self.file_type {
            FileType::Directory => Ok(super::dir::open(self)),
            FileType::Regular if flags.writable() => self.upper()?.clone().open(cx, flags),
            // FIFOs and devices live on: they are opened in the layer that has them, as the lower one is never written.
            _ => self.top()?.clone().open(cx, flags),
        }
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        Ok(self.child(name)?)
    }
    fn cacheable(&self) -> bool {
        self.lower.as_ref().is_none_or(|l| l.cacheable())
    }
    fn create(&self, cx: &dyn Caller, name: &[u8], perm: u32) -> Result<InodeRef> {
        self.make(name, |upper| upper.create(cx, name, perm))
    }
    fn mkdir(&self, cx: &dyn Caller, name: &[u8], perm: u32) -> Result<InodeRef> {
        self.make(name, |upper| upper.mkdir(cx, name, perm))
    }
    fn mknod(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        kind: FileType,
        perm: u32,
        rdev: u64,
    ) -> Result<InodeRef> {
        if kind == FileType::CharDevice && rdev == 0 {
            // Would be a whiteout; overlayfs refuses it as well.
            return Err(Errno::EPERM);
        }
        self.make(name, |upper| upper.mknod(cx, name, kind, perm, rdev))
    }
    fn symlink(&self, cx: &dyn Caller, name: &[u8], target: &[u8]) -> Result<InodeRef> {
        self.make(name, |upper| upper.symlink(cx, name, target))
    }
    fn link(&self, cx: &dyn Caller, name: &[u8], target: &InodeRef) -> Result<()> {
        let target = as_overlay(target)?;
        self.add_link(cx, name, &target)
    }
    fn unlink(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        self.remove(cx, name)
    }
    fn rmdir(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        self.remove(cx, name)
    }
    fn rename(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        new_dir: &InodeRef,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let new_dir = as_overlay(new_dir)?;
        self.move_child(cx, name, &new_dir, new_name, flags)
    }
    fn tmpfile(&self, cx: &dyn Caller, perm: u32) -> Result<InodeRef> {
        let upper = self.upper()?.tmpfile(cx, perm)?;
        Ok(self.fs.from_upper(&self.arc()?, b"", upper, None)?)
    }
    fn readlink(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        self.top()?.readlink(cx)
    }
    fn getxattr(&self, cx: &dyn Caller, name: &[u8]) -> Result<Vec<u8>> {
        self.top()?.getxattr(cx, name)
    }
    fn setxattr(&self, cx: &dyn Caller, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.upper()?.setxattr(cx, name, value, flags)
    }
    fn listxattr(&self, cx: &dyn Caller) -> Result<Vec<Vec<u8>>> {
        self.top()?.listxattr(cx)
    }
    fn removexattr(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        self.upper()?.removexattr(cx, name)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// EXDEV for an inode of another file system.
pub(super) fn as_overlay(inode: &InodeRef) -> Result<Arc<OverlayInode>> {
    inode
        .clone()
        .into_any()
        .downcast::<OverlayInode>()
        .map_err(|_| Errno::EXDEV)
}
