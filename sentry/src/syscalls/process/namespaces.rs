//! unshare(2), setns(2), kcmp(2).

use super::super::{Args, Cx, Fd, SysResult};
use crate::abi::Errno;
use crate::auth::Caps;
use crate::kernel::identity;
use std::sync::Arc;

const FS: i32 = libc::CLONE_FS;
const FILES: i32 = libc::CLONE_FILES;
const NEWNS: i32 = libc::CLONE_NEWNS;
const SINGLE_THREAD: i32 = libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM;
const NEWUTS: i32 = libc::CLONE_NEWUTS;
const OTHER_NAMESPACES: i32 = libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUSER;

/// `unshare(flags)`: descriptors, file-system context, mount and UTS namespaces can be unshared; other namespaces are not there.
pub fn unshare(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let flags: i32 = a.get(0);
    let own = FS | FILES | NEWNS | NEWUTS;
    if flags & !(own | SINGLE_THREAD | OTHER_NAMESPACES | libc::CLONE_SYSVSEM) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & SINGLE_THREAD != 0 && cx.group().threads().len() > 1 {
        return Err(Errno::EINVAL.into());
    }
    if flags & (NEWNS | NEWUTS | OTHER_NAMESPACES) != 0 && !cx.creds().has(Caps::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    if flags & OTHER_NAMESPACES != 0 {
        cx.kernel().log_missing("unshare of namespaces");
        return Err(Errno::EINVAL.into());
    }
    // All or nothing.
    let fs = if flags & NEWNS != 0 {
        Some(cx.fs().duplicate_namespace()?)
    } else {
        (flags & FS != 0).then(|| cx.fs().duplicate())
    };
    let fds = if flags & FILES != 0 {
        Some(cx.fds().duplicate()?)
    } else {
        None
    };
    if let Some(own) = fs {
        cx.task.set_fs(Arc::new(own));
    }
    if let Some(own) = fds {
        cx.task.set_fds(Arc::new(own));
    }
    if flags & NEWUTS != 0 {
        cx.task.set_uts(cx.task.uts().duplicate());
    }
    Ok(0)
}

/// `setns(fd, type)`: there is one namespace of each kind, so no descriptor names another one.
pub fn setns(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    cx.file(a.get(0))?;
    if cx.creds().has(Caps::SYS_ADMIN) {
        Err(Errno::EINVAL.into())
    } else {
        Err(Errno::EPERM.into())
    }
}

/// `kcmp(pid1, pid2, type, idx1, idx2)`: 0 equal, 1 less, 2 greater, 3 unordered.
pub fn kcmp(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let kernel = cx.kernel();
    let one = kernel.task(a.get(0)).ok_or(Errno::ESRCH)?;
    let two = kernel.task(a.get(1)).ok_or(Errno::ESRCH)?;
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
