//! sendfile, splice, tee, vmsplice, copy_file_range: data moves through a buffer of the sentry.

use super::rw::{signal_self, within_file_limit, writable};
use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonInode, AnonKind};
use crate::fs::pipe::{Pipe, pipe_of};
use crate::sync::{Events, WaitQueue};
use crate::syscalls::{Args, Block, Cx, Fd, OnSignal, SysErr, SysResult, TURN, file_wait};
use crate::usermem::{
    CHUNK, IoVecs, KernelSink, KernelSource, MAX_RW_COUNT, Sink, Source, UserPtr,
};
use crate::vfs::notify::{self, Mask};
use crate::vfs::{File, FileType, OpenFlags};
use std::sync::Arc;

fn readable(cx: &Cx<'_>, fd: Fd) -> Result<Arc<File>> {
    let f = cx.file(fd)?;
    if f.flags().readable() {
        Ok(f)
    } else {
        Err(Errno::EBADF)
    }
}

/// A position of a file that a call reads or writes at: its own, or a number that the guest keeps.
#[derive(Clone, Copy)]
enum Cursor {
    Own,
    Explicit(u64),
}

impl Cursor {
    /// From an optional pointer to a `loff_t`.
    fn read(cx: &Cx<'_>, ptr: UserPtr<i64>) -> Result<Cursor> {
        match ptr.non_null() {
            None => Ok(Cursor::Own),
            Some(p) => {
                let at = cx.mem().get(p)?;
                Ok(Cursor::Explicit(
                    u64::try_from(at).map_err(|_| Errno::EINVAL)?,
                ))
            }
        }
    }
    fn write_back(self, cx: &Cx<'_>, ptr: UserPtr<i64>) -> Result<()> {
        match self {
            Cursor::Own => Ok(()),
            Cursor::Explicit(at) => cx.mem().put(ptr, &at.cast_signed()),
        }
    }
    fn with<R>(&mut self, file: &File, f: impl FnOnce(&mut u64) -> R) -> R {
        match self {
            Cursor::Own => file.with_position(f),
            Cursor::Explicit(at) => f(at),
        }
    }
    /// Goes back by what was read but could not be used.
    fn back(&mut self, file: &File, n: usize) {
        if n == 0 {
            return;
        }
        let n = n as u64;
        match self {
            Cursor::Explicit(at) => *at = at.saturating_sub(n),
            Cursor::Own if file.ops().own_position() => {
                let _ = file.seek(-(n.cast_signed()), crate::vfs::Whence::Current);
            }
            Cursor::Own => file.with_position(|p| *p = p.saturating_sub(n)),
        }
    }
}

fn read_chunk(cx: &Cx<'_>, file: &Arc<File>, cursor: &mut Cursor, max: usize) -> Result<Vec<u8>> {
    let mut sink = KernelSink::new(max.min(CHUNK));
    let caller = cx.caller();
    cursor.with(file, |pos| file.ops().read(file, &caller, &mut sink, pos))?;
    Ok(sink.data)
}

fn write_chunk(
    cx: &Cx<'_>,
    file: &Arc<File>,
    cursor: &mut Cursor,
    data: &[u8],
    append: bool,
) -> Result<usize> {
    let caller = cx.caller();
    cursor.with(file, |pos| {
        let room = within_file_limit(cx, file, *pos, append, data.len())?;
        let mut src = KernelSource::new(data.get(..room).unwrap_or(data));
        file.ops().write(file, &caller, &mut src, pos, append)
    })
}

/// The end of a call that has moved `done` bytes and then met `e` on `file`.
fn stopped(
    cx: &mut Cx<'_>,
    file: &Arc<File>,
    events: Events,
    nonblock: bool,
    done: usize,
    e: Errno,
) -> SysResult {
    if e == Errno::EPIPE && events.intersects(Events::OUT) && file.ops().signals_epipe() {
        signal_self(cx, libc::SIGPIPE);
    }
    match file_wait(cx, file, events, nonblock, Err::<(), _>(e)) {
        Err(SysErr::Block(mut b)) => {
            if done > 0 {
                b.on_signal = OnSignal::Value(super::count(done));
            }
            Err(SysErr::Block(b))
        }
        Err(e) if done == 0 => Err(e),
        _ => Ok(super::count(done)),
    }
}

