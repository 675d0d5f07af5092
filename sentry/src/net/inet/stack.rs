//! What happens to an IP packet: sockets that look at packets get copies where it goes, and what the loopback gives back reaches
//! the sockets it is for; echo requests are answered.
//!
//! TCP and UDP sockets exchange data without packets; UDP makes one for each datagram while somebody looks ([`watched`]).

use super::errors;
use super::raw::RawSocket;
use super::udp::UdpSocket;
use super::wire::{self, Header};
use crate::abi::{Errno, Result};
use crate::net::NetNamespace;
use crate::net::interface::Route;
use crate::sync::{Mutex, Rank};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

/// Most raw sockets and most ping sockets of a network namespace: each looks at every packet.
const MAX_SOCKETS: usize = 256;

/// Raw and ping sockets of a network namespace, and whether each is a ping socket.
pub(super) struct RawTable(Mutex<Vec<(u64, bool, Weak<RawSocket>)>>);

impl Default for RawTable {
    fn default() -> RawTable {
        RawTable(Mutex::new(Rank::NET_TABLE, Vec::new()))
    }
}

impl RawTable {
    /// # Errors
    /// ENOBUFS if there are too many.
    pub fn add(&self, id: u64, socket: &Arc<RawSocket>) -> Result<()> {
        let mut all = self.0.lock();
        all.retain(|e| e.2.strong_count() > 0);
        let kind = all.iter().filter(|e| e.1 == socket.is_ping()).count();
        if kind >= MAX_SOCKETS {
            return Err(Errno::ENOBUFS);
        }
        all.push((id, socket.is_ping(), Arc::downgrade(socket)));
        Ok(())
    }
    pub fn remove(&self, id: u64) {
        self.0.lock().retain(|e| e.0 != id);
    }
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
    pub fn all(&self) -> Vec<Arc<RawSocket>> {
        let all = self.0.lock();
        all.iter().filter_map(|e| e.2.upgrade()).collect()
    }
}

/// Whether anybody would see a packet.
pub(super) fn watched(ns: &NetNamespace) -> bool {
    !ns.packets.is_empty() || !ns.inet.raw.is_empty()
}

/// Shows a packet that goes to `to` to packet and raw sockets.
pub(super) fn show(ns: &NetNamespace, to: IpAddr, packet: &[u8]) {
    if go_out(ns, to, packet)
        && let Some(h) = wire::parse(packet)
    {
        to_raw(ns, &h, packet);
    }
}

/// Shows a packet to the packet sockets of the interface that it leaves by; whether it comes back in.
fn go_out(ns: &NetNamespace, to: IpAddr, packet: &[u8]) -> bool {
    let (index, back) = match ns.interfaces.route(to) {
        Route::Local(_) | Route::Multicast => (1, true),
        Route::Broadcast(_, index) => (index, true),
        Route::Away(_, index) => (index, false),
        Route::Unreachable => return false,
    };
    ns.packets.pass_ip(&ns.interfaces, index, packet);
    back
}

fn to_raw(ns: &NetNamespace, h: &Header, packet: &[u8]) -> bool {
    let mut any = false;
    for s in ns.inet.raw.all() {
        any |= !s.is_ping() && s.offer(h, packet);
    }
    any
}

/// Sends a packet towards `to`, whatever its header says.
pub(super) fn transmit(ns: &Arc<NetNamespace>, to: IpAddr, packet: &[u8]) {
    if go_out(ns, to, packet) {
        input(ns, packet);
    }
}

/// Takes a packet that came in.
pub(in crate::net) fn input(ns: &Arc<NetNamespace>, packet: &[u8]) {
    let Some(h) = wire::parse(packet) else {
        return;
    };
    // Fragments are not put together: none is ever made here.
    let fragment = h.to.is_ipv4() && wire::field16(packet, 6).is_some_and(|f| f & 0x3fff != 0);
    if fragment || !for_us(ns, h.to) {
        return;
    }
    let raw = to_raw(ns, &h, packet);
    let body = packet.get(h.start..h.end).unwrap_or(&[]);
    match (h.protocol, h.to.is_ipv4()) {
        (1, true) | (58, false) => icmp(ns, &h, body),
        (17 | 136, _) => {
            let taken = UdpSocket::input(ns, &h, body);
            if !taken {
                refuse(ns, packet, &h);
            }
        }
        // Segments for nobody: connections are not made of packets.
        (6, _) => {}
        (_, true) if !raw => {
            let message = wire::unreachable(packet, &h, 2);
            transmit(
                ns,
                h.from,
                &wire::packet(h.to, h.from, 1, 64, 0xc0, &message),
            );
        }
        _ => {}
    }
}

