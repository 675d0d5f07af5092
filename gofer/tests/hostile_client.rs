//! A client that does not keep to the protocol. The server must answer or hang up, and stay sound.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use cofferdam_gofer::protocol::{
    Access, HandleId, MAGIC, MAX_MESSAGE, NamesBuf, OpenFlags, Reply, Request, VERSION,
};
use cofferdam_gofer::server::{Export, ExportOptions};
use cofferdam_gofer::transport::{SeqPacket, Transport};
use common::start_raw;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

struct Raw {
    socket: SeqPacket,
    server: Option<JoinHandle<()>>,
    buf: Vec<u8>,
    _temp: tempfile::TempDir,
}

impl Raw {
    fn new(quota: u32) -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "x").unwrap();
        fs::create_dir(temp.path().join("dir")).unwrap();
        let export = Export::open(temp.path(), ExportOptions::read_write()).unwrap();
        let (socket, server) = start_raw(vec![export], quota);
        let socket = SeqPacket::new(socket);
        Self {
            socket,
            server: Some(server),
            buf: vec![0; MAX_MESSAGE],
            _temp: temp,
        }
    }

    fn send(&mut self, message: &[u8]) -> Option<(Reply<'_>, Option<OwnedFd>)> {
        self.socket.send(message, None).ok()?;
        let received = self.socket.recv(&mut self.buf, None).ok()?;
        if received.len == 0 {
            return None;
        }
        let (header, reply) = Reply::decode(&self.buf[..received.len]).expect("a proper reply");
        assert_eq!(usize::from(header.fds), usize::from(received.fd.is_some()));
        Some((reply, received.fd))
    }

    fn ask(&mut self, request: &Request<'_>, closes: &[HandleId]) -> Option<Reply<'_>> {
        let mut message = Vec::new();
        request.encode(1, closes, &mut message).unwrap();
        self.send(&message).map(|(reply, _)| reply)
    }

    fn hello(&mut self) {
        let hello = Request::Hello {
            magic: MAGIC,
            version: VERSION,
        };
        assert!(matches!(self.ask(&hello, &[]), Some(Reply::Hello { .. })));
    }

    fn attach(&mut self) -> HandleId {
        match self.ask(&Request::Attach { export: 0 }, &[]) {
            Some(Reply::Node(node)) => node.handle,
            other => panic!("{other:?}"),
        }
    }

    /// The server has neither panicked nor hung: it ends when the connection does.
    fn finish(mut self) {
        self.socket.shutdown();
        self.server
            .take()
            .unwrap()
            .join()
            .expect("the server must not panic");
    }
}

#[test]
fn nothing_works_before_the_greeting() {
    let mut raw = Raw::new(16);
    let reply = raw.ask(&Request::Attach { export: 0 }, &[]);
    assert_eq!(
        reply,
        Some(Reply::Error {
            errno: libc::EPROTO
        })
    );
    let other = Request::Hello {
        magic: MAGIC,
        version: VERSION + 1,
    };
    assert_eq!(
        raw.ask(&other, &[]),
        Some(Reply::Error {
            errno: libc::EPROTONOSUPPORT
        })
    );
    raw.finish();
}

#[test]
fn made_up_handles_are_refused() {
    let mut raw = Raw::new(16);
    raw.hello();
    let root = raw.attach();
    for bad in [0, 1, u64::MAX, root.0 + 1, root.0 ^ (1 << 40)] {
        let node = HandleId(bad);
        let names = NamesBuf::new([b"file".as_slice()]).unwrap();
        let requests = [
            Request::GetAttr { node },
            Request::Open {
                node,
                access: Access::Read,
                flags: OpenFlags::empty(),
            },
            Request::ReadDir {
                dir: node,
                cursor: 0,
            },
            Request::Walk {
                dir: node,
                names: names.as_names(),
                open: None,
            },
            Request::Fsync {
                node,
                data_only: false,
            },
        ];
        for request in requests {
            let reply = raw.ask(&request, &[node, node]);
            assert_eq!(reply, Some(Reply::Error { errno: libc::EBADF }));
        }
    }
    assert!(matches!(
        raw.ask(&Request::GetAttr { node: root }, &[]),
        Some(Reply::Attr(_))
    ));
    raw.finish();
}

