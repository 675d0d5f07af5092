//! mremap(2).

use super::change::{Change, Edit, Op, Result};
use super::mmap::choose_address;
use super::vma::{PAGE, VmFlags, Vma, page_ceil};
use super::{MAX_MAP_COUNT, MapFlags, MemoryManager, MmLimits};
use crate::abi::Errno;
use cofferdam_platform::{GUEST_END, GUEST_START, Thread};

bitflags::bitflags! {
    /// MREMAP_* flags.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct RemapFlags: u32 {
        const MAYMOVE = 1;
        const FIXED = 2;
        const DONTUNMAP = 4;
    }
}

/// The arguments of mremap(2).
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct RemapRequest {
    pub addr: u64,
    pub old_len: u64,
    pub new_len: u64,
    pub flags: RemapFlags,
    pub new_addr: u64,
}

impl MemoryManager {
    /// Resizes or moves a mapping; its address then.
    ///
    /// # Errors
    /// As mremap(2).
    pub fn mremap(
        &self,
        thread: &dyn Thread,
        req: &RemapRequest,
        limits: &MmLimits,
    ) -> Result<u64> {
        let flags = req.flags;
        let moving = flags.intersects(RemapFlags::FIXED | RemapFlags::DONTUNMAP);
        if (moving && !flags.contains(RemapFlags::MAYMOVE)) || !req.addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL.into());
        }
        let old_len = page_ceil(req.old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_ceil(req.new_len)
            .filter(|l| *l != 0)
            .ok_or(Errno::EINVAL)?;
        if flags.contains(RemapFlags::DONTUNMAP) && old_len != new_len {
            return Err(Errno::EINVAL.into());
        }
        let old_end = req
            .addr
            .checked_add(old_len)
            .filter(|e| *e <= GUEST_END)
            .ok_or(Errno::EINVAL)?;
        let mut change = self.begin()?;
        change.take_in_reserve(req.addr, old_end.max(req.addr + PAGE));
        let vma = change
            .state()
            .map
            .find(req.addr)
            .cloned()
            .ok_or(Errno::EFAULT)?;
        let request = RemapRequest {
            old_len,
            new_len,
            ..*req
        };
        if change.state().any_sealed(req.addr, old_end) {
            return Err(Errno::EPERM.into());
        }
        if moving {
            return move_to(&mut change, thread, &request, &vma, limits);
        }
        if old_len >= new_len {
            if old_len > new_len {
                let cut = req.addr + new_len;
                if change.state().map.punches_hole(cut, old_end) {
                    change.check_count(1)?;
                }
                change.carry_out(
                    thread,
                    vec![(Op::Unmap(cut, old_end), Edit::Remove(cut, old_end))],
                )?;
            }
            return Ok(req.addr);
        }
        check_resize(&change, &request, &vma, limits)?;
        if old_len > 0 && old_end == vma.end && can_expand(&change, &vma, req.addr, new_len) {
            return expand(&mut change, thread, &request, &vma);
        }
        if !flags.contains(RemapFlags::MAYMOVE) {
            return Err(Errno::ENOMEM.into());
        }
        let new_addr = {
            let s = change.state();
            choose_address(&s, 0, new_len, MapFlags::PRIVATE)?
        };
        relocate(&mut change, thread, &request, &vma, new_addr)
    }
}

/// Whether the mapping may get this size (`vma_to_resize`).
fn check_resize(
    change: &Change<'_>,
    req: &RemapRequest,
    vma: &Vma,
    limits: &MmLimits,
) -> std::result::Result<(), Errno> {
    if req.old_len == 0 && !vma.shared() {
        return Err(Errno::EINVAL);
    }
    if req.old_len > vma.end - req.addr {
        return Err(Errno::EFAULT);
    }
    if req.new_len <= req.old_len {
        return Ok(());
    }
    let offset = vma.offset().saturating_add(req.addr - vma.start);
    if i64::try_from(offset.saturating_add(req.new_len)).is_err() {
        return Err(Errno::EINVAL);
    }
    let more = req.new_len - req.old_len;
    let s = change.state();
    if vma.flags.contains(VmFlags::LOCKED)
        && !limits.ipc_lock
        && s.map.locked().saturating_add(more) > limits.memlock
    {
        return Err(Errno::EAGAIN);
    }
    s.check_growth(more, vma.is_data(), limits)
}

fn can_expand(change: &Change<'_>, vma: &Vma, addr: u64, new_len: u64) -> bool {
    let Some(end) = addr.checked_add(new_len).filter(|e| *e <= GUEST_END) else {
        return false;
    };
    change.state().map.is_free_below_guard(vma.end, end)
}

