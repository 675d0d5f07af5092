//! What TCP and UDP sockets share: family, IP options, and which addresses they take.

use super::addr;
use super::options::IpOptions;
use super::ports::{new_id, unprivileged};
use super::wishes::Wishes;
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::net::NetNamespace;
use crate::net::interface::Route;
use crate::net::options::{from_int, int};
use crate::net::socket::{Common, SockCx, SockType};
use crate::sync::{Mutex, Rank};
use crate::vfs::Caller;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

pub(super) struct Core {
    /// AF_INET or AF_INET6; IPV6_ADDRFORM changes it.
    family: AtomicI32,
    pub kind: SockType,
    pub namespace: Arc<NetNamespace>,
    /// Name in port tables.
    pub id: u64,
    /// User that made it.
    pub uid: u32,
    options: Mutex<IpOptions>,
}

impl Core {
    pub fn new(namespace: &Arc<NetNamespace>, family: i32, kind: SockType, uid: u32) -> Core {
        Core {
            family: AtomicI32::new(family),
            kind,
            namespace: namespace.clone(),
            id: new_id(),
            uid,
            options: Mutex::new(Rank::SOCKET_OPTIONS, IpOptions::default()),
        }
    }
    /// For an accepted socket.
    pub fn child(&self) -> Core {
        let options = self.options.lock().for_child();
        Core {
            family: AtomicI32::new(self.family()),
            kind: self.kind,
            namespace: self.namespace.clone(),
            id: new_id(),
            uid: self.uid,
            options: Mutex::new(Rank::SOCKET_OPTIONS, options),
        }
    }
    pub fn with_options<R>(&self, f: impl FnOnce(&mut IpOptions) -> R) -> R {
        f(&mut self.options.lock())
    }
    /// AF_INET or AF_INET6.
    pub fn family(&self) -> i32 {
        self.family.load(Ordering::Relaxed)
    }
    /// IPV6_ADDRFORM: an IPv6 socket whose connection is of IPv4 addresses becomes an IPv4 one. `remote`: of the
    /// connection.
    ///
    /// # Errors
    /// EINVAL, ENOTCONN, EADDRNOTAVAIL.
    pub fn become_v4(&self, value: &[u8], remote: Option<SocketAddr>) -> Result<()> {
        if int(value)? != libc::AF_INET {
            return Err(Errno::EINVAL);
        }
        let remote = remote.ok_or(Errno::ENOTCONN)?;
        if self.v6_only() || !remote.is_ipv4() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        self.family.store(libc::AF_INET, Ordering::Relaxed);
        Ok(())
    }
    pub fn v6_only(&self) -> bool {
        self.family() == libc::AF_INET6 && self.with_options(|o| o.v6_only())
    }
    pub fn encode(&self, a: SocketAddr) -> Vec<u8> {
        addr::encode(a, self.family())
    }

    /// The address that bind(2) is asked for.
    ///
    /// # Errors
    /// EINVAL, EAFNOSUPPORT, EADDRNOTAVAIL, EACCES.
    pub fn bind_addr(&self, cx: &SockCx<'_>, raw: &[u8]) -> Result<SocketAddr> {
        let a = self.bind_ip(raw)?;
        if a.port() != 0
            && a.port() < unprivileged()
            && !self
                .namespace
                .allows(cx.caller.credentials(), Caps::NET_BIND_SERVICE)
        {
            return Err(Errno::EACCES);
        }
        Ok(a)
    }

