//! Bounded reader and writer for messages. Nothing here panics or trusts a length.

use super::MAX_MESSAGE;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What was wrong with a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message ends inside a field.
    #[error("message is cut short")]
    Truncated,
    /// Bytes are left after the last field.
    #[error("message has bytes after its end")]
    Trailing,
    /// The header's length is not the message's length, or over the limit.
    #[error("message length is wrong")]
    Length,
    /// The operation or reply kind is not known.
    #[error("unknown message kind {0}")]
    Kind(u16),
    /// A path component, link target or attribute name that is not allowed.
    #[error("name is not allowed")]
    Name,
    /// A field holds a value that has no meaning.
    #[error("field {0} has a meaningless value")]
    Value(&'static str),
    /// A list is longer than the protocol allows.
    #[error("list is too long")]
    TooMany,
}

/// The message being written would be longer than [`MAX_MESSAGE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message would be longer than the protocol allows")]
pub struct EncodeError;

/// Takes fields off the front of a received message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not yet taken.
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    /// Takes one fixed-size structure (or integer).
    pub fn get<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<T, DecodeError> {
        let bytes = self.take(size_of::<T>())?;
        T::read_from_bytes(bytes).map_err(|_| DecodeError::Truncated)
    }

    /// Takes a byte string with a 32-bit length of at most `max`.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.get::<u32>()?).map_err(|_| DecodeError::TooMany)?;
        if len > max {
            return Err(DecodeError::TooMany);
        }
        self.take(len)
    }

    /// Takes a byte that must be 0 or 1.
    pub fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.get::<u8>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Value(field)),
        }
    }

    /// Checks that nothing is left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

/// Appends fields to a message. Going over the limit is remembered and reported by
/// [`Writer::finish`], so the fields before need no checks of their own.
#[derive(Debug)]
pub struct Writer<'b> {
    buf: &'b mut Vec<u8>,
    overflow: bool,
}

impl<'b> Writer<'b> {
    /// A writer that replaces what is in `buf` (and keeps its capacity).
    pub fn new(buf: &'b mut Vec<u8>) -> Self {
        buf.clear();
        Self {
            buf,
            overflow: false,
        }
    }

    /// Appends raw bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        if self.overflow || bytes.len() > MAX_MESSAGE.saturating_sub(self.buf.len()) {
            self.overflow = true;
            return;
        }
        self.buf.extend_from_slice(bytes);
    }

    /// Appends one fixed-size structure (or integer).
    pub fn put<T: IntoBytes + Immutable>(&mut self, value: T) {
        self.raw(value.as_bytes());
    }

    /// Appends a byte string with a 32-bit length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        match u32::try_from(bytes.len()) {
            Ok(len) => self.put(len),
            Err(_) => self.overflow = true,
        }
        self.raw(bytes);
    }

    /// Writes the total length into the first four bytes, where both headers keep it.
    pub fn finish(self) -> Result<(), EncodeError> {
        if self.overflow {
            return Err(EncodeError);
        }
        let len = u32::try_from(self.buf.len()).map_err(|_| EncodeError)?;
        let head = self.buf.get_mut(..size_of::<u32>()).ok_or(EncodeError)?;
        head.copy_from_slice(len.as_bytes());
        Ok(())
    }
}
