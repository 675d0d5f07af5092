//! Directories of an overlay: finding, making, removing and renaming names.
//!
//! The VFS has locked the directory's names, so only copying up changes a directory at the same time.

use super::copy_up::keep;
use super::inode::{OverlayInode, State};
use super::is_whiteout;
use super::layers::LowerInfo;
use crate::abi::{Errno, Result};
use crate::sync::MutexGuard;
use crate::vfs::{
    Caller, File, FileType, Inode, InodeRef, KernelCaller, OpenFlags, RenameFlags, SetAttr,
    permission,
};
use std::sync::Arc;

/// What the upper layer has under a name.
enum Cover {
    Nothing,
    Whiteout,
    Object(InodeRef),
}

fn cover(dir: Option<&InodeRef>, name: &[u8]) -> Result<Cover> {
    let Some(dir) = dir else {
        return Ok(Cover::Nothing);
    };
    match dir.lookup(name) {
        Ok(i) if is_whiteout(&i) => Ok(Cover::Whiteout),
        Ok(i) => Ok(Cover::Object(i)),
        Err(Errno::ENOENT) => Ok(Cover::Nothing),
        Err(e) => Err(e),
    }
}

impl OverlayInode {
    /// What the lower directory has under `name`.
    fn lower_child(&self, name: &[u8]) -> Result<Option<InodeRef>> {
        match self.lower.as_ref().map(|l| l.lookup(name)) {
            None | Some(Err(Errno::ENOENT)) => Ok(None),
            Some(found) => found.map(Some),
        }
    }

    /// The object `name`.
    pub(super) fn find(&self, name: &[u8]) -> Result<Arc<OverlayInode>> {
        if self.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        match cover(self.upper().as_ref(), name)? {
            Cover::Object(u) => return Ok(self.fs.of_upper(u)),
            Cover::Whiteout => return Err(Errno::ENOENT),
            Cover::Nothing => {}
        }
        let lower = self.lower_child(name)?.ok_or(Errno::ENOENT)?;
        let o = self.fs.of_lower(lower);
        let me = self.arc()?;
        let mut s = o.state.lock();
        if s.upper.is_none()
            && !s
                .places
                .iter()
                .any(|(p, n)| Arc::ptr_eq(p, &me) && **n == *name)
        {
            s.places.push((me, name.into()));
        }
        drop(s);
        Ok(o)
    }

