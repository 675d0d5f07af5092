//! A gofer that has been taken over. The client must not panic, hang or hand on what it should not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use cofferdam_gofer::client::{Client, ConnectError, GoferError};
use cofferdam_gofer::protocol::{
    Access, Attr, HandleId, Nodes, OpenFlags, Reply, Request, RequestHeader, TimeSpec, VERSION,
    WalkStop, WireNode,
};
use cofferdam_gofer::transport::{SeqPacket, Transport};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};

const ATTR: Attr = Attr {
    ino: 1,
    dev: 2,
    rdev: 0,
    size: 3,
    blocks: 8,
    mode: libc::S_IFREG | 0o644,
    nlink: 1,
    uid: 0,
    gid: 0,
    blksize: 4096,
    flags: 0,
    atime: TimeSpec {
        sec: 0,
        nsec: 0,
        pad: 0,
    },
    mtime: TimeSpec {
        sec: 0,
        nsec: 0,
        pad: 0,
    },
    ctime: TimeSpec {
        sec: 0,
        nsec: 0,
        pad: 0,
    },
    btime: TimeSpec {
        sec: 0,
        nsec: 0,
        pad: 0,
    },
};
const NODE: WireNode = WireNode {
    handle: HandleId(1 << 32),
    attr: ATTR,
};

/// Answers the greeting and an attach as it should and everything else with what `answer` makes of it.
fn evil(
    mut answer: impl FnMut(RequestHeader, &mut Vec<u8>) -> Option<OwnedFd> + Send + 'static,
) -> Client {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    std::thread::spawn(move || {
        let mut socket = SeqPacket::new(theirs);
        let (mut buf, mut out) = (vec![0; 1 << 17], Vec::new());
        while let Ok(received) = socket.recv(&mut buf, None) {
            if received.len == 0 {
                return;
            }
            let (header, _, request) = Request::decode(&buf[..received.len]).unwrap();
            let fd = match request {
                Request::Hello { .. } => {
                    let hello = Reply::Hello {
                        version: VERSION,
                        exports: 1,
                        handles: 10,
                    };
                    hello.encode(header.id, 0, &mut out).unwrap();
                    None
                }
                Request::Attach { .. } => {
                    Reply::Node(NODE).encode(header.id, 0, &mut out).unwrap();
                    None
                }
                _ => answer(header, &mut out),
            };
            if socket.send(&out, fd.as_ref().map(AsFd::as_fd)).is_err() {
                return;
            }
        }
    });
    Client::connect(ours).unwrap()
}

fn must_die<T: std::fmt::Debug>(client: &Client, result: Result<T, GoferError>) {
    assert_eq!(result.unwrap_err(), GoferError::Dead);
    assert!(client.is_dead());
    assert_eq!(client.attach(0).unwrap_err(), GoferError::Dead);
}

#[test]
fn a_reply_of_another_kind_or_id_ends_the_connection() {
    let client = evil(|header, out| {
        Reply::Done.encode(header.id, 0, out).unwrap();
        None
    });
    let root = client.attach(0).unwrap().handle;
    must_die(&client, client.get_attr(&root));
    let client = evil(|header, out| {
        Reply::Attr(ATTR).encode(header.id + 1, 0, out).unwrap();
        None
    });
    let root = client.attach(0).unwrap().handle;
    must_die(&client, client.get_attr(&root));
}

#[test]
fn a_descriptor_with_other_access_or_type_is_not_handed_on() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let open = move |kind: usize| -> OwnedFd {
        match kind {
            0 => OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .unwrap()
                .into(),
            1 => OpenOptions::new().write(true).open(&path).unwrap().into(),
            2 => File::open("/dev/zero").unwrap().into(),
            3 => File::open("/").unwrap().into(),
            _ => std::os::unix::net::UnixStream::pair().unwrap().0.into(),
        }
    };
    for kind in 0..5 {
        let open = open.clone();
        let client = evil(move |header, out| {
            Reply::Opened(ATTR).encode(header.id, 1, out).unwrap();
            Some(open(kind))
        });
        let root = client.attach(0).unwrap().handle;
        must_die(
            &client,
            client.open(&root, Access::Read, OpenFlags::empty()),
        );
    }
}

