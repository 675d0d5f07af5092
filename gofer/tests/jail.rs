//! The gofer as a process of its own, in its mount tree and under its system call filter.
//!
//! Without the usual test harness: the child must be single-threaded when it makes its namespaces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

use cofferdam_gofer::client::{Client, GoferError};
use cofferdam_gofer::filter::GOFER_SYSCALLS;
use cofferdam_gofer::protocol::{
    Access, OpenFlags, Owner, RenameFlags, SetAttr, SetAttrMask, TimeSpec, WalkStop,
};
use cofferdam_gofer::server::{self, Export, ExportOptions};
use cofferdam_gofer::transport::SeqPacket;
use cofferdam_gofer::tree::{self, TreeEntry};
use nix::sched::{CloneFlags, unshare};
use seccompiler::{SeccompAction, SeccompFilter};
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "COFFERDAM_GOFER_TEST_ROLE";
const DIR: &str = "COFFERDAM_GOFER_TEST_DIR";

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return gofer_process(&role);
    }
    let tests: &[(&str, fn())] = &[
        (
            "every_operation_works_in_the_jail",
            every_operation_works_in_the_jail,
        ),
        ("the_tree_holds_nothing_else", the_tree_holds_nothing_else),
        ("a_forbidden_call_is_refused", a_forbidden_call_is_refused),
        (
            "a_killed_gofer_is_dead_at_once",
            a_killed_gofer_is_dead_at_once,
        ),
        (
            "missing_sources_are_named_before_anything_starts",
            missing_sources,
        ),
    ];
    if !namespaces_work() {
        println!("all skipped: this host does not let us make user and mount namespaces");
        return;
    }
    let wanted = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    for (name, test) in tests {
        if wanted
            .as_ref()
            .is_none_or(|wanted| name.contains(wanted.as_str()))
        {
            test();
            println!("test {name} ... ok");
        }
    }
    println!(
        "the gofer's filter allows {} system calls",
        GOFER_SYSCALLS.len()
    );
}

fn namespaces_work() -> bool {
    let made = Command::new("unshare")
        .args(["-Urm", "true"])
        .stderr(Stdio::null())
        .status();
    made.is_ok_and(|status| status.success())
}

/// What the child does; its socket is its standard input.
fn gofer_process(role: &str) {
    let dir = std::env::var(DIR).unwrap();
    let dir = Path::new(&dir);
    let socket: OwnedFd = std::os::fd::AsFd::as_fd(&std::io::stdin())
        .try_clone_to_owned()
        .unwrap();
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).unwrap();
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
    let proc_fds = tree::enter(&entries(dir)).unwrap();
    server::prepare_process();
    let exports = vec![
        Export::open(Path::new("/"), ExportOptions::read_only()).unwrap(),
        Export::open(Path::new("/binds/rw"), ExportOptions::read_write()).unwrap(),
    ];
    nix::sys::prctl::set_no_new_privs().unwrap();
    let rules = GOFER_SYSCALLS
        .iter()
        .map(|(number, _)| (*number, Vec::new()))
        .collect();
    let refuse = SeccompAction::KillProcess;
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    if role == "forbidden" {
        let _ = std::net::UdpSocket::bind("127.0.0.1:0");
        return;
    }
    server::run(socket, exports, proc_fds).unwrap();
}

fn entries(dir: &Path) -> Vec<TreeEntry> {
    vec![
        TreeEntry::same(dir.join("link")),
        TreeEntry::same(dir.join("system")),
        TreeEntry {
            source: dir.join("rw"),
            target: "/binds/rw".into(),
            writable: true,
            keep_symlink: false,
        },
        TreeEntry {
            source: dir.join("one-file"),
            target: "/binds/file".into(),
            writable: false,
            keep_symlink: false,
        },
    ]
}

struct Jailed {
    dir: tempfile::TempDir,
    child: Child,
    client: Option<Client>,
}

