use super::message::{ACK, DONE, DUMP, ERROR, Header, REQUEST, attribute, next};
use super::*;
use crate::usermem::{KernelSink, KernelSource};
use crate::vfs::KernelCaller;

fn cx() -> SockCx<'static> {
    SockCx {
        caller: &KernelCaller,
        fs: None,
    }
}

/// Sends one request and returns the answers: type and body.
fn ask(kind: u16, flags: u16, body: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let s = NetlinkSocket::new(
        KernelCaller.credentials(),
        &Arc::default(),
        SockType::Raw,
        libc::NETLINK_ROUTE,
    )
    .unwrap();
    let header = Header {
        len: u32::try_from(16 + body.len()).unwrap(),
        kind,
        flags: flags | REQUEST,
        seq: 7,
        port: 0,
    };
    let mut raw = header.as_bytes().to_vec();
    raw.extend_from_slice(body);
    s.send(
        &cx(),
        &mut SendMsg {
            src: &mut KernelSource::new(&raw),
            to: None,
            control: Vec::new(),
            flags: MsgFlags::empty(),
        },
    )
    .unwrap();
    let mut out = Vec::new();
    loop {
        let mut dst = KernelSink::new(32768);
        let mut msg = RecvMsg {
            dst: &mut dst,
            flags: MsgFlags::empty(),
            control: false,
        };
        if s.recv(&cx(), &mut msg).is_err() {
            return out;
        }
        let mut rest = dst.data.as_slice();
        while let Some((h, b)) = next(&mut rest) {
            assert_eq!(h.seq, 7);
            assert_ne!(h.port, 0);
            out.push((h.kind, b.to_vec()));
        }
    }
}

#[test]
fn links_addresses_and_routes_of_loopback() {
    let links = ask(libc::RTM_GETLINK, DUMP, &[0; 16]);
    assert_eq!(links.len(), 2);
    assert_eq!(links[0].0, libc::RTM_NEWLINK);
    assert_eq!(
        attribute(&links[0].1[16..], libc::IFLA_IFNAME),
        Some(&b"lo\0"[..])
    );
    assert_eq!(links[1].0, DONE);

    let all = ask(libc::RTM_GETADDR, DUMP, &[0; 8]);
    assert_eq!(all.len(), 3);
    assert_eq!(
        attribute(&all[0].1[8..], libc::IFA_LOCAL),
        Some(&[127, 0, 0, 1][..])
    );
    let v6 = ask(libc::RTM_GETADDR, DUMP, &[10, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(v6.len(), 2);

    let routes = ask(libc::RTM_GETROUTE, DUMP, &[2; 12]);
    assert_eq!(
        routes.len(),
        4,
        "what an interface-less Linux has, and the end"
    );
}

#[test]
fn errors_and_acknowledgements() {
    let err = |answers: Vec<(u16, Vec<u8>)>| match answers.as_slice() {
        [(ERROR, body)] => i32::from_ne_bytes(body[..4].try_into().unwrap()),
        other => panic!("{other:?}"),
    };
    // Without NLM_F_CREATE it must be there.
    assert_eq!(err(ask(libc::RTM_NEWLINK, ACK, &[0; 16])), -libc::ENODEV);
    assert_eq!(
        err(ask(libc::RTM_NEWRULE, ACK, &[0; 16])),
        -libc::EOPNOTSUPP
    );
    let mut absent = [0; 16];
    absent[4] = 9;
    assert_eq!(err(ask(libc::RTM_GETLINK, 0, &absent)), -libc::ENODEV);
    let mut lo = [0; 16];
    lo[4] = 1;
    let answers = ask(libc::RTM_GETLINK, ACK, &lo);
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].0, libc::RTM_NEWLINK);
    assert_eq!(err(answers[1..].to_vec()), 0);
    // A request without its family header asks for all.
    assert!(ask(libc::RTM_GETADDR, DUMP, &[]).len() == 3);
}

#[test]
fn ports_are_the_process_id_or_something_else() {
    let ns = Arc::default();
    let new = || {
        NetlinkSocket::new(
            KernelCaller.credentials(),
            &ns,
            SockType::Raw,
            libc::NETLINK_ROUTE,
        )
        .unwrap()
    };
    let (a, b) = (new(), new());
    a.bind(&cx(), &encode(42, 1)).unwrap();
    assert_eq!(b.bind(&cx(), &encode(42, 0)), Err(Errno::EADDRINUSE));
    b.bind(&cx(), &encode(0, 0)).unwrap();
    assert_ne!(parse(&b.local_name().unwrap()).unwrap().0, 0);
    a.close();
    new().bind(&cx(), &encode(42, 0)).unwrap();
    assert_eq!(
        NetlinkSocket::new(
            KernelCaller.credentials(),
            &ns,
            SockType::Raw,
            libc::NETLINK_GENERIC
        )
        .err(),
        Some(Errno::EPROTONOSUPPORT)
    );
}

