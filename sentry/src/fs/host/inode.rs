//! The inode of a host descriptor.

use super::file::{HostFile, HostObject};
use crate::abi::{Errno, Result};
use crate::vfs::{
    Caller, FileOps, FileType, Inode, InodeMeta, OpenFlags, SetAttr, Stat, StatFs, Timestamp,
};
use nix::sys::stat::FileStat;
use std::any::Any;
use std::sync::Arc;

/// The object behind a host descriptor; opening it again (through /proc/self/fd) gives what the descriptor itself permits.
pub(super) struct HostInode {
    pub meta: InodeMeta,
    pub object: Arc<HostObject>,
}

fn time(sec: i64, nsec: i64) -> Timestamp {
    Timestamp {
        sec,
        nsec: u32::try_from(nsec).unwrap_or(0),
    }
}

/// Attributes as the host gives them.
pub(super) fn convert_stat(s: &FileStat) -> Result<Stat> {
    Ok(Stat {
        dev: s.st_dev,
        ino: s.st_ino,
        file_type: FileType::from_mode(s.st_mode).ok_or(Errno::EIO)?,
        perm: s.st_mode & 0o7777,
        nlink: u32::try_from(s.st_nlink).unwrap_or(u32::MAX),
        uid: s.st_uid,
        gid: s.st_gid,
        rdev: s.st_rdev,
        size: u64::try_from(s.st_size).unwrap_or(0),
        blksize: u32::try_from(s.st_blksize).unwrap_or(4096),
        blocks: u64::try_from(s.st_blocks).unwrap_or(0),
        atime: time(s.st_atime, s.st_atime_nsec),
        mtime: time(s.st_mtime, s.st_mtime_nsec),
        ctime: time(s.st_ctime, s.st_ctime_nsec),
        btime: Timestamp::default(),
    })
}

impl Inode for HostInode {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        self.object.file_type
    }
    fn stat(&self) -> Result<Stat> {
        self.object.stat()
    }
    fn set_attr(&self, _cx: &dyn Caller, changes: &SetAttr) -> Result<()> {
        // The host's owner, mode and times are not the guest's to change; the length is, as far as it may write.
        if changes.perm.is_some()
            || changes.uid.is_some()
            || changes.gid.is_some()
            || changes.atime.is_some()
            || changes.mtime.is_some()
        {
            return Err(Errno::EPERM);
        }
        match changes.size {
            Some(size) => self.object.truncate(size),
            None => Ok(()),
        }
    }
    fn statfs(&self) -> Result<StatFs> {
        let s = nix::sys::statvfs::fstatvfs(&*self.object.fd)?;
        Ok(StatFs {
            magic: 0,
            block_size: s.fragment_size(),
            blocks: s.blocks(),
            blocks_free: s.blocks_free(),
            blocks_available: s.blocks_available(),
            files: s.files(),
            files_free: s.files_free(),
            name_max: s.name_max(),
        })
    }
    fn open(self: Arc<Self>, _cx: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        if self.object.file_type == FileType::Socket {
            return Err(Errno::ENXIO);
        }
        let has = self.object.access;
        if (flags.readable() && !has.readable()) || (flags.writable() && !has.writable()) {
            return Err(Errno::EACCES);
        }
        Ok(Box::new(HostFile::reopened(self.object.clone())))
    }
    fn describe(&self) -> Vec<u8> {
        let kind = match self.object.file_type {
            FileType::Fifo => "pipe",
            FileType::Socket => "socket",
            _ => return b"/dev/host".to_vec(),
        };
        let ino = self.object.stat().map_or(0, |s| s.ino);
        format!("{kind}:[{ino}]").into_bytes()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
