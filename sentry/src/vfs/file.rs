//! Open files.

use super::caller::Caller;
use super::hooks::Hooks;
pub use super::hooks::{DirWatch, Registration};
use super::inode::{FileType, InodeRef, Stat};
use super::loan::{Fixed, Loan};
use super::locks::{FileLocks, LockOwner};
use super::notify;
use super::pages::{LentPages, PageLoan};
use super::path::Path;
use crate::abi::{Errno, Result};
use crate::auth::Credentials;
use crate::sync::{Events, Mutex, Rank, WaitQueue};
use crate::usermem::{Sink, Source};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

bitflags::bitflags! {
    /// O_* flags of open(2), x86-64 values. The access mode is in the low two bits: see [`OpenFlags::readable`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct OpenFlags: u32 {
        const WRONLY = 0o1;
        const RDWR = 0o2;
        const CREAT = 0o100;
        const EXCL = 0o200;
        const NOCTTY = 0o400;
        const TRUNC = 0o1000;
        const APPEND = 0o2000;
        const NONBLOCK = 0o4000;
        const DSYNC = 0o10000;
        const ASYNC = 0o20000;
        const DIRECT = 0o40000;
        const LARGEFILE = 0o100000;
        const DIRECTORY = 0o200000;
        const NOFOLLOW = 0o400000;
        const NOATIME = 0o1000000;
        const CLOEXEC = 0o2000000;
        const SYNC = 0o4010000;
        const PATH = 0o10000000;
        const TMPFILE = 0o20200000;
    }
}

impl OpenFlags {
    /// Whether the access mode permits reading. Mode 3 (ioctl only) permits neither.
    pub fn readable(self) -> bool {
        !self.contains(OpenFlags::PATH) && matches!(self.bits() & 3, 0 | 2)
    }
    /// Whether the access mode permits writing.
    pub fn writable(self) -> bool {
        !self.contains(OpenFlags::PATH) && matches!(self.bits() & 3, 1 | 2)
    }
    /// Flags that F_SETFL may change.
    pub const SETTABLE: OpenFlags = OpenFlags::APPEND
        .union(OpenFlags::NONBLOCK)
        .union(OpenFlags::ASYNC)
        .union(OpenFlags::DIRECT)
        .union(OpenFlags::NOATIME);
}

/// lseek(2)'s whence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Whence {
    Set,
    Current,
    End,
    Data,
    Hole,
}

/// One entry of a directory listing.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Type.
    pub file_type: FileType,
    /// Name, without NUL.
    pub name: &'a [u8],
    /// Position *after* this entry: an opaque cookie that lseek and a later listing take.
    pub next: u64,
}

/// Takes directory entries; false stops the listing (no room): that entry was not taken.
pub type Readdir<'a> = dyn FnMut(&DirEntry<'_>) -> bool + 'a;

/// What a mapping of a file is backed by.
#[derive(Clone, Debug)]
pub enum MapSource {
    /// A host file whose offset 0 is the file's offset 0. Its access mode is at most the open file's.
    Host(Arc<OwnedFd>),
    /// Fresh anonymous memory (/dev/zero).
    Anonymous,
}

/// Where a magic link leads.
pub enum MagicTarget {
    /// An open file; opening the link makes a new description of the same object.
    File(Arc<File>),
    /// A place in the tree.
    Path(Path),
}

