//! mmap, munmap, mprotect, mremap, madvise, brk, memory locks, NUMA policies of a machine with one node.

use super::ArgKind::{Fd as FdArg, Hex, Int, MapFlags as Flags, Pid, Prot as ProtArg, Ptr, Uint};
use super::{Args, Block, Cx, Fd, OnSignal, SysErr, SysResult, Syscall};
use crate::abi::Errno;
use crate::mm::{
    MapFlags, MapRequest, MapWhat, MmError, PAGE, RemapFlags, RemapRequest, page_ceil,
};
use crate::sync::Events;
use crate::usermem::{GuestMemory, UserPtr};
use cofferdam_platform::{GUEST_END, Prot};

/// This family's calls.
pub static TABLE: &[Syscall] = &[
    Syscall::new(
        libc::SYS_mmap,
        "mmap",
        mmap,
        &[Ptr, Uint, ProtArg, Flags, FdArg, Hex],
    ),
    Syscall::new(libc::SYS_munmap, "munmap", munmap, &[Ptr, Uint]),
    Syscall::new(
        libc::SYS_mprotect,
        "mprotect",
        mprotect,
        &[Ptr, Uint, ProtArg],
    ),
    Syscall::new(
        libc::SYS_mremap,
        "mremap",
        mremap,
        &[Ptr, Uint, Uint, Hex, Ptr],
    ),
    Syscall::new(libc::SYS_madvise, "madvise", madvise, &[Ptr, Uint, Int])
        .partial("no memory poisoning"),
    Syscall::new(libc::SYS_brk, "brk", brk, &[Ptr]),
    Syscall::new(libc::SYS_msync, "msync", msync, &[Ptr, Uint, Hex]),
    Syscall::new(libc::SYS_mincore, "mincore", mincore, &[Ptr, Uint, Ptr])
        .partial("what is mapped is reported as resident"),
    Syscall::new(libc::SYS_mlock, "mlock", mlock, &[Ptr, Uint])
        .partial("accounted and filled, not locked on the host"),
    Syscall::new(libc::SYS_mlock2, "mlock2", mlock2, &[Ptr, Uint, Hex])
        .partial("accounted and filled, not locked on the host"),
    Syscall::new(libc::SYS_munlock, "munlock", munlock, &[Ptr, Uint]),
    Syscall::new(libc::SYS_mlockall, "mlockall", mlockall, &[Hex])
        .partial("accounted, not locked on the host"),
    Syscall::new(libc::SYS_munlockall, "munlockall", munlockall, &[]),
    Syscall::new(
        libc::SYS_remap_file_pages,
        "remap_file_pages",
        remap_file_pages,
        &[Ptr, Uint, Hex, Uint, Hex],
    ),
    Syscall::new(libc::SYS_mseal, "mseal", mseal, &[Ptr, Uint, Hex]),
    Syscall::new(
        libc::SYS_pkey_mprotect,
        "pkey_mprotect",
        pkey_mprotect,
        &[Ptr, Uint, ProtArg, Int],
    )
    .partial("as a processor without protection keys"),
    Syscall::new(libc::SYS_pkey_alloc, "pkey_alloc", pkey_alloc, &[Hex, Hex])
        .partial("as a processor without protection keys"),
    Syscall::new(libc::SYS_pkey_free, "pkey_free", pkey_free, &[Int])
        .partial("as a processor without protection keys"),
    Syscall::new(
        libc::SYS_mbind,
        "mbind",
        mbind,
        &[Ptr, Uint, Int, Ptr, Uint, Hex],
    )
    .partial("one node; policies are checked, not kept"),
    Syscall::new(
        libc::SYS_set_mempolicy,
        "set_mempolicy",
        set_mempolicy,
        &[Int, Ptr, Uint],
    )
    .partial("one node; policies are checked, not kept"),
    Syscall::new(
        libc::SYS_get_mempolicy,
        "get_mempolicy",
        get_mempolicy,
        &[Ptr, Ptr, Uint, Ptr, Hex],
    )
    .partial("one node; always the default policy"),
    Syscall::new(
        libc::SYS_membarrier,
        "membarrier",
        membarrier,
        &[Int, Hex, Int],
    )
    .partial("within one process only"),
    Syscall::new(
        libc::SYS_migrate_pages,
        "migrate_pages",
        migrate_pages,
        &[Pid, Uint, Ptr, Ptr],
    )
    .partial("one node: nothing to move"),
];

