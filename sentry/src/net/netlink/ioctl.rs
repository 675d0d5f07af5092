//! Interface ioctls (netdevice(7)).

use super::route;
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::net::NetNamespace;
use crate::net::interface::{Interface, InterfaceAddr, Kind};
use crate::usermem::UserPtr;
use crate::vfs::Caller;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of an interface name.
const NAME: usize = 16;

/// `struct ifreq`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct IfReq {
    name: [u8; NAME],
    value: [u8; 24],
}

/// `struct ifconf`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct IfConf {
    len: i32,
    _pad: u32,
    list: u64,
}

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCSIFDSTADDR: u32 = 0x8918;
const SIOCSIFBRDADDR: u32 = 0x891a;
const SIOCSIFNETMASK: u32 = 0x891c;
const SIOCSIFMTU: u32 = 0x8922;
const SIOCSIFNAME: u32 = 0x8923;
const SIOCSIFHWADDR: u32 = 0x8924;
const SIOCSIFTXQLEN: u32 = 0x8943;
const SIOCETHTOOL: u32 = 0x8946;
const SIOCGIFMAP: u32 = 0x8970;
/// Those that change something (SIOCSIF*, SIOCADDRT, SIOCDELRT …).
const CHANGES: [u32; 16] = [
    0x890b, 0x890c, 0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8922, 0x8923, 0x8924, 0x8926,
    0x8936, 0x8937, 0x8943, 0x8971,
];

/// An ioctl that every socket knows.
///
/// # Errors
/// ENODEV for an unknown interface; EADDRNOTAVAIL if it has no IPv4 address; EPERM for changes; ENOTTY.
pub fn ioctl(cx: &dyn Caller, ns: &NetNamespace, cmd: u32, arg: u64) -> Result<i64> {
    if CHANGES.contains(&cmd) {
        let r = cx.memory().get(UserPtr::<IfReq>::new(arg))?;
        if !ns.allows(cx.credentials(), Caps::NET_ADMIN) {
            return Err(Errno::EPERM);
        }
        return change(ns, cmd, &r).map(|()| 0);
    }
    match cmd {
        SIOCGIFCONF => list(cx, ns, UserPtr::new(arg)),
        SIOCGIFNAME => {
            let ptr: UserPtr<IfReq> = UserPtr::new(arg);
            let mut r = cx.memory().get(ptr)?;
            let (index, _) = u32::read_from_prefix(&r.value).map_err(|_| Errno::EINVAL)?;
            let i = ns.interfaces.by_index(index).ok_or(Errno::ENODEV)?;
            r.name = name_of(&i);
            cx.memory().put(ptr, &r)?;
            Ok(0)
        }
        SIOCETHTOOL => Err(Errno::EOPNOTSUPP),
        SIOCGIFFLAGS | SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK
        | SIOCGIFMETRIC | SIOCGIFMTU | SIOCGIFHWADDR | SIOCGIFINDEX | SIOCGIFTXQLEN
        | SIOCGIFMAP => {
            let ptr: UserPtr<IfReq> = UserPtr::new(arg);
            let mut r = cx.memory().get(ptr)?;
            r.value = value(&*named(ns, &r)?, cmd)?;
            cx.memory().put(ptr, &r)?;
            Ok(0)
        }
        _ => Err(Errno::ENOTTY),
    }
}

