//! A gofer on a temporary directory, served by a thread of the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails
#![allow(dead_code)] // every test file uses another part of it

use cofferdam_gofer::client::{Client, Handle, NodeRef};
use cofferdam_gofer::host::ProcFds;
use cofferdam_gofer::server::{Export, ExportOptions, Session, serve};
use cofferdam_gofer::transport::SeqPacket;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A served directory. The directory `inside` is exported; what is next to it is not.
pub struct Fixture {
    pub temp: TempDir,
    pub client: Client,
    pub root: Handle,
    server: Option<JoinHandle<()>>,
}

impl Fixture {
    pub fn new(options: ExportOptions) -> Self {
        Self::filled(options, |_| ())
    }

    /// Exports a directory after `fill` has put something into it (it gets the directory's path).
    pub fn filled(options: ExportOptions, fill: impl FnOnce(&Path)) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let inside = temp.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        fill(&inside);
        let (client, server) = start(vec![Export::open(&inside, options).unwrap()], 4096);
        let root = client.attach(0).unwrap().handle;
        Self {
            temp,
            client,
            root,
            server: Some(server),
        }
    }

    /// Path of the exported directory, or of something in it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.temp.path().join("inside").join(below)
    }

    /// Path of something next to the exported directory.
    pub fn outside(&self, below: &str) -> PathBuf {
        self.temp.path().join(below)
    }

    /// Walks one name and expects to find it.
    pub fn node(&self, name: &str) -> NodeRef {
        let mut walked = self
            .client
            .walk(&self.root, [name.as_bytes()], None)
            .unwrap();
        walked
            .nodes
            .pop()
            .unwrap_or_else(|| panic!("{name} not found: {:?}", walked.stop))
    }
}

/// Starts a server thread; the client ends it by being dropped.
pub fn start(exports: Vec<Export>, quota: u32) -> (Client, JoinHandle<()>) {
    let (socket, server) = start_raw(exports, quota);
    (Client::connect(socket).unwrap(), server)
}

/// The same without a client: the bare socket.
pub fn start_raw(exports: Vec<Export>, quota: u32) -> (OwnedFd, JoinHandle<()>) {
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let server = std::thread::spawn(move || {
        let session = Session::new(exports, ProcFds::shared().unwrap(), quota);
        let _ = serve(&mut SeqPacket::new(theirs), session);
    });
    (ours, server)
}

/// The content of an open descriptor.
pub fn content(fd: &OwnedFd) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(fd.try_clone().unwrap());
    let mut bytes = vec![0; 4096];
    let len = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(len);
    bytes
}

/// The errno of a call that must fail.
pub fn errno<T: std::fmt::Debug>(result: Result<T, cofferdam_gofer::client::GoferError>) -> i32 {
    result
        .expect_err("the call should have been refused")
        .errno()
}
