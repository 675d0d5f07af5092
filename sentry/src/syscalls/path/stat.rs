//! stat, lstat, fstat, newfstatat, statx, statfs, fstatfs; access and readlink.

use super::at::{self, EMPTY_PATH, FDCWD, NO_AUTOMOUNT, NOFOLLOW, REMOVEDIR, lookup};
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials, UserNamespace};
use crate::fs::devices::{major, minor};
use crate::kernel::{loan, paths};
use crate::syscalls::{Args, Cx, Fd, SysResult};
use crate::usermem::{UserPtr, UserStr};
use crate::vfs::{File, FileType, MountFlags, Path, Stat, StatFs, Timestamp, attr};
use cofferdam_platform::PathCall;
use std::sync::Arc;
use zerocopy::{Immutable, IntoBytes};

/// `struct stat` of x86-64.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct UserStat {
    dev: u64,
    ino: u64,
    nlink: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    pad0: u32,
    rdev: u64,
    size: u64,
    blksize: u64,
    blocks: u64,
    times: [[i64; 2]; 3],
    unused: [u64; 3],
}

fn pair(t: Timestamp) -> [i64; 2] {
    [t.sec, t.nsec.into()]
}

fn user_stat(ns: &UserNamespace, s: &Stat) -> UserStat {
    UserStat {
        dev: s.dev,
        ino: s.ino,
        nlink: s.nlink.into(),
        mode: s.mode(),
        uid: ns.show_user(s.uid),
        gid: ns.show_group(s.gid),
        pad0: 0,
        rdev: s.rdev,
        size: s.size,
        blksize: s.blksize.into(),
        blocks: s.blocks,
        times: [pair(s.atime), pair(s.mtime), pair(s.ctime)],
        unused: [0; 3],
    }
}

fn put_stat(cx: &Cx<'_>, addr: u64, s: &Stat) -> SysResult {
    let out = user_stat(&cx.creds().user_ns, s);
    cx.mem().put(UserPtr::new(addr), &out)?;
    Ok(0)
}

/// stat(2) of a path, or lstat(2) with AT_SYMLINK_NOFOLLOW.
fn stat_path(cx: &mut Cx<'_>, fd: Fd, path: &[u8], flags: u32, addr: u64) -> SysResult {
    let call = if flags & NOFOLLOW == 0 {
        PathCall::Stat
    } else {
        PathCall::Lstat
    };
    let mut telling = paths::asked(cx, call, path);
    let place = at::telling(cx, cx.creds(), fd, path, flags, &mut telling);
    let stat = place.and_then(|p| p.inode().stat());
    if telling.is_some() {
        let ns = &cx.creds().user_ns;
        let told = stat.map(|s| zerocopy::transmute!(user_stat(ns, &s)));
        paths::tell(cx, telling, path, told.as_ref().map_err(|e| *e));
    }
    put_stat(cx, addr, &stat?)
}

pub(super) fn stat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let path = cx.mem().read_path(args.get(0))?;
    stat_path(cx, FDCWD, &path, 0, args.get(1))
}

pub(super) fn lstat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let path = cx.mem().read_path(args.get(0))?;
    stat_path(cx, FDCWD, &path, NOFOLLOW, args.get(1))
}

pub(super) fn fstat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file_any(args.get(0))?;
    let s = file.ops().stat(&file)?;
    put_stat(cx, args.get(1), &s)?;
    if file.inode().copies().is_some() {
        asked(cx, args.get(0), &file);
    }
    Ok(0)
}

/// A call by `fd` was made that the stub could have answered.
pub(in crate::syscalls) fn asked(cx: &mut Cx<'_>, fd: Fd, file: &Arc<File>) {
    let ns = &cx.creds().user_ns;
    loan::asked(cx, fd.0, file, || {
        let s = file.ops().stat(file).ok()?;
        Some(zerocopy::transmute!(user_stat(ns, &s)))
    });
}

/// Attributes of what `fd`, `path` and `flags` name; open files answer for themselves.
fn stat_at(cx: &Cx<'_>, fd: Fd, path: UserStr, flags: u32) -> Result<(Stat, Option<Path>)> {
    if flags & EMPTY_PATH != 0 && fd != FDCWD {
        let empty = path.is_null() || cx.mem().read_path(path)?.is_empty();
        if empty {
            let file = cx.file_any(fd)?;
            return Ok((file.ops().stat(&file)?, file.path().cloned()));
        }
    }
    let place = lookup(cx, fd, path, flags)?;
    Ok((place.inode().stat()?, Some(place)))
}

pub(super) fn newfstatat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(3);
    at::only(flags, NOFOLLOW | NO_AUTOMOUNT | EMPTY_PATH)?;
    let fd = args.get(0);
    if flags & EMPTY_PATH == 0 {
        let path = cx.mem().read_path(args.get(1))?;
        return stat_path(cx, fd, &path, flags, args.get(2));
    }
    let (s, _) = stat_at(cx, fd, args.get(1), flags)?;
    put_stat(cx, args.get(2), &s)?;
    if flags == EMPTY_PATH
        && let Ok(file) = cx.file_any(fd)
        && file.inode().copies().is_some()
    {
        // What fstat of the C library is.
        asked(cx, fd, &file);
    }
    Ok(0)
}

