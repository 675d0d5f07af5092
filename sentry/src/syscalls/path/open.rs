//! open, openat, openat2, creat.

use super::at::{FDCWD, start, start_confined};
use crate::abi::{Errno, Result};
use crate::sync::Events;
use crate::syscalls::{Args, Block, Cx, Fd, SysResult};
use crate::usermem::{UserPtr, UserStr};
use crate::vfs::{self, At, File, OpenFlags, OpenHow, WalkFlags, lease};
use std::sync::Arc;

/// Flags that open(2) knows; others are ignored there and EINVAL in openat2(2). FASYNC is among them.
const KNOWN: OpenFlags = OpenFlags::all().union(OpenFlags::from_bits_retain(3));

/// What of the flags counts together with O_PATH.
const WITH_PATH: OpenFlags = OpenFlags::PATH
    .union(OpenFlags::DIRECTORY)
    .union(OpenFlags::NOFOLLOW)
    .union(OpenFlags::CLOEXEC);

/// The checks of `build_open_flags` that both forms share.
fn checked(flags: OpenFlags) -> Result<OpenFlags> {
    let mut flags = flags;
    // __O_SYNC without O_DSYNC is O_SYNC.
    if flags.bits() & 0o4_000_000 != 0 {
        flags |= OpenFlags::DSYNC;
    }
    if flags.bits() & 0o20_000_000 != 0 {
        if !flags.contains(OpenFlags::TMPFILE) || !flags.writable() {
            return Err(Errno::EINVAL);
        }
    } else if flags.contains(OpenFlags::PATH) {
        flags &= WITH_PATH;
    }
    if flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY) {
        return Err(Errno::EINVAL);
    }
    Ok(flags)
}

fn install(cx: &mut Cx<'_>, file: Arc<File>, flags: OpenFlags) -> SysResult {
    let fd = cx.install_fd(file, flags.contains(OpenFlags::CLOEXEC))?;
    Ok(fd.into())
}

/// A file that an earlier run of this call opened and still waits for: a FIFO's peer, or whoever has a lease on it.
pub(super) fn waiting(cx: &mut Cx<'_>) -> Option<Arc<File>> {
    cx.progress().object.take()?.downcast::<File>().ok()
}

/// EMFILE unless there is a number for a new file: before it is opened, which may have effects.
pub(super) fn has_room(cx: &Cx<'_>) -> Result<()> {
    let limit = cx.limit(libc::RLIMIT_NOFILE);
    cx.fds().has_room(limit)
}

fn do_open(cx: &mut Cx<'_>, at: &At, path: &[u8], how: &OpenHow) -> SysResult {
    let file = match waiting(cx) {
        Some(f) => f,
        None => {
            // As Linux, find the descriptor first: O_CREAT must not leave a file behind on EMFILE.
            has_room(cx)?;
            vfs::open(&cx.caller(), cx.fs(), at, path, how)?
        }
    };
    finish(cx, file, how.flags)
}

/// Gives an opened file a number, once it need not wait any more.
pub(super) fn finish(cx: &mut Cx<'_>, file: Arc<File>, flags: OpenFlags) -> SysResult {
    if let Some((queue, deadline)) = lease::opening(&file) {
        cx.progress().object = Some(file);
        return Err(Block::on(queue, Events::all()).deadline(deadline).into());
    }
    vfs::open::resume(&cx.caller(), &file)?;
    match file.ops().open_ready(&file) {
        Ok(()) => install(cx, file, flags),
        Err(Errno::EAGAIN) => {
            let Some(queue) = file.ops().wait_queue() else {
                return Err(Errno::EAGAIN.into());
            };
            cx.progress().object = Some(file);
            Err(Block::on(queue, Events::all()).into())
        }
        Err(e) => Err(e.into()),
    }
}

fn open_at(cx: &mut Cx<'_>, fd: Fd, path: UserStr, flags: u32, mode: u32) -> SysResult {
    let flags = (OpenFlags::from_bits_retain(flags) & KNOWN) | OpenFlags::LARGEFILE;
    let how = OpenHow {
        flags: checked(flags)?,
        mode: mode & 0o7777,
        resolve: WalkFlags::empty(),
    };
    let path = cx.mem().read_path(path)?;
    let at = start(cx, fd, &path)?;
    do_open(cx, &at, &path, &how)
}

pub(super) fn open(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    open_at(cx, FDCWD, args.get(0), args.get(1), args.get(2))
}

pub(super) fn creat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags = OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::TRUNC;
    open_at(cx, FDCWD, args.get(0), flags.bits(), args.get(1))
}

pub(super) fn openat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    open_at(cx, args.get(0), args.get(1), args.get(2), args.get(3))
}

/// RESOLVE_CACHED: only what needs no look-up on a disk. There is none here.
const RESOLVE_CACHED: u64 = 0x20;

fn resolve_flags(bits: u64) -> Result<WalkFlags> {
    let table = [
        (1, WalkFlags::NO_XDEV),
        (2, WalkFlags::NO_MAGICLINKS),
        (4, WalkFlags::NO_SYMLINKS | WalkFlags::NO_MAGICLINKS),
        (8, WalkFlags::BENEATH),
        (0x10, WalkFlags::IN_ROOT),
    ];
    if bits & !0x3f != 0 || bits & 0x18 == 0x18 {
        return Err(Errno::EINVAL);
    }
    Ok(table
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .fold(WalkFlags::empty(), |all, (_, f)| all | *f))
}

pub(super) fn openat2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let size: usize = args.get(3);
    if size < 24 {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let addr: u64 = args.get(2);
    let raw: [u64; 3] = cx.mem().get(UserPtr::new(addr))?;
    let rest = cx
        .mem()
        .get_array::<u8>(UserPtr::new(addr.wrapping_add(24)), size - 24)?;
    if rest.iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let [flags, mode, resolve] = raw;
    let bits = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let flags = OpenFlags::from_bits_retain(bits);
    let creates = bits & (OpenFlags::CREAT.bits() | 0o20_000_000) != 0;
    if bits & !KNOWN.bits() != 0
        || mode & !0o7777 != 0
        || (mode != 0 && !creates)
        || (flags.contains(OpenFlags::PATH) && bits & !WITH_PATH.bits() != 0)
    {
        return Err(Errno::EINVAL.into());
    }
    let walk = resolve_flags(resolve)?;
    let flags = checked(flags)?;
    // What makes something is never done without waiting.
    if resolve & RESOLVE_CACHED != 0
        && flags.intersects(
            OpenFlags::CREAT | OpenFlags::TRUNC | (OpenFlags::TMPFILE - OpenFlags::DIRECTORY),
        )
    {
        return Err(Errno::EAGAIN.into());
    }
    let how = OpenHow {
        flags: flags | OpenFlags::LARGEFILE,
        mode: u32::try_from(mode).map_err(|_| Errno::EINVAL)?,
        resolve: walk,
    };
    let path = cx.mem().read_path(args.get(1))?;
    let at = if walk.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT) {
        start_confined(cx, args.get(0))?
    } else {
        start(cx, args.get(0), &path)?
    };
    do_open(cx, &at, &path, &how)
}
