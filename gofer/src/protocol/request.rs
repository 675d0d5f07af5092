//! What the sentry asks.

use super::attr::SetAttr;
use super::codec::{DecodeError, EncodeError, Reader, Writer};
use super::name::{Name, Names};
use super::{HandleId, MAX_CLOSES, MAX_LINK, MAX_MESSAGE, MAX_NAME, MAX_XATTR_VALUE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Start of every request. The handles to close follow it, then the operation's own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RequestHeader {
    /// Length of the whole message.
    pub len: u32,
    /// Operation, see [`Request`].
    pub op: u16,
    /// How many handles to close before the operation is carried out.
    pub closes: u16,
    /// Chosen by the client, repeated in the reply.
    pub id: u64,
}

/// How a regular file is opened, and all that the donated descriptor allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `O_RDONLY`
    Read,
    /// `O_WRONLY`
    Write,
    /// `O_RDWR`
    ReadWrite,
}

impl Access {
    /// The `O_ACCMODE` bits.
    pub fn open_bits(self) -> i32 {
        match self {
            Self::Read => libc::O_RDONLY,
            Self::Write => libc::O_WRONLY,
            Self::ReadWrite => libc::O_RDWR,
        }
    }

    /// Whether the descriptor can change the file.
    pub fn writes(self) -> bool {
        self != Self::Read
    }

    /// Whether the descriptor can read the file.
    pub fn reads(self) -> bool {
        self != Self::Write
    }

    fn wire(access: Option<Self>) -> u8 {
        match access {
            None => 0,
            Some(Self::Read) => 1,
            Some(Self::Write) => 2,
            Some(Self::ReadWrite) => 3,
        }
    }

    fn read_option(reader: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        Ok(match reader.get::<u8>()? {
            0 => None,
            1 => Some(Self::Read),
            2 => Some(Self::Write),
            3 => Some(Self::ReadWrite),
            _ => return Err(DecodeError::Value("access")),
        })
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::read_option(reader)?.ok_or(DecodeError::Value("access"))
    }
}

/// What there is to read of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessFile {
    /// `statm`: sizes now, in pages.
    Statm,
    /// `status`: has the peak of the resident size.
    Status,
}

impl ProcessFile {
    /// Its name in a process's directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Statm => "statm",
            Self::Status => "status",
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.get::<u8>()? {
            0 => Ok(Self::Statm),
            1 => Ok(Self::Status),
            _ => Err(DecodeError::Value("process file")),
        }
    }
}

bitflags::bitflags! {
    /// The open flags that reach the host; everything else is the sentry's own business.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct OpenFlags: u32 {
        /// `O_APPEND`: writes go to the end even when others write too.
        const APPEND = 1;
        /// `O_TRUNC`; needs an access mode that writes.
        const TRUNC = 2;
        /// `O_DSYNC`
        const DSYNC = 4;
        /// `O_SYNC`
        const SYNC = 8;
        /// `O_EXCL`, for creation: the name must not exist.
        const EXCL = 16;
    }
}

bitflags::bitflags! {
    /// Flags of `renameat2(2)` that are served.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// `RENAME_NOREPLACE`
        const NOREPLACE = 1;
        /// `RENAME_EXCHANGE`
        const EXCHANGE = 2;
    }
}

/// Owner that a new file should get; a field that is none stays as the host sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

impl Owner {
    fn write(self, w: &mut Writer<'_>) {
        // (uid_t)-1 means "leave alone" to chown(2) too, so it is free as a marker.
        w.put(self.uid.unwrap_or(u32::MAX));
        w.put(self.gid.unwrap_or(u32::MAX));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let some = |id: u32| (id != u32::MAX).then_some(id);
        Ok(Self {
            uid: some(reader.get()?),
            gid: some(reader.get()?),
        })
    }
}

/// A checked symbolic link target: 1 to 4095 bytes without NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTarget<'a>(&'a [u8]);

impl<'a> LinkTarget<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Name`] if it is empty, too long or holds NUL.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() || bytes.len() > MAX_LINK || bytes.contains(&0) {
            return Err(DecodeError::Name);
        }
        Ok(Self(bytes))
    }

    /// The target's bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// A checked extended attribute name: 1 to 255 bytes without NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XattrName<'a>(&'a [u8]);

