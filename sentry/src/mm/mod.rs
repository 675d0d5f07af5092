//! Guest memory maps: VMAs, mmap, faults.

use crate::usermem::GuestMemory;

/// One guest address space (`struct mm_struct`).
pub struct MemoryManager {}

impl GuestMemory for MemoryManager {
    fn read_partial(&self, _addr: u64, _buf: &mut [u8]) -> usize {
        0
    }
    fn write_partial(&self, _addr: u64, _buf: &[u8]) -> usize {
        0
    }
}

impl MemoryManager {
    /// The child's view after the host process was forked.
    pub fn fork(
        &self,
        _child: std::sync::Arc<dyn cofferdam_platform::AddressSpace>,
        _thread: &dyn cofferdam_platform::Thread,
    ) -> crate::abi::Result<MemoryManager> {
        Err(crate::abi::Errno::ENOMEM)
    }
    /// A fault that growing a stack can mend.
    pub fn handle_fault(&self, _thread: &dyn cofferdam_platform::Thread, _addr: u64) -> bool {
        false
    }
    /// Largest resident size so far, in bytes.
    pub fn resident_peak(&self) -> u64 {
        0
    }
}
