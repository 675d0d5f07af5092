//! A writable layer in memory over a read-only tree (overlayfs, kept as simple as an upper layer without a disk allows).
//!
//! [`OverlayInode`] stands for one object, whichever layer it is in. The *upper* layer is a tmpfs; an object of the *lower* one
//! is copied up when it is first changed ([`copy_up`]). A removed lower name is hidden by a *whiteout* in the upper directory: a
//! character device 0:0. What a merged or moved directory shows of the lower layer is recorded with its upper inode ([`Below`]).
//!
//! No lock is held while a layer is asked: the layers order concurrent changes, and losers of a race use the winner's work.

mod copy_up;
mod dir;
mod inode;
mod names;
#[cfg(test)]
mod tests;

pub use inode::OverlayInode;

use super::tmpfs::{Tmpfs, TmpfsOptions};
use crate::abi::Result;
use crate::sync::{Mutex, Rank};
use crate::vfs::{FileType, InodeRef, Stat, SuperBlock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// OVERLAYFS_SUPER_MAGIC.
const MAGIC: u64 = 0x794c_7630;
/// Inode numbers of objects born in the upper layer have this bit, so that they differ from the lower layer's.
const UPPER_INO: u64 = 1 << 62;

/// One overlay.
pub struct Overlay {
    dev: u64,
    /// st_dev of the lower root: objects of other devices keep a device number of their own.
    lower_dev: u64,
    /// Objects in use, so that two names of one object lead to one inode.
    inodes: Mutex<HashMap<Key, Weak<OverlayInode>>>,
}

/// What an object is known by: where it was born.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Lower { dev: u64, ino: u64 },
    Upper { ino: u64 },
}

/// What an upper directory shows of the lower layer, if that is not simply what has its name.
#[derive(Default)]
struct Below(parking_lot::Mutex<Option<Option<InodeRef>>>);

impl Below {
    /// Records `lower` (`None`: nothing, the directory is opaque).
    fn set(upper: &InodeRef, lower: Option<InodeRef>) {
        *upper.meta().extension::<Below>().0.lock() = Some(lower);
    }
    /// What was recorded, if anything was.
    fn of(upper: &InodeRef) -> Option<Option<InodeRef>> {
        upper.meta().existing::<Below>()?.0.lock().clone()
    }
}

/// Born in the lower layer with this key: an upper inode that is a copy.
#[derive(Default)]
struct Origin(parking_lot::Mutex<Option<(Key, u64)>>);

impl Overlay {
    /// An overlay of an empty upper layer (with a size limit in bytes, if any) over `lower`; ready to be mounted.
    ///
    /// # Errors
    /// The lower root cannot be looked at.
    pub fn superblock(lower: InodeRef, size: Option<u64>) -> Result<Arc<SuperBlock>> {
        let stat = lower.stat()?;
        let mut options = TmpfsOptions {
            mode: stat.perm,
            uid: stat.uid,
            gid: stat.gid,
            ..TmpfsOptions::default()
        };
        options.size = size.or(options.size);
        let upper: InodeRef = Tmpfs::root(&options);
        Ok(SuperBlock::new(
            Overlay::root(lower, upper)?,
            "overlay",
            "rw",
        ))
    }

    fn root(lower: InodeRef, upper: InodeRef) -> Result<InodeRef> {
        static NEXT_DEV: AtomicU64 = AtomicU64::new(0x300);
        let stat = lower.stat()?;
        let fs = Arc::new(Overlay {
            dev: NEXT_DEV.fetch_add(1, Ordering::Relaxed),
            lower_dev: stat.dev,
            inodes: Mutex::new(Rank::LEAF, HashMap::new()),
        });
        let key = Key::Lower {
            dev: stat.dev,
            ino: stat.ino,
        };
        Below::set(&upper, Some(lower.clone()));
        *upper.meta().extension::<Origin>().0.lock() = Some((key, stat.ino));
        Ok(fs.inode(None, b"", Some(upper), Some(lower), key, stat.ino))
    }

    /// st_dev and st_ino of an object, given what its layer says.
    fn identity(&self, stat: &Stat, ino: u64, from_lower: Option<u64>) -> (u64, u64) {
        match from_lower {
            // As overlayfs without xino: only directories of a foreign device pretend to be of this one.
            Some(dev) if dev != self.lower_dev && stat.file_type != FileType::Directory => {
                (dev | 1 << 32, ino)
            }
            _ => (self.dev, ino),
        }
    }

    /// The inode of an object; the one in use if there is one.
    fn inode(
        self: &Arc<Self>,
        parent: Option<Arc<OverlayInode>>,
        name: &[u8],
        upper: Option<InodeRef>,
        lower: Option<InodeRef>,
        key: Key,
        ino: u64,
    ) -> Arc<OverlayInode> {
        let mut known = self.inodes.lock();
        if let Some(i) = known.get(&key).and_then(Weak::upgrade) {
            drop(known);
            if let Some(u) = upper {
                i.adopt_upper(u);
            }
            return i;
        }
        let i = OverlayInode::new(self, parent, name, upper, lower, key, ino);
        known.insert(key, Arc::downgrade(&i));
        i
    }

    /// The inode of an object found in the upper layer. `lower`: what a directory of that name shows below it.
    fn from_upper(
        self: &Arc<Self>,
        parent: &Arc<OverlayInode>,
        name: &[u8],
        upper: InodeRef,
        lower: Option<InodeRef>,
    ) -> Result<Arc<OverlayInode>> {
        let origin = upper.meta().existing::<Origin>().and_then(|o| *o.0.lock());
        let (key, ino) = match origin {
            Some(o) => o,
            None => {
                let ino = upper.stat()?.ino;
                (Key::Upper { ino }, ino | UPPER_INO)
            }
        };
        let lower = match Below::of(&upper) {
            Some(recorded) => recorded,
            None => lower,
        };
        Ok(self.inode(Some(parent.clone()), name, Some(upper), lower, key, ino))
    }

    /// The inode of an object found only in the lower layer.
    fn from_lower(
        self: &Arc<Self>,
        parent: &Arc<OverlayInode>,
        name: &[u8],
        lower: InodeRef,
    ) -> Result<Arc<OverlayInode>> {
        let stat = lower.stat()?;
        let key = Key::Lower {
            dev: stat.dev,
            ino: stat.ino,
        };
        Ok(self.inode(Some(parent.clone()), name, None, Some(lower), key, stat.ino))
    }

    fn forget(&self, key: Key) {
        let mut known = self.inodes.lock();
        if known.get(&key).is_some_and(|w| w.strong_count() == 0) {
            known.remove(&key);
        }
    }
}

/// Whether an upper inode hides a lower name.
fn is_whiteout(upper: &InodeRef) -> bool {
    upper.file_type() == FileType::CharDevice && upper.stat().is_ok_and(|s| s.rdev == 0)
}
