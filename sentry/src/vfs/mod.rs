//! The virtual file system: inodes, open files, mounts, dentries and path walk.
//!
//! File systems implement [`Inode`]; what is open implements [`FileOps`]. Neither knows tasks: the caller's identity, memory
//! and terminal come as [`Caller`]. [`resolve`] walks a path, [`open()`] opens one, [`names`] changes directories. A [`Path`] is
//! a dentry in a mount; [`FsContext`] says where a task's paths start.

pub mod attr;
pub mod caller;
pub mod context;
pub mod dentry;
pub mod deny_write;
pub mod file;
mod hooks;
pub mod host;
pub mod inode;
pub mod lease;
pub mod loan;
pub mod locks;
pub mod mount;
pub mod mount_ns;
pub mod names;
pub mod notify;
pub mod open;
pub mod pages;
pub mod path;
pub mod permission;
pub mod propagation;
pub mod told;
mod unmount;
pub mod walk;
pub mod xattr;

pub use caller::{Caller, KernelCaller};
pub use context::FsContext;
pub use dentry::Dentry;
pub use file::{
    DirEntry, File, FileOps, MagicTarget, MapSource, OWN_POSITION, OpenFlags, Readdir, Whence,
};
pub use inode::{
    FileType, Inode, InodeMeta, InodeRef, Permissions, RenameFlags, SetAttr, SetTime, Stat, StatFs,
    Timestamp,
};
pub use mount::{Mount, MountFlags, SuperBlock};
pub use mount_ns::MountNamespace;
pub use open::{OpenHow, open, open_exec, open_path};
pub use path::Path;
pub use walk::{At, Last, Walk, WalkFlags, resolve, resolve_as};
