//! NETLINK_ROUTE (rtnetlink(7)): dumps of links, addresses and routes.

use super::MAX_ANSWER;
use super::message::{ACK, Builder, DONE, DUMP, ERROR, Header, MULTI, REQUEST, attribute, next};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::net::NetNamespace;
use crate::net::interface::{Interface, InterfaceAddr, Route};
use crate::vfs::Caller;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use zerocopy::IntoBytes;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

// rtm_table, rtm_protocol, rtm_type.
const TABLE_LOCAL: u8 = 255;
const TABLE_MAIN: u8 = 254;
const PROTO_KERNEL: u8 = 2;
const PROTO_BOOT: u8 = 3;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;
const TYPE_BROADCAST: u8 = 3;
const SCOPE_HOST: u8 = 254;
const SCOPE_LINK: u8 = 253;

/// Answers a request, message by message.
pub(super) fn handle(
    cx: &dyn Caller,
    ns: &Arc<NetNamespace>,
    port: u32,
    mut request: &[u8],
) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Some((header, body)) = next(&mut request) {
        // Control messages of the protocol itself are not answered.
        let outcome = if header.flags & REQUEST == 0 || header.kind < 16 {
            Ok(Vec::new())
        } else {
            one(cx, ns, port, &header, body)
        };
        let dump = is_dump(&header);
        match outcome {
            Ok(messages) => {
                let silent = messages.is_empty() && header.flags & ACK == 0;
                out.extend(batches(messages));
                if header.flags & ACK != 0 && !dump {
                    out.push(error(&header, port, None, body));
                } else if silent {
                    continue;
                }
            }
            Err(e) => out.push(error(&header, port, Some(e), body)),
        }
    }
    out
}

/// Puts messages together into datagrams.
fn batches(messages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for m in messages {
        match out.last_mut() {
            Some(last) if last.len() + m.len() <= MAX_ANSWER => last.extend_from_slice(&m),
            _ => out.push(m),
        }
    }
    out
}

/// NLMSG_ERROR: an error, or an acknowledgement.
fn error(header: &Header, port: u32, e: Option<Errno>, body: &[u8]) -> Vec<u8> {
    let code = e.map_or(0, |e| -e.raw());
    let b = Builder::new(header, port, ERROR, 0)
        .raw(code.as_bytes())
        .raw(header.as_bytes());
    // The whole request comes back with an error.
    let b = if e.is_some() { b.raw(body) } else { b };
    b.finish()
}

fn one(
    cx: &dyn Caller,
    ns: &NetNamespace,
    port: u32,
    header: &Header,
    body: &[u8],
) -> Result<Vec<Vec<u8>>> {
    // Message types come in fours: new, delete, get, set.
    let get = header.kind & 3 == 2;
    if !get && !ns.allows(cx.credentials(), Caps::NET_ADMIN) {
        return Err(Errno::EPERM);
    }
    let dump = is_dump(header);
    let family = body.first().copied().unwrap_or(0);
    let mut list = match header.kind {
        libc::RTM_GETLINK => links(ns, header, port, body, dump)?,
        libc::RTM_NEWLINK | libc::RTM_SETLINK => return set_link(ns, body),
        libc::RTM_NEWADDR => return add_address(ns, body),
        libc::RTM_GETADDR if dump => addresses(ns, header, port, family),
        libc::RTM_GETROUTE if dump => routes(ns, header, port, family),
        libc::RTM_GETROUTE => return route_to(ns, header, port, body),
        // No neighbours, queues, rules: the tables are there and empty.
        libc::RTM_GETNEIGH
        | libc::RTM_GETRULE
        | libc::RTM_GETQDISC
        | libc::RTM_GETTCLASS
        | libc::RTM_GETTFILTER
        | libc::RTM_GETNEIGHTBL
        | libc::RTM_GETADDRLABEL
        | libc::RTM_GETMULTICAST
        | libc::RTM_GETANYCAST
        | libc::RTM_GETNETCONF
            if dump =>
        {
            Vec::new()
        }
        _ => return Err(Errno::EOPNOTSUPP),
    };
    if dump {
        list.push(
            Builder::new(header, port, DONE, MULTI)
                .raw(0i32.as_bytes())
                .finish(),
        );
    }
    Ok(list)
}

