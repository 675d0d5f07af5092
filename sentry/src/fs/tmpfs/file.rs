//! Open files and directories of a tmpfs.

use super::inode::{Content, TmpfsInode};
use super::memfd::{F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE};
use crate::abi::{Errno, Result};
use crate::usermem::{Sink, Source, put_all, with_buffer};
use crate::vfs::file::default_seek;
use crate::vfs::loan::Fixed;
use crate::vfs::pages::{LentPages, PageLoan};
use crate::vfs::{
    Caller, File, FileOps, MapSource, MountFlags, OpenFlags, Readdir, Whence, permission,
};
use std::any::Any;
use std::sync::Arc;

/// FALLOC_FL_KEEP_SIZE.
const KEEP_SIZE: u32 = 1;
/// FALLOC_FL_PUNCH_HOLE.
const PUNCH_HOLE: u32 = 2;

pub(super) struct RegularFile(pub Arc<TmpfsInode>);
pub(super) struct DirectoryFile(pub Arc<TmpfsInode>);

impl TmpfsInode {
    /// truncate(2).
    ///
    /// # Errors
    /// EPERM against a seal; EFBIG; EISDIR, EINVAL for what has no size.
    pub(in crate::fs) fn set_size(&self, size: u64) -> Result<()> {
        let data = self.data()?;
        let mut d = data.lock();
        self.resizes();
        if (size < d.size() && d.seals & F_SEAL_SHRINK != 0)
            || (size > d.size() && d.seals & F_SEAL_GROW != 0)
        {
            return Err(Errno::EPERM);
        }
        self.lent.end();
        d.truncate(&self.fs, size)
    }