impl From<MmError> for SysErr {
    /// A call that finds another change of the same mappings in flight waits for it and runs again.
    fn from(e: MmError) -> SysErr {
        match e {
            MmError::Errno(e) => e.into(),
            MmError::Busy(queue) => Block::on(queue, Events::READABLE)
                .on_signal(OnSignal::RestartNoIntr)
                .into(),
        }
    }
}

/// An address as a system call returns it; guest addresses are below 2^47.
fn address(addr: u64) -> i64 {
    addr.cast_signed()
}

/// mmap's protection; bits it does not know are ignored, as in Linux.
fn prot_of(raw: u64) -> Prot {
    Prot::from_bits_truncate((raw & 7) as u32)
}

fn mmap(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (addr, len, prot, raw_flags) = (a.get(0), a.get(1), prot_of(a.get(2)), a.get::<u32>(3));
    let offset: u64 = a.get(5);
    if !offset.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let flags = MapFlags::from_bits_retain(raw_flags);
    let what = if flags.contains(MapFlags::ANONYMOUS) {
        if flags.contains(MapFlags::HUGETLB) {
            // No huge pages are set aside.
            return Err(Errno::ENOMEM.into());
        }
        MapWhat::Anonymous
    } else {
        let file = cx.file(a.get::<Fd>(4))?;
        if flags.contains(MapFlags::HUGETLB) {
            return Err(Errno::EINVAL.into());
        }
        MapWhat::File(file)
    };
    let request = MapRequest {
        addr,
        len,
        prot,
        flags,
        offset: if matches!(what, MapWhat::Anonymous) {
            0
        } else {
            offset
        },
        what,
    };
    let limits = cx.mm_limits();
    Ok(address(cx.mm.mmap(&*cx.thread()?, &request, &limits)?))
}

fn munmap(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    cx.mm.munmap(&*cx.thread()?, a.get(0), a.get(1))?;
    Ok(0)
}

fn mprotect(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const PROT_SEM: u64 = 8;
    const GROWSDOWN: u64 = 0x0100_0000;
    const GROWSUP: u64 = 0x0200_0000;
    let raw: u64 = a.get(2);
    let grows = raw & (GROWSDOWN | GROWSUP);
    if grows == GROWSDOWN | GROWSUP {
        return Err(Errno::EINVAL.into());
    }
    let (addr, len): (u64, u64) = (a.get(0), a.get(1));
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let end = page_ceil(len).and_then(|l| addr.checked_add(l));
    if end.is_none_or(|e| e <= addr) {
        return Err(Errno::ENOMEM.into());
    }
    if raw & !(7 | PROT_SEM | GROWSDOWN | GROWSUP) != 0 || grows == GROWSUP {
        return Err(Errno::EINVAL.into());
    }
    let limits = cx.mm_limits();
    cx.mm.mprotect(
        &*cx.thread()?,
        addr,
        len,
        prot_of(raw),
        grows == GROWSDOWN,
        &limits,
    )?;
    Ok(0)
}

fn mremap(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let flags = u32::try_from(a.get::<u64>(3))
        .ok()
        .and_then(RemapFlags::from_bits)
        .ok_or(Errno::EINVAL)?;
    let request = RemapRequest {
        addr: a.get(0),
        old_len: a.get(1),
        new_len: a.get(2),
        flags,
        new_addr: a.get(4),
    };
    let limits = cx.mm_limits();
    Ok(address(cx.mm.mremap(&*cx.thread()?, &request, &limits)?))
}