    /// The directory's state, locked for adding names; ENOENT if it was removed.
    fn lock_alive(&self) -> Result<MutexGuard<'_, State>> {
        let s = self.state.lock();
        if s.dead { Err(Errno::ENOENT) } else { Ok(s) }
    }

    /// Makes a new upper object under `name`. `create` makes it in the directory and under the name it is given.
    pub(super) fn make(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        kind: FileType,
        create: impl Fn(&InodeRef, &[u8]) -> Result<InodeRef>,
    ) -> Result<InodeRef> {
        let dir = self.upper_dir()?;
        if matches!(cover(Some(&dir), name)?, Cover::Nothing) && self.lower_child(name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let _alive = self.lock_alive()?;
        let made = match cover(Some(&dir), name)? {
            Cover::Object(_) => return Err(Errno::EEXIST),
            Cover::Nothing => create(&dir, name)?,
            Cover::Whiteout => {
                // Made ready aside and exchanged, so that the lower name never shows.
                let work: InodeRef = self.fs.work.clone();
                let temp = self.fs.temp_name();
                let made = create(&work, &temp)?;
                let owned = inherit(cx, &dir, &made, kind);
                let exchange = RenameFlags::EXCHANGE;
                match owned.and_then(|()| work.rename(cx, &temp, &dir, name, exchange)) {
                    Ok(()) => work.unlink(cx, &temp)?,
                    Err(e) => {
                        let _ = if kind == FileType::Directory {
                            work.rmdir(cx, &temp)
                        } else {
                            work.unlink(cx, &temp)
                        };
                        return Err(e);
                    }
                }
                made
            }
        };
        Ok(self.fs.of_upper(made))
    }

    pub(super) fn add_link(&self, cx: &dyn Caller, name: &[u8], target: &InodeRef) -> Result<()> {
        let target = target
            .clone()
            .into_any()
            .downcast::<OverlayInode>()
            .ok()
            .filter(|t| Arc::ptr_eq(&t.fs, &self.fs))
            .ok_or(Errno::EXDEV)?;
        let upper = target.copy_up(true)?;
        let dir = self.upper_dir()?;
        if matches!(cover(Some(&dir), name)?, Cover::Nothing) && self.lower_child(name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let _alive = self.lock_alive()?;
        match cover(Some(&dir), name)? {
            Cover::Object(_) => Err(Errno::EEXIST),
            Cover::Nothing => dir.link(cx, name, &upper),
            Cover::Whiteout => {
                let work: InodeRef = self.fs.work.clone();
                let temp = self.fs.temp_name();
                work.link(cx, &temp, &upper)?;
                work.rename(cx, &temp, &dir, name, RenameFlags::empty())
            }
        }
    }

    /// Covers the name `name` of `dir` with a whiteout, replacing what the upper layer has there.
    fn whiteout(&self, dir: &InodeRef, name: &[u8], replaces_dir: bool) -> Result<()> {
        let cx = &KernelCaller;
        let work: InodeRef = self.fs.work.clone();
        let temp = self.fs.temp_name();
        work.mknod(cx, &temp, FileType::CharDevice, 0, 0)?;
        let flags = if replaces_dir {
            RenameFlags::EXCHANGE
        } else {
            RenameFlags::empty()
        };
        match work.rename(cx, &temp, dir, name, flags) {
            Ok(()) if replaces_dir => work.rmdir(cx, &temp),
            Ok(()) => Ok(()),
            Err(e) => {
                let _ = work.unlink(cx, &temp);
                Err(e)
            }
        }
    }

    /// Forgets the name of a lower-only child, and remembers that the lower name shows no longer.
    fn forget_place(&self, state: &mut State, name: &[u8]) -> Vec<Arc<OverlayInode>> {
        let mut gone = Vec::new();
        state.places.retain_mut(|(p, n)| {
            let here = std::ptr::eq(Arc::as_ptr(p), self) && **n == *name;
            if here {
                gone.push(p.clone());
            }
            !here
        });
        gone
    }

    pub(super) fn remove(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        let child = self.find(name)?;
        if child.file_type() == FileType::Directory {
            return Err(Errno::EISDIR);
        }
        let _said = child.told.changing();
        let lower = self.lower_child(name)?;
        let dir = if lower.is_some() {
            Some(self.upper_dir()?)
        } else {
            self.upper()
        }
        .ok_or(Errno::EIO)?;
        let mut s = child.state.lock();
        let in_upper = matches!(cover(Some(&dir), name)?, Cover::Object(_));
        match &lower {
            Some(l) => {
                self.whiteout(&dir, name, false)?;
                if !in_upper {
                    LowerInfo::of(l).cover(&self.fs);
                }
            }
            None => dir.unlink(cx, name)?,
        }
        let gone = self.forget_place(&mut s, name);
        let upper = s.upper.clone();
        drop(s);
        drop(gone);
        // Other lower names may still lead to a copy that has lost its last upper name.
        if let Some(u) = upper
            && u.stat()?.nlink == 0
            && child.lower.is_some()
        {
            if child.stat()?.nlink > 0 {
                keep(&self.fs, &u);
            } else {
                let mut k = self.fs.keep.lock();
                let dropped = k
                    .iter()
                    .position(|x| Arc::ptr_eq(x, &u))
                    .map(|i| k.swap_remove(i));
                drop(k);
                drop(dropped);
            }
        }
        Ok(())
    }

    /// Names in the lower directory.
    fn lower_names(&self) -> Result<Vec<Vec<u8>>> {
        match &self.lower {
            Some(l) => names_in(l),
            None => Ok(Vec::new()),
        }
    }

    /// Marks a directory as removed if nothing shows in it, and takes the whiteouts out of its upper part.
    fn empty_out(&self) -> Result<()> {
        let lower = self.lower_names()?;
        let mut s = self.state.lock();
        let upper = s.upper.clone();
        for name in lower {
            if matches!(cover(upper.as_ref(), &name)?, Cover::Nothing) {
                return Err(Errno::ENOTEMPTY);
            }
        }
        if let Some(u) = &upper {
            let names = names_in(u)?;
            for name in &names {
                if matches!(cover(Some(u), name)?, Cover::Object(_)) {
                    return Err(Errno::ENOTEMPTY);
                }
            }
            for name in &names {
                u.unlink(&KernelCaller, name)?;
            }
        }
        s.dead = true;
        Ok(())
    }

    pub(super) fn remove_dir(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        let child = self.find(name)?;
        if child.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let covers = self.lower_child(name)?.is_some();
        let dir = if covers {
            Some(self.upper_dir()?)
        } else {
            self.upper()
        }
        .ok_or(Errno::EIO)?;
        child.empty_out()?;
        let removed = match (covers, cover(Some(&dir), name)?) {
            (true, Cover::Object(_)) => self.whiteout(&dir, name, true),
            (true, _) => self.whiteout(&dir, name, false),
            (false, _) => dir.rmdir(cx, name),
        };
        let mut s = child.state.lock();
        if removed.is_err() {
            s.dead = false;
            return removed;
        }
        let gone = self.forget_place(&mut s, name);
        drop(s);
        drop(gone);
        Ok(())
    }

    /// Makes sure that `name`, which is `child`, is in the upper directory; that directory.
    fn materialise(&self, child: &OverlayInode, name: &[u8]) -> Result<InodeRef> {
        let _said = child.told.changing();
        let upper = child.copy_up(true)?;
        let dir = self.upper_dir()?;
        // Another name of a lower file was copied up before.
        if matches!(cover(Some(&dir), name)?, Cover::Nothing) {
            dir.link(&KernelCaller, name, &upper)?;
            if let Some(l) = self.lower_child(name)? {
                LowerInfo::of(&l).cover(&self.fs);
            }
        }
        Ok(dir)
    }

    pub(super) fn move_to(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        to: &Arc<OverlayInode>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let child = self.find(name)?;
        let from_dir = self.materialise(&child, name)?;
        let to_dir = to.upper_dir()?;
        let target = match to.find(new_name) {
            Ok(t) => Some(t),
            Err(Errno::ENOENT) => None,
            Err(e) => return Err(e),
        };
        if flags.contains(RenameFlags::EXCHANGE) {
            let target = target.ok_or(Errno::ENOENT)?;
            to.materialise(&target, new_name)?;
            return from_dir.rename(cx, name, &to_dir, new_name, RenameFlags::EXCHANGE);
        }
        let is_dir = child.file_type() == FileType::Directory;
        if let Some(t) = &target {
            if flags.contains(RenameFlags::NOREPLACE) {
                return Err(Errno::EEXIST);
            }
            match (is_dir, t.file_type() == FileType::Directory) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) => t.empty_out()?,
                (false, false) => {}
            }
        }
        let _said = target.as_ref().map(|t| t.told.changing());
        let outcome = self.do_move(cx, name, to, new_name, (&from_dir, &to_dir), is_dir);
        if outcome.is_err()
            && let Some(t) = &target
        {
            t.state.lock().dead = false;
        }
        outcome?;
        // A lower-only target has lost that name.
        if let Some(t) = target.as_ref().filter(|_| !is_dir) {
            let mut s = t.state.lock();
            let gone = to.forget_place(&mut s, new_name);
            drop(s);
            if !gone.is_empty()
                && let Some(l) = &t.lower
            {
                LowerInfo::of(l).cover(&self.fs);
            }
        }
        Ok(())
    }

    fn do_move(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        to: &OverlayInode,
        new_name: &[u8],
        (from_dir, to_dir): (&InodeRef, &InodeRef),
        is_dir: bool,
    ) -> Result<()> {
        // The guest's own RENAME_WHITEOUT is ours in any case: a whiteout shows as nothing.
        let leaves_lower = self.lower_child(name)?.is_some();
        let mut how = RenameFlags::empty();
        how.set(RenameFlags::WHITEOUT, leaves_lower);
        let _alive = to.lock_alive()?;
        // A directory cannot replace a whiteout: they change places, and the whiteout goes or stays at the old name.
        if is_dir && matches!(cover(Some(to_dir), new_name)?, Cover::Whiteout) {
            from_dir.rename(cx, name, to_dir, new_name, RenameFlags::EXCHANGE)?;
            if !leaves_lower {
                from_dir.unlink(cx, name)?;
            }
            return Ok(());
        }
        from_dir.rename(cx, name, to_dir, new_name, how)
    }
}

/// Owner and bits that an object made aside would have got in `dir`.
fn inherit(cx: &dyn Caller, dir: &InodeRef, made: &InodeRef, kind: FileType) -> Result<()> {
    let d = dir.stat()?;
    if d.perm & permission::SETGID == 0 {
        return Ok(());
    }
    let (uid, gid, perm) = permission::ownership(cx, &d, kind, made.stat()?.perm);
    made.set_attr(
        cx,
        &SetAttr {
            uid: Some(uid),
            gid: Some(gid),
            perm: Some(perm),
            ..SetAttr::default()
        },
    )
}

/// All names of a directory of one layer.
fn names_in(dir: &InodeRef) -> Result<Vec<Vec<u8>>> {
    let cx = &KernelCaller;
    let flags = OpenFlags::DIRECTORY;
    let file = File::new(dir.clone().open(cx, flags)?, dir.clone(), None, flags);
    let mut names = Vec::new();
    let mut pos = 0;
    loop {
        let before = pos;
        file.ops().readdir(&file, cx, &mut pos, &mut |e| {
            if e.name != b"." && e.name != b".." {
                names.push(e.name.to_vec());
            }
            true
        })?;
        if pos == before {
            return Ok(names);
        }
    }
}