/// Grows the mapping where it is.
fn expand(
    change: &mut Change<'_>,
    thread: &dyn Thread,
    req: &RemapRequest,
    vma: &Vma,
) -> Result<u64> {
    let end = req.addr + req.new_len;
    let mut tail = vma.clone();
    tail.end = end;
    let tail = Vma {
        text: None,
        ..tail.split_off(vma.end)
    };
    let op = Op::Remap {
        addr: req.addr,
        old_len: req.old_len,
        new_addr: req.addr,
        new_len: req.new_len,
        keep_old: false,
    };
    let done = change.carry_out(thread, vec![(op, Edit::Insert(tail.clone()))]);
    match done {
        // The host may hold as two mappings what is one here (parts were mapped one by one): map the rest.
        Err(Errno::EFAULT) => {
            let edit = Edit::Insert(tail.clone());
            change.carry_out(thread, vec![(Op::Map(tail), edit)])?;
        }
        other => other?,
    }
    Ok(req.addr)
}

/// MREMAP_FIXED and MREMAP_DONTUNMAP (`mremap_to`).
fn move_to(
    change: &mut Change<'_>,
    thread: &dyn Thread,
    req: &RemapRequest,
    vma: &Vma,
    limits: &MmLimits,
) -> Result<u64> {
    let (new_addr, new_len) = (req.new_addr, req.new_len);
    if !new_addr.is_multiple_of(PAGE) || new_len > GUEST_END || new_addr > GUEST_END - new_len {
        return Err(Errno::EINVAL.into());
    }
    if req.addr + req.old_len > new_addr && new_addr + new_len > req.addr {
        return Err(Errno::EINVAL.into());
    }
    if !MAX_MAP_COUNT.allows(change.state().map.count() + 6) {
        return Err(Errno::ENOMEM.into());
    }
    let fixed = req.flags.contains(RemapFlags::FIXED);
    if fixed && new_addr < GUEST_START {
        return Err(Errno::EPERM.into());
    }
    let mut req = *req;
    if fixed {
        if change.state().any_sealed(new_addr, new_addr + new_len) {
            return Err(Errno::EPERM.into());
        }
        change.take_in_reserve(new_addr, new_addr + new_len);
        // Linux empties the target, and cuts off what a smaller size leaves, before it looks at the rest.
        let mut steps = Vec::new();
        let target = (new_addr, new_addr + new_len);
        if !change.state().map.is_free(target.0, target.1) {
            steps.push((
                Op::Unmap(target.0, target.1),
                Edit::Remove(target.0, target.1),
            ));
        }
        if req.old_len > new_len {
            let (cut, end) = (req.addr + new_len, req.addr + req.old_len);
            steps.push((Op::Unmap(cut, end), Edit::Remove(cut, end)));
            req.old_len = new_len;
        }
        if !steps.is_empty() {
            change.carry_out(thread, steps)?;
        }
    }
    check_resize(change, &req, vma, limits)?;
    if req.flags.contains(RemapFlags::DONTUNMAP) {
        let s = change.state();
        s.check_growth(req.old_len, vma.is_data(), limits)?;
    }
    let to = if fixed {
        new_addr
    } else {
        let s = change.state();
        choose_address(&s, new_addr, new_len, MapFlags::PRIVATE)?
    };
    relocate(change, thread, &req, vma, to)
}

/// Moves (or with an old length of 0 duplicates) the pages to a free range.
fn relocate(
    change: &mut Change<'_>,
    thread: &dyn Thread,
    req: &RemapRequest,
    vma: &Vma,
    new_addr: u64,
) -> Result<u64> {
    change.check_count(3)?;
    let keep_old = req.flags.contains(RemapFlags::DONTUNMAP);
    let moved = Vma {
        start: new_addr,
        end: new_addr + req.new_len,
        reserve: new_addr,
        backing: vma.backing.advanced(req.addr - vma.start),
        flags: vma.flags - VmFlags::KEEPS_GAP,
        // The original pages move, see `rewrite`.
        text: None,
        ..vma.clone()
    };
    let old = (req.addr, req.addr + req.old_len);
    let insert = Edit::Insert(moved.clone());
    if req.old_len == 0 {
        // A second view of the same object: an ordinary mapping of it.
        change.carry_out(thread, vec![(Op::Map(moved), insert)])?;
        return Ok(new_addr);
    }
    let leave = if keep_old {
        // The pages are gone, and with them the lock on them.
        let lock = VmFlags::LOCKED | VmFlags::LOCKONFAULT;
        Edit::Flags(old.0, old.1, lock, VmFlags::empty())
    } else {
        Edit::Remove(old.0, old.1)
    };
    let op = Op::Remap {
        addr: req.addr,
        old_len: req.old_len,
        new_addr,
        new_len: req.new_len,
        keep_old,
    };
    change.carry_out(
        thread,
        vec![(op, Edit::Both(Box::new(leave), Box::new(insert)))],
    )?;
    Ok(new_addr)
}
