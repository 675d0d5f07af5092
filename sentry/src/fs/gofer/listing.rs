//! What listings of immutable directories told: names, attributes, and which names do not exist.

use super::inode::GoferInode;
use crate::sync::{Mutex, Rank};
use crate::vfs::FileType;
use cofferdam_gofer::client::{DirBatch, DirEntry};
use cofferdam_gofer::protocol::Attr;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// Directories with more entries are not kept.
const MAX_ENTRIES: usize = 16 * 1024;
/// Entries kept in all listings of one file system.
const MAX_KEPT: usize = 64 * 1024;

/// One entry.
pub(super) struct Entry {
    pub name: Box<[u8]>,
    pub ino: u64,
    pub file_type: FileType,
    /// Cursor after this entry.
    pub next: u64,
    pub attr: Option<Attr>,
}

impl From<DirEntry> for Entry {
    fn from(e: DirEntry) -> Entry {
        Entry {
            name: e.name.into(),
            ino: e.ino,
            file_type: e
                .file_type
                .map_or(FileType::Regular, super::attr::file_type),
            next: e.next,
            attr: e.attr,
        }
    }
}

/// A whole directory.
pub(super) struct Listing {
    /// In the host's order.
    pub entries: Vec<Entry>,
    /// Indices of `entries` by name.
    by_name: Vec<u32>,
}

/// What a listing says of a name.
pub(super) enum Known {
    /// It exists, with these attributes.
    Present(Attr),
    /// It does not exist.
    Absent,
    /// Ask.
    Unknown,
}

impl Listing {
    fn new(entries: Vec<Entry>) -> Listing {
        let mut by_name: Vec<u32> = (0..entries.len())
            .filter_map(|i| u32::try_from(i).ok())
            .collect();
        by_name.sort_by_key(|i| name_at(&entries, *i));
        Listing { entries, by_name }
    }

    fn lookup(&self, name: &[u8]) -> Known {
        let found = self
            .by_name
            .binary_search_by_key(&name, |i| name_at(&self.entries, *i));
        let Ok(at) = found else {
            return Known::Absent;
        };
        let entry = self
            .by_name
            .get(at)
            .and_then(|i| self.entries.get(usize::try_from(*i).ok()?));
        match entry.and_then(|e| e.attr) {
            Some(attr) => Known::Present(attr),
            None => Known::Unknown,
        }
    }
}

fn name_at(entries: &[Entry], index: u32) -> &[u8] {
    let entry = usize::try_from(index).ok().and_then(|i| entries.get(i));
    entry.map_or(&[], |e| &e.name)
}

/// How far the listing of one directory has come.
#[derive(Default)]
pub(super) enum Progress {
    /// Read up to this cursor.
    Partial(Vec<Entry>, u64),
    /// Read whole.
    Whole(Arc<Listing>),
    /// Nothing yet, or too many entries.
    #[default]
    None,
}

/// Which directories are kept, oldest first, and how many entries they have together.
pub(super) struct ListingCache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    queue: VecDeque<(Weak<GoferInode>, usize)>,
    total: usize,
}

impl Default for ListingCache {
    fn default() -> ListingCache {
        ListingCache(Mutex::new(Rank::LEAF, Kept::default()))
    }
}

impl ListingCache {
    /// Records a whole listing, and forgets old ones while there are too many entries.
    fn added(&self, dir: &Arc<GoferInode>, entries: usize) {
        let mut old = Vec::new();
        {
            let mut kept = self.0.lock();
            kept.queue.push_back((Arc::downgrade(dir), entries));
            kept.total = kept.total.saturating_add(entries).saturating_add(1);
            while kept.total > MAX_KEPT {
                let Some((weak, n)) = kept.queue.pop_front() else {
                    break;
                };
                kept.total = kept.total.saturating_sub(n.saturating_add(1));
                old.push(weak);
            }
        }
        for dir in old.into_iter().filter_map(|weak| weak.upgrade()) {
            let listing = std::mem::take(&mut *dir.listing.lock());
            drop(listing);
        }
    }
}

impl GoferInode {
    /// The whole listing, if it is known.
    pub(super) fn whole_listing(&self) -> Option<Arc<Listing>> {
        match &*self.listing.lock() {
            Progress::Whole(listing) => Some(listing.clone()),
            _ => None,
        }
    }

    /// What the listing says of `name`.
    pub(super) fn known_name(&self, name: &[u8]) -> Known {
        match self.whole_listing() {
            Some(listing) => listing.lookup(name),
            None => Known::Unknown,
        }
    }

    /// Takes the entries of a batch that was read from `cursor`. Returns the whole listing once it is complete; the
    /// batch comes back if it was not used.
    pub(super) fn listed(
        &self,
        cursor: u64,
        batch: DirBatch,
    ) -> std::result::Result<Arc<Listing>, (Vec<Entry>, bool)> {
        let eof = batch.eof;
        let entries: Vec<Entry> = batch.entries.into_iter().map(Entry::from).collect();
        if !self.fs.immutable() {
            return Err((entries, eof));
        }
        let whole = {
            let mut progress = self.listing.lock();
            let so_far = match std::mem::take(&mut *progress) {
                Progress::Whole(listing) => {
                    *progress = Progress::Whole(listing.clone());
                    return Ok(listing);
                }
                Progress::Partial(read, next) if next == cursor && cursor != 0 => read,
                _ if cursor == 0 => Vec::new(),
                other => {
                    *progress = other;
                    return Err((entries, eof));
                }
            };
            let next = entries.last().map_or(cursor, |e| e.next);
            let mut all = so_far;
            if all.len().saturating_add(entries.len()) > MAX_ENTRIES {
                return Err((entries, eof));
            }
            if eof {
                all.extend(entries);
                let listing = Arc::new(Listing::new(all));
                *progress = Progress::Whole(listing.clone());
                listing
            } else {
                all.extend(entries.iter().map(Entry::copy));
                *progress = Progress::Partial(all, next);
                return Err((entries, false));
            }
        };
        if let Ok(me) = self.me() {
            self.fs.listings.added(&me, whole.entries.len());
        }
        Ok(whole)
    }
}

impl Entry {
    fn copy(&self) -> Entry {
        Entry {
            name: self.name.clone(),
            ino: self.ino,
            file_type: self.file_type,
            next: self.next,
            attr: self.attr,
        }
    }
}
