//! The operations, one method each. Every method may fail with [`GoferError::Dead`], and with
//! [`GoferError::Errno`] for what the host (or the server's own rules) says.
#![allow(unsafe_code)] // fcntl(2) on a received descriptor

use super::{
    Client, Created, DirBatch, DirEntry, GoferError, GoferResult, Handle, NodeRef, Walked,
};
use crate::protocol::{
    Access, Attr, DecodeError, FileType, FsStat, LinkTarget, MAX_WALK, Name, NamesBuf, OpenFlags,
    Owner, ProcessFile, RenameFlags, Reply, Request, SetAttr, WalkStop, XattrName, XattrValue,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The errno for a name that the protocol does not carry; as `path_lookup` would answer it.
fn name(bytes: &[u8]) -> GoferResult<Name<'_>> {
    let too_long = bytes.len() > crate::protocol::MAX_NAME;
    let errno = if too_long {
        libc::ENAMETOOLONG
    } else {
        libc::EINVAL
    };
    Name::new(bytes).map_err(|_| GoferError::Errno(errno))
}

fn xattr_name(bytes: &[u8]) -> GoferResult<XattrName<'_>> {
    XattrName::new(bytes).map_err(|_| GoferError::Errno(libc::ERANGE))
}

/// Accepts a donated descriptor only if it is a regular file with exactly the access asked for:
/// a descriptor is passed on to guest processes and must be neither more nor something else.
fn checked_fd(fd: OwnedFd, access: Access) -> Option<OwnedFd> {
    // SAFETY: F_GETFL takes no pointer.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    let mode_ok = flags >= 0 && flags & (libc::O_ACCMODE | libc::O_PATH) == access.open_bits();
    let regular = crate::host::attr::stat(fd.as_fd()).ok()?.file_type() == FileType::Regular;
    (mode_ok && regular).then_some(fd)
}

/// Which file it is.
fn file_id(fd: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let attr = crate::host::attr::stat(fd).ok()?;
    Some((attr.dev, attr.ino))
}

impl Client {
    /// Root of export `index`.
    ///
    /// # Errors
    /// See the module.
    pub fn attach(&self, index: u32) -> GoferResult<NodeRef> {
        self.call(&Request::Attach { export: index }, |reply, fd| {
            self.take_node(reply, fd)
        })
    }

