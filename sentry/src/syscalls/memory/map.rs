//! mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), brk(2), msync(2), mincore(2).

use crate::abi::Errno;
use crate::mm::{MapFlags, MapRequest, MapWhat, PAGE, RemapFlags, RemapRequest, page_ceil};
use crate::syscalls::{Args, Cx, Fd, SysErr, SysResult, TURN};
use cofferdam_platform::{GUEST_END, Prot, RESIDENT_MAX};

/// Bytes of memory that one turn of a call fills.
const POPULATE_TURN: u64 = 32 << 20;

/// An address as a system call returns it; guest addresses are below 2^47.
fn address(addr: u64) -> i64 {
    addr.cast_signed()
}

/// mmap's protection; bits it does not know are ignored, as in Linux.
fn prot_of(raw: u64) -> Prot {
    Prot::from_bits_truncate((raw & 7) as u32)
}

/// mmap(2).
pub fn mmap(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (addr, len, prot, raw_flags) = (a.get(0), a.get(1), prot_of(a.get(2)), a.get::<u32>(3));
    let offset: u64 = a.get(5);
    if !offset.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let flags = MapFlags::from_bits_retain(raw_flags);
    // Pages of 2 MiB, of 1 GiB, or the default; there are no others.
    let huge = flags.contains(MapFlags::HUGETLB);
    if huge && !matches!(raw_flags >> 26, 0 | 21 | 30) {
        return Err(Errno::EINVAL.into());
    }
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
    Ok(address(cx.mm.mmap(cx.thread()?, &request, &limits)?))
}

/// munmap(2).
pub fn munmap(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    cx.mm.munmap(cx.thread()?, a.get(0), a.get(1))?;
    Ok(0)
}

/// mprotect(2).
pub fn mprotect(cx: &mut Cx<'_>, a: &Args) -> SysResult {
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
        cx.thread()?,
        addr,
        len,
        prot_of(raw),
        grows == GROWSDOWN,
        &limits,
    )?;
    Ok(0)
}

/// mremap(2).
pub fn mremap(cx: &mut Cx<'_>, a: &Args) -> SysResult {
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
    Ok(address(cx.mm.mremap(cx.thread()?, &request, &limits)?))
}

/// madvise(2).
pub fn madvise(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let advice: i32 = a.get(2);
    let (addr, len): (u64, u64) = (a.get(0), a.get(1));
    if matches!(advice, libc::MADV_POPULATE_READ | libc::MADV_POPULATE_WRITE)
        && addr.is_multiple_of(PAGE)
    {
        return populate(cx, addr, len, advice);
    }
    cx.mm.madvise(cx.thread()?, addr, len, advice)?;
    Ok(0)
}

/// madvise(2) that makes pages: in turns, since the host takes its time.
fn populate(cx: &mut Cx<'_>, addr: u64, len: u64, advice: i32) -> SysResult {
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    addr.checked_add(len).ok_or(Errno::EINVAL)?;
    let done = cx.progress().done as u64;
    let left = len.saturating_sub(done);
    let part = left.min(POPULATE_TURN);
    cx.mm
        .madvise(cx.thread()?, addr.saturating_add(done), part, advice)?;
    if part < left {
        cx.progress().done = usize::try_from(done + part).unwrap_or(usize::MAX);
        return Err(SysErr::Again);
    }
    Ok(0)
}

/// brk(2).
pub fn brk(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let limits = cx.mm_limits();
    Ok(address(cx.mm.brk(cx.thread()?, a.get(0), &limits)?))
}

/// msync(2).
pub fn msync(cx: &mut Cx<'_>, a: &Args) -> SysResult {
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

/// mincore(2).
pub fn mincore(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (addr, len, vec): (u64, u64, u64) = (a.get(0), a.get(1), a.get(2));
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if addr.checked_add(len).is_none_or(|e| e > GUEST_END) {
        return Err(Errno::ENOMEM.into());
    }
    let pages = len.div_ceil(PAGE);
    // Linux reports page by page and stops at the first hole; what came before is written.
    let mut resident = [0u8; RESIDENT_MAX];
    let before = cx.progress().done as u64;
    let mut done = before;
    while done < pages {
        if done - before >= TURN as u64 {
            cx.progress().done = usize::try_from(done).unwrap_or(usize::MAX);
            return Err(SysErr::Again);
        }
        let want = usize::try_from(pages - done)
            .unwrap_or(RESIDENT_MAX)
            .min(RESIDENT_MAX);
        let part = resident.get_mut(..want).unwrap_or_default();
        let n = cx.mm.look(cx.thread()?, addr + done * PAGE, part)?;
        part.iter_mut().for_each(|p| *p &= 1);
        let part = part.get(..n).unwrap_or_default();
        cx.mem().write_bytes(vec.wrapping_add(done), part)?;
        done += n as u64;
    }
    Ok(0)
}
