//! Calls that a sandbox never grants, and calls that it does not have. Both are answers that programs expect.

use crate::abi::Errno;
use crate::syscalls::{Args, Cx, SysResult};

/// As for a process without the capability.
pub(super) fn eperm(_: &mut Cx<'_>, _: &Args) -> SysResult {
    Err(Errno::EPERM.into())
}

/// As on a kernel that was built without the feature; unlike an unknown call it is not logged.
pub(super) fn enosys(_: &mut Cx<'_>, _: &Args) -> SysResult {
    Err(Errno::ENOSYS.into())
}

pub(super) fn iopl(_: &mut Cx<'_>, args: &Args) -> SysResult {
    match args.get::<u32>(0) {
        0 => Ok(0),
        1..=3 => Err(Errno::EPERM.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

pub(super) fn ioperm(_: &mut Cx<'_>, args: &Args) -> SysResult {
    let (from, count, on): (u64, u64, i32) = (args.get(0), args.get(1), args.get(2));
    match from.checked_add(count) {
        Some(end) if end > from && end <= 65536 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    if on != 0 {
        return Err(Errno::EPERM.into());
    }
    Ok(0)
}
