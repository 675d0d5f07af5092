//! What the gofer answers.

use super::attr::{Attr, FileType, FsStat};
use super::codec::{DecodeError, EncodeError, Reader, Writer};
use super::name::Name;
use super::{HandleId, MAX_LINK, MAX_MESSAGE, MAX_WALK};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Start of every reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReplyHeader {
    /// Length of the whole message.
    pub len: u32,
    /// Kind, see [`Reply`].
    pub kind: u16,
    /// Descriptors that travel along: 0 or 1.
    pub fds: u16,
    /// The request's id.
    pub id: u64,
}

/// A new handle and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WireNode {
    /// The handle; the client owns it and must close it.
    pub handle: HandleId,
    /// The node's attributes at that moment.
    pub attr: Attr,
}

/// Nodes of a walk, as they are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes<'a>(&'a [u8]);

impl<'a> Nodes<'a> {
    /// A field of a message to be sent.
    pub fn new(nodes: &'a [WireNode]) -> Self {
        Self(nodes.as_bytes())
    }

    /// How many nodes.
    pub fn len(&self) -> usize {
        self.0.len().checked_div(size_of::<WireNode>()).unwrap_or(0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The nodes in order.
    pub fn iter(&self) -> impl Iterator<Item = WireNode> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || reader.get().ok())
    }

    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = usize::from(r.get::<u16>()?);
        if count > MAX_WALK {
            return Err(DecodeError::TooMany);
        }
        let nodes = Self(r.take(count.saturating_mul(size_of::<WireNode>()))?);
        nodes.iter().try_for_each(|node| node.attr.check())?;
        Ok(nodes)
    }
}

/// Why a walk went no further than the nodes it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkStop {
    /// It did not stop: every name was walked.
    Complete,
    /// The next name failed with this errno (mostly `ENOENT`).
    Failed(i32),
    /// The last node is a symbolic link and names are left.
    Symlink,
    /// The last node is neither directory nor link, and names are left.
    NotDirectory,
}

impl WalkStop {
    fn write(self, w: &mut Writer<'_>) {
        w.put(match self {
            Self::Complete => 0,
            Self::Failed(errno) => errno,
            Self::Symlink => -1_i32,
            Self::NotDirectory => -2,
        });
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.get::<i32>()? {
            0 => Self::Complete,
            -1 => Self::Symlink,
            -2 => Self::NotDirectory,
            raw => Self::Failed(errno(raw)?),
        })
    }
}

/// One directory entry as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntryRef<'a> {
    /// Name of the entry.
    pub name: Name<'a>,
    /// Cursor from which reading goes on after this entry.
    pub next: u64,
    /// Inode number.
    pub ino: u64,
    /// Type, none if the host does not say and attributes could not be read.
    pub file_type: Option<FileType>,
    /// Attributes, unless the directory may be listed but not searched.
    pub attr: Option<Attr>,
}

impl<'a> DirEntryRef<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let next = r.get()?;
        let ino = r.get()?;
        let file_type = match r.get::<u8>()? {
            0 => None,
            raw => Some(FileType::from_dirent(raw).ok_or(DecodeError::Value("d_type"))?),
        };
        let has_attr = r.flag("has_attr")?;
        let name = Name::read(r)?;
        let attr = if has_attr { Some(read_attr(r)?) } else { None };
        Ok(Self {
            name,
            next,
            ino,
            file_type,
            attr,
        })
    }
}

/// Entries of a directory, as they are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntries<'a>(&'a [u8]);

impl<'a> DirEntries<'a> {
    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = DirEntryRef<'a>> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || DirEntryRef::read(&mut reader).ok())
    }

    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let wire = r.bytes(MAX_MESSAGE)?;
        let mut check = Reader::new(wire);
        while !check.remaining().is_empty() {
            DirEntryRef::read(&mut check)?;
        }
        Ok(Self(wire))
    }
}

/// Collects directory entries until a message is full.
#[derive(Debug, Default)]
pub struct DirEntriesBuf(Vec<u8>);

impl DirEntriesBuf {
    /// Room for entries: the message less its header and the fields around them.
    const LIMIT: usize = MAX_MESSAGE - 64;

    /// Forgets all entries, keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends an entry; false (and nothing appended) if it does not fit.
    pub fn push(&mut self, entry: &DirEntryRef<'_>) -> bool {
        let attr_len = if entry.attr.is_some() {
            size_of::<Attr>()
        } else {
            0
        };
        let len = 19_usize
            .saturating_add(entry.name.as_bytes().len())
            .saturating_add(attr_len);
        if len > Self::LIMIT.saturating_sub(self.0.len()) {
            return false;
        }
        self.0.extend_from_slice(entry.next.as_bytes());
        self.0.extend_from_slice(entry.ino.as_bytes());
        self.0.push(entry.file_type.map_or(0, FileType::dirent));
        self.0.push(u8::from(entry.attr.is_some()));
        self.0.push(entry.name.wire_len());
        self.0.extend_from_slice(entry.name.as_bytes());
        if let Some(attr) = &entry.attr {
            self.0.extend_from_slice(attr.as_bytes());
        }
        true
    }

