//! Structures of the IPC calls as bytes (`asm-generic/ipcbuf.h`, `shmbuf.h`, `sembuf.h`, `msgbuf.h`).

use crate::abi::Result;
use crate::auth::UserNamespace;
use crate::kernel::ipc::Perm;
use crate::usermem::{GuestMemory, UserPtr};

/// Builds a structure field by field, in the machine's byte order.
#[derive(Default)]
pub(super) struct Words(pub Vec<u8>);

impl Words {
    pub fn u16(mut self, v: u16) -> Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    pub fn i32(mut self, v: i32) -> Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    pub fn u32(mut self, v: u32) -> Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    pub fn u64(mut self, v: u64) -> Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    pub fn i64(self, v: i64) -> Self {
        self.u64(v.cast_unsigned())
    }
    /// `struct ipc64_perm`, 48 bytes.
    pub fn perm(self, reader: &UserNamespace, p: &Perm) -> Self {
        self.i32(p.key)
            .u32(reader.show_user(p.uid))
            .u32(reader.show_group(p.gid))
            .u32(reader.show_user(p.cuid))
            .u32(reader.show_group(p.cgid))
            .u32(p.mode)
            .u32(p.seq.cast_unsigned() & 0xffff)
            .u32(0)
            .u64(0)
            .u64(0)
    }
    /// Writes it to the guest.
    pub fn put(&self, mem: &dyn GuestMemory, at: u64) -> Result<()> {
        mem.write_bytes(at, &self.0)
    }
}

/// uid, gid and mode of a `struct ipc64_perm` for IPC_SET.
pub(super) fn read_perm(mem: &dyn GuestMemory, at: u64) -> Result<(u32, u32, u32)> {
    let [_, uid, gid, _, _, mode] = mem.get(UserPtr::<[u32; 6]>::new(at))?;
    Ok((uid, gid, mode))
}
