//! `struct sockaddr_in` and `struct sockaddr_in6`.
//!
//! Inside, an address is a [`SocketAddr`]; IPv4-mapped IPv6 addresses are IPv4 ones.

use crate::abi::{Errno, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of `struct sockaddr_in`.
const IN_LEN: usize = 16;
/// Least bytes of `struct sockaddr_in6` (SIN6_LEN_RFC2133: without the scope).
const IN6_MIN: usize = 24;

/// The family of a raw address; EINVAL if it is too short to have one.
pub(super) fn family(raw: &[u8]) -> Result<i32> {
    raw.get(..2)
        .and_then(|b| b.try_into().ok())
        .map(|b| i32::from(u16::from_ne_bytes(b)))
        .ok_or(Errno::EINVAL)
}

fn array<const N: usize>(raw: &[u8], at: usize) -> Result<[u8; N]> {
    raw.get(at..at + N)
        .and_then(|b| b.try_into().ok())
        .ok_or(Errno::EINVAL)
}

/// Decodes an address by its own family field.
///
/// # Errors
/// EINVAL if it is too short; EAFNOSUPPORT for other families.
pub(super) fn parse(raw: &[u8]) -> Result<SocketAddr> {
    match family(raw)? {
        libc::AF_INET => parse_v4(raw),
        libc::AF_INET6 => parse_v6(raw),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Decodes the fields of an IPv4 address, whatever its family field says.
pub(super) fn parse_v4(raw: &[u8]) -> Result<SocketAddr> {
    if raw.len() < IN_LEN {
        return Err(Errno::EINVAL);
    }
    let port = u16::from_be_bytes(array(raw, 2)?);
    let ip = Ipv4Addr::from(array::<4>(raw, 4)?);
    Ok(SocketAddr::new(ip.into(), port))
}

fn parse_v6(raw: &[u8]) -> Result<SocketAddr> {
    if raw.len() < IN6_MIN {
        return Err(Errno::EINVAL);
    }
    let port = u16::from_be_bytes(array(raw, 2)?);
    let flow = u32::from_be_bytes(array(raw, 4)?);
    let ip = Ipv6Addr::from(array::<16>(raw, 8)?);
    let scope = array(raw, 24).map_or(0, u32::from_ne_bytes);
    Ok(match ip.to_ipv4_mapped() {
        Some(v4) => SocketAddr::new(v4.into(), port),
        None => SocketAddrV6::new(ip, port, flow, scope).into(),
    })
}

/// The raw address as a socket of `family` shows it.
pub(super) fn encode(addr: SocketAddr, family: i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(28);
    if family == libc::AF_INET {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        out.extend_from_slice(&2u16.to_ne_bytes());
        out.extend_from_slice(&addr.port().to_be_bytes());
        out.extend_from_slice(&ip.octets());
        out.resize(IN_LEN, 0);
        return out;
    }
    let (ip, scope) = match addr {
        SocketAddr::V4(a) => (a.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(a) => (*a.ip(), a.scope_id()),
    };
    out.extend_from_slice(&10u16.to_ne_bytes());
    out.extend_from_slice(&addr.port().to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&ip.octets());
    out.extend_from_slice(&scope.to_ne_bytes());
    out
}

/// The address that a socket of `family` has before it is bound.
pub(super) fn unspecified(family: i32) -> SocketAddr {
    let ip: IpAddr = if family == libc::AF_INET {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    SocketAddr::new(ip, 0)
}

/// What connecting to the unspecified address means: this host.
pub(super) fn or_loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_round_trip() {
        let a: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(parse(&encode(a, libc::AF_INET)), Ok(a));
        assert_eq!(encode(a, libc::AF_INET).len(), 16);
        // Mapped.
        let raw = encode(a, libc::AF_INET6);
        assert_eq!(raw.len(), 28);
        assert_eq!(parse(&raw), Ok(a));
        let b: SocketAddr = "[::1]:8080".parse().unwrap();
        assert_eq!(parse(&encode(b, libc::AF_INET6)), Ok(b));
        assert_eq!(parse(&[2, 0, 0]), Err(Errno::EINVAL));
        assert_eq!(parse(&[1, 0, 0]), Err(Errno::EAFNOSUPPORT));
        assert_eq!(parse(&[1]), Err(Errno::EINVAL));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_address_or_an_error(
            family_ in proptest::prop_oneof![proptest::strategy::Just(2u16), proptest::strategy::Just(10), proptest::num::u16::ANY],
            rest in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
        ) {
            let raw = [&family_.to_ne_bytes(), rest.as_slice()].concat();
            if let Ok(a) = parse(&raw) {
                let again = parse(&encode(a, libc::AF_INET6)).unwrap();
                // Flow labels are not told.
                assert_eq!((again.ip(), again.port()), (a.ip(), a.port()));
            }
            let _ = parse_v4(&raw);
            let _ = family(&raw);
        }
    }
}
