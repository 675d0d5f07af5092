//! Timeouts as the calls of this family take them, in nanoseconds. `None` waits forever.

use crate::abi::{Errno, Result};
use crate::syscalls::Cx;
use crate::time::Instant;
use crate::usermem::{GuestMemory, UserPtr};

const NS: i64 = 1_000_000_000;

/// Milliseconds; negative waits forever.
pub(super) fn from_ms(ms: i32) -> Option<u64> {
    u64::try_from(ms).ok().map(|ms| ms * 1_000_000)
}

fn ns(sec: i64, nsec: i64) -> Result<u64> {
    if sec < 0 || !(0..NS).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    let whole = sec.saturating_mul(NS).saturating_add(nsec);
    u64::try_from(whole).map_err(|_| Errno::EINVAL)
}

/// A `struct timespec`; null waits forever.
///
/// # Errors
/// EFAULT, EINVAL.
pub(in crate::syscalls) fn from_timespec(
    mem: &dyn GuestMemory,
    ptr: UserPtr<[i64; 2]>,
) -> Result<Option<u64>> {
    let Some(ptr) = ptr.non_null() else {
        return Ok(None);
    };
    let [sec, nsec] = mem.get(ptr)?;
    ns(sec, nsec).map(Some)
}

/// A `struct timeval`; null waits forever. select(2) accepts more than a second's worth of microseconds.
///
/// # Errors
/// EFAULT, EINVAL.
pub(super) fn from_timeval(mem: &dyn GuestMemory, ptr: UserPtr<[i64; 2]>) -> Result<Option<u64>> {
    let Some(ptr) = ptr.non_null() else {
        return Ok(None);
    };
    let [sec, usec] = mem.get(ptr)?;
    ns(
        sec.saturating_add(usec / 1_000_000),
        (usec % 1_000_000) * 1000,
    )
    .map(Some)
}

/// Writes what is left until `deadline` in units of `unit` nanoseconds (1: timespec, 1000: timeval). Linux ignores a fault here.
pub(super) fn put_remaining(
    mem: &dyn GuestMemory,
    ptr: UserPtr<[i64; 2]>,
    deadline: Option<Instant>,
    unit: u64,
) {
    let (Some(ptr), Some(deadline)) = (ptr.non_null(), deadline) else {
        return;
    };
    let left = deadline.remaining();
    let parts = [left / 1_000_000_000, left % 1_000_000_000 / unit].map(u64::cast_signed);
    let _ = mem.put(ptr, &parts);
}

/// The deadline from which a call writes back what is left; none for tasks that want their timeouts left alone.
pub(super) fn to_show(cx: &mut Cx<'_>) -> Option<Instant> {
    const STICKY_TIMEOUTS: u32 = 0x400_0000;
    let sticky = cx.local.personality & STICKY_TIMEOUTS != 0;
    cx.progress().deadline.filter(|_| !sticky)
}

/// Writes what is left until `deadline` as a timespec.
pub(in crate::syscalls) fn put_timespec(
    mem: &dyn GuestMemory,
    ptr: UserPtr<[i64; 2]>,
    deadline: Option<Instant>,
) {
    put_remaining(mem, ptr, deadline, 1);
}
