//! Reading and writing host descriptors without ever waiting in the host.

use super::inode::{HostInode, convert_stat};
use super::poller::{HostPoller, HostWatch};
use super::sys;
use crate::abi::{Errno, Result};
use crate::sync::{Events, WaitQueue, aside};
use crate::usermem::{Sink, Source, UserPtr};
use crate::vfs::{
    Caller, File, FileOps, FileType, MapSource, OWN_POSITION, OpenFlags, Stat, Whence,
};
use nix::errno::Errno as HostErrno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::MsgFlags;
use std::any::Any;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

/// Most bytes of one host call.
const CHUNK: usize = 128 << 10;
/// A write of at most this many bytes to a writable pipe does not wait.
const PIPE_BUF: usize = 4096;

/// How to use a descriptor without waiting.
enum Wait {
    /// It never waits: regular files, block devices, memory devices.
    Never,
    /// A description of our own with O_NONBLOCK.
    NonBlocking(Arc<HostWatch>),
    /// A socket: MSG_DONTWAIT.
    Socket(Arc<HostWatch>),
    /// A shared description: poll first.
    PollFirst(Arc<HostWatch>),
}

/// A host descriptor, shared by the open files over it.
pub(super) struct HostObject {
    pub fd: Arc<OwnedFd>,
    pub file_type: FileType,
    /// Access mode and O_APPEND of the description.
    pub access: OpenFlags,
    wait: Wait,
    seekable: bool,
    terminal: bool,
}

