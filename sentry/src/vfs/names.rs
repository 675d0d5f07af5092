//! Changing directories: mkdir, mknod, symlink, link, unlink, rmdir, rename, and the file that O_CREAT makes.
//!
//! Each change runs with the directory's names locked, checks in Linux's order, lets the file system do it and
//! updates the dentry cache.

use super::caller::Caller;
use super::context::FsContext;
use super::dentry::Dentry;
use super::inode::{FileType, RenameFlags, Stat, same_inode};
use super::notify::{self, Mask};
use super::path::Path;
use super::permission::{self, EXEC, READ, SETGID, SETUID, WRITE};
use super::walk::{At, Last, Walk, WalkFlags};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use std::sync::Arc;

/// Marks an unnamed file (O_TMPFILE without O_EXCL) that may get a name by linkat(2).
#[derive(Default)]
pub struct Linkable;

/// EOVERFLOW for a new object whose owner has no id in the file system's user namespace (`fsuidgid_has_mapping`).
fn may_own(cx: &dyn Caller, dir: &Path) -> Result<()> {
    let creds = cx.credentials();
    let ns = dir.mount.superblock().user_ns();
    if ns.maps_both(creds.fsuid, creds.fsgid) {
        Ok(())
    } else {
        Err(Errno::EOVERFLOW)
    }
}

/// EACCES unless the caller may add or remove names in `dir`; ENOENT if `dir` is gone.
fn may_change(cx: &dyn Caller, dir: &Path) -> Result<()> {
    if dir.dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    permission::check_path(cx, dir, WRITE | EXEC)
}

