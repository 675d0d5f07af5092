//! Size, allocation and storage: ftruncate, fallocate, fsync and its kin, fadvise64, readahead, memfd_create.

use super::rw::signal_self;
use crate::abi::{Errno, Result};
use crate::fs::tmpfs;
use crate::syscalls::{Args, Cx, SysErr, SysResult};
use crate::usermem::{UserPtr, UserStr};
use crate::vfs::notify::{self, Mask};
use crate::vfs::{File, FileType, attr, permission};

/// Turns the EFBIG of RLIMIT_FSIZE into a signal too.
pub(in crate::syscalls) fn resized(cx: &Cx<'_>, size: u64, outcome: Result<()>) -> SysResult {
    if outcome == Err(Errno::EFBIG) && size > cx.limit(libc::RLIMIT_FSIZE) {
        signal_self(cx, libc::SIGXFSZ);
    }
    outcome?;
    Ok(0)
}

pub(super) fn ftruncate(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let size = u64::try_from(args.get::<i64>(1)).map_err(|_| Errno::EINVAL)?;
    let file = cx.file(args.get(0))?;
    if file.inode().file_type() != FileType::Regular || !file.flags().writable() {
        return Err(Errno::EINVAL.into());
    }
    if permission::flags(file.inode()) & permission::APPEND != 0 {
        return Err(Errno::EPERM.into());
    }
    let outcome = attr::set_size(&cx.caller(), file.inode(), size);
    if outcome.is_ok() {
        notify::file(&file, Mask::MODIFY);
    }
    resized(cx, size, outcome)
}

/// FALLOC_FL_KEEP_SIZE.
const KEEP_SIZE: u32 = 1;
/// FALLOC_FL_PUNCH_HOLE.
const PUNCH_HOLE: u32 = 2;
/// All modes of linux/falloc.h but NO_HIDE_STALE and WRITE_ZEROES.
const KNOWN_MODES: u32 = 0x7b;

/// Bytes that are allocated in one turn.
const ALLOCATION_TURN: u64 = 16 << 20;
/// The same, removes.
const REMOVAL_TURN: u64 = 256 << 20;

/// ENOSPC at once for what certainly does not fit: Linux gives back what it allocated in vain, several turns cannot.
fn fits(file: &File, len: u64) -> Result<()> {
    let fs = file.inode().statfs()?;
    let present = file.ops().stat(file)?.blocks.saturating_mul(512);
    let free = fs.blocks_available.saturating_mul(fs.block_size);
    if fs.blocks != 0 && len.saturating_sub(present) > free {
        return Err(Errno::ENOSPC);
    }
    Ok(())
}

pub(super) fn fallocate(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let mode: u32 = args.get(1);
    let file = cx.file(args.get(0))?;
    let (offset, len): (i64, i64) = (args.get(2), args.get(3));
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL.into());
    }
    if mode & !KNOWN_MODES != 0 || mode & (PUNCH_HOLE | KEEP_SIZE) == PUNCH_HOLE {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if !file.flags().writable() {
        return Err(Errno::EBADF.into());
    }
    match file.inode().file_type() {
        FileType::Fifo => return Err(Errno::ESPIPE.into()),
        FileType::Directory => return Err(Errno::EISDIR.into()),
        FileType::Regular | FileType::BlockDevice => {}
        _ => return Err(Errno::ENODEV.into()),
    }
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    let caller = cx.caller();
    let (offset, len) = (offset.cast_unsigned(), len.cast_unsigned());
    let done = cx.progress().done as u64;
    let left = len.saturating_sub(done);
    // To make pages takes time; to remove them, a tenth of that.
    let part = match mode & !KEEP_SIZE {
        0 => left.min(ALLOCATION_TURN),
        PUNCH_HOLE => left.min(REMOVAL_TURN),
        _ => left,
    };
    if done == 0 && part < left && mode & !KEEP_SIZE == 0 {
        fits(&file, len)?;
    }
    let at = offset.saturating_add(done);
    let outcome = file.ops().fallocate(&file, &caller, mode, at, part);
    if outcome.is_ok() {
        if part < left {
            cx.progress().done = usize::try_from(done + part).unwrap_or(usize::MAX);
            return Err(SysErr::Again);
        }
        notify::file(&file, Mask::MODIFY);
    }
    resized(cx, end.cast_unsigned(), outcome)
}

pub(super) fn fsync(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    file.ops().fsync(&file, false)?;
    Ok(0)
}

pub(super) fn fdatasync(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    file.ops().fsync(&file, true)?;
    Ok(0)
}

/// The host writes its files back when it pleases; what the sentry holds is in memory.
pub(super) fn sync(_: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(0)
}

pub(super) fn syncfs(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    cx.file(args.get(0))?;
    Ok(0)
}

pub(super) fn sync_file_range(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    let (offset, len): (i64, i64) = (args.get(1), args.get(2));
    let flags: u32 = args.get(3);
    if flags & !7 != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    if !matches!(
        file.inode().file_type(),
        FileType::Regular | FileType::Directory | FileType::Symlink | FileType::BlockDevice
    ) {
        return Err(Errno::ESPIPE.into());
    }
    if flags != 0 && file.flags().writable() {
        file.ops().fsync(&file, true)?;
    }
    Ok(0)
}

pub(super) fn fadvise64(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    if file.inode().file_type() == FileType::Fifo {
        return Err(Errno::ESPIPE.into());
    }
    if args.get::<i64>(2) < 0 || !(0..=5).contains(&args.get::<i32>(3)) {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

pub(super) fn readahead(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    if !file.flags().readable() {
        return Err(Errno::EBADF.into());
    }
    // Anonymous objects (epoll, eventfd) look regular but have no pages.
    if file.inode().file_type() != FileType::Regular || !file.ops().seekable() {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

pub(super) fn memfd_create(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(1);
    let name = cx
        .mem()
        .read_cstr(args.get::<UserStr>(0), 250)
        .map_err(|e| {
            if e == Errno::ENAMETOOLONG {
                Errno::EINVAL
            } else {
                e
            }
        })?;
    let file = tmpfs::memfd_create(&cx.caller(), &name, flags)?;
    Ok(cx.install_fd(file, flags & 1 != 0)?.into())
}

/// `cachestat(fd, *range, *stat, flags)`: what of a file is in memory. Which pages are only the host knows, and of files that others share tells
/// nobody: all of the file counts as being there, and as clean.
pub(super) fn cachestat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    const PAGE: u64 = 4096;
    let (range, to): (u64, u64) = (args.get(1), args.get(2));
    let file = cx.file(args.get(0))?;
    let [offset, len]: [u64; 2] = cx.mem().get(UserPtr::new(range))?;
    if args.get::<u32>(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let size = match file.inode().file_type() {
        FileType::Regular => file.ops().stat(&file)?.size,
        _ => 0,
    };
    let end = match len {
        0 => size,
        n => offset.saturating_add(n).min(size),
    };
    let pages = end.div_ceil(PAGE).saturating_sub(offset / PAGE);
    let cached = if offset < end { pages } else { 0 };
    cx.mem().put(UserPtr::new(to), &[cached, 0, 0, 0, 0])?;
    Ok(0)
}