    /// Writes at `pos` past all checks and without touching the times.
    ///
    /// # Errors
    /// ENOSPC, also if only a part found room.
    pub(in crate::fs) fn write_raw(&self, pos: u64, bytes: &[u8]) -> Result<()> {
        let n = {
            let mut d = self.data()?.lock();
            self.resizes();
            let _held = self.lent.hold();
            d.write(&self.fs, pos, bytes)?
        };
        if n < bytes.len() {
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn read_at(&self, dst: &mut dyn Sink, pos: &mut u64) -> Result<usize> {
        let data = self.data()?;
        with_buffer(dst.remaining(), |buf| {
            let mut total = 0usize;
            loop {
                let want = dst.remaining().min(buf.len());
                let Some(part) = buf.get_mut(..want).filter(|p| !p.is_empty()) else {
                    break;
                };
                let got = data.lock().read(*pos, part)?;
                let bytes = part.get(..got).unwrap_or_default();
                let put = match put_all(dst, bytes) {
                    Ok(n) => n,
                    Err(e) if total == 0 => return Err(e),
                    Err(_) => break,
                };
                *pos = pos.saturating_add(put as u64);
                total += put;
                if put < want {
                    break;
                }
            }
            Ok(total)
        })
    }

    fn write_at(&self, src: &mut dyn Source, pos: &mut u64, append: bool) -> Result<usize> {
        let Content::Regular { data, writers } = &self.content else {
            return Err(Errno::EINVAL);
        };
        let _whole = writers.lock();
        let _held = self.lent.hold();
        if append {
            *pos = data.lock().size();
        }
        let mut total = 0usize;
        let outcome = with_buffer(src.remaining(), |buf| {
            while src.remaining() > 0 {
                let got = src.take(buf)?;
                let bytes = buf.get(..got).unwrap_or_default();
                if bytes.is_empty() {
                    break;
                }
                let wrote = {
                    let mut d = data.lock();
                    self.resizes();
                    let end = pos.saturating_add(got as u64);
                    if d.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0
                        || (d.seals & F_SEAL_GROW != 0 && end > d.size())
                    {
                        Err(Errno::EPERM)
                    } else {
                        d.write(&self.fs, *pos, bytes)
                    }
                };
                let n = match wrote {
                    Ok(n) => n,
                    Err(e) => {
                        src.unread(got);
                        return Err(e);
                    }
                };
                *pos = pos.saturating_add(n as u64);
                total += n;
                if n < got {
                    src.unread(got - n);
                    break;
                }
            }
            Ok(())
        });
        if total > 0 {
            self.touch_mtime();
            return Ok(total);
        }
        outcome.map(|()| 0)
    }
}

impl RegularFile {
    /// The contents were read.
    fn touched(&self, file: &File) {
        let mount = file.path().map(|p| p.mount.flags());
        if !file.noatime() {
            let strict = mount.is_some_and(|f| !f.contains(MountFlags::RELATIME));
            self.0.touch_atime(!strict);
        }
    }
}

impl FileOps for RegularFile {
    fn read(
        &self,
        file: &File,
        _: &dyn Caller,
        dst: &mut dyn Sink,
        pos: &mut u64,
    ) -> Result<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let n = self.0.read_at(dst, pos)?;
        self.touched(file);
        Ok(n)
    }
    fn write(
        &self,
        _: &File,
        cx: &dyn Caller,
        src: &mut dyn Source,
        pos: &mut u64,
        append: bool,
    ) -> Result<usize> {
        let n = self.0.write_at(src, pos, append)?;
        if n > 0 {
            permission::written(cx, &*self.0)?;
        }
        Ok(n)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn fixed(&self) -> Fixed {
        Fixed::PLACES | Fixed::PAGES
    }
    fn lend_pages(
        &self,
        file: &File,
        to: Arc<dyn PageLoan>,
        write: bool,
        limit: u64,
    ) -> Option<LentPages> {
        self.lend(file, to, write, limit)
    }
    fn flags_changed(&self, _: &File, _: OpenFlags) {
        // Appending, and whether reads are noted.
        self.0.lent.end();
    }
    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        let d = self.0.data()?.lock();
        match whence {
            Whence::Data | Whence::Hole => {
                let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                d.seek(from, whence == Whence::Data)
            }
            _ => default_seek(d.size(), pos, offset, whence),
        }
    }
    fn map(&self, file: &File, shared: bool, write: bool) -> Result<MapSource> {
        let writable = shared && file.flags().writable();
        let sealed = !self.may_share_writable();
        if sealed && shared && write {
            return Err(Errno::EPERM);
        }
        self.touched(file);
        let fd = self.0.host_fd(writable && !sealed)?;
        Ok(MapSource::Host(fd))
    }
    fn may_share_writable(&self) -> bool {
        let data = self.0.data();
        data.is_ok_and(|d| d.lock().seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) == 0)
    }
    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }
    fn fallocate(&self, _: &File, cx: &dyn Caller, mode: u32, offset: u64, len: u64) -> Result<()> {
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let fs = &self.0.fs;
        let mut d = self.0.data()?.lock();
        self.0.resizes();
        match mode {
            m if m == KEEP_SIZE | PUNCH_HOLE => {
                if d.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0 {
                    return Err(Errno::EPERM);
                }
                self.0.lent.end();
                d.punch(fs, offset, end)?;
            }
            0 | KEEP_SIZE => {
                // FALLOC_FL_KEEP_SIZE too (`shmem_fallocate`).
                if end > d.size() {
                    if d.seals & F_SEAL_GROW != 0 {
                        return Err(Errno::EPERM);
                    }
                    if end > cx.file_size_limit() {
                        return Err(Errno::EFBIG);
                    }
                }
                self.0.lent.end();
                d.allocate(fs, offset, end, mode == KEEP_SIZE)?;
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        drop(d);
        self.0.touch_mtime();
        permission::written(cx, &*self.0)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl FileOps for DirectoryFile {
    fn read(&self, _: &File, _: &dyn Caller, _: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        match whence {
            Whence::Set | Whence::Current => default_seek(0, pos, offset, whence),
            _ => Err(Errno::EINVAL),
        }
    }
    fn readdir(
        &self,
        file: &File,
        _: &dyn Caller,
        pos: &mut u64,
        emit: &mut Readdir<'_>,
    ) -> Result<()> {
        self.0.dir()?.lock().list(self.0.ino, pos, emit);
        if !file.noatime() {
            self.0.touch_atime(true);
        }
        Ok(())
    }
    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