fn for_us(ns: &NetNamespace, to: IpAddr) -> bool {
    match ns.interfaces.route(to) {
        Route::Local(_) | Route::Broadcast(..) => true,
        Route::Multicast => ns.inet.groups.has(to),
        Route::Away(..) | Route::Unreachable => false,
    }
}

/// Answers a datagram that nobody takes: "port unreachable".
pub(super) fn refuse(ns: &Arc<NetNamespace>, packet: &[u8], h: &Header) {
    if h.to.is_multicast() {
        return;
    }
    let v4 = h.to.is_ipv4();
    let message = wire::unreachable(packet, h, if v4 { 3 } else { 4 });
    // icmp_send's class for errors is "internetwork control".
    let class = if v4 { 0xc0 } else { 0 };
    let protocol = if v4 { 1 } else { 58 };
    let answer = wire::packet(h.to, h.from, protocol, 64, class, &message);
    show(ns, h.from, &answer);
}

fn icmp(ns: &Arc<NetNamespace>, h: &Header, body: &[u8]) {
    let v4 = h.to.is_ipv4();
    let good = if v4 {
        wire::checksum(body) == 0
    } else {
        wire::transport_checksum(h.from, h.to, 58, body) == 0
    };
    let (Some(kind), true) = (body.first().copied(), good && body.len() >= 8) else {
        return;
    };
    match (v4, kind) {
        (true, wire::ECHO) | (false, wire::ECHO6) => {
            // Broadcasts are not answered (icmp_echo_ignore_broadcasts).
            if !ns.interfaces.is_local(h.to) {
                return;
            }
            let me = h.to;
            let mut answer = body.to_vec();
            if let Some(k) = answer.first_mut() {
                *k = if v4 {
                    wire::ECHO_REPLY
                } else {
                    wire::ECHO_REPLY6
                };
            }
            wire::seal_icmp(&mut answer, me, h.from);
            let protocol = if v4 { 1 } else { 58 };
            let class = if v4 { h.class } else { 0 };
            transmit(
                ns,
                h.from,
                &wire::packet(me, h.from, protocol, 64, class, &answer),
            );
        }
        (true, wire::ECHO_REPLY) | (false, wire::ECHO_REPLY6) => {
            for s in ns.inet.raw.all() {
                if s.is_ping() {
                    s.answer(h, body);
                }
            }
        }
        _ => {
            let code = body.get(1).copied().unwrap_or(0);
            let about = body.get(8..).unwrap_or(&[]);
            icmp_error(ns, h.from, v4, (kind, code), about);
        }
    }
}

/// An error message about a packet of which the beginning is given.
fn icmp_error(ns: &Arc<NetNamespace>, from: IpAddr, v4: bool, what: (u8, u8), about: &[u8]) {
    let Some((e, hard)) = errors::meaning(v4, what.0, what.1) else {
        return;
    };
    // The packet may be cut, so its length is not looked at.
    let ends = if v4 {
        (about.get(12..16), about.get(16..20))
    } else {
        (about.get(8..24), about.get(24..40))
    };
    let (Some(src), Some(dst)) = ends else { return };
    let (start, protocol) = if v4 {
        let words = about.first().copied().unwrap_or(0) & 0xf;
        (usize::from(words) * 4, about.get(9).copied().unwrap_or(0))
    } else {
        (wire::V6, about.get(6).copied().unwrap_or(0))
    };
    let body = about.get(start..).unwrap_or(&[]);
    let (Some(src), Some(dst)) = (ip(src), ip(dst)) else {
        return;
    };
    match protocol {
        17 | 136 => {
            let ports = (wire::field16(body, 0), wire::field16(body, 2));
            let (Some(own), Some(other)) = ports else {
                return;
            };
            let (own, other) = (SocketAddr::new(src, own), SocketAddr::new(dst, other));
            let data = body.get(wire::UDP..).unwrap_or(&[]);
            UdpSocket::hear(ns, protocol, (own, other), (e, hard), what, from, data);
        }
        1 | 58 => {
            for s in ns.inet.raw.all() {
                if s.is_ping() {
                    s.hear((src, dst), (e, hard), what, from, body);
                }
            }
        }
        _ => {}
    }
}

fn ip(raw: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(raw) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(raw).ok().map(IpAddr::from)
}
