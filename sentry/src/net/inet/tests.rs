use super::*;
use crate::abi::{Errno, Result};
use crate::net::NetNamespace;
use crate::net::options;
use crate::net::socket::{Cmsg, MsgFlags, Received, RecvMsg, SendMsg, Shutdown, SockCx, Socket};
use crate::sync::Events;
use crate::usermem::{KernelSink, KernelSource};
use crate::vfs::KernelCaller;
use std::net::SocketAddr;
use std::sync::Arc;

const V4: i32 = libc::AF_INET;
const V6: i32 = libc::AF_INET6;

fn cx() -> SockCx<'static> {
    SockCx {
        caller: &KernelCaller,
        fs: None,
    }
}
fn ns() -> Arc<NetNamespace> {
    Arc::default()
}
fn raw(a: &str) -> Vec<u8> {
    let a: SocketAddr = a.parse().unwrap();
    addr::encode(a, if a.is_ipv4() { V4 } else { V6 })
}
fn tcp(ns: &Arc<NetNamespace>, family: i32) -> Arc<TcpSocket> {
    TcpSocket::new(&KernelCaller, ns, family).unwrap()
}
fn udp(ns: &Arc<NetNamespace>, family: i32) -> Arc<UdpSocket> {
    UdpSocket::new(&KernelCaller, ns, family, libc::IPPROTO_UDP).unwrap()
}
fn name(s: &dyn Socket) -> SocketAddr {
    addr::parse(&s.local_name().unwrap()).unwrap()
}
fn send_to(s: &dyn Socket, data: &[u8], to: Option<&[u8]>, flags: MsgFlags) -> Result<usize> {
    s.send(
        &cx(),
        &mut SendMsg {
            src: &mut KernelSource::new(data),
            to,
            control: Vec::new(),
            flags,
        },
    )
}
fn send(s: &dyn Socket, data: &[u8]) -> Result<usize> {
    send_to(s, data, None, MsgFlags::empty())
}
fn recv_with(s: &dyn Socket, n: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received)> {
    let mut dst = KernelSink::new(n);
    let r = s.recv(
        &cx(),
        &mut RecvMsg {
            dst: &mut dst,
            flags,
            control: true,
        },
    )?;
    Ok((dst.data, r))
}
fn recv(s: &dyn Socket, n: usize) -> Result<Vec<u8>> {
    recv_with(s, n, MsgFlags::empty()).map(|r| r.0)
}
fn set(s: &dyn Socket, name: i32, value: i32) {
    options::set(s, &KernelCaller, name, &value.to_ne_bytes()).unwrap();
}
fn connect(s: &TcpSocket, to: &[u8]) -> Result<()> {
    match s.connect(&cx(), to) {
        Err(Errno::EINPROGRESS) => s.connected(),
        other => other,
    }
}
fn listener(ns: &Arc<NetNamespace>, at: &str) -> (Arc<TcpSocket>, Vec<u8>) {
    let a: SocketAddr = at.parse().unwrap();
    let l = tcp(ns, if a.is_ipv4() { V4 } else { V6 });
    l.bind(&cx(), &raw(at)).unwrap();
    l.listen(&cx(), 5).unwrap();
    let addr = l.local_name().unwrap();
    (l, addr)
}
fn pair() -> (Arc<TcpSocket>, Arc<dyn Socket>) {
    let (l, to) = listener(&ns(), "127.0.0.1:0");
    let c = tcp(&l.core_namespace(), V4);
    connect(&c, &to).unwrap();
    let s = l.accept().unwrap();
    (c, s)
}

impl TcpSocket {
    fn core_namespace(&self) -> Arc<NetNamespace> {
        self.namespace().clone()
    }
}

#[test]
fn connections_have_names_and_carry_data() {
    let ns = ns();
    let (l, to) = listener(&ns, "127.0.0.1:0");
    let c = tcp(&ns, V4);
    assert_eq!(c.poll(), Events::WRITABLE | Events::HUP);
    assert_eq!(connect(&c, &to), Ok(()));
    assert_eq!(connect(&c, &to), Err(Errno::EISCONN));
    assert_eq!(l.poll(), Events::READABLE);
    let s = l.accept().unwrap();
    assert_eq!(l.accept().err(), Some(Errno::EAGAIN));
    assert_eq!(s.local_name(), c.peer_name());
    assert_eq!(s.peer_name(), c.local_name());
    assert_eq!(name(&*c).ip().to_string(), "127.0.0.1");

    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 241) as u8).collect();
    let n = send(&*c, &data).unwrap();
    assert_eq!(n, (1 << 20) + 131_072);
    assert_eq!(send(&*c, b"x"), Err(Errno::EAGAIN));
    assert!(!c.poll().intersects(Events::OUT));
    let mut got = recv(&*s, 100).unwrap();
    let (peeked, _) = recv_with(&*s, 7, MsgFlags::PEEK).unwrap();
    assert_eq!(peeked, &data[100..107]);
    got.extend(recv(&*s, 2_000_000).unwrap());
    assert_eq!(got, &data[..n]);
    assert!(c.poll().contains(Events::WRITABLE));
    assert_eq!(recv(&*s, 1), Err(Errno::EAGAIN));
}

