//! Attach, walk, open, list, links, attributes: against a real directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use cofferdam_gofer::protocol::{Access, Attr, FileType, OpenFlags, WalkStop};
use cofferdam_gofer::server::{Export, ExportOptions};
use common::{Fixture, content, errno, start};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("a/b")).unwrap();
    fs::write(dir.join("a/b/file"), "hello").unwrap();
    symlink("a/b", dir.join("link")).unwrap();
    fs::write(dir.join("top"), "top").unwrap();
}

fn names(path: &str) -> impl Iterator<Item = &[u8]> {
    path.split('/').map(str::as_bytes)
}

#[test]
fn attributes_are_those_of_the_host() {
    let f = Fixture::filled(ExportOptions::read_only(), fill);
    let meta = fs::metadata(f.path("a/b/file")).unwrap();
    let walked = f.client.walk(&f.root, names("a/b/file"), None).unwrap();
    assert_eq!((walked.nodes.len(), walked.stop), (3, WalkStop::Complete));
    let attr = walked.nodes[2].attr;
    assert_eq!((attr.ino, attr.dev, attr.size), (meta.ino(), meta.dev(), 5));
    assert_eq!((attr.mode, attr.nlink), (meta.mode(), 1));
    assert_eq!((attr.uid, attr.gid), (meta.uid(), meta.gid()));
    assert_eq!(
        (attr.mtime.sec, i64::from(attr.mtime.nsec)),
        (meta.mtime(), meta.mtime_nsec())
    );
    assert_eq!(
        (attr.ctime.sec, i64::from(attr.ctime.nsec)),
        (meta.ctime(), meta.ctime_nsec())
    );
    assert_eq!(attr.blocks, meta.blocks());
    assert_eq!(u64::from(attr.blksize), meta.blksize());
    assert_eq!(f.client.get_attr(&walked.nodes[2].handle).unwrap(), attr);
}

#[test]
fn a_walk_stops_where_it_must() {
    let f = Fixture::filled(ExportOptions::read_only(), fill);
    let walk = |path| f.client.walk(&f.root, names(path), None).unwrap();
    let w = walk("a/nothing/more");
    assert_eq!((w.nodes.len(), w.stop), (1, WalkStop::Failed(libc::ENOENT)));
    let w = walk("link/file");
    assert_eq!((w.nodes.len(), w.stop), (1, WalkStop::Symlink));
    assert_eq!(w.link.as_deref(), Some(b"a/b".as_slice()));
    let w = walk("top/file");
    assert_eq!((w.nodes.len(), w.stop), (1, WalkStop::NotDirectory));
    let w = walk("link");
    assert_eq!((w.nodes.len(), w.stop), (1, WalkStop::Complete));
    assert_eq!(w.nodes[0].attr.file_type(), FileType::Symlink);
    assert_eq!(w.link.as_deref(), Some(b"a/b".as_slice()));
    assert_eq!(f.client.read_link(&w.nodes[0].handle).unwrap(), b"a/b");
    let top = f.node("top");
    let w = f.client.walk(&top.handle, names("x"), None).unwrap();
    assert_eq!(w.stop, WalkStop::Failed(libc::ENOTDIR));
    assert_eq!(errno(f.client.read_link(&top.handle)), libc::EINVAL);
}

#[test]
fn a_walk_can_open_the_last_component() {
    let f = Fixture::filled(ExportOptions::read_only(), fill);
    let w = f
        .client
        .walk(&f.root, names("a/b/file"), Some(Access::Read))
        .unwrap();
    assert_eq!(content(&w.open.unwrap().unwrap()), b"hello");
    let w = f
        .client
        .walk(&f.root, names("a/b/file"), Some(Access::ReadWrite))
        .unwrap();
    assert_eq!(w.nodes.len(), 3);
    assert_eq!(w.open.unwrap().unwrap_err().errno(), libc::EROFS);
    let w = f
        .client
        .walk(&f.root, names("a/b"), Some(Access::Read))
        .unwrap();
    assert!(w.open.is_none());
}