pub(super) fn sendfile(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (out_fd, in_fd): (Fd, Fd) = (args.get(0), args.get(1));
    let ptr: UserPtr<i64> = args.get(2);
    let len = args.get::<usize>(3).min(MAX_RW_COUNT);
    let mut from = Cursor::read(cx, ptr)?;
    let input = readable(cx, in_fd)?;
    if matches!(from, Cursor::Explicit(_)) && !input.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    let output = writable(cx, out_fd)?;
    if !input.ops().seekable()
        || input.inode().file_type() == FileType::Directory
        || output.flags().contains(OpenFlags::APPEND)
    {
        return Err(Errno::EINVAL.into());
    }
    let before = cx.progress().done;
    let mut done = before;
    let mut to = Cursor::Own;
    while done < len {
        let data = read_chunk(cx, &input, &mut from, len - done);
        let data = match data {
            Ok(d) if d.is_empty() => break,
            Ok(d) => d,
            Err(e) => return stopped(cx, &input, Events::READABLE, input.nonblocking(), done, e),
        };
        let wrote = write_chunk(cx, &output, &mut to, &data, false);
        let n = *wrote.as_ref().unwrap_or(&0);
        from.back(&input, data.len() - n.min(data.len()));
        done += n;
        cx.progress().done = done;
        from.write_back(cx, ptr)?;
        if let Err(e) = wrote {
            return stopped(cx, &output, Events::WRITABLE, output.nonblocking(), done, e);
        }
        if done - before >= TURN {
            return Err(SysErr::Again);
        }
    }
    from.write_back(cx, ptr)?;
    if done > 0 {
        notify::file(&input, Mask::ACCESS);
        notify::file(&output, Mask::MODIFY);
    }
    Ok(super::count(done))
}

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_F_ALL: u32 = 0xf;

/// A file as the target of what leaves a pipe.
struct FileSink<'a, 'b> {
    cx: &'a Cx<'b>,
    file: &'a Arc<File>,
    cursor: Cursor,
    left: usize,
    error: Option<Errno>,
}

impl Sink for FileSink<'_, '_> {
    fn remaining(&self) -> usize {
        if self.error.is_some() { 0 } else { self.left }
    }
    fn put(&mut self, data: &[u8]) -> Result<usize> {
        let part = data.get(..data.len().min(self.left)).unwrap_or(data);
        match write_chunk(self.cx, self.file, &mut self.cursor, part, false) {
            Ok(n) => {
                self.left -= n.min(self.left);
                Ok(n)
            }
            Err(e) => {
                self.error = Some(e);
                Err(e)
            }
        }
    }
}

/// Bytes that were read from a stream for a pipe that then had no room: kept for the next run of the call.
#[derive(Default)]
struct Leftover(parking_lot::Mutex<Vec<u8>>);

fn waits(pipe: &Pipe, nonblock: bool, events: Events, done: usize) -> SysResult {
    if done > 0 {
        return Ok(super::count(done));
    }
    if nonblock {
        return Err(Errno::EAGAIN.into());
    }
    let queue: Arc<WaitQueue> = pipe.queue().clone();
    Err(Block::on(queue, events).into())
}

