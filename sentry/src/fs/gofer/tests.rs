//! A real gofer on a temporary directory, used through the VFS as the kernel would.

use super::*;
use crate::auth::{Caps, Credentials};
use crate::usermem::{GuestMemory, KernelSink, KernelSource};
use crate::vfs::names;
use crate::vfs::*;
use cofferdam_gofer::host::ProcFds;
use cofferdam_gofer::server::{Export, ExportOptions, Session, serve};
use cofferdam_gofer::transport::{SeqPacket, Transport};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

struct Root;
struct NoMemory;
impl GuestMemory for NoMemory {
    fn read_partial(&self, _: u64, _: &mut [u8]) -> usize {
        0
    }
    fn write_partial(&self, _: u64, _: &[u8]) -> usize {
        0
    }
}
impl Caller for Root {
    fn credentials(&self) -> &Arc<Credentials> {
        // The files belong to whoever runs the test.
        let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
        // Lives as long as the test program.
        Box::leak(Box::new(Arc::new(Credentials {
            effective: Caps::all(),
            ..Credentials::new(uid.as_raw(), gid.as_raw(), &[], Caps::all())
        })))
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
        1 << 40
    }
}
const ROOT: Root = Root;

/// Counts the round trips.
struct Counting(SeqPacket, Arc<AtomicUsize>);
impl Transport for Counting {
    fn send(
        &mut self,
        message: &[u8],
        fd: Option<std::os::fd::BorrowedFd<'_>>,
    ) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.send(message, fd)
    }
    fn recv(
        &mut self,
        buf: &mut [u8],
        aside: Option<&cofferdam_gofer::transport::Aside>,
    ) -> std::io::Result<cofferdam_gofer::transport::Received> {
        self.0.recv(buf, aside)
    }
    fn shutdown(&mut self) {
        self.0.shutdown();
    }
}

struct World {
    temp: tempfile::TempDir,
    fs: FsContext,
    root: Arc<GoferInode>,
    trips: Arc<AtomicUsize>,
    server: std::os::fd::OwnedFd,
}

impl World {
    fn new(policy: CachePolicy, fill: impl FnOnce(&std::path::Path)) -> World {
        World::limited(policy, 4096, fill)
    }
    fn limited(policy: CachePolicy, quota: u32, fill: impl FnOnce(&std::path::Path)) -> World {
        let temp = tempfile::tempdir().unwrap();
        fill(temp.path());
        let options = match policy {
            CachePolicy::Immutable => ExportOptions::read_only(),
            CachePolicy::Shared => ExportOptions::read_write(),
        };
        let export = Export::open(temp.path(), options).unwrap();
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let server = theirs.try_clone().unwrap();
        std::thread::spawn(move || {
            let session = Session::new(vec![export], ProcFds::shared().unwrap(), quota);
            let _ = serve(&mut SeqPacket::new(theirs), session);
        });
        let trips = Arc::new(AtomicUsize::new(0));
        let transport = Counting(SeqPacket::new(ours), trips.clone());
        let client = Arc::new(Client::over(Box::new(transport)).unwrap());
        let root = GoferFs::root(&client, 0, policy).unwrap();
        let sb = SuperBlock::new(root.clone(), "gofer", "");
        sb.set_readonly(policy == CachePolicy::Immutable);
        let fs = FsContext::new(MountNamespace::new(sb, b"none", MountFlags::default()));
        World {
            temp,
            fs,
            root,
            trips,
            server,
        }
    }
    fn host(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }
    fn open(&self, flags: OpenFlags, path: &str) -> Result<Arc<File>> {
        let how = OpenHow {
            flags,
            mode: 0o666,
            resolve: WalkFlags::empty(),
        };
        open(&ROOT, &self.fs, &At::Cwd, path.as_bytes(), &how)
    }
    fn at(&self, path: &str) -> Result<Path> {
        resolve(
            &ROOT,
            &self.fs,
            &At::Cwd,
            path.as_bytes(),
            WalkFlags::empty(),
        )
    }
    fn stat(&self, path: &str) -> Result<Stat> {
        self.at(path)?.inode().stat()
    }
    /// Round trips that `f` takes.
    fn cost<R>(&self, f: impl FnOnce() -> R) -> (usize, R) {
        let before = self.trips.load(Ordering::Relaxed);
        let result = f();
        (self.trips.load(Ordering::Relaxed) - before, result)
    }
}

