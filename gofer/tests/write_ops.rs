//! Operations that change files: against a real directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use cofferdam_gofer::protocol::{
    Access, FileType, OpenFlags, Owner, RenameFlags, SetAttr, SetAttrMask, TimeSpec,
};
use cofferdam_gofer::server::{Export, ExportOptions};
use common::{Fixture, content, errno, start};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

const ANY: Owner = Owner {
    uid: None,
    gid: None,
};

fn fixture() -> Fixture {
    Fixture::filled(ExportOptions::read_write(), |dir| {
        fs::write(dir.join("file"), "hello").unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
    })
}

#[test]
fn create_makes_a_file_with_its_mode_and_descriptor() {
    let f = fixture();
    let made = f
        .client
        .create(&f.root, b"new", 0o604, Access::Write, OpenFlags::EXCL, ANY)
        .unwrap();
    assert!(made.created);
    fs::File::from(made.fd).write_all(b"text").unwrap();
    assert_eq!(fs::read(f.path("new")).unwrap(), b"text");
    let meta = fs::metadata(f.path("new")).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.ino()),
        (0o604, made.node.attr.ino)
    );
    let again = f
        .client
        .create(&f.root, b"new", 0o600, Access::Read, OpenFlags::EXCL, ANY);
    assert_eq!(errno(again), libc::EEXIST);
    let opened = f
        .client
        .create(
            &f.root,
            b"new",
            0o600,
            Access::Read,
            OpenFlags::empty(),
            ANY,
        )
        .unwrap();
    assert!(!opened.created);
    assert_eq!(content(&opened.fd), b"text");
    let truncated = f
        .client
        .create(&f.root, b"new", 0o600, Access::Write, OpenFlags::TRUNC, ANY)
        .unwrap();
    assert_eq!(truncated.node.attr.size, 0);
    let dir = f.client.create(
        &f.root,
        b"dir",
        0o600,
        Access::Read,
        OpenFlags::empty(),
        ANY,
    );
    assert_eq!(errno(dir), libc::EISDIR);
}

#[test]
fn a_nameless_file_can_be_given_a_name() {
    let f = fixture();
    let made = f
        .client
        .tmp_file(&f.root, 0o600, Access::ReadWrite, ANY)
        .unwrap();
    assert_eq!(made.node.attr.nlink, 0);
    fs::File::from(made.fd).write_all(b"text").unwrap();
    let attr = f.client.link(&made.node.handle, &f.root, b"named").unwrap();
    assert_eq!(attr.nlink, 1);
    assert_eq!(fs::read(f.path("named")).unwrap(), b"text");
}

#[test]
fn attributes_are_set_one_and_all() {
    let f = fixture();
    let node = f.node("file").handle;
    let (atime, mtime) = (TimeSpec::new(-5, 7), TimeSpec::new(1 << 33, 999_999_999));
    let set = SetAttr {
        mask: (SetAttrMask::MODE | SetAttrMask::SIZE | SetAttrMask::ATIME | SetAttrMask::MTIME)
            .bits(),
        mode: 0o751,
        size: 1 << 40,
        atime,
        mtime,
        ..SetAttr::default()
    };
    let attr = f.client.set_attr(&node, &set).unwrap();
    assert_eq!((attr.mode & 0o7777, attr.size), (0o751, 1 << 40));
    assert_eq!((attr.atime, attr.mtime), (atime, mtime));
    let meta = fs::metadata(f.path("file")).unwrap();
    assert_eq!((meta.len(), meta.mtime()), (1 << 40, 1 << 33));
    let now = SetAttr {
        mask: SetAttrMask::MTIME_NOW.bits(),
        ..SetAttr::default()
    };
    let after = f.client.set_attr(&node, &now).unwrap();
    assert!(after.mtime.sec < 1 << 33 && after.mtime.sec > 1_000_000_000);
    assert_eq!(after.atime, atime, "the other time stays");
    let dir = f.node("dir").handle;
    let size = SetAttr {
        mask: SetAttrMask::SIZE.bits(),
        ..SetAttr::default()
    };
    assert_eq!(errno(f.client.set_attr(&dir, &size)), libc::EISDIR);
}

#[test]
fn set_id_bits_reach_the_host_only_if_allowed() {
    let set = SetAttr {
        mask: SetAttrMask::MODE.bits(),
        mode: 0o6755,
        ..SetAttr::default()
    };
    let f = fixture();
    let attr = f.client.set_attr(&f.node("file").handle, &set).unwrap();
    assert_eq!(attr.mode & 0o7777, 0o755);
    let new = f
        .client
        .create(&f.root, b"n", 0o4755, Access::Write, OpenFlags::EXCL, ANY)
        .unwrap();
    assert_eq!(new.node.attr.mode & 0o7777, 0o755);
    let keep = ExportOptions {
        keep_setid: true,
        ..ExportOptions::read_write()
    };
    let f = Fixture::filled(keep, |dir| fs::write(dir.join("file"), "").unwrap());
    let attr = f.client.set_attr(&f.node("file").handle, &set).unwrap();
    assert_eq!(attr.mode & 0o7777, 0o6755);
}

