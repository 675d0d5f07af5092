//! A tmpfs used as the kernel would, through the VFS.

use super::*;
use crate::auth::{Caps, Credentials};
use crate::usermem::{GuestMemory, KernelSink, KernelSource};
use crate::vfs::names;
use crate::vfs::*;

/// Someone other than root.
struct User(u32);
struct NoMemory;
impl GuestMemory for NoMemory {
    fn read_partial(&self, _: u64, _: &mut [u8]) -> usize {
        0
    }
    fn write_partial(&self, _: u64, _: &[u8]) -> usize {
        0
    }
}
impl Caller for User {
    fn credentials(&self) -> &Arc<Credentials> {
        // Lives as long as the test program.
        Box::leak(Box::new(Arc::new(Credentials::new(
            self.0,
            self.0,
            &[],
            Caps::all(),
        ))))
    }
    fn memory(&self) -> &dyn GuestMemory {
        &NoMemory
    }
    fn tgid(&self) -> i32 {
        1
    }
    fn pgid(&self) -> i32 {
        1
    }
    fn sid(&self) -> i32 {
        1
    }
    fn umask(&self) -> u32 {
        0o022
    }
    fn file_size_limit(&self) -> u64 {
        u64::MAX
    }
}
const ROOT: User = User(0);
const USER: User = User(1000);

fn world() -> FsContext {
    limited(b"mode=755")
}
fn limited(options: &[u8]) -> FsContext {
    let sb = Tmpfs::superblock(&TmpfsOptions::parse(options).unwrap());
    FsContext::new(MountNamespace::new(sb, b"none", MountFlags::default()))
}
fn flags(f: OpenFlags, fs: &FsContext, who: &User, path: &str) -> Result<Arc<File>> {
    let how = OpenHow {
        flags: f,
        mode: 0o666,
        resolve: WalkFlags::empty(),
    };
    open(who, fs, &At::Cwd, path.as_bytes(), &how)
}
fn creat(fs: &FsContext, path: &str) -> Result<Arc<File>> {
    flags(OpenFlags::CREAT | OpenFlags::RDWR, fs, &ROOT, path)
}
fn put(f: &Arc<File>, pos: u64, data: &[u8]) -> Result<usize> {
    let mut pos = pos;
    f.ops()
        .write(f, &ROOT, &mut KernelSource::new(data), &mut pos, false)
}
fn get(f: &Arc<File>, pos: u64, n: usize) -> Vec<u8> {
    let mut pos = pos;
    let mut sink = KernelSink::new(n);
    f.ops().read(f, &ROOT, &mut sink, &mut pos).unwrap();
    sink.data
}
fn mkdir(fs: &FsContext, path: &str) -> Result<Path> {
    names::mkdir(&ROOT, fs, &At::Cwd, path.as_bytes(), 0o755)
}
fn find(fs: &FsContext, path: &str) -> Result<Path> {
    resolve(&ROOT, fs, &At::Cwd, path.as_bytes(), WalkFlags::FOLLOW)
}
fn rename(fs: &FsContext, a: &str, b: &str, f: RenameFlags) -> Result<()> {
    names::rename(&ROOT, fs, &At::Cwd, a.as_bytes(), &At::Cwd, b.as_bytes(), f)
}
fn unlink(fs: &FsContext, path: &str) -> Result<()> {
    names::unlink(&ROOT, fs, &At::Cwd, path.as_bytes())
}
fn rmdir(fs: &FsContext, path: &str) -> Result<()> {
    names::rmdir(&ROOT, fs, &At::Cwd, path.as_bytes())
}
fn symlink(fs: &FsContext, target: &str, path: &str) {
    names::symlink(&ROOT, fs, target.as_bytes(), &At::Cwd, path.as_bytes()).unwrap();
}
fn text(p: &Path, fs: &FsContext) -> String {
    String::from_utf8(p.display(&fs.root())).unwrap()
}
fn list(fs: &FsContext, path: &str) -> Vec<String> {
    let d = flags(OpenFlags::DIRECTORY, fs, &ROOT, path).unwrap();
    let mut out = Vec::new();
    d.ops()
        .readdir(&d, &ROOT, &mut 0, &mut |e| {
            out.push(String::from_utf8_lossy(e.name).into_owned());
            true
        })
        .unwrap();
    out.sort();
    out
}

