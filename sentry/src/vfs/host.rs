//! A read-only descriptor of a host file that the sentry has open for writing.
//!
//! A descriptor given to a guest process is the whole file with its access mode, so a file that the guest opened read-only
//! needs a read-only one. The only way the host offers is to open the descriptor's entry in `/proc/self/fd`; that
//! directory is opened before the sentry loses sight of `/proc`.

use crate::abi::{Errno, Result};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

static FD_DIRECTORY: OnceLock<OwnedFd> = OnceLock::new();

/// Gives an open `/proc/self/fd` for the life of the process. A second call has no effect.
pub fn set_fd_directory(dir: OwnedFd) {
    let _ = FD_DIRECTORY.set(dir);
}

/// Opens the file of `fd` again, read-only.
///
/// # Errors
/// Those of open(2); ENOENT if neither a directory was given nor `/proc` is there.
pub fn reopen_read_only(fd: &OwnedFd) -> Result<OwnedFd> {
    let number = fd.as_raw_fd().to_string();
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let reopened = match FD_DIRECTORY.get() {
        Some(dir) => openat(dir, number.as_str(), flags, Mode::empty()),
        None => nix::fcntl::open(
            format!("/proc/self/fd/{number}").as_str(),
            flags,
            Mode::empty(),
        ),
    };
    reopened.map_err(Errno::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};

    #[test]
    fn what_is_reopened_cannot_be_written() {
        let rw = memfd_create(c"t", MFdFlags::MFD_CLOEXEC).unwrap();
        nix::unistd::write(&rw, b"abc").unwrap();
        let ro = reopen_read_only(&rw).unwrap();
        let mut b = [0; 8];
        assert_eq!(nix::sys::uio::pread(&ro, &mut b, 0), Ok(3));
        assert_eq!(nix::unistd::write(&ro, b"x"), Err(nix::errno::Errno::EBADF));
        assert!(nix::unistd::ftruncate(&ro, 0).is_err());
    }
}
