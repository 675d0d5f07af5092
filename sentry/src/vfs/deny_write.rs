//! ETXTBSY: a running program's file may not be opened for writing, and a file open for writing may not be run.

use super::inode::InodeRef;
use crate::abi::{Errno, Result};
use std::sync::atomic::{AtomicI64, Ordering};

/// Per inode: positive counts writers, negative counts programs.
#[derive(Default)]
struct Writers(AtomicI64);

/// Whether a running program keeps the file from being written.
pub fn is_denied(inode: &InodeRef) -> bool {
    inode
        .meta()
        .existing::<Writers>()
        .is_some_and(|w| w.0.load(Ordering::Relaxed) < 0)
}

/// How many have the file open for writing; negative: programs that run from it.
pub(super) fn writers(inode: &InodeRef) -> i64 {
    let writers = inode.meta().existing::<Writers>();
    writers.map_or(0, |w| w.0.load(Ordering::Relaxed))
}

/// Keeps a file from being opened for writing until dropped (an executable in use).
pub struct DenyWrite(InodeRef);

impl DenyWrite {
    /// ETXTBSY if it is open for writing.
    pub fn new(inode: &InodeRef) -> Result<DenyWrite> {
        inode
            .meta()
            .extension::<Writers>()
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n <= 0).then_some(n - 1)
            })
            .map_err(|_| Errno::ETXTBSY)?;
        Ok(DenyWrite(inode.clone()))
    }
}

impl Drop for DenyWrite {
    fn drop(&mut self) {
        self.0
            .meta()
            .extension::<Writers>()
            .0
            .fetch_add(1, Ordering::AcqRel);
    }
}

/// Keeps a file from being run until dropped (an open file that is writable).
pub struct Writer(InodeRef);

impl Writer {
    /// ETXTBSY if a program runs from it.
    pub fn new(inode: &InodeRef) -> Result<Writer> {
        inode
            .meta()
            .extension::<Writers>()
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n >= 0).then_some(n + 1)
            })
            .map_err(|_| Errno::ETXTBSY)?;
        Ok(Writer(inode.clone()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0
            .meta()
            .extension::<Writers>()
            .0
            .fetch_sub(1, Ordering::AcqRel);
    }
}
