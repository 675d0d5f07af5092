//! Copying objects from the lower to the upper layer.
//!
//! Contents are copied into an unnamed file without any lock; only giving it its name is done under the object's lock. If
//! two tasks copy the same file the second one throws its copy away.

use super::inode::OverlayInode;
use super::layers::{LowerInfo, tmpfs};
use crate::abi::{Errno, Result};
use crate::fs::tmpfs::TmpfsInode;
use crate::usermem::KernelSink;
use crate::vfs::{File, FileType, Inode, InodeRef, KernelCaller, OpenFlags, SetAttr, SetTime};
use std::sync::Arc;

/// Bytes copied at a time.
const CHUNK: usize = 256 << 10;

/// Gives `to` the owner, mode, times and extended attributes of `from`.
pub(super) fn attributes(from: &InodeRef, to: &TmpfsInode) -> Result<()> {
    let cx = &KernelCaller;
    let st = from.stat()?;
    for name in from.listxattr(cx).unwrap_or_default() {
        // What the tmpfs has no place for (POSIX ACLs) stays behind.
        if let Ok(value) = from.getxattr(cx, &name) {
            match to.setxattr(cx, &name, &value, 0) {
                Ok(()) | Err(Errno::EOPNOTSUPP) => {}
                Err(e) => return Err(e),
            }
        }
    }
    to.set_attr(
        cx,
        &SetAttr {
            perm: Some(st.perm),
            uid: Some(st.uid),
            gid: Some(st.gid),
            size: None,
            atime: Some(SetTime::At(st.atime)),
            mtime: Some(SetTime::At(st.mtime)),
        },
    )
}

/// Copies the bytes of a regular file; blocks of zeros stay holes.
fn contents(from: &InodeRef, to: &TmpfsInode) -> Result<()> {
    let cx = &KernelCaller;
    let flags = OpenFlags::LARGEFILE;
    let file = File::new(from.clone().open(cx, flags)?, from.clone(), None, flags);
    let mut pos = 0u64;
    loop {
        let at = pos;
        let mut sink = KernelSink::new(CHUNK);
        let n = file.ops().read(&file, cx, &mut sink, &mut pos)?;
        if n == 0 {
            break;
        }
        to.fill(at, &sink.data)?;
    }
    to.set_size(pos)
}

impl OverlayInode {
    /// The upper inode, made if need be; `data`: with the contents of a regular file.
    ///
    /// # Errors
    /// ENOSPC; what reading the lower file gives.
    pub(super) fn copy_up(&self, data: bool) -> Result<InodeRef> {
        if let Some(u) = self.upper() {
            return Ok(u);
        }
        // The directories above first, from the top.
        let mut above = Vec::new();
        let mut at = self.arc()?;
        loop {
            let parent = {
                let s = at.state.lock();
                if s.upper.is_some() {
                    break;
                }
                s.places.first().map(|(p, _)| p.clone())
            };
            let Some(parent) = parent else {
                above.push(at);
                break;
            };
            above.push(std::mem::replace(&mut at, parent));
        }
        while let Some(o) = above.pop() {
            o.copy_up_one(data)?;
        }
        self.upper().ok_or(Errno::EIO)
    }

    fn copy_up_one(&self, data: bool) -> Result<()> {
        let lower = self.lower.as_ref().ok_or(Errno::EIO)?;
        let cx = &KernelCaller;
        // Everything that asks the lower layer comes before the lock.
        let st = lower.stat()?;
        let kind = self.file_type();
        let target = if kind == FileType::Symlink {
            lower.readlink(cx)?
        } else {
            Vec::new()
        };
        let work: InodeRef = self.fs.work.clone();
        let temp = self.fs.temp_name();
        let made = match kind {
            FileType::Regular => work.tmpfile(cx, 0)?,
            FileType::Directory => work.mkdir(cx, &temp, 0)?,
            FileType::Symlink => work.symlink(cx, &temp, &target)?,
            _ => work.mknod(cx, &temp, kind, 0, st.rdev)?,
        };
        let copy = tmpfs(made.clone())?;
        let ready = if kind == FileType::Regular && data {
            contents(lower, &copy)
        } else {
            Ok(())
        }
        .and_then(|()| attributes(lower, &copy));
        let placed = ready.and_then(|()| self.place_copy(&made, lower, &temp));
        if !matches!(placed, Ok(true)) {
            // Somebody was faster, or it failed.
            let _ = match kind {
                FileType::Regular => Ok(()),
                FileType::Directory => work.rmdir(cx, &temp),
                _ => work.unlink(cx, &temp),
            };
        }
        placed.map(drop)
    }

    /// Puts the finished copy where the object is; false if it has a copy already.
    fn place_copy(&self, made: &InodeRef, lower: &InodeRef, temp: &[u8]) -> Result<bool> {
        let cx = &KernelCaller;
        let me = self.arc()?;
        let _said = self.told.changing();
        let mut s = self.state.lock();
        if s.upper.is_some() {
            return Ok(false);
        }
        let work: InodeRef = self.fs.work.clone();
        let regular = self.file_type() == FileType::Regular;
        match s.places.first() {
            Some((parent, name)) => {
                let dir = parent.upper_nested().ok_or(Errno::EIO)?;
                // The parent's times are not touched: nothing changed in it for the guest.
                let times = dir.stat()?;
                if regular {
                    dir.link(cx, name, made)?;
                } else {
                    let none = crate::vfs::RenameFlags::empty();
                    work.rename(cx, temp, &dir, name, none)?;
                }
                keep_times(&dir, &times)?;
                LowerInfo::of(lower).cover(&self.fs);
            }
            // Removed but open: it needs no name.
            None if regular => {}
            None if self.file_type() == FileType::Directory => work.rmdir(cx, temp)?,
            None => work.unlink(cx, temp)?,
        }
        self.fs.adopt(&me, made, lower);
        s.upper = Some(made.clone());
        let places = std::mem::take(&mut s.places);
        drop(s);
        drop(places);
        Ok(true)
    }

    /// The upper inode of a directory while a child's state is locked.
    fn upper_nested(&self) -> Option<InodeRef> {
        self.state.lock_nested().upper.clone()
    }

    /// Itself as the directory that changes are made in.
    pub(super) fn upper_dir(&self) -> Result<InodeRef> {
        if self.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        self.copy_up(true)
    }
}

fn keep_times(dir: &InodeRef, before: &crate::vfs::Stat) -> Result<()> {
    dir.set_attr(
        &KernelCaller,
        &SetAttr {
            atime: Some(SetTime::At(before.atime)),
            mtime: Some(SetTime::At(before.mtime)),
            ..SetAttr::default()
        },
    )
}

impl TmpfsInode {
    /// Writes `data` at `pos` without the locks that guest writers take; for files that nobody else knows yet.
    fn fill(&self, pos: u64, data: &[u8]) -> Result<()> {
        const BLOCK: usize = 4096;
        let mut at = pos;
        for block in data.chunks(BLOCK) {
            if block.iter().any(|b| *b != 0) {
                self.write_raw(at, block)?;
            }
            at = at.saturating_add(block.len() as u64);
        }
        Ok(())
    }
}

/// A shared reference to something upper that must outlive its last upper name.
pub(super) fn keep(fs: &super::Overlay, upper: &InodeRef) {
    let mut k = fs.keep.lock();
    if !k.iter().any(|u| Arc::ptr_eq(u, upper)) {
        k.push(upper.clone());
    }
}