/// `struct statx_timestamp`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct StatxTime {
    sec: i64,
    nsec: u32,
    pad: u32,
}

impl From<Timestamp> for StatxTime {
    fn from(t: Timestamp) -> StatxTime {
        StatxTime {
            sec: t.sec,
            nsec: t.nsec,
            pad: 0,
        }
    }
}

/// `struct statx`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct Statx {
    mask: u32,
    blksize: u32,
    attributes: u64,
    nlink: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    pad0: u16,
    ino: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    times: [StatxTime; 4],
    rdev: [u32; 2],
    dev: [u32; 2],
    mnt_id: u64,
    rest: [u64; 13],
}

/// STATX_BASIC_STATS | STATX_BTIME.
const STATX_GIVEN: u32 = 0xfff;
/// STATX_MNT_ID.
const STATX_MNT_ID: u32 = 0x1000;
/// STATX_MNT_ID_UNIQUE.
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
/// STATX_ATTR_IMMUTABLE, _APPEND, _NODUMP.
const ATTR_FLAGS: u64 = 0x70;
/// STATX_ATTR_AUTOMOUNT.
const ATTR_AUTOMOUNT: u64 = 0x1000;
/// STATX_ATTR_DAX.
const ATTR_DAX: u64 = 0x20_0000;
/// STATX_ATTR_MOUNT_ROOT.
const ATTR_MOUNT_ROOT: u64 = 0x2000;

pub(super) fn statx(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(2);
    let mask: u32 = args.get(3);
    // AT_STATX_FORCE_SYNC and AT_STATX_DONT_SYNC exclude each other.
    at::only(flags, NOFOLLOW | NO_AUTOMOUNT | EMPTY_PATH | 0x6000)?;
    if mask & 0x8000_0000 != 0 || flags & 0x6000 == 0x6000 {
        return Err(Errno::EINVAL.into());
    }
    let (s, place) = stat_at(cx, args.get(0), args.get(1), flags)?;
    let mount = place.as_ref().map(|p| &p.mount);
    let is_root = place
        .as_ref()
        .is_some_and(|p| std::sync::Arc::ptr_eq(&p.dentry, p.mount.root()));
    let id = mount.map_or(0, |m| u64::try_from(m.id()).unwrap_or(0));
    let (id_given, mnt_id) = if mask & STATX_MNT_ID_UNIQUE != 0 {
        (STATX_MNT_ID_UNIQUE, mount.map_or(0, |m| m.unique_id()))
    } else {
        (STATX_MNT_ID, id)
    };
    // The bits are those of FS_IOC_GETFLAGS.
    let flags = place.as_ref().and_then(|p| p.inode().file_flags().ok());
    let attributes = u64::from(flags.unwrap_or(0)) & ATTR_FLAGS;
    let out = Statx {
        mask: STATX_GIVEN | id_given,
        blksize: s.blksize,
        attributes: attributes | if is_root { ATTR_MOUNT_ROOT } else { 0 },
        nlink: s.nlink,
        uid: cx.creds().user_ns.show_user(s.uid),
        gid: cx.creds().user_ns.show_group(s.gid),
        mode: s.mode() as u16,
        pad0: 0,
        ino: s.ino,
        size: s.size,
        blocks: s.blocks,
        attributes_mask: ATTR_MOUNT_ROOT
            | ATTR_AUTOMOUNT
            | ATTR_DAX
            | flags.map_or(0, |_| ATTR_FLAGS),
        times: [
            s.atime.into(),
            s.btime.into(),
            s.ctime.into(),
            s.mtime.into(),
        ],
        rdev: [major(s.rdev), minor(s.rdev)],
        dev: [major(s.dev), minor(s.dev)],
        mnt_id,
        rest: [0; 13],
    };
    cx.mem().put(UserPtr::new(args.get(4)), &out)?;
    Ok(0)
}

/// `struct statfs` of x86-64.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct UserStatFs {
    magic: u64,
    bsize: u64,
    blocks: u64,
    bfree: u64,
    bavail: u64,
    files: u64,
    ffree: u64,
    fsid: [u32; 2],
    namelen: u64,
    frsize: u64,
    flags: u64,
    spare: [u64; 4],
}

/// ST_VALID and the mount's flags as statfs(2) shows them.
fn statfs_flags(mount: MountFlags, readonly: bool) -> u64 {
    let table = [
        (MountFlags::READONLY, 1),
        (MountFlags::NOSUID, 2),
        (MountFlags::NODEV, 4),
        (MountFlags::NOEXEC, 8),
        (MountFlags::NOATIME, 0x400),
        (MountFlags::NODIRATIME, 0x800),
        (MountFlags::RELATIME, 0x1000),
        (MountFlags::NOSYMFOLLOW, 0x2000),
    ];
    let shown: u64 = table
        .iter()
        .filter(|(f, _)| mount.contains(*f))
        .map(|(_, bit)| bit)
        .sum();
    shown | 0x20 | u64::from(readonly)
}

