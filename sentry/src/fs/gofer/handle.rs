//! The gofer's handles of inodes.
//!
//! An inode of a shared tree holds its handle as long as it lives: the handle is what it is. An inode of an immutable tree knows its
//! parent and name, so its handle can be given back when the gofer's quota runs short, and need not be fetched before it
//! is needed.

use super::inode::GoferInode;
use super::{GoferFs, errno};
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use cofferdam_gofer::client::{Handle, NodeRef, Walked};
use cofferdam_gofer::protocol::{Access, MAX_WALK};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Which inodes of an immutable tree hold handles, oldest first.
pub(super) struct HandleCache {
    queue: Mutex<VecDeque<Weak<GoferInode>>>,
    held: AtomicUsize,
    limit: usize,
}

impl HandleCache {
    /// For a gofer that lets us hold `quota` handles; other trees need some too.
    pub fn new(quota: u32) -> HandleCache {
        HandleCache {
            queue: Mutex::new(Rank::LEAF, VecDeque::new()),
            held: AtomicUsize::new(0),
            limit: usize::try_from(quota / 2).unwrap_or(usize::MAX).max(1),
        }
    }

    /// Records that `inode` got a handle, and takes handles from others while there are too many.
    fn added(&self, inode: &Arc<GoferInode>) {
        let held = self.held.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        {
            let mut queue = self.queue.lock();
            // Those that died in the meantime must not pile up.
            if queue.len() > held.saturating_mul(2).saturating_add(1024) {
                queue.retain(|weak| weak.strong_count() > 0);
            }
            queue.push_back(Arc::downgrade(inode));
        }
        if held <= self.limit {
            return;
        }
        // Each inode gets a second chance if it was used since; a round is enough to find one that was not.
        for _ in 0..held.saturating_mul(2) {
            let Some(weak) = self.queue.lock().pop_front() else {
                return;
            };
            let Some(other) = weak.upgrade() else {
                continue;
            };
            if Arc::ptr_eq(&other, inode) || other.take_used() {
                self.queue.lock().push_back(weak);
                continue;
            }
            let gone = other.handle.lock().take();
            if gone.is_some() {
                self.held.fetch_sub(1, Ordering::Relaxed);
            }
            drop(gone);
            if self.held.load(Ordering::Relaxed) <= self.limit {
                return;
            }
        }
    }

    /// Records that an inode that holds a handle is gone.
    pub fn dropped(&self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
    #[cfg(test)]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl GoferInode {
    /// The handle, fetched if need be.
    ///
    /// # Errors
    /// EIO if the gofer is gone, ESTALE if an immutable tree changed after all.
    pub(super) fn handle(&self) -> Result<Arc<Handle>> {
        self.handle_and_open(None).map(|(handle, _)| handle)
    }

    /// The handle; with `open` also a descriptor, if a round trip was needed anyway and could bring it.
    pub(super) fn handle_and_open(
        &self,
        open: Option<Access>,
    ) -> Result<(Arc<Handle>, Option<Result<OwnedFd>>)> {
        if let Some(handle) = self.held_handle() {
            return Ok((handle, None));
        }
        // The names from the nearest ancestor that holds one (the root always does).
        let mut chain: Vec<Arc<GoferInode>> = vec![self.me()?];
        let mut base = loop {
            let last = chain.last().ok_or(Errno::ESTALE)?;
            let (parent, _) = last.origin.as_ref().ok_or(Errno::ESTALE)?;
            if let Some(handle) = parent.held_handle() {
                break handle;
            }
            let parent = parent.clone();
            chain.push(parent);
        };
        chain.reverse();
        let (mut opened, mut target) = (None, None);
        for part in chain.chunks(MAX_WALK) {
            let names = part
                .iter()
                .filter_map(|i| i.origin.as_ref().map(|(_, name)| &**name));
            let walked = self.fs.client().walk(&base, names, open).map_err(errno)?;
            let Walked {
                nodes,
                open: fd,
                link,
                ..
            } = walked;
            if nodes.len() != part.len() {
                return Err(Errno::ESTALE);
            }
            (opened, target) = (fd, link);
            for (inode, node) in part.iter().zip(nodes) {
                base = inode.adopt(node)?;
            }
        }
        if let Some(target) = target {
            let _ = self.target.set(target.into());
        }
        let opened = opened.map(|fd| fd.map_err(errno));
        Ok((base, opened))
    }

    fn held_handle(&self) -> Option<Arc<Handle>> {
        let handle = self.handle.lock().clone();
        if handle.is_some() {
            self.mark_used();
        }
        handle
    }

    /// Takes the handle that a walk found for this inode.
    fn adopt(self: &Arc<Self>, node: NodeRef) -> Result<Arc<Handle>> {
        if (node.attr.dev, node.attr.ino) != self.key {
            return Err(Errno::ESTALE);
        }
        let new = Arc::new(node.handle);
        let surplus = {
            let mut mine = self.handle.lock();
            match &*mine {
                // Someone else was faster.
                Some(old) => Some(old.clone()),
                None => {
                    *mine = Some(new.clone());
                    None
                }
            }
        };
        match surplus {
            Some(handle) => Ok(handle),
            None => {
                self.fs.handle_added(self);
                Ok(new)
            }
        }
    }
}

impl GoferFs {
    /// Accounts for a handle that `inode` now holds.
    pub(super) fn handle_added(&self, inode: &Arc<GoferInode>) {
        // Roots and inodes of shared trees cannot give theirs back.
        if inode.origin.is_some() {
            self.handles.added(inode);
        }
    }
}