const RDONLY: OpenFlags = OpenFlags::empty();

fn read(f: &Arc<File>, pos: u64, n: usize) -> Vec<u8> {
    let mut pos = pos;
    let mut sink = KernelSink::new(n);
    f.ops().read(f, &ROOT, &mut sink, &mut pos).unwrap();
    sink.data
}
fn write(f: &Arc<File>, pos: u64, data: &[u8], append: bool) -> Result<(usize, u64)> {
    let mut pos = pos;
    let n = f
        .ops()
        .write(f, &ROOT, &mut KernelSource::new(data), &mut pos, append)?;
    Ok((n, pos))
}
/// Lists `room` entries at a time; names and the positions after them.
fn list(f: &Arc<File>, room: usize) -> Vec<(String, u64)> {
    let (mut pos, mut all) = (0, Vec::new());
    loop {
        let mut left = room;
        let before = all.len();
        f.ops()
            .readdir(f, &ROOT, &mut pos, &mut |e| {
                if left == 0 {
                    return false;
                }
                left -= 1;
                all.push((String::from_utf8(e.name.to_vec()).unwrap(), e.next));
                true
            })
            .unwrap();
        if all.len() == before {
            return all;
        }
    }
}

fn tree(dir: &std::path::Path) {
    fs::create_dir_all(dir.join("a/b/c")).unwrap();
    fs::write(dir.join("a/b/c/file"), "hello").unwrap();
    fs::write(dir.join("top"), "top").unwrap();
    symlink("a/b", dir.join("link")).unwrap();
}

#[test]
fn an_immutable_tree_is_asked_once() {
    let w = World::new(CachePolicy::Immutable, tree);
    let (first, st) = w.cost(|| w.stat("/link/c/file").unwrap());
    assert_eq!((st.size, st.file_type), (5, FileType::Regular));
    assert!(first >= 1);
    assert_eq!(w.cost(|| w.stat("/link/c/file").unwrap().size), (0, 5));
    assert_eq!(w.stat("/a/none").unwrap_err(), Errno::ENOENT);
    let (again, missing) = w.cost(|| w.stat("/a/none"));
    assert_eq!((again, missing.unwrap_err()), (0, Errno::ENOENT));
    let (opening, f) = w.cost(|| w.open(RDONLY, "/a/b/c/file").unwrap());
    assert_eq!(opening, 1);
    assert_eq!(w.cost(|| read(&f, 1, 3)), (0, b"ell".to_vec()));
    drop(f);
    let (reopening, _) = w.cost(|| w.open(RDONLY, "/a/b/c/file").unwrap());
    assert_eq!(reopening, 0, "the descriptor is kept");
}

#[test]
fn a_listing_answers_every_look_up_in_it() {
    let w = World::new(CachePolicy::Immutable, |dir| {
        for i in 0..1000 {
            fs::write(dir.join(format!("f{i}")), vec![b'x'; i]).unwrap();
        }
        symlink("f7", dir.join("seven")).unwrap();
    });
    let dir = w.open(RDONLY, "/").unwrap();
    let (trips, all) = w.cost(|| list(&dir, 100));
    assert!(trips <= 4, "{trips} round trips");
    assert_eq!(all.len(), 1003);
    assert_eq!(w.cost(|| list(&dir, 7).len()), (0, 1003));
    let (trips, sizes) = w.cost(|| {
        let size = |i| w.stat(&format!("/f{i}")).unwrap().size;
        (0..1000).map(size).sum::<u64>()
    });
    assert_eq!((trips, sizes), (0, 999 * 1000 / 2));
    assert_eq!(w.cost(|| w.stat("/f1000").unwrap_err()), (0, Errno::ENOENT));
    let (trips, f) = w.cost(|| w.open(RDONLY, "/f3").unwrap());
    assert_eq!(
        (trips, read(&f, 0, 9)),
        (1, b"xxx".to_vec()),
        "found and opened at once"
    );
    let (trips, st) = w.cost(|| w.stat("/seven").unwrap());
    assert_eq!((trips, st.file_type), (0, FileType::Symlink));
    let (trips, target) = w.cost(|| w.at("/seven").unwrap().inode().readlink(&ROOT).unwrap());
    assert_eq!((trips, target), (1, b"f7".to_vec()));
}

