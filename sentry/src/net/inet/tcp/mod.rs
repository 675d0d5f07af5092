//! TCP sockets: state, names, readiness. [`connect`] has the ways into and out of a connection, [`data`] what flows, [`option`]
//! IPPROTO_TCP.

mod connect;
mod data;
mod option;

use super::core::Core;
use super::ports::PortOwner;
use crate::abi::{Errno, Result};
use crate::net::NetNamespace;
use crate::net::socket::{
    Common, MEMORY, Received, RecvMsg, SendMsg, Shutdown, SockCx, SockType, Socket,
};
use crate::sync::{Charge, Events, Mutex, Rank};
use crate::usermem::{ByteQueue, UserPtr};
use crate::vfs::Caller;
use option::TcpOptions;
use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

/// `net.ipv4.tcp_wmem` and `tcp_rmem` of a new socket.
const SNDBUF: usize = 16384;
const RCVBUF: usize = 131_072;
/// What the send side may hold while the program has not chosen SO_SNDBUF; Linux grows it to some megabytes.
const AUTO_SNDBUF: usize = 1 << 20;

/// A TCP socket.
pub struct TcpSocket {
    me: Weak<TcpSocket>,
    common: Common,
    core: Core,
    options: Mutex<TcpOptions>,
    state: Mutex<State>,
}

/// Where a socket is in its life (TCP_CLOSE, TCP_LISTEN, TCP_SYN_SENT, and the connected states).
enum Phase {
    Closed,
    Listening {
        backlog: usize,
        /// Connections that accept has not taken.
        pending: VecDeque<Arc<TcpSocket>>,
        /// Sockets that wait for room in `pending`.
        waiting: VecDeque<Weak<TcpSocket>>,
    },
    Connecting,
    Established,
}

struct State {
    phase: Phase,
    /// Local address once bound.
    local: Option<SocketAddr>,
    /// Whether bind(2) chose the port (then disconnecting keeps it).
    port_locked: bool,
    remote: Option<SocketAddr>,
    /// connect(2) has not yet reported its outcome (SS_CONNECTING).
    unreported: bool,
    peer: Weak<TcpSocket>,
    /// Received bytes, and the share of the sandbox's memory that they take.
    queue: ByteQueue,
    charge: Option<Charge>,
    /// Bytes that may be in `queue` before the sender waits.
    window: usize,
    /// The peer has sent its FIN (SOCK_DONE).
    fin: bool,
    shut: Shutdown,
    urgent: Urgent,
    /// The last descriptor is closed.
    orphan: bool,
}

/// MSG_OOB: one byte beside the stream.
#[derive(Default)]
struct Urgent {
    byte: Option<u8>,
    /// Bytes of the stream before the mark.
    mark: Option<usize>,
}

impl State {
    fn new() -> State {
        State {
            phase: Phase::Closed,
            local: None,
            port_locked: false,
            remote: None,
            unreported: false,
            peer: Weak::new(),
            queue: ByteQueue::default(),
            charge: None,
            window: RCVBUF,
            fin: false,
            shut: Shutdown {
                read: false,
                write: false,
            },
            urgent: Urgent::default(),
            orphan: false,
        }
    }
    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }
    /// Makes the memory charge follow the queue; false if the sandbox has no room for `extra` more bytes.
    fn recharge(&mut self, extra: usize) -> bool {
        let want = self.queue.len() + extra;
        match &mut self.charge {
            Some(c) => c.resize(want),
            None => {
                self.charge = MEMORY.charge(want);
                self.charge.is_some()
            }
        }
    }
}

/// A sender is told that there is room when a third of the window is free.
fn roomy(used: usize, window: usize) -> bool {
    used <= window / 3 * 2
}

impl TcpSocket {
    /// socket(2).
    ///
    /// # Errors
    /// ENFILE if the sandbox has too many sockets.
    pub fn new(cx: &dyn Caller, namespace: &Arc<NetNamespace>, family: i32) -> Result<Arc<Self>> {
        let uid = cx.credentials().euid;
        Self::with(Core::new(namespace, family, SockType::Stream, uid))
    }

    fn with(core: Core) -> Result<Arc<Self>> {
        let common = Common::new(SNDBUF, RCVBUF)?;
        Ok(Arc::new_cyclic(|me| TcpSocket {
            me: me.clone(),
            common,
            core,
            options: Mutex::new(Rank::LEAF, TcpOptions::default()),
            state: Mutex::new(Rank::OBJECT, State::new()),
        }))
    }

    #[cfg(test)]
    pub(super) fn namespace(&self) -> &Arc<NetNamespace> {
        &self.core.namespace
    }

