//! Interface ioctls (netdevice(7)).

use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::net::NetNamespace;
use crate::net::interface::{Interface, InterfaceAddr};
use crate::usermem::UserPtr;
use crate::vfs::Caller;
use std::net::{IpAddr, Ipv4Addr};
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
        if cmd != SIOCSIFFLAGS {
            return Err(Errno::EOPNOTSUPP);
        }
        let [low, _, ..] = r.value;
        // IFF_UP.
        named(ns, &r)?.set_up(low & 1 != 0)?;
        return Ok(0);
    }
    match cmd {
        SIOCGIFCONF => list(cx, ns, UserPtr::new(arg)),
        SIOCGIFNAME => {
            let ptr: UserPtr<IfReq> = UserPtr::new(arg);
            let mut r = cx.memory().get(ptr)?;
            let (index, _) = u32::read_from_prefix(&r.value).map_err(|_| Errno::EINVAL)?;
            let i = ns.interfaces.by_index(index).ok_or(Errno::ENODEV)?;
            r.name = name_of(&**i);
            cx.memory().put(ptr, &r)?;
            Ok(0)
        }
        SIOCETHTOOL => Err(Errno::EOPNOTSUPP),
        SIOCGIFFLAGS | SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK
        | SIOCGIFMETRIC | SIOCGIFMTU | SIOCGIFHWADDR | SIOCGIFINDEX | SIOCGIFTXQLEN
        | SIOCGIFMAP => {
            let ptr: UserPtr<IfReq> = UserPtr::new(arg);
            let mut r = cx.memory().get(ptr)?;
            r.value = value(named(ns, &r)?, cmd)?;
            cx.memory().put(ptr, &r)?;
            Ok(0)
        }
        _ => Err(Errno::ENOTTY),
    }
}

/// The interface that a request names.
fn named<'a>(ns: &'a NetNamespace, r: &IfReq) -> Result<&'a dyn Interface> {
    let end = r.name.iter().position(|b| *b == 0).unwrap_or(NAME - 1);
    let name = r.name.get(..end).unwrap_or(&[]);
    // An alias ("lo:1") is its interface.
    let name = name.split(|b| *b == b':').next().unwrap_or(name);
    let mut all = ns.interfaces.all().iter();
    let found = all.find(|i| i.name().as_bytes() == name);
    found.map(|i| &**i).ok_or(Errno::ENODEV)
}

fn name_of(i: &dyn Interface) -> [u8; NAME] {
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

fn ipv4(i: &dyn Interface) -> Option<(Ipv4Addr, InterfaceAddr)> {
    i.addresses().into_iter().find_map(|a| match a.ip {
        IpAddr::V4(ip) => Some((ip, a)),
        IpAddr::V6(_) => None,
    })
}

fn value(i: &dyn Interface, cmd: u32) -> Result<[u8; 24]> {
    let v4 = || ipv4(i).ok_or(Errno::EADDRNOTAVAIL);
    Ok(match cmd {
        SIOCGIFFLAGS => {
            // Only the low 16 bits fit.
            let low = (i.flags() & 0xffff) as u16;
            union(low.as_bytes())
        }
        SIOCGIFADDR | SIOCGIFDSTADDR => sockaddr(v4()?.0),
        SIOCGIFBRDADDR => sockaddr(v4()?.1.broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED)),
        SIOCGIFNETMASK => {
            let host = u32::MAX.checked_shr(u32::from(v4()?.1.prefix)).unwrap_or(0);
            sockaddr(Ipv4Addr::from_bits(!host))
        }
        SIOCGIFMTU => union(i.mtu().as_bytes()),
        SIOCGIFINDEX => union(i.index().as_bytes()),
        SIOCGIFTXQLEN => union(1000u32.as_bytes()),
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
                name: name_of(&**i),
                value: sockaddr(ipv4(&**i)?.0),
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
