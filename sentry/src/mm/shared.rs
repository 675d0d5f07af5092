//! Shared anonymous memory: what MAP_SHARED | MAP_ANONYMOUS and System V segments are made of.

use crate::abi::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Most such objects in one sentry: each costs it a descriptor.
const MAX_OBJECTS: usize = 16384;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static NEXT_INO: AtomicU64 = AtomicU64::new(1024);

/// A memory object without a name in any tree, backed by a memfd of the sentry.
pub struct SharedAnon {
    fd: OwnedFd,
    size: u64,
    ino: u64,
    name: Vec<u8>,
    segment: bool,
}

impl SharedAnon {
    /// `size` bytes of zeros (a multiple of the page size). `name` is what `/proc/PID/maps` shows.
    ///
    /// # Errors
    /// ENFILE when the sandbox has too many of them (as Linux when it runs out of `struct file`), ENOMEM.
    pub fn new(size: u64, name: &[u8]) -> Result<Arc<SharedAnon>> {
        Self::make(size, name, false)
    }

    /// The same as a System V segment: shmdt(2) finds it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn segment(size: u64, name: &[u8]) -> Result<Arc<SharedAnon>> {
        Self::make(size, name, true)
    }

    fn make(size: u64, name: &[u8], segment: bool) -> Result<Arc<SharedAnon>> {
        if LIVE.fetch_add(1, Ordering::Relaxed) >= MAX_OBJECTS {
            LIVE.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENFILE);
        }
        let made = Self::memfd(size).map(|fd| {
            Arc::new(SharedAnon {
                fd,
                size,
                ino: NEXT_INO.fetch_add(1, Ordering::Relaxed),
                name: name.to_vec(),
                segment,
            })
        });
        if made.is_err() {
            LIVE.fetch_sub(1, Ordering::Relaxed);
        }
        made
    }

    fn memfd(size: u64) -> Result<OwnedFd> {
        let len = i64::try_from(size).map_err(|_| Errno::ENOMEM)?;
        let fd = nix::sys::memfd::memfd_create(
            c"shared-anonymous",
            nix::sys::memfd::MFdFlags::MFD_CLOEXEC,
        )
        .map_err(|e| match e {
            nix::errno::Errno::EMFILE => Errno::ENFILE,
            e => e.into(),
        })?;
        nix::unistd::ftruncate(&fd, len).map_err(|_| Errno::ENOMEM)?;
        Ok(fd)
    }

    /// The memfd, readable and writable.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Inode number for `/proc/PID/maps`; unique in the sandbox.
    pub fn ino(&self) -> u64 {
        self.ino
    }
    /// Name for `/proc/PID/maps`.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
    /// Whether it is a System V segment.
    pub fn is_segment(&self) -> bool {
        self.segment
    }
    /// Bytes that have storage.
    pub fn allocated(&self) -> u64 {
        nix::sys::stat::fstat(&self.fd)
            .ok()
            .and_then(|s| u64::try_from(s.st_blocks).ok())
            .map_or(0, |b| b.saturating_mul(512))
    }
}

impl Drop for SharedAnon {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}
