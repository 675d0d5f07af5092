//! A host file, directory, link or node.

use super::attr::{self, Cached};
use super::directory::GoferDirectory;
use super::file::GoferFile;
use super::listing::{Known, Progress};
use super::{GoferFs, Key, errno};
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::vfs::told::{Of, Teller};
use crate::vfs::{
    Caller, FileOps, FileType, Inode, InodeMeta, InodeRef, OpenFlags, Permissions, RenameFlags,
    SetAttr, Stat, StatFs, permission,
};
use cofferdam_gofer::client::{Created, Handle, NodeRef};
use cofferdam_gofer::protocol::{self, Access, Attr, Owner};
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// One host inode, whatever its names.
pub struct GoferInode {
    meta: InodeMeta,
    pub(super) fs: Arc<GoferFs>,
    me: Weak<GoferInode>,
    pub(super) key: Key,
    kind: FileType,
    /// Where it was first found, in an immutable tree.
    pub(super) origin: Option<(Arc<GoferInode>, Box<[u8]>)>,
    pub(super) handle: Mutex<Option<Arc<Handle>>>,
    /// The handle was used since the handle cache last looked.
    used: AtomicBool,
    attr: Mutex<Cached>,
    /// Target of a symbolic link: never changes for an inode.
    pub(super) target: OnceLock<Box<[u8]>>,
    opened: Mutex<Opened>,
    pub(super) listing: Mutex<Progress>,
    /// Held over a whole write, so that writes do not mix.
    pub(super) writers: Mutex<()>,
}

/// Descriptors of a regular file that are in use, by access mode.
#[derive(Default)]
struct Opened {
    read: Weak<OwnedFd>,
    write: Weak<OwnedFd>,
    read_write: Weak<OwnedFd>,
    /// The descriptor that creating the file gave, until the file is first opened: its mode may forbid another one.
    born: Option<Arc<OwnedFd>>,
}

impl Opened {
    fn slot(&mut self, access: Access) -> &mut Weak<OwnedFd> {
        match access {
            Access::Read => &mut self.read,
            Access::Write => &mut self.write,
            Access::ReadWrite => &mut self.read_write,
        }
    }
    fn any(&self) -> Option<Arc<OwnedFd>> {
        [&self.read_write, &self.write, &self.read]
            .into_iter()
            .find_map(Weak::upgrade)
    }
    fn writable(&self) -> Option<Arc<OwnedFd>> {
        [&self.read_write, &self.write]
            .into_iter()
            .find_map(Weak::upgrade)
    }
}

impl GoferFs {
    /// The inode with these attributes: the live one if there is one.
    pub(super) fn inode(
        self: &Arc<Self>,
        attr: &Attr,
        handle: Option<Handle>,
        origin: Option<(Arc<GoferInode>, &[u8])>,
    ) -> Arc<GoferInode> {
        self.inode_since(self.changes(), attr, handle, origin)
    }

    /// The same for attributes that were asked for when `changes` was the number of changes.
    fn inode_since(
        self: &Arc<Self>,
        changes: u64,
        attr: &Attr,
        handle: Option<Handle>,
        origin: Option<(Arc<GoferInode>, &[u8])>,
    ) -> Arc<GoferInode> {
        let key = (attr.dev, attr.ino);
        let kind = attr::file_type(attr.file_type());
        let cached = Cached::new(*attr, changes);
        let live = self.inodes.lock().get(&key).and_then(Weak::upgrade);
        // A number that is used again for another type of file is another file.
        if let Some(live) = live.filter(|i| i.kind == kind) {
            *live.attr.lock() = cached;
            return live;
        }
        let held = handle.is_some();
        let new = Arc::new_cyclic(|me| GoferInode {
            meta: InodeMeta::default(),
            fs: self.clone(),
            me: me.clone(),
            key,
            kind,
            origin: origin
                .filter(|_| self.immutable())
                .map(|(parent, name)| (parent, name.into())),
            handle: Mutex::new(Rank::LEAF, handle.map(Arc::new)),
            used: AtomicBool::new(true),
            attr: Mutex::new(Rank::LEAF, cached),
            target: OnceLock::new(),
            opened: Mutex::new(Rank::LEAF, Opened::default()),
            listing: Mutex::new(Rank::LEAF, Progress::default()),
            writers: Mutex::new(Rank::FILE_WRITE, ()),
        });
        let other = {
            let mut inodes = self.inodes.lock();
            let other = inodes.get(&key).and_then(Weak::upgrade);
            if other.as_ref().is_none_or(|i| i.kind != kind) {
                inodes.insert(key, Arc::downgrade(&new));
            }
            other
        };
        if held {
            self.handle_added(&new);
        }
        // If someone else was faster, `new` goes, outside the lock.
        other.filter(|i| i.kind == kind).unwrap_or(new)
    }
}

