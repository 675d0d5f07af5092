//! A writable tree over one that is never changed: changes go to a tmpfs and vanish with it.
//!
//! Each object is an [`OverlayInode`] with a *lower* inode (read-only), an *upper* one (in the tmpfs), or both. The first
//! change copies an object up. A removed lower name is covered by a *whiteout* in the upper directory, a character device
//! 0:0. Unlike Linux's overlayfs the upper objects themselves remember (in memory, [`layers`]) which lower inode they
//! came from: so renamed directories keep their lower contents, inode numbers stay, and hard links of lower files stay one file.
//!
//! - [`inode`]: the object.  - [`copy_up`]: lower to upper.  - [`names`]: directories.  - [`file`]: open files, merged listings.
//!
//! Locks: an object's state (OVERLAY) before everything of the tmpfs (TMPFS_TREE, INODE). It is not held while the lower
//! tree is asked.

mod copy_up;
mod file;
mod inode;
mod layers;
mod names;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_told;

pub use inode::OverlayInode;

use crate::abi::Result;
use crate::fs::tmpfs::{Tmpfs, TmpfsInode, TmpfsOptions};
use crate::sync::{Mutex, Rank};
use crate::vfs::{FileType, InodeRef, KernelCaller, SuperBlock};
use layers::UpperInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// OVERLAYFS_SUPER_MAGIC.
const MAGIC: u64 = 0x794c_7630;
/// Added to the inode numbers of the tmpfs, so that they do not meet those of the lower tree. Below 2^53: JavaScript has
/// no larger integers.
const UPPER_INO: u64 = 1 << 48;

/// One overlay.
pub struct Overlay {
    id: u64,
    dev: u64,
    /// Device of the lower root; lower objects of others (submounts) keep their own.
    lower_dev: u64,
    /// A directory of the tmpfs that nobody sees, where replacements are made ready.
    work: Arc<TmpfsInode>,
    next_temp: AtomicU64,
    /// Upper files without an upper name that lower names still lead to.
    keep: Mutex<Vec<InodeRef>>,
}

impl Overlay {
    /// The root of a new overlay over the directory `lower`; changes count against `upper`'s quotas.
    ///
    /// # Errors
    /// What asking `lower` for its attributes gives.
    pub fn root(lower: InodeRef, upper: &TmpfsOptions) -> Result<Arc<OverlayInode>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let base: InodeRef = Tmpfs::root(upper);
        let dir = |name: &[u8]| -> Result<Arc<TmpfsInode>> {
            let d = base.mkdir(&KernelCaller, name, 0o700)?;
            layers::tmpfs(d)
        };
        let (top, work) = (dir(b"upper")?, dir(b"work")?);
        let fs = Arc::new(Overlay {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            dev: super::anonymous_device(),
            lower_dev: lower.stat()?.dev,
            work,
            next_temp: AtomicU64::new(0),
            keep: Mutex::new(Rank::LEAF, Vec::new()),
        });
        copy_up::attributes(&lower, &top)?;
        let top: InodeRef = top;
        UpperInfo::of(&top).set_lower(lower);
        Ok(fs.of_upper(top))
    }

    /// The same with a limit of `size` bytes (`None`: that of any tmpfs), ready to be mounted.
    ///
    /// # Errors
    /// As [`Overlay::root`].
    pub fn superblock(lower: InodeRef, size: Option<u64>) -> Result<Arc<SuperBlock>> {
        let mut options = TmpfsOptions::default();
        options.size = size.or(options.size);
        let root: InodeRef = Overlay::root(lower, &options)?;
        Ok(SuperBlock::new(root, "overlay", ""))
    }

    fn temp_name(&self) -> Vec<u8> {
        let n = self.next_temp.fetch_add(1, Ordering::Relaxed);
        n.to_string().into_bytes()
    }
}

/// Whether an object of the tmpfs stands for a removed name.
fn is_whiteout(inode: &InodeRef) -> bool {
    inode.file_type() == FileType::CharDevice && inode.stat().is_ok_and(|s| s.rdev == 0)
}