/// Behaviour of one open file description. Methods that would have to wait return EAGAIN; the
/// system call layer parks the task on [`FileOps::wait_queue`] unless the file is O_NONBLOCK. The VFS has checked the access mode.
pub trait FileOps: Any + Send + Sync {
    /// Reads at `*pos` and advances it (streams ignore it). 0 is end of file. A short count is fine.
    fn read(
        &self,
        _file: &File,
        _cx: &dyn Caller,
        _dst: &mut dyn Sink,
        _pos: &mut u64,
    ) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Writes at `*pos` and advances it; with `append` at the end of the file, atomically. Streams ignore the position.
    /// A short count from a pipe, FIFO, socket or terminal means that there was no more room: a call that may wait goes on
    /// with the rest (and gets EAGAIN), keeping what was written in its progress.
    fn write(
        &self,
        _file: &File,
        _cx: &dyn Caller,
        _src: &mut dyn Source,
        _pos: &mut u64,
        _append: bool,
    ) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Whether the file has a position: pread, pwrite and lseek work. Otherwise they give ESPIPE.
    fn seekable(&self) -> bool {
        false
    }
    /// Whether the object keeps its position itself (a host descriptor whose offset host processes share). Calls without
    /// an explicit offset then pass [`OWN_POSITION`] and what they leave there is ignored: see [`File::with_position`].
    fn own_position(&self) -> bool {
        false
    }
    /// What never changes, whoever asks.
    fn fixed(&self) -> Fixed {
        Fixed::empty()
    }
    /// Lends the beginning of the contents ([`Fixed::PAGES`]), for writing too if `write`, up to `limit` bytes. `None` if there is something that the
    /// borrower would have to mind.
    fn lend_pages(
        &self,
        _file: &File,
        _to: Arc<dyn PageLoan>,
        _write: bool,
        _limit: u64,
    ) -> Option<LentPages> {
        None
    }
    /// New position for lseek, given the old one. The default knows Set, Current and, by `size`, End, Data and Hole.
    fn seek(&self, file: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        default_seek(self.stat(file)?.size, pos, offset, whence)
    }
    /// Attributes (fstat). The default asks the inode.
    fn stat(&self, file: &File) -> Result<Stat> {
        file.inode().stat()
    }
    /// Lists a directory from `*pos`; "." and ".." included at positions 0 and 1. Advances `*pos` past entries taken.
    fn readdir(
        &self,
        _file: &File,
        _cx: &dyn Caller,
        _pos: &mut u64,
        _emit: &mut Readdir<'_>,
    ) -> Result<()> {
        Err(Errno::ENOTDIR)
    }
    /// Readiness now. Regular files are always ready.
    fn poll(&self, _file: &File) -> Events {
        Events::READABLE | Events::WRITABLE
    }
    /// Queue that is woken when `poll` may have changed; `None` if readiness never changes (epoll refuses such files with EPERM).
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        None
    }
    /// How long a call may wait for `events` (IN or OUT), in nanoseconds: SO_RCVTIMEO, SO_SNDTIMEO. `None`: for ever.
    fn wait_limit(&self, _events: Events) -> Option<u64> {
        None
    }
    /// Whether a write that fails with EPIPE also sends the writer SIGPIPE (datagram sockets do not).
    fn signals_epipe(&self) -> bool {
        true
    }
    /// Whether open(2) may return now. FIFOs give EAGAIN until a partner has opened the other end: the open call parks on
    /// [`FileOps::wait_queue`] for any event, keeps the file in its progress and asks again; a signal drops the file.
    fn open_ready(&self, _file: &File) -> Result<()> {
        Ok(())
    }
    /// ioctl(2). FIONBIO, FIOCLEX and the like are done by the system call layer.
    fn ioctl(&self, _file: &File, _cx: &dyn Caller, _cmd: u32, _arg: u64) -> Result<i64> {
        Err(Errno::ENOTTY)
    }
    /// Backing for mmap(2). ENODEV if the file cannot be mapped.
    fn map(&self, _file: &File, _shared: bool, _write: bool) -> Result<MapSource> {
        Err(Errno::ENODEV)
    }
    /// Whether a shared mapping may become writable (VM_MAYWRITE): not if the file is sealed against that.
    fn may_share_writable(&self) -> bool {
        true
    }
    /// fsync(2), fdatasync(2). EINVAL for objects that have no storage.
    fn fsync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// fallocate(2) with its mode bits.
    fn fallocate(
        &self,
        _file: &File,
        _cx: &dyn Caller,
        _mode: u32,
        _offset: u64,
        _len: u64,
    ) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// F_SETFL changed the status flags.
    fn flags_changed(&self, _file: &File, _new: OpenFlags) {}
    /// A descriptor of this file was closed (flush), before the last one goes; `tgid` of the closing process.
    fn flush(&self, _file: &File, _tgid: i32) {}
    /// For downcasts (sockets, epoll, ttys …).
    fn as_any(&self) -> &dyn Any;
}

/// Stands for "the object's own position" in [`FileOps::read`], `write` and `seek`; no file has this offset.
pub const OWN_POSITION: u64 = u64::MAX;

/// The arithmetic of lseek for a file of `size` bytes without holes.
pub fn default_seek(size: u64, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
    let base = match whence {
        Whence::Set => 0,
        Whence::Current => pos,
        Whence::End => size,
        Whence::Data | Whence::Hole => {
            let at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            if at >= size {
                return Err(Errno::ENXIO);
            }
            return Ok(if whence == Whence::Data { at } else { size });
        }
    };
    let new = i64::try_from(base)
        .ok()
        .and_then(|b| b.checked_add(offset))
        .ok_or(Errno::EINVAL)?;
    u64::try_from(new).map_err(|_| Errno::EINVAL)
}

