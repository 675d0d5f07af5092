//! Making and removing names in a directory.

use super::proc_fds::FdName;
use super::{HostResult, ProcFds};
use crate::protocol::{FileType, LinkTarget, Name, RenameFlags};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat, renameat2};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;

/// Creates a directory.
///
/// # Errors
/// What `mkdir(2)` reports.
pub fn mkdir(dir: BorrowedFd<'_>, name: Name<'_>, mode: u32) -> HostResult<()> {
    mkdirat(dir, name.to_c().as_c_str(), Mode::from_bits_truncate(mode))
}

/// Creates a symbolic link.
///
/// # Errors
/// What `symlink(2)` reports.
pub fn symlink(dir: BorrowedFd<'_>, name: Name<'_>, target: LinkTarget<'_>) -> HostResult<()> {
    symlinkat(target.as_bytes(), dir, name.to_c().as_c_str())
}

/// Target of a symbolic link.
///
/// # Errors
/// What `readlink(2)` reports.
pub fn readlink(node: BorrowedFd<'_>) -> HostResult<Vec<u8>> {
    readlinkat(node, c"").map(OsStringExt::into_vec)
}

/// Creates a regular file, FIFO or socket node; `mode` carries the type. A socket node has no
/// listener on the host: it is the name that `bind(2)` in the sandbox leaves.
///
/// # Errors
/// `EPERM` for device nodes, `EINVAL` for directories, links and unknown types, else what
/// `mknod(2)` reports.
pub fn mknod(dir: BorrowedFd<'_>, name: Name<'_>, mode: u32) -> HostResult<()> {
    let kind = match FileType::from_mode(mode) {
        Some(FileType::Regular) => SFlag::S_IFREG,
        Some(FileType::Fifo) => SFlag::S_IFIFO,
        Some(FileType::Socket) => SFlag::S_IFSOCK,
        Some(FileType::CharDevice | FileType::BlockDevice) => return Err(Errno::EPERM),
        Some(FileType::Directory | FileType::Symlink) | None => return Err(Errno::EINVAL),
    };
    mknodat(
        dir,
        name.to_c().as_c_str(),
        kind,
        Mode::from_bits_truncate(mode & 0o7777),
        0,
    )
}

/// Gives `node` one more name. Through the magic link, since `AT_EMPTY_PATH` needs a capability.
///
/// # Errors
/// What `link(2)` reports.
pub fn link(
    proc_fds: &ProcFds,
    node: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: Name<'_>,
) -> HostResult<()> {
    let from = FdName::new(node);
    linkat(
        proc_fds.dir(),
        from.as_c_str(),
        dir,
        name.to_c().as_c_str(),
        AtFlags::AT_SYMLINK_FOLLOW,
    )
}

/// Removes a name: that of a directory with `rmdir`, else that of anything else.
///
/// # Errors
/// What `unlink(2)` and `rmdir(2)` report.
pub fn unlink(dir: BorrowedFd<'_>, name: Name<'_>, rmdir: bool) -> HostResult<()> {
    let flag = if rmdir {
        UnlinkatFlags::RemoveDir
    } else {
        UnlinkatFlags::NoRemoveDir
    };
    unlinkat(dir, name.to_c().as_c_str(), flag)
}

/// Renames.
///
/// # Errors
/// What `renameat2(2)` reports.
pub fn rename(
    from: BorrowedFd<'_>,
    from_name: Name<'_>,
    to: BorrowedFd<'_>,
    to_name: Name<'_>,
    flags: RenameFlags,
) -> HostResult<()> {
    let mut host = nix::fcntl::RenameFlags::empty();
    host.set(
        nix::fcntl::RenameFlags::RENAME_NOREPLACE,
        flags.contains(RenameFlags::NOREPLACE),
    );
    host.set(
        nix::fcntl::RenameFlags::RENAME_EXCHANGE,
        flags.contains(RenameFlags::EXCHANGE),
    );
    renameat2(
        from,
        from_name.to_c().as_c_str(),
        to,
        to_name.to_c().as_c_str(),
        host,
    )
}
