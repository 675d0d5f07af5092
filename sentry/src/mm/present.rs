//! Which pages of an address space are in memory. Only the host knows: the stub asks it (mincore(2)), for which one of the process's threads must stand.
//!
//! Of private anonymous and shared memory the answer is exact. Of files the host says it only to those who may write them;
//! for others all pages count as being in memory, as in Linux.

use super::change::Result;
use super::listing::MapEntry;
use super::vma::PAGE;
use super::{MemoryManager, MmError};
use crate::abi::Errno;
use crate::sync::before_exchange;
use cofferdam_platform::{RESIDENT_MAX, Thread};

/// Most questions for one listing: what lies beyond is shown as not in memory.
const QUESTIONS: usize = 8192;

impl MemoryManager {
    /// Looks at the pages from `addr` on, up to the first that is not mapped; how many were looked at.
    ///
    /// # Errors
    /// ENOMEM if the first one is not mapped.
    pub fn look(&self, thread: &dyn Thread, addr: u64, pages: &mut [u8]) -> Result<usize> {
        let count = pages.len().min(RESIDENT_MAX);
        let end = addr.saturating_add(count as u64 * PAGE);
        let until = self.state.lock().map.contiguous_until(addr, end);
        let n = usize::try_from(until.saturating_sub(addr) / PAGE).unwrap_or(0);
        let part = pages.get_mut(..n).unwrap_or_default();
        if part.is_empty() {
            return Err(Errno::ENOMEM.into());
        }
        before_exchange();
        thread
            .resident(addr, part)
            // Unmapped in between.
            .map_err(|_| MmError::Errno(Errno::ENOMEM))?;
        Ok(n)
    }

    /// How many bytes of each of these mappings, which are in order, are in memory.
    pub fn look_at_all(&self, thread: &dyn Thread, entries: &[MapEntry]) -> Vec<u64> {
        let mut resident = vec![0u64; entries.len()];
        let mut pages = [0u8; RESIDENT_MAX];
        let mut first = 0;
        let mut at = 0;
        for _ in 0..QUESTIONS {
            // The next mapping not looked at to its end.
            while entries.get(first).is_some_and(|e| e.vma.end <= at) {
                first += 1;
            }
            let Some(e) = entries.get(first) else {
                break;
            };
            at = at.max(e.vma.start);
            let Ok(n) = self.look(thread, at, &mut pages) else {
                at = e.vma.end;
                continue;
            };
            let end = at.saturating_add(n as u64 * PAGE);
            let mut of = first;
            for page in pages.iter().take(n) {
                while entries.get(of).is_some_and(|e| e.vma.end <= at) {
                    of += 1;
                }
                let here = entries.get(of).is_some_and(|e| e.vma.start <= at);
                if here
                    && page & 1 != 0
                    && let Some(sum) = resident.get_mut(of)
                {
                    *sum += PAGE;
                }
                at += PAGE;
            }
            at = end;
        }
        resident
    }
}
