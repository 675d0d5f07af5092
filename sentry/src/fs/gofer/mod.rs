//! Host files, through the gofer.
//!
//! A [`GoferFs`] shows one export of the gofer. Directories, links and attributes are asked of the gofer; a regular file is
//! opened by it once, and its descriptor then serves reads, writes and mappings without further visits.
//!
//! What is cached depends on [`CachePolicy`]. An *immutable* tree (the host's system directories, an image) is taken never to
//! change: names, absent names, attributes and descriptors are kept without asking again, and a directory that was listed once answers
//! every look-up in it. A *shared* tree changes under our feet: every look-up asks, and attributes count for a moment only.
//!
//! - `inode`: one object per host inode, whatever its names.  - `attr`: conversions, and how long attributes count.
//! - `handle`: getting at the gofer's handles, and giving them back when they are many.
//! - `listing`: what listings told.  - `directory`, `file`: open ones.
//!
//! Locks are leaves: none is held while the gofer is asked, and no inode is dropped under one.

mod attr;
mod directory;
mod file;
mod handle;
mod inode;
mod listing;
#[cfg(test)]
mod tests;

pub use inode::GoferInode;

use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank, before_exchange};
use crate::vfs::{InodeRef, SuperBlock};
use cofferdam_gofer::client::{Client, GoferError};
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Descriptors of an immutable tree that are kept open although nobody uses them.
const KEPT_DESCRIPTORS: usize = 512;
/// Host devices told apart within one export.
const MAX_DEVICES: usize = 256;

/// How far the sentry may trust what it was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// The tree is read-only and does not change while the sandbox runs.
    Immutable,
    /// The tree is changed by the guest, the host, or both.
    Shared,
}

/// Device and inode number on the host: what makes a file the same file.
type Key = (u64, u64);

/// One export of the gofer, as a file system.
pub struct GoferFs {
    client: Arc<Client>,
    policy: CachePolicy,
    /// The live inodes, so that all names of a file lead to one.
    inodes: Mutex<HashMap<Key, Weak<GoferInode>>>,
    /// Host devices and what the guest sees instead.
    devices: Mutex<Vec<(u64, u64)>>,
    /// Changes made through this file system; attributes from before the last one are old.
    changes: AtomicU64,
    handles: handle::HandleCache,
    listings: listing::ListingCache,
    descriptors: Mutex<VecDeque<Arc<OwnedFd>>>,
}

impl GoferFs {
    /// For one question to the gofer.
    fn client(&self) -> &Client {
        before_exchange();
        &self.client
    }

    /// The root of export `index`: a directory, or the file if the export is a single one.
    ///
    /// # Errors
    /// EINVAL if there is no such export; EIO if the gofer is gone.
    pub fn root(client: &Arc<Client>, index: u32, policy: CachePolicy) -> Result<Arc<GoferInode>> {
        let node = client.attach(index).map_err(errno)?;
        let fs = Arc::new(GoferFs {
            client: client.clone(),
            policy,
            inodes: Mutex::new(Rank::LEAF, HashMap::new()),
            devices: Mutex::new(Rank::LEAF, Vec::new()),
            changes: AtomicU64::new(0),
            handles: handle::HandleCache::new(client.handle_quota()),
            listings: listing::ListingCache::default(),
            descriptors: Mutex::new(Rank::LEAF, VecDeque::new()),
        });
        Ok(fs.inode(&node.attr, Some(node.handle), None))
    }

    /// Export `index`, ready to be mounted. An immutable one is read-only.
    ///
    /// # Errors
    /// As [`GoferFs::root`].
    pub fn superblock(
        client: &Arc<Client>,
        index: u32,
        policy: CachePolicy,
    ) -> Result<Arc<SuperBlock>> {
        let root: InodeRef = GoferFs::root(client, index, policy)?;
        let sb = SuperBlock::new(root, "gofer", "");
        if policy == CachePolicy::Immutable {
            sb.set_write_protected();
        }
        Ok(sb)
    }

    fn immutable(&self) -> bool {
        self.policy == CachePolicy::Immutable
    }

    /// Records that something was changed through this file system.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The same, when the number of changes was `before` before it; what was told with it counts only if nobody else changed anything meanwhile.
    fn changed_since(&self, before: u64) -> u64 {
        self.changed();
        before.wrapping_add(1)
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// EROFS for trees that do not change.
    fn want_write(&self) -> Result<()> {
        if self.immutable() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// The guest's number for a host device: the guest tells files apart by it, but learns nothing of the host.
    fn device(&self, host: u64) -> u64 {
        let mut known = self.devices.lock();
        if let Some((_, guest)) = known.iter().find(|(h, _)| *h == host) {
            return *guest;
        }
        if known.len() >= MAX_DEVICES {
            return known.last().map_or(0, |(_, guest)| *guest);
        }
        let guest = super::anonymous_device();
        known.push((host, guest));
        guest
    }

    /// Keeps a descriptor open for the next one who opens the file.
    fn keep_descriptor(&self, fd: &Arc<OwnedFd>) {
        let old = {
            let mut kept = self.descriptors.lock();
            kept.push_back(fd.clone());
            if kept.len() > KEPT_DESCRIPTORS {
                kept.pop_front()
            } else {
                None
            }
        };
        drop(old);
    }
}

/// What the guest sees of a failed call.
fn errno(error: GoferError) -> Errno {
    Errno::from_raw(error.errno())
}
