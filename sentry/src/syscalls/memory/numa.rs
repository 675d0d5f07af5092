//! NUMA policies (numa(7)) of a machine whose one node is 0: checked, kept and reported back; every page is on that node.

use crate::abi::Errno;
use crate::kernel::{Task, identity};
use crate::mm::{MemoryManager, PAGE, page_ceil};
use crate::syscalls::{Args, Cx, SysErr, SysResult};
use crate::usermem::{GuestMemory, UserPtr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const MPOL_DEFAULT: i32 = 0;
const MPOL_PREFERRED: i32 = 1;
const MPOL_BIND: i32 = 2;
const MPOL_INTERLEAVE: u32 = 3;
const MPOL_LOCAL: i32 = 4;
const MPOL_PREFERRED_MANY: i32 = 5;
const MPOL_WEIGHTED_INTERLEAVE: u32 = 6;
const MPOL_F_NUMA_BALANCING: i32 = 1 << 13;
/// Greatest mode (MPOL_WEIGHTED_INTERLEAVE).
const MPOL_LAST: i32 = 6;
/// MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING.
const MPOL_MODE_FLAGS: i32 = (1 << 15) | (1 << 14) | (1 << 13);

/// Checks a policy for a machine whose one node is 0; the mode with its flags, as it is kept.
fn check_policy(mem: &dyn GuestMemory, mode: i32, mask: u64, max: u64) -> Result<u32, Errno> {
    let flags = mode & MPOL_MODE_FLAGS;
    let mode = mode & !MPOL_MODE_FLAGS;
    let both = (1 << 15) | (1 << 14);
    let balancing = flags & MPOL_F_NUMA_BALANCING != 0;
    if !(0..=MPOL_LAST).contains(&mode)
        || flags & both == both
        || (balancing && !matches!(mode, MPOL_BIND | MPOL_PREFERRED_MANY))
    {
        return Err(Errno::EINVAL);
    }
    let (any, foreign) = read_nodes(mem, mask, max)?;
    let kept = (mode | flags & both).cast_unsigned();
    match mode {
        MPOL_DEFAULT | MPOL_LOCAL if any || foreign => Err(Errno::EINVAL),
        MPOL_DEFAULT | MPOL_LOCAL => Ok(mode.cast_unsigned()),
        MPOL_PREFERRED if !any && !foreign && flags == 0 => Ok(MPOL_LOCAL as u32),
        _ if !any || foreign => Err(Errno::EINVAL),
        _ => Ok(kept),
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
    let policy = check_policy(cx.mem(), a.get(0), a.get(1), a.get(2))?;
    cx.task.sched.numa_policy.store(policy, Relaxed);
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
    let policy = check_policy(cx.mem(), a.get(2), a.get(3), a.get(4))?;
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    if addr.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    cx.mm.set_policy(addr, len, policy)?;
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
    let own = cx.task.sched.numa_policy.load(Relaxed);
    let policy = if flags & MEMS_ALLOWED != 0 {
        if flags & (NODE | ADDR) != 0 {
            return Err(Errno::EINVAL.into());
        }
        MPOL_DEFAULT as u32
    } else if flags & ADDR != 0 {
        let vma = cx.mm.find_vma(addr).ok_or(Errno::EFAULT)?;
        match vma.flags.policy_mode() {
            0 => own,
            policy => policy,
        }
    } else if addr != 0 {
        return Err(Errno::EINVAL.into());
    } else {
        own
    };
    let plain = policy & 7;
    let interleaves = matches!(plain, MPOL_INTERLEAVE | MPOL_WEIGHTED_INTERLEAVE);
    if flags & (NODE | ADDR) == NODE && !interleaves {
        // Asks for the next node of an interleaving policy.
        return Err(Errno::EINVAL.into());
    }
    let mem = cx.mem();
    if mode != 0 {
        // Every page is on node 0, and the next one will be.
        let said = if flags & NODE != 0 { 0 } else { policy };
        mem.put(UserPtr::<u32>::new(mode), &said)?;
    }
    if mask != 0 {
        let names = !matches!(plain.cast_signed(), MPOL_DEFAULT | MPOL_LOCAL);
        let nodes = u64::from(flags & MEMS_ALLOWED != 0 || names);
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

/// A task whose pages are to be moved (`find_mm_struct`): ESRCH, EPERM.
fn subject(cx: &Cx<'_>, pid: i32) -> Result<Arc<Task>, Errno> {
    let task = match pid {
        0 => return Ok(cx.task.clone()),
        p => cx.find_task(p).ok_or(Errno::ESRCH)?,
    };
    let me = cx.creds();
    let own = Arc::ptr_eq(cx.group(), task.group());
    if own || identity::may_access(me, (me.uid, me.gid), me.permitted, &task) {
        Ok(task)
    } else {
        Err(Errno::EPERM)
    }
}

/// migrate_pages(2).
pub fn migrate_pages(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let max: u64 = a.get(1);
    read_nodes(cx.mem(), a.get(2), max)?;
    let (new, _) = read_nodes(cx.mem(), a.get(3), max)?;
    subject(cx, a.get(0))?;
    if !new {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

/// Pages looked at in one turn of move_pages(2).
const PAGES_TURN: u64 = 512;

/// move_pages(2): where pages are, and moving them there. Of another process's memory only what is mapped is known.
pub fn move_pages(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const MOVE: u32 = 2;
    const MOVE_ALL: u32 = 4;
    let (count, pages, nodes, status): (u64, u64, u64, u64) =
        (a.get(1), a.get(2), a.get(3), a.get(4));
    let flags: u32 = a.get(5);
    if flags & !(MOVE | MOVE_ALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MOVE_ALL != 0 && !cx.creds().has(crate::auth::Caps::SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    let task = subject(cx, a.get(0))?;
    let mm = task.mm();
    let first = cx.progress().done as u64;
    let last = count.min(first.saturating_add(PAGES_TURN));
    for i in first..last {
        let at = |base: u64, size: u64| base.wrapping_add(i.wrapping_mul(size));
        let page: u64 = cx.mem().get(UserPtr::new(at(pages, 8)))?;
        if nodes != 0 {
            let node: i32 = cx.mem().get(UserPtr::new(at(nodes, 4)))?;
            if node != 0 {
                return Err(Errno::ENODEV.into());
            }
        }
        let found = place(cx, &mm, page & !(PAGE - 1));
        cx.mem().put(UserPtr::new(at(status, 4)), &found)?;
    }
    if last < count {
        cx.progress().done = usize::try_from(last).unwrap_or(usize::MAX);
        return Err(SysErr::Again);
    }
    Ok(0)
}

/// The node of a page, or the error in its place.
fn place(cx: &Cx<'_>, mm: &Arc<MemoryManager>, page: u64) -> i32 {
    if mm.find_vma(page).is_none() {
        return -libc::EFAULT;
    }
    if !Arc::ptr_eq(mm, cx.mm) {
        return 0;
    }
    let mut resident = [1u8];
    let Ok(thread) = cx.thread() else {
        return -libc::EFAULT;
    };
    match mm.look(thread, page, &mut resident) {
        Ok(_) if resident == [0] => -libc::ENOENT,
        Ok(_) => 0,
        Err(_) => -libc::EFAULT,
    }
}

/// set_mempolicy_home_node(2): which node of a policy is meant first; there is but one.
pub fn set_home_node(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (addr, len, node, flags): (u64, u64, u64, u64) = (a.get(0), a.get(1), a.get(2), a.get(3));
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    if !addr.is_multiple_of(PAGE) || flags != 0 || node != 0 || addr.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let mut at = addr;
    while let Some(v) = cx.mm.next_vma(at).filter(|v| v.start < addr + len) {
        let mode = (v.flags.policy_mode() & 7).cast_signed();
        if !matches!(mode, MPOL_DEFAULT | MPOL_BIND | MPOL_PREFERRED_MANY) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        at = v.end;
    }
    Ok(0)
}
