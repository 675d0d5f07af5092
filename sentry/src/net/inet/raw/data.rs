//! Packets in and out of raw and ping sockets (net/ipv4/raw.c, net/ipv6/raw.c, net/ipv4/ping.c).

use super::super::errors;
use super::super::inbox::Packet;
use super::super::stack;
use super::super::udp::take;
use super::super::wire::{self, Header};
use super::super::wishes::{Wishes, wishes};
use super::RawSocket;
use crate::abi::{Errno, Result};
use crate::net::filter::Facts;
use crate::net::socket::{MsgFlags, Received, RecvMsg, SendMsg};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// MTU of the loopback.
const MTU: usize = 65536;

impl RawSocket {
    pub(super) fn do_recv(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if msg.flags.contains(MsgFlags::ERRQUEUE) {
            return self.errors.recv(&self.common, self.core.family(), msg);
        }
        let shut = self.state.lock().shut.read;
        self.inbox.recv(&self.common, &self.core, shut, msg)
    }

    /// Queues a packet if it is for this socket (raw_v4_input, raw6_local_deliver); whether it is.
    pub(in super::super) fn offer(&self, h: &Header, packet: &[u8]) -> bool {
        let v4 = self.is_v4();
        if v4 != h.to.is_ipv4() || i32::from(h.protocol) != self.protocol {
            return false;
        }
        let (local, remote, dropped, checksum) = {
            let s = self.state.lock();
            (s.local.ip(), s.remote, s.dropped, s.checksum)
        };
        if !local.is_unspecified() && local != h.to && !local.is_multicast()
            || remote.is_some_and(|r| r.ip() != h.from)
        {
            return false;
        }
        if h.to.is_multicast() && !self.core.with_options(|o| o.accepts(h.to, h.from)) {
            return false;
        }
        let body = packet.get(h.start..h.end).unwrap_or(&[]);
        if self.filtered(body.first().copied(), &dropped) {
            return true;
        }
        if !v4
            && checksum.is_some()
            && wire::transport_checksum(h.from, h.to, h.protocol, body) != 0
        {
            return true;
        }
        // IPv4 sockets get the whole packet.
        let data = if v4 {
            packet.get(..h.end).unwrap_or(packet)
        } else {
            body
        };
        self.queue(h, data);
        true
    }

    /// ICMP_FILTER, ICMP6_FILTER.
    fn filtered(&self, kind: Option<u8>, dropped: &[u32; 8]) -> bool {
        let Some(kind) = kind else { return false };
        let kind = u32::from(kind);
        match self.protocol {
            libc::IPPROTO_ICMP if self.is_v4() => kind < 32 && dropped[0] >> kind & 1 != 0,
            libc::IPPROTO_ICMPV6 if !self.is_v4() => dropped
                .get((kind >> 5) as usize)
                .is_some_and(|w| w >> (kind & 31) & 1 != 0),
            _ => false,
        }
    }

    fn queue(&self, h: &Header, data: &[u8]) {
        let mut data = data;
        if let Some(f) = self.common.options.with(|v| v.filter.clone()) {
            let facts = Facts {
                protocol: if h.to.is_ipv4() { 0x800 } else { 0x86dd },
                index: 1,
                hardware: 772,
                ..Facts::default()
            };
            match f.run(data, &facts) {
                0 => return,
                n => data = data.get(..n).unwrap_or(data),
            }
        }
        if !self.inbox.has_room(&self.common, data.len()) {
            return;
        }
        let packet = Packet {
            data: data.to_vec(),
            from: SocketAddr::new(h.from, 0),
            to: SocketAddr::new(h.to, 0),
            hops: h.hops,
            class: h.class,
            segment: 0,
        };
        self.inbox.push(&self.common, packet);
    }

    /// An echo reply for a ping socket (ping_rcv).
    pub(in super::super) fn answer(&self, h: &Header, body: &[u8]) {
        let (local, remote) = {
            let s = self.state.lock();
            (s.local, s.remote)
        };
        let mine = self.is_v4() == h.to.is_ipv4()
            && wire::field16(body, 4) == Some(local.port())
            && (local.ip().is_unspecified() || local.ip() == h.to)
            && remote.is_none_or(|r| r.ip() == h.from);
        if mine {
            self.queue(h, body);
        }
    }

    /// An ICMP error about an echo request (ping_err).
    pub(in super::super) fn hear(
        &self,
        (src, dst): (IpAddr, IpAddr),
        (e, hard): (Errno, bool),
        what: (u8, u8),
        offender: IpAddr,
        body: &[u8],
    ) {
        let (local, remote) = {
            let s = self.state.lock();
            (s.local, s.remote)
        };
        let mine = self.is_v4() == src.is_ipv4()
            && wire::field16(body, 4) == Some(local.port())
            && (local.ip().is_unspecified() || local.ip() == src);
        if !mine {
            return;
        }
        let wants = self.core.with_options(|o| {
            o.on(libc::IPPROTO_IP, libc::IP_RECVERR) && self.is_v4()
                || o.on(libc::IPPROTO_IPV6, libc::IPV6_RECVERR) && !self.is_v4()
        });
        if wants {
            let to = SocketAddr::new(dst, 0);
            let report = errors::from_icmp(e, what, body.to_vec(), to, offender);
            self.errors.push(&self.common, report);
        } else if !hard || remote.is_none() {
            return;
        }
        self.common.set_error(e);
    }

