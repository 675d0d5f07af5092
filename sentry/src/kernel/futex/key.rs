//! What a futex is, apart from its address.

use crate::abi::{Errno, Result};
use crate::mm::{Backing, MemoryManager};
use crate::usermem::GuestMemory;
use crate::vfs::{InodeRef, MapSource};
use cofferdam_platform::GUEST_END;
use std::sync::Arc;

/// Identity of a futex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// FUTEX_PRIVATE_FLAG: address space and address.
    Private(u64, u64),
    /// Without the flag, but in private memory: address space and address.
    Mm(u64, u64),
    /// In shared anonymous memory: object and offset.
    Anon(u64, u64),
    /// In a shared file mapping: inode (by address, kept alive by the waiter) and offset.
    Inode(usize, u64),
}

/// A key with what keeps it from being given to another object.
pub struct Target {
    /// Identity.
    pub key: Key,
    /// The inode of an [`Key::Inode`].
    pub keep: Option<InodeRef>,
}

/// The futex at `addr`; `shared` without FUTEX_PRIVATE_FLAG.
///
/// # Errors
/// EINVAL if it is not aligned; EFAULT.
pub fn target(mm: &MemoryManager, addr: u64, shared: bool) -> Result<Target> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if addr > GUEST_END - 4 {
        return Err(Errno::EFAULT);
    }
    let plain = |key| Target { key, keep: None };
    if !shared {
        return Ok(plain(Key::Private(mm.id(), addr)));
    }
    // Linux wants the page to be there; what is not in the list may be a stack's reserve.
    let memory: &dyn GuestMemory = mm;
    memory.read_bytes(addr, &mut [0; 4])?;
    let Some(vma) = mm.find_vma(addr) else {
        return Ok(plain(Key::Mm(mm.id(), addr)));
    };
    let offset = vma.offset().wrapping_add(addr - vma.start);
    Ok(match &vma.backing {
        Backing::SharedAnon { mem, .. } => plain(Key::Anon(mem.ino(), offset)),
        Backing::File {
            file,
            source: MapSource::Host(_),
            ..
        } if vma.shared() => {
            let inode = file.inode().clone();
            Target {
                key: Key::Inode(Arc::as_ptr(&inode).addr(), offset),
                keep: Some(inode),
            }
        }
        _ => plain(Key::Mm(mm.id(), addr)),
    })
}
