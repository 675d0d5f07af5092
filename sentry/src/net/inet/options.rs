//! IPPROTO_IP and IPPROTO_IPV6 options (ip(7), ipv6(7)).
//!
//! Most only choose fields of packets, of which there are none here: they are kept and given back as Linux would.

use crate::abi::{Errno, Result};
use crate::net::interface::Interfaces;
use crate::net::options::{from_int, int};
use crate::net::socket::SockType;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most multicast memberships of a socket (`net.ipv4.igmp_max_memberships`).
const MAX_MEMBERSHIPS: usize = 20;

const IP_RECVERR_RFC4884: i32 = 26;
const IP_MULTICAST_ALL: i32 = 49;
const IP_RECVFRAGSIZE: i32 = 25;
const IPV6_FLOWINFO_SEND: i32 = 33;
/// Both of RFC 3678, for either family.
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_LEAVE_GROUP: i32 = 45;
/// Size of `struct group_req`.
const GROUP_REQ: usize = 136;
const IP_UNICAST_IF: i32 = 50;
const IP_LOCAL_PORT_RANGE: i32 = 51;
const IPV6_RECVERR_RFC4884: i32 = 31;
const IPV6_MULTICAST_ALL: i32 = 29;
const IPV6_ROUTER_ALERT_ISOLATE: i32 = 30;
const IPV6_AUTOFLOWLABEL: i32 = 70;
const IPV6_MINHOPCOUNT: i32 = 73;
const IPV6_UNICAST_IF: i32 = 76;
const IPV6_RECVFRAGSIZE: i32 = 77;
const IPV6_FREEBIND: i32 = 78;

/// What an integer option may be, and how it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Anything, kept as 0 or 1.
    Bool,
    /// This range, kept as it is.
    Range(i32, i32),
    /// This range; -1 means the value of a new socket.
    Default(i32, i32),
    /// Cannot be set: this error.
    Fixed(Errno),
}
use Shape::{Bool, Fixed, Range};

/// An integer option: name, value of a new socket, shape.
type Plain = (i32, i32, Shape);

/// IPPROTO_IP options that are integers and no more.
static IP: &[Plain] = &[
    (libc::IP_TOS, 0, Range(i32::MIN, i32::MAX)),
    (libc::IP_TTL, 64, Shape::Default(1, 255)),
    (libc::IP_HDRINCL, 0, Fixed(Errno::ENOPROTOOPT)),
    (libc::IP_ROUTER_ALERT, 0, Fixed(Errno::EINVAL)),
    (libc::IP_RECVOPTS, 0, Bool),
    (libc::IP_RETOPTS, 0, Bool),
    (libc::IP_PKTINFO, 0, Bool),
    (libc::IP_MTU_DISCOVER, 1, Range(0, 5)),
    (libc::IP_RECVERR, 0, Bool),
    (libc::IP_RECVTTL, 0, Bool),
    (libc::IP_RECVTOS, 0, Bool),
    (libc::IP_FREEBIND, 0, Bool),
    (libc::IP_PASSSEC, 0, Bool),
    (libc::IP_TRANSPARENT, 0, Bool),
    (libc::IP_RECVORIGDSTADDR, 0, Bool),
    (libc::IP_MINTTL, 0, Range(0, 255)),
    (libc::IP_NODEFRAG, 0, Fixed(Errno::ENOPROTOOPT)),
    (libc::IP_CHECKSUM, 0, Bool),
    (libc::IP_BIND_ADDRESS_NO_PORT, 0, Bool),
    (IP_RECVFRAGSIZE, 0, Fixed(Errno::EINVAL)),
    (IP_RECVERR_RFC4884, 0, Range(0, 1)),
    (libc::IP_MULTICAST_TTL, 1, Shape::Default(0, 255)),
    (libc::IP_MULTICAST_LOOP, 1, Bool),
    (IP_MULTICAST_ALL, 1, Range(0, 1)),
    (IP_LOCAL_PORT_RANGE, 0, Range(i32::MIN, i32::MAX)),
];

