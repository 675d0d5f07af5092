//! brk(2): the heap.

use super::change::{Edit, Op, Result};
use super::vma::{PAGE, Vma, page_ceil};
use super::{MemoryManager, MmLimits};
use crate::abi::Errno;
use cofferdam_platform::{GUEST_END, Prot, Thread};

impl MemoryManager {
    /// Moves the end of the heap to `new` if that can be done; the end then.
    ///
    /// # Errors
    /// Only [`super::MmError::Busy`]: brk reports failure by not moving.
    pub fn brk(&self, thread: &dyn Thread, new: u64, limits: &MmLimits) -> Result<u64> {
        let mut change = self.begin()?;
        let layout = change.state().layout.clone();
        let old = layout.brk;
        let program_data = layout.end_data.saturating_sub(layout.start_data);
        if new < layout.start_brk
            || (new - layout.start_brk).saturating_add(program_data) > limits.data
        {
            return Ok(old);
        }
        let (Some(old_end), Some(new_end)) = (page_ceil(old), page_ceil(new)) else {
            return Ok(old);
        };
        let moved = match new_end.cmp(&old_end) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => {
                change.take_in_reserve(new_end, old_end);
                if change.state().any_sealed(new_end, old_end) {
                    return Ok(old);
                }
                change.carry_out(
                    thread,
                    vec![(Op::Unmap(new_end, old_end), Edit::Remove(new_end, old_end))],
                )
            }
            std::cmp::Ordering::Greater => change
                .check_count(1)
                .and_then(|()| {
                    let s = change.state();
                    let room = new_end <= GUEST_END - PAGE
                        && s.map.is_free_below_guard(old_end, new_end + PAGE);
                    if !room {
                        return Err(Errno::ENOMEM);
                    }
                    s.check_locked(new_end - old_end, limits)?;
                    s.check_growth(new_end - old_end, true, limits)
                })
                .and_then(|()| {
                    let mut vma = Vma::anonymous(old_end, new_end, Prot::READ | Prot::WRITE);
                    vma.flags |= change.state().new_flags;
                    let edit = Edit::Insert(vma.clone());
                    change.carry_out(thread, vec![(Op::Map(vma), edit)])
                }),
        };
        if moved.is_err() {
            return Ok(old);
        }
        change.state().layout.brk = new;
        Ok(new)
    }
}
