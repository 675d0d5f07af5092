//! IP packets as bytes (RFC 791, 768, 792, 8200, 4443): for sockets that look at packets, and for packets that programs make.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// Bytes of an IPv4 header without options, an IPv6 header, a UDP header.
pub(super) const V4: usize = 20;
pub(super) const V6: usize = 40;
pub(super) const UDP: usize = 8;

// Message types of ICMP and ICMPv6.
pub(super) const ECHO_REPLY: u8 = 0;
pub(super) const UNREACHABLE: u8 = 3;
pub(super) const ECHO: u8 = 8;
pub(super) const UNREACHABLE6: u8 = 1;
pub(super) const ECHO6: u8 = 128;
pub(super) const ECHO_REPLY6: u8 = 129;

/// What an IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: u8,
    pub hops: u8,
    pub class: u8,
    /// Where the payload begins and the packet ends.
    pub start: usize,
    pub end: usize,
}

fn byte(b: &[u8], at: usize) -> Option<u8> {
    b.get(at).copied()
}

/// A big-endian 16-bit field.
pub(super) fn field16(b: &[u8], at: usize) -> Option<u16> {
    let raw = b.get(at..at.checked_add(2)?)?;
    raw.try_into().ok().map(u16::from_be_bytes)
}

/// Sets one; nothing happens if it is not there.
pub(super) fn set16(b: &mut [u8], at: usize, value: u16) {
    if let Some(f) = b.get_mut(at..at + 2) {
        f.copy_from_slice(&value.to_be_bytes());
    }
}

fn array<const N: usize>(b: &[u8], at: usize) -> Option<[u8; N]> {
    b.get(at..at + N)?.try_into().ok()
}

/// Decodes a packet's header; `None` for what a host drops: damaged, truncated, a false checksum.
pub(super) fn parse(b: &[u8]) -> Option<Header> {
    let first = byte(b, 0)?;
    match first >> 4 {
        4 => {
            let start = usize::from(first & 0xf) * 4;
            let end = usize::from(field16(b, 2)?);
            if start < V4 || end < start || end > b.len() || sum(b.get(..start)?, 0) != 0xffff {
                return None;
            }
            Some(Header {
                from: Ipv4Addr::from(array::<4>(b, 12)?).into(),
                to: Ipv4Addr::from(array::<4>(b, 16)?).into(),
                protocol: byte(b, 9)?,
                hops: byte(b, 8)?,
                class: byte(b, 1)?,
                start,
                end,
            })
        }
        6 => {
            let end = V6 + usize::from(field16(b, 4)?);
            if end > b.len() {
                return None;
            }
            Some(Header {
                from: Ipv6Addr::from(array::<16>(b, 8)?).into(),
                to: Ipv6Addr::from(array::<16>(b, 24)?).into(),
                protocol: byte(b, 6)?,
                hops: byte(b, 7)?,
                class: (field16(b, 0)? >> 4 & 0xff) as u8,
                start: V6,
                end,
            })
        }
        _ => None,
    }
}

/// The ones' complement sum of bytes and what was summed before.
fn sum(bytes: &[u8], before: u32) -> u16 {
    let mut s = u64::from(before);
    for pair in bytes.chunks(2) {
        let hi = u64::from(pair.first().copied().unwrap_or(0));
        let lo = u64::from(pair.get(1).copied().unwrap_or(0));
        s += hi << 8 | lo;
    }
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    (s & 0xffff) as u16
}

/// The sum of the pseudo header that transport checksums cover.
fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, len: usize) -> u32 {
    let mut b = Vec::with_capacity(40);
    for ip in [from, to] {
        match ip {
            IpAddr::V4(a) => b.extend_from_slice(&a.octets()),
            IpAddr::V6(a) => b.extend_from_slice(&a.octets()),
        }
    }
    b.extend_from_slice(&(u32::try_from(len).unwrap_or(0)).to_be_bytes());
    b.extend_from_slice(&[0, 0, 0, protocol]);
    u32::from(sum(&b, 0))
}

/// The Internet checksum of a message whose checksum field is 0 (RFC 1071).
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes, 0)
}

/// The checksum of a transport message with its pseudo header.
pub(super) fn transport_checksum(from: IpAddr, to: IpAddr, protocol: u8, body: &[u8]) -> u16 {
    !sum(body, pseudo(from, to, protocol, body.len()))
}

