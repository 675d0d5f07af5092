//! Raw sockets (raw(7), ipv6(7)) and ping sockets (icmp(7)): names, options, readiness. [`data`] has the packets.

mod data;

use super::addr;
use super::core::Core;
use super::errors::Errors;
use super::inbox::Inbox;
use super::listing::Entry;
use crate::abi::{Errno, Result};
use crate::net::NetNamespace;
use crate::net::options::{DEFAULT_BUF, from_int, int};
use crate::net::socket::{Common, Received, RecvMsg, SendMsg, Shutdown, SockCx, SockType, Socket};
use crate::sync::{Events, Mutex, Rank};
use crate::usermem::UserPtr;
use crate::vfs::Caller;
use std::any::Any;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

/// SOL_RAW, and its and ICMPv6's only option.
const SOL_RAW: i32 = 255;
const SOL_ICMPV6: i32 = 58;
const ICMP_FILTER: i32 = 1;
/// IPV6_CHECKSUM, IPV6_HDRINCL.
const IPV6_CHECKSUM: i32 = 7;
const IPV6_HDRINCL: i32 = 36;
const IP_PROTOCOL: i32 = 52;

/// A raw or a ping socket.
pub struct RawSocket {
    common: Common,
    core: Core,
    protocol: i32,
    ping: bool,
    inbox: Inbox,
    errors: Errors,
    state: Mutex<State>,
}

struct State {
    /// Local address; a ping socket's port is the identifier of its echo requests.
    local: SocketAddr,
    /// bind(2) chose the address, the identifier.
    addr_locked: bool,
    port_locked: bool,
    remote: Option<SocketAddr>,
    shut: Shutdown,
    /// IP_HDRINCL, IPV6_HDRINCL.
    header: bool,
    /// IPV6_CHECKSUM: where in a message.
    checksum: Option<usize>,
    /// ICMP_FILTER (a word), ICMP6_FILTER: types that are dropped.
    dropped: [u32; 8],
}

impl RawSocket {
    /// socket(2). Rights were checked.
    ///
    /// # Errors
    /// ENFILE if the sandbox has too many sockets.
    pub fn new(
        cx: &dyn Caller,
        namespace: &Arc<NetNamespace>,
        family: i32,
        protocol: i32,
        ping: bool,
    ) -> Result<Arc<RawSocket>> {
        let common = Common::new(namespace, DEFAULT_BUF, DEFAULT_BUF)?;
        let kind = if ping { SockType::Dgram } else { SockType::Raw };
        let uid = cx.credentials().euid;
        let core = Core::new(namespace, family, kind, uid);
        let local = core.any();
        let socket = Arc::new(RawSocket {
            common,
            core,
            protocol,
            ping,
            inbox: Inbox::default(),
            errors: Errors::default(),
            state: Mutex::new(
                Rank::OBJECT,
                State {
                    local,
                    addr_locked: false,
                    port_locked: false,
                    remote: None,
                    shut: Shutdown {
                        read: false,
                        write: false,
                    },
                    header: protocol == libc::IPPROTO_RAW,
                    checksum: (family == libc::AF_INET6 && protocol == libc::IPPROTO_ICMPV6)
                        .then_some(2),
                    dropped: [0; 8],
                },
            ),
        });
        // INET_PROTOSW_REUSE.
        socket.common.options.with(|v| v.reuseaddr = true);
        namespace.inet.raw.add(socket.core.id, &socket)?;
        Ok(socket)
    }

    /// What it is, for lists of sockets: the port of a raw one is its protocol.
    pub(super) fn entry(this: &Arc<RawSocket>) -> Entry {
        let (mut local, remote) = {
            let s = this.state.lock();
            (s.local, s.remote)
        };
        if !this.ping {
            local.set_port(u16::try_from(this.protocol).unwrap_or(0));
        }
        let mut e = Entry::new(&**this, local, remote);
        (e.rx, e.drops) = this.inbox.usage();
        e
    }

    /// Whether it is a ping socket.
    pub(super) fn is_ping(&self) -> bool {
        self.ping
    }

    fn is_v4(&self) -> bool {
        self.core.family() == libc::AF_INET
    }

    /// A ping socket's identifier: `want`, or for 0 one that is free.
    fn take_ident(&self, want: u16) -> Result<u16> {
        let mut used: HashSet<u16> = HashSet::new();
        for s in self.core.namespace.inet.raw.all() {
            if s.ping && s.core.id != self.core.id && s.is_v4() == self.is_v4() {
                used.insert(s.state.lock().local.port());
            }
        }
        if want != 0 {
            let reuse = self.common.options.with(|v| v.reuseaddr);
            return if used.contains(&want) && !reuse {
                Err(Errno::EADDRINUSE)
            } else {
                Ok(want)
            };
        }
        // From somewhere on, so that strangers do not guess it.
        let start = (crate::time::Instant::now().0 >> 10) as u16;
        (0..=u16::MAX)
            .map(|n| start.wrapping_add(n))
            .find(|p| *p != 0 && !used.contains(p))
            .ok_or(Errno::EADDRINUSE)
    }

