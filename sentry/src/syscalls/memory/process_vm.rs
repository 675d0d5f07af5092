//! process_vm_readv(2), process_vm_writev(2).

use crate::abi::Errno;
use crate::kernel::access::may_access;
use crate::syscalls::{Args, Cx, SysResult};
use crate::usermem::{IoVecs, Sink, Source};

/// process_vm_readv(2).
pub fn process_vm_readv(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    process_vm(cx, a, false)
}

/// process_vm_writev(2).
pub fn process_vm_writev(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    process_vm(cx, a, true)
}

/// Copies between the caller's memory and another process's.
fn process_vm(cx: &mut Cx<'_>, a: &Args, write: bool) -> SysResult {
    if a.get::<u64>(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let local = IoVecs::read(cx.mem(), a.get(1), a.get(2))?;
    if Sink::remaining(&local) == 0 {
        return Ok(0);
    }
    let remote = IoVecs::read(cx.mem(), a.get(3), a.get(4))?;
    if Sink::remaining(&remote) == 0 {
        return Ok(0);
    }
    let target = cx.kernel().task(a.get(0)).ok_or(Errno::ESRCH)?;
    if target.thread().is_none() {
        return Err(Errno::ESRCH.into());
    }
    if !may_access(cx, &target) {
        return Err(Errno::EPERM.into());
    }
    let other = target.mm();
    let remote = remote.in_memory(&*other);
    let n = if write {
        transfer(local, remote)?
    } else {
        transfer(remote, local)?
    };
    Ok(n)
}

fn transfer(mut from: IoVecs<'_>, mut to: IoVecs<'_>) -> Result<i64, Errno> {
    let mut chunk = vec![0u8; 64 << 10];
    let mut moved = 0i64;
    let outcome = loop {
        let want = Source::remaining(&from)
            .min(Sink::remaining(&to))
            .min(chunk.len());
        let Some(buf) = chunk.get_mut(..want).filter(|b| !b.is_empty()) else {
            break Ok(());
        };
        let got = match from.take(buf) {
            Ok(n) => n,
            Err(e) => break Err(e),
        };
        let put = match to.put(buf.get(..got).unwrap_or(&[])) {
            Ok(n) => n,
            Err(e) => break Err(e),
        };
        moved = moved.saturating_add(i64::try_from(put).unwrap_or(0));
        if put < got || put == 0 {
            break Ok(());
        }
    };
    match outcome {
        Err(e) if moved == 0 => Err(e),
        _ => Ok(moved),
    }
}