#[test]
fn an_immutable_tree_refuses_changes_without_asking() {
    let w = World::new(CachePolicy::Immutable, tree);
    w.stat("/top").unwrap();
    let (trips, ()) = w.cost(|| {
        let open = w.open(OpenFlags::RDWR, "/top");
        assert_eq!(open.err(), Some(Errno::EROFS));
        let made = w.root.mkdir(&ROOT, b"new", 0o755);
        assert_eq!(made.err(), Some(Errno::EROFS));
        assert_eq!(w.root.unlink(&ROOT, b"top"), Err(Errno::EROFS));
        let perm = SetAttr {
            perm: Some(0),
            ..SetAttr::default()
        };
        assert_eq!(w.root.set_attr(&ROOT, &perm), Err(Errno::EROFS));
    });
    assert_eq!(trips, 0);
}

#[test]
fn handles_are_given_back_when_they_run_short() {
    let w = World::limited(CachePolicy::Immutable, 64, |dir| {
        for i in 0..300 {
            fs::create_dir(dir.join(format!("d{i}"))).unwrap();
            fs::write(dir.join(format!("d{i}/file")), format!("{i}")).unwrap();
        }
    });
    let limit = w.root.fs.handles.limit();
    let mut kept = Vec::new();
    for i in 0..300 {
        kept.push(w.at(&format!("/d{i}/file")).unwrap());
        assert!(w.root.fs.handles.held() <= limit);
    }
    // Those that lost theirs find it again.
    for (i, place) in kept.iter().enumerate() {
        let f = open_path(&ROOT, place, RDONLY).unwrap();
        assert_eq!(read(&f, 0, 9), format!("{i}").into_bytes());
    }
    drop(kept);
}

#[test]
fn a_shared_tree_shows_what_the_host_does() {
    let w = World::new(CachePolicy::Shared, tree);
    assert_eq!(w.stat("/a/new").unwrap_err(), Errno::ENOENT);
    fs::write(w.host("a/new"), "12").unwrap();
    assert_eq!(w.stat("/a/new").unwrap().size, 2);
    fs::write(w.host("a/new"), "1234").unwrap();
    assert_eq!(w.stat("/a/new").unwrap().size, 4);
    fs::rename(w.host("a/new"), w.host("a/other")).unwrap();
    assert_eq!(w.stat("/a/new").unwrap_err(), Errno::ENOENT);
    let inode = w.at("/a/other").unwrap().inode().clone();
    fs::write(w.host("a/replacement"), "replaced").unwrap();
    fs::rename(w.host("a/replacement"), w.host("a/other")).unwrap();
    let now = w.at("/a/other").unwrap().inode().clone();
    assert!(!crate::vfs::inode::same_inode(&inode, &now));
    assert_eq!(now.stat().unwrap().size, 8);
    let dir = w.open(RDONLY, "/a").unwrap();
    let count = list(&dir, 10).len();
    fs::write(w.host("a/more"), "").unwrap();
    assert_eq!(list(&dir, 10).len(), count + 1, "a rewound listing is new");
}

#[test]
fn two_names_are_one_inode() {
    for policy in [CachePolicy::Immutable, CachePolicy::Shared] {
        let w = World::new(policy, |dir| {
            fs::write(dir.join("one"), "").unwrap();
            fs::hard_link(dir.join("one"), dir.join("two")).unwrap();
        });
        let (one, two) = (w.at("/one").unwrap(), w.at("/two").unwrap());
        assert!(crate::vfs::inode::same_inode(one.inode(), two.inode()));
        assert_eq!(one.inode().stat().unwrap().nlink, 2);
    }
}

