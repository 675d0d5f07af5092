//! Large buffers that a call is about to fill: their pages are made by the guest's process itself, not by the sentry's write.
//!
//! Who makes a page when the control group is at its limit calls the host's OOM killer and waits in it. If that were the sentry, writing to the
//! very process that is chosen, it would hold that process's memory meanwhile (`mm_access` of mm/process_vm_access.c): the victim ends without giving
//! anything back, is no longer looked at once it has left its group (`css_task_iter_advance`), and the killer goes on with an innocent process. A process
//! that makes its pages itself ends there and then, and its memory with it.

use super::vma::{page_ceil, page_floor};
use super::{MemoryManager, Mutex, Rank};
use crate::sync::before_exchange;
use crate::usermem::GuestMemory;
use cofferdam_platform::{GUEST_END, GUEST_START, MemOp, Thread};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the sandbox has a limit to its memory. Without one it costs more than it is worth: a third of a large read into fresh memory.
static LIMITED: AtomicBool = AtomicBool::new(false);

/// Says whether the sandbox's memory is limited.
pub fn set_limited(on: bool) {
    LIMITED.store(on, Ordering::Relaxed);
}

/// Ranges that are remembered.
const RANGES: usize = 16;
/// Most bytes whose pages are made ahead of those that are written, once as many have come.
const AHEAD: usize = 1 << 20;

/// Ranges whose pages the process has, for all that is known: what a call filled last is often filled again.
pub(super) struct Touched(Mutex<Known>);

#[derive(Default)]
struct Known {
    ranges: [(u64, u64); RANGES],
    /// Which one goes next.
    oldest: usize,
}

impl Default for Touched {
    fn default() -> Touched {
        Touched(Mutex::new(Rank::MM, Known::default()))
    }
}

impl Touched {
    /// The pages of a range may be gone, or be shared with another process.
    pub(super) fn forget(&self, start: u64, end: u64) {
        self.0.lock().forget(start, end);
    }
}

impl Known {
    fn has(&self, start: u64, end: u64) -> bool {
        self.ranges.iter().any(|(s, e)| *s <= start && end <= *e)
    }

    fn enter(&mut self, start: u64, end: u64) {
        let meets = self
            .ranges
            .iter_mut()
            .find(|(s, e)| *s <= end && start <= *e && *s < *e);
        if let Some(range) = meets {
            *range = (range.0.min(start), range.1.max(end));
        } else if let Some(range) = self.ranges.get_mut(self.oldest) {
            *range = (start, end);
            self.oldest = (self.oldest + 1) % RANGES;
        }
    }

    fn forget(&mut self, start: u64, end: u64) {
        for range in &mut self.ranges {
            let (s, e) = *range;
            if s < end && start < e {
                // Of one that is cut the lower part is kept.
                *range = (s, start.max(s));
            }
        }
    }
}

/// The pages of a range, as far as a guest can have any there.
fn pages(addr: u64, len: usize) -> Option<(u64, u64)> {
    let start = page_floor(addr).max(GUEST_START);
    let end = addr.checked_add(len as u64).and_then(page_ceil);
    let end = end.map_or(GUEST_END, |e| e.min(GUEST_END));
    (start < end && len > 0).then_some((start, end))
}

impl MemoryManager {
    /// Has the process make the pages of a range that is about to be written, unless it is known to have them; then those of the `ahead` bytes from there on, if
    /// that is more; nothing if the sandbox's memory has no limit. `thread` is a stopped one of it. What cannot be written stays so: the write finds out.
    pub fn touch(&self, thread: &dyn Thread, addr: u64, len: usize, ahead: usize) {
        if !LIMITED.load(Ordering::Relaxed) {
            return;
        }
        let changes = self.changes.load(Ordering::SeqCst);
        let Some((start, end)) = pages(addr, len) else {
            return;
        };
        if self.touched.0.lock().has(start, end) {
            return;
        }
        let (start, end) = pages(addr, ahead.max(len)).unwrap_or((start, end));
        before_exchange();
        let made = thread.execute(&[MemOp::Advise {
            addr: start,
            len: end - start,
            advice: libc::MADV_POPULATE_WRITE,
        }]);
        // Odd: mappings were being changed.
        if made.is_ok() && changes.is_multiple_of(2) {
            let mut known = self.touched.0.lock();
            if self.changes.load(Ordering::SeqCst) == changes {
                known.enter(start, end);
            }
        }
    }
}

/// The memory of a task whose thread makes the pages of buffers itself before a call fills them.
pub struct Touching<'a> {
    mm: &'a MemoryManager,
    thread: &'a dyn Thread,
    /// How many bytes of the call's buffer the platform has looked at.
    seen: usize,
}

impl<'a> Touching<'a> {
    /// `thread` is a stopped one of this address space. `seen`: the platform may have looked at the buffer, if it is one.
    pub fn new(mm: &'a MemoryManager, thread: &'a dyn Thread, seen: usize) -> Touching<'a> {
        Touching { mm, thread, seen }
    }
}

impl GuestMemory for Touching<'_> {
    fn read_partial(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.mm.read_partial(addr, buf)
    }
    fn write_partial(&self, addr: u64, buf: &[u8]) -> usize {
        self.mm.write_partial(addr, buf)
    }
    fn prepare(&self, done: usize, addr: u64, len: usize, room: usize) {
        if done.saturating_add(len) > self.seen {
            self.mm
                .touch(self.thread, addr, len, done.min(AHEAD).min(room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_known_until_they_change() {
        let mut k = Known::default();
        assert!(!k.has(0x1000, 0x2000));
        k.enter(0x1000, 0x3000);
        assert!(k.has(0x1000, 0x2000) && !k.has(0x2000, 0x4000));
        k.enter(0x3000, 0x4000);
        assert!(k.has(0x1000, 0x4000), "adjacent ones are joined");
        k.enter(0x8000, 0x9000);
        k.forget(0x2000, 0x3000);
        assert!(k.has(0x1000, 0x2000) && !k.has(0x2000, 0x3000));
        assert!(k.has(0x8000, 0x9000));
        k.forget(0, u64::MAX);
        assert!(!k.has(0x1000, 0x2000) && !k.has(0x8000, 0x9000));
        for i in 1..=RANGES as u64 + 1 {
            k.enter(i << 20, (i << 20) + 0x1000);
        }
        assert!(!k.has(1 << 20, (1 << 20) + 0x1000), "the oldest goes");
        assert!(k.has(2 << 20, (2 << 20) + 0x1000));
    }
}
