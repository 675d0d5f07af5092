//! The vDSO's contents, for whoever reads a guest's memory there (debuggers): it lies outside of what the platform reads.

use std::sync::OnceLock;

/// Where guests have it, and what is in it: the same in all of them.
static IMAGE: OnceLock<(u64, Vec<u8>)> = OnceLock::new();

/// Remembers it, once.
pub fn set_vdso(start: u64, bytes: Vec<u8>) {
    let _ = IMAGE.set((start, bytes));
}

/// Copies of it what lies at `addr`; how many bytes.
pub(super) fn read(addr: u64, buf: &mut [u8]) -> usize {
    let Some((start, bytes)) = IMAGE.get() else {
        return 0;
    };
    let from = addr
        .checked_sub(*start)
        .and_then(|a| usize::try_from(a).ok());
    let Some(found) = from.and_then(|from| bytes.get(from..)) else {
        return 0;
    };
    let n = found.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..n), found.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}