/// EINVAL at once for an object that nothing can ever be written to. Writing nothing tells, except to a socket, where
/// it may be a message.
fn takes_data(cx: &Cx<'_>, file: &Arc<File>) -> Result<()> {
    if file.inode().file_type() == FileType::Socket {
        return Ok(());
    }
    let nothing = &mut KernelSource::new(&[]);
    match file.ops().write(file, &cx.caller(), nothing, &mut 0, false) {
        Err(Errno::EINVAL) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

fn splice_from_pipe(
    cx: &mut Cx<'_>,
    pipe: &Arc<Pipe>,
    output: &Arc<File>,
    to: &mut Cursor,
    len: usize,
    (pipe_nonblock, out_nonblock): (bool, bool),
) -> SysResult {
    let (outcome, error, cursor) = {
        let mut sink = FileSink {
            cx,
            file: output,
            cursor: *to,
            left: len,
            error: None,
        };
        let outcome = pipe.read(&mut sink);
        (outcome, sink.error, sink.cursor)
    };
    *to = cursor;
    match (outcome, error) {
        (Ok(n), _) if n > 0 => {
            notify::file(output, Mask::MODIFY);
            Ok(super::count(n))
        }
        (_, Some(e)) => stopped(cx, output, Events::WRITABLE, out_nonblock, 0, e),
        (Ok(_), None) => Ok(0),
        (Err(Errno::EAGAIN), None) => {
            takes_data(cx, output)?;
            waits(pipe, pipe_nonblock, Events::READABLE, 0)
        }
        (Err(e), None) => Err(e.into()),
    }
}

fn splice_to_pipe(
    cx: &mut Cx<'_>,
    input: &Arc<File>,
    from: &mut Cursor,
    pipe: &Arc<Pipe>,
    len: usize,
    (pipe_nonblock, in_nonblock): (bool, bool),
) -> SysResult {
    let kept = cx
        .progress()
        .object
        .take()
        .and_then(|o| o.downcast::<Leftover>().ok());
    let had = kept.is_some();
    let data = match kept {
        Some(k) => std::mem::take(&mut *k.0.lock()),
        None => {
            let room = pipe.room();
            match room {
                Err(e) => {
                    if e == Errno::EPIPE {
                        signal_self(cx, libc::SIGPIPE);
                    }
                    return Err(e.into());
                }
                Ok(0) => return waits(pipe, pipe_nonblock, Events::WRITABLE, 0),
                Ok(_) => {}
            }
            let max = len.min(room.unwrap_or(0));
            match read_chunk(cx, input, from, max) {
                Ok(d) => d,
                Err(e) => return stopped(cx, input, Events::READABLE, in_nonblock, 0, e),
            }
        }
    };
    if data.is_empty() {
        return Ok(0);
    }
    let outcome = pipe.write(&mut KernelSource::new(&data), false);
    let n = *outcome.as_ref().unwrap_or(&0);
    if input.ops().seekable() && !had {
        from.back(input, data.len() - n);
    } else if n < data.len() && !matches!(outcome, Err(Errno::EPIPE)) {
        // The room was taken by somebody else meanwhile; a stream cannot take its bytes back.
        let rest = data.get(n..).unwrap_or(&[]).to_vec();
        let kept = Leftover::default();
        *kept.0.lock() = rest;
        cx.progress().object = Some(Arc::new(kept));
        return Err(Block::on(pipe.queue().clone(), Events::WRITABLE)
            .on_signal(OnSignal::Killable)
            .into());
    }
    match outcome {
        Ok(n) => {
            notify::file(input, Mask::ACCESS);
            let total = if had { data.len() } else { n };
            Ok(super::count(total))
        }
        Err(Errno::EAGAIN) => waits(pipe, pipe_nonblock, Events::WRITABLE, 0),
        Err(e) => {
            if e == Errno::EPIPE {
                signal_self(cx, libc::SIGPIPE);
            }
            Err(e.into())
        }
    }
}

/// A pipe as the target of what leaves another one.
struct PipeSink<'a> {
    to: &'a Pipe,
    left: usize,
    error: Option<Errno>,
}

impl Sink for PipeSink<'_> {
    fn remaining(&self) -> usize {
        if self.error.is_some() { 0 } else { self.left }
    }
    fn put(&mut self, data: &[u8]) -> Result<usize> {
        let part = data.get(..data.len().min(self.left)).unwrap_or(data);
        let outcome = self.to.write(&mut KernelSource::new(part), false);
        match outcome {
            Ok(n) => self.left -= n.min(self.left),
            Err(e) => self.error = Some(e),
        }
        outcome
    }
}

/// What the writing end of a pipe says.
fn full_or_broken(cx: &Cx<'_>, to: &Pipe, nonblock: bool, e: Errno) -> SysResult {
    match e {
        Errno::EAGAIN => return waits(to, nonblock, Events::WRITABLE, 0),
        Errno::EPIPE => signal_self(cx, libc::SIGPIPE),
        _ => {}
    }
    Err(e.into())
}

/// Moves from pipe to pipe: bytes are taken out first, so that no other reader gets them too.
fn splice_pipes(cx: &Cx<'_>, from: &Pipe, to: &Pipe, len: usize, nonblock: bool) -> SysResult {
    match to.room() {
        Ok(0) => return waits(to, nonblock, Events::WRITABLE, 0),
        Ok(_) => {}
        Err(e) => return full_or_broken(cx, to, nonblock, e),
    }
    let mut sink = PipeSink {
        to,
        left: len,
        error: None,
    };
    match (from.read(&mut sink), sink.error) {
        (Ok(n), _) if n > 0 => Ok(super::count(n)),
        (_, Some(e)) => full_or_broken(cx, to, nonblock, e),
        (Ok(_), None) => Ok(0),
        (Err(Errno::EAGAIN), None) => waits(from, nonblock, Events::READABLE, 0),
        (Err(e), None) => Err(e.into()),
    }
}