/// Sends requests as one datagram.
fn send(s: &NetlinkSocket, requests: &[(u16, u16, &[u8])]) {
    let mut raw = Vec::new();
    for (kind, flags, body) in requests {
        let header = Header {
            len: u32::try_from(16 + body.len()).unwrap(),
            kind: *kind,
            flags: flags | REQUEST,
            seq: 7,
            port: 0,
        };
        raw.extend_from_slice(header.as_bytes());
        raw.extend_from_slice(body);
    }
    let mut msg = SendMsg {
        src: &mut KernelSource::new(&raw),
        to: None,
        control: Vec::new(),
        flags: MsgFlags::empty(),
    };
    s.send(&cx(), &mut msg).unwrap();
}

/// Messages of one datagram: type, and error of an NLMSG_ERROR.
fn receive(s: &NetlinkSocket) -> Result<Vec<(u16, i32)>> {
    let mut dst = KernelSink::new(32768);
    let mut msg = RecvMsg {
        dst: &mut dst,
        flags: MsgFlags::empty(),
        control: false,
    };
    s.recv(&cx(), &mut msg)?;
    let mut out = Vec::new();
    let mut rest = dst.data.as_slice();
    while let Some((h, b)) = next(&mut rest) {
        let code = b
            .get(..4)
            .map_or(0, |c| i32::from_ne_bytes(c.try_into().unwrap()));
        out.push((h.kind, if h.kind == ERROR { code } else { 0 }));
    }
    Ok(out)
}

#[test]
fn one_dump_at_a_time_and_whole() {
    let ns: Arc<NetNamespace> = Arc::default();
    for _ in 0..40 {
        ns.interfaces.create(None).unwrap();
    }
    let s = NetlinkSocket::new(
        KernelCaller.credentials(),
        &ns,
        SockType::Raw,
        libc::NETLINK_ROUTE,
    )
    .unwrap();
    // Less than the dump, which is more than one datagram.
    s.common.options.with(|v| v.rcvbuf = 8192);
    let dump = (libc::RTM_GETLINK, DUMP, &[0u8; 16][..]);
    send(&s, &[dump]);
    assert!(s.listed().queued > 16384);
    send(&s, &[dump]);
    let mut kinds = Vec::new();
    let busy = loop {
        match receive(&s) {
            Ok(part) => kinds.extend(part),
            Err(e) => break e,
        }
    };
    // The second had no room even for its error.
    assert_eq!(busy, Errno::ENOBUFS);
    while let Ok(part) = receive(&s) {
        kinds.extend(part);
    }
    assert_eq!(kinds.len(), 42);
    assert_eq!(kinds.last(), Some(&(DONE, 0)));
    assert_eq!(s.listed().queued, 0);

    s.common.options.with(|v| v.rcvbuf = DEFAULT_BUF);
    send(&s, &[dump; 1000]);
    assert!(s.listed().queued <= DEFAULT_BUF + 20000);
    let mut errors = 0;
    while s.poll().contains(Events::READABLE) {
        let part = receive(&s).unwrap_or_default();
        errors += part.iter().filter(|p| **p == (ERROR, -libc::EBUSY)).count();
    }
    assert!(errors > 0);
}

#[test]
fn who_made_the_socket_needs_the_right_too() {
    let mut weak = Credentials::clone(KernelCaller.credentials());
    weak.effective = Caps::empty();
    let set = (libc::RTM_SETLINK, ACK, &[0u8; 16][..]);
    for (creds, error) in [
        (&weak, libc::EPERM),
        (KernelCaller.credentials(), libc::ENODEV),
    ] {
        let s =
            NetlinkSocket::new(creds, &Arc::default(), SockType::Raw, libc::NETLINK_ROUTE).unwrap();
        send(&s, &[set]);
        let got = receive(&s).unwrap();
        assert_eq!(got, [(ERROR, -error)]);
    }
}

#[test]
fn a_dump_of_sockets_is_not_acknowledged() {
    let s = NetlinkSocket::new(
        KernelCaller.credentials(),
        &Arc::default(),
        SockType::Raw,
        libc::NETLINK_SOCK_DIAG,
    )
    .unwrap();
    let mut body = [0u8; 24];
    body[0] = 1;
    send(&s, &[(20, DUMP | ACK, &body)]);
    assert_eq!(receive(&s), Ok(vec![(DONE, 0)]));
    assert_eq!(receive(&s), Err(Errno::EAGAIN));
}

proptest::proptest! {
    /// Requests of any bytes: lengths that lie, attributes that overlap. There is an answer, or an error, or nothing.
    #[test]
    fn any_request_is_survived(
        kind in 0u16..120,
        flags in proptest::num::u16::ANY,
        lie in proptest::option::of(proptest::num::u32::ANY),
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
    ) {
        let s = NetlinkSocket::new(KernelCaller.credentials(), &Arc::default(), SockType::Raw, libc::NETLINK_ROUTE).unwrap();
        let len = u32::try_from(16 + body.len()).unwrap();
        let header = Header { len: lie.unwrap_or(len), kind, flags, seq: 1, port: 0 };
        let raw = [header.as_bytes(), &body].concat();
        let _ = s.send(&cx(), &mut SendMsg {
            src: &mut KernelSource::new(&raw),
            to: None,
            control: Vec::new(),
            flags: MsgFlags::empty(),
        });
        for _ in 0..20 {
            let mut dst = KernelSink::new(100);
            let mut msg = RecvMsg { dst: &mut dst, flags: MsgFlags::empty(), control: true };
            if s.recv(&cx(), &mut msg).is_err() {
                break;
            }
        }
    }
}
