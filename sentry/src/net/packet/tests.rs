use super::*;
use crate::net::socket::MsgFlags;
use crate::usermem::{KernelSink, KernelSource};
use crate::vfs::KernelCaller;

fn cx() -> SockCx<'static> {
    SockCx {
        caller: &KernelCaller,
        fs: None,
    }
}

#[test]
fn a_namespace_has_so_many_at_most() {
    let ns: Arc<NetNamespace> = Arc::default();
    let new = || PacketSocket::new(&ns, SockType::Raw, 0);
    let all: Vec<_> = (0..256).map(|_| new().unwrap()).collect();
    assert_eq!(new().err(), Some(Errno::ENOBUFS));
    assert_eq!(ns.sockets(), 256);
    all[0].close();
    new().unwrap();
    // What was never closed does not count.
    drop(all);
    new().unwrap();
    assert_eq!(ns.sockets(), 0);
}

#[test]
fn frames_go_round() {
    let ns: Arc<NetNamespace> = Arc::default();
    let all = i32::from(3u16.to_be());
    let raw = PacketSocket::new(&ns, SockType::Raw, all).unwrap();
    let cooked = PacketSocket::new(&ns, SockType::Dgram, i32::from(0x1234u16.to_be())).unwrap();
    let deaf = PacketSocket::new(&ns, SockType::Raw, 0).unwrap();
    let to = Address {
        family: 17,
        protocol: 0x1234u16.to_be(),
        index: 1,
        ..Address::default()
    };
    let sent = cooked.send(
        &cx(),
        &mut SendMsg {
            src: &mut KernelSource::new(b"hello"),
            to: Some(to.as_bytes()),
            control: Vec::new(),
            flags: MsgFlags::empty(),
        },
    );
    assert_eq!(sent, Ok(5));
    let recv = |s: &PacketSocket| {
        let mut dst = KernelSink::new(100);
        let r = s.recv(
            &cx(),
            &mut RecvMsg {
                dst: &mut dst,
                flags: MsgFlags::empty(),
                control: true,
            },
        )?;
        let from = Address::read_from_bytes(&r.from.unwrap()).unwrap();
        Ok((dst.data, from.kind))
    };
    let mut frame = vec![0; 12];
    frame.extend_from_slice(&[0x12, 0x34]);
    frame.extend_from_slice(b"hello");
    assert_eq!(recv(&raw), Ok((frame.clone(), 4)));
    assert_eq!(recv(&raw), Ok((frame, 0)));
    assert_eq!(recv(&raw), Err(Errno::EAGAIN));
    assert_eq!(recv(&cooked), Ok((b"hello".to_vec(), 0)));
    assert_eq!(recv(&deaf), Err(Errno::EAGAIN));
    let stats = raw.option(&KernelCaller, SOL_PACKET, STATISTICS).unwrap();
    assert_eq!(stats, [2u32, 0].as_bytes());
    raw.close();
    cooked.close();
    deaf.close();
    assert!(ns.packets.is_empty());
}