    /// The same, for sockets whose ports are anybody's.
    pub fn bind_ip(&self, raw: &[u8]) -> Result<SocketAddr> {
        let a = if self.family() == libc::AF_INET {
            let a = addr::parse_v4(raw)?;
            match addr::family(raw)? {
                libc::AF_INET => a,
                // For compatibility: AF_UNSPEC with INADDR_ANY.
                libc::AF_UNSPEC if a.ip().is_unspecified() => a,
                _ => return Err(Errno::EAFNOSUPPORT),
            }
        } else {
            if raw.len() < 24 {
                return Err(Errno::EINVAL);
            }
            if addr::family(raw)? != libc::AF_INET6 {
                return Err(Errno::EAFNOSUPPORT);
            }
            addr::parse(raw)?
        };
        if self.family() == libc::AF_INET6 && a.is_ipv4() && self.v6_only() {
            return Err(Errno::EINVAL);
        }
        if let SocketAddr::V6(v6) = a {
            if v6.ip().is_multicast() && self.kind == SockType::Stream {
                return Err(Errno::EINVAL);
            }
            if link_local(*v6.ip()) && v6.scope_id() == 0 {
                return Err(Errno::EINVAL);
            }
        }
        let free = self.with_options(|o| {
            o.on(libc::IPPROTO_IP, libc::IP_FREEBIND)
                || o.on(libc::IPPROTO_IP, libc::IP_TRANSPARENT)
                || o.on(libc::IPPROTO_IPV6, 78)
                || o.on(libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT)
        });
        let usable = a.ip().is_unspecified()
            || free
            // It is of the host's even where the loopback is down.
            || a.is_ipv4() && a.ip().is_loopback()
            // What is another host's is not ours to take (inet_addr_valid_or_nonlocal).
            || matches!(
                self.namespace.interfaces.route(a.ip()),
                Route::Local(_) | Route::Broadcast(..) | Route::Multicast
            )
            || a.ip() == IpAddr::from([255, 255, 255, 255]);
        if !usable {
            return Err(Errno::EADDRNOTAVAIL);
        }
        Ok(a)
    }

