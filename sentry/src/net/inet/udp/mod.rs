//! UDP and UDP-Lite sockets: names and readiness. [`data`] has the datagrams.
//!
//! UDP-Lite differs in its ports and in how much of a packet its checksum covers, of which there is none.

mod data;

use super::addr;
use super::core::Core;
use super::ports::{PortOwner, PortTable};
use crate::abi::{Errno, Result};
use crate::net::NetNamespace;
use crate::net::interface::Route;
use crate::net::options::{DEFAULT_BUF, from_int, int};
use crate::net::socket::{Common, Received, RecvMsg, SendMsg, Shutdown, SockCx, SockType, Socket};
use crate::sync::{Charge, Events, Mutex, Rank};
use crate::usermem::UserPtr;
use crate::vfs::{Caller, Timestamp};
use std::any::Any;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

/// UDP_CORK.
const UDP_CORK: i32 = 1;
/// UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV.
const COVERAGE: [i32; 2] = [10, 11];

/// A UDP socket.
pub struct UdpSocket {
    me: Weak<UdpSocket>,
    common: Common,
    core: Core,
    /// IPPROTO_UDP or IPPROTO_UDPLITE.
    protocol: i32,
    state: Mutex<State>,
}

struct State {
    local: Option<SocketAddr>,
    /// bind(2) chose the address, the port.
    addr_locked: bool,
    port_locked: bool,
    remote: Option<SocketAddr>,
    queue: VecDeque<Datagram>,
    /// What `queue` costs, against SO_RCVBUF.
    cost: usize,
    /// Datagrams that found it full.
    drops: u32,
    shut: Shutdown,
    /// Values of [`COVERAGE`].
    coverage: [i32; 2],
}

struct Datagram {
    data: Vec<u8>,
    from: SocketAddr,
    to: IpAddr,
    /// Hop limit and traffic class.
    hops: u8,
    class: u8,
    time: Timestamp,
    charge: Charge,
}

impl UdpSocket {
    /// socket(2). `protocol`: IPPROTO_UDP or IPPROTO_UDPLITE.
    ///
    /// # Errors
    /// ENFILE if the sandbox has too many sockets.
    pub fn new(
        cx: &dyn Caller,
        namespace: &Arc<NetNamespace>,
        family: i32,
        protocol: i32,
    ) -> Result<Arc<Self>> {
        let common = Common::new(DEFAULT_BUF, DEFAULT_BUF)?;
        let uid = cx.credentials().euid;
        let core = Core::new(namespace, family, SockType::Dgram, uid);
        Ok(Arc::new_cyclic(|me| UdpSocket {
            me: me.clone(),
            common,
            core,
            protocol,
            state: Mutex::new(
                Rank::OBJECT,
                State {
                    local: None,
                    addr_locked: false,
                    port_locked: false,
                    remote: None,
                    queue: VecDeque::new(),
                    cost: 0,
                    drops: 0,
                    shut: Shutdown {
                        read: false,
                        write: false,
                    },
                    coverage: [0; 2],
                },
            ),
        }))
    }

    /// The ports of its protocol.
    fn table(&self) -> &PortTable<UdpSocket> {
        let tables = &self.core.namespace.inet;
        if self.protocol == libc::IPPROTO_UDPLITE {
            &tables.udplite
        } else {
            &tables.udp
        }
    }

    fn me(&self) -> Result<Arc<UdpSocket>> {
        self.me.upgrade().ok_or(Errno::EINVAL)
    }

    fn bind_to(&self, want: SocketAddr, explicit: bool) -> Result<SocketAddr> {
        let table = self.table();
        let bound = table.bind(self.core.id, want, &self.me()?)?;
        let mut s = self.state.lock();
        if s.local.is_some() {
            drop(s);
            table.unbind(self.core.id, bound.port());
            return Err(Errno::EINVAL);
        }
        s.local = Some(bound);
        s.addr_locked = explicit && !want.ip().is_unspecified();
        s.port_locked = explicit && want.port() != 0;
        Ok(bound)
    }

    /// The local address, bound now if it was not.
    fn ensure_bound(&self) -> Result<SocketAddr> {
        let local = self.state.lock().local;
        match local {
            Some(l) => Ok(l),
            None => self.bind_to(self.core.any(), false),
        }
    }

    /// udp_disconnect.
    fn disconnect(&self) {
        let table = self.table();
        let (id, any) = (self.core.id, self.core.any());
        let mut s = self.state.lock();
        s.remote = None;
        if !s.addr_locked
            && let Some(l) = &mut s.local
        {
            l.set_ip(any.ip());
        }
        let free = if s.port_locked || s.addr_locked {
            None
        } else {
            s.local.take()
        };
        let kept = s.local;
        drop(s);
        if let Some(l) = free {
            table.unbind(id, l.port());
        } else if let Some(l) = kept {
            table.set_addr(id, l);
        }
    }
}

impl PortOwner for UdpSocket {
    fn reuse(&self) -> (bool, bool) {
        self.common.options.with(|v| (v.reuseaddr, v.reuseport))
    }
    fn listens(&self) -> bool {
        false
    }
    fn uid(&self) -> u32 {
        self.core.uid
    }
    fn v6_only(&self) -> bool {
        self.core.v6_only()
    }
}

