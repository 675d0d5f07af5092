//! Open directories: listing them.
//!
//! Positions 0 and 1 are "." and ".."; position 2 is the first entry; from there a position is the host's own cursor, which it
//! accepts again at any time. Cursors 1 and 2, should a host file system use them, are shown as other numbers.

use super::errno;
use super::inode::GoferInode;
use super::listing::{Entry, Listing};
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::usermem::{Sink, Source};
use crate::vfs::file::default_seek;
use crate::vfs::{Caller, DirEntry, File, FileOps, FileType, Readdir, Whence};
use std::any::Any;
use std::sync::Arc;

/// Position of the first entry after "." and "..".
const FIRST: u64 = 2;
/// What stands for the host's cursors 1 and 2.
const MOVED: [(u64, u64); 2] = [
    (1, i64::MAX.cast_unsigned() - 1),
    (2, i64::MAX.cast_unsigned() - 2),
];

fn to_position(cursor: u64) -> u64 {
    let moved = MOVED.iter().find(|(host, _)| *host == cursor);
    moved.map_or(cursor, |(_, shown)| *shown)
}

fn to_cursor(position: u64) -> u64 {
    if position <= FIRST {
        return 0;
    }
    let moved = MOVED.iter().find(|(_, shown)| *shown == position);
    moved.map_or(position, |(host, _)| *host)
}

/// Entries that were read and may be asked for next.
#[derive(Default)]
struct Batch {
    /// Cursor before the first entry.
    from: u64,
    entries: Vec<Entry>,
    eof: bool,
}

impl Batch {
    /// Index of the entry that follows `cursor`, if it can be told.
    fn index(&self, cursor: u64) -> Option<usize> {
        if self.entries.is_empty() && !self.eof {
            return None;
        }
        let at = after(&self.entries, self.from, cursor)?;
        (at < self.entries.len() || self.eof).then_some(at)
    }
}

fn after(entries: &[Entry], from: u64, cursor: u64) -> Option<usize> {
    if cursor == from {
        return Some(0);
    }
    let at = entries.iter().position(|e| e.next == cursor)?;
    at.checked_add(1)
}

/// An open directory.
pub(super) struct GoferDirectory {
    inode: Arc<GoferInode>,
    batch: Mutex<Batch>,
}

impl GoferDirectory {
    pub fn new(inode: Arc<GoferInode>) -> GoferDirectory {
        GoferDirectory {
            inode,
            batch: Mutex::new(Rank::LEAF, Batch::default()),
        }
    }

    /// Lists from a whole listing. False if it does not know the position.
    fn list_known(&self, listing: &Listing, pos: &mut u64, emit: &mut Readdir<'_>) -> bool {
        let Some(at) = after(&listing.entries, 0, to_cursor(*pos)) else {
            return false;
        };
        emit_from(&listing.entries, at, pos, emit);
        true
    }

    /// Lists batch by batch, as the gofer gives them.
    fn list_asking(&self, batch: &mut Batch, pos: &mut u64, emit: &mut Readdir<'_>) -> Result<()> {
        loop {
            let cursor = to_cursor(*pos);
            let at = match batch.index(cursor) {
                Some(at) => at,
                None => {
                    let handle = self.inode.handle()?;
                    let got = self
                        .inode
                        .fs
                        .client()
                        .read_dir(&handle, cursor)
                        .map_err(errno)?;
                    match self.inode.listed(cursor, got) {
                        Ok(listing) => {
                            if self.list_known(&listing, pos, emit) {
                                return Ok(());
                            }
                            return Err(Errno::EINVAL);
                        }
                        Err((entries, eof)) => {
                            *batch = Batch {
                                from: cursor,
                                entries,
                                eof,
                            };
                        }
                    }
                    0
                }
            };
            if !emit_from(&batch.entries, at, pos, emit) || batch.eof {
                return Ok(());
            }
        }
    }
}

/// Emits entries from index `at`; false if there was no room for one.
fn emit_from(entries: &[Entry], at: usize, pos: &mut u64, emit: &mut Readdir<'_>) -> bool {
    for entry in entries.get(at..).unwrap_or_default() {
        let next = to_position(entry.next);
        let shown = DirEntry {
            ino: entry.ino,
            file_type: entry.file_type,
            name: &entry.name,
            next,
        };
        if !emit(&shown) {
            return false;
        }
        *pos = next;
    }
    true
}

impl FileOps for GoferDirectory {
    fn read(&self, _: &File, _: &dyn Caller, _: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn write(
        &self,
        _: &File,
        _: &dyn Caller,
        _: &mut dyn Source,
        _: &mut u64,
        _: bool,
    ) -> Result<usize> {
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
        let rewound = *pos <= FIRST;
        let own = self.inode.key.1;
        let parent = file.path().and_then(|p| p.dentry.parent());
        let parent = parent.and_then(|d| d.inode().stat().ok()).map(|s| s.ino);
        let dots: [(&[u8], u64); 2] = [(b".", own), (b"..", parent.unwrap_or(own))];
        while let Some((name, ino)) = usize::try_from(*pos).ok().and_then(|p| dots.get(p)) {
            let next = pos.saturating_add(1);
            let dot = DirEntry {
                ino: *ino,
                file_type: FileType::Directory,
                name,
                next,
            };
            if !emit(&dot) {
                return Ok(());
            }
            *pos = next;
        }
        if let Some(listing) = self.inode.whole_listing()
            && self.list_known(&listing, pos, emit)
        {
            return Ok(());
        }
        // Taken out while the gofer is asked; the file's position lock keeps a second listing away.
        let mut batch = std::mem::take(&mut *self.batch.lock());
        if rewound {
            batch = Batch::default();
        }
        let result = self.list_asking(&mut batch, pos, emit);
        *self.batch.lock() = batch;
        result
    }
    fn fsync(&self, _: &File, data_only: bool) -> Result<()> {
        if self.inode.fs.immutable() {
            return Ok(());
        }
        let handle = self.inode.handle()?;
        self.inode
            .fs
            .client()
            .fsync(&handle, data_only)
            .map_err(errno)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
