//! Addresses, routes and rules of NETLINK_ROUTE.

use super::message::{Builder, Header, attribute};
use super::route::{Answer, CREATE, EXCL, NEWS, REPLACE, attr_word, c_string, flags, word};
use crate::abi::{Errno, Result};
use crate::net::NetNamespace;
use crate::net::interface::{AddRoute, Interface, InterfaceAddr, Route, Row, TABLE_MAIN, network};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::IntoBytes;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TABLE_LOCAL: u8 = 255;
const RT_TABLE_COMPAT: u8 = 252;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;
const TYPE_BROADCAST: u8 = 3;
/// IFA_F_PERMANENT.
const PERMANENT: u8 = 0x80;
const IFA_FLAGS: u16 = 8;

// RTNLGRP_*.
const GROUP_IPV4_IFADDR: u32 = 5;
const GROUP_IPV4_ROUTE: u32 = 7;
const GROUP_IPV6_IFADDR: u32 = 9;
const GROUP_IPV6_ROUTE: u32 = 11;

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// An address attribute, of the family that its length says.
fn ip_of(raw: &[u8]) -> Result<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(raw) {
        return Ok(v4.into());
    }
    <[u8; 16]>::try_from(raw)
        .map(IpAddr::from)
        .map_err(|_| Errno::EINVAL)
}

/// The same of this family, by the first bytes, as routes are read.
fn ip_as(family: u8, raw: &[u8]) -> Result<IpAddr> {
    let len = if family == AF_INET { 4 } else { 16 };
    ip_of(raw.get(..len).ok_or(Errno::EINVAL)?)
}

fn family_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn wanted(family: u8, ip: IpAddr) -> bool {
    family == 0 || family == family_of(ip)
}

/// `struct ifaddrmsg`: interface, and the address that the attributes give.
fn decode_address(
    ns: &NetNamespace,
    body: &[u8],
) -> Result<(std::sync::Arc<Interface>, InterfaceAddr)> {
    let (family, prefix) = match body {
        [family, prefix, ..] => (*family, *prefix),
        _ => return Err(Errno::EINVAL),
    };
    let scope = body.get(3).copied().unwrap_or(0);
    let most = match family {
        AF_INET => 32,
        AF_INET6 => 128,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let attrs = body.get(8..).unwrap_or(&[]);
    let local = attribute(attrs, libc::IFA_LOCAL);
    let other = attribute(attrs, libc::IFA_ADDRESS);
    let local = match family {
        AF_INET => local,
        _ => local.or(other),
    };
    let ip = ip_of(local.ok_or(Errno::EINVAL)?)?;
    if prefix > most || family_of(ip) != family {
        return Err(Errno::EINVAL);
    }
    let i = ns
        .interfaces
        .by_index(word(body, 4)?)
        .ok_or(Errno::ENODEV)?;
    let mut a = InterfaceAddr::new(ip, prefix, scope);
    a.peer = other.map(ip_of).transpose()?.filter(|p| *p != ip);
    if let Some(raw) = attribute(attrs, libc::IFA_BROADCAST)
        && let IpAddr::V4(b) = ip_of(raw)?
    {
        a.broadcast = Some(b);
    }
    if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        a.scope = 254;
    } else if let IpAddr::V6(v6) = ip {
        a.scope = if v6.is_unicast_link_local() { 253 } else { 0 };
    }
    Ok((i, a))
}

/// RTM_NEWADDR.
pub(super) fn new_address(ns: &NetNamespace, header: &Header, body: &[u8]) -> Answer {
    let (i, a) = decode_address(ns, body)?;
    if a.ip.is_multicast() || a.ip.is_unspecified() {
        return Err(Errno::EINVAL.into());
    }
    match ns.interfaces.add_address(&i, a.clone()) {
        // It may be replaced by itself.
        Err(Errno::EEXIST) if header.flags & (EXCL | REPLACE) == REPLACE => {}
        other => other?,
    }
    announce_address(ns, &i, &a, true);
    Ok(Vec::new())
}

/// RTM_DELADDR.
pub(super) fn delete_address(ns: &NetNamespace, body: &[u8]) -> Answer {
    let (i, a) = decode_address(ns, body)?;
    let gone = ns.interfaces.remove_address(&i, a.ip, Some(a.prefix))?;
    announce_address(ns, &i, &gone, false);
    Ok(Vec::new())
}

/// Tells who listens that an address came or went.
pub(in crate::net) fn announce_address(
    ns: &NetNamespace,
    i: &Interface,
    a: &InterfaceAddr,
    new: bool,
) {
    let (kind, group) = (
        if new {
            libc::RTM_NEWADDR
        } else {
            libc::RTM_DELADDR
        },
        if a.ip.is_ipv4() {
            GROUP_IPV4_IFADDR
        } else {
            GROUP_IPV6_IFADDR
        },
    );
    let message = address(i, a, &NEWS, 0, kind);
    ns.netlink.announce(libc::NETLINK_ROUTE, group, &message);
}

