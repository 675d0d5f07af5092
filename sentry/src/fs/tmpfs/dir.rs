//! Directories of a tmpfs: names, links, renames.

use super::inode::{New, TmpfsInode};
use crate::abi::{Errno, Result};
use crate::vfs::{
    Caller, DirEntry, FileType, Inode, InodeRef, Readdir, RenameFlags, Timestamp, permission,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

type Name = Arc<[u8]>;

/// What Linux adds to a directory's size for each entry (BOGO_DIRENT_SIZE).
const ENTRY_SIZE: u64 = 20;
/// Positions 0 and 1 are "." and "..".
const FIRST_COOKIE: u64 = 2;

pub(super) struct Dir {
    /// Names come from guests: the hash is keyed.
    entries: HashMap<Name, Entry, ahash::RandomState>,
    /// Names by position, which a listing goes by; positions are never used twice.
    order: BTreeMap<u64, Name>,
    next: u64,
    /// Inode number of "..".
    pub parent: u64,
    /// Removed: nothing can be added.
    dead: bool,
}

struct Entry {
    inode: Arc<TmpfsInode>,
    cookie: u64,
}

impl Dir {
    pub(super) fn new(parent: u64) -> Dir {
        Dir {
            entries: HashMap::default(),
            order: BTreeMap::new(),
            next: FIRST_COOKIE,
            parent,
            dead: false,
        }
    }
    pub(super) fn stat_size(&self) -> u64 {
        (self.entries.len() as u64 + 2).saturating_mul(ENTRY_SIZE)
    }
    pub(super) fn get(&self, name: &[u8]) -> Option<Arc<TmpfsInode>> {
        self.entries.get(name).map(|e| e.inode.clone())
    }
    /// Takes everything out.
    pub(super) fn drain(&mut self) -> Vec<Arc<TmpfsInode>> {
        self.order.clear();
        self.entries.drain().map(|(_, e)| e.inode).collect()
    }
    fn insert(&mut self, name: &[u8], inode: Arc<TmpfsInode>) -> Result<()> {
        if self.dead {
            return Err(Errno::ENOENT);
        }
        if self.entries.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let name: Name = name.into();
        let cookie = self.next;
        self.next = self.next.wrapping_add(1);
        self.order.insert(cookie, name.clone());
        self.entries.insert(name, Entry { inode, cookie });
        Ok(())
    }
    fn take(&mut self, name: &[u8]) -> Option<Arc<TmpfsInode>> {
        let e = self.entries.remove(name)?;
        self.order.remove(&e.cookie);
        Some(e.inode)
    }
    /// Puts another object under a name that exists.
    fn replace(&mut self, name: &[u8], inode: Arc<TmpfsInode>) -> Option<Arc<TmpfsInode>> {
        let e = self.entries.get_mut(name)?;
        Some(std::mem::replace(&mut e.inode, inode))
    }
    /// Marks an empty directory as removed.
    fn kill(&mut self) -> Result<()> {
        if !self.entries.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.dead = true;
        Ok(())
    }

    /// Lists from `*pos`.
    pub(super) fn list(&self, own: u64, pos: &mut u64, emit: &mut Readdir<'_>) {
        let dots: [(u64, &[u8]); 2] = [(own, b"."), (self.parent, b"..")];
        for (at, (ino, name)) in (0u64..).zip(dots) {
            if *pos > at {
                continue;
            }
            let taken = emit(&DirEntry {
                ino,
                file_type: FileType::Directory,
                name,
                next: at + 1,
            });
            if !taken {
                return;
            }
            *pos = at + 1;
        }
        for (cookie, name) in self.order.range(*pos..) {
            let Some(e) = self.entries.get(name) else {
                continue;
            };
            let next = cookie.saturating_add(1);
            let taken = emit(&DirEntry {
                ino: e.inode.ino,
                file_type: e.inode.file_type(),
                name,
                next,
            });
            if !taken {
                return;
            }
            *pos = next;
        }
    }
}

impl TmpfsInode {
    /// Makes a new object under `name`.
    pub(super) fn add(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        kind: FileType,
        perm: u32,
        rdev: u64,
        target: &[u8],
    ) -> Result<InodeRef> {
        let dir = self.dir()?;
        let (uid, gid, perm) = permission::ownership(cx, &self.stat()?, kind, perm);
        let is_dir = kind == FileType::Directory;
        let inode = TmpfsInode::make(
            &self.fs,
            New {
                kind,
                perm,
                uid,
                gid,
                nlink: if is_dir { 2 } else { 1 },
                rdev,
                target,
                parent: self.ino,
                ..New::default()
            },
        )?;
        {
            let mut d = dir.lock();
            d.insert(name, inode.clone())?;
            if is_dir {
                self.change(|a| a.nlink = a.nlink.saturating_add(1));
            }
        }
        self.touch_mtime();
        Ok(inode)
    }

    pub(super) fn add_link(&self, name: &[u8], target: &InodeRef) -> Result<()> {
        let dir = self.dir()?;
        let target = target
            .clone()
            .into_any()
            .downcast::<TmpfsInode>()
            .ok()
            .filter(|t| Arc::ptr_eq(&t.fs, &self.fs))
            .ok_or(Errno::EXDEV)?;
        if target.file_type() == FileType::Directory {
            return Err(Errno::EPERM);
        }
        // As in Linux each further name counts as an inode: names take memory too.
        let first = target.attr().nlink == 0;
        if !first {
            self.fs.charge_inode()?;
        }
        let linked = {
            let mut d = dir.lock();
            let linked = d.insert(name, target.clone());
            if linked.is_ok() {
                target.change(|a| {
                    a.nlink = a.nlink.saturating_add(1);
                    a.ctime = Timestamp::now();
                });
            }
            linked
        };
        if let Err(e) = linked {
            if !first {
                self.fs.release_inode();
            }
            return Err(e);
        }
        self.touch_mtime();
        Ok(())
    }

    /// One name less.
    fn unlinked(&self) {
        self.change(|a| {
            a.ctime = Timestamp::now();
            if self.file_type() == FileType::Directory {
                a.nlink = 0;
                return;
            }
            if a.nlink > 1 {
                self.fs.release_inode();
            }
            a.nlink = a.nlink.saturating_sub(1);
        });
    }

    fn lost_subdir(&self) {
        self.change(|a| a.nlink = a.nlink.saturating_sub(1));
    }

    pub(super) fn remove(&self, name: &[u8]) -> Result<()> {
        let victim = {
            let mut d = self.dir()?.lock();
            let is_dir = d.get(name).ok_or(Errno::ENOENT)?.file_type() == FileType::Directory;
            if is_dir {
                return Err(Errno::EISDIR);
            }
            d.take(name).ok_or(Errno::ENOENT)?
        };
        victim.unlinked();
        self.touch_mtime();
        Ok(())
    }

    pub(super) fn remove_dir(&self, name: &[u8]) -> Result<()> {
        let _tree = self.fs.tree.lock();
        let victim = {
            let mut d = self.dir()?.lock();
            let victim = d.get(name).ok_or(Errno::ENOENT)?;
            victim.dir()?.lock_nested().kill()?;
            d.take(name);
            victim
        };
        victim.unlinked();
        self.lost_subdir();
        self.touch_mtime();
        Ok(())
    }

    /// rename(2) within one tmpfs.
    pub(super) fn move_to(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        to: &TmpfsInode,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let whiteout = if flags.contains(RenameFlags::WHITEOUT) {
            Some(self.new_whiteout(cx)?)
        } else {
            None
        };
        let _tree = self.fs.tree.lock();
        let same = std::ptr::eq(self, to);
        // Two directories are locked in the order of their addresses.
        let mine = self.dir()?;
        let theirs = to.dir()?;
        let (mut from_dir, mut to_dir);
        if same {
            from_dir = mine.lock();
            to_dir = None;
        } else if std::ptr::from_ref(self) < std::ptr::from_ref(to) {
            from_dir = mine.lock();
            to_dir = Some(theirs.lock_nested());
        } else {
            let t = theirs.lock();
            from_dir = mine.lock_nested();
            to_dir = Some(t);
        }
        let old = from_dir.get(name).ok_or(Errno::ENOENT)?;
        let target_dir = to_dir.as_deref_mut().unwrap_or(&mut *from_dir);
        let new = target_dir.get(new_name);
        let old_is_dir = old.file_type() == FileType::Directory;
        if flags.contains(RenameFlags::EXCHANGE) {
            let new = new.ok_or(Errno::ENOENT)?;
            let new_is_dir = new.file_type() == FileType::Directory;
            target_dir.replace(new_name, old.clone());
            from_dir.replace(name, new.clone());
            drop((from_dir, to_dir));
            for (child, is_dir, gains, loses) in
                [(&old, old_is_dir, to, self), (&new, new_is_dir, self, to)]
            {
                child.changed();
                if is_dir && !same {
                    child.moved_under(gains);
                    loses.lost_subdir();
                }
            }
            self.touch_mtime();
            to.touch_mtime();
            return Ok(());
        }
        if let Some(new) = &new {
            if flags.contains(RenameFlags::NOREPLACE) {
                return Err(Errno::EEXIST);
            }
            if Arc::ptr_eq(new, &old) {
                return Ok(());
            }
            match (old_is_dir, new.file_type() == FileType::Directory) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) => new.dir()?.lock_nested().kill()?,
                (false, false) => {}
            }
            target_dir.replace(new_name, old.clone());
        } else {
            target_dir.insert(new_name, old.clone())?;
        }
        match whiteout {
            Some(w) => {
                from_dir.replace(name, w);
            }
            None => {
                from_dir.take(name);
            }
        }
        drop((from_dir, to_dir));
        if let Some(new) = &new {
            let was_dir = new.file_type() == FileType::Directory;
            new.unlinked();
            if was_dir {
                to.lost_subdir();
            }
        }
        if old_is_dir && !same {
            self.lost_subdir();
            old.moved_under(to);
        }
        old.changed();
        self.touch_mtime();
        to.touch_mtime();
        Ok(())
    }

    /// A directory got `parent` as its "..".
    fn moved_under(&self, parent: &TmpfsInode) {
        if let Ok(d) = self.dir() {
            d.lock().parent = parent.ino;
        }
        parent.change(|a| a.nlink = a.nlink.saturating_add(1));
    }

    fn new_whiteout(&self, cx: &dyn Caller) -> Result<Arc<TmpfsInode>> {
        let creds = cx.credentials();
        TmpfsInode::make(
            &self.fs,
            New {
                kind: FileType::CharDevice,
                uid: creds.fsuid,
                gid: creds.fsgid,
                ..New::default()
            },
        )
    }
}
