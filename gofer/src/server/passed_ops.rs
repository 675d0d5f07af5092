//! Operations on descriptors that the client passes. What comes back is never more than what the client has.

use super::session::{OpResult, Outcome, Session};
use crate::host::{attr, lookup, process};
use crate::protocol::{Access, FileType, OpenFlags, ProcessFile};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::os::fd::{AsFd, OwnedFd};

impl Session {
    /// A descriptor of the same file that cannot write it. The client, which has no `/proc`, cannot make one.
    pub(super) fn read_only(&self, fd: &OwnedFd) -> OpResult {
        let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
        // Who can do both is given nothing new; an `O_PATH` descriptor would be another matter.
        if flags & (OFlag::O_ACCMODE | OFlag::O_PATH) != OFlag::O_RDWR {
            return Err(Errno::EBADF);
        }
        if attr::stat(fd.as_fd())?.file_type() != FileType::Regular {
            return Err(Errno::EINVAL);
        }
        let access = Access::Read;
        lookup::open_regular(&self.proc_fds, fd.as_fd(), access, OpenFlags::empty())
            .map(Outcome::Fd)
    }

    pub(super) fn adopt_processes(&mut self, dir: OwnedFd) -> OpResult {
        if self.processes.is_some() {
            return Err(Errno::EEXIST);
        }
        process::check_directory(dir.as_fd())?;
        self.processes = Some(dir);
        Ok(Outcome::Done)
    }

    /// A file about a guest process.
    pub(super) fn process(&self, pid: u32, file: ProcessFile) -> OpResult {
        let dir = self.processes.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        process::open(dir.as_fd(), pid, file.name()).map(Outcome::Fd)
    }
}