#[test]
fn errors_of_the_walk_are_linux_errors() {
    let fs = world();
    mkdir(&fs, "/d").unwrap();
    creat(&fs, "/d/f").unwrap();
    symlink(&fs, "f", "/d/l");
    symlink(&fs, "loop", "/loop");
    symlink(&fs, "nowhere", "/dangling");
    let err = |p: &str| find(&fs, p).err();
    assert_eq!(err("/x"), Some(Errno::ENOENT));
    assert_eq!(err(""), Some(Errno::ENOENT));
    assert_eq!(err("/x/y"), Some(Errno::ENOENT));
    assert_eq!(err("/d/f/y"), Some(Errno::ENOTDIR));
    assert_eq!(err("/d/f/"), Some(Errno::ENOTDIR));
    assert_eq!(err("/d/l/"), Some(Errno::ENOTDIR));
    assert_eq!(err("/d/f/.."), Some(Errno::ENOTDIR));
    assert_eq!(err("/loop"), Some(Errno::ELOOP));
    assert_eq!(err("/dangling"), Some(Errno::ENOENT));
    assert_eq!(err(&"x".repeat(256)), Some(Errno::ENAMETOOLONG));
    assert_eq!(err(&"x/".repeat(2048)), Some(Errno::ENAMETOOLONG));
    assert_eq!(err(&"x/".repeat(2047)), Some(Errno::ENOENT));
    for (path, is) in [
        ("/d/l", "/d/f"),
        ("/../../d", "/d"),
        ("d/./../d//f", "/d/f"),
        ("/d/", "/d"),
        (".", "/"),
    ] {
        assert_eq!(text(&find(&fs, path).unwrap(), &fs), is);
    }
    // 40 links are followed, 41 are not.
    creat(&fs, "/n0").unwrap();
    for i in 1..=41 {
        symlink(&fs, &format!("n{}", i - 1), &format!("/n{i}"));
    }
    assert_eq!(text(&find(&fs, "/n40").unwrap(), &fs), "/n0");
    assert_eq!(err("/n41"), Some(Errno::ELOOP));
}

#[test]
fn open_flags_mean_what_open_2_says() {
    use OpenFlags as O;
    let fs = world();
    mkdir(&fs, "/d").unwrap();
    symlink(&fs, "d/new", "/l");
    let err = |f: OpenFlags, p: &str| flags(f, &fs, &ROOT, p).err();
    assert_eq!(err(O::CREAT | O::EXCL | O::RDWR, "/l"), Some(Errno::EEXIST));
    // O_CREAT goes through a dangling link.
    flags(O::CREAT | O::RDWR, &fs, &ROOT, "/l").unwrap();
    assert_eq!(list(&fs, "/d"), [".", "..", "new"]);
    assert_eq!(err(O::NOFOLLOW, "/l"), Some(Errno::ELOOP));
    assert_eq!(err(O::NOFOLLOW | O::DIRECTORY, "/l"), Some(Errno::ENOTDIR));
    assert_eq!(err(O::RDWR, "/d"), Some(Errno::EISDIR));
    assert_eq!(err(O::CREAT, "/d"), Some(Errno::EISDIR));
    assert_eq!(err(O::CREAT, "/new/"), Some(Errno::EISDIR));
    assert_eq!(err(O::CREAT | O::EXCL, "/d"), Some(Errno::EEXIST));
    assert_eq!(err(O::DIRECTORY, "/d/new"), Some(Errno::ENOTDIR));
    let p = flags(O::PATH | O::NOFOLLOW, &fs, &ROOT, "/l").unwrap();
    assert_eq!(p.inode().file_type(), FileType::Symlink);
    let f = flags(O::RDWR, &fs, &ROOT, "/d/new").unwrap();
    put(&f, 0, b"hello").unwrap();
    flags(O::WRONLY | O::TRUNC, &fs, &ROOT, "/d/new").unwrap();
    assert_eq!(f.inode().stat().unwrap().size, 0);
    // An unnamed file can be given a name.
    let t = flags(O::TMPFILE | O::RDWR, &fs, &ROOT, "/d").unwrap();
    assert_eq!(t.inode().stat().unwrap().nlink, 0);
    assert!(text(t.path().unwrap(), &fs).ends_with(" (deleted)"));
    names::link(&ROOT, &fs, t.path().unwrap(), &At::Cwd, b"/d/named").unwrap();
    assert_eq!(
        find(&fs, "/d/named").unwrap().inode().stat().unwrap().nlink,
        1
    );
}

