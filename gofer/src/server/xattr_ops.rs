//! Extended attributes. Only the `user.` ones of regular files and directories are served: the
//! others are the host's own business (labels, capabilities, access lists).

use super::session::{OpResult, Outcome, Session};
use super::table::Node;
use crate::host::{attr, lookup, xattr};
use crate::protocol::{FileType, HandleId, XattrName, XattrValue};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

fn is_user(name: XattrName<'_>) -> bool {
    name.as_bytes()
        .strip_prefix(b"user.")
        .is_some_and(|rest| !rest.is_empty())
}

/// What Linux says to a reader about an attribute of a namespace in which there is nothing.
fn absent(name: XattrName<'_>) -> Errno {
    let name = name.as_bytes();
    if name.starts_with(b"trusted.") || name.starts_with(b"security.") {
        Errno::ENODATA
    } else {
        Errno::EOPNOTSUPP
    }
}

/// What Linux says to an unprivileged writer about such an attribute.
fn refused(name: XattrName<'_>) -> Errno {
    let name = name.as_bytes();
    if name.starts_with(b"trusted.") || name.starts_with(b"security.") {
        Errno::EPERM
    } else {
        Errno::EOPNOTSUPP
    }
}

impl Session {
    /// Opens a node whose attributes may be read; none if its type cannot have any.
    fn open_for_xattr(&self, node: &Node) -> Result<Option<OwnedFd>, Errno> {
        if node.opaque {
            return Ok(None);
        }
        match node.file_type {
            FileType::Regular => self.open_either(node.fd()).map(Some),
            FileType::Directory => lookup::open_dir(&self.proc_fds, node.fd()).map(Some),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharDevice
            | FileType::BlockDevice => Ok(None),
        }
    }

    fn readable(&self, handle: HandleId) -> Result<Option<OwnedFd>, Errno> {
        let (node, export) = self.node(handle)?;
        export.check_other(&attr::stat(node.fd())?, 0o4)?;
        self.open_for_xattr(node)
    }

    fn writable(&self, handle: HandleId) -> Result<OwnedFd, Errno> {
        let (node, export) = self.node(handle)?;
        export.check_writable()?;
        // xattr(7): user attributes are for regular files and directories only.
        self.open_for_xattr(node)?.ok_or(Errno::EPERM)
    }

    pub(super) fn get_xattr(&self, handle: HandleId, name: XattrName<'_>) -> OpResult {
        if !is_user(name) {
            self.node(handle)?;
            return Err(absent(name));
        }
        let fd = self.readable(handle)?.ok_or(Errno::ENODATA)?;
        Ok(Outcome::Bytes(xattr::get(fd.as_fd(), name)?))
    }

    pub(super) fn list_xattr(&self, handle: HandleId) -> OpResult {
        // Listing needs no permission on Linux: what may not be read has nothing to list here.
        let fd = match self.readable(handle) {
            Ok(Some(fd)) => fd,
            Ok(None) | Err(Errno::EACCES) => return Ok(Outcome::Bytes(Vec::new())),
            Err(errno) => return Err(errno),
        };
        let all = match xattr::list(fd.as_fd()) {
            Ok(all) => all,
            Err(Errno::EOPNOTSUPP) => Vec::new(),
            Err(errno) => return Err(errno),
        };
        let mut user = Vec::new();
        for name in all.split_inclusive(|b| *b == 0) {
            if name.starts_with(b"user.") {
                user.extend_from_slice(name);
            }
        }
        Ok(Outcome::Bytes(user))
    }

    pub(super) fn set_xattr(
        &self,
        handle: HandleId,
        name: XattrName<'_>,
        value: XattrValue<'_>,
        flags: u32,
    ) -> OpResult {
        let fd = self.writable(handle)?;
        if !is_user(name) {
            return Err(refused(name));
        }
        xattr::set(
            fd.as_fd(),
            name,
            value,
            i32::try_from(flags).map_err(|_| Errno::EINVAL)?,
        )?;
        Ok(Outcome::Done)
    }

    pub(super) fn remove_xattr(&self, handle: HandleId, name: XattrName<'_>) -> OpResult {
        let fd = self.writable(handle)?;
        if !is_user(name) {
            return Err(refused(name));
        }
        xattr::remove(fd.as_fd(), name)?;
        Ok(Outcome::Done)
    }
}