/// Whether all objects are asked for: with other requests the bits mean "replace" and "not if it is there".
fn is_dump(header: &Header) -> bool {
    header.kind & 3 == 2 && header.flags & DUMP != 0
}

fn flags(header: &Header) -> u16 {
    if is_dump(header) { MULTI } else { 0 }
}

fn links(
    ns: &NetNamespace,
    header: &Header,
    port: u32,
    body: &[u8],
    dump: bool,
) -> Result<Vec<Vec<u8>>> {
    let all = ns.interfaces.all();
    if dump {
        return Ok(all.iter().map(|i| link(&**i, header, port)).collect());
    }
    // struct ifinfomsg: the index at 4, attributes at 16.
    let index = body
        .get(4..8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_ne_bytes);
    let name = body.get(16..).and_then(|a| attribute(a, libc::IFLA_IFNAME));
    let found = if index != 0 {
        ns.interfaces.by_index(index)
    } else {
        let name = name.ok_or(Errno::EINVAL)?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        let name = name.get(..end).unwrap_or(name);
        all.iter().find(|i| i.name().as_bytes() == name)
    };
    Ok(vec![link(&**found.ok_or(Errno::ENODEV)?, header, port)])
}

fn word(body: &[u8], at: usize) -> Result<u32> {
    let bytes = body.get(at..at + 4).and_then(|b| b.try_into().ok());
    bytes.map(u32::from_ne_bytes).ok_or(Errno::EINVAL)
}

/// RTM_NEWLINK of an interface that is there: IFF_UP alone can be changed.
fn set_link(ns: &NetNamespace, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    // struct ifinfomsg: index, flags and which of them count.
    let (index, flags, change) = (word(body, 4)?, word(body, 8)?, word(body, 12)?);
    let i = match index {
        0 => {
            let name = body.get(16..).and_then(|a| attribute(a, libc::IFLA_IFNAME));
            let name = name.ok_or(Errno::EOPNOTSUPP)?;
            let mut all = ns.interfaces.all().iter();
            all.find(|i| name.strip_suffix(b"\0").unwrap_or(name) == i.name().as_bytes())
                // Others cannot be made.
                .ok_or(Errno::EOPNOTSUPP)?
        }
        n => ns.interfaces.by_index(n).ok_or(Errno::ENODEV)?,
    };
    const UP: u32 = libc::IFF_UP as u32;
    if change & !UP != 0 && change != u32::MAX {
        return Err(Errno::EOPNOTSUPP);
    }
    if change & UP != 0 {
        i.set_up(flags & UP != 0)?;
    } else if flags & UP != 0 {
        // Without a mask all flags count.
        i.set_up(true)?;
    }
    Ok(Vec::new())
}

/// RTM_NEWADDR.
fn add_address(ns: &NetNamespace, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    // struct ifaddrmsg: family, prefix length, flags, scope, index; attributes at 8.
    let prefix = *body.get(1).ok_or(Errno::EINVAL)?;
    let i = ns
        .interfaces
        .by_index(word(body, 4)?)
        .ok_or(Errno::ENODEV)?;
    let attributes = body.get(8..).unwrap_or(&[]);
    let local = attribute(attributes, libc::IFA_LOCAL).or(attribute(attributes, libc::IFA_ADDRESS));
    let local = local.ok_or(Errno::EINVAL)?;
    let ip = if let Ok(v4) = <[u8; 4]>::try_from(local) {
        IpAddr::from(v4)
    } else if let Ok(v6) = <[u8; 16]>::try_from(local) {
        IpAddr::from(v6)
    } else {
        return Err(Errno::EINVAL);
    };
    i.add_address(ip, prefix)?;
    Ok(Vec::new())
}

