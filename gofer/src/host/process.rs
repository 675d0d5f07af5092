//! Files about the processes of the guest, in a procfs of their pid namespace.
//!
//! The sentry mounts it (with `subset=pid`: it holds nothing but processes), passes its root and keeps no descriptor of it:
//! like any other path, these names are resolved by the gofer alone.

use super::{HostResult, attr, lookup};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, openat2};
use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};

/// `PROC_SUPER_MAGIC` of statfs(2).
const PROCFS: u64 = 0x9fa0;

/// Whether `dir` is in a procfs, the only directory that is taken from a client.
///
/// # Errors
/// `EINVAL` if not.
pub fn check_directory(dir: BorrowedFd<'_>) -> HostResult<()> {
    if attr::statfs(dir)?.kind == PROCFS {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Opens `file` in the directory of process `pid`, to be read.
///
/// # Errors
/// What `openat2(2)` reports; `ENOENT` if there is no such process.
pub fn open(dir: BorrowedFd<'_>, pid: u32, file: &str) -> HostResult<OwnedFd> {
    let path = CString::new(format!("{pid}/{file}")).map_err(|_| Errno::EINVAL)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY)
        .resolve(lookup::RESOLVE);
    openat2(dir, path.as_c_str(), how)
}
