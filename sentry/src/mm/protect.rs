//! mprotect(2), and mseal(2).

use super::change::{Edit, Op, Result};
use super::vma::{PAGE, VmFlags, Vma, is_data, page_ceil};
use super::{MemoryManager, MmLimits};
use crate::abi::Errno;
use cofferdam_platform::{GUEST_END, Prot, Thread};

impl MemoryManager {
    /// Changes protections. `grows_down`: PROT_GROWSDOWN, from the start of the stack that contains `addr`.
    ///
    /// # Errors
    /// As mprotect(2). As in Linux, what lies before the mapping that cannot be changed is changed.
    pub fn mprotect(
        &self,
        thread: &dyn Thread,
        addr: u64,
        len: u64,
        prot: Prot,
        grows_down: bool,
        limits: &MmLimits,
    ) -> Result<()> {
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL.into());
        }
        if len == 0 {
            return Ok(());
        }
        let end = page_ceil(len)
            .and_then(|l| addr.checked_add(l))
            .filter(|e| *e > addr)
            .ok_or(Errno::ENOMEM)?;
        let mut change = self.begin()?;
        let mut start = addr;
        if grows_down {
            let s = change.state();
            let vma = s.map.first_ending_above(addr).ok_or(Errno::ENOMEM)?;
            if vma.start >= end {
                return Err(Errno::ENOMEM.into());
            }
            if !vma.flags.contains(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL.into());
            }
            start = vma.start;
        }
        if start < GUEST_END {
            change.take_in_reserve(start, end);
        }
        let (until, outcome) = {
            let s = change.state();
            if s.any_sealed(start, end) {
                return Err(Errno::EPERM.into());
            }
            let mut at = start;
            let mut outcome = Ok(());
            for v in s.map.overlapping(start, end) {
                if v.start > at {
                    break;
                }
                let more = v.end.min(end) - v.start.max(start);
                let denied = self.deny_write_exec(Some(v), prot);
                outcome = denied.and_then(|()| may_protect(v, prot)).and_then(|()| {
                    if is_data(prot, v.flags) && !v.is_data() {
                        s.check_growth_data(more, limits)
                    } else {
                        Ok(())
                    }
                });
                if outcome.is_err() {
                    break;
                }
                at = v.end.min(end);
            }
            if outcome.is_ok() && at < end {
                outcome = Err(Errno::ENOMEM);
            }
            (at, outcome)
        };
        if until > start {
            change.check_count(2)?;
            change.carry_out(
                thread,
                vec![(
                    Op::Protect(start, until, prot),
                    Edit::Protect(start, until, prot),
                )],
            )?;
        }
        Ok(outcome?)
    }

    /// mseal(2): the mappings of the range can no longer be changed or removed.
    ///
    /// # Errors
    /// EINVAL, ENOMEM for a hole in the range.
    pub fn mseal(&self, addr: u64, len: u64) -> Result<()> {
        let len = page_ceil(len).ok_or(Errno::EINVAL)?;
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL.into());
        }
        let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
        let mut change = self.begin()?;
        if end == addr {
            return Ok(());
        }
        change.take_in_reserve(addr, end);
        if change.state().map.contiguous_until(addr, end) < end {
            return Err(Errno::ENOMEM.into());
        }
        change.check_count(2)?;
        change.enter(Edit::Flags(addr, end, VmFlags::empty(), VmFlags::SEALED));
        Ok(())
    }
}

/// EACCES if the mapping may not have this protection.
fn may_protect(v: &Vma, prot: Prot) -> std::result::Result<(), Errno> {
    let mut need = VmFlags::empty();
    need.set(VmFlags::MAYREAD, prot.contains(Prot::READ));
    need.set(VmFlags::MAYWRITE, prot.contains(Prot::WRITE));
    need.set(VmFlags::MAYEXEC, prot.contains(Prot::EXEC));
    if v.flags.contains(need) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

impl super::State {
    /// ENOMEM if `more` bytes that become writable would exceed RLIMIT_DATA.
    fn check_growth_data(&self, more: u64, limits: &MmLimits) -> std::result::Result<(), Errno> {
        if self.map.data().saturating_add(more) > limits.data {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }
}
