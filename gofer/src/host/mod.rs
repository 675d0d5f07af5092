//! Descriptor-relative operations on host files.
//!
//! Every function takes an open descriptor and at most one checked [`Name`](crate::protocol::Name);
//! none takes a path. Nodes are `O_PATH` descriptors, found with `openat2` and
//! [`RESOLVE`](lookup::RESOLVE): symbolic links and magic links are never followed and `..` is never
//! resolved, so an operation ends at an entry of the very directory it was given, whatever
//! other processes rename meanwhile.
//!
//! An `O_PATH` descriptor is turned into a usable one through [`ProcFds`], the directory of this
//! process's own descriptors: opening entry `N` opens exactly the inode that descriptor `N` names,
//! without any lookup that a rename could disturb.
//!
//! - [`lookup`]: walking, opening, creating.  - [`attr`]: reading and changing attributes.
//! - [`dir`]: listing.  - [`names`]: making and removing names.  - [`xattr`]: extended attributes.
//! - [`kernel_fs`]: file systems that are never served.  - [`process`]: files about guest processes.

pub mod attr;
pub mod dir;
pub mod kernel_fs;
pub mod lookup;
pub mod names;
pub mod proc_fds;
pub mod process;
pub mod xattr;

pub use proc_fds::ProcFds;

/// Result of a host operation; the error is what the host said.
pub type HostResult<T> = Result<T, nix::errno::Errno>;