impl Drop for GoferInode {
    fn drop(&mut self) {
        if self.origin.is_some() && self.handle.get_mut().is_some() {
            self.fs.handles.dropped();
        }
        {
            let mut inodes = self.fs.inodes.lock();
            if inodes
                .get(&self.key)
                .is_some_and(|w| Weak::ptr_eq(w, &self.me))
            {
                inodes.remove(&self.key);
            }
        }
        // Lets go of the parents in a loop: a chain may be long.
        let mut next = self.origin.take().map(|(parent, _)| parent);
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.origin_on_drop();
        }
    }
}

impl GoferInode {
    /// Takes the parent away from an inode that is about to be dropped, with what `drop` does for one that has a parent.
    fn origin_on_drop(&mut self) -> Option<Arc<GoferInode>> {
        let (parent, _) = self.origin.take()?;
        if self.handle.get_mut().is_some() {
            self.fs.handles.dropped();
        }
        Some(parent)
    }

    /// This inode, shared.
    pub(super) fn me(&self) -> Result<Arc<GoferInode>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }
    pub(super) fn mark_used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }
    /// Whether the handle was used since the last time this was asked.
    pub(super) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
    /// Whether the last known mode has set-id bits.
    pub(super) fn may_be_setid(&self) -> bool {
        self.attr.lock().attr.mode & (permission::SETUID | permission::SETGID) != 0
    }

    /// Attributes that count now, from wherever they are cheapest.
    fn attr(&self) -> Result<Attr> {
        let cached = *self.attr.lock();
        if cached.fresh(&self.fs) {
            return Ok(cached.attr);
        }
        let fd = self.opened.lock().any();
        if let Some(fd) = fd {
            return self.attr_of(&fd);
        }
        let changes = self.fs.changes();
        let handle = self.handle()?;
        let attr = self.fs.client().get_attr(&handle).map_err(errno)?;
        self.remember(attr, changes);
        Ok(attr)
    }

    /// Attributes as a descriptor of this file tells them.
    fn attr_of(&self, fd: &OwnedFd) -> Result<Attr> {
        let changes = self.fs.changes();
        let now = cofferdam_gofer::host::attr::stat(fd.as_fd())?;
        let attr = attr::merge(&self.attr.lock().attr, now);
        self.remember(attr, changes);
        Ok(attr)
    }

    /// The same for the guest.
    pub(super) fn stat_of(&self, fd: &OwnedFd) -> Result<Stat> {
        Ok(attr::to_stat(&self.fs, &self.attr_of(fd)?))
    }

    fn remember(&self, attr: Attr, changes: u64) {
        *self.attr.lock() = Cached::new(attr, changes);
    }

    /// A child that was just found or made.
    fn child(&self, changes: u64, name: &[u8], node: NodeRef) -> Result<Arc<GoferInode>> {
        let origin = Some((self.me()?, name));
        Ok(self
            .fs
            .inode_since(changes, &node.attr, Some(node.handle), origin))
    }

    /// A child made by `make`, which gets this directory's handle and the owner that a new file is to have.
    fn make(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        kind: FileType,
        perm: u32,
        make: impl FnOnce(&Handle, u32, Owner) -> Result<NodeRef>,
    ) -> Result<Arc<GoferInode>> {
        self.fs.want_write()?;
        let (uid, gid, perm) = permission::ownership(cx, &self.stat()?, kind, perm);
        let owner = Owner {
            uid: Some(uid),
            gid: Some(gid),
        };
        let handle = self.handle()?;
        let before = self.fs.changes();
        let node = make(&handle, perm, owner)?;
        self.child(self.fs.changed_since(before), name, node)
    }

    /// The same for a regular file, whose descriptor is kept until it is opened.
    fn make_file(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        perm: u32,
        make: impl FnOnce(&Handle, u32, Owner) -> Result<Created>,
    ) -> Result<InodeRef> {
        let mut born = None;
        let inode = self.make(cx, name, FileType::Regular, perm, |dir, perm, owner| {
            let made = make(dir, perm, owner)?;
            born = Some(Arc::new(made.fd));
            Ok(made.node)
        })?;
        let old = std::mem::replace(&mut inode.opened.lock().born, born);
        drop(old);
        Ok(inode)
    }

    /// A descriptor for `flags`, and whether it allows no more than they do.
    fn descriptor(&self, flags: OpenFlags) -> Result<(Arc<OwnedFd>, bool)> {
        let access = match (flags.readable(), flags.writable()) {
            (true, true) => Access::ReadWrite,
            (false, true) => Access::Write,
            _ => Access::Read,
        };
        if access.writes() {
            self.fs.want_write()?;
        }
        let (cached, born) = {
            let mut opened = self.opened.lock();
            (opened.slot(access).upgrade(), opened.born.take())
        };
        if let Some(fd) = cached {
            return Ok((fd, true));
        }
        let Some(fd) = born else {
            return Ok((self.ask_descriptor(access)?, true));
        };
        // The new file's mode may forbid its creator another descriptor. What can only write cannot be mapped, so the one
        // there is serves as well.
        let mine = match access {
            Access::ReadWrite => (fd, true),
            Access::Write => (fd, false),
            Access::Read => match self.ask_descriptor(access) {
                Err(Errno::EACCES) => (fd, false),
                result => return result.map(|fd| (fd, true)),
            },
        };
        *self.opened.lock().slot(Access::ReadWrite) = Arc::downgrade(&mine.0);
        Ok(mine)
    }

    fn ask_descriptor(&self, access: Access) -> Result<Arc<OwnedFd>> {
        let fd = match self.handle_and_open(Some(access))? {
            (_, Some(fd)) => fd?,
            (handle, None) => {
                let flags = protocol::OpenFlags::empty();
                self.fs
                    .client()
                    .open(&handle, access, flags)
                    .map_err(errno)?
                    .1
            }
        };
        let fd = Arc::new(fd);
        *self.opened.lock().slot(access) = Arc::downgrade(&fd);
        if self.fs.immutable() {
            self.fs.keep_descriptor(&fd);
        }
        Ok(fd)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        let fd = self.opened.lock().writable();
        let Some(fd) = fd else {
            let set = SetAttr {
                size: Some(size),
                ..SetAttr::default()
            };
            return self.change(&set);
        };
        let size = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
        loop {
            match nix::unistd::ftruncate(&*fd, size) {
                Err(nix::errno::Errno::EINTR) => {}
                result => break result?,
            }
        }
        self.fs.changed();
        Ok(())
    }

    fn change(&self, changes: &SetAttr) -> Result<()> {
        let handle = self.handle()?;
        let set = attr::to_gofer(changes);
        let before = self.fs.changes();
        let attr = self.fs.client().set_attr(&handle, &set).map_err(errno)?;
        self.remember(attr, self.fs.changed_since(before));
        Ok(())
    }
}

