//! mlock(2) and relatives.

use crate::abi::Errno;
use crate::syscalls::{Args, Cx, SysResult};

/// mlock(2).
pub fn mlock(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let limits = cx.mm_limits();
    cx.mm
        .mlock(cx.thread()?, a.get(0), a.get(1), false, &limits)?;
    Ok(0)
}

/// mlock2(2).
pub fn mlock2(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const ONFAULT: u32 = 1;
    let flags: u32 = a.get(2);
    if flags & !ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let limits = cx.mm_limits();
    cx.mm
        .mlock(cx.thread()?, a.get(0), a.get(1), flags != 0, &limits)?;
    Ok(0)
}

/// munlock(2).
pub fn munlock(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    cx.mm.munlock(a.get(0), a.get(1))?;
    Ok(0)
}

/// mlockall(2).
pub fn mlockall(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const CURRENT: u32 = 1;
    const FUTURE: u32 = 2;
    const ONFAULT: u32 = 4;
    let flags: u32 = a.get(0);
    if flags == 0 || flags & !(CURRENT | FUTURE | ONFAULT) != 0 || flags == ONFAULT {
        return Err(Errno::EINVAL.into());
    }
    let limits = cx.mm_limits();
    cx.mm.mlockall(
        cx.thread()?,
        flags & CURRENT != 0,
        flags & FUTURE != 0,
        flags & ONFAULT != 0,
        &limits,
    )?;
    Ok(0)
}

/// munlockall(2).
pub fn munlockall(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    cx.mm.munlockall()?;
    Ok(0)
}
