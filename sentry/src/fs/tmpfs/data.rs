//! The bytes of a regular file: pages with holes in the sentry's memory, or a host memfd.
//!
//! A file becomes a memfd when it is first mapped or has more than [`INLINE_PAGES`] pages, and stays one. The sentry uses
//! it by pread and pwrite only. Pages that a guest fills through a mapping are noticed when the file is next changed.

use super::{PAGE, Tmpfs};
use crate::abi::{Errno, Result};
use crate::sync::{Charge, Quota};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Whence, ftruncate, lseek64};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A file with more pages than this (1 MiB) becomes a memfd.
const INLINE_PAGES: u64 = 256;
/// Largest size of a file (MAX_LFS_FILESIZE).
pub const MAX_SIZE: u64 = i64::MAX as u64;

type Page = Box<[u8; PAGE]>;

pub(super) struct Data {
    size: u64,
    store: Store,
    /// Pages taken from the file system's quota.
    charged: u64,
    /// Seals that a memfd of it must have.
    pub seals: u32,
    /// It is a memfd in order to be lent.
    lent: Option<Charge>,
}

/// So many files are memfds only because they are read and written often: each takes two descriptors for as long as it lives.
static LENT: Quota = Quota::new(1024);

enum Store {
    /// `None`: reserved by fallocate, not written yet; a hole to SEEK_DATA.
    Pages(BTreeMap<u64, Option<Page>>),
    Host {
        rw: Arc<OwnedFd>,
        ro: Option<Arc<OwnedFd>>,
    },
}

/// What there is of a memfd to be mapped.
pub(super) enum HostFd {
    /// The descriptor that was asked for.
    Ready(Arc<OwnedFd>),
    /// It was to be read-only, and this one is not.
    Writable(Arc<OwnedFd>),
}

fn split(pos: u64) -> (u64, usize) {
    (pos / PAGE as u64, (pos % PAGE as u64) as usize)
}

fn offset(pos: u64) -> Result<i64> {
    i64::try_from(pos).map_err(|_| Errno::EFBIG)
}

fn new_memfd() -> Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // MFD_EXEC: hosts with vm.memfd_noexec would refuse executable mappings otherwise; old kernels do not know it.
    memfd_create(c"tmpfs", flags | MFdFlags::from_bits_retain(0x10))
        .or_else(|_| memfd_create(c"tmpfs", flags))
        .map_err(|_| Errno::ENOMEM)
}

impl Data {
    pub(super) fn new(seals: u32) -> Data {
        Data {
            size: 0,
            store: Store::Pages(BTreeMap::new()),
            charged: 0,
            seals,
            lent: None,
        }
    }
    /// Makes it a memfd in order to be lent; false if too many are.
    pub(super) fn prepare_to_lend(&mut self, fs: &Tmpfs) -> bool {
        if self.is_host() {
            return true;
        }
        let Some(charge) = LENT.charge(1) else {
            return false;
        };
        let made = self.make_host(fs).is_ok();
        self.lent = made.then_some(charge);
        made
    }
    pub(super) fn size(&self) -> u64 {
        self.size
    }
    /// Whether it is a memfd.
    pub(super) fn is_host(&self) -> bool {
        matches!(self.store, Store::Host { .. })
    }
    /// Pages that hold data now.
    pub(super) fn pages(&self) -> u64 {
        match &self.store {
            Store::Pages(p) => p.len() as u64,
            Store::Host { rw, .. } => host_pages(rw),
        }
    }
    /// Gives everything back to the quota.
    pub(super) fn discard(&mut self, fs: &Tmpfs) {
        fs.release_pages(self.charged);
        self.charged = 0;
    }

