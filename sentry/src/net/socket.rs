//! What all sockets have in common: the operations, messages, and the open file.

use super::namespace::NetNamespace;
use super::options::Options;
use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonInode, AnonKind};
use crate::sync::{Charge, Events, Quota, WaitQueue};
use crate::usermem::{Sink, Source};
use crate::vfs::{Caller, File, FileOps, FsContext, OpenFlags};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags::bitflags! {
    /// MSG_*.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct MsgFlags: u32 {
        const OOB = 0x1;
        const PEEK = 0x2;
        const DONTROUTE = 0x4;
        const CTRUNC = 0x8;
        const TRUNC = 0x20;
        const DONTWAIT = 0x40;
        const EOR = 0x80;
        const WAITALL = 0x100;
        const CONFIRM = 0x800;
        const ZEROCOPY = 0x400_0000;
        const ERRQUEUE = 0x2000;
        const NOSIGNAL = 0x4000;
        const MORE = 0x8000;
        const WAITFORONE = 0x10000;
        const FASTOPEN = 0x2000_0000;
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// SOCK_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SockType {
    Stream,
    Dgram,
    Raw,
    SeqPacket,
}

impl SockType {
    /// From the low bits of socket(2)'s second argument; EINVAL for unknown numbers (`SOCK_MAX` and above),
    /// ESOCKTNOSUPPORT for those that no family here has.
    pub fn from_raw(raw: i32) -> Result<SockType> {
        Ok(match raw {
            libc::SOCK_STREAM => SockType::Stream,
            libc::SOCK_DGRAM => SockType::Dgram,
            libc::SOCK_RAW => SockType::Raw,
            libc::SOCK_SEQPACKET => SockType::SeqPacket,
            0..=10 => return Err(Errno::ESOCKTNOSUPPORT),
            _ => return Err(Errno::EINVAL),
        })
    }
    /// SO_TYPE.
    pub fn raw(self) -> i32 {
        match self {
            SockType::Stream => libc::SOCK_STREAM,
            SockType::Dgram => libc::SOCK_DGRAM,
            SockType::Raw => libc::SOCK_RAW,
            SockType::SeqPacket => libc::SOCK_SEQPACKET,
        }
    }
}

/// shutdown(2)'s second argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// No more reads.
    pub read: bool,
    /// No more writes.
    pub write: bool,
}

impl Ucred {
    /// As the caller's namespaces call the process and its ids. Nobody's ids (-1) stay.
    pub fn seen_by(self, cx: &dyn Caller) -> Ucred {
        let ns = &cx.credentials().user_ns;
        Ucred {
            pid: cx.pid_seen(self.pid),
            uid: if self.uid == u32::MAX {
                self.uid
            } else {
                ns.show_user(self.uid)
            },
            gid: if self.gid == u32::MAX {
                self.gid
            } else {
                ns.show_group(self.gid)
            },
        }
    }
}

/// `struct ucred`, with the numbers of the initial namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Ucred {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

/// Who sent something or connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The credentials.
    pub cred: Ucred,
    /// When the process began: another one that gets its number later is not meant.
    pub born: u64,
}

impl Sender {
    /// Nobody that is known, with this user and group.
    pub fn nobody(id: u32) -> Sender {
        Sender {
            cred: Ucred {
                pid: 0,
                uid: id,
                gid: id,
            },
            born: 0,
        }
    }
    /// The caller, as this user and group.
    pub fn of(cx: &dyn Caller, uid: u32, gid: u32) -> Sender {
        Sender {
            cred: Ucred {
                pid: cx.tgid(),
                uid,
                gid,
            },
            born: cx.born(),
        }
    }
}

/// Who calls, for operations that may need more than memory and identity.
pub struct SockCx<'a> {
    /// The caller.
    pub caller: &'a dyn Caller,
    /// Where its paths start, for AF_UNIX names. Absent in plain reads and writes, which name nothing.
    pub fs: Option<&'a FsContext>,
}

/// A control message (cmsg(3)).
pub enum Cmsg {
    /// SCM_RIGHTS: open files.
    Rights(Vec<Arc<File>>),
    /// SCM_CREDENTIALS; checked against the sender when sent.
    Credentials(Sender),
    /// SCM_PIDFD: a descriptor of this process.
    Pidfd(Sender),
    /// Anything else: level, type, data.
    Other(i32, i32, Vec<u8>),
}