    fn me(&self) -> Result<Arc<TcpSocket>> {
        self.me.upgrade().ok_or(Errno::EINVAL)
    }

    /// Bytes that may be on their way from this socket to `to`.
    fn window_to(&self, to: &TcpSocket) -> usize {
        let send = self
            .common
            .options
            .with(|v| if v.sndbuf_set { v.sndbuf } else { AUTO_SNDBUF });
        send + to.common.options.with(|v| v.rcvbuf)
    }
}

impl PortOwner for TcpSocket {
    fn reuse(&self) -> (bool, bool) {
        self.common.options.with(|v| (v.reuseaddr, v.reuseport))
    }
    fn listens(&self) -> bool {
        self.listening()
    }
    fn uid(&self) -> u32 {
        self.core.uid
    }
    fn v6_only(&self) -> bool {
        self.core.v6_only()
    }
}

impl Socket for TcpSocket {
    fn domain(&self) -> i32 {
        self.core.family
    }
    fn sock_type(&self) -> SockType {
        SockType::Stream
    }
    fn protocol(&self) -> i32 {
        libc::IPPROTO_TCP
    }
    fn common(&self) -> &Common {
        &self.common
    }
    fn bind(&self, cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        self.do_bind(cx, addr)
    }
    fn connect(&self, _cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        self.do_connect(addr)
    }
    fn connected(&self) -> Result<()> {
        self.connect_outcome()
    }
    fn listen(&self, _cx: &SockCx<'_>, backlog: usize) -> Result<()> {
        self.do_listen(backlog)
    }
    fn accept(&self) -> Result<Arc<dyn Socket>> {
        self.do_accept()
    }
    fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.do_shutdown(how)
    }
    fn local_name(&self) -> Result<Vec<u8>> {
        let local = self.state.lock().local;
        Ok(self.core.encode(local.unwrap_or(self.core.any())))
    }
    fn peer_name(&self) -> Result<Vec<u8>> {
        let s = self.state.lock();
        match (&s.phase, s.remote) {
            (Phase::Established, Some(r)) => Ok(self.core.encode(r)),
            _ => Err(Errno::ENOTCONN),
        }
    }
    fn send(&self, _cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        self.do_send(msg)
    }
    fn recv(&self, _cx: &SockCx<'_>, msg: &mut RecvMsg<'_>) -> Result<Received> {
        self.do_recv(msg)
    }
    fn option(&self, _cx: &dyn Caller, level: i32, name: i32) -> Result<Vec<u8>> {
        if level == libc::IPPROTO_TCP {
            return self.tcp_option(name);
        }
        let connected = matches!(self.state.lock().phase, Phase::Established);
        self.core.option(level, name, connected)
    }
    fn set_option(&self, cx: &dyn Caller, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level == libc::IPPROTO_TCP {
            return self.set_tcp_option(cx, name, value);
        }
        let bound = self.state.lock().local.is_some();
        self.core.set_option(cx, level, name, value, bound)
    }
    fn listening(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }
    fn poll(&self) -> Events {
        let mut e = Events::empty();
        if self.common.has_error() {
            e |= Events::ERR;
        }
        let inline = self.common.options.with(|v| v.oobinline);
        let s = self.state.lock();
        match &s.phase {
            Phase::Listening { pending, .. } => {
                if !pending.is_empty() {
                    e |= Events::READABLE;
                }
                return e;
            }
            Phase::Connecting => return e,
            Phase::Closed => e |= Events::HUP,
            Phase::Established => {}
        }
        if s.shut.read && s.shut.write {
            e |= Events::HUP;
        }
        if s.shut.read {
            e |= Events::READABLE | Events::RDHUP;
        }
        if !s.queue.is_empty() || (inline && s.urgent.byte.is_some()) {
            e |= Events::READABLE;
        }
        if s.urgent.byte.is_some() {
            e |= Events::PRI;
        }
        let writable = s.shut.write || !matches!(s.phase, Phase::Established);
        let peer = s.peer.upgrade();
        drop(s);
        if writable || peer.is_none_or(|p| self.has_room_at(&p)) {
            e |= Events::WRITABLE;
        }
        e
    }
    fn ioctl(&self, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        let n = match u64::from(cmd) {
            libc::FIONREAD => {
                let s = self.state.lock();
                if matches!(s.phase, Phase::Listening { .. }) {
                    return Err(Errno::EINVAL);
                }
                s.queue.len()
            }
            libc::TIOCOUTQ => self.unsent()?,
            // SIOCATMARK.
            0x8905 => usize::from(self.state.lock().urgent.mark == Some(0)),
            _ => return crate::net::netlink::ioctl(cx, &self.core.namespace, cmd, arg),
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
