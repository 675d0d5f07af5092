//! mmap(2) and munmap(2).

use super::change::{Change, Edit, MmError, Op, Result};
use super::vma::{Backing, PAGE, VmFlags, Vma, is_data, page_ceil};
use super::{MemoryManager, MmLimits, SharedAnon, State, text};
use crate::abi::Errno;
use crate::vfs::mount::MountFlags;
use crate::vfs::{File, MapSource};
use cofferdam_platform::rewrite::GAP;
use cofferdam_platform::{GUEST_END, GUEST_START, Prot, Thread};
use std::sync::Arc;

bitflags::bitflags! {
    /// MAP_* flags of mmap(2), x86-64 values. The low four bits are the type.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct MapFlags: u32 {
        const SHARED = 0x1;
        const PRIVATE = 0x2;
        const FIXED = 0x10;
        const ANONYMOUS = 0x20;
        const LOW_2GB = 0x40;
        const GROWSDOWN = 0x100;
        const DENYWRITE = 0x800;
        const EXECUTABLE = 0x1000;
        const LOCKED = 0x2000;
        const NORESERVE = 0x4000;
        const POPULATE = 0x8000;
        const NONBLOCK = 0x1_0000;
        const STACK = 0x2_0000;
        const HUGETLB = 0x4_0000;
        const SYNC = 0x8_0000;
        const FIXED_NOREPLACE = 0x10_0000;
    }
}

/// Mask of the mapping type in [`MapFlags`].
const MAP_TYPE: u32 = 0xf;
/// Type that refuses unknown flags.
const MAP_SHARED_VALIDATE: u32 = 3;
/// Flags that MAP_SHARED_VALIDATE knows for every file (`LEGACY_MAP_MASK`).
const LEGACY_MASK: u32 = 0x1
    | 0x2
    | 0x10
    | 0x20
    | 0x800
    | 0x1000
    | 0x100
    | 0x2000
    | 0x4000
    | 0x8000
    | 0x1_0000
    | 0x2_0000
    | 0x4_0000
    | 0x40
    | 0xfc00_0000;

/// Most bytes that MAP_POPULATE fills ahead (populating is a hint; the stub shall not be busy for long).
const POPULATE_MAX: u64 = 32 << 20;

/// What to map.
pub enum MapWhat {
    /// Zeros; shared or private by the flags.
    Anonymous,
    /// A file, from the request's offset.
    File(Arc<File>),
    /// A shared object; writable mappings are permitted if the flag says so.
    Object(Arc<SharedAnon>, bool),
}

/// The arguments of mmap(2).
pub struct MapRequest {
    /// Wanted address; a hint unless MAP_FIXED or MAP_FIXED_NOREPLACE.
    pub addr: u64,
    /// Length in bytes, not yet rounded.
    pub len: u64,
    /// Protection.
    pub prot: Prot,
    /// Flags.
    pub flags: MapFlags,
    /// What to map.
    pub what: MapWhat,
    /// Offset in the file in bytes, page-aligned.
    pub offset: u64,
}

/// A request with its type checked and its backing found.
struct Plan {
    prot: Prot,
    vm_flags: VmFlags,
    backing: Option<Backing>,
}

