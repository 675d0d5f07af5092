//! Leases of tasks (fcntl(2), F_SETLEASE): what they are is in [`lease`]; here is who is told, and how.

use super::async_io::{self, Reason};
use super::{Cx, Kernel};
use crate::abi::{Errno, Result};
use crate::vfs::File;
use crate::vfs::lease::{self, Holder, LeaseKind};
use std::sync::{Arc, Weak};

/// Whoever owns the file's signals, by the descriptor that the lease was asked through.
struct Owner {
    kernel: Weak<Kernel>,
    file: Weak<File>,
    fd: i32,
}

impl Holder for Owner {
    fn broken(&self) {
        if let (Some(kernel), Some(file)) = (self.kernel.upgrade(), self.file.upgrade()) {
            let owner = *file.owner().lock();
            async_io::send_sigio(&kernel, &owner, self.fd, Reason::Message);
        }
    }
}

/// F_SETLEASE through descriptor `fd`.
///
/// # Errors
/// EINVAL, EACCES, EAGAIN, ENOLCK.
pub fn set(cx: &Cx<'_>, fd: i32, file: &Arc<File>, what: i32) -> Result<i64> {
    let kind = match what {
        libc::F_RDLCK => LeaseKind::Read,
        libc::F_WRLCK => LeaseKind::Write,
        libc::F_UNLCK => {
            lease::remove(cx.creds(), file)?;
            // Its signals end with it (`lease_modify`).
            let mut o = file.owner().lock();
            (o.pid, o.signal) = (0, 0);
            return Ok(0);
        }
        _ => return Err(Errno::EINVAL),
    };
    let holder = Owner {
        kernel: Arc::downgrade(cx.kernel()),
        file: Arc::downgrade(file),
        fd,
    };
    let first = lease::get(file).is_none();
    lease::set(cx.creds(), file, kind, Arc::new(holder))?;
    if first {
        let creds = cx.creds();
        let mut o = file.owner().lock();
        if o.pid == 0 {
            (o.kind, o.pid) = (async_io::owner::PID, cx.group().pid());
            (o.uid, o.euid) = (creds.uid, creds.euid);
        }
    }
    Ok(0)
}

/// F_GETLEASE.
pub fn get(file: &File) -> i32 {
    match lease::get(file) {
        Some(LeaseKind::Read) => libc::F_RDLCK,
        Some(LeaseKind::Write) => libc::F_WRLCK,
        None => libc::F_UNLCK,
    }
}
