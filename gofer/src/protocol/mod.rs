//! The wire protocol between the sentry (client) and the gofer (server).
//!
//! One `SOCK_SEQPACKET` message is one request or one reply; a reply may carry one descriptor.
//! Integers are in host byte order: both ends run on one machine. Every message starts with a
//! header that repeats its length, and decoding refuses trailing bytes, so there is exactly one
//! encoding of each message. Decoding borrows from the received buffer and never allocates.
//!
//! - [`codec`]: bounded reader and writer, and what can be wrong with a message.
//! - [`attr`]: file attributes and file system statistics.
//! - [`name`]: one checked path component, and lists of them.
//! - [`request`], [`reply`]: the messages.

pub mod attr;
pub mod codec;
pub mod name;
pub mod reply;
pub mod request;

pub use attr::{Attr, FileType, FsStat, SetAttr, SetAttrMask, TimeSpec};
pub use codec::{DecodeError, EncodeError};
pub use name::{Name, Names, NamesBuf};
pub use reply::{
    DirEntries, DirEntriesBuf, DirEntryRef, Nodes, Reply, ReplyHeader, WalkStop, WireNode,
};
pub use request::{
    Access, LinkTarget, OpenFlags, Owner, ProcessFile, RenameFlags, Request, RequestHeader,
    XattrName, XattrValue,
};

/// Version of the protocol; both ends must speak the same one.
pub const VERSION: u32 = 2;
/// First word of [`Request::Hello`].
pub const MAGIC: u32 = 0x4346_4446; // "CFDF"
/// Longest message in either direction, in bytes. Holds the largest extended attribute of Linux
/// (64 KiB, `XATTR_SIZE_MAX`) with its headers.
pub const MAX_MESSAGE: usize = 68 * 1024;
/// Most path components in one walk.
pub const MAX_WALK: usize = 256;
/// Most handles closed by one request.
pub const MAX_CLOSES: usize = 1024;
/// Longest path component (`NAME_MAX`).
pub const MAX_NAME: usize = 255;
/// Longest symbolic link target (`PATH_MAX` less its terminator).
pub const MAX_LINK: usize = 4095;
/// Longest extended attribute value (`XATTR_SIZE_MAX`).
pub const MAX_XATTR_VALUE: usize = 64 * 1024;

/// Names one node on one connection. Chosen by the server, never reused on that connection.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(transparent)]
pub struct HandleId(pub u64);
