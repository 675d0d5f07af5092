//! File attributes and file system statistics as they cross the wire.

use super::codec::DecodeError;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds in a second: the bound of [`TimeSpec::nsec`].
pub const NSEC_PER_SEC: u32 = 1_000_000_000;

/// A point in time as in `struct statx_timestamp`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TimeSpec {
    /// Seconds since the epoch, may be negative.
    pub sec: i64,
    /// Nanoseconds, below 1 000 000 000.
    pub nsec: u32,
    /// Always zero.
    pub pad: u32,
}

impl TimeSpec {
    /// A time; `nsec` is in 0..1e9.
    pub fn new(sec: i64, nsec: u32) -> Self {
        Self { sec, nsec, pad: 0 }
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.nsec < NSEC_PER_SEC && self.pad == 0 {
            Ok(())
        } else {
            Err(DecodeError::Value("time"))
        }
    }
}

/// Type of a file: the `S_IFMT` bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// `S_IFREG`
    Regular,
    /// `S_IFDIR`
    Directory,
    /// `S_IFLNK`
    Symlink,
    /// `S_IFIFO`
    Fifo,
    /// `S_IFSOCK`
    Socket,
    /// `S_IFCHR`
    CharDevice,
    /// `S_IFBLK`
    BlockDevice,
}

impl FileType {
    /// The type in a mode, or none if the bits mean nothing.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => Self::Regular,
            libc::S_IFDIR => Self::Directory,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::Socket,
            libc::S_IFCHR => Self::CharDevice,
            libc::S_IFBLK => Self::BlockDevice,
            _ => return None,
        })
    }

    /// The `S_IFMT` bits of this type.
    pub fn mode_bits(self) -> u32 {
        match self {
            Self::Regular => libc::S_IFREG,
            Self::Directory => libc::S_IFDIR,
            Self::Symlink => libc::S_IFLNK,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
            Self::CharDevice => libc::S_IFCHR,
            Self::BlockDevice => libc::S_IFBLK,
        }
    }

    /// The type of a `d_type` byte of `getdents64` (`DT_*`), or none for unknown ones.
    pub fn from_dirent(d_type: u8) -> Option<Self> {
        // DT_x is S_IFx >> 12 (include/linux/fs_types.h).
        Self::from_mode(u32::from(d_type) << 12)
    }

    /// The `DT_*` byte of this type.
    pub fn dirent(self) -> u8 {
        u8::try_from(self.mode_bits() >> 12).unwrap_or(0)
    }
}

/// What `statx` tells of a file, at nanosecond precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Attr {
    /// Inode number on its device.
    pub ino: u64,
    /// Device that holds the file (`makedev`).
    pub dev: u64,
    /// Device that this node stands for, if it is a device node.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated 512-byte blocks.
    pub blocks: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Preferred I/O size.
    pub blksize: u32,
    /// [`Attr::HAS_BTIME`], [`Attr::MOUNT_ROOT`].
    pub flags: u32,
    /// Last access.
    pub atime: TimeSpec,
    /// Last change of content.
    pub mtime: TimeSpec,
    /// Last change of attributes.
    pub ctime: TimeSpec,
    /// Birth, valid with [`Attr::HAS_BTIME`].
    pub btime: TimeSpec,
}

impl Attr {
    /// [`Attr::btime`] is valid.
    pub const HAS_BTIME: u32 = 1;
    /// This node is the root of a mount on the host.
    pub const MOUNT_ROOT: u32 = 2;

    /// Type of the file. [`Attr::check`] makes sure that there is one.
    pub fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode).unwrap_or(FileType::Regular)
    }

    /// Refuses attributes that no Linux file can have. To be called on everything received.
    ///
    /// # Errors
    /// [`DecodeError::Value`] names the field.
    pub fn check(&self) -> Result<(), DecodeError> {
        if FileType::from_mode(self.mode).is_none() || self.mode > 0o177_777 {
            return Err(DecodeError::Value("mode"));
        }
        if i64::try_from(self.size).is_err() {
            return Err(DecodeError::Value("size"));
        }
        if self.flags & !(Self::HAS_BTIME | Self::MOUNT_ROOT) != 0 {
            return Err(DecodeError::Value("attr flags"));
        }
        for time in [self.atime, self.mtime, self.ctime, self.btime] {
            time.check()?;
        }
        Ok(())
    }
}

bitflags::bitflags! {
    /// Which fields of [`SetAttr`] are to be applied.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct SetAttrMask: u32 {
        /// `mode`, permission bits only
        const MODE = 1;
        /// `uid`
        const UID = 2;
        /// `gid`
        const GID = 4;
        /// `size`
        const SIZE = 8;
        /// `atime`
        const ATIME = 16;
        /// `mtime`
        const MTIME = 32;
        /// the host's present time for the access time, instead of `atime`
        const ATIME_NOW = 64;
        /// the host's present time for the modification time, instead of `mtime`
        const MTIME_NOW = 128;
    }
}

/// Changes to a file's attributes; [`SetAttr::mask`] says which fields count.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SetAttr {
    /// Bits of [`SetAttrMask`].
    pub mask: u32,
    /// Permission bits (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Access time.
    pub atime: TimeSpec,
    /// Modification time.
    pub mtime: TimeSpec,
}

impl SetAttr {
    /// The mask as flags.
    pub fn fields(&self) -> SetAttrMask {
        SetAttrMask::from_bits_truncate(self.mask)
    }

    /// Refuses masks and values without meaning.
    ///
    /// # Errors
    /// [`DecodeError::Value`] names the field.
    pub fn check(&self) -> Result<(), DecodeError> {
        let mask = SetAttrMask::from_bits(self.mask).ok_or(DecodeError::Value("setattr mask"))?;
        if mask.contains(SetAttrMask::ATIME | SetAttrMask::ATIME_NOW)
            || mask.contains(SetAttrMask::MTIME | SetAttrMask::MTIME_NOW)
        {
            return Err(DecodeError::Value("setattr mask"));
        }
        if self.mode & !0o7777 != 0 {
            return Err(DecodeError::Value("mode"));
        }
        if i64::try_from(self.size).is_err() {
            return Err(DecodeError::Value("size"));
        }
        self.atime.check()?;
        self.mtime.check()
    }
}

/// What `statfs` tells of a file system.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FsStat {
    /// Magic number of the file system's type.
    pub kind: u64,
    /// Block size in bytes.
    pub bsize: u64,
    /// Fragment size in bytes.
    pub frsize: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Blocks free to ordinary users.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Longest name.
    pub namelen: u64,
    /// Mount flags (`ST_*`).
    pub flags: u64,
}
