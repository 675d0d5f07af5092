//! Clocks, sleeps, timers.

use super::Syscall;
use crate::abi::{Errno, Result};
use crate::usermem::{GuestMemory, UserPtr};

/// This family's calls.
pub static TABLE: &[Syscall] = &[];

const NS: i64 = 1_000_000_000;

/// Reads a `struct timespec` as nanoseconds, saturating.
///
/// # Errors
/// EFAULT; EINVAL if it is negative or has more than a second's nanoseconds.
pub fn read_timespec(mem: &dyn GuestMemory, ptr: UserPtr<[i64; 2]>) -> Result<u64> {
    let [sec, nsec] = mem.get(ptr)?;
    if sec < 0 || !(0..NS).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    Ok(sec.saturating_mul(NS).saturating_add(nsec).unsigned_abs())
}
