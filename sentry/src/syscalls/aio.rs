//! Kernel asynchronous I/O: io_setup(2), io_submit(2), io_getevents(2), io_cancel(2), io_destroy(2).

use super::ArgKind::{Hex, Int, Ptr, Timespec, Uint};
use super::file::AioBuffers;
use super::poll::{timespec as from_timespec, with_mask};
use super::{Args, Block, Cx, Fd, OnSignal, SysErr, SysResult, Syscall, TURN_NS};
use crate::abi::{Errno, Result};
use crate::fs::eventfd::EventFd;
use crate::kernel::aio::{Context, Contexts, Done, MAX_REQUESTS};
use crate::mm::{MapFlags, MapRequest, MapWhat, PAGE, patiently};
use crate::sync::Events;
use crate::time::Instant;
use crate::usermem::UserPtr;
use crate::vfs::File;
use cofferdam_platform::Prot;
use std::sync::Arc;

/// libc does not name it on x86-64.
const IO_PGETEVENTS: i64 = 333;

/// This family's calls.
pub static TABLE: &[Syscall] = &[
    Syscall::new(libc::SYS_io_setup, "io_setup", io_setup, &[Uint, Ptr]),
    Syscall::new(libc::SYS_io_destroy, "io_destroy", io_destroy, &[Hex]),
    Syscall::new(
        libc::SYS_io_submit,
        "io_submit",
        io_submit,
        &[Hex, Int, Ptr],
    )
    .partial("requests other than polls are done at once"),
    Syscall::new(
        libc::SYS_io_cancel,
        "io_cancel",
        io_cancel,
        &[Hex, Ptr, Ptr],
    ),
    Syscall::new(
        libc::SYS_io_getevents,
        "io_getevents",
        io_getevents,
        &[Hex, Int, Int, Ptr, Timespec],
    ),
    Syscall::new(
        IO_PGETEVENTS,
        "io_pgetevents",
        io_pgetevents,
        &[Hex, Int, Int, Ptr, Timespec, Ptr],
    ),
];

fn contexts(cx: &Cx<'_>) -> Arc<Contexts> {
    cx.mm.extensions.extension()
}

fn io_setup(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (n, out): (u32, UserPtr<u64>) = (a.get(0), a.get(1));
    if cx.mem().get(out)? != 0 || n == 0 || n > 0x1000_0000 / 32 {
        return Err(Errno::EINVAL.into());
    }
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    if n > MAX_REQUESTS {
        return Err(Errno::EAGAIN.into());
    }
    let context = Context::new(n)?;
    // Programs may look at the ring; without its magic number they leave it alone and ask the kernel.
    let ring = MapRequest {
        addr: 0,
        len: PAGE,
        prot: Prot::READ | Prot::WRITE,
        flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS,
        what: MapWhat::Anonymous,
        offset: 0,
    };
    let limits = cx.mm_limits();
    let thread = cx.thread()?;
    let id = cx.mm.mmap(thread, &ring, &limits)?;
    if let Err(e) = cx.mem().put(out, &id) {
        patiently(|| cx.mm.munmap(thread, id, PAGE))?;
        return Err(e.into());
    }
    contexts(cx).insert(id, context);
    Ok(0)
}

fn io_destroy(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let id: u64 = a.get(0);
    contexts(cx).remove(id)?.destroy();
    let thread = cx.thread()?;
    // The program may have unmapped it.
    let _ = patiently(|| cx.mm.munmap(thread, id, PAGE));
    Ok(0)
}

/// `struct iocb`.
struct Iocb {
    at: u64,
    data: u64,
    rw_flags: u32,
    opcode: u16,
    fd: i32,
    buf: u64,
    bytes: u64,
    offset: i64,
    event: Option<i32>,
}

impl Iocb {
    fn read(cx: &Cx<'_>, at: u64) -> Result<Iocb> {
        const RESFD: u64 = 1;
        let [data, key, what, buf, bytes, offset, reserved, flags] =
            cx.mem().get(UserPtr::<[u64; 8]>::new(at))?;
        if reserved != 0 || i64::try_from(bytes).is_err() {
            return Err(Errno::EINVAL);
        }
        let event = (flags & RESFD != 0).then_some(((flags >> 32) as u32).cast_signed());
        Ok(Iocb {
            at,
            data,
            rw_flags: (key >> 32) as u32,
            opcode: what as u16,
            fd: ((what >> 32) as u32).cast_signed(),
            buf,
            bytes,
            offset: offset.cast_signed(),
            event,
        })
    }
}

fn io_submit(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (id, n, list): (u64, i64, u64) = (a.get(0), a.get(1), a.get(2));
    let n = u64::try_from(n).map_err(|_| Errno::EINVAL)?;
    let context = contexts(cx).get(id)?;
    let n = n.min(context.capacity() as u64);
    // A request that had to wait (a pipe without data) is tried again; those before it are done.
    let mut i = cx.progress().value;
    let begin = Instant::now();
    while i < n {
        if begin.elapsed() >= TURN_NS {
            return Err(SysErr::Again);
        }
        let one = |cx: &mut Cx<'_>| -> std::result::Result<(), SysErr> {
            let entry = list.wrapping_add(i * 8);
            let at = cx.mem().get(UserPtr::<u64>::new(entry))?;
            submit(cx, &context, at)
        };
        match one(cx) {
            Ok(()) => {}
            Err(SysErr::Block(mut b)) => {
                if i > 0 {
                    b.on_signal = OnSignal::Value(i.cast_signed());
                }
                return Err(SysErr::Block(b));
            }
            // What is left of a large request comes first in the next turn.
            Err(SysErr::Again) => return Err(SysErr::Again),
            Err(e) if i == 0 => return Err(e),
            Err(_) => break,
        }
        i += 1;
        *cx.progress() = crate::kernel::Progress {
            value: i,
            ..Default::default()
        };
    }
    Ok(i.cast_signed())
}

