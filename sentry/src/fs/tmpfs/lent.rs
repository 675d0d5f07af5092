//! The beginning of a regular file's contents, lent to guest processes: when that can be, and what their stubs tell of it ([`crate::vfs::pages`]).

use super::PAGE;
use super::data::HostFd;
use super::file::RegularFile;
use super::inode::{Attr, Content, TmpfsInode};
use super::memfd::{F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE};
use crate::abi::{Errno, Result};
use crate::vfs::host::reopen_read_only;
use crate::vfs::pages::{LentPages, MOST, PageLoan, Reads};
use crate::vfs::{File, MountFlags, OpenFlags};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// S_ISUID and S_ISGID: writing may take them away.
const SETID: u32 = 0o6000;

impl TmpfsInode {
    /// Enters the times that borrowers tell.
    pub(super) fn settle(&self) {
        self.lent.settle(|times| {
            self.with_attr(|a| {
                if let Some(at) = times.written {
                    a.mtime = at;
                    a.ctime = at;
                }
                a.atime = times.read.map_or(a.atime, |at| a.atime.max(at));
                a.read_is_due()
            })
        });
    }

    /// The memfd, open for writing or not.
    ///
    /// # Errors
    /// ENOMEM if the host gives no descriptor.
    pub(super) fn host_fd(&self, writable: bool) -> Result<Arc<OwnedFd>> {
        let data = self.data()?;
        let writable = {
            let mut d = data.lock();
            let host = d.host(&self.fs, writable)?;
            // From now on the guest may fill pages by itself.
            self.resizes();
            match host {
                HostFd::Ready(fd) => return Ok(fd),
                HostFd::Writable(fd) => fd,
            }
        };
        let fd = reopen_read_only(&writable).map_err(|_| Errno::ENOMEM)?;
        Ok(data.lock().keep_read_only(fd))
    }
}

impl Attr {
    /// Whether the access time follows the next read (relatime).
    pub(super) fn read_is_due(&self) -> bool {
        let day_old = || self.atime.sec < crate::vfs::Timestamp::coarse().sec.saturating_sub(86400);
        self.atime <= self.mtime || self.atime <= self.ctime || day_old()
    }
}

impl RegularFile {
    /// Which reads through `file` the access time follows; `None` if all.
    fn reads(&self, file: &File) -> Option<Reads> {
        let mount = file.path().map(|p| p.mount.flags());
        let attr = self.0.attr();
        if file.noatime() || attr.is_noatime() {
            Some(Reads::Never)
        } else if mount.is_some_and(|f| !f.contains(MountFlags::RELATIME)) {
            None
        } else if attr.read_is_due() {
            Some(Reads::Due)
        } else {
            Some(Reads::AfterWrite)
        }
    }

    /// [`crate::vfs::FileOps::lend_pages`]. Only what has a memory page is lent: what a guest puts into a hole would not be counted. Nothing that can be
    /// sealed is: a window that is left behind would keep the host from sealing it.
    pub(super) fn lend(
        &self,
        file: &File,
        to: Arc<dyn PageLoan>,
        write: bool,
        limit: u64,
    ) -> Option<LentPages> {
        const SEALED: u32 = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
        let inode = &*self.0;
        let Content::Regular { data, writers } = &inode.content else {
            return None;
        };
        let flags = file.flags();
        if !flags.readable() {
            // What can be written in memory can be read there, too.
            return None;
        }
        let write = write && flags.writable() && !flags.contains(OpenFlags::APPEND);
        // Not in the middle of a write.
        let whole = writers.try_lock().filter(|_| write);
        {
            let mut d = data.lock();
            if write && whole.is_none()
                || d.seals & (F_SEAL_SEAL | SEALED) != F_SEAL_SEAL
                || d.size() == 0
                || !d.prepare_to_lend(&inode.fs)
            {
                return None;
            }
        }
        let fd = inode.host_fd(flags.writable()).ok()?;
        let d = data.lock();
        inode.settle();
        let write = write && inode.attr().perm & SETID == 0;
        let reads = self.reads(file);
        let end = d.seek(0, false).ok()?.min(MOST);
        let read = if reads.is_some() { end } else { 0 };
        let write = if write { end.min(limit) } else { 0 };
        if read == 0 && write == 0 || !inode.lent.add(to, write > 0) {
            return None;
        }
        Some(LentPages {
            fd,
            read: u32::try_from(read).ok()?,
            write: u32::try_from(write).ok()?,
            reads: reads.unwrap_or(Reads::Never),
        })
    }
}

const _: () = assert!(MOST.is_multiple_of(PAGE as u64));
