//! Listing a directory of an overlay: the upper layer's entries, then the lower one's that are not hidden.

use super::{OverlayInode, UPPER_INO};
use crate::abi::Result;
use crate::sync::{Mutex, Rank};
use crate::vfs::{
    Caller, DirEntry, File, FileOps, FileType, Inode, InodeRef, KernelCaller, OpenFlags, Readdir,
};
use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

/// One entry.
#[derive(Clone)]
pub(super) struct Entry {
    name: Vec<u8>,
    ino: u64,
    file_type: FileType,
}

/// Lists one layer's directory, without "." and "..".
fn layer(dir: &InodeRef) -> Result<Vec<Entry>> {
    let ops = dir.clone().open(&KernelCaller, OpenFlags::DIRECTORY)?;
    let file = File::new(ops, dir.clone(), None, OpenFlags::DIRECTORY);
    let mut out = Vec::new();
    let mut pos = 0;
    file.ops()
        .readdir(&file, &KernelCaller, &mut pos, &mut |e| {
            if e.name != b"." && e.name != b".." {
                out.push(Entry {
                    name: e.name.to_vec(),
                    ino: e.ino,
                    file_type: e.file_type,
                });
            }
            true
        })?;
    Ok(out)
}

/// Names in one layer's directory.
pub(super) fn names(dir: &InodeRef) -> Result<Vec<Vec<u8>>> {
    Ok(layer(dir)?.into_iter().map(|e| e.name).collect())
}

/// The visible entries.
pub(super) fn entries(dir: &OverlayInode) -> Result<Vec<Entry>> {
    let mut out = Vec::new();
    let mut seen = HashSet::new();
    if let Some(u) = dir.upper.get() {
        for e in layer(u)? {
            // Only a character device can be a whiteout; what is really there decides.
            let shown = match e.file_type {
                FileType::CharDevice => dir.child(&e.name).is_ok(),
                _ => true,
            };
            if dir.lower.is_some() {
                seen.insert(e.name.clone());
            }
            if shown {
                // d_ino is st_ino: a copied-up object keeps its number.
                let origin = u
                    .lookup(&e.name)
                    .ok()
                    .and_then(|i| i.meta().existing::<super::Origin>())
                    .and_then(|o| *o.0.lock());
                let ino = origin.map_or(e.ino | UPPER_INO, |(_, ino)| ino);
                out.push(Entry { ino, ..e });
            }
        }
    }
    if let Some(l) = &dir.lower {
        out.extend(layer(l)?.into_iter().filter(|e| !seen.contains(&e.name)));
    }
    Ok(out)
}

/// An open directory: a snapshot, made anew when reading starts over.
struct Opened {
    dir: Arc<OverlayInode>,
    snapshot: Mutex<Option<Arc<[Entry]>>>,
}

pub(super) fn open(dir: Arc<OverlayInode>) -> Box<dyn FileOps> {
    Box::new(Opened {
        dir,
        snapshot: Mutex::new(Rank::LEAF, None),
    })
}

impl FileOps for Opened {
    fn seekable(&self) -> bool {
        true
    }
    fn readdir(
        &self,
        _: &File,
        _: &dyn Caller,
        pos: &mut u64,
        emit: &mut Readdir<'_>,
    ) -> Result<()> {
        let own = self.dir.stat()?.ino;
        let above = self.dir.place.lock().as_ref().map(|(p, _)| p.clone());
        let parent = above.and_then(|p| p.stat().ok()).map_or(own, |s| s.ino);
        for (at, name, ino) in [(0u64, b".".as_slice(), own), (1, b"..", parent)] {
            if *pos == at {
                if at == 0 {
                    *self.snapshot.lock() = None;
                }
                let e = DirEntry {
                    ino,
                    file_type: FileType::Directory,
                    name,
                    next: at + 1,
                };
                if !emit(&e) {
                    return Ok(());
                }
                *pos = at + 1;
            }
        }
        let known = self.snapshot.lock().clone();
        let all = match known {
            Some(s) => s,
            None => {
                let s: Arc<[Entry]> = entries(&self.dir)?.into();
                *self.snapshot.lock() = Some(s.clone());
                s
            }
        };
        let start = usize::try_from(*pos - 2).unwrap_or(usize::MAX);
        for e in all.get(start..).unwrap_or_default() {
            let d = DirEntry {
                ino: e.ino,
                file_type: e.file_type,
                name: &e.name,
                next: *pos + 1,
            };
            if !emit(&d) {
                return Ok(());
            }
            *pos += 1;
        }
        Ok(())
    }
    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
