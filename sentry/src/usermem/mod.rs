//! The one way to guest bytes: typed guest addresses, and copies that say how far they got.
//!
//! Nothing dereferences a guest address. Reads are lazy, as in Linux: `read(fd, NULL, 1)` at end of file is 0.

mod buffer;
mod byte_queue;
mod io;

pub use buffer::with_buffer;
pub use byte_queue::{ByteQueue, CHUNK, Segment, put_all};
pub use io::{IoVecs, KernelSink, KernelSource, MAX_RW_COUNT, Sink, Source, UIO_MAXIOV, access_ok};

use crate::abi::{Errno, Result};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Bytes of a string that need no allocation.
const TEXT_INLINE: usize = 256;
/// A string of the guest's; short ones without allocation.
pub type PathText = smallvec::SmallVec<[u8; TEXT_INLINE]>;

/// Guest memory of one address space. Copies honour protections and stop at the first byte that cannot be accessed.
pub trait GuestMemory: Send + Sync {
    /// Copies from the guest; returns how many leading bytes could be read.
    fn read_partial(&self, addr: u64, buf: &mut [u8]) -> usize;
    /// Copies to the guest; returns how many leading bytes could be written.
    fn write_partial(&self, addr: u64, buf: &[u8]) -> usize;
    /// The caller, who holds no lock of an object, is about to write `len` bytes at `addr`, having written `done` of the same call's: their pages may be made
    /// now, and those of what may follow, up to `room` bytes.
    fn prepare(&self, _done: usize, _addr: u64, _len: usize, _room: usize) {}
}

impl dyn GuestMemory + '_ {
    /// Fills `buf` or fails with EFAULT.
    pub fn read_bytes(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        if self.read_partial(addr, buf) == buf.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }
    /// Writes all of `buf` or fails with EFAULT (a prefix may have been written).
    pub fn write_bytes(&self, addr: u64, buf: &[u8]) -> Result<()> {
        if self.write_partial(addr, buf) == buf.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }
    /// Reads one value.
    pub fn get<T: FromBytes + IntoBytes>(&self, ptr: UserPtr<T>) -> Result<T> {
        let mut v = T::new_zeroed();
        self.read_bytes(ptr.addr(), v.as_mut_bytes())?;
        Ok(v)
    }
    /// Writes one value.
    pub fn put<T: IntoBytes + Immutable>(&self, ptr: UserPtr<T>, value: &T) -> Result<()> {
        self.write_bytes(ptr.addr(), value.as_bytes())
    }
    /// Writes one value unless the pointer is null.
    pub fn put_opt<T: IntoBytes + Immutable>(&self, ptr: UserPtr<T>, value: &T) -> Result<()> {
        if ptr.is_null() {
            Ok(())
        } else {
            self.put(ptr, value)
        }
    }
    /// Reads `count` values; the caller has bounded `count`.
    pub fn get_array<T: FromBytes + IntoBytes + FromZeros + Clone>(
        &self,
        ptr: UserPtr<T>,
        count: usize,
    ) -> Result<Vec<T>>
    where
        [T]: IntoBytes + FromBytes,
    {
        let mut v = vec![T::new_zeroed(); count];
        self.read_bytes(ptr.addr(), v.as_mut_slice().as_mut_bytes())?;
        Ok(v)
    }
    /// Writes all values.
    pub fn put_array<T: Immutable>(&self, ptr: UserPtr<T>, values: &[T]) -> Result<()>
    where
        [T]: IntoBytes,
    {
        self.write_bytes(ptr.addr(), values.as_bytes())
    }
    /// Reads a NUL-terminated string of at most `max` bytes including the NUL.
    ///
    /// # Errors
    /// EFAULT; ENAMETOOLONG if there is no NUL within `max` bytes.
    pub fn read_cstr(&self, s: UserStr, max: usize) -> Result<Vec<u8>> {
        self.read_text(s, max).map(PathText::into_vec)
    }
    /// Reads a path: at most PATH_MAX (4096) bytes with its NUL.
    pub fn read_path(&self, s: UserStr) -> Result<PathText> {
        self.read_text(s, 4096)
    }
    fn read_text(&self, s: UserStr, max: usize) -> Result<PathText> {
        let mut out = PathText::new();
        let mut addr = s.addr();
        while out.len() < max {
            // Up to the end of the page, so that a string that ends before an unmapped page is read whole.
            let room = 4096 - usize::try_from(addr % 4096).unwrap_or(0);
            let old = out.len();
            let want = room
                .min(max - old)
                .min(if old == 0 { TEXT_INLINE } else { 4096 });
            out.resize(old + want, 0);
            let fresh = out.get_mut(old..).unwrap_or_default();
            let got = self.read_partial(addr, fresh).min(want);
            let bytes = fresh.get(..got).unwrap_or_default();
            if let Some(nul) = bytes.iter().position(|b| *b == 0) {
                out.truncate(old + nul);
                return Ok(out);
            }
            if got < want {
                return Err(Errno::EFAULT);
            }
            addr = addr.checked_add(got as u64).ok_or(Errno::EFAULT)?;
        }
        Err(Errno::ENAMETOOLONG)
    }
}

/// Address of a `T` in the guest; may be anything.
#[derive(Debug)]
pub struct UserPtr<T>(u64, std::marker::PhantomData<fn() -> T>);

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserPtr<T> {}

impl<T> UserPtr<T> {
    /// From a raw guest address.
    pub fn new(addr: u64) -> Self {
        UserPtr(addr, std::marker::PhantomData)
    }
    /// The raw address.
    pub fn addr(self) -> u64 {
        self.0
    }
    /// Whether it is 0.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
    /// The address of element `n` of an array that starts here (wrapping; a wild address faults on use).
    pub fn offset(self, n: usize) -> Self {
        UserPtr::new(
            self.0
                .wrapping_add((n as u64).wrapping_mul(size_of::<T>() as u64)),
        )
    }
    /// `None` if null.
    pub fn non_null(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }
    /// The same address as a pointer to another type.
    pub fn cast<U>(self) -> UserPtr<U> {
        UserPtr::new(self.0)
    }
}

/// Address of a NUL-terminated string in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserStr(pub u64);

impl UserStr {
    /// The raw address.
    pub fn addr(self) -> u64 {
        self.0
    }
    /// Whether it is 0.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}