/// Changes an interface (dev_ifsioc, devinet_ioctl), and tells of it.
fn change(ns: &NetNamespace, cmd: u32, r: &IfReq) -> Result<()> {
    let all = &ns.interfaces;
    let [low, high, third, fourth, rest @ ..] = r.value;
    let number = u32::from_ne_bytes([low, high, third, fourth]);
    match cmd {
        SIOCSIFFLAGS => {
            let i = named(ns, r)?;
            let flags = u32::from(u16::from_ne_bytes([low, high]));
            all.set_flags(&i, flags, 0xffff);
            let up = flags & 1 != 0;
            if up != i.is_up() {
                route::switch(ns, &i, up);
            } else {
                route::announce_link(ns, &i);
            }
        }
        SIOCSIFMTU => {
            let i = named(ns, r)?;
            all.set_mtu(&i, number)?;
            route::announce_link(ns, &i);
        }
        SIOCSIFTXQLEN => all.set_queue_len(&*named(ns, r)?, number),
        SIOCSIFNAME => {
            let i = named(ns, r)?;
            let end = r.value.iter().position(|b| *b == 0).unwrap_or(NAME);
            let name = r.value.get(..end).unwrap_or(&[]);
            let name = std::str::from_utf8(name).map_err(|_| Errno::EINVAL)?;
            all.rename(&i, name)?;
            route::announce_link(ns, &i);
        }
        SIOCSIFHWADDR => {
            let i = named(ns, r)?;
            if u16::from_ne_bytes([low, high]) != i.hardware_type() {
                return Err(Errno::EINVAL);
            }
            let [a, b, c, d, ..] = rest;
            all.set_mac(&i, [third, fourth, a, b, c, d])?;
        }
        SIOCSIFADDR | SIOCSIFNETMASK | SIOCSIFBRDADDR | SIOCSIFDSTADDR => {
            let i = named(ns, r)?;
            if u16::from_ne_bytes([low, high]) != 2 {
                return Err(Errno::EINVAL);
            }
            let [a, b, c, d, ..] = rest;
            set_ipv4(ns, &i, cmd, Ipv4Addr::new(a, b, c, d))?;
        }
        // SIOCSIFMETRIC: 0 is the only one.
        0x891e if number == 0 => {}
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(())
}

/// The address, mask or broadcast address of an interface.
fn set_ipv4(ns: &NetNamespace, i: &Interface, cmd: u32, ip: Ipv4Addr) -> Result<()> {
    let all = &ns.interfaces;
    let old = ipv4(i);
    let new = match (cmd, old) {
        (SIOCSIFADDR, old) => {
            if ip.is_multicast() || ip.is_broadcast() {
                return Err(Errno::EINVAL);
            }
            if let Some((o, _)) = &old {
                let gone = all.remove_address(i, (*o).into(), None)?;
                route::announce_address(ns, i, &gone, false);
            }
            if ip.is_unspecified() {
                return Ok(());
            }
            // The mask of the address's class.
            let prefix = match ip.octets() {
                [0..=127, ..] => 8,
                [128..=191, ..] => 16,
                _ => 24,
            };
            let mut a = InterfaceAddr::new(ip.into(), prefix, 0);
            if ip.is_loopback() {
                a.scope = 254;
            } else if i.kind() != Kind::Loopback {
                let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                a.broadcast = Some(Ipv4Addr::from_bits(ip.to_bits() | host));
            }
            a
        }
        (_, None) => return Err(Errno::EADDRNOTAVAIL),
        (SIOCSIFNETMASK, Some((o, mut a))) => {
            let bits = ip.to_bits();
            if bits.leading_ones() + bits.trailing_zeros() < 32 {
                return Err(Errno::EINVAL);
            }
            all.remove_address(i, o.into(), None)?;
            a.prefix = bits.leading_ones() as u8;
            a
        }
        (SIOCSIFBRDADDR, Some((o, mut a))) => {
            all.remove_address(i, o.into(), None)?;
            a.broadcast = Some(ip);
            a
        }
        (_, Some((o, mut a))) => {
            all.remove_address(i, o.into(), None)?;
            a.peer = Some(ip.into());
            a
        }
    };
    all.add_address(i, new.clone())?;
    // An address switches its interface on (devinet_ioctl).
    if cmd == SIOCSIFADDR && !i.is_up() {
        route::switch(ns, i, true);
    }
    route::announce_address(ns, i, &new, true);
    Ok(())
}

/// The interface that a request names.
fn named(ns: &NetNamespace, r: &IfReq) -> Result<Arc<Interface>> {
    let end = r.name.iter().position(|b| *b == 0).unwrap_or(NAME - 1);
    let name = r.name.get(..end).unwrap_or(&[]);
    // An alias ("lo:1") is its interface.
    let name = name.split(|b| *b == b':').next().unwrap_or(name);
    let name = std::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
    ns.interfaces.by_name(name).ok_or(Errno::ENODEV)
}

fn name_of(i: &Interface) -> [u8; NAME] {
    let mut out = [0; NAME];
    for (to, from) in out.iter_mut().zip(i.name().bytes().take(NAME - 1)) {
        *to = from;
    }
    out
}

/// Fills the union of `struct ifreq`.
fn union(bytes: &[u8]) -> [u8; 24] {
    let mut out = [0; 24];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

/// A `struct sockaddr_in` without port.
fn sockaddr(ip: Ipv4Addr) -> [u8; 24] {
    let [a, b, c, d] = ip.octets();
    union(&[2, 0, 0, 0, a, b, c, d])
}

fn ipv4(i: &Interface) -> Option<(Ipv4Addr, InterfaceAddr)> {
    i.addresses().into_iter().find_map(|a| match a.ip {
        IpAddr::V4(ip) => Some((ip, a)),
        IpAddr::V6(_) => None,
    })
}

fn value(i: &Interface, cmd: u32) -> Result<[u8; 24]> {
    let v4 = || ipv4(i).ok_or(Errno::EADDRNOTAVAIL);
    Ok(match cmd {
        SIOCGIFFLAGS => {
            // Only the low 16 bits fit.
            let low = (i.flags() & 0xffff) as u16;
            union(low.as_bytes())
        }
        SIOCGIFADDR => sockaddr(v4()?.0),
        SIOCGIFDSTADDR => match v4()? {
            (
                _,
                InterfaceAddr {
                    peer: Some(IpAddr::V4(p)),
                    ..
                },
            ) => sockaddr(p),
            (ip, _) => sockaddr(ip),
        },
        SIOCGIFBRDADDR => sockaddr(v4()?.1.broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED)),
        SIOCGIFNETMASK => {
            let host = u32::MAX.checked_shr(u32::from(v4()?.1.prefix)).unwrap_or(0);
            sockaddr(Ipv4Addr::from_bits(!host))
        }
        SIOCGIFMTU => union(i.mtu().as_bytes()),
        SIOCGIFINDEX => union(i.index().as_bytes()),
        SIOCGIFTXQLEN => union(i.queue_len().as_bytes()),
        SIOCGIFHWADDR => {
            let mut raw = i.hardware_type().as_bytes().to_vec();
            raw.extend_from_slice(&i.hardware_addr());
            union(&raw)
        }
        // SIOCGIFMETRIC, SIOCGIFMAP.
        _ => [0; 24],
    })
}

/// SIOCGIFCONF: interfaces with IPv4 addresses.
fn list(cx: &dyn Caller, ns: &NetNamespace, ptr: UserPtr<IfConf>) -> Result<i64> {
    let mut conf = cx.memory().get(ptr)?;
    let all: Vec<IfReq> = ns
        .interfaces
        .all()
        .iter()
        .filter_map(|i| {
            Some(IfReq {
                name: name_of(i),
                value: sockaddr(ipv4(i)?.0),
            })
        })
        .collect();
    let n = if conf.list == 0 {
        all.len()
    } else {
        let room = usize::try_from(conf.len).unwrap_or(0) / size_of::<IfReq>();
        let n = room.min(all.len());
        cx.memory()
            .put_array(UserPtr::new(conf.list), all.get(..n).unwrap_or(&[]))?;
        n
    };
    conf.len = i32::try_from(n * size_of::<IfReq>()).unwrap_or(i32::MAX);
    cx.memory().put(ptr, &conf)?;
    Ok(0)
}
