//! Changing attributes: chmod, chown, truncate, utimensat, access; with the checks that precede them.

use super::caller::Caller;
use super::inode::{FileType, InodeRef, SetAttr, SetTime, Stat};
use super::mount::MountFlags;
use super::notify::{self, Mask};
use super::path::Path;
use super::permission::{self, EXEC, READ, SETGID, WRITE, owner_or_capable};
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials};

/// chmod(2) of what is at `path`. Links cannot be changed: EOPNOTSUPP.
pub fn chmod(cx: &dyn Caller, path: &Path, mode: u32) -> Result<()> {
    path.mount.want_write()?;
    let inode = path.inode();
    if inode.file_type() == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    permission::check_changeable(inode)?;
    let st = inode.stat()?;
    let creds = cx.credentials();
    if !owner_or_capable(creds, st.permissions()) {
        return Err(Errno::EPERM);
    }
    let mut perm = mode & 0o7777;
    if !creds.in_group(st.gid) && !creds.has_over(st.uid, st.gid, Caps::FSETID) {
        perm &= !SETGID;
    }
    let change = SetAttr {
        perm: Some(perm),
        ..SetAttr::default()
    };
    inode.set_attr(cx, &change)?;
    notify::object(&path.dentry, Mask::ATTRIB);
    Ok(())
}

/// chown(2); `None` leaves an id as it is. Set-id bits of what is no directory go, whoever asks.
pub fn chown(cx: &dyn Caller, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    path.mount.want_write()?;
    let inode = path.inode();
    permission::check_changeable(inode)?;
    let st = inode.stat()?;
    let creds = cx.credentials();
    let may_chown = creds.has_over(st.uid, st.gid, Caps::CHOWN);
    let owner = creds.fsuid == st.uid;
    let uid_allowed = |u| may_chown || (owner && u == st.uid);
    let gid_allowed = |g| may_chown || (owner && (g == st.gid || creds.in_group(g)));
    if !uid.is_none_or(uid_allowed) || !gid.is_none_or(gid_allowed) {
        return Err(Errno::EPERM);
    }
    let kept = kept_perm(creds, &st);
    let change = SetAttr {
        uid,
        gid,
        perm: (kept != st.perm).then_some(kept),
        ..SetAttr::default()
    };
    inode.set_attr(cx, &change)?;
    notify::object(&path.dentry, Mask::ATTRIB);
    Ok(())
}

/// Permission bits after a change of owner.
fn kept_perm(creds: &Credentials, st: &Stat) -> u32 {
    let mut perm = permission::without_setid(st.file_type, st.perm);
    // Set-group-id without group execution goes too unless the caller could have set it.
    if st.file_type != FileType::Directory
        && !creds.in_group(st.gid)
        && !creds.has_over(st.uid, st.gid, Caps::FSETID)
    {
        perm &= !SETGID;
    }
    perm
}

/// The size change of truncate(2) and ftruncate(2), after their own checks.
///
/// # Errors
/// EFBIG beyond RLIMIT_FSIZE (the caller sends SIGXFSZ); those of the file system.
pub fn set_size(cx: &dyn Caller, inode: &InodeRef, size: u64) -> Result<()> {
    if size > cx.file_size_limit() && size > inode.stat()?.size {
        return Err(Errno::EFBIG);
    }
    let change = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    inode.set_attr(cx, &change)?;
    permission::written(cx, &**inode)
}

/// truncate(2) of what is at `path`.
///
/// # Errors
/// EAGAIN while somebody's lease is in the way.
pub fn truncate(cx: &dyn Caller, path: &Path, size: u64) -> Result<()> {
    let inode = path.inode();
    match inode.file_type() {
        FileType::Directory => return Err(Errno::EISDIR),
        FileType::Regular => {}
        _ => return Err(Errno::EINVAL),
    }
    path.mount.want_write()?;
    permission::check_path(cx, path, WRITE)?;
    permission::check_changeable(inode)?;
    if super::deny_write::is_denied(inode) {
        return Err(Errno::ETXTBSY);
    }
    if super::lease::break_for(inode, true) {
        return Err(Errno::EAGAIN);
    }
    set_size(cx, inode, size)?;
    notify::object(&path.dentry, Mask::MODIFY);
    Ok(())
}

/// utimensat(2): `None` leaves a time as it is (UTIME_OMIT).
pub fn utimes(
    cx: &dyn Caller,
    path: &Path,
    atime: Option<SetTime>,
    mtime: Option<SetTime>,
) -> Result<()> {
    if atime.is_none() && mtime.is_none() {
        return Ok(());
    }
    path.mount.want_write()?;
    let inode = path.inode();
    let creds = cx.credentials();
    let flags = permission::flags(inode);
    let now = (atime, mtime) == (Some(SetTime::Now), Some(SetTime::Now));
    if flags & permission::IMMUTABLE != 0 || (!now && flags & permission::APPEND != 0) {
        return Err(Errno::EPERM);
    }
    if !owner_or_capable(creds, inode.permissions()?) {
        if (atime, mtime) != (Some(SetTime::Now), Some(SetTime::Now)) {
            return Err(Errno::EPERM);
        }
        permission::check(cx, inode, WRITE)?;
    }
    let change = SetAttr {
        atime,
        mtime,
        ..SetAttr::default()
    };
    inode.set_attr(cx, &change)?;
    notify::object(&path.dentry, Mask::ATTRIB);
    Ok(())
}

/// faccessat2(2) for these credentials; `mask` of [`READ`], [`WRITE`], [`EXEC`].
pub fn access(cx: &dyn Caller, creds: &Credentials, path: &Path, mask: u32) -> Result<()> {
    let inode = path.inode();
    if mask & EXEC != 0
        && inode.file_type() == FileType::Regular
        && path.mount.flags().contains(MountFlags::NOEXEC)
    {
        return Err(Errno::EACCES);
    }
    let mask = mask & (READ | WRITE | EXEC);
    let special = !matches!(
        inode.file_type(),
        FileType::Regular | FileType::Directory | FileType::Symlink
    );
    // A whole file system that is read-only is so before anybody's rights count (`sb_permission`), a mount after them.
    if mask & WRITE != 0 && !special && path.mount.superblock().readonly() {
        return Err(Errno::EROFS);
    }
    if mask & WRITE != 0 && permission::flags(inode) & permission::IMMUTABLE != 0 {
        return Err(Errno::EPERM);
    }
    permission::check_as(cx, creds, inode, mask)?;
    if mask & WRITE != 0 && !special {
        path.mount.want_write()?;
    }
    Ok(())
}
