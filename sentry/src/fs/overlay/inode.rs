//! An object of an overlay.

use super::file::{OverlayDirectory, OverlayFile};
use super::layers::{LowerInfo, UpperInfo};
use super::{MAGIC, Overlay};
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::vfs::told::{Mark, Of, Teller};
use crate::vfs::{
    Caller, FileOps, FileType, Inode, InodeMeta, InodeRef, OpenFlags, Permissions, RenameFlags,
    SetAttr, Stat, StatFs,
};
use std::any::Any;
use std::sync::{Arc, Weak};

/// A file, directory, link or node of an [`Overlay`].
pub struct OverlayInode {
    meta: InodeMeta,
    pub(super) fs: Arc<Overlay>,
    pub(super) me: Weak<OverlayInode>,
    kind: FileType,
    /// The lower inode; for what is in the upper layer: where it came from.
    pub(super) lower: Option<InodeRef>,
    pub(super) state: Mutex<State>,
    /// That it is only in the lower layer, or which of its names show.
    pub(super) told: Mark,
}

#[derive(Default)]
pub(super) struct State {
    pub upper: Option<InodeRef>,
    /// Where it is to be copied up to: the names by which it was found, while it is only in the lower layer.
    pub places: Vec<(Arc<OverlayInode>, Box<[u8]>)>,
    /// A removed directory.
    pub dead: bool,
}

impl OverlayInode {
    pub(super) fn new(
        fs: &Arc<Overlay>,
        upper: Option<InodeRef>,
        lower: Option<InodeRef>,
    ) -> Arc<OverlayInode> {
        let kind = upper
            .as_ref()
            .or(lower.as_ref())
            .map_or(FileType::Regular, |i| i.file_type());
        Arc::new_cyclic(|me| OverlayInode {
            meta: InodeMeta::default(),
            fs: fs.clone(),
            me: me.clone(),
            kind,
            lower,
            state: Mutex::new(
                Rank::OVERLAY,
                State {
                    upper,
                    ..State::default()
                },
            ),
            told: Mark::default(),
        })
    }
    /// The upper inode, if it was changed or is new.
    pub(super) fn upper(&self) -> Option<InodeRef> {
        self.state.lock().upper.clone()
    }
    /// The inode that has the data.
    pub(super) fn real(&self) -> Result<InodeRef> {
        self.upper()
            .or_else(|| self.lower.clone())
            .ok_or(Errno::EIO)
    }
    pub(super) fn arc(&self) -> Result<Arc<OverlayInode>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }
    /// Number of names that lead to it.
    fn nlink(&self, upper: Option<&Stat>, lower: Option<&Stat>) -> u32 {
        match (upper, lower) {
            // Merged directories do not count their children (as overlayfs).
            (Some(_), Some(_)) if self.kind == FileType::Directory => 1,
            (Some(u), Some(l)) => {
                let covered = self
                    .lower
                    .as_ref()
                    .map_or(0, |l| LowerInfo::of(l).covered(&self.fs));
                u.nlink.saturating_add(l.nlink.saturating_sub(covered))
            }
            (Some(u), None) => u.nlink,
            (None, Some(l)) => match &self.lower {
                Some(inode) if self.kind != FileType::Directory => l
                    .nlink
                    .saturating_sub(LowerInfo::of(inode).covered(&self.fs)),
                _ => l.nlink,
            },
            (None, None) => 0,
        }
    }
}

impl Drop for OverlayInode {
    /// Lets go of the parents in a loop: a chain may be very deep.
    fn drop(&mut self) {
        let mut todo = std::mem::take(&mut self.state.get_mut().places);
        while let Some((parent, _)) = todo.pop() {
            if let Some(mut p) = Arc::into_inner(parent) {
                todo.append(&mut p.state.get_mut().places);
            }
        }
    }
}

