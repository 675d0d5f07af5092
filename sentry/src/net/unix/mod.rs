//! AF_UNIX sockets (unix(7)): stream, datagram and sequenced-packet.
//!
//! A socket's receive queue holds [`Message`]s; sending puts one into the peer's queue and charges the sender. A connected
//! stream is a pair of sockets that know each other weakly.
//!
//! Locks: [`UnixTable`] (`NET_TABLE`), then one socket's state (`OBJECT`); never two states at once. Messages are dropped without
//! locks, since they may hold the last reference to any file.

mod addr;
mod connect;
mod dgram;
mod garbage;
mod message;
mod rights;
mod stream;
mod table;
#[cfg(test)]
mod tests;

pub use rights::MAX_FILES;
pub use table::{Entry, UnixTable};

use super::namespace::NetNamespace;
use super::options::DEFAULT_BUF;
use super::socket::{
    Cmsg, Common, MsgFlags, Received, RecvMsg, SendMsg, Sender, Shutdown, SockCx, SockType, Socket,
};
use crate::abi::{Errno, Result};
use crate::auth::Groups;
use crate::sync::{Events, Mutex, Rank};
use crate::usermem::UserPtr;
use crate::vfs::{Caller, File};
use addr::{Name, NameCell};
use message::{Account, Message};
use rights::Rights;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// An AF_UNIX socket.
pub struct UnixSocket {
    me: Weak<UnixSocket>,
    common: Common,
    sock_type: SockType,
    namespace: Arc<NetNamespace>,
    name: Arc<NameCell>,
    account: Arc<Account>,
    state: Mutex<State>,
}

/// The other end of a connection, or a datagram socket's default destination.
#[derive(Clone)]
struct Peer {
    socket: Weak<UnixSocket>,
    name: Arc<NameCell>,
}

/// Where a socket is in its life.
enum Phase {
    /// Not connected (datagram sockets stay here).
    Idle,
    Listening {
        backlog: usize,
        /// Server ends that accept has not taken.
        pending: VecDeque<Arc<UnixSocket>>,
    },
    /// One of a pair of stream or seqpacket sockets.
    Connected,
    Closed,
}

struct State {
    phase: Phase,
    peer: Option<Peer>,
    peer_cred: Option<Sender>,
    /// Supplementary groups that came with it.
    peer_groups: Option<Arc<Groups>>,
    queue: VecDeque<Message>,
    /// Bytes in `queue`.
    bytes: usize,
    shut: Shutdown,
    /// Who waits for room in `queue` or the backlog; woken when there is.
    waiting: Vec<Weak<UnixSocket>>,
}

impl State {
    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }
    /// Notes that `who` waits for room here.
    fn wait_for_room(&mut self, who: &Weak<UnixSocket>) {
        if self.waiting.iter().any(|w| w.ptr_eq(who)) {
            return;
        }
        if self.waiting.len() >= 64 && self.waiting.len().is_power_of_two() {
            self.waiting.retain(|w| w.strong_count() > 0);
        }
        self.waiting.push(who.clone());
    }
    fn push(&mut self, m: Message) {
        self.bytes += m.data.len();
        self.queue.push_back(m);
    }
    fn pop(&mut self) -> Option<Message> {
        let m = self.queue.pop_front()?;
        self.bytes -= m.data.len();
        Some(m)
    }
}

/// Longest datagram queue is one more (`net.unix.max_dgram_qlen`).
const MAX_DGRAM_QLEN: usize = 10;

fn wake_all(waiting: Vec<Weak<UnixSocket>>) {
    for w in waiting {
        if let Some(s) = w.upgrade() {
            s.common.queue.wake(Events::WRITABLE);
        }
    }
}

impl UnixSocket {
    /// socket(2).
    ///
    /// # Errors
    /// ENFILE if the sandbox has too many sockets.
    pub fn new(namespace: &Arc<NetNamespace>, sock_type: SockType) -> Result<Arc<UnixSocket>> {
        Self::with(namespace, sock_type, Arc::new(NameCell::default()))
    }

