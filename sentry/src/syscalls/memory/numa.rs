//! NUMA policies (numa(7)) of a machine whose one node is 0: checked, not kept.

use crate::abi::Errno;
use crate::mm::{MmError, PAGE, page_ceil};
use crate::syscalls::{Args, Cx, SysResult};
use crate::usermem::{GuestMemory, UserPtr};

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

/// set_mempolicy(2).
pub fn set_mempolicy(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    check_policy(cx.mem(), a.get(0), a.get(1), a.get(2))?;
    Ok(0)
}

/// mbind(2).
pub fn mbind(cx: &mut Cx<'_>, a: &Args) -> SysResult {
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

/// get_mempolicy(2).
pub fn get_mempolicy(cx: &mut Cx<'_>, a: &Args) -> SysResult {
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

/// migrate_pages(2).
pub fn migrate_pages(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let max: u64 = a.get(1);
    read_nodes(cx.mem(), a.get(2), max)?;
    let (new, foreign_new) = read_nodes(cx.mem(), a.get(3), max)?;
    if foreign_new || !new {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}
