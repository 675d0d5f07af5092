//! madvise(2), msync(2), mincore(2), and naming of anonymous memory.

use super::MemoryManager;
use super::change::{Change, Edit, Op, Result};
use super::mmap::checked_range;
use super::vma::{Backing, PAGE, VmFlags, Vma, page_ceil};
use crate::abi::Errno;
use crate::vfs::File;
use crate::vfs::caller::KernelCaller;
use cofferdam_platform::{GUEST_END, Prot, Thread};
use std::sync::Arc;

/// MADV_GUARD_INSTALL and MADV_GUARD_REMOVE, not in libc for all targets.
const GUARD_INSTALL: i32 = 102;
const GUARD_REMOVE: i32 = 103;
/// Most bytes that one exchange with the stub fills (MADV_POPULATE_*): a long one would keep the worker.
const POPULATE_CHUNK: u64 = 32 << 20;
/// FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE.
const PUNCH_HOLE: u32 = 3;

/// What an advice does.
enum Action {
    /// Nothing that can be seen.
    Nothing,
    /// Changes flags: clear, set; and tells the host if the flag says so.
    Flags(VmFlags, VmFlags, bool),
    /// The host does it.
    Host,
    /// MADV_POPULATE_*.
    Populate,
    /// MADV_REMOVE.
    Remove,
}

fn action(advice: i32) -> std::result::Result<Action, Errno> {
    let none = VmFlags::empty();
    let reading = VmFlags::SEQ_READ | VmFlags::RAND_READ;
    let huge = VmFlags::HUGEPAGE | VmFlags::NOHUGEPAGE;
    Ok(match advice {
        libc::MADV_NORMAL => Action::Flags(reading, none, false),
        libc::MADV_RANDOM => Action::Flags(reading, VmFlags::RAND_READ, false),
        libc::MADV_SEQUENTIAL => Action::Flags(reading, VmFlags::SEQ_READ, false),
        // The child unmaps them: the stub may not change what its mailbox is inherited by.
        libc::MADV_DONTFORK => Action::Flags(none, VmFlags::DONTFORK, false),
        libc::MADV_DOFORK => Action::Flags(VmFlags::DONTFORK, none, false),
        libc::MADV_WIPEONFORK => Action::Flags(none, VmFlags::WIPEONFORK, true),
        libc::MADV_KEEPONFORK => Action::Flags(VmFlags::WIPEONFORK, none, true),
        libc::MADV_DONTDUMP => Action::Flags(none, VmFlags::DONTDUMP, false),
        libc::MADV_DODUMP => Action::Flags(VmFlags::DONTDUMP, none, false),
        libc::MADV_HUGEPAGE => Action::Flags(huge, VmFlags::HUGEPAGE, false),
        libc::MADV_NOHUGEPAGE => Action::Flags(huge, VmFlags::NOHUGEPAGE, false),
        libc::MADV_DONTNEED | libc::MADV_FREE | libc::MADV_DONTNEED_LOCKED => Action::Host,
        libc::MADV_REMOVE => Action::Remove,
        libc::MADV_POPULATE_READ | libc::MADV_POPULATE_WRITE => Action::Populate,
        // Pages are never merged: that tells one owner what the other has. A kernel whose merging is off accepts the advice, too.
        libc::MADV_WILLNEED
        | libc::MADV_COLD
        | libc::MADV_PAGEOUT
        | libc::MADV_MERGEABLE
        | libc::MADV_UNMERGEABLE => Action::Nothing,
        // Since Linux 6.13; the host says whether it can.
        GUARD_INSTALL | GUARD_REMOVE => Action::Host,
        _ => return Err(Errno::EINVAL),
    })
}

