//! connect(2), shutdown(2).

use super::{address, socket, with_caller};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::net::Shutdown;
use crate::sync::Events;
use crate::syscalls::{Args, SysErr, SysResult, file_op};

pub(super) fn connect(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (file, socket) = socket(cx, args.get(0))?;
    let outcome = if cx.progress().started {
        socket.connected()
    } else {
        let addr = address::read(cx, args.get(1), args.get(2))?;
        match with_caller(cx, |c| socket.connect(c, &addr)) {
            Err(Errno::EINPROGRESS | Errno::EALREADY) if !file.nonblocking() => {
                cx.progress().started = true;
                socket.connected()
            }
            other => other,
        }
    };
    match file_op(cx, &file, Events::OUT, outcome) {
        // The time limit is over but the attempt goes on.
        Err(SysErr::Errno(Errno::EAGAIN)) if cx.progress().started => {
            Err(Errno::EINPROGRESS.into())
        }
        other => other.map(|()| 0),
    }
}

pub(super) fn shutdown(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (_, socket) = socket(cx, args.get(0))?;
    let how = match args.get::<i32>(1) {
        libc::SHUT_RD => (true, false),
        libc::SHUT_WR => (false, true),
        libc::SHUT_RDWR => (true, true),
        _ => return Err(Errno::EINVAL.into()),
    };
    socket.shutdown(Shutdown {
        read: how.0,
        write: how.1,
    })?;
    Ok(0)
}
