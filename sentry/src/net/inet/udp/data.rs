//! Sending and receiving datagrams.

use super::super::ports::matches;
use super::{Datagram, UdpSocket};
use crate::abi::{Errno, Result};
use crate::net::interface::Route;
use crate::net::options::{Stamp, int};
use crate::net::socket::{Cmsg, MEMORY, MsgFlags, Received, RecvMsg, SendMsg};
use crate::sync::Events;
use crate::usermem::put_all;
use crate::vfs::Timestamp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// What a datagram costs beyond its bytes.
const OVERHEAD: usize = 512;
/// Most bytes in a datagram: what a length field holds, less headers.
const MAX_V4: usize = 65507;
const MAX_V6: usize = 65527;
/// `lo`.
const IF_INDEX: u32 = 1;

/// A datagram on its way.
struct Packet {
    data: Vec<u8>,
    from: SocketAddr,
    to: IpAddr,
    hops: u8,
    class: u8,
}

/// What control messages can tell of a datagram.
struct Facts {
    to: IpAddr,
    hops: i32,
    class: u8,
    time: Timestamp,
    drops: u32,
}

/// Who is to get a datagram.
enum Receivers {
    One(Arc<UdpSocket>),
    Many(Vec<Arc<UdpSocket>>),
    None,
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
        let (remote, shut) = {
            let s = self.state.lock();
            (s.remote, s.shut.write)
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
        let route = self.core.namespace.interfaces.route(to.ip());
        let default = match route {
            Route::Local(ip) => ip,
            Route::Broadcast(ip) => {
                if !self.common.options.with(|v| v.broadcast) {
                    return Err(Errno::EACCES);
                }
                ip
            }
            Route::Multicast if self.core.with_options(|o| o.can_multicast(to.ip())) => {
                match to.ip() {
                    IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                }
            }
            Route::Multicast | Route::Unreachable => return Err(Errno::ENETUNREACH),
        };
        let max = if to.is_ipv4() { MAX_V4 } else { MAX_V6 };
        if len > max {
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
        let mut data = vec![0; len];
        let mut got = 0;
        while let Some(rest) = data.get_mut(got..).filter(|r| !r.is_empty()) {
            match msg.src.take(rest)? {
                0 => return Err(Errno::EFAULT),
                n => got += n,
            }
        }
        let (hops, class) = self.hops_and_class(&wishes, to.ip());
        let packet = |data| Packet {
            data,
            from,
            to: to.ip(),
            hops,
            class,
        };
        match self.receivers(route, from, to) {
            Receivers::One(r) => r.deliver(packet(data)),
            Receivers::Many(all) => {
                for r in all {
                    r.deliver(packet(data.clone()));
                }
            }
            // "Port unreachable" comes back; only a connected socket hears of it.
            Receivers::None if remote == Some(to) => {
                self.common.set_error(Errno::ECONNREFUSED);
                self.common
                    .queue
                    .wake(Events::ERR | Events::READABLE | Events::WRITABLE);
            }
            Receivers::None => {}
        }
        Ok(len)
    }

    /// IP header fields: as the message says, else as the socket's options do.
    fn hops_and_class(&self, w: &Wishes, to: IpAddr) -> (u8, u8) {
        let (level, hops, class) = match (to.is_ipv4(), to.is_multicast()) {
            (true, false) => (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_TOS),
            (true, true) => (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, libc::IP_TOS),
            (false, false) => (
                libc::IPPROTO_IPV6,
                libc::IPV6_UNICAST_HOPS,
                libc::IPV6_TCLASS,
            ),
            (false, true) => (
                libc::IPPROTO_IPV6,
                libc::IPV6_MULTICAST_HOPS,
                libc::IPV6_TCLASS,
            ),
        };
        self.core.with_options(|o| {
            let byte = |n: i32| (n & 0xff) as u8;
            (
                byte(w.hops.unwrap_or_else(|| o.value(level, hops))),
                byte(w.class.unwrap_or_else(|| o.value(level, class))),
            )
        })
    }

    fn receivers(&self, route: Route, from: SocketAddr, to: SocketAddr) -> Receivers {
        let many = !matches!(route, Route::Local(_));
        let mut best: Vec<Arc<UdpSocket>> = Vec::new();
        let mut score = 0;
        for (local, s) in self.table().on_port(to.port()) {
            let Some(exact) = matches(local.ip(), s.core.v6_only(), to.ip()) else {
                continue;
            };
            let remote = s.state.lock().remote;
            if remote.is_some_and(|r| r != from) {
                continue;
            }
            if many {
                let wanted =
                    !to.ip().is_multicast() || s.core.with_options(|o| o.is_member(to.ip()));
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

    /// Queues a datagram, or drops it if there is no room.
    fn deliver(&self, packet: Packet) {
        let Packet {
            data,
            from,
            to,
            hops,
            class,
        } = packet;
        let cost = data.len() + OVERHEAD;
        let rcvbuf = self.common.options.with(|v| v.rcvbuf);
        let Some(charge) = MEMORY.charge(cost) else {
            return;
        };
        {
            let mut s = self.state.lock();
            // One datagram always fits.
            if s.cost > 0 && s.cost + cost > rcvbuf {
                s.drops = s.drops.wrapping_add(1);
                return;
            }
            s.cost += cost;
            s.queue.push_back(Datagram {
                data,
                from,
                to,
                hops,
                class,
                time: Timestamp::now(),
                charge,
            });
        }
        self.common.queue.wake(Events::READABLE);
    }

    pub(super) fn do_recv(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        if msg.flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        self.common.check_error()?;
        let peek = msg.flags.contains(MsgFlags::PEEK);
        let (data, whole, from, facts) = {
            let mut s = self.state.lock();
            let drops = s.drops;
            let Some(first) = s.queue.front() else {
                return if s.shut.read {
                    Ok(Received::default())
                } else {
                    Err(Errno::EAGAIN)
                };
            };
            let whole = first.data.len();
            let from = first.from;
            let facts = Facts {
                to: first.to,
                hops: i32::from(first.hops),
                class: first.class,
                time: first.time,
                drops,
            };
            let data = if peek {
                let n = whole.min(msg.dst.remaining());
                first.data.get(..n).unwrap_or(&[]).to_vec()
            } else {
                let Some(d) = s.queue.pop_front() else {
                    return Err(Errno::EAGAIN);
                };
                s.cost = s.cost.saturating_sub(d.charge.amount());
                d.data
            };
            (data, whole, from, facts)
        };
        let room = msg.dst.remaining();
        let part = data.get(..data.len().min(room)).unwrap_or(&data);
        let did = put_all(msg.dst, part)?;
        if did < part.len() {
            return Err(Errno::EFAULT);
        }
        let mut out = Received {
            len: did,
            from: Some(self.core.encode(from)),
            ..Received::default()
        };
        if whole > did {
            out.flags |= MsgFlags::TRUNC;
            if msg.flags.contains(MsgFlags::TRUNC) {
                out.len = whole;
            }
        }
        if msg.control {
            self.control(&facts, &mut out.control);
        }
        Ok(out)
    }

    /// Control messages that options ask for.
    fn control(&self, facts: &Facts, out: &mut Vec<Cmsg>) {
        let Facts {
            to,
            hops,
            class,
            time,
            drops,
        } = *facts;
        let v = self.common.options.get();
        let stamp = |unit: u32| [time.sec, i64::from(time.nsec / unit)].as_bytes().to_vec();
        match v.stamp {
            Stamp::None => {}
            Stamp::Micro => out.push(Cmsg::Other(
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMP,
                stamp(1000),
            )),
            Stamp::Nano => out.push(Cmsg::Other(
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
                stamp(1),
            )),
        }
        if v.rxq_ovfl && drops > 0 {
            out.push(Cmsg::Other(
                libc::SOL_SOCKET,
                libc::SO_RXQ_OVFL,
                drops.as_bytes().to_vec(),
            ));
        }
        let ip = libc::IPPROTO_IP;
        let ip6 = libc::IPPROTO_IPV6;
        let (v4, v6) = self.core.with_options(|o| {
            let v4 = |n| o.on(ip, n);
            let v6 = |n| o.on(ip6, n);
            (
                [
                    v4(libc::IP_PKTINFO),
                    v4(libc::IP_RECVTTL),
                    v4(libc::IP_RECVTOS),
                ],
                [
                    v6(libc::IPV6_RECVPKTINFO),
                    v6(libc::IPV6_RECVHOPLIMIT),
                    v6(libc::IPV6_RECVTCLASS),
                ],
            )
        });
        if let IpAddr::V4(to) = to {
            let [pktinfo, ttl, tos] = v4;
            if pktinfo {
                let mut raw = IF_INDEX.as_bytes().to_vec();
                raw.extend_from_slice(&to.octets());
                raw.extend_from_slice(&to.octets());
                out.push(Cmsg::Other(ip, libc::IP_PKTINFO, raw));
            }
            if ttl {
                out.push(Cmsg::Other(ip, libc::IP_TTL, hops.as_bytes().to_vec()));
            }
            if tos {
                out.push(Cmsg::Other(ip, libc::IP_TOS, vec![class]));
            }
        }
        if self.core.family == libc::AF_INET6 {
            let [pktinfo, want_hops, want_class] = v6;
            if pktinfo {
                let to = match to {
                    IpAddr::V4(a) => a.to_ipv6_mapped(),
                    IpAddr::V6(a) => a,
                };
                let mut raw = to.octets().to_vec();
                raw.extend_from_slice(IF_INDEX.as_bytes());
                out.push(Cmsg::Other(ip6, libc::IPV6_PKTINFO, raw));
            }
            if want_hops {
                out.push(Cmsg::Other(
                    ip6,
                    libc::IPV6_HOPLIMIT,
                    hops.as_bytes().to_vec(),
                ));
            }
            if want_class {
                out.push(Cmsg::Other(
                    ip6,
                    libc::IPV6_TCLASS,
                    i32::from(class).as_bytes().to_vec(),
                ));
            }
        }
    }
}

/// What control messages say of one datagram.
#[derive(Default)]
struct Wishes {
    source: Option<IpAddr>,
    hops: Option<i32>,
    class: Option<i32>,
}

/// Decodes the control messages of a datagram (ip_cmsg_send, ip6_datagram_send_ctl).
///
/// # Errors
/// EINVAL for malformed and unknown messages.
fn wishes(control: &[Cmsg]) -> Result<Wishes> {
    let mut w = Wishes::default();
    for c in control {
        let Cmsg::Other(level, kind, data) = c else {
            continue;
        };
        match (*level, *kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let raw: [u8; 4] = data
                    .get(4..8)
                    .filter(|_| data.len() == 12)
                    .and_then(|b| b.try_into().ok())
                    .ok_or(Errno::EINVAL)?;
                w.source = Some(IpAddr::V4(raw.into())).filter(|ip| !ip.is_unspecified());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let raw: [u8; 16] = data
                    .get(..16)
                    .filter(|_| data.len() >= 20)
                    .and_then(|b| b.try_into().ok())
                    .ok_or(Errno::EINVAL)?;
                let ip = Ipv6Addr::from(raw).to_canonical();
                w.source = Some(ip).filter(|ip| !ip.is_unspecified());
            }
            (libc::IPPROTO_IP, libc::IP_TTL) => w.hops = Some(exact(data, 1)?),
            (libc::IPPROTO_IP, libc::IP_TOS) if data.len() == 1 => {
                w.class = data.first().map(|b| i32::from(*b));
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => w.class = Some(exact(data, 0)?),
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => w.hops = Some(exact(data, -1)?),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => w.class = Some(exact(data, -1)?),
            _ => return Err(Errno::EINVAL),
        }
    }
    // -1: as the socket's options say.
    w.hops = w.hops.filter(|h| *h >= 0);
    w.class = w.class.filter(|c| *c >= 0);
    Ok(w)
}

/// An int from `min` to 255 that fills its message.
fn exact(data: &[u8], min: i32) -> Result<i32> {
    if data.len() != 4 {
        return Err(Errno::EINVAL);
    }
    Some(int(data)?)
        .filter(|n| (min..=255).contains(n))
        .ok_or(Errno::EINVAL)
}
