//! UDP and UDP-Lite sockets: names and readiness. [`data`] has the datagrams.
//!
//! UDP-Lite differs in its ports and in how much of a packet its checksum covers, of which there is none.

mod data;

pub(super) use data::take;

use super::addr;
use super::core::Core;
use super::errors::Errors;
use super::inbox::Inbox;
use super::listing::Entry;
use super::ports::{PortOwner, PortTable};
use crate::abi::{Errno, Result};
use crate::net::NetNamespace;
use crate::net::options::{DEFAULT_BUF, from_int, int};
use crate::net::socket::{Common, Received, RecvMsg, SendMsg, Shutdown, SockCx, SockType, Socket};
use crate::sync::{Charge, Events, Mutex, Rank};
use crate::usermem::UserPtr;
use crate::vfs::Caller;
use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

// IPPROTO_UDP options.
const UDP_CORK: i32 = 1;
const UDP_ENCAP: i32 = 100;
const UDP_NO_CHECK6_TX: i32 = 101;
const UDP_NO_CHECK6_RX: i32 = 102;
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;
/// UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV.
const COVERAGE: [i32; 2] = [10, 11];

/// A UDP socket.
pub struct UdpSocket {
    me: Weak<UdpSocket>,
    common: Common,
    core: Core,
    /// IPPROTO_UDP or IPPROTO_UDPLITE.
    protocol: i32,
    inbox: Inbox,
    errors: Errors,
    state: Mutex<State>,
}

struct State {
    local: Option<SocketAddr>,
    /// bind(2) chose the address, the port.
    addr_locked: bool,
    port_locked: bool,
    remote: Option<SocketAddr>,
    shut: Shutdown,
    /// Values of [`COVERAGE`].
    coverage: [i32; 2],
    cork: Option<Cork>,
    cork_option: bool,
    /// UDP_SEGMENT.
    segment: usize,
    gro: bool,
    no_check: [bool; 2],
    encap: i32,
}

/// What UDP_CORK or MSG_MORE keeps for one datagram.
struct Cork {
    way: data::Way,
    data: Vec<u8>,
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
        let common = Common::new(namespace, DEFAULT_BUF, DEFAULT_BUF)?;
        let uid = cx.credentials().euid;
        let core = Core::new(namespace, family, SockType::Dgram, uid);
        Ok(Arc::new_cyclic(|me| UdpSocket {
            me: me.clone(),
            common,
            core,
            protocol,
            inbox: Inbox::default(),
            errors: Errors::default(),
            state: Mutex::new(
                Rank::OBJECT,
                State {
                    local: None,
                    addr_locked: false,
                    port_locked: false,
                    remote: None,
                    shut: Shutdown {
                        read: false,
                        write: false,
                    },
                    coverage: [0; 2],
                    cork: None,
                    cork_option: false,
                    segment: 0,
                    gro: false,
                    no_check: [false; 2],
                    encap: 0,
                },
            ),
        }))
    }

    /// The ports of its protocol.
    fn table(&self) -> &PortTable<UdpSocket> {
        Self::table_of(&self.core.namespace, self.protocol)
    }

    fn table_of(ns: &NetNamespace, protocol: i32) -> &PortTable<UdpSocket> {
        if protocol == libc::IPPROTO_UDPLITE {
            &ns.inet.udplite
        } else {
            &ns.inet.udp
        }
    }

    /// What it is, for lists of sockets.
    pub(super) fn entry(this: &Arc<UdpSocket>) -> Entry {
        let (local, remote) = {
            let s = this.state.lock();
            (s.local.unwrap_or(this.core.any()), s.remote)
        };
        let mut e = Entry::new(&**this, local, remote);
        (e.rx, e.drops) = this.inbox.usage();
        e
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
    fn port_range(&self) -> (u16, u16) {
        self.core.with_options(|o| o.port_range())
    }
}

