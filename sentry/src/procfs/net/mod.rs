//! /proc/PID/net: tables of the process's network namespace. [`sockets`] has those of sockets, [`counters`] the statistics.

mod counters;
mod sockets;

use super::Proc;
use crate::abi::Result;
use crate::auth::UserNamespace;
use crate::fs::pseudo::{Attr, PseudoFile, StaticDir};
use crate::net::NetNamespace;
use crate::vfs::{Caller, InodeRef};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// Makes one table's text.
type Table = fn(&NetNamespace) -> String;

/// A namespace, and how whoever reads of it calls users (seq_user_ns).
struct Reader<'a> {
    ns: &'a NetNamespace,
    users: &'a UserNamespace,
}

/// Makes the text of a table that shows users.
type SocketTable = fn(&Reader<'_>) -> String;

const SOCKETS: &[(&str, SocketTable)] = &[
    ("icmp", sockets::icmp),
    ("icmp6", sockets::icmp6),
    ("packet", sockets::packet),
    ("raw", sockets::raw),
    ("raw6", sockets::raw6),
    ("tcp", sockets::tcp),
    ("tcp6", sockets::tcp6),
    ("udp", sockets::udp),
    ("udp6", sockets::udp6),
    ("udplite", sockets::udplite),
    ("udplite6", sockets::udplite6),
];

const TABLES: &[(&str, Table)] = &[
    ("anycast6", |_| String::new()),
    ("arp", |_| {
        "IP address       HW type     Flags       HW address            Mask     Device\n".into()
    }),
    ("dev", dev),
    ("dev_mcast", |_| String::new()),
    ("if_inet6", if_inet6),
    ("igmp", igmp),
    ("igmp6", igmp6),
    ("ipv6_route", ipv6_route),
    ("mcfilter", |_| {
        "Idx Device        MCA        SRC    INC    EXC\n".into()
    }),
    ("mcfilter6", |_| {
        "Idx Device                Multicast Address                   Source Address    INC    EXC\n"
            .into()
    }),
    ("netlink", sockets::netlink),
    ("netstat", counters::netstat),
    ("protocols", counters::protocols),
    ("psched", |_| "000003e8 00000040 000f4240 3b9aca00\n".into()),
    ("ptype", sockets::ptype),
    ("route", route),
    ("snmp", counters::snmp),
    ("snmp6", counters::snmp6),
    ("sockstat", counters::sockstat),
    ("sockstat6", counters::sockstat6),
    ("unix", sockets::unix),
];

fn dev(ns: &NetNamespace) -> String {
    let mut out = String::from(
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
    );
    for i in ns.interfaces.all().iter() {
        let _ = writeln!(
            out,
            "{:>6}: {:>7} {:>7} {:>4} {:>4} {:>4} {:>5} {:>10} {:>9} {:>8} {:>7} {:>4} {:>4} {:>4} {:>5} {:>7} {:>10}",
            i.name(),
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0
        );
    }
    out
}

fn hex(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(a) => format!("{:08X}", u32::from_ne_bytes(a.octets())),
        IpAddr::V6(a) => a.octets().iter().map(|b| format!("{b:02x}")).collect(),
    }
}

fn if_inet6(ns: &NetNamespace) -> String {
    let mut out = String::new();
    for i in ns.interfaces.all().iter() {
        for a in i.addresses().iter().filter(|a| a.ip.is_ipv6()) {
            // RT_SCOPE_* as an address's own scope (IPV6_ADDR_*).
            let scope = match a.scope {
                254 => 0x10,
                253 => 0x20,
                _ => 0,
            };
            let _ = writeln!(
                out,
                "{} {:02x} {:02x} {scope:02x} 80 {:>8}",
                hex(a.ip),
                i.index(),
                a.prefix,
                i.name()
            );
        }
    }
    out
}

