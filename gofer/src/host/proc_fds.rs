//! The directory of this process's own descriptors, `/proc/self/fd`, held open.
//!
//! It is how an `O_PATH` descriptor becomes a readable one, and how calls that know no
//! `AT_EMPTY_PATH` (chmod, utimens, link) reach the inode of a descriptor. Its entries are magic
//! links that the kernel resolves straight to the descriptor's inode.
#![allow(unsafe_code)] // open_tree(2) has no wrapper

use super::HostResult;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `/proc/self/fd` of this process. Made before the process gives up its view of the host.
#[derive(Debug)]
pub struct ProcFds(OwnedFd);

impl ProcFds {
    /// The directory as a mount of its own, detached from everything: `..` in it leads nowhere,
    /// so that holding it does not mean holding the rest of `/proc`. Needs `CAP_SYS_ADMIN` in the
    /// user namespace that owns the mount namespace, and must be called by the process that will use it.
    ///
    /// # Errors
    /// What `open_tree(2)` reports; `EPERM` without the capability.
    pub fn isolated() -> HostResult<Self> {
        const OPEN_TREE_CLONE: libc::c_uint = 1;
        let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned();
        // SAFETY: the path is a NUL-terminated constant; the call takes no other pointer.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_open_tree,
                libc::AT_FDCWD,
                c"/proc/self/fd".as_ptr(),
                flags,
            )
        };
        let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
        // SAFETY: open_tree has just returned this descriptor to us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The directory as part of the `/proc` it is found in; for a process that is not jailed.
    ///
    /// # Errors
    /// What `open(2)` reports; `ENOENT` where no `/proc` is mounted.
    pub fn shared() -> HostResult<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(c"/proc/self/fd", flags, Mode::empty()).map(Self)
    }

    /// Opens the inode that `node` names. `flags` must not create.
    ///
    /// # Errors
    /// What `open(2)` reports for that inode.
    pub fn reopen(&self, node: BorrowedFd<'_>, flags: OFlag) -> HostResult<OwnedFd> {
        openat(
            &self.0,
            FdName::new(node).as_c_str(),
            flags | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    }

    /// Creates a nameless file in the directory that `dir` names (`O_TMPFILE`).
    ///
    /// # Errors
    /// What `open(2)` reports; `EOPNOTSUPP` if the file system cannot.
    pub fn tmpfile(&self, dir: BorrowedFd<'_>, flags: OFlag, mode: u32) -> HostResult<OwnedFd> {
        let flags = flags | OFlag::O_TMPFILE | OFlag::O_CLOEXEC;
        openat(
            &self.0,
            FdName::new(dir).as_c_str(),
            flags,
            Mode::from_bits_truncate(mode),
        )
    }

    /// The directory itself, for calls that follow the magic link of a [`FdName`].
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The decimal name of a descriptor within [`ProcFds`].
pub struct FdName([u8; 16]);

impl FdName {
    /// Name of `fd`.
    pub fn new(fd: BorrowedFd<'_>) -> Self {
        let mut name = [0; 16];
        // A descriptor has at most ten digits, so this cannot run out of room.
        let _ = write!(name.as_mut_slice(), "{}", fd.as_raw_fd());
        Self(name)
    }

    /// The name as a C string.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}