impl Jailed {
    fn start(role: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["system/sub", "rw", "secret"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("system/sub/file"), "system file").unwrap();
        fs::write(dir.path().join("secret/key"), "key").unwrap();
        fs::write(dir.path().join("one-file"), "one file").unwrap();
        symlink("system/sub", dir.path().join("link")).unwrap();
        tree::check(&entries(dir.path())).unwrap();
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .env(DIR, dir.path())
            .stdin(theirs)
            .spawn()
            .unwrap();
        let client = Client::connect(ours).ok();
        Self { dir, child, client }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("the gofer did not come up")
    }

    /// The components of a path that was put into the tree at its own place.
    fn names(path: &Path) -> Vec<&[u8]> {
        path.iter().skip(1).map(|c| c.as_encoded_bytes()).collect()
    }
}

impl Drop for Jailed {
    fn drop(&mut self) {
        self.client = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn every_operation_works_in_the_jail() {
    let mut jail = Jailed::start("serve");
    every_operation(&jail);
    jail.client = None;
    assert!(
        jail.child.wait().unwrap().success(),
        "a clean end once the client is gone"
    );
}

fn every_operation(jail: &Jailed) {
    let client = jail.client();
    let system = jail.dir.path().join("system/sub/file");
    let root = client.attach(0).unwrap().handle;
    let walked = client
        .walk(&root, Jailed::names(&system), Some(Access::Read))
        .unwrap();
    assert_eq!(walked.stop, WalkStop::Complete);
    let file = fs::File::from(walked.open.unwrap().unwrap());
    let mut text = [0; 11];
    file.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(&text, b"system file");
    client.read_dir(&root, 0).unwrap();

    let rw = client.attach(1).unwrap().handle;
    let owner = Owner {
        uid: Some(0),
        gid: Some(0),
    };
    let flags = OpenFlags::EXCL;
    let made = client
        .create(&rw, b"new", 0o640, Access::ReadWrite, flags, owner)
        .unwrap();
    fs::File::from(made.fd).write_all(b"content").unwrap();
    let on_host = jail.dir.path().join("rw/new");
    assert_eq!(fs::read(&on_host).unwrap(), b"content");
    assert_eq!(
        fs::metadata(&on_host).unwrap().permissions().mode() & 0o7777,
        0o640
    );
    let node = made.node.handle;
    let mask = SetAttrMask::MODE | SetAttrMask::SIZE | SetAttrMask::MTIME | SetAttrMask::UID;
    let mtime = TimeSpec::new(1000, 5);
    let set = SetAttr {
        mask: mask.bits(),
        mode: 0o600,
        size: 3,
        mtime,
        ..SetAttr::default()
    };
    let attr = client.set_attr(&node, &set).unwrap();
    assert_eq!(
        (attr.size, attr.mode & 0o7777, attr.mtime),
        (3, 0o600, mtime)
    );
    client.mkdir(&rw, b"dir", 0o755, Owner::default()).unwrap();
    let link = client
        .symlink(&rw, b"sym", b"/etc/passwd", Owner::default())
        .unwrap();
    assert_eq!(client.read_link(&link.handle).unwrap(), b"/etc/passwd");
    client
        .mknod(&rw, b"fifo", libc::S_IFIFO | 0o600, Owner::default())
        .unwrap();
    assert_eq!(client.link(&node, &rw, b"hard").unwrap().nlink, 2);
    client
        .rename(&rw, b"hard", &rw, b"harder", RenameFlags::NOREPLACE)
        .unwrap();
    client.unlink(&rw, b"harder", false).unwrap();
    client.unlink(&rw, b"dir", true).unwrap();
    match client.set_xattr(&node, b"user.test", b"value", 0) {
        Err(GoferError::Errno(libc::EOPNOTSUPP)) => println!("  no extended attributes here"),
        result => {
            result.unwrap();
            assert_eq!(client.get_xattr(&node, b"user.test").unwrap(), b"value");
            assert_eq!(client.list_xattr(&node).unwrap(), b"user.test\0");
            client.remove_xattr(&node, b"user.test").unwrap();
        }
    }
    client.fsync(&node, false).unwrap();
    client.fsync(&node, true).unwrap();
    client.fsync(&rw, false).unwrap();
    client.stat_fs(&rw).unwrap();
    client
        .tmp_file(&rw, 0o600, Access::ReadWrite, Owner::default())
        .unwrap();
    // Large replies and requests make the allocator work.
    let big = vec![b'v'; 60_000];
    let _ = client.set_xattr(&node, b"user.big", &big, 0);
    assert!(!client.is_dead());
}

fn the_tree_holds_nothing_else() {
    let jail = Jailed::start("serve");
    let client = jail.client();
    let root = client.attach(0).unwrap().handle;
    let mut names: Vec<_> = client
        .read_dir(&root, 0)
        .unwrap()
        .entries
        .into_iter()
        .map(|e| e.name)
        .collect();
    names.sort();
    let temp = Jailed::names(jail.dir.path())[0].to_vec();
    assert_eq!(names, [b"binds".to_vec(), temp]);
    let secret = jail.dir.path().join("secret");
    let walked = client.walk(&root, Jailed::names(&secret), None).unwrap();
    assert_eq!(walked.stop, WalkStop::Failed(libc::ENOENT));
    let link = jail.dir.path().join("link");
    let walked = client.walk(&root, Jailed::names(&link), None).unwrap();
    assert_eq!(walked.link.as_deref(), Some(b"system/sub".as_slice()));
    let file = client
        .walk(&root, [b"binds".as_slice(), b"file"], Some(Access::Read))
        .unwrap();
    assert_eq!(file.stop, WalkStop::Complete);
    // Read-only by the mount, whatever the export says: the bind of export 0 is seen through "/".
    let rw = client
        .walk(&root, [b"binds".as_slice(), b"rw"], None)
        .unwrap();
    let refused = client.mkdir(&rw.nodes[1].handle, b"x", 0o700, Owner::default());
    assert_eq!(refused.unwrap_err().errno(), libc::EROFS);
}

fn a_forbidden_call_is_refused() {
    use std::os::unix::process::ExitStatusExt;
    let mut jail = Jailed::start("forbidden");
    assert_eq!(jail.child.wait().unwrap().signal(), Some(libc::SIGSYS));
    assert!(jail.client.is_none());
}

fn a_killed_gofer_is_dead_at_once() {
    let mut jail = Jailed::start("serve");
    let client = jail.client().clone();
    let root = client.attach(0).unwrap().handle;
    let (started, ready) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        loop {
            // Keeps a request under way at all times.
            if let Err(error) = client.read_dir(&root, 0) {
                return (
                    error,
                    client.read_dir(&root, 0).unwrap_err(),
                    client.is_dead(),
                );
            }
            let _ = started.send(());
        }
    });
    ready.recv().unwrap();
    jail.child.kill().unwrap();
    let killed = Instant::now();
    let ended = worker.join().unwrap();
    assert_eq!(ended, (GoferError::Dead, GoferError::Dead, true));
    assert!(killed.elapsed() < Duration::from_secs(2));
    assert_eq!(ended.0.errno(), libc::EIO);
}

fn missing_sources() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no-such-directory");
    let error = tree::check(&[TreeEntry::same(&path)])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!("cannot serve {}: No such file or directory", path.display())
    );
    let odd = TreeEntry {
        target: "/a/../b".into(),
        ..TreeEntry::same(dir.path())
    };
    assert!(
        tree::check(&[odd])
            .unwrap_err()
            .to_string()
            .contains("/a/../b")
    );
    let device = tree::check(&[TreeEntry::same("/dev/null")])
        .unwrap_err()
        .to_string();
    assert_eq!(
        device,
        "cannot serve /dev/null: only directories and regular files can be served"
    );
}