    fn with(
        namespace: &Arc<NetNamespace>,
        sock_type: SockType,
        name: Arc<NameCell>,
    ) -> Result<Arc<UnixSocket>> {
        let common = Common::new(namespace, DEFAULT_BUF, DEFAULT_BUF)?;
        let account = Account::new(DEFAULT_BUF, common.queue.clone());
        let socket = Arc::new_cyclic(|me| UnixSocket {
            me: me.clone(),
            common,
            sock_type,
            namespace: namespace.clone(),
            name,
            account,
            state: Mutex::new(
                Rank::OBJECT,
                State {
                    phase: Phase::Idle,
                    peer: None,
                    peer_cred: None,
                    peer_groups: None,
                    queue: VecDeque::new(),
                    bytes: 0,
                    shut: Shutdown {
                        read: false,
                        write: false,
                    },
                    waiting: Vec::new(),
                },
            ),
        });
        namespace.unix.enter(&socket);
        Ok(socket)
    }

    /// What it is, for lists of sockets.
    fn entry(&self) -> table::Entry {
        let (state, queued, backlog, peer, shut) = {
            let s = self.state.lock();
            let peer = s.peer.as_ref().and_then(|p| p.socket.upgrade());
            let (state, queued, backlog) = match &s.phase {
                Phase::Listening { backlog, pending } => (10, pending.len(), Some(*backlog)),
                Phase::Connected => (1, s.bytes, None),
                Phase::Idle | Phase::Closed if peer.is_some() => (1, s.bytes, None),
                Phase::Idle | Phase::Closed => (7, s.bytes, None),
            };
            (state, queued, backlog, peer, s.shut)
        };
        let (ino, uid) = self.common.identity();
        table::Entry {
            kind: self.sock_type.raw(),
            state,
            name: match self.name.get() {
                Name::Unnamed => None,
                Name::Path(p) => Some(p),
                Name::Abstract(n) => Some(
                    std::iter::once(b'@')
                        .chain(n.iter().map(|b| if *b == 0 { b'@' } else { *b }))
                        .collect(),
                ),
            },
            ino,
            peer: peer.map(|p| p.common.identity().0),
            queued,
            sent: backlog.unwrap_or(self.account.used()),
            cookie: super::options::cookie(&self.common.options),
            shutdown: u8::from(shut.read) | u8::from(shut.write) << 1,
            uid,
        }
    }

    fn as_peer(&self) -> Peer {
        Peer {
            socket: self.me.clone(),
            name: self.name.clone(),
        }
    }

    fn is_datagram(&self) -> bool {
        self.sock_type == SockType::Dgram
    }

    /// Visits the files in its messages, and in those of connections it has not accepted.
    fn for_each_queued(&self, visit: &mut dyn FnMut(&Arc<File>)) {
        let embryos: Vec<_> = {
            let s = self.state.lock();
            for m in &s.queue {
                m.rights
                    .iter()
                    .flat_map(|r| r.files())
                    .for_each(&mut *visit);
            }
            match &s.phase {
                Phase::Listening { pending, .. } => pending.iter().cloned().collect(),
                _ => Vec::new(),
            }
        };
        for e in embryos {
            let s = e.state.lock();
            for m in &s.queue {
                m.rights
                    .iter()
                    .flat_map(|r| r.files())
                    .for_each(&mut *visit);
            }
        }
    }

    /// Drops all messages.
    fn purge(&self) {
        let (messages, embryos) = {
            let mut s = self.state.lock();
            s.bytes = 0;
            let embryos: Vec<_> = match &s.phase {
                Phase::Listening { pending, .. } => pending.iter().cloned().collect(),
                _ => Vec::new(),
            };
            (std::mem::take(&mut s.queue), embryos)
        };
        drop(messages);
        for e in embryos {
            e.purge();
        }
    }

