//! Operations on descriptors that the client passes: what they give, and that they give no more than that.

#![allow(clippy::unwrap_used)] // a test ends where it fails

mod common;

use cofferdam_gofer::protocol::ProcessFile;
use cofferdam_gofer::server::{Export, ExportOptions};
use common::{content, errno, start};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use std::os::fd::AsFd;
use std::path::Path;

fn client(dir: &Path) -> cofferdam_gofer::client::Client {
    let export = Export::open(dir, ExportOptions::read_only()).unwrap();
    start(vec![export], 16).0
}

#[test]
fn a_read_only_twin_cannot_write() {
    let temp = tempfile::tempdir().unwrap();
    let client = client(temp.path());
    let rw = memfd_create(c"t", MFdFlags::MFD_CLOEXEC).unwrap();
    nix::unistd::write(&rw, b"abc").unwrap();
    let ro = client.read_only(rw.as_fd()).unwrap();
    assert_eq!(content(&ro), b"abc");
    assert_eq!(nix::unistd::write(&ro, b"x"), Err(nix::errno::Errno::EBADF));
    assert!(nix::unistd::ftruncate(&ro, 0).is_err());
    // What is written through the first shows in the second.
    nix::sys::uio::pwrite(&rw, b"X", 1).unwrap();
    assert_eq!(content(&ro), b"aXc");
}

#[test]
fn a_twin_is_never_more_than_what_was_passed() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    std::fs::write(&file, "secret").unwrap();
    nix::unistd::mkfifo(&temp.path().join("fifo"), Mode::S_IRWXU).unwrap();
    let client = client(temp.path());
    let get = |path: &Path, flags| {
        let fd = open(path, flags, Mode::empty()).unwrap();
        client.read_only(fd.as_fd())
    };
    // Neither right to read becomes one.
    assert_eq!(errno(get(&file, OFlag::O_PATH)), libc::EBADF);
    assert_eq!(errno(get(&file, OFlag::O_WRONLY)), libc::EBADF);
    assert_eq!(errno(get(&file, OFlag::O_RDONLY)), libc::EBADF);
    // Nothing but regular files is opened.
    let fifo = get(&temp.path().join("fifo"), OFlag::O_RDWR | OFlag::O_NONBLOCK);
    assert_eq!(errno(fifo), libc::EINVAL);
    assert_eq!(
        errno(get(Path::new("/dev/null"), OFlag::O_RDWR)),
        libc::EINVAL
    );
    let ro = get(&file, OFlag::O_RDWR | OFlag::O_APPEND).unwrap();
    let flags = OFlag::from_bits_retain(fcntl(&ro, FcntlArg::F_GETFL).unwrap());
    assert_eq!(flags & OFlag::O_ACCMODE, OFlag::O_RDONLY);
}

#[test]
fn processes_are_found_in_a_procfs_only() {
    let temp = tempfile::tempdir().unwrap();
    let client = client(temp.path());
    let me = std::process::id();
    let missing = client.process(me, ProcessFile::Statm);
    assert_eq!(errno(missing), libc::EOPNOTSUPP);
    let dir = |path: &str| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        open(path, flags, Mode::empty()).unwrap()
    };
    // Directories of a taken-over sentry are nothing that the gofer opens files in.
    assert_eq!(errno(client.processes(dir("/tmp").as_fd())), libc::EINVAL);
    client.processes(dir("/proc").as_fd()).unwrap();
    assert_eq!(errno(client.processes(dir("/proc").as_fd())), libc::EEXIST);
    let statm = client.process(me, ProcessFile::Statm).unwrap();
    assert!(content(&statm).ends_with(b"\n"));
    let status = client.process(me, ProcessFile::Status).unwrap();
    assert!(content(&status).starts_with(b"Name:"));
    let nobody = client.process(u32::MAX, ProcessFile::Status);
    assert_eq!(errno(nobody), libc::ENOENT);
}
