//! A place in the mounted tree, and its name as text.

use super::dentry::{Dentry, rename_count};
use super::inode::InodeRef;
use super::mount::{Mount, MountFlags};
use crate::abi::{Errno, Result};
use std::sync::Arc;

/// Longest path a call takes, with its NUL.
pub const PATH_MAX: usize = 4096;

/// A mount and a dentry in it (`struct path`).
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name.
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// Whether access times are kept here (`atime_needs_update`, without the rules of relatime).
    pub fn keeps_atime(&self) -> bool {
        let flags = self.mount.flags();
        let dir = flags.contains(MountFlags::NODIRATIME) && self.is_dir();
        !dir && !flags.intersects(MountFlags::NOATIME | MountFlags::READONLY)
            && !self.mount.superblock().readonly()
    }
    /// What is here was read: its access time follows.
    pub fn accessed(&self) {
        if self.keeps_atime() {
            let relatime = self.mount.flags().contains(MountFlags::RELATIME);
            self.inode().accessed(relatime);
        }
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}
impl Eq for Path {}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Path({}:{})",
            self.mount.id(),
            String::from_utf8_lossy(&self.dentry.name())
        )
    }
}

/// Where a walk towards the root ended.
#[derive(PartialEq, Eq)]
enum Reached {
    /// At the given root.
    Root,
    /// At the root of a mount tree that does not hold the given root.
    Elsewhere,
}

impl Path {
    /// The inode.
    pub fn inode(&self) -> &InodeRef {
        self.dentry.inode()
    }
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.dentry.is_dir()
    }
    /// Follows mounts on this place to what is visible there.
    pub fn visible(mut self) -> Path {
        while self.dentry.is_mountpoint() {
            match self.mount.child_at(&self.dentry) {
                Some(m) => {
                    let dentry = m.root().clone();
                    self = Path { mount: m, dentry };
                }
                None => break,
            }
        }
        self
    }
    /// The directory above, across mounts; `None` at the root of a mount tree. Does not stop at a task's root.
    pub fn parent(&self) -> Option<Path> {
        let mut at = self.clone();
        while Arc::ptr_eq(&at.dentry, at.mount.root()) {
            at = at.mount.mountpoint()?;
        }
        let dentry = at.dentry.parent()?;
        Some(Path {
            mount: at.mount,
            dentry,
        })
    }

    /// Whether everybody may read this file, and search all directories above it, as far as permission bits say.
    pub fn is_open_to_all(&self) -> bool {
        let allows =
            |path: &Path, bit: u32| path.inode().permissions().is_ok_and(|p| p.perm & bit != 0);
        let mut above = self.parent();
        if !allows(self, 0o004) {
            return false;
        }
        while let Some(directory) = above {
            if !allows(&directory, 0o001) {
                return false;
            }
            above = directory.parent();
        }
        true
    }

    /// Absolute name within `root`, with " (deleted)" if the name is gone, as /proc/PID/fd links show it.
    pub fn display(&self, root: &Path) -> Vec<u8> {
        if self.dentry.is_anonymous() {
            return self.dentry.name().to_vec();
        }
        let (mut text, _) = self.text(root);
        if self.dentry.is_deleted() {
            text.extend_from_slice(b" (deleted)");
        }
        text
    }

    /// What getcwd(2) returns, without NUL: "(unreachable)" in front if `root` is not above it.
    ///
    /// # Errors
    /// ENOENT if the directory has been removed; ENAMETOOLONG.
    pub fn working_directory(&self, root: &Path) -> Result<Vec<u8>> {
        if self.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        let (text, reached) = self.text(root);
        let text = if reached == Reached::Root {
            text
        } else {
            [b"(unreachable)", text.as_slice()].concat()
        };
        if text.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(text)
    }

    /// Whether `root` is this place or above it.
    pub fn is_within(&self, root: &Path) -> bool {
        self.text(root).1 == Reached::Root
    }

    fn text(&self, root: &Path) -> (Vec<u8>, Reached) {
        let mut tries = 0;
        loop {
            let before = rename_count();
            let answer = self.text_once(root);
            tries += 1;
            if rename_count() == before || tries > 16 {
                return answer;
            }
        }
    }

    fn text_once(&self, root: &Path) -> (Vec<u8>, Reached) {
        let mut names = Vec::new();
        let mut at = self.clone();
        let reached = loop {
            if at == *root {
                break Reached::Root;
            }
            if Arc::ptr_eq(&at.dentry, at.mount.root()) {
                match at.mount.mountpoint() {
                    Some(up) => at = up,
                    None => break Reached::Elsewhere,
                }
                continue;
            }
            let (parent, name) = at.dentry.place();
            match parent {
                Some(p) => {
                    names.push(name);
                    at.dentry = p;
                }
                None => break Reached::Elsewhere,
            }
        };
        let mut text = Vec::new();
        for name in names.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(name);
        }
        if text.is_empty() {
            text.push(b'/');
        }
        (text, reached)
    }
}
