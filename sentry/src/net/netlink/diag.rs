//! NETLINK_SOCK_DIAG (sock_diag(7)): what `ss` asks.

use super::message::{Builder, Header};
use super::route::{Answer, done, word};
use crate::abi::{Errno, Result};
use crate::auth::UserNamespace;
use crate::net::NetNamespace;
use crate::net::inet::listing::{self, Entry};
use crate::net::unix::Entry as UnixEntry;
use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use zerocopy::IntoBytes;

/// SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;

// Attributes of AF_UNIX answers, and the bits of udiag_show that ask for them.
const NAME: u16 = 0;
const PEER: u16 = 2;
const ICONS: u16 = 3;
const QUEUES: u16 = 4;
const SHUTDOWN: u16 = 6;

/// Whether a request asks for a list.
pub(super) fn is_dump(header: &Header) -> bool {
    header.kind == BY_FAMILY && dump(header)
}

/// Whether a message has the bits of one.
fn dump(header: &Header) -> bool {
    header.flags & super::message::DUMP != 0
}

/// How many answers a message gets.
fn most(header: &Header) -> usize {
    if dump(header) { usize::MAX } else { 1 }
}

/// What one request looks at, made once however many sockets it asks for.
pub(super) struct Lists<'a> {
    ns: &'a NetNamespace,
    /// How users are shown.
    users: &'a UserNamespace,
    inet: [OnceCell<Vec<Entry>>; 4],
    unix: OnceCell<Vec<UnixEntry>>,
}

impl<'a> Lists<'a> {
    pub fn new(ns: &'a NetNamespace, users: &'a UserNamespace) -> Lists<'a> {
        Lists {
            ns,
            users,
            inet: Default::default(),
            unix: OnceCell::new(),
        }
    }
    fn inet(&self, protocol: i32) -> Result<&[Entry]> {
        let [tcp, udp, lite, raw] = &self.inet;
        Ok(match protocol {
            libc::IPPROTO_TCP => tcp.get_or_init(|| listing::tcp(self.ns)),
            libc::IPPROTO_UDP => udp.get_or_init(|| listing::udp(self.ns, false)),
            libc::IPPROTO_UDPLITE => lite.get_or_init(|| listing::udp(self.ns, true)),
            libc::IPPROTO_RAW => raw.get_or_init(|| listing::raw(self.ns, false)),
            _ => return Err(Errno::ENOENT),
        })
    }
    fn unix(&self) -> &[UnixEntry] {
        self.unix.get_or_init(|| self.ns.unix.list())
    }
}

/// Answers one message.
pub(super) fn one(lists: &Lists<'_>, port: u32, header: &Header, body: &[u8]) -> Answer {
    if header.kind != BY_FAMILY {
        return Err(match header.kind {
            // TCPDIAG_GETSOCK, DCCPDIAG_GETSOCK: the old requests, as if nothing answered them. `ss` asks so for DCCP.
            18 | 19 => Errno::ENOENT,
            // SOCK_DESTROY.
            21 => Errno::EOPNOTSUPP,
            _ => Errno::EINVAL,
        }
        .into());
    }
    let family = i32::from(*body.first().ok_or(Errno::EINVAL)?);
    let mut list = match family {
        libc::AF_INET | libc::AF_INET6 => inet(lists, port, header, body)?,
        libc::AF_UNIX => unix(lists, port, header, body)?,
        _ => return Err(Errno::ENOENT.into()),
    };
    if dump(header) {
        list.push(done(header, port));
    } else if list.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    Ok(list)
}

fn multi(header: &Header) -> u16 {
    if dump(header) {
        super::message::MULTI
    } else {
        0
    }
}

