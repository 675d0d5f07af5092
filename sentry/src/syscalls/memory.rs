//! mmap, mprotect, mremap, madvise, brk.

use super::{Block, OnSignal, SysErr, Syscall};
use crate::mm::MmError;
use crate::sync::Events;

impl From<MmError> for SysErr {
    /// A call that finds another change of the same mappings in flight waits for it and runs again.
    fn from(e: MmError) -> SysErr {
        match e {
            MmError::Errno(e) => e.into(),
            MmError::Busy(queue) => Block::on(queue, Events::READABLE)
                .on_signal(OnSignal::RestartNoIntr)
                .into(),
        }
    }
}

/// This family's calls.
pub static TABLE: &[Syscall] = &[];
