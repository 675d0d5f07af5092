//! process_madvise(2), process_mrelease(2).

use crate::abi::Errno;
use crate::auth::Caps;
use crate::kernel::pidfd::PidFd;
use crate::kernel::{Task, identity, signal};
use crate::mm::{MemoryManager, MmError, PAGE, page_ceil};
use crate::syscalls::{Args, Cx, Fd, SysErr, SysResult};
use crate::usermem::{UIO_MAXIOV, UserPtr};
use std::sync::Arc;

/// A living task of the process that a descriptor names: EBADF, ESRCH.
fn named(cx: &Cx<'_>, fd: Fd) -> Result<Arc<Task>, Errno> {
    let file = cx.file(fd)?;
    let pidfd = file.downcast::<PidFd>().ok_or(Errno::EBADF)?;
    let task = match pidfd.thread() {
        Some(task) => task,
        None => pidfd.group().threads().into_iter().next(),
    };
    task.ok_or(Errno::ESRCH)
}

/// `process_madvise(pidfd, *iovec, count, advice, flags)`: how many bytes were advised. To other processes only such advice is given as changes nothing in them,
/// and here has no effect.
pub fn process_madvise(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (list, count, advice): (u64, usize, i32) = (a.get(1), a.get(2), a.get(3));
    if a.get::<u32>(4) != 0 || count > UIO_MAXIOV {
        return Err(Errno::EINVAL.into());
    }
    let ranges: Vec<[u64; 2]> = cx.mem().get_array(UserPtr::new(list), count)?;
    if ranges.iter().any(|[_, len]| i64::try_from(*len).is_err()) {
        return Err(Errno::EINVAL.into());
    }
    let task = named(cx, a.get(0))?;
    let mm = task.mm();
    let own = Arc::ptr_eq(&mm, cx.mm);
    let remote = [libc::MADV_COLD, libc::MADV_PAGEOUT, libc::MADV_WILLNEED];
    // Making pages takes turns, which madvise(2) knows how to take; Linux took none of it here before 6.13.
    let long = [libc::MADV_POPULATE_READ, libc::MADV_POPULATE_WRITE];
    if (!own && !remote.contains(&advice)) || long.contains(&advice) {
        return Err(Errno::EINVAL.into());
    }
    if !own {
        let me = cx.creds();
        if !identity::may_access(me, (me.fsuid, me.fsgid), me.effective, &task)
            || !me.has(Caps::SYS_NICE)
        {
            return Err(Errno::EPERM.into());
        }
    }
    let first = cx.progress().done;
    // Read anew after a wait, so they may be others.
    let done = ranges.iter().take(first);
    let mut advised = done.fold(0u64, |sum, [_, len]| sum.saturating_add(*len));
    for (i, [addr, len]) in ranges.iter().enumerate().skip(first) {
        let outcome = if own {
            cx.mm.madvise(cx.thread()?, *addr, *len, advice)
        } else {
            there(&mm, *addr, *len)
        };
        match outcome {
            Ok(()) => advised = advised.saturating_add(*len),
            Err(MmError::Errno(_)) if advised > 0 => break,
            Err(busy @ MmError::Busy(_)) => {
                cx.progress().done = i;
                return Err(busy.into());
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(i64::try_from(advised).unwrap_or(i64::MAX))
}

/// What is checked of an advice without effect.
fn there(mm: &MemoryManager, addr: u64, len: u64) -> Result<(), MmError> {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    if len == 0 {
        return Ok(());
    }
    mm.check_mapped(addr, len)
}

/// `process_mrelease(pidfd, flags)`: the memory of a process that is being killed goes by itself, and soon.
pub fn process_mrelease(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    if a.get::<u32>(1) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = named(cx, a.get(0))?;
    if !signal::must_die(&task) {
        return Err(SysErr::Errno(Errno::EINVAL));
    }
    Ok(0)
}
