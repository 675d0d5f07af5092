//! Reading and changing attributes, and file system statistics.
#![allow(unsafe_code)] // statx(2) and fstatfs(2) in full

use super::proc_fds::FdName;
use super::{HostResult, ProcFds};
use crate::protocol::{Attr, FsStat, Name, TimeSpec};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, utimensat};
use nix::unistd::{Gid, Uid, fchownat};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use zerocopy::FromZeros;

/// `STATX_ATTR_MOUNT_ROOT` of `linux/stat.h`.
const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;

/// Attributes of the node itself.
///
/// # Errors
/// What `statx(2)` reports.
pub fn stat(node: BorrowedFd<'_>) -> HostResult<Attr> {
    statx(node, c"", libc::AT_EMPTY_PATH)
}

/// Attributes of an entry of `dir`, without following a link.
///
/// # Errors
/// What `statx(2)` reports.
pub fn stat_at(dir: BorrowedFd<'_>, name: Name<'_>) -> HostResult<Attr> {
    statx(dir, name.to_c().as_c_str(), 0)
}

fn statx(fd: BorrowedFd<'_>, name: &CStr, flags: i32) -> HostResult<Attr> {
    let flags = flags | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    let mut buf = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: `name` is NUL-terminated and `buf` is a statx buffer of the right size.
    let ret = unsafe { libc::statx(fd.as_raw_fd(), name.as_ptr(), flags, mask, buf.as_mut_ptr()) };
    Errno::result(ret)?;
    // SAFETY: statx is plain integers; it was zeroed and the kernel filled it in.
    let x = unsafe { buf.assume_init() };
    let time = |t: libc::statx_timestamp| TimeSpec::new(t.tv_sec, t.tv_nsec);
    let mut flags = 0;
    if x.stx_mask & libc::STATX_BTIME != 0 {
        flags |= Attr::HAS_BTIME;
    }
    if x.stx_attributes & STATX_ATTR_MOUNT_ROOT != 0 {
        flags |= Attr::MOUNT_ROOT;
    }
    Ok(Attr {
        ino: x.stx_ino,
        dev: libc::makedev(x.stx_dev_major, x.stx_dev_minor),
        rdev: libc::makedev(x.stx_rdev_major, x.stx_rdev_minor),
        size: x.stx_size,
        blocks: x.stx_blocks,
        mode: u32::from(x.stx_mode),
        nlink: x.stx_nlink,
        uid: x.stx_uid,
        gid: x.stx_gid,
        blksize: x.stx_blksize,
        flags,
        atime: time(x.stx_atime),
        mtime: time(x.stx_mtime),
        ctime: time(x.stx_ctime),
        btime: time(x.stx_btime),
    })
}

/// Changes permission bits. A symbolic link has none (`EOPNOTSUPP`).
///
/// # Errors
/// What `chmod(2)` reports.
pub fn chmod(proc_fds: &ProcFds, node: BorrowedFd<'_>, mode: u32) -> HostResult<()> {
    let mode = Mode::from_bits_truncate(mode);
    fchmodat(
        proc_fds.dir(),
        FdName::new(node).as_c_str(),
        mode,
        FchmodatFlags::FollowSymlink,
    )
}

/// Changes owner and group of the node itself, be it a link.
///
/// # Errors
/// What `chown(2)` reports.
pub fn chown(node: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> HostResult<()> {
    fchownat(
        node,
        c"",
        uid.map(Uid::from_raw),
        gid.map(Gid::from_raw),
        AtFlags::AT_EMPTY_PATH,
    )
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// Leave alone.
    Keep,
    /// The host's present time.
    Now,
    /// This time.
    To(TimeSpec),
}

impl SetTime {
    fn to_host(self) -> nix::sys::time::TimeSpec {
        match self {
            Self::Keep => nix::sys::time::TimeSpec::UTIME_OMIT,
            Self::Now => nix::sys::time::TimeSpec::UTIME_NOW,
            Self::To(t) => nix::sys::time::TimeSpec::new(t.sec, i64::from(t.nsec)),
        }
    }
}

/// Changes access and modification time of the node itself.
///
/// # Errors
/// What `utimensat(2)` reports.
pub fn set_times(
    proc_fds: &ProcFds,
    node: BorrowedFd<'_>,
    atime: SetTime,
    mtime: SetTime,
) -> HostResult<()> {
    let name = FdName::new(node);
    let (atime, mtime) = (atime.to_host(), mtime.to_host());
    // Following is what resolves the magic link; it ends at the node, even if that is a link.
    utimensat(
        proc_fds.dir(),
        name.as_c_str(),
        &atime,
        &mtime,
        UtimensatFlags::FollowSymlink,
    )
}

/// Statistics of the file system that holds the node.
///
/// # Errors
/// What `fstatfs(2)` reports.
pub fn statfs(node: BorrowedFd<'_>) -> HostResult<FsStat> {
    let mut buf = RawStatFs::new_zeroed();
    // By number: the C library's structure hides the flags. SAFETY: `buf` is laid out as the
    // kernel's `struct statfs` of 64-bit machines (include/uapi/asm-generic/statfs.h).
    let ret = unsafe { libc::syscall(libc::SYS_fstatfs, node.as_raw_fd(), &raw mut buf) };
    Errno::result(ret)?;
    Ok(FsStat {
        kind: buf.kind,
        bsize: buf.bsize,
        frsize: buf.frsize,
        blocks: buf.blocks,
        bfree: buf.bfree,
        bavail: buf.bavail,
        files: buf.files,
        ffree: buf.ffree,
        namelen: buf.namelen,
        flags: buf.flags,
    })
}

/// The kernel's `struct statfs` on 64-bit machines.
#[derive(FromZeros)]
#[repr(C)]
struct RawStatFs {
    kind: u64,
    bsize: u64,
    blocks: u64,
    bfree: u64,
    bavail: u64,
    files: u64,
    ffree: u64,
    fsid: [i32; 2],
    namelen: u64,
    frsize: u64,
    flags: u64,
    spare: [u64; 4],
}