fn submit(cx: &mut Cx<'_>, context: &Arc<Context>, at: u64) -> std::result::Result<(), SysErr> {
    let r = Iocb::read(cx, at)?;
    if !context.has_room() {
        return Err(Errno::EAGAIN.into());
    }
    let file = cx.file(Fd(r.fd))?;
    let event = match r.event {
        None => None,
        Some(fd) => {
            let f = cx.file(Fd(fd))?;
            if f.downcast::<EventFd>().is_none() {
                return Err(Errno::EINVAL.into());
            }
            Some(f)
        }
    };
    // The key is the kernel's: io_cancel checks it.
    cx.mem().put(UserPtr::<u32>::new(at.wrapping_add(8)), &0)?;
    let result = match r.opcode {
        0 | 1 | 7 | 8 => {
            let buffers = if r.opcode < 2 {
                AioBuffers::One(r.buf, r.bytes)
            } else {
                AioBuffers::Vector(r.buf, r.bytes)
            };
            let write = matches!(r.opcode, 1 | 8);
            super::file::aio_rw(cx, &file, buffers, r.offset, r.rw_flags, write)?
        }
        2 | 3 => {
            if r.buf != 0 || r.offset != 0 || r.bytes != 0 || r.rw_flags != 0 {
                return Err(Errno::EINVAL.into());
            }
            match file.ops().fsync(&file, r.opcode == 3) {
                Err(Errno::EINVAL) => return Err(Errno::EINVAL.into()),
                outcome => outcome.map(|()| 0),
            }
        }
        5 => {
            poll(context, &file, &r, event)?;
            return Ok(());
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let done = Done {
        data: r.data,
        object: r.at,
        result: result.unwrap_or_else(|e| -i64::from(e.raw())),
    };
    context.finished(done, event.as_ref());
    Ok(())
}

fn poll(
    context: &Arc<Context>,
    file: &Arc<File>,
    r: &Iocb,
    event: Option<Arc<File>>,
) -> Result<()> {
    let wanted = u16::try_from(r.buf).map_err(|_| Errno::EINVAL)?;
    if r.offset != 0 || r.bytes != 0 || r.rw_flags != 0 {
        return Err(Errno::EINVAL);
    }
    let wanted = Events::from_bits_truncate(wanted.into());
    context.poll(file, wanted, r.data, r.at, event);
    Ok(())
}

fn io_cancel(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (id, at): (u64, u64) = (a.get(0), a.get(1));
    let key = cx.mem().get(UserPtr::<u32>::new(at.wrapping_add(8)))?;
    if key != 0 {
        return Err(Errno::EINVAL.into());
    }
    contexts(cx).get(id)?.cancel(at)?;
    // Its event comes by io_getevents, as for any other.
    Err(Errno::EINPROGRESS.into())
}

fn io_getevents(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    getevents(cx, a)
}

fn io_pgetevents(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let mask: UserPtr<[u64; 2]> = a.get(5);
    let [set, size] = match mask.non_null() {
        Some(p) => cx.mem().get(p)?,
        None => [0, 0],
    };
    with_mask(cx, UserPtr::new(set), size, |cx| getevents(cx, a))
}

fn getevents(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (id, least, most): (u64, i64, i64) = (a.get(0), a.get(1), a.get(2));
    let out: u64 = a.get(3);
    let timeout = from_timespec(cx.mem(), a.get(4))?;
    let context = contexts(cx).get(id)?;
    let (Ok(least), Ok(most)) = (usize::try_from(least), usize::try_from(most)) else {
        return Err(Errno::EINVAL.into());
    };
    if least > most {
        return Err(Errno::EINVAL.into());
    }
    let deadline = cx.deadline_after(timeout);
    let mut have = cx.progress().done;
    for done in context.fetch(most.saturating_sub(have)) {
        let event = [done.data, done.object, done.result.cast_unsigned(), 0];
        let at = UserPtr::<[u64; 4]>::new(out).offset(have);
        if let Err(e) = cx.mem().put(at, &event) {
            if have == 0 {
                return Err(e.into());
            }
            break;
        }
        have += 1;
    }
    cx.progress().done = have;
    let count = i64::try_from(have).unwrap_or(i64::MAX);
    if have >= least || cx.expired() {
        return Ok(count);
    }
    if context.is_destroyed() {
        return if have > 0 {
            Ok(count)
        } else {
            Err(Errno::EINVAL.into())
        };
    }
    let on_signal = if have > 0 {
        OnSignal::Value(count)
    } else {
        OnSignal::Eintr
    };
    Err(Block::on(context.queue().clone(), Events::IN)
        .deadline(deadline)
        .on_signal(on_signal)
        .into())
}