pub(super) fn addresses(
    ns: &NetNamespace,
    header: &Header,
    port: u32,
    body: &[u8],
) -> Vec<Vec<u8>> {
    let family = body.first().copied().unwrap_or(0);
    // With NETLINK_GET_STRICT_CHK an interface can be asked for; a request of one byte has none.
    let index = word(body, 4).unwrap_or(0);
    let mut out = Vec::new();
    // All of one family, then all of the other, as Linux dumps them.
    for v4 in [true, false] {
        for i in ns.interfaces.all() {
            if index != 0 && index != i.index() {
                continue;
            }
            for a in i.addresses() {
                if a.ip.is_ipv4() == v4 && wanted(family, a.ip) {
                    out.push(address(&i, &a, header, port, libc::RTM_NEWADDR));
                }
            }
        }
    }
    out
}

fn address(i: &Interface, a: &InterfaceAddr, header: &Header, port: u32, kind: u16) -> Vec<u8> {
    let ip = octets(a.ip);
    let other = octets(a.peer.unwrap_or(a.ip));
    let mut b = Builder::new(header, port, kind, flags(header))
        .raw(&[family_of(a.ip), a.prefix, PERMANENT, a.scope])
        .raw(i.index().as_bytes())
        .attr(libc::IFA_ADDRESS, &other);
    if a.ip.is_ipv4() {
        b = b.attr(libc::IFA_LOCAL, &ip);
        if let Some(bc) = a.broadcast {
            b = b.attr(libc::IFA_BROADCAST, &bc.octets());
        }
        b = b.attr(libc::IFA_LABEL, &c_string(&i.name()));
    } else if a.peer.is_some() {
        b = b.attr(libc::IFA_LOCAL, &ip);
    }
    b.attr32(IFA_FLAGS, u32::from(PERMANENT))
        // Preferred and valid for ever, then two time stamps.
        .attr(libc::IFA_CACHEINFO, [u32::MAX, u32::MAX, 0, 0].as_bytes())
        .finish()
}

pub(super) fn dump_routes(
    ns: &NetNamespace,
    header: &Header,
    port: u32,
    family: u8,
) -> Vec<Vec<u8>> {
    let rows = ns.interfaces.rows();
    rows.iter()
        .filter(|r| wanted(family, r.dst))
        .map(|r| route(r, header, port, libc::RTM_NEWROUTE))
        .collect()
}

fn route(r: &Row, header: &Header, port: u32, kind: u16) -> Vec<u8> {
    let mut b = Builder::new(header, port, kind, flags(header))
        .raw(&[
            family_of(r.dst),
            r.len,
            0,
            0,
            r.table,
            r.protocol,
            r.scope,
            r.kind,
        ])
        .raw(0u32.as_bytes())
        .attr32(libc::RTA_TABLE, u32::from(r.table));
    if r.len > 0 {
        b = b.attr(libc::RTA_DST, &octets(r.dst));
    }
    if let Some(s) = r.source {
        b = b.attr(libc::RTA_PREFSRC, &octets(s));
    }
    if let Some(g) = r.gateway {
        b = b.attr(libc::RTA_GATEWAY, &octets(g));
    }
    if r.dst.is_ipv6() || r.metric != 0 {
        b = b.attr32(libc::RTA_PRIORITY, r.metric);
    }
    b = b.attr32(libc::RTA_OIF, r.index);
    if r.dst.is_ipv6() {
        // RTA_CACHEINFO, RTA_PREF.
        b = b.attr(12, &[0; 32]).attr(20, &[0]);
    }
    b.finish()
}

