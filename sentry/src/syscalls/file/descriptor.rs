//! dup, dup2, dup3, close, close_range, lseek.

use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonInode, AnonKind};
use crate::kernel::{FdEntry, FdTable, loan};
use crate::syscalls::path::asked;
use crate::syscalls::{Args, Cx, Fd, SysResult};
use crate::vfs::loan::Fixed;
use crate::vfs::{OpenFlags, Whence};
use std::sync::Arc;

/// Ends descriptors that were taken out of the table.
fn finish_close(cx: &Cx<'_>, table: &FdTable, entries: impl IntoIterator<Item = FdEntry>) {
    let table = table.id();
    let tgid = cx.group().pid();
    for e in entries {
        e.file.closed(table, tgid);
    }
    loan::closed(cx);
}

pub(super) fn dup(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file_any(args.get(0))?;
    Ok(cx.install_fd(file, false)?.into())
}

fn replace(cx: &Cx<'_>, old: Fd, new: Fd, cloexec: bool) -> Result<i64> {
    let limit = cx.limit(libc::RLIMIT_NOFILE);
    if u64::try_from(new.0).map_or(true, |n| n >= limit) {
        return Err(Errno::EBADF);
    }
    let file = cx.file_any(old)?;
    let before = cx.fds().install_at(new.0, file, cloexec, limit)?;
    finish_close(cx, cx.fds(), before);
    Ok(new.0.into())
}

pub(super) fn dup2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (old, new): (Fd, Fd) = (args.get(0), args.get(1));
    if old == new {
        cx.file_any(old)?;
        return Ok(new.0.into());
    }
    Ok(replace(cx, old, new, false)?)
}

pub(super) fn dup3(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (old, new): (Fd, Fd) = (args.get(0), args.get(1));
    let flags: u32 = args.get(2);
    if flags & !OpenFlags::CLOEXEC.bits() != 0 || old == new {
        return Err(Errno::EINVAL.into());
    }
    Ok(replace(cx, old, new, flags != 0)?)
}

pub(super) fn close(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let fd: Fd = args.get(0);
    let entry = cx.fds().remove(fd.0)?;
    finish_close(cx, cx.fds(), [entry]);
    Ok(0)
}

/// CLOSE_RANGE_UNSHARE.
const UNSHARE: u32 = 2;
/// CLOSE_RANGE_CLOEXEC.
const CLOEXEC: u32 = 4;

pub(super) fn close_range(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (first, last, flags): (u32, u32, u32) = (args.get(0), args.get(1), args.get(2));
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    let mut fds = cx.fds().clone();
    if flags & UNSHARE != 0 {
        fds = Arc::new(fds.duplicate()?);
        cx.task.set_fds(fds.clone());
        loan::unshared(cx);
    }
    let within = |fd: i32| u32::try_from(fd).is_ok_and(|n| (first..=last).contains(&n));
    if flags & CLOEXEC != 0 {
        fds.for_each(|fd, e| e.cloexec |= within(fd));
    } else {
        let gone = fds.remove_where(|fd, _| within(fd));
        finish_close(cx, &fds, gone);
    }
    Ok(0)
}

/// What has a position that nothing moves.
const UNMOVED: [&str; 5] = [
    "[eventfd]",
    "[eventpoll]",
    "[signalfd]",
    "[timerfd]",
    "inotify",
];

pub(super) fn lseek(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    let whence = match args.get::<u32>(2) {
        0 => Whence::Set,
        1 => Whence::Current,
        2 => Whence::End,
        3 => Whence::Data,
        4 => Whence::Hole,
        _ => return Err(Errno::EINVAL.into()),
    };
    // Event files have a position that nothing moves (`noop_llseek`).
    let anonymous = file.inode().as_any().downcast_ref::<AnonInode>();
    if matches!(anonymous.map(AnonInode::kind), Some(AnonKind::Other(name)) if UNMOVED.contains(&name))
    {
        return Ok(0);
    }
    let at = file.seek(args.get(1), whence)?;
    if file.ops().fixed().contains(Fixed::PLACES) {
        asked(cx, args.get(0), &file);
    }
    Ok(i64::try_from(at).map_err(|_| Errno::EOVERFLOW)?)
}