    /// Where connect(2) or a datagram is to go, as this socket's family allows; 0.0.0.0 and :: are this host.
    ///
    /// # Errors
    /// EINVAL, EAFNOSUPPORT, ENETUNREACH.
    pub fn target(&self, raw: &[u8]) -> Result<SocketAddr> {
        let mut a = match (self.family(), addr::family(raw)?) {
            (libc::AF_INET, libc::AF_INET) => addr::parse_v4(raw)?,
            // sendto(2) without a family.
            (libc::AF_INET, libc::AF_UNSPEC) if self.kind != SockType::Stream => {
                addr::parse_v4(raw)?
            }
            (libc::AF_INET6, libc::AF_INET6) => addr::parse(raw)?,
            (libc::AF_INET6, libc::AF_INET) if self.kind == SockType::Dgram => addr::parse(raw)?,
            (libc::AF_INET, _) if raw.len() < 16 => return Err(Errno::EINVAL),
            (libc::AF_INET6, _) if raw.len() < 24 => return Err(Errno::EINVAL),
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        if self.family() == libc::AF_INET6 && a.is_ipv4() && self.v6_only() {
            return Err(Errno::ENETUNREACH);
        }
        a.set_ip(addr::or_loopback(a.ip()));
        if let SocketAddr::V6(v6) = a
            && v6.ip().is_unicast_link_local()
            && v6.scope_id() == 0
            && self.kind == SockType::Stream
        {
            return Err(Errno::EINVAL);
        }
        Ok(a)
    }

    /// Where a datagram goes: its route and the source address if the socket has none.
    ///
    /// # Errors
    /// EACCES, EINVAL, ENETUNREACH.
    pub fn route(&self, common: &Common, to: IpAddr) -> Result<(Route, IpAddr)> {
        let route = self.namespace.interfaces.route(to);
        let source = match route {
            Route::Local(ip) | Route::Away(ip, _) => ip,
            Route::Broadcast(..) if !common.options.with(|v| v.broadcast) => {
                return Err(Errno::EACCES);
            }
            Route::Broadcast(ip, _) => ip,
            // No route leads to IPv6 groups over the loopback.
            Route::Multicast if to.is_ipv4() && self.with_options(|o| o.can_multicast()) => {
                Ipv4Addr::LOCALHOST.into()
            }
            Route::Multicast | Route::Unreachable => return Err(Errno::ENETUNREACH),
        };
        Ok((route, source))
    }

    /// The source address of packets to `to` from a socket bound to `bound`.
    pub fn source(&self, bound: Option<SocketAddr>, default: IpAddr) -> IpAddr {
        match bound {
            Some(b) if !b.ip().is_unspecified() => b.ip(),
            _ => default,
        }
    }

    /// IP header fields: as the message says, else as the options do.
    pub fn hops_and_class(&self, w: &Wishes, to: IpAddr) -> (u8, u8) {
        let (level, hops, class) = match (to.is_ipv4(), to.is_multicast()) {
            (true, false) => (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_TOS),
            (true, true) => (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, libc::IP_TOS),
            (false, false) => (
                libc::IPPROTO_IPV6,
                libc::IPV6_UNICAST_HOPS,
                libc::IPV6_TCLASS,
            ),
            (false, true) => (
                libc::IPPROTO_IPV6,
                libc::IPV6_MULTICAST_HOPS,
                libc::IPV6_TCLASS,
            ),
        };
        self.with_options(|o| {
            let byte = |n: i32| (n & 0xff) as u8;
            (
                byte(w.hops.unwrap_or_else(|| o.value(level, hops))),
                byte(w.class.unwrap_or_else(|| o.value(level, class))),
            )
        })
    }

    /// The wildcard address that automatic binding takes.
    pub fn any(&self) -> SocketAddr {
        addr::unspecified(self.family())
    }

    /// getsockopt(2) at the IP levels.
    pub fn option(&self, level: i32, name: i32, connected: bool) -> Result<Vec<u8>> {
        self.check_level(level, Errno::EOPNOTSUPP)?;
        // Sockets of IPv6 hear of no IPv4 groups but their own, and IPV6_ADDRFORM is of connections.
        if self.family() == libc::AF_INET6 && (level, name) == (libc::IPPROTO_IP, 49) {
            return Ok(from_int(self.with_options(|o| o.explicit(level, name))));
        }
        if (level, name) == (libc::IPPROTO_IPV6, libc::IPV6_ADDRFORM) {
            if !connected {
                return Err(Errno::ENOTCONN);
            }
            return Ok(from_int(self.family()));
        }
        if (level, name) == (libc::IPPROTO_IP, libc::IP_PKTOPTIONS) && self.kind != SockType::Stream
        {
            return Err(Errno::ENOPROTOOPT);
        }
        self.with_options(|o| o.get(level, name, connected))
    }

    /// setsockopt(2) at the IP levels. `bound`: the socket has an address.
    pub fn set_option(
        &self,
        cx: &dyn Caller,
        level: i32,
        name: i32,
        value: &[u8],
        bound: bool,
    ) -> Result<()> {
        self.check_level(level, Errno::ENOPROTOOPT)?;
        if (level, name) == (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) && bound {
            return Err(Errno::EINVAL);
        }
        let interfaces = &self.namespace.interfaces;
        let groups = &self.namespace.inet.groups;
        let has = |cap| self.namespace.allows(cx.credentials(), cap);
        // What IP_TRANSPARENT asks for.
        let admin = has(Caps::NET_ADMIN) || has(Caps::NET_RAW);
        self.with_options(|o| o.set(admin, self.kind, interfaces, groups, level, name, value))
    }

    /// Leaves the multicast groups.
    pub fn close(&self) {
        let groups = &self.namespace.inet.groups;
        self.with_options(|o| o.leave_all(groups));
    }

    fn check_level(&self, level: i32, wrong: Errno) -> Result<()> {
        match level {
            libc::IPPROTO_IP => Ok(()),
            libc::IPPROTO_IPV6 if self.family() == libc::AF_INET6 => Ok(()),
            _ if level == libc::SOL_SOCKET || self.family() == libc::AF_INET6 => {
                Err(Errno::ENOPROTOOPT)
            }
            _ => Err(wrong),
        }
    }
}

/// Addresses that mean nothing without an interface (IPV6_ADDR_LINKLOCAL).
pub(super) fn link_local(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.octets();
    // Unicast, and groups whose scope is an interface or a link.
    ip.is_unicast_link_local() || first == 0xff && matches!(second & 0xf, 1 | 2)
}
