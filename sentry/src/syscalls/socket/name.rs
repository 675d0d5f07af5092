//! bind(2), getsockname(2), getpeername(2).

use super::{address, socket, with_caller};
use crate::kernel::Cx;
use crate::syscalls::{Args, SysResult};

pub(super) fn bind(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (_, socket) = socket(cx, args.get(0))?;
    let addr = address::read(cx, args.get(1), args.get(2))?;
    with_caller(cx, |c| socket.bind(c, &addr))?;
    Ok(0)
}

pub(super) fn getsockname(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (_, socket) = socket(cx, args.get(0))?;
    address::write(cx, &socket.local_name()?, args.get(1), args.get(2))?;
    Ok(0)
}

pub(super) fn getpeername(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (_, socket) = socket(cx, args.get(0))?;
    address::write(cx, &socket.peer_name()?, args.get(1), args.get(2))?;
    Ok(0)
}
