//! IPPROTO_IP and IPPROTO_IPV6 options (ip(7), ipv6(7)).
//!
//! Most only choose fields of packets, of which there are none here: they are kept and given back as Linux would.

use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::net::interface::Interfaces;
use crate::net::options::{from_int, int};
use crate::net::socket::SockType;
use crate::vfs::Caller;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most multicast memberships of a socket (`net.ipv4.igmp_max_memberships`).
const MAX_MEMBERSHIPS: usize = 20;

const IP_RECVERR_RFC4884: i32 = 26;
const IP_MULTICAST_ALL: i32 = 49;
const IP_UNICAST_IF: i32 = 50;
const IP_LOCAL_PORT_RANGE: i32 = 51;
const IPV6_RECVERR_RFC4884: i32 = 31;
const IPV6_MULTICAST_ALL: i32 = 29;
const IPV6_ROUTER_ALERT_ISOLATE: i32 = 30;
const IPV6_AUTOFLOWLABEL: i32 = 70;
const IPV6_ADDR_PREFERENCES: i32 = 72;
const IPV6_MINHOPCOUNT: i32 = 73;
const IPV6_UNICAST_IF: i32 = 76;
const IPV6_RECVFRAGSIZE: i32 = 77;
const IPV6_FREEBIND: i32 = 78;

/// A plain integer option: name, value of a new socket, least and greatest value.
type Plain = (i32, i32, i32, i32);

const BOOL: (i32, i32) = (i32::MIN, i32::MAX);

/// IPPROTO_IP options that are integers and no more.
static IP: &[Plain] = &[
    (libc::IP_TOS, 0, i32::MIN, i32::MAX),
    (libc::IP_TTL, 64, -1, 255),
    (libc::IP_RECVOPTS, 0, BOOL.0, BOOL.1),
    (libc::IP_RETOPTS, 0, BOOL.0, BOOL.1),
    (libc::IP_PKTINFO, 0, BOOL.0, BOOL.1),
    (libc::IP_MTU_DISCOVER, 1, 0, 5),
    (libc::IP_RECVERR, 0, BOOL.0, BOOL.1),
    (IP_RECVERR_RFC4884, 0, 0, 1),
    (libc::IP_RECVTTL, 0, BOOL.0, BOOL.1),
    (libc::IP_RECVTOS, 0, BOOL.0, BOOL.1),
    (libc::IP_FREEBIND, 0, BOOL.0, BOOL.1),
    (libc::IP_RECVORIGDSTADDR, 0, BOOL.0, BOOL.1),
    (libc::IP_MINTTL, 0, 0, 255),
    (libc::IP_BIND_ADDRESS_NO_PORT, 0, BOOL.0, BOOL.1),
    (libc::IP_MULTICAST_TTL, 1, -1, 255),
    (libc::IP_MULTICAST_LOOP, 1, BOOL.0, BOOL.1),
    (IP_MULTICAST_ALL, 1, 0, 1),
    (libc::IP_PASSSEC, 0, BOOL.0, BOOL.1),
    (libc::IP_CHECKSUM, 0, BOOL.0, BOOL.1),
    (IP_UNICAST_IF, 0, i32::MIN, i32::MAX),
    (IP_LOCAL_PORT_RANGE, 0, i32::MIN, i32::MAX),
];

/// IPPROTO_IPV6 options likewise.
static IPV6: &[Plain] = &[
    (libc::IPV6_V6ONLY, 0, BOOL.0, BOOL.1),
    (libc::IPV6_UNICAST_HOPS, 64, -1, 255),
    (libc::IPV6_MULTICAST_HOPS, 1, -1, 255),
    (libc::IPV6_MULTICAST_LOOP, 1, 0, 1),
    (IPV6_MULTICAST_ALL, 1, 0, 1),
    (IPV6_ROUTER_ALERT_ISOLATE, 0, 0, 1),
    (libc::IPV6_MTU_DISCOVER, 1, 0, 5),
    (libc::IPV6_RECVERR, 0, BOOL.0, BOOL.1),
    (IPV6_RECVERR_RFC4884, 0, 0, 1),
    (libc::IPV6_RECVPKTINFO, 0, BOOL.0, BOOL.1),
    (libc::IPV6_RECVHOPLIMIT, 0, BOOL.0, BOOL.1),
    (libc::IPV6_RECVRTHDR, 0, BOOL.0, BOOL.1),
    (libc::IPV6_RECVHOPOPTS, 0, BOOL.0, BOOL.1),
    (libc::IPV6_RECVDSTOPTS, 0, BOOL.0, BOOL.1),
    (libc::IPV6_RECVPATHMTU, 0, BOOL.0, BOOL.1),
    (libc::IPV6_DONTFRAG, 0, BOOL.0, BOOL.1),
    (libc::IPV6_RECVTCLASS, 0, BOOL.0, BOOL.1),
    (libc::IPV6_TCLASS, 0, -1, 255),
    (libc::IPV6_FLOWINFO_SEND, 0, BOOL.0, BOOL.1),
    (libc::IPV6_RECVORIGDSTADDR, 0, BOOL.0, BOOL.1),
    (IPV6_AUTOFLOWLABEL, 1, BOOL.0, BOOL.1),
    (IPV6_ADDR_PREFERENCES, 2, 0, 0xffff),
    (IPV6_MINHOPCOUNT, 0, 0, 255),
    (IPV6_UNICAST_IF, 0, i32::MIN, i32::MAX),
    (IPV6_RECVFRAGSIZE, 0, 0, 1),
    (IPV6_FREEBIND, 0, BOOL.0, BOOL.1),
    (libc::IPV6_TRANSPARENT, 0, BOOL.0, BOOL.1),
];

