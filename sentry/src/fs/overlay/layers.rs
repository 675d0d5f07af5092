//! What the two layers' own inodes remember of the overlay, as extensions of their `InodeMeta`.

use super::inode::OverlayInode;
use super::{Overlay, UPPER_INO};
use crate::abi::{Errno, Result};
use crate::fs::tmpfs::TmpfsInode;
use crate::sync::{Mutex, Rank};
use crate::vfs::{Inode, InodeRef, Stat};
use std::sync::{Arc, Weak};

/// With an upper inode.
pub(super) struct UpperInfo(Mutex<Upper>);

#[derive(Default)]
struct Upper {
    /// The lower inode it was copied from; for directories: whose contents show through.
    lower: Option<InodeRef>,
    overlay: Weak<OverlayInode>,
}

impl Default for UpperInfo {
    fn default() -> UpperInfo {
        UpperInfo(Mutex::new(Rank::LEAF, Upper::default()))
    }
}

impl UpperInfo {
    pub(super) fn of(upper: &InodeRef) -> Arc<UpperInfo> {
        upper.meta().extension()
    }
    pub(super) fn lower(&self) -> Option<InodeRef> {
        self.0.lock().lower.clone()
    }
    pub(super) fn set_lower(&self, lower: InodeRef) {
        self.0.lock().lower = Some(lower);
    }
}

/// With a lower inode, one entry per overlay.
pub(super) struct LowerInfo(Mutex<Vec<Lower>>);

struct Lower {
    fs: u64,
    overlay: Weak<OverlayInode>,
    /// Its copy, if there is one. The copy holds the lower inode, so this is not forgotten while it exists.
    upper: Option<Weak<dyn Inode>>,
    /// How many of its names in the lower tree show no longer.
    covered: u32,
}

impl Default for LowerInfo {
    fn default() -> LowerInfo {
        LowerInfo(Mutex::new(Rank::LEAF, Vec::new()))
    }
}

impl LowerInfo {
    pub(super) fn of(lower: &InodeRef) -> Arc<LowerInfo> {
        lower.meta().extension()
    }
    fn with<R>(&self, fs: u64, f: impl FnOnce(&mut Lower) -> R) -> R {
        let mut v = self.0.lock();
        let at = v.iter().position(|l| l.fs == fs).unwrap_or_else(|| {
            v.push(Lower {
                fs,
                overlay: Weak::new(),
                upper: None,
                covered: 0,
            });
            v.len() - 1
        });
        let mut spare = Lower {
            fs,
            overlay: Weak::new(),
            upper: None,
            covered: 0,
        };
        f(v.get_mut(at).unwrap_or(&mut spare))
    }
    /// A name of it in the lower tree was removed or replaced.
    pub(super) fn cover(&self, fs: &Overlay) {
        self.with(fs.id, |l| l.covered = l.covered.saturating_add(1));
    }
    pub(super) fn covered(&self, fs: &Overlay) -> u32 {
        self.with(fs.id, |l| l.covered)
    }
    pub(super) fn copied(&self, fs: &Overlay, upper: &InodeRef) {
        self.with(fs.id, |l| l.upper = Some(Arc::downgrade(upper)));
    }
    fn upper(&self, fs: &Overlay) -> Option<InodeRef> {
        self.with(fs.id, |l| l.upper.as_ref().and_then(Weak::upgrade))
    }
}

/// An upper inode as what it is.
pub(super) fn tmpfs(inode: InodeRef) -> Result<Arc<TmpfsInode>> {
    inode.into_any().downcast().map_err(|_| Errno::EIO)
}

impl Overlay {
    /// The object whose upper inode this is.
    pub(super) fn of_upper(self: &Arc<Self>, upper: InodeRef) -> Arc<OverlayInode> {
        let info = UpperInfo::of(&upper);
        let mut u = info.0.lock();
        if let Some(o) = u.overlay.upgrade() {
            return o;
        }
        let o = OverlayInode::new(self, Some(upper.clone()), u.lower.clone());
        u.overlay = Arc::downgrade(&o);
        o
    }

    /// The object that shows this lower inode: its copy if it has been copied up under another name.
    pub(super) fn of_lower(self: &Arc<Self>, lower: InodeRef) -> Arc<OverlayInode> {
        let info = LowerInfo::of(&lower);
        if let Some(upper) = info.upper(self) {
            return self.of_upper(upper);
        }
        info.with(self.id, |l| {
            if let Some(o) = l.overlay.upgrade() {
                return o;
            }
            let o = OverlayInode::new(self, None, Some(lower.clone()));
            l.overlay = Arc::downgrade(&o);
            o
        })
    }

    /// Makes `overlay` the object of its new upper inode.
    pub(super) fn adopt(&self, overlay: &Arc<OverlayInode>, upper: &InodeRef, lower: &InodeRef) {
        let info = UpperInfo::of(upper);
        {
            let mut u = info.0.lock();
            u.lower = Some(lower.clone());
            u.overlay = Arc::downgrade(overlay);
        }
        LowerInfo::of(lower).copied(self, upper);
    }

    /// Device and inode number of an object with these layers.
    pub(super) fn identity(
        &self,
        upper: Option<&Stat>,
        lower: Option<&Stat>,
    ) -> Result<(u64, u64)> {
        if let Some(st) = lower {
            let dev = if st.dev == self.lower_dev {
                self.dev
            } else {
                st.dev
            };
            return Ok((dev, st.ino));
        }
        let ino = upper.ok_or(Errno::EIO)?.ino;
        Ok((self.dev, ino.saturating_add(UPPER_INO)))
    }
}