impl Socket for UdpSocket {
    fn domain(&self) -> i32 {
        self.core.family()
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
    fn namespace(&self) -> &Arc<NetNamespace> {
        &self.core.namespace
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
        if let SocketAddr::V6(v6) = to
            && super::core::link_local(*v6.ip())
            && v6.scope_id() == 0
        {
            return Err(Errno::EINVAL);
        }
        let (_, default) = self.core.route(&self.common, to.ip())?;
        let bound = self.ensure_bound()?;
        let mut local = bound;
        local.set_ip(self.core.source(Some(bound), default));
        let chosen = self.state.lock().addr_locked;
        if chosen && local.is_ipv4() != to.is_ipv4() {
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
        // Port 0 is nobody's.
        let remote = self.state.lock().remote.filter(|r| r.port() != 0);
        Ok(self.core.encode(remote.ok_or(Errno::ENOTCONN)?))
    }
    fn send(&self, _cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        self.do_send(msg)
    }
    fn recv(&self, _cx: &SockCx<'_>, msg: &mut RecvMsg<'_>) -> Result<Received> {
        self.do_recv(msg)
    }
    fn option(&self, _cx: &dyn Caller, level: i32, name: i32) -> Result<Vec<u8>> {
        if level == libc::IPPROTO_UDP {
            let s = self.state.lock();
            return Ok(from_int(match name {
                UDP_CORK => i32::from(s.cork_option),
                UDP_ENCAP => s.encap,
                UDP_NO_CHECK6_TX => i32::from(s.no_check[0]),
                UDP_NO_CHECK6_RX => i32::from(s.no_check[1]),
                UDP_SEGMENT => i32::try_from(s.segment).unwrap_or(0),
                UDP_GRO => i32::from(s.gro),
                _ => return Err(Errno::ENOPROTOOPT),
            }));
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
        if level == libc::IPPROTO_UDP {
            let n = int(value)?;
            let mut s = self.state.lock();
            match name {
                UDP_CORK => {
                    s.cork_option = n != 0;
                    drop(s);
                    if n == 0 {
                        self.uncork();
                    }
                }
                // UDP_ENCAP_ESPINUDP, and L2TP; none changes anything without their packets.
                UDP_ENCAP if matches!(n, 0 | 2 | 3) => s.encap = n,
                UDP_NO_CHECK6_TX => s.no_check[0] = n != 0,
                UDP_NO_CHECK6_RX => s.no_check[1] = n != 0,
                UDP_SEGMENT => {
                    s.segment = usize::from(u16::try_from(n).map_err(|_| Errno::EINVAL)?);
                }
                UDP_GRO => s.gro = n != 0,
                _ => return Err(Errno::ENOPROTOOPT),
            }
            return Ok(());
        }
        let (bound, remote) = {
            let s = self.state.lock();
            (s.local.is_some(), s.remote)
        };
        if (level, name) == (libc::IPPROTO_IPV6, libc::IPV6_ADDRFORM)
            && self.core.family() == libc::AF_INET6
        {
            return self.core.become_v4(value, remote);
        }
        self.core.set_option(cx, level, name, value, bound)?;
        if (level, name) == (libc::IPPROTO_IP, libc::IP_RECVERR) && !self.wants_errors(true) {
            self.errors.clear();
        }
        Ok(())
    }
    fn poll(&self) -> Events {
        let mut e = Events::WRITABLE | Events::WRBAND;
        if self.common.has_error() || !self.errors.is_empty() {
            e |= Events::ERR;
        }
        if !self.inbox.is_empty() {
            e |= Events::READABLE;
        }
        let s = self.state.lock();
        if s.shut.read {
            e |= Events::RDHUP | Events::READABLE;
        }
        if s.shut.read && s.shut.write {
            e |= Events::HUP;
        }
        e
    }
    fn ioctl(&self, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        let n = match u64::from(cmd) {
            libc::FIONREAD => self.inbox.first_len(),
            libc::TIOCOUTQ => 0,
            _ => {
                return super::control(cx, &self.core, Some(&self.inbox), cmd, arg);
            }
        };
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        cx.memory().put(UserPtr::<i32>::new(arg), &n)?;
        Ok(0)
    }
    fn close(&self) {
        let (local, cork) = {
            let mut s = self.state.lock();
            s.remote = None;
            (s.local.take(), s.cork.take())
        };
        drop(cork);
        self.inbox.close();
        self.errors.clear();
        self.core.close();
        if let Some(l) = local {
            self.table().unbind(self.core.id, l.port());
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