/// A message to send.
pub struct SendMsg<'a> {
    /// Its bytes.
    pub src: &'a mut dyn Source,
    /// Destination, as a raw `struct sockaddr` of the given length.
    pub to: Option<&'a [u8]>,
    /// Control messages; taken by the socket when it sends them.
    pub control: Vec<Cmsg>,
    /// MSG_*.
    pub flags: MsgFlags,
}

/// A place for a message.
pub struct RecvMsg<'a> {
    /// For the bytes.
    pub dst: &'a mut dyn Sink,
    /// MSG_*.
    pub flags: MsgFlags,
    /// Whether the caller can take control messages: SCM_RIGHTS are lost otherwise.
    pub control: bool,
}

/// What was received.
#[derive(Default)]
pub struct Received {
    /// The call's value: bytes copied, or with MSG_TRUNC the message's whole length.
    pub len: usize,
    /// Sender's raw address; `None` leaves the length at 0.
    pub from: Option<Vec<u8>>,
    /// Control messages.
    pub control: Vec<Cmsg>,
    /// `msg_flags`.
    pub flags: MsgFlags,
}

/// Most sockets in the sandbox.
static SOCKETS: Quota = Quota::new(1 << 16);
/// Bytes that all sockets together may hold in their queues.
pub(super) static MEMORY: Quota = Quota::new(256 << 20);

/// State that every socket has.
pub struct Common {
    /// SOL_SOCKET options.
    pub options: Options,
    /// Woken when readiness changes.
    pub queue: Arc<WaitQueue>,
    error: AtomicI32,
    /// Inode number and owner of the open file; 0 before there is one.
    ino: AtomicU64,
    uid: AtomicU32,
    _charge: Charge,
    /// How many there are in the namespace.
    count: Arc<AtomicUsize>,
}

impl Drop for Common {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Common {
    /// For a new socket of a namespace, with these buffer sizes.
    ///
    /// # Errors
    /// ENFILE if the sandbox has too many sockets.
    pub fn new(namespace: &NetNamespace, sndbuf: usize, rcvbuf: usize) -> Result<Common> {
        let charge = SOCKETS.charge(1).ok_or(Errno::ENFILE)?;
        let count = namespace.sockets.clone();
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Common {
            options: Options::new(sndbuf, rcvbuf),
            queue: Arc::new(WaitQueue::new()),
            error: AtomicI32::new(0),
            ino: AtomicU64::new(0),
            uid: AtomicU32::new(0),
            _charge: charge,
            count,
        })
    }
    /// Inode number and owner.
    pub fn identity(&self) -> (u64, u32) {
        (
            self.ino.load(Ordering::Relaxed),
            self.uid.load(Ordering::Relaxed),
        )
    }
    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&self) -> Option<Errno> {
        match self.error.swap(0, Ordering::SeqCst) {
            0 => None,
            e => Some(Errno::from_raw(e)),
        }
    }
    /// Whether an error is pending.
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::SeqCst) != 0
    }
    /// Records an error for the next call.
    pub fn set_error(&self, e: Errno) {
        self.error.store(e.raw(), Ordering::SeqCst);
    }
    /// Fails with the pending error, if any.
    pub fn check_error(&self) -> Result<()> {
        match self.take_error() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }
}

