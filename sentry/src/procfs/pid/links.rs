//! `cwd`, `exe`, `root` and `ns/*`.

use super::Subject;
use crate::abi::{Errno, Result};
use crate::fs::pseudo::{Attr, LinkTarget, PseudoLink, StaticDir};
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

/// Names and numbers: one namespace of each kind but `uts`, with the numbers Linux gives its initial ones.
const NAMESPACES: &[(&str, u64)] = &[
    ("cgroup", 4_026_531_835),
    ("ipc", 4_026_531_839),
    ("mnt", 4_026_531_841),
    ("net", 4_026_531_840),
    ("pid", 4_026_531_836),
    ("pid_for_children", 4_026_531_836),
    ("time", 4_026_531_834),
    ("time_for_children", 4_026_531_834),
    ("user", 4_026_531_837),
    ("uts", 4_026_531_838),
];

pub(super) fn namespaces(s: &Subject) -> InodeRef {
    let mut dir = StaticDir::new();
    for (i, (name, number)) in NAMESPACES.iter().enumerate() {
        let kind = name.split('_').next().unwrap_or(name).to_owned();
        let number = *number;
        let subject = s.clone();
        let text = move |_: &dyn Caller| -> Result<Vec<u8>> {
            let number = match kind.as_str() {
                "uts" => subject.live()?.task.map_or(number, |t| t.uts().number()),
                _ => number,
            };
            Ok(format!("{kind}:[{number}]").into_bytes())
        };
        dir.add(name, PseudoLink::new(s.attr(0o777, 110 + i as u64), text));
    }
    let attr = Attr {
        perm: 0o511,
        ..s.attr(0o511, 103)
    };
    dir.into_inode(attr)
}
