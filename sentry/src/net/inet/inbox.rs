//! The receive queue of datagram sockets (UDP, raw, ping), and the control messages that tell of a datagram.

use super::core::Core;
use crate::abi::{Errno, Result};
use crate::net::options::Stamp;
use crate::net::socket::{Cmsg, Common, MEMORY, MsgFlags, Received, RecvMsg};
use crate::sync::{Charge, Events, Mutex, Rank};
use crate::usermem::put_all;
use crate::vfs::Timestamp;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use zerocopy::IntoBytes;

/// What a datagram costs beyond its bytes.
const OVERHEAD: usize = 512;
/// `lo`.
const IF_INDEX: u32 = 1;
const UDP_GRO: i32 = 104;

/// A datagram on its way.
#[derive(Clone)]
pub(super) struct Packet {
    pub data: Vec<u8>,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub hops: u8,
    pub class: u8,
    /// Size of the datagrams that were sent in one call (UDP_SEGMENT), if they are still together.
    pub segment: u16,
}

struct Datagram {
    packet: Packet,
    time: Timestamp,
    charge: Charge,
}

#[derive(Default)]
struct Queue {
    all: VecDeque<Datagram>,
    /// What they cost, against SO_RCVBUF.
    cost: usize,
    /// Those that found it full.
    drops: u32,
    /// When the last one that was read came (SIOCGSTAMP).
    last: Option<Timestamp>,
    closed: bool,
}

impl Queue {
    /// Whether there is room; counts what is lost. One datagram always fits.
    fn admits(&mut self, len: usize, rcvbuf: usize) -> bool {
        let full = self.cost > 0 && self.cost.saturating_add(len + OVERHEAD) > rcvbuf;
        if full {
            self.drops = self.drops.wrapping_add(1);
        }
        !full && !self.closed
    }
}

/// The queue.
pub(super) struct Inbox(Mutex<Queue>);

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox(Mutex::new(Rank::OBJECT, Queue::default()))
    }
}

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.0.lock().all.is_empty()
    }
    /// Bytes of the first datagram (FIONREAD).
    pub fn first_len(&self) -> usize {
        self.0.lock().all.front().map_or(0, |d| d.packet.data.len())
    }
    /// What the queue costs, and how many datagrams were lost.
    pub fn usage(&self) -> (usize, u32) {
        let q = self.0.lock();
        (q.cost, q.drops)
    }
    /// When the last datagram that was read came; ENOENT.
    pub fn last_stamp(&self) -> Result<Timestamp> {
        self.0.lock().last.ok_or(Errno::ENOENT)
    }
    /// Drops all, now and from now on.
    pub fn close(&self) {
        let old = {
            let mut q = self.0.lock();
            q.closed = true;
            q.cost = 0;
            std::mem::take(&mut q.all)
        };
        drop(old);
    }
    /// Whether a datagram of so many bytes would be queued; counts it as lost if not. Before a copy is made: most of those who do
    /// not read have no room.
    pub fn has_room(&self, common: &Common, len: usize) -> bool {
        let rcvbuf = common.options.with(|v| v.rcvbuf);
        self.0.lock().admits(len, rcvbuf)
    }
    /// Queues a datagram, or drops it if there is no room.
    pub fn push(&self, common: &Common, packet: Packet) {
        let cost = packet.data.len() + OVERHEAD;
        let rcvbuf = common.options.with(|v| v.rcvbuf);
        let Some(charge) = MEMORY.charge(cost) else {
            return;
        };
        {
            let mut q = self.0.lock();
            if !q.admits(packet.data.len(), rcvbuf) {
                return;
            }
            q.cost += cost;
            q.all.push_back(Datagram {
                packet,
                time: Timestamp::now(),
                charge,
            });
        }
        common.queue.wake(Events::READABLE);
    }
    /// Takes or looks at the first datagram. `shut`: there will be no more.
    pub fn recv(
        &self,
        common: &Common,
        core: &Core,
        shut: bool,
        msg: &mut RecvMsg<'_>,
    ) -> Result<Received> {
        common.check_error()?;
        let peek = msg.flags.contains(MsgFlags::PEEK);
        let (offset, stamped) = common
            .options
            .with(|v| (v.peek_off, v.stamp != Stamp::None));
        let (packet, skip, time, drops) = {
            let mut q = self.0.lock();
            let drops = q.drops;
            let mut skip = usize::try_from(offset).unwrap_or(0);
            let found = if peek && offset >= 0 {
                // SO_PEEK_OFF counts through all that waits.
                q.all.iter().find(|d| {
                    let here = skip < d.packet.data.len() || skip == 0;
                    if !here {
                        skip -= d.packet.data.len();
                    }
                    here
                })
            } else {
                skip = 0;
                q.all.front()
            };
            let Some(first) = found else {
                return if shut {
                    Ok(Received::default())
                } else {
                    Err(Errno::EAGAIN)
                };
            };
            let time = first.time;
            let packet = if peek {
                first.packet.clone()
            } else {
                let Some(d) = q.all.pop_front() else {
                    return Err(Errno::EAGAIN);
                };
                q.cost = q.cost.saturating_sub(d.charge.amount());
                // What is told by control messages is not kept.
                if !stamped {
                    q.last = Some(time);
                }
                d.packet
            };
            (packet, skip, time, drops)
        };
        let data = packet.data.get(skip..).unwrap_or(&[]);
        let part = data.get(..msg.dst.remaining()).unwrap_or(data);
        let did = put_all(msg.dst, part)?;
        if did < part.len() {
            return Err(Errno::EFAULT);
        }
        if offset >= 0 {
            let by = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            common.options.with(|v| {
                v.peek_off = if peek {
                    v.peek_off.saturating_add(by(did))
                } else {
                    v.peek_off.saturating_sub(by(did)).max(0)
                };
            });
        }
        let mut out = Received {
            len: did,
            from: Some(core.encode(packet.from)),
            ..Received::default()
        };
        if data.len() > did {
            out.flags |= MsgFlags::TRUNC;
        }
        if msg.flags.contains(MsgFlags::TRUNC) {
            out.len = data.len();
        }
        if msg.control {
            stamps(common, time, drops, &mut out.control);
            if packet.segment > 0 {
                let size = i32::from(packet.segment);
                out.control.push(Cmsg::Other(
                    libc::IPPROTO_UDP,
                    UDP_GRO,
                    size.as_bytes().to_vec(),
                ));
            }
            control(core, &packet, &mut out.control);
        }
        Ok(out)
    }
}

