//! Operations that change the host's files; all of them need a writable export.

use super::session::{OpResult, Outcome, Session};
use crate::host::attr::SetTime;
use crate::host::{attr, lookup, names};
use crate::protocol::{
    Access, Attr, FileType, HandleId, LinkTarget, Name, OpenFlags, Owner, RenameFlags, SetAttr,
    SetAttrMask,
};
use nix::errno::Errno;
use nix::unistd::{fdatasync, fsync, ftruncate};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl Session {
    pub(super) fn set_attr(&self, handle: HandleId, set: &SetAttr) -> OpResult {
        let (node, export) = self.node(handle)?;
        export.check_writable()?;
        if node.opaque {
            return Err(Errno::EROFS);
        }
        if matches!(node.file_type, FileType::CharDevice | FileType::BlockDevice) {
            return Err(Errno::EPERM); // the host's devices are none of the guest's business
        }
        let fields = set.fields();
        if fields.contains(SetAttrMask::SIZE) {
            lookup::check_openable(node.file_type)?;
            let file =
                lookup::open_regular(&self.proc_fds, node.fd(), Access::Write, OpenFlags::empty())?;
            ftruncate(&file, i64::try_from(set.size).map_err(|_| Errno::EFBIG)?)?;
        }
        if fields.intersects(SetAttrMask::UID | SetAttrMask::GID) {
            let uid = fields.contains(SetAttrMask::UID).then_some(set.uid);
            let gid = fields.contains(SetAttrMask::GID).then_some(set.gid);
            attr::chown(node.fd(), uid, gid)?;
        }
        if fields.contains(SetAttrMask::MODE) {
            attr::chmod(
                &self.proc_fds,
                node.fd(),
                export.allowed_mode(node.file_type, set.mode),
            )?;
        }
        let time = |now, to, value| match () {
            () if fields.contains(now) => SetTime::Now,
            () if fields.contains(to) => SetTime::To(value),
            () => SetTime::Keep,
        };
        let atime = time(SetAttrMask::ATIME_NOW, SetAttrMask::ATIME, set.atime);
        let mtime = time(SetAttrMask::MTIME_NOW, SetAttrMask::MTIME, set.mtime);
        if (atime, mtime) != (SetTime::Keep, SetTime::Keep) {
            attr::set_times(&self.proc_fds, node.fd(), atime, mtime)?;
        }
        Ok(Outcome::Attr(export.present(attr::stat(node.fd())?)))
    }

    pub(super) fn create(
        &mut self,
        dir: HandleId,
        name: Name<'_>,
        mode: u32,
        access: Access,
        flags: OpenFlags,
        owner: Owner,
    ) -> OpResult {
        let (node, export) = self.changeable(dir)?;
        let index = node.export;
        match lookup::create(
            node.fd(),
            name,
            export.allowed_mode(FileType::Regular, mode),
            access,
            flags,
        ) {
            Ok(fd) => self.created(fd, index, owner),
            Err(Errno::EEXIST) if !flags.contains(OpenFlags::EXCL) => {
                self.open_existing(dir, name, access, flags)
            }
            Err(errno) => Err(errno),
        }
    }

    fn open_existing(
        &mut self,
        dir: HandleId,
        name: Name<'_>,
        access: Access,
        flags: OpenFlags,
    ) -> OpResult {
        let mut node = self.step(dir, name)?;
        match self.open_node(node.handle, access, flags) {
            Ok((attr, fd)) => {
                node.attr = attr;
                Ok(Outcome::Created {
                    node,
                    created: false,
                    fd,
                })
            }
            Err(errno) => {
                self.table.remove(node.handle);
                Err(errno)
            }
        }
    }

    pub(super) fn tmp_file(
        &mut self,
        dir: HandleId,
        mode: u32,
        access: Access,
        owner: Owner,
    ) -> OpResult {
        let (node, export) = self.changeable(dir)?;
        if !access.writes() {
            return Err(Errno::EINVAL);
        }
        let index = node.export;
        let fd = lookup::tmpfile(
            &self.proc_fds,
            node.fd(),
            export.allowed_mode(FileType::Regular, mode),
            access,
        )?;
        self.created(fd, index, owner)
    }

    /// Gives a file that was just created its owner and its handle.
    fn created(&mut self, fd: OwnedFd, export: usize, owner: Owner) -> OpResult {
        let raw = set_owner(fd.as_fd(), owner)?;
        let path = lookup::node_of(&self.proc_fds, fd.as_fd())?;
        let node = self.adopt(path, export, Some(raw.dev), raw)?;
        Ok(Outcome::Created {
            node,
            created: true,
            fd,
        })
    }

    pub(super) fn mkdir(
        &mut self,
        dir: HandleId,
        name: Name<'_>,
        mode: u32,
        owner: Owner,
    ) -> OpResult {
        let (node, export) = self.changeable(dir)?;
        names::mkdir(
            node.fd(),
            name,
            export.allowed_mode(FileType::Directory, mode),
        )?;
        self.made(dir, name, owner, FileType::Directory)
    }

    pub(super) fn symlink(
        &mut self,
        dir: HandleId,
        name: Name<'_>,
        target: LinkTarget<'_>,
        owner: Owner,
    ) -> OpResult {
        let (node, _) = self.changeable(dir)?;
        names::symlink(node.fd(), name, target)?;
        self.made(dir, name, owner, FileType::Symlink)
    }

    pub(super) fn mknod(
        &mut self,
        dir: HandleId,
        name: Name<'_>,
        mode: u32,
        owner: Owner,
    ) -> OpResult {
        let (node, export) = self.changeable(dir)?;
        let kind = FileType::from_mode(mode).ok_or(Errno::EINVAL)?;
        let mode = kind.mode_bits() | export.allowed_mode(kind, mode & 0o7777);
        names::mknod(node.fd(), name, mode)?;
        self.made(dir, name, owner, kind)
    }

    /// Finds what was just made under `name` and gives it owner and handle. Another process may
    /// have put something else there since; that keeps its owner.
    fn made(&mut self, dir: HandleId, name: Name<'_>, owner: Owner, kind: FileType) -> OpResult {
        let (node, export) = self.node(dir)?;
        let index = node.export;
        let fd = lookup::walk(node.fd(), name, export.options().cross_mounts)?;
        let raw = attr::stat(fd.as_fd())?;
        if raw.file_type() != kind {
            return Err(Errno::ENOENT);
        }
        let raw = set_owner(fd.as_fd(), owner)?;
        Ok(Outcome::Node(self.adopt(fd, index, None, raw)?))
    }

    pub(super) fn link(&self, handle: HandleId, dir: HandleId, name: Name<'_>) -> OpResult {
        let (node, export) = self.node(handle)?;
        export.check_writable()?;
        let (parent, _) = self.changeable(dir)?;
        if node.export != parent.export {
            return Err(Errno::EXDEV);
        }
        if node.opaque {
            return Err(Errno::EROFS);
        }
        match node.file_type {
            FileType::Directory | FileType::CharDevice | FileType::BlockDevice => {
                return Err(Errno::EPERM);
            }
            FileType::Regular | FileType::Symlink | FileType::Fifo | FileType::Socket => {}
        }
        names::link(&self.proc_fds, node.fd(), parent.fd(), name)?;
        Ok(Outcome::Attr(export.present(attr::stat(node.fd())?)))
    }

    pub(super) fn unlink(&self, dir: HandleId, name: Name<'_>, rmdir: bool) -> OpResult {
        let (node, _) = self.changeable(dir)?;
        names::unlink(node.fd(), name, rmdir)?;
        Ok(Outcome::Done)
    }

    pub(super) fn rename(
        &self,
        from: HandleId,
        from_name: Name<'_>,
        to: HandleId,
        to_name: Name<'_>,
        flags: RenameFlags,
    ) -> OpResult {
        let (from, _) = self.changeable(from)?;
        let (to, _) = self.changeable(to)?;
        if from.export != to.export {
            return Err(Errno::EXDEV);
        }
        if flags.contains(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE) {
            return Err(Errno::EINVAL);
        }
        names::rename(from.fd(), from_name, to.fd(), to_name, flags)?;
        Ok(Outcome::Done)
    }

    pub(super) fn fsync(&self, handle: HandleId, data_only: bool) -> OpResult {
        let (node, export) = self.node(handle)?;
        if export.check_writable().is_err() || node.opaque {
            return Ok(Outcome::Done); // the client can have changed nothing
        }
        let fd = match node.file_type {
            FileType::Directory => lookup::open_dir(&self.proc_fds, node.fd())?,
            FileType::Regular => self.open_either(node.fd())?,
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharDevice
            | FileType::BlockDevice => return Err(Errno::EINVAL),
        };
        if data_only {
            fdatasync(&fd)?
        } else {
            fsync(&fd)?
        }
        Ok(Outcome::Done)
    }

    /// Opens a regular file for an operation that any open descriptor serves.
    pub(super) fn open_either(&self, node: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let open = |access| lookup::open_regular(&self.proc_fds, node, access, OpenFlags::empty());
        match open(Access::Read) {
            Err(Errno::EACCES) => open(Access::Write),
            result => result,
        }
    }
}

/// Gives a new file its owner. A gofer without the right to do so leaves it to its own user: the
/// attributes returned tell the truth either way.
fn set_owner(fd: BorrowedFd<'_>, owner: Owner) -> Result<Attr, Errno> {
    let attr = attr::stat(fd)?;
    let uid = owner.uid.filter(|uid| *uid != attr.uid);
    let gid = owner.gid.filter(|gid| *gid != attr.gid);
    if uid.is_none() && gid.is_none() {
        return Ok(attr);
    }
    match attr::chown(fd, uid, gid) {
        Ok(()) => attr::stat(fd),
        // EINVAL: the id is not mapped in the gofer's user namespace.
        Err(Errno::EPERM | Errno::EINVAL) => Ok(attr),
        Err(errno) => Err(errno),
    }
}
