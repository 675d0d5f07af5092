//! Attributes: conversion between the gofer's form and the VFS's, and how long they count.

use super::GoferFs;
use crate::time::Instant;
use crate::vfs::{FileType, SetAttr, SetTime, Stat, StatFs, Timestamp};
use cofferdam_gofer::protocol::{self, Attr, FsStat, SetAttrMask, TimeSpec};

/// How long attributes of a shared tree count unless something was changed through it: long enough for the system call that
/// looked the file up, short enough that nobody sees the host's changes late.
const FRESH_NS: u64 = 1_000_000;

/// Attributes, and when they were true.
#[derive(Clone, Copy)]
pub(super) struct Cached {
    pub attr: Attr,
    at: Instant,
    changes: u64,
}

impl Cached {
    /// Attributes that were asked for when `changes` was the number of changes.
    pub fn new(attr: Attr, changes: u64) -> Cached {
        Cached {
            attr,
            at: Instant::now(),
            changes,
        }
    }
    /// Whether they still count.
    pub fn fresh(&self, fs: &GoferFs) -> bool {
        fs.immutable() || (self.changes == fs.changes() && self.at.elapsed() < FRESH_NS)
    }
}

/// The VFS's name of a file type.
pub(super) fn file_type(t: protocol::FileType) -> FileType {
    match t {
        protocol::FileType::Regular => FileType::Regular,
        protocol::FileType::Directory => FileType::Directory,
        protocol::FileType::Symlink => FileType::Symlink,
        protocol::FileType::Fifo => FileType::Fifo,
        protocol::FileType::Socket => FileType::Socket,
        protocol::FileType::CharDevice => FileType::CharDevice,
        protocol::FileType::BlockDevice => FileType::BlockDevice,
    }
}

fn time(t: TimeSpec) -> Timestamp {
    Timestamp {
        sec: t.sec,
        nsec: t.nsec,
    }
}

/// Attributes as the guest sees them.
pub(super) fn to_stat(fs: &GoferFs, attr: &Attr) -> Stat {
    Stat {
        dev: fs.device(attr.dev),
        ino: attr.ino,
        file_type: file_type(attr.file_type()),
        perm: attr.mode & 0o7777,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        size: attr.size,
        blksize: attr.blksize,
        blocks: attr.blocks,
        atime: time(attr.atime),
        mtime: time(attr.mtime),
        ctime: time(attr.ctime),
        btime: time(attr.btime),
    }
}

/// What an open descriptor tells of a file whose attributes were `old`. Owners stay: this process's user namespace is not the
/// gofer's, so it would name them differently.
pub(super) fn merge(old: &Attr, now: Attr) -> Attr {
    Attr {
        uid: old.uid,
        gid: old.gid,
        ..now
    }
}

/// Changes in the gofer's form.
pub(super) fn to_gofer(changes: &SetAttr) -> protocol::SetAttr {
    let mut set = protocol::SetAttr::default();
    let mut mask = SetAttrMask::empty();
    if let Some(perm) = changes.perm {
        mask |= SetAttrMask::MODE;
        set.mode = perm & 0o7777;
    }
    if let Some(uid) = changes.uid {
        mask |= SetAttrMask::UID;
        set.uid = uid;
    }
    if let Some(gid) = changes.gid {
        mask |= SetAttrMask::GID;
        set.gid = gid;
    }
    if let Some(size) = changes.size {
        mask |= SetAttrMask::SIZE;
        set.size = size;
    }
    match changes.atime {
        Some(SetTime::Now) => mask |= SetAttrMask::ATIME_NOW,
        Some(SetTime::At(t)) => {
            mask |= SetAttrMask::ATIME;
            set.atime = TimeSpec::new(t.sec, t.nsec);
        }
        None => {}
    }
    match changes.mtime {
        Some(SetTime::Now) => mask |= SetAttrMask::MTIME_NOW,
        Some(SetTime::At(t)) => {
            mask |= SetAttrMask::MTIME;
            set.mtime = TimeSpec::new(t.sec, t.nsec);
        }
        None => {}
    }
    set.mask = mask.bits();
    set
}

/// statfs(2) as the guest sees it.
pub(super) fn to_statfs(s: &FsStat) -> StatFs {
    StatFs {
        magic: s.kind,
        block_size: s.bsize,
        blocks: s.blocks,
        blocks_free: s.bfree,
        blocks_available: s.bavail,
        files: s.files,
        files_free: s.ffree,
        name_max: s.namelen,
    }
}
