//! mkdir, mknod, link, symlink, unlink, rmdir, rename and their *at forms.

use super::at::{self, EMPTY_PATH, FDCWD, FOLLOW, NOFOLLOW, REMOVEDIR, start};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::fs::devices::makedev;
use crate::syscalls::{Args, Cx, Fd, SysResult};
use crate::usermem::{PathText, UserStr};
use crate::vfs::{At, FileType, RenameFlags, names};

/// Reads a path and finds where it starts.
fn read(cx: &Cx<'_>, fd: Fd, path: UserStr) -> Result<(At, PathText)> {
    let path = cx.mem().read_path(path)?;
    Ok((start(cx, fd, &path)?, path))
}

fn do_mkdir(cx: &Cx<'_>, fd: Fd, path: UserStr, mode: u32) -> SysResult {
    let (at, path) = read(cx, fd, path)?;
    names::mkdir(&cx.caller(), cx.fs(), &at, &path, mode)?;
    Ok(0)
}

pub(super) fn mkdir(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_mkdir(cx, FDCWD, args.get(0), args.get(1))
}

pub(super) fn mkdirat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_mkdir(cx, args.get(0), args.get(1), args.get(2))
}

fn do_mknod(cx: &Cx<'_>, fd: Fd, path: UserStr, mode: u32, dev: u32) -> SysResult {
    let kind = match mode & 0o170_000 {
        0 => FileType::Regular,
        m => match FileType::from_mode(m) {
            Some(FileType::Directory) => return Err(Errno::EPERM.into()),
            Some(FileType::Symlink) | None => return Err(Errno::EINVAL.into()),
            Some(k) => k,
        },
    };
    // The call takes the "new_encode_dev" form of 32 bits.
    let rdev = match kind {
        FileType::CharDevice | FileType::BlockDevice => makedev(
            (dev & 0xf_ff00) >> 8,
            (dev & 0xff) | ((dev >> 12) & 0xf_ff00),
        ),
        _ => 0,
    };
    let (at, path) = read(cx, fd, path)?;
    names::mknod(&cx.caller(), cx.fs(), &at, &path, kind, mode & 0o7777, rdev)?;
    Ok(0)
}

pub(super) fn mknod(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_mknod(cx, FDCWD, args.get(0), args.get(1), args.get(2))
}

pub(super) fn mknodat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_mknod(cx, args.get(0), args.get(1), args.get(2), args.get(3))
}

fn do_link(
    cx: &Cx<'_>,
    (old_fd, old): (Fd, UserStr),
    (new_fd, new): (Fd, UserStr),
    flags: u32,
) -> SysResult {
    at::only(flags, FOLLOW | EMPTY_PATH)?;
    let old = cx.mem().read_path(old)?;
    // Linking an open file by its descriptor takes CAP_DAC_READ_SEARCH, or having opened it with the same identity.
    if flags & EMPTY_PATH != 0 && old.is_empty() && !cx.creds().has(Caps::DAC_READ_SEARCH) {
        let own = cx.file_any(old_fd)?.opened_by(cx.creds());
        if !own {
            return Err(Errno::ENOENT.into());
        }
    }
    let how = (flags & EMPTY_PATH) | if flags & FOLLOW == 0 { NOFOLLOW } else { 0 };
    let source = at::whole(cx, old_fd, &old, how)?;
    let (at, path) = read(cx, new_fd, new)?;
    names::link(&cx.caller(), cx.fs(), &source, &at, &path)?;
    Ok(0)
}

pub(super) fn link(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_link(cx, (FDCWD, args.get(0)), (FDCWD, args.get(1)), 0)
}

pub(super) fn linkat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let old = (args.get(0), args.get(1));
    do_link(cx, old, (args.get(2), args.get(3)), args.get(4))
}

fn do_symlink(cx: &Cx<'_>, target: UserStr, fd: Fd, path: UserStr) -> SysResult {
    let target = cx.mem().read_path(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let (at, path) = read(cx, fd, path)?;
    names::symlink(&cx.caller(), cx.fs(), &target, &at, &path)?;
    Ok(0)
}

pub(super) fn symlink(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_symlink(cx, args.get(0), FDCWD, args.get(1))
}

pub(super) fn symlinkat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_symlink(cx, args.get(0), args.get(1), args.get(2))
}

fn do_unlink(cx: &Cx<'_>, fd: Fd, path: UserStr, directory: bool) -> SysResult {
    let (at, path) = read(cx, fd, path)?;
    if directory {
        names::rmdir(&cx.caller(), cx.fs(), &at, &path)?;
    } else {
        names::unlink(&cx.caller(), cx.fs(), &at, &path)?;
    }
    Ok(0)
}

pub(super) fn unlink(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_unlink(cx, FDCWD, args.get(0), false)
}

pub(super) fn rmdir(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_unlink(cx, FDCWD, args.get(0), true)
}

pub(super) fn unlinkat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(2);
    at::only(flags, REMOVEDIR)?;
    do_unlink(cx, args.get(0), args.get(1), flags & REMOVEDIR != 0)
}

fn do_rename(
    cx: &Cx<'_>,
    (old_fd, old): (Fd, UserStr),
    (new_fd, new): (Fd, UserStr),
    flags: u32,
) -> SysResult {
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let (old_at, old) = read(cx, old_fd, old)?;
    let (new_at, new) = read(cx, new_fd, new)?;
    names::rename(&cx.caller(), cx.fs(), &old_at, &old, &new_at, &new, flags)?;
    Ok(0)
}

pub(super) fn rename(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_rename(cx, (FDCWD, args.get(0)), (FDCWD, args.get(1)), 0)
}

pub(super) fn renameat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let old = (args.get(0), args.get(1));
    do_rename(cx, old, (args.get(2), args.get(3)), 0)
}

pub(super) fn renameat2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let old = (args.get(0), args.get(1));
    do_rename(cx, old, (args.get(2), args.get(3)), args.get(4))
}