#[test]
fn owners_are_given_where_the_gofer_may() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let f = fixture();
    let owner = Owner {
        uid: Some(1234),
        gid: Some(4321),
    };
    let made = f.client.mkdir(&f.root, b"d", 0o700, owner).unwrap();
    assert_eq!((made.attr.uid, made.attr.gid), (1234, 4321));
    let made = f.client.symlink(&f.root, b"s", b"nowhere", owner).unwrap();
    assert_eq!((made.attr.uid, made.attr.gid), (1234, 4321));
    let set = SetAttr {
        mask: (SetAttrMask::UID | SetAttrMask::GID).bits(),
        uid: 7,
        gid: 8,
        ..SetAttr::default()
    };
    f.client.set_attr(&made.handle, &set).unwrap();
    let meta = fs::symlink_metadata(f.path("s")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (7, 8));
}

#[test]
fn nodes_are_made_by_type_but_never_devices() {
    let f = fixture();
    f.client
        .mknod(&f.root, b"fifo", libc::S_IFIFO | 0o622, ANY)
        .unwrap();
    assert!(
        fs::symlink_metadata(f.path("fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    let made = f
        .client
        .mknod(&f.root, b"sock", libc::S_IFSOCK | 0o700, ANY)
        .unwrap();
    assert_eq!(made.attr.file_type(), FileType::Socket);
    f.client
        .mknod(&f.root, b"reg", libc::S_IFREG | 0o600, ANY)
        .unwrap();
    for (mode, expected) in [
        (libc::S_IFCHR, libc::EPERM),
        (libc::S_IFBLK, libc::EPERM),
        (libc::S_IFDIR, libc::EINVAL),
        (libc::S_IFLNK, libc::EINVAL),
        (0, libc::EINVAL),
    ] {
        assert_eq!(
            errno(f.client.mknod(&f.root, b"node", mode | 0o600, ANY)),
            expected
        );
    }
    assert!(!f.path("node").exists());
}

#[test]
fn names_are_linked_moved_and_removed() {
    let f = fixture();
    let c = &f.client;
    let (file, dir) = (f.node("file").handle, f.node("dir").handle);
    assert_eq!(c.link(&file, &dir, b"second").unwrap().nlink, 2);
    assert_eq!(errno(c.link(&dir, &f.root, b"dirlink")), libc::EPERM);
    assert_eq!(errno(c.link(&file, &dir, b"second")), libc::EEXIST);
    assert_eq!(errno(c.unlink(&f.root, b"dir", true)), libc::ENOTEMPTY);
    assert_eq!(errno(c.unlink(&f.root, b"dir", false)), libc::EISDIR);
    assert_eq!(errno(c.unlink(&f.root, b"file", true)), libc::ENOTDIR);
    let none = RenameFlags::empty();
    c.rename(&f.root, b"file", &dir, b"moved", none).unwrap();
    assert!(f.path("dir/moved").exists() && !f.path("file").exists());
    let keep = c.rename(&dir, b"moved", &dir, b"second", RenameFlags::NOREPLACE);
    assert_eq!(errno(keep), libc::EEXIST);
    c.symlink(&f.root, b"sym", b"target", ANY).unwrap();
    c.rename(&f.root, b"sym", &dir, b"second", RenameFlags::EXCHANGE)
        .unwrap();
    assert_eq!(
        fs::read_link(f.path("dir/second")).unwrap().to_str(),
        Some("target")
    );
    assert!(f.path("sym").metadata().unwrap().is_file());
    c.unlink(&dir, b"second", false).unwrap();
    c.unlink(&dir, b"moved", false).unwrap();
    c.unlink(&f.root, b"dir", true).unwrap();
    assert_eq!(errno(c.unlink(&f.root, b"dir", true)), libc::ENOENT);
    let both = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
    assert_eq!(
        errno(c.rename(&f.root, b"sym", &f.root, b"x", both)),
        libc::EINVAL
    );
    // The handle outlives the name.
    assert_eq!(c.get_attr(&dir).unwrap().nlink, 0);
    assert_eq!(errno(c.mkdir(&dir, b"x", 0o700, ANY)), libc::ENOENT);
}

#[test]
fn user_attributes_are_served_and_no_others() {
    let f = fixture();
    let (c, node) = (&f.client, f.node("file").handle);
    c.set_xattr(&node, b"user.a", b"1", 1).unwrap();
    assert_eq!(errno(c.set_xattr(&node, b"user.a", b"2", 1)), libc::EEXIST);
    assert_eq!(errno(c.set_xattr(&node, b"user.b", b"2", 2)), libc::ENODATA);
    assert_eq!(c.get_xattr(&node, b"user.a").unwrap(), b"1");
    assert_eq!(c.list_xattr(&node).unwrap(), b"user.a\0");
    c.remove_xattr(&node, b"user.a").unwrap();
    assert_eq!(errno(c.get_xattr(&node, b"user.a")), libc::ENODATA);
    assert_eq!(c.list_xattr(&node).unwrap(), b"");
    assert_eq!(
        errno(c.set_xattr(&node, b"security.capability", b"x", 0)),
        libc::EPERM
    );
    assert_eq!(
        errno(c.set_xattr(&node, b"trusted.overlay.x", b"x", 0)),
        libc::EPERM
    );
    let acl = b"system.posix_acl_access";
    assert_eq!(errno(c.set_xattr(&node, acl, b"x", 0)), libc::EOPNOTSUPP);
    assert_eq!(
        errno(c.get_xattr(&node, b"security.selinux")),
        libc::ENODATA
    );
    let link = c.symlink(&f.root, b"s", b"file", ANY).unwrap().handle;
    assert_eq!(errno(c.set_xattr(&link, b"user.a", b"x", 0)), libc::EPERM);
    assert_eq!(c.list_xattr(&link).unwrap(), b"");
}

#[test]
fn a_read_only_export_refuses_every_change() {
    let f = Fixture::filled(ExportOptions::read_only(), |dir| {
        fs::write(dir.join("file"), "hello").unwrap();
    });
    let (c, root, node) = (&f.client, &f.root, f.node("file").handle);
    let mode = SetAttr {
        mask: SetAttrMask::MODE.bits(),
        mode: 0o777,
        ..SetAttr::default()
    };
    let none = OpenFlags::empty();
    let refused = [
        errno(c.open(&node, Access::Write, none)),
        errno(c.open(&node, Access::ReadWrite, OpenFlags::TRUNC)),
        errno(c.set_attr(&node, &mode)),
        errno(c.create(root, b"new", 0o600, Access::Read, OpenFlags::EXCL, ANY)),
        errno(c.create(root, b"file", 0o600, Access::Read, none, ANY)),
        errno(c.tmp_file(root, 0o600, Access::ReadWrite, ANY)),
        errno(c.mkdir(root, b"new", 0o700, ANY)),
        errno(c.symlink(root, b"new", b"x", ANY)),
        errno(c.mknod(root, b"new", libc::S_IFREG, ANY)),
        errno(c.link(&node, root, b"new")),
        errno(c.unlink(root, b"file", false)),
        errno(c.unlink(root, b"file", true)),
        errno(c.rename(root, b"file", root, b"new", RenameFlags::empty())),
        errno(c.set_xattr(&node, b"user.x", b"x", 0)),
        errno(c.remove_xattr(&node, b"user.x")),
    ];
    assert_eq!(refused, [libc::EROFS; 15]);
    c.fsync(&node, false).unwrap();
    assert_eq!(fs::read(f.path("file")).unwrap(), b"hello");
    assert_eq!(fs::read_dir(f.path("")).unwrap().count(), 1);
}

#[test]
fn exports_do_not_mix() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(a.path().join("file"), "").unwrap();
    let exports = vec![
        Export::open(a.path(), ExportOptions::read_only()).unwrap(),
        Export::open(b.path(), ExportOptions::read_write()).unwrap(),
        Export::open(a.path(), ExportOptions::read_write()).unwrap(),
    ];
    let (client, _server) = start(exports, 64);
    let [ro, rw, other] = [0, 1, 2].map(|i| client.attach(i).unwrap().handle);
    let file = |root| {
        client
            .walk(root, [b"file".as_slice()], None)
            .unwrap()
            .nodes
            .pop()
            .unwrap()
    };
    assert_eq!(
        errno(client.link(&file(&ro).handle, &rw, b"x")),
        libc::EROFS
    );
    assert_eq!(
        errno(client.link(&file(&other).handle, &rw, b"x")),
        libc::EXDEV
    );
    let none = RenameFlags::empty();
    assert_eq!(
        errno(client.rename(&other, b"file", &rw, b"x", none)),
        libc::EXDEV
    );
    assert_eq!(
        errno(client.rename(&rw, b"x", &ro, b"x", none)),
        libc::EROFS
    );
}