/// Whether a mapping can take this advice.
fn applicable(v: &Vma, advice: i32) -> std::result::Result<(), Errno> {
    let locked = v.flags.contains(VmFlags::LOCKED);
    let bad = match advice {
        libc::MADV_DONTNEED | libc::MADV_COLD | libc::MADV_PAGEOUT => locked,
        libc::MADV_FREE => locked || !matches!(v.backing, Backing::Anonymous),
        // A fault there would be taken for one that another thread's growth has answered.
        GUARD_INSTALL => locked || v.flags.contains(VmFlags::GROWSDOWN),
        libc::MADV_WIPEONFORK => !matches!(v.backing, Backing::Anonymous) || v.shared(),
        libc::MADV_REMOVE => locked || matches!(v.backing, Backing::Anonymous),
        _ => false,
    };
    if bad {
        return Err(Errno::EINVAL);
    }
    if advice == libc::MADV_REMOVE && !(v.shared() && v.flags.contains(VmFlags::MAYWRITE)) {
        return Err(Errno::EACCES);
    }
    if matches!(
        advice,
        libc::MADV_DONTNEED | libc::MADV_FREE | libc::MADV_DONTNEED_LOCKED
    ) && v.flags.contains(VmFlags::SEALED)
        && !v.prot.contains(Prot::WRITE)
        && matches!(v.backing, Backing::Anonymous)
    {
        return Err(Errno::EPERM);
    }
    Ok(())
}

impl MemoryManager {
    /// madvise(2).
    ///
    /// # Errors
    /// As madvise(2); holes in the range give ENOMEM after the rest was done.
    pub fn madvise(&self, thread: &dyn Thread, addr: u64, len: u64, advice: i32) -> Result<()> {
        let action = action(advice)?;
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL.into());
        }
        let end = page_ceil(len)
            .and_then(|l| addr.checked_add(l))
            .ok_or(Errno::EINVAL)?;
        if end == addr {
            return Ok(());
        }
        let mut change = self.begin()?;
        change.take_in_reserve(addr, end.min(GUEST_END));
        // What can be done before the first mapping that refuses, without holes.
        let mut parts: Vec<(u64, u64)> = Vec::new();
        let mut objects: Vec<(Arc<File>, u64, u64)> = Vec::new();
        let mut outcome = Ok(());
        {
            let s = change.state();
            let mut at = addr;
            for v in s.map.overlapping(addr, end) {
                if v.start > at {
                    outcome = Err(Errno::ENOMEM);
                    if matches!(action, Action::Populate) {
                        break;
                    }
                }
                if let Err(e) = applicable(v, advice) {
                    outcome = Err(e);
                    at = end;
                    break;
                }
                let (from, to) = (v.start.max(addr), v.end.min(end));
                if let (Action::Remove, Backing::File { file, offset, .. }) = (&action, &v.backing)
                {
                    let offset = offset.saturating_add(from - v.start);
                    objects.push((file.clone(), offset, to - from));
                } else {
                    match parts.last_mut() {
                        Some(last) if last.1 == from => last.1 = to,
                        _ => parts.push((from, to)),
                    }
                }
                at = to;
            }
            if at < end {
                outcome = Err(Errno::ENOMEM);
            }
        }
        if matches!(action, Action::Flags(..)) {
            change.check_count(2)?;
        }
        for (file, offset, len) in objects {
            file.ops()
                .fallocate(&file, &KernelCaller, PUNCH_HOLE, offset, len)?;
        }
        advise_parts(&mut change, thread, &action, advice, &parts)?;
        Ok(outcome?)
    }

    /// msync(2): `sync` writes shared file mappings to storage (MS_SYNC); `invalidate` is MS_INVALIDATE.
    ///
    /// # Errors
    /// EBUSY, ENOMEM, EIO, as msync(2).
    pub fn msync(&self, addr: u64, len: u64, sync: bool, invalidate: bool) -> Result<()> {
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL.into());
        }
        // A length that rounds up past the greatest number is 0 to Linux.
        let end = addr
            .checked_add(page_ceil(len).unwrap_or(0))
            .ok_or(Errno::ENOMEM)?;
        let mut files: Vec<Arc<File>> = Vec::new();
        let mut outcome = Ok(());
        {
            let s = self.state.lock();
            let mut at = addr;
            for v in s.map.overlapping(addr, end) {
                if v.start > at {
                    outcome = Err(Errno::ENOMEM);
                }
                if invalidate && v.flags.contains(VmFlags::LOCKED) {
                    outcome = Err(Errno::EBUSY);
                    at = end;
                    break;
                }
                if sync
                    && v.shared()
                    && let Some(f) = v.file()
                    && !files.iter().any(|g| Arc::ptr_eq(f, g))
                {
                    files.push(f.clone());
                }
                at = v.end.min(end);
            }
            if at < end {
                outcome = Err(Errno::ENOMEM);
            }
        }
        for f in files {
            match f.ops().fsync(&f, true) {
                // Memory without storage (tmpfs, memfd) is in step by nature.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(outcome?)
    }

    /// Whether `addr..addr+len` is mapped without holes.
    ///
    /// # Errors
    /// ENOMEM for a hole.
    pub fn check_mapped(&self, addr: u64, len: u64) -> Result<()> {
        let end = checked_range(addr, len).map_err(|_| Errno::ENOMEM)?;
        let s = self.state.lock();
        if s.map.contiguous_until(addr, end) < end {
            return Err(Errno::ENOMEM.into());
        }
        Ok(())
    }

    /// mbind(2): gives mappings a NUMA policy; 0 takes it away.
    ///
    /// # Errors
    /// EFAULT for holes, EINVAL.
    pub fn set_policy(&self, addr: u64, len: u64, mode: u32) -> Result<()> {
        let end = checked_range(addr, len)?;
        if end == addr {
            return Ok(());
        }
        let mut change = self.begin()?;
        change.check_count(2)?;
        if change.state().map.contiguous_until(addr, end) < end {
            return Err(Errno::EFAULT.into());
        }
        change.enter(Edit::Flags(
            addr,
            end,
            VmFlags::POLICY,
            VmFlags::policy(mode),
        ));
        Ok(())
    }

    /// prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME): names anonymous memory; `None` takes the name away.
    ///
    /// # Errors
    /// EBADF for file mappings, ENOMEM for holes, EINVAL.
    pub fn set_anon_name(&self, addr: u64, len: u64, name: Option<&[u8]>) -> Result<()> {
        let end = checked_range(addr, len)?;
        if end == addr {
            return Ok(());
        }
        let mut change = self.begin()?;
        change.check_count(2)?;
        {
            let s = change.state();
            if s.map
                .overlapping(addr, end)
                .any(|v| matches!(v.backing, Backing::File { .. }))
            {
                return Err(Errno::EBADF.into());
            }
            if s.map.contiguous_until(addr, end) < end {
                return Err(Errno::ENOMEM.into());
            }
        }
        change.enter(Edit::Name(addr, end, name.map(Arc::from)));
        Ok(())
    }
}

