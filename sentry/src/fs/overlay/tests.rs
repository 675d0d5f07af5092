//! An overlay over a tmpfs that plays the read-only tree.

use super::*;
use crate::abi::Errno;
use crate::usermem::{KernelSink, KernelSource};
use crate::vfs::{attr, names, xattr, *};
use std::sync::Arc;

pub(super) const ROOT: KernelCaller = KernelCaller;

pub(super) struct World {
    pub(super) fs: FsContext,
    lower: FsContext,
}

pub(super) fn context(root: InodeRef) -> FsContext {
    let sb = SuperBlock::new(root, "t", "");
    FsContext::new(MountNamespace::new(sb, b"none", MountFlags::default()))
}

/// A lower tree: /d/{a,b,sub/x}, /d/hard1 = /d/hard2, /link -> d/a, /empty
pub(super) fn world() -> World {
    let root: InodeRef = Tmpfs::root(&TmpfsOptions::parse(b"mode=755").unwrap());
    let lower = context(root.clone());
    for d in ["/d", "/d/sub", "/empty"] {
        mkdir(&lower, d).unwrap();
    }
    for (f, text) in [
        ("/d/a", "lower a"),
        ("/d/b", "lower b"),
        ("/d/sub/x", "x"),
        ("/d/hard1", "hard"),
    ] {
        put(&creat(&lower, f), 0, text);
    }
    let h = find(&lower, "/d/hard1").unwrap();
    names::link(&ROOT, &lower, &h, &At::Cwd, b"/d/hard2").unwrap();
    names::symlink(&ROOT, &lower, b"d/a", &At::Cwd, b"/link").unwrap();
    let top: InodeRef = Overlay::root(root, &TmpfsOptions::parse(b"size=1m").unwrap()).unwrap();
    World {
        fs: context(top),
        lower,
    }
}
pub(super) fn how(f: OpenFlags, fs: &FsContext, path: &str) -> Result<Arc<File>> {
    let h = OpenHow {
        flags: f,
        mode: 0o644,
        resolve: WalkFlags::empty(),
    };
    open(&ROOT, fs, &At::Cwd, path.as_bytes(), &h)
}
pub(super) fn creat(fs: &FsContext, path: &str) -> Arc<File> {
    how(OpenFlags::CREAT | OpenFlags::RDWR, fs, path).unwrap()
}
pub(super) fn put(f: &Arc<File>, pos: u64, text: &str) {
    let mut src = KernelSource::new(text.as_bytes());
    let mut pos = pos;
    f.ops().write(f, &ROOT, &mut src, &mut pos, false).unwrap();
}
fn get(f: &Arc<File>) -> String {
    let mut sink = KernelSink::new(1000);
    f.ops().read(f, &ROOT, &mut sink, &mut 0).unwrap();
    String::from_utf8(sink.data).unwrap()
}
fn cat(fs: &FsContext, path: &str) -> Result<String> {
    how(OpenFlags::empty(), fs, path).map(|f| get(&f))
}
pub(super) fn mkdir(fs: &FsContext, path: &str) -> Result<Path> {
    names::mkdir(&ROOT, fs, &At::Cwd, path.as_bytes(), 0o755)
}
pub(super) fn find(fs: &FsContext, path: &str) -> Result<Path> {
    resolve(&ROOT, fs, &At::Cwd, path.as_bytes(), WalkFlags::FOLLOW)
}
fn stat(fs: &FsContext, path: &str) -> Stat {
    find(fs, path).unwrap().inode().stat().unwrap()
}
pub(super) fn unlink(fs: &FsContext, path: &str) -> Result<()> {
    names::unlink(&ROOT, fs, &At::Cwd, path.as_bytes())
}
pub(super) fn rmdir(fs: &FsContext, path: &str) -> Result<()> {
    names::rmdir(&ROOT, fs, &At::Cwd, path.as_bytes())
}
pub(super) fn rename(fs: &FsContext, a: &str, b: &str) -> Result<()> {
    rename2(fs, a, b, RenameFlags::empty())
}
pub(super) fn rename2(fs: &FsContext, a: &str, b: &str, f: RenameFlags) -> Result<()> {
    names::rename(&ROOT, fs, &At::Cwd, a.as_bytes(), &At::Cwd, b.as_bytes(), f)
}
/// Names, checking that d_ino and d_type agree with stat.
fn list(fs: &FsContext, path: &str) -> Vec<String> {
    let d = how(OpenFlags::DIRECTORY, fs, path).unwrap();
    let mut out = Vec::new();
    let mut pos = 0;
    // One entry per call: positions must lead on.
    loop {
        let before = out.len();
        d.ops()
            .readdir(&d, &ROOT, &mut pos, &mut |e| {
                if out.len() > before {
                    return false;
                }
                out.push((
                    e.ino,
                    e.file_type,
                    String::from_utf8_lossy(e.name).into_owned(),
                ));
                true
            })
            .unwrap();
        if out.len() == before {
            break;
        }
    }
    for (ino, kind, name) in &out {
        let p = format!("{path}/{name}");
        let st = resolve(&ROOT, fs, &At::Cwd, p.as_bytes(), WalkFlags::empty())
            .unwrap()
            .inode()
            .stat()
            .unwrap();
        assert_eq!((st.ino, st.file_type), (*ino, *kind), "{p}");
    }
    let mut names: Vec<String> = out.into_iter().map(|e| e.2).collect();
    names.sort();
    assert_eq!(names.first().map(String::as_str), Some("."));
    names.split_off(2)
}