/// Copies from pipe to pipe.
fn tee_pipes(cx: &Cx<'_>, from: &Pipe, to: &Pipe, len: usize, nonblock: bool) -> SysResult {
    let room = match to.room() {
        Ok(0) => return waits(to, nonblock, Events::WRITABLE, 0),
        Ok(n) => n,
        Err(e) => return full_or_broken(cx, to, nonblock, e),
    };
    let data = match from.peek(len.min(room)) {
        Ok(d) if d.is_empty() => return Ok(0),
        Ok(d) => d,
        Err(Errno::EAGAIN) => return waits(from, nonblock, Events::READABLE, 0),
        Err(e) => return Err(e.into()),
    };
    match to.write(&mut KernelSource::new(&data), false) {
        Ok(n) => Ok(super::count(n)),
        Err(e) => full_or_broken(cx, to, nonblock, e),
    }
}

/// Whether the file is one that tells of events (eventfd, inotify …): reading takes an event, which no pipe gets.
fn is_notifier(file: &File) -> bool {
    let inode = file.inode().as_any().downcast_ref::<AnonInode>();
    inode.is_some_and(|i| matches!(i.kind(), AnonKind::Other(_)))
}

pub(super) fn splice(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (in_fd, out_fd): (Fd, Fd) = (args.get(0), args.get(2));
    let (in_ptr, out_ptr): (UserPtr<i64>, UserPtr<i64>) = (args.get(1), args.get(3));
    let len = args.get::<usize>(4).min(MAX_RW_COUNT);
    let flags: u32 = args.get(5);
    if len == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let input = readable(cx, in_fd)?;
    let output = writable(cx, out_fd)?;
    let from_pipe = pipe_of(&input).cloned();
    let to_pipe = pipe_of(&output).cloned();
    if (from_pipe.is_some() && !in_ptr.is_null()) || (to_pipe.is_some() && !out_ptr.is_null()) {
        return Err(Errno::ESPIPE.into());
    }
    let asked = flags & SPLICE_F_NONBLOCK != 0;
    match (from_pipe, to_pipe) {
        (Some(a), Some(b)) => {
            if Arc::ptr_eq(&a, &b) {
                return Err(Errno::EINVAL.into());
            }
            let nonblock = asked || input.nonblocking() || output.nonblocking();
            splice_pipes(cx, &a, &b, len, nonblock)
        }
        (Some(pipe), None) => {
            if !out_ptr.is_null() && !output.ops().seekable() {
                return Err(Errno::EINVAL.into());
            }
            if output.flags().contains(OpenFlags::APPEND) {
                return Err(Errno::EINVAL.into());
            }
            let mut to = Cursor::read(cx, out_ptr)?;
            let nonblock = (asked || input.nonblocking(), output.nonblocking());
            let r = splice_from_pipe(cx, &pipe, &output, &mut to, len, nonblock);
            to.write_back(cx, out_ptr)?;
            r
        }
        (None, Some(pipe)) => {
            if !in_ptr.is_null() && !input.ops().seekable() {
                return Err(Errno::EINVAL.into());
            }
            if input.inode().file_type() == FileType::Directory || is_notifier(&input) {
                return Err(Errno::EINVAL.into());
            }
            let mut from = Cursor::read(cx, in_ptr)?;
            let nonblock = (asked || output.nonblocking(), input.nonblocking());
            let r = splice_to_pipe(cx, &input, &mut from, &pipe, len, nonblock);
            from.write_back(cx, in_ptr)?;
            r
        }
        (None, None) => Err(Errno::EINVAL.into()),
    }
}

pub(super) fn tee(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let len = args.get::<usize>(2).min(MAX_RW_COUNT);
    let flags: u32 = args.get(3);
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let input = readable(cx, args.get(0))?;
    let output = writable(cx, args.get(1))?;
    let from = pipe_of(&input).cloned().ok_or(Errno::EINVAL)?;
    let to = pipe_of(&output).cloned().ok_or(Errno::EINVAL)?;
    if Arc::ptr_eq(&from, &to) {
        return Err(Errno::EINVAL.into());
    }
    let nonblock = flags & SPLICE_F_NONBLOCK != 0 || input.nonblocking() || output.nonblocking();
    tee_pipes(cx, &from, &to, len, nonblock)
}

