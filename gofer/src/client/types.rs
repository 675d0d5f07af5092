//! What calls return.

use super::{GoferError, Handle};
use crate::protocol::{Attr, FileType, WalkStop};
use std::os::fd::OwnedFd;

/// A node found or made.
#[derive(Debug)]
pub struct NodeRef {
    /// Its handle.
    pub handle: Handle,
    /// Its attributes at that moment.
    pub attr: Attr,
}

/// Result of a walk.
#[derive(Debug)]
pub struct Walked {
    /// The nodes found, one a component, in order.
    pub nodes: Vec<NodeRef>,
    /// Why there are not more.
    pub stop: WalkStop,
    /// Target of the last node if that is a symbolic link.
    pub link: Option<Vec<u8>>,
    /// Result of opening the last node, if that was asked for and it is a regular file.
    pub open: Option<Result<OwnedFd, GoferError>>,
}

/// A file created (or opened instead) and its descriptor.
#[derive(Debug)]
pub struct Created {
    /// The file.
    pub node: NodeRef,
    /// Whether it is new.
    pub created: bool,
    /// Its descriptor, with exactly the access mode asked for.
    pub fd: OwnedFd,
}

/// One directory entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name; never `.`, `..` or anything with a slash.
    pub name: Vec<u8>,
    /// Cursor from which reading goes on after this entry.
    pub next: u64,
    /// Inode number.
    pub ino: u64,
    /// Type, if it could be found out.
    pub file_type: Option<FileType>,
    /// Attributes, if they could be read.
    pub attr: Option<Attr>,
}

/// Some entries of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirBatch {
    /// The entries in the host's order.
    pub entries: Vec<DirEntry>,
    /// Whether they were the last ones. If not, go on from the last entry's cursor.
    pub eof: bool,
}