#[test]
fn a_donated_descriptor_has_exactly_the_access_asked_for() {
    let f = Fixture::filled(ExportOptions::read_write(), fill);
    let node = f.node("top");
    for (access, flags) in [
        (Access::Read, libc::O_RDONLY),
        (Access::Write, libc::O_WRONLY),
        (Access::ReadWrite, libc::O_RDWR),
    ] {
        let (attr, fd) = f
            .client
            .open(&node.handle, access, OpenFlags::empty())
            .unwrap();
        let got = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert_eq!(got & libc::O_ACCMODE, flags);
        assert_eq!(attr.size, 3);
    }
    let (attr, _) = f
        .client
        .open(&node.handle, Access::Write, OpenFlags::TRUNC)
        .unwrap();
    assert_eq!(attr.size, 0);
    let refused = f.client.open(&node.handle, Access::Read, OpenFlags::TRUNC);
    assert_eq!(errno(refused), libc::EINVAL);
    let (_, fd) = f
        .client
        .open(&node.handle, Access::Write, OpenFlags::APPEND)
        .unwrap();
    let got = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    assert_ne!(got & libc::O_APPEND, 0);
}

#[test]
fn directories_and_links_are_not_donated() {
    let f = Fixture::filled(ExportOptions::read_only(), fill);
    let open = |name| {
        errno(
            f.client
                .open(&f.node(name).handle, Access::Read, OpenFlags::empty()),
        )
    };
    assert_eq!(open("a"), libc::EISDIR);
    assert_eq!(open("link"), libc::ELOOP);
}

#[test]
fn a_large_directory_is_listed_whole_with_attributes() {
    const COUNT: usize = 2500;
    let f = Fixture::filled(ExportOptions::read_only(), |dir| {
        for i in 0..COUNT {
            fs::write(dir.join(format!("file-{i}")), vec![b'x'; i % 7]).unwrap();
        }
        fs::create_dir(dir.join("dir")).unwrap();
    });
    let (mut seen, mut cursor, mut batches) = (Vec::new(), 0, 0);
    loop {
        let batch = f.client.read_dir(&f.root, cursor).unwrap();
        batches += 1;
        cursor = batch.entries.last().map_or(cursor, |entry| entry.next);
        seen.extend(batch.entries);
        if batch.eof {
            break;
        }
    }
    assert!((2..20).contains(&batches), "{batches} round trips");
    assert_eq!(seen.len(), COUNT + 1);
    for entry in &seen {
        let name = String::from_utf8(entry.name.clone()).unwrap();
        let meta = fs::symlink_metadata(f.path(&name)).unwrap();
        let attr: Attr = entry.attr.unwrap();
        assert_eq!(
            (attr.ino, attr.size, attr.mode),
            (meta.ino(), meta.len(), meta.mode())
        );
        assert_eq!(entry.ino, meta.ino());
    }
    let mut unique: Vec<_> = seen.iter().map(|entry| &entry.name).collect();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), COUNT + 1);
    // Any entry's cursor is a place to go on from.
    let again = f.client.read_dir(&f.root, seen[9].next).unwrap();
    assert_eq!(again.entries[0], seen[10]);
}

#[test]
fn a_single_file_can_be_exported() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("only");
    fs::write(&path, "one").unwrap();
    let export = Export::open(&path, ExportOptions::read_only()).unwrap();
    let (client, _server) = start(vec![export], 16);
    let root = client.attach(0).unwrap();
    assert_eq!(root.attr.file_type(), FileType::Regular);
    let (_, fd) = client
        .open(&root.handle, Access::Read, OpenFlags::empty())
        .unwrap();
    assert_eq!(content(&fd), b"one");
    assert_eq!(errno(client.read_dir(&root.handle, 0)), libc::ENOTDIR);
    assert_eq!(errno(client.attach(1)), libc::EINVAL);
}

