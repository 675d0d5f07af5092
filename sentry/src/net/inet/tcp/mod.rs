//! TCP sockets: state, names, readiness. [`connect`] has the ways into and out of a connection, [`data`] what flows, [`option`]
//! IPPROTO_TCP.

mod connect;
mod data;
mod option;

use super::core::Core;
use super::errors::Errors;
use super::listing::Entry;
use super::ports::PortOwner;
use crate::abi::{Errno, Result};
use crate::net::NetNamespace;
use crate::net::socket::{
    Common, MEMORY, MsgFlags, Received, RecvMsg, SendMsg, Shutdown, SockCx, SockType, Socket,
};
use crate::sync::{Charge, Events, Mutex, Rank};
use crate::time::{Instant, TimerHandle};
use crate::usermem::{ByteQueue, UserPtr};
use crate::vfs::Caller;
use option::TcpOptions;
use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
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
    /// Notices of MSG_ZEROCOPY, and how many calls had it.
    errors: Errors,
    zerocopies: AtomicU32,
    /// Gives up a connection request, and later lets corked data go.
    timer: Mutex<Option<TimerHandle>>,
    state: Mutex<State>,
}

/// Where a socket is in its life (TCP_CLOSE, TCP_LISTEN, TCP_SYN_SENT, and the connected states).
enum Phase {
    Closed,
    Listening {
        backlog: usize,
        /// Connections that accept has not taken.
        pending: VecDeque<Arc<TcpSocket>>,
        /// Sockets that wait for room in `pending`, each with the [`Phase::Connecting`] that it waits in.
        waiting: VecDeque<(Weak<TcpSocket>, Instant)>,
    },
    /// Until when, if nobody answers.
    Connecting(Instant),
    Established,
}

struct State {
    phase: Phase,
    /// Local address once bound.
    local: Option<SocketAddr>,
    /// Whether bind(2) chose the port (then disconnecting keeps it).
    port_locked: bool,
    remote: Option<SocketAddr>,
    /// What getsockname(2) still says after the port was given back.
    stale: Option<SocketAddr>,
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
    /// Bytes at the end of `queue` that the peer has not sent yet (TCP_CORK, MSG_MORE).
    hidden: usize,
    /// It closed first: its address stays in use for a while (TIME_WAIT).
    closed_first: bool,
    /// The last descriptor is closed.
    orphan: bool,
}

/// MSG_OOB: one byte of the stream is urgent. It is in the queue, too, where reads stop before it and then skip it.
#[derive(Default)]
struct Urgent {
    /// The byte until MSG_OOB takes it.
    byte: Option<u8>,
    /// Bytes of the queue before it.
    mark: Option<usize>,
}

impl State {
    fn new() -> State {
        State {
            phase: Phase::Closed,
            local: None,
            port_locked: false,
            remote: None,
            stale: None,
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
            hidden: 0,
            closed_first: false,
            orphan: false,
        }
    }
    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }
    /// TCP_ESTABLISHED, TCP_CLOSE_WAIT ….
    fn number(&self) -> u8 {
        match (&self.phase, self.fin, self.shut.write) {
            (Phase::Listening { .. }, ..) => 10,
            (Phase::Connecting(_), ..) => 2,
            (Phase::Established, true, false) => 8,
            // FIN_WAIT2: there is no way for a FIN to be underway.
            (Phase::Established, false, true) => 5,
            (Phase::Established, ..) => 1,
            (Phase::Closed, ..) => 7,
        }
    }
    /// Bytes that may be read.
    fn visible(&self) -> usize {
        self.queue.len().saturating_sub(self.hidden)
    }
    /// The same without an urgent byte at the front, unless urgent data is `inline`.
    fn readable(&self, inline: bool) -> usize {
        let skipped = usize::from(!inline && self.urgent.mark == Some(0));
        self.visible().saturating_sub(skipped)
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
        let common = Common::new(&core.namespace, SNDBUF, RCVBUF)?;
        Ok(Arc::new_cyclic(|me| TcpSocket {
            me: me.clone(),
            common,
            core,
            options: Mutex::new(Rank::LEAF, TcpOptions::default()),
            errors: Errors::default(),
            zerocopies: AtomicU32::new(0),
            timer: Mutex::new(Rank::LEAF, None),
            state: Mutex::new(Rank::OBJECT, State::new()),
        }))
    }

    /// What it is, for lists of sockets; `None` if it has no state to show.
    pub(super) fn entry(this: &Arc<TcpSocket>) -> Option<Entry> {
        let (local, remote, state, rx, tx) = {
            let s = this.state.lock();
            let (rx, tx) = match &s.phase {
                Phase::Listening {
                    backlog, pending, ..
                } => (pending.len(), *backlog),
                _ => (s.visible(), 0),
            };
            (s.local?, s.remote, s.number(), rx, tx)
        };
        if state == 7 {
            return None;
        }
        let listening = state == 10;
        let mut e = Entry::new(&**this, local, remote.filter(|_| !listening));
        e.state = state;
        e.rx = rx;
        e.tx = if listening {
            tx
        } else {
            this.unsent().unwrap_or(0)
        };
        Some(e)
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
    fn port_range(&self) -> (u16, u16) {
        self.core.with_options(|o| o.port_range())
    }
}

