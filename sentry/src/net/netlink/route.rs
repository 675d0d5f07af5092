//! NETLINK_ROUTE (rtnetlink(7)): requests and their answers, and links. [`fib`](super::fib) has addresses, routes and rules.

use super::fib;
use super::message::{ACK, Builder, DONE, DUMP, ERROR, Header, MULTI, REQUEST, attribute, next};
use super::{MAX_ANSWER, NetlinkSocket};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::net::NetNamespace;
use crate::net::interface::{Interface, InterfaceAddr, Kind};
use crate::vfs::Caller;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE.
pub(super) const REPLACE: u16 = 0x100;
pub(super) const EXCL: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
/// NLM_F_CAPPED, NLM_F_ACK_TLVS.
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;
/// NLMSGERR_ATTR_MSG.
const ATTR_MSG: u16 = 1;
/// RTNLGRP_LINK.
const GROUP_LINK: u32 = 1;
const IFLA_MASTER: u16 = 10;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_TARGET_NETNSID: u16 = 46;
/// IFLA_INFO_KIND, in IFLA_LINKINFO.
const INFO_KIND: u16 = 1;

/// How a socket wants its acknowledgements: NETLINK_CAP_ACK, NETLINK_EXT_ACK.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    pub cap_ack: bool,
    pub ext_ack: bool,
}

