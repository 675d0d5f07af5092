//! signalfd(2), signalfd4(2).

use super::{check_size, read_set};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::kernel::signal::SignalFd;
use crate::syscalls::{Args, Fd, SysResult};
use crate::vfs::OpenFlags;

pub(super) fn signalfd(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    make(cx, args, 0)
}

pub(super) fn signalfd4(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    make(cx, args, args.get(3))
}

fn make(cx: &mut Cx<'_>, args: &Args, flags: u32) -> SysResult {
    check_size(args.get(2))?;
    let mask = read_set(cx, args.get(1))?;
    let flags = OpenFlags::from_bits_retain(flags);
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let fd: Fd = args.get(0);
    if fd.0 == -1 {
        let file = SignalFd::create(cx.task, &cx.caller(), mask, flags - OpenFlags::CLOEXEC)?;
        let new = cx.install_fd(file, flags.contains(OpenFlags::CLOEXEC))?;
        return Ok(i64::from(new));
    }
    let file = cx.file(fd)?;
    file.downcast::<SignalFd>()
        .ok_or(Errno::EINVAL)?
        .set_mask(mask);
    Ok(i64::from(fd.0))
}
