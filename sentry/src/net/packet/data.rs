//! Frames in and out of packet sockets (net/packet/af_packet.c).

use super::{AUXDATA, Address, IGNORE_OUTGOING, PacketSocket, SOL_PACKET};
use crate::abi::{Errno, Result};
use crate::net::filter::Facts;
use crate::net::inet::stamps;
use crate::net::interface::Interfaces;
use crate::net::socket::{Cmsg, Common, MEMORY, MsgFlags, Received, RecvMsg, SendMsg, SockType};
use crate::sync::{Charge, Events, Mutex, Rank};
use crate::usermem::{Segment, put_all};
use crate::vfs::Timestamp;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of an Ethernet header.
const HEADER: usize = 14;
/// MTU of the loopback.
const MTU: usize = 65536;
/// What a frame costs beyond its bytes.
const OVERHEAD: usize = 512;
/// ETH_P_ALL.
const ALL: u16 = 3;
/// PACKET_HOST, _MULTICAST, _OTHERHOST, _OUTGOING.
const HOST: u8 = 0;
const MULTICAST: u8 = 2;
const OTHERHOST: u8 = 3;
const OUTGOING: u8 = 4;

/// A packet socket in a list.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Listed {
    pub kind: i32,
    pub protocol: u16,
    pub index: u32,
    /// Whether it listens.
    pub running: bool,
    pub queued: usize,
    pub uid: u32,
    pub ino: u64,
}

/// Most packet sockets of a network namespace: each looks at every packet.
const MAX_SOCKETS: usize = 256;

/// Packet sockets of a network namespace.
pub struct PacketTable(Mutex<Vec<(u64, Weak<PacketSocket>)>>);

impl Default for PacketTable {
    fn default() -> PacketTable {
        PacketTable(Mutex::new(Rank::NET_TABLE, Vec::new()))
    }
}

impl PacketTable {
    /// # Errors
    /// ENOBUFS if there are too many.
    pub(super) fn add(&self, id: u64, socket: &Arc<PacketSocket>) -> Result<()> {
        let mut all = self.0.lock();
        all.retain(|e| e.1.strong_count() > 0);
        if all.len() >= MAX_SOCKETS {
            return Err(Errno::ENOBUFS);
        }
        all.push((id, Arc::downgrade(socket)));
        Ok(())
    }
    pub(super) fn remove(&self, id: u64) {
        self.0.lock().retain(|e| e.0 != id);
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
    fn all(&self) -> Vec<Arc<PacketSocket>> {
        let all = self.0.lock();
        all.iter().filter_map(|e| e.1.upgrade()).collect()
    }
    /// All sockets, as /proc/net/packet has them.
    pub fn list(&self) -> Vec<Listed> {
        self.all()
            .iter()
            .map(|s| {
                let (protocol, index) = {
                    let state = s.state.lock();
                    (state.protocol, state.index)
                };
                let (ino, uid) = s.common.identity();
                Listed {
                    kind: s.sock_type.raw(),
                    protocol,
                    index,
                    running: protocol != 0,
                    queued: s.queue.cost(),
                    uid,
                    ino,
                }
            })
            .collect()
    }
    /// Shows an IP packet that leaves by an interface, and that the loopback gives back.
    pub fn pass_ip(&self, interfaces: &Interfaces, index: u32, packet: &[u8]) {
        if self.is_empty() {
            return;
        }
        let mut frame = vec![0u8; HEADER];
        // Nobody is asked for addresses there: they are the interface's own (arp_constructor).
        if let (2.., Some(i)) = (index, interfaces.by_index(index)) {
            let ends = [i.hardware_addr(); 2].concat();
            for (to, byte) in frame.iter_mut().zip(ends) {
                *to = byte;
            }
        }
        let six = packet.first().is_some_and(|b| b >> 4 == 6);
        let kind: u16 = if six { 0x86dd } else { 0x800 };
        if let Some(f) = frame.get_mut(12..) {
            f.copy_from_slice(&kind.to_be_bytes());
        }
        frame.extend_from_slice(packet);
        self.pass_frame(&frame, None, index);
    }
    /// Shows a frame going out and coming in; its sender does not see it go.
    fn pass_frame(&self, frame: &[u8], sender: Option<u64>, index: u32) {
        let all = self.all();
        for s in all.iter().filter(|s| Some(s.id) != sender) {
            s.see(frame, true, index);
        }
        // Only the loopback gives back what it takes.
        for s in all.iter().filter(|_| index == 1) {
            s.see(frame, false, index);
        }
    }
}

struct Frame {
    data: Vec<u8>,
    from: Address,
    /// Length before a filter cut it.
    whole: usize,
    time: Timestamp,
    charge: Charge,
}

#[derive(Default)]
struct Inner {
    all: VecDeque<Frame>,
    cost: usize,
    /// PACKET_STATISTICS: frames, and those that found no room.
    packets: u32,
    drops: u32,
    last: Option<Timestamp>,
    closed: bool,
}

/// The receive queue.
pub(super) struct Queue(Mutex<Inner>);

impl Default for Queue {
    fn default() -> Queue {
        Queue(Mutex::new(Rank::OBJECT, Inner::default()))
    }
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.0.lock().all.is_empty()
    }
    pub fn first_len(&self) -> usize {
        self.0.lock().all.front().map_or(0, |f| f.data.len())
    }
    pub fn last_stamp(&self) -> Result<Timestamp> {
        self.0.lock().last.ok_or(Errno::ENOENT)
    }
    pub fn cost(&self) -> usize {
        self.0.lock().cost
    }
    /// Frames (with the lost ones) and lost frames since the last time.
    pub fn take_statistics(&self) -> (u32, u32) {
        let mut q = self.0.lock();
        let drops = std::mem::take(&mut q.drops);
        (std::mem::take(&mut q.packets).wrapping_add(drops), drops)
    }
    pub fn close(&self) {
        let old = {
            let mut q = self.0.lock();
            q.closed = true;
            q.cost = 0;
            std::mem::take(&mut q.all)
        };
        drop(old);
    }
    fn push(&self, common: &Common, data: &[u8], from: Address, whole: usize) {
        let cost = data.len() + OVERHEAD;
        let rcvbuf = common.options.with(|v| v.rcvbuf);
        let full = |q: &Inner| q.closed || q.cost > 0 && q.cost + cost > rcvbuf;
        {
            // Before the copy is made: most of those who do not read have no room.
            let mut q = self.0.lock();
            if full(&q) {
                q.drops = q.drops.wrapping_add(1);
                return;
            }
        }
        let charge = MEMORY.charge(cost);
        let data = data.to_vec();
        {
            let mut q = self.0.lock();
            let (false, Some(charge)) = (full(&q), charge) else {
                q.drops = q.drops.wrapping_add(1);
                return;
            };
            q.packets = q.packets.wrapping_add(1);
            q.cost += cost;
            q.all.push_back(Frame {
                data,
                from,
                whole,
                time: Timestamp::now(),
                charge,
            });
        }
        common.queue.wake(Events::READABLE);
    }
}