impl<'a> XattrName<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Name`] if it is empty, too long or holds NUL.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() || bytes.len() > MAX_NAME || bytes.contains(&0) {
            return Err(DecodeError::Name);
        }
        Ok(Self(bytes))
    }

    /// The name's bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// A checked extended attribute value: at most 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XattrValue<'a>(&'a [u8]);

impl<'a> XattrValue<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`] if it is too long.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_XATTR_VALUE {
            Err(DecodeError::TooMany)
        } else {
            Ok(Self(bytes))
        }
    }

    /// The value's bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// One operation. The reply each one gets is given in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// First message of a connection: [`super::MAGIC`] and [`super::VERSION`]. \[Hello\]
    Hello { magic: u32, version: u32 },
    /// Only closes handles. \[Done\]
    Close,
    /// Root of an export. \[Node\]
    Attach { export: u32 },
    /// Looks up components one after the other; with `open`, also opens the last one if it is a
    /// regular file. \[Walked, descriptor if opened\]
    Walk {
        dir: HandleId,
        names: Names<'a>,
        open: Option<Access>,
    },
    /// Opens a regular file. \[Opened, descriptor\]
    Open {
        node: HandleId,
        access: Access,
        flags: OpenFlags,
    },
    /// Entries of a directory from a cursor (0 is the start). \[Dir\]
    ReadDir { dir: HandleId, cursor: u64 },
    /// Target of a symbolic link. \[Bytes\]
    ReadLink { node: HandleId },
    /// Attributes. \[Attr\]
    GetAttr { node: HandleId },
    /// Changes attributes. \[Attr\]
    SetAttr { node: HandleId, set: SetAttr },
    /// Creates (or, without `EXCL`, opens) a regular file. \[Created, descriptor\]
    Create {
        dir: HandleId,
        name: Name<'a>,
        mode: u32,
        access: Access,
        flags: OpenFlags,
        owner: Owner,
    },
    /// Creates a nameless regular file on the directory's file system. \[Created, descriptor\]
    TmpFile {
        dir: HandleId,
        mode: u32,
        access: Access,
        owner: Owner,
    },
    /// Creates a directory. \[Node\]
    Mkdir {
        dir: HandleId,
        name: Name<'a>,
        mode: u32,
        owner: Owner,
    },
    /// Creates a symbolic link. \[Node\]
    Symlink {
        dir: HandleId,
        name: Name<'a>,
        target: LinkTarget<'a>,
        owner: Owner,
    },
    /// Creates a regular file, FIFO or socket node; `mode` carries the type. \[Node\]
    Mknod {
        dir: HandleId,
        name: Name<'a>,
        mode: u32,
        owner: Owner,
    },
    /// Gives a file one more name. \[Attr\]
    Link {
        node: HandleId,
        dir: HandleId,
        name: Name<'a>,
    },
    /// Removes a name; `rmdir` tells a directory from the rest. \[Done\]
    Unlink {
        dir: HandleId,
        name: Name<'a>,
        rmdir: bool,
    },
    /// Renames. \[Done\]
    Rename {
        from: HandleId,
        from_name: Name<'a>,
        to: HandleId,
        to_name: Name<'a>,
        flags: RenameFlags,
    },
    /// Value of an extended attribute. \[Bytes\]
    GetXattr { node: HandleId, name: XattrName<'a> },
    /// Sets an extended attribute; `flags` are `XATTR_CREATE` (1), `XATTR_REPLACE` (2). \[Done\]
    SetXattr {
        node: HandleId,
        name: XattrName<'a>,
        value: XattrValue<'a>,
        flags: u32,
    },
    /// Names of extended attributes, each ended by NUL. \[Bytes\]
    ListXattr { node: HandleId },
    /// Removes an extended attribute. \[Done\]
    RemoveXattr { node: HandleId, name: XattrName<'a> },
    /// File system statistics. \[FsStat\]
    StatFs { node: HandleId },
    /// Writes a file's data (and attributes unless `data_only`) to its disk. \[Done\]
    Fsync { node: HandleId, data_only: bool },
    /// Opens the file of the descriptor that comes along, which can read and write it, once more for
    /// reading only. \[Done, descriptor\]
    ReadOnly,
    /// The descriptor that comes along is the directory of the guest's processes on the host. Only once. \[Done\]
    Processes,
    /// Opens a file about one of those. \[Done, descriptor\]
    Process { pid: u32, file: ProcessFile },
}

/// Operation numbers. They are part of the protocol's version.
mod op {
    pub const HELLO: u16 = 1;
    pub const CLOSE: u16 = 2;
    pub const ATTACH: u16 = 3;
    pub const WALK: u16 = 4;
    pub const OPEN: u16 = 5;
    pub const READ_DIR: u16 = 6;
    pub const READ_LINK: u16 = 7;
    pub const GET_ATTR: u16 = 8;
    pub const SET_ATTR: u16 = 9;
    pub const CREATE: u16 = 10;
    pub const TMP_FILE: u16 = 11;
    pub const MKDIR: u16 = 12;
    pub const SYMLINK: u16 = 13;
    pub const MKNOD: u16 = 14;
    pub const LINK: u16 = 15;
    pub const UNLINK: u16 = 16;
    pub const RENAME: u16 = 17;
    pub const GET_XATTR: u16 = 18;
    pub const SET_XATTR: u16 = 19;
    pub const LIST_XATTR: u16 = 20;
    pub const REMOVE_XATTR: u16 = 21;
    pub const STAT_FS: u16 = 22;
    pub const FSYNC: u16 = 23;
    pub const READ_ONLY: u16 = 24;
    pub const PROCESSES: u16 = 25;
    pub const PROCESS: u16 = 26;
}

/// Handles that a request asks to close first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closes<'a>(&'a [u8]);

impl<'a> Closes<'a> {
    /// The handles in order.
    pub fn iter(&self) -> impl Iterator<Item = HandleId> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || reader.get().ok())
    }
}