/// An open file description (`struct file`): what descriptors share after dup and fork.
pub struct File {
    ops: Box<dyn FileOps>,
    inode: InodeRef,
    /// Where it was opened, for /proc/PID/fd, *at calls and fchdir; `None` for anonymous objects.
    path: Option<Path>,
    flags: AtomicU32,
    pos: Mutex<u64>,
    /// `pos` after the last call that moved it, for those who must not wait for one that runs.
    last_pos: AtomicU64,
    /// F_SETOWN and friends.
    owner: Mutex<FileOwner>,
    hooks: Hooks,
    /// Keeps a regular file open for writing from being executed.
    writer: std::sync::OnceLock<super::deny_write::Writer>,
    opener: std::sync::OnceLock<Arc<Credentials>>,
    /// Whether the open that made this description also made the file (F_CREATED_QUERY).
    created: AtomicBool,
    /// Bits of [`READS_ONLY`] and its like.
    state: AtomicU8,
    /// Who has the position, if [`LENT`] is set.
    borrower: Mutex<Option<Arc<dyn Loan>>>,
    /// Calls that others could have answered.
    asked: AtomicU8,
    /// Reads and writes that others could have, had they had the contents.
    asked_pages: AtomicU16,
    /// Calls in a row that did not find the lent position moved.
    unmoved: AtomicU8,
}

/// It counts as a reader of its inode.
const READS_ONLY: u8 = 1;
/// It counts as a writer of its mount.
const WRITES: u8 = 8;
/// The open waits for leases.
const OPENING: u8 = 2;
/// And is to truncate the file after that.
const TRUNCATES: u8 = 4;
/// Somebody else has the position.
const LENT: u8 = 16;

/// So many calls that others could have answered make it worth while to let them.
const ASKED_OFTEN: u8 = 16;
/// As that, of reads and writes, if the process sees the file already.
const ASKED_PAGES: u16 = 64;
/// If not: to show it takes as long as this many calls save, a quarter of a millisecond.
const ASKED_PAGES_OFTEN: u16 = 512;
/// So many calls in a row that did not find a lent position moved end the loan, since each has to fetch it.
const UNMOVED: u8 = 8;

/// Who gets SIGIO: F_SETOWN (pid > 0, group < 0) and F_SETSIG.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct FileOwner {
    /// F_OWNER_TID 0, F_OWNER_PID 1, F_OWNER_PGRP 2.
    pub kind: i32,
    pub pid: i32,
    pub signal: i32,
    /// Who said so: may they signal the owner?
    pub uid: u32,
    pub euid: u32,
}

