//! remap_file_pages(2), mseal(2), pkeys(7), membarrier(2).

use super::map::mprotect;
use crate::abi::Errno;
use crate::mm::{MapFlags, MapRequest, MapWhat, PAGE};

use crate::sync::aside;
use crate::syscalls::{Args, Cx, SysResult};

/// Emulated with a new mapping, as Linux has done since 4.0.
pub fn remap_file_pages(cx: &mut Cx<'_>, a: &Args) -> SysResult {
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
    cx.mm.mmap(cx.thread()?, &request, &limits)?;
    Ok(0)
}

/// mseal(2).
pub fn mseal(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    if a.get::<u64>(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    cx.mm.mseal(a.get(0), a.get(1))?;
    Ok(0)
}

/// pkey_mprotect(2).
pub fn pkey_mprotect(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    if a.get::<i32>(3) != -1 {
        return Err(Errno::EINVAL.into());
    }
    mprotect(cx, a)
}

/// pkey_alloc(2).
pub fn pkey_alloc(_: &mut Cx<'_>, _: &Args) -> SysResult {
    // x86 refuses the rights, whatever they are, before it finds that there is no key.
    Err(Errno::EINVAL.into())
}

/// pkey_free(2).
pub fn pkey_free(_: &mut Cx<'_>, _: &Args) -> SysResult {
    Err(Errno::EINVAL.into())
}

/// Barriers among the caller's threads are made by its stub; those for all processes by the sentry, which makes everybody pass one.
pub fn membarrier(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const QUERY: i32 = 0;
    const GLOBAL: i32 = 1;
    const GLOBAL_EXPEDITED: i32 = 2;
    const REGISTER_GLOBAL_EXPEDITED: i32 = 4;
    const EXPEDITED: i32 = 8;
    const REGISTER_EXPEDITED: i32 = 16;
    const SYNC_CORE: i32 = 32;
    const REGISTER_SYNC_CORE: i32 = 64;
    const GET_REGISTRATIONS: i32 = 512;
    const ALL: i32 = GLOBAL
        | GLOBAL_EXPEDITED
        | REGISTER_GLOBAL_EXPEDITED
        | EXPEDITED
        | REGISTER_EXPEDITED
        | SYNC_CORE
        | REGISTER_SYNC_CORE
        | GET_REGISTRATIONS;
    let (command, flags): (i32, u32) = (a.get(0), a.get(1));
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (sync_core, register) = match command {
        QUERY => return Ok(ALL.into()),
        GLOBAL | GLOBAL_EXPEDITED => {
            // Takes milliseconds.
            aside(cofferdam_platform::barrier_for_all).map_err(|_| Errno::EINVAL)?;
            return Ok(0);
        }
        REGISTER_GLOBAL_EXPEDITED => {
            cx.mm.register_global_barrier();
            return Ok(0);
        }
        GET_REGISTRATIONS => return Ok(cx.mm.barrier_registrations()),
        EXPEDITED => (false, false),
        REGISTER_EXPEDITED => (false, true),
        SYNC_CORE => (true, false),
        REGISTER_SYNC_CORE => (true, true),
        _ => return Err(Errno::EINVAL.into()),
    };
    cx.mm.membarrier(cx.thread()?, sync_core, register)?;
    Ok(0)
}
