//! One connection: decodes requests, keeps the handles, dispatches to the operations.

use super::export::Export;
use super::table::{HandleTable, Node};
use crate::host::{ProcFds, attr, kernel_fs::kernel_fs};
use crate::protocol::{
    Attr, DirEntriesBuf, FileType, FsStat, HandleId, MAGIC, Nodes, Reply, Request, VERSION,
    WalkStop, WireNode,
};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// What an operation produced; owns what a [`Reply`] borrows.
pub(super) enum Outcome {
    Done,
    Hello,
    Node(WireNode),
    Walked {
        nodes: Vec<WireNode>,
        stop: WalkStop,
        link: Vec<u8>,
        open: Option<Result<OwnedFd, Errno>>,
    },
    Attr(Attr),
    Opened(Attr, OwnedFd),
    Created {
        node: WireNode,
        created: bool,
        fd: OwnedFd,
    },
    Dir {
        entries: DirEntriesBuf,
        eof: bool,
    },
    Bytes(Vec<u8>),
    FsStat(FsStat),
    Fd(OwnedFd),
}

/// Result of an operation.
pub(super) type OpResult = Result<Outcome, Errno>;

/// The server's side of one connection.
#[derive(Debug)]
pub struct Session {
    pub(super) exports: Vec<Export>,
    pub(super) proc_fds: ProcFds,
    pub(super) table: HandleTable,
    /// The directory of the guest's processes.
    pub(super) processes: Option<OwnedFd>,
    greeted: bool,
}

impl Session {
    /// A session that serves `exports` and lets the client hold `handles` handles.
    pub fn new(exports: Vec<Export>, proc_fds: ProcFds, handles: u32) -> Self {
        Self {
            exports,
            proc_fds,
            table: HandleTable::new(handles),
            processes: None,
            greeted: false,
        }
    }

    /// Handles that the client holds.
    pub fn handles(&self) -> usize {
        self.table.len()
    }

    /// Carries out one message, with which `fd` came, and writes the answer into `reply`; the descriptor returned goes
    /// with it. None if the message is so broken that it cannot be answered: the connection is
    /// to be ended.
    pub fn handle(
        &mut self,
        message: &[u8],
        fd: Option<OwnedFd>,
        reply: &mut Vec<u8>,
    ) -> Option<Option<OwnedFd>> {
        let header = Request::decode_header(message).ok()?;
        let outcome = match Request::decode(message) {
            Ok((_, closes, request)) => {
                closes.iter().for_each(|handle| self.table.remove(handle));
                if request.carries_fd() == fd.is_some() {
                    self.dispatch(&request, fd)
                } else {
                    Err(Errno::EPROTO)
                }
            }
            Err(error) => {
                log::warn!("refused a request: {error}");
                Err(Errno::EPROTO)
            }
        };
        self.answer(header.id, outcome, reply)
    }

    fn dispatch(&mut self, request: &Request<'_>, fd: Option<OwnedFd>) -> OpResult {
        if let Request::Hello { magic, version } = *request {
            if magic != MAGIC || version != VERSION {
                return Err(Errno::EPROTONOSUPPORT);
            }
            self.greeted = true;
            return Ok(Outcome::Hello);
        }
        if !self.greeted {
            return Err(Errno::EPROTO);
        }
        match *request {
            Request::Hello { .. } | Request::Close => Ok(Outcome::Done),
            Request::Attach { export } => self.attach(export),
            Request::Walk { dir, names, open } => self.walk(dir, names, open),
            Request::Open {
                node,
                access,
                flags,
            } => self.open(node, access, flags),
            Request::ReadDir { dir, cursor } => self.read_dir(dir, cursor),
            Request::ReadLink { node } => self.read_link(node),
            Request::GetAttr { node } => self.get_attr(node),
            Request::StatFs { node } => self.stat_fs(node),
            Request::SetAttr { node, set } => self.set_attr(node, &set),
            Request::Create {
                dir,
                name,
                mode,
                access,
                flags,
                owner,
            } => self.create(dir, name, mode, access, flags, owner),
            Request::TmpFile {
                dir,
                mode,
                access,
                owner,
            } => self.tmp_file(dir, mode, access, owner),
            Request::Mkdir {
                dir,
                name,
                mode,
                owner,
            } => self.mkdir(dir, name, mode, owner),
            Request::Symlink {
                dir,
                name,
                target,
                owner,
            } => self.symlink(dir, name, target, owner),
            Request::Mknod {
                dir,
                name,
                mode,
                owner,
            } => self.mknod(dir, name, mode, owner),
            Request::Link { node, dir, name } => self.link(node, dir, name),
            Request::Unlink { dir, name, rmdir } => self.unlink(dir, name, rmdir),
            Request::Rename {
                from,
                from_name,
                to,
                to_name,
                flags,
            } => self.rename(from, from_name, to, to_name, flags),
            Request::Fsync { node, data_only } => self.fsync(node, data_only),
            Request::GetXattr { node, name } => self.get_xattr(node, name),
            Request::SetXattr {
                node,
                name,
                value,
                flags,
            } => self.set_xattr(node, name, value, flags),
            Request::ListXattr { node } => self.list_xattr(node),
            Request::RemoveXattr { node, name } => self.remove_xattr(node, name),
            Request::ReadOnly => self.read_only(&fd.ok_or(Errno::EPROTO)?),
            Request::Processes => self.adopt_processes(fd.ok_or(Errno::EPROTO)?),
            Request::Process { pid, file } => self.process(pid, file),
        }
    }