/// `struct rtmsg` and its attributes.
fn decode_route(ns: &NetNamespace, body: &[u8]) -> Result<Row> {
    let &[family, len, _, _, table_low, protocol, scope, kind, ..] = body else {
        return Err(Errno::EINVAL);
    };
    let attrs = body.get(12..).unwrap_or(&[]);
    let any: IpAddr = match family {
        AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let ip = |kind| {
        let raw = attribute(attrs, kind);
        raw.map(|raw| ip_as(family, raw)).transpose()
    };
    let dst = ip(libc::RTA_DST)?.unwrap_or(any);
    let most = if family == AF_INET { 32 } else { 128 };
    if len > most {
        return Err(Errno::EINVAL);
    }
    // IPv4 refuses bits beyond the prefix, IPv6 clears them.
    let net = network(dst, len);
    if dst.is_ipv4() && dst != net {
        return Err(Errno::EINVAL);
    }
    let gateway = ip(libc::RTA_GATEWAY)?;
    let mut index = attr_word(attrs, libc::RTA_OIF)?.unwrap_or(0);
    if index == 0
        && let Some(g) = gateway
    {
        index = ns.interfaces.near(g).unwrap_or(0);
    }
    // Tables beyond are not there: as one that is not either.
    let table = attr_word(attrs, libc::RTA_TABLE)?;
    let table = table.map_or(table_low, |t| u8::try_from(t).unwrap_or(RT_TABLE_COMPAT));
    Ok(Row {
        dst: net,
        len,
        table: if table == 0 { TABLE_MAIN } else { table },
        protocol,
        scope,
        kind,
        source: ip(libc::RTA_PREFSRC)?,
        gateway,
        index,
        metric: attr_word(attrs, libc::RTA_PRIORITY)?.unwrap_or(0),
    })
}

/// RTM_NEWROUTE.
pub(super) fn new_route(ns: &NetNamespace, header: &Header, body: &[u8]) -> Answer {
    let mut row = decode_route(ns, body)?;
    if row.kind != TYPE_UNICAST || row.table != TABLE_MAIN {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if row.index == 0 {
        let e = if row.gateway.is_some() {
            Errno::ENETUNREACH
        } else {
            Errno::ENODEV
        };
        return Err(e.into());
    }
    let i = ns.interfaces.by_index(row.index).ok_or(Errno::ENODEV)?;
    if !i.is_up() {
        return Err(Errno::ENETDOWN.into());
    }
    if row.source.is_some_and(|a| !ns.interfaces.is_local(a)) {
        return Err(Errno::EINVAL.into());
    }
    if row.dst.is_ipv6() && row.metric == 0 {
        row.metric = 1024;
    }
    let how = AddRoute {
        replace: header.flags & (EXCL | REPLACE) == REPLACE,
        // IPv6 makes one that was not to be replaced in any case (fib6_add_1).
        create: header.flags & CREATE != 0 || row.dst.is_ipv6() && header.flags & REPLACE == 0,
    };
    ns.interfaces.add_route(row, how)?;
    announce_route(ns, &row, libc::RTM_NEWROUTE);
    Ok(Vec::new())
}

/// RTM_DELROUTE.
pub(super) fn delete_route(ns: &NetNamespace, body: &[u8]) -> Answer {
    let want = decode_route(ns, body)?;
    let gone = ns.interfaces.remove_route(|r| {
        (r.dst, r.len) == (want.dst, want.len)
            && (want.index == 0 || r.index == want.index)
            && (want.gateway.is_none() || r.gateway == want.gateway)
            && (want.metric == 0 || r.metric == want.metric)
    })?;
    announce_route(ns, &gone, libc::RTM_DELROUTE);
    Ok(Vec::new())
}

fn announce_route(ns: &NetNamespace, row: &Row, kind: u16) {
    let group = if row.dst.is_ipv4() {
        GROUP_IPV4_ROUTE
    } else {
        GROUP_IPV6_ROUTE
    };
    let message = route(row, &NEWS, 0, kind);
    ns.netlink.announce(libc::NETLINK_ROUTE, group, &message);
}

/// The route to one address (`ip route get`).
pub(super) fn route_to(ns: &NetNamespace, header: &Header, port: u32, body: &[u8]) -> Answer {
    // struct rtmsg is 12 bytes.
    let dst = body
        .get(12..)
        .and_then(|a| attribute(a, libc::RTA_DST))
        .ok_or(Errno::EINVAL)?;
    let to = ip_of(dst)?;
    let (source, kind, index) = match ns.interfaces.route(to) {
        // What is for this host goes over the loopback.
        Route::Local(s) => (s, TYPE_LOCAL, 1),
        Route::Broadcast(s, index) => (s, TYPE_BROADCAST, index),
        Route::Away(s, index) => (s, TYPE_UNICAST, index),
        Route::Multicast | Route::Unreachable => return Err(Errno::ENETUNREACH.into()),
    };
    let row = Row {
        dst: to,
        len: if to.is_ipv4() { 32 } else { 128 },
        table: if kind == TYPE_UNICAST {
            TABLE_MAIN
        } else {
            TABLE_LOCAL
        },
        protocol: 0,
        scope: 0,
        kind,
        source: Some(source),
        gateway: None,
        index,
        metric: 0,
    };
    Ok(vec![route(&row, header, port, libc::RTM_NEWROUTE)])
}

/// RTM_GETRULE: what every namespace begins with.
pub(super) fn rules(header: &Header, port: u32, family: u8) -> Vec<Vec<u8>> {
    // FRA_PRIORITY, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_PROTOCOL.
    const PRIORITY: u16 = 6;
    const SUPPRESS: u16 = 14;
    const TABLE: u16 = 15;
    const PROTOCOL: u16 = 21;
    /// FR_ACT_TO_TBL.
    const TO_TABLE: u8 = 1;
    let all = [
        (AF_INET, TABLE_LOCAL, 0),
        (AF_INET, TABLE_MAIN, 32766),
        (AF_INET, 253, 32767),
        (AF_INET6, TABLE_LOCAL, 0),
        (AF_INET6, TABLE_MAIN, 32766),
    ];
    all.iter()
        .filter(|r| family == 0 || family == r.0)
        .map(|(family, table, priority)| {
            let mut b = Builder::new(header, port, libc::RTM_NEWRULE, flags(header))
                .raw(&[*family, 0, 0, 0, *table, 0, 0, TO_TABLE])
                .raw(0u32.as_bytes())
                .attr32(TABLE, u32::from(*table))
                .attr32(SUPPRESS, u32::MAX)
                .attr(PROTOCOL, &[2]);
            if *priority != 0 {
                b = b.attr32(PRIORITY, *priority);
            }
            b.finish()
        })
        .collect()
}
