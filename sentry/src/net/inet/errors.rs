//! A socket's queue of errors (IP_RECVERR, MSG_ERRQUEUE; ip(7)): ICMP messages about what it sent, and zero-copy notices.

use crate::abi::{Errno, Result};
use crate::net::socket::{Cmsg, Common, MEMORY, MsgFlags, Received, RecvMsg};
use crate::sync::{Charge, Events, Mutex, Rank};
use crate::usermem::put_all;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use zerocopy::IntoBytes;

/// SO_EE_ORIGIN_LOCAL, _ICMP, _ICMP6, _ZEROCOPY.
pub(super) const LOCAL: u8 = 1;
pub(super) const ICMP: u8 = 2;
pub(super) const ICMP6: u8 = 3;
pub(super) const ZEROCOPY: u8 = 5;

/// Most that wait; Linux has SO_RCVBUF for it.
const MAX: usize = 256;
/// What a report costs beyond its bytes.
const OVERHEAD: usize = 512;

/// `struct sock_extended_err`, and what it is about.
pub(super) struct Report {
    pub error: i32,
    pub origin: u8,
    pub kind: u8,
    pub code: u8,
    pub info: u32,
    pub data: u32,
    /// What was sent.
    pub payload: Vec<u8>,
    /// Where it was sent to.
    pub to: Option<SocketAddr>,
    /// Who complains.
    pub offender: Option<IpAddr>,
}

/// The queue.
pub(super) struct Errors(Mutex<VecDeque<(Report, Charge)>>);

impl Default for Errors {
    fn default() -> Errors {
        Errors(Mutex::new(Rank::LEAF, VecDeque::new()))
    }
}

impl Errors {
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
    pub fn clear(&self) {
        let old = std::mem::take(&mut *self.0.lock());
        drop(old);
    }
    /// Queues a report, and wakes who waits. Lost if there is no room.
    pub fn push(&self, common: &Common, report: Report) {
        let Some(charge) = MEMORY.charge(report.payload.len() + OVERHEAD) else {
            return;
        };
        {
            let mut q = self.0.lock();
            // Notices about consecutive calls become one (skb_zerocopy_notify_extend).
            if let Some((last, _)) = q.back_mut()
                && report.origin == ZEROCOPY
                && last.origin == ZEROCOPY
                && last.data.checked_add(1) == Some(report.info)
            {
                last.data = report.data;
                return;
            }
            if q.len() >= MAX {
                return;
            }
            q.push_back((report, charge));
        }
        common.queue.wake(Events::ERR);
    }
    /// MSG_ERRQUEUE (sock_recv_errqueue, ip_recv_error).
    pub fn recv(&self, common: &Common, family: i32, msg: &mut RecvMsg<'_>) -> Result<Received> {
        let (report, next) = {
            let mut q = self.0.lock();
            let (report, _) = q.pop_front().ok_or(Errno::EAGAIN)?;
            (report, q.front().map(|n| (n.0.origin, n.0.error)))
        };
        // The socket's pending error follows the queue (sock_dequeue_err_skb).
        let icmp = |origin| matches!(origin, ICMP | ICMP6);
        match next {
            Some((origin, e)) if icmp(origin) => common.set_error(Errno::from_raw(e)),
            None if icmp(report.origin) => drop(common.take_error()),
            _ => {}
        }
        let room = msg.dst.remaining();
        let part = report.payload.get(..room).unwrap_or(&report.payload);
        let did = put_all(msg.dst, part)?;
        let mut out = Received {
            len: did,
            flags: MsgFlags::ERRQUEUE,
            from: report.to.map(|a| super::addr::encode(a, family)),
            ..Received::default()
        };
        if did < report.payload.len() {
            out.flags |= MsgFlags::TRUNC;
        }
        let mut raw = report.error.as_bytes().to_vec();
        raw.extend_from_slice(&[report.origin, report.kind, report.code, 0]);
        raw.extend_from_slice(report.info.as_bytes());
        raw.extend_from_slice(report.data.as_bytes());
        let none = if family == libc::AF_INET { 16 } else { 28 };
        match report.offender {
            Some(ip) => raw.extend(super::addr::encode(SocketAddr::new(ip, 0), family)),
            None => raw.resize(raw.len() + none, 0),
        }
        let (level, kind) = if family == libc::AF_INET {
            (libc::IPPROTO_IP, libc::IP_RECVERR)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        };
        out.control.push(Cmsg::Other(level, kind, raw));
        Ok(out)
    }
}

/// What an ICMP or ICMPv6 message about a datagram means: errno, and whether it ends a connection (icmp_err_convert,
/// icmpv6_err_convert).
pub(super) fn meaning(v4: bool, kind: u8, code: u8) -> Option<(Errno, bool)> {
    if v4 {
        return Some(match (kind, code) {
            (super::wire::UNREACHABLE, 0 | 6 | 8 | 11) => (Errno::ENETUNREACH, false),
            (super::wire::UNREACHABLE, 2) => (Errno::ENOPROTOOPT, true),
            (super::wire::UNREACHABLE, 3) => (Errno::ECONNREFUSED, true),
            (super::wire::UNREACHABLE, 4) => (Errno::EMSGSIZE, false),
            (super::wire::UNREACHABLE, 5) => (Errno::EOPNOTSUPP, false),
            (super::wire::UNREACHABLE, 9 | 10 | 13 | 14 | 15) => (Errno::EHOSTUNREACH, true),
            (super::wire::UNREACHABLE, _) => (Errno::EHOSTUNREACH, false),
            // Time exceeded; a bad parameter.
            (11, _) => (Errno::EHOSTUNREACH, false),
            (12, _) => (Errno::EPROTO, true),
            _ => return None,
        });
    }
    Some(match (kind, code) {
        (super::wire::UNREACHABLE6, 0) => (Errno::ENETUNREACH, false),
        (super::wire::UNREACHABLE6, 1 | 5 | 6) => (Errno::EACCES, true),
        (super::wire::UNREACHABLE6, 4) => (Errno::ECONNREFUSED, true),
        (super::wire::UNREACHABLE6, _) => (Errno::EHOSTUNREACH, false),
        (2, _) => (Errno::EMSGSIZE, false),
        (3, _) => (Errno::EHOSTUNREACH, false),
        (4, _) => (Errno::EPROTO, true),
        _ => return None,
    })
}

/// A report of an ICMP message from `offender` about `payload`, which went to `to`.
pub(super) fn from_icmp(
    e: Errno,
    (kind, code): (u8, u8),
    payload: Vec<u8>,
    to: SocketAddr,
    offender: IpAddr,
) -> Report {
    Report {
        error: e.raw(),
        origin: if offender.is_ipv4() { ICMP } else { ICMP6 },
        kind,
        code,
        info: 0,
        data: 0,
        payload,
        to: Some(to),
        offender: Some(offender),
    }
}

/// A report of an error that this host itself found.
pub(super) fn local(e: Errno, info: u32, payload: Vec<u8>, to: SocketAddr) -> Report {
    Report {
        error: e.raw(),
        origin: LOCAL,
        kind: 0,
        code: 0,
        info,
        data: 0,
        payload,
        to: Some(to),
        offender: None,
    }
}

/// A notice that the data of MSG_ZEROCOPY calls was copied.
pub(super) fn zerocopy(call: u32) -> Report {
    Report {
        error: 0,
        origin: ZEROCOPY,
        kind: 0,
        // SO_EE_CODE_ZEROCOPY_COPIED.
        code: 1,
        info: call,
        data: call,
        payload: Vec::new(),
        to: None,
        offender: Some(Ipv4Addr::UNSPECIFIED.into()),
    }
}
