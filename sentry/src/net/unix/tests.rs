use super::*;
use crate::fs::pipe;
use crate::net::socket::{socket_file, socket_of};
use crate::usermem::{KernelSink, KernelSource};
use crate::vfs::{KernelCaller, OpenFlags};

fn cx() -> SockCx<'static> {
    SockCx {
        caller: &KernelCaller,
        fs: None,
    }
}
fn ns() -> Arc<NetNamespace> {
    Arc::default()
}
fn pair(t: SockType) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
    UnixSocket::pair(&cx(), &ns(), t).unwrap()
}
fn send_full(s: &UnixSocket, data: &[u8], to: Option<&[u8]>, control: Vec<Cmsg>) -> Result<usize> {
    s.send(
        &cx(),
        &mut SendMsg {
            src: &mut KernelSource::new(data),
            to,
            control,
            flags: MsgFlags::empty(),
        },
    )
}
fn send(s: &UnixSocket, data: &[u8]) -> Result<usize> {
    send_full(s, data, None, Vec::new())
}
fn recv_full(s: &UnixSocket, n: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received)> {
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
fn recv(s: &UnixSocket, n: usize) -> Result<Vec<u8>> {
    recv_full(s, n, MsgFlags::empty()).map(|r| r.0)
}
fn abstract_addr(name: &[u8]) -> Vec<u8> {
    Name::Abstract(name.to_vec()).encode()
}
fn as_unix(s: &Arc<dyn Socket>) -> &UnixSocket {
    s.as_any().downcast_ref().unwrap()
}

#[test]
fn a_stream_keeps_order_and_has_bounds() {
    let (a, b) = pair(SockType::Stream);
    assert_eq!(recv(&b, 1), Err(Errno::EAGAIN));
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let n = send(&a, &data).unwrap();
    assert_eq!(n, 219_264, "what Linux takes with the default SO_SNDBUF");
    assert_eq!(send(&a, b"x"), Err(Errno::EAGAIN));
    assert!(!a.poll().intersects(Events::OUT));
    let mut got = recv(&b, 1000).unwrap();
    got.extend(recv(&b, 400_000).unwrap());
    assert_eq!(got, &data[..n]);
    assert!(a.poll().contains(Events::WRITABLE));
    for i in 0..1000u32 {
        send(&a, &i.to_ne_bytes()).unwrap();
    }
    assert_eq!(recv(&b, 10_000).unwrap().len(), 4000);
    assert_eq!(a.account.used(), 0);
}

#[test]
fn stream_ends() {
    let (a, b) = pair(SockType::Stream);
    send(&a, b"last").unwrap();
    a.shutdown(Shutdown {
        read: false,
        write: true,
    })
    .unwrap();
    assert_eq!(send(&a, b"x"), Err(Errno::EPIPE));
    assert!(b.poll().contains(Events::IN | Events::RDHUP));
    assert!(!b.poll().contains(Events::HUP));
    assert_eq!(recv(&b, 10).unwrap(), b"last");
    assert_eq!(recv(&b, 10).unwrap(), b"");
    assert_eq!(send(&b, b"still"), Ok(5));
    // Unread data turns the close into a reset.
    a.close();
    assert!(b.poll().contains(Events::HUP));
    assert_eq!(send(&b, b"x"), Err(Errno::EPIPE));

    let (a, b) = pair(SockType::Stream);
    send(&a, b"unread").unwrap();
    b.close();
    assert!(a.poll().contains(Events::ERR | Events::HUP));
    assert_eq!(recv(&a, 1), Err(Errno::ECONNRESET));
    assert_eq!(recv(&a, 1).unwrap(), b"");
    assert_eq!(send(&a, b"x"), Err(Errno::EPIPE));
}

#[test]
fn connecting_by_abstract_name() {
    let ns = ns();
    let new = |t| UnixSocket::new(&ns, t).unwrap();
    let addr = abstract_addr(b"server");
    let server = new(SockType::Stream);
    assert_eq!(server.listen(&cx(), 1), Err(Errno::EINVAL), "not bound");
    server.bind(&cx(), &addr).unwrap();
    assert_eq!(
        new(SockType::Stream).bind(&cx(), &addr),
        Err(Errno::EADDRINUSE)
    );
    let client = new(SockType::Stream);
    assert!(client.poll().contains(Events::OUT | Events::HUP));
    assert_eq!(client.connect(&cx(), &addr), Err(Errno::ECONNREFUSED));
    server.listen(&cx(), 0).unwrap();
    assert!(server.accept().is_err());
    assert_eq!(
        new(SockType::SeqPacket).connect(&cx(), &addr),
        Err(Errno::EPROTOTYPE)
    );
    client.connect(&cx(), &addr).unwrap();
    assert_eq!(client.connect(&cx(), &addr), Err(Errno::EISCONN));
    send(&client, b"early").unwrap();
    assert!(server.poll().contains(Events::IN));
    // The backlog of 0 lets one wait.
    let second = new(SockType::Stream);
    assert_eq!(second.connect(&cx(), &addr), Err(Errno::EAGAIN));
    let end = server.accept().unwrap();
    second.connect(&cx(), &addr).unwrap();
    assert_eq!(recv(as_unix(&end), 10).unwrap(), b"early");
    assert_eq!(end.local_name(), Ok(addr.clone()));
    assert_eq!(client.peer_name(), Ok(addr.clone()));
    assert_eq!(end.peer_name(), Ok(b"\x01\x00".to_vec()));
    // Connections that nobody accepted are reset.
    server.close();
    assert_eq!(recv(&second, 1), Err(Errno::ECONNRESET));
    assert_eq!(
        new(SockType::Stream).connect(&cx(), &addr),
        Err(Errno::ECONNREFUSED)
    );
}

#[test]
fn datagrams_keep_their_bounds_and_sources() {
    let ns = ns();
    let (a, b) = (
        UnixSocket::new(&ns, SockType::Dgram).unwrap(),
        UnixSocket::new(&ns, SockType::Dgram).unwrap(),
    );
    b.bind(&cx(), &abstract_addr(b"b")).unwrap();
    assert_eq!(send(&a, b"x"), Err(Errno::ENOTCONN));
    let to = abstract_addr(b"b");
    send_full(&a, b"hello", Some(&to), Vec::new()).unwrap();
    send_full(&a, b"", Some(&to), Vec::new()).unwrap();
    a.bind(&cx(), b"\x01\x00").unwrap();
    let (data, r) = recv_full(&b, 3, MsgFlags::PEEK | MsgFlags::TRUNC).unwrap();
    assert_eq!(
        (data.as_slice(), r.len, r.flags),
        (&b"hel"[..], 5, MsgFlags::TRUNC)
    );
    let (data, r) = recv_full(&b, 3, MsgFlags::empty()).unwrap();
    assert_eq!((data.as_slice(), r.len), (&b"hel"[..], 3));
    assert_eq!(r.from, Some(a.local_name().unwrap()));
    assert_eq!(recv(&b, 3).unwrap(), b"");
    assert_eq!(recv(&b, 3), Err(Errno::EAGAIN));
    assert_eq!(
        send_full(&a, &vec![0; 300_000], Some(&to), Vec::new()),
        Err(Errno::EMSGSIZE)
    );
    // The receiver's queue is short; the sender learns when there is room.
    a.connect(&cx(), &to).unwrap();
    let mut n = 0;
    while send(&a, b"x").is_ok() {
        n += 1;
    }
    assert_eq!(n, MAX_DGRAM_QLEN + 1);
    assert!(!a.poll().intersects(Events::OUT));
    recv(&b, 1).unwrap();
    assert!(a.poll().contains(Events::OUT));
    b.close();
    drop(b);
    assert_eq!(send(&a, b"x"), Err(Errno::ECONNREFUSED));
    assert_eq!(send(&a, b"x"), Err(Errno::ENOTCONN));
}

#[test]
fn seqpackets() {
    let (a, b) = pair(SockType::SeqPacket);
    send(&a, b"one").unwrap();
    send(&a, b"two").unwrap();
    assert_eq!(recv(&b, 100).unwrap(), b"one");
    assert_eq!(recv(&b, 2).unwrap(), b"tw");
    a.close();
    assert_eq!(recv(&b, 2).unwrap(), b"");
    assert_eq!(send(&b, b"x"), Err(Errno::EPIPE));
}

#[test]
fn files_and_credentials_travel_with_data() {
    let (a, b) = pair(SockType::Stream);
    let (r, w) = pipe::create(&KernelCaller, OpenFlags::empty()).unwrap();
    send(&a, b"before").unwrap();
    send_full(&a, b"with", None, vec![Cmsg::Rights(vec![r])]).unwrap();
    send(&a, b"after").unwrap();
    assert!(w.poll() == Events::WRITABLE, "the file in flight is open");
    let (data, got) = recv_full(&b, 100, MsgFlags::empty()).unwrap();
    assert_eq!(data, b"beforewith", "the read stops after the files");
    assert!(matches!(got.control.as_slice(), [Cmsg::Rights(f)] if f.len() == 1));
    drop(got);
    assert!(
        w.poll().contains(Events::ERR),
        "and closed with the message"
    );
    assert_eq!(recv(&b, 100).unwrap(), b"after");

    b.common.options.with(|v| v.passcred = true);
    send(&a, b"c").unwrap();
    let (_, got) = recv_full(&b, 100, MsgFlags::empty()).unwrap();
    let own = crate::net::Ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    assert!(matches!(got.control.as_slice(), [Cmsg::Credentials(s)] if s.cred == own));
}

#[test]
fn sockets_sent_over_themselves_are_collected() {
    let file = |s: Arc<UnixSocket>| socket_file(&KernelCaller, s, OpenFlags::empty());
    let (alive_a, alive_b) = pair(SockType::Stream);
    let (kept, _other) = pair(SockType::Stream);
    let kept = file(kept);
    send_full(&alive_a, b"k", None, vec![Cmsg::Rights(vec![kept])]).unwrap();
    let mut watch = Vec::new();
    for _ in 0..10 {
        let (a, b) = pair(SockType::Stream);
        watch.push((Arc::downgrade(&a), Arc::downgrade(&b)));
        let (fa, fb) = (file(a), file(b));
        let sock = |f: &Arc<File>| socket_of(f).unwrap().clone();
        let (sa, sb) = (sock(&fa), sock(&fb));
        send_full(as_unix(&sa), b"x", None, vec![Cmsg::Rights(vec![fa])]).unwrap();
        send_full(as_unix(&sb), b"x", None, vec![Cmsg::Rights(vec![fb])]).unwrap();
    }
    assert!(
        watch
            .iter()
            .all(|(a, b)| a.strong_count() + b.strong_count() == 2)
    );
    garbage::collect();
    assert!(
        watch
            .iter()
            .all(|(a, b)| a.strong_count() + b.strong_count() == 0)
    );
    let (_, got) = recv_full(&alive_b, 1, MsgFlags::empty()).unwrap();
    assert!(
        matches!(got.control.as_slice(), [Cmsg::Rights(_)]),
        "what can be received stays"
    );
}

#[test]
fn a_long_chain_of_sockets_in_sockets_is_freed_without_recursion() {
    let file = |s: Arc<UnixSocket>| socket_file(&KernelCaller, s, OpenFlags::empty());
    let (mut last, other) = pair(SockType::Stream);
    drop(other);
    for _ in 0..3000 {
        let (a, b) = pair(SockType::Stream);
        let fl = file(last);
        send_full(&a, b"x", None, vec![Cmsg::Rights(vec![fl])]).unwrap();
        last = b;
    }
    drop(file(last));
}