impl File {
    /// A description of `inode`. `flags` as given to open, without creation flags.
    pub fn new(
        ops: Box<dyn FileOps>,
        inode: InodeRef,
        path: Option<Path>,
        flags: OpenFlags,
    ) -> Arc<File> {
        let keep = flags
            - (OpenFlags::CREAT
                | OpenFlags::EXCL
                | OpenFlags::NOCTTY
                | OpenFlags::TRUNC
                | OpenFlags::CLOEXEC);
        Arc::new(File {
            ops,
            inode,
            path,
            flags: AtomicU32::new(keep.bits()),
            pos: Mutex::new(Rank::FILE_POS, 0),
            last_pos: AtomicU64::new(0),
            owner: Mutex::new(Rank::LEAF, FileOwner::default()),
            hooks: Hooks::new(),
            writer: std::sync::OnceLock::new(),
            opener: std::sync::OnceLock::new(),
            created: AtomicBool::new(false),
            state: AtomicU8::new(0),
            borrower: Mutex::new(Rank::LEAF, None),
            asked: AtomicU8::new(0),
            asked_pages: AtomicU16::new(0),
            unmoved: AtomicU8::new(0),
        })
    }
    /// Ties the right to write to the life of this description.
    pub(super) fn hold_writer(&self, writer: super::deny_write::Writer) {
        let _ = self.writer.set(writer);
    }
    /// Behaviour.
    pub fn ops(&self) -> &dyn FileOps {
        &*self.ops
    }
    /// Behaviour of a known type.
    pub fn downcast<T: FileOps>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }
    /// The inode.
    pub fn inode(&self) -> &InodeRef {
        &self.inode
    }
    /// The place in the tree it was opened at.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref()
    }
    /// Status flags and access mode.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }
    /// F_SETFL: replaces the settable flags.
    pub fn set_flags(&self, new: OpenFlags) {
        let all = (self.flags() - OpenFlags::SETTABLE) | (new & OpenFlags::SETTABLE);
        self.flags.store(all.bits(), Ordering::Relaxed);
        self.ops.flags_changed(self, all);
    }
    /// Whether calls on it must not wait.
    pub fn nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }
    /// Runs `f` on the position that calls without an explicit offset use, holding it for the whole call.
    pub fn with_position<R>(&self, f: impl FnOnce(&mut u64) -> R) -> R {
        if self.ops.own_position() {
            f(&mut OWN_POSITION.clone())
        } else if !self.ops.seekable() {
            // Streams have none: their readers and writers do not wait for each other.
            f(&mut 0)
        } else {
            let mut pos = self.pos.lock();
            let result = match self.borrower() {
                None => f(&mut pos),
                Some(loan) => self.with_lent(&mut pos, &*loan, f),
            };
            self.last_pos.store(*pos, Ordering::Relaxed);
            result
        }
    }
    fn with_lent<R>(&self, pos: &mut u64, loan: &dyn Loan, f: impl FnOnce(&mut u64) -> R) -> R {
        let old = loan.take_position();
        let unmoved = if old == *pos {
            self.unmoved.load(Ordering::Relaxed).saturating_add(1)
        } else {
            0
        };
        self.unmoved.store(unmoved, Ordering::Relaxed);
        let mut new = old;
        let result = f(&mut new);
        *pos = new;
        if unmoved >= UNMOVED {
            loan.end();
        }
        loan.give_position(new);
        if loan.is_over() {
            // The borrower may have moved it in between.
            *pos = loan.position();
            self.returned();
        }
        result
    }
    fn borrower(&self) -> Option<Arc<dyn Loan>> {
        if self.state.load(Ordering::Relaxed) & LENT == 0 {
            return None;
        }
        self.borrower.lock().clone()
    }
    fn returned(&self) {
        self.unmoved.store(0, Ordering::Relaxed);
        self.state.fetch_and(!LENT, Ordering::Relaxed);
        let loan = self.borrower.lock().take();
        drop(loan);
    }
    /// Counts a call that others could have answered; whether there were enough of them to let them.
    pub fn asked(&self) -> bool {
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        if before < ASKED_OFTEN {
            return false;
        }
        self.asked.store(0, Ordering::Relaxed);
        true
    }
    /// As [`File::asked`], of reads and writes; `is_shown`: whether the process sees the contents already.
    pub fn asked_pages(&self, is_shown: impl FnOnce() -> bool) -> bool {
        let count = self
            .asked_pages
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1);
        let enough =
            count >= ASKED_PAGES_OFTEN || (count.is_multiple_of(ASKED_PAGES) && is_shown());
        if enough {
            self.asked_pages.store(0, Ordering::Relaxed);
        }
        enough
    }
    /// Lends the position, taking it from whom it was lent to: `begin` gets it, and says whether the loan has begun. Not while a call moves it: who
    /// asks for attributes alone does not wait for that.
    pub fn lend_position(&self, to: Arc<dyn Loan>, begin: impl FnOnce(u64) -> bool) -> bool {
        let Some(mut pos) = self.pos.try_lock() else {
            return false;
        };
        if let Some(old) = self.borrower() {
            old.end();
            *pos = old.position();
            self.last_pos.store(*pos, Ordering::Relaxed);
            self.returned();
        }
        let begun = begin(*pos);
        if begun {
            *self.borrower.lock() = Some(to);
            self.state.fetch_or(LENT, Ordering::Relaxed);
        }
        begun
    }
    /// lseek(2): moves the position and returns it. ESPIPE if there is none.
    pub fn seek(&self, offset: i64, whence: Whence) -> Result<u64> {
        if !self.ops.seekable() {
            return Err(Errno::ESPIPE);
        }
        self.with_position(|pos| {
            *pos = self.ops.seek(self, *pos, offset, whence)?;
            Ok(*pos)
        })
    }
    /// The position now, without waiting for a call that is moving it (/proc/PID/fdinfo; it may be read through the very file
    /// that it describes).
    pub fn position(&self) -> u64 {
        if self.ops.own_position() {
            let asked = self.ops.seek(self, OWN_POSITION, 0, Whence::Current);
            asked.unwrap_or(0)
        } else {
            match self.borrower() {
                Some(loan) => loan.position(),
                None => self.last_pos.load(Ordering::Relaxed),
            }
        }
    }
    /// SIGIO owner.
    pub fn owner(&self) -> &Mutex<FileOwner> {
        &self.owner
    }
    /// Replaces what O_ASYNC keeps registered.
    pub fn set_async(&self, registration: Option<Registration>) {
        self.hooks.set_async(registration);
    }
    /// The directory watch (F_NOTIFY) that the owner of descriptor table `table` set.
    pub fn dir_watch(&self, table: u64) -> Option<DirWatch> {
        self.hooks.dir_watch(table)
    }
    /// Replaces it.
    pub fn set_dir_watch(&self, table: u64, watch: Option<DirWatch>) {
        self.hooks.set_dir_watch(table, watch);
    }
    /// Readiness now.
    pub fn poll(&self) -> Events {
        self.ops.poll(self)
    }
    /// Its name as /proc/PID/fd links show it to someone whose root is `root`.
    pub fn display(&self, root: &Path) -> Vec<u8> {
        match &self.path {
            Some(p) => p.display(root),
            None => self.inode.describe(),
        }
    }
    /// A descriptor of this description was closed by process `tgid`, whose table is `table`: its POSIX locks on the file
    /// go, whichever descriptor they were taken through.
    pub fn closed(&self, table: u64, tgid: i32) {
        if let Some(locks) = self.inode.meta().existing::<FileLocks>() {
            locks.release(LockOwner::Table(table));
        }
        self.hooks.set_dir_watch(table, None);
        self.ops.flush(self, tgid);
    }
    /// Counts it as a reader of its inode for as long as it lives.
    pub(super) fn count_reader(&self) {
        self.inode.meta().reader_added();
        self.state.fetch_or(READS_ONLY, Ordering::Relaxed);
    }
    /// Counts it as a writer of its mount for as long as it lives.
    pub(super) fn count_writer(&self) {
        if let Some(p) = &self.path {
            p.mount.writer_added();
            self.state.fetch_or(WRITES, Ordering::Relaxed);
        }
    }
    /// The open waits for leases, and truncates the file then.
    pub(super) fn set_opening(&self, truncates: bool) {
        let bits = OPENING | if truncates { TRUNCATES } else { 0 };
        self.state.fetch_or(bits, Ordering::Relaxed);
    }
    /// Whether the open waits for leases.
    pub fn is_opening(&self) -> bool {
        self.state.load(Ordering::Relaxed) & OPENING != 0
    }
    /// The open waits no longer; whether it is to truncate the file.
    pub(super) fn opened(&self) -> bool {
        let old = self
            .state
            .fetch_and(!(OPENING | TRUNCATES), Ordering::Relaxed);
        old & TRUNCATES != 0
    }
    /// Remembers that the open made the file.
    pub(super) fn set_created(&self) {
        self.created.store(true, Ordering::Relaxed);
    }
    /// Whether the open made the file.
    pub fn created(&self) -> bool {
        self.created.load(Ordering::Relaxed)
    }
    /// Remembers who opened it.
    pub(super) fn set_opener(&self, creds: Arc<Credentials>) {
        let _ = self.opener.set(creds);
    }
    /// Whether it was opened by a task with exactly this identity.
    pub fn opened_by(&self, creds: &Credentials) -> bool {
        self.opener.get().is_some_and(|c| **c == *creds)
    }
    /// Whose its flock and OFD locks are.
    pub fn lock_owner(&self) -> LockOwner {
        LockOwner::Description(std::ptr::from_ref(self).addr())
    }
    /// Whether reading must not touch the access time.
    pub fn noatime(&self) -> bool {
        self.flags().contains(OpenFlags::NOATIME)
            || self.path.as_ref().is_some_and(|p| !p.keeps_atime())
    }
    /// Its contents were read: the access time of what is in a tree follows.
    pub fn accessed(&self) {
        if let Some(p) = self.path.as_ref()
            && !self.flags().contains(OpenFlags::NOATIME)
        {
            p.accessed();
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some(locks) = self.inode.meta().existing::<FileLocks>() {
            locks.release(self.lock_owner());
        }
        if self.flags().contains(OpenFlags::PATH) {
            return;
        }
        super::lease::released(self);
        if self.state.load(Ordering::Relaxed) & READS_ONLY != 0 {
            self.inode.meta().reader_gone();
        }
        if self.state.load(Ordering::Relaxed) & WRITES != 0
            && let Some(p) = &self.path
        {
            p.mount.writer_gone();
        }
        let mask = if self.flags().writable() {
            notify::Mask::CLOSE_WRITE
        } else {
            notify::Mask::CLOSE_NOWRITE
        };
        notify::file(self, mask);
        if let Some(p) = &self.path {
            notify::released(&p.dentry);
        }
    }
}