#[test]
fn a_message_that_lies_about_its_length_ends_the_connection() {
    for lie in [0_u32, 1, 15, 17, u32::MAX] {
        let mut raw = Raw::new(16);
        raw.hello();
        let mut message = Vec::new();
        Request::Close.encode(1, &[], &mut message).unwrap();
        message[..4].copy_from_slice(&lie.to_ne_bytes());
        assert!(raw.send(&message).is_none());
        raw.finish();
    }
}

#[test]
fn huge_counts_and_messages_are_refused() {
    let mut raw = Raw::new(16);
    raw.hello();
    let mut message = Vec::new();
    Request::Close.encode(1, &[], &mut message).unwrap();
    message[6..8].copy_from_slice(&u16::MAX.to_ne_bytes());
    let reply = raw.send(&message).map(|(reply, _)| reply);
    assert_eq!(
        reply,
        Some(Reply::Error {
            errno: libc::EPROTO
        })
    );
    // Longer than any message may be: the server hangs up.
    assert!(raw.send(&vec![0xaa; MAX_MESSAGE + 1]).is_none());
    raw.finish();
}

#[test]
fn handles_are_limited() {
    let mut raw = Raw::new(16);
    raw.hello();
    let root = raw.attach();
    let names = NamesBuf::new(std::iter::repeat_n(b"dir".as_slice(), 1)).unwrap();
    let walk = Request::Walk {
        dir: root,
        names: names.as_names(),
        open: None,
    };
    for _ in 0..100 {
        raw.ask(&walk, &[]);
    }
    let reply = raw.ask(&Request::Attach { export: 0 }, &[]);
    assert_eq!(
        reply,
        Some(Reply::Error {
            errno: libc::ENFILE
        })
    );
    assert!(matches!(
        raw.ask(&Request::GetAttr { node: root }, &[]),
        Some(Reply::Attr(_))
    ));
    raw.finish();
}

#[test]
fn descriptors_that_no_request_has_are_not_kept() {
    let mut raw = Raw::new(16);
    raw.hello();
    let before = open_descriptors();
    let null = fs::File::open("/dev/null").unwrap();
    for _ in 0..200 {
        let mut message = Vec::new();
        Request::Close.encode(7, &[], &mut message).unwrap();
        raw.socket.send(&message, Some(null.as_fd())).unwrap();
        let received = raw.socket.recv(&mut raw.buf, None).unwrap();
        let (_, reply) = Reply::decode(&raw.buf[..received.len]).unwrap();
        assert_eq!(
            reply,
            Reply::Error {
                errno: libc::EPROTO
            }
        );
    }
    drop(null);
    // The server is a thread of this process, so what it took would show here. Other tests of
    // this file run at the same time, hence the slack.
    assert!(open_descriptors() < before + 100);
    raw.finish();
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn random_bytes_do_no_harm() {
    let mut rng = SmallRng::seed_from_u64(0x60fe4);
    let mut raw = Raw::new(64);
    raw.hello();
    for _ in 0..3000 {
        let len = rng.random_range(16..200);
        let mut message = vec![0; len];
        rng.fill(&mut message[..]);
        message[..4].copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
        message[4..6].copy_from_slice(&rng.random_range(0..26_u16).to_ne_bytes());
        if rng.random_bool(0.8) {
            message[6..8].fill(0);
        }
        raw.send(&message)
            .expect("a message of the right length is answered");
    }
    raw.finish();
}

#[test]
fn damaged_requests_do_no_harm() {
    let mut rng = SmallRng::seed_from_u64(0xda4a6e);
    let mut raw = Raw::new(64);
    raw.hello();
    let root = raw.attach();
    let names = NamesBuf::new([b"dir".as_slice(), b"sub", b"file"]).unwrap();
    let requests = [
        Request::Walk {
            dir: root,
            names: names.as_names(),
            open: Some(Access::Read),
        },
        Request::ReadDir {
            dir: root,
            cursor: 0,
        },
        Request::Open {
            node: root,
            access: Access::Read,
            flags: OpenFlags::empty(),
        },
        Request::GetAttr { node: root },
    ];
    let mut message = Vec::new();
    for round in 0..8000 {
        requests[round % requests.len()]
            .encode(1, &[], &mut message)
            .unwrap();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(4..message.len());
            message[at] ^= 1 << rng.random_range(0..8);
        }
        raw.send(&message).expect("an answer");
    }
    raw.finish();
}
