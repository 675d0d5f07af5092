//! Attempts to get out of the exported tree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use cofferdam_gofer::client::{Client, Handle};
use cofferdam_gofer::protocol::{
    Access, FileType, OpenFlags, Owner, SetAttr, SetAttrMask, WalkStop,
};
use cofferdam_gofer::server::{Export, ExportError, ExportOptions};
use common::{Fixture, content, errno};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn walk<'a>(f: &'a Fixture, path: &'a str) -> cofferdam_gofer::client::Walked {
    f.client
        .walk(
            &f.root,
            path.split('/').map(str::as_bytes),
            Some(Access::Read),
        )
        .unwrap()
}

#[test]
fn names_that_are_not_one_component_are_refused() {
    let f = Fixture::new(ExportOptions::read_write());
    let long = vec![b'n'; 256];
    for (name, expected) in [
        (b"".as_slice(), libc::EINVAL),
        (b".", libc::EINVAL),
        (b"..", libc::EINVAL),
        (b"a/b", libc::EINVAL),
        (b"/etc/passwd", libc::EINVAL),
        (b"../x", libc::EINVAL),
        (b"a\0b", libc::EINVAL),
        (&long, libc::ENAMETOOLONG),
    ] {
        assert_eq!(errno(f.client.walk(&f.root, [name], None)), expected);
        assert_eq!(
            errno(f.client.mkdir(&f.root, name, 0o700, Owner::default())),
            expected
        );
        assert_eq!(errno(f.client.unlink(&f.root, name, false)), expected);
    }
    assert!(!f.client.is_dead(), "refused on this side of the socket");
}

#[test]
fn symbolic_links_are_never_followed() {
    let f = Fixture::filled(ExportOptions::read_write(), |dir| {
        fs::write(dir.parent().unwrap().join("secret"), "secret").unwrap();
        symlink("/etc", dir.join("absolute")).unwrap();
        symlink("/etc/passwd", dir.join("file")).unwrap();
        symlink("../secret", dir.join("up")).unwrap();
        symlink("..", dir.join("parent")).unwrap();
        symlink("/proc/self/root", dir.join("magic")).unwrap();
        symlink("/proc/self/fd/0", dir.join("fd")).unwrap();
    });
    for name in ["absolute", "file", "up", "parent", "magic", "fd"] {
        let walked = walk(&f, name);
        assert_eq!(
            walked.nodes[0].attr.file_type(),
            FileType::Symlink,
            "{name}"
        );
        assert!(walked.open.is_none());
        let node = &walked.nodes[0].handle;
        assert_eq!(
            errno(f.client.open(node, Access::Read, OpenFlags::empty())),
            libc::ELOOP
        );
        assert_eq!(errno(f.client.read_dir(node, 0)), libc::ENOTDIR);
        let below = walk(&f, &format!("{name}/passwd"));
        assert_eq!((below.nodes.len(), below.stop), (1, WalkStop::Symlink));
        let through = f.client.walk(node, [b"passwd".as_slice()], None).unwrap();
        assert_eq!(through.stop, WalkStop::Failed(libc::ENOTDIR));
        let flags = OpenFlags::empty();
        let create = f.client.create(
            &f.root,
            name.as_bytes(),
            0o600,
            Access::Write,
            flags,
            Owner::default(),
        );
        assert_eq!(errno(create), libc::ELOOP, "{name}");
        let excl = OpenFlags::EXCL;
        let create = f.client.create(
            &f.root,
            name.as_bytes(),
            0o600,
            Access::Write,
            excl,
            Owner::default(),
        );
        assert_eq!(errno(create), libc::EEXIST, "{name}");
        assert_eq!(
            errno(
                f.client
                    .create(node, b"x", 0o600, Access::Write, excl, Owner::default())
            ),
            libc::ENOTDIR
        );
        let size = SetAttr {
            mask: SetAttrMask::SIZE.bits(),
            ..SetAttr::default()
        };
        assert_eq!(errno(f.client.set_attr(node, &size)), libc::ELOOP);
        // Changes to a link are changes to the link.
        let mode = SetAttr {
            mask: SetAttrMask::MODE.bits(),
            mode: 0o777,
            ..SetAttr::default()
        };
        assert_eq!(errno(f.client.set_attr(node, &mode)), libc::EOPNOTSUPP);
        let old = SetAttr {
            mask: SetAttrMask::MTIME.bits(),
            ..SetAttr::default()
        };
        assert_eq!(f.client.set_attr(node, &old).unwrap().mtime.sec, 0);
    }
    assert_eq!(fs::read(f.outside("secret")).unwrap(), b"secret");
    assert_ne!(
        fs::metadata("/etc/passwd").unwrap().modified().unwrap(),
        std::time::UNIX_EPOCH
    );
}