    /// Looks up `names` one after the other from `dir`. With `open`, the last one is opened too if
    /// all were found and it is a regular file.
    ///
    /// # Errors
    /// See the module. A missing component is no error: see [`Walked::stop`].
    pub fn walk<'n>(
        &self,
        dir: &Handle,
        names: impl IntoIterator<Item = &'n [u8]>,
        open: Option<Access>,
    ) -> GoferResult<Walked> {
        let mut list = NamesBuf::default();
        for bytes in names {
            match list.push(name(bytes)?) {
                Ok(()) => {}
                Err(DecodeError::TooMany) => return Err(GoferError::Errno(libc::E2BIG)),
                Err(_) => return Err(GoferError::Errno(libc::EINVAL)),
            }
        }
        let names = list.as_names();
        let wanted = names.len();
        let request = Request::Walk {
            dir: self.id(dir)?,
            names,
            open,
        };
        self.call(&request, |reply, fd| {
            let Reply::Walked {
                nodes,
                stop,
                link,
                open_errno,
            } = reply
            else {
                return None;
            };
            let count = nodes.len();
            let whole = stop == WalkStop::Complete;
            if count > wanted.min(MAX_WALK) || whole != (count == wanted) {
                return None;
            }
            let last = nodes.iter().last().map(|node| node.attr.file_type());
            let is_link = last == Some(FileType::Symlink);
            if !is_link && (stop == WalkStop::Symlink || !link.is_empty()) {
                return None;
            }
            let open = match (open, fd, open_errno) {
                (_, None, 0) => None,
                (Some(access), Some(fd), 0) if whole && last == Some(FileType::Regular) => {
                    Some(Ok(checked_fd(fd, access)?))
                }
                (Some(_), None, errno) if whole => Some(Err(GoferError::Errno(errno))),
                _ => return None,
            };
            let link = (!link.is_empty()).then(|| link.to_vec());
            Some(Walked {
                nodes: nodes.iter().map(|node| self.node(node)).collect(),
                stop,
                link,
                open,
            })
        })
    }

    /// Opens a regular file; the descriptor has exactly `access`. Its attributes are those after
    /// opening.
    ///
    /// # Errors
    /// See the module.
    pub fn open(
        &self,
        node: &Handle,
        access: Access,
        flags: OpenFlags,
    ) -> GoferResult<(Attr, OwnedFd)> {
        let request = Request::Open {
            node: self.id(node)?,
            access,
            flags,
        };
        self.call(&request, |reply, fd| match reply {
            Reply::Opened(attr) => Some((attr, checked_fd(fd?, access)?)),
            _ => None,
        })
    }

    /// Some entries of a directory from `cursor` (0 is the start).
    ///
    /// # Errors
    /// See the module.
    pub fn read_dir(&self, dir: &Handle, cursor: u64) -> GoferResult<DirBatch> {
        let request = Request::ReadDir {
            dir: self.id(dir)?,
            cursor,
        };
        self.call(&request, |reply, fd| {
            let (Reply::Dir { entries, eof }, None) = (reply, fd) else {
                return None;
            };
            let entries: Vec<_> = entries
                .iter()
                .map(|entry| DirEntry {
                    name: entry.name.as_bytes().to_vec(),
                    next: entry.next,
                    ino: entry.ino,
                    file_type: entry.file_type,
                    attr: entry.attr,
                })
                .collect();
            // An empty batch that is not the end would have the caller ask for ever.
            (eof || !entries.is_empty()).then_some(DirBatch { entries, eof })
        })
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// See the module.
    pub fn read_link(&self, node: &Handle) -> GoferResult<Vec<u8>> {
        let request = Request::ReadLink {
            node: self.id(node)?,
        };
        let target = self.call(&request, take_bytes)?;
        if LinkTarget::new(&target).is_err() {
            return Err(GoferError::Errno(libc::EIO));
        }
        Ok(target)
    }

    /// Attributes.
    ///
    /// # Errors
    /// See the module.
    pub fn get_attr(&self, node: &Handle) -> GoferResult<Attr> {
        self.call(
            &Request::GetAttr {
                node: self.id(node)?,
            },
            take_attr,
        )
    }

    /// Changes attributes and returns the new ones.
    ///
    /// # Errors
    /// See the module.
    pub fn set_attr(&self, node: &Handle, set: &SetAttr) -> GoferResult<Attr> {
        set.check().map_err(|_| GoferError::Errno(libc::EINVAL))?;
        self.call(
            &Request::SetAttr {
                node: self.id(node)?,
                set: *set,
            },
            take_attr,
        )
    }

    /// Creates a regular file and opens it; without [`OpenFlags::EXCL`] opens one that exists.
    ///
    /// # Errors
    /// See the module.
    pub fn create(
        &self,
        dir: &Handle,
        file: &[u8],
        mode: u32,
        access: Access,
        flags: OpenFlags,
        owner: Owner,
    ) -> GoferResult<Created> {
        let (dir, name, mode) = (self.id(dir)?, name(file)?, mode & 0o7777);
        let request = Request::Create {
            dir,
            name,
            mode,
            access,
            flags,
            owner,
        };
        self.call(&request, |reply, fd| self.take_created(reply, fd, access))
    }

    /// Creates a nameless file on `dir`'s file system and opens it (`O_TMPFILE`).
    ///
    /// # Errors
    /// See the module.
    pub fn tmp_file(
        &self,
        dir: &Handle,
        mode: u32,
        access: Access,
        owner: Owner,
    ) -> GoferResult<Created> {
        let request = Request::TmpFile {
            dir: self.id(dir)?,
            mode: mode & 0o7777,
            access,
            owner,
        };
        self.call(&request, |reply, fd| self.take_created(reply, fd, access))
    }

    /// Creates a directory.
    ///
    /// # Errors
    /// See the module.
    pub fn mkdir(
        &self,
        dir: &Handle,
        dir_name: &[u8],
        mode: u32,
        owner: Owner,
    ) -> GoferResult<NodeRef> {
        let (dir, name, mode) = (self.id(dir)?, name(dir_name)?, mode & 0o7777);
        self.call(
            &Request::Mkdir {
                dir,
                name,
                mode,
                owner,
            },
            |reply, fd| self.take_node(reply, fd),
        )
    }

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// See the module.
    pub fn symlink(
        &self,
        dir: &Handle,
        link_name: &[u8],
        target: &[u8],
        owner: Owner,
    ) -> GoferResult<NodeRef> {
        let (dir, name) = (self.id(dir)?, name(link_name)?);
        let target = LinkTarget::new(target).map_err(|_| GoferError::Errno(libc::ENAMETOOLONG))?;
        self.call(
            &Request::Symlink {
                dir,
                name,
                target,
                owner,
            },
            |reply, fd| self.take_node(reply, fd),
        )
    }

    /// Creates a regular file, FIFO or socket node; `mode` carries the type.
    ///
    /// # Errors
    /// See the module. `EPERM` for device nodes.
    pub fn mknod(
        &self,
        dir: &Handle,
        node_name: &[u8],
        mode: u32,
        owner: Owner,
    ) -> GoferResult<NodeRef> {
        let (dir, name) = (self.id(dir)?, name(node_name)?);
        self.call(
            &Request::Mknod {
                dir,
                name,
                mode,
                owner,
            },
            |reply, fd| self.take_node(reply, fd),
        )
    }

    /// Gives `node` the name `new_name` in `dir` and returns its new attributes.
    ///
    /// # Errors
    /// See the module.
    pub fn link(&self, node: &Handle, dir: &Handle, new_name: &[u8]) -> GoferResult<Attr> {
        let request = Request::Link {
            node: self.id(node)?,
            dir: self.id(dir)?,
            name: name(new_name)?,
        };
        self.call(&request, take_attr)
    }

    /// Removes a name: that of a directory with `rmdir`, else of anything else.
    ///
    /// # Errors
    /// See the module.
    pub fn unlink(&self, dir: &Handle, old_name: &[u8], rmdir: bool) -> GoferResult<()> {
        let request = Request::Unlink {
            dir: self.id(dir)?,
            name: name(old_name)?,
            rmdir,
        };
        self.call(&request, take_done)
    }

    /// Renames.
    ///
    /// # Errors
    /// See the module.
    pub fn rename(
        &self,
        from: &Handle,
        from_name: &[u8],
        to: &Handle,
        to_name: &[u8],
        flags: RenameFlags,
    ) -> GoferResult<()> {
        let (from_name, to_name) = (name(from_name)?, name(to_name)?);
        let (from, to) = (self.id(from)?, self.id(to)?);
        self.call(
            &Request::Rename {
                from,
                from_name,
                to,
                to_name,
                flags,
            },
            take_done,
        )
    }

    /// Value of an extended attribute.
    ///
    /// # Errors
    /// See the module.
    pub fn get_xattr(&self, node: &Handle, attr: &[u8]) -> GoferResult<Vec<u8>> {
        self.call(
            &Request::GetXattr {
                node: self.id(node)?,
                name: xattr_name(attr)?,
            },
            take_bytes,
        )
    }

    /// Sets an extended attribute; `flags` are `XATTR_CREATE` and `XATTR_REPLACE`.
    ///
    /// # Errors
    /// See the module.
    pub fn set_xattr(
        &self,
        node: &Handle,
        attr: &[u8],
        value: &[u8],
        flags: u32,
    ) -> GoferResult<()> {
        let value = XattrValue::new(value).map_err(|_| GoferError::Errno(libc::E2BIG))?;
        if flags > 3 {
            return Err(GoferError::Errno(libc::EINVAL));
        }
        let request = Request::SetXattr {
            node: self.id(node)?,
            name: xattr_name(attr)?,
            value,
            flags,
        };
        self.call(&request, take_done)
    }

    /// Names of extended attributes, each ended by NUL.
    ///
    /// # Errors
    /// See the module.
    pub fn list_xattr(&self, node: &Handle) -> GoferResult<Vec<u8>> {
        self.call(
            &Request::ListXattr {
                node: self.id(node)?,
            },
            take_bytes,
        )
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// See the module.
    pub fn remove_xattr(&self, node: &Handle, attr: &[u8]) -> GoferResult<()> {
        self.call(
            &Request::RemoveXattr {
                node: self.id(node)?,
                name: xattr_name(attr)?,
            },
            take_done,
        )
    }

    /// Statistics of the file system that holds `node`.
    ///
    /// # Errors
    /// See the module.
    pub fn stat_fs(&self, node: &Handle) -> GoferResult<FsStat> {
        self.call(
            &Request::StatFs {
                node: self.id(node)?,
            },
            |reply, fd| match (reply, fd) {
                (Reply::FsStat(stat), None) => Some(stat),
                _ => None,
            },
        )
    }

    /// Writes a file or directory to its disk.
    ///
    /// # Errors
    /// See the module.
    pub fn fsync(&self, node: &Handle, data_only: bool) -> GoferResult<()> {
        self.call(
            &Request::Fsync {
                node: self.id(node)?,
                data_only,
            },
            take_done,
        )
    }

    /// A read-only descriptor of the same regular file as `fd`, which can read and write it.
    ///
    /// # Errors
    /// See the module.
    pub fn read_only(&self, fd: BorrowedFd<'_>) -> GoferResult<OwnedFd> {
        let wanted = file_id(fd);
        self.call_with(&Request::ReadOnly, Some(fd), |reply, got| {
            let got = checked_fd(got?, Access::Read)?;
            (reply == Reply::Done && file_id(got.as_fd()) == wanted).then_some(got)
        })
    }

    /// Passes the root of a procfs that shows the guest's processes.
    ///
    /// # Errors
    /// See the module.
    pub fn processes(&self, dir: BorrowedFd<'_>) -> GoferResult<()> {
        self.call_with(&Request::Processes, Some(dir), take_done)
    }

    /// Opens a file about the process that has this id in that procfs.
    ///
    /// # Errors
    /// See the module. `EOPNOTSUPP` if there is no procfs, `ENOENT` or `ESRCH` if there is no such process.
    pub fn process(&self, pid: u32, file: ProcessFile) -> GoferResult<OwnedFd> {
        self.call(&Request::Process { pid, file }, |reply, got| {
            (reply == Reply::Done).then_some(checked_fd(got?, Access::Read)?)
        })
    }

    /// Sends queued closes now instead of with the next request.
    ///
    /// # Errors
    /// See the module.
    pub fn flush(&self) -> GoferResult<()> {
        self.call(&Request::Close, take_done)
    }

    fn take_node(&self, reply: Reply<'_>, fd: Option<OwnedFd>) -> Option<NodeRef> {
        match (reply, fd) {
            (Reply::Node(node), None) => Some(self.node(node)),
            _ => None,
        }
    }

    fn take_created(
        &self,
        reply: Reply<'_>,
        fd: Option<OwnedFd>,
        access: Access,
    ) -> Option<Created> {
        match reply {
            Reply::Created { node, created } => {
                let fd = checked_fd(fd?, access)?;
                Some(Created {
                    node: self.node(node),
                    created,
                    fd,
                })
            }
            _ => None,
        }
    }
}

fn take_attr(reply: Reply<'_>, fd: Option<OwnedFd>) -> Option<Attr> {
    match (reply, fd) {
        (Reply::Attr(attr), None) => Some(attr),
        _ => None,
    }
}

fn take_bytes(reply: Reply<'_>, fd: Option<OwnedFd>) -> Option<Vec<u8>> {
    match (reply, fd) {
        (Reply::Bytes(bytes), None) => Some(bytes.to_vec()),
        _ => None,
    }
}

fn take_done(reply: Reply<'_>, fd: Option<OwnedFd>) -> Option<()> {
    match (reply, fd) {
        (Reply::Done, None) => Some(()),
        _ => None,
    }
}