#[test]
fn permissions_follow_the_mode_bits() {
    use OpenFlags as O;
    let fs = world();
    mkdir(&fs, "/private").unwrap();
    let f = creat(&fs, "/private/f").unwrap();
    let mode = |p: &str, perm: u32| {
        let c = SetAttr {
            perm: Some(perm),
            ..SetAttr::default()
        };
        find(&fs, p).unwrap().inode().set_attr(&ROOT, &c).unwrap();
    };
    assert_eq!(f.inode().stat().unwrap().perm, 0o644);
    let err = |f: OpenFlags, p: &str| flags(f, &fs, &USER, p).err();
    assert_eq!(err(O::empty(), "/private/f"), None);
    assert_eq!(err(O::RDWR, "/private/f"), Some(Errno::EACCES));
    assert_eq!(err(O::CREAT | O::RDWR, "/private/g"), Some(Errno::EACCES));
    mode("/private", 0o700);
    assert_eq!(err(O::empty(), "/private/f"), Some(Errno::EACCES));
    assert_eq!(err(O::empty(), "/private/none"), Some(Errno::EACCES));
    // Root passes, but does not execute what nobody may execute.
    let place = find(&fs, "/private/f").unwrap();
    assert_eq!(permission::check_exec(&ROOT, &place), Err(Errno::EACCES));
    mode("/private/f", 0o001);
    assert_eq!(permission::check_exec(&ROOT, &place), Ok(()));
    // Sticky: others may add, but not remove what is not theirs.
    mode("/private", 0o1777);
    flags(O::CREAT, &fs, &User(7), "/private/seven").unwrap();
    let rm = |who: &User| names::unlink(who, &fs, &At::Cwd, b"/private/seven");
    assert_eq!(rm(&USER), Err(Errno::EPERM));
    assert_eq!(rm(&User(7)), Ok(()));
    assert_eq!(
        names::mknod(
            &USER,
            &fs,
            &At::Cwd,
            b"/private/n",
            FileType::CharDevice,
            0o600,
            259
        ),
        Err(Errno::EPERM)
    );
}

#[test]
fn setgid_directories_pass_on_their_group() {
    let fs = world();
    let d = mkdir(&fs, "/g").unwrap();
    let c = SetAttr {
        perm: Some(0o2777),
        gid: Some(42),
        ..SetAttr::default()
    };
    d.inode().set_attr(&ROOT, &c).unwrap();
    let sub = names::mkdir(&USER, &fs, &At::Cwd, b"/g/s", 0o777).unwrap();
    let st = sub.inode().stat().unwrap();
    assert_eq!((st.uid, st.gid, st.perm), (1000, 42, 0o2755));
    let f = flags(OpenFlags::CREAT, &fs, &USER, "/g/f").unwrap();
    assert_eq!(f.inode().stat().unwrap().gid, 42);
}

