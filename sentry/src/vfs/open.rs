//! open(2): what the flags mean, on the way to a file and at it.

use super::caller::Caller;
use super::context::FsContext;
use super::dentry::Dentry;
use super::deny_write::{Writer, is_denied};
use super::file::{File, FileOps, OpenFlags};
use super::inode::{FileType, Inode, InodeMeta, InodeRef, SetAttr, Stat, StatFs, Timestamp};
use super::lease;
use super::mount::MountFlags;
use super::path::Path;
use super::permission::{self, EXEC, READ, WRITE};
use super::walk::{At, Last, Walk, WalkFlags, resolve};
use crate::abi::{Errno, Result};
use std::any::Any;
use std::sync::Arc;

/// Arguments of openat2(2). [`open()`] takes them as validated by the system call.
#[derive(Clone, Copy, Debug)]
pub struct OpenHow {
    /// O_*.
    pub flags: OpenFlags,
    /// Mode of a file to create, before the umask.
    pub mode: u32,
    /// `RESOLVE_*`; FOLLOW and DIRECTORY come from `flags`.
    pub resolve: WalkFlags,
}

impl OpenHow {
    /// Plain open(2) of an existing file.
    pub fn new(flags: OpenFlags) -> OpenHow {
        OpenHow {
            flags,
            mode: 0,
            resolve: WalkFlags::empty(),
        }
    }
}

/// Access that the flags ask for, as a permission mask. Mode 3 wants both.
fn access_mask(flags: OpenFlags) -> u32 {
    let mask = match flags.bits() & 3 {
        0 => READ,
        1 => WRITE,
        _ => READ | WRITE,
    };
    if flags.contains(OpenFlags::TRUNC) {
        mask | WRITE
    } else {
        mask
    }
}

/// Opens `path`. A file whose open must wait for a peer says so by [`FileOps::open_ready`].
///
/// # Errors
/// As open(2).
pub fn open(
    cx: &dyn Caller,
    fs: &FsContext,
    start: &At,
    path: &[u8],
    how: &OpenHow,
) -> Result<Arc<File>> {
    let flags = how.flags;
    let mut walk_flags = how.resolve;
    let follow =
        !flags.contains(OpenFlags::NOFOLLOW) && !flags.contains(OpenFlags::CREAT | OpenFlags::EXCL);
    walk_flags.set(WalkFlags::FOLLOW, follow);
    walk_flags.set(
        WalkFlags::DIRECTORY,
        flags.contains(OpenFlags::DIRECTORY) || flags.contains(OpenFlags::TMPFILE),
    );
    if flags.contains(OpenFlags::TMPFILE) {
        let dir = resolve(cx, fs, start, path, walk_flags)?;
        return tmpfile(cx, &dir, how);
    }
    if !flags.contains(OpenFlags::CREAT) || flags.contains(OpenFlags::PATH) {
        let place = resolve(cx, fs, start, path, walk_flags)?;
        return open_path(cx, &place, flags);
    }
    open_or_create(cx, fs, start, path, how, walk_flags)
}

fn open_or_create(
    cx: &dyn Caller,
    fs: &FsContext,
    start: &At,
    path: &[u8],
    how: &OpenHow,
    walk_flags: WalkFlags,
) -> Result<Arc<File>> {
    let flags = how.flags;
    let follow = walk_flags.contains(WalkFlags::FOLLOW);
    let mut walk = Walk::new(cx, fs, start, path, walk_flags)?;
    loop {
        let (name, slashes) = match walk.parent()? {
            Last::Name(name, slashes) => (name, slashes),
            last => {
                if last == Last::DotDot {
                    walk.up()?;
                }
                if flags.contains(OpenFlags::EXCL) {
                    return Err(Errno::EEXIST);
                }
                let place = walk.at().clone();
                return reopen(cx, &place, flags);
            }
        };
        if slashes {
            return Err(Errno::EISDIR);
        }
        let (place, created) = match walk.child(&name)? {
            Some(p) => (p, false),
            None => {
                let dir = walk.at().clone();
                let (dentry, created) = super::names::create(cx, &dir, &name, how.mode)?;
                let p = Path {
                    mount: dir.mount,
                    dentry,
                };
                (p.visible(), created)
            }
        };
        if created {
            return open_created(cx, &place, flags);
        }
        if flags.contains(OpenFlags::EXCL) {
            return Err(Errno::EEXIST);
        }
        if place.inode().file_type() == FileType::Symlink {
            if !follow {
                return Err(Errno::ELOOP);
            }
            walk.follow(&place)?;
            continue;
        }
        return reopen(cx, &place, flags);
    }
}

