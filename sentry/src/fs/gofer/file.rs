//! Open regular files: I/O on the descriptor that the gofer donated, always at explicit offsets, never mapped here.

use super::inode::GoferInode;
use crate::abi::{Errno, Result};
use crate::fs::host::sys;
use crate::sync::aside;
use crate::usermem::{Sink, Source, with_buffer};
use crate::vfs::file::default_seek;
use crate::vfs::loan::Fixed;
use crate::vfs::{
    Caller, File, FileOps, Inode, MapSource, OpenFlags, Stat, Whence, host, permission,
};
use nix::errno::Errno as HostErrno;
use nix::fcntl::FallocateFlags;
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn retry<T>(mut f: impl FnMut() -> nix::Result<T>) -> Result<T> {
    loop {
        match f() {
            Err(HostErrno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// What a write has at least that is made aside, in bytes: it takes long enough to be worth it.
const MUCH: usize = 128 << 10;

/// A host offset.
fn offset(pos: u64) -> Result<i64> {
    i64::try_from(pos).map_err(|_| Errno::EINVAL)
}

/// An open regular file.
pub(super) struct GoferFile {
    inode: Arc<GoferInode>,
    fd: Arc<OwnedFd>,
    /// The descriptor allows no more than the guest's open mode, so a guest process may have it.
    exact: bool,
    /// It cannot be told beforehand whether a read waits for the disk.
    blind: AtomicBool,
}

impl GoferFile {
    pub fn new(inode: Arc<GoferInode>, fd: Arc<OwnedFd>, exact: bool) -> GoferFile {
        GoferFile {
            inode,
            fd,
            exact,
            blind: AtomicBool::new(false),
        }
    }

    /// Fills as much of `buf` as the file has from `at`; waits for the disk aside.
    fn read_at(&self, buf: &mut [u8], at: u64) -> Result<usize> {
        let host = offset(at)?;
        if self.blind.load(Ordering::Relaxed) {
            return retry(|| nix::sys::uio::pread(&*self.fd, buf, host));
        }
        let cached = match sys::read_cached(&*self.fd, buf, host) {
            Ok(n) if n == buf.len() || self.ends_at(at.saturating_add(n as u64)) => return Ok(n),
            Ok(n) => n,
            Err(Errno::EOPNOTSUPP) => {
                self.blind.store(true, Ordering::Relaxed);
                return retry(|| nix::sys::uio::pread(&*self.fd, buf, host));
            }
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(e) => return Err(e),
        };
        let rest = buf.get_mut(cached..).unwrap_or_default();
        let host = offset(at.saturating_add(cached as u64))?;
        if cached > 0 {
            // Most often it is the end of the file.
            if let Ok(0) = sys::read_cached(&*self.fd, rest, host) {
                return Ok(cached);
            }
        }
        let more = aside(|| retry(|| nix::sys::uio::pread(&*self.fd, rest, host)));
        match more {
            Ok(n) => Ok(cached.saturating_add(n)),
            Err(_) if cached > 0 => Ok(cached),
            Err(e) => Err(e),
        }
    }

    /// Whether the file is known to end here or before.
    fn ends_at(&self, at: u64) -> bool {
        self.inode.fs.immutable() && self.inode.stat().is_ok_and(|s| s.size <= at)
    }

    /// Has the disk catch up.
    fn sync(&self, data_only: bool) -> Result<()> {
        aside(|| {
            if data_only {
                retry(|| nix::unistd::fdatasync(&*self.fd))
            } else {
                retry(|| nix::unistd::fsync(&*self.fd))
            }
        })
    }

    /// What a write leaves behind: old attributes, set-id bits, and data not yet on the disk.
    fn written(&self, file: &File, cx: &dyn Caller) -> Result<()> {
        self.inode.fs.changed();
        if self.inode.may_be_setid() {
            permission::written(cx, &*self.inode)?;
        }
        let flags = file.flags();
        if flags.contains(OpenFlags::SYNC) {
            self.sync(false)
        } else if flags.contains(OpenFlags::DSYNC) {
            self.sync(true)
        } else {
            Ok(())
        }
    }
}

impl FileOps for GoferFile {
    fn read(&self, _: &File, _: &dyn Caller, dst: &mut dyn Sink, pos: &mut u64) -> Result<usize> {
        with_buffer(dst.remaining(), |buf| {
            let mut total = 0_usize;
            while dst.remaining() > 0 {
                let want = dst.remaining().min(buf.len());
                let Some(part) = buf.get_mut(..want) else {
                    break;
                };
                let got = match self.read_at(part, *pos) {
                    Ok(got) => got,
                    Err(e) if total == 0 => return Err(e),
                    Err(_) => break,
                };
                let put = dst.put(part.get(..got).unwrap_or_default());
                let taken = match put {
                    Ok(taken) => taken,
                    Err(e) if total == 0 => return Err(e),
                    Err(_) => break,
                };
                *pos = pos.saturating_add(u64::try_from(taken).unwrap_or(0));
                total = total.saturating_add(taken);
                if taken < want {
                    break;
                }
            }
            Ok(total)
        })
    }

    fn write(
        &self,
        file: &File,
        cx: &dyn Caller,
        src: &mut dyn Source,
        pos: &mut u64,
        append: bool,
    ) -> Result<usize> {
        if src.remaining() == 0 {
            return Ok(0);
        }
        let one_writer = self.inode.writers.lock();
        let total = with_buffer(src.remaining(), |buf| {
            let mut total = 0_usize;
            while src.remaining() > 0 {
                let got = match src.take(buf) {
                    Ok(got) => got,
                    Err(e) if total == 0 => return Err(e),
                    Err(_) => break,
                };
                let data = buf.get(..got).unwrap_or_default();
                let at = i64::try_from(*pos).map_err(|_| Errno::EFBIG)?;
                let write = || {
                    if append {
                        sys::append(&*self.fd, data, at)
                    } else {
                        retry(|| nix::sys::uio::pwrite(&*self.fd, data, at))
                    }
                };
                // Who has written much may have to wait for the disk.
                let wrote = if got >= MUCH { aside(write) } else { write() };
                let n = match wrote {
                    Ok(n) => n.min(got),
                    Err(Errno::EINTR) => 0,
                    Err(e) => {
                        src.unread(got);
                        if total == 0 {
                            return Err(e);
                        }
                        break;
                    }
                };
                src.unread(got.saturating_sub(n));
                *pos = pos.saturating_add(u64::try_from(n).unwrap_or(0));
                total = total.saturating_add(n);
                if n < got {
                    break;
                }
            }
            Ok(total)
        })?;
        if append && total > 0 {
            *pos = self.inode.stat_of(&self.fd)?.size;
        }
        drop(one_writer);
        if total > 0 {
            self.written(file, cx)?;
        }
        Ok(total)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn fixed(&self) -> Fixed {
        Fixed::PLACES
    }
    fn seek(&self, file: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        let host = match whence {
            Whence::Data => nix::unistd::Whence::SeekData,
            Whence::Hole => nix::unistd::Whence::SeekHole,
            Whence::Set | Whence::Current => return default_seek(0, pos, offset, whence),
            Whence::End => return default_seek(self.stat(file)?.size, pos, offset, whence),
        };
        if offset < 0 {
            return Err(Errno::ENXIO);
        }
        // Moves the description's own offset too, which nothing here uses.
        let at = retry(|| nix::unistd::lseek(&*self.fd, offset, host))?;
        u64::try_from(at).map_err(|_| Errno::EOVERFLOW)
    }

    fn stat(&self, _: &File) -> Result<Stat> {
        if self.inode.fs.immutable() {
            return self.inode.stat();
        }
        self.inode.stat_of(&self.fd)
    }

    fn map(&self, file: &File, _shared: bool, _write: bool) -> Result<MapSource> {
        if self.exact {
            return Ok(MapSource::Host(self.fd.clone()));
        }
        if !file.flags().readable() || file.flags().writable() {
            return Err(Errno::EACCES);
        }
        Ok(MapSource::Host(Arc::new(host::reopen_read_only(&self.fd)?)))
    }

    fn fsync(&self, _: &File, data_only: bool) -> Result<()> {
        if self.inode.fs.immutable() {
            return Ok(());
        }
        self.sync(data_only)
    }

    fn fallocate(
        &self,
        file: &File,
        cx: &dyn Caller,
        mode: u32,
        start: u64,
        len: u64,
    ) -> Result<()> {
        const KEEP_SIZE: u32 = 1;
        let end = start.checked_add(len).ok_or(Errno::EFBIG)?;
        if mode & KEEP_SIZE == 0 && end > cx.file_size_limit() && end > self.stat(file)?.size {
            return Err(Errno::EFBIG);
        }
        let mode = FallocateFlags::from_bits_retain(mode.cast_signed());
        let start = i64::try_from(start).map_err(|_| Errno::EFBIG)?;
        let len = i64::try_from(len).map_err(|_| Errno::EFBIG)?;
        retry(|| nix::fcntl::fallocate(&*self.fd, mode, start, len))?;
        self.written(file, cx)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
