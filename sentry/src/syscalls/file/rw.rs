//! read, write and their vector and positional forms (read(2), write(2), readv(2)).

use crate::abi::{Errno, Result};
use crate::kernel::limits::INFINITY;
use crate::kernel::loan;
use crate::kernel::signal::{Origin, SigInfo, Signal, send_task};
use crate::sync::Events;
use crate::syscalls::path::asked;
use crate::syscalls::{Args, Cx, Fd, OnSignal, SysErr, SysResult, TURN, file_wait};
use crate::usermem::{IoVecs, MAX_RW_COUNT, Sink, Source, access_ok};
use crate::vfs::loan::Fixed;
use crate::vfs::notify::{self, Mask};
use crate::vfs::{File, FileType, OWN_POSITION, OpenFlags, Whence};
use std::sync::Arc;

bitflags::bitflags! {
    /// RWF_* of preadv2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct RwFlags: u32 {
        const HIPRI = 1;
        const DSYNC = 2;
        const SYNC = 4;
        const NOWAIT = 8;
        const APPEND = 0x10;
        const NOAPPEND = 0x20;
        const NOSIGNAL = 0x100;
    }
}

/// Where in the file a call works.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At the description's position.
    Current,
    /// Here.
    At(u64),
}

impl Place {
    /// EINVAL if so many bytes end beyond the last offset there is (`rw_verify_area`).
    fn holds(self, bytes: usize) -> Result<()> {
        match self {
            Place::At(at) if at.saturating_add(bytes as u64) > i64::MAX.cast_unsigned() => {
                Err(Errno::EINVAL)
            }
            _ => Ok(()),
        }
    }
}

/// The guest buffers of a call.
enum Buffers {
    One(u64, usize),
    Vector(u64, usize),
}

impl Buffers {
    fn open<'a>(&self, mem: &'a dyn crate::usermem::GuestMemory) -> Result<IoVecs<'a>> {
        match *self {
            Buffers::One(addr, len) => {
                access_ok(addr, len)?;
                Ok(IoVecs::single(mem, addr, len.min(MAX_RW_COUNT)))
            }
            Buffers::Vector(addr, count) => IoVecs::read(mem, addr, count),
        }
    }
}

/// Sends the calling task a signal of its own doing (SIGPIPE, SIGXFSZ).
pub(super) fn signal_self(cx: &Cx<'_>, signo: i32) {
    if let Some(signal) = Signal::new(signo) {
        let info = SigInfo::user(signal, cx.own_pid(), cx.own_uid());
        let _ = send_task(cx.task, info, Origin::Kernel);
    }
}

fn readable(cx: &Cx<'_>, fd: Fd) -> Result<Arc<File>> {
    let f = cx.file(fd)?;
    if f.flags().readable() {
        Ok(f)
    } else {
        Err(Errno::EBADF)
    }
}

pub(super) fn writable(cx: &Cx<'_>, fd: Fd) -> Result<Arc<File>> {
    let f = cx.file(fd)?;
    if f.flags().writable() {
        Ok(f)
    } else {
        Err(Errno::EBADF)
    }
}

/// EINVAL for a negative offset, ESPIPE for a file without positions.
fn positional(file: &File, offset: i64) -> Result<Place> {
    let at = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    if !file.ops().seekable() {
        return Err(Errno::ESPIPE);
    }
    Ok(Place::At(at))
}

fn do_read(
    cx: &mut Cx<'_>,
    file: &Arc<File>,
    buffers: &Buffers,
    place: Place,
    flags: RwFlags,
) -> SysResult {
    let mem = cx.buffers()?;
    let mut dst = buffers.open(&mem)?;
    place.holds(Sink::remaining(&dst))?;
    let caller = cx.caller();
    let before = cx.progress().done;
    dst.skip(before);
    let more = Sink::remaining(&dst) > TURN;
    dst.truncate(before.saturating_add(TURN));
    let outcome = match place {
        Place::Current => file.with_position(|pos| file.ops().read(file, &caller, &mut dst, pos)),
        Place::At(at) => {
            let at = &mut at.saturating_add(before as u64);
            file.ops().read(file, &caller, &mut dst, at)
        }
    };
    let n = match outcome {
        Err(_) if before > 0 => 0,
        outcome => {
            let nonblock = file.nonblocking() || flags.contains(RwFlags::NOWAIT);
            file_wait(cx, file, Events::READABLE, nonblock, outcome)?
        }
    };
    if n > 0 {
        notify::file(file, Mask::ACCESS);
    }
    let done = before.saturating_add(n);
    if more && n == TURN {
        cx.progress().done = done;
        return Err(SysErr::Again);
    }
    Ok(super::count(done))
}