    /// Gives a ping socket that has none an identifier.
    fn ensure_ident(&self) -> Result<u16> {
        let now = self.state.lock().local.port();
        if now != 0 || !self.ping {
            return Ok(now);
        }
        let ident = self.take_ident(0)?;
        let mut s = self.state.lock();
        if s.local.port() == 0 {
            s.local.set_port(ident);
        }
        Ok(s.local.port())
    }

    /// Addresses as a raw socket shows them: the port is the protocol.
    fn shown(&self, mut a: SocketAddr) -> Vec<u8> {
        if !self.ping {
            a.set_port(u16::try_from(self.protocol).unwrap_or(0));
        }
        self.core.encode(a)
    }
}

impl Socket for RawSocket {
    fn domain(&self) -> i32 {
        self.core.family()
    }
    fn sock_type(&self) -> SockType {
        self.core.kind
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
    fn bind(&self, _cx: &SockCx<'_>, raw: &[u8]) -> Result<()> {
        if self.state.lock().remote.is_some() {
            return Err(Errno::EINVAL);
        }
        let want = if self.is_v4() && !self.ping {
            // raw_bind does not look at the family.
            let mut a = addr::encode(addr::parse_v4(raw)?, libc::AF_INET);
            if let Some(port) = a.get_mut(2..4) {
                port.fill(0);
            }
            self.core.bind_ip(&a)?
        } else {
            self.core.bind_ip(raw)?
        };
        if !self.is_v4() && want.is_ipv4() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if self.ping {
            if self.state.lock().local.port() != 0 {
                return Err(Errno::EINVAL);
            }
            let ident = self.take_ident(want.port())?;
            let mut s = self.state.lock();
            s.local = want;
            s.local.set_port(ident);
            s.port_locked = want.port() != 0;
            s.addr_locked = !want.ip().is_unspecified();
            return Ok(());
        }
        let mut s = self.state.lock();
        s.local = want;
        s.local.set_port(0);
        s.addr_locked = !want.ip().is_unspecified();
        Ok(())
    }
    fn connect(&self, _cx: &SockCx<'_>, raw: &[u8]) -> Result<()> {
        if addr::family(raw)? == libc::AF_UNSPEC {
            let any = self.core.any();
            let mut s = self.state.lock();
            s.remote = None;
            if !s.addr_locked {
                s.local.set_ip(any.ip());
            }
            if !s.port_locked {
                s.local.set_port(0);
            }
            return Ok(());
        }
        let to = self.core.target(raw)?;
        if let SocketAddr::V6(v6) = to
            && super::core::link_local(*v6.ip())
            && v6.scope_id() == 0
        {
            return Err(Errno::EINVAL);
        }
        let (_, source) = self.core.route(&self.common, to.ip())?;
        self.ensure_ident()?;
        let mut s = self.state.lock();
        if !s.addr_locked {
            s.local.set_ip(source);
        }
        s.remote = Some(to);
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
        if connected {
            Ok(())
        } else {
            Err(Errno::ENOTCONN)
        }
    }
    fn local_name(&self) -> Result<Vec<u8>> {
        let local = self.state.lock().local;
        Ok(self.shown(local))
    }
    fn peer_name(&self) -> Result<Vec<u8>> {
        let remote = self.state.lock().remote.filter(|r| r.port() != 0);
        Ok(self.core.encode(remote.ok_or(Errno::ENOTCONN)?))
    }
    fn send(&self, _cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        if self.ping {
            self.send_ping(msg)
        } else {
            self.send_raw(msg)
        }
    }
    fn recv(&self, _cx: &SockCx<'_>, msg: &mut RecvMsg<'_>) -> Result<Received> {
        self.do_recv(msg)
    }
    fn option(&self, _cx: &dyn Caller, level: i32, name: i32) -> Result<Vec<u8>> {
        let (header, checksum, dropped, remote, port) = {
            let s = self.state.lock();
            (s.header, s.checksum, s.dropped, s.remote, s.local.port())
        };
        let v4 = self.is_v4();
        match (level, name) {
            (SOL_RAW, _) if v4 && !self.ping => match name {
                ICMP_FILTER if self.protocol == libc::IPPROTO_ICMP => {
                    return Ok(from_int(dropped[0].cast_signed()));
                }
                ICMP_FILTER => return Err(Errno::EOPNOTSUPP),
                _ => return Err(Errno::ENOPROTOOPT),
            },
            (SOL_ICMPV6, _) if !v4 && !self.ping => {
                if self.protocol != libc::IPPROTO_ICMPV6 {
                    return Err(Errno::EOPNOTSUPP);
                }
                if name != ICMP_FILTER {
                    return Err(Errno::ENOPROTOOPT);
                }
                return Ok(dropped.iter().flat_map(|w| w.to_ne_bytes()).collect());
            }
            (libc::IPPROTO_IPV6 | SOL_RAW, IPV6_CHECKSUM) if !v4 && !self.ping => {
                let at = checksum.and_then(|c| i32::try_from(c).ok()).unwrap_or(-1);
                return Ok(from_int(at));
            }
            (libc::IPPROTO_IP, libc::IP_HDRINCL) if v4 && !self.ping => {
                return Ok(from_int(i32::from(header)));
            }
            (libc::IPPROTO_IPV6, IPV6_HDRINCL) if !v4 && !self.ping => {
                return Ok(from_int(i32::from(header)));
            }
            (libc::IPPROTO_IP, IP_PROTOCOL) => {
                let n = if self.ping {
                    i32::from(port)
                } else {
                    self.protocol
                };
                return Ok(from_int(n));
            }
            _ => {}
        }
        self.core.option(level, name, remote.is_some())
    }
    fn set_option(&self, cx: &dyn Caller, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let v4 = self.is_v4();
        if !self.ping {
            match (level, name) {
                (SOL_RAW, ICMP_FILTER) if v4 => {
                    if self.protocol != libc::IPPROTO_ICMP {
                        return Err(Errno::EOPNOTSUPP);
                    }
                    let mut word = [0u8; 4];
                    for (to, from) in word.iter_mut().zip(value) {
                        *to = *from;
                    }
                    self.state.lock().dropped[0] = u32::from_ne_bytes(word);
                    return Ok(());
                }
                (SOL_RAW, _) if v4 => return Err(Errno::ENOPROTOOPT),
                (SOL_ICMPV6, _) if !v4 => {
                    if self.protocol != libc::IPPROTO_ICMPV6 {
                        return Err(Errno::EOPNOTSUPP);
                    }
                    if name != ICMP_FILTER {
                        return Err(Errno::ENOPROTOOPT);
                    }
                    let mut s = self.state.lock();
                    for (word, raw) in s.dropped.iter_mut().zip(value.chunks_exact(4)) {
                        *word = raw.try_into().map_or(*word, u32::from_ne_bytes);
                    }
                    return Ok(());
                }
                (libc::IPPROTO_IPV6 | SOL_RAW, IPV6_CHECKSUM) if !v4 => {
                    let n = int(value)?;
                    // RFC 3542: ICMPv6's is always there, and others are at even offsets.
                    if self.protocol == libc::IPPROTO_ICMPV6 && level == libc::IPPROTO_IPV6
                        || n > 0 && n & 1 != 0
                    {
                        return Err(Errno::EINVAL);
                    }
                    self.state.lock().checksum = usize::try_from(n).ok();
                    return Ok(());
                }
                (libc::IPPROTO_IP, libc::IP_HDRINCL) if v4 => {
                    let n = match value {
                        [] => 0,
                        [b, ..] if value.len() < 4 => i32::from(*b),
                        _ => int(value)?,
                    };
                    self.state.lock().header = n != 0;
                    return Ok(());
                }
                (libc::IPPROTO_IP, libc::IP_NODEFRAG | libc::IP_ROUTER_ALERT) if v4 => {
                    return int(value).map(drop);
                }
                (libc::IPPROTO_IPV6, IPV6_HDRINCL) if !v4 => {
                    self.state.lock().header = int(value)? != 0;
                    return Ok(());
                }
                _ => {}
            }
        }
        self.core.set_option(cx, level, name, value, true)
    }
    fn poll(&self) -> Events {
        let mut e = Events::WRITABLE | Events::WRBAND;
        if self.common.has_error() || !self.errors.is_empty() {
            e |= Events::ERR;
        }
        if !self.inbox.is_empty() {
            e |= Events::READABLE;
        }
        let shut = self.state.lock().shut;
        if shut.read {
            e |= Events::RDHUP | Events::READABLE;
        }
        if shut.read && shut.write {
            e |= Events::HUP;
        }
        e
    }
    fn ioctl(&self, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        let n = match u64::from(cmd) {
            libc::FIONREAD => self.inbox.first_len(),
            libc::TIOCOUTQ => 0,
            _ => return super::control(cx, &self.core, Some(&self.inbox), cmd, arg),
        };
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        cx.memory().put(UserPtr::<i32>::new(arg), &n)?;
        Ok(0)
    }
    fn close(&self) {
        self.core.namespace.inet.raw.remove(self.core.id);
        self.inbox.close();
        self.errors.clear();
        self.core.close();
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