    /// Copies from `pos`; how many bytes there were.
    pub(super) fn read(&self, pos: u64, buf: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(pos)).unwrap_or(usize::MAX);
        let want = left.min(buf.len());
        let Some(buf) = buf.get_mut(..want) else {
            return Ok(0);
        };
        if want == 0 {
            return Ok(0);
        }
        match &self.store {
            Store::Host { rw, .. } => {
                let mut n = 0;
                while let Some(rest) = buf.get_mut(n..).filter(|r| !r.is_empty()) {
                    match pread(rw, rest, offset(pos + n as u64)?)? {
                        0 => break,
                        k => n += k,
                    }
                }
                // The host file is as long as ours; should it ever be shorter, the rest is zeros.
                buf.get_mut(n..).unwrap_or(&mut []).fill(0);
            }
            Store::Pages(pages) => {
                let mut n = 0;
                while let Some(rest) = buf.get_mut(n..).filter(|r| !r.is_empty()) {
                    let (index, at) = split(pos + n as u64);
                    let k = rest.len().min(PAGE - at);
                    let Some(to) = rest.get_mut(..k) else {
                        break;
                    };
                    match pages
                        .get(&index)
                        .and_then(Option::as_ref)
                        .and_then(|p| p.get(at..at + k))
                    {
                        Some(from) => to.copy_from_slice(from),
                        None => to.fill(0),
                    }
                    n += k;
                }
            }
        }
        Ok(want)
    }

    /// Writes at `pos` and grows the file; fewer bytes than asked if the quota ends.
    ///
    /// # Errors
    /// ENOSPC, EFBIG.
    pub(super) fn write(&mut self, fs: &Tmpfs, pos: u64, data: &[u8]) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let room = usize::try_from(MAX_SIZE.saturating_sub(pos)).unwrap_or(usize::MAX);
        let data = data.get(..data.len().min(room)).unwrap_or(data);
        if data.is_empty() {
            return Err(Errno::EFBIG);
        }
        let (first, _) = split(pos);
        let (last, _) = split(pos + data.len() as u64 - 1);
        if let Store::Pages(pages) = &self.store
            && pages.len() as u64 + (last - first + 1) > INLINE_PAGES
        {
            // Without a descriptor left it stays where it is.
            let _ = self.make_host(fs);
        }
        let done = match &mut self.store {
            Store::Pages(pages) => {
                let mut n = 0;
                while let Some(rest) = data.get(n..).filter(|r| !r.is_empty()) {
                    let (index, at) = split(pos + n as u64);
                    let k = rest.len().min(PAGE - at);
                    let page = match pages.entry(index) {
                        std::collections::btree_map::Entry::Occupied(e) => e.into_mut(),
                        std::collections::btree_map::Entry::Vacant(e) => {
                            if fs.charge_pages(1).is_err() {
                                break;
                            }
                            self.charged += 1;
                            e.insert(None)
                        }
                    }
                    .get_or_insert_with(|| Box::new([0; PAGE]));
                    if let (Some(to), Some(from)) = (page.get_mut(at..at + k), rest.get(..k)) {
                        to.copy_from_slice(from);
                    }
                    n += k;
                }
                n
            }
            Store::Host { rw, .. } => {
                let rw = rw.clone();
                self.write_host(fs, &rw, pos, data)?
            }
        };
        if done == 0 {
            return Err(Errno::ENOSPC);
        }
        self.size = self.size.max(pos + done as u64);
        Ok(done)
    }

    fn write_host(&mut self, fs: &Tmpfs, fd: &OwnedFd, pos: u64, data: &[u8]) -> Result<usize> {
        let (first, _) = split(pos);
        let (last, _) = split(pos + data.len() as u64 - 1);
        let most = last - first + 1;
        let mut n = 0;
        if fs.charge_pages(most).is_ok() {
            self.charged += most;
            let outcome = write_all(fd, pos, data);
            self.recharge(fs);
            return outcome;
        }
        // Nearly full: page by page, charging only for holes.
        self.recharge(fs);
        while let Some(rest) = data.get(n..).filter(|r| !r.is_empty()) {
            let (_, at) = split(pos + n as u64);
            let k = rest.len().min(PAGE - at);
            let start = offset(pos + n as u64 - at as u64)?;
            let there = lseek64(fd, start, Whence::SeekData) == Ok(start);
            if !there {
                if fs.charge_pages(1).is_err() {
                    break;
                }
                self.charged += 1;
            }
            let k = write_all(fd, pos + n as u64, rest.get(..k).unwrap_or(rest))?;
            if k == 0 {
                break;
            }
            n += k;
        }
        Ok(n)
    }

    /// Makes the charge what the host really holds.
    fn recharge(&mut self, fs: &Tmpfs) {
        let now = self.pages();
        if now > self.charged {
            fs.force_pages(now - self.charged);
        } else {
            fs.release_pages(self.charged - now);
        }
        self.charged = now;
    }

    /// Sets the size; what is cut off reads as zeros if the file grows again.
    pub(super) fn truncate(&mut self, fs: &Tmpfs, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        match &mut self.store {
            Store::Pages(pages) => {
                if size < self.size {
                    let (index, at) = split(size);
                    let keep = if at == 0 { index } else { index + 1 };
                    let gone = pages.split_off(&keep);
                    fs.release_pages(gone.len() as u64);
                    self.charged -= gone.len() as u64;
                    if at != 0
                        && let Some(tail) = page_mut(pages, index).and_then(|p| p.get_mut(at..))
                    {
                        tail.fill(0);
                    }
                }
            }
            Store::Host { rw, .. } => {
                ftruncate(rw, offset(size)?)?;
                self.recharge(fs);
            }
        }
        self.size = size;
        Ok(())
    }

    /// fallocate(2): makes `from..to` present; grows the file unless `keep_size`.
    ///
    /// # Errors
    /// ENOSPC, and nothing has changed.
    pub(super) fn allocate(
        &mut self,
        fs: &Tmpfs,
        from: u64,
        to: u64,
        keep_size: bool,
    ) -> Result<()> {
        if to > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let (first, _) = split(from);
        let last = to.div_ceil(PAGE as u64);
        if last - first > INLINE_PAGES {
            self.make_host(fs)?;
        }
        match &mut self.store {
            Store::Pages(pages) => {
                let missing: Vec<u64> = (first..last).filter(|i| !pages.contains_key(i)).collect();
                fs.charge_pages(missing.len() as u64)?;
                self.charged += missing.len() as u64;
                for i in missing {
                    pages.insert(i, None);
                }
            }
            Store::Host { rw, .. } => {
                let rw = rw.clone();
                let most = last - first;
                fs.charge_pages(most)?;
                self.charged += most;
                let outcome = fallocate(
                    &*rw,
                    FallocateFlags::FALLOC_FL_KEEP_SIZE,
                    offset(from)?,
                    offset(to - from)?,
                );
                if outcome.is_ok() && !keep_size && to > self.size {
                    ftruncate(&*rw, offset(to)?)?;
                }
                self.recharge(fs);
                outcome?;
            }
        }
        if !keep_size {
            self.size = self.size.max(to);
        }
        Ok(())
    }

    /// FALLOC_FL_PUNCH_HOLE.
    pub(super) fn punch(&mut self, fs: &Tmpfs, from: u64, to: u64) -> Result<()> {
        let to = to.min(MAX_SIZE);
        if from >= to {
            return Ok(());
        }
        match &mut self.store {
            Store::Pages(pages) => {
                let (first, head) = split(from);
                let (last, tail) = split(to);
                let mut zero = |index: u64, range: std::ops::Range<usize>| {
                    if let Some(p) = page_mut(pages, index).and_then(|p| p.get_mut(range)) {
                        p.fill(0);
                    }
                };
                if first == last {
                    zero(first, head..tail);
                    return Ok(());
                }
                if head != 0 {
                    zero(first, head..PAGE);
                }
                zero(last, 0..tail);
                let start = if head == 0 { first } else { first + 1 };
                let mut middle = pages.split_off(&start);
                let mut rest = middle.split_off(&last);
                pages.append(&mut rest);
                fs.release_pages(middle.len() as u64);
                self.charged -= middle.len() as u64;
            }
            Store::Host { rw, .. } => {
                fallocate(
                    &**rw,
                    FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
                    offset(from)?,
                    offset(to - from)?,
                )?;
                self.recharge(fs);
            }
        }
        Ok(())
    }

    /// SEEK_DATA, SEEK_HOLE.
    ///
    /// # Errors
    /// ENXIO at or after the end, or without data after `from`.
    pub(super) fn seek(&self, from: u64, data: bool) -> Result<u64> {
        if from >= self.size {
            return Err(Errno::ENXIO);
        }
        match &self.store {
            Store::Pages(pages) => {
                let (index, _) = split(from);
                if data {
                    let (found, _) = pages
                        .range(index..)
                        .find(|(_, p)| p.is_some())
                        .ok_or(Errno::ENXIO)?;
                    let at = from.max(found * PAGE as u64);
                    if at < self.size {
                        Ok(at)
                    } else {
                        Err(Errno::ENXIO)
                    }
                } else {
                    let mut next = index;
                    for (i, page) in pages.range(index..) {
                        if *i != next || page.is_none() {
                            break;
                        }
                        next += 1;
                    }
                    Ok(from.max(next * PAGE as u64).min(self.size))
                }
            }
            Store::Host { rw, .. } => {
                let whence = if data {
                    Whence::SeekData
                } else {
                    Whence::SeekHole
                };
                let at = lseek64(&**rw, offset(from)?, whence)?;
                u64::try_from(at).map_err(|_| Errno::EIO)
            }
        }
    }

    /// The memfd for a mapping: read-only unless `writable`.
    ///
    /// # Errors
    /// ENOMEM if the host gives no descriptor.
    pub(super) fn host(&mut self, fs: &Tmpfs, writable: bool) -> Result<HostFd> {
        self.make_host(fs)?;
        match &self.store {
            Store::Host { rw, .. } if writable => Ok(HostFd::Ready(rw.clone())),
            Store::Host { ro: Some(fd), .. } => Ok(HostFd::Ready(fd.clone())),
            Store::Host { rw, ro: None } => Ok(HostFd::Writable(rw.clone())),
            Store::Pages(_) => Err(Errno::ENOMEM),
        }
    }

    /// Keeps a read-only descriptor of the memfd for later mappings; the one to use.
    pub(super) fn keep_read_only(&mut self, fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = Arc::new(fd);
        match &mut self.store {
            Store::Host { ro, .. } => ro.get_or_insert(fd).clone(),
            Store::Pages(_) => fd,
        }
    }

    fn make_host(&mut self, fs: &Tmpfs) -> Result<()> {
        let Store::Pages(pages) = &self.store else {
            return Ok(());
        };
        let fd = new_memfd()?;
        ftruncate(&fd, offset(self.size)?)?;
        for (index, page) in pages {
            let pos = index * PAGE as u64;
            // Pages beyond the end were reserved with FALLOC_FL_KEEP_SIZE, too.
            let Some(page) = page.as_ref().filter(|_| pos < self.size) else {
                fallocate(
                    &fd,
                    FallocateFlags::FALLOC_FL_KEEP_SIZE,
                    offset(pos)?,
                    PAGE as i64,
                )?;
                continue;
            };
            let len = usize::try_from(self.size - pos).unwrap_or(PAGE).min(PAGE);
            write_all(&fd, pos, page.get(..len).unwrap_or(&[]))?;
        }
        seal(&fd, self.seals)?;
        self.store = Store::Host {
            rw: Arc::new(fd),
            ro: None,
        };
        self.recharge(fs);
        Ok(())
    }

    /// Adds seals; on a memfd the host enforces them too, and knows of writable mappings.
    ///
    /// # Errors
    /// EBUSY for F_SEAL_WRITE while a writable shared mapping exists.
    pub(super) fn add_seals(&mut self, seals: u32) -> Result<()> {
        if let Store::Host { rw, .. } = &self.store {
            seal(rw, seals)?;
        }
        self.seals |= seals;
        Ok(())
    }
}