fn madvise(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const HWPOISON: i32 = 100;
    const SOFT_OFFLINE: i32 = 101;
    let advice: i32 = a.get(2);
    if matches!(advice, HWPOISON | SOFT_OFFLINE) {
        return Err(Errno::EPERM.into());
    }
    cx.mm.madvise(&*cx.thread()?, a.get(0), a.get(1), advice)?;
    Ok(0)
}

fn brk(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let limits = cx.mm_limits();
    Ok(address(cx.mm.brk(&*cx.thread()?, a.get(0), &limits)?))
}

fn msync(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const ASYNC: u32 = 1;
    const INVALIDATE: u32 = 2;
    const SYNC: u32 = 4;
    let flags: u32 = a.get(2);
    if flags & !(ASYNC | INVALIDATE | SYNC) != 0 || flags & (ASYNC | SYNC) == ASYNC | SYNC {
        return Err(Errno::EINVAL.into());
    }
    cx.mm.msync(
        a.get(0),
        a.get(1),
        flags & SYNC != 0,
        flags & INVALIDATE != 0,
    )?;
    Ok(0)
}

fn mincore(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (addr, len, vec): (u64, u64, u64) = (a.get(0), a.get(1), a.get(2));
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if addr.checked_add(len).is_none_or(|e| e > GUEST_END) {
        return Err(Errno::ENOMEM.into());
    }
    let pages = len.div_ceil(PAGE);
    // Linux reports page by page and stops at the first hole; what came before is written.
    let resident = [1u8; 4096];
    let mut done = 0;
    while done < pages {
        let n = (pages - done).min(4096);
        cx.mm.check_mapped(addr + done * PAGE, n * PAGE)?;
        let part = usize::try_from(n)
            .ok()
            .and_then(|n| resident.get(..n))
            .unwrap_or(&resident);
        cx.mem().write_bytes(vec.wrapping_add(done), part)?;
        done += n;
    }
    Ok(0)
}

fn mlock(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let limits = cx.mm_limits();
    cx.mm
        .mlock(&*cx.thread()?, a.get(0), a.get(1), false, &limits)?;
    Ok(0)
}

fn mlock2(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const ONFAULT: u32 = 1;
    let flags: u32 = a.get(2);
    if flags & !ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let limits = cx.mm_limits();
    cx.mm
        .mlock(&*cx.thread()?, a.get(0), a.get(1), flags != 0, &limits)?;
    Ok(0)
}

fn munlock(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    cx.mm.munlock(a.get(0), a.get(1))?;
    Ok(0)
}

fn mlockall(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const CURRENT: u32 = 1;
    const FUTURE: u32 = 2;
    const ONFAULT: u32 = 4;
    let flags: u32 = a.get(0);
    if flags == 0 || flags & !(CURRENT | FUTURE | ONFAULT) != 0 || flags == ONFAULT {
        return Err(Errno::EINVAL.into());
    }
    let limits = cx.mm_limits();
    cx.mm.mlockall(
        flags & CURRENT != 0,
        flags & FUTURE != 0,
        flags & ONFAULT != 0,
        &limits,
    )?;
    Ok(0)
}

fn munlockall(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    cx.mm.munlockall()?;
    Ok(0)
}

