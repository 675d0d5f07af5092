//! Names in a directory of an overlay: finding, making, removing and moving them.

use super::{Below, OverlayInode, is_whiteout};
use crate::abi::{Errno, Result};
use crate::vfs::{Caller, FileType, Inode, InodeRef, KernelCaller, RenameFlags};
use std::sync::Arc;

/// ENOENT as `None`.
fn absent<T>(r: Result<T>) -> Result<Option<T>> {
    match r {
        Ok(v) => Ok(Some(v)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

impl OverlayInode {
    /// What the upper directory has under a name, whiteouts included.
    fn in_upper(&self, name: &[u8]) -> Result<Option<InodeRef>> {
        match self.upper.get() {
            Some(u) => absent(u.lookup(name)),
            None => Ok(None),
        }
    }

    /// What the lower directory has under a name.
    fn in_lower(&self, name: &[u8]) -> Result<Option<InodeRef>> {
        match &self.lower {
            Some(l) => absent(l.lookup(name)),
            None => Ok(None),
        }
    }

    /// The child of this name.
    pub(super) fn child(&self, name: &[u8]) -> Result<Arc<OverlayInode>> {
        if self.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let me = self.arc()?;
        match self.in_upper(name)? {
            Some(u) if is_whiteout(&u) => Err(Errno::ENOENT),
            Some(u) => {
                let lower = if u.file_type() == FileType::Directory && Below::of(&u).is_none() {
                    self.in_lower(name)?
                        .filter(|l| l.file_type() == FileType::Directory)
                } else {
                    None
                };
                self.fs.from_upper(&me, name, u, lower)
            }
            None => {
                let l = self.in_lower(name)?.ok_or(Errno::ENOENT)?;
                self.fs.from_lower(&me, name, l)
            }
        }
    }

    /// Takes a whiteout away from a name that is about to be used; EEXIST if something visible has it.
    fn clear_name(&self, upper: &InodeRef, name: &[u8]) -> Result<()> {
        match absent(upper.lookup(name))? {
            Some(u) if is_whiteout(&u) => upper.unlink(&KernelCaller, name),
            Some(_) => Err(Errno::EEXIST),
            None => match self.in_lower(name)? {
                Some(_) => Err(Errno::EEXIST),
                None => Ok(()),
            },
        }
    }

    /// Hides the lower layer's object of this name, if there is one.
    fn hide(&self, name: &[u8]) -> Result<()> {
        if self.in_lower(name)?.is_some() {
            self.upper()?
                .mknod(&KernelCaller, name, FileType::CharDevice, 0, 0)?;
        }
        Ok(())
    }

    /// Makes an object in the upper layer.
    pub(super) fn make(
        &self,
        name: &[u8],
        how: impl FnOnce(&InodeRef) -> Result<InodeRef>,
    ) -> Result<InodeRef> {
        let upper = self.upper()?;
        self.clear_name(upper, name)?;
        let made = how(upper)?;
        if made.file_type() == FileType::Directory {
            // A new directory shows nothing of a removed lower one.
            Below::set(&made, None);
        }
        Ok(self.fs.from_upper(&self.arc()?, name, made, None)?)
    }

    /// Another name for `target`.
    pub(super) fn add_link(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        target: &OverlayInode,
    ) -> Result<()> {
        let object = target.upper()?.clone();
        let upper = self.upper()?;
        self.clear_name(upper, name)?;
        upper.link(cx, name, &object)
    }

    /// Empties an upper directory of whiteouts; ENOTEMPTY if the merged directory has visible entries.
    fn clear_directory(child: &OverlayInode) -> Result<()> {
        if !super::dir::entries(child)?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        if let Some(u) = child.upper.get() {
            for name in super::dir::names(u)? {
                u.unlink(&KernelCaller, &name)?;
            }
        }
        Ok(())
    }

    /// unlink and rmdir: the VFS has checked which it is.
    pub(super) fn remove(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        let child = self.child(name)?;
        let is_dir = child.file_type() == FileType::Directory;
        if is_dir {
            Self::clear_directory(&child)?;
        }
        let upper = self.upper()?.clone();
        if self.in_upper(name)?.is_some() {
            if is_dir {
                upper.rmdir(cx, name)?;
            } else {
                upper.unlink(cx, name)?;
            }
        }
        self.hide(name)
    }

    /// rename.
    pub(super) fn move_child(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        new_dir: &Arc<OverlayInode>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let child = self.child(name)?;
        let target = absent(new_dir.child(new_name))?;
        if target.is_some() && flags.contains(RenameFlags::NOREPLACE) {
            return Err(Errno::EEXIST);
        }
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let (from, to) = (self.upper()?.clone(), new_dir.upper()?.clone());
        let moved = child.upper()?.clone();
        match &target {
            Some(t) if exchange => {
                let other = t.upper()?.clone();
                keep_below(t, &other);
            }
            None if exchange => return Err(Errno::ENOENT),
            Some(t) => {
                if t.file_type() == FileType::Directory {
                    Self::clear_directory(t)?;
                }
            }
            None => {}
        }
        keep_below(&child, &moved);
        if !exchange
            && let Some(u) = new_dir.in_upper(new_name)?
            && is_whiteout(&u)
        {
            to.unlink(&KernelCaller, new_name)?;
        }
        from.rename(cx, name, &to, new_name, flags)?;
        *child.place.lock() = Some((new_dir.clone(), new_name.to_vec()));
        match target.filter(|_| exchange) {
            Some(t) => *t.place.lock() = Some((self.arc()?, name.to_vec())),
            None => self.hide(name)?,
        }
        Ok(())
    }
}

/// A directory that moves takes along what it shows of the lower layer, whatever the new name hides.
fn keep_below(inode: &OverlayInode, upper: &InodeRef) {
    if inode.file_type() == FileType::Directory {
        Below::set(upper, inode.lower.clone());
    }
}
