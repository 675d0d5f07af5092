//! Rewritten program texts: one per file and sandbox, shared by all processes.
//!
//! [`Texts`] counts, per file, the system calls that trapped because they came from an instruction; a file with many of them is
//! rewritten once ([`cofferdam_platform::rewrite`]), by a thread of its own, since that takes milliseconds. [`Text`] is the result in
//! a sealed memfd. A file is known by inode, size and times: one that was written to is another file.

#[cfg(test)]
mod tests;

use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::usermem::KernelSink;
use crate::vfs::caller::KernelCaller;
use crate::vfs::inode::{FileType, Timestamp};
use crate::vfs::{File, Path};
use cofferdam_platform::rewrite::{self, GAP, Site, Source};
use crossbeam_channel::Sender;
use nix::fcntl::{FcntlArg, SealFlag};
use nix::sys::memfd::MFdFlags;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Traps after which a file is rewritten.
pub(super) const THRESHOLD: u32 = 32;
/// Most files that are counted or kept.
const MAX_FILES: usize = 512;
/// Most bytes in all texts of a sandbox.
const MAX_BYTES: u64 = 256 << 20;
/// Most bytes that one read of a file asks for.
const CHUNK: usize = 1 << 20;
/// After a rewriting that took longer than [`QUICK`] the next one waits this many times as long: a guest can make new files for
/// ever, and the processor time is nobody's.
const REST: u32 = 10;
/// See [`REST`].
const QUICK: Duration = Duration::from_millis(20);
/// How many files may wait to be rewritten.
const QUEUE: usize = 4;

/// A file at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
}

impl Identity {
    fn of(file: &File) -> Result<Identity> {
        let s = file.ops().stat(file)?;
        let time = |t: Timestamp| (t.sec, t.nsec);
        Ok(Identity {
            dev: s.dev,
            ino: s.ino,
            size: s.size,
            mtime: time(s.mtime),
            ctime: time(s.ctime),
        })
    }
}

/// What is known of a file.
enum Known {
    /// So many traps.
    Traps(u32),
    /// It is being rewritten, or will be next.
    Wanted,
    /// It cannot be rewritten.
    Nothing,
    /// It was.
    Ready(Arc<Text>),
}

/// The table of a sandbox. Dropping it ends its thread.
pub struct Texts {
    known: Arc<Table>,
    wanted: Sender<(Arc<File>, Identity)>,
}

/// What the thread shares with those that ask.
struct Table {
    gate: u64,
    files: Mutex<HashMap<Identity, Known>>,
    pace: Mutex<Pace>,
}

/// When the next rewriting may begin; `None`: at any time.
#[derive(Default)]
struct Pace(Option<Instant>);

impl Pace {
    fn rested(&self, now: Instant) -> bool {
        self.0.is_none_or(|until| now >= until)
    }
    fn took(&mut self, time: Duration, now: Instant) {
        let rest = (time > QUICK).then(|| time.saturating_mul(REST));
        self.0 = rest.and_then(|rest| now.checked_add(rest));
    }
}

/// Consecutive pages of a file that have a rewritten version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Offset in the memfd.
    pub at: u64,
}

/// The rewritten text of one file.
pub struct Text {
    fd: OwnedFd,
    /// Bytes of trampolines, at the start of the memfd; whole pages.
    trampolines: u64,
    pieces: Vec<Piece>,
    sites: Vec<Site>,
    /// Every process may read the file.
    common: bool,
}

impl Texts {
    /// An empty table for a platform whose gate is there, and the thread that fills it.
    pub fn start(gate: u64) -> std::io::Result<Arc<Texts>> {
        let known = Arc::new(Table {
            gate,
            files: Mutex::new(Rank::LEAF, HashMap::new()),
            pace: Mutex::new(Rank::LEAF, Pace::default()),
        });
        let (wanted, requests) = crossbeam_channel::bounded(QUEUE);
        let table = known.clone();
        std::thread::Builder::new()
            .name("rewriter".into())
            .spawn(move || {
                for (file, id) in requests {
                    table.fill(&file, id);
                }
            })?;
        Ok(Arc::new(Texts { known, wanted }))
    }