/// EPERM for what its file flags keep from being linked or removed.
fn check_flags(inode: &super::InodeRef) -> Result<()> {
    if permission::flags(inode) & (permission::IMMUTABLE | permission::APPEND) != 0 {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// What O_CREAT does: the file `name` of `dir`, and whether it was made now.
pub(super) fn create(
    cx: &dyn Caller,
    dir: &Path,
    name: &[u8],
    mode: u32,
) -> Result<(Arc<Dentry>, bool)> {
    let _names = dir.dentry.lock_names();
    if let Some(d) = dir.dentry.lookup(name)? {
        return Ok((d, false));
    }
    dir.mount.want_write()?;
    may_own(cx, dir)?;
    may_change(cx, dir)?;
    let inode = dir.inode().create(cx, name, mode & 0o7777 & !cx.umask())?;
    let dentry = dir.dentry.added(name, inode);
    notify::entry(&dir.dentry, dentry.inode(), Mask::CREATE, name);
    Ok((dentry, true))
}

/// Walks to where a new name is to be and makes it with `make`, which gets the directory and the name.
fn make_name(
    cx: &dyn Caller,
    fs: &FsContext,
    start: &At,
    path: &[u8],
    directory: bool,
    make: impl FnOnce(&Path, &[u8]) -> Result<super::InodeRef>,
) -> Result<Path> {
    let mut walk = Walk::new(cx, fs, start, path, WalkFlags::empty())?;
    let (name, slashes) = walk.parent()?.name(Errno::EEXIST)?;
    let dir = walk.at().clone();
    let _names = dir.dentry.lock_names();
    if dir.dentry.lookup(&name)?.is_some() {
        return Err(Errno::EEXIST);
    }
    if slashes && !directory {
        return Err(Errno::ENOENT);
    }
    dir.mount.want_write()?;
    may_own(cx, &dir)?;
    may_change(cx, &dir)?;
    let inode = make(&dir, &name)?;
    let dentry = dir.dentry.added(&name, inode);
    notify::entry(&dir.dentry, dentry.inode(), Mask::CREATE, &name);
    Ok(Path {
        mount: dir.mount.clone(),
        dentry,
    })
}

/// mkdirat(2).
pub fn mkdir(cx: &dyn Caller, fs: &FsContext, start: &At, path: &[u8], mode: u32) -> Result<Path> {
    let perm = mode & 0o1777 & !cx.umask();
    make_name(cx, fs, start, path, true, |dir, name| {
        dir.inode().mkdir(cx, name, perm)
    })
}

/// mknodat(2), and bind(2) of a Unix socket. `rdev` in makedev form.
pub fn mknod(
    cx: &dyn Caller,
    fs: &FsContext,
    start: &At,
    path: &[u8],
    kind: FileType,
    mode: u32,
    rdev: u64,
) -> Result<Path> {
    let perm = mode & 0o7777 & !cx.umask();
    make_name(cx, fs, start, path, false, |dir, name| {
        match kind {
            FileType::Regular => return dir.inode().create(cx, name, perm),
            FileType::Directory | FileType::Symlink => return Err(Errno::EPERM),
            // Anyone may make a whiteout (0, 0).
            FileType::CharDevice if rdev == 0 => {}
            FileType::CharDevice | FileType::BlockDevice => {
                super::caller::require(cx, Caps::MKNOD)?
            }
            FileType::Fifo | FileType::Socket => {}
        }
        dir.inode().mknod(cx, name, kind, perm, rdev)
    })
}

/// symlinkat(2).
pub fn symlink(
    cx: &dyn Caller,
    fs: &FsContext,
    target: &[u8],
    start: &At,
    path: &[u8],
) -> Result<Path> {
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    make_name(cx, fs, start, path, false, |dir, name| {
        dir.inode().symlink(cx, name, target)
    })
}

/// `fs.protected_hardlinks`: others may link only what they can read and write and what is not set-id.
fn may_link(cx: &dyn Caller, source: &Path, st: &Stat) -> Result<()> {
    if permission::owner_or_capable(cx.credentials(), st.permissions()) {
        return Ok(());
    }
    let harmless = st.file_type == FileType::Regular
        && st.perm & SETUID == 0
        && st.perm & (SETGID | 0o010) != (SETGID | 0o010)
        && permission::check(cx, source.inode(), READ | WRITE).is_ok();
    if harmless { Ok(()) } else { Err(Errno::EPERM) }
}

/// linkat(2) with the source already resolved.
pub fn link(cx: &dyn Caller, fs: &FsContext, source: &Path, start: &At, path: &[u8]) -> Result<()> {
    let inode = source.inode();
    make_name(cx, fs, start, path, false, |dir, name| {
        if !Arc::ptr_eq(&source.mount, &dir.mount) {
            return Err(Errno::EXDEV);
        }
        let st = inode.stat()?;
        may_link(cx, source, &st)?;
        check_flags(inode)?;
        if inode.file_type() == FileType::Directory {
            return Err(Errno::EPERM);
        }
        if st.nlink == 0 && inode.meta().existing::<Linkable>().is_none() {
            return Err(Errno::ENOENT);
        }
        dir.inode().link(cx, name, inode)?;
        notify::inode(inode, Mask::ATTRIB);
        Ok(inode.clone())
    })
    .map(drop)
}

/// Whether the caller may remove `victim` from `dir`; `directory` says which of rmdir and unlink it is.
fn may_delete(cx: &dyn Caller, dir: &Path, victim: &Dentry, directory: bool) -> Result<()> {
    may_change(cx, dir)?;
    if permission::flags(dir.inode()) & permission::APPEND != 0 {
        return Err(Errno::EPERM);
    }
    check_flags(victim.inode())?;
    let dir_stat = dir.inode().stat()?;
    if dir_stat.perm & permission::STICKY != 0 {
        permission::check_sticky(cx.credentials(), &dir_stat, &victim.inode().stat()?)?;
    }
    match (directory, victim.is_dir()) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        _ => Ok(()),
    }
}

/// unlinkat(2) without AT_REMOVEDIR.
pub fn unlink(cx: &dyn Caller, fs: &FsContext, start: &At, path: &[u8]) -> Result<()> {
    let mounts = fs.namespace().id();
    let mut walk = Walk::new(cx, fs, start, path, WalkFlags::empty())?;
    let (name, slashes) = walk.parent()?.name(Errno::EISDIR)?;
    let dir = walk.at().clone();
    dir.mount.want_write()?;
    let victim = {
        let _names = dir.dentry.lock_names();
        let victim = dir.dentry.lookup(&name)?.ok_or(Errno::ENOENT)?;
        if slashes {
            return Err(if victim.is_dir() {
                Errno::EISDIR
            } else {
                Errno::ENOTDIR
            });
        }
        may_delete(cx, &dir, &victim, false)?;
        if victim.is_mountpoint_in(mounts) {
            return Err(Errno::EBUSY);
        }
        dir.inode().unlink(cx, &name)?;
        victim.mark_deleted();
        dir.dentry.removed(&name);
        victim
    };
    notify::unlinked(&victim);
    notify::entry(&dir.dentry, victim.inode(), Mask::DELETE, &name);
    Ok(())
}

/// rmdir(2).
pub fn rmdir(cx: &dyn Caller, fs: &FsContext, start: &At, path: &[u8]) -> Result<()> {
    let mounts = fs.namespace().id();
    let mut walk = Walk::new(cx, fs, start, path, WalkFlags::empty())?;
    let name = match walk.parent()? {
        Last::Name(n, _) => n,
        Last::DotDot => return Err(Errno::ENOTEMPTY),
        Last::Dot => return Err(Errno::EINVAL),
        Last::Root | Last::Jumped => return Err(Errno::EBUSY),
    };
    let dir = walk.at().clone();
    dir.mount.want_write()?;
    let victim = {
        let _names = dir.dentry.lock_names();
        let victim = dir.dentry.lookup(&name)?.ok_or(Errno::ENOENT)?;
        may_delete(cx, &dir, &victim, true)?;
        if victim.is_mountpoint_in(mounts) {
            return Err(Errno::EBUSY);
        }
        dir.inode().rmdir(cx, &name)?;
        victim.mark_deleted();
        dir.dentry.removed(&name);
        victim
    };
    notify::unlinked(&victim);
    notify::entry(&dir.dentry, victim.inode(), Mask::DELETE, &name);
    Ok(())
}

/// renameat2(2).
pub fn rename(
    cx: &dyn Caller,
    fs: &FsContext,
    old_start: &At,
    old_path: &[u8],
    new_start: &At,
    new_path: &[u8],
    flags: RenameFlags,
) -> Result<()> {
    let mounts = fs.namespace().id();
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    if exchange && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT) {
        return Err(Errno::EINVAL);
    }
    let mut walk = Walk::new(cx, fs, old_start, old_path, WalkFlags::empty())?;
    let old_last = walk.parent()?;
    let old_dir = walk.at().clone();
    let mut walk = Walk::new(cx, fs, new_start, new_path, WalkFlags::empty())?;
    let new_last = walk.parent()?;
    let new_dir = walk.at().clone();
    if !Arc::ptr_eq(&old_dir.mount, &new_dir.mount) {
        return Err(Errno::EXDEV);
    }
    let (old_name, old_slashes) = old_last.name(Errno::EBUSY)?;
    let (new_name, new_slashes) = new_last.name(if flags.contains(RenameFlags::NOREPLACE) {
        Errno::EEXIST
    } else {
        Errno::EBUSY
    })?;
    old_dir.mount.want_write()?;

    let same_dir = Arc::ptr_eq(&old_dir.dentry, &new_dir.dentry);
    let superblock = old_dir.mount.superblock().clone();
    let _one = (!same_dir).then(|| superblock.rename.lock());
    // Two directories are locked in the order of their addresses.
    let (first, second) = if Arc::as_ptr(&old_dir.dentry) <= Arc::as_ptr(&new_dir.dentry) {
        (&old_dir.dentry, &new_dir.dentry)
    } else {
        (&new_dir.dentry, &old_dir.dentry)
    };
    let _first = first.lock_names();
    let _second = (!same_dir).then(|| second.lock_names_nested());

    let old = old_dir.dentry.lookup(&old_name)?.ok_or(Errno::ENOENT)?;
    let new = new_dir.dentry.lookup(&new_name)?;
    if flags.contains(RenameFlags::NOREPLACE) && new.is_some() {
        return Err(Errno::EEXIST);
    }
    if exchange {
        let new = new.as_ref().ok_or(Errno::ENOENT)?;
        if !new.is_dir() && new_slashes {
            return Err(Errno::ENOTDIR);
        }
    }
    if !old.is_dir() && (old_slashes || (!exchange && new_slashes)) {
        return Err(Errno::ENOTDIR);
    }
    if !same_dir && old.is_dir() && new_dir.dentry.is_within(&old) {
        return Err(Errno::EINVAL);
    }
    if let Some(new) = &new
        && !same_dir
        && old_dir.dentry.is_within(new)
    {
        return Err(if exchange {
            Errno::EINVAL
        } else {
            Errno::ENOTEMPTY
        });
    }
    if let Some(new) = &new
        && same_inode(old.inode(), new.inode())
    {
        return Ok(());
    }
    may_delete(cx, &old_dir, &old, old.is_dir())?;
    match &new {
        None => may_change(cx, &new_dir)?,
        Some(new) if exchange => may_delete(cx, &new_dir, new, new.is_dir())?,
        Some(new) => may_delete(cx, &new_dir, new, old.is_dir())?,
    }
    // A directory that gets another parent has its ".." rewritten.
    if !same_dir {
        if old.is_dir() {
            permission::check(cx, old.inode(), WRITE)?;
        }
        if let Some(new) = new.as_ref().filter(|n| exchange && n.is_dir()) {
            permission::check(cx, new.inode(), WRITE)?;
        }
    }
    let is_mountpoint = |d: &Arc<Dentry>| d.is_mountpoint_in(mounts);
    if is_mountpoint(&old) || new.as_ref().is_some_and(is_mountpoint) {
        return Err(Errno::EBUSY);
    }
    old_dir
        .inode()
        .rename(cx, &old_name, new_dir.inode(), &new_name, flags)?;
    match &new {
        Some(new) if exchange => Dentry::exchanged(&old, new),
        _ => {
            if let Some(new) = &new {
                new.mark_deleted();
            }
            Dentry::moved(&old, &new_dir.dentry, &new_name);
        }
    }
    let (from, to) = (&old_dir.dentry, &new_dir.dentry);
    notify::renamed(from, &old_name, to, &new_name, old.inode());
    if let Some(new) = new {
        if exchange {
            notify::renamed(to, &new_name, from, &old_name, new.inode());
        } else {
            notify::unlinked(&new);
        }
    }
    Ok(())
}
