//! process_vm_readv(2), process_vm_writev(2).

use crate::abi::{Errno, Result};
use crate::kernel::identity;
use crate::kernel::signal;
use crate::mm::MemoryManager;
use crate::syscalls::{Args, Cx, SysErr, SysResult, TURN};
use crate::usermem::{GuestMemory, IoVecs, Sink, Source, UIO_MAXIOV, UserPtr};
use std::sync::Arc;

/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;

/// Address and length of a range in the other task.
type Range = (u64, u64);

/// The other task's memory and the ranges of its side.
fn remote(cx: &Cx<'_>, args: &Args) -> Result<(Arc<MemoryManager>, Vec<Range>)> {
    if args.get::<u64>(5) != 0 {
        return Err(Errno::EINVAL);
    }
    let count: usize = args.get(4);
    if count > UIO_MAXIOV {
        return Err(Errno::EINVAL);
    }
    let list: Vec<[u64; 2]> = cx.mem().get_array(UserPtr::new(args.get(3)), count)?;
    if list.iter().any(|[_, len]| i64::try_from(*len).is_err()) {
        return Err(Errno::EINVAL);
    }
    let pid: i32 = args.get(0);
    let task = cx.find_task(pid).ok_or(Errno::ESRCH)?;
    let mm = identity::attach(cx, &task, || Ok(task.mm()))?;
    Ok((mm, list.into_iter().map(|[a, l]| (a, l)).collect()))
}

/// Copies range by range, after the first `before` bytes; stops at the first byte that cannot be accessed, for a signal, and
/// (with [`SysErr::Again`]) at the end of a turn.
fn copy(
    cx: &Cx<'_>,
    ranges: &[Range],
    before: usize,
    mut step: impl FnMut(u64, usize) -> Result<usize>,
) -> Result<(usize, bool)> {
    let mut total = before;
    let mut skip = before as u64;
    for (addr, len) in ranges {
        let mut done = skip.min(*len);
        skip -= done;
        while done < *len {
            let want = usize::try_from(len - done).unwrap_or(CHUNK).min(CHUNK);
            let moved = match addr.checked_add(done).ok_or(Errno::EFAULT) {
                Ok(at) => step(at, want),
                Err(e) => Err(e),
            };
            let moved = match moved {
                Ok(n) => n,
                Err(e) if total == 0 => return Err(e),
                Err(_) => 0,
            };
            total = total.saturating_add(moved);
            done = done.saturating_add(moved as u64);
            if moved == 0 || moved < want || signal::must_die(cx.task) {
                return Ok((total, true));
            }
            if total - before >= TURN {
                return Ok((total, false));
            }
        }
    }
    Ok((total, true))
}

fn outcome(cx: &mut Cx<'_>, (total, complete): (usize, bool)) -> SysResult {
    if !complete {
        cx.progress().done = total;
        return Err(SysErr::Again);
    }
    Ok(i64::try_from(total).unwrap_or(i64::MAX))
}

pub(super) fn readv(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (mem, before) = (cx.buffers()?, cx.progress().done);
    let mut local = IoVecs::read(&mem, args.get(1), args.get(2))?;
    local.skip(before);
    let (other, ranges) = remote(cx, args)?;
    let mut buf = vec![0u8; CHUNK];
    let copied = copy(cx, &ranges, before, |at, want| {
        let want = want.min(Sink::remaining(&local));
        let part = buf.get_mut(..want).ok_or(Errno::EFAULT)?;
        if part.is_empty() {
            return Ok(0);
        }
        let got = other.read_partial(at, part).min(want);
        if got == 0 {
            return Err(Errno::EFAULT);
        }
        local.put(part.get(..got).ok_or(Errno::EFAULT)?)
    })?;
    outcome(cx, copied)
}

pub(super) fn writev(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (mm, before) = (cx.mm.clone(), cx.progress().done);
    let mut local = IoVecs::read(&*mm, args.get(1), args.get(2))?;
    local.skip(before);
    let (other, ranges) = remote(cx, args)?;
    let mut buf = vec![0u8; CHUNK];
    let copied = copy(cx, &ranges, before, |at, want| {
        let want = want.min(Source::remaining(&local));
        let part = buf.get_mut(..want).ok_or(Errno::EFAULT)?;
        if part.is_empty() {
            return Ok(0);
        }
        let got = local.take(part)?;
        let put = other
            .write_partial(at, part.get(..got).ok_or(Errno::EFAULT)?)
            .min(got);
        if put == 0 {
            return Err(Errno::EFAULT);
        }
        Ok(put)
    })?;
    outcome(cx, copied)
}