/// `struct inet_diag_req_v2`.
fn inet(lists: &Lists<'_>, port: u32, header: &Header, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    if body.len() < 56 {
        return Err(Errno::EINVAL);
    }
    let family = i32::from(body.first().copied().unwrap_or(0));
    let protocol = i32::from(body.get(1).copied().unwrap_or(0));
    let states = word(body, 4)?;
    let all = lists.inet(protocol)?;
    let ports = |at| {
        let raw = body.get(at..at + 2).and_then(|b| b.try_into().ok());
        raw.map_or(0, u16::from_be_bytes)
    };
    let (source, destination) = (ports(8), ports(10));
    Ok(all
        .iter()
        .filter(|e| e.family == family)
        .filter(|e| {
            if dump(header) {
                states & 1u32.checked_shl(u32::from(e.state)).unwrap_or(0) != 0
                    && (source == 0 || source == e.local.port())
                    && (destination == 0 || destination == e.remote.port())
            } else {
                e.local.port() == source && e.remote.port() == destination
            }
        })
        .take(most(header))
        .map(|e| inet_message(e, lists.users, port, header))
        .collect())
}

fn address(a: SocketAddr, family: i32) -> [u8; 16] {
    let mut out = [0; 16];
    let raw = match (a.ip(), family) {
        (IpAddr::V4(v4), libc::AF_INET6) if !v4.is_unspecified() => {
            v4.to_ipv6_mapped().octets().to_vec()
        }
        (IpAddr::V4(v4), _) => v4.octets().to_vec(),
        (IpAddr::V6(v6), _) => v6.octets().to_vec(),
    };
    for (to, from) in out.iter_mut().zip(raw) {
        *to = from;
    }
    out
}

/// `struct inet_diag_msg`.
fn inet_message(e: &Entry, users: &UserNamespace, port: u32, header: &Header) -> Vec<u8> {
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (timer, expires) = match e.left {
        Some(ns) => (3, u32::try_from(ns / 1_000_000).unwrap_or(u32::MAX)),
        None => (0, 0),
    };
    let family = u8::try_from(e.family).unwrap_or(0);
    let b = Builder::new(header, port, BY_FAMILY, multi(header))
        .raw(&[family, e.state, timer, 0])
        .raw(&e.local.port().to_be_bytes())
        .raw(&e.remote.port().to_be_bytes())
        .raw(&address(e.local, e.family))
        .raw(&address(e.remote, e.family))
        .raw(0u32.as_bytes())
        .raw(e.cookie.as_bytes())
        .raw([expires, size(e.rx), size(e.tx), users.show_user(e.uid)].as_bytes())
        .raw(u32::try_from(e.ino).unwrap_or(0).as_bytes());
    // INET_DIAG_SHUTDOWN.
    b.attr(8, &[0]).finish()
}

/// `struct unix_diag_req`.
fn unix(lists: &Lists<'_>, port: u32, header: &Header, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (states, ino, show) = (word(body, 4)?, word(body, 8)?, word(body, 12)?);
    Ok(lists
        .unix()
        .iter()
        .filter(|e| {
            if dump(header) {
                states & 1u32.checked_shl(u32::from(e.state)).unwrap_or(0) != 0
            } else {
                u64::from(ino) == e.ino
            }
        })
        .take(most(header))
        .map(|e| {
            let short = |n: u64| u32::try_from(n).unwrap_or(0);
            let mut b = Builder::new(header, port, BY_FAMILY, multi(header))
                .raw(&[1, u8::try_from(e.kind).unwrap_or(0), e.state, 0])
                .raw(short(e.ino).as_bytes())
                .raw(e.cookie.as_bytes());
            if show & 1 != 0
                && let Some(name) = &e.name
            {
                // As in the address: an abstract one begins with NUL, a path ends with one.
                let mut raw = name.clone();
                match raw.first_mut() {
                    Some(first @ b'@') => *first = 0,
                    _ => raw.push(0),
                }
                b = b.attr(NAME, &raw);
            }
            if show & 4 != 0
                && let Some(peer) = e.peer.filter(|p| *p != 0)
            {
                b = b.attr32(PEER, short(peer));
            }
            if show & 8 != 0 && e.state == 10 {
                b = b.attr(ICONS, &[]);
            }
            if show & 16 != 0 {
                let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                b = b.attr(QUEUES, [size(e.queued), size(e.sent)].as_bytes());
            }
            b.attr(SHUTDOWN, &[e.shutdown]).finish()
        })
        .collect())
}