impl Inode for OverlayInode {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        self.kind
    }
    fn stat(&self) -> Result<Stat> {
        let upper = self.upper();
        let u = upper.as_ref().map(|i| i.stat()).transpose()?;
        let l = self.lower.as_ref().map(|i| i.stat()).transpose()?;
        let nlink = self.nlink(u.as_ref(), l.as_ref());
        let mut st = u.or(l).ok_or(Errno::EIO)?;
        (st.dev, st.ino) = self.fs.identity(u.as_ref(), l.as_ref())?;
        st.nlink = nlink;
        Ok(st)
    }
    fn tell(&self, teller: &Teller, of: Of) -> bool {
        self.told.set(teller);
        let upper = self.upper();
        let layers = [upper.as_ref(), self.lower.as_ref()];
        layers.into_iter().flatten().all(|i| i.tell(teller, of))
    }
    fn is_followed_without_trace(&self) -> bool {
        self.upper().is_none()
    }
    fn permissions(&self) -> Result<Permissions> {
        if let Some(upper) = &self.state.lock().upper {
            return upper.permissions();
        }
        self.lower.as_ref().ok_or(Errno::EIO)?.permissions()
    }
    fn set_attr(&self, cx: &dyn Caller, changes: &SetAttr) -> Result<()> {
        // What is cut to nothing need not be copied.
        let upper = self.copy_up(changes.size != Some(0))?;
        upper.set_attr(cx, changes)
    }
    fn statfs(&self) -> Result<StatFs> {
        let mut s = self.fs.work.statfs()?;
        s.magic = MAGIC;
        // Names and attributes take memory too: four objects to a page.
        let objects = s.files.saturating_sub(s.files_free).div_ceil(4);
        s.blocks_free = s.blocks_free.saturating_sub(objects);
        s.blocks_available = s.blocks_available.saturating_sub(objects);
        Ok(s)
    }
    fn open(self: Arc<Self>, cx: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        match self.kind {
            FileType::Regular => {
                if flags.writable() {
                    self.copy_up(true)?;
                }
                Ok(Box::new(OverlayFile::open(self, cx, flags)?))
            }
            FileType::Directory => Ok(Box::new(OverlayDirectory::new(self))),
            FileType::Fifo => crate::fs::pipe::open_fifo(&self.meta, flags),
            FileType::CharDevice | FileType::BlockDevice => {
                let rdev = self.stat()?.rdev;
                let inode: InodeRef = self;
                crate::fs::devices::open(cx, &inode, rdev, flags)
            }
            FileType::Socket => Err(Errno::ENXIO),
            FileType::Symlink => Err(Errno::ELOOP),
        }
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        Ok(self.find(name)?)
    }
    fn create(&self, cx: &dyn Caller, name: &[u8], perm: u32) -> Result<InodeRef> {
        self.make(cx, name, FileType::Regular, |dir, n| {
            dir.create(cx, n, perm)
        })
    }
    fn mkdir(&self, cx: &dyn Caller, name: &[u8], perm: u32) -> Result<InodeRef> {
        self.make(cx, name, FileType::Directory, |dir, n| {
            dir.mkdir(cx, n, perm)
        })
    }
    fn mknod(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        kind: FileType,
        perm: u32,
        rdev: u64,
    ) -> Result<InodeRef> {
        // It would be a whiteout.
        if kind == FileType::CharDevice && rdev == 0 {
            return Err(Errno::EPERM);
        }
        self.make(cx, name, kind, |dir, n| dir.mknod(cx, n, kind, perm, rdev))
    }
    fn symlink(&self, cx: &dyn Caller, name: &[u8], target: &[u8]) -> Result<InodeRef> {
        self.make(cx, name, FileType::Symlink, |dir, n| {
            dir.symlink(cx, n, target)
        })
    }
    fn link(&self, cx: &dyn Caller, name: &[u8], target: &InodeRef) -> Result<()> {
        self.add_link(cx, name, target)
    }
    fn unlink(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        self.remove(cx, name)
    }
    fn rmdir(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        self.remove_dir(cx, name)
    }
    fn rename(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        new_dir: &InodeRef,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        let to = new_dir
            .clone()
            .into_any()
            .downcast::<OverlayInode>()
            .ok()
            .filter(|d| Arc::ptr_eq(&d.fs, &self.fs))
            .ok_or(Errno::EXDEV)?;
        self.move_to(cx, name, &to, new_name, flags)
    }
    fn tmpfile(&self, cx: &dyn Caller, perm: u32) -> Result<InodeRef> {
        let upper = self.copy_up(true)?.tmpfile(cx, perm)?;
        Ok(self.fs.of_upper(upper))
    }
    fn readlink(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        self.real()?.readlink(cx)
    }
    fn getxattr(&self, cx: &dyn Caller, name: &[u8]) -> Result<Vec<u8>> {
        self.real()?.getxattr(cx, name)
    }
    fn setxattr(&self, cx: &dyn Caller, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.copy_up(true)?.setxattr(cx, name, value, flags)
    }
    fn listxattr(&self, cx: &dyn Caller) -> Result<Vec<Vec<u8>>> {
        self.real()?.listxattr(cx)
    }
    fn removexattr(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        // Asking first: what is not there need not be copied to say so.
        self.real()?.getxattr(cx, name)?;
        self.copy_up(true)?.removexattr(cx, name)
    }
    fn accessed(&self, relatime: bool) {
        // What nobody changed yet keeps its time: reading does not copy.
        if let Some(upper) = self.upper() {
            upper.accessed(relatime);
        }
    }
    fn modified(&self) {
        if let Some(upper) = self.upper() {
            upper.modified();
        }
    }
    fn file_flags(&self) -> Result<u32> {
        self.upper().map_or(Ok(0), |u| u.file_flags())
    }
    fn set_file_flags(&self, flags: u32) -> Result<()> {
        self.copy_up(true)?.set_file_flags(flags)
    }
    fn describe(&self) -> Vec<u8> {
        self.real()
            .map_or_else(|_| b"/ (deleted)".to_vec(), |r| r.describe())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The lower inode that an upper one shows through or came from.
pub(super) fn origin(upper: &InodeRef) -> Option<InodeRef> {
    UpperInfo::of(upper).lower()
}