#[test]
fn files_are_made_written_and_read() {
    let w = World::new(CachePolicy::Shared, tree);
    let f = w
        .open(OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::RDWR, "/new")
        .unwrap();
    assert_eq!(write(&f, 0, b"hello world", false), Ok((11, 11)));
    assert_eq!(write(&f, 3, b"LO", false), Ok((2, 5)));
    assert_eq!(write(&f, 0, b"!", true), Ok((1, 12)));
    assert_eq!(fs::read(w.host("new")).unwrap(), b"helLO world!");
    assert_eq!(read(&f, 6, 100), b"world!");
    assert_eq!(read(&f, 12, 100), b"");
    let st = f.ops().stat(&f).unwrap();
    assert_eq!((st.size, st.perm), (12, 0o644));
    assert_eq!(w.stat("/new").unwrap().size, 12);
    let meta = fs::metadata(w.host("new")).unwrap();
    assert_eq!(st.ino, meta.ino());
    assert_eq!(
        (st.mtime.sec, st.mtime.nsec),
        (meta.mtime(), meta.mtime_nsec() as u32)
    );
    let big = vec![7_u8; 300_000];
    assert_eq!(
        write(&f, 1 << 20, &big, false),
        Ok((300_000, (1 << 20) + 300_000))
    );
    assert_eq!(read(&f, 1 << 20, 400_000), big);
    let hole = f.ops().seek(&f, 0, 0, Whence::Hole).unwrap();
    let data = f.ops().seek(&f, 0, 1 << 19, Whence::Data).unwrap();
    assert!(hole >= 12 && data <= 1 << 20);
    f.inode()
        .set_attr(
            &ROOT,
            &SetAttr {
                size: Some(3),
                ..SetAttr::default()
            },
        )
        .unwrap();
    assert_eq!(fs::read(w.host("new")).unwrap(), b"hel");
    f.ops().fsync(&f, true).unwrap();
    f.ops().fallocate(&f, &ROOT, 0, 0, 100).unwrap();
    assert_eq!(f.ops().stat(&f).unwrap().size, 100);
    let beyond = f.ops().fallocate(&f, &ROOT, 0, 1 << 40, 1);
    assert_eq!(beyond, Err(Errno::EFBIG));
    w.open(OpenFlags::TRUNC | OpenFlags::WRONLY, "/new")
        .unwrap();
    assert_eq!(fs::metadata(w.host("new")).unwrap().len(), 0);
}

#[test]
fn a_mapping_gets_exactly_the_open_mode() {
    let w = World::new(CachePolicy::Shared, tree);
    let mode = |f: &Arc<File>| match f.ops().map(f, true, false) {
        Ok(MapSource::Host(fd)) => {
            let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL).unwrap();
            Ok(flags & libc::O_ACCMODE)
        }
        Ok(MapSource::Anonymous) => panic!("not a file"),
        Err(e) => Err(e),
    };
    let rw = w.open(OpenFlags::RDWR, "/top").unwrap();
    let ro = w.open(RDONLY, "/top").unwrap();
    assert_eq!(
        (mode(&rw), mode(&ro)),
        (Ok(libc::O_RDWR), Ok(libc::O_RDONLY))
    );
    // A new file comes with a descriptor for both; who opens it read-only does not get that one.
    let made = w.open(OpenFlags::CREAT, "/new").unwrap();
    assert_eq!(mode(&made), Ok(libc::O_RDONLY));
    let made = w
        .open(OpenFlags::CREAT | OpenFlags::WRONLY, "/newer")
        .unwrap();
    assert_eq!(mode(&made), Err(Errno::EACCES));
    write(&made, 0, b"x", false).unwrap();
    let made = w
        .open(OpenFlags::CREAT | OpenFlags::RDWR, "/newest")
        .unwrap();
    assert_eq!(mode(&made), Ok(libc::O_RDWR));
}

