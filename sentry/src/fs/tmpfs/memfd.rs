//! Files in memory that have no name: memfd_create(2), shared anonymous memory, System V segments.

use super::inode::{New, TmpfsInode};
use super::{Tmpfs, TmpfsOptions};
use crate::abi::{Errno, Result};
use crate::vfs::{Caller, File, Inode, InodeRef, OpenFlags};
use std::sync::{Arc, LazyLock};

/// No more seals.
pub const F_SEAL_SEAL: u32 = 1;
/// The file may not shrink.
pub const F_SEAL_SHRINK: u32 = 2;
/// The file may not grow.
pub const F_SEAL_GROW: u32 = 4;
/// The contents may not change.
pub const F_SEAL_WRITE: u32 = 8;
/// The contents may change only through mappings that exist.
pub const F_SEAL_FUTURE_WRITE: u32 = 0x10;
/// The executable bits may not change.
pub const F_SEAL_EXEC: u32 = 0x20;
const ALL_SEALS: u32 = 0x3f;

const MFD_CLOEXEC: u32 = 1;
const MFD_ALLOW_SEALING: u32 = 2;
const MFD_NOEXEC_SEAL: u32 = 8;
const MFD_EXEC: u32 = 0x10;
/// Longest name: NAME_MAX without "memfd:".
const NAME_MAX: usize = 249;

/// Where files without a tree live. Their size is limited only by what the whole sandbox may have.
static UNNAMED: LazyLock<Arc<Tmpfs>> = LazyLock::new(|| {
    Tmpfs::empty(&TmpfsOptions {
        size: None,
        inodes: 1 << 16,
        mode: 0o777,
        uid: 0,
        gid: 0,
    })
});

fn unnamed(new: New<'_>) -> Result<Arc<TmpfsInode>> {
    TmpfsInode::make(&UNNAMED, New { nlink: 0, ..new }).map_err(|_| Errno::ENFILE)
}

/// memfd_create(2): a file of this name (without "memfd:"), open for reading and writing.
///
/// # Errors
/// EINVAL for unknown flags or a long name; ENFILE.
pub fn memfd_create(cx: &dyn Caller, name: &[u8], flags: u32) -> Result<Arc<File>> {
    let known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
    if flags & !known != 0
        || flags & (MFD_EXEC | MFD_NOEXEC_SEAL) == MFD_EXEC | MFD_NOEXEC_SEAL
        || name.len() > NAME_MAX
    {
        return Err(Errno::EINVAL);
    }
    let (perm, seals) = if flags & MFD_NOEXEC_SEAL != 0 {
        (0o666, F_SEAL_EXEC)
    } else if flags & MFD_ALLOW_SEALING != 0 {
        (0o777, 0)
    } else {
        (0o777, F_SEAL_SEAL)
    };
    let creds = cx.credentials();
    let label = [b"/memfd:", name, b" (deleted)"].concat();
    let inode = unnamed(New {
        perm,
        uid: creds.fsuid,
        gid: creds.fsgid,
        seals,
        label: Some(&label),
        ..New::default()
    })?;
    open(cx, inode)
}

fn open(cx: &dyn Caller, inode: Arc<TmpfsInode>) -> Result<Arc<File>> {
    let flags = OpenFlags::RDWR | OpenFlags::LARGEFILE;
    let ops = inode.clone().open(cx, flags)?;
    let inode: InodeRef = inode;
    Ok(File::new(ops, inode, None, flags))
}

/// A file of `len` bytes of zeros, shown as `label`, open for reading and writing (System V segments).
///
/// # Errors
/// ENFILE, ENOMEM.
pub fn anonymous_file(cx: &dyn Caller, label: &[u8], perm: u32, len: u64) -> Result<Arc<File>> {
    let creds = cx.credentials();
    let inode = unnamed(New {
        perm,
        uid: creds.fsuid,
        gid: creds.fsgid,
        label: Some(label),
        ..New::default()
    })?;
    inode.set_size(len)?;
    open(cx, inode)
}

/// Memory for a MAP_SHARED | MAP_ANONYMOUS mapping of `len` bytes.
///
/// # Errors
/// ENFILE, ENOMEM.
pub fn shared_anon(cx: &dyn Caller, len: u64) -> Result<Arc<File>> {
    anonymous_file(cx, b"/dev/zero (deleted)", 0o777, len)
}

fn inode_of(file: &File) -> Result<&TmpfsInode> {
    let inode = file
        .inode()
        .as_any()
        .downcast_ref::<TmpfsInode>()
        .ok_or(Errno::EINVAL)?;
    inode.data().map_err(|_| Errno::EINVAL)?;
    Ok(inode)
}

/// F_GET_SEALS.
///
/// # Errors
/// EINVAL for what is no file in memory.
pub fn seals(file: &File) -> Result<u32> {
    Ok(inode_of(file)?.data()?.lock().seals)
}

/// F_ADD_SEALS.
///
/// # Errors
/// EPERM if the file is not open for writing or takes no more seals; EINVAL; EBUSY while it is mapped writable.
pub fn add_seals(file: &File, seals: u32) -> Result<()> {
    let inode = inode_of(file)?;
    if !file.flags().writable() {
        return Err(Errno::EPERM);
    }
    if seals & !ALL_SEALS != 0 {
        return Err(Errno::EINVAL);
    }
    let executable = inode.attr().perm & 0o111 != 0;
    let mut d = inode.data()?.lock();
    if d.seals & F_SEAL_SEAL != 0 {
        return Err(Errno::EPERM);
    }
    let mut seals = seals;
    // A sealed program implies sealed contents (since Linux 6.3).
    if seals & F_SEAL_EXEC != 0 && executable {
        seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    }
    d.add_seals(seals)
}
