//! What the sentry needs of the host by name and cannot open itself: the gofer does it.
//!
//! - A read-only descriptor of a file that the sentry has open for writing. A descriptor given to a guest process is the whole
//!   file with its access mode, so a file that the guest may only read needs one. The only way the host offers is to open the
//!   descriptor's entry in `/proc/self/fd`; the gofer has such a directory of its own.
//! - What the host knows of a guest process.
//!
//! Each costs a round trip, so no lock may be held.

use crate::abi::{Errno, Result};
use cofferdam_gofer::client::{Client, GoferError};
pub use cofferdam_gofer::protocol::ProcessFile;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

static GOFER: OnceLock<Arc<Client>> = OnceLock::new();

/// Gives a connection to the gofer for the life of the process. A second call has no effect.
pub fn set_gofer(client: Arc<Client>) {
    let _ = GOFER.set(client);
}

fn error(e: GoferError) -> Errno {
    Errno::from_raw(e.errno())
}

/// Opens the file of `fd`, which can read and write it, again, read-only.
///
/// # Errors
/// Those of open(2). Without a gofer, as in tests, `/proc` must be there.
pub fn reopen_read_only(fd: &OwnedFd) -> Result<OwnedFd> {
    match GOFER.get() {
        Some(gofer) => gofer.read_only(fd.as_fd()).map_err(error),
        None => {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            open(path.as_str(), flags, Mode::empty()).map_err(Errno::from)
        }
    }
}

/// Opens a file about a host process that has this id in the sentry's pid namespace.
///
/// # Errors
/// EOPNOTSUPP if processes cannot be looked at; ENOENT or ESRCH for one that is gone.
pub fn open_process(pid: u32, file: ProcessFile) -> Result<OwnedFd> {
    let gofer = GOFER.get().ok_or(Errno::EOPNOTSUPP)?;
    gofer.process(pid, file).map_err(error)
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