#[test]
fn fifos_sockets_and_devices_are_not_opened_and_do_not_block() {
    let f = Fixture::filled(ExportOptions::read_write(), |dir| {
        nix::unistd::mkfifo(&dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    });
    let started = Instant::now();
    for name in ["fifo", "socket"] {
        let node = f.node(name).handle;
        for access in [Access::Read, Access::Write, Access::ReadWrite] {
            let open = f.client.open(&node, access, OpenFlags::empty());
            assert_eq!(errno(open), libc::ENXIO, "{name}");
        }
        assert!(walk(&f, name).open.is_none());
        let flags = OpenFlags::empty();
        let create = f.client.create(
            &f.root,
            name.as_bytes(),
            0o600,
            Access::Write,
            flags,
            Owner::default(),
        );
        assert_eq!(errno(create), libc::ENXIO);
        assert_eq!(errno(f.client.fsync(&node, false)), libc::EINVAL);
        assert_eq!(errno(f.client.get_xattr(&node, b"user.x")), libc::ENODATA);
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn device_nodes_are_shown_and_nothing_more() {
    let dev = Export::open(Path::new("/dev"), ExportOptions::read_write()).unwrap();
    let (client, _server) = common::start(vec![dev], 64);
    let root = client.attach(0).unwrap().handle;
    let mut walked = client
        .walk(&root, [b"null".as_slice()], Some(Access::Read))
        .unwrap();
    assert!(walked.open.is_none());
    let node = walked.nodes.pop().unwrap();
    assert_eq!(node.attr.file_type(), FileType::CharDevice);
    for access in [Access::Read, Access::Write, Access::ReadWrite] {
        assert_eq!(
            errno(client.open(&node.handle, access, OpenFlags::empty())),
            libc::ENXIO
        );
    }
    let mode = SetAttr {
        mask: SetAttrMask::MODE.bits(),
        mode: 0o666,
        ..SetAttr::default()
    };
    assert_eq!(errno(client.set_attr(&node.handle, &mode)), libc::EPERM);
    assert_eq!(
        errno(client.link(&node.handle, &root, b"null-copy")),
        libc::EPERM
    );
}

#[test]
fn kernel_file_systems_are_not_served() {
    for path in ["/proc", "/proc/self/root/proc", "/sys"] {
        let error = Export::open(Path::new(path), ExportOptions::read_only()).unwrap_err();
        assert!(matches!(error, ExportError::KernelFs { .. }), "{error}");
    }
    // A mount of one inside an export is an empty directory.
    let root = Export::open(Path::new("/"), ExportOptions::read_only()).unwrap();
    let (client, _server) = common::start(vec![root], 64);
    let root = client.attach(0).unwrap().handle;
    let walked = client
        .walk(&root, [b"proc".as_slice(), b"self", b"root"], None)
        .unwrap();
    assert_eq!(
        (walked.nodes.len(), walked.stop),
        (1, WalkStop::Failed(libc::ENOENT))
    );
    let listed = client.read_dir(&walked.nodes[0].handle, 0).unwrap();
    assert!(listed.entries.is_empty() && listed.eof);
}

#[test]
fn exports_with_contradicting_terms_are_refused() {
    let options = ExportOptions {
        world_readable_only: true,
        ..ExportOptions::read_write()
    };
    let error = Export::open(Path::new("/etc"), options).unwrap_err();
    assert!(matches!(error, ExportError::Options(_)), "{error}");
    let error = Export::open(Path::new("/nowhere"), ExportOptions::read_only()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot serve /nowhere: No such file or directory"
    );
    let error = Export::open(Path::new("/dev/null"), ExportOptions::read_only()).unwrap_err();
    assert!(matches!(error, ExportError::Type(_)), "{error}");
}

#[test]
fn mounts_below_are_left_alone_if_asked() {
    // /dev has mounts of its own on every Linux machine that has /dev/pts or /dev/shm.
    let options = ExportOptions {
        cross_mounts: false,
        ..ExportOptions::read_only()
    };
    let dev = Export::open(Path::new("/dev"), options).unwrap();
    let (client, _server) = common::start(vec![dev], 64);
    let root = client.attach(0).unwrap().handle;
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    for name in ["shm", "pts", "mqueue"] {
        if mounts.contains(&format!(" /dev/{name} ")) {
            let walked = client.walk(&root, [name.as_bytes()], None).unwrap();
            assert_eq!(walked.stop, WalkStop::Failed(libc::EXDEV), "{name}");
            return;
        }
    }
    println!("skipped: nothing is mounted below /dev");
}

/// Looks everywhere below `dir` for anything that is outside: `inside` is what files in the tree hold.
fn search(client: &Client, dir: &Handle, depth: usize) {
    let Ok(batch) = client.read_dir(dir, 0) else {
        return;
    };
    for entry in batch.entries {
        assert_ne!(entry.name, b"secret", "a name from outside the tree");
        let walked = client
            .walk(dir, [entry.name.as_slice()], Some(Access::Read))
            .unwrap();
        if let Some(Ok(fd)) = walked.open {
            assert_eq!(content(&fd), b"inside");
        }
        if let (Some(node), true) = (walked.nodes.first(), depth > 0) {
            let up = client
                .walk(&node.handle, [b"secret".as_slice()], Some(Access::Read))
                .unwrap();
            assert!(up.nodes.is_empty(), "found a file outside the tree");
            search(client, &node.handle, depth - 1);
        }
    }
}

#[test]
fn host_renames_during_walks_do_not_lead_out() {
    let f = Fixture::filled(ExportOptions::read_only(), |dir| {
        let outside = dir.parent().unwrap().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::write(dir.parent().unwrap().join("secret"), "secret").unwrap();
        fs::create_dir_all(dir.join("a/b/c")).unwrap();
        fs::write(dir.join("a/b/c/file"), "inside").unwrap();
        symlink(&outside, dir.join("swap")).unwrap();
    });
    let (inside, outside) = (f.path(""), f.outside("outside"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A directory becomes a link to the outside and back; another one moves out and back.
            while !stop.load(Ordering::Relaxed) {
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                let (a, swap) = (inside.join("a"), inside.join("swap"));
                nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &a, nix::fcntl::AT_FDCWD, &swap, flags)
                    .unwrap();
                nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &a, nix::fcntl::AT_FDCWD, &swap, flags)
                    .unwrap();
                fs::rename(inside.join("a/b"), outside.join("b")).unwrap();
                fs::rename(outside.join("b"), inside.join("a/b")).unwrap();
            }
        });
        let until = Instant::now() + Duration::from_secs(2);
        let mut walks = 0_u32;
        while Instant::now() < until {
            for path in [
                "a/b/c/file",
                "a/secret",
                "a/b/secret",
                "swap/secret",
                "swap/b/c/file",
            ] {
                let names = path.split('/').map(str::as_bytes);
                let walked = f.client.walk(&f.root, names, Some(Access::Read)).unwrap();
                walks += 1;
                if let Some(Ok(fd)) = walked.open {
                    assert_eq!(content(&fd), b"inside", "{path}");
                }
            }
            search(&f.client, &f.root, 3);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(walks > 100, "only {walks} walks");
    });
}

#[test]
fn a_directory_moved_out_of_the_tree_gives_no_way_further() {
    let f = Fixture::filled(ExportOptions::read_only(), |dir| {
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.parent().unwrap().join("secret"), "secret").unwrap();
    });
    let walked = walk(&f, "a/b");
    let b = &walked.nodes[1].handle;
    fs::rename(f.path("a/b"), f.outside("b")).unwrap();
    assert_eq!(
        errno(f.client.walk(b, [b"..".as_slice()], None)),
        libc::EINVAL
    );
    let up = f.client.walk(b, [b"secret".as_slice()], None).unwrap();
    assert_eq!(up.stop, WalkStop::Failed(libc::ENOENT));
}

#[test]
fn a_reopened_handle_is_the_file_that_was_walked_to() {
    let f = Fixture::filled(ExportOptions::read_write(), |dir| {
        fs::write(dir.join("file"), "inside").unwrap();
    });
    let node = f.node("file").handle;
    fs::remove_file(f.path("file")).unwrap();
    symlink("/etc/passwd", f.path("file")).unwrap();
    let (_, fd) = f
        .client
        .open(&node, Access::Read, OpenFlags::empty())
        .unwrap();
    assert_eq!(content(&fd), b"inside");
}