#[test]
fn writing_copies_up_and_leaves_the_lower_tree_alone() {
    let w = world();
    let before = stat(&w.fs, "/d/a");
    let reader = how(OpenFlags::empty(), &w.fs, "/d/a").unwrap();
    let writer = how(OpenFlags::RDWR, &w.fs, "/d/a").unwrap();
    put(&writer, 0, "UPPER");
    assert_eq!(cat(&w.fs, "/link").unwrap(), "UPPER a");
    assert_eq!(get(&reader), "UPPER a");
    assert_eq!(cat(&w.lower, "/d/a").unwrap(), "lower a");
    let after = stat(&w.fs, "/d/a");
    assert_eq!(
        (before.ino, before.dev, before.nlink),
        (after.ino, after.dev, after.nlink)
    );
    assert_eq!(list(&w.fs, "/d"), ["a", "b", "hard1", "hard2", "sub"]);
    // Truncation copies nothing.
    drop(how(OpenFlags::WRONLY | OpenFlags::TRUNC, &w.fs, "/d/b").unwrap());
    assert_eq!(cat(&w.fs, "/d/b").unwrap(), "");
    assert_eq!(cat(&w.lower, "/d/b").unwrap(), "lower b");
}

#[test]
fn removed_names_stay_removed_and_can_be_reused() {
    let w = world();
    unlink(&w.fs, "/d/a").unwrap();
    assert_eq!(cat(&w.fs, "/d/a").err(), Some(Errno::ENOENT));
    assert_eq!(list(&w.fs, "/d"), ["b", "hard1", "hard2", "sub"]);
    put(&creat(&w.fs, "/d/a"), 0, "new");
    assert_eq!(cat(&w.fs, "/d/a").unwrap(), "new");
    assert_ne!(stat(&w.fs, "/d/a").ino, stat(&w.lower, "/d/a").ino);
    unlink(&w.fs, "/d/a").unwrap();
    assert_eq!(cat(&w.fs, "/d/a").err(), Some(Errno::ENOENT));
    // A directory made where one was removed is empty.
    assert_eq!(rmdir(&w.fs, "/d/sub"), Err(Errno::ENOTEMPTY));
    unlink(&w.fs, "/d/sub/x").unwrap();
    rmdir(&w.fs, "/d/sub").unwrap();
    assert_eq!(find(&w.fs, "/d/sub").err(), Some(Errno::ENOENT));
    mkdir(&w.fs, "/d/sub").unwrap();
    assert!(list(&w.fs, "/d/sub").is_empty());
    // Removing a directory whose upper part is all whiteouts.
    for f in ["b", "hard1", "hard2"] {
        unlink(&w.fs, &format!("/d/{f}")).unwrap();
    }
    rmdir(&w.fs, "/d/sub").unwrap();
    rmdir(&w.fs, "/d").unwrap();
    rmdir(&w.fs, "/empty").unwrap();
    assert_eq!(list(&w.fs, "/"), ["link"]);
    assert_eq!(list(&w.lower, "/"), ["d", "empty", "link"]);
}

#[test]
fn an_unlinked_open_file_keeps_its_contents() {
    let w = world();
    let f = how(OpenFlags::empty(), &w.fs, "/d/a").unwrap();
    unlink(&w.fs, "/d/a").unwrap();
    assert_eq!(get(&f), "lower a");
    assert_eq!(f.inode().stat().unwrap().nlink, 0);
    // Changing it now copies it to nowhere.
    let c = SetAttr {
        size: Some(5),
        ..SetAttr::default()
    };
    f.inode().set_attr(&ROOT, &c).unwrap();
    assert_eq!(get(&f), "lower");
    assert_eq!(cat(&w.fs, "/d/a").err(), Some(Errno::ENOENT));
}

