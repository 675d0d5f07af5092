//! What TCP and UDP sockets share: family, IP options, and which addresses they take.

use super::addr;
use super::options::IpOptions;
use super::ports::{new_id, unprivileged};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::net::NetNamespace;
use crate::net::interface::Route;
use crate::net::socket::{SockCx, SockType};
use crate::sync::{Mutex, Rank};
use crate::vfs::Caller;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub(super) struct Core {
    /// AF_INET or AF_INET6.
    pub family: i32,
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
            family,
            kind,
            namespace: namespace.clone(),
            id: new_id(),
            uid,
            options: Mutex::new(Rank::LEAF, IpOptions::default()),
        }
    }
    /// For an accepted socket.
    pub fn child(&self) -> Core {
        let options = self.options.lock().for_child();
        Core {
            family: self.family,
            kind: self.kind,
            namespace: self.namespace.clone(),
            id: new_id(),
            uid: self.uid,
            options: Mutex::new(Rank::LEAF, options),
        }
    }
    pub fn with_options<R>(&self, f: impl FnOnce(&mut IpOptions) -> R) -> R {
        f(&mut self.options.lock())
    }
    pub fn v6_only(&self) -> bool {
        self.family == libc::AF_INET6 && self.with_options(|o| o.v6_only())
    }
    pub fn encode(&self, a: SocketAddr) -> Vec<u8> {
        addr::encode(a, self.family)
    }

    /// The address that bind(2) is asked for.
    ///
    /// # Errors
    /// EINVAL, EAFNOSUPPORT, EADDRNOTAVAIL, EACCES.
    pub fn bind_addr(&self, cx: &SockCx<'_>, raw: &[u8]) -> Result<SocketAddr> {
        let a = if self.family == libc::AF_INET {
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
        if self.family == libc::AF_INET6 && a.is_ipv4() && self.v6_only() {
            return Err(Errno::EINVAL);
        }
        if let SocketAddr::V6(v6) = a {
            if v6.ip().is_multicast() && self.kind == SockType::Stream {
                return Err(Errno::EINVAL);
            }
            if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 {
                return Err(Errno::EINVAL);
            }
        }
        let free = self.with_options(|o| {
            o.on(libc::IPPROTO_IP, libc::IP_FREEBIND) || o.on(libc::IPPROTO_IPV6, 78)
        });
        let usable = a.ip().is_unspecified()
            || free
            // It is of the host's even where the loopback is down.
            || a.is_ipv4() && a.ip().is_loopback()
            || !matches!(self.namespace.interfaces.route(a.ip()), Route::Unreachable)
            || a.ip() == IpAddr::from([255, 255, 255, 255]);
        if !usable {
            return Err(Errno::EADDRNOTAVAIL);
        }
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

    /// Where connect(2) or a datagram is to go, as this socket's family allows; 0.0.0.0 and :: are this host.
    ///
    /// # Errors
    /// EINVAL, EAFNOSUPPORT, ENETUNREACH.
    pub fn target(&self, raw: &[u8]) -> Result<SocketAddr> {
        let mut a = match (self.family, addr::family(raw)?) {
            (libc::AF_INET, libc::AF_INET) => addr::parse_v4(raw)?,
            // sendto(2) without a family.
            (libc::AF_INET, libc::AF_UNSPEC) if self.kind == SockType::Dgram => {
                addr::parse_v4(raw)?
            }
            (libc::AF_INET6, libc::AF_INET6) => addr::parse(raw)?,
            (libc::AF_INET6, libc::AF_INET) if self.kind == SockType::Dgram => addr::parse(raw)?,
            (libc::AF_INET, _) if raw.len() < 16 => return Err(Errno::EINVAL),
            (libc::AF_INET6, _) if raw.len() < 24 => return Err(Errno::EINVAL),
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        if self.family == libc::AF_INET6 && a.is_ipv4() && self.v6_only() {
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

    /// The source address of packets to `to` from a socket bound to `bound`.
    pub fn source(&self, bound: Option<SocketAddr>, default: IpAddr) -> IpAddr {
        match bound {
            Some(b) if !b.ip().is_unspecified() => b.ip(),
            _ => default,
        }
    }

    /// The wildcard address that automatic binding takes.
    pub fn any(&self) -> SocketAddr {
        addr::unspecified(self.family)
    }

    /// getsockopt(2) at the IP levels.
    pub fn option(&self, level: i32, name: i32, connected: bool) -> Result<Vec<u8>> {
        self.check_level(level, Errno::EOPNOTSUPP)?;
        // IP_PROTOCOL.
        if (level, name) == (libc::IPPROTO_IP, 52) {
            let p = match self.kind {
                SockType::Stream => libc::IPPROTO_TCP,
                _ => libc::IPPROTO_UDP,
            };
            return Ok(crate::net::options::from_int(p));
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
        let admin = self.namespace.allows(cx.credentials(), Caps::NET_ADMIN);
        self.with_options(|o| o.set(admin, self.kind, interfaces, level, name, value))
    }

    fn check_level(&self, level: i32, wrong: Errno) -> Result<()> {
        match level {
            libc::IPPROTO_IP => Ok(()),
            libc::IPPROTO_IPV6 if self.family == libc::AF_INET6 => Ok(()),
            _ if level == libc::SOL_SOCKET || self.family == libc::AF_INET6 => {
                Err(Errno::ENOPROTOOPT)
            }
            _ => Err(wrong),
        }
    }
}
