//! sendto(2), sendmsg(2), sendmmsg(2).

use super::message::{MMsgHdr, MsgHdr};
use super::{address, control, socket, with_caller};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::net::socket::{Cmsg, MsgFlags, SendMsg, Socket};
use crate::sync::Events;
use crate::syscalls::result::raise_sigpipe;
use crate::syscalls::{Args, Fd, OnSignal, SysErr, SysResult, TURN, TURN_NS, file_wait};
use crate::time::Instant;
use crate::usermem::{IoVecs, Source, UIO_MAXIOV, UserPtr};
use crate::vfs::File;
use std::sync::Arc;

pub(super) fn sendto(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (file, socket) = socket(cx, args.get(0))?;
    let addr: UserPtr<u8> = args.get(4);
    let to = if addr.is_null() {
        None
    } else {
        Some(address::read(cx, addr, args.get(5))?)
    };
    let flags = MsgFlags::from_bits_retain(args.get(3));
    let (buf, len): (u64, usize) = (args.get(1), args.get(2));
    let mm = cx.mm;
    let src = IoVecs::single(&**mm, buf, len);
    transmit(cx, &file, &*socket, src, to, Vec::new(), flags)
}

pub(super) fn sendmsg(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags = MsgFlags::from_bits_retain(args.get(2));
    send_one(cx, args.get(0), args.get(1), flags)
}

fn send_one(cx: &mut Cx<'_>, fd: Fd, ptr: UserPtr<MsgHdr>, flags: MsgFlags) -> SysResult {
    let (file, socket) = socket(cx, fd)?;
    let hdr = MsgHdr::read(cx, ptr)?;
    let to = hdr.destination(cx)?;
    let mm = cx.mm;
    let src = {
        let n = usize::try_from(hdr.iov_count()).map_err(|_| Errno::EMSGSIZE)?;
        IoVecs::read(&**mm, hdr.iov_addr(), n)?
    };
    let len = usize::try_from(hdr.control_len).unwrap_or(usize::MAX);
    let cmsgs = if hdr.control == 0 || len == 0 {
        Vec::new()
    } else {
        control::read(cx, hdr.control, len, socket.domain() == libc::AF_UNIX)?
    };
    transmit(cx, &file, &*socket, src, to, cmsgs, flags)
}

/// Sends until all is sent, the call would wait, or it fails.
fn transmit(
    cx: &mut Cx<'_>,
    file: &Arc<File>,
    socket: &dyn Socket,
    mut src: IoVecs<'_>,
    to: Option<Vec<u8>>,
    control: Vec<Cmsg>,
    flags: MsgFlags,
) -> SysResult {
    let mut done = cx.progress().done;
    src.skip(done);
    let stream = socket.is_stream();
    let nonblock = file.nonblocking() || flags.contains(MsgFlags::DONTWAIT);
    // Control messages went with the first bytes.
    let mut control = if done == 0 { control } else { Vec::new() };
    let failure = loop {
        let outcome = with_caller(cx, |c| {
            let mut msg = SendMsg {
                src: &mut src,
                to: to.as_deref(),
                control: std::mem::take(&mut control),
                flags,
            };
            let outcome = socket.send(c, &mut msg);
            control = msg.control;
            outcome
        });
        match outcome {
            Ok(n) => done += n,
            Err(e) => break e,
        }
        if !stream || src.remaining() == 0 {
            return Ok(value(done));
        }
        control.clear();
    };
    cx.progress().done = done;
    match file_wait::<()>(cx, file, Events::OUT, nonblock, Err(failure)) {
        Err(SysErr::Block(mut b)) => {
            if done > 0 {
                b.on_signal = OnSignal::Value(value(done));
            }
            Err(SysErr::Block(b))
        }
        Err(_) if done > 0 => Ok(value(done)),
        Err(SysErr::Errno(Errno::EPIPE)) => {
            if stream && !flags.contains(MsgFlags::NOSIGNAL) {
                raise_sigpipe(cx);
            }
            Err(Errno::EPIPE.into())
        }
        other => other.map(|()| 0),
    }
}

fn value(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn sendmmsg(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let vec: UserPtr<MMsgHdr> = args.get(1);
    let count = usize::try_from(args.get::<u32>(2))
        .unwrap_or(UIO_MAXIOV)
        .min(UIO_MAXIOV);
    let flags = MsgFlags::from_bits_retain(args.get(3));
    let fd: Fd = args.get(0);
    socket(cx, fd)?;
    let mut moved = 0usize;
    let begin = Instant::now();
    loop {
        let i = usize::try_from(cx.progress().value).unwrap_or(usize::MAX);
        if i >= count {
            return Ok(value(i));
        }
        match send_one(cx, fd, MMsgHdr::header(vec, i), flags) {
            Ok(n) => {
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                if let Err(e) = MMsgHdr::put_len(cx, vec, i, n) {
                    return if i > 0 { Ok(value(i)) } else { Err(e.into()) };
                }
                let p = cx.progress();
                p.value += 1;
                p.done = 0;
                moved = moved.saturating_add(usize::try_from(n).unwrap_or(0));
                // Each may be for many sockets.
                if moved >= TURN || begin.elapsed() >= TURN_NS {
                    return Err(SysErr::Again);
                }
            }
            Err(SysErr::Block(mut b)) => {
                // A message that is partly out counts when a signal comes.
                match b.on_signal {
                    OnSignal::Value(_) => b.on_signal = OnSignal::Value(value(i + 1)),
                    _ if i > 0 => b.on_signal = OnSignal::Value(value(i)),
                    _ => {}
                }
                return Err(SysErr::Block(b));
            }
            Err(_) if i > 0 => return Ok(value(i)),
            Err(e) => return Err(e),
        }
    }
}
