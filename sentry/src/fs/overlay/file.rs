//! Open files and directories of an overlay.

use super::inode::{OverlayInode, origin};
use super::is_whiteout;
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::usermem::{Sink, Source};
use crate::vfs::file::default_seek;
use crate::vfs::loan::Fixed;
use crate::vfs::pages::{LentPages, PageLoan};
use crate::vfs::{
    Caller, DirEntry, File, FileOps, FileType, Inode, InodeRef, KernelCaller, MapSource, OpenFlags,
    Readdir, Whence,
};
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// An open regular file: passes everything on to the layer that has the data. One that was opened on the lower layer for
/// reading moves to the copy once there is one.
pub(super) struct OverlayFile {
    inode: Arc<OverlayInode>,
    first: Box<dyn FileOps>,
    /// Whether `first` is of the lower layer.
    lower: bool,
    copy: OnceLock<Box<dyn FileOps>>,
}

impl OverlayFile {
    pub(super) fn open(
        inode: Arc<OverlayInode>,
        cx: &dyn Caller,
        flags: OpenFlags,
    ) -> Result<OverlayFile> {
        let upper = inode.upper();
        let lower = upper.is_none();
        let real = upper.or_else(|| inode.lower.clone()).ok_or(Errno::EIO)?;
        Ok(OverlayFile {
            first: real.open(cx, flags)?,
            inode,
            lower,
            copy: OnceLock::new(),
        })
    }
    fn real(&self, file: &File) -> &dyn FileOps {
        if !self.lower {
            return &*self.first;
        }
        if let Some(c) = self.copy.get() {
            return &**c;
        }
        let Some(upper) = self.inode.upper() else {
            return &*self.first;
        };
        match upper.open(&KernelCaller, file.flags()) {
            Ok(ops) => &**self.copy.get_or_init(|| ops),
            Err(_) => &*self.first,
        }
    }
}

