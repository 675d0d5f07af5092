//! Where file data goes to and comes from: guest iovecs or the sentry's own buffers.

use super::{GuestMemory, UserPtr};
use crate::abi::{Errno, Result};

/// Most bytes one read or write call moves (`MAX_RW_COUNT` in fs.h).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;
/// One past the highest address of a guest (`TASK_SIZE_MAX`).
const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// EFAULT if a buffer does not lie in the guest's half of the address space, whatever is mapped there (`access_ok`).
pub fn access_ok(addr: u64, len: usize) -> Result<()> {
    match addr.checked_add(len as u64) {
        Some(end) if end <= TASK_SIZE => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Most iovecs in one call.
pub const UIO_MAXIOV: usize = 1024;

/// Takes bytes in order.
pub trait Sink {
    /// Bytes still wanted.
    fn remaining(&self) -> usize;
    /// Takes a prefix of `data`; how many bytes were taken (fewer at the end or before an unmapped page).
    ///
    /// # Errors
    /// EFAULT if not even one byte could be taken although `remaining() > 0` and `data` is not empty.
    fn put(&mut self, data: &[u8]) -> Result<usize>;
}

/// Gives bytes in order.
pub trait Source {
    /// Bytes still to come.
    fn remaining(&self) -> usize;
    /// Fills a prefix of `buf`; how many bytes were given.
    ///
    /// # Errors
    /// EFAULT if not even one byte could be given although `remaining() > 0` and `buf` is not empty.
    fn take(&mut self, buf: &mut [u8]) -> Result<usize>;
    /// Goes back by `n` bytes that were taken but could not be used.
    fn unread(&mut self, n: usize);
}

/// A cursor over guest buffers; both [`Sink`] and [`Source`].
pub struct IoVecs<'a> {
    mem: &'a dyn GuestMemory,
    parts: smallvec::SmallVec<[(u64, usize); 4]>,
    /// Bytes already moved.
    done: usize,
    total: usize,
}

impl<'a> IoVecs<'a> {
    /// One buffer. Lengths over [`MAX_RW_COUNT`] are cut, as in Linux.
    pub fn single(mem: &'a dyn GuestMemory, addr: u64, len: usize) -> IoVecs<'a> {
        let len = len.min(MAX_RW_COUNT);
        IoVecs {
            mem,
            parts: smallvec::smallvec![(addr, len)],
            done: 0,
            total: len,
        }
    }

    /// Reads `count` `struct iovec` at `addr`.
    ///
    /// # Errors
    /// EINVAL for more than [`UIO_MAXIOV`] or a negative length; EFAULT.
    pub fn read(mem: &'a dyn GuestMemory, addr: u64, count: usize) -> Result<IoVecs<'a>> {
        if count > UIO_MAXIOV {
            return Err(Errno::EINVAL);
        }
        let raw: Vec<[u64; 2]> = mem.get_array(UserPtr::new(addr), count)?;
        let mut parts = smallvec::SmallVec::new();
        let mut total = 0usize;
        for [base, len] in raw {
            if i64::try_from(len).is_err() {
                return Err(Errno::EINVAL);
            }
            let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
            access_ok(base, len)?;
            let len = len.min(MAX_RW_COUNT - total);
            total += len;
            parts.push((base, len));
        }
        Ok(IoVecs {
            mem,
            parts,
            done: 0,
            total,
        })
    }

    /// Bytes moved so far.
    pub fn done(&self) -> usize {
        self.done
    }
    /// Passes over the next `n` bytes (at most all): an earlier run of the call moved them.
    pub fn skip(&mut self, n: usize) {
        self.done = self.done.saturating_add(n).min(self.total);
    }
    /// Limits the whole to `max` bytes.
    pub fn truncate(&mut self, max: usize) {
        self.total = self.total.min(max.max(self.done));
    }

    /// The contiguous guest range at the cursor: address and length (0 at the end).
    fn here(&self) -> (u64, usize) {
        let mut skip = self.done;
        let left = self.total - self.done;
        for (addr, len) in &self.parts {
            if skip < *len {
                return (addr.wrapping_add(skip as u64), (len - skip).min(left));
            }
            skip -= len;
        }
        (0, 0)
    }
}

impl Sink for IoVecs<'_> {
    fn remaining(&self) -> usize {
        self.total - self.done
    }
    fn put(&mut self, data: &[u8]) -> Result<usize> {
        let mut n = 0;
        while let Some(rest) = data.get(n..).filter(|r| !r.is_empty()) {
            let (addr, len) = self.here();
            if len == 0 {
                break;
            }
            let part = rest.get(..len.min(rest.len())).unwrap_or(rest);
            self.mem.prepare(self.done, addr, part.len(), len);
            let did = self.mem.write_partial(addr, part).min(part.len());
            n += did;
            self.done += did;
            if did < part.len() {
                if n == 0 {
                    return Err(Errno::EFAULT);
                }
                break;
            }
        }
        Ok(n)
    }
}

impl Source for IoVecs<'_> {
    fn remaining(&self) -> usize {
        self.total - self.done
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut n = 0;
        while let Some(rest) = buf.get_mut(n..).filter(|r| !r.is_empty()) {
            let (addr, len) = self.here();
            if len == 0 {
                break;
            }
            let want = len.min(rest.len());
            let Some(part) = rest.get_mut(..want) else {
                break;
            };
            let did = self.mem.read_partial(addr, part).min(want);
            n += did;
            self.done += did;
            if did < want {
                if n == 0 {
                    return Err(Errno::EFAULT);
                }
                break;
            }
        }
        Ok(n)
    }
    fn unread(&mut self, n: usize) {
        self.done = self.done.saturating_sub(n);
    }
}

/// Collects into a vector of the sentry's, at most `limit` bytes.
pub struct KernelSink {
    /// What arrived.
    pub data: Vec<u8>,
    limit: usize,
}

impl KernelSink {
    /// Takes at most `limit` bytes.
    pub fn new(limit: usize) -> KernelSink {
        KernelSink {
            data: Vec::new(),
            limit,
        }
    }
}

impl Sink for KernelSink {
    fn remaining(&self) -> usize {
        self.limit.saturating_sub(self.data.len())
    }
    fn put(&mut self, data: &[u8]) -> Result<usize> {
        let n = data.len().min(self.remaining());
        self.data.extend_from_slice(data.get(..n).unwrap_or(&[]));
        Ok(n)
    }
}

/// Gives the bytes of a slice of the sentry's.
pub struct KernelSource<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> KernelSource<'a> {
    /// From the start of `data`.
    pub fn new(data: &'a [u8]) -> KernelSource<'a> {
        KernelSource { data, at: 0 }
    }
}

impl Source for KernelSource<'_> {
    fn remaining(&self) -> usize {
        self.data.len().saturating_sub(self.at)
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.remaining());
        let from = self.data.get(self.at..self.at + n).unwrap_or(&[]);
        if let Some(to) = buf.get_mut(..n) {
            to.copy_from_slice(from);
        }
        self.at += n;
        Ok(n)
    }
    fn unread(&mut self, n: usize) {
        self.at = self.at.saturating_sub(n);
    }
}