/// Time stamps and the number of lost messages, as SOL_SOCKET options ask for (sock_recv_cmsgs).
pub(in crate::net) fn stamps(common: &Common, time: Timestamp, drops: u32, out: &mut Vec<Cmsg>) {
    let (stamp, ovfl) = common.options.with(|v| (v.stamp, v.rxq_ovfl));
    let raw = |unit: u32| [time.sec, i64::from(time.nsec / unit)].as_bytes().to_vec();
    let level = libc::SOL_SOCKET;
    match stamp {
        Stamp::None => {}
        Stamp::Micro => out.push(Cmsg::Other(level, libc::SO_TIMESTAMP, raw(1000))),
        Stamp::Nano => out.push(Cmsg::Other(level, libc::SO_TIMESTAMPNS, raw(1))),
    }
    if ovfl && drops > 0 {
        out.push(Cmsg::Other(
            level,
            libc::SO_RXQ_OVFL,
            drops.as_bytes().to_vec(),
        ));
    }
}

/// Control messages that IP options ask for (ip_cmsg_recv, ip6_datagram_recv_ctl).
fn control(core: &Core, packet: &Packet, out: &mut Vec<Cmsg>) {
    let (ip, ip6) = (libc::IPPROTO_IP, libc::IPPROTO_IPV6);
    let hops = i32::from(packet.hops);
    let six = core.family() == libc::AF_INET6;
    let mut put = |level, name, data: &[u8]| out.push(Cmsg::Other(level, name, data.to_vec()));
    core.with_options(|o| {
        if six {
            let to = match packet.to.ip() {
                IpAddr::V4(a) => a.to_ipv6_mapped(),
                IpAddr::V6(a) => a,
            };
            let mut info = to.octets().to_vec();
            // Mapped addresses have no interface of IPv6's.
            info.extend_from_slice(IF_INDEX.as_bytes());
            if o.on(ip6, libc::IPV6_RECVPKTINFO) {
                put(ip6, libc::IPV6_PKTINFO, &info);
            }
            if packet.to.is_ipv6() {
                if o.on(ip6, libc::IPV6_RECVHOPLIMIT) {
                    put(ip6, libc::IPV6_HOPLIMIT, hops.as_bytes());
                }
                if o.on(ip6, libc::IPV6_RECVTCLASS) {
                    put(ip6, libc::IPV6_TCLASS, i32::from(packet.class).as_bytes());
                }
                // IPV6_FLOWINFO: the class, and a label that is the connection's.
                if o.on(ip6, 11) {
                    let label = u32::from(packet.from.port()) << 4 | 1;
                    let info = u32::from(packet.class) << 20 | label;
                    put(ip6, 11, &info.to_be_bytes());
                }
                // IPV6_2292PKTINFO, IPV6_2292HOPLIMIT.
                if o.on(ip6, 2) {
                    put(ip6, 2, &info);
                }
                if o.on(ip6, 8) {
                    put(ip6, 8, hops.as_bytes());
                }
                if o.on(ip6, libc::IPV6_RECVORIGDSTADDR) {
                    put(
                        ip6,
                        libc::IPV6_RECVORIGDSTADDR,
                        &super::addr::encode(packet.to, libc::AF_INET6),
                    );
                }
            }
        }
        if let IpAddr::V4(to) = packet.to.ip() {
            if o.on(ip, libc::IP_PKTINFO) {
                let mut raw = IF_INDEX.as_bytes().to_vec();
                raw.extend_from_slice(&to.octets());
                raw.extend_from_slice(&to.octets());
                put(ip, libc::IP_PKTINFO, &raw);
            }
            if o.on(ip, libc::IP_RECVTTL) {
                put(ip, libc::IP_TTL, hops.as_bytes());
            }
            if o.on(ip, libc::IP_RECVTOS) {
                put(ip, libc::IP_TOS, &[packet.class]);
            }
            if o.on(ip, libc::IP_RECVORIGDSTADDR) {
                put(
                    ip,
                    libc::IP_RECVORIGDSTADDR,
                    &super::addr::encode(packet.to, libc::AF_INET),
                );
            }
        }
    });
}