impl<'a> Request<'a> {
    /// Operation number of this request.
    pub fn op(&self) -> u16 {
        match self {
            Self::Hello { .. } => op::HELLO,
            Self::Close => op::CLOSE,
            Self::Attach { .. } => op::ATTACH,
            Self::Walk { .. } => op::WALK,
            Self::Open { .. } => op::OPEN,
            Self::ReadDir { .. } => op::READ_DIR,
            Self::ReadLink { .. } => op::READ_LINK,
            Self::GetAttr { .. } => op::GET_ATTR,
            Self::SetAttr { .. } => op::SET_ATTR,
            Self::Create { .. } => op::CREATE,
            Self::TmpFile { .. } => op::TMP_FILE,
            Self::Mkdir { .. } => op::MKDIR,
            Self::Symlink { .. } => op::SYMLINK,
            Self::Mknod { .. } => op::MKNOD,
            Self::Link { .. } => op::LINK,
            Self::Unlink { .. } => op::UNLINK,
            Self::Rename { .. } => op::RENAME,
            Self::GetXattr { .. } => op::GET_XATTR,
            Self::SetXattr { .. } => op::SET_XATTR,
            Self::ListXattr { .. } => op::LIST_XATTR,
            Self::RemoveXattr { .. } => op::REMOVE_XATTR,
            Self::StatFs { .. } => op::STAT_FS,
            Self::Fsync { .. } => op::FSYNC,
            Self::ReadOnly => op::READ_ONLY,
            Self::Processes => op::PROCESSES,
            Self::Process { .. } => op::PROCESS,
        }
    }

    /// Whether a descriptor comes along.
    pub fn carries_fd(&self) -> bool {
        matches!(self, Self::ReadOnly | Self::Processes)
    }

    /// Writes the message into `buf`, replacing what is there.
    ///
    /// # Errors
    /// [`EncodeError`] if it would be too long, or closes more than [`MAX_CLOSES`] handles.
    pub fn encode(
        &self,
        id: u64,
        closes: &[HandleId],
        buf: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if closes.len() > MAX_CLOSES {
            return Err(EncodeError);
        }
        let count = u16::try_from(closes.len()).map_err(|_| EncodeError)?;
        let mut w = Writer::new(buf);
        w.put(RequestHeader {
            len: 0,
            op: self.op(),
            closes: count,
            id,
        });
        w.raw(closes.as_bytes());
        self.encode_body(&mut w);
        w.finish()
    }