/// Opens a file that O_CREAT found to exist already.
fn reopen(cx: &dyn Caller, place: &Path, flags: OpenFlags) -> Result<Arc<File>> {
    if place.is_dir() {
        return Err(Errno::EISDIR);
    }
    open_path(cx, place, flags)
}

/// Opens what is at `place`, with all checks; O_CREAT and O_EXCL have no meaning here.
///
/// # Errors
/// As open(2): EACCES, EISDIR, ENOTDIR, ELOOP for a symbolic link, ENXIO for a socket, EROFS, EPERM.
pub fn open_path(cx: &dyn Caller, place: &Path, flags: OpenFlags) -> Result<Arc<File>> {
    let inode = place.inode();
    let kind = inode.file_type();
    if flags.contains(OpenFlags::DIRECTORY) && kind != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    if flags.contains(OpenFlags::PATH) {
        let kept = flags & (OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW);
        let path = Some(place.clone());
        let file = File::new(Box::new(PathOnly), inode.clone(), path, kept);
        file.set_opener(cx.credentials().clone());
        return Ok(file);
    }
    let mut flags = flags;
    let mask = access_mask(flags);
    match kind {
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Directory if mask & WRITE != 0 => return Err(Errno::EISDIR),
        // They have no direct I/O, which is found out last.
        FileType::Directory if flags.contains(OpenFlags::DIRECT) => {
            permission::check_path(cx, place, mask)?;
            return Err(Errno::EINVAL);
        }
        FileType::BlockDevice | FileType::CharDevice => {
            if place.mount.flags().contains(MountFlags::NODEV)
                || !place.mount.superblock().has_devices()
            {
                return Err(Errno::EACCES);
            }
            flags -= OpenFlags::TRUNC;
        }
        FileType::Fifo | FileType::Socket => flags -= OpenFlags::TRUNC,
        _ => {}
    }
    permission::check_path(cx, place, mask)?;
    if permission::flags(inode) & permission::APPEND != 0
        && ((flags.writable() && !flags.contains(OpenFlags::APPEND))
            || flags.contains(OpenFlags::TRUNC))
    {
        return Err(Errno::EPERM);
    }
    if flags.contains(OpenFlags::NOATIME)
        && !permission::owner_or_capable(cx.credentials(), inode.permissions()?)
    {
        return Err(Errno::EPERM);
    }
    if kind == FileType::Regular && mask & WRITE != 0 {
        place.mount.want_write()?;
        if is_denied(inode) {
            return Err(Errno::ETXTBSY);
        }
    }
    let file = finish_open(cx, place, flags)?;
    if kind == FileType::Regular {
        let truncates = flags.contains(OpenFlags::TRUNC);
        if lease::break_for(inode, flags.writable()) {
            if flags.contains(OpenFlags::NONBLOCK) {
                return Err(Errno::EAGAIN);
            }
            file.set_opening(truncates);
        } else if truncates {
            truncate_open(cx, inode)?;
        }
    }
    if !file.is_opening() {
        super::notify::file(&file, super::notify::Mask::OPEN);
    }
    Ok(file)
}

/// Does what an open left that had to wait for leases.
pub fn resume(cx: &dyn Caller, file: &Arc<File>) -> Result<()> {
    if file.is_opening() {
        if file.opened() {
            truncate_open(cx, file.inode())?;
        }
        super::notify::file(file, super::notify::Mask::OPEN);
    }
    Ok(())
}

/// O_TRUNC of an existing regular file.
fn truncate_open(cx: &dyn Caller, inode: &InodeRef) -> Result<()> {
    inode.set_attr(
        cx,
        &SetAttr {
            size: Some(0),
            ..SetAttr::default()
        },
    )?;
    permission::written(cx, &**inode)
}

