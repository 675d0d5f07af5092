//! AF_NETLINK sockets (netlink(7)) and the interface ioctls (netdevice(7)): how programs ask about links, addresses and routes.
//!
//! Requests are answered at once into the socket's own queue, as rtnetlink does.

mod diag;
mod fib;
mod ioctl;
mod message;
mod route;
#[cfg(test)]
mod tests;

pub use ioctl::ioctl;

use super::namespace::NetNamespace;
use super::options::{DEFAULT_BUF, from_int, int};
use super::socket::{
    Cmsg, Common, MEMORY, MsgFlags, Received, RecvMsg, SendMsg, Sender, SockCx, SockType, Socket,
};
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials, UserNamespace};
use crate::sync::{Charge, Events, Mutex, Rank};
use crate::usermem::{Segment, UserPtr, put_all};
use crate::vfs::{Caller, File};
use std::any::Any;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of `struct sockaddr_nl`.
const ADDR_LEN: usize = 12;
const SOL_NETLINK: i32 = 270;
/// Largest request: no program here needs more.
const MAX_REQUEST: usize = 65536;
/// Most bytes of a datagram of answers (netlink_dump allocates as much).
const MAX_ANSWER: usize = 16384;

/// Bytes of the message that ends a dump.
const DONE_LEN: usize = 20;
/// What a dump may come to beside its sockets: connections that have ended, links, addresses and routes.
const DUMP_ROOM: usize = 1 << 20;

/// Most netlink sockets of a network namespace: each may listen to every change.
const MAX_SOCKETS: usize = 1024;

/// Port numbers in use.
pub struct NetlinkTable {
    ports: Mutex<HashSet<(i32, u32)>>,
    sockets: Mutex<HashMap<u64, Weak<NetlinkSocket>>>,
}

/// A netlink socket in a list.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Listed {
    pub protocol: i32,
    pub port: u32,
    pub groups: u32,
    pub queued: usize,
    pub ino: u64,
}

impl NetlinkTable {
    fn all(&self) -> Vec<Arc<NetlinkSocket>> {
        let all = self.sockets.lock();
        all.values().filter_map(Weak::upgrade).collect()
    }
    /// All sockets.
    pub fn list(&self) -> Vec<Listed> {
        let mut out: Vec<Listed> = self.all().iter().map(|s| s.listed()).collect();
        out.sort_by_key(|l| (l.protocol, l.port));
        out
    }
    /// Tells the sockets that listen to a group of a protocol.
    pub(super) fn announce(&self, protocol: i32, group: u32, message: &[u8]) {
        let bit = 1u64.checked_shl(group.wrapping_sub(1)).unwrap_or(0);
        let message: Arc<[u8]> = message.into();
        for s in self.all() {
            if s.protocol == protocol && s.state.lock().groups & bit != 0 {
                let _ = s.answer_to(&message, 1 << group.wrapping_sub(1).min(31));
            }
        }
    }
}

impl Default for NetlinkTable {
    fn default() -> NetlinkTable {
        NetlinkTable {
            ports: Mutex::new(Rank::NET_TABLE, HashSet::new()),
            sockets: Mutex::new(Rank::NET_TABLE, HashMap::new()),
        }
    }
}

/// A netlink socket.
pub struct NetlinkSocket {
    id: u64,
    common: Common,
    namespace: Arc<NetNamespace>,
    /// Who made it may change the namespace.
    admin: bool,
    /// Of who made it: ids are shown as it calls them (sk_user_ns).
    users: Arc<UserNamespace>,
    sock_type: SockType,
    protocol: i32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Port number; 0 until bound.
    port: u32,
    groups: u64,
    /// Connected to another port than the kernel's.
    peer: u32,
    queue: VecDeque<Queued>,
    /// What the charges of the queue come to.
    held: usize,
    /// A dump is not read to its end.
    dumping: bool,
    options: HashMap<i32, i32>,
}

/// A datagram that waits.
struct Queued {
    data: Arc<[u8]>,
    charge: Charge,
    /// The groups it was for.
    group: u32,
    /// The last of a dump.
    ends_dump: bool,
}

impl State {
    fn push(&mut self, q: Queued) {
        self.held += q.charge.amount();
        self.queue.push_back(q);
    }
    fn pop(&mut self) -> Option<Queued> {
        let q = self.queue.pop_front()?;
        self.held = self.held.saturating_sub(q.charge.amount());
        if q.ends_dump {
            self.dumping = false;
        }
        Some(q)
    }
}

/// What a datagram costs, as part of what its socket holds.
fn cost(len: usize) -> usize {
    len + 512
}