#[test]
fn names_change_on_the_host() {
    let w = World::new(CachePolicy::Shared, tree);
    let cwd = &At::Cwd;
    names::mkdir(&ROOT, &w.fs, cwd, b"/dir", 0o777).unwrap();
    assert_eq!(
        fs::metadata(w.host("dir")).unwrap().permissions().mode() & 0o777,
        0o755
    );
    names::symlink(&ROOT, &w.fs, b"../top", cwd, b"/dir/sym").unwrap();
    assert_eq!(w.stat("/dir/sym").unwrap().file_type, FileType::Symlink);
    let top = w.at("/top").unwrap();
    names::link(&ROOT, &w.fs, &top, cwd, b"/dir/hard").unwrap();
    assert_eq!(top.inode().stat().unwrap().nlink, 2);
    let none = RenameFlags::empty();
    names::rename(&ROOT, &w.fs, cwd, b"/dir/hard", cwd, b"/moved", none).unwrap();
    assert_eq!(fs::read(w.host("moved")).unwrap(), b"top");
    let exchange = RenameFlags::EXCHANGE;
    names::rename(&ROOT, &w.fs, cwd, b"/a", cwd, b"/dir", exchange).unwrap();
    assert!(w.host("dir/b/c/file").exists() && w.host("a/sym").is_symlink());
    names::unlink(&ROOT, &w.fs, cwd, b"/moved").unwrap();
    assert_eq!(top.inode().stat().unwrap().nlink, 1);
    assert_eq!(
        names::rmdir(&ROOT, &w.fs, cwd, b"/dir"),
        Err(Errno::ENOTEMPTY)
    );
    names::unlink(&ROOT, &w.fs, cwd, b"/a/sym").unwrap();
    names::rmdir(&ROOT, &w.fs, cwd, b"/a").unwrap();
    assert!(!w.host("a").exists());
    let fifo = FileType::Fifo;
    names::mknod(&ROOT, &w.fs, cwd, b"/fifo", fifo, 0o600, 0).unwrap();
    assert_eq!(w.stat("/fifo").unwrap().file_type, fifo);
    let device = names::mknod(
        &ROOT,
        &w.fs,
        cwd,
        b"/dev",
        FileType::CharDevice,
        0o600,
        0x103,
    );
    assert_eq!(device.err(), Some(Errno::EPERM));
}

#[test]
fn a_nameless_file_gets_a_name() {
    let w = World::new(CachePolicy::Shared, tree);
    let f = w.open(OpenFlags::TMPFILE | OpenFlags::RDWR, "/a").unwrap();
    write(&f, 0, b"text", false).unwrap();
    assert_eq!(f.ops().stat(&f).unwrap().nlink, 0);
    let place = f.path().unwrap().clone();
    names::link(&ROOT, &w.fs, &place, &At::Cwd, b"/a/named").unwrap();
    assert_eq!(fs::read(w.host("a/named")).unwrap(), b"text");
}

#[test]
fn attributes_are_set_and_seen() {
    let w = World::new(CachePolicy::Shared, tree);
    let top = w.at("/top").unwrap().inode().clone();
    let at = Timestamp { sec: 1000, nsec: 7 };
    let set = SetAttr {
        perm: Some(0o751),
        size: Some(1),
        mtime: Some(SetTime::At(at)),
        atime: Some(SetTime::Now),
        ..SetAttr::default()
    };
    top.set_attr(&ROOT, &set).unwrap();
    let st = top.stat().unwrap();
    assert_eq!((st.perm, st.size, st.mtime), (0o751, 1, at));
    assert!(st.atime.sec > 1_000_000_000);
    match top.setxattr(&ROOT, b"user.k", b"v", 0) {
        Err(Errno::EOPNOTSUPP) => println!("no extended attributes here"),
        r => {
            r.unwrap();
            assert_eq!(top.getxattr(&ROOT, b"user.k").unwrap(), b"v");
            assert_eq!(top.listxattr(&ROOT).unwrap(), [b"user.k".to_vec()]);
            top.removexattr(&ROOT, b"user.k").unwrap();
            assert_eq!(top.getxattr(&ROOT, b"user.k"), Err(Errno::ENODATA));
        }
    }
    let (trips, acl) = w.cost(|| top.getxattr(&ROOT, b"system.posix_acl_access"));
    assert_eq!((trips, acl), (0, Err(Errno::EOPNOTSUPP)));
    assert_ne!(top.statfs().unwrap().magic, 0);
}

