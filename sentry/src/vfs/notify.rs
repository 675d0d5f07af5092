//! File events for inotify(7): the VFS and the system calls report what happens, watches on inodes pass it on.
//!
//! Costs one atomic load as long as nobody watches anything.

use super::dentry::Dentry;
use super::file::File;
use super::inode::{FileType, InodeRef};
use crate::sync::{Mutex, Rank};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

bitflags::bitflags! {
    /// IN_* of inotify(7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct Mask: u32 {
        const ACCESS = 1;
        const MODIFY = 2;
        const ATTRIB = 4;
        const CLOSE_WRITE = 8;
        const CLOSE_NOWRITE = 0x10;
        const OPEN = 0x20;
        const MOVED_FROM = 0x40;
        const MOVED_TO = 0x80;
        const CREATE = 0x100;
        const DELETE = 0x200;
        const DELETE_SELF = 0x400;
        const MOVE_SELF = 0x800;
        const UNMOUNT = 0x2000;
        const Q_OVERFLOW = 0x4000;
        const IGNORED = 0x8000;
        /// Not of inotify: a name changed within the directory (DN_RENAME).
        const RENAMED = 0x0010_0000;
        const ONLYDIR = 0x0100_0000;
        const DONT_FOLLOW = 0x0200_0000;
        const EXCL_UNLINK = 0x0400_0000;
        const MASK_CREATE = 0x1000_0000;
        const MASK_ADD = 0x2000_0000;
        const ISDIR = 0x4000_0000;
        const ONESHOT = 0x8000_0000;
    }
}

impl Mask {
    /// IN_ALL_EVENTS.
    pub const ALL_EVENTS: Mask = Mask::from_bits_retain(0xfff);
}

/// One event on a watched inode.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What happened, with ISDIR.
    pub mask: Mask,
    /// Connects the two halves of a rename.
    pub cookie: u32,
    /// The name in the watched directory; `None` for the watched object itself.
    pub name: Option<&'a [u8]>,
}