impl MemoryManager {
    /// Maps and returns the address.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn mmap(&self, thread: &dyn Thread, req: &MapRequest, limits: &MmLimits) -> Result<u64> {
        if req.len == 0 {
            return Err(Errno::EINVAL.into());
        }
        let len = page_ceil(req.len)
            .filter(|l| *l != 0)
            .ok_or(Errno::ENOMEM)?;
        let file_end = req.offset.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        let mut flags = req.flags;
        if flags.contains(MapFlags::FIXED_NOREPLACE) {
            flags |= MapFlags::FIXED;
        }
        let mut change = self.begin()?;
        change.check_count(1)?;
        let addr = {
            let s = change.state();
            choose_address(&s, req.addr, len, flags)?
        };
        // Trampolines may be wanted below a program, at a fixed distance.
        let keeps_gap = !flags.contains(MapFlags::FIXED)
            && len > PAGE
            && change.texts().is_some()
            && may_be_program(req);
        let addr = if keeps_gap {
            let s = change.state();
            choose_with_gap(&s, req.addr, len, flags).unwrap_or(addr)
        } else {
            addr
        };
        if flags.contains(MapFlags::LOCKED) && limits.memlock == 0 && !limits.ipc_lock {
            return Err(Errno::EPERM.into());
        }
        // Asking the file may visit the gofer: no lock is held here, only the ticket.
        let mut plan = plan(req, flags, len)?;
        if !matches!(req.what, MapWhat::Anonymous) && i64::try_from(file_end).is_err() {
            return Err(Errno::EOVERFLOW.into());
        }
        self.deny_write_exec(None, plan.prot)?;
        plan.vm_flags |= change.state().new_flags;
        if flags.contains(MapFlags::LOCKED) {
            plan.vm_flags |= VmFlags::LOCKED;
        }
        self.check_room(&change, addr, len, &plan, limits)?;
        let backing = match plan.backing {
            Some(b) => b,
            None => Backing::SharedAnon {
                mem: SharedAnon::new(len, b"/dev/zero (deleted)")?,
                offset: 0,
            },
        };
        if keeps_gap {
            plan.vm_flags |= VmFlags::KEEPS_GAP;
        }
        let mut vma = Vma {
            flags: plan.vm_flags,
            backing,
            ..Vma::anonymous(addr, addr + len, plan.prot)
        };
        vma.note_writable();
        if flags.contains(MapFlags::FIXED) {
            change.take_in_reserve(addr, addr + len);
        }
        if change.texts().is_some() && !change.state().layout.own_loader {
            let steps = change.steps_for(vma.clone(), &[]);
            change.carry_out_or_plainly(thread, steps, vec![vma])?;
        } else {
            let edit = Edit::Insert(vma.clone());
            change.carry_out(thread, vec![(Op::Map(vma), edit)])?;
        }
        let locked = plan.vm_flags.contains(VmFlags::LOCKED)
            && !plan.vm_flags.contains(VmFlags::LOCKONFAULT);
        let populate = flags.contains(MapFlags::POPULATE) && !flags.contains(MapFlags::NONBLOCK);
        if populate || locked {
            populate_ahead(&mut change, thread, addr, len, plan.prot, plan.vm_flags);
        }
        Ok(addr)
    }

    fn check_room(
        &self,
        change: &Change<'_>,
        addr: u64,
        len: u64,
        plan: &Plan,
        limits: &MmLimits,
    ) -> std::result::Result<(), Errno> {
        let s = change.state();
        if plan.vm_flags.contains(VmFlags::LOCKED)
            && !limits.ipc_lock
            && s.map.locked().saturating_add(len) > limits.memlock
        {
            return Err(Errno::EAGAIN);
        }
        let new = len - s.map.mapped_in(addr, addr + len).min(len);
        s.check_growth(new, is_data(plan.prot, plan.vm_flags), limits)
    }

    /// Unmaps.
    ///
    /// # Errors
    /// As munmap(2).
    pub fn munmap(&self, thread: &dyn Thread, addr: u64, len: u64) -> Result<()> {
        let end = checked_range(addr, len)?;
        if end == addr {
            return Err(Errno::EINVAL.into());
        }
        let mut change = self.begin()?;
        change.take_in_reserve(addr, end);
        let (any, hole, sealed) = {
            let s = change.state();
            (
                s.map.overlapping(addr, end).next().is_some(),
                s.map.punches_hole(addr, end),
                s.any_sealed(addr, end),
            )
        };
        if !any {
            return Ok(());
        }
        if sealed {
            return Err(Errno::EPERM.into());
        }
        if hole {
            change.check_count(1)?;
        }
        change.carry_out(
            thread,
            vec![(Op::Unmap(addr, end), Edit::Remove(addr, end))],
        )?;
        Ok(())
    }

    /// shmdt(2): unmaps what is left of the System V segment attached at `addr`.
    ///
    /// # Errors
    /// EINVAL if none is.
    pub fn detach(&self, thread: &dyn Thread, addr: u64) -> Result<Arc<SharedAnon>> {
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL.into());
        }
        let mut change = self.begin()?;
        let mut found: Option<Arc<SharedAnon>> = None;
        let mut steps = Vec::new();
        {
            let s = change.state();
            let end = match s.map.iter_from(addr).find_map(|v| attached_at(v, addr)) {
                Some(mem) => addr.saturating_add(mem.size()),
                None => return Err(Errno::EINVAL.into()),
            };
            for v in s.map.overlapping(addr, end) {
                let Some(mem) = attached_at(v, addr) else {
                    continue;
                };
                if found.as_ref().is_none_or(|f| Arc::ptr_eq(f, mem)) {
                    found = Some(mem.clone());
                    steps.push((Op::Unmap(v.start, v.end), Edit::Remove(v.start, v.end)));
                }
            }
        }
        change.carry_out(thread, steps)?;
        found.ok_or(MmError::Errno(Errno::EINVAL))
    }
}

