//! Stacks that grow.
//!
//! The initial stack is mapped on the host down to its limit at once (its *reserve*), so growing costs no fault and
//! copies by the sentry reach what the guest has not touched. The list shows it as Linux would, and
//! takes the reserve in when a call names addresses in it. Faults matter for MAP_GROWSDOWN mappings and when RLIMIT_STACK was raised.

use super::change::{Edit, Op};
use super::vma::{VmFlags, Vma, page_floor};
use super::{GUARD_GAP, MemoryManager, MmError, MmLimits};
use cofferdam_platform::{GUEST_START, Thread};

/// How much more reserve a fault below the initial stack's reserve adds, if there is room, in bytes.
const RESERVE_STEP: u64 = 1 << 20;

impl MemoryManager {
    /// Handles a SIGSEGV (SEGV_MAPERR) at `addr`: true if a stack was grown, or another change is in flight,
    /// and the access is to be tried again; false if the guest gets the signal.
    pub fn handle_fault(&self, thread: &dyn Thread, addr: u64, limits: &MmLimits) -> bool {
        let mut change = match self.begin() {
            Ok(c) => c,
            Err(MmError::Busy(_)) => return true,
            Err(MmError::Errno(_)) => return false,
        };
        let page = page_floor(addr);
        let step = {
            let s = change.state();
            if page < GUEST_START {
                return false;
            }
            if let Some(v) = s.map.find(page) {
                // Another thread's fault was quicker.
                return v.flags.contains(VmFlags::GROWSDOWN);
            }
            let Some(v) = s.map.first_ending_above(page).cloned() else {
                return false;
            };
            if !v.flags.contains(VmFlags::GROWSDOWN) || page >= v.reserve {
                return false;
            }
            if v.end - page > limits.stack {
                return false;
            }
            let below = page.checked_sub(1).and_then(|p| s.map.below_or_at(p));
            let floor = match below {
                // Linux keeps the gap to anything accessible that is no stack itself.
                Some(b) if b.prot.is_empty() || b.flags.contains(VmFlags::GROWSDOWN) => b.end,
                Some(b) => b.end.saturating_add(GUARD_GAP),
                None => GUEST_START,
            };
            if page < floor {
                return false;
            }
            let has_reserve = v.reserve < v.start;
            let new_reserve = if has_reserve {
                page.saturating_sub(RESERVE_STEP)
                    .max(floor)
                    .max(page_floor(v.end.saturating_sub(limits.stack)))
                    .min(page)
            } else {
                page
            };
            let more = v.start - page;
            if s.check_growth(more, false, limits).is_err() || s.check_locked(more, limits).is_err()
            {
                return false;
            }
            let piece = Vma {
                flags: v.flags,
                ..Vma::anonymous(new_reserve, v.reserve, v.prot)
            };
            (Op::Map(piece), Edit::GrowDown(v.start, page, new_reserve))
        };
        change.carry_out(thread, vec![step]).is_ok()
    }
}