    fn encode_body(&self, w: &mut Writer<'_>) {
        let name = |w: &mut Writer<'_>, name: Name<'_>| {
            w.put(name.wire_len());
            w.raw(name.as_bytes());
        };
        match *self {
            Self::Hello { magic, version } => {
                w.put(magic);
                w.put(version);
            }
            Self::Close | Self::ReadOnly | Self::Processes => {}
            Self::Process { pid, file } => {
                w.put(pid);
                w.put(file as u8);
            }
            Self::Attach { export } => w.put(export),
            Self::Walk { dir, names, open } => {
                w.put(dir);
                w.put(Access::wire(open));
                w.put(names.count());
                w.raw(names.wire());
            }
            Self::Open {
                node,
                access,
                flags,
            } => {
                w.put(node);
                w.put(Access::wire(Some(access)));
                w.put(flags.bits());
            }
            Self::ReadDir { dir, cursor } => {
                w.put(dir);
                w.put(cursor);
            }
            Self::ReadLink { node }
            | Self::GetAttr { node }
            | Self::ListXattr { node }
            | Self::StatFs { node } => w.put(node),
            Self::SetAttr { node, set } => {
                w.put(node);
                w.put(set);
            }
            Self::Create {
                dir,
                name: n,
                mode,
                access,
                flags,
                owner,
            } => {
                w.put(dir);
                name(w, n);
                w.put(mode);
                w.put(Access::wire(Some(access)));
                w.put(flags.bits());
                owner.write(w);
            }
            Self::TmpFile {
                dir,
                mode,
                access,
                owner,
            } => {
                w.put(dir);
                w.put(mode);
                w.put(Access::wire(Some(access)));
                owner.write(w);
            }
            Self::Mkdir {
                dir,
                name: n,
                mode,
                owner,
            }
            | Self::Mknod {
                dir,
                name: n,
                mode,
                owner,
            } => {
                w.put(dir);
                name(w, n);
                w.put(mode);
                owner.write(w);
            }
            Self::Symlink {
                dir,
                name: n,
                target,
                owner,
            } => {
                w.put(dir);
                name(w, n);
                w.bytes(target.0);
                owner.write(w);
            }
            Self::Link { node, dir, name: n } => {
                w.put(node);
                w.put(dir);
                name(w, n);
            }
            Self::Unlink {
                dir,
                name: n,
                rmdir,
            } => {
                w.put(dir);
                name(w, n);
                w.put(u8::from(rmdir));
            }
            Self::Rename {
                from,
                from_name,
                to,
                to_name,
                flags,
            } => {
                w.put(from);
                name(w, from_name);
                w.put(to);
                name(w, to_name);
                w.put(flags.bits());
            }
            Self::GetXattr { node, name } | Self::RemoveXattr { node, name } => {
                w.put(node);
                w.bytes(name.0);
            }
            Self::SetXattr {
                node,
                name,
                value,
                flags,
            } => {
                w.put(node);
                w.bytes(name.0);
                w.bytes(value.0);
                w.put(flags);
            }
            Self::Fsync { node, data_only } => {
                w.put(node);
                w.put(u8::from(data_only));
            }
        }
    }

    /// Reads only the header, so that a bad message can still be answered by its id.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], or [`DecodeError::Length`] if it lies about its length.
    pub fn decode_header(message: &[u8]) -> Result<RequestHeader, DecodeError> {
        let header: RequestHeader = Reader::new(message).get()?;
        if message.len() > MAX_MESSAGE || usize::try_from(header.len) != Ok(message.len()) {
            return Err(DecodeError::Length);
        }
        Ok(header)
    }

    /// Reads one whole message.
    ///
    /// # Errors
    /// Whatever is wrong with it; nothing of a bad message is to be carried out.
    pub fn decode(message: &'a [u8]) -> Result<(RequestHeader, Closes<'a>, Self), DecodeError> {
        let header = Self::decode_header(message)?;
        let mut r = Reader::new(message);
        r.take(size_of::<RequestHeader>())?;
        let count = usize::from(header.closes);
        if count > MAX_CLOSES {
            return Err(DecodeError::TooMany);
        }
        let closes = Closes(r.take(count.saturating_mul(size_of::<HandleId>()))?);
        let request = Self::decode_body(header.op, &mut r)?;
        r.finish()?;
        Ok((header, closes, request))
    }