#[test]
fn strangers_get_only_what_the_world_may_read() {
    let options = ExportOptions {
        world_readable_only: true,
        ..ExportOptions::read_only()
    };
    let f = Fixture::filled(options, |dir| {
        let put = |name: &str, mode| {
            fs::write(dir.join(name), name).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        put("shadow", 0o640);
        put("passwd", 0o644);
        for (name, mode) in [("closed", 0o700), ("passable", 0o711), ("listable", 0o704)] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("file"), "x").unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    });
    let open = |name| {
        f.client
            .open(&f.node(name).handle, Access::Read, OpenFlags::empty())
    };
    assert_eq!(errno(open("shadow")), libc::EACCES);
    open("passwd").unwrap();
    let walk = |path| {
        f.client
            .walk(&f.root, names(path), Some(Access::Read))
            .unwrap()
    };
    assert_eq!(walk("closed/file").stop, WalkStop::Failed(libc::EACCES));
    assert_eq!(walk("listable/file").stop, WalkStop::Failed(libc::EACCES));
    assert!(walk("passable/file").open.unwrap().is_ok());
    assert!(walk("shadow").open.unwrap().is_err());
    let list = |name| f.client.read_dir(&f.node(name).handle, 0);
    assert_eq!(errno(list("closed")), libc::EACCES);
    assert_eq!(errno(list("passable")), libc::EACCES);
    let listed = list("listable").unwrap();
    assert_eq!(listed.entries[0].name, b"file");
    assert_eq!(
        (listed.entries[0].attr, listed.entries[0].file_type),
        (None, Some(FileType::Regular))
    );
    assert_eq!(
        errno(f.client.get_xattr(&f.node("shadow").handle, b"user.x")),
        libc::EACCES
    );
}

#[test]
fn overflow_owners_can_be_shown_as_root() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root to make a file of the overflow user");
        return;
    }
    let fill = |dir: &Path| {
        fs::write(dir.join("file"), "").unwrap();
        std::os::unix::fs::chown(dir.join("file"), Some(65534), Some(65534)).unwrap();
    };
    let mapped = ExportOptions {
        overflow_to_root: true,
        ..ExportOptions::read_only()
    };
    let f = Fixture::filled(mapped, fill);
    assert_eq!((f.node("file").attr.uid, f.node("file").attr.gid), (0, 0));
    let listed = f.client.read_dir(&f.root, 0).unwrap().entries[0]
        .attr
        .unwrap();
    assert_eq!((listed.uid, listed.gid), (0, 0));
    let f = Fixture::filled(ExportOptions::read_only(), fill);
    assert_eq!(f.node("file").attr.uid, 65534);
}

#[test]
fn statfs_shows_the_host_and_that_it_is_read_only() {
    let f = Fixture::filled(ExportOptions::read_only(), fill);
    let stat = f.client.stat_fs(&f.root).unwrap();
    let host = nix::sys::statfs::statfs(&f.path("")).unwrap();
    assert_eq!(stat.kind, host.filesystem_type().0.cast_unsigned());
    assert_eq!((stat.blocks, stat.files), (host.blocks(), host.files()));
    assert_eq!(stat.bsize, host.block_size().cast_unsigned());
    assert_eq!(stat.namelen, 255);
    assert_eq!(stat.flags & 1, 1);
}

#[test]
fn dropped_handles_are_closed_with_the_next_requests() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    let export = Export::open(temp.path(), ExportOptions::read_only()).unwrap();
    let (client, _server) = start(vec![export], 8);
    let root = client.attach(0).unwrap().handle;
    for _ in 0..100 {
        // Would run into the quota of 8 if drops were not passed on.
        let walked = client.walk(&root, names("file"), None).unwrap();
        assert_eq!(walked.stop, WalkStop::Complete);
    }
    let mut kept = Vec::new();
    for _ in 0..7 {
        kept.push(client.walk(&root, names("file"), None).unwrap());
    }
    let full = client.walk(&root, names("file"), None).unwrap();
    assert_eq!(full.stop, WalkStop::Failed(libc::ENFILE));
    kept.clear();
    client.flush().unwrap();
    assert_eq!(
        client.walk(&root, names("file"), None).unwrap().stop,
        WalkStop::Complete
    );
}