    fn answer(
        &mut self,
        id: u64,
        outcome: OpResult,
        reply: &mut Vec<u8>,
    ) -> Option<Option<OwnedFd>> {
        let error = |errno: Errno| Reply::Error {
            errno: errno as i32,
        };
        let (message, fd) = match &outcome {
            Err(errno) => (error(host_errno(*errno)), None),
            Ok(Outcome::Done) => (Reply::Done, None),
            Ok(Outcome::Hello) => {
                let exports = u32::try_from(self.exports.len()).unwrap_or(u32::MAX);
                (
                    Reply::Hello {
                        version: VERSION,
                        exports,
                        handles: self.table.quota(),
                    },
                    None,
                )
            }
            Ok(Outcome::Node(node)) => (Reply::Node(*node), None),
            Ok(Outcome::Walked {
                nodes,
                stop,
                link,
                open,
            }) => {
                let (fd, open_errno) = match open {
                    None => (None, 0),
                    Some(Ok(fd)) => (Some(fd), 0),
                    Some(Err(errno)) => (None, host_errno(*errno) as i32),
                };
                (
                    Reply::Walked {
                        nodes: Nodes::new(nodes),
                        stop: *stop,
                        link,
                        open_errno,
                    },
                    fd,
                )
            }
            Ok(Outcome::Attr(attr)) => (Reply::Attr(*attr), None),
            Ok(Outcome::Opened(attr, fd)) => (Reply::Opened(*attr), Some(fd)),
            Ok(Outcome::Created { node, created, fd }) => (
                Reply::Created {
                    node: *node,
                    created: *created,
                },
                Some(fd),
            ),
            Ok(Outcome::Dir { entries, eof }) => (
                Reply::Dir {
                    entries: entries.as_entries(),
                    eof: *eof,
                },
                None,
            ),
            Ok(Outcome::Bytes(bytes)) => (Reply::Bytes(bytes), None),
            Ok(Outcome::FsStat(stat)) => (Reply::FsStat(*stat), None),
            Ok(Outcome::Fd(fd)) => (Reply::Done, Some(fd)),
        };
        let fds = u16::from(fd.is_some());
        if message.encode(id, fds, reply).is_err() {
            error(Errno::EMSGSIZE).encode(id, 0, reply).ok()?;
            return Some(None);
        }
        Some(match outcome {
            Ok(
                Outcome::Walked {
                    open: Some(Ok(fd)), ..
                }
                | Outcome::Opened(_, fd)
                | Outcome::Fd(fd)
                | Outcome::Created { fd, .. },
            ) => Some(fd),
            _ => None,
        })
    }

    /// The node of a handle and its export.
    pub(super) fn node(&self, handle: HandleId) -> Result<(&Node, &Export), Errno> {
        let node = self.table.get(handle)?;
        Ok((node, self.exports.get(node.export).ok_or(Errno::EBADF)?))
    }

    /// The same for a directory that may be searched.
    pub(super) fn searchable(&self, handle: HandleId) -> Result<(&Node, &Export), Errno> {
        let (node, export) = self.node(handle)?;
        if node.file_type != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        if export.options().world_readable_only {
            export.check_other(&attr::stat(node.fd())?, 0o1)?;
        }
        Ok((node, export))
    }

    /// The same for a directory in which names may be made and removed.
    pub(super) fn changeable(&self, handle: HandleId) -> Result<(&Node, &Export), Errno> {
        let (node, export) = self.searchable(handle)?;
        export.check_writable()?;
        if node.opaque {
            return Err(Errno::EROFS);
        }
        Ok((node, export))
    }

    /// Puts a descriptor that was found below `parent_dev` into the table. The attributes are
    /// those of the host; the ones in the result are as the export reports them.
    pub(super) fn adopt(
        &mut self,
        fd: OwnedFd,
        export: usize,
        parent_dev: Option<u64>,
        raw: Attr,
    ) -> Result<WireNode, Errno> {
        // Only crossing into another file system can lead onto one that is not served.
        let opaque = parent_dev != Some(raw.dev) && kernel_fs(fd.as_fd())?.is_some();
        let attr = self.exports.get(export).ok_or(Errno::EBADF)?.present(raw);
        let node = Node {
            fd,
            export,
            file_type: raw.file_type(),
            opaque,
        };
        Ok(WireNode {
            handle: self.table.insert(node)?,
            attr,
        })
    }
}

/// The gofer's own descriptor table being full is, to the client, a full system table.
fn host_errno(errno: Errno) -> Errno {
    match errno {
        Errno::EMFILE => Errno::ENFILE,
        // Must not become errno 0, which would mean success.
        Errno::UnknownErrno => Errno::EIO,
        other => other,
    }
}