impl HostObject {
    fn new(fd: OwnedFd, poller: &Arc<HostPoller>) -> io::Result<HostObject> {
        let stat = nix::sys::stat::fstat(&fd)?;
        let file_type =
            FileType::from_mode(stat.st_mode).ok_or(io::Error::from_raw_os_error(libc::EINVAL))?;
        if file_type == FileType::Directory {
            // A directory would be a way to the host's tree.
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        let raw = nix::fcntl::fcntl(&fd, FcntlArg::F_GETFL)?;
        let host_flags = OFlag::from_bits_retain(raw);
        let access = OpenFlags::from_bits_retain(raw.cast_unsigned())
            & (OpenFlags::WRONLY | OpenFlags::RDWR | OpenFlags::APPEND | OpenFlags::PATH);
        if host_flags.contains(OFlag::O_PATH) {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let terminal = sys::tcgets(&fd).is_ok();
        let (fd, own) = match file_type {
            FileType::Fifo => reopen(fd, host_flags),
            FileType::CharDevice if terminal => reopen(fd, host_flags),
            _ => (fd, false),
        };
        let seekable = nix::unistd::lseek(&fd, 0, nix::unistd::Whence::SeekCur).is_ok();
        let fd = Arc::new(fd);
        let wait = match (file_type, poller.watch(fd.clone())?) {
            (_, None) => Wait::Never,
            (FileType::Socket, Some(w)) => Wait::Socket(w),
            (_, Some(w)) if own => Wait::NonBlocking(w),
            (_, Some(w)) => Wait::PollFirst(w),
        };
        Ok(HostObject {
            fd,
            file_type,
            access,
            wait,
            seekable,
            terminal,
        })
    }

    pub fn stat(&self) -> Result<Stat> {
        convert_stat(&nix::sys::stat::fstat(&*self.fd)?)
    }

    pub fn truncate(&self, size: u64) -> Result<()> {
        if !self.access.writable() {
            return Err(Errno::EACCES);
        }
        let size = i64::try_from(size).map_err(|_| Errno::EINVAL)?;
        Ok(nix::unistd::ftruncate(&*self.fd, size)?)
    }

    fn watch(&self) -> Option<&Arc<HostWatch>> {
        match &self.wait {
            Wait::Never => None,
            Wait::NonBlocking(w) | Wait::Socket(w) | Wait::PollFirst(w) => Some(w),
        }
    }

    fn ready(&self) -> Events {
        let Some(watch) = self.watch() else {
            return Events::READABLE | Events::WRITABLE;
        };
        let events = self.host_poll();
        // One who waits must hear of the next change, also if the file is ready for something else now.
        if events.is_empty() || !watch.queue().is_empty() {
            watch.arm();
        }
        events
    }

    fn host_poll(&self) -> Events {
        let all = PollFlags::POLLIN
            | PollFlags::POLLPRI
            | PollFlags::POLLOUT
            | PollFlags::POLLRDNORM
            | PollFlags::POLLRDBAND
            | PollFlags::POLLWRNORM
            | PollFlags::POLLWRBAND
            | PollFlags::from_bits_retain(libc::POLLRDHUP);
        let mut fds = [PollFd::new(self.fd.as_fd(), all)];
        loop {
            match nix::poll::poll(&mut fds, PollTimeout::ZERO) {
                Err(HostErrno::EINTR) => continue,
                Err(_) => return Events::ERR,
                Ok(_) => break,
            }
        }
        let bits = fds
            .iter()
            .filter_map(PollFd::revents)
            .fold(0, |a, r| a | r.bits().cast_unsigned());
        Events::from_bits_truncate(u32::from(bits))
    }

    /// One host read into `buf`. `pos` as [`FileOps::read`] has it.
    fn read_once(&self, buf: &mut [u8], pos: u64) -> Result<usize> {
        let fd = &*self.fd;
        let n = retry(|| match &self.wait {
            Wait::Never if pos != OWN_POSITION && self.seekable => {
                nix::sys::uio::pread(fd, buf, i64::try_from(pos).unwrap_or(i64::MAX))
            }
            Wait::Socket(_) => nix::sys::socket::recv(fd.as_raw_fd(), buf, MsgFlags::MSG_DONTWAIT),
            Wait::PollFirst(_)
                if !self
                    .host_poll()
                    .intersects(Events::IN | Events::HUP | Events::ERR) =>
            {
                Err(HostErrno::EAGAIN)
            }
            _ => nix::unistd::read(fd, buf),
        });
        self.armed_if_again(n)
    }

    fn write_once(&self, data: &[u8], pos: u64, append: bool) -> Result<usize> {
        let fd = &*self.fd;
        if self.file_type == FileType::Regular && append && !self.access.contains(OpenFlags::APPEND)
        {
            let at = if pos == OWN_POSITION {
                -1
            } else {
                i64::try_from(pos).map_err(|_| Errno::EFBIG)?
            };
            return sys::append(fd, data, at);
        }
        let n = retry(|| match &self.wait {
            Wait::Never if pos != OWN_POSITION && self.seekable => {
                nix::sys::uio::pwrite(fd, data, i64::try_from(pos).unwrap_or(i64::MAX))
            }
            Wait::Socket(_) => nix::sys::socket::send(
                fd.as_raw_fd(),
                data,
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            ),
            Wait::PollFirst(_) => {
                if !self.host_poll().intersects(Events::OUT | Events::ERR) {
                    return Err(HostErrno::EAGAIN);
                }
                nix::unistd::write(fd, data.get(..data.len().min(PIPE_BUF)).unwrap_or(data))
            }
            _ => nix::unistd::write(fd, data),
        });
        self.armed_if_again(n)
    }

    fn armed_if_again<T>(&self, r: Result<T>) -> Result<T> {
        if let (Err(Errno::EAGAIN), Some(w)) = (&r, self.watch()) {
            w.arm();
        }
        r
    }
}

fn retry<T>(mut f: impl FnMut() -> nix::Result<T>) -> Result<T> {
    loop {
        match f() {
            Err(HostErrno::EINTR) => continue,
            other => return Ok(other?),
        }
    }
}

/// A description of our own of the same pipe or terminal, with O_NONBLOCK; the old one and false if the host refuses.
/// One that is O_NONBLOCK already never waits: the launcher has opened it for us, or its owners want it so.
fn reopen(fd: OwnedFd, flags: OFlag) -> (OwnedFd, bool) {
    if flags.contains(OFlag::O_NONBLOCK) {
        return (fd, true);
    }
    let mode = flags & OFlag::O_ACCMODE;
    let opened = std::fs::OpenOptions::new()
        .read(mode != OFlag::O_WRONLY)
        .write(mode != OFlag::O_RDONLY)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits())
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    match opened {
        Ok(f) => (OwnedFd::from(f), true),
        Err(e) => {
            log::debug!("host descriptor {}: reopen: {e}", fd.as_raw_fd());
            (fd, false)
        }
    }
}

/// An open file over a host descriptor.
pub struct HostFile {
    object: Arc<HostObject>,
    /// Uses the host description's offset; false for one that the guest opened anew through /proc/self/fd.
    own_position: bool,
}

impl HostFile {
    /// A file over `fd`, with its access mode. Call before lock-down: pipes and terminals are reopened.
    ///
    /// # Errors
    /// EISDIR for directories, EBADF for O_PATH descriptors, and what fstat, fcntl and epoll_ctl give.
    pub fn open(fd: OwnedFd, poller: &Arc<HostPoller>) -> io::Result<Arc<File>> {
        let object = Arc::new(HostObject::new(fd, poller)?);
        let flags = object.access;
        let inode = Arc::new(HostInode {
            meta: Default::default(),
            object: object.clone(),
        });
        let ops = HostFile {
            own_position: object.seekable,
            object,
        };
        Ok(File::new(Box::new(ops), inode, None, flags))
    }

    pub(super) fn reopened(object: Arc<HostObject>) -> HostFile {
        HostFile {
            object,
            own_position: false,
        }
    }

    /// Whether the host descriptor is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.object.terminal
    }
}