impl State {
    /// ENOMEM if `more` bytes (of data) would exceed RLIMIT_AS or RLIMIT_DATA (`may_expand_vm`).
    pub(super) fn check_growth(
        &self,
        more: u64,
        data: bool,
        limits: &MmLimits,
    ) -> std::result::Result<(), Errno> {
        let over = |now: u64, limit: u64| now.saturating_add(more) > limit;
        if over(self.map.total(), limits.address_space)
            || (data && over(self.map.data(), limits.data))
        {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }
    /// Whether a mapping in the range is mseal(2)ed.
    pub(super) fn any_sealed(&self, start: u64, end: u64) -> bool {
        self.map
            .overlapping(start, end)
            .any(|v| v.flags.contains(VmFlags::SEALED))
    }
}

/// Checks the start and length of a range that must lie in the guest's space; its end.
///
/// # Errors
/// EINVAL for an unaligned start or a range that is not inside the guest's space.
pub(super) fn checked_range(addr: u64, len: u64) -> std::result::Result<u64, Errno> {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    addr.checked_add(len)
        .filter(|e| *e <= GUEST_END)
        .ok_or(Errno::EINVAL)
}

/// The segment that `v` shows, if it was attached at `addr`.
fn attached_at(v: &Vma, addr: u64) -> Option<&Arc<SharedAnon>> {
    match &v.backing {
        Backing::SharedAnon { mem, offset }
            if mem.is_segment() && v.start.checked_sub(*offset) == Some(addr) =>
        {
            Some(mem)
        }
        _ => None,
    }
}

/// Where mappings with MAP_32BIT end (`find_start_end`: a hint below where the search starts is taken, too).
const LOW_END: u64 = 0x8000_0000;

/// Where a mapping goes (`get_unmapped_area`).
pub(super) fn choose_address(
    s: &State,
    addr: u64,
    len: u64,
    flags: MapFlags,
) -> std::result::Result<u64, Errno> {
    if len > GUEST_END {
        return Err(Errno::ENOMEM);
    }
    if flags.contains(MapFlags::FIXED) {
        if addr > GUEST_END - len {
            return Err(Errno::ENOMEM);
        }
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        if addr < GUEST_START {
            return Err(Errno::EPERM);
        }
        if flags.contains(MapFlags::FIXED_NOREPLACE) && !s.map.is_free(addr, addr + len) {
            return Err(Errno::EEXIST);
        }
        if s.any_sealed(addr, addr + len) {
            return Err(Errno::EPERM);
        }
        return Ok(addr);
    }
    let base = match s.layout.mmap_base {
        0 => GUEST_END,
        b => b,
    };
    let low = flags.contains(MapFlags::LOW_2GB);
    let end = if low { LOW_END } else { GUEST_END };
    // `round_hint_to_min`.
    let wish = addr - addr % PAGE;
    let hint = wish.max(GUEST_START);
    if wish != 0
        && end.checked_sub(len).is_some_and(|last| hint <= last)
        && s.map.is_free_below_guard(hint, hint + len)
        && !s.is_island(hint, hint + len)
    {
        return Ok(hint);
    }
    if low {
        return s
            .map
            .gap_bottom_up(len, 0x4000_0000, LOW_END, PAGE)
            .ok_or(Errno::ENOMEM);
    }
    s.map
        .gap_top_down(len, GUEST_START, base, PAGE)
        .or_else(|| s.map.gap_bottom_up(len, base, GUEST_END, PAGE))
        .ok_or(Errno::ENOMEM)
}

/// A place for a program or library: as [`choose_address`], with room for trampolines below.
fn choose_with_gap(s: &State, addr: u64, len: u64, flags: MapFlags) -> Option<u64> {
    let at = choose_address(s, addr, len, flags).ok()?;
    if addr != 0 && at == addr - addr % PAGE {
        // Where the program wanted it.
        return Some(at);
    }
    let at = choose_address(s, 0, len.checked_add(GAP)?, flags).ok()?;
    at.checked_add(GAP)
}

/// Whether this maps a program or library from its start.
fn may_be_program(req: &MapRequest) -> bool {
    match &req.what {
        MapWhat::File(file) => {
            req.offset == 0
                && req.flags.bits() & MAP_TYPE == MapFlags::PRIVATE.bits()
                && !req.prot.contains(Prot::WRITE)
                && file.flags().readable()
                && text::is_program(file)
        }
        _ => false,
    }
}

/// Checks type, access mode and backing. A backing of `None` is shared anonymous memory, to be made.
fn plan(req: &MapRequest, flags: MapFlags, len: u64) -> std::result::Result<Plan, Errno> {
    let kind = flags.bits() & MAP_TYPE;
    let grows = flags.contains(MapFlags::GROWSDOWN);
    let mut vm_flags = VmFlags::MAY_ALL;
    if flags.contains(MapFlags::NORESERVE) {
        vm_flags |= VmFlags::NORESERVE;
    }
    let shared = match kind {
        1 => true,
        2 => false,
        MAP_SHARED_VALIDATE if !matches!(req.what, MapWhat::Anonymous) => {
            if flags.bits() & !LEGACY_MASK != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            true
        }
        _ => return Err(Errno::EINVAL),
    };
    if shared {
        vm_flags |= VmFlags::SHARED;
    }
    let backing = match &req.what {
        MapWhat::Anonymous => {
            if shared && grows {
                return Err(Errno::EINVAL);
            }
            if grows {
                vm_flags |= VmFlags::GROWSDOWN;
            }
            (!shared).then_some(Backing::Anonymous)
        }
        MapWhat::Object(mem, writable) => {
            if !writable {
                vm_flags -= VmFlags::MAYWRITE;
            }
            Some(Backing::SharedAnon {
                mem: mem.clone(),
                offset: req.offset,
            })
        }
        MapWhat::File(file) => {
            let mode = file.flags();
            let write = shared && req.prot.contains(Prot::WRITE);
            if (write && !mode.writable()) || !mode.readable() {
                return Err(Errno::EACCES);
            }
            if shared && !(mode.writable() && file.ops().may_share_writable()) {
                vm_flags -= VmFlags::MAYWRITE;
            }
            let noexec = file
                .path()
                .is_some_and(|p| p.mount.flags().contains(MountFlags::NOEXEC));
            if noexec {
                if req.prot.contains(Prot::EXEC) {
                    return Err(Errno::EPERM);
                }
                vm_flags -= VmFlags::MAYEXEC;
            }
            let source = file.ops().map(file, shared, write)?;
            if grows {
                return Err(Errno::EINVAL);
            }
            match source {
                // /dev/zero: a shared mapping is an object of its own.
                MapSource::Anonymous if shared => Some(Backing::SharedAnon {
                    mem: SharedAnon::new(len, b"/dev/zero (deleted)")?,
                    offset: 0,
                }),
                source => Some(Backing::File {
                    file: file.clone(),
                    source,
                    offset: req.offset,
                }),
            }
        }
    };
    Ok(Plan {
        prot: req.prot,
        vm_flags,
        backing,
    })
}

/// Has the host fault pages in ahead; failure does not matter.
pub(super) fn populate_ahead(
    change: &mut Change<'_>,
    thread: &dyn Thread,
    addr: u64,
    len: u64,
    prot: Prot,
    flags: VmFlags,
) {
    let advice = if prot.contains(Prot::WRITE) && !flags.contains(VmFlags::SHARED) {
        libc::MADV_POPULATE_WRITE
    } else if prot.contains(Prot::READ) {
        libc::MADV_POPULATE_READ
    } else {
        return;
    };
    let end = addr + len.min(POPULATE_MAX);
    let step = (Op::Advise(addr, end, advice), Edit::None);
    if let Err(e) = change.carry_out(thread, vec![step]) {
        log::debug!("populating {addr:#x}..{end:#x} failed: {e}");
    }
}

impl From<MmError> for Errno {
    /// For callers that are alone with the address space: a busy one is reported as EAGAIN.
    fn from(e: MmError) -> Errno {
        match e {
            MmError::Errno(e) => e,
            MmError::Busy(_) => Errno::EAGAIN,
        }
    }
}
