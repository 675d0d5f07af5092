//! Memory operations as host system calls of the stub.
use std::os::fd::BorrowedFd;

use super::mailbox::Op;
use super::{PAGE, filter};
use crate::{Error, GUEST_END, GUEST_START, MemOp, Prot, RESIDENT_MAX, Result};

/// Advice that is harmless: see [`filter::ADVICE`].
fn advice_allowed(advice: i32) -> bool {
    u64::try_from(advice).is_ok_and(|a| filter::ADVICE.contains(&a))
}

/// Whether `[addr, addr + len)` is page-aligned and inside the guest range.
fn in_guest(addr: u64, len: u64) -> bool {
    addr.is_multiple_of(PAGE)
        && len.is_multiple_of(PAGE)
        && addr >= GUEST_START
        && addr.checked_add(len).is_some_and(|end| end <= GUEST_END)
}

/// Translates one operation; `None` if it leaves the guest range or is malformed.
pub(crate) fn encode<'a>(op: &MemOp<'a>) -> Option<(Op, Option<BorrowedFd<'a>>)> {
    let prot_bits = |p: Prot| u64::from(p.bits());
    let call = |number: i64, args: [u64; 6]| Op {
        number: number.cast_unsigned(),
        args,
        with_fd: 0,
    };
    Some(match *op {
        MemOp::MapAnon { addr, len, prot } => {
            let flags =
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
            let args = [addr, len, prot_bits(prot), flags as u64, u64::MAX, 0];
            (in_guest(addr, len)).then(|| (call(libc::SYS_mmap, args), None))?
        }
        MemOp::MapFile {
            addr,
            len,
            prot,
            fd,
            offset,
            shared,
            common: _,
        } => {
            let kind = if shared {
                libc::MAP_SHARED
            } else {
                libc::MAP_PRIVATE
            };
            let flags = kind | libc::MAP_FIXED | libc::MAP_NORESERVE;
            let args = [addr, len, prot_bits(prot), flags as u64, 0, offset];
            let op = Op {
                with_fd: 1,
                ..call(libc::SYS_mmap, args)
            };
            (in_guest(addr, len) && offset.is_multiple_of(PAGE)).then_some((op, Some(fd)))?
        }
        MemOp::Unmap { addr, len } => {
            in_guest(addr, len).then(|| (call(libc::SYS_munmap, [addr, len, 0, 0, 0, 0]), None))?
        }
        MemOp::Protect { addr, len, prot } => {
            let args = [addr, len, prot_bits(prot), 0, 0, 0];
            in_guest(addr, len).then(|| (call(libc::SYS_mprotect, args), None))?
        }
        MemOp::Remap {
            addr,
            old_len,
            new_addr,
            new_len,
            keep_old,
        } => {
            let mut flags = 0;
            if new_addr != addr {
                flags |= libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            }
            if keep_old {
                flags |= libc::MREMAP_DONTUNMAP | libc::MREMAP_MAYMOVE;
            }
            let args = [addr, old_len, new_len, flags as u64, new_addr, 0];
            (in_guest(addr, old_len) && in_guest(new_addr, new_len))
                .then(|| (call(libc::SYS_mremap, args), None))?
        }
        MemOp::Advise { addr, len, advice } => {
            let args = [addr, len, u64::from(advice.cast_unsigned()), 0, 0, 0];
            (in_guest(addr, len) && advice_allowed(advice))
                .then(|| (call(libc::SYS_madvise, args), None))?
        }
        MemOp::Vdso {
            addr,
            len,
            callable,
        } => {
            let prot = if callable {
                Prot::READ | Prot::EXEC
            } else {
                // Dynamic linkers still read its symbols.
                Prot::READ
            };
            let args = [addr, len, prot_bits(prot), 0, 0, 0];
            (addr >= GUEST_END).then(|| (call(libc::SYS_mprotect, args), None))?
        }
        // Their place, and where the bytes are, is the backend's business.
        MemOp::Window { .. } | MemOp::Write { .. } => return None,
        MemOp::Membarrier { command } => {
            let command = u64::try_from(command).ok()?;
            filter::BARRIERS
                .contains(&command)
                .then(|| (call(libc::SYS_membarrier, [command, 0, 0, 0, 0, 0]), None))?
        }
    })
}

/// The operations that put the beginning of a file into the window at `addr`, the first of which takes the file's descriptor; or that empty it.
pub(crate) fn window(addr: u64, len: u64, has_file: bool, writable: bool) -> Option<Vec<Op>> {
    let op = |number: i64, args: [u64; 6], with_fd| Op {
        number: number.cast_unsigned(),
        args,
        with_fd,
    };
    if len == 0 || len > crate::WINDOW_LEN || !len.is_multiple_of(PAGE) {
        return None;
    }
    if !has_file {
        return Some(vec![op(libc::SYS_munmap, [addr, len, 0, 0, 0, 0], 0)]);
    }
    let prot = if writable {
        Prot::READ | Prot::WRITE
    } else {
        Prot::READ
    };
    let flags = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE;
    let args = [addr, len, prot.bits().into(), flags as u64, 0, 0];
    let alone = [addr, len, libc::MADV_DONTFORK as u64, 0, 0, 0];
    Some(vec![
        op(libc::SYS_mmap, args, 1),
        op(libc::SYS_madvise, alone, 0),
    ])
}

/// The operation that asks which pages from `addr` on are in memory, the answers going to `to`, and how many answers there are.
pub(crate) fn ask_resident(addr: u64, pages: &[u8], to: u64) -> Result<(Op, usize)> {
    let count = pages.len().min(RESIDENT_MAX);
    let len = count as u64 * PAGE;
    if count == 0 || !in_guest(addr, len) {
        return Err(Error::Op {
            index: 0,
            errno: libc::EINVAL,
        });
    }
    let op = Op {
        number: libc::SYS_mincore.cast_unsigned(),
        args: [addr, len, to, 0, 0, 0],
        with_fd: 0,
    };
    Ok((op, count))
}

/// The result of a host system call that returns 0 or an address.
pub(crate) fn result(ret: i64) -> Result<()> {
    match i32::try_from(-ret) {
        Ok(errno @ 1..4096) => Err(Error::Op { index: 0, errno }),
        _ => Ok(()),
    }
}
