//! Listing directories with `getdents64(2)`, at any position.
#![allow(unsafe_code)] // getdents64(2) has no wrapper that keeps positions

use super::HostResult;
use crate::protocol::Name;
use crate::protocol::codec::Reader;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek64};
use std::os::fd::{AsRawFd, BorrowedFd};

/// One raw entry.
#[derive(Debug, Clone, Copy)]
pub struct RawEntry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Position after this entry.
    pub next: u64,
    /// `DT_*`.
    pub d_type: u8,
    /// Its name; `.` and `..` are left out by [`entries`].
    pub name: Name<'a>,
}

/// Moves an open directory to a position that an earlier entry gave, or to 0.
///
/// # Errors
/// `EINVAL` for a position that the file system does not know.
pub fn seek(dir: BorrowedFd<'_>, position: u64) -> HostResult<()> {
    // Some file systems use all 64 bits; lseek takes them as a signed number.
    lseek64(dir, position.cast_signed(), Whence::SeekSet).map(|_| ())
}

/// Reads raw entries into `buf`; 0 at the end.
///
/// # Errors
/// What `getdents64(2)` reports.
pub fn read(dir: BorrowedFd<'_>, buf: &mut [u8]) -> HostResult<usize> {
    // SAFETY: the kernel writes at most `buf.len()` bytes to `buf`, exclusively borrowed here.
    let got = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            dir.as_raw_fd(),
            buf.as_mut_ptr(),
            buf.len(),
        )
    };
    usize::try_from(Errno::result(got)?).map_err(|_| Errno::EIO)
}

/// The entries in what [`read`] returned, without `.` and `..` (and without a name that a
/// broken file system could come up with and [`Name`] refuses).
pub fn entries(buf: &[u8]) -> impl Iterator<Item = RawEntry<'_>> {
    let mut rest = buf;
    std::iter::from_fn(move || {
        loop {
            // struct linux_dirent64: u64 ino, s64 off, u16 reclen, u8 type, name.
            let mut r = Reader::new(rest);
            let ino = r.get::<u64>().ok()?;
            let next = r.get::<u64>().ok()?;
            let reclen = usize::from(r.get::<u16>().ok()?);
            let (entry, tail) = rest.split_at_checked(reclen)?;
            if reclen == 0 {
                return None;
            }
            rest = tail;
            let d_type = *entry.get(18)?;
            let name = entry.get(19..)?.split(|b| *b == 0).next()?;
            if let Ok(name) = Name::new(name) {
                return Some(RawEntry {
                    ino,
                    next,
                    d_type,
                    name,
                });
            }
        }
    })
}