fn open_created(cx: &dyn Caller, place: &Path, flags: OpenFlags) -> Result<Arc<File>> {
    // The mode of a new file does not bind its creator.
    let file = finish_open(cx, place, flags - OpenFlags::TRUNC)?;
    file.set_created();
    super::notify::file(&file, super::notify::Mask::OPEN);
    Ok(file)
}

fn finish_open(cx: &dyn Caller, place: &Path, flags: OpenFlags) -> Result<Arc<File>> {
    let inode = place.inode();
    let ops = inode.clone().open(cx, flags)?;
    let path = (!place.dentry.is_anonymous()).then(|| place.clone());
    let file = File::new(ops, inode.clone(), path, flags);
    file.set_opener(cx.credentials().clone());
    if flags.writable() && inode.file_type() == FileType::Regular {
        file.hold_writer(Writer::new(inode)?);
        file.count_writer();
    } else if flags.readable() && inode.file_type() == FileType::Regular {
        file.count_reader();
    }
    Ok(file)
}

fn tmpfile(cx: &dyn Caller, dir: &Path, how: &OpenHow) -> Result<Arc<File>> {
    if !how.flags.writable() {
        return Err(Errno::EINVAL);
    }
    dir.mount.want_write()?;
    permission::check(cx, dir.inode(), WRITE | EXEC)?;
    let inode = dir.inode().tmpfile(cx, how.mode & 0o7777 & !cx.umask())?;
    if !how.flags.contains(OpenFlags::EXCL) {
        inode.meta().extension::<super::names::Linkable>();
    }
    let name = format!("#{}", inode.stat()?.ino);
    let place = Path {
        mount: dir.mount.clone(),
        dentry: Dentry::unnamed(&dir.dentry, inode, name.as_bytes()),
    };
    let file = finish_open(cx, &place, how.flags - OpenFlags::DIRECTORY)?;
    super::notify::file(&file, super::notify::Mask::OPEN);
    Ok(file)
}

/// Opens a program for execve(2): a regular file the caller may execute, on a mount that allows it. Readable
/// by the kernel whatever its read permission is.
///
/// # Errors
/// EACCES, and those of the walk.
pub fn open_exec(
    cx: &dyn Caller,
    fs: &FsContext,
    start: &At,
    path: &[u8],
    flags: WalkFlags,
) -> Result<Arc<File>> {
    let place = resolve(cx, fs, start, path, flags)?;
    if place.inode().file_type() == FileType::Symlink {
        return Err(Errno::ELOOP);
    }
    permission::check_exec(cx, &place)?;
    let file = finish_open(cx, &place, OpenFlags::LARGEFILE)?;
    super::notify::file(&file, super::notify::Mask::OPEN);
    Ok(file)
}

/// An O_PATH descriptor: names a place, does nothing.
struct PathOnly;

impl FileOps for PathOnly {
    fn read(
        &self,
        _: &File,
        _: &dyn Caller,
        _: &mut dyn crate::usermem::Sink,
        _: &mut u64,
    ) -> Result<usize> {
        Err(Errno::EBADF)
    }
    fn write(
        &self,
        _: &File,
        _: &dyn Caller,
        _: &mut dyn crate::usermem::Source,
        _: &mut u64,
        _: bool,
    ) -> Result<usize> {
        Err(Errno::EBADF)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The root of the mount of objects that have no tree: an empty directory nobody can reach.
struct Nothing(InodeMeta);

pub(crate) fn nothing_inode() -> InodeRef {
    Arc::new(Nothing(InodeMeta::default()))
}

impl Inode for Nothing {
    fn meta(&self) -> &InodeMeta {
        &self.0
    }
    fn file_type(&self) -> FileType {
        FileType::Directory
    }
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: 0,
            ino: 1,
            file_type: FileType::Directory,
            perm: 0,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: Timestamp::default(),
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            btime: Timestamp::default(),
        })
    }
    fn set_attr(&self, _: &dyn Caller, _: &SetAttr) -> Result<()> {
        Err(Errno::EPERM)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            magic: 0x0904_1934,
            block_size: 4096,
            name_max: 255,
            ..StatFs::default()
        })
    }
    fn open(self: Arc<Self>, _: &dyn Caller, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Err(Errno::EACCES)
    }
    fn lookup(&self, _: &[u8]) -> Result<InodeRef> {
        Err(Errno::ENOENT)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