/// Fills what the kernel fills in an IPv4 header: length, checksum, and source and identification if they are 0.
pub(super) fn complete_v4(packet: &mut [u8], source: Ipv4Addr) {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let len = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    set16(packet, 2, len);
    if field16(packet, 4) == Some(0) {
        set16(packet, 4, NEXT.fetch_add(1, Ordering::Relaxed));
    }
    if array::<4>(packet, 12) == Some([0; 4])
        && let Some(f) = packet.get_mut(12..16)
    {
        f.copy_from_slice(&source.octets());
    }
    set16(packet, 10, 0);
    let header = usize::from(byte(packet, 0).unwrap_or(0) & 0xf) * 4;
    let check = checksum(packet.get(..header).unwrap_or(&[]));
    set16(packet, 10, check);
}

/// A packet around a transport message.
pub(super) fn packet(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    hops: u8,
    class: u8,
    body: &[u8],
) -> Vec<u8> {
    let mut out;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out = Vec::with_capacity(V4 + body.len());
            // Don't fragment, as path MTU discovery does.
            out.extend_from_slice(&[0x45, class, 0, 0, 0, 0, 0x40, 0, hops, protocol, 0, 0]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
            out.extend_from_slice(body);
            complete_v4(&mut out, from);
        }
        _ => {
            let v6 = |ip| match ip {
                IpAddr::V4(a) => a.to_ipv6_mapped(),
                IpAddr::V6(a) => a,
            };
            out = Vec::with_capacity(V6 + body.len());
            out.extend_from_slice(&[0x60 | class >> 4, class << 4, 0, 0]);
            out.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(&[protocol, hops]);
            out.extend_from_slice(&v6(from).octets());
            out.extend_from_slice(&v6(to).octets());
            out.extend_from_slice(body);
        }
    }
    out
}

/// A UDP message.
pub(super) fn udp(from: SocketAddr, to: SocketAddr, protocol: u8, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(UDP + data.len());
    out.extend_from_slice(&from.port().to_be_bytes());
    out.extend_from_slice(&to.port().to_be_bytes());
    let len = u16::try_from(UDP + data.len()).unwrap_or(0);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(data);
    let check = match transport_checksum(from.ip(), to.ip(), protocol, &out) {
        0 => 0xffff,
        c => c,
    };
    set16(&mut out, 6, check);
    out
}

/// "Destination unreachable" about a packet: an ICMP message for whoever sent it.
pub(super) fn unreachable(about: &[u8], h: &Header, code: u8) -> Vec<u8> {
    // RFC 1812: as much of the packet as fits 576 bytes; RFC 4443: 1280.
    let (kind, room) = match h.from {
        IpAddr::V4(_) => (UNREACHABLE, 576 - V4 - 8),
        IpAddr::V6(_) => (UNREACHABLE6, 1280 - V6 - 8),
    };
    let mut out = vec![kind, code, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(about.get(..h.end.min(room)).unwrap_or(about));
    seal_icmp(&mut out, h.to, h.from);
    out
}

/// Sets an ICMP or ICMPv6 message's checksum.
pub(super) fn seal_icmp(message: &mut [u8], from: IpAddr, to: IpAddr) {
    set16(message, 2, 0);
    let check = if to.is_ipv4() {
        checksum(message)
    } else {
        transport_checksum(from, to, 58, message)
    };
    set16(message, 2, check);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_what_they_say() {
        let (a, b) = (
            "127.0.0.1:1".parse::<SocketAddr>().unwrap(),
            "127.0.0.2:2".parse::<SocketAddr>().unwrap(),
        );
        let body = udp(a, b, 17, b"hello");
        assert_eq!(transport_checksum(a.ip(), b.ip(), 17, &body), 0);
        let p = packet(a.ip(), b.ip(), 17, 64, 0x10, &body);
        let h = parse(&p).unwrap();
        assert_eq!((h.from, h.to), (a.ip(), b.ip()));
        assert_eq!((h.protocol, h.hops, h.class), (17, 64, 0x10));
        assert_eq!(&p[h.start..h.end], body.as_slice());
        let mut damaged = p.clone();
        damaged[8] = 1;
        assert_eq!(parse(&damaged), None);
        let six = packet(
            Ipv6Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
            58,
            1,
            0xab,
            b"x",
        );
        let h = parse(&six).unwrap();
        assert_eq!((h.start, h.end, h.class), (40, 41, 0xab));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_not(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            if let Some(h) = parse(&raw) {
                assert!(h.start <= h.end && h.end <= raw.len());
                let _ = unreachable(&raw, &h, 3);
            }
        }
    }
}