    /// Destination, its control messages, and the source address.
    fn ends(&self, msg: &SendMsg<'_>) -> Result<(SocketAddr, Wishes, IpAddr)> {
        let (local, remote, shut) = {
            let s = self.state.lock();
            (s.local, s.remote, s.shut.write)
        };
        let mut to = match msg.to {
            Some(raw) => self.core.target(raw)?,
            None => remote.ok_or(Errno::EDESTADDRREQ)?,
        };
        if !self.is_v4() && to.is_ipv4() {
            return Err(Errno::EINVAL);
        }
        if !self.is_v4() && !self.ping {
            // sin6_port chooses the protocol of an IPPROTO_RAW socket.
            let asked = i32::from(to.port());
            if asked > 255 || asked != 0 && asked != self.protocol && self.protocol != 255 {
                return Err(Errno::EINVAL);
            }
        }
        to.set_port(0);
        let wishes = wishes(&msg.control)?;
        let (_, default) = self.core.route(&self.common, to.ip())?;
        self.common.check_error()?;
        if shut {
            return Err(Errno::EPIPE);
        }
        let source = match wishes.source {
            Some(ip) if self.core.namespace.interfaces.is_local(ip) => ip,
            Some(_) => return Err(Errno::EINVAL),
            None => self.core.source(Some(local), default),
        };
        // A group cannot send.
        let source = if source.is_multicast() {
            default
        } else {
            source
        };
        Ok((to, wishes, source))
    }

    pub(super) fn send_raw(&self, msg: &mut SendMsg<'_>) -> Result<usize> {
        let len = msg.src.remaining();
        if self.is_v4() && len > 0xffff || len > 0x7fff_ffff {
            return Err(Errno::EMSGSIZE);
        }
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (header, checksum) = {
            let s = self.state.lock();
            (s.header, s.checksum)
        };
        let (to, wishes, source) = self.ends(msg)?;
        let own = if self.is_v4() { wire::V4 } else { wire::V6 };
        let room = if self.is_v4() { 0xffff } else { MTU };
        if len > room || !header && len + own > room {
            return Err(Errno::EMSGSIZE);
        }
        let mut data = take(msg, len)?;
        if header {
            if self.is_v4() {
                let first = data.first().copied().unwrap_or(0);
                let words = usize::from(first & 0xf) * 4;
                if len < wire::V4 || words > len || words < wire::V4 {
                    return Err(Errno::EINVAL);
                }
                let from = match source {
                    IpAddr::V4(a) => a,
                    IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
                };
                wire::complete_v4(&mut data, from);
            } else if len < wire::V6 {
                return Err(Errno::EINVAL);
            }
            stack::transmit(&self.core.namespace, to.ip(), &data);
            return Ok(len);
        }
        if let (Some(at), false) = (checksum, self.is_v4()) {
            if at + 2 > len {
                return Err(Errno::EINVAL);
            }
            wire::set16(&mut data, at, 0);
            let protocol = (self.protocol & 0xff) as u8;
            let sum = wire::transport_checksum(source, to.ip(), protocol, &data);
            wire::set16(&mut data, at, sum);
        }
        let (hops, class) = self.core.hops_and_class(&wishes, to.ip());
        let protocol = (self.protocol & 0xff) as u8;
        let packet = wire::packet(source, to.ip(), protocol, hops, class, &data);
        stack::transmit(&self.core.namespace, to.ip(), &packet);
        Ok(len)
    }

    pub(super) fn send_ping(&self, msg: &mut SendMsg<'_>) -> Result<usize> {
        let len = msg.src.remaining();
        if len > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        if len < 8 {
            return Err(Errno::EINVAL);
        }
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut data = take(msg, len)?;
        let echo = if self.is_v4() {
            wire::ECHO
        } else {
            wire::ECHO6
        };
        // Requests alone, and their extended form is not for here.
        if data.get(..2) != Some(&[echo, 0]) {
            return Err(Errno::EINVAL);
        }
        let (to, wishes, source) = self.ends(msg)?;
        if len + wire::V4 > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        let ident = self.ensure_ident()?;
        wire::set16(&mut data, 4, ident);
        wire::seal_icmp(&mut data, source, to.ip());
        let (hops, class) = self.core.hops_and_class(&wishes, to.ip());
        let protocol = if self.is_v4() { 1 } else { 58 };
        let packet = wire::packet(source, to.ip(), protocol, hops, class, &data);
        stack::transmit(&self.core.namespace, to.ip(), &packet);
        Ok(len)
    }
}
