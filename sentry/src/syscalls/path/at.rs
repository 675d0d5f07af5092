//! Where paths start: directory descriptors and AT_* flags.

use crate::abi::{Errno, Result};
use crate::auth::Credentials;
use crate::kernel::paths::Telling;
use crate::syscalls::{Cx, Fd};
use crate::usermem::UserStr;
use crate::vfs::told::Of;
use crate::vfs::walk::anonymous_path;
use crate::vfs::{At, OpenFlags, Path, WalkFlags, resolve, resolve_as};

/// AT_FDCWD.
pub(super) const FDCWD: Fd = Fd(libc::AT_FDCWD);
/// AT_SYMLINK_NOFOLLOW.
pub(super) const NOFOLLOW: u32 = 0x100;
/// AT_REMOVEDIR, AT_EACCESS.
pub(super) const REMOVEDIR: u32 = 0x200;
/// AT_SYMLINK_FOLLOW.
pub(super) const FOLLOW: u32 = 0x400;
/// AT_NO_AUTOMOUNT.
pub(super) const NO_AUTOMOUNT: u32 = 0x800;
/// AT_EMPTY_PATH.
pub(super) const EMPTY_PATH: u32 = 0x1000;

/// EINVAL for flags outside `known`.
pub(super) fn only(flags: u32, known: u32) -> Result<()> {
    if flags & !known == 0 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// The place that a descriptor stands for; files outside any tree get one for the purpose.
pub(super) fn place_of(cx: &Cx<'_>, fd: Fd) -> Result<Path> {
    let file = cx.file_any(fd)?;
    Ok(match file.path() {
        Some(p) => p.clone(),
        None => anonymous_path(&file),
    })
}

/// The place of a descriptor for calls that O_PATH descriptors do not allow.
pub(super) fn of_open(cx: &Cx<'_>, fd: Fd) -> Result<Path> {
    if cx.file_any(fd)?.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF);
    }
    place_of(cx, fd)
}

/// Where `path` starts. The descriptor is not looked at if the path is absolute.
pub(super) fn start(cx: &Cx<'_>, fd: Fd, path: &[u8]) -> Result<At> {
    if fd == FDCWD || path.first() == Some(&b'/') {
        return Ok(At::Cwd);
    }
    Ok(At::Path(place_of(cx, fd)?))
}

/// The same for openat2, where the descriptor can be the root of an absolute path.
pub(super) fn start_confined(cx: &Cx<'_>, fd: Fd) -> Result<At> {
    if fd == FDCWD {
        return Ok(At::Cwd);
    }
    Ok(At::Path(place_of(cx, fd)?))
}

/// Walks a guest's path to the end, following a last link unless AT_SYMLINK_NOFOLLOW is in `flags`.
pub(super) fn lookup(cx: &Cx<'_>, fd: Fd, path: UserStr, flags: u32) -> Result<Path> {
    // A null path with AT_EMPTY_PATH means the descriptor (since Linux 6.11).
    if path.is_null() && flags & EMPTY_PATH != 0 {
        return whole(cx, fd, b"", flags);
    }
    whole(cx, fd, &cx.mem().read_path(path)?, flags)
}

/// [`whole`] of a path that is not empty by the rights of `creds`, for a thread that is to be told what comes of it if `telling` says so.
pub(super) fn telling(
    cx: &Cx<'_>,
    creds: &Credentials,
    fd: Fd,
    path: &[u8],
    flags: u32,
    telling: &mut Option<Telling>,
) -> Result<Path> {
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & NOFOLLOW == 0);
    let start = start(cx, fd, path)?;
    let mut nobody = None;
    let teller = telling.as_mut().map_or(&mut nobody, |t| &mut t.teller);
    let place = resolve_as((&cx.caller(), creds), cx.fs(), &start, path, walk, teller)?;
    if teller.is_some_and(|t| !place.inode().tell(&t, Of::All)) {
        *teller = None;
    }
    Ok(place)
}

/// [`lookup`] of a path that was read already.
pub(super) fn whole(cx: &Cx<'_>, fd: Fd, path: &[u8], flags: u32) -> Result<Path> {
    if path.is_empty() && flags & EMPTY_PATH != 0 {
        return if fd == FDCWD {
            Ok(cx.fs().cwd())
        } else {
            place_of(cx, fd)
        };
    }
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & NOFOLLOW == 0);
    let start = start(cx, fd, path)?;
    resolve(&cx.caller(), cx.fs(), &start, path, walk)
}
