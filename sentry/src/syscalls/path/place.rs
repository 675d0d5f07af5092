//! chdir, fchdir, chroot, getcwd, umask.

use super::at::{FDCWD, lookup, place_of};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::syscalls::{Args, Cx, SysResult};
use crate::vfs::permission::{self, EXEC};
use crate::vfs::{Path, permission::check};

/// ENOTDIR, EACCES unless the task may work in `place`.
fn may_enter(cx: &Cx<'_>, place: &Path) -> Result<()> {
    if !place.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    check(&cx.caller(), place.inode(), EXEC)
}

pub(super) fn chdir(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = lookup(cx, FDCWD, args.get(0), 0)?;
    may_enter(cx, &place)?;
    cx.fs().set_cwd(place);
    Ok(0)
}

pub(super) fn fchdir(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = place_of(cx, args.get(0))?;
    may_enter(cx, &place)?;
    cx.fs().set_cwd(place);
    Ok(0)
}

pub(super) fn chroot(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = lookup(cx, FDCWD, args.get(0), 0)?;
    if !place.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    permission::check(&cx.caller(), place.inode(), EXEC)?;
    if !cx.creds().has_own(Caps::SYS_CHROOT) {
        return Err(Errno::EPERM.into());
    }
    cx.fs().set_root(place);
    Ok(0)
}

pub(super) fn getcwd(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let size: usize = args.get(1);
    let fs = cx.fs();
    let mut text = fs.cwd().working_directory(&fs.root())?;
    text.push(0);
    if text.len() > size {
        return Err(Errno::ERANGE.into());
    }
    cx.mem().write_bytes(args.get(0), &text)?;
    Ok(i64::try_from(text.len()).unwrap_or(0))
}

pub(super) fn umask(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    Ok(cx.fs().set_umask(args.get(0)).into())
}
