//! The virtual file system: inodes, open files, and (below them) mounts, dentries and path walk.
//!
//! File systems implement [`Inode`]; what is open implements [`FileOps`]. Neither knows tasks: the caller's identity, memory
//! and terminal come as [`Caller`].

pub mod caller;
pub mod file;
pub mod inode;

pub use caller::Caller;
pub use file::{DirEntry, File, FileOps, MapSource, OWN_POSITION, OpenFlags, Readdir, Whence};
pub use inode::{
    FileType, Inode, InodeMeta, InodeRef, RenameFlags, SetAttr, SetTime, Stat, StatFs, Timestamp,
};

/// Working directory, root and umask of one or more tasks (`struct fs_struct`).
pub struct FsContext {
    umask: std::sync::atomic::AtomicU32,
}

impl FsContext {
    /// File-mode creation mask.
    pub fn umask(&self) -> u32 {
        self.umask.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> FsContext {
        FsContext {
            umask: self.umask().into(),
        }
    }
}
