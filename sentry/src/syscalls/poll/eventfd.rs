//! eventfd(2).

use crate::abi::Errno;
use crate::fs::eventfd::EventFd;
use crate::kernel::Cx;
use crate::syscalls::{Args, SysResult};
use crate::vfs::OpenFlags;

const EFD_SEMAPHORE: u32 = 1;

pub(super) fn eventfd(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    make(cx, args.get(0), 0)
}

pub(super) fn eventfd2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    make(cx, args.get(0), args.get(1))
}

fn make(cx: &mut Cx<'_>, initial: u32, flags: u32) -> SysResult {
    let open = OpenFlags::from_bits_retain(flags & !EFD_SEMAPHORE);
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(open) {
        return Err(Errno::EINVAL.into());
    }
    let file = EventFd::create(
        &cx.caller(),
        u64::from(initial),
        flags & EFD_SEMAPHORE != 0,
        open - OpenFlags::CLOEXEC,
    )?;
    let fd = cx.install_fd(file, open.contains(OpenFlags::CLOEXEC))?;
    Ok(i64::from(fd))
}
