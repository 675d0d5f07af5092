//! File systems whose files are made up when they are read: procfs, sysfs.
//!
//! [`PseudoFile`] has generated contents, [`PseudoLink`] a generated target, [`PseudoDir`] asks a [`Directory`] for its children;
//! [`StaticDir`] is one with a fixed set.

mod dir;
mod file;
mod link;
mod tree;

pub use dir::{Child, Directory, PseudoDir, StaticDir};
pub use file::{Content, PseudoFile};
pub use link::{LinkTarget, PseudoLink};
pub use tree::Tree;

use crate::abi::{Errno, Result};
use crate::vfs::{Caller, FileType, SetAttr, Stat, StatFs, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};

/// The file system that an inode is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsId {
    /// st_dev.
    pub dev: u64,
    /// Magic number of linux/magic.h.
    pub magic: u64,
}

/// Numbers of static inodes; those of processes are computed and lie above 2^32.
static NEXT_INO: AtomicU64 = AtomicU64::new(4_026_531_840);

/// What every pseudo inode has.
#[derive(Clone, Copy, Debug)]
pub struct Attr {
    /// The file system.
    pub fs: FsId,
    /// Inode number.
    pub ino: u64,
    /// Permission bits.
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Attr {
    /// Owned by root, with a fresh inode number.
    pub fn new(fs: FsId, perm: u32) -> Attr {
        Attr {
            fs,
            ino: NEXT_INO.fetch_add(1, Ordering::Relaxed),
            perm,
            uid: 0,
            gid: 0,
        }
    }
    /// Owned by somebody, with a given inode number.
    pub fn owned(fs: FsId, perm: u32, ino: u64, (uid, gid): (u32, u32)) -> Attr {
        Attr {
            fs,
            ino,
            perm,
            uid,
            gid,
        }
    }

    /// stat(2) of an inode with these attributes.
    pub fn stat(&self, file_type: FileType, nlink: u32, size: u64) -> Stat {
        let now = Timestamp::now();
        Stat {
            dev: self.fs.dev,
            ino: self.ino,
            file_type,
            perm: self.perm,
            nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            size,
            blksize: 1024,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: Timestamp::default(),
        }
    }
    /// statfs(2) of its file system.
    pub fn statfs(&self) -> StatFs {
        StatFs {
            magic: self.fs.magic,
            block_size: 4096,
            name_max: 255,
            ..StatFs::default()
        }
    }
}

/// chmod and chown of generated files are refused; truncation and times are accepted without effect, as procfs does.
fn set_attr(_: &dyn Caller, changes: &SetAttr) -> Result<()> {
    if changes.perm.is_some() || changes.uid.is_some() || changes.gid.is_some() {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}
