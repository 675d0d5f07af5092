//! Tables of sockets (net/ipv4/tcp_ipv4.c, udp.c, raw.c, net/unix/af_unix.c, net/packet/af_packet.c).

use super::Reader;
use crate::net::NetNamespace;
use crate::net::inet::listing::{self, Entry};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Pointers are not shown to programs (kptr_restrict).
const POINTER: &str = "0000000000000000";
/// Clock ticks of the times in these tables, in nanoseconds.
const TICK: u64 = 10_000_000;

/// An address as words of the machine's byte order, and a port.
fn end(a: SocketAddr, family: i32) -> String {
    let mut out = String::new();
    let six = match (a.ip(), family) {
        (IpAddr::V4(v4), libc::AF_INET) => {
            let _ = write!(out, "{:08X}", u32::from_ne_bytes(v4.octets()));
            None
        }
        (IpAddr::V4(v4), _) if v4.is_unspecified() => Some(std::net::Ipv6Addr::UNSPECIFIED),
        (IpAddr::V4(v4), _) => Some(v4.to_ipv6_mapped()),
        (IpAddr::V6(v6), _) => Some(v6),
    };
    for word in six.iter().flat_map(|a| {
        let o = a.octets();
        o.chunks_exact(4)
            .map(|c| c.try_into().map_or(0, u32::from_ne_bytes))
            .collect::<Vec<_>>()
    }) {
        let _ = write!(out, "{word:08X}");
    }
    let _ = write!(out, ":{:04X}", a.port());
    out
}

/// What all inet tables begin a line with, up to the inode.
fn line(r: &Reader<'_>, e: &Entry) -> String {
    let (timer, when) = match e.left {
        Some(ns) => (3, ns / TICK),
        None => (0, 0),
    };
    // A listener's queue is what waits for accept; its backlog is not shown.
    let tx = if e.state == 10 { 0 } else { e.tx };
    format!(
        "{} {} {:02X} {tx:08X}:{:08X} {timer:02X}:{when:08X} {:08X} {:>5} {:>8} {}",
        end(e.local, e.family),
        end(e.remote, e.family),
        e.state,
        e.rx,
        0,
        r.users.show_user(e.uid),
        0,
        e.ino
    )
}

fn tcp_lines(r: &Reader<'_>, family: i32, width: usize, mut out: String) -> String {
    let all = listing::tcp(r.ns);
    for (i, e) in all.iter().filter(|e| e.family == family).enumerate() {
        let tail = match e.state {
            6 => format!("3 {POINTER}"),
            10 => format!("1 {POINTER} 100 0 0 10 0"),
            _ => format!("1 {POINTER} 20 4 30 10 -1"),
        };
        let text = format!("{i:>4}: {} {tail}", line(r, e));
        let _ = writeln!(out, "{text:<width$}");
    }
    out
}

pub(super) fn tcp(r: &Reader<'_>) -> String {
    let head = format!(
        "{:<149}\n",
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    );
    tcp_lines(r, libc::AF_INET, 149, head)
}

pub(super) fn tcp6(r: &Reader<'_>) -> String {
    let head = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    tcp_lines(r, libc::AF_INET6, 0, head.into())
}

/// Datagram sockets: `digits` of the number at the beginning, lines padded to `width`.
fn dgram_lines(
    r: &Reader<'_>,
    all: &[Entry],
    family: i32,
    digits: usize,
    width: usize,
    mut out: String,
) -> String {
    for e in all.iter().filter(|e| e.family == family) {
        // The number is that of the hash bucket: the port.
        let text = format!(
            "{:>digits$}: {} 2 {POINTER} {}",
            e.local.port(),
            line(r, e),
            e.drops
        );
        let _ = writeln!(out, "{text:<width$}");
    }
    out
}

const SIX: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";

fn udp_head() -> String {
    format!(
        "{:<127}\n",
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
    )
}