fn c_string(s: &str) -> Vec<u8> {
    let mut v = s.as_bytes().to_vec();
    v.push(0);
    v
}

fn link(i: &dyn Interface, header: &Header, port: u32) -> Vec<u8> {
    let [mac, broadcast] = [i.hardware_addr(), [0; 6]];
    Builder::new(header, port, libc::RTM_NEWLINK, flags(header))
        .raw(&[0, 0])
        .raw(i.hardware_type().as_bytes())
        .raw(i.index().as_bytes())
        .raw(i.flags().as_bytes())
        .raw(0u32.as_bytes())
        .attr(libc::IFLA_IFNAME, &c_string(i.name()))
        .attr32(libc::IFLA_TXQLEN, 1000)
        .attr(libc::IFLA_OPERSTATE, &[0])
        .attr(libc::IFLA_LINKMODE, &[0])
        .attr32(libc::IFLA_MTU, i.mtu())
        .attr32(libc::IFLA_GROUP, 0)
        .attr32(libc::IFLA_PROMISCUITY, 0)
        .attr32(libc::IFLA_NUM_TX_QUEUES, 1)
        .attr32(libc::IFLA_NUM_RX_QUEUES, 1)
        .attr(libc::IFLA_CARRIER, &[1])
        .attr(libc::IFLA_QDISC, b"noqueue\0")
        .attr(libc::IFLA_ADDRESS, &mac)
        .attr(libc::IFLA_BROADCAST, &broadcast)
        // struct rtnl_link_stats64 and rtnl_link_stats: there are no packets to count.
        .attr(libc::IFLA_STATS64, &[0; 200])
        .attr(libc::IFLA_STATS, &[0; 96])
        .finish()
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn family_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn wanted(family: u8, ip: IpAddr) -> bool {
    family == 0 || family == family_of(ip)
}

fn addresses(ns: &NetNamespace, header: &Header, port: u32, family: u8) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    // All of one family, then all of the other, as Linux dumps them.
    for v4 in [true, false] {
        for i in ns.interfaces.all() {
            for a in i.addresses() {
                if a.ip.is_ipv4() == v4 && wanted(family, a.ip) {
                    out.push(address(&**i, &a, header, port));
                }
            }
        }
    }
    out
}

fn address(i: &dyn Interface, a: &InterfaceAddr, header: &Header, port: u32) -> Vec<u8> {
    /// IFA_F_PERMANENT.
    const PERMANENT: u8 = 0x80;
    const IFA_FLAGS: u16 = 8;
    let ip = octets(a.ip);
    let mut b = Builder::new(header, port, libc::RTM_NEWADDR, flags(header))
        .raw(&[family_of(a.ip), a.prefix, PERMANENT, a.scope])
        .raw(i.index().as_bytes())
        .attr(libc::IFA_ADDRESS, &ip);
    if a.ip.is_ipv4() {
        b = b.attr(libc::IFA_LOCAL, &ip);
        if let Some(bc) = a.broadcast {
            b = b.attr(libc::IFA_BROADCAST, &bc.octets());
        }
        b = b.attr(libc::IFA_LABEL, &c_string(i.name()));
    }
    b.attr32(IFA_FLAGS, u32::from(PERMANENT))
        // Preferred and valid for ever, then two time stamps.
        .attr(libc::IFA_CACHEINFO, [u32::MAX, u32::MAX, 0, 0].as_bytes())
        .finish()
}

/// One row of a routing table.
struct Row {
    dst: IpAddr,
    len: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    source: Option<IpAddr>,
    gateway: Option<IpAddr>,
    index: u32,
}

fn mask_v4(ip: Ipv4Addr, prefix: u8) -> (Ipv4Addr, Ipv4Addr) {
    let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let bits = ip.to_bits();
    (
        Ipv4Addr::from_bits(bits & !host),
        Ipv4Addr::from_bits(bits | host),
    )
}