    /// The file's text, if it was rewritten.
    pub(super) fn get(&self, file: &File) -> Option<Arc<Text>> {
        if self.known.files.lock().is_empty() {
            return None;
        }
        let id = Identity::of(file).ok()?;
        match self.known.files.lock().get(&id) {
            Some(Known::Ready(t)) => Some(t.clone()),
            _ => None,
        }
    }

    /// Counts a trap; the text, if the file has one now.
    pub(super) fn trapped(&self, file: &Arc<File>) -> Option<Arc<Text>> {
        let id = Identity::of(file).ok()?;
        let rested = self.known.pace.lock().rested(Instant::now());
        let mut files = self.known.files.lock();
        if files.len() >= MAX_FILES && !files.contains_key(&id) {
            files.retain(|_, k| match k {
                Known::Ready(t) => Arc::strong_count(t) > 1,
                Known::Wanted => true,
                Known::Traps(_) | Known::Nothing => false,
            });
        }
        match files.entry(id).or_insert(Known::Traps(0)) {
            Known::Ready(t) => return Some(t.clone()),
            Known::Wanted | Known::Nothing => {}
            Known::Traps(n) if *n < THRESHOLD => *n += 1,
            k => {
                if rested && self.wanted.try_send((file.clone(), id)).is_ok() {
                    *k = Known::Wanted;
                }
            }
        }
        None
    }

    /// Waits until nothing is to be rewritten.
    #[cfg(test)]
    pub(super) fn wait(&self) {
        let wanted = |k: &Known| matches!(k, Known::Wanted);
        while self.known.files.lock().values().any(wanted) {
            std::thread::yield_now();
        }
    }
}

impl Table {
    /// Rewrites a file, and remembers the result.
    fn fill(&self, file: &Arc<File>, id: Identity) {
        let start = Instant::now();
        let known = if self.pace.lock().rested(start) {
            let text = self.make(file, id);
            let end = Instant::now();
            self.pace.lock().took(end - start, end);
            text.map_or(Known::Nothing, Known::Ready)
        } else {
            // It came while another one took long: its next trap asks again.
            Known::Traps(THRESHOLD)
        };
        self.files.lock().insert(id, known);
    }

    fn make(&self, file: &Arc<File>, id: Identity) -> Option<Arc<Text>> {
        let start = Instant::now();
        let r = rewrite::rewrite(&Contents(file), self.gate)?;
        // Written to while it was read: there is a new identity to count for.
        if Identity::of(file).ok()? != id {
            return None;
        }
        let (done, found) = (r.sites.len(), r.found);
        let common = file.path().is_some_and(Path::is_open_to_all);
        let text = Text::new(r, common)
            .inspect_err(|e| log::warn!("no memory for a rewritten text: {e:?}"))
            .ok()?;
        let total: u64 = self
            .files
            .lock()
            .values()
            .map(|k| match k {
                Known::Ready(t) => t.bytes(),
                _ => 0,
            })
            .sum();
        log::debug!(
            "rewrote {done} of {found} system calls of inode {} ({} KiB) in {:?}",
            id.ino,
            text.bytes() >> 10,
            start.elapsed()
        );
        (total + text.bytes() <= MAX_BYTES).then(|| Arc::new(text))
    }
}