    fn decode_body(op: u16, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match op {
            op::HELLO => Self::Hello {
                magic: r.get()?,
                version: r.get()?,
            },
            op::CLOSE => Self::Close,
            op::ATTACH => Self::Attach { export: r.get()? },
            op::WALK => {
                let dir = r.get()?;
                let open = Access::read_option(r)?;
                Self::Walk {
                    dir,
                    open,
                    names: Names::read(r)?,
                }
            }
            op::OPEN => Self::Open {
                node: r.get()?,
                access: Access::read(r)?,
                flags: open_flags(r)?,
            },
            op::READ_DIR => Self::ReadDir {
                dir: r.get()?,
                cursor: r.get()?,
            },
            op::READ_LINK => Self::ReadLink { node: r.get()? },
            op::GET_ATTR => Self::GetAttr { node: r.get()? },
            op::SET_ATTR => {
                let node = r.get()?;
                let set: SetAttr = r.get()?;
                set.check()?;
                Self::SetAttr { node, set }
            }
            op::CREATE => Self::Create {
                dir: r.get()?,
                name: Name::read(r)?,
                mode: permissions(r)?,
                access: Access::read(r)?,
                flags: open_flags(r)?,
                owner: Owner::read(r)?,
            },
            op::TMP_FILE => Self::TmpFile {
                dir: r.get()?,
                mode: permissions(r)?,
                access: Access::read(r)?,
                owner: Owner::read(r)?,
            },
            op::MKDIR => Self::Mkdir {
                dir: r.get()?,
                name: Name::read(r)?,
                mode: permissions(r)?,
                owner: Owner::read(r)?,
            },
            op::SYMLINK => Self::Symlink {
                dir: r.get()?,
                name: Name::read(r)?,
                target: LinkTarget::new(r.bytes(MAX_LINK)?)?,
                owner: Owner::read(r)?,
            },
            op::MKNOD => Self::Mknod {
                dir: r.get()?,
                name: Name::read(r)?,
                mode: r.get()?,
                owner: Owner::read(r)?,
            },
            op::LINK => Self::Link {
                node: r.get()?,
                dir: r.get()?,
                name: Name::read(r)?,
            },
            op::UNLINK => Self::Unlink {
                dir: r.get()?,
                name: Name::read(r)?,
                rmdir: r.flag("rmdir")?,
            },
            op::RENAME => Self::Rename {
                from: r.get()?,
                from_name: Name::read(r)?,
                to: r.get()?,
                to_name: Name::read(r)?,
                flags: RenameFlags::from_bits(r.get()?)
                    .ok_or(DecodeError::Value("rename flags"))?,
            },
            op::GET_XATTR => Self::GetXattr {
                node: r.get()?,
                name: xattr_name(r)?,
            },
            op::SET_XATTR => Self::SetXattr {
                node: r.get()?,
                name: xattr_name(r)?,
                value: XattrValue::new(r.bytes(MAX_XATTR_VALUE)?)?,
                flags: match r.get()? {
                    flags @ 0..=3 => flags,
                    _ => return Err(DecodeError::Value("xattr flags")),
                },
            },
            op::LIST_XATTR => Self::ListXattr { node: r.get()? },
            op::REMOVE_XATTR => Self::RemoveXattr {
                node: r.get()?,
                name: xattr_name(r)?,
            },
            op::STAT_FS => Self::StatFs { node: r.get()? },
            op::FSYNC => Self::Fsync {
                node: r.get()?,
                data_only: r.flag("data_only")?,
            },
            op::READ_ONLY => Self::ReadOnly,
            op::PROCESSES => Self::Processes,
            op::PROCESS => Self::Process {
                pid: r.get()?,
                file: ProcessFile::read(r)?,
            },
            other => return Err(DecodeError::Kind(other)),
        })
    }
}

fn open_flags(r: &mut Reader<'_>) -> Result<OpenFlags, DecodeError> {
    OpenFlags::from_bits(r.get()?).ok_or(DecodeError::Value("open flags"))
}

fn permissions(r: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let mode: u32 = r.get()?;
    if mode & !0o7777 == 0 {
        Ok(mode)
    } else {
        Err(DecodeError::Value("mode"))
    }
}

fn xattr_name<'a>(r: &mut Reader<'a>) -> Result<XattrName<'a>, DecodeError> {
    XattrName::new(r.bytes(MAX_NAME)?)
}
