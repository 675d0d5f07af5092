//! inotify_init, inotify_init1, inotify_add_watch, inotify_rm_watch.

use super::at::{FDCWD, NOFOLLOW, lookup};
use crate::abi::Errno;
use crate::fs::inotify::{Inotify, instance};
use crate::kernel::loan;
use crate::syscalls::{Args, Cx, SysResult};
use crate::vfs::OpenFlags;
use crate::vfs::notify::{self, Mask};
use crate::vfs::permission::{READ, check};

fn init(cx: &Cx<'_>, flags: u32) -> SysResult {
    let flags = OpenFlags::from_bits_retain(flags);
    let known = OpenFlags::NONBLOCK | OpenFlags::CLOEXEC;
    if !known.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let file = Inotify::create(&cx.caller(), flags & OpenFlags::NONBLOCK)?;
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    Ok(cx.install_fd(file, cloexec)?.into())
}

pub(super) fn inotify_init(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    init(cx, 0)
}

pub(super) fn inotify_init1(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    init(cx, args.get(0))
}

pub(super) fn inotify_add_watch(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let mask = Mask::from_bits_retain(args.get(2));
    if !mask.intersects(Mask::ALL_EVENTS) {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(args.get(0))?;
    if mask.contains(Mask::MASK_ADD | Mask::MASK_CREATE) {
        return Err(Errno::EINVAL.into());
    }
    let inotify = instance(&file)?;
    let how = if mask.contains(Mask::DONT_FOLLOW) {
        NOFOLLOW
    } else {
        0
    };
    let place = lookup(cx, FDCWD, args.get(1), how)?;
    if mask.contains(Mask::ONLYDIR) && !place.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    check(&cx.caller(), place.inode(), READ)?;
    let first = !notify::is_watched();
    let wd = inotify.add(place.inode(), mask)?;
    if first {
        loan::end_all(cx.kernel());
    }
    Ok(wd.into())
}

pub(super) fn inotify_rm_watch(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    instance(&file)?.remove(args.get(1))?;
    Ok(0)
}