impl Text {
    fn new(r: rewrite::Rewritten, common: bool) -> Result<Text> {
        let fd = nix::sys::memfd::memfd_create(
            c"text",
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )?;
        let mut text = Text {
            fd,
            trampolines: 0,
            pieces: Vec::new(),
            sites: r.sites,
            common,
        };
        text.put(0, &r.trampolines)?;
        text.trampolines = super::page_ceil(r.trampolines.len() as u64).ok_or(Errno::ENOMEM)?;
        let mut at = text.trampolines;
        for run in &r.runs {
            text.put(at, &run.bytes)?;
            let len = run.bytes.len() as u64;
            text.pieces.push(Piece {
                offset: run.offset,
                len,
                at,
            });
            at += len;
        }
        // The end of the last page of trampolines, if nothing follows.
        nix::unistd::ftruncate(&text.fd, i64::try_from(at).map_err(|_| Errno::ENOMEM)?)?;
        // Nobody that it is mapped for can change it for the others.
        let seals = SealFlag::F_SEAL_WRITE
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_SEAL;
        nix::fcntl::fcntl(&text.fd, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(text)
    }

    fn put(&self, at: u64, mut bytes: &[u8]) -> Result<()> {
        let mut at = i64::try_from(at).map_err(|_| Errno::ENOMEM)?;
        while !bytes.is_empty() {
            let n = nix::sys::uio::pwrite(&self.fd, bytes, at)?;
            bytes = bytes.get(n..).filter(|_| n > 0).ok_or(Errno::ENOMEM)?;
            at += i64::try_from(n).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }

    /// The sealed memfd.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
    /// Whether every process may read the file.
    pub(super) fn is_common(&self) -> bool {
        self.common
    }
    /// Storage it takes.
    fn bytes(&self) -> u64 {
        self.trampolines + self.pieces.iter().map(|p| p.len).sum::<u64>()
    }
    /// Where the trampolines of a mapping go whose file offset 0 is (or would be) at `base`: start and end.
    pub(super) fn island(&self, base: u64) -> Option<(u64, u64)> {
        let start = base.checked_sub(GAP)?;
        Some((start, start.checked_add(self.trampolines)?))
    }
    /// What of the file range has a rewritten version, ascending.
    pub(super) fn pieces(&self, offset: u64, len: u64) -> Vec<Piece> {
        let end = offset.saturating_add(len);
        self.pieces
            .iter()
            .filter_map(|p| {
                let from = p.offset.max(offset);
                let to = (p.offset + p.len).min(end);
                (from < to).then(|| Piece {
                    offset: from,
                    len: to - from,
                    at: p.at + (from - p.offset),
                })
            })
            .collect()
    }
    /// File offsets that have a rewritten version: first and one past the last.
    pub(super) fn span(&self) -> (u64, u64) {
        let first = self.pieces.first().map_or(0, |p| p.offset);
        let last = self.pieces.last().map_or(0, |p| p.offset + p.len);
        (first, last)
    }
    /// See [`rewrite::original`].
    pub(super) fn original(&self, trampoline: u64) -> Option<u64> {
        rewrite::original(&self.sites, u32::try_from(trampoline).ok()?)
    }
    /// See [`rewrite::moved`].
    pub(super) fn moved(&self, offset: u64) -> Option<u64> {
        rewrite::moved(&self.sites, offset).map(u64::from)
    }
}

/// Whether a file is a program or library, so that a mapping of it should have room for trampolines below it.
pub(super) fn is_program(file: &Arc<File>) -> bool {
    let mut magic = [0; 4];
    file.inode().file_type() == FileType::Regular
        && Contents(file).read_at(0, &mut magic) == magic.len()
        && magic == *b"\x7fELF"
}

/// A file as the rewriter reads it.
struct Contents<'a>(&'a Arc<File>);

impl Source for Contents<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> usize {
        let mut sink = KernelSink::new(buf.len().min(CHUNK));
        let mut pos = offset;
        let read = self
            .0
            .ops()
            .read(self.0, &KernelCaller, &mut sink, &mut pos);
        if read.is_err() {
            return 0;
        }
        let n = sink.data.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), sink.data.get(..n)) {
            to.copy_from_slice(from);
        }
        n
    }
}
