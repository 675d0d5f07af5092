//! A fixed directory tree, built from paths.

use super::{Attr, FsId, StaticDir};
use crate::vfs::InodeRef;

/// A directory while it is built.
#[derive(Default)]
pub struct Tree {
    nodes: Vec<(String, InodeRef)>,
    dirs: Vec<(String, Tree)>,
}

impl Tree {
    /// Puts an inode at a relative path; directories on the way appear by themselves.
    pub fn put(&mut self, path: &str, inode: InodeRef) {
        match path.split_once('/') {
            None => self.nodes.push((path.into(), inode)),
            Some((dir, rest)) => {
                if let Some(d) = self.dir(dir) {
                    d.put(rest, inode);
                }
            }
        }
    }
    /// Makes sure that there is a directory at a relative path.
    pub fn mkdir(&mut self, path: &str) {
        let (dir, rest) = path.split_once('/').unwrap_or((path, ""));
        if let Some(d) = self.dir(dir)
            && !rest.is_empty()
        {
            d.mkdir(rest);
        }
    }
    fn dir(&mut self, name: &str) -> Option<&mut Tree> {
        let at = self.dirs.iter().position(|(n, _)| n == name);
        let at = at.unwrap_or_else(|| {
            self.dirs.push((name.into(), Tree::default()));
            self.dirs.len() - 1
        });
        self.dirs.get_mut(at).map(|(_, d)| d)
    }
    /// The directory, with permissions 0555 throughout.
    pub fn build(self, fs: FsId) -> InodeRef {
        let mut out = StaticDir::new();
        for (name, dir) in self.dirs {
            out.add(&name, dir.build(fs));
        }
        for (name, inode) in self.nodes {
            out.add(&name, inode);
        }
        out.into_inode(Attr::new(fs, 0o555))
    }
}