/// Why a request failed, and what Linux says of it.
pub(super) struct Failure(pub Errno, pub Option<&'static str>);

impl From<Errno> for Failure {
    fn from(e: Errno) -> Failure {
        Failure(e, None)
    }
}

pub(super) type Answer = std::result::Result<Vec<Vec<u8>>, Failure>;

/// Answers a request, message by message, each by `one`, and queues each answer before the next is made: what a request may
/// ask for has no bound.
///
/// # Errors
/// ENOBUFS.
pub(super) fn handle(
    to: &NetlinkSocket,
    port: u32,
    manner: Manner,
    mut request: &[u8],
    is_dump: fn(&Header) -> bool,
    one: &dyn Fn(&Header, &[u8]) -> Answer,
) -> Result<()> {
    let mut dumped = false;
    while let Some((header, body)) = next(&mut request) {
        let asks = header.flags & REQUEST != 0 && header.kind >= 16;
        let dump = asks && is_dump(&header);
        if dump {
            let outcome = if std::mem::replace(&mut dumped, true) {
                Err(Errno::EBUSY.into())
            } else {
                dump_to(to, &|| one(&header, body))
            };
            if let Err(f) = outcome {
                to.answer(error(&header, port, Some(f), body, manner))?;
            }
            continue;
        }
        // Control messages of the protocol itself are not answered.
        let outcome = if asks {
            one(&header, body)
        } else {
            Ok(Vec::new())
        };
        match outcome {
            Ok(messages) => {
                for m in messages {
                    to.answer(m)?;
                }
                if header.flags & ACK != 0 {
                    to.answer(error(&header, port, None, body, manner))?;
                }
            }
            Err(f) => to.answer(error(&header, port, Some(f), body, manner))?,
        }
    }
    Ok(())
}

/// Makes a dump and queues it.
fn dump_to(to: &NetlinkSocket, make: &dyn Fn() -> Answer) -> std::result::Result<(), Failure> {
    let _room = to.start_dump()?;
    to.answer_dump(batches(make()?))?;
    Ok(())
}

/// Puts messages together into datagrams.
fn batches(messages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for m in messages {
        match out.last_mut() {
            Some(last) if last.len() + m.len() <= MAX_ANSWER => last.extend_from_slice(&m),
            _ => out.push(m),
        }
    }
    out
}

/// NLMSG_ERROR: an error, or an acknowledgement (netlink_ack).
fn error(header: &Header, port: u32, f: Option<Failure>, body: &[u8], manner: Manner) -> Vec<u8> {
    let (code, text) = match &f {
        Some(Failure(e, text)) => (-e.raw(), text.filter(|_| manner.ext_ack)),
        None => (0, None),
    };
    // The whole request comes back with an error, unless it is not wanted.
    let whole = f.is_some() && !manner.cap_ack;
    let flags = if whole { 0 } else { CAPPED } | if text.is_some() { ACK_TLVS } else { 0 };
    let mut b = Builder::new(header, port, ERROR, flags)
        .raw(code.as_bytes())
        .raw(header.as_bytes());
    if whole {
        b = b.raw(body).pad();
    }
    if let Some(t) = text {
        b = b.attr(ATTR_MSG, &c_string(t));
    }
    b.finish()
}

/// `opener`: whether who made the socket may change things.
pub(super) fn one(
    cx: &dyn Caller,
    opener: bool,
    ns: &Arc<NetNamespace>,
    port: u32,
    header: &Header,
    body: &[u8],
) -> Answer {
    // Message types come in fours: new, delete, get, set.
    let get = header.kind & 3 == 2;
    // The socket may have come from, or been handed to, somebody else: both must have the right (netlink_ns_capable).
    let allowed = opener && ns.allows(cx.credentials(), Caps::NET_ADMIN);
    if !get && !allowed {
        return Err(Errno::EPERM.into());
    }
    let dump = is_dump(header);
    let family = body.first().copied().unwrap_or(0);
    let mut list = match header.kind {
        libc::RTM_GETLINK => links(ns, header, port, body, dump)?,
        libc::RTM_NEWLINK | libc::RTM_SETLINK => return set_link(ns, header, body),
        libc::RTM_DELLINK => return delete_link(ns, body),
        libc::RTM_NEWADDR => return fib::new_address(ns, header, body),
        libc::RTM_DELADDR => return fib::delete_address(ns, body),
        libc::RTM_GETADDR if dump => fib::addresses(ns, header, port, body),
        libc::RTM_NEWROUTE => return fib::new_route(ns, header, body),
        libc::RTM_DELROUTE => return fib::delete_route(ns, body),
        libc::RTM_GETROUTE if dump => fib::dump_routes(ns, header, port, family),
        libc::RTM_GETROUTE => return fib::route_to(ns, header, port, body),
        libc::RTM_GETRULE if dump => fib::rules(header, port, family),
        // No neighbours, queues: the tables are there and empty.
        libc::RTM_GETNEIGH
        | libc::RTM_GETQDISC
        | libc::RTM_GETTCLASS
        | libc::RTM_GETTFILTER
        | libc::RTM_GETNEIGHTBL
        | libc::RTM_GETADDRLABEL
        | libc::RTM_GETMULTICAST
        | libc::RTM_GETANYCAST
        | libc::RTM_GETNETCONF
            if dump =>
        {
            Vec::new()
        }
        libc::RTM_GETNEIGH => return Err(Errno::ENOENT.into()),
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    if dump {
        list.push(done(header, port));
    }
    Ok(list)
}

/// NLMSG_DONE.
pub(super) fn done(header: &Header, port: u32) -> Vec<u8> {
    Builder::new(header, port, DONE, MULTI)
        .raw(0i32.as_bytes())
        .finish()
}

/// Whether all objects are asked for: with other requests the bits mean "replace" and "not if it is there".
pub(super) fn is_dump(header: &Header) -> bool {
    header.kind & 3 == 2 && header.flags & DUMP != 0
}

pub(super) fn flags(header: &Header) -> u16 {
    if is_dump(header) { MULTI } else { 0 }
}

/// A header for messages that nobody asked for.
pub(super) const NEWS: Header = Header {
    len: 0,
    kind: 0,
    flags: 0,
    seq: 0,
    port: 0,
};

pub(super) fn word(body: &[u8], at: usize) -> Result<u32> {
    let bytes = body.get(at..at + 4).and_then(|b| b.try_into().ok());
    bytes.map(u32::from_ne_bytes).ok_or(Errno::EINVAL)
}

/// A 32-bit attribute.
pub(super) fn attr_word(attrs: &[u8], kind: u16) -> Result<Option<u32>> {
    attribute(attrs, kind).map(|a| word(a, 0)).transpose()
}

/// A string attribute, without its NUL.
fn text(attrs: &[u8], kind: u16) -> Result<Option<&str>> {
    let Some(raw) = attribute(attrs, kind) else {
        return Ok(None);
    };
    let end = raw.iter().position(|b| *b == 0).unwrap_or(raw.len());
    let raw = raw.get(..end).unwrap_or(raw);
    std::str::from_utf8(raw)
        .map(Some)
        .map_err(|_| Errno::EINVAL)
}

/// Attributes of a `struct ifinfomsg`, which is 16 bytes.
fn link_attrs(body: &[u8]) -> &[u8] {
    body.get(16..).unwrap_or(&[])
}

/// The interface that a request names by index or name; `None` if it names none.
fn wanted_link(ns: &NetNamespace, body: &[u8]) -> Result<Option<Arc<Interface>>> {
    let index = word(body, 4)?;
    if index != 0 {
        return ns.interfaces.by_index(index).map(Some).ok_or(Errno::ENODEV);
    }
    let attrs = link_attrs(body);
    // IFLA_ALT_IFNAME.
    let name = text(attrs, libc::IFLA_IFNAME)?.or(text(attrs, 53)?);
    match name {
        Some(n) => ns.interfaces.by_name(n).map(Some).ok_or(Errno::ENODEV),
        None => Ok(None),
    }
}

fn links(
    ns: &NetNamespace,
    header: &Header,
    port: u32,
    body: &[u8],
    dump: bool,
) -> Result<Vec<Vec<u8>>> {
    if dump {
        let all = ns.interfaces.all();
        return Ok(all.iter().map(|i| link(i, header, port)).collect());
    }
    let i = wanted_link(ns, body)?.ok_or(Errno::EINVAL)?;
    Ok(vec![link(&i, header, port)])
}

/// RTM_NEWLINK, RTM_SETLINK: makes an interface, or changes one.
fn set_link(ns: &NetNamespace, header: &Header, body: &[u8]) -> Answer {
    let (flags, change) = (word(body, 8)?, word(body, 12)?);
    let attrs = link_attrs(body);
    // To move an interface to another namespace or under a bridge; no master is what each has.
    let moves = [IFLA_NET_NS_PID, IFLA_NET_NS_FD, IFLA_TARGET_NETNSID];
    let master = attr_word(attrs, IFLA_MASTER)?.filter(|m| *m != 0);
    if master.is_some_and(|m| ns.interfaces.by_index(m).is_none()) {
        return Err(Errno::EINVAL.into());
    }
    if master.is_some() || moves.iter().any(|m| attribute(attrs, *m).is_some()) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let found = match wanted_link(ns, body) {
        Err(Errno::ENODEV) if header.flags & CREATE != 0 && word(body, 4)? == 0 => None,
        other => other?,
    };
    let (i, new) = match found {
        Some(_) if header.flags & EXCL != 0 && header.kind == libc::RTM_NEWLINK => {
            return Err(Errno::EEXIST.into());
        }
        Some(i) => (i, false),
        None => {
            if header.flags & CREATE == 0 {
                return Err(Errno::ENODEV.into());
            }
            let info = attribute(attrs, libc::IFLA_LINKINFO).unwrap_or(&[]);
            match text(info, INFO_KIND)? {
                Some("dummy") => {}
                Some(_) => return Err(Failure(Errno::EOPNOTSUPP, Some("Unknown device type"))),
                None => return Err(Errno::EOPNOTSUPP.into()),
            }
            (ns.interfaces.create(text(attrs, libc::IFLA_IFNAME)?)?, true)
        }
    };
    let all = &ns.interfaces;
    let outcome = (|| -> Result<()> {
        if let Some(mac) = attribute(attrs, libc::IFLA_ADDRESS) {
            let mac = mac.get(..6).and_then(|m| m.try_into().ok());
            all.set_mac(&i, mac.ok_or(Errno::EINVAL)?)?;
        }
        if let Some(mtu) = attr_word(attrs, libc::IFLA_MTU)? {
            all.set_mtu(&i, mtu)?;
        }
        if let Some(len) = attr_word(attrs, libc::IFLA_TXQLEN)? {
            all.set_queue_len(&i, len);
        }
        if let (false, Some(name)) = (new, text(attrs, libc::IFLA_IFNAME)?) {
            all.rename(&i, name)?;
        }
        Ok(())
    })();
    if let Err(e) = outcome {
        if new {
            all.remove(&i)?;
        }
        return Err(e.into());
    }
    const UP: u32 = libc::IFF_UP as u32;
    // Without a mask all flags count.
    let mask = if change == 0 { u32::MAX } else { change };
    if change != 0 || flags != 0 {
        all.set_flags(&i, flags, mask);
        if mask & UP != 0 && (flags & UP != 0) != i.is_up() {
            switch(ns, &i, flags & UP != 0);
            return Ok(Vec::new());
        }
    }
    announce_link(ns, &i);
    Ok(Vec::new())
}

/// Switches an interface on or off, and tells of it and of the addresses that came or went.
pub(super) fn switch(ns: &NetNamespace, i: &Interface, up: bool) {
    let before = i.addresses();
    ns.interfaces.set_up(i, up);
    announce_link(ns, i);
    let after = i.addresses();
    let gone = |a: &&InterfaceAddr| !after.iter().any(|b| b.ip == a.ip);
    let new = |a: &&InterfaceAddr| !before.iter().any(|b| b.ip == a.ip);
    for a in before.iter().filter(gone) {
        announce_address(ns, i, a, false);
    }
    for a in after.iter().filter(new) {
        announce_address(ns, i, a, true);
    }
}

/// RTM_DELLINK.
fn delete_link(ns: &NetNamespace, body: &[u8]) -> Answer {
    let i = wanted_link(ns, body)?.ok_or(Errno::EINVAL)?;
    ns.interfaces.remove(&i)?;
    if i.is_up() {
        switch(ns, &i, false);
    }
    for a in i.addresses() {
        announce_address(ns, &i, &a, false);
    }
    let message = link_message(&i, &NEWS, 0, libc::RTM_DELLINK);
    ns.netlink
        .announce(libc::NETLINK_ROUTE, GROUP_LINK, &message);
    Ok(Vec::new())
}

/// Tells who listens that an interface is new or has changed.
pub(super) fn announce_link(ns: &NetNamespace, i: &Interface) {
    ns.netlink
        .announce(libc::NETLINK_ROUTE, GROUP_LINK, &link(i, &NEWS, 0));
}

pub(super) use fib::announce_address;

pub(super) fn c_string(s: &str) -> Vec<u8> {
    let mut v = s.as_bytes().to_vec();
    v.push(0);
    v
}

fn link(i: &Interface, header: &Header, port: u32) -> Vec<u8> {
    link_message(i, header, port, libc::RTM_NEWLINK)
}

fn link_message(i: &Interface, header: &Header, port: u32, kind: u16) -> Vec<u8> {
    let flags_now = i.flags();
    let up = i.is_up();
    // IF_OPER_UNKNOWN, or IF_OPER_DOWN.
    let state = if up { 0 } else { 2 };
    let mut b = Builder::new(header, port, kind, flags(header))
        .raw(&[0, 0])
        .raw(i.hardware_type().as_bytes())
        .raw(i.index().as_bytes())
        .raw(flags_now.as_bytes())
        .raw(0u32.as_bytes())
        .attr(libc::IFLA_IFNAME, &c_string(&i.name()))
        .attr32(libc::IFLA_TXQLEN, i.queue_len())
        .attr(libc::IFLA_OPERSTATE, &[state])
        .attr(libc::IFLA_LINKMODE, &[0])
        .attr32(libc::IFLA_MTU, i.mtu())
        // IFLA_MIN_MTU, IFLA_MAX_MTU.
        .attr32(50, 0)
        .attr32(51, 0)
        .attr32(libc::IFLA_GROUP, 0)
        .attr32(libc::IFLA_PROMISCUITY, u32::from(flags_now & 0x100 != 0))
        .attr32(libc::IFLA_NUM_TX_QUEUES, 1)
        .attr32(libc::IFLA_NUM_RX_QUEUES, 1)
        .attr(
            libc::IFLA_CARRIER,
            &[u8::from(up || i.kind() == Kind::Loopback)],
        )
        .attr(
            libc::IFLA_QDISC,
            if up || i.kind() == Kind::Loopback {
                b"noqueue\0"
            } else {
                b"noop\0"
            },
        )
        .attr(libc::IFLA_ADDRESS, &i.hardware_addr())
        .attr(libc::IFLA_BROADCAST, &i.hardware_broadcast())
        // struct rtnl_link_stats64 and rtnl_link_stats: packets are not counted.
        .attr(libc::IFLA_STATS64, &[0; 200])
        .attr(libc::IFLA_STATS, &[0; 96]);
    if i.kind() == Kind::Dummy {
        let mut info = 10u16.as_bytes().to_vec();
        info.extend_from_slice(INFO_KIND.as_bytes());
        info.extend_from_slice(b"dummy\0\0\0");
        b = b.attr(libc::IFLA_LINKINFO, &info);
    }
    b.finish()
}
