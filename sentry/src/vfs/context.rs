//! Root, working directory and umask of one or more tasks (`struct fs_struct`).

use super::mount_ns::MountNamespace;
use super::path::Path;
use super::told::Changing;
use crate::abi::Result;
use crate::auth::UserNamespace;
use crate::sync::{Mutex, Rank};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a task's paths start.
pub struct FsContext {
    umask: AtomicU32,
    places: Mutex<Places>,
}

#[derive(Clone)]
struct Places {
    root: Path,
    cwd: Path,
    namespace: Arc<MountNamespace>,
}

impl FsContext {
    /// Root and working directory at the root of `namespace`; umask 022.
    pub fn new(namespace: Arc<MountNamespace>) -> FsContext {
        let root = namespace.root();
        FsContext {
            umask: AtomicU32::new(0o022),
            places: Mutex::new(
                Rank::FS_CONTEXT,
                Places {
                    cwd: root.clone(),
                    root,
                    namespace,
                },
            ),
        }
    }
    /// A context of its own with the same places and umask (fork, unshare(CLONE_FS)).
    pub fn duplicate(&self) -> FsContext {
        FsContext {
            umask: AtomicU32::new(self.umask()),
            places: Mutex::new(Rank::FS_CONTEXT, self.places.lock().clone()),
        }
    }
    /// A context in a copy of the mount namespace (CLONE_NEWNS) that `owner` is to own.
    ///
    /// # Errors
    /// ENOSPC if the sandbox has too many mounts or namespaces.
    pub fn duplicate_namespace(&self, owner: &Arc<UserNamespace>) -> Result<FsContext> {
        let old = self.places.lock().clone();
        let (namespace, translate) = old.namespace.duplicate(owner)?;
        Ok(FsContext {
            umask: AtomicU32::new(self.umask()),
            places: Mutex::new(
                Rank::FS_CONTEXT,
                Places {
                    root: translate(&old.root),
                    cwd: translate(&old.cwd),
                    namespace,
                },
            ),
        })
    }
    /// Goes to the root of another mount namespace (setns(2)); permissions have been checked.
    pub fn enter(&self, namespace: Arc<MountNamespace>) {
        let _said = Changing::begin();
        let root = namespace.root();
        let new = Places {
            cwd: root.clone(),
            root,
            namespace,
        };
        let old = std::mem::replace(&mut *self.places.lock(), new);
        drop(old);
    }
    /// File-mode creation mask.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }
    /// Sets the mask; the old one is returned.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }
    /// Where absolute paths start.
    pub fn root(&self) -> Path {
        self.places.lock().root.clone()
    }
    /// Where relative paths start.
    pub fn cwd(&self) -> Path {
        self.places.lock().cwd.clone()
    }
    /// The mounts the task sees.
    pub fn namespace(&self) -> Arc<MountNamespace> {
        self.places.lock().namespace.clone()
    }
    /// chroot(2); permissions have been checked.
    pub fn set_root(&self, root: Path) {
        let _said = Changing::begin();
        let old = std::mem::replace(&mut self.places.lock().root, root);
        drop(old);
    }
    /// chdir(2); permissions have been checked.
    pub fn set_cwd(&self, cwd: Path) {
        let old = std::mem::replace(&mut self.places.lock().cwd, cwd);
        drop(old);
    }
    /// pivot_root(2) moves whoever is at the old root to the new one.
    pub fn replace_root(&self, old: &Path, new: &Path) {
        let _said = Changing::begin();
        let mut p = self.places.lock();
        let mut dropped = Vec::new();
        if p.root == *old {
            dropped.push(std::mem::replace(&mut p.root, new.clone()));
        }
        if p.cwd == *old {
            dropped.push(std::mem::replace(&mut p.cwd, new.clone()));
        }
        drop(p);
    }
}