impl NetlinkSocket {
    /// socket(2), by `creds`.
    ///
    /// # Errors
    /// ESOCKTNOSUPPORT; EPROTONOSUPPORT for protocols that are not there; ENFILE, ENOBUFS.
    pub fn new(
        creds: &Credentials,
        namespace: &Arc<NetNamespace>,
        sock_type: SockType,
        protocol: i32,
    ) -> Result<Arc<NetlinkSocket>> {
        if !matches!(sock_type, SockType::Raw | SockType::Dgram) {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        if !matches!(
            protocol,
            libc::NETLINK_ROUTE | libc::NETLINK_KOBJECT_UEVENT | libc::NETLINK_SOCK_DIAG
        ) {
            return Err(Errno::EPROTONOSUPPORT);
        }
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let socket = Arc::new(NetlinkSocket {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            common: Common::new(namespace, DEFAULT_BUF, DEFAULT_BUF)?,
            namespace: namespace.clone(),
            admin: namespace.allows(creds, Caps::NET_ADMIN),
            users: creds.user_ns.clone(),
            sock_type,
            protocol,
            state: Mutex::new(Rank::OBJECT, State::default()),
        });
        {
            let mut all = namespace.netlink.sockets.lock();
            if all.len() >= MAX_SOCKETS {
                all.retain(|_, s| s.strong_count() > 0);
            }
            if all.len() >= MAX_SOCKETS {
                return Err(Errno::ENOBUFS);
            }
            all.insert(socket.id, Arc::downgrade(&socket));
        }
        Ok(socket)
    }

    fn listed(&self) -> Listed {
        let s = self.state.lock();
        Listed {
            protocol: self.protocol,
            port: s.port,
            groups: low(s.groups),
            queued: s.held,
            ino: self.common.identity().0,
        }
    }

    /// Takes a port: `want`, or for 0 the process id if it is free, else some other number.
    fn take_port(&self, cx: &SockCx<'_>, want: u32) -> Result<()> {
        let port = {
            let mut used = self.namespace.netlink.ports.lock();
            if want != 0 {
                if !used.insert((self.protocol, want)) {
                    return Err(Errno::EADDRINUSE);
                }
                want
            } else {
                let mut port = cx.caller.tgid().cast_unsigned();
                // Linux counts down from -4096.
                let mut other = 4096u32.wrapping_neg();
                while port == 0 || !used.insert((self.protocol, port)) {
                    port = other;
                    other = other.wrapping_sub(1);
                }
                port
            }
        };
        let mut s = self.state.lock();
        if s.port != 0 {
            drop(s);
            self.namespace
                .netlink
                .ports
                .lock()
                .remove(&(self.protocol, port));
            return Ok(());
        }
        s.port = port;
        Ok(())
    }

    fn ensure_port(&self, cx: &SockCx<'_>) -> Result<u32> {
        if self.state.lock().port == 0 {
            self.take_port(cx, 0)?;
        }
        Ok(self.state.lock().port)
    }

    /// Queues an answer.
    fn answer(&self, data: Vec<u8>) -> Result<()> {
        self.answer_to(&data.into(), 0)
    }

    /// Queues a message to a group. Who has no room loses it, and is told.
    fn answer_to(&self, data: &Arc<[u8]>, group: u32) -> Result<()> {
        let rcvbuf = self.common.options.with(|v| v.rcvbuf);
        {
            let mut s = self.state.lock();
            if s.held > 0 && s.held.saturating_add(cost(data.len())) > rcvbuf {
                if s.options.get(&libc::NETLINK_NO_ENOBUFS) != Some(&1) {
                    self.common.set_error(Errno::ENOBUFS);
                }
                return Ok(());
            }
            let charge = MEMORY.charge(cost(data.len())).ok_or(Errno::ENOBUFS)?;
            s.push(Queued {
                data: data.clone(),
                charge,
                group,
                ends_dump: false,
            });
        }
        self.common.queue.wake(Events::READABLE);
        Ok(())
    }

    /// Before a dump is made: room for the most that it can come to, given back when it is queued. One at a time
    /// (__netlink_dump_start).
    fn start_dump(&self) -> Result<Charge> {
        let rcvbuf = self.common.options.with(|v| v.rcvbuf);
        {
            let s = self.state.lock();
            if s.dumping {
                return Err(Errno::EBUSY);
            }
            if s.held >= rcvbuf {
                return Err(Errno::ENOBUFS);
            }
        }
        let most = DUMP_ROOM.saturating_add(self.namespace.sockets().saturating_mul(256));
        MEMORY.charge(most).ok_or(Errno::ENOBUFS)
    }

    /// Queues a dump: all of it, whatever the receive buffer, since there is no other time when the rest could be made.
    fn answer_dump(&self, parts: Vec<Vec<u8>>) -> Result<()> {
        let mut charged = Vec::with_capacity(parts.len());
        for data in parts {
            let charge = MEMORY.charge(cost(data.len())).ok_or(Errno::ENOBUFS)?;
            charged.push((data, charge));
        }
        {
            let mut s = self.state.lock();
            let last = charged.len().saturating_sub(1);
            // It runs until its end is read, unless there is nothing else.
            let nothing = charged.first().is_none_or(|(d, _)| d.len() <= DONE_LEN);
            s.dumping |= !nothing;
            for (at, (data, charge)) in charged.into_iter().enumerate() {
                s.push(Queued {
                    data: data.into(),
                    charge,
                    group: 0,
                    ends_dump: at == last,
                });
            }
        }
        self.common.queue.wake(Events::READABLE);
        Ok(())
    }
}

fn of(file: &File) -> Option<&NetlinkSocket> {
    crate::net::socket::socket_of(file)?.as_any().downcast_ref()
}

/// Whether the file is a netlink socket.
pub fn is_netlink(file: &File) -> bool {
    of(file).is_some()
}

/// A message of the kernel's for a netlink socket (mq_notify(2)). Lost if there is no room.
pub fn deliver(file: &File, data: Vec<u8>) {
    if let Some(Err(e)) = of(file).map(|s| s.answer(data)) {
        log::debug!("a netlink message was lost: {e}");
    }
}

/// `struct sockaddr_nl`: port and groups.
fn parse(raw: &[u8]) -> Result<(u32, u32)> {
    if raw.len() < ADDR_LEN {
        return Err(Errno::EINVAL);
    }
    let (family, rest) = u16::read_from_prefix(raw).map_err(|_| Errno::EINVAL)?;
    if i32::from(family) != libc::AF_NETLINK {
        return Err(Errno::EINVAL);
    }
    let (port, rest) = rest
        .get(2..)
        .and_then(|r| u32::read_from_prefix(r).ok())
        .ok_or(Errno::EINVAL)?;
    let (groups, _) = u32::read_from_prefix(rest).map_err(|_| Errno::EINVAL)?;
    Ok((port, groups))
}

/// The groups that an address has room for.
fn low(groups: u64) -> u32 {
    (groups & 0xffff_ffff) as u32
}

fn encode(port: u32, groups: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(ADDR_LEN);
    out.extend_from_slice(16u16.as_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(port.as_bytes());
    out.extend_from_slice(groups.as_bytes());
    out
}

impl Socket for NetlinkSocket {
    fn domain(&self) -> i32 {
        libc::AF_NETLINK
    }
    fn sock_type(&self) -> SockType {
        self.sock_type
    }
    fn protocol(&self) -> i32 {
        self.protocol
    }
    fn common(&self) -> &Common {
        &self.common
    }
    fn namespace(&self) -> &Arc<NetNamespace> {
        &self.namespace
    }
    fn bind(&self, cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        let (port, groups) = parse(addr)?;
        let bound = self.state.lock().port;
        if bound != 0 {
            if port != bound {
                return Err(Errno::EINVAL);
            }
        } else {
            self.take_port(cx, port)?;
        }
        let mut s = self.state.lock();
        s.groups = s.groups & !0xffff_ffff | u64::from(groups);
        Ok(())
    }
    fn connect(&self, cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        if addr.get(..2) == Some(&[0, 0]) {
            self.state.lock().peer = 0;
            return Ok(());
        }
        let (port, _) = parse(addr)?;
        self.ensure_port(cx)?;
        self.state.lock().peer = port;
        Ok(())
    }
    fn local_name(&self) -> Result<Vec<u8>> {
        let s = self.state.lock();
        Ok(encode(s.port, low(s.groups)))
    }
    fn peer_name(&self) -> Result<Vec<u8>> {
        Ok(encode(self.state.lock().peer, 0))
    }
    fn send(&self, cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let to = match msg.to {
            Some(raw) => parse(raw)?.0,
            None => self.state.lock().peer,
        };
        let port = self.ensure_port(cx)?;
        let len = msg.src.remaining();
        if len > self.common.options.with(|v| v.sndbuf).saturating_sub(32) || len > MAX_REQUEST {
            return Err(Errno::EMSGSIZE);
        }
        if to != 0 {
            // Other programs' sockets cannot be reached: there is no protocol here that uses it.
            return Err(Errno::ECONNREFUSED);
        }
        let request = Segment::fill(msg.src, len)?;
        if request.len() < len {
            return Err(Errno::EFAULT);
        }
        let manner = {
            let s = self.state.lock();
            let on = |name| s.options.get(&name) == Some(&1);
            route::Manner {
                cap_ack: on(libc::NETLINK_CAP_ACK),
                ext_ack: on(libc::NETLINK_EXT_ACK),
            }
        };
        let ns = &self.namespace;
        let bytes = request.bytes();
        match self.protocol {
            libc::NETLINK_ROUTE => {
                route::handle(self, port, manner, bytes, route::is_dump, &|h, body| {
                    route::one(cx.caller, self.admin, ns, port, h, body)
                })?;
            }
            libc::NETLINK_SOCK_DIAG => {
                let lists = diag::Lists::new(ns, &self.users);
                route::handle(self, port, manner, bytes, diag::is_dump, &|h, body| {
                    diag::one(&lists, port, h, body)
                })?;
            }
            _ => {}
        }
        Ok(len)
    }
    fn recv(&self, _cx: &SockCx<'_>, msg: &mut RecvMsg<'_>) -> Result<Received> {
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.common.check_error()?;
        let (data, group) = {
            let mut s = self.state.lock();
            if msg.flags.contains(MsgFlags::PEEK) {
                s.queue.front().map(|q| (q.data.clone(), q.group))
            } else {
                s.pop().map(|q| (q.data, q.group))
            }
            .ok_or(Errno::EAGAIN)?
        };
        let part = data.get(..msg.dst.remaining()).unwrap_or(&data);
        let did = put_all(msg.dst, part)?;
        if did < part.len() {
            return Err(Errno::EFAULT);
        }
        let mut out = Received {
            len: did,
            from: Some(encode(0, group)),
            ..Received::default()
        };
        if did < data.len() {
            out.flags |= MsgFlags::TRUNC;
            if msg.flags.contains(MsgFlags::TRUNC) {
                out.len = data.len();
            }
        }
        if self.common.options.with(|v| v.passcred) {
            out.control.push(Cmsg::Credentials(Sender::nobody(0)));
        }
        if self.state.lock().options.get(&libc::NETLINK_PKTINFO) == Some(&1) {
            out.control
                .push(Cmsg::Other(SOL_NETLINK, libc::NETLINK_PKTINFO, vec![0; 4]));
        }
        Ok(out)
    }
    fn option(&self, _cx: &dyn Caller, level: i32, name: i32) -> Result<Vec<u8>> {
        if level != SOL_NETLINK {
            return Err(Errno::ENOPROTOOPT);
        }
        let s = self.state.lock();
        match name {
            libc::NETLINK_LIST_MEMBERSHIPS => Ok(s.groups.as_bytes().to_vec()),
            libc::NETLINK_PKTINFO
            | libc::NETLINK_BROADCAST_ERROR
            | libc::NETLINK_NO_ENOBUFS
            | libc::NETLINK_CAP_ACK
            | libc::NETLINK_EXT_ACK
            | libc::NETLINK_GET_STRICT_CHK => {
                Ok(from_int(s.options.get(&name).copied().unwrap_or(0)))
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
    fn set_option(&self, _cx: &dyn Caller, level: i32, name: i32, value: &[u8]) -> Result<()> {
        if level != SOL_NETLINK {
            return Err(Errno::ENOPROTOOPT);
        }
        let n = int(value)?;
        let mut s = self.state.lock();
        match name {
            libc::NETLINK_ADD_MEMBERSHIP | libc::NETLINK_DROP_MEMBERSHIP => {
                if !(1..=63).contains(&n) {
                    return Err(Errno::EINVAL);
                }
                let bit = 1u64.checked_shl(n.cast_unsigned() - 1).unwrap_or(0);
                if name == libc::NETLINK_ADD_MEMBERSHIP {
                    s.groups |= bit;
                } else {
                    s.groups &= !bit;
                }
            }
            libc::NETLINK_PKTINFO
            | libc::NETLINK_BROADCAST_ERROR
            | libc::NETLINK_NO_ENOBUFS
            | libc::NETLINK_CAP_ACK
            | libc::NETLINK_EXT_ACK
            | libc::NETLINK_GET_STRICT_CHK => {
                s.options.insert(name, i32::from(n != 0));
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
    fn poll(&self) -> Events {
        let mut e = Events::WRITABLE | Events::WRBAND;
        if self.common.has_error() {
            e |= Events::ERR;
        }
        if !self.state.lock().queue.is_empty() {
            e |= Events::READABLE;
        }
        e
    }
    fn ioctl(&self, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        if u64::from(cmd) == libc::FIONREAD {
            let n = self.state.lock().queue.front().map_or(0, |q| q.data.len());
            let n = i32::try_from(n).unwrap_or(i32::MAX);
            cx.memory().put(UserPtr::<i32>::new(arg), &n)?;
            return Ok(0);
        }
        ioctl(cx, &self.namespace, cmd, arg)
    }
    fn close(&self) {
        let (port, queue) = {
            let mut s = self.state.lock();
            (s.held, s.dumping) = (0, false);
            (std::mem::take(&mut s.port), std::mem::take(&mut s.queue))
        };
        drop(queue);
        self.namespace.netlink.sockets.lock().remove(&self.id);
        if port != 0 {
            self.namespace
                .netlink
                .ports
                .lock()
                .remove(&(self.protocol, port));
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