    /// Credentials to attach to what is sent to `peer`: none if nobody looks at them.
    fn outgoing_creds(
        &self,
        cx: &SockCx<'_>,
        peer: &UnixSocket,
        explicit: Option<Sender>,
    ) -> Option<Sender> {
        if explicit.is_some() {
            return explicit;
        }
        let wanted = |s: &UnixSocket| s.common.options.with(|v| v.passcred || v.passpidfd);
        (wanted(self) || wanted(peer)).then(|| {
            let c = cx.caller.credentials();
            Sender::of(cx.caller, c.uid, c.gid)
        })
    }

    /// Moves SO_PEEK_OFF: forward by what was looked at, back by what was taken.
    fn peek_moved(&self, n: usize, forward: bool) {
        self.common.options.with(|v| {
            if v.peek_off >= 0 {
                let n = i32::try_from(n).unwrap_or(i32::MAX);
                v.peek_off = if forward {
                    v.peek_off.saturating_add(n)
                } else {
                    v.peek_off.saturating_sub(n).max(0)
                };
            }
        });
    }

    /// The control messages of received credentials and files.
    fn incoming_control(
        &self,
        msg: &RecvMsg<'_>,
        creds: Option<Sender>,
        files: Vec<Arc<File>>,
        out: &mut Received,
    ) {
        if self.common.options.with(|v| v.passcred) {
            // overflowuid: the sender did not attach any.
            let who = creds.unwrap_or(Sender::nobody(65534));
            out.control.push(Cmsg::Credentials(who));
        }
        if self.common.options.with(|v| v.passpidfd) {
            let who = creds.unwrap_or(Sender::nobody(0));
            out.control.push(Cmsg::Pidfd(who));
        }
        if files.is_empty() {
            return;
        }
        if msg.control && self.common.options.with(|v| v.passrights) {
            out.control.push(Cmsg::Rights(files));
        } else {
            out.flags |= MsgFlags::CTRUNC;
        }
    }
}

/// Sorts the control messages of a message to send.
///
/// # Errors
/// EINVAL for unknown ones; ETOOMANYREFS.
fn outgoing_control(
    caller: &dyn Caller,
    control: Vec<Cmsg>,
) -> Result<(Option<Sender>, Option<Rights>)> {
    let mut creds = None;
    let mut files = Vec::new();
    for c in control {
        match c {
            Cmsg::Credentials(u) => creds = Some(u),
            Cmsg::Rights(f) => files.extend(f),
            // Only ever received.
            Cmsg::Pidfd(_) => return Err(Errno::EINVAL),
            Cmsg::Other(level, ..) if level == libc::SOL_SOCKET => return Err(Errno::EINVAL),
            // Other protocols' messages are ignored.
            Cmsg::Other(..) => {}
        }
    }
    Ok((creds, Rights::new(caller, files)?))
}

/// The family has no options of its own.
fn no_option(level: i32) -> Errno {
    if level == libc::SOL_SOCKET {
        Errno::ENOPROTOOPT
    } else {
        Errno::EOPNOTSUPP
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Name::Abstract(n) = self.name.get() {
            self.namespace.unix.unbind(&n, self);
        }
        self.namespace.unix.leave(self);
    }
}