fn put_statfs(cx: &Cx<'_>, addr: u64, s: &StatFs, dev: u64, flags: u64) -> SysResult {
    let out = UserStatFs {
        magic: s.magic,
        bsize: s.block_size,
        blocks: s.blocks,
        bfree: s.blocks_free,
        bavail: s.blocks_available,
        files: s.files,
        ffree: s.files_free,
        fsid: [dev as u32, (dev >> 32) as u32],
        namelen: s.name_max,
        frsize: s.block_size,
        flags,
        spare: [0; 4],
    };
    cx.mem().put(UserPtr::new(addr), &out)?;
    Ok(0)
}

fn statfs_of(cx: &Cx<'_>, place: &Path, addr: u64) -> SysResult {
    let s = place.inode().statfs()?;
    let dev = place.inode().stat()?.dev;
    let flags = statfs_flags(place.mount.flags(), place.mount.superblock().readonly());
    put_statfs(cx, addr, &s, dev, flags)
}

pub(super) fn statfs(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = lookup(cx, FDCWD, args.get(0), 0)?;
    statfs_of(cx, &place, args.get(1))
}

pub(super) fn fstatfs(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = at::place_of(cx, args.get(0))?;
    statfs_of(cx, &place, args.get(1))
}

/// SECBIT_NO_SETUID_FIXUP.
const NO_SETUID_FIXUP: u32 = 4;

/// The identity that access(2) asks about: the real ids, and the capabilities they would have.
fn real(creds: &Credentials) -> Credentials {
    let mut c = creds.clone();
    c.fsuid = c.uid;
    c.fsgid = c.gid;
    if c.securebits & NO_SETUID_FIXUP == 0 {
        c.effective = if c.uid == c.user_ns.root() {
            c.permitted
        } else {
            Caps::empty()
        };
    }
    c
}

fn do_access(cx: &mut Cx<'_>, fd: Fd, path: UserStr, mode: u32, flags: u32) -> SysResult {
    if mode & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    at::only(flags, REMOVEDIR | NOFOLLOW | EMPTY_PATH)?;
    let creds = cx.creds();
    let effective = flags & REMOVEDIR != 0;
    // The way there is gone by the same rights (`access_override_creds`).
    let asked = if effective {
        creds.as_ref().clone()
    } else {
        real(creds)
    };
    let check = |cx: &Cx<'_>, place: Path| {
        if mode == 0 {
            return Ok(());
        }
        attr::access(&cx.caller(), &asked, &place, mode)
    };
    if flags & EMPTY_PATH != 0 {
        let place = lookup(cx, fd, path, flags)?;
        check(cx, place)?;
        return Ok(0);
    }
    let path = cx.mem().read_path(path)?;
    let call = PathCall::Access {
        mode: mode as u8,
        effective,
    };
    let mut telling = None;
    if flags & NOFOLLOW == 0 {
        telling = paths::asked(cx, call, &path);
    }
    let place = at::telling(cx, &asked, fd, &path, flags, &mut telling);
    let outcome = place.and_then(|p| check(cx, p));
    if telling.is_some() {
        paths::tell(cx, telling, &path, outcome.map(|()| &[0; 144]));
    }
    outcome?;
    Ok(0)
}

pub(super) fn access(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_access(cx, FDCWD, args.get(0), args.get(1), 0)
}

pub(super) fn faccessat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_access(cx, args.get(0), args.get(1), args.get(2), 0)
}

pub(super) fn faccessat2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_access(cx, args.get(0), args.get(1), args.get(2), args.get(3))
}

fn do_readlink(cx: &Cx<'_>, fd: Fd, path: UserStr, addr: u64, size: i32) -> SysResult {
    let size = usize::try_from(size)
        .ok()
        .filter(|s| *s > 0)
        .ok_or(Errno::EINVAL)?;
    let text = cx.mem().read_path(path)?;
    let empty = text.is_empty();
    let place = at::whole(cx, fd, &text, NOFOLLOW | EMPTY_PATH)?;
    if empty && fd == FDCWD {
        return Err(Errno::ENOENT.into());
    }
    if place.inode().file_type() != FileType::Symlink {
        // An empty path names the descriptor itself, which then is "not there" as a link.
        return Err(if empty { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    place.accessed();
    let target = place.inode().readlink(&cx.caller())?;
    let shown = target.get(..target.len().min(size)).unwrap_or(&[]);
    cx.mem().write_bytes(addr, shown)?;
    Ok(i64::try_from(shown.len()).unwrap_or(0))
}

pub(super) fn readlink(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_readlink(cx, FDCWD, args.get(0), args.get(1), args.get(2))
}

pub(super) fn readlinkat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_readlink(cx, args.get(0), args.get(1), args.get(2), args.get(3))
}