pub(super) fn vmsplice(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(3);
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(args.get(0))?;
    let pipe = pipe_of(&file).cloned().ok_or(Errno::EBADF)?;
    let mm = cx.mm;
    let mut iov = IoVecs::read(&**mm, args.get(1), args.get(2))?;
    if Sink::remaining(&iov) == 0 {
        return Ok(0);
    }
    let nonblock = flags & SPLICE_F_NONBLOCK != 0 || file.nonblocking();
    if !file.flags().writable() {
        let outcome = pipe.read(&mut iov);
        let n = file_wait(cx, &file, Events::READABLE, nonblock, outcome)?;
        return Ok(super::count(n));
    }
    let mut done = cx.progress().done;
    iov.skip(done);
    loop {
        match pipe.write(&mut iov, false) {
            Ok(n) => {
                done += n;
                cx.progress().done = done;
                if n == 0 || Source::remaining(&iov) == 0 {
                    return Ok(super::count(done));
                }
            }
            // It waits for some room, not for enough.
            Err(_) if done > 0 => return Ok(super::count(done)),
            Err(e) => return stopped(cx, &file, Events::WRITABLE, nonblock, 0, e),
        }
    }
}

pub(super) fn copy_file_range(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (in_ptr, out_ptr): (UserPtr<i64>, UserPtr<i64>) = (args.get(1), args.get(3));
    let input = cx.file(args.get(0))?;
    let output = cx.file(args.get(2))?;
    let before = cx.progress().done;
    let len = args
        .get::<usize>(4)
        .min(MAX_RW_COUNT)
        .saturating_sub(before);
    if args.get::<u32>(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (a, b) = (input.inode().file_type(), output.inode().file_type());
    if a == FileType::Directory || b == FileType::Directory {
        return Err(Errno::EISDIR.into());
    }
    if a != FileType::Regular || b != FileType::Regular {
        return Err(Errno::EINVAL.into());
    }
    if !input.flags().readable()
        || !output.flags().writable()
        || output.flags().contains(OpenFlags::APPEND)
    {
        return Err(Errno::EBADF.into());
    }
    let mut from = Cursor::read(cx, in_ptr)?;
    let mut to = Cursor::read(cx, out_ptr)?;
    let here = |c: &Cursor, f: &File| match c {
        Cursor::Explicit(at) => Ok(*at),
        Cursor::Own => f.seek(0, crate::vfs::Whence::Current),
    };
    let (start_in, start_out) = (here(&from, &input)?, here(&to, &output)?);
    let max = i64::MAX.cast_unsigned();
    let span = len as u64;
    if start_in.checked_add(span).is_none_or(|e| e > max)
        || start_out.checked_add(span).is_none_or(|e| e > max)
    {
        return Err(Errno::EOVERFLOW.into());
    }
    if crate::vfs::inode::same_inode(input.inode(), output.inode())
        && start_in < start_out.saturating_add(span)
        && start_out < start_in.saturating_add(span)
    {
        return Err(Errno::EINVAL.into());
    }
    let mut done = 0;
    let mut failed = None;
    while done < len {
        let data = match read_chunk(cx, &input, &mut from, len - done) {
            Ok(d) if d.is_empty() => break,
            Ok(d) => d,
            Err(e) => {
                failed = Some(e);
                break;
            }
        };
        let wrote = write_chunk(cx, &output, &mut to, &data, false);
        let n = *wrote.as_ref().unwrap_or(&0);
        from.back(&input, data.len() - n.min(data.len()));
        done += n;
        if let Err(e) = wrote {
            failed = Some(e);
        }
        if n < data.len() || done >= TURN {
            break;
        }
    }
    match failed {
        Some(e) if done == 0 && before == 0 => return Err(e.into()),
        _ => {}
    }
    from.write_back(cx, in_ptr)?;
    to.write_back(cx, out_ptr)?;
    if done >= TURN && done < len && failed.is_none() {
        cx.progress().done = before + done;
        return Err(SysErr::Again);
    }
    let done = before + done;
    if done > 0 {
        notify::file(&input, Mask::ACCESS);
        notify::file(&output, Mask::MODIFY);
    }
    Ok(super::count(done))
}
