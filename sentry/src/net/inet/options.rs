//! IPPROTO_IP and IPPROTO_IPV6 options (ip(7), ipv6(7)).
//!
//! Most only choose fields of packets, of which there are none here: they are kept and given back as Linux would.

use super::groups::{Groups, Memberships, Source};
use crate::abi::{Errno, Result};
use crate::net::interface::Interfaces;
use crate::net::options::{from_int, int};
use crate::net::socket::SockType;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IP_RECVERR_RFC4884: i32 = 26;
const IP_MULTICAST_ALL: i32 = 49;
const IP_RECVFRAGSIZE: i32 = 25;
const IPV6_FLOWINFO_SEND: i32 = 33;
/// Both of RFC 3678, for either family.
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_LEAVE_GROUP: i32 = 45;
const MCAST_BLOCK_SOURCE: i32 = 43;
const MCAST_UNBLOCK_SOURCE: i32 = 44;
const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
const MCAST_LEAVE_SOURCE_GROUP: i32 = 47;
/// Sizes of `struct group_req` and `struct group_source_req`.
const GROUP_REQ: usize = 136;
const GROUP_SOURCE_REQ: usize = 264;
const IP_UNICAST_IF: i32 = 50;
const IP_LOCAL_PORT_RANGE: i32 = 51;
const IPV6_RECVERR_RFC4884: i32 = 31;
const IPV6_MULTICAST_ALL: i32 = 29;
const IPV6_ROUTER_ALERT_ISOLATE: i32 = 30;
const IPV6_AUTOFLOWLABEL: i32 = 70;
const IPV6_MINHOPCOUNT: i32 = 73;
const IPV6_ADDR_PREFERENCES: i32 = 72;
/// Options whose value's length nobody looks at.
const ANY_LENGTH: [i32; 3] = [libc::IPV6_DONTFRAG, IPV6_AUTOFLOWLABEL, IPV6_RECVFRAGSIZE];
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
    (IP_RECVFRAGSIZE, 0, Bool),
    (IP_RECVERR_RFC4884, 0, Range(0, 1)),
    (libc::IP_MULTICAST_TTL, 1, Shape::Default(0, 255)),
    (libc::IP_MULTICAST_LOOP, 1, Bool),
    (IP_MULTICAST_ALL, 1, Range(0, 1)),
    (IP_LOCAL_PORT_RANGE, 0, Range(i32::MIN, i32::MAX)),
    (IP_UNICAST_IF, 0, Range(i32::MIN, i32::MAX)),
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
    (IPV6_UNICAST_IF, 0, Range(i32::MIN, i32::MAX)),
    (IPV6_ADDR_PREFERENCES, 0x500, Range(i32::MIN, i32::MAX)),
    (libc::IPV6_ROUTER_ALERT, 0, Fixed(Errno::ENOPROTOOPT)),
    // IPV6_FLOWINFO.
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

/// IPPROTO_IP options that have no value of their own if none is given.
const NEED_VALUE: [i32; 8] = [
    libc::IP_TTL,
    libc::IP_MULTICAST_TTL,
    libc::IP_MULTICAST_LOOP,
    libc::IP_FREEBIND,
    libc::IP_TRANSPARENT,
    libc::IP_MINTTL,
    IP_MULTICAST_ALL,
    IP_RECVERR_RFC4884,
];

