//! A client that may have no more descriptors: one call fails, the connection goes on.
#![allow(clippy::unwrap_used)] // a test ends where it fails

use cofferdam_gofer::client::Client;
use cofferdam_gofer::host::ProcFds;
use cofferdam_gofer::protocol::{Access, MAX_MESSAGE, OpenFlags};
use cofferdam_gofer::server::{Export, ExportOptions, Session};
use cofferdam_gofer::transport::{SeqPacket, Transport};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::os::fd::AsFd;

/// The only test of this program: it changes a limit of the process.
#[test]
fn a_full_table_fails_one_call() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("file"), "x").unwrap();
    let export = Export::open(temp.path(), ExportOptions::read_only()).unwrap();
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // A server that leaves the client no descriptor when it donates one.
    let server = std::thread::spawn(move || {
        let mut session = Session::new(vec![export], ProcFds::shared().unwrap(), 16);
        let mut socket = SeqPacket::new(theirs);
        let (mut request, mut reply) = (vec![0; MAX_MESSAGE], Vec::new());
        loop {
            let received = socket.recv(&mut request, None).unwrap();
            if received.len == 0 {
                return session.handles();
            }
            let fd = session.handle(&request[..received.len], received.fd, &mut reply);
            let fd = fd.unwrap();
            if fd.is_some() {
                setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
            }
            socket.send(&reply, fd.as_ref().map(AsFd::as_fd)).unwrap();
        }
    });
    let client = Client::connect(ours).unwrap();
    let root = client.attach(0).unwrap();
    let full = client.walk(&root.handle, [b"file".as_slice()], Some(Access::Read));
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(full.unwrap_err().errno(), libc::ENFILE);
    assert!(!client.is_dead());
    let file = client
        .walk(&root.handle, [b"file".as_slice()], None)
        .unwrap();
    let full = client.open(&file.nodes[0].handle, Access::Read, OpenFlags::empty());
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(full.unwrap_err().errno(), libc::ENFILE);
    drop((root, file));
    client.flush().unwrap();
    drop(client);
    // What the failed calls had opened is closed again.
    assert_eq!(server.join().unwrap(), 0);
}
