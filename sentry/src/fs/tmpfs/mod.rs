//! Files in memory (tmpfs(5)), and what has the same storage: memfds and shared anonymous memory.
//!
//! [`Tmpfs`] is one instance with its quotas, [`TmpfsInode`] any object in it, [`data`] the bytes of a regular file: pages in the
//! sentry's memory, or a host memfd once they are many or mapped.
//!
//! Locks: a file's writers (FILE_WRITE) before guest memory; the tree (TMPFS_TREE) before directories and file data (INODE;
//! two of them in the order of their addresses) before attributes (LEAF).

mod data;
mod dir;
mod file;
mod inode;
mod lent;
mod memfd;
mod options;
#[cfg(test)]
mod tests;
mod xattr;

pub use inode::TmpfsInode;
pub use memfd::{
    F_SEAL_EXEC, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE,
    add_seals, anonymous_file, memfd_create, seals, shared_anon,
};
pub use options::{TmpfsOptions, set_room};

use crate::abi::{Errno, Result};
use crate::auth::UserNamespace;
use crate::sync::{Mutex, Rank};
use crate::vfs::{FileType, InodeRef, StatFs, SuperBlock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes per page, the unit of the size quota.
pub const PAGE: usize = 4096;
/// TMPFS_MAGIC.
const MAGIC: u64 = 0x0102_1994;

/// Pages of all instances, files without a name among them: several together may not take what one may not.
static ALL_PAGES: AtomicU64 = AtomicU64::new(0);

/// One file system in memory.
pub struct Tmpfs {
    dev: u64,
    next_ino: AtomicU64,
    /// Most pages; `u64::MAX` without limit.
    max_pages: AtomicU64,
    used_pages: AtomicU64,
    max_inodes: AtomicU64,
    used_inodes: AtomicU64,
    /// Taken by whoever moves or removes directories.
    tree: Mutex<()>,
    options: Mutex<TmpfsOptions>,
}

impl Tmpfs {
    /// An empty file system; its root directory.
    pub fn root(options: &TmpfsOptions) -> Arc<TmpfsInode> {
        let fs = Tmpfs::empty(options);
        TmpfsInode::root(&fs, options)
    }
    /// An empty file system, ready to be mounted.
    pub fn superblock(options: &TmpfsOptions) -> Arc<SuperBlock> {
        let root: InodeRef = Tmpfs::root(options);
        SuperBlock::new(root, "tmpfs", &options.text())
    }
    /// One that somebody of this user namespace mounts.
    pub fn superblock_of(ns: &Arc<UserNamespace>, options: &TmpfsOptions) -> Arc<SuperBlock> {
        let root: InodeRef = Tmpfs::root(options);
        SuperBlock::owned_by(ns, root, "tmpfs", &options.text())
    }
    fn empty(options: &TmpfsOptions) -> Arc<Tmpfs> {
        Arc::new(Tmpfs {
            dev: super::anonymous_device(),
            next_ino: AtomicU64::new(1),
            max_pages: AtomicU64::new(options.pages()),
            used_pages: AtomicU64::new(0),
            max_inodes: AtomicU64::new(options.inodes),
            used_inodes: AtomicU64::new(0),
            tree: Mutex::new(Rank::TMPFS_TREE, ()),
            options: Mutex::new(Rank::LEAF, options.clone()),
        })
    }
    /// What it was mounted with, as far as it can be changed.
    pub fn options(&self) -> TmpfsOptions {
        self.options.lock().clone()
    }
    /// Changes the quotas (remount).
    ///
    /// # Errors
    /// EINVAL if more is in use already.
    pub fn set_limits(&self, options: &TmpfsOptions) -> Result<()> {
        if self.used_pages.load(Ordering::Relaxed) > options.pages()
            || self.used_inodes.load(Ordering::Relaxed) > options.inodes
        {
            return Err(Errno::EINVAL);
        }
        self.max_pages.store(options.pages(), Ordering::Relaxed);
        self.max_inodes.store(options.inodes, Ordering::Relaxed);
        *self.options.lock() = options.clone();
        Ok(())
    }
    fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }
    /// Takes room for `n` more pages, in this instance and in the sandbox.
    ///
    /// # Errors
    /// ENOSPC.
    fn charge_pages(&self, n: u64) -> Result<()> {
        let max = self.max_pages.load(Ordering::Relaxed);
        take(&ALL_PAGES, n, options::room())?;
        take(&self.used_pages, n, max).inspect_err(|_| {
            ALL_PAGES.fetch_sub(n, Ordering::Relaxed);
        })
    }
    fn release_pages(&self, n: u64) {
        self.used_pages.fetch_sub(n, Ordering::Relaxed);
        ALL_PAGES.fetch_sub(n, Ordering::Relaxed);
    }
    /// Takes pages that exist already (written through a mapping), even over the limit.
    fn force_pages(&self, n: u64) {
        self.used_pages.fetch_add(n, Ordering::Relaxed);
        ALL_PAGES.fetch_add(n, Ordering::Relaxed);
    }
    fn charge_inode(&self) -> Result<()> {
        let max = self.max_inodes.load(Ordering::Relaxed);
        take(&self.used_inodes, 1, max)
    }
    fn release_inode(&self) {
        self.used_inodes.fetch_sub(1, Ordering::Relaxed);
    }
    fn statfs(&self) -> StatFs {
        // With a limit on memory a file system is no larger than all may be, and what others have is not available here.
        let room = options::room_set();
        let pages = self.max_pages.load(Ordering::Relaxed);
        let inodes = self.max_inodes.load(Ordering::Relaxed);
        let mut s = StatFs {
            magic: MAGIC,
            block_size: PAGE as u64,
            name_max: 255,
            ..StatFs::default()
        };
        if pages != u64::MAX {
            s.blocks = pages.min(room.unwrap_or(u64::MAX));
            s.blocks_free = s
                .blocks
                .saturating_sub(self.used_pages.load(Ordering::Relaxed));
            let left = room.map(|room| room.saturating_sub(ALL_PAGES.load(Ordering::Relaxed)));
            s.blocks_available = s.blocks_free.min(left.unwrap_or(u64::MAX));
        }
        if inodes != u64::MAX {
            s.files = inodes;
            s.files_free = inodes.saturating_sub(self.used_inodes.load(Ordering::Relaxed));
        }
        s
    }
}

fn take(used: &AtomicU64, n: u64, max: u64) -> Result<()> {
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |u| {
        u.checked_add(n).filter(|t| *t <= max)
    })
    .map(drop)
    .map_err(|_| Errno::ENOSPC)
}

/// Whether an object of this type is a node without contents.
fn is_special(kind: FileType) -> bool {
    matches!(
        kind,
        FileType::Fifo | FileType::Socket | FileType::CharDevice | FileType::BlockDevice
    )
}
