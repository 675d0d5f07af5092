//! mlock(2) and relatives. Nothing is locked on the host: the flags and RLIMIT_MEMLOCK are kept as Linux keeps them.

use super::change::{Edit, Result};
use super::mmap::populate_ahead;
use super::vma::{VmFlags, Vma, page_ceil, page_floor};
use super::{MemoryManager, MmLimits, State};
use crate::abi::Errno;
use cofferdam_platform::Thread;

/// Most bytes and mappings that mlockall fills; the rest is filled as it is touched.
const FILL_MOST: u64 = 64 << 20;
const FILL_PARTS: usize = 64;

const LOCK_FLAGS: VmFlags = VmFlags::LOCKED.union(VmFlags::LOCKONFAULT);

impl State {
    /// EAGAIN if new mappings are locked (mlockall MCL_FUTURE) and `more` bytes would exceed RLIMIT_MEMLOCK.
    pub(super) fn check_locked(
        &self,
        more: u64,
        limits: &MmLimits,
    ) -> std::result::Result<(), Errno> {
        if self.new_flags.contains(VmFlags::LOCKED)
            && !limits.ipc_lock
            && self.map.locked().saturating_add(more) > limits.memlock
        {
            Err(Errno::EAGAIN)
        } else {
            Ok(())
        }
    }
}

impl MemoryManager {
    /// mlock and mlock2 (`on_fault`: MLOCK_ONFAULT).
    ///
    /// # Errors
    /// EPERM without any right to lock; ENOMEM over RLIMIT_MEMLOCK or if part of the range is not mapped; EINVAL.
    pub fn mlock(
        &self,
        thread: &dyn Thread,
        addr: u64,
        len: u64,
        on_fault: bool,
        limits: &MmLimits,
    ) -> Result<()> {
        if limits.memlock == 0 && !limits.ipc_lock {
            return Err(Errno::EPERM.into());
        }
        let (start, end) = lock_range(addr, len)?;
        let mut change = self.begin()?;
        if start == end {
            return Ok(());
        }
        change.take_in_reserve(start, end);
        change.check_count(2)?;
        let until = {
            let s = change.state();
            let already: u64 = s
                .map
                .overlapping(start, end)
                .filter(|v| v.flags.contains(VmFlags::LOCKED))
                .map(|v| v.end.min(end) - v.start.max(start))
                .sum();
            let locked = s
                .map
                .locked()
                .saturating_add(end - start)
                .saturating_sub(already);
            if locked > limits.memlock && !limits.ipc_lock {
                return Err(Errno::ENOMEM.into());
            }
            s.map.contiguous_until(start, end)
        };
        let set = if on_fault {
            LOCK_FLAGS
        } else {
            VmFlags::LOCKED
        };
        if until > start {
            change.enter(Edit::Flags(start, until, LOCK_FLAGS, set));
        }
        if until < end {
            return Err(Errno::ENOMEM.into());
        }
        if !on_fault {
            let parts: Vec<_> = {
                let s = change.state();
                s.map
                    .overlapping(start, end)
                    .map(|v| (v.start.max(start), v.end.min(end), v.prot, v.flags))
                    .take(16)
                    .collect()
            };
            for (from, to, prot, flags) in parts {
                populate_ahead(&mut change, thread, from, to - from, prot, flags);
            }
        }
        Ok(())
    }

    /// munlock.
    ///
    /// # Errors
    /// ENOMEM if part of the range is not mapped; EINVAL.
    pub fn munlock(&self, addr: u64, len: u64) -> Result<()> {
        let (start, end) = lock_range(addr, len)?;
        let mut change = self.begin()?;
        change.take_in_reserve(start, end);
        change.check_count(2)?;
        let until = change.state().map.contiguous_until(start, end);
        if until > start {
            change.enter(Edit::Flags(start, until, LOCK_FLAGS, VmFlags::empty()));
        }
        if until < end {
            return Err(Errno::ENOMEM.into());
        }
        Ok(())
    }

    /// mlockall: MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT.
    ///
    /// # Errors
    /// EPERM, ENOMEM, as mlockall(2).
    pub fn mlockall(
        &self,
        thread: &dyn Thread,
        current: bool,
        future: bool,
        on_fault: bool,
        limits: &MmLimits,
    ) -> Result<()> {
        if limits.memlock == 0 && !limits.ipc_lock {
            return Err(Errno::EPERM.into());
        }
        let mut change = self.begin()?;
        if current && change.state().map.total() > limits.memlock && !limits.ipc_lock {
            return Err(Errno::ENOMEM.into());
        }
        let set = if on_fault {
            LOCK_FLAGS
        } else {
            VmFlags::LOCKED
        };
        change.state().new_flags = if future { set } else { VmFlags::empty() };
        if current {
            change.enter(Edit::Flags(0, u64::MAX, LOCK_FLAGS, set));
        }
        if current && !on_fault {
            let mut left = FILL_MOST;
            let parts: Vec<_> = {
                let s = change.state();
                let fits = |v: &&Vma| {
                    left = left.saturating_sub(v.len());
                    left > 0
                };
                let all = s.map.iter().filter(fits).take(FILL_PARTS);
                all.map(|v| (v.start, v.end, v.prot, v.flags)).collect()
            };
            for (from, to, prot, flags) in parts {
                populate_ahead(&mut change, thread, from, to - from, prot, flags);
            }
        }
        Ok(())
    }

    /// munlockall.
    ///
    /// # Errors
    /// Only [`super::MmError::Busy`].
    pub fn munlockall(&self) -> Result<()> {
        let mut change = self.begin()?;
        change.state().new_flags = VmFlags::empty();
        change.enter(Edit::Flags(0, u64::MAX, LOCK_FLAGS, VmFlags::empty()));
        Ok(())
    }
}

fn lock_range(addr: u64, len: u64) -> std::result::Result<(u64, u64), Errno> {
    let start = page_floor(addr);
    let len = len
        .checked_add(addr - start)
        .and_then(page_ceil)
        .ok_or(Errno::EINVAL)?;
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    Ok((start, end))
}