#[test]
fn renames_keep_links_parents_and_open_files_right() {
    let none = RenameFlags::empty();
    let fs = world();
    for d in ["/a", "/a/b", "/c", "/empty", "/full"] {
        mkdir(&fs, d).unwrap();
    }
    creat(&fs, "/full/x").unwrap();
    let f = creat(&fs, "/a/b/f").unwrap();
    let nlink = |p: &str| find(&fs, p).unwrap().inode().stat().unwrap().nlink;
    assert_eq!((nlink("/a"), nlink("/c"), nlink("/")), (3, 2, 6));
    assert_eq!(rename(&fs, "/a", "/a/b/c", none), Err(Errno::EINVAL));
    assert_eq!(rename(&fs, "/a/b", "/a", none), Err(Errno::ENOTEMPTY));
    assert_eq!(rename(&fs, "/a/b", "/full", none), Err(Errno::ENOTEMPTY));
    assert_eq!(rename(&fs, "/a/b", "/full/x", none), Err(Errno::ENOTDIR));
    assert_eq!(rename(&fs, "/full/x", "/c", none), Err(Errno::EISDIR));
    assert_eq!(rename(&fs, "/full/x", "/y/", none), Err(Errno::ENOTDIR));
    assert_eq!(rename(&fs, "/a/.", "/q", none), Err(Errno::EBUSY));
    assert_eq!(
        rename(&fs, "/a/b", "/c", RenameFlags::NOREPLACE),
        Err(Errno::EEXIST)
    );
    rename(&fs, "/a/b", "/empty", none).unwrap();
    assert_eq!((nlink("/a"), nlink("/empty"), nlink("/")), (2, 2, 6));
    assert_eq!(text(f.path().unwrap(), &fs), "/empty/f");
    assert_eq!(text(&find(&fs, "/empty/..").unwrap(), &fs), "/");
    rename(&fs, "/empty", "/c/moved", none).unwrap();
    assert_eq!(text(f.path().unwrap(), &fs), "/c/moved/f");
    assert_eq!(text(&find(&fs, "/c/moved/..").unwrap(), &fs), "/c");
    rename(&fs, "/c/moved", "/full/x", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(text(f.path().unwrap(), &fs), "/full/x/f");
    assert_eq!(
        find(&fs, "/c/moved").unwrap().inode().file_type(),
        FileType::Regular
    );
    assert_eq!((nlink("/c"), nlink("/full")), (2, 3));
    unlink(&fs, "/full/x/f").unwrap();
    assert_eq!(text(f.path().unwrap(), &fs), "/full/x/f (deleted)");
    assert_eq!(f.inode().stat().unwrap().nlink, 0);
    assert_eq!(rmdir(&fs, "/full"), Err(Errno::ENOTEMPTY));
    assert_eq!(rmdir(&fs, "/full/x/."), Err(Errno::EINVAL));
    rmdir(&fs, "/full/x/").unwrap();
    assert_eq!(unlink(&fs, "/full"), Err(Errno::EISDIR));
    assert_eq!(unlink(&fs, "/c/moved/"), Err(Errno::ENOTDIR));
    // Renaming one link over another of the same file does nothing.
    let f = creat(&fs, "/one").unwrap();
    names::link(&ROOT, &fs, f.path().unwrap(), &At::Cwd, b"/two").unwrap();
    rename(&fs, "/one", "/two", none).unwrap();
    assert_eq!(f.inode().stat().unwrap().nlink, 2);
    assert!(find(&fs, "/one").is_ok());
}

#[test]
fn nothing_can_be_made_in_a_removed_directory() {
    let fs = world();
    let d = mkdir(&fs, "/d").unwrap();
    fs.set_cwd(d);
    rmdir(&fs, "/d").unwrap();
    assert_eq!(creat(&fs, "x").err(), Some(Errno::ENOENT));
    assert_eq!(mkdir(&fs, "x").err(), Some(Errno::ENOENT));
    assert_eq!(fs.cwd().working_directory(&fs.root()), Err(Errno::ENOENT));
    assert_eq!(text(&find(&fs, "..").unwrap(), &fs), "/");
}

#[test]
fn mounts_cover_and_uncover() {
    let fs = world();
    let ns = fs.namespace();
    for d in ["/m", "/b"] {
        mkdir(&fs, d).unwrap();
    }
    creat(&fs, "/m/under").unwrap();
    let sb = Tmpfs::superblock(&TmpfsOptions::default());
    ns.mount(&find(&fs, "/m").unwrap(), sb, b"t", MountFlags::READONLY)
        .unwrap();
    assert_eq!(list(&fs, "/m"), [".", ".."]);
    assert_eq!(creat(&fs, "/m/x").err(), Some(Errno::EROFS));
    assert_eq!(rmdir(&fs, "/m"), Err(Errno::EBUSY));
    assert_eq!(text(&find(&fs, "/m/..").unwrap(), &fs), "/");
    find(&fs, "/m")
        .unwrap()
        .mount
        .set_flags(MountFlags::default())
        .unwrap();
    let f = creat(&fs, "/m/x").unwrap();
    assert_eq!(text(f.path().unwrap(), &fs), "/m/x");
    assert_eq!(
        rename(&fs, "/m/x", "/x", RenameFlags::empty()),
        Err(Errno::EXDEV)
    );
    ns.bind(&find(&fs, "/m").unwrap(), &find(&fs, "/b").unwrap(), false)
        .unwrap();
    assert_eq!(list(&fs, "/b"), [".", "..", "x"]);
    assert_eq!(ns.mounts().len(), 3);
    let at = |p: &str| find(&fs, p).unwrap();
    assert_eq!(ns.unmount(at("/"), false), Err(Errno::EINVAL));
    assert_eq!(ns.unmount(at("/m"), false), Err(Errno::EBUSY));
    drop(f);
    ns.unmount(at("/m"), false).unwrap();
    assert_eq!(list(&fs, "/m"), [".", "..", "under"]);
    // A copy of the namespace has mounts of its own.
    let copy = fs
        .duplicate_namespace(crate::auth::UserNamespace::initial())
        .unwrap();
    ns.unmount(at("/b"), true).unwrap();
    assert_eq!(list(&fs, "/b"), [".", ".."]);
    assert_eq!(list(&copy, "/b"), [".", "..", "x"]);
}

#[test]
fn resolve_flags_confine() {
    let fs = world();
    for d in ["/in", "/in/d", "/out"] {
        mkdir(&fs, d).unwrap();
    }
    symlink(&fs, "/out", "/in/abs");
    symlink(&fs, "../out", "/in/rel");
    symlink(&fs, "d", "/in/ok");
    let start = At::Path(find(&fs, "/in").unwrap());
    let go = |p: &str, f: WalkFlags| {
        resolve(&ROOT, &fs, &start, p.as_bytes(), f | WalkFlags::FOLLOW).map(|p| text(&p, &fs))
    };
    let beneath = WalkFlags::BENEATH;
    assert_eq!(go("ok", beneath), Ok("/in/d".into()));
    assert_eq!(go("d/..", beneath), Ok("/in".into()));
    for bad in ["..", "d/../..", "abs", "rel", "/in"] {
        assert_eq!(go(bad, beneath), Err(Errno::EXDEV), "{bad}");
    }
    let in_root = WalkFlags::IN_ROOT;
    assert_eq!(go("../..", in_root), Ok("/in".into()));
    assert_eq!(go("/d", in_root), Ok("/in/d".into()));
    assert_eq!(go("abs", in_root), Err(Errno::ENOENT));
    assert_eq!(go("ok", WalkFlags::NO_SYMLINKS), Err(Errno::ELOOP));
}

#[test]
fn files_have_holes_in_memory_and_as_memfd() {
    let fs = world();
    for big in [false, true] {
        let f = creat(&fs, if big { "/big" } else { "/small" }).unwrap();
        if big {
            // Makes it a memfd.
            f.ops().map(&f, true, true).unwrap();
        }
        put(&f, 10, b"abc").unwrap();
        put(&f, 5 * 4096 - 1, b"xyz").unwrap();
        assert_eq!(f.inode().stat().unwrap().size, 5 * 4096 + 2);
        assert_eq!(f.inode().stat().unwrap().blocks, 24);
        assert_eq!(get(&f, 8, 7), b"\0\0abc\0\0");
        assert_eq!(get(&f, 5 * 4096 - 2, 100), b"\0xyz");
        assert_eq!(get(&f, 6 * 4096, 100), b"");
        let seek = |at, w| f.ops().seek(&f, 0, at, w);
        assert_eq!(seek(0, Whence::Hole), Ok(4096));
        assert_eq!(seek(4096, Whence::Data), Ok(4 * 4096));
        assert_eq!(seek(4 * 4096, Whence::Hole), Ok(5 * 4096 + 2));
        assert_eq!(seek(5 * 4096 + 2, Whence::Data), Err(Errno::ENXIO));
        assert_eq!(seek(-1, Whence::Data), Err(Errno::ENXIO));
        let fallocate = |mode, at, len| f.ops().fallocate(&f, &ROOT, mode, at, len);
        fallocate(3, 4096 * 4, 4096 * 2).unwrap();
        assert_eq!(get(&f, 5 * 4096 - 2, 100), b"\0\0\0\0");
        assert_eq!(f.inode().stat().unwrap().blocks, 8);
        fallocate(1, 0, 4096 * 10).unwrap();
        let st = f.inode().stat().unwrap();
        assert_eq!((st.size, st.blocks), (5 * 4096 + 2, 80));
        fallocate(0, 0, 4096 * 10).unwrap();
        assert_eq!(f.inode().stat().unwrap().size, 40960);
        assert_eq!(fallocate(0x10, 0, 1), Err(Errno::EOPNOTSUPP));
        let c = |size| SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        f.inode().set_attr(&ROOT, &c(11)).unwrap();
        f.inode().set_attr(&ROOT, &c(13)).unwrap();
        assert_eq!(get(&f, 10, 10), b"a\0\0");
    }
}

#[test]
fn contents_survive_becoming_a_memfd() {
    let fs = world();
    let f = creat(&fs, "/f").unwrap();
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 253) as u8).collect();
    for (i, part) in data.chunks(70_001).enumerate() {
        assert_eq!(put(&f, i as u64 * 70_001, part), Ok(part.len()));
    }
    assert!(get(&f, 0, usize::MAX) == data);
    // What a read-only open maps cannot be written.
    let ro = flags(OpenFlags::empty(), &fs, &ROOT, "/f").unwrap();
    let MapSource::Host(fd) = ro.ops().map(&ro, true, false).unwrap() else {
        panic!("no host file");
    };
    assert!(nix::unistd::write(&*fd, b"x").is_err());
    let MapSource::Host(fd) = f.ops().map(&f, true, true).unwrap() else {
        panic!("no host file");
    };
    nix::sys::uio::pwrite(&*fd, b"mapped", 100).unwrap();
    assert_eq!(get(&f, 100, 6), b"mapped");
}

