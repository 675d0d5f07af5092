//! AF_PACKET sockets (packet(7)): frames of the loopback, whole or without their Ethernet header. [`data`] has the frames.

mod data;
#[cfg(test)]
mod tests;

pub use data::PacketTable;

use super::namespace::NetNamespace;
use super::options::{DEFAULT_BUF, from_int, int};
use super::socket::{Common, Received, RecvMsg, SendMsg, SockCx, SockType, Socket};
use crate::abi::{Errno, Result};
use crate::sync::{Events, Mutex, Rank};
use crate::usermem::UserPtr;
use crate::vfs::Caller;
use data::Queue;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const SOL_PACKET: i32 = 263;
/// Most PACKET_ADD_MEMBERSHIP of a socket.
const MAX_MEMBERSHIPS: usize = 20;

// Options.
const ADD_MEMBERSHIP: i32 = 1;
const DROP_MEMBERSHIP: i32 = 2;
const STATISTICS: i32 = 6;
const AUXDATA: i32 = 8;
const VERSION: i32 = 10;
const RESERVE: i32 = 12;
const IGNORE_OUTGOING: i32 = 23;
/// Those that are kept and given back: COPY_THRESH, AUXDATA, ORIGDEV, RESERVE, LOSS, TIMESTAMP, TX_HAS_OFF, QDISC_BYPASS,
/// IGNORE_OUTGOING; and whether each is a boolean.
const PLAIN: &[(i32, bool)] = &[
    (7, false),
    (AUXDATA, true),
    (9, true),
    (RESERVE, false),
    (14, true),
    (17, false),
    (19, true),
    (20, true),
    (IGNORE_OUTGOING, true),
];

/// `struct sockaddr_ll`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
struct Address {
    family: u16,
    /// In network byte order.
    protocol: u16,
    index: u32,
    hardware: u16,
    kind: u8,
    len: u8,
    address: [u8; 8],
}

/// A packet socket.
pub struct PacketSocket {
    common: Common,
    namespace: Arc<NetNamespace>,
    sock_type: SockType,
    id: u64,
    queue: Queue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// EtherType it listens to; 0: nothing.
    protocol: u16,
    /// Interface it is bound to; 0: all.
    index: u32,
    options: HashMap<i32, i32>,
    /// Interface, type and address.
    memberships: Vec<(u32, u16, Vec<u8>)>,
}

impl PacketSocket {
    /// socket(2). `protocol`: in network byte order. Rights were checked.
    ///
    /// # Errors
    /// ESOCKTNOSUPPORT, ENFILE, ENOBUFS.
    pub fn new(
        namespace: &Arc<NetNamespace>,
        sock_type: SockType,
        protocol: i32,
    ) -> Result<Arc<PacketSocket>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if !matches!(sock_type, SockType::Raw | SockType::Dgram) {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        let common = Common::new(namespace, DEFAULT_BUF, DEFAULT_BUF)?;
        let socket = Arc::new(PacketSocket {
            common,
            namespace: namespace.clone(),
            sock_type,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            queue: Queue::default(),
            state: Mutex::new(
                Rank::OBJECT,
                State {
                    protocol: u16::from_be((protocol & 0xffff) as u16),
                    ..State::default()
                },
            ),
        });
        namespace.packets.add(socket.id, &socket)?;
        Ok(socket)
    }

    fn flag(&self, name: i32) -> bool {
        let s = self.state.lock();
        s.options.get(&name).copied().unwrap_or(0) != 0
    }

    /// `struct packet_mreq`.
    fn membership(&self, value: &[u8], add: bool) -> Result<()> {
        let (index, rest) = u32::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
        let (kind, rest) = u16::read_from_prefix(rest).map_err(|_| Errno::EINVAL)?;
        let (len, rest) = u16::read_from_prefix(rest).map_err(|_| Errno::EINVAL)?;
        let len = usize::from(len);
        if value.len() < 16 && value.len() < 8 + len {
            return Err(Errno::EINVAL);
        }
        let key = (index, kind, rest.get(..len).unwrap_or(rest).to_vec());
        if !add {
            let mut s = self.state.lock();
            if let Some(at) = s.memberships.iter().position(|m| *m == key) {
                s.memberships.remove(at);
            }
            return Ok(());
        }
        self.namespace
            .interfaces
            .by_index(index)
            .ok_or(Errno::ENODEV)?;
        if len > 6 || kind > 3 {
            return Err(Errno::EINVAL);
        }
        let mut s = self.state.lock();
        if s.memberships.len() >= MAX_MEMBERSHIPS {
            return Err(Errno::ENOBUFS);
        }
        s.memberships.push(key);
        Ok(())
    }
}