/// IP options of one socket.
#[derive(Clone, Debug, Default)]
pub(super) struct IpOptions {
    values: HashMap<(i32, i32), i32>,
    groups: Memberships,
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
    /// The same if it was set, else 0.
    pub fn explicit(&self, level: i32, name: i32) -> i32 {
        self.values.get(&(level, name)).copied().unwrap_or(0)
    }
    /// Whether an option is on.
    pub fn on(&self, level: i32, name: i32) -> bool {
        self.value(level, name) != 0
    }
    /// Of a connection that a listener with these accepts: without what the listener joined.
    pub fn for_child(&self) -> IpOptions {
        IpOptions {
            groups: Memberships::default(),
            ..self.clone()
        }
    }
    /// IPV6_V6ONLY.
    pub fn v6_only(&self) -> bool {
        self.on(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)
    }
    /// Whether a datagram to this multicast group is wanted.
    pub fn accepts(&self, group: IpAddr, from: IpAddr) -> bool {
        let others = match group {
            IpAddr::V4(_) => self.on(libc::IPPROTO_IP, IP_MULTICAST_ALL),
            IpAddr::V6(_) => self.on(libc::IPPROTO_IPV6, IPV6_MULTICAST_ALL),
        };
        self.groups.accept(group, from, others)
    }
    /// Leaves all multicast groups.
    pub fn leave_all(&mut self, groups: &Groups) {
        self.groups.leave_all(groups);
    }
    /// Whether multicasts can be sent: an outgoing interface was chosen, since there is no route for them.
    pub fn can_multicast(&self) -> bool {
        self.multicast_if.0 != 0
    }
    /// IP_LOCAL_PORT_RANGE: least and greatest port, 0 for that of the namespace.
    pub fn port_range(&self) -> (u16, u16) {
        let v = self.value(libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE);
        ((v & 0xffff) as u16, (v >> 16 & 0xffff) as u16)
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
            // IPV6_FLOWLABEL_MGR wants a question, IPV6_PATHMTU a connection.
            (libc::IPPROTO_IPV6, 32) => Err(Errno::EINVAL),
            (libc::IPPROTO_IPV6, 61) => Err(Errno::ENOTCONN),
            // IPV6_2292PKTOPTIONS, IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR, IPV6_DSTOPTS.
            (libc::IPPROTO_IPV6, 6 | 54 | 55 | 57 | 59) => Ok(Vec::new()),
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
        groups: &Groups,
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
                let join = name == libc::IP_ADD_MEMBERSHIP;
                return self.change_group(groups, (group.into(), index), join);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) => {
                if kind == SockType::Stream {
                    return Err(Errno::EPROTO);
                }
                let raw: [u8; 16] = part(value, 0)?;
                // There is no route for groups, which would choose an interface.
                let index = int(value.get(16..).unwrap_or(&[]))?.cast_unsigned();
                interfaces.by_index(index).ok_or(Errno::ENODEV)?;
                let group = Ipv6Addr::from(raw);
                if !group.is_multicast() {
                    return Err(Errno::EINVAL);
                }
                let join = name == libc::IPV6_ADD_MEMBERSHIP;
                return self.change_group(groups, (group.into(), index), join);
            }
            (libc::IPPROTO_IP | libc::IPPROTO_IPV6, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) => {
                let key = group_request(interfaces, level, value)?;
                return self.change_group(groups, key, name == MCAST_JOIN_GROUP);
            }
            (libc::IPPROTO_IP, 37..=40) => {
                if kind == SockType::Stream {
                    return Err(Errno::EPROTO);
                }
                let (key, source) = source_v4(interfaces, value)?;
                let how = match name {
                    libc::IP_UNBLOCK_SOURCE => Source::Unblock,
                    libc::IP_BLOCK_SOURCE => Source::Block,
                    libc::IP_ADD_SOURCE_MEMBERSHIP => Source::Add,
                    _ => Source::Drop,
                };
                return self.groups.source(groups, key, source, how);
            }
            (
                libc::IPPROTO_IP | libc::IPPROTO_IPV6,
                MCAST_BLOCK_SOURCE
                | MCAST_UNBLOCK_SOURCE
                | MCAST_JOIN_SOURCE_GROUP
                | MCAST_LEAVE_SOURCE_GROUP,
            ) => {
                if value.len() < GROUP_SOURCE_REQ {
                    return Err(Errno::EINVAL);
                }
                let key = group_request(interfaces, level, value)?;
                let source = storage(level, value, 136)?;
                let how = match name {
                    MCAST_BLOCK_SOURCE => Source::Block,
                    MCAST_UNBLOCK_SOURCE => Source::Unblock,
                    MCAST_JOIN_SOURCE_GROUP => Source::Add,
                    _ => Source::Drop,
                };
                return self.groups.source(groups, key, source, how);
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
                if value.iter().any(|b| *b != 0) && !admin =>
            {
                return Err(Errno::EPERM);
            }
            (libc::IPPROTO_IP, libc::IP_OPTIONS) if value.is_empty() => return Ok(()),
            (libc::IPPROTO_IP, libc::IP_OPTIONS | 17 | 41 | 48)
            | (libc::IPPROTO_IPV6, 27 | 28 | 32 | 35 | 48 | 50 | 54 | 55 | 57 | 59) => {
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
            (libc::IPPROTO_IP, IP_RECVFRAGSIZE) if kind == SockType::Stream => {
                return Err(Errno::EINVAL);
            }
            (libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE) => {
                let (lo, hi) = (int(value)? & 0xffff, int(value)? >> 16 & 0xffff);
                if value.len() != 4 || lo != 0 && hi != 0 && lo > hi {
                    return Err(Errno::EINVAL);
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_MTU) => {
                // It can only be made less, and the least is IPv6's own.
                return match int(value)? {
                    0 | 1280.. => Ok(()),
                    _ => Err(Errno::EINVAL),
                };
            }
            (libc::IPPROTO_IPV6, IPV6_ADDR_PREFERENCES) => {
                let p = preferences(int(value)?)?;
                self.values.insert((level, name), p);
                return Ok(());
            }
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
            // Some are content with none.
            [] if level == libc::IPPROTO_IP && !NEED_VALUE.contains(&name) => 0,
            v if v.len() < 4 && level == libc::IPPROTO_IPV6 && ANY_LENGTH.contains(&name) => 0,
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

    fn change_group(&mut self, groups: &Groups, key: (IpAddr, u32), join: bool) -> Result<()> {
        if join {
            self.groups.join(groups, key)
        } else {
            self.groups.leave(groups, key)
        }
    }
}

/// IPV6_ADDR_PREFERENCES: at most one of each kind; the value with what is left open filled in.
fn preferences(n: i32) -> Result<i32> {
    // Temporary, public or either; care-of or home address; generated or not.
    let kinds = [0x1 | 0x2 | 0x100, 0x4 | 0x400, 0x8 | 0x800];
    if n & !(kinds[0] | kinds[1] | kinds[2]) != 0 || kinds.iter().any(|k| (n & k).count_ones() > 1)
    {
        return Err(Errno::EINVAL);
    }
    let first = if n & kinds[0] == 0 {
        0x100
    } else {
        n & kinds[0] & !0x100 | n & 0x100
    };
    let second = if n & 0x4 == 0 { 0x400 } else { 0x4 };
    Ok(first | second)
}

fn part<const N: usize>(value: &[u8], at: usize) -> Result<[u8; N]> {
    value
        .get(at..at + N)
        .and_then(|b| b.try_into().ok())
        .ok_or(Errno::EINVAL)
}

/// Index of the interface that has an IPv4 address; 0 if none.
fn index_of(interfaces: &Interfaces, ip: Ipv4Addr) -> u32 {
    if ip.is_loopback() && interfaces.is_local(ip.into()) {
        return 1;
    }
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
        // There is no route for groups, which would choose one.
        _ if local.is_unspecified() => 0,
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
    let group = storage(level, value, 8)?;
    if !group.is_multicast() {
        return Err(Errno::EINVAL);
    }
    let index = u32::from_ne_bytes(part(value, 0)?);
    interfaces.by_index(index).ok_or(Errno::ENODEV)?;
    Ok((group, index))
}

/// The `struct sockaddr_storage` at an offset, of the level's family.
fn storage(level: i32, value: &[u8], at: usize) -> Result<IpAddr> {
    let family = i32::from(u16::from_ne_bytes(part(value, at)?));
    match (level, family) {
        (libc::IPPROTO_IP, libc::AF_INET) => Ok(Ipv4Addr::from(part::<4>(value, at + 4)?).into()),
        (libc::IPPROTO_IPV6, libc::AF_INET6) => {
            Ok(Ipv6Addr::from(part::<16>(value, at + 8)?).into())
        }
        (libc::IPPROTO_IP, _) => Err(Errno::EINVAL),
        _ => Err(Errno::EADDRNOTAVAIL),
    }
}

/// `struct ip_mreq_source`: group, interface's address, source.
fn source_v4(interfaces: &Interfaces, value: &[u8]) -> Result<((IpAddr, u32), IpAddr)> {
    if value.len() != 12 {
        return Err(Errno::EINVAL);
    }
    let (group, index) = membership_v4(interfaces, value.get(..8).unwrap_or(&[]))?;
    let source = Ipv4Addr::from(part::<4>(value, 8)?);
    Ok(((group.into(), index), source.into()))
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
