//! chmod, chown, truncate, utimensat and their families.

use super::at::{self, EMPTY_PATH, FDCWD, NOFOLLOW, lookup, of_open};
use crate::abi::{Errno, Result};
use crate::sync::Events;
use crate::syscalls::file::storage::resized;
use crate::syscalls::{Args, Block, Cx, Fd, SysResult};
use crate::usermem::{UserPtr, UserStr};
use crate::vfs::{Path, SetTime, Timestamp, attr, lease};

fn do_chmod(cx: &Cx<'_>, place: &Path, mode: u32) -> SysResult {
    attr::chmod(&cx.caller(), place, mode)?;
    Ok(0)
}

pub(super) fn chmod(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = lookup(cx, FDCWD, args.get(0), 0)?;
    do_chmod(cx, &place, args.get(1))
}

pub(super) fn fchmod(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = of_open(cx, args.get(0))?;
    do_chmod(cx, &place, args.get(1))
}

pub(super) fn fchmodat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = lookup(cx, args.get(0), args.get(1), 0)?;
    do_chmod(cx, &place, args.get(2))
}

pub(super) fn fchmodat2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(3);
    at::only(flags, NOFOLLOW | EMPTY_PATH)?;
    let place = lookup(cx, args.get(0), args.get(1), flags)?;
    do_chmod(cx, &place, args.get(2))
}

fn do_chown(cx: &Cx<'_>, place: &Path, uid: u32, gid: u32) -> SysResult {
    let ns = &cx.creds().user_ns;
    let uid = (uid != u32::MAX).then(|| ns.user_arg(uid)).transpose()?;
    let gid = (gid != u32::MAX).then(|| ns.group_arg(gid)).transpose()?;
    attr::chown(&cx.caller(), place, uid, gid)?;
    Ok(0)
}

pub(super) fn chown(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = lookup(cx, FDCWD, args.get(0), 0)?;
    do_chown(cx, &place, args.get(1), args.get(2))
}

pub(super) fn lchown(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = lookup(cx, FDCWD, args.get(0), NOFOLLOW)?;
    do_chown(cx, &place, args.get(1), args.get(2))
}

pub(super) fn fchown(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let place = of_open(cx, args.get(0))?;
    do_chown(cx, &place, args.get(1), args.get(2))
}

pub(super) fn fchownat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(4);
    at::only(flags, NOFOLLOW | EMPTY_PATH)?;
    let place = lookup(cx, args.get(0), args.get(1), flags)?;
    do_chown(cx, &place, args.get(2), args.get(3))
}

pub(super) fn truncate(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let size = u64::try_from(args.get::<i64>(1)).map_err(|_| Errno::EINVAL)?;
    let place = lookup(cx, FDCWD, args.get(0), 0)?;
    let outcome = attr::truncate(&cx.caller(), &place, size);
    if outcome == Err(Errno::EAGAIN)
        && let Some((queue, deadline)) = lease::blocks(place.inode(), true)
    {
        return Err(Block::on(queue, Events::all()).deadline(deadline).into());
    }
    resized(cx, size, outcome)
}

/// UTIME_NOW.
const UTIME_NOW: i64 = 0x3fff_ffff;
/// UTIME_OMIT.
const UTIME_OMIT: i64 = 0x3fff_fffe;

/// One `struct timespec` of utimensat(2).
fn spec([sec, nsec]: [i64; 2]) -> Result<Option<SetTime>> {
    match nsec {
        UTIME_NOW => Ok(Some(SetTime::Now)),
        UTIME_OMIT => Ok(None),
        0..1_000_000_000 => Ok(Some(SetTime::At(Timestamp {
            sec,
            nsec: nsec as u32,
        }))),
        _ => Err(Errno::EINVAL),
    }
}

/// One `struct timeval` of utimes(2).
fn val([sec, usec]: [i64; 2]) -> Result<Option<SetTime>> {
    match usec {
        0..1_000_000 => spec([sec, usec * 1000]),
        _ => Err(Errno::EINVAL),
    }
}

type Times = (Option<SetTime>, Option<SetTime>);

/// Reads two times at `addr`; null means now.
fn read_times(
    cx: &Cx<'_>,
    addr: u64,
    decode: fn([i64; 2]) -> Result<Option<SetTime>>,
) -> Result<Times> {
    if addr == 0 {
        return Ok((Some(SetTime::Now), Some(SetTime::Now)));
    }
    let [a, m]: [[i64; 2]; 2] = cx.mem().get(UserPtr::new(addr))?;
    Ok((decode(a)?, decode(m)?))
}

fn set_times(cx: &Cx<'_>, place: &Path, (atime, mtime): Times) -> SysResult {
    attr::utimes(&cx.caller(), place, atime, mtime)?;
    Ok(0)
}

pub(super) fn utimensat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let fd: Fd = args.get(0);
    let path: UserStr = args.get(1);
    let flags: u32 = args.get(3);
    let times = read_times(cx, args.get(2), spec)?;
    // Nothing to do, not even a look at the path.
    if times == (None, None) {
        return Ok(0);
    }
    if path.is_null() && fd != FDCWD {
        // futimens(3).
        at::only(flags, 0)?;
        let place = of_open(cx, fd)?;
        return set_times(cx, &place, times);
    }
    at::only(flags, NOFOLLOW | EMPTY_PATH)?;
    let place = lookup(cx, fd, path, flags)?;
    set_times(cx, &place, times)
}

pub(super) fn futimesat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let fd: Fd = args.get(0);
    let path: UserStr = args.get(1);
    let times = read_times(cx, args.get(2), val)?;
    let place = if path.is_null() && fd != FDCWD {
        of_open(cx, fd)?
    } else {
        lookup(cx, fd, path, 0)?
    };
    set_times(cx, &place, times)
}

pub(super) fn utimes(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let times = read_times(cx, args.get(1), val)?;
    let place = lookup(cx, FDCWD, args.get(0), 0)?;
    set_times(cx, &place, times)
}

pub(super) fn utime(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let addr: u64 = args.get(1);
    let times = if addr == 0 {
        (Some(SetTime::Now), Some(SetTime::Now))
    } else {
        let [a, m]: [i64; 2] = cx.mem().get(UserPtr::new(addr))?;
        (spec([a, 0])?, spec([m, 0])?)
    };
    let place = lookup(cx, FDCWD, args.get(0), 0)?;
    set_times(cx, &place, times)
}