fn plain(level: i32, name: i32) -> Option<&'static Plain> {
    let table = match level {
        libc::IPPROTO_IP => IP,
        libc::IPPROTO_IPV6 => IPV6,
        _ => return None,
    };
    table.iter().find(|p| p.0 == name)
}

/// IP options of one socket.
#[derive(Clone, Debug, Default)]
pub(super) struct IpOptions {
    values: HashMap<(i32, i32), i32>,
    /// Multicast groups: address and interface index.
    groups: Vec<(IpAddr, u32)>,
    /// IP_MULTICAST_IF: index and address.
    multicast_if: (u32, Option<Ipv4Addr>),
    multicast_if6: u32,
}

impl IpOptions {
    /// Value of an integer option.
    pub fn value(&self, level: i32, name: i32) -> i32 {
        self.values
            .get(&(level, name))
            .copied()
            .or_else(|| plain(level, name).map(|p| p.1))
            .unwrap_or(0)
    }
    /// Whether an option is on.
    pub fn on(&self, level: i32, name: i32) -> bool {
        self.value(level, name) != 0
    }
    /// IPV6_V6ONLY.
    pub fn v6_only(&self) -> bool {
        self.on(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)
    }
    /// Whether datagrams to this multicast group are wanted.
    pub fn is_member(&self, group: IpAddr) -> bool {
        self.groups.iter().any(|g| g.0 == group)
    }
    /// Whether multicasts can be sent: an outgoing interface was chosen, since there is no route for them.
    pub fn can_multicast(&self, to: IpAddr) -> bool {
        match to {
            IpAddr::V4(_) => self.multicast_if.0 != 0,
            IpAddr::V6(_) => self.multicast_if6 != 0,
        }
    }

