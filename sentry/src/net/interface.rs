//! Network interfaces: what sockets route by, and what netlink and ioctls show.

use crate::abi::{Errno, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddr {
    /// The address.
    pub ip: IpAddr,
    /// Leading bits that name the network.
    pub prefix: u8,
    /// Broadcast address, if the network has one.
    pub broadcast: Option<Ipv4Addr>,
    /// RT_SCOPE_*: 254 host, 253 link, 0 global.
    pub scope: u8,
}

/// A network interface. Loopback is one; a stack on a real link would be another.
pub trait Interface: Send + Sync {
    /// Name, at most 15 bytes.
    fn name(&self) -> &str;
    /// Index, from 1.
    fn index(&self) -> u32;
    /// IFF_*.
    fn flags(&self) -> u32;
    /// ARPHRD_*.
    fn hardware_type(&self) -> u16;
    /// Link-layer address.
    fn hardware_addr(&self) -> [u8; 6];
    /// Bytes.
    fn mtu(&self) -> u32;
    /// Addresses, in the order they were added.
    fn addresses(&self) -> Vec<InterfaceAddr>;
    /// Whether it is in use.
    fn is_up(&self) -> bool {
        true
    }
    /// Switches it on or off.
    ///
    /// # Errors
    /// EOPNOTSUPP.
    fn set_up(&self, _up: bool) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Gives it one more address.
    ///
    /// # Errors
    /// EEXIST, EOPNOTSUPP.
    fn add_address(&self, _ip: IpAddr, _prefix: u8) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Default routes through it: gateway and metric.
    fn gateways(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

/// `lo`.
pub struct Loopback {
    up: AtomicBool,
    /// 127.0.0.1, which comes when it first goes up and stays.
    has_v4: AtomicBool,
}

impl Interface for Loopback {
    fn name(&self) -> &str {
        "lo"
    }
    fn index(&self) -> u32 {
        1
    }
    fn flags(&self) -> u32 {
        // IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP.
        if self.is_up() { 0x1_0049 } else { 0x8 }
    }
    fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
    fn set_up(&self, up: bool) -> Result<()> {
        if up {
            self.has_v4.store(true, Ordering::Relaxed);
        }
        self.up.store(up, Ordering::Relaxed);
        Ok(())
    }
    fn add_address(&self, ip: IpAddr, prefix: u8) -> Result<()> {
        if self.addresses().iter().any(|a| a.ip == ip) {
            return Err(Errno::EEXIST);
        }
        if ip != IpAddr::V4(Ipv4Addr::LOCALHOST) || prefix != 8 {
            return Err(Errno::EOPNOTSUPP);
        }
        self.has_v4.store(true, Ordering::Relaxed);
        Ok(())
    }
    fn hardware_type(&self) -> u16 {
        // ARPHRD_LOOPBACK.
        772
    }
    fn hardware_addr(&self) -> [u8; 6] {
        [0; 6]
    }
    fn mtu(&self) -> u32 {
        65536
    }
    fn addresses(&self) -> Vec<InterfaceAddr> {
        let v4 = self
            .has_v4
            .load(Ordering::Relaxed)
            .then_some(InterfaceAddr {
                ip: Ipv4Addr::LOCALHOST.into(),
                prefix: 8,
                broadcast: None,
                scope: 254,
            });
        let v6 = self.is_up().then_some(InterfaceAddr {
            ip: Ipv6Addr::LOCALHOST.into(),
            prefix: 128,
            broadcast: None,
            scope: 254,
        });
        v4.into_iter().chain(v6).collect()
    }
}

/// How packets to an address would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this host; the source address is this unless the socket is bound.
    Local(IpAddr),
    /// To every host of a directly connected network.
    Broadcast(IpAddr),
    /// To a multicast group.
    Multicast,
    /// Nowhere.
    Unreachable,
}

/// The interfaces of a network namespace.
pub struct Interfaces(Vec<Arc<dyn Interface>>);

impl Interfaces {
    /// The loopback alone.
    pub fn loopback(up: bool) -> Interfaces {
        Interfaces(vec![Arc::new(Loopback {
            up: AtomicBool::new(up),
            has_v4: AtomicBool::new(up),
        })])
    }
    /// All, by index.
    pub fn all(&self) -> &[Arc<dyn Interface>] {
        &self.0
    }
    /// By name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<dyn Interface>> {
        self.0.iter().find(|i| i.name() == name)
    }
    /// By index.
    pub fn by_index(&self, index: u32) -> Option<&Arc<dyn Interface>> {
        self.0.iter().find(|i| i.index() == index)
    }
    /// Whether a socket may be bound to the address: it is one of this host's (the unspecified one is not).
    pub fn is_local(&self, ip: IpAddr) -> bool {
        matches!(self.route(ip), Route::Local(_))
    }
    /// Where packets to `ip` go. All of 127.0.0.0/8 is local, as on Linux.
    pub fn route(&self, ip: IpAddr) -> Route {
        if ip.is_multicast() {
            return Route::Multicast;
        }
        for a in self
            .0
            .iter()
            .filter(|i| i.is_up())
            .flat_map(|i| i.addresses())
        {
            if a.ip == ip {
                return Route::Local(ip);
            }
            let (IpAddr::V4(own), IpAddr::V4(asked)) = (a.ip, ip) else {
                continue;
            };
            if !own.is_loopback() || !asked.is_loopback() {
                continue;
            }
            let host = u32::MAX.checked_shr(u32::from(a.prefix)).unwrap_or(0);
            return if asked.to_bits() & host == host {
                Route::Broadcast(a.ip)
            } else {
                Route::Local(a.ip)
            };
        }
        Route::Unreachable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_routes() {
        let down = Interfaces::loopback(false);
        assert_eq!(down.route([127, 0, 0, 1].into()), Route::Unreachable);
        let i = Interfaces::loopback(true);
        let lo = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(i.route([127, 0, 0, 1].into()), Route::Local(lo));
        assert_eq!(i.route([127, 9, 8, 7].into()), Route::Local(lo));
        assert_eq!(i.route([127, 255, 255, 255].into()), Route::Broadcast(lo));
        assert_eq!(i.route([10, 0, 0, 1].into()), Route::Unreachable);
        assert_eq!(i.route([224, 0, 0, 1].into()), Route::Multicast);
        assert_eq!(
            i.route(Ipv6Addr::LOCALHOST.into()),
            Route::Local(Ipv6Addr::LOCALHOST.into())
        );
    }
}