impl Socket for TcpSocket {
    fn domain(&self) -> i32 {
        self.core.family()
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
    fn namespace(&self) -> &Arc<NetNamespace> {
        &self.core.namespace
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
        let s = self.state.lock();
        let shown = s.local.or(s.stale).unwrap_or(self.core.any());
        drop(s);
        Ok(self.core.encode(shown))
    }
    fn peer_name(&self) -> Result<Vec<u8>> {
        let s = self.state.lock();
        match (&s.phase, s.remote) {
            (Phase::Established, Some(r)) => Ok(self.core.encode(r)),
            _ => Err(Errno::ENOTCONN),
        }
    }
    fn send(&self, _cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        if msg.flags.contains(MsgFlags::FASTOPEN) {
            self.fast_open(msg.to)?;
        }
        let n = self.do_send(msg)?;
        if msg.flags.contains(MsgFlags::ZEROCOPY) && self.common.options.with(|v| v.zerocopy) {
            let call = self.zerocopies.fetch_add(1, Ordering::Relaxed);
            self.errors
                .push(&self.common, super::errors::zerocopy(call));
        }
        Ok(n)
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
        let (bound, remote) = {
            let s = self.state.lock();
            let connected = matches!(s.phase, Phase::Established);
            (s.local.is_some(), s.remote.filter(|_| connected))
        };
        if (level, name) == (libc::IPPROTO_IPV6, libc::IPV6_ADDRFORM)
            && self.core.family() == libc::AF_INET6
        {
            return self.core.become_v4(value, remote);
        }
        self.core.set_option(cx, level, name, value, bound)
    }
    fn listening(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }
    fn poll(&self) -> Events {
        let mut e = Events::empty();
        if self.common.has_error() || !self.errors.is_empty() {
            e |= Events::ERR;
        }
        // No more than half of what the buffer holds can be waited for.
        let (inline, low) = self.common.options.with(|v| {
            let low = v.rcvlowat.min(v.rcvbuf / 2).max(1);
            (v.oobinline, low)
        });
        let s = self.state.lock();
        match &s.phase {
            Phase::Listening { pending, .. } => {
                if !pending.is_empty() {
                    e |= Events::READABLE;
                }
                return e;
            }
            Phase::Connecting(_) => return e,
            Phase::Closed => e |= Events::HUP,
            Phase::Established => {}
        }
        if s.shut.read && s.shut.write {
            e |= Events::HUP;
        }
        if s.shut.read {
            e |= Events::READABLE | Events::RDHUP;
        }
        if s.readable(inline) >= low {
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
                // Up to the urgent byte (tcp_inq).
                match s.urgent.mark {
                    Some(m) if !self.common.options.with(|v| v.oobinline) => m.min(s.visible()),
                    _ => s.visible(),
                }
            }
            libc::TIOCOUTQ => self.unsent()?,
            // SIOCOUTQNSD.
            0x894b => 0,
            // SIOCATMARK.
            0x8905 => usize::from(self.state.lock().urgent.mark == Some(0)),
            _ => return super::control(cx, &self.core, None, cmd, arg),
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
