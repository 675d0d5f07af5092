//! Sending and receiving datagrams.

use super::super::errors;
use super::super::inbox::Packet;
use super::super::ports::matches;
use super::super::wishes::{Wishes, wishes};
use super::super::{Count, stack, wire};
use super::{Cork, UdpSocket};
use crate::abi::{Errno, Result};
use crate::net::NetNamespace;
use crate::net::filter::{self, Facts};
use crate::net::interface::Route;
use crate::net::socket::{MEMORY, MsgFlags, Received, RecvMsg, SendMsg};
use crate::sync::Events;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Most bytes in a datagram: what a length field holds, less headers.
const MAX_V4: usize = 65507;
const MAX_V6: usize = 65527;
/// Most datagrams of one call with UDP_SEGMENT (UDP_MAX_SEGMENTS).
const MAX_SEGMENTS: usize = 128;
/// Copies that one call makes of its datagrams for the many who are in a group, but all of the first: the rest is lost. Filters cost as much, for each so many
/// instructions.
const MAX_COPIES: usize = 1 << 16;
const FILTERED: usize = 64;

/// Who is to get a datagram.
enum Receivers {
    One(Arc<UdpSocket>),
    Many(Vec<Arc<UdpSocket>>),
    None,
}

/// How datagrams are to go.
#[derive(Clone, Copy)]
pub(super) struct Way {
    route: Route,
    from: SocketAddr,
    to: SocketAddr,
    hops: u8,
    class: u8,
    segment: usize,
}

impl UdpSocket {
    pub(super) fn do_send(&self, msg: &mut SendMsg<'_>) -> Result<usize> {
        let len = msg.src.remaining();
        if len > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let pending = self.state.lock().cork.as_ref().map(|c| c.way);
        let way = match pending {
            // What is corked has its destination.
            Some(way) => way,
            None => self.way(msg)?,
        };
        let data = take(msg, len)?;
        let more = msg.flags.contains(MsgFlags::MORE) || self.state.lock().cork_option;
        if !more && pending.is_none() {
            self.emit(way, data)?;
            return Ok(len);
        }
        let max = if way.to.is_ipv4() { MAX_V4 } else { MAX_V6 };
        let whole = {
            let mut s = self.state.lock();
            let cork = match &mut s.cork {
                Some(c) => c,
                empty => empty.insert(Cork {
                    way,
                    data: Vec::new(),
                    charge: MEMORY.nothing(),
                }),
            };
            if cork.data.len() + len > max {
                return Err(Errno::EMSGSIZE);
            }
            if !cork.charge.resize(cork.data.len() + len) {
                return Err(Errno::ENOBUFS);
            }
            cork.data.extend_from_slice(&data);
            if more { None } else { s.cork.take() }
        };
        if let Some(c) = whole {
            self.emit(c.way, c.data)?;
        }
        Ok(len)
    }

    /// UDP_CORK was switched off.
    pub(super) fn uncork(&self) {
        let whole = self.state.lock().cork.take();
        if let Some(c) = whole {
            // Nobody is told of errors now (udp_push_pending_frames).
            let _ = self.emit(c.way, c.data);
        }
    }

    /// Where a message is to go, and as what.
    fn way(&self, msg: &SendMsg<'_>) -> Result<Way> {
        let (remote, shut, segment) = {
            let s = self.state.lock();
            (s.remote, s.shut.write, s.segment)
        };
        let to = match msg.to {
            Some(raw) => {
                let to = self.core.target(raw)?;
                if to.port() == 0 {
                    return Err(Errno::EINVAL);
                }
                to
            }
            None => remote.ok_or(Errno::EDESTADDRREQ)?,
        };
        let wishes = wishes(&msg.control)?;
        let (route, default) = self.core.route(&self.common, to.ip())?;
        let max = if to.is_ipv4() { MAX_V4 } else { MAX_V6 };
        if msg.src.remaining() > max {
            self.too_long(to);
            return Err(Errno::EMSGSIZE);
        }
        self.common.check_error()?;
        if shut {
            return Err(Errno::EPIPE);
        }
        let local = self.ensure_bound()?;
        let mut from = local;
        from.set_ip(match wishes.source {
            Some(ip) if self.core.namespace.interfaces.is_local(ip) => ip,
            Some(_) => return Err(Errno::EINVAL),
            None => self.core.source(Some(local), default),
        });
        if from.is_ipv4() != to.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        // A foreign address (IP_FREEBIND) cannot be a source.
        let here = &self.core.namespace.interfaces;
        let transparent = self
            .core
            .with_options(|o| o.on(libc::IPPROTO_IP, libc::IP_TRANSPARENT));
        if !here.is_local(from.ip()) && !from.ip().is_unspecified() && !transparent {
            let foreign = matches!(here.route(from.ip()), Route::Away(..) | Route::Unreachable);
            if foreign {
                return Err(Errno::ENETUNREACH);
            }
        }
        let (hops, class) = self.hops_and_class(&wishes, to.ip());
        Ok(Way {
            route,
            from,
            to,
            hops,
            class,
            segment: wishes.segment.map_or(segment, usize::from),
        })
    }