impl FileOps for OverlayFile {
    fn read(
        &self,
        file: &File,
        cx: &dyn Caller,
        dst: &mut dyn Sink,
        pos: &mut u64,
    ) -> Result<usize> {
        self.real(file).read(file, cx, dst, pos)
    }
    fn write(
        &self,
        file: &File,
        cx: &dyn Caller,
        src: &mut dyn Source,
        pos: &mut u64,
        append: bool,
    ) -> Result<usize> {
        self.real(file).write(file, cx, src, pos, append)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn fixed(&self) -> Fixed {
        let pages = self.first.fixed() & Fixed::PAGES;
        if self.lower {
            Fixed::PLACES
        } else {
            Fixed::PLACES | pages
        }
    }
    fn lend_pages(
        &self,
        file: &File,
        to: Arc<dyn PageLoan>,
        write: bool,
        limit: u64,
    ) -> Option<LentPages> {
        self.first
            .lend_pages(file, to, write, limit)
            .filter(|_| !self.lower)
    }
    fn flags_changed(&self, file: &File, new: OpenFlags) {
        if !self.lower {
            self.first.flags_changed(file, new);
        }
    }
    fn seek(&self, file: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        self.real(file).seek(file, pos, offset, whence)
    }
    fn ioctl(&self, file: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        self.real(file).ioctl(file, cx, cmd, arg)
    }
    fn map(&self, file: &File, shared: bool, write: bool) -> Result<MapSource> {
        self.real(file).map(file, shared, write)
    }
    fn fsync(&self, file: &File, data_only: bool) -> Result<()> {
        self.real(file).fsync(file, data_only)
    }
    fn fallocate(
        &self,
        file: &File,
        cx: &dyn Caller,
        mode: u32,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        self.real(file).fallocate(file, cx, mode, offset, len)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Positions from here on count the entries of the lower directory: its own positions may be any number.
const LOWER_PART: u64 = 1 << 62;
/// Entries taken from a layer at once.
const BATCH: usize = 256;

/// An open directory. First come the entries that are only in the upper layer, then those of the lower directory that show
/// or were copied up in place: so copying up does not move an entry in the listing.
pub(super) struct OverlayDirectory {
    inode: Arc<OverlayInode>,
    /// The lower directory, opened when it is first listed.
    lower: OnceLock<Arc<File>>,
    /// Where the last listing of the lower directory stopped: entries passed, and its own position there.
    reached: Mutex<(u64, u64)>,
}

/// A copy of an entry, to be looked at without the layer's locks.
struct Entry {
    ino: u64,
    file_type: FileType,
    name: Box<[u8]>,
    next: u64,
}

fn batch(dir: &Arc<File>, from: u64) -> Result<Vec<Entry>> {
    let mut out = Vec::new();
    let mut pos = from;
    dir.ops().readdir(dir, &KernelCaller, &mut pos, &mut |e| {
        if out.len() == BATCH {
            return false;
        }
        out.push(Entry {
            ino: e.ino,
            file_type: e.file_type,
            name: e.name.into(),
            next: e.next,
        });
        true
    })?;
    Ok(out)
}

fn open_dir(dir: &InodeRef) -> Result<Arc<File>> {
    let flags = OpenFlags::DIRECTORY;
    Ok(File::new(
        dir.clone().open(&KernelCaller, flags)?,
        dir.clone(),
        None,
        flags,
    ))
}

fn is_dot(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

impl OverlayDirectory {
    pub(super) fn new(inode: Arc<OverlayInode>) -> OverlayDirectory {
        OverlayDirectory {
            inode,
            lower: OnceLock::new(),
            reached: Mutex::new(Rank::LEAF, (0, 0)),
        }
    }
    fn lower(&self) -> Result<Option<&Arc<File>>> {
        let Some(inode) = &self.inode.lower else {
            return Ok(None);
        };
        if let Some(f) = self.lower.get() {
            return Ok(Some(f));
        }
        let f = open_dir(inode)?;
        Ok(Some(self.lower.get_or_init(|| f)))
    }

    /// Whether the upper object `upper` is the copy of what the lower directory has under its name.
    fn is_copy_in_place(&self, upper: &InodeRef, name: &[u8]) -> bool {
        let (Some(from), Some(dir)) = (origin(upper), &self.inode.lower) else {
            return false;
        };
        dir.lookup(name)
            .is_ok_and(|l| crate::vfs::inode::same_inode(&l, &from))
    }

    /// The entry as it shows in the part of the listing that asks; `None` if it does not.
    fn shown(
        &self,
        upper: Option<&InodeRef>,
        e: &Entry,
        lower_part: bool,
    ) -> Option<(u64, FileType)> {
        let above = match upper.map(|u| u.lookup(&e.name)) {
            Some(Ok(i)) => Some(i),
            Some(Err(_)) | None => None,
        };
        match (above, lower_part) {
            (Some(u), _) => {
                if is_whiteout(&u) || self.is_copy_in_place(&u, &e.name) != lower_part {
                    return None;
                }
                let lower = origin(&u).map(|l| l.stat()).transpose().ok()?;
                let upper = u.stat().ok()?;
                let (_, ino) = (self.inode.fs)
                    .identity(Some(&upper), lower.as_ref())
                    .ok()?;
                Some((ino, u.file_type()))
            }
            (None, true) => Some((e.ino, e.file_type)),
            (None, false) => None,
        }
    }
}

/// Inode number of "..".
fn parent_ino(file: &File, own: u64) -> u64 {
    file.path()
        .and_then(|p| p.parent())
        .and_then(|p| p.inode().stat().ok())
        .map_or(own, |s| s.ino)
}

impl FileOps for OverlayDirectory {
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
        let upper = self.inode.upper();
        let own = self.inode.stat()?.ino;
        for (at, name) in [(0u64, &b"."[..]), (1, b"..")] {
            if *pos > at {
                continue;
            }
            let ino = if at == 0 { own } else { parent_ino(file, own) };
            let e = DirEntry {
                ino,
                file_type: FileType::Directory,
                name,
                next: at + 1,
            };
            if !emit(&e) {
                return Ok(());
            }
            *pos = at + 1;
        }
        if *pos < LOWER_PART {
            if let Some(u) = &upper {
                let dir = open_dir(u)?;
                if !self.list_upper(&dir, u, pos, emit)? {
                    return Ok(());
                }
            }
            if self.inode.lower.is_none() {
                return Ok(());
            }
            *pos = LOWER_PART;
        }
        if let Some(dir) = self.lower()? {
            self.list_lower(dir, upper.as_ref(), pos, emit)?;
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

impl OverlayDirectory {
    /// Shows one entry if it is to be seen; false if there was no room.
    fn show(&self, upper: Option<&InodeRef>, e: &Entry, next: u64, emit: &mut Readdir<'_>) -> bool {
        if is_dot(&e.name) {
            return true;
        }
        let Some((ino, file_type)) = self.shown(upper, e, next >= LOWER_PART) else {
            return true;
        };
        emit(&DirEntry {
            ino,
            file_type,
            name: &e.name,
            next,
        })
    }

    /// Lists what is only in the upper directory; false if there was no more room.
    fn list_upper(
        &self,
        dir: &Arc<File>,
        upper: &InodeRef,
        pos: &mut u64,
        emit: &mut Readdir<'_>,
    ) -> Result<bool> {
        loop {
            let entries = batch(dir, *pos)?;
            if entries.is_empty() {
                return Ok(true);
            }
            for e in entries {
                if !self.show(Some(upper), &e, e.next, emit) {
                    return Ok(false);
                }
                *pos = e.next;
            }
        }
    }

    /// Lists the lower directory from its entry number `*pos - LOWER_PART` on.
    fn list_lower(
        &self,
        dir: &Arc<File>,
        upper: Option<&InodeRef>,
        pos: &mut u64,
        emit: &mut Readdir<'_>,
    ) -> Result<()> {
        let wanted = *pos - LOWER_PART;
        let (mut passed, mut at) = *self.reached.lock();
        if passed > wanted {
            (passed, at) = (0, 0);
        }
        'all: loop {
            let entries = batch(dir, at)?;
            if entries.is_empty() {
                break;
            }
            for e in entries {
                if passed >= wanted {
                    let next = LOWER_PART + passed + 1;
                    if !self.show(upper, &e, next, emit) {
                        break 'all;
                    }
                    *pos = next;
                }
                passed += 1;
                at = e.next;
            }
        }
        *self.reached.lock() = (passed, at);
        Ok(())
    }
}