#[test]
fn positions_of_a_listing_can_be_returned_to() {
    for policy in [CachePolicy::Immutable, CachePolicy::Shared] {
        let w = World::new(policy, |dir| {
            for i in 0..700 {
                fs::write(dir.join(format!("{i}")), "").unwrap();
            }
        });
        let dir = w.open(RDONLY, "/").unwrap();
        let all = list(&dir, 50);
        assert_eq!(all.len(), 702);
        assert_eq!((all[0].0.as_str(), all[1].0.as_str()), (".", ".."));
        for at in [0, 1, 2, 300, 600, 700] {
            let (mut pos, mut next) = (all[at].1, None);
            dir.ops()
                .readdir(&dir, &ROOT, &mut pos, &mut |e| {
                    next.get_or_insert(String::from_utf8(e.name.to_vec()).unwrap());
                    false
                })
                .unwrap();
            assert_eq!(next.as_ref(), Some(&all[at + 1].0), "{policy:?} {at}");
        }
        let (mut pos, mut more) = (all[701].1, 0);
        dir.ops()
            .readdir(&dir, &ROOT, &mut pos, &mut |_| {
                more += 1;
                true
            })
            .unwrap();
        assert_eq!(more, 0);
    }
}

#[test]
fn a_directory_too_large_to_keep_is_still_listed_whole() {
    let w = World::new(CachePolicy::Immutable, |dir| {
        for i in 0..17_000 {
            fs::write(dir.join(format!("{i}")), "").unwrap();
        }
    });
    let dir = w.open(RDONLY, "/").unwrap();
    let mut names: Vec<_> = list(&dir, 1000).into_iter().map(|(n, _)| n).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 17_002);
    assert!(w.root.whole_listing().is_none());
}

#[test]
fn inodes_go_when_nobody_uses_them() {
    let w = World::new(CachePolicy::Shared, tree);
    let held = w.at("/a/b/c/file").unwrap();
    assert!(w.root.fs.inodes.lock().len() >= 5);
    drop(held);
    assert_eq!(w.root.fs.inodes.lock().len(), 1, "only the root is left");
}

#[test]
fn a_dead_gofer_is_eio_and_open_files_go_on() {
    let w = World::new(CachePolicy::Shared, tree);
    let f = w.open(RDONLY, "/top").unwrap();
    nix::sys::socket::shutdown(w.server.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
    assert_eq!(w.stat("/a").unwrap_err(), Errno::EIO);
    assert_eq!(w.open(RDONLY, "/top").err(), Some(Errno::EIO));
    assert_eq!(w.root.mkdir(&ROOT, b"x", 0o700).err(), Some(Errno::EIO));
    assert_eq!(read(&f, 0, 9), b"top");
}

#[test]
fn appends_of_several_writers_do_not_mix() {
    let w = World::new(CachePolicy::Shared, tree);
    w.open(OpenFlags::CREAT | OpenFlags::WRONLY, "/log")
        .unwrap();
    std::thread::scope(|scope| {
        for id in 0..4_u8 {
            let f = w
                .open(OpenFlags::WRONLY | OpenFlags::APPEND, "/log")
                .unwrap();
            scope.spawn(move || {
                for _ in 0..20 {
                    // More than one host call each.
                    let line = vec![b'a' + id; 200_000];
                    write(&f, 0, &line, true).unwrap();
                }
            });
        }
    });
    let log = fs::File::open(w.host("log")).unwrap();
    let mut record = vec![0; 200_000];
    for i in 0..80 {
        log.read_exact_at(&mut record, i * 200_000).unwrap();
        assert!(
            record.iter().all(|b| *b == record[0]),
            "record {i} is mixed"
        );
    }
    assert_eq!(log.metadata().unwrap().len(), 80 * 200_000);
}
