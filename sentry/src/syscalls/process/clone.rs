//! clone(2), clone3(2), fork(2), vfork(2).

use super::super::{Args, Cx, SysResult};
use crate::abi::Errno;
use crate::kernel::namespaces;
use crate::kernel::task::clone::{self as kernel_clone, CloneArgs};
use crate::usermem::UserPtr;

/// Most levels of PID namespaces (MAX_PID_NS_LEVEL).
const MAX_SET_TID: usize = 32;

/// `clone(flags, stack, parent_tid, child_tid, tls)`.
pub fn clone(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let flags: u64 = a.get(0);
    let parent_tid: u64 = a.get(2);
    let args = CloneArgs {
        flags: flags & 0xffff_ff00,
        exit_signal: exit_signal((flags & 0xff) as i32),
        stack: a.get(1),
        parent_tid,
        // The old call returns the pidfd where the parent's tid would go.
        pidfd: parent_tid,
        child_tid: a.get(3),
        tls: a.get(4),
        ..CloneArgs::default()
    };
    let both = (libc::CLONE_PIDFD | libc::CLONE_PARENT_SETTID) as u64;
    if flags & both == both {
        return Err(Errno::EINVAL.into());
    }
    kernel_clone::clone(cx, &args)
}

/// The old call takes any number; there is no signal for those that none has.
fn exit_signal(number: i32) -> i32 {
    if number > 64 { 0 } else { number }
}

/// `fork()`.
pub fn fork(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    kernel_clone::clone(
        cx,
        &CloneArgs {
            exit_signal: libc::SIGCHLD,
            ..CloneArgs::default()
        },
    )
}

/// `vfork()`.
pub fn vfork(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    let flags = (libc::CLONE_VFORK | libc::CLONE_VM) as u64;
    kernel_clone::clone(
        cx,
        &CloneArgs {
            flags,
            exit_signal: libc::SIGCHLD,
            ..CloneArgs::default()
        },
    )
}

/// `clone3(struct clone_args *, size)`.
pub fn clone3(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const KNOWN: usize = 88;
    const TASK_SIZE: u64 = 0x7fff_ffff_f000;
    let size: usize = a.get(1);
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    if size < 64 {
        return Err(Errno::EINVAL.into());
    }
    let words = size.div_ceil(8);
    let mut raw = vec![0u8; words * 8];
    cx.mem()
        .read_bytes(a.get(0), raw.get_mut(..size).unwrap_or_default())?;
    let w: Vec<u64> = raw
        .chunks_exact(8)
        .map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default()))
        .collect();
    let at = |i: usize| w.get(i).copied().unwrap_or(0);
    if w.iter().skip(KNOWN / 8).any(|v| *v != 0) {
        return Err(Errno::E2BIG.into());
    }
    let (stack, stack_size) = (at(5), at(6));
    let (set_tid, set_tid_size, cgroup) = (at(8), at(9), at(10));
    let into_cgroup = 0x2_0000_0000u64;
    const LEGACY: u64 = 0xffff_ffff;
    const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const DETACHED: u64 = 0x0040_0000;
    const SIGNAL: u64 = 0xff;
    if at(0) & !(LEGACY | CLEAR_SIGHAND | into_cgroup) != 0
        || at(0) & (SIGNAL & !namespaces::NEWTIME | DETACHED) != 0
        || at(4) > 64
        || (stack == 0) != (stack_size == 0)
        || stack
            .checked_add(stack_size)
            .is_none_or(|end| end > TASK_SIZE)
    {
        return Err(Errno::EINVAL.into());
    }
    if (set_tid == 0) != (set_tid_size == 0) {
        return Err(Errno::EINVAL.into());
    }
    let set_tid_size = usize::try_from(set_tid_size).unwrap_or(usize::MAX);
    if set_tid_size > MAX_SET_TID {
        return Err(Errno::EINVAL.into());
    }
    let both = (libc::CLONE_PIDFD | libc::CLONE_PARENT_SETTID) as u64;
    if at(0) & both == both && at(1) == at(3) {
        return Err(Errno::EINVAL.into());
    }
    if at(0) & into_cgroup != 0 {
        let fd = i32::try_from(cgroup).map_err(|_| Errno::EINVAL)?;
        cx.file(super::super::Fd(fd))?;
        cx.kernel().log_missing("clone3 with a cgroup");
        // As for a descriptor of no cgroup.
        return Err(Errno::EBADF.into());
    }
    let thread = (libc::CLONE_THREAD | libc::CLONE_PARENT) as u64;
    if at(0) & thread != 0 && at(4) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let args = CloneArgs {
        flags: at(0),
        pidfd: at(1),
        child_tid: at(2),
        parent_tid: at(3),
        exit_signal: at(4) as i32,
        stack: stack.wrapping_add(stack_size),
        tls: at(7),
        set_tid: cx
            .mem()
            .get_array(UserPtr::<i32>::new(set_tid), set_tid_size)?,
    };
    kernel_clone::clone(cx, &args)
}