/// Emulated with a new mapping, as Linux has done since 4.0.
fn remap_file_pages(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (addr, len, prot, page_offset): (u64, u64, u64, u64) =
        (a.get(0), a.get(1), a.get(2), a.get(3));
    let flags = MapFlags::from_bits_retain(a.get::<u32>(4));
    let start = addr & !(PAGE - 1);
    let len = len & !(PAGE - 1);
    if prot != 0 || start.checked_add(len).is_none_or(|e| e <= start) {
        return Err(Errno::EINVAL.into());
    }
    let offset = page_offset
        .checked_mul(PAGE)
        .filter(|o| o.checked_add(len).is_some())
        .ok_or(Errno::EINVAL)?;
    let vma = cx.mm.find_vma(start).ok_or(Errno::EINVAL)?;
    if !vma.shared() || start + len > vma.end {
        return Err(Errno::EINVAL.into());
    }
    let what = match &vma.backing {
        crate::mm::Backing::File { file, .. } => MapWhat::File(file.clone()),
        crate::mm::Backing::SharedAnon { mem, .. } => MapWhat::Object(mem.clone(), true),
        crate::mm::Backing::Anonymous => return Err(Errno::EINVAL.into()),
    };
    let request = MapRequest {
        addr: start,
        len,
        prot: vma.prot,
        flags: MapFlags::SHARED | MapFlags::FIXED | (flags & MapFlags::NONBLOCK),
        what,
        offset,
    };
    let limits = cx.mm_limits();
    cx.mm.mmap(&*cx.thread()?, &request, &limits)?;
    Ok(0)
}