#[test]
fn a_listener_reads_the_backlog_in_order() {
    let ns = ns();
    let (l, to) = listener(&ns, "[::1]:0");
    l.listen(&cx(), 1).unwrap();
    let clients: Vec<_> = (0..4).map(|_| tcp(&ns, V6)).collect();
    let outcomes: Vec<_> = clients.iter().map(|c| connect(c, &to)).collect();
    assert_eq!(
        outcomes,
        [Ok(()), Ok(()), Err(Errno::EAGAIN), Err(Errno::EAGAIN)]
    );
    assert_eq!(clients[2].connect(&cx(), &to), Err(Errno::EALREADY));
    assert!(!clients[2].poll().intersects(Events::OUT));
    for c in &clients {
        let s = l.accept().unwrap();
        assert_eq!(s.peer_name(), c.local_name());
        assert_eq!(c.connected(), Ok(()));
    }
    // Those that nobody accepted are reset with the listener.
    let c = tcp(&ns, V6);
    connect(&c, &to).unwrap();
    l.close();
    assert_eq!(recv(&*c, 1), Err(Errno::ECONNRESET));
    let c = tcp(&ns, V6);
    assert_eq!(c.connect(&cx(), &to), Err(Errno::EINPROGRESS));
    assert!(c.poll().contains(Events::OUT | Events::ERR | Events::HUP));
    assert_eq!(c.connect(&cx(), &to), Err(Errno::ECONNREFUSED));
    assert_eq!(c.connect(&cx(), &to), Err(Errno::EINPROGRESS));
}

#[test]
fn orderly_ends() {
    let (c, s) = pair();
    send(&*c, b"bye").unwrap();
    let wr = Shutdown {
        read: false,
        write: true,
    };
    c.shutdown(wr).unwrap();
    assert_eq!(send(&*c, b"x"), Err(Errno::EPIPE));
    assert!(s.poll().contains(Events::IN | Events::RDHUP));
    assert_eq!(recv(&*s, 10).unwrap(), b"bye");
    assert_eq!(recv(&*s, 10).unwrap(), b"");
    assert_eq!(send(&*s, b"reply"), Ok(5));
    s.shutdown(wr).unwrap();
    assert_eq!(recv(&*c, 10).unwrap(), b"reply");
    assert_eq!(recv(&*c, 10).unwrap(), b"");
    assert!(c.poll().contains(Events::HUP));

    // Writing to a closed socket: once unheard, then broken.
    let (c, s) = pair();
    s.close();
    assert_eq!(send(&*c, b"x"), Ok(1));
    assert_eq!(recv(&*c, 1).unwrap(), b"");
    assert_eq!(send(&*c, b"x"), Err(Errno::EPIPE));
    assert_eq!(send(&*c, b"x"), Err(Errno::EPIPE));
}

#[test]
fn abrupt_ends() {
    // Unread data.
    let (c, s) = pair();
    send(&*s, b"kept").unwrap();
    send(&*c, b"unread").unwrap();
    s.close();
    assert!(c.poll().contains(Events::ERR | Events::HUP));
    assert_eq!(recv(&*c, 10).unwrap(), b"kept");
    assert_eq!(recv(&*c, 10), Err(Errno::ECONNRESET));
    assert_eq!(recv(&*c, 10).unwrap(), b"");
    assert_eq!(send(&*c, b"x"), Err(Errno::EPIPE));

    // SO_LINGER with no time.
    let (c, s) = pair();
    let mut linger = 1i32.to_ne_bytes().to_vec();
    linger.extend_from_slice(&0i32.to_ne_bytes());
    options::set(&*s, &KernelCaller, libc::SO_LINGER, &linger).unwrap();
    s.close();
    assert_eq!(send(&*c, b"x"), Err(Errno::ECONNRESET));

    let c = tcp(&ns(), V4);
    assert_eq!(send(&*c, b"x"), Err(Errno::EPIPE));
    assert_eq!(recv(&*c, 1), Err(Errno::ENOTCONN));
    assert_eq!(
        c.connect(&cx(), &raw("10.0.0.1:80")),
        Err(Errno::ENETUNREACH)
    );
}