#[test]
fn missing_and_surplus_descriptors_end_the_connection() {
    let client = evil(|header, out| {
        Reply::Opened(ATTR).encode(header.id, 1, out).unwrap();
        None
    });
    let root = client.attach(0).unwrap().handle;
    must_die(
        &client,
        client.open(&root, Access::Read, OpenFlags::empty()),
    );
    let client = evil(|header, out| {
        Reply::Attr(ATTR).encode(header.id, 1, out).unwrap();
        Some(File::open("/dev/null").unwrap().into())
    });
    let root = client.attach(0).unwrap().handle;
    must_die(&client, client.get_attr(&root));
}

#[test]
fn attributes_without_meaning_end_the_connection() {
    let bad = [
        Attr {
            mode: 0o644,
            ..ATTR
        },
        Attr {
            size: u64::MAX,
            ..ATTR
        },
        Attr {
            mtime: TimeSpec {
                sec: 0,
                nsec: 1_000_000_000,
                pad: 0,
            },
            ..ATTR
        },
        Attr {
            flags: 1 << 31,
            ..ATTR
        },
    ];
    for attr in bad {
        let client = evil(move |header, out| {
            Reply::Attr(attr).encode(header.id, 0, out).unwrap();
            None
        });
        let root = client.attach(0).unwrap().handle;
        must_die(&client, client.get_attr(&root));
    }
}

#[test]
fn walks_that_return_too_much_or_contradict_themselves_end_the_connection() {
    let cases = [
        (vec![NODE; 2], WalkStop::Complete),
        (vec![NODE; 1], WalkStop::Symlink),
        (vec![], WalkStop::Complete),
        (vec![NODE; 1], WalkStop::Failed(libc::ENOENT)),
    ];
    for (nodes, stop) in cases {
        let client = evil(move |header, out| {
            let reply = Reply::Walked {
                nodes: Nodes::new(&nodes),
                stop,
                link: b"",
                open_errno: 0,
            };
            reply.encode(header.id, 0, out).unwrap();
            None
        });
        let root = client.attach(0).unwrap().handle;
        must_die(&client, client.walk(&root, [b"one".as_slice()], None));
    }
}

#[test]
fn an_endless_empty_directory_ends_the_connection() {
    let client = evil(|header, out| {
        let entries = cofferdam_gofer::protocol::DirEntriesBuf::default();
        let reply = Reply::Dir {
            entries: entries.as_entries(),
            eof: false,
        };
        reply.encode(header.id, 0, out).unwrap();
        None
    });
    let root = client.attach(0).unwrap().handle;
    must_die(&client, client.read_dir(&root, 0));
}

#[test]
fn random_replies_do_no_harm() {
    for seed in 0..300 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let client = evil(move |header, out| {
            let len = rng.random_range(16..400_usize);
            out.resize(len, 0);
            rng.fill(&mut out[..]);
            out[..4].copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
            out[4..6].copy_from_slice(&rng.random_range(0..13_u16).to_ne_bytes());
            out[6..8].fill(0);
            out[8..16].copy_from_slice(&header.id.to_ne_bytes());
            None
        });
        let root = client.attach(0).unwrap().handle;
        while !client.is_dead() {
            let _ = client.walk(&root, [b"name".as_slice()], Some(Access::Read));
            let _ = client.read_dir(&root, 0);
            let _ = client.read_link(&root);
        }
    }
}

#[test]
fn a_server_that_is_gone_or_of_another_version_is_told_apart() {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    drop(theirs);
    assert!(matches!(Client::connect(ours), Err(ConnectError::Dead)));
    let (ours, theirs) = SeqPacket::pair().unwrap();
    std::thread::spawn(move || {
        let mut socket = SeqPacket::new(theirs);
        let (mut buf, mut out) = (vec![0; 1 << 17], Vec::new());
        let received = socket.recv(&mut buf, None).unwrap();
        let (header, ..) = Request::decode(&buf[..received.len]).unwrap();
        let error = Reply::Error {
            errno: libc::EPROTONOSUPPORT,
        };
        error.encode(header.id, 0, &mut out).unwrap();
        socket.send(&out, None).unwrap();
    });
    assert!(matches!(Client::connect(ours), Err(ConnectError::Version)));
}