fn advise_parts(
    change: &mut Change<'_>,
    thread: &dyn Thread,
    action: &Action,
    advice: i32,
    parts: &[(u64, u64)],
) -> std::result::Result<(), Errno> {
    match action {
        Action::Nothing => Ok(()),
        Action::Flags(clear, set, host) => {
            let edit = |(s, e): &(u64, u64)| Edit::Flags(*s, *e, *clear, *set);
            if *host {
                let steps = parts
                    .iter()
                    .map(|p| (Op::Advise(p.0, p.1, advice), edit(p)))
                    .collect();
                change.carry_out(thread, steps)
            } else {
                parts.iter().for_each(|p| change.enter(edit(p)));
                Ok(())
            }
        }
        Action::Host | Action::Remove => {
            // The guest's locks are not the host's.
            let advice = if advice == libc::MADV_DONTNEED_LOCKED {
                libc::MADV_DONTNEED
            } else {
                advice
            };
            let steps = parts
                .iter()
                .map(|(s, e)| (Op::Advise(*s, *e, advice), Edit::None))
                .collect();
            change.carry_out(thread, steps)
        }
        Action::Populate => {
            for (start, end) in parts {
                let mut at = *start;
                while at < *end {
                    let to = end.min(&at.saturating_add(POPULATE_CHUNK)).to_owned();
                    change.carry_out(thread, vec![(Op::Advise(at, to, advice), Edit::None)])?;
                    at = to;
                }
            }
            Ok(())
        }
    }
}