impl Socket for UnixSocket {
    fn domain(&self) -> i32 {
        libc::AF_UNIX
    }
    fn sock_type(&self) -> SockType {
        self.sock_type
    }
    fn common(&self) -> &Common {
        &self.common
    }
    fn namespace(&self) -> &Arc<NetNamespace> {
        &self.namespace
    }
    fn bind(&self, cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        self.do_bind(cx, addr)
    }
    fn connect(&self, cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        if self.is_datagram() {
            self.connect_dgram(cx, addr)
        } else {
            self.connect_stream(cx, addr)
        }
    }
    fn listen(&self, cx: &SockCx<'_>, backlog: usize) -> Result<()> {
        self.do_listen(cx, backlog)
    }
    fn accept(&self) -> Result<Arc<dyn Socket>> {
        self.do_accept()
    }
    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.do_shutdown(how)
    }
    fn local_name(&self) -> Result<Vec<u8>> {
        Ok(self.name.get().encode())
    }
    fn peer_name(&self) -> Result<Vec<u8>> {
        let peer = self.state.lock().peer.clone().ok_or(Errno::ENOTCONN)?;
        Ok(peer.name.get().encode())
    }
    fn send(&self, cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        match self.sock_type {
            SockType::Stream => self.send_stream(cx, msg),
            _ => self.send_dgram(cx, msg),
        }
    }
    fn recv(&self, _cx: &SockCx<'_>, msg: &mut RecvMsg<'_>) -> Result<Received> {
        match self.sock_type {
            SockType::Stream => self.recv_stream(msg),
            _ => self.recv_dgram(msg),
        }
    }
    fn option(&self, _cx: &dyn Caller, level: i32, _name: i32) -> Result<Vec<u8>> {
        Err(no_option(level))
    }
    fn set_option(&self, _cx: &dyn Caller, level: i32, _name: i32, _value: &[u8]) -> Result<()> {
        Err(no_option(level))
    }
    fn options_changed(&self) {
        self.account
            .set_limit(self.common.options.with(|v| v.sndbuf));
    }
    fn listening(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }
    fn peer_groups(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        let groups = self.state.lock().peer_groups.clone();
        let groups = groups.ok_or(Errno::ENODATA)?;
        let ns = &cx.credentials().user_ns;
        let shown = groups.iter().map(|g| ns.show_group(*g).to_ne_bytes());
        Ok(shown.flatten().collect())
    }
    fn peer_credentials(&self) -> Result<Sender> {
        let s = self.state.lock();
        Ok(s.peer_cred.unwrap_or(Sender::nobody(u32::MAX)))
    }
    fn poll(&self) -> Events {
        let mut e = Events::empty();
        if self.common.has_error() {
            e |= Events::ERR;
        }
        let s = self.state.lock();
        if s.shut.read && s.shut.write {
            e |= Events::HUP;
        }
        if s.shut.read {
            e |= Events::RDHUP | Events::READABLE;
        }
        let listening = match &s.phase {
            Phase::Listening { pending, .. } => {
                if !pending.is_empty() {
                    e |= Events::READABLE;
                }
                true
            }
            Phase::Idle if !self.is_datagram() => {
                e |= Events::HUP;
                false
            }
            _ => false,
        };
        if !s.queue.is_empty() {
            e |= Events::READABLE;
        }
        let peer = s.peer.as_ref().and_then(|p| p.socket.upgrade());
        drop(s);
        if !listening && self.account.writable() && peer.is_none_or(|p| self.has_room_at(&p)) {
            e |= Events::WRITABLE | Events::WRBAND;
        }
        e
    }
    fn ioctl(&self, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        let n = match u64::from(cmd) {
            libc::FIONREAD => {
                let s = self.state.lock();
                match (&s.phase, self.sock_type) {
                    (Phase::Listening { .. }, _) => return Err(Errno::EINVAL),
                    (_, SockType::Dgram) => s.queue.front().map_or(0, |m| m.data.len()),
                    _ => s.bytes,
                }
            }
            libc::TIOCOUTQ => self.account.used(),
            // SIOCATMARK is of streams.
            0x8905 if self.sock_type != SockType::Stream => return Err(Errno::EOPNOTSUPP),
            // SIOCUNIXFILE opens what a socket is bound to.
            0x89e0 if !self.name.is_set() => return Err(Errno::ENOENT),
            _ => return crate::net::netlink::ioctl(cx, &self.namespace, cmd, arg),
        };
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        cx.memory().put(UserPtr::<i32>::new(arg), &n)?;
        Ok(0)
    }
    fn close(&self) {
        self.do_close();
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