/// IPPROTO_IPV6 options likewise.
static IPV6: &[Plain] = &[
    (libc::IPV6_V6ONLY, 0, Bool),
    (libc::IPV6_UNICAST_HOPS, 64, Shape::Default(0, 255)),
    (libc::IPV6_MULTICAST_HOPS, 1, Shape::Default(0, 255)),
    (libc::IPV6_MULTICAST_LOOP, 1, Range(0, 1)),
    (IPV6_MULTICAST_ALL, 1, Bool),
    (IPV6_ROUTER_ALERT_ISOLATE, 0, Bool),
    (libc::IPV6_MTU_DISCOVER, 1, Range(0, 5)),
    (libc::IPV6_RECVERR, 0, Bool),
    (IPV6_RECVERR_RFC4884, 0, Range(0, 1)),
    (IPV6_FLOWINFO_SEND, 0, Bool),
    (libc::IPV6_RECVPKTINFO, 0, Bool),
    (libc::IPV6_RECVHOPLIMIT, 0, Bool),
    (libc::IPV6_RECVRTHDR, 0, Bool),
    (libc::IPV6_RECVHOPOPTS, 0, Bool),
    (libc::IPV6_RECVDSTOPTS, 0, Bool),
    (libc::IPV6_RECVPATHMTU, 0, Bool),
    (libc::IPV6_DONTFRAG, 0, Bool),
    (libc::IPV6_RECVTCLASS, 0, Bool),
    (libc::IPV6_TCLASS, 0, Shape::Default(0, 255)),
    (IPV6_AUTOFLOWLABEL, 1, Bool),
    (IPV6_MINHOPCOUNT, 0, Range(0, 255)),
    (libc::IPV6_RECVORIGDSTADDR, 0, Bool),
    (libc::IPV6_TRANSPARENT, 0, Bool),
    (IPV6_RECVFRAGSIZE, 0, Bool),
    (IPV6_FREEBIND, 0, Bool),
    // The names of RFC 2292.
    (2, 0, Bool),
    (3, 0, Bool),
    (4, 0, Bool),
    (5, 0, Bool),
    (8, 0, Bool),
    (11, 0, Bool),
];

fn plain(level: i32, name: i32) -> Option<&'static Plain> {
    let table = match level {
        libc::IPPROTO_IP => IP,
        libc::IPPROTO_IPV6 => IPV6,
        _ => return None,
    };
    table.iter().find(|p| p.0 == name)
}