#[test]
fn renamed_directories_keep_their_lower_contents() {
    let w = world();
    let open = how(OpenFlags::empty(), &w.fs, "/d/sub/x").unwrap();
    let ino = stat(&w.fs, "/d/sub").ino;
    rename(&w.fs, "/d/sub", "/moved").unwrap();
    assert_eq!(stat(&w.fs, "/moved").ino, ino);
    assert_eq!(cat(&w.fs, "/moved/x").unwrap(), "x");
    assert_eq!(find(&w.fs, "/d/sub").err(), Some(Errno::ENOENT));
    assert_eq!(open.path().unwrap().display(&w.fs.root()), b"/moved/x");
    put(&how(OpenFlags::RDWR, &w.fs, "/moved/x").unwrap(), 0, "y");
    assert_eq!(get(&open), "y");
    assert_eq!(list(&w.fs, "/moved"), ["x"]);
    // Over an empty lower directory, into it, and back to where it came from.
    rename(&w.fs, "/moved", "/empty").unwrap();
    assert_eq!(list(&w.fs, "/"), ["d", "empty", "link"]);
    assert_eq!(cat(&w.fs, "/empty/x").unwrap(), "y");
    rename(&w.fs, "/empty", "/d/sub").unwrap();
    assert_eq!(cat(&w.fs, "/d/sub/x").unwrap(), "y");
    assert_eq!(list(&w.fs, "/"), ["d", "link"]);
    assert_eq!(rename(&w.fs, "/d/sub", "/d/a"), Err(Errno::ENOTDIR));
    assert_eq!(rename(&w.fs, "/d/a", "/d/sub"), Err(Errno::EISDIR));
}

#[test]
fn renamed_files_leave_whiteouts() {
    let w = world();
    rename(&w.fs, "/d/a", "/d/b").unwrap();
    assert_eq!(list(&w.fs, "/d"), ["b", "hard1", "hard2", "sub"]);
    assert_eq!(cat(&w.fs, "/d/b").unwrap(), "lower a");
    assert_eq!(stat(&w.fs, "/d/b").nlink, 1);
    rename(&w.fs, "/d/b", "/d/a").unwrap();
    assert_eq!(list(&w.fs, "/d"), ["a", "hard1", "hard2", "sub"]);
    let exchange = RenameFlags::EXCHANGE;
    rename2(&w.fs, "/d/a", "/d/sub", exchange).unwrap();
    assert_eq!(cat(&w.fs, "/d/sub").unwrap(), "lower a");
    assert_eq!(cat(&w.fs, "/d/a/x").unwrap(), "x");
    let no = RenameFlags::NOREPLACE;
    assert_eq!(rename2(&w.fs, "/d/sub", "/d/hard1", no), Err(Errno::EEXIST));
    // A removed name does not count as taken.
    rename2(&w.fs, "/d/sub", "/d/b", no).unwrap();
    assert_eq!(cat(&w.lower, "/d/b").unwrap(), "lower b");
}

#[test]
fn hard_links_of_lower_files_stay_one_file() {
    let w = world();
    let nlink = |p: &str| stat(&w.fs, p).nlink;
    assert_eq!((nlink("/d/hard1"), nlink("/d/hard2")), (2, 2));
    put(&how(OpenFlags::RDWR, &w.fs, "/d/hard1").unwrap(), 0, "HA");
    assert_eq!(cat(&w.fs, "/d/hard2").unwrap(), "HArd");
    assert_eq!((nlink("/d/hard1"), nlink("/d/hard2")), (2, 2));
    assert_eq!(stat(&w.fs, "/d/hard1").ino, stat(&w.fs, "/d/hard2").ino);
    unlink(&w.fs, "/d/hard1").unwrap();
    assert_eq!(nlink("/d/hard2"), 1);
    assert_eq!(cat(&w.fs, "/d/hard2").unwrap(), "HArd");
    rename(&w.fs, "/d/hard2", "/h").unwrap();
    assert_eq!(
        (nlink("/h"), cat(&w.fs, "/h").unwrap().as_str()),
        (1, "HArd")
    );
    let h = find(&w.fs, "/h").unwrap();
    names::link(&ROOT, &w.fs, &h, &At::Cwd, b"/d/hard1").unwrap();
    assert_eq!(nlink("/d/hard1"), 2);
    unlink(&w.fs, "/h").unwrap();
    unlink(&w.fs, "/d/hard1").unwrap();
    assert_eq!(h.inode().stat().unwrap().nlink, 0);
}