fn route(ns: &NetNamespace) -> String {
    let mut out = format!(
        "{:<127}\n",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    );
    for r in ns.interfaces.rows() {
        let (IpAddr::V4(dst), true) = (r.dst, r.is_main()) else {
            continue;
        };
        let mask = u32::MAX.checked_shl(32 - u32::from(r.len)).unwrap_or(0);
        let gateway = match r.gateway {
            Some(IpAddr::V4(g)) => u32::from_ne_bytes(g.octets()),
            _ => 0,
        };
        // RTF_UP, RTF_GATEWAY, RTF_HOST.
        let flags = 1 | u32::from(r.gateway.is_some()) << 1 | u32::from(r.len == 32) << 2;
        let name = ns
            .interfaces
            .by_index(r.index)
            .map_or("*".into(), |i| i.name().to_owned());
        let line = format!(
            "{name}\t{:08X}\t{gateway:08X}\t{flags:04X}\t0\t0\t{}\t{:08X}\t0\t0\t0",
            u32::from_ne_bytes(dst.octets()),
            r.metric,
            u32::from_ne_bytes(mask.to_be_bytes()),
        );
        let _ = writeln!(out, "{line:<127}");
    }
    out
}

fn ipv6_route(ns: &NetNamespace) -> String {
    let mut out = String::new();
    let zero = "0".repeat(32);
    let reject =
        format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
    out.push_str(&reject);
    for r in ns.interfaces.rows() {
        if r.dst.is_ipv4() {
            continue;
        }
        let local = !r.is_main();
        let gateway = r.gateway.map_or(zero.clone(), hex);
        // RTF_UP, and RTF_NONEXTHOP | RTF_LOCAL.
        let flags: u32 = if local { 0x8020_0001 } else { 1 };
        let name = ns
            .interfaces
            .by_index(r.index)
            .map_or("lo".into(), |i| i.name().to_owned());
        let _ = writeln!(
            out,
            "{} {:02x} {zero} 00 {gateway} {:08x} 00000002 00000000 {flags:08x} {name:>8}",
            hex(r.dst),
            r.len,
            r.metric
        );
    }
    out.push_str(&reject);
    out
}

fn igmp(ns: &NetNamespace) -> String {
    let mut out = String::from("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    let all = ns.inet.memberships();
    for i in ns.interfaces.all().iter().filter(|i| i.is_up()) {
        let here = all.iter().filter(|g| g.1 == i.index() && g.0.is_ipv4());
        let mut groups: Vec<_> = here.copied().collect();
        let _ = writeln!(
            out,
            "{}\t{:<10}: {:>5}      V3",
            i.index(),
            i.name(),
            groups.len() + 1
        );
        groups.push((IpAddr::from([224, 0, 0, 1]), i.index(), 1));
        for (group, _, users) in groups {
            let _ = writeln!(out, "\t\t\t\t{} {users:>5} 0:00000000\t\t0", hex(group));
        }
    }
    out
}

fn igmp6(ns: &NetNamespace) -> String {
    let mut out = String::new();
    let all = ns.inet.memberships();
    for i in ns.interfaces.all().iter().filter(|i| i.is_up()) {
        let here = all.iter().filter(|g| g.1 == i.index() && g.0.is_ipv6());
        let groups: Vec<_> = here.copied().collect();
        let mut list: Vec<(String, usize, u32)> =
            groups.iter().map(|g| (hex(g.0), g.2, 4)).collect();
        list.push(("ff020000000000000000000000000001".into(), 1, 0xc));
        list.push(("ff010000000000000000000000000001".into(), 1, 8));
        for (group, users, flags) in list {
            let _ = writeln!(
                out,
                "{:<4} {:<15} {group} {users:>5} {flags:08X} 0",
                i.index(),
                i.name()
            );
        }
    }
    out
}

/// The directory, for one network namespace.
pub(super) fn make(proc: &Proc, ns: &Arc<NetNamespace>) -> InodeRef {
    let mut dir = StaticDir::new();
    for (name, table) in TABLES {
        let ns = ns.clone();
        let content = move |_: &dyn Caller| -> Result<Vec<u8>> { Ok(table(&ns).into_bytes()) };
        dir.add(name, PseudoFile::new(Attr::new(proc.fs, 0o444), content));
    }
    for (name, table) in SOCKETS {
        let ns = ns.clone();
        let content = move |cx: &dyn Caller| -> Result<Vec<u8>> {
            let users = &cx.credentials().user_ns;
            Ok(table(&Reader { ns: &ns, users }).into_bytes())
        };
        dir.add(name, PseudoFile::new(Attr::new(proc.fs, 0o444), content));
    }
    dir.into_inode(Attr::new(proc.fs, 0o555))
}