/// Who gets events: an inotify instance.
pub trait Watcher: Send + Sync {
    /// An event for watch `wd`. Must not block; called without locks.
    fn event(&self, wd: i32, event: &Event<'_>);
    /// The watch `wd` has ended by itself (IN_IGNORED).
    fn ended(&self, wd: i32);
}

/// One watch on an inode.
pub struct Watch {
    /// The instance.
    pub watcher: Weak<dyn Watcher>,
    /// Its number there.
    pub wd: i32,
    /// Events of interest and ONESHOT, EXCL_UNLINK.
    pub mask: Mask,
}

/// All watches on one inode (an extension of its `InodeMeta`).
pub struct Watches(Mutex<Vec<Watch>>);

impl Default for Watches {
    fn default() -> Watches {
        Watches(Mutex::new(Rank::LEAF, Vec::new()))
    }
}

/// Watches in the sandbox.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);
static COOKIE: AtomicU32 = AtomicU32::new(1);

/// Whether anything is watched in the sandbox.
pub fn is_watched() -> bool {
    ACTIVE.load(Ordering::Relaxed) != 0
}

fn is(watch: &Watch, watcher: &Weak<dyn Watcher>, wd: i32) -> bool {
    watch.watcher.ptr_eq(watcher) && watch.wd == wd
}

impl Watches {
    /// Adds a watch, or replaces the mask of the one with the same number.
    pub fn set(&self, watch: Watch) {
        let mut v = self.0.lock();
        match v.iter_mut().find(|w| is(w, &watch.watcher, watch.wd)) {
            Some(w) => w.mask = watch.mask,
            None => {
                v.push(watch);
                ACTIVE.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    /// Whether `watcher` has a watch of this number.
    pub fn has(&self, watcher: &Weak<dyn Watcher>, wd: i32) -> bool {
        self.0.lock().iter().any(|w| is(w, watcher, wd))
    }
    /// Removes a watch.
    pub fn remove(&self, watcher: &Weak<dyn Watcher>, wd: i32) {
        let mut v = self.0.lock();
        let before = v.len();
        v.retain(|w| !is(w, watcher, wd));
        ACTIVE.fetch_sub(before - v.len(), Ordering::Relaxed);
    }

    fn send(&self, event: &Event<'_>, unlinked: bool) {
        let mut targets: Vec<(Arc<dyn Watcher>, i32, bool)> = Vec::new();
        {
            let mut v = self.0.lock();
            v.retain(|w| {
                if !w
                    .mask
                    .intersects(event.mask & (Mask::ALL_EVENTS | Mask::RENAMED))
                    || (unlinked && event.name.is_some() && w.mask.contains(Mask::EXCL_UNLINK))
                {
                    return true;
                }
                let once = w.mask.contains(Mask::ONESHOT);
                if let Some(t) = w.watcher.upgrade() {
                    targets.push((t, w.wd, once));
                }
                if once {
                    ACTIVE.fetch_sub(1, Ordering::Relaxed);
                }
                !once
            });
        }
        for (t, wd, once) in targets {
            t.event(wd, event);
            if once {
                t.ended(wd);
            }
        }
    }

    /// The inode is gone: every watch ends.
    fn end(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        ACTIVE.fetch_sub(all.len(), Ordering::Relaxed);
        for w in all {
            if let Some(t) = w.watcher.upgrade() {
                if w.mask.contains(Mask::DELETE_SELF) {
                    t.event(
                        w.wd,
                        &Event {
                            mask: Mask::DELETE_SELF,
                            cookie: 0,
                            name: None,
                        },
                    );
                }
                t.ended(w.wd);
            }
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        ACTIVE.fetch_sub(self.0.get_mut().len(), Ordering::Relaxed);
    }
}

fn active() -> bool {
    ACTIVE.load(Ordering::Relaxed) > 0
}

fn with_dir(mask: Mask, inode: &InodeRef) -> Mask {
    if inode.file_type() == FileType::Directory {
        mask | Mask::ISDIR
    } else {
        mask
    }
}

fn send(inode: &InodeRef, event: &Event<'_>, unlinked: bool) {
    if let Some(w) = inode.meta().existing::<Watches>() {
        w.send(event, unlinked);
    }
}

/// Something happened to the object at `dentry`: its own watches and those of its directory hear of it.
pub fn object(dentry: &Dentry, mask: Mask) {
    if !active() {
        return;
    }
    let mask = with_dir(mask, dentry.inode());
    let (parent, name) = dentry.place();
    if let Some(p) = parent {
        let event = Event {
            mask,
            cookie: 0,
            name: Some(&name),
        };
        send(p.inode(), &event, dentry.is_deleted());
    }
    let event = Event {
        mask,
        cookie: 0,
        name: None,
    };
    send(dentry.inode(), &event, false);
}

/// Something happened to an object that only its own watches hear of.
pub fn inode(inode: &InodeRef, mask: Mask) {
    if active() {
        let event = Event {
            mask: with_dir(mask, inode),
            cookie: 0,
            name: None,
        };
        send(inode, &event, false);
    }
}

/// Something happened to an open file.
pub fn file(file: &File, mask: Mask) {
    if !active() {
        return;
    }
    match file.path() {
        Some(p) => object(&p.dentry, mask),
        None => {
            let event = Event {
                mask,
                cookie: 0,
                name: None,
            };
            send(file.inode(), &event, false);
        }
    }
}

/// `name` in `dir` (which is or was `inode`) appeared or went away.
pub fn entry(dir: &Dentry, inode: &InodeRef, mask: Mask, name: &[u8]) {
    if active() {
        let event = Event {
            mask: with_dir(mask, inode),
            cookie: 0,
            name: Some(name),
        };
        send(dir.inode(), &event, false);
    }
}

/// A rename of `inode`.
pub fn renamed(from: &Dentry, old: &[u8], to: &Dentry, new: &[u8], inode: &InodeRef) {
    if !active() {
        return;
    }
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed);
    let event = Event {
        mask: Mask::RENAMED,
        cookie: 0,
        name: Some(old),
    };
    if Arc::ptr_eq(from.inode(), to.inode()) {
        send(from.inode(), &event, false);
    }
    for (dir, mask, name) in [(from, Mask::MOVED_FROM, old), (to, Mask::MOVED_TO, new)] {
        let event = Event {
            mask: with_dir(mask, inode),
            cookie,
            name: Some(name),
        };
        send(dir.inode(), &event, false);
    }
    let event = Event {
        mask: Mask::MOVE_SELF,
        cookie: 0,
        name: None,
    };
    send(inode, &event, false);
}

/// The name `dentry` was removed: link-count change, and the end if nothing is left of the object. Call with the
/// last reference that is not an open file or a working directory.
pub fn unlinked(dentry: &Arc<Dentry>) {
    if !active() || dentry.inode().meta().existing::<Watches>().is_none() {
        return;
    }
    if dentry.inode().file_type() != FileType::Directory {
        let event = Event {
            mask: Mask::ATTRIB,
            cookie: 0,
            name: None,
        };
        send(dentry.inode(), &event, false);
    }
    released(dentry);
}

/// A holder of `dentry` is about to let go: if the object is unlinked and nobody else holds it, its watches end.
pub fn released(dentry: &Arc<Dentry>) {
    if active()
        && dentry.is_deleted()
        && Arc::strong_count(dentry) == 1
        && let Some(w) = dentry.inode().meta().existing::<Watches>()
        && (dentry.inode().file_type() == FileType::Directory
            || dentry.inode().stat().is_ok_and(|s| s.nlink == 0))
    {
        w.end();
    }
}