impl Socket for PacketSocket {
    fn domain(&self) -> i32 {
        libc::AF_PACKET
    }
    fn sock_type(&self) -> SockType {
        self.sock_type
    }
    fn protocol(&self) -> i32 {
        i32::from(self.state.lock().protocol.to_be())
    }
    fn common(&self) -> &Common {
        &self.common
    }
    fn namespace(&self) -> &Arc<NetNamespace> {
        &self.namespace
    }
    fn bind(&self, _cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        let (a, _) = Address::read_from_prefix(addr).map_err(|_| Errno::EINVAL)?;
        if i32::from(a.family) != libc::AF_PACKET {
            return Err(Errno::EINVAL);
        }
        if a.index != 0 {
            let i = self.namespace.interfaces.by_index(a.index);
            if !i.ok_or(Errno::ENODEV)?.is_up() {
                self.common.set_error(Errno::ENETDOWN);
            }
        }
        let mut s = self.state.lock();
        s.index = a.index;
        if a.protocol != 0 {
            s.protocol = u16::from_be(a.protocol);
        }
        Ok(())
    }
    fn local_name(&self) -> Result<Vec<u8>> {
        let (protocol, index) = {
            let s = self.state.lock();
            (s.protocol, s.index)
        };
        let i = self.namespace.interfaces.by_index(index);
        let mut a = Address {
            family: 17,
            protocol: protocol.to_be(),
            index,
            ..Address::default()
        };
        if let Some(i) = &i {
            a.hardware = i.hardware_type();
            a.len = 6;
            let mac = i.hardware_addr();
            for (to, from) in a.address.iter_mut().zip(mac) {
                *to = from;
            }
        }
        let mut raw = a.as_bytes().to_vec();
        raw.truncate(12 + usize::from(a.len));
        Ok(raw)
    }
    fn peer_name(&self) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }
    fn send(&self, _cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        self.do_send(msg)
    }
    fn recv(&self, _cx: &SockCx<'_>, msg: &mut RecvMsg<'_>) -> Result<Received> {
        self.do_recv(msg)
    }
    fn option(&self, _cx: &dyn Caller, level: i32, name: i32) -> Result<Vec<u8>> {
        if level != SOL_PACKET {
            return Err(Errno::ENOPROTOOPT);
        }
        match name {
            STATISTICS => {
                let (packets, drops) = self.queue.take_statistics();
                Ok([packets, drops].as_bytes().to_vec())
            }
            // PACKET_VERSION: there are no rings, so the first. PACKET_VNET_HDR, PACKET_FANOUT: neither.
            VERSION | 15 | 18 => Ok(from_int(0)),
            // PACKET_ROLLOVER_STATS.
            21 => Err(Errno::EINVAL),
            _ if PLAIN.iter().any(|p| p.0 == name) => {
                let s = self.state.lock();
                Ok(from_int(s.options.get(&name).copied().unwrap_or(0)))
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
    fn set_option(&self, _cx: &dyn Caller, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level != SOL_PACKET {
            return Err(Errno::ENOPROTOOPT);
        }
        match name {
            ADD_MEMBERSHIP => return self.membership(value, true),
            DROP_MEMBERSHIP => return self.membership(value, false),
            VERSION => {
                return match int(value)? {
                    0 => Ok(()),
                    // TPACKET_V2 and V3 are layouts of rings.
                    1 | 2 => Err(Errno::EOPNOTSUPP),
                    _ => Err(Errno::EINVAL),
                };
            }
            _ => {}
        }
        let (_, boolean) = PLAIN
            .iter()
            .find(|p| p.0 == name)
            .ok_or(Errno::ENOPROTOOPT)?;
        let n = int(value)?;
        if name == IGNORE_OUTGOING && !(0..=1).contains(&n) || name == RESERVE && n < 0 {
            return Err(Errno::EINVAL);
        }
        let kept = if *boolean { i32::from(n != 0) } else { n };
        self.state.lock().options.insert(name, kept);
        Ok(())
    }
    fn poll(&self) -> Events {
        let mut e = Events::WRITABLE | Events::WRBAND;
        if self.common.has_error() {
            e |= Events::ERR;
        }
        if !self.queue.is_empty() {
            e |= Events::READABLE;
        }
        e
    }
    fn ioctl(&self, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        let n = match u64::from(cmd) {
            libc::FIONREAD => self.queue.first_len(),
            libc::TIOCOUTQ => 0,
            // SIOCGSTAMP, SIOCGSTAMPNS.
            0x8906 | 0x8907 => {
                let t = self.queue.last_stamp()?;
                let unit = if cmd == 0x8906 { 1000 } else { 1 };
                let raw = [t.sec, i64::from(t.nsec / unit)];
                cx.memory().put(UserPtr::<[i64; 2]>::new(arg), &raw)?;
                return Ok(0);
            }
            _ => return crate::net::netlink::ioctl(cx, &self.namespace, cmd, arg),
        };
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        cx.memory().put(UserPtr::<i32>::new(arg), &n)?;
        Ok(0)
    }
    fn close(&self) {
        self.namespace.packets.remove(self.id);
        self.queue.close();
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
