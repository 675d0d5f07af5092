//! `cwd`, `exe`, `root` and `ns/*`.

use super::Subject;
use crate::abi::{Errno, Result};
use crate::fs::pseudo::{Attr, LinkTarget, PseudoLink, StaticDir};
use crate::kernel::namespaces::{Namespace, nsfs};
use crate::vfs::{Caller, InodeRef, MagicTarget, Path};

#[derive(Clone, Copy)]
enum Place {
    Cwd,
    Exe,
    Root,
}

struct PlaceLink {
    subject: Subject,
    place: Place,
}

impl PlaceLink {
    fn path(&self, cx: &dyn Caller) -> Result<Path> {
        let l = self.subject.live().map_err(|_| Errno::ENOENT)?;
        l.inspect(cx, |task| {
            let task = task.ok_or(Errno::ENOENT)?;
            match self.place {
                Place::Cwd => Ok(task.fs().cwd()),
                Place::Root => Ok(task.fs().root()),
                Place::Exe => {
                    let exe = task.mm().layout().exe.ok_or(Errno::ENOENT)?;
                    exe.path().cloned().ok_or(Errno::ENOENT)
                }
            }
        })
    }
}

impl LinkTarget for PlaceLink {
    fn text(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        let path = self.path(cx)?;
        let root = super::task_of(cx).map_or_else(|| path.mount.root_path(), |c| c.fs().root());
        Ok(path.display(&root))
    }
    fn magic(&self, cx: &dyn Caller) -> Option<Result<MagicTarget>> {
        Some(self.path(cx).map(MagicTarget::Path))
    }
}

pub(super) fn make(s: &Subject, name: &[u8]) -> InodeRef {
    let (place, index) = match name {
        b"cwd" => (Place::Cwd, 100),
        b"exe" => (Place::Exe, 101),
        _ => (Place::Root, 102),
    };
    PseudoLink::new(
        s.attr(0o777, index),
        PlaceLink {
            subject: s.clone(),
            place,
        },
    )
}

/// `ns/NAME`.
struct NsLink {
    subject: Subject,
    name: &'static str,
}

impl NsLink {
    fn namespace(&self, cx: &dyn Caller) -> Result<Namespace> {
        let l = self.subject.live().map_err(|_| Errno::ENOENT)?;
        l.inspect(cx, |task| {
            let task = task.ok_or(Errno::ENOENT)?;
            Namespace::of(task, self.name).ok_or(Errno::ENOENT)
        })
    }
}

impl LinkTarget for NsLink {
    fn text(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        Ok(self.namespace(cx)?.text())
    }
    fn magic(&self, cx: &dyn Caller) -> Option<Result<MagicTarget>> {
        Some(self.namespace(cx).map(|ns| MagicTarget::Path(ns.path())))
    }
}

pub(super) fn namespaces(s: &Subject) -> InodeRef {
    let mut dir = StaticDir::new();
    for (i, name) in nsfs::LINKS.iter().enumerate() {
        let subject = s.clone();
        let link = NsLink { subject, name };
        dir.add(name, PseudoLink::new(s.attr(0o777, 110 + i as u64), link));
    }
    let attr = Attr {
        perm: 0o511,
        ..s.attr(0o511, 103)
    };
    dir.into_inode(attr)
}