/// How much of `len` bytes at `pos` RLIMIT_FSIZE lets be written.
///
/// # Errors
/// EFBIG, with SIGXFSZ, if nothing.
pub(super) fn within_file_limit(
    cx: &Cx<'_>,
    file: &File,
    pos: u64,
    append: bool,
    len: usize,
) -> Result<usize> {
    if file.inode().file_type() != FileType::Regular {
        return Ok(len);
    }
    let limit = cx.limit(libc::RLIMIT_FSIZE);
    if limit == INFINITY {
        return Ok(len);
    }
    let pos = if append {
        file.ops().stat(file)?.size
    } else if pos == OWN_POSITION {
        file.ops().seek(file, pos, 0, Whence::Current)?
    } else {
        pos
    };
    if pos >= limit {
        signal_self(cx, libc::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    Ok(len.min(usize::try_from(limit - pos).unwrap_or(usize::MAX)))
}

fn do_write(
    cx: &mut Cx<'_>,
    file: &Arc<File>,
    buffers: &Buffers,
    place: Place,
    flags: RwFlags,
) -> SysResult {
    let mm = cx.mm;
    let mut src = buffers.open(&**mm)?;
    place.holds(Source::remaining(&src))?;
    let caller = cx.caller();
    let mut append = file.flags().contains(OpenFlags::APPEND);
    append |= flags.contains(RwFlags::APPEND);
    append &= !flags.contains(RwFlags::NOAPPEND);
    let nonblock = file.nonblocking() || flags.contains(RwFlags::NOWAIT);
    let stream = || !file.ops().seekable() && file.ops().wait_queue().is_some();
    let mut done = cx.progress().done;
    let wanted = Source::remaining(&src);
    src.skip(done);
    loop {
        let outcome = {
            let mut once = |pos: &mut u64| {
                let room = within_file_limit(cx, file, *pos, append, Source::remaining(&src))?;
                let moved = src.done();
                src.truncate(moved.saturating_add(room.min(TURN)));
                file.ops().write(file, &caller, &mut src, pos, append)
            };
            match place {
                Place::Current => file.with_position(&mut once),
                Place::At(at) => once(&mut at.saturating_add(done as u64)),
            }
        };
        match outcome {
            Ok(n) => {
                let turn_ended = n == TURN && done.saturating_add(n) < wanted;
                done = done.saturating_add(n);
                cx.progress().done = done;
                if turn_ended {
                    return Err(SysErr::Again);
                }
                // Streams that were full in the middle are asked once more, to wait for the rest.
                if n == 0 || Source::remaining(&src) == 0 || !stream() {
                    break;
                }
            }
            Err(e) => {
                if e == Errno::EPIPE
                    && file.ops().signals_epipe()
                    && !flags.contains(RwFlags::NOSIGNAL)
                {
                    signal_self(cx, libc::SIGPIPE);
                }
                match file_wait(cx, file, Events::WRITABLE, nonblock, Err::<(), _>(e)) {
                    Err(SysErr::Block(mut b)) => {
                        if done > 0 {
                            b.on_signal = OnSignal::Value(super::count(done));
                            notify::file(file, Mask::MODIFY);
                        }
                        return Err(SysErr::Block(b));
                    }
                    Err(e) if done == 0 => return Err(e),
                    _ => break,
                }
            }
        }
    }
    if done > 0 {
        notify::file(file, Mask::MODIFY);
    }
    Ok(super::count(done))
}

pub(super) fn read(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = readable(cx, args.get(0))?;
    let buffers = Buffers::One(args.get(1), args.get(2));
    let done = do_read(cx, &file, &buffers, Place::Current, RwFlags::empty())?;
    let fixed = file.ops().fixed();
    if fixed.intersects(Fixed::READ_END | Fixed::READ_ZEROES | Fixed::RING) {
        asked(cx, args.get(0), &file);
    } else if fixed.contains(Fixed::PAGES) {
        pages_asked(cx, args, &file, None, done, false);
    }
    Ok(done)
}

/// A call was made that the stub could have answered if the file's contents had been lent to it: of what was asked `done` bytes were there.
fn pages_asked(
    cx: &Cx<'_>,
    args: &Args,
    file: &Arc<File>,
    at: Option<u64>,
    done: i64,
    write: bool,
) {
    let asked: u64 = args.get(2);
    if u64::try_from(done).is_ok_and(|done| done == asked) {
        loan::pages_asked(cx, args.get::<Fd>(0).0, file, at, asked, write);
    }
}

pub(super) fn write(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = writable(cx, args.get(0))?;
    let buffers = Buffers::One(args.get(1), args.get(2));
    let done = do_write(cx, &file, &buffers, Place::Current, RwFlags::empty())?;
    if file
        .ops()
        .fixed()
        .intersects(Fixed::WRITE_ALL | Fixed::RING)
    {
        asked(cx, args.get(0), &file);
    }
    Ok(done)
}

pub(super) fn readv(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = readable(cx, args.get(0))?;
    let buffers = Buffers::Vector(args.get(1), args.get(2));
    let done = do_read(cx, &file, &buffers, Place::Current, RwFlags::empty())?;
    // Stubs do not answer it, but may go on with what comes next. (What writev leaves in a pipe has to be read first.)
    loan::moved(cx, &file);
    Ok(done)
}

pub(super) fn writev(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = writable(cx, args.get(0))?;
    let buffers = Buffers::Vector(args.get(1), args.get(2));
    do_write(cx, &file, &buffers, Place::Current, RwFlags::empty())
}

/// The file and place of a positional call. The offset is checked before the descriptor, the kind of file before the access mode.
fn at(cx: &Cx<'_>, fd: Fd, offset: i64, write: bool) -> Result<(Arc<File>, Place)> {
    if offset < 0 {
        return Err(Errno::EINVAL);
    }
    let file = cx.file(fd)?;
    let place = positional(&file, offset)?;
    let allowed = if write {
        file.flags().writable()
    } else {
        file.flags().readable()
    };
    if allowed {
        Ok((file, place))
    } else {
        Err(Errno::EBADF)
    }
}

pub(super) fn pread64(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (file, place) = at(cx, args.get(0), args.get(3), false)?;
    let buffers = Buffers::One(args.get(1), args.get(2));
    let done = do_read(cx, &file, &buffers, place, RwFlags::empty())?;
    if file.ops().fixed().contains(Fixed::PAGES) {
        pages_asked(cx, args, &file, Some(args.get(3)), done, false);
    }
    Ok(done)
}

pub(super) fn pwrite64(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (file, place) = at(cx, args.get(0), args.get(3), true)?;
    let buffers = Buffers::One(args.get(1), args.get(2));
    let done = do_write(cx, &file, &buffers, place, RwFlags::empty())?;
    if file.ops().fixed().contains(Fixed::PAGES) {
        pages_asked(cx, args, &file, Some(args.get(3)), done, true);
    }
    Ok(done)
}

pub(super) fn preadv(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (file, place) = at(cx, args.get(0), args.get(3), false)?;
    let buffers = Buffers::Vector(args.get(1), args.get(2));
    do_read(cx, &file, &buffers, place, RwFlags::empty())
}

pub(super) fn pwritev(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (file, place) = at(cx, args.get(0), args.get(3), true)?;
    let buffers = Buffers::Vector(args.get(1), args.get(2));
    do_write(cx, &file, &buffers, place, RwFlags::empty())
}

/// Decodes offset and flags of preadv2 and pwritev2; offset -1 means the current position.
fn second_form(cx: &Cx<'_>, args: &Args, write: bool) -> Result<(Arc<File>, Place, RwFlags)> {
    let offset: i64 = args.get(3);
    let (file, place) = if offset == -1 {
        let f = if write {
            writable(cx, args.get(0))?
        } else {
            readable(cx, args.get(0))?
        };
        (f, Place::Current)
    } else {
        at(cx, args.get(0), offset, write)?
    };
    let flags = RwFlags::from_bits(args.get(5)).ok_or(Errno::EOPNOTSUPP)?;
    // Reads take them, too.
    if flags.contains(RwFlags::APPEND | RwFlags::NOAPPEND) {
        return Err(Errno::EINVAL);
    }
    Ok((file, place, flags))
}

pub(super) fn preadv2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (file, place, flags) = second_form(cx, args, false)?;
    let buffers = Buffers::Vector(args.get(1), args.get(2));
    do_read(cx, &file, &buffers, place, flags)
}

pub(super) fn pwritev2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (file, place, flags) = second_form(cx, args, true)?;
    let buffers = Buffers::Vector(args.get(1), args.get(2));
    do_write(cx, &file, &buffers, place, flags)
}