/// The rows that an interface address makes (fib_add_ifaddr).
fn rows(i: &dyn Interface) -> Vec<Row> {
    let mut out = Vec::new();
    for g in i.gateways() {
        out.push(Row {
            dst: if g.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            },
            len: 0,
            table: TABLE_MAIN,
            protocol: PROTO_BOOT,
            scope: 0,
            kind: TYPE_UNICAST,
            source: None,
            gateway: Some(g),
            index: i.index(),
        });
    }
    for a in i.addresses() {
        let row = |dst, len, table, scope, kind| Row {
            dst,
            len,
            table,
            protocol: PROTO_KERNEL,
            scope,
            kind,
            source: a.ip.is_ipv4().then_some(a.ip),
            gateway: None,
            index: i.index(),
        };
        match a.ip {
            IpAddr::V4(ip) => {
                let (net, last) = mask_v4(ip, a.prefix);
                if ip.is_loopback() {
                    out.push(row(
                        net.into(),
                        a.prefix,
                        TABLE_LOCAL,
                        SCOPE_HOST,
                        TYPE_LOCAL,
                    ));
                } else if a.prefix < 32 {
                    out.push(row(
                        net.into(),
                        a.prefix,
                        TABLE_MAIN,
                        SCOPE_LINK,
                        TYPE_UNICAST,
                    ));
                }
                out.push(row(a.ip, 32, TABLE_LOCAL, SCOPE_HOST, TYPE_LOCAL));
                if a.prefix < 31 {
                    let kind = TYPE_BROADCAST;
                    out.push(row(last.into(), 32, TABLE_LOCAL, SCOPE_LINK, kind));
                }
            }
            IpAddr::V6(_) => out.push(row(a.ip, 128, TABLE_LOCAL, 0, TYPE_LOCAL)),
        }
    }
    out
}

fn routes(ns: &NetNamespace, header: &Header, port: u32, family: u8) -> Vec<Vec<u8>> {
    let all: Vec<Row> = ns
        .interfaces
        .all()
        .iter()
        .flat_map(|i| rows(&**i))
        .filter(|r| wanted(family, r.dst))
        .collect();
    let (main, local): (Vec<_>, Vec<_>) = all.into_iter().partition(|r| r.table == TABLE_MAIN);
    main.iter()
        .chain(&local)
        .map(|r| route(r, header, port))
        .collect()
}

fn route(r: &Row, header: &Header, port: u32) -> Vec<u8> {
    let mut b = Builder::new(header, port, libc::RTM_NEWROUTE, flags(header))
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
    if r.dst.is_ipv6() {
        b = b.attr32(libc::RTA_PRIORITY, 0);
    }
    b.attr32(libc::RTA_OIF, r.index).finish()
}

/// The route to one address (`ip route get`).
fn route_to(ns: &NetNamespace, header: &Header, port: u32, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    // struct rtmsg is 12 bytes.
    let dst = body
        .get(12..)
        .and_then(|a| attribute(a, libc::RTA_DST))
        .ok_or(Errno::EINVAL)?;
    let to: IpAddr = match *dst {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
        _ => {
            let raw: [u8; 16] = dst.try_into().map_err(|_| Errno::EINVAL)?;
            Ipv6Addr::from(raw).into()
        }
    };
    let (source, kind) = match ns.interfaces.route(to) {
        Route::Local(s) => (s, TYPE_LOCAL),
        Route::Broadcast(s) => (s, TYPE_BROADCAST),
        Route::Multicast | Route::Unreachable => return Err(Errno::ENETUNREACH),
    };
    let index = ns
        .interfaces
        .all()
        .iter()
        .find(|i| i.addresses().iter().any(|a| a.ip == source))
        .map_or(1, |i| i.index());
    let row = Row {
        dst: to,
        len: if to.is_ipv4() { 32 } else { 128 },
        table: TABLE_LOCAL,
        protocol: 0,
        scope: 0,
        kind,
        source: Some(source),
        gateway: None,
        index,
    };
    Ok(vec![route(&row, header, port)])
}