#[test]
fn attributes_are_copied_up_with_their_directories() {
    let w = world();
    let times = stat(&w.fs, "/d");
    let p = find(&w.fs, "/d/sub/x").unwrap();
    attr::chmod(&ROOT, &p, 0o600).unwrap();
    assert_eq!(stat(&w.fs, "/d/sub/x").perm, 0o600);
    assert_eq!(cat(&w.fs, "/d/sub/x").unwrap(), "x");
    assert_eq!(stat(&w.lower, "/d/sub/x").perm, 0o644);
    assert_eq!(stat(&w.fs, "/d").mtime, times.mtime);
    xattr::set(&ROOT, &p, b"user.k", b"v", 0).unwrap();
    assert_eq!(xattr::get(&ROOT, &p, b"user.k").unwrap(), b"v");
    assert_eq!(
        find(&w.lower, "/d/sub/x")
            .unwrap()
            .inode()
            .listxattr(&ROOT)
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn big_and_sparse_files_survive_and_quotas_hold() {
    let w = world();
    let data: String = (0..200_000)
        .map(|i| char::from(b'a' + (i % 23) as u8))
        .collect();
    put(&creat(&w.lower, "/big"), 1 << 20, &data);
    let f = how(OpenFlags::RDWR, &w.fs, "/big").unwrap();
    let mut sink = KernelSink::new(usize::MAX);
    f.ops().read(&f, &ROOT, &mut sink, &mut (1 << 20)).unwrap();
    assert!(sink.data == data.as_bytes());
    assert!(f.inode().stat().unwrap().blocks < 500);
    put(&creat(&w.lower, "/huge"), 0, &data.repeat(8));
    let err = how(OpenFlags::RDWR, &w.fs, "/huge").err();
    assert_eq!(err, Some(Errno::ENOSPC));
    assert_eq!(cat(&w.fs, "/huge").unwrap().len(), 1000);
    let free = |w: &World| w.fs.root().inode().statfs().unwrap().files_free;
    let before = free(&w);
    let _ = how(OpenFlags::RDWR, &w.fs, "/huge");
    assert_eq!(free(&w), before);
}

#[test]
fn guests_cannot_make_whiteouts() {
    let w = world();
    let made = names::mknod(
        &ROOT,
        &w.fs,
        &At::Cwd,
        b"/w",
        FileType::CharDevice,
        0o600,
        0,
    );
    assert_eq!(made.err(), Some(Errno::EPERM));
    let n = names::mknod(
        &ROOT,
        &w.fs,
        &At::Cwd,
        b"/n",
        FileType::CharDevice,
        0o600,
        259,
    );
    assert_eq!(n.unwrap().inode().stat().unwrap().rdev, 259);
    names::mknod(&ROOT, &w.fs, &At::Cwd, b"/fifo", FileType::Fifo, 0o600, 0).unwrap();
    assert_eq!(list(&w.fs, "/"), ["d", "empty", "fifo", "link", "n"]);
}

#[test]
fn copying_up_while_listing_shows_each_name_once() {
    let w = world();
    for i in 0..600 {
        creat(&w.lower, &format!("/empty/f{i}"));
    }
    let d = how(OpenFlags::DIRECTORY, &w.fs, "/empty").unwrap();
    let mut seen = Vec::new();
    let mut pos = 0;
    loop {
        let mut batch = Vec::new();
        d.ops()
            .readdir(&d, &ROOT, &mut pos, &mut |e| {
                if batch.len() == 7 {
                    return false;
                }
                batch.push(String::from_utf8_lossy(e.name).into_owned());
                true
            })
            .unwrap();
        if batch.is_empty() {
            break;
        }
        for name in &batch {
            if name.starts_with('f') {
                let p = find(&w.fs, &format!("/empty/{name}")).unwrap();
                attr::chmod(&ROOT, &p, 0o600).unwrap();
            }
        }
        // And one that was not listed yet.
        let p = find(&w.fs, &format!("/empty/f{}", 599 - seen.len() / 2)).unwrap();
        attr::chmod(&ROOT, &p, 0o640).unwrap();
        seen.extend(batch);
    }
    assert_eq!(seen.len(), 602);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 602);
}
