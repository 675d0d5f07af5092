//! Copying an object of the lower layer to the upper one, before it is changed.

use super::{Below, Origin, OverlayInode};
use crate::abi::{Errno, Result};
use crate::usermem::{KernelSink, KernelSource, Sink};
use crate::vfs::{File, FileType, InodeRef, KernelCaller, OpenFlags, SetAttr, SetTime, Stat};

/// Bytes per step of a copy.
const CHUNK: usize = 256 << 10;

impl OverlayInode {
    /// Copies it and the directories above it up. Of a regular file only the first `size` bytes are needed.
    ///
    /// # Errors
    /// ENOSPC, EIO, and ENOENT if its name is gone.
    pub(super) fn copy_up(&self, size: u64) -> Result<()> {
        // From the topmost directory that is missing down to this object; paths are bounded, recursion is not needed.
        let mut chain = vec![self.arc()?];
        loop {
            let above = match chain.last() {
                Some(i) => i.place.lock().as_ref().map(|(p, _)| p.clone()),
                None => None,
            };
            match above {
                Some(p) if p.upper.get().is_none() => chain.push(p),
                _ => break,
            }
        }
        while let Some(i) = chain.pop() {
            let limit = if chain.is_empty() { size } else { 0 };
            if i.upper.get().is_none() {
                i.copy_one(limit)?;
            }
        }
        Ok(())
    }

    /// Copies this object; its parent is up.
    fn copy_one(&self, size: u64) -> Result<()> {
        let lower = self.lower.as_ref().ok_or(Errno::EIO)?;
        let (parent, name) = self.place.lock().clone().ok_or(Errno::EIO)?;
        let dir = parent.upper.get().ok_or(Errno::EIO)?;
        let stat = lower.stat()?;
        let cx = &KernelCaller;
        let made = match stat.file_type {
            FileType::Directory => dir.mkdir(cx, &name, stat.perm),
            FileType::Symlink => dir.symlink(cx, &name, &lower.readlink(cx)?),
            FileType::Regular => dir.tmpfile(cx, stat.perm),
            kind => dir.mknod(cx, &name, kind, stat.perm, stat.rdev),
        };
        let upper = match made {
            Ok(u) => u,
            // Somebody else was faster.
            Err(Errno::EEXIST) => dir.lookup(&name)?,
            Err(e) => return Err(e),
        };
        if stat.file_type == FileType::Regular {
            copy_contents(lower, &upper, stat.size.min(size))?;
        }
        copy_attributes(lower, &upper, &stat)?;
        *upper.meta().extension::<Origin>().0.lock() = self.origin();
        if stat.file_type == FileType::Directory {
            Below::set(&upper, Some(lower.clone()));
        }
        if stat.file_type == FileType::Regular {
            match dir.link(cx, &name, &upper) {
                Ok(()) => {}
                Err(Errno::EEXIST) => {
                    let other = dir.lookup(&name)?;
                    let _ = self.upper.set(other);
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        let _ = self.upper.set(upper);
        Ok(())
    }
}

fn copy_contents(lower: &InodeRef, upper: &InodeRef, size: u64) -> Result<()> {
    let cx = &KernelCaller;
    let from = lower.clone().open(cx, OpenFlags::empty())?;
    let to = upper.clone().open(cx, OpenFlags::WRONLY)?;
    let from = File::new(from, lower.clone(), None, OpenFlags::empty());
    let to = File::new(to, upper.clone(), None, OpenFlags::WRONLY);
    let mut at = 0u64;
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(CHUNK).min(CHUNK);
        let mut sink = KernelSink::new(want);
        let mut pos = at;
        while sink.remaining() > 0 && from.ops().read(&from, cx, &mut sink, &mut pos)? > 0 {}
        if sink.data.is_empty() {
            break;
        }
        let len = sink.data.len() as u64;
        // Holes stay holes.
        if sink.data.iter().any(|b| *b != 0) {
            let mut source = KernelSource::new(&sink.data);
            let mut pos = at;
            while pos < at + len {
                if to.ops().write(&to, cx, &mut source, &mut pos, false)? == 0 {
                    return Err(Errno::EIO);
                }
            }
        }
        at += len;
    }
    if at > 0 {
        upper.set_attr(
            cx,
            &SetAttr {
                size: Some(at),
                ..SetAttr::default()
            },
        )?;
    }
    Ok(())
}

fn copy_attributes(lower: &InodeRef, upper: &InodeRef, stat: &Stat) -> Result<()> {
    let cx = &KernelCaller;
    for name in lower.listxattr(cx).unwrap_or_default() {
        if let Ok(value) = lower.getxattr(cx, &name) {
            match upper.setxattr(cx, &name, &value, 0) {
                Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EPERM) => {}
                Err(e) => return Err(e),
            }
        }
    }
    let mut changes = SetAttr {
        uid: Some(stat.uid),
        gid: Some(stat.gid),
        atime: Some(SetTime::At(stat.atime)),
        mtime: Some(SetTime::At(stat.mtime)),
        ..SetAttr::default()
    };
    upper.set_attr(cx, &changes)?;
    if stat.file_type != FileType::Symlink {
        // After the owner: a change of owner clears set-id bits.
        changes = SetAttr {
            perm: Some(stat.perm),
            ..SetAttr::default()
        };
        upper.set_attr(cx, &changes)?;
    }
    Ok(())
}
