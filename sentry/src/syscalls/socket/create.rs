//! socket(2), socketpair(2).

use super::{namespace, with_caller};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::Cx;
use crate::net::inet::{RawSocket, TcpSocket, UdpSocket};
use crate::net::netlink::NetlinkSocket;
use crate::net::packet::PacketSocket;
use crate::net::socket::{SockType, Socket, socket_file};
use crate::net::unix::UnixSocket;
use crate::syscalls::{Args, SysResult};
use crate::usermem::UserPtr;
use crate::vfs::{File, OpenFlags};
use std::sync::Arc;

/// The type in the low bits of the argument (SOCK_TYPE_MASK).
const TYPE_MASK: i32 = 0xf;
/// Number of address families (NPROTO).
const FAMILIES: i32 = 46;

/// Splits a type argument into type and O_CLOEXEC, O_NONBLOCK.
pub(super) fn split_flags(arg: i32) -> Result<(i32, OpenFlags)> {
    let flags = OpenFlags::from_bits_retain((arg & !TYPE_MASK).cast_unsigned());
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
        return Err(Errno::EINVAL);
    }
    Ok((arg & TYPE_MASK, flags))
}

/// Checks family and type as every socket call does first.
fn check(domain: i32, raw_type: i32) -> Result<()> {
    if !(0..FAMILIES).contains(&domain) {
        return Err(Errno::EAFNOSUPPORT);
    }
    if raw_type > 10 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn unix_type(raw_type: i32, protocol: i32) -> Result<SockType> {
    if protocol != 0 && protocol != libc::PF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match SockType::from_raw(raw_type)? {
        // "Believe it or not BSD has AF_UNIX, SOCK_RAW though nothing uses it" (af_unix.c).
        SockType::Raw => Ok(SockType::Dgram),
        t => Ok(t),
    }
}

enum InetKind {
    Tcp,
    /// With its protocol.
    Udp(i32),
    Raw(i32),
    Ping(i32),
}

/// inet_create: what type and protocol name.
fn inet_kind(cx: &Cx<'_>, domain: i32, raw_type: i32, protocol: i32) -> Result<InetKind> {
    if !(0..=262).contains(&protocol) {
        return Err(Errno::EINVAL);
    }
    let icmp = if domain == libc::AF_INET {
        libc::IPPROTO_ICMP
    } else {
        libc::IPPROTO_ICMPV6
    };
    match (SockType::from_raw(raw_type)?, protocol) {
        (SockType::Stream, 0 | libc::IPPROTO_TCP) => Ok(InetKind::Tcp),
        (SockType::Dgram, 0 | libc::IPPROTO_UDP) => Ok(InetKind::Udp(libc::IPPROTO_UDP)),
        (SockType::Dgram, p @ libc::IPPROTO_UDPLITE) => Ok(InetKind::Udp(p)),
        (SockType::Dgram, p) if p == icmp => {
            if namespace(cx).inet.ping_groups.allow(cx.creds()) {
                Ok(InetKind::Ping(p))
            } else {
                Err(Errno::EACCES)
            }
        }
        (SockType::Raw, 0) => Err(Errno::EPROTONOSUPPORT),
        (SockType::Raw, _) if !namespace(cx).allows(cx.creds(), Caps::NET_RAW) => Err(Errno::EPERM),
        (SockType::Raw, p) => Ok(InetKind::Raw(p)),
        (SockType::SeqPacket, _) => Err(Errno::ESOCKTNOSUPPORT),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}

pub(super) fn socket(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let domain: i32 = args.get(0);
    let protocol: i32 = args.get(2);
    let (raw_type, flags) = split_flags(args.get(1))?;
    check(domain, raw_type)?;
    let ns = namespace(cx);
    let socket: Arc<dyn Socket> = match domain {
        libc::AF_UNIX => UnixSocket::new(&ns, unix_type(raw_type, protocol)?)?,
        libc::AF_INET | libc::AF_INET6 => match inet_kind(cx, domain, raw_type, protocol)? {
            InetKind::Tcp => TcpSocket::new(&cx.caller(), &ns, domain)?,
            InetKind::Udp(p) => UdpSocket::new(&cx.caller(), &ns, domain, p)?,
            InetKind::Raw(p) => RawSocket::new(&cx.caller(), &ns, domain, p, false)?,
            InetKind::Ping(p) => RawSocket::new(&cx.caller(), &ns, domain, p, true)?,
        },
        libc::AF_NETLINK => {
            NetlinkSocket::new(cx.creds(), &ns, SockType::from_raw(raw_type)?, protocol)?
        }
        libc::AF_PACKET => {
            if !ns.allows(cx.creds(), Caps::NET_RAW) {
                return Err(Errno::EPERM.into());
            }
            PacketSocket::new(&ns, SockType::from_raw(raw_type)?, protocol)?
        }
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    };
    let file = socket_file(&cx.caller(), socket, flags & OpenFlags::NONBLOCK);
    let fd = cx.install_fd(file, flags.contains(OpenFlags::CLOEXEC))?;
    Ok(i64::from(fd))
}

pub(super) fn socketpair(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let domain: i32 = args.get(0);
    let (raw_type, flags) = split_flags(args.get(1))?;
    check(domain, raw_type)?;
    let out: UserPtr<[i32; 2]> = args.get(3);
    let (a, b) = match domain {
        libc::AF_UNIX => {
            let t = unix_type(raw_type, args.get(2))?;
            with_caller(cx, |c| UnixSocket::pair(c, &namespace(cx), t))?
        }
        libc::AF_INET | libc::AF_INET6 => {
            inet_kind(cx, domain, raw_type, args.get(2))?;
            return Err(Errno::EOPNOTSUPP.into());
        }
        libc::AF_NETLINK | libc::AF_PACKET => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    };
    let caller = cx.caller();
    let nonblock = flags & OpenFlags::NONBLOCK;
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    install_pair(
        cx,
        socket_file(&caller, a, nonblock),
        socket_file(&caller, b, nonblock),
        cloexec,
        out,
    )?;
    Ok(0)
}

fn install_pair(
    cx: &Cx<'_>,
    a: Arc<File>,
    b: Arc<File>,
    cloexec: bool,
    out: UserPtr<[i32; 2]>,
) -> Result<()> {
    let first = cx.install_fd(a, cloexec)?;
    let second = match cx.install_fd(b, cloexec) {
        Ok(fd) => fd,
        Err(e) => {
            drop(cx.fds().remove(first));
            return Err(e);
        }
    };
    if let Err(e) = cx.mem().put(out, &[first, second]) {
        drop((cx.fds().remove(first), cx.fds().remove(second)));
        return Err(e);
    }
    Ok(())
}