impl Socket for UdpSocket {
    fn domain(&self) -> i32 {
        self.core.family
    }
    fn sock_type(&self) -> SockType {
        SockType::Dgram
    }
    fn protocol(&self) -> i32 {
        self.protocol
    }
    fn common(&self) -> &Common {
        &self.common
    }
    fn bind(&self, cx: &SockCx<'_>, raw: &[u8]) -> Result<()> {
        let want = self.core.bind_addr(cx, raw)?;
        if self.state.lock().local.is_some() {
            return Err(Errno::EINVAL);
        }
        self.bind_to(want, true).map(|_| ())
    }
    fn connect(&self, _cx: &SockCx<'_>, raw: &[u8]) -> Result<()> {
        if addr::family(raw)? == libc::AF_UNSPEC {
            self.disconnect();
            return Ok(());
        }
        let to = self.core.target(raw)?;
        let default = match self.core.namespace.interfaces.route(to.ip()) {
            Route::Local(ip) => ip,
            Route::Broadcast(ip) if self.common.options.with(|v| v.broadcast) => ip,
            Route::Broadcast(_) => return Err(Errno::EACCES),
            Route::Multicast | Route::Unreachable => return Err(Errno::ENETUNREACH),
        };
        let bound = self.ensure_bound()?;
        let mut local = bound;
        local.set_ip(self.core.source(Some(bound), default));
        if local.is_ipv4() != to.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        {
            let mut s = self.state.lock();
            s.local = Some(local);
            s.remote = Some(to);
        }
        self.table().set_addr(self.core.id, local);
        Ok(())
    }
    fn shutdown(&self, how: Shutdown) -> Result<()> {
        let connected = {
            let mut s = self.state.lock();
            s.shut.read |= how.read;
            s.shut.write |= how.write;
            s.remote.is_some()
        };
        self.common
            .queue
            .wake(Events::READABLE | Events::WRITABLE | Events::RDHUP | Events::HUP);
        // Linux shuts an unconnected socket down, and complains.
        if connected {
            Ok(())
        } else {
            Err(Errno::ENOTCONN)
        }
    }
    fn local_name(&self) -> Result<Vec<u8>> {
        let local = self.state.lock().local;
        Ok(self.core.encode(local.unwrap_or(self.core.any())))
    }
    fn peer_name(&self) -> Result<Vec<u8>> {
        let remote = self.state.lock().remote.ok_or(Errno::ENOTCONN)?;
        Ok(self.core.encode(remote))
    }
    fn send(&self, _cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        self.do_send(msg)
    }
    fn recv(&self, _cx: &SockCx<'_>, msg: &mut RecvMsg<'_>) -> Result<Received> {
        self.do_recv(msg)
    }
    fn option(&self, _cx: &dyn Caller, level: i32, name: i32) -> Result<Vec<u8>> {
        if (level, name) == (libc::IPPROTO_UDP, UDP_CORK) {
            return Ok(from_int(0));
        }
        if level == libc::IPPROTO_UDPLITE && level == self.protocol {
            let which = COVERAGE.iter().position(|c| *c == name);
            let c = self.state.lock().coverage;
            let value = which.and_then(|i| c.get(i).copied());
            return value.map(from_int).ok_or(Errno::ENOPROTOOPT);
        }
        let connected = self.state.lock().remote.is_some();
        self.core.option(level, name, connected)
    }
    fn set_option(&self, cx: &dyn Caller, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level == libc::IPPROTO_UDPLITE && level == self.protocol {
            // Less than the header means the header.
            let n = match int(value)? {
                0 => 0,
                n => n.clamp(8, 65535),
            };
            let which = COVERAGE.iter().position(|c| *c == name);
            let mut s = self.state.lock();
            let slot = which.and_then(|i| s.coverage.get_mut(i));
            *slot.ok_or(Errno::ENOPROTOOPT)? = n;
            return Ok(());
        }
        let bound = self.state.lock().local.is_some();
        self.core.set_option(cx, level, name, value, bound)
    }
    fn poll(&self) -> Events {
        let mut e = Events::WRITABLE | Events::WRBAND;
        if self.common.has_error() {
            e |= Events::ERR;
        }
        let s = self.state.lock();
        if s.shut.read {
            e |= Events::RDHUP | Events::READABLE;
        }
        if s.shut.read && s.shut.write {
            e |= Events::HUP;
        }
        if !s.queue.is_empty() {
            e |= Events::READABLE;
        }
        e
    }
    fn ioctl(&self, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        let n = match u64::from(cmd) {
            libc::FIONREAD => self.state.lock().queue.front().map_or(0, |d| d.data.len()),
            libc::TIOCOUTQ => 0,
            _ => return crate::net::netlink::ioctl(cx, &self.core.namespace, cmd, arg),
        };
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        cx.memory().put(UserPtr::<i32>::new(arg), &n)?;
        Ok(0)
    }
    fn close(&self) {
        let (local, queue) = {
            let mut s = self.state.lock();
            s.cost = 0;
            s.remote = None;
            (s.local.take(), std::mem::take(&mut s.queue))
        };
        drop(queue);
        if let Some(l) = local {
            self.table().unbind(self.core.id, l.port());
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
