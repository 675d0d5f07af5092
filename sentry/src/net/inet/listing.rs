//! What /proc/net and sock_diag(7) tell of TCP, UDP, raw and ping sockets.

use super::raw::RawSocket;
use super::tcp::TcpSocket;
use super::udp::UdpSocket;
use crate::net::NetNamespace;
use crate::net::socket::{Common, Socket};
use std::net::SocketAddr;

/// One socket, or a connection that waits to be forgotten.
#[derive(Clone, Debug)]
pub struct Entry {
    /// AF_*.
    pub family: i32,
    /// IPPROTO_*.
    pub protocol: i32,
    /// TCP_ESTABLISHED …; other sockets are TCP_ESTABLISHED or TCP_CLOSE.
    pub state: u8,
    /// Its ends.
    pub local: SocketAddr,
    /// The other one; unspecified if there is none.
    pub remote: SocketAddr,
    /// Bytes that were sent and not read, and received; of a listener: backlog and waiting connections.
    pub tx: usize,
    /// See `tx`.
    pub rx: usize,
    /// User that made it.
    pub uid: u32,
    /// Inode number; 0 if there is none.
    pub ino: u64,
    /// SO_COOKIE.
    pub cookie: u64,
    /// Datagrams that found no room.
    pub drops: u32,
    /// Nanoseconds until a waiting connection is forgotten.
    pub left: Option<u64>,
}

const ESTABLISHED: u8 = 1;
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;

impl Entry {
    pub(super) fn new(s: &dyn Socket, local: SocketAddr, remote: Option<SocketAddr>) -> Entry {
        let common: &Common = s.common();
        let (ino, uid) = common.identity();
        Entry {
            family: s.domain(),
            protocol: s.protocol(),
            state: if remote.is_some() { ESTABLISHED } else { CLOSE },
            local,
            remote: remote.unwrap_or(super::addr::unspecified(s.domain())),
            tx: 0,
            rx: 0,
            uid,
            ino,
            cookie: crate::net::options::cookie(&common.options),
            drops: 0,
            left: None,
        }
    }
}

/// TCP sockets with a place in the tables: listeners first.
pub fn tcp(ns: &NetNamespace) -> Vec<Entry> {
    let mut all: Vec<Entry> = ns
        .inet
        .tcp
        .all()
        .iter()
        .filter_map(|(_, s)| TcpSocket::entry(s))
        .collect();
    all.sort_by_key(|e| e.state != 10);
    for (local, remote, left) in ns.inet.tcp.waiting() {
        all.push(Entry {
            family: if local.is_ipv4() {
                libc::AF_INET
            } else {
                libc::AF_INET6
            },
            protocol: libc::IPPROTO_TCP,
            state: TIME_WAIT,
            local,
            remote,
            tx: 0,
            rx: 0,
            uid: 0,
            ino: 0,
            cookie: 0,
            drops: 0,
            left: Some(left),
        });
    }
    all
}

/// Bound UDP sockets, or UDP-Lite ones.
pub fn udp(ns: &NetNamespace, lite: bool) -> Vec<Entry> {
    let table = if lite { &ns.inet.udplite } else { &ns.inet.udp };
    let all = table.all();
    all.iter().map(|(_, s)| UdpSocket::entry(s)).collect()
}

/// Raw sockets, or ping ones.
pub fn raw(ns: &NetNamespace, ping: bool) -> Vec<Entry> {
    let all = ns.inet.raw.all();
    all.iter()
        .filter(|s| s.is_ping() == ping)
        .map(RawSocket::entry)
        .collect()
}

/// How many sockets there are of a protocol and family.
pub fn count(entries: &[Entry], family: i32) -> usize {
    entries
        .iter()
        .filter(|e| e.family == family && e.state != TIME_WAIT)
        .count()
}