pub(super) fn udp(r: &Reader<'_>) -> String {
    let all = listing::udp(r.ns, false);
    dgram_lines(r, &all, libc::AF_INET, 5, 127, udp_head())
}
pub(super) fn udp6(r: &Reader<'_>) -> String {
    let all = listing::udp(r.ns, false);
    dgram_lines(r, &all, libc::AF_INET6, 5, 0, SIX.into())
}
pub(super) fn udplite(r: &Reader<'_>) -> String {
    let all = listing::udp(r.ns, true);
    dgram_lines(r, &all, libc::AF_INET, 5, 127, udp_head())
}
pub(super) fn udplite6(r: &Reader<'_>) -> String {
    let all = listing::udp(r.ns, true);
    dgram_lines(r, &all, libc::AF_INET6, 5, 0, SIX.into())
}

const RAW: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";

pub(super) fn raw(r: &Reader<'_>) -> String {
    let all = listing::raw(r.ns, false);
    dgram_lines(r, &all, libc::AF_INET, 4, 0, format!("{RAW}\n"))
}
pub(super) fn raw6(r: &Reader<'_>) -> String {
    let all = listing::raw(r.ns, false);
    dgram_lines(r, &all, libc::AF_INET6, 5, 0, SIX.into())
}
pub(super) fn icmp(r: &Reader<'_>) -> String {
    let all = listing::raw(r.ns, true);
    dgram_lines(r, &all, libc::AF_INET, 5, 127, format!("{RAW:<127}\n"))
}
pub(super) fn icmp6(r: &Reader<'_>) -> String {
    let all = listing::raw(r.ns, true);
    dgram_lines(r, &all, libc::AF_INET6, 5, 0, SIX.into())
}

pub(super) fn unix(ns: &NetNamespace) -> String {
    let mut out = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
    for e in ns.unix.list() {
        // __SO_ACCEPTCON; SS_UNCONNECTED and SS_CONNECTED, or those of a connection that nobody has accepted.
        let flags = if e.state == 10 { 0x10000 } else { 0 };
        let state = match (e.ino, e.state) {
            (0, 1) => 2,
            (0, _) => 4,
            (_, 1) => 3,
            _ => 1,
        };
        let refs = if e.peer.is_some() { 3 } else { 2 };
        let _ = write!(
            out,
            "{POINTER}: {refs:08X} 00000000 {flags:08X} {:04X} {state:02X} {:>5}",
            e.kind, e.ino
        );
        if let Some(name) = &e.name {
            out.push(' ');
            out.push_str(&String::from_utf8_lossy(name));
        }
        out.push('\n');
    }
    out
}

pub(super) fn packet(r: &Reader<'_>) -> String {
    let mut out = String::from("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
    for e in r.ns.packets.list() {
        let _ = writeln!(
            out,
            "{POINTER} {:<6} {:<4} {:04x}   {:<5} {} {:<6} {:<6} {:<6}",
            3,
            e.kind,
            e.protocol,
            e.index,
            e.running as u8,
            e.queued,
            r.users.show_user(e.uid),
            e.ino
        );
    }
    out
}

/// Who is shown which frames: packet sockets, then the protocols.
pub(super) fn ptype(ns: &NetNamespace) -> String {
    let mut out = String::from("Type Device      Function\n");
    for e in ns.packets.list().iter().filter(|e| e.running) {
        let device = ns
            .interfaces
            .by_index(e.index)
            .map_or(String::new(), |i| i.name().to_owned());
        let kind = if e.protocol == 3 {
            "ALL ".into()
        } else {
            format!("{:04x}", e.protocol)
        };
        let _ = writeln!(out, "{kind} {device:<8} packet_rcv");
    }
    out.push_str("0800          ip_rcv\n0806          arp_rcv\n86dd          ipv6_rcv\n");
    out
}

pub(super) fn netlink(ns: &NetNamespace) -> String {
    let mut out = String::from(
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
    );
    for e in ns.netlink.list() {
        let _ = writeln!(
            out,
            "{POINTER} {:<3} {:<10} {:08x} {:<8} {:<8} {:<5} {:<8} {:<8} {:<8}",
            e.protocol, e.port, e.groups, e.queued, 0, 0, 2, 0, e.ino
        );
    }
    out
}
