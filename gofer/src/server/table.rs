//! Handles: what the client calls a node, and the descriptor behind it.

use crate::protocol::{FileType, HandleId};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A file that the client holds a handle of.
#[derive(Debug)]
pub struct Node {
    /// `O_PATH` descriptor.
    pub fd: OwnedFd,
    /// Index of the export it belongs to.
    pub export: usize,
    /// Type; never changes for an inode.
    pub file_type: FileType,
    /// Lies on a kernel file system: shown, but neither opened nor entered.
    pub opaque: bool,
}

impl Node {
    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    node: Option<Node>,
}

/// The handles of one connection. A handle is a slot's index and, above it, the slot's generation,
/// so that a closed handle never means another node.
#[derive(Debug)]
pub struct HandleTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    quota: u32,
}

impl HandleTable {
    /// An empty table for at most `quota` handles.
    pub fn new(quota: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            quota,
        }
    }

    /// Most handles at one time.
    pub fn quota(&self) -> u32 {
        self.quota
    }

    /// Handles in use.
    pub fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// Whether no handle is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives `node` a handle.
    ///
    /// # Errors
    /// `ENFILE` at the quota.
    pub fn insert(&mut self, node: Node) -> Result<HandleId, Errno> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).map_err(|_| Errno::ENFILE)?;
                if index >= self.quota {
                    return Err(Errno::ENFILE);
                }
                self.slots.push(Slot {
                    generation: 1,
                    node: None,
                });
                index
            }
        };
        let slot = self.slot(index).ok_or(Errno::ENFILE)?;
        slot.node = Some(node);
        Ok(HandleId(
            u64::from(slot.generation) << 32 | u64::from(index),
        ))
    }

    /// The node of a handle.
    ///
    /// # Errors
    /// `EBADF` if there is no such handle.
    pub fn get(&self, handle: HandleId) -> Result<&Node, Errno> {
        let (index, generation) = split(handle);
        usize::try_from(index)
            .ok()
            .and_then(|index| self.slots.get(index))
            .filter(|slot| slot.generation == generation)
            .and_then(|slot| slot.node.as_ref())
            .ok_or(Errno::EBADF)
    }

    /// Closes a handle; unknown ones are ignored.
    pub fn remove(&mut self, handle: HandleId) {
        let (index, generation) = split(handle);
        let Some(slot) = self.slot(index) else { return };
        if slot.generation != generation || slot.node.take().is_none() {
            return;
        }
        // A slot whose generations are used up would repeat itself: it stays empty for good.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(index);
        }
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index).ok()?)
    }
}

fn split(handle: HandleId) -> (u32, u32) {
    let HandleId(raw) = handle;
    let low = u32::try_from(raw & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(raw >> 32).unwrap_or(u32::MAX);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        Node {
            fd,
            export: 0,
            file_type: FileType::Regular,
            opaque: false,
        }
    }

    #[test]
    fn closed_handles_stay_dead_when_the_slot_is_used_again() {
        let mut table = HandleTable::new(2);
        let a = table.insert(node()).unwrap();
        table.remove(a);
        let b = table.insert(node()).unwrap();
        assert_ne!(a, b);
        assert_eq!(table.get(a).unwrap_err(), Errno::EBADF);
        assert!(table.get(b).is_ok());
        table.remove(a); // must not close b
        assert!(table.get(b).is_ok());
    }

    #[test]
    fn quota_is_enforced_and_given_back() {
        let mut table = HandleTable::new(2);
        let a = table.insert(node()).unwrap();
        table.insert(node()).unwrap();
        assert_eq!(table.insert(node()).unwrap_err(), Errno::ENFILE);
        table.remove(a);
        assert_eq!(table.len(), 1);
        assert!(table.insert(node()).is_ok());
    }

    #[test]
    fn made_up_handles_are_refused() {
        let mut table = HandleTable::new(2);
        table.insert(node()).unwrap();
        for raw in [0, 1, u64::MAX, 1 << 32 | 7, 2 << 32] {
            assert_eq!(table.get(HandleId(raw)).unwrap_err(), Errno::EBADF);
            table.remove(HandleId(raw));
        }
        assert_eq!(table.len(), 1);
    }
}