    /// With IP_RECVERR a datagram that is too long is reported in the queue, too (ip_local_error).
    fn too_long(&self, to: SocketAddr) {
        if self.wants_errors(to.is_ipv4()) {
            let report = errors::local(Errno::EMSGSIZE, 65536, Vec::new(), to);
            self.errors.push(&self.common, report);
        }
    }

    pub(super) fn wants_errors(&self, v4: bool) -> bool {
        self.core.with_options(|o| {
            if v4 {
                o.on(libc::IPPROTO_IP, libc::IP_RECVERR)
            } else {
                o.on(libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            }
        })
    }

    /// Sends a datagram, or as many as UDP_SEGMENT makes of it.
    fn emit(&self, way: Way, data: Vec<u8>) -> Result<()> {
        if way.segment == 0 || data.len() <= way.segment {
            self.emit_one(way, data, 0);
            return Ok(());
        }
        if data.len().div_ceil(way.segment) > MAX_SEGMENTS {
            return Err(Errno::EINVAL);
        }
        // A receiver with UDP_GRO takes them together.
        if let Receivers::One(r) = self.receivers(way)
            && r.state.lock().gro
            && !stack::watched(&self.core.namespace)
        {
            let segment = u16::try_from(way.segment).unwrap_or(u16::MAX);
            r.deliver(way.packet(data, segment));
            return Ok(());
        }
        let (mut copies, filters) = (0, filter::instructions() / FILTERED);
        for part in data.chunks(way.segment) {
            copies += self.emit_one(way, part.to_vec(), 0) + filters;
            if copies >= MAX_COPIES {
                break;
            }
        }
        Ok(())
    }

    /// Sends a datagram; how many sockets it was for.
    fn emit_one(&self, way: Way, data: Vec<u8>, segment: u16) -> usize {
        let ns = &self.core.namespace;
        ns.inet.counters.add(Count::UdpOut);
        let watched = stack::watched(ns).then(|| {
            let protocol = (self.protocol & 0xff) as u8;
            let body = wire::udp(way.from, way.to, protocol, &data);
            let (from, to) = (way.from.ip(), way.to.ip());
            let packet = wire::packet(from, to, protocol, way.hops, way.class, &body);
            stack::show(ns, to, &packet);
            packet
        });
        match self.receivers(way) {
            Receivers::One(r) => {
                r.deliver(way.packet(data, segment));
                1
            }
            Receivers::Many(all) => {
                for r in &all {
                    r.deliver(way.packet(data.clone(), segment));
                }
                all.len()
            }
            // "Port unreachable" comes back.
            Receivers::None => {
                ns.inet.counters.add(Count::UdpNoPorts);
                let v4 = way.to.is_ipv4();
                let what = if v4 {
                    (wire::UNREACHABLE, 3)
                } else {
                    (wire::UNREACHABLE6, 4)
                };
                if let Some(p) = watched
                    && let Some(h) = wire::parse(&p)
                {
                    stack::refuse(ns, &p, &h);
                }
                self.tell(
                    (Errno::ECONNREFUSED, true),
                    what,
                    way.to.ip(),
                    way.to,
                    &data,
                );
                0
            }
        }
    }

    /// An ICMP error about a datagram of this socket's to `to` (udp_err).
    fn tell(
        &self,
        (e, hard): (Errno, bool),
        what: (u8, u8),
        offender: IpAddr,
        to: SocketAddr,
        data: &[u8],
    ) {
        if self.wants_errors(to.is_ipv4()) {
            let report = errors::from_icmp(e, what, data.to_vec(), to, offender);
            self.errors.push(&self.common, report);
        } else if !hard || self.state.lock().remote != Some(to) {
            // Only a connected socket hears of it.
            return;
        }
        self.common.set_error(e);
        self.common
            .queue
            .wake(Events::ERR | Events::READABLE | Events::WRITABLE);
    }

    /// The same from a packet: for the socket at `own` that sent to `other`.
    pub(in super::super) fn hear(
        ns: &NetNamespace,
        protocol: u8,
        (own, other): (SocketAddr, SocketAddr),
        error: (Errno, bool),
        what: (u8, u8),
        offender: IpAddr,
        data: &[u8],
    ) {
        for (local, s) in Self::table_of(ns, i32::from(protocol)).on_port(own.port()) {
            let remote = s.state.lock().remote;
            if matches(local.ip(), s.core.v6_only(), own.ip()).is_some()
                && remote.is_none_or(|r| r == other)
            {
                s.tell(error, what, offender, other, data);
                return;
            }
        }
    }

    /// A datagram in a packet that a program made; whether somebody takes it.
    pub(in super::super) fn input(ns: &NetNamespace, h: &wire::Header, body: &[u8]) -> bool {
        let ends = (wire::field16(body, 0), wire::field16(body, 2));
        let len = wire::field16(body, 4).map_or(0, usize::from);
        let (Some(from), Some(to), Some(data)) = (ends.0, ends.1, body.get(wire::UDP..len)) else {
            // Damaged: dropped in silence.
            return true;
        };
        let unchecked = h.to.is_ipv4() && wire::field16(body, 6) == Some(0);
        let whole = body.get(..len).unwrap_or(body);
        if !unchecked && wire::transport_checksum(h.from, h.to, h.protocol, whole) != 0 {
            return true;
        }
        let way = Way {
            route: ns.interfaces.route(h.to),
            from: SocketAddr::new(h.from, from),
            to: SocketAddr::new(h.to, to),
            hops: h.hops,
            class: h.class,
            segment: 0,
        };
        match receivers(ns, i32::from(h.protocol), way) {
            Receivers::One(r) => r.deliver(way.packet(data.to_vec(), 0)),
            Receivers::Many(all) => {
                for r in all {
                    r.deliver(way.packet(data.to_vec(), 0));
                }
            }
            Receivers::None => return false,
        }
        true
    }

    /// IP header fields: as the message says, else as the socket's options do.
    fn hops_and_class(&self, w: &Wishes, to: IpAddr) -> (u8, u8) {
        self.core.hops_and_class(w, to)
    }

    fn receivers(&self, way: Way) -> Receivers {
        receivers(&self.core.namespace, self.protocol, way)
    }

    /// Queues a datagram, or drops it: a filter says so, or there is no room.
    fn deliver(&self, mut packet: Packet) {
        if let Some(f) = self.common.options.with(|v| v.filter.clone()) {
            // Filters see the UDP header.
            let whole = wire::udp(packet.from, packet.to, 17, &packet.data);
            let facts = Facts {
                protocol: if packet.to.is_ipv4() { 0x800 } else { 0x86dd },
                index: 1,
                hardware: 772,
                ..Facts::default()
            };
            let pass = f.run(&whole, &facts);
            if pass == 0 {
                return;
            }
            packet.data.truncate(pass.saturating_sub(wire::UDP));
        }
        self.inbox.push(&self.common, packet);
    }

    pub(super) fn do_recv(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        if msg.flags.contains(MsgFlags::ERRQUEUE) {
            return self.errors.recv(&self.common, self.core.family(), msg);
        }
        let shut = self.state.lock().shut.read;
        let got = self.inbox.recv(&self.common, &self.core, shut, msg)?;
        // Linux counts what is read.
        if got.from.is_some() && !msg.flags.contains(MsgFlags::PEEK) {
            self.core.namespace.inet.counters.add(Count::UdpIn);
        }
        Ok(got)
    }
}

impl Way {
    fn packet(&self, data: Vec<u8>, segment: u16) -> Packet {
        Packet {
            data,
            from: self.from,
            to: self.to,
            hops: self.hops,
            class: self.class,
            segment,
        }
    }
}

/// The bytes of a message.
pub(in super::super) fn take(msg: &mut SendMsg<'_>, len: usize) -> Result<Vec<u8>> {
    let mut data = vec![0; len];
    let mut got = 0;
    while let Some(rest) = data.get_mut(got..).filter(|r| !r.is_empty()) {
        match msg.src.take(rest)? {
            0 => return Err(Errno::EFAULT),
            n => got += n,
        }
    }
    Ok(data)
}

fn receivers(ns: &NetNamespace, protocol: i32, way: Way) -> Receivers {
    let (from, to) = (way.from, way.to);
    let many = !matches!(way.route, Route::Local(_));
    // Nobody is out there, or in the group.
    if matches!(way.route, Route::Away(..))
        || to.ip().is_multicast() && !ns.inet.groups.has(to.ip())
    {
        return Receivers::Many(Vec::new());
    }
    let mut best: Vec<Arc<UdpSocket>> = Vec::new();
    let mut score = 0;
    for (local, s) in UdpSocket::table_of(ns, protocol).on_port(to.port()) {
        let Some(exact) = matches(local.ip(), s.core.v6_only(), to.ip()) else {
            continue;
        };
        let remote = s.state.lock().remote;
        if remote.is_some_and(|r| r != from) {
            continue;
        }
        if many {
            let wanted =
                !to.ip().is_multicast() || s.core.with_options(|o| o.accepts(to.ip(), from.ip()));
            if wanted {
                best.push(s);
            }
            continue;
        }
        let points = exact + if remote.is_some() { 4 } else { 0 };
        if best.is_empty() || points > score {
            score = points;
            best = vec![s];
        } else if points == score {
            best.push(s);
        }
    }
    if many {
        // Nobody answers for a group that no one is in.
        return Receivers::Many(best);
    }
    let reuse_port = best.iter().all(|s| s.common.options.with(|v| v.reuseport));
    let pick = if reuse_port {
        usize::from(from.port()) % best.len().max(1)
    } else {
        // The youngest.
        best.len().saturating_sub(1)
    };
    best.into_iter()
        .nth(pick)
        .map_or(Receivers::None, Receivers::One)
}