    /// getsockopt(2) at IPPROTO_IP or IPPROTO_IPV6. `bound`: whether the socket is.
    ///
    /// # Errors
    /// ENOPROTOOPT; ENOTCONN for the path MTU of an unconnected socket.
    pub fn get(&self, level: i32, name: i32, connected: bool) -> Result<Vec<u8>> {
        if plain(level, name).is_some() {
            return Ok(from_int(self.value(level, name)));
        }
        match (level, name) {
            (libc::IPPROTO_IP, libc::IP_MTU) | (libc::IPPROTO_IPV6, libc::IPV6_MTU) => {
                if connected {
                    Ok(from_int(65535))
                } else {
                    Err(Errno::ENOTCONN)
                }
            }
            (libc::IPPROTO_IP, libc::IP_OPTIONS) => Ok(Vec::new()),
            (libc::IPPROTO_IP, libc::IP_TRANSPARENT | libc::IP_NODEFRAG) => Ok(from_int(0)),
            (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => Ok(self
                .multicast_if
                .1
                .unwrap_or(Ipv4Addr::UNSPECIFIED)
                .octets()
                .to_vec()),
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) => {
                Ok(from_int(self.multicast_if6.cast_signed()))
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// setsockopt(2) likewise.
    ///
    /// # Errors
    /// EINVAL, EPERM, ENODEV, EADDRNOTAVAIL, EADDRINUSE, ENOBUFS, ENOPROTOOPT.
    pub fn set(
        &mut self,
        cx: &dyn Caller,
        kind: SockType,
        interfaces: &Interfaces,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<()> {
        match (level, name) {
            (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP) => {
                if kind == SockType::Stream {
                    return Err(Errno::EPROTO);
                }
                let (group, index) = membership_v4(interfaces, value)?;
                return self.change_group(group.into(), index, name == libc::IP_ADD_MEMBERSHIP);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) => {
                if kind == SockType::Stream {
                    return Err(Errno::EPROTO);
                }
                let raw: [u8; 16] = part(value, 0)?;
                let index = match int(value.get(16..).unwrap_or(&[]))? {
                    0 => 1,
                    i => i.cast_unsigned(),
                };
                interfaces.by_index(index).ok_or(Errno::ENODEV)?;
                let group = Ipv6Addr::from(raw);
                if !group.is_multicast() {
                    return Err(Errno::EINVAL);
                }
                return self.change_group(group.into(), index, name == libc::IPV6_ADD_MEMBERSHIP);
            }
            (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => {
                self.multicast_if = multicast_if(interfaces, value)?;
                return Ok(());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) => {
                let index = int(value)?.cast_unsigned();
                if index != 0 {
                    interfaces.by_index(index).ok_or(Errno::ENODEV)?;
                }
                self.multicast_if6 = index;
                return Ok(());
            }
            (libc::IPPROTO_IP, libc::IP_TRANSPARENT | libc::IP_NODEFRAG) => {
                if int(value)? != 0 && !cx.credentials().has(Caps::NET_ADMIN) {
                    return Err(Errno::EPERM);
                }
                return Ok(());
            }
            (libc::IPPROTO_IP, libc::IP_OPTIONS) if value.is_empty() => return Ok(()),
            _ => {}
        }
        let Some((_, default, min, max)) = plain(level, name) else {
            return Err(Errno::ENOPROTOOPT);
        };
        // IPPROTO_IP options also take a single byte.
        let n = match value {
            [b] | [b, _] | [b, _, _] if level == libc::IPPROTO_IP => i32::from(*b),
            _ => int(value)?,
        };
        if n < *min || n > *max {
            return Err(Errno::EINVAL);
        }
        let n = match (level, name) {
            (libc::IPPROTO_IP, libc::IP_TTL) if n == 0 => return Err(Errno::EINVAL),
            (libc::IPPROTO_IP, libc::IP_TOS) => n & 0xff,
            (libc::IPPROTO_IP, libc::IP_TTL | libc::IP_MULTICAST_TTL)
            | (
                libc::IPPROTO_IPV6,
                libc::IPV6_UNICAST_HOPS | libc::IPV6_MULTICAST_HOPS | libc::IPV6_TCLASS,
            ) if n == -1 => *default,
            _ if (*min, *max) == BOOL && name != IP_UNICAST_IF => i32::from(n != 0),
            _ => n,
        };
        self.values.insert((level, name), n);
        Ok(())
    }

    fn change_group(&mut self, group: IpAddr, index: u32, join: bool) -> Result<()> {
        let at = self.groups.iter().position(|g| *g == (group, index));
        match (join, at) {
            (true, Some(_)) => Err(Errno::EADDRINUSE),
            (true, None) if self.groups.len() >= MAX_MEMBERSHIPS => Err(Errno::ENOBUFS),
            (true, None) => {
                self.groups.push((group, index));
                Ok(())
            }
            (false, Some(i)) => {
                self.groups.remove(i);
                Ok(())
            }
            (false, None) => Err(Errno::EADDRNOTAVAIL),
        }
    }
}

fn part<const N: usize>(value: &[u8], at: usize) -> Result<[u8; N]> {
    value
        .get(at..at + N)
        .and_then(|b| b.try_into().ok())
        .ok_or(Errno::EINVAL)
}

/// Index of the interface that has an IPv4 address; 0 if none.
fn index_of(interfaces: &Interfaces, ip: Ipv4Addr) -> u32 {
    interfaces
        .all()
        .iter()
        .find(|i| i.addresses().iter().any(|a| a.ip == IpAddr::V4(ip)))
        .map_or(0, |i| i.index())
}

/// `struct ip_mreq` or `struct ip_mreqn`: group and interface index.
fn membership_v4(interfaces: &Interfaces, value: &[u8]) -> Result<(Ipv4Addr, u32)> {
    let group = Ipv4Addr::from(part::<4>(value, 0)?);
    let local = Ipv4Addr::from(part::<4>(value, 4)?);
    if !group.is_multicast() {
        return Err(Errno::EINVAL);
    }
    let index = match int(value.get(8..).unwrap_or(&[])) {
        Ok(i) if i != 0 => i.cast_unsigned(),
        _ if local.is_unspecified() => 1,
        _ => index_of(interfaces, local),
    };
    interfaces.by_index(index).ok_or(Errno::ENODEV)?;
    Ok((group, index))
}

/// `struct in_addr`, `ip_mreq` or `ip_mreqn`.
fn multicast_if(interfaces: &Interfaces, value: &[u8]) -> Result<(u32, Option<Ipv4Addr>)> {
    let at = if value.len() >= 8 { 4 } else { 0 };
    let ip = Ipv4Addr::from(part::<4>(value, at)?);
    let index = match int(value.get(8..).unwrap_or(&[])) {
        Ok(i) if i != 0 => i.cast_unsigned(),
        _ if ip.is_unspecified() => return Ok((0, None)),
        _ => index_of(interfaces, ip),
    };
    if interfaces.by_index(index).is_none() {
        return Err(Errno::EADDRNOTAVAIL);
    }
    Ok((index, Some(ip)))
}
