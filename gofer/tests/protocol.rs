//! The codec: what is written is read back, and anything else is refused without harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

use cofferdam_gofer::protocol::{
    Access, Attr, DecodeError, DirEntriesBuf, DirEntryRef, FileType, FsStat, HandleId, LinkTarget,
    MAX_CLOSES, MAX_MESSAGE, MAX_WALK, MAX_XATTR_VALUE, Name, NamesBuf, Nodes, OpenFlags, Owner,
    ProcessFile, RenameFlags, Reply, Request, SetAttr, SetAttrMask, TimeSpec, WalkStop, WireNode,
    XattrName, XattrValue,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

fn attr(rng: &mut SmallRng) -> Attr {
    let types = [
        libc::S_IFREG,
        libc::S_IFDIR,
        libc::S_IFLNK,
        libc::S_IFIFO,
        libc::S_IFSOCK,
    ];
    let time = |rng: &mut SmallRng| TimeSpec::new(rng.random(), rng.random_range(0..1_000_000_000));
    Attr {
        ino: rng.random(),
        dev: rng.random(),
        rdev: rng.random(),
        size: rng.random_range(0..1 << 62),
        blocks: rng.random(),
        mode: types[rng.random_range(0..types.len())] | rng.random_range(0..0o10000),
        nlink: rng.random(),
        uid: rng.random(),
        gid: rng.random(),
        blksize: rng.random(),
        flags: rng.random_range(0..4),
        atime: time(rng),
        mtime: time(rng),
        ctime: time(rng),
        btime: time(rng),
    }
}

fn name_bytes(rng: &mut SmallRng) -> Vec<u8> {
    (0..rng.random_range(1..=255))
        .map(|_| rng.random_range(b'0'..=255))
        .collect()
}

/// Runs `check` on every kind of request, with random content.
fn each_request(rng: &mut SmallRng, mut check: impl FnMut(Request<'_>)) {
    let (a, b) = (name_bytes(rng), name_bytes(rng));
    let (name, other) = (Name::new(&a).unwrap(), Name::new(&b).unwrap());
    let (node, dir) = (HandleId(rng.random()), HandleId(rng.random()));
    let list: Vec<Vec<u8>> = (0..rng.random_range(0..20))
        .map(|_| name_bytes(rng))
        .collect();
    let names = NamesBuf::new(list.iter().map(Vec::as_slice)).unwrap();
    let accesses = [Access::Read, Access::Write, Access::ReadWrite];
    let access = accesses[rng.random_range(0..3)];
    let open = rng.random_bool(0.5).then_some(access);
    let flags = OpenFlags::from_bits(rng.random_range(0..32)).unwrap();
    let owner = Owner {
        uid: rng.random_bool(0.5).then_some(7),
        gid: Some(rng.random_range(0..99)),
    };
    let mode = rng.random_range(0..0o10000);
    let value: Vec<u8> = (0..rng.random_range(0..3000))
        .map(|_| rng.random())
        .collect();
    let value = XattrValue::new(&value).unwrap();
    let xname = XattrName::new(&a).unwrap();
    let set = SetAttr {
        mask: (SetAttrMask::MODE | SetAttrMask::MTIME).bits(),
        mode,
        size: 9,
        atime: TimeSpec::new(-1, 2),
        ..SetAttr::default()
    };
    let rename = RenameFlags::from_bits(rng.random_range(0..4)).unwrap();
    for request in [
        Request::Hello {
            magic: rng.random(),
            version: rng.random(),
        },
        Request::Close,
        Request::Attach {
            export: rng.random(),
        },
        Request::Walk {
            dir,
            names: names.as_names(),
            open,
        },
        Request::Open {
            node,
            access,
            flags,
        },
        Request::ReadDir {
            dir,
            cursor: rng.random(),
        },
        Request::ReadLink { node },
        Request::GetAttr { node },
        Request::SetAttr { node, set },
        Request::Create {
            dir,
            name,
            mode,
            access,
            flags,
            owner,
        },
        Request::TmpFile {
            dir,
            mode,
            access,
            owner,
        },
        Request::Mkdir {
            dir,
            name,
            mode,
            owner,
        },
        Request::Symlink {
            dir,
            name,
            target: LinkTarget::new(&b).unwrap(),
            owner,
        },
        Request::Mknod {
            dir,
            name,
            mode: rng.random(),
            owner,
        },
        Request::Link { node, dir, name },
        Request::Unlink {
            dir,
            name,
            rmdir: rng.random(),
        },
        Request::Rename {
            from: node,
            from_name: name,
            to: dir,
            to_name: other,
            flags: rename,
        },
        Request::GetXattr { node, name: xname },
        Request::SetXattr {
            node,
            name: xname,
            value,
            flags: rng.random_range(0..4),
        },
        Request::ListXattr { node },
        Request::RemoveXattr { node, name: xname },
        Request::StatFs { node },
        Request::Fsync {
            node,
            data_only: rng.random(),
        },
        Request::ReadOnly,
        Request::Processes,
        Request::Process {
            pid: rng.random(),
            file: if rng.random() {
                ProcessFile::Statm
            } else {
                ProcessFile::Status
            },
        },
    ] {
        check(request);
    }
}

/// The same for replies.
fn each_reply(rng: &mut SmallRng, mut check: impl FnMut(Reply<'_>)) {
    let nodes: Vec<_> = (0..rng.random_range(0..30))
        .map(|_| WireNode {
            handle: HandleId(rng.random()),
            attr: attr(rng),
        })
        .collect();
    let stops = [
        WalkStop::Complete,
        WalkStop::Symlink,
        WalkStop::NotDirectory,
        WalkStop::Failed(rng.random_range(1..4096)),
    ];
    let mut entries = DirEntriesBuf::default();
    for _ in 0..rng.random_range(0..50) {
        let name = name_bytes(rng);
        let attr = rng.random_bool(0.7).then(|| attr(rng));
        let file_type = Some(FileType::Fifo).filter(|_| rng.random_bool(0.5));
        let name = Name::new(&name).unwrap();
        entries.push(&DirEntryRef {
            name,
            next: rng.random(),
            ino: rng.random(),
            file_type,
            attr,
        });
    }
    let node = WireNode {
        handle: HandleId(rng.random()),
        attr: attr(rng),
    };
    let bytes: Vec<u8> = (0..rng.random_range(0..4000))
        .map(|_| rng.random())
        .collect();
    for reply in [
        Reply::Error {
            errno: rng.random_range(1..4096),
        },
        Reply::Done,
        Reply::Hello {
            version: rng.random(),
            exports: rng.random(),
            handles: rng.random(),
        },
        Reply::Node(node),
        Reply::Walked {
            nodes: Nodes::new(&nodes),
            stop: stops[rng.random_range(0..4)],
            link: b"target",
            open_errno: rng.random_range(0..4096),
        },
        Reply::Attr(attr(rng)),
        Reply::Opened(attr(rng)),
        Reply::Created {
            node,
            created: rng.random(),
        },
        Reply::Dir {
            entries: entries.as_entries(),
            eof: rng.random(),
        },
        Reply::Bytes(&bytes),
        Reply::FsStat(FsStat {
            kind: rng.random(),
            ..FsStat::default()
        }),
    ] {
        check(reply);
    }
}

#[test]
fn requests_come_back_as_they_were() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut buf = Vec::new();
    for round in 0..300_u64 {
        let closes: Vec<_> = (0..round % 40).map(HandleId).collect();
        each_request(&mut rng, |request| {
            request.encode(round, &closes, &mut buf).unwrap();
            let (header, got_closes, got) = Request::decode(&buf).unwrap();
            assert_eq!((header.id, got), (round, request));
            assert_eq!(got_closes.iter().collect::<Vec<_>>(), closes);
            for cut in 0..buf.len().min(64) {
                assert!(Request::decode(&buf[..cut]).is_err());
            }
            buf.push(0);
            assert!(Request::decode(&buf).is_err());
        });
    }
}

#[test]
fn replies_come_back_as_they_were() {
    let mut rng = SmallRng::seed_from_u64(2);
    let mut buf = Vec::new();
    for round in 0..300_u64 {
        each_reply(&mut rng, |reply| {
            reply.encode(round, 1, &mut buf).unwrap();
            let (header, got) = Reply::decode(&buf).unwrap();
            assert_eq!((header.id, header.fds, got), (round, 1, reply));
            for cut in 0..buf.len().min(64) {
                assert!(Reply::decode(&buf[..cut]).is_err());
            }
        });
    }
}

/// Whatever decodes must encode to the very same bytes: there is one encoding of each message.
/// Returns whether the bytes were a message.
fn check_bytes(bytes: &[u8], again: &mut Vec<u8>) -> bool {
    let mut sense = false;
    if let Ok((header, closes, request)) = Request::decode(bytes) {
        let closes: Vec<_> = closes.iter().collect();
        request.encode(header.id, &closes, again).unwrap();
        assert_eq!(again.as_slice(), bytes);
        sense = true;
    }
    if let Ok((header, reply)) = Reply::decode(bytes) {
        reply.encode(header.id, header.fds, again).unwrap();
        assert_eq!(again.as_slice(), bytes);
        sense = true;
    }
    sense
}

#[test]
fn damaged_messages_are_refused_or_mean_what_they_say() {
    let mut rng = SmallRng::seed_from_u64(3);
    let (mut again, mut accepted) = (Vec::new(), 0);
    let mut messages = Vec::new();
    each_request(&mut rng, |request| {
        let mut buf = Vec::new();
        request.encode(1, &[HandleId(3)], &mut buf).unwrap();
        messages.push(buf);
    });
    each_reply(&mut rng, |reply| {
        let mut buf = Vec::new();
        reply.encode(1, 0, &mut buf).unwrap();
        messages.push(buf);
    });
    for _ in 0..200_000 {
        let mut bytes = messages[rng.random_range(0..messages.len())].clone();
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        if rng.random_bool(0.3) {
            bytes.truncate(rng.random_range(0..bytes.len()));
            if let (Ok(len), Some(head)) = (u32::try_from(bytes.len()), bytes.get_mut(..4)) {
                head.copy_from_slice(&len.to_ne_bytes());
            }
        }
        accepted += u32::from(check_bytes(&bytes, &mut again));
    }
    assert!(
        accepted > 1000,
        "only {accepted} messages got through: the test tests little"
    );
}

#[test]
fn random_bytes_are_refused_or_mean_what_they_say() {
    let mut rng = SmallRng::seed_from_u64(4);
    let (mut again, mut accepted) = (Vec::new(), 0);
    for _ in 0..300_000 {
        let mut bytes = vec![0; rng.random_range(0..120)];
        rng.fill(&mut bytes[..]);
        if let (Ok(len), Some(head)) = (u32::try_from(bytes.len()), bytes.get_mut(..4)) {
            head.copy_from_slice(&len.to_ne_bytes());
        }
        if let Some(op) = bytes.get_mut(4..8) {
            op.copy_from_slice(&[rng.random_range(0..25), 0, rng.random_range(0..2), 0]);
        }
        accepted += u32::from(check_bytes(&bytes, &mut again));
    }
    assert!(
        accepted > 1000,
        "only {accepted} messages got through: the test tests little"
    );
}

#[test]
fn limits_are_kept_on_both_sides() {
    let mut buf = Vec::new();
    assert!(NamesBuf::new(std::iter::repeat_n(b"x".as_slice(), MAX_WALK)).is_ok());
    let many = NamesBuf::new(std::iter::repeat_n(b"x".as_slice(), MAX_WALK + 1));
    assert_eq!(many.unwrap_err(), DecodeError::TooMany);
    let closes = vec![HandleId(1); MAX_CLOSES + 1];
    assert!(Request::Close.encode(1, &closes, &mut buf).is_err());
    Request::Close.encode(1, &closes[1..], &mut buf).unwrap();
    assert!(XattrValue::new(&vec![0; MAX_XATTR_VALUE + 1]).is_err());
    let name = XattrName::new(b"user.x").unwrap();
    let value = vec![0; MAX_XATTR_VALUE];
    let value = XattrValue::new(&value).unwrap();
    let request = Request::SetXattr {
        node: HandleId(1),
        name,
        value,
        flags: 0,
    };
    request.encode(1, &[], &mut buf).unwrap();
    assert!(buf.len() <= MAX_MESSAGE);
    assert!(
        Reply::Bytes(&vec![0; MAX_MESSAGE])
            .encode(1, 0, &mut buf)
            .is_err()
    );
    let longest = vec![b'n'; 255];
    let longest = NamesBuf::new(std::iter::repeat_n(longest.as_slice(), MAX_WALK)).unwrap();
    let walk = Request::Walk {
        dir: HandleId(1),
        names: longest.as_names(),
        open: None,
    };
    walk.encode(1, &[], &mut buf).unwrap();
}

#[test]
fn names_are_single_components() {
    for bad in [
        b"".as_slice(),
        b".",
        b"..",
        b"/",
        b"a/",
        b"a\0",
        &[b'x'; 256],
    ] {
        assert_eq!(Name::new(bad), Err(DecodeError::Name));
    }
    for good in [
        b"...".as_slice(),
        b".a",
        b"..a",
        b" ",
        b"\xff",
        &[b'x'; 255],
    ] {
        assert_eq!(Name::new(good).unwrap().as_bytes(), good);
        assert_eq!(Name::new(good).unwrap().to_c().as_c_str().to_bytes(), good);
    }
}
