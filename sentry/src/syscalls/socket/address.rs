//! Socket addresses in guest memory.

use crate::abi::{Errno, Result};
use crate::kernel::Cx;
use crate::usermem::UserPtr;

/// Bytes of `struct sockaddr_storage`.
const STORAGE: usize = 128;

/// Reads an address of `len` bytes (move_addr_to_kernel).
///
/// # Errors
/// EINVAL for a length that no address has; EFAULT.
pub(super) fn read(cx: &Cx<'_>, ptr: UserPtr<u8>, len: i32) -> Result<Vec<u8>> {
    let len = usize::try_from(len)
        .ok()
        .filter(|n| *n <= STORAGE)
        .ok_or(Errno::EINVAL)?;
    cx.mem().get_array(ptr, len)
}

/// Writes an address where `*len` says how much room there is, and its whole length to `*len` (move_addr_to_user).
///
/// # Errors
/// EINVAL for a negative room; EFAULT.
pub(super) fn write(cx: &Cx<'_>, addr: &[u8], ptr: UserPtr<u8>, len: UserPtr<i32>) -> Result<()> {
    let room = usize::try_from(cx.mem().get(len)?).map_err(|_| Errno::EINVAL)?;
    cx.mem()
        .write_bytes(ptr.addr(), addr.get(..room).unwrap_or(addr))?;
    cx.mem().put(len, &i32::try_from(addr.len()).unwrap_or(0))
}