    /// The entries as a message field.
    pub fn as_entries(&self) -> DirEntries<'_> {
        DirEntries(&self.0)
    }
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The operation failed with this errno (1..=4095).
    Error { errno: i32 },
    /// It succeeded and has nothing to tell.
    Done,
    /// The server's version, its number of exports and how many handles the client may hold.
    Hello {
        version: u32,
        exports: u32,
        handles: u32,
    },
    /// A new handle.
    Node(WireNode),
    /// The nodes found, why there are not more, the target if the last one is a symbolic link,
    /// and the errno if opening the last one was asked for and failed (0 otherwise).
    Walked {
        nodes: Nodes<'a>,
        stop: WalkStop,
        link: &'a [u8],
        open_errno: i32,
    },
    /// Attributes.
    Attr(Attr),
    /// The file is open; its attributes after that.
    Opened(Attr),
    /// The new (or, if not `created`, the old) file is open.
    Created { node: WireNode, created: bool },
    /// Directory entries; `eof` if there are no more after them.
    Dir { entries: DirEntries<'a>, eof: bool },
    /// A link target, an attribute's value or a list of attribute names.
    Bytes(&'a [u8]),
    /// File system statistics.
    FsStat(FsStat),
}

/// Reply kinds. They are part of the protocol's version.
mod kind {
    pub const ERROR: u16 = 1;
    pub const DONE: u16 = 2;
    pub const HELLO: u16 = 3;
    pub const NODE: u16 = 4;
    pub const WALKED: u16 = 5;
    pub const ATTR: u16 = 6;
    pub const OPENED: u16 = 7;
    pub const CREATED: u16 = 8;
    pub const DIR: u16 = 9;
    pub const BYTES: u16 = 10;
    pub const FS_STAT: u16 = 11;
}

impl<'a> Reply<'a> {
    /// Kind number of this reply.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Error { .. } => kind::ERROR,
            Self::Done => kind::DONE,
            Self::Hello { .. } => kind::HELLO,
            Self::Node(_) => kind::NODE,
            Self::Walked { .. } => kind::WALKED,
            Self::Attr(_) => kind::ATTR,
            Self::Opened(_) => kind::OPENED,
            Self::Created { .. } => kind::CREATED,
            Self::Dir { .. } => kind::DIR,
            Self::Bytes(_) => kind::BYTES,
            Self::FsStat(_) => kind::FS_STAT,
        }
    }

    /// Writes the message into `buf`, replacing what is there. `fds` is 0 or 1.
    ///
    /// # Errors
    /// [`EncodeError`] if it would be too long.
    pub fn encode(&self, id: u64, fds: u16, buf: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut w = Writer::new(buf);
        w.put(ReplyHeader {
            len: 0,
            kind: self.kind(),
            fds,
            id,
        });
        match *self {
            Self::Error { errno } => w.put(errno),
            Self::Done => {}
            Self::Hello {
                version,
                exports,
                handles,
            } => {
                w.put(version);
                w.put(exports);
                w.put(handles);
            }
            Self::Node(node) => w.put(node),
            Self::Walked {
                nodes,
                stop,
                link,
                open_errno,
            } => {
                w.put(u16::try_from(nodes.len()).map_err(|_| EncodeError)?);
                w.raw(nodes.0);
                stop.write(&mut w);
                w.bytes(link);
                w.put(open_errno);
            }
            Self::Attr(attr) | Self::Opened(attr) => w.put(attr),
            Self::Created { node, created } => {
                w.put(node);
                w.put(u8::from(created));
            }
            Self::Dir { entries, eof } => {
                w.bytes(entries.0);
                w.put(u8::from(eof));
            }
            Self::Bytes(bytes) => w.bytes(bytes),
            Self::FsStat(stat) => w.put(stat),
        }
        w.finish()
    }

    /// Reads one whole message.
    ///
    /// # Errors
    /// Whatever is wrong with it; a server that sends such a message is not to be trusted further.
    pub fn decode(message: &'a [u8]) -> Result<(ReplyHeader, Self), DecodeError> {
        let mut r = Reader::new(message);
        let header: ReplyHeader = r.get()?;
        if message.len() > MAX_MESSAGE || usize::try_from(header.len) != Ok(message.len()) {
            return Err(DecodeError::Length);
        }
        if header.fds > 1 {
            return Err(DecodeError::Value("fds"));
        }
        let reply = Self::decode_body(header.kind, &mut r)?;
        r.finish()?;
        Ok((header, reply))
    }

    fn decode_body(kind: u16, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::ERROR => Self::Error {
                errno: errno(r.get()?)?,
            },
            kind::DONE => Self::Done,
            kind::HELLO => Self::Hello {
                version: r.get()?,
                exports: r.get()?,
                handles: r.get()?,
            },
            kind::NODE => Self::Node(read_node(r)?),
            kind::WALKED => Self::Walked {
                nodes: Nodes::read(r)?,
                stop: WalkStop::read(r)?,
                link: r.bytes(MAX_LINK)?,
                open_errno: match r.get()? {
                    0 => 0,
                    raw => errno(raw)?,
                },
            },
            kind::ATTR => Self::Attr(read_attr(r)?),
            kind::OPENED => Self::Opened(read_attr(r)?),
            kind::CREATED => Self::Created {
                node: read_node(r)?,
                created: r.flag("created")?,
            },
            kind::DIR => Self::Dir {
                entries: DirEntries::read(r)?,
                eof: r.flag("eof")?,
            },
            kind::BYTES => Self::Bytes(r.bytes(MAX_MESSAGE)?),
            kind::FS_STAT => Self::FsStat(r.get()?),
            other => return Err(DecodeError::Kind(other)),
        })
    }
}

fn errno(raw: i32) -> Result<i32, DecodeError> {
    // MAX_ERRNO of the kernel.
    if (1..=4095).contains(&raw) {
        Ok(raw)
    } else {
        Err(DecodeError::Value("errno"))
    }
}

fn read_attr(r: &mut Reader<'_>) -> Result<Attr, DecodeError> {
    let attr: Attr = r.get()?;
    attr.check()?;
    Ok(attr)
}

fn read_node(r: &mut Reader<'_>) -> Result<WireNode, DecodeError> {
    let node: WireNode = r.get()?;
    node.attr.check()?;
    Ok(node)
}
