//! Control messages that choose fields of one datagram (ip(7), ipv6(7), udp(7)).

use crate::abi::{Errno, Result};
use crate::net::options::int;
use crate::net::socket::Cmsg;
use std::net::{IpAddr, Ipv6Addr};

/// What control messages say of one datagram.
#[derive(Default)]
pub(super) struct Wishes {
    pub source: Option<IpAddr>,
    pub hops: Option<i32>,
    pub class: Option<i32>,
    /// UDP_SEGMENT.
    pub segment: Option<u16>,
}

/// Decodes the control messages of a datagram (ip_cmsg_send, ip6_datagram_send_ctl).
///
/// # Errors
/// EINVAL for malformed and unknown messages.
pub(super) fn wishes(control: &[Cmsg]) -> Result<Wishes> {
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
            // UDP_SEGMENT.
            (libc::IPPROTO_UDP, 103) => {
                let raw: [u8; 2] = data.as_slice().try_into().map_err(|_| Errno::EINVAL)?;
                w.segment = Some(u16::from_ne_bytes(raw));
            }
            // Those of SOL_SOCKET are nobody's here: time stamps, marks, transmission times.
            (libc::SOL_SOCKET, libc::SO_MARK | libc::SO_TIMESTAMPING | libc::SCM_TXTIME | 82) => {}
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