/// Options that a stream does not have.
const MULTICAST_ONLY: [(i32, i32); 2] = [
    (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS),
];

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
    /// Of a connection that a listener with these accepts: without what the listener joined.
    pub fn for_child(&self) -> IpOptions {
        IpOptions {
            groups: Vec::new(),
            ..self.clone()
        }
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
            (libc::IPPROTO_IP, libc::IP_OPTIONS | libc::IP_PKTOPTIONS) => Ok(Vec::new()),
            // IPV6_2292PKTOPTIONS, IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR, IPV6_DSTOPTS.
            (libc::IPPROTO_IPV6, 6 | 54 | 55 | 57 | 59) => Ok(Vec::new()),
            (libc::IPPROTO_IP, IP_UNICAST_IF) | (libc::IPPROTO_IPV6, IPV6_UNICAST_IF) => {
                Ok(from_int(self.value(level, name)))
            }
            (libc::IPPROTO_IPV6, 72) => Ok(from_int(0x500)),
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
        admin: bool,
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
            (libc::IPPROTO_IP | libc::IPPROTO_IPV6, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) => {
                let (group, index) = group_request(interfaces, level, value)?;
                return self.change_group(group, index, name == MCAST_JOIN_GROUP);
            }
            (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) if kind == SockType::Stream => {
                return Err(Errno::EINVAL);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF) if kind == SockType::Stream => {
                return Err(Errno::ENOPROTOOPT);
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
            (libc::IPPROTO_IP, libc::IP_TRANSPARENT)
            | (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT)
                if int(value)? != 0 && !admin =>
            {
                return Err(Errno::EPERM);
            }
            (libc::IPPROTO_IP, libc::IP_OPTIONS) if value.is_empty() => return Ok(()),
            (libc::IPPROTO_IP, libc::IP_OPTIONS | 17 | 37..=41 | 43 | 44 | 46..=48)
            | (
                libc::IPPROTO_IPV6,
                27 | 28 | 32 | 35 | 43 | 44 | 46..=48 | 50 | 54 | 55 | 57 | 59,
            ) => {
                return Err(Errno::EINVAL);
            }
            // IP_XFRM_POLICY, IPV6_XFRM_POLICY.
            (libc::IPPROTO_IP, 16) | (libc::IPPROTO_IPV6, 34) => return Err(Errno::EOPNOTSUPP),
            (libc::IPPROTO_IP, IP_UNICAST_IF) | (libc::IPPROTO_IPV6, IPV6_UNICAST_IF) => {
                // In network byte order.
                let index = int(value)?.cast_unsigned().swap_bytes();
                if index != 0 && interfaces.by_index(index).is_none() {
                    return Err(Errno::EADDRNOTAVAIL);
                }
                self.values
                    .insert((level, name), index.swap_bytes().cast_signed());
                return Ok(());
            }
            // IPV6_ADDR_PREFERENCES: there is one address.
            (libc::IPPROTO_IPV6, 72) => return int(value).map(drop),
            _ => {}
        }
        let (_, default, shape) = plain(level, name).ok_or(Errno::ENOPROTOOPT)?;
        if kind == SockType::Stream && MULTICAST_ONLY.contains(&(level, name)) {
            return Err(if level == libc::IPPROTO_IP {
                Errno::EINVAL
            } else {
                Errno::ENOPROTOOPT
            });
        }
        // IPPROTO_IP options also take a single byte.
        let n = match value {
            [b] | [b, _] | [b, _, _] if level == libc::IPPROTO_IP => i32::from(*b),
            _ => int(value)?,
        };
        let kept = match *shape {
            Bool => i32::from(n != 0),
            Range(min, max) if (min..=max).contains(&n) => n,
            Shape::Default(min, max) if (min..=max).contains(&n) => n,
            Shape::Default(..) if n == -1 => *default,
            Range(..) | Shape::Default(..) => return Err(Errno::EINVAL),
            Fixed(e) => return Err(e),
        };
        let kept = match (level, name) {
            // A stream's congestion bits are its own business.
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                kept & if kind == SockType::Stream { 0xfc } else { 0xff }
            }
            _ => kept,
        };
        self.values.insert((level, name), kept);
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

/// `struct group_req`: an interface's index (0: any) and, at 8, a socket address.
fn group_request(interfaces: &Interfaces, level: i32, value: &[u8]) -> Result<(IpAddr, u32)> {
    if value.len() < GROUP_REQ {
        return Err(Errno::EINVAL);
    }
    let family = i32::from(u16::from_ne_bytes(part(value, 8)?));
    let group: IpAddr = match (level, family) {
        (libc::IPPROTO_IP, libc::AF_INET) => Ipv4Addr::from(part::<4>(value, 12)?).into(),
        (libc::IPPROTO_IPV6, libc::AF_INET6) => Ipv6Addr::from(part::<16>(value, 16)?).into(),
        (libc::IPPROTO_IP, _) => return Err(Errno::EINVAL),
        _ => return Err(Errno::EADDRNOTAVAIL),
    };
    if !group.is_multicast() {
        return Err(Errno::EINVAL);
    }
    let index = match u32::from_ne_bytes(part(value, 0)?) {
        0 => 1,
        i => i,
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
