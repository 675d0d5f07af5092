//! Who may do what: mode bits, ownership, capabilities, sticky directories (path_resolution(7), inode(7)).

use super::caller::Caller;
use super::inode::{FileType, Inode, InodeRef, Permissions, Stat};
use super::mount::MountFlags;
use super::path::Path;
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials, UserNamespace};

/// Execute or search.
pub const EXEC: u32 = 1;
/// Write.
pub const WRITE: u32 = 2;
/// Read.
pub const READ: u32 = 4;

/// S_ISUID.
pub const SETUID: u32 = 0o4000;
/// S_ISGID.
pub const SETGID: u32 = 0o2000;
/// S_ISVTX.
pub const STICKY: u32 = 0o1000;

/// FS_IMMUTABLE_FL.
pub const IMMUTABLE: u32 = 0x10;
/// FS_APPEND_FL.
pub const APPEND: u32 = 0x20;

/// File flags (ioctl_iflags(2)), none where there is no such thing.
pub fn flags(inode: &InodeRef) -> u32 {
    inode.file_flags().unwrap_or(0)
}

/// EPERM for changing attributes of what file flags protect.
pub fn check_changeable(inode: &InodeRef) -> Result<()> {
    if flags(inode) & (IMMUTABLE | APPEND) != 0 {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Whether the caller may access `inode` with all of `mask` (of [`READ`], [`WRITE`], [`EXEC`]).
///
/// # Errors
/// EACCES, or what the inode itself says.
pub fn check(cx: &dyn Caller, inode: &InodeRef, mask: u32) -> Result<()> {
    check_as(cx, cx.credentials(), inode, mask)
}

/// The same for other credentials than the caller's (access(2) uses the real ids).
pub fn check_as(cx: &dyn Caller, creds: &Credentials, inode: &InodeRef, mask: u32) -> Result<()> {
    if let Some(answer) = inode.permission(cx, mask) {
        return answer;
    }
    // Searching a directory is by far the most frequent question; a capability answers it without the attributes.
    if mask == EXEC && inode.file_type() == FileType::Directory && creds.has(Caps::DAC_READ_SEARCH)
    {
        return Ok(());
    }
    check_mode(creds, inode.file_type(), inode.permissions()?, mask)
}

/// The decision by attributes alone.
pub fn check_mode(creds: &Credentials, kind: FileType, st: Permissions, mask: u32) -> Result<()> {
    let bits = if creds.fsuid == st.uid {
        st.perm >> 6
    } else if creds.in_group(st.gid) {
        st.perm >> 3
    } else {
        st.perm
    };
    if bits & mask == mask {
        return Ok(());
    }
    let has = |cap| creds.has_over(st.uid, st.gid, cap);
    let dir = kind == FileType::Directory;
    if dir {
        if mask & WRITE == 0 && has(Caps::DAC_READ_SEARCH) {
            return Ok(());
        }
        if has(Caps::DAC_OVERRIDE) {
            return Ok(());
        }
        return Err(Errno::EACCES);
    }
    if mask == READ && has(Caps::DAC_READ_SEARCH) {
        return Ok(());
    }
    // Even root needs one x bit to execute.
    if (mask & EXEC == 0 || st.perm & 0o111 != 0) && has(Caps::DAC_OVERRIDE) {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// [`check`] for what is at a path: also EROFS for writing to a file or directory of a read-only file system.
pub fn check_path(cx: &dyn Caller, path: &Path, mask: u32) -> Result<()> {
    if mask & WRITE != 0
        && path.mount.superblock().readonly()
        && matches!(
            path.inode().file_type(),
            FileType::Regular | FileType::Directory | FileType::Symlink
        )
    {
        return Err(Errno::EROFS);
    }
    if mask & WRITE != 0 && flags(path.inode()) & IMMUTABLE != 0 {
        return Err(Errno::EPERM);
    }
    check(cx, path.inode(), mask)
}

/// Whether the caller owns a file or may act as its owner (`inode_owner_or_capable`).
pub fn owner_or_capable(creds: &Credentials, of: Permissions) -> bool {
    creds.fsuid == of.uid || creds.has_own(Caps::FOWNER) && creds.user_ns.uid(of.uid).is_some()
}

/// EPERM if the sticky bit of directory `dir` keeps the caller from removing or renaming `victim`.
pub fn check_sticky(creds: &Credentials, dir: &Stat, victim: &Stat) -> Result<()> {
    if dir.perm & STICKY == 0
        || creds.fsuid == victim.uid
        || creds.fsuid == dir.uid
        || creds.has_over(victim.uid, victim.gid, Caps::FOWNER)
    {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Whether set-id bits of a program at `path` count for somebody of user namespace `of` in mount namespace `mounts`
/// (`mnt_may_suid`).
pub fn honours_setid(path: &Path, of: &UserNamespace, mounts: u64) -> bool {
    path.mount.namespace_id() == mounts
        && !path.mount.flags().contains(MountFlags::NOSUID)
        && of.is_within(path.mount.superblock().user_ns())
}

/// EACCES unless `path` is a regular file that the caller may execute and its mount is not noexec.
pub fn check_exec(cx: &dyn Caller, path: &Path) -> Result<()> {
    if path.inode().file_type() != FileType::Regular
        || path.mount.flags().contains(MountFlags::NOEXEC)
    {
        return Err(Errno::EACCES);
    }
    check(cx, path.inode(), EXEC)
}

/// Owner and permission bits of a new object in directory `dir`: `(uid, gid, perm)`. A set-group-id directory
/// passes on its group, and to subdirectories the bit.
pub fn ownership(cx: &dyn Caller, dir: &Stat, kind: FileType, perm: u32) -> (u32, u32, u32) {
    let creds = cx.credentials();
    if dir.perm & SETGID == 0 {
        return (creds.fsuid, creds.fsgid, perm);
    }
    let perm = if kind == FileType::Directory {
        perm | SETGID
    } else if perm & (SETGID | 0o010) == (SETGID | 0o010)
        && !creds.in_group(dir.gid)
        && !creds.has_over(dir.uid, dir.gid, Caps::FSETID)
    {
        perm & !SETGID
    } else {
        perm
    };
    (creds.fsuid, dir.gid, perm)
}

/// The permission bits a file keeps when someone without CAP_FSETID writes to it or it changes owner: set-user-id goes, and
/// set-group-id of a group-executable file.
pub fn without_setid(kind: FileType, perm: u32) -> u32 {
    if kind == FileType::Directory {
        return perm;
    }
    let mut p = perm & !SETUID;
    if p & 0o010 != 0 {
        p &= !SETGID;
    }
    p
}

/// Drops set-id bits of a regular file that was written to by a caller without CAP_FSETID.
pub fn written(cx: &dyn Caller, inode: &dyn Inode) -> Result<()> {
    if inode.file_type() != FileType::Regular {
        return Ok(());
    }
    let st = inode.permissions()?;
    if st.perm & (SETUID | SETGID) == 0 || cx.credentials().has_over(st.uid, st.gid, Caps::FSETID) {
        return Ok(());
    }
    let perm = without_setid(FileType::Regular, st.perm);
    if perm == st.perm {
        return Ok(());
    }
    inode.set_attr(
        cx,
        &super::SetAttr {
            perm: Some(perm),
            ..Default::default()
        },
    )
}