fn mseal(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    if a.get::<u64>(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    cx.mm.mseal(a.get(0), a.get(1))?;
    Ok(0)
}

fn pkey_mprotect(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    if a.get::<i32>(3) != -1 {
        return Err(Errno::EINVAL.into());
    }
    mprotect(cx, a)
}

fn pkey_alloc(_: &mut Cx<'_>, a: &Args) -> SysResult {
    let (flags, rights): (u64, u64) = (a.get(0), a.get(1));
    if flags != 0 || rights & !3 != 0 {
        return Err(Errno::EINVAL.into());
    }
    Err(Errno::ENOSPC.into())
}

fn pkey_free(_: &mut Cx<'_>, _: &Args) -> SysResult {
    Err(Errno::EINVAL.into())
}

const MPOL_DEFAULT: i32 = 0;
const MPOL_PREFERRED: i32 = 1;
const MPOL_LOCAL: i32 = 4;
/// Greatest mode (MPOL_WEIGHTED_INTERLEAVE).
const MPOL_LAST: i32 = 6;
/// MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING.
const MPOL_MODE_FLAGS: i32 = (1 << 15) | (1 << 14) | (1 << 13);

/// Checks a policy for a machine whose one node is 0.
fn check_policy(mem: &dyn GuestMemory, mode: i32, mask: u64, max: u64) -> Result<(), Errno> {
    let flags = mode & MPOL_MODE_FLAGS;
    let mode = mode & !MPOL_MODE_FLAGS;
    let both = (1 << 15) | (1 << 14);
    if !(0..=MPOL_LAST).contains(&mode) || flags & both == both {
        return Err(Errno::EINVAL);
    }
    let (any, foreign) = read_nodes(mem, mask, max)?;
    match mode {
        MPOL_DEFAULT | MPOL_LOCAL if any || foreign => Err(Errno::EINVAL),
        MPOL_DEFAULT | MPOL_LOCAL => Ok(()),
        MPOL_PREFERRED if !any && !foreign && flags == 0 => Ok(()),
        _ if !any || foreign => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

/// Whether a node mask names node 0, and whether it names others.
fn read_nodes(mem: &dyn GuestMemory, mask: u64, max: u64) -> Result<(bool, bool), Errno> {
    // get_nodes(): the size counts one bit too many.
    let bits = max.saturating_sub(1);
    if bits == 0 || mask == 0 {
        return Ok((false, false));
    }
    if bits > PAGE * 8 {
        return Err(Errno::EINVAL);
    }
    let count = usize::try_from(bits.div_ceil(64)).map_err(|_| Errno::EINVAL)?;
    let mut words: Vec<u64> = mem.get_array(UserPtr::new(mask), count)?;
    if let Some(last) = words.last_mut()
        && !bits.is_multiple_of(64)
    {
        *last &= (1 << (bits % 64)) - 1;
    }
    let any = words.first().is_some_and(|w| w & 1 != 0);
    let foreign = words
        .iter()
        .enumerate()
        .any(|(i, w)| if i == 0 { w & !1 != 0 } else { *w != 0 });
    Ok((any, foreign))
}

fn set_mempolicy(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    check_policy(cx.mem(), a.get(0), a.get(1), a.get(2))?;
    Ok(0)
}

fn mbind(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const STRICT: u64 = 1;
    const MOVE: u64 = 2;
    const MOVE_ALL: u64 = 4;
    let (addr, len, flags): (u64, u64, u64) = (a.get(0), a.get(1), a.get(5));
    if flags & !(STRICT | MOVE | MOVE_ALL) != 0 || !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if flags & MOVE_ALL != 0 && !cx.creds().has(crate::auth::Caps::SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    check_policy(cx.mem(), a.get(2), a.get(3), a.get(4))?;
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    if addr.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    cx.mm.check_mapped(addr, len).map_err(|e| match e {
        MmError::Errno(_) => MmError::Errno(Errno::EFAULT),
        busy => busy,
    })?;
    Ok(0)
}

fn get_mempolicy(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const NODE: u64 = 1;
    const ADDR: u64 = 2;
    const MEMS_ALLOWED: u64 = 4;
    let (mode, mask, max, addr, flags): (u64, u64, u64, u64, u64) =
        (a.get(0), a.get(1), a.get(2), a.get(3), a.get(4));
    if flags & !(NODE | ADDR | MEMS_ALLOWED) != 0 || (mask != 0 && max < 1) {
        return Err(Errno::EINVAL.into());
    }
    if flags & MEMS_ALLOWED != 0 {
        if flags & (NODE | ADDR) != 0 {
            return Err(Errno::EINVAL.into());
        }
    } else if flags & ADDR != 0 {
        if cx.mm.find_vma(addr).is_none() {
            return Err(Errno::EFAULT.into());
        }
    } else if addr != 0 || flags & NODE != 0 {
        // MPOL_F_NODE without an address asks for the next node of an interleaving policy, which nobody has.
        return Err(Errno::EINVAL.into());
    }
    let mem = cx.mem();
    if mode != 0 {
        mem.put(UserPtr::<i32>::new(mode), &0)?;
    }
    if mask != 0 {
        let nodes = u64::from(flags & MEMS_ALLOWED != 0);
        let count = usize::try_from(max.saturating_sub(1).div_ceil(64).clamp(1, PAGE / 8))
            .map_err(|_| Errno::EINVAL)?;
        let mut words = vec![0u64; count];
        if let Some(w) = words.first_mut() {
            *w = nodes;
        }
        mem.put_array(UserPtr::<u64>::new(mask), &words)?;
    }
    Ok(0)
}

fn migrate_pages(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let max: u64 = a.get(1);
    read_nodes(cx.mem(), a.get(2), max)?;
    let (new, foreign_new) = read_nodes(cx.mem(), a.get(3), max)?;
    if foreign_new || !new {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

/// Barriers among the caller's threads; those across processes are not offered (MEMBARRIER_CMD_QUERY says so).
fn membarrier(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const QUERY: i32 = 0;
    const EXPEDITED: i32 = 8;
    const REGISTER_EXPEDITED: i32 = 16;
    const SYNC_CORE: i32 = 32;
    const REGISTER_SYNC_CORE: i32 = 64;
    let (command, flags): (i32, u32) = (a.get(0), a.get(1));
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (sync_core, register) = match command {
        QUERY => {
            let all = EXPEDITED | REGISTER_EXPEDITED | SYNC_CORE | REGISTER_SYNC_CORE;
            return Ok(all.into());
        }
        EXPEDITED => (false, false),
        REGISTER_EXPEDITED => (false, true),
        SYNC_CORE => (true, false),
        REGISTER_SYNC_CORE => (true, true),
        _ => return Err(Errno::EINVAL.into()),
    };
    cx.mm.membarrier(&*cx.thread()?, sync_core, register)?;
    Ok(0)
}