#[test]
fn quotas_end_in_enospc_and_come_back() {
    let fs = limited(b"size=64k,nr_inodes=10,mode=755");
    let free = |fs: &FsContext| {
        let s = fs.root().inode().statfs().unwrap();
        (s.blocks_free, s.files_free)
    };
    assert_eq!(free(&fs), (16, 9));
    for host in [false, true] {
        let f = creat(&fs, "/f").unwrap();
        if host {
            f.ops().map(&f, true, true).unwrap();
        }
        assert_eq!(put(&f, 4096, &[1; 100_000]), Ok(65536));
        assert_eq!(put(&f, 200_000, b"x"), Err(Errno::ENOSPC));
        // Overwriting needs no room.
        assert_eq!(put(&f, 8000, &[2; 5000]), Ok(5000));
        assert_eq!(free(&fs), (0, 8));
        unlink(&fs, "/f").unwrap();
        assert_eq!(free(&fs).0, 0);
        drop(f);
        assert_eq!(free(&fs), (16, 9));
    }
    let f = creat(&fs, "/f").unwrap();
    for i in 0..8 {
        names::link(
            &ROOT,
            &fs,
            f.path().unwrap(),
            &At::Cwd,
            format!("/l{i}").as_bytes(),
        )
        .unwrap();
    }
    assert_eq!(mkdir(&fs, "/d").err(), Some(Errno::ENOSPC));
    for i in 0..8 {
        unlink(&fs, &format!("/l{i}")).unwrap();
    }
    let set = |v: &[u8]| f.inode().setxattr(&ROOT, b"user.a", v, 0);
    assert_eq!(set(&[0; 70_000]), Err(Errno::ENOSPC));
    set(&[0; 5000]).unwrap();
    assert_eq!(free(&fs), (14, 8));
    unlink(&fs, "/f").unwrap();
    drop(f);
    assert_eq!(free(&fs), (16, 9));
}

