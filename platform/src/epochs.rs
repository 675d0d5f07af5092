//! Counters that the sentry moves and every stub reads: what a stub was told of a path counts as long as its counters stand where they stood.
//!
//! They lie in one page of memory for all platforms of this process. The stubs of a backend with a gate have it mapped ([`crate::stub::Layout::epochs`]); it is sealed before
//! they are made, so that nobody else can ever map it writable.
#![allow(unsafe_code)] // a page of memory that other processes read
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::stub::PAGE;
use crate::{Error, Result, sys};

/// How many counters there are. The first one counts for every answer, besides the answer's own.
pub const EPOCHS: usize = 512;
const _: () = assert!(EPOCHS * 8 == PAGE as usize && EPOCHS.is_power_of_two());

struct Page {
    counters: &'static [AtomicU64; EPOCHS],
    fd: OwnedFd,
}

static PAGE_OF_ALL: OnceLock<io::Result<Page>> = OnceLock::new();

fn make() -> io::Result<Page> {
    let fd = sys::unsealed_memfd(c"epochs", PAGE)?;
    // SAFETY: a fresh shared mapping at an address of the kernel's choice; checked below, never unmapped.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // Whoever maps it from now on can never write there, whatever mprotect(2) is asked for.
    let seals =
        libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL;
    sys::seal(fd.as_fd(), seals)?;
    // SAFETY: the page is as long as the array, aligned, zeroed, cannot shrink, and is accessed by atomic operations alone.
    let counters = unsafe { &*page.cast::<[AtomicU64; EPOCHS]>() };
    Ok(Page { counters, fd })
}

fn page() -> Option<&'static Page> {
    PAGE_OF_ALL.get_or_init(make).as_ref().ok()
}

/// Its descriptor, for the stubs.
pub(crate) fn descriptor() -> Result<BorrowedFd<'static>> {
    match PAGE_OF_ALL.get_or_init(make) {
        Ok(page) => Ok(page.fd.as_fd()),
        Err(e) => Err(Error::Host(format!("cannot make a page of counters: {e}"))),
    }
}

/// Where the answers of this counter stand, to be read before what they are made of; `None` if nothing can be told.
#[must_use]
pub fn epoch(counter: usize) -> Option<u64> {
    let counters = page()?.counters;
    let own = counters.get(counter)?.load(SeqCst);
    Some(counters[0].load(SeqCst).wrapping_add(own))
}

/// The answers of this counter count no more; with 0, none does.
pub fn end_epoch(counter: usize) {
    if let Some(counter) = page().and_then(|p| p.counters.get(counter)) {
        counter.fetch_add(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_write() {
        let before = epoch(7).unwrap();
        end_epoch(7);
        end_epoch(8);
        let after = epoch(7).unwrap();
        assert!(after > before, "{before} {after}");
        end_epoch(EPOCHS);
        assert!(epoch(EPOCHS).is_none());
        let fd = descriptor().unwrap();
        let map = |prot| {
            // SAFETY: a mapping at an address of the kernel's choice, not accessed.
            unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    prot,
                    libc::MAP_SHARED,
                    fd.as_raw_fd(),
                    0,
                )
            }
        };
        assert_eq!(map(libc::PROT_READ | libc::PROT_WRITE), libc::MAP_FAILED);
        let page = map(libc::PROT_READ);
        assert_ne!(page, libc::MAP_FAILED);
        // SAFETY: the mapping just made.
        let made = unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(made, -1);
    }
}
