//! recvfrom(2), recvmsg(2), recvmmsg(2).

use super::message::{MMsgHdr, MsgHdr};
use super::{address, control, socket, with_caller};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::net::socket::{MsgFlags, Received, RecvMsg, Socket};
use crate::sync::Events;
use crate::syscalls::{Args, Fd, OnSignal, SysErr, SysResult, TURN, file_wait};
use crate::usermem::{IoVecs, Sink, UIO_MAXIOV, UserPtr};
use crate::vfs::File;
use std::sync::Arc;

pub(super) fn recvfrom(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (file, socket) = socket(cx, args.get(0))?;
    let flags = MsgFlags::from_bits_retain(args.get(3));
    let (buf, len): (u64, usize) = (args.get(1), args.get(2));
    let mem = cx.buffers()?;
    let dst = IoVecs::single(&mem, buf, len);
    let got = take(cx, &file, &*socket, dst, flags, false)?;
    let addr: UserPtr<u8> = args.get(4);
    if !addr.is_null() {
        address::write(cx, got.from.as_deref().unwrap_or(&[]), addr, args.get(5))?;
    }
    Ok(value(got.len))
}

pub(super) fn recvmsg(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags = MsgFlags::from_bits_retain(args.get(2));
    recv_one(cx, args.get(0), args.get(1), flags)
}

fn recv_one(cx: &mut Cx<'_>, fd: Fd, ptr: UserPtr<MsgHdr>, flags: MsgFlags) -> SysResult {
    let (file, socket) = socket(cx, fd)?;
    let hdr = MsgHdr::read(cx, ptr)?;
    let mem = cx.buffers()?;
    let n = usize::try_from(hdr.iov_count()).map_err(|_| Errno::EMSGSIZE)?;
    let dst = IoVecs::read(&mem, hdr.iov_addr(), n)?;
    let room = if hdr.control == 0 {
        0
    } else {
        usize::try_from(hdr.control_len).unwrap_or(usize::MAX)
    };
    let got = take(cx, &file, &*socket, dst, flags, room > 0)?;
    hdr.put_source(cx, ptr, got.from.as_deref())?;
    let cloexec = flags & MsgFlags::CMSG_CLOEXEC;
    let (used, cut) = control::write(cx, got.control, hdr.control, room, !cloexec.is_empty());
    MsgHdr::put_result(cx, ptr, used, (got.flags | cut | cloexec).bits())?;
    Ok(value(got.len))
}

/// Receives once, or with a stream until the buffer holds what was asked for.
fn take(
    cx: &mut Cx<'_>,
    file: &Arc<File>,
    socket: &dyn Socket,
    mut dst: IoVecs<'_>,
    flags: MsgFlags,
    control: bool,
) -> Result<Received, SysErr> {
    // The queue of errors is never waited for.
    let nonblock = file.nonblocking() || flags.intersects(MsgFlags::DONTWAIT | MsgFlags::ERRQUEUE);
    let mut done = cx.progress().done;
    dst.skip(done);
    let mut all = Received::default();
    let gathers = socket.is_stream()
        && !flags.intersects(MsgFlags::PEEK | MsgFlags::OOB | MsgFlags::ERRQUEUE);
    let want = if !gathers {
        0
    } else if flags.contains(MsgFlags::WAITALL) {
        done.saturating_add(dst.remaining())
    } else {
        let low = socket.common().options.with(|v| v.rcvlowat);
        low.min(done.saturating_add(dst.remaining()))
    };
    let failure = loop {
        let outcome = with_caller(cx, |c| {
            socket.recv(
                c,
                &mut RecvMsg {
                    dst: &mut dst,
                    flags,
                    control,
                },
            )
        });
        match outcome {
            Ok(got) => {
                done += got.len;
                let stop = got.len == 0 || !got.control.is_empty();
                all = Received {
                    len: done,
                    from: got.from.or(all.from),
                    control: got.control,
                    flags: all.flags | got.flags,
                };
                if stop || done >= want {
                    return Ok(all);
                }
            }
            Err(e) => break e,
        }
    };
    cx.progress().done = done;
    all.len = done;
    match file_wait::<()>(cx, file, Events::IN, nonblock, Err(failure)) {
        Err(SysErr::Block(mut b)) => {
            if done > 0 {
                b.on_signal = OnSignal::Value(value(done));
            }
            Err(SysErr::Block(b))
        }
        Err(_) if done > 0 => Ok(all),
        Err(e) => Err(e),
        Ok(()) => Ok(all),
    }
}

fn value(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn recvmmsg(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let vec: UserPtr<MMsgHdr> = args.get(1);
    let count = usize::try_from(args.get::<u32>(2))
        .unwrap_or(UIO_MAXIOV)
        .min(UIO_MAXIOV);
    let flags = MsgFlags::from_bits_retain(args.get(3));
    let time: UserPtr<[i64; 2]> = args.get(4);
    let fd: Fd = args.get(0);
    let (_, sock) = socket(cx, fd)?;
    let limit = match cx.progress().object {
        Some(_) => None,
        None => crate::syscalls::poll::timespec(cx.mem(), time)?,
    };
    if let Some(ns) = limit {
        let end = crate::time::Instant::now().after(ns);
        cx.progress().object = Some(Arc::new(end));
    }
    let end = cx
        .progress()
        .object
        .clone()
        .and_then(|o| o.downcast::<crate::time::Instant>().ok())
        .map(|e| *e);
    if cx.progress().value == 0 {
        sock.common().check_error()?;
    }
    let mut moved = 0usize;
    loop {
        let i = usize::try_from(cx.progress().value).unwrap_or(usize::MAX);
        // The timeout is looked at after each message only (recvmmsg(2), BUGS).
        if i >= count || (i > 0 && end.is_some_and(|e| e.remaining() == 0)) {
            break;
        }
        let mut one = flags - MsgFlags::WAITFORONE;
        if i > 0 && flags.contains(MsgFlags::WAITFORONE) {
            one |= MsgFlags::DONTWAIT;
        }
        match recv_one(cx, fd, MMsgHdr::header(vec, i), one) {
            Ok(n) => {
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                if let Err(e) = MMsgHdr::put_len(cx, vec, i, n) {
                    if i == 0 {
                        return Err(e.into());
                    }
                    break;
                }
                let p = cx.progress();
                p.value += 1;
                p.done = 0;
                moved = moved.saturating_add(usize::try_from(n).unwrap_or(0));
                if moved >= TURN {
                    return Err(SysErr::Again);
                }
            }
            Err(SysErr::Block(mut b)) => {
                if i > 0 {
                    b.on_signal = OnSignal::Value(value(i));
                }
                return Err(SysErr::Block(b));
            }
            Err(SysErr::Errno(e)) if i > 0 => {
                // The next call reports it.
                if e != Errno::EAGAIN {
                    sock.common().set_error(e);
                }
                break;
            }
            Err(e) => return Err(e),
        }
    }
    crate::syscalls::poll::put_timespec(cx.mem(), time, end);
    Ok(value(
        usize::try_from(cx.progress().value).unwrap_or(usize::MAX),
    ))
}