#[test]
fn very_deep_trees_are_taken_apart_without_recursion() {
    let fs = world();
    let top = fs.root();
    for _ in 0..50_000 {
        mkdir(&fs, "d").unwrap();
        fs.set_cwd(find(&fs, "d").unwrap());
    }
    fs.set_cwd(top);
    drop(fs);
}

#[test]
fn listing_goes_on_where_it_stopped() {
    let fs = world();
    for i in 0..50 {
        creat(&fs, &format!("/f{i}")).unwrap();
    }
    let d = flags(OpenFlags::DIRECTORY, &fs, &ROOT, "/").unwrap();
    let mut pos = 0;
    let mut seen = Vec::new();
    loop {
        let mut left = 3;
        let before = seen.len();
        d.ops()
            .readdir(&d, &ROOT, &mut pos, &mut |e| {
                if left == 0 {
                    return false;
                }
                left -= 1;
                seen.push(e.name.to_vec());
                true
            })
            .unwrap();
        if seen.len() == before {
            break;
        }
        // Removing what was seen must not make the listing skip anything.
        let last = seen.last().unwrap();
        if last.starts_with(b"f") {
            unlink(&fs, &format!("/{}", String::from_utf8_lossy(last))).unwrap();
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 52);
}

#[test]
fn seals_hold() {
    let f = memfd_create(&ROOT, b"name", 2).unwrap();
    assert_eq!(f.inode().describe(), b"/memfd:name (deleted)");
    put(&f, 0, b"12345").unwrap();
    assert_eq!(seals(&f), Ok(0));
    let shared = f.ops().map(&f, true, true).unwrap();
    add_seals(&f, F_SEAL_GROW | F_SEAL_SHRINK).unwrap();
    let c = |size| SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    assert_eq!(f.inode().set_attr(&ROOT, &c(4)), Err(Errno::EPERM));
    assert_eq!(f.inode().set_attr(&ROOT, &c(6)), Err(Errno::EPERM));
    assert_eq!(put(&f, 4, b"xy"), Err(Errno::EPERM));
    assert_eq!(put(&f, 4, b"x"), Ok(1));
    drop(shared);
    add_seals(&f, F_SEAL_WRITE | F_SEAL_SEAL).unwrap();
    assert_eq!(put(&f, 0, b"x"), Err(Errno::EPERM));
    assert!(f.ops().map(&f, true, true).is_err());
    assert_eq!(add_seals(&f, F_SEAL_EXEC), Err(Errno::EPERM));
    let plain = memfd_create(&ROOT, b"", 0).unwrap();
    assert_eq!(seals(&plain), Ok(F_SEAL_SEAL));
    assert_eq!(
        memfd_create(&ROOT, &[b'x'; 250], 0).err(),
        Some(Errno::EINVAL)
    );
}

#[test]
fn programs_in_use_are_not_written() {
    let fs = world();
    let f = creat(&fs, "/prog").unwrap();
    let deny = || deny_write::DenyWrite::new(f.inode());
    assert_eq!(deny().err(), Some(Errno::ETXTBSY));
    let inode = f.inode().clone();
    drop(f);
    let running = deny_write::DenyWrite::new(&inode).unwrap();
    let open = |f| flags(f, &fs, &ROOT, "/prog").err();
    assert_eq!(open(OpenFlags::WRONLY), Some(Errno::ETXTBSY));
    assert_eq!(open(OpenFlags::empty()), None);
    drop(running);
    assert_eq!(open(OpenFlags::WRONLY), None);
}

#[test]
fn the_dentry_cache_stays_small() {
    let fs = world();
    for i in 0..200_000 {
        assert_eq!(find(&fs, &format!("/no{i}")).err(), Some(Errno::ENOENT));
    }
    assert!(dentry::cached_entries() < 150_000);
}

/// What of a file is lent to those who read and write it past the sentry, and what ends that.
#[test]
fn contents_are_lent_as_far_as_nothing_has_to_be_minded() {
    use crate::vfs::loan::Loan;
    use crate::vfs::pages::tests::Fake;
    let sb = Tmpfs::superblock(&TmpfsOptions::default());
    let flags_of = MountFlags::empty().or_relatime();
    let fs = FsContext::new(MountNamespace::new(sb, b"none", flags_of));
    let f = creat(&fs, "/f").unwrap();
    let lend = |f: &Arc<File>, write, limit| {
        let to = Fake::new();
        let lent = f.ops().lend_pages(f, to.clone(), write, limit);
        lent.map(|l| (l.read, l.write, to))
    };
    let lengths = |f: &Arc<File>, write, limit| lend(f, write, limit).map(|(r, w, _)| (r, w));
    assert_eq!(lengths(&f, true, u64::MAX), None, "empty");
    f.inode().set_attr(&ROOT, &size(9000)).unwrap();
    assert_eq!(lengths(&f, true, u64::MAX), None, "all of it is a hole");
    put(&f, 0, &[1; 5000]).unwrap();
    assert_eq!(lengths(&f, false, u64::MAX), Some((8192, 0)));
    assert_eq!(lengths(&f, true, u64::MAX), Some((8192, 8192)));
    assert_eq!(lengths(&f, true, 100), Some((8192, 100)));
    put(&f, 8192, &[1; 2 << 20]).unwrap();
    assert_eq!(lengths(&f, true, u64::MAX), Some((1 << 20, 1 << 20)));
    let again = |how| flags(how, &fs, &ROOT, "/f").unwrap();
    let one = again(OpenFlags::empty());
    assert_eq!(lengths(&one, true, u64::MAX), Some((1 << 20, 0)));
    let one = again(OpenFlags::WRONLY);
    assert_eq!(lengths(&one, false, u64::MAX), None);
    assert_eq!(
        lengths(&one, true, u64::MAX),
        None,
        "could be read in memory"
    );
    let one = again(OpenFlags::RDWR | OpenFlags::APPEND);
    assert_eq!(lengths(&one, true, u64::MAX), Some((1 << 20, 0)));
    let mode = |perm| SetAttr {
        perm: Some(perm),
        ..SetAttr::default()
    };
    f.inode().set_attr(&ROOT, &mode(0o4711)).unwrap();
    assert_eq!(lengths(&f, true, u64::MAX), Some((1 << 20, 0)));
    f.inode().set_attr(&ROOT, &mode(0o644)).unwrap();
    // What ends it.
    let ends: [(&str, &dyn Fn()); 6] = [
        ("size", &|| {
            f.inode().set_attr(&ROOT, &size(1 << 20)).unwrap()
        }),
        ("mode", &|| f.inode().set_attr(&ROOT, &mode(0o600)).unwrap()),
        ("punch", &|| {
            f.ops().fallocate(&f, &ROOT, 3, 1 << 19, 4096).unwrap()
        }),
        ("allocate", &|| {
            f.ops().fallocate(&f, &ROOT, 0, 0, 2 << 20).unwrap()
        }),
        ("append", &|| f.set_flags(OpenFlags::APPEND)),
        ("flags", &|| f.inode().set_file_flags(0x80).unwrap()),
    ];
    for (what, end) in ends {
        let (_, _, to) = lend(&f, true, u64::MAX).unwrap();
        assert!(!to.is_over(), "{what}");
        end();
        assert!(to.is_over(), "{what}");
    }
    f.set_flags(OpenFlags::empty());
    let (_, _, to) = lend(&f, true, u64::MAX).unwrap();
    put(&f, 10, b"x").unwrap();
    get(&f, 0, 10);
    f.inode().stat().unwrap();
    assert!(!to.is_over());
    let strict = creat(&world(), "/f").unwrap();
    put(&strict, 0, &[1; 100]).unwrap();
    assert_eq!(lengths(&strict, false, u64::MAX), None);
    assert_eq!(lengths(&strict, true, u64::MAX), Some((0, 100)));
    // What can be sealed, and what is.
    for (how, is_lent) in [(0, true), (2, false), (8, false)] {
        let mem = memfd::memfd_create(&ROOT, b"m", how).unwrap();
        put(&mem, 0, &[1; 4096]).unwrap();
        assert_eq!(lengths(&mem, true, u64::MAX).is_some(), is_lent, "{how}");
    }
}

fn size(size: u64) -> SetAttr {
    SetAttr {
        size: Some(size),
        ..SetAttr::default()
    }
}
