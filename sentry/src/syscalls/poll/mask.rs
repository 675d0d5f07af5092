//! The temporary signal mask of ppoll, pselect6 and epoll_pwait.

use crate::abi::{Errno, Result};
use crate::kernel::Cx;
use crate::kernel::signal::{self, SigSet};
use crate::syscalls::SysResult;
use crate::usermem::UserPtr;

/// Bytes of a signal set.
const SIGSET_SIZE: u64 = 8;

/// Reads a signal set argument.
///
/// # Errors
/// EINVAL if `size` is not 8; EFAULT.
fn read(cx: &Cx<'_>, set: UserPtr<u64>, size: u64) -> Result<Option<u64>> {
    let Some(set) = set.non_null() else {
        return Ok(None);
    };
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    cx.mem().get(set).map(Some)
}

/// Runs `call` with the given signals blocked instead of the task's own; [`signal::deliver`] puts those back.
pub(in crate::syscalls) fn with_mask(
    cx: &mut Cx<'_>,
    set: UserPtr<u64>,
    size: u64,
    call: impl FnOnce(&mut Cx<'_>) -> SysResult,
) -> SysResult {
    if let Some(mask) = read(cx, set, size)? {
        signal::set_temporary_mask(cx, SigSet(mask));
    }
    call(cx)
}
