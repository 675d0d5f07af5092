//! `struct msghdr` in guest memory.

use super::address;
use crate::abi::{Errno, Result};
use crate::kernel::Cx;
use crate::usermem::{UIO_MAXIOV, UserPtr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct msghdr` (user_msghdr in Linux).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct MsgHdr {
    name: u64,
    name_len: i32,
    _pad: u32,
    iov: u64,
    iov_len: u64,
    pub control: u64,
    pub control_len: u64,
    pub flags: u32,
    _pad2: u32,
}

/// `struct mmsghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct MMsgHdr {
    pub hdr: MsgHdr,
    pub len: u32,
    _pad: u32,
}

impl MsgHdr {
    /// Reads and checks a header.
    ///
    /// # Errors
    /// EINVAL for a negative name length; EMSGSIZE for too many iovecs; EFAULT.
    pub fn read(cx: &Cx<'_>, ptr: UserPtr<MsgHdr>) -> Result<MsgHdr> {
        let mut h = cx.mem().get(ptr)?;
        if h.name == 0 {
            h.name_len = 0;
        }
        if h.name_len < 0 {
            return Err(Errno::EINVAL);
        }
        h.name_len = h.name_len.min(128);
        if h.iov_len > UIO_MAXIOV as u64 {
            return Err(Errno::EMSGSIZE);
        }
        Ok(h)
    }
    /// Address of the iovec array.
    pub fn iov_addr(&self) -> u64 {
        self.iov
    }
    /// Its length, at most UIO_MAXIOV.
    pub fn iov_count(&self) -> u64 {
        self.iov_len
    }
    /// The destination, if there is one.
    pub fn destination(&self, cx: &Cx<'_>) -> Result<Option<Vec<u8>>> {
        if self.name == 0 || self.name_len == 0 {
            return Ok(None);
        }
        address::read(cx, UserPtr::new(self.name), self.name_len).map(Some)
    }
    /// Writes the sender's address and its length.
    pub fn put_source(&self, cx: &Cx<'_>, ptr: UserPtr<MsgHdr>, from: Option<&[u8]>) -> Result<()> {
        let from = from.unwrap_or(&[]);
        let room = usize::try_from(self.name_len).unwrap_or(0);
        if self.name == 0 {
            return Ok(());
        }
        cx.mem()
            .write_bytes(self.name, from.get(..room).unwrap_or(from))?;
        let len = i32::try_from(from.len()).unwrap_or(0);
        cx.mem().put(field(ptr, 8), &len)
    }
    /// Writes what was received beside data: length of control messages, and flags.
    pub fn put_result(
        cx: &Cx<'_>,
        ptr: UserPtr<MsgHdr>,
        control_len: usize,
        flags: u32,
    ) -> Result<()> {
        cx.mem().put(field(ptr, 48), &flags)?;
        cx.mem().put(field(ptr, 40), &(control_len as u64))
    }
}

/// A field of the header at `ptr`.
fn field<T>(ptr: UserPtr<MsgHdr>, offset: u64) -> UserPtr<T> {
    UserPtr::new(ptr.addr().wrapping_add(offset))
}

impl MMsgHdr {
    /// The header inside element `i` of a vector.
    pub fn header(vec: UserPtr<MMsgHdr>, i: usize) -> UserPtr<MsgHdr> {
        vec.offset(i).cast()
    }
    /// Writes the length of element `i`.
    pub fn put_len(cx: &Cx<'_>, vec: UserPtr<MMsgHdr>, i: usize, len: u32) -> Result<()> {
        let at = vec
            .offset(i)
            .addr()
            .wrapping_add(size_of::<MsgHdr>() as u64);
        cx.mem().put(UserPtr::new(at), &len)
    }
}