#[test]
fn ports_are_exclusive_unless_reused() {
    let ns = ns();
    let (l, to) = listener(&ns, "127.0.0.1:8080");
    let other = |at: &str, reuse: bool| {
        let s = tcp(&ns, if at.starts_with('[') { V6 } else { V4 });
        if reuse {
            set(&*s, libc::SO_REUSEADDR, 1);
        }
        s.bind(&cx(), &raw(at)).map(|()| s)
    };
    assert_eq!(other("127.0.0.1:8080", true).err(), Some(Errno::EADDRINUSE));
    assert_eq!(other("0.0.0.0:8080", false).err(), Some(Errno::EADDRINUSE));
    assert_eq!(other("[::]:8080", false).err(), Some(Errno::EADDRINUSE));
    assert!(other("127.0.0.2:8080", false).is_ok());
    assert!(other("[::1]:8080", false).is_ok());
    assert_eq!(
        other("10.1.1.1:80", false).err(),
        Some(Errno::EADDRNOTAVAIL)
    );
    // A connection of a closed listener keeps the port, but for SO_REUSEADDR on both.
    set(&*l, libc::SO_REUSEADDR, 1);
    let c = tcp(&ns, V4);
    connect(&c, &to).unwrap();
    let s = l.accept().unwrap();
    l.close();
    assert_eq!(
        other("127.0.0.1:8080", false).err(),
        Some(Errno::EADDRINUSE)
    );
    let again = other("127.0.0.1:8080", true).unwrap();
    again.listen(&cx(), 1).unwrap();
    again.close();
    // Who closes first keeps its address for a while: the client, not this port.
    c.close();
    s.close();
    let last = other("127.0.0.1:8080", false).unwrap();
    last.close();
    assert!(ns.inet.tcp.on_port(8080).is_empty());
}

#[test]
fn reuseport_listeners_share_and_dual_stack_listeners_take_both() {
    let ns = ns();
    let make = || {
        let s = tcp(&ns, V6);
        set(&*s, libc::SO_REUSEPORT, 1);
        s.bind(&cx(), &raw("[::]:9090")).unwrap();
        s.listen(&cx(), 100).unwrap();
        s
    };
    let (a, b) = (make(), make());
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let c = tcp(&ns, V4);
            connect(&c, &raw("127.0.0.1:9090")).unwrap();
            c
        })
        .collect();
    let count = |l: &Arc<TcpSocket>| std::iter::from_fn(|| l.accept().ok()).count();
    let (na, nb) = (count(&a), count(&b));
    assert_eq!(na + nb, clients.len());
    assert!(na > 0 && nb > 0, "{na} and {nb}");
    // An IPv4 peer of an IPv6 socket has a mapped address.
    let c = tcp(&ns, V4);
    connect(&c, &raw("127.0.0.1:9090")).unwrap();
    let s = a.accept().or_else(|_| b.accept()).unwrap();
    let peer = s.peer_name().unwrap();
    assert_eq!(peer.len(), 28);
    assert_eq!(addr::parse(&peer).unwrap(), name(&*c));
}

#[test]
fn urgent_data() {
    let (c, s) = pair();
    send(&*c, b"ab").unwrap();
    send_to(&*c, b"c!", None, MsgFlags::OOB).unwrap();
    send(&*c, b"de").unwrap();
    assert!(s.poll().contains(Events::PRI));
    assert_eq!(recv(&*s, 10).unwrap(), b"abc", "reads stop at the mark");
    let oob = recv_with(&*s, 1, MsgFlags::OOB).unwrap();
    assert_eq!(oob.0, b"!");
    assert_eq!(recv_with(&*s, 1, MsgFlags::OOB).err(), Some(Errno::EINVAL));
    assert_eq!(recv(&*s, 10).unwrap(), b"de");
}