impl PacketSocket {
    /// A frame passes, on its way out or in.
    fn see(&self, frame: &[u8], out: bool, on: u32) {
        let (protocol, index) = {
            let s = self.state.lock();
            (s.protocol, s.index)
        };
        let kind = frame
            .get(12..HEADER)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u16::from_be_bytes);
        // What goes out is only for those who listen to everything.
        let wanted = protocol == ALL || !out && protocol == kind && protocol != 0;
        if !wanted || index != 0 && index != on || out && self.flag(IGNORE_OUTGOING) {
            return;
        }
        let to = frame.get(..6).unwrap_or(&[]);
        let packet_kind = match to {
            _ if out => OUTGOING,
            // The loopback's broadcast address is its own.
            [0, 0, 0, 0, 0, 0] => HOST,
            [first, ..] if first & 1 != 0 => MULTICAST,
            _ => OTHERHOST,
        };
        let mut from = Address {
            family: 17,
            protocol: kind.to_be(),
            index: on,
            hardware: if on == 1 { 772 } else { 1 },
            kind: packet_kind,
            len: 6,
            address: [0; 8],
        };
        for (to, byte) in from.address.iter_mut().zip(frame.get(6..12).unwrap_or(&[])) {
            *to = *byte;
        }
        let raw = self.sock_type == SockType::Raw;
        let data = if raw {
            frame
        } else {
            frame.get(HEADER..).unwrap_or(&[])
        };
        let whole = data.len();
        let mut keep = whole;
        if let Some(f) = self.common.options.with(|v| v.filter.clone()) {
            let facts = Facts {
                protocol: kind,
                kind: packet_kind,
                index: on,
                hardware: from.hardware,
                network: if raw { HEADER } else { 0 },
            };
            keep = f.run(data, &facts).min(whole);
            if keep == 0 {
                return;
            }
        }
        let data = data.get(..keep).unwrap_or(data);
        self.queue.push(&self.common, data, from, whole);
    }

    pub(super) fn do_recv(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        let known = MsgFlags::PEEK
            | MsgFlags::DONTWAIT
            | MsgFlags::TRUNC
            | MsgFlags::ERRQUEUE
            | MsgFlags::CMSG_CLOEXEC
            | MsgFlags::NOSIGNAL
            | MsgFlags::WAITALL;
        if !known.contains(msg.flags) {
            return Err(Errno::EINVAL);
        }
        if msg.flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        self.common.check_error()?;
        let (data, from, whole, time) = {
            let mut q = self.queue.0.lock();
            if msg.flags.contains(MsgFlags::PEEK) {
                let f = q.all.front().ok_or(Errno::EAGAIN)?;
                (f.data.clone(), f.from, f.whole, f.time)
            } else {
                let f = q.all.pop_front().ok_or(Errno::EAGAIN)?;
                q.cost = q.cost.saturating_sub(f.charge.amount());
                q.last = Some(f.time);
                (f.data, f.from, f.whole, f.time)
            }
        };
        let part = data.get(..msg.dst.remaining()).unwrap_or(&data);
        let did = put_all(msg.dst, part)?;
        if did < part.len() {
            return Err(Errno::EFAULT);
        }
        let mut out = Received {
            len: did,
            from: Some(from.as_bytes().to_vec()),
            ..Received::default()
        };
        if did < data.len() {
            out.flags |= MsgFlags::TRUNC;
        }
        if msg.flags.contains(MsgFlags::TRUNC) {
            out.len = data.len();
        }
        if msg.control {
            stamps(&self.common, time, 0, &mut out.control);
            if self.flag(AUXDATA) {
                let network = if self.sock_type == SockType::Raw {
                    HEADER as u16
                } else {
                    0
                };
                // struct tpacket_auxdata: TP_STATUS_USER, lengths, offsets of headers; no VLAN.
                let mut raw = 1u32.as_bytes().to_vec();
                for n in [whole, data.len()] {
                    raw.extend_from_slice(u32::try_from(n).unwrap_or(u32::MAX).as_bytes());
                }
                raw.extend_from_slice([0, network, 0, 0].as_bytes());
                out.control.push(Cmsg::Other(SOL_PACKET, AUXDATA, raw));
            }
        }
        Ok(out)
    }

    pub(super) fn do_send(&self, msg: &mut SendMsg<'_>) -> Result<usize> {
        let len = msg.src.remaining();
        let (bound_protocol, bound_index) = {
            let s = self.state.lock();
            (s.protocol, s.index)
        };
        let (index, protocol, address) = match msg.to {
            Some(raw) => {
                let (a, _) = Address::read_from_prefix(raw).map_err(|_| Errno::EINVAL)?;
                if raw.len() < 12 + usize::from(a.len) {
                    return Err(Errno::EINVAL);
                }
                (a.index, u16::from_be(a.protocol), Some(a.address))
            }
            None => (bound_index, bound_protocol, None),
        };
        let i = self.namespace.interfaces.by_index(index);
        let i = i.ok_or(Errno::ENXIO)?;
        if !i.is_up() {
            return Err(Errno::ENETDOWN);
        }
        let raw = self.sock_type == SockType::Raw;
        if len > MTU + if raw { HEADER } else { 0 } {
            return Err(Errno::EMSGSIZE);
        }
        if raw && len < HEADER {
            return Err(Errno::EINVAL);
        }
        let body = Segment::fill(msg.src, len)?;
        if body.len() < len {
            return Err(Errno::EFAULT);
        }
        let mut frame = Vec::with_capacity(HEADER + len);
        if !raw {
            let to = address.unwrap_or_default();
            frame.extend_from_slice(to.get(..6).unwrap_or(&[]));
            frame.extend_from_slice(&i.hardware_addr());
            frame.extend_from_slice(&protocol.to_be_bytes());
        }
        frame.extend_from_slice(body.bytes());
        self.namespace
            .packets
            .pass_frame(&frame, Some(self.id), index);
        let kind = frame.get(12..HEADER);
        let ours = frame.get(..6).is_some_and(|a| a.iter().all(|b| *b == 0));
        if index == 1 && ours && matches!(kind, Some([0x08, 0x00] | [0x86, 0xdd])) {
            let packet = frame.get(HEADER..).unwrap_or(&[]);
            // Loopback addresses that come from a link are martians (ip_route_input_slow).
            let martian = packet.first().is_some_and(|b| b >> 4 == 4)
                && (packet.get(12) == Some(&127) || packet.get(16) == Some(&127));
            if !martian {
                crate::net::inet::input(&self.namespace, packet);
            }
        }
        Ok(len)
    }
}