/// A socket. Methods that would have to wait return EAGAIN.
pub trait Socket: Any + Send + Sync {
    /// AF_*.
    fn domain(&self) -> i32;
    /// Type.
    fn sock_type(&self) -> SockType;
    /// SO_PROTOCOL.
    fn protocol(&self) -> i32 {
        0
    }
    /// Shared state.
    fn common(&self) -> &Common;
    /// The network namespace it was made in.
    fn namespace(&self) -> &Arc<NetNamespace>;
    /// bind(2) to a raw address.
    fn bind(&self, _cx: &SockCx<'_>, _addr: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// connect(2) to a raw address. EAGAIN: try again when writable. EINPROGRESS, EALREADY: ask
    /// [`Self::connected`] when writable.
    fn connect(&self, _cx: &SockCx<'_>, _addr: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// The outcome of a connect in progress; EAGAIN while there is none.
    fn connected(&self) -> Result<()> {
        self.common().check_error()
    }
    /// listen(2).
    fn listen(&self, _cx: &SockCx<'_>, _backlog: usize) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// accept(2).
    fn accept(&self) -> Result<Arc<dyn Socket>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// shutdown(2).
    fn shutdown(&self, _how: Shutdown) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// getsockname(2): raw address.
    fn local_name(&self) -> Result<Vec<u8>>;
    /// getpeername(2): raw address.
    fn peer_name(&self) -> Result<Vec<u8>>;
    /// Sends (part of) a message; how many bytes.
    fn send(&self, cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize>;
    /// Receives.
    fn recv(&self, cx: &SockCx<'_>, msg: &mut RecvMsg<'_>) -> Result<Received>;
    /// getsockopt(2) for levels and options that are not shared: the value's bytes. ENOPROTOOPT.
    fn option(&self, _cx: &dyn Caller, _level: i32, _name: i32) -> Result<Vec<u8>> {
        Err(Errno::ENOPROTOOPT)
    }
    /// setsockopt(2) likewise.
    fn set_option(&self, _cx: &dyn Caller, _level: i32, _name: i32, _value: &[u8]) -> Result<()> {
        Err(Errno::ENOPROTOOPT)
    }
    /// A shared option has changed (buffer sizes).
    fn options_changed(&self) {}
    /// Whether it listens (SO_ACCEPTCONN).
    fn listening(&self) -> bool {
        false
    }
    /// Credentials of the peer (SO_PEERCRED).
    fn peer_credentials(&self) -> Result<Sender> {
        Ok(Sender::nobody(u32::MAX))
    }
    /// Supplementary groups of the peer (SO_PEERGROUPS).
    fn peer_groups(&self, _cx: &dyn Caller) -> Result<Vec<u8>> {
        Err(Errno::ENODATA)
    }
    /// Readiness.
    fn poll(&self) -> Events;
    /// ioctl(2).
    fn ioctl(&self, _cx: &dyn Caller, _cmd: u32, _arg: u64) -> Result<i64> {
        Err(Errno::ENOTTY)
    }
    /// Whether a call that reads may go on after a short count to fill the buffer (MSG_WAITALL).
    fn is_stream(&self) -> bool {
        self.sock_type() == SockType::Stream
    }
    /// The last descriptor was closed.
    fn close(&self);
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
}

/// The open file of a socket.
pub struct SocketFile(Arc<dyn Socket>);

/// An open file for a socket. `flags`: O_NONBLOCK.
pub fn socket_file(cx: &dyn Caller, socket: Arc<dyn Socket>, flags: OpenFlags) -> Arc<File> {
    let inode = AnonInode::new(cx, AnonKind::Socket);
    let common = socket.common();
    common.ino.store(inode.ino(), Ordering::Relaxed);
    common.uid.store(cx.credentials().fsuid, Ordering::Relaxed);
    File::new(
        Box::new(SocketFile(socket)),
        inode,
        None,
        OpenFlags::RDWR | flags,
    )
}

/// The socket behind a file.
pub fn socket_of(file: &File) -> Option<&Arc<dyn Socket>> {
    file.downcast::<SocketFile>().map(|f| &f.0)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl FileOps for SocketFile {
    fn read(&self, _: &File, cx: &dyn Caller, dst: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        // As System V had it (sock_read_iter).
        if dst.remaining() == 0 {
            return Ok(0);
        }
        let mut msg = RecvMsg {
            dst,
            flags: MsgFlags::empty(),
            control: false,
        };
        let cx = SockCx {
            caller: cx,
            fs: None,
        };
        self.0.recv(&cx, &mut msg).map(|r| r.len)
    }
    fn write(
        &self,
        _: &File,
        cx: &dyn Caller,
        src: &mut dyn Source,
        _: &mut u64,
        _: bool,
    ) -> Result<usize> {
        let mut msg = SendMsg {
            src,
            to: None,
            control: Vec::new(),
            flags: MsgFlags::empty(),
        };
        let cx = SockCx {
            caller: cx,
            fs: None,
        };
        self.0.send(&cx, &mut msg)
    }
    fn poll(&self, _: &File) -> Events {
        self.0.poll()
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.0.common().queue.clone())
    }
    fn wait_limit(&self, events: Events) -> Option<u64> {
        self.0.common().options.wait_limit(events)
    }
    fn signals_epipe(&self) -> bool {
        self.0.is_stream()
    }
    fn ioctl(&self, _: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        self.0.ioctl(cx, cmd, arg)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
