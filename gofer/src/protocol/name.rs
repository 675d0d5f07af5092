//! One checked path component, and lists of them.
//!
//! A [`Name`] is never empty, `.`, `..`, longer than 255 bytes, and holds neither `/` nor NUL:
//! whatever the host does with it, it names an entry of the directory it is looked up in.

use super::codec::{DecodeError, Reader};
use super::{MAX_NAME, MAX_WALK};
use std::ffi::CStr;
use std::fmt;

/// One path component that is safe to hand to the host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Name`] if it is empty, `.`, `..`, too long, or holds `/` or NUL.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let dots = matches!(bytes, b"." | b"..");
        if bytes.is_empty()
            || bytes.len() > MAX_NAME
            || dots
            || bytes.iter().any(|b| matches!(b, b'/' | 0))
        {
            return Err(DecodeError::Name);
        }
        Ok(Self(bytes))
    }

    /// The component's bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// A NUL-terminated copy for system calls.
    pub fn to_c(self) -> CName {
        let mut buf = [0; MAX_NAME + 1];
        for (to, from) in buf.iter_mut().zip(self.0) {
            *to = *from;
        }
        CName(buf)
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let len = reader.get::<u8>()?;
        Self::new(reader.take(usize::from(len))?)
    }

    pub(super) fn wire_len(self) -> u8 {
        // `new` keeps the length within 255.
        u8::try_from(self.0.len()).unwrap_or(u8::MAX)
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.0))
    }
}

/// A NUL-terminated component on the stack.
pub struct CName([u8; MAX_NAME + 1]);

impl CName {
    /// The name as a C string.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// A list of at most [`MAX_WALK`] components, as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    count: u16,
    wire: &'a [u8],
}

impl<'a> Names<'a> {
    /// How many components.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The components in order.
    pub fn iter(&self) -> impl Iterator<Item = Name<'a>> + use<'a> {
        let mut reader = Reader::new(self.wire);
        std::iter::from_fn(move || Name::read(&mut reader).ok())
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.get::<u16>()?;
        if usize::from(count) > MAX_WALK {
            return Err(DecodeError::TooMany);
        }
        let start = reader.remaining();
        for _ in 0..count {
            Name::read(reader)?;
        }
        let used = start.len().saturating_sub(reader.remaining().len());
        let wire = start.get(..used).ok_or(DecodeError::Truncated)?;
        Ok(Self { count, wire })
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    pub(super) fn wire(&self) -> &'a [u8] {
        self.wire
    }
}

/// Builds the list for a walk.
#[derive(Debug, Clone, Default)]
pub struct NamesBuf {
    count: u16,
    wire: Vec<u8>,
}

impl NamesBuf {
    /// Checks and collects components.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`] for more than [`MAX_WALK`], [`DecodeError::Name`] for one that is
    /// not allowed.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n [u8]>) -> Result<Self, DecodeError> {
        let mut buf = Self::default();
        for name in names {
            buf.push(Name::new(name)?)?;
        }
        Ok(buf)
    }

    /// Adds a component.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`] if the list is full.
    pub fn push(&mut self, name: Name<'_>) -> Result<(), DecodeError> {
        if usize::from(self.count) >= MAX_WALK {
            return Err(DecodeError::TooMany);
        }
        self.count = self.count.saturating_add(1);
        self.wire.push(name.wire_len());
        self.wire.extend_from_slice(name.as_bytes());
        Ok(())
    }

    /// The list as a message field.
    pub fn as_names(&self) -> Names<'_> {
        Names {
            count: self.count,
            wire: &self.wire,
        }
    }
}
