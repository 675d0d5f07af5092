//! Calls that a sandbox never grants, and calls that it does not have. Both are answers that programs expect.

use crate::abi::{Errno, sysno};
use crate::syscalls::{Args, Cx, SysResult};

/// As for a process without the capability.
pub(super) fn eperm(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    log(cx);
    Err(Errno::EPERM.into())
}

/// As on a kernel that was built without the feature.
pub(super) fn enosys(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    log(cx);
    Err(Errno::ENOSYS.into())
}

/// [`enosys`], of which nobody needs to read: every C library tries it.
pub(super) fn rseq(_: &mut Cx<'_>, _: &Args) -> SysResult {
    Err(Errno::ENOSYS.into())
}

fn log(cx: &Cx<'_>) {
    let name = cx
        .local
        .call
        .and_then(|(nr, _)| usize::try_from(nr).ok())
        .and_then(sysno::name);
    if let Some(name) = name {
        cx.kernel().log_refused(name);
    }
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