/// Puts those seals on a memfd that the host should enforce.
fn seal(fd: &OwnedFd, seals: u32) -> Result<()> {
    use super::{F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE};
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    let host = seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
    if host != 0 {
        let flags = SealFlag::from_bits_retain(host.cast_signed());
        fcntl(fd, FcntlArg::F_ADD_SEALS(flags))?;
    }
    Ok(())
}

/// A page that has been written.
fn page_mut(pages: &mut BTreeMap<u64, Option<Page>>, index: u64) -> Option<&mut Page> {
    pages.get_mut(&index).and_then(Option::as_mut)
}

fn host_pages(fd: &OwnedFd) -> u64 {
    nix::sys::stat::fstat(fd).map_or(0, |s| {
        u64::try_from(s.st_blocks).unwrap_or(0) / (PAGE as u64 / 512)
    })
}

fn write_all(fd: &OwnedFd, pos: u64, data: &[u8]) -> Result<usize> {
    let mut n = 0;
    while let Some(rest) = data.get(n..).filter(|r| !r.is_empty()) {
        match pwrite(fd, rest, offset(pos + n as u64)?) {
            Ok(0) => break,
            Ok(k) => n += k,
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) if n == 0 => return Err(e.into()),
            Err(_) => break,
        }
    }
    Ok(n)
}
