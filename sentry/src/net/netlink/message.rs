//! Netlink messages: headers, attributes, and building them (linux/netlink.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// NLM_F_REQUEST, _MULTI, _ACK, and both bits of a dump.
pub(super) const REQUEST: u16 = 1;
pub(super) const MULTI: u16 = 2;
pub(super) const ACK: u16 = 4;
pub(super) const DUMP: u16 = 0x300;
/// NLMSG_ERROR, NLMSG_DONE.
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;

/// `struct nlmsghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub len: u32,
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    pub port: u32,
}

/// One message of a request: its header and what follows. `None` at the end or at a malformed one.
pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Option<(Header, &'a [u8])> {
    let (header, _) = Header::read_from_prefix(rest).ok()?;
    let len = usize::try_from(header.len).ok()?;
    let body = rest.get(size_of::<Header>()..len)?;
    *rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    Some((header, body))
}

/// An attribute's payload.
pub(super) fn attribute(mut attrs: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let (len, rest) = u16::read_from_prefix(attrs).ok()?;
        let (this, _) = u16::read_from_prefix(rest).ok()?;
        let len = usize::from(len);
        let data = attrs.get(4..len)?;
        // NLA_TYPE_MASK.
        if this & 0x3fff == kind {
            return Some(data);
        }
        attrs = attrs.get(len.next_multiple_of(4)..)?;
    }
}

/// Builds one message.
pub(super) struct Builder(Vec<u8>);

impl Builder {
    /// A message that answers `to`.
    pub fn new(to: &Header, port: u32, kind: u16, flags: u16) -> Builder {
        let header = Header {
            len: 0,
            kind,
            flags,
            seq: to.seq,
            port,
        };
        Builder(header.as_bytes().to_vec())
    }
    /// Appends raw bytes (the family's own header).
    pub fn raw(mut self, bytes: &[u8]) -> Builder {
        self.0.extend_from_slice(bytes);
        self
    }
    /// Fills up to a multiple of four bytes.
    pub fn pad(mut self) -> Builder {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
    /// Appends an attribute.
    pub fn attr(mut self, kind: u16, data: &[u8]) -> Builder {
        let len = u16::try_from(data.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(len.as_bytes());
        self.0.extend_from_slice(kind.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
    /// Appends a 32-bit attribute.
    pub fn attr32(self, kind: u16, value: u32) -> Builder {
        self.attr(kind, value.as_bytes())
    }
    /// The message, its length filled in.
    pub fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(f) = self.0.get_mut(..4) {
            f.copy_from_slice(len.as_bytes());
        }
        self.0
    }
}