#[test]
fn datagrams() {
    let ns = ns();
    let (a, b) = (udp(&ns, V4), udp(&ns, V4));
    assert_eq!(send(&*a, b"x"), Err(Errno::EDESTADDRREQ));
    b.bind(&cx(), &raw("127.0.0.1:5353")).unwrap();
    let to = raw("127.0.0.1:5353");
    send_to(&*a, b"hello", Some(&to), MsgFlags::empty()).unwrap();
    send_to(&*a, b"", Some(&to), MsgFlags::empty()).unwrap();
    let (data, r) = recv_with(&*b, 2, MsgFlags::TRUNC).unwrap();
    assert_eq!(
        (data.as_slice(), r.len, r.flags),
        (&b"he"[..], 5, MsgFlags::TRUNC)
    );
    let from = addr::parse(&r.from.unwrap()).unwrap();
    assert_eq!(from.port(), name(&*a).port());
    assert_eq!(from.ip().to_string(), "127.0.0.1");
    assert_eq!(recv(&*b, 2).unwrap(), b"");
    assert_eq!(recv(&*b, 2), Err(Errno::EAGAIN));
    // A connected socket hears of nobody there, and takes nothing from others.
    a.connect(&cx(), &to).unwrap();
    b.connect(&cx(), &raw("127.0.0.1:1")).unwrap();
    assert_eq!(send(&*a, b"x"), Ok(1));
    assert!(a.poll().contains(Events::ERR));
    assert_eq!(recv(&*a, 1), Err(Errno::ECONNREFUSED));
    assert_eq!(send(&*b, b"x"), Ok(1));
    assert_eq!(send(&*b, b"x"), Err(Errno::ECONNREFUSED));
    b.connect(&cx(), &[0; 16]).unwrap();
    assert_eq!(b.peer_name(), Err(Errno::ENOTCONN));
    assert_eq!(send(&*a, b"again"), Ok(5));
    assert_eq!(recv(&*b, 10).unwrap(), b"again");
    // SO_RCVBUF bounds what waits.
    for _ in 0..1000 {
        send(&*a, &[0; 1000]).unwrap();
    }
    let waiting = std::iter::from_fn(|| recv(&*b, 1000).ok()).count();
    assert!((100..200).contains(&waiting), "{waiting}");
    assert_eq!(
        send_to(&*a, &[0; 65508], None, MsgFlags::empty()),
        Err(Errno::EMSGSIZE)
    );
    assert_eq!(
        send_to(&*a, b"x", Some(&raw("127.0.0.1:0")), MsgFlags::empty()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        send_to(&*a, b"x", Some(&raw("192.168.1.1:9")), MsgFlags::empty()),
        Err(Errno::ENETUNREACH)
    );
    assert_eq!(
        send_to(
            &*a,
            b"x",
            Some(&raw("127.255.255.255:9")),
            MsgFlags::empty()
        ),
        Err(Errno::EACCES)
    );
}

#[test]
fn packet_information_and_multicast() {
    let ns = ns();
    let (a, b) = (udp(&ns, V4), udp(&ns, V6));
    b.set_option(
        &KernelCaller,
        libc::IPPROTO_IPV6,
        libc::IPV6_RECVPKTINFO,
        &1i32.to_ne_bytes(),
    )
    .unwrap();
    b.bind(&cx(), &raw("[::]:7777")).unwrap();
    send_to(&*a, b"x", Some(&raw("127.0.0.3:7777")), MsgFlags::empty()).unwrap();
    let (_, r) = recv_with(&*b, 1, MsgFlags::empty()).unwrap();
    let info = match r.control.as_slice() {
        [Cmsg::Other(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, raw)] => raw.clone(),
        _ => panic!("no packet information"),
    };
    assert_eq!(&info[10..16], [0xff, 0xff, 127, 0, 0, 3]);

    let member = udp(&ns, V4);
    member.bind(&cx(), &raw("0.0.0.0:6000")).unwrap();
    let group = raw("224.1.1.1:6000");
    assert_eq!(
        send_to(&*a, b"m", Some(&group), MsgFlags::empty()),
        Err(Errno::ENETUNREACH)
    );
    a.set_option(
        &KernelCaller,
        libc::IPPROTO_IP,
        libc::IP_MULTICAST_IF,
        &[127, 0, 0, 1],
    )
    .unwrap();
    send_to(&*a, b"m", Some(&group), MsgFlags::empty()).unwrap();
    assert_eq!(recv(&*member, 1), Err(Errno::EAGAIN));
    member
        .set_option(
            &KernelCaller,
            libc::IPPROTO_IP,
            libc::IP_ADD_MEMBERSHIP,
            &[224, 1, 1, 1, 127, 0, 0, 1],
        )
        .unwrap();
    send_to(&*a, b"m", Some(&group), MsgFlags::empty()).unwrap();
    assert_eq!(recv(&*member, 1).unwrap(), b"m");
}

#[test]
fn raw_and_ping_sockets_have_bounds_of_their_own() {
    let ns: Arc<NetNamespace> = Arc::default();
    let new = |ping| RawSocket::new(&KernelCaller, &ns, libc::AF_INET, libc::IPPROTO_ICMP, ping);
    let raw: Vec<_> = (0..256).map(|_| new(false).unwrap()).collect();
    assert_eq!(new(false).err(), Some(Errno::ENOBUFS));
    let ping: Vec<_> = (0..256).map(|_| new(true).unwrap()).collect();
    assert_eq!(new(true).err(), Some(Errno::ENOBUFS));
    raw[0].close();
    new(false).unwrap();
    assert_eq!(new(true).err(), Some(Errno::ENOBUFS));
    drop(ping);
    new(true).unwrap();
}
