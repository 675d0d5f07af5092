//! unshare(2), setns(2), kcmp(2).

use super::super::{Args, Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::kernel::identity;
use crate::kernel::namespaces::change;
use std::sync::Arc;

/// `unshare(flags)`.
pub fn unshare(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    change::unshare(cx, a.get(0))?;
    Ok(0)
}

/// `setns(fd, type)`.
pub fn setns(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let file = cx.file(a.get(0))?;
    let kind: i32 = a.get(1);
    change::setns(cx, &file, u64::from(kind.cast_unsigned()))?;
    Ok(0)
}

/// `kcmp(pid1, pid2, type, idx1, idx2)`: 0 equal, 1 less, 2 greater, 3 unordered.
pub fn kcmp(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let one = cx.find_task(a.get(0)).ok_or(Errno::ESRCH)?;
    let two = cx.find_task(a.get(1)).ok_or(Errno::ESRCH)?;
    if ![&one, &two].iter().all(|t| identity::may_attach(cx, t)) {
        return Err(Errno::EPERM.into());
    }
    let (p, q) = match a.get::<i32>(2) {
        0 => {
            let file = |t: &crate::kernel::Task, fd: Fd| t.fds().get_any(fd.0);
            (
                address(&file(&one, a.get(3))?),
                address(&file(&two, a.get(4))?),
            )
        }
        1 => (address(&one.mm()), address(&two.mm())),
        2 => (address(&one.fds()), address(&two.fds())),
        3 => (address(&one.fs()), address(&two.fs())),
        4 => {
            // One lock at a time: the second may be the same one.
            let handlers = |t: &crate::kernel::Task| address(t.group().signals.lock().handlers());
            let first = handlers(&one);
            (first, handlers(&two))
        }
        // I/O contexts and lists of semaphore changes to undo: as if nobody had any.
        5 | 6 => (0, 0),
        _ => return Err(Errno::EINVAL.into()),
    };
    // The order is of kernel addresses: hidden by a fixed permutation, as Linux does.
    let hide = |v: usize| v.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
    Ok(match hide(p).cmp(&hide(q)) {
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Greater => 2,
    })
}

fn address<T: ?Sized>(it: &Arc<T>) -> usize {
    Arc::as_ptr(it).cast::<()>() as usize
}