/// The same file system's inode behind a reference; EXDEV if it is another's.
fn same_fs<'a>(fs: &Arc<GoferFs>, inode: &'a InodeRef) -> Result<&'a GoferInode> {
    let other = inode.as_any().downcast_ref::<GoferInode>();
    other.filter(|i| Arc::ptr_eq(&i.fs, fs)).ok_or(Errno::EXDEV)
}

/// The gofer serves `user.` attributes only; what it would say of the others is known without asking.
fn check_xattr(name: &[u8], absent: Errno) -> Result<()> {
    if name.starts_with(b"user.") {
        Ok(())
    } else if name.starts_with(b"security.") || name.starts_with(b"trusted.") {
        Err(absent)
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

impl Inode for GoferInode {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        self.kind
    }
    fn stat(&self) -> Result<Stat> {
        Ok(attr::to_stat(&self.fs, &self.attr()?))
    }
    fn tell(&self, _: &Teller, _: Of) -> bool {
        self.fs.immutable()
    }
    fn is_followed_without_trace(&self) -> bool {
        self.fs.immutable()
    }
    fn permissions(&self) -> Result<Permissions> {
        let a = self.attr()?;
        Ok(Permissions {
            perm: a.mode & 0o7777,
            uid: a.uid,
            gid: a.gid,
        })
    }
    fn set_attr(&self, _: &dyn Caller, changes: &SetAttr) -> Result<()> {
        self.fs.want_write()?;
        let rest = SetAttr {
            size: None,
            ..*changes
        };
        if let Some(size) = changes.size {
            self.truncate(size)?;
        }
        if attr::to_gofer(&rest).mask == 0 {
            return Ok(());
        }
        self.change(&rest)
    }
    fn statfs(&self) -> Result<StatFs> {
        let handle = self.handle()?;
        let stat = self.fs.client().stat_fs(&handle).map_err(errno)?;
        Ok(attr::to_statfs(&stat))
    }

    fn open(self: Arc<Self>, _: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        match self.kind {
            FileType::Regular => {
                let (fd, exact) = self.descriptor(flags)?;
                Ok(Box::new(GoferFile::new(self, fd, exact)))
            }
            FileType::Directory => Ok(Box::new(GoferDirectory::new(self))),
            FileType::Fifo => crate::fs::pipe::open_fifo(&self.meta, flags),
            FileType::Symlink => Err(Errno::ELOOP),
            FileType::Socket | FileType::CharDevice | FileType::BlockDevice => Err(Errno::ENXIO),
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        if self.kind != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        match self.known_name(name) {
            Known::Present(attr) => {
                return Ok(self.fs.inode(&attr, None, Some((self.me()?, name))));
            }
            Known::Absent => return Err(Errno::ENOENT),
            Known::Unknown => {}
        }
        let changes = self.fs.changes();
        let handle = self.handle()?;
        let mut walked = self
            .fs
            .client()
            .walk(&handle, [name], None)
            .map_err(errno)?;
        let Some(node) = walked.nodes.pop() else {
            return Err(match walked.stop {
                protocol::WalkStop::Failed(raw) => Errno::from_raw(raw),
                _ => Errno::EIO,
            });
        };
        let child = self.child(changes, name, node)?;
        if let Some(target) = walked.link {
            let _ = child.target.set(target.into());
        }
        Ok(child)
    }
    fn cacheable(&self) -> bool {
        self.fs.immutable()
    }

    fn create(&self, cx: &dyn Caller, name: &[u8], perm: u32) -> Result<InodeRef> {
        let client = self.fs.client();
        self.make_file(cx, name, perm, |dir, perm, owner| {
            let (access, flags) = (Access::ReadWrite, protocol::OpenFlags::EXCL);
            client
                .create(dir, name, perm, access, flags, owner)
                .map_err(errno)
        })
    }
    fn tmpfile(&self, cx: &dyn Caller, perm: u32) -> Result<InodeRef> {
        let client = self.fs.client();
        self.make_file(cx, b"", perm, |dir, perm, owner| {
            client
                .tmp_file(dir, perm, Access::ReadWrite, owner)
                .map_err(errno)
        })
    }
    fn mkdir(&self, cx: &dyn Caller, name: &[u8], perm: u32) -> Result<InodeRef> {
        let client = self.fs.client();
        let made = self.make(cx, name, FileType::Directory, perm, |dir, perm, owner| {
            client.mkdir(dir, name, perm, owner).map_err(errno)
        })?;
        Ok(made)
    }
    fn mknod(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        kind: FileType,
        perm: u32,
        _rdev: u64,
    ) -> Result<InodeRef> {
        let client = self.fs.client();
        let made = self.make(cx, name, kind, perm, |dir, perm, owner| {
            client
                .mknod(dir, name, kind.mode_bits() | perm, owner)
                .map_err(errno)
        })?;
        Ok(made)
    }
    fn symlink(&self, cx: &dyn Caller, name: &[u8], target: &[u8]) -> Result<InodeRef> {
        let client = self.fs.client();
        let made = self.make(cx, name, FileType::Symlink, 0o777, |dir, _, owner| {
            client.symlink(dir, name, target, owner).map_err(errno)
        })?;
        Ok(made)
    }
    fn link(&self, _: &dyn Caller, name: &[u8], target: &InodeRef) -> Result<()> {
        self.fs.want_write()?;
        let target = same_fs(&self.fs, target)?;
        let (node, dir) = (target.handle()?, self.handle()?);
        let before = self.fs.changes();
        let attr = self.fs.client().link(&node, &dir, name).map_err(errno)?;
        target.remember(attr, self.fs.changed_since(before));
        Ok(())
    }
    fn unlink(&self, _: &dyn Caller, name: &[u8]) -> Result<()> {
        self.fs.want_write()?;
        let dir = self.handle()?;
        self.fs.client().unlink(&dir, name, false).map_err(errno)?;
        self.fs.changed();
        Ok(())
    }
    fn rmdir(&self, _: &dyn Caller, name: &[u8]) -> Result<()> {
        self.fs.want_write()?;
        let dir = self.handle()?;
        self.fs.client().unlink(&dir, name, true).map_err(errno)?;
        self.fs.changed();
        Ok(())
    }
    fn rename(
        &self,
        _: &dyn Caller,
        name: &[u8],
        new_dir: &InodeRef,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        self.fs.want_write()?;
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        let flags = protocol::RenameFlags::from_bits_truncate(flags.bits());
        let (from, to) = (self.handle()?, same_fs(&self.fs, new_dir)?.handle()?);
        self.fs
            .client()
            .rename(&from, name, &to, new_name, flags)
            .map_err(errno)?;
        self.fs.changed();
        Ok(())
    }
    fn readlink(&self, _: &dyn Caller) -> Result<Vec<u8>> {
        if self.kind != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = self.target.get() {
            return Ok(target.to_vec());
        }
        let handle = self.handle()?;
        // Getting the handle may have brought it.
        if let Some(target) = self.target.get() {
            return Ok(target.to_vec());
        }
        let target = self.fs.client().read_link(&handle).map_err(errno)?;
        let _ = self.target.set(target.clone().into());
        Ok(target)
    }

    fn getxattr(&self, _: &dyn Caller, name: &[u8]) -> Result<Vec<u8>> {
        check_xattr(name, Errno::ENODATA)?;
        let handle = self.handle()?;
        self.fs.client().get_xattr(&handle, name).map_err(errno)
    }
    fn setxattr(&self, _: &dyn Caller, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.fs.want_write()?;
        check_xattr(name, Errno::EPERM)?;
        let handle = self.handle()?;
        self.fs
            .client()
            .set_xattr(&handle, name, value, flags)
            .map_err(errno)?;
        self.fs.changed();
        Ok(())
    }
    fn listxattr(&self, _: &dyn Caller) -> Result<Vec<Vec<u8>>> {
        let handle = self.handle()?;
        let names = self.fs.client().list_xattr(&handle).map_err(errno)?;
        let names = names.split(|b| *b == 0).filter(|n| !n.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }
    fn removexattr(&self, _: &dyn Caller, name: &[u8]) -> Result<()> {
        self.fs.want_write()?;
        check_xattr(name, Errno::EPERM)?;
        let handle = self.handle()?;
        self.fs
            .client()
            .remove_xattr(&handle, name)
            .map_err(errno)?;
        self.fs.changed();
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
