//! Walking one component, opening and creating files.

use super::{HostResult, ProcFds};
use crate::protocol::{Access, FileType, Name, OpenFlags};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::os::fd::{BorrowedFd, OwnedFd};

/// How every name is resolved: below the directory it is looked up in, through no link of any kind.
pub const RESOLVE: ResolveFlag = ResolveFlag::RESOLVE_BENEATH
    .union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
    .union(ResolveFlag::RESOLVE_NO_SYMLINKS);

/// Flags of every real open: never a controlling terminal, never waiting for the other end of a FIFO
/// (neither is ever opened on purpose).
const SAFE: OFlag = OFlag::O_CLOEXEC
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_NONBLOCK);

fn resolve(cross_mounts: bool) -> ResolveFlag {
    if cross_mounts {
        RESOLVE
    } else {
        RESOLVE | ResolveFlag::RESOLVE_NO_XDEV
    }
}

/// Finds `name` in `dir`; a symbolic link is returned itself. `cross_mounts` says whether a
/// mount point may be entered (`EXDEV` if not).
///
/// # Errors
/// What `openat2(2)` reports.
pub fn walk(dir: BorrowedFd<'_>, name: Name<'_>, cross_mounts: bool) -> HostResult<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(resolve(cross_mounts));
    // EAGAIN: the kernel could not rule out a race with a rename and asks for another try. That
    // can only happen to `..`, which is never looked up; a few tries cost nothing.
    let c_name = name.to_c();
    let mut tries = 0_u8;
    loop {
        match openat2(dir, c_name.as_c_str(), how) {
            Err(Errno::EAGAIN) if tries < 8 => tries = tries.saturating_add(1),
            result => return result,
        }
    }
}

/// Whether a file of this type may be opened at all; everything but a regular file is refused as
/// Linux refuses what has nothing behind it.
///
/// # Errors
/// `EISDIR` for directories, `ELOOP` for links, `ENXIO` for sockets, FIFOs and devices.
pub fn check_openable(file_type: FileType) -> HostResult<()> {
    match file_type {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(Errno::EISDIR),
        FileType::Symlink => Err(Errno::ELOOP),
        FileType::Fifo | FileType::Socket | FileType::CharDevice | FileType::BlockDevice => {
            Err(Errno::ENXIO)
        }
    }
}

/// Host flags for an access mode and flags; `EXCL` is left to the caller.
fn open_flags(access: Access, flags: OpenFlags) -> OFlag {
    let mut host = SAFE | OFlag::from_bits_retain(access.open_bits());
    host.set(OFlag::O_APPEND, flags.contains(OpenFlags::APPEND));
    host.set(OFlag::O_TRUNC, flags.contains(OpenFlags::TRUNC));
    host.set(OFlag::O_DSYNC, flags.contains(OpenFlags::DSYNC));
    host.set(OFlag::O_SYNC, flags.contains(OpenFlags::SYNC));
    host
}

/// Opens a node that is known to be a regular file, with exactly `access`.
///
/// # Errors
/// What `open(2)` reports.
pub fn open_regular(
    proc_fds: &ProcFds,
    node: BorrowedFd<'_>,
    access: Access,
    flags: OpenFlags,
) -> HostResult<OwnedFd> {
    proc_fds.reopen(node, open_flags(access, flags))
}

/// Opens a directory for listing, locking attributes or syncing.
///
/// # Errors
/// What `open(2)` reports.
pub fn open_dir(proc_fds: &ProcFds, node: BorrowedFd<'_>) -> HostResult<OwnedFd> {
    proc_fds.reopen(node, SAFE | OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// An `O_PATH` descriptor of the inode behind `fd`.
///
/// # Errors
/// What `open(2)` reports.
pub fn node_of(proc_fds: &ProcFds, fd: BorrowedFd<'_>) -> HostResult<OwnedFd> {
    proc_fds.reopen(fd, OFlag::O_PATH)
}

/// Creates `name`, which must not exist, and opens it.
///
/// # Errors
/// What `openat2(2)` reports; `EEXIST` for anything that has the name already, links included.
pub fn create(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    mode: u32,
    access: Access,
    flags: OpenFlags,
) -> HostResult<OwnedFd> {
    let flags = open_flags(access, flags.difference(OpenFlags::TRUNC));
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW)
        .mode(Mode::from_bits_truncate(mode))
        .resolve(RESOLVE);
    openat2(dir, name.to_c().as_c_str(), how)
}

/// Creates a nameless file on `dir`'s file system and opens it.
///
/// # Errors
/// What `open(2)` reports.
pub fn tmpfile(
    proc_fds: &ProcFds,
    dir: BorrowedFd<'_>,
    mode: u32,
    access: Access,
) -> HostResult<OwnedFd> {
    proc_fds.tmpfile(dir, open_flags(access, OpenFlags::empty()), mode)
}
