//! Operations that change nothing: attach, walk, open, list, read links and attributes.

use super::session::{OpResult, Outcome, Session};
use crate::host::{attr, dir, lookup, names};
use crate::protocol::{
    Access, Attr, DirEntriesBuf, DirEntryRef, FileType, HandleId, Names, OpenFlags, WalkStop,
    WireNode,
};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Bytes of raw directory entries read at a time.
const DIRENT_BUF: usize = 32 * 1024;

impl Session {
    pub(super) fn attach(&mut self, index: u32) -> OpResult {
        let index = usize::try_from(index).map_err(|_| Errno::EINVAL)?;
        let export = self.exports.get(index).ok_or(Errno::EINVAL)?;
        let fd = export
            .root()
            .try_clone_to_owned()
            .map_err(|_| Errno::ENFILE)?;
        let raw = attr::stat(fd.as_fd())?;
        Ok(Outcome::Node(self.adopt(fd, index, None, raw)?))
    }

    pub(super) fn walk(
        &mut self,
        dir: HandleId,
        list: Names<'_>,
        open: Option<Access>,
    ) -> OpResult {
        let mut nodes = Vec::with_capacity(list.len());
        let mut at = dir;
        let mut stop = WalkStop::Complete;
        for name in list.iter() {
            let (node, _) = self.node(at)?;
            if let (true, FileType::Symlink) = (at != dir, node.file_type) {
                stop = WalkStop::Symlink;
                break;
            }
            if at != dir && node.file_type != FileType::Directory {
                stop = WalkStop::NotDirectory;
                break;
            }
            match self.step(at, name) {
                Ok(node) => {
                    at = node.handle;
                    nodes.push(node);
                }
                Err(errno) => {
                    stop = WalkStop::Failed(errno as i32);
                    break;
                }
            }
        }
        let complete = stop == WalkStop::Complete && !nodes.is_empty();
        let last = if nodes.is_empty() {
            None
        } else {
            Some(self.node(at)?)
        };
        let link = match last {
            Some((node, _)) if node.file_type == FileType::Symlink && !node.opaque => {
                names::readlink(node.fd()).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let open = match (open, last) {
            (Some(access), Some((node, _))) if complete && node.file_type == FileType::Regular => {
                Some(
                    self.open_node(at, access, OpenFlags::empty())
                        .map(|(_, fd)| fd),
                )
            }
            _ => None,
        };
        Ok(Outcome::Walked {
            nodes,
            stop,
            link,
            open,
        })
    }

    pub(super) fn step(
        &mut self,
        dir: HandleId,
        name: crate::protocol::Name<'_>,
    ) -> Result<WireNode, Errno> {
        let (node, export) = self.searchable(dir)?;
        if node.opaque {
            return Err(Errno::ENOENT);
        }
        let index = node.export;
        let fd = lookup::walk(node.fd(), name, export.options().cross_mounts)?;
        let raw = attr::stat(fd.as_fd())?;
        // What lies on the directory's own device needs no look at its file system.
        let dir_dev = if raw.flags & Attr::MOUNT_ROOT == 0 {
            Some(raw.dev)
        } else {
            None
        };
        self.adopt(fd, index, dir_dev, raw)
    }

    pub(super) fn open(&mut self, handle: HandleId, access: Access, flags: OpenFlags) -> OpResult {
        if flags.contains(OpenFlags::EXCL) || flags.contains(OpenFlags::TRUNC) && !access.writes() {
            return Err(Errno::EINVAL);
        }
        let (attr, fd) = self.open_node(handle, access, flags)?;
        Ok(Outcome::Opened(attr, fd))
    }

    pub(super) fn open_node(
        &self,
        handle: HandleId,
        access: Access,
        flags: OpenFlags,
    ) -> Result<(Attr, OwnedFd), Errno> {
        let (node, export) = self.node(handle)?;
        lookup::check_openable(node.file_type)?;
        if node.opaque {
            return Err(Errno::EACCES);
        }
        if access.writes() {
            export.check_writable()?;
        }
        let before = attr::stat(node.fd())?;
        export.check_other(&before, 0o4)?;
        let fd = lookup::open_regular(&self.proc_fds, node.fd(), access, flags)?;
        let attr = if flags.contains(OpenFlags::TRUNC) {
            attr::stat(fd.as_fd())?
        } else {
            before
        };
        Ok((export.present(attr), fd))
    }

    pub(super) fn read_dir(&mut self, handle: HandleId, cursor: u64) -> OpResult {
        let (node, export) = self.node(handle)?;
        if node.file_type != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let mut entries = DirEntriesBuf::default();
        if node.opaque {
            return Ok(Outcome::Dir { entries, eof: true });
        }
        let own = attr::stat(node.fd())?;
        export.check_other(&own, 0o4)?;
        let searchable = export.check_other(&own, 0o1).is_ok();
        let fd = lookup::open_dir(&self.proc_fds, node.fd())?;
        if cursor != 0 {
            dir::seek(fd.as_fd(), cursor)?;
        }
        let mut buf = vec![0; DIRENT_BUF];
        loop {
            let len = dir::read(fd.as_fd(), &mut buf)?;
            if len == 0 {
                return Ok(Outcome::Dir { entries, eof: true });
            }
            for raw in dir::entries(buf.get(..len).unwrap_or_default()) {
                let stat = if searchable {
                    attr::stat_at(fd.as_fd(), raw.name)
                } else {
                    Err(Errno::EACCES)
                };
                if stat == Err(Errno::ENOENT) {
                    continue; // removed since
                }
                let attr = stat.ok().map(|attr| export.present(attr));
                let file_type = attr
                    .map(|a| a.file_type())
                    .or(FileType::from_dirent(raw.d_type));
                let ino = attr.map_or(raw.ino, |a| a.ino);
                let entry = DirEntryRef {
                    name: raw.name,
                    next: raw.next,
                    ino,
                    file_type,
                    attr,
                };
                if !entries.push(&entry) {
                    return Ok(Outcome::Dir {
                        entries,
                        eof: false,
                    });
                }
            }
        }
    }

    pub(super) fn read_link(&self, handle: HandleId) -> OpResult {
        let (node, _) = self.node(handle)?;
        if node.file_type != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        if node.opaque {
            return Err(Errno::EACCES);
        }
        Ok(Outcome::Bytes(names::readlink(node.fd())?))
    }

    pub(super) fn get_attr(&self, handle: HandleId) -> OpResult {
        let (node, export) = self.node(handle)?;
        Ok(Outcome::Attr(export.present(attr::stat(node.fd())?)))
    }

    pub(super) fn stat_fs(&self, handle: HandleId) -> OpResult {
        /// `ST_RDONLY` of `statfs(2)`.
        const READ_ONLY: u64 = 1;
        let (node, export) = self.node(handle)?;
        let mut stat = attr::statfs(node.fd())?;
        if !export.options().writable {
            stat.flags |= READ_ONLY;
        }
        Ok(Outcome::FsStat(stat))
    }
}