impl FileOps for HostFile {
    fn read(
        &self,
        _file: &File,
        _cx: &dyn Caller,
        dst: &mut dyn Sink,
        pos: &mut u64,
    ) -> Result<usize> {
        let mut buf = vec![0u8; dst.remaining().min(CHUNK)];
        let mut total = 0;
        while dst.remaining() > 0 {
            let want = dst.remaining().min(buf.len());
            let Some(part) = buf.get_mut(..want) else {
                break;
            };
            let got = match self.object.read_once(part, *pos) {
                Ok(n) => n,
                Err(e) if total == 0 => return Err(e),
                Err(_) => break,
            };
            let put = dst.put(part.get(..got).unwrap_or(&[]));
            let taken = *put.as_ref().unwrap_or(&0);
            if *pos != OWN_POSITION {
                *pos = pos.saturating_add(taken as u64);
            } else if taken < got && self.object.seekable {
                let back = -i64::try_from(got - taken).unwrap_or(0);
                let _ = nix::unistd::lseek(&*self.object.fd, back, nix::unistd::Whence::SeekCur);
            }
            total += taken;
            if let (Err(e), 0) = (put, total) {
                return Err(e);
            }
            // Streams give what there is; only files are read until the buffer is full.
            if taken < want || !matches!(self.object.wait, Wait::Never) {
                break;
            }
        }
        Ok(total)
    }

    fn write(
        &self,
        _file: &File,
        _cx: &dyn Caller,
        src: &mut dyn Source,
        pos: &mut u64,
        append: bool,
    ) -> Result<usize> {
        let mut buf = vec![0u8; src.remaining().min(CHUNK)];
        let mut total = 0;
        while src.remaining() > 0 {
            let got = match src.take(&mut buf) {
                Ok(n) => n,
                Err(e) if total == 0 => return Err(e),
                Err(_) => break,
            };
            let data = buf.get(..got).unwrap_or(&[]);
            match self.object.write_once(data, *pos, append) {
                Ok(n) => {
                    src.unread(got.saturating_sub(n));
                    total += n;
                    if *pos != OWN_POSITION {
                        *pos = pos.saturating_add(n as u64);
                    }
                    if n == 0 {
                        break;
                    }
                }
                Err(e) => {
                    src.unread(got);
                    if total == 0 {
                        return Err(e);
                    }
                    break;
                }
            }
        }
        if append && *pos != OWN_POSITION && total > 0 {
            *pos = self.object.stat()?.size;
        }
        Ok(total)
    }

    fn seekable(&self) -> bool {
        self.object.seekable
    }
    fn own_position(&self) -> bool {
        self.own_position
    }
    fn seek(&self, _file: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        let host = match whence {
            Whence::Set => nix::unistd::Whence::SeekSet,
            Whence::Current => nix::unistd::Whence::SeekCur,
            Whence::End => nix::unistd::Whence::SeekEnd,
            Whence::Data => nix::unistd::Whence::SeekData,
            Whence::Hole => nix::unistd::Whence::SeekHole,
        };
        if !self.own_position {
            let size = self.object.stat()?.size;
            return crate::vfs::file::default_seek(size, pos, offset, whence);
        }
        let new = nix::unistd::lseek(&*self.object.fd, offset, host)?;
        u64::try_from(new).map_err(|_| Errno::EOVERFLOW)
    }
    fn stat(&self, _file: &File) -> Result<Stat> {
        self.object.stat()
    }
    fn poll(&self, _file: &File) -> Events {
        self.object.ready()
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        let watch = self.object.watch()?;
        watch.arm();
        Some(watch.queue().clone())
    }
    fn ioctl(&self, _file: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        let mem = cx.memory();
        let fd = &*self.object.fd;
        if u64::from(cmd) == libc::FIONREAD {
            mem.put(UserPtr::new(arg), &sys::bytes_readable(fd)?)?;
            return Ok(0);
        }
        if !self.object.terminal {
            return Err(Errno::ENOTTY);
        }
        // A terminal of the host: settings and size pass, job control is the host's own business.
        match u64::from(cmd) {
            libc::TCGETS => mem.put(UserPtr::new(arg), &sys::tcgets(fd)?)?,
            libc::TCSETS | libc::TCSETSW | libc::TCSETSF => {
                sys::tcsets(fd, cmd, &mem.get(UserPtr::new(arg))?)?;
            }
            libc::TIOCGWINSZ => mem.put(UserPtr::new(arg), &sys::winsize(fd)?)?,
            libc::TIOCOUTQ => mem.put(UserPtr::new(arg), &sys::bytes_queued(fd)?)?,
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }
    fn map(&self, _file: &File, _shared: bool, _write: bool) -> Result<MapSource> {
        if self.object.file_type == FileType::Regular {
            Ok(MapSource::Host(self.object.fd.clone()))
        } else {
            Err(Errno::ENODEV)
        }
    }
    fn fsync(&self, _file: &File, data_only: bool) -> Result<()> {
        let fd = &*self.object.fd;
        aside(|| {
            if data_only {
                nix::unistd::fdatasync(fd)
            } else {
                nix::unistd::fsync(fd)
            }
        })?;
        Ok(())
    }
    fn fallocate(
        &self,
        _file: &File,
        _cx: &dyn Caller,
        mode: u32,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        Ok(nix::fcntl::fallocate(
            &*self.object.fd,
            FallocateFlags::from_bits_retain(mode.cast_signed()),
            i64::try_from(offset).map_err(|_| Errno::EFBIG)?,
            i64::try_from(len).map_err(|_| Errno::EFBIG)?,
        )?)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