/// The buffers of an asynchronous request, in the guest's words.
pub(in crate::syscalls) enum AioBuffers {
    /// Address and length.
    One(u64, u64),
    /// Address and number of vectors.
    Vector(u64, u64),
}

/// A read or write of io_submit(2). The outer error is that of the submission, the inner one the request's.
pub(in crate::syscalls) fn aio_rw(
    cx: &mut Cx<'_>,
    file: &Arc<File>,
    buffers: AioBuffers,
    offset: i64,
    flags: u32,
    write: bool,
) -> std::result::Result<Result<i64>, SysErr> {
    let flags = RwFlags::from_bits(flags).ok_or(Errno::EOPNOTSUPP)?;
    let allowed = if write {
        file.flags().writable()
    } else {
        file.flags().readable()
    };
    if !allowed {
        return Err(Errno::EBADF.into());
    }
    if file.inode().file_type() == FileType::Directory {
        return Err(Errno::EINVAL.into());
    }
    let place = if file.ops().seekable() {
        Place::At(u64::try_from(offset).map_err(|_| Errno::EINVAL)?)
    } else {
        Place::Current
    };
    let size = |n: u64| usize::try_from(n).map_err(|_| Errno::EINVAL);
    let buffers = match buffers {
        AioBuffers::One(addr, len) => Buffers::One(addr, size(len)?),
        AioBuffers::Vector(addr, count) => Buffers::Vector(addr, size(count)?),
    };
    // Bad addresses of the vectors themselves are found before anything is done.
    drop(buffers.open(&*cx.mm.clone())?);
    let outcome = if write {
        do_write(cx, file, &buffers, place, flags)
    } else {
        do_read(cx, file, &buffers, place, flags)
    };
    match outcome {
        Ok(n) => Ok(Ok(n)),
        Err(SysErr::Errno(e)) => Ok(Err(e)),
        Err(other) => Err(other),
    }
}
