//! What the sentry itself costs: nanoseconds from the trap of a system call to the guest's resume, without any crossing.
//!
//! The platform (`guest`) is a fake in this process: it hands the one worker the calls of a script (`script`) as traps, and
//! guest memory is a buffer. The root is an overlay over this host's `/`, served by a gofer on a thread, so names and
//! descriptors come from where they come from in a sandbox; figures are of warm caches.
//!
//! `cargo run --release -p cofferdam-sentry --example hotpath [FILTER] [ROUNDS]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a measurement ends where it fails

mod guest;
mod script;

use cofferdam_gofer::client::Client;
use cofferdam_gofer::host::ProcFds;
use cofferdam_gofer::server::{Export, ExportOptions, Session, serve};
use cofferdam_gofer::transport::SeqPacket;
use cofferdam_sentry::boot::{
    self, BootConfig, GuestConfig, ProcessConfig, RootConfig, UserConfig,
};
use guest::ScriptPlatform;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

fn main() {
    let mut args = std::env::args().skip(1);
    let filter = args.next().unwrap_or_default();
    let rounds = args
        .next()
        .map_or(5, |n| n.parse().expect("ROUNDS is a number"));
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let export = Export::open(std::path::Path::new("/"), ExportOptions::read_only()).unwrap();
    std::thread::spawn(move || {
        let session = Session::new(vec![export], ProcFds::shared().unwrap(), 4096);
        let _ = serve(&mut SeqPacket::new(theirs), session);
    });
    let null = || {
        OwnedFd::from(
            File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .unwrap(),
        )
    };
    let root = RootConfig {
        export: Some(0),
        overlay: true,
        read_only: false,
    };
    let user = UserConfig::Ids {
        uid: 0,
        gid: 0,
        groups: Vec::new(),
    };
    let argv = vec![b"/bin/true".to_vec()];
    let process = ProcessConfig::new(argv, Vec::new(), b"/".to_vec(), user);
    let config = BootConfig {
        platform: Arc::new(ScriptPlatform::new(script::benches(&filter), rounds)),
        gofer: Some(Arc::new(Client::connect(ours).unwrap())),
        guest: GuestConfig::new(root, Vec::new(), process),
        streams: vec![null(), null(), null()],
        tracer: None,
        memory_events: None,
        control: None,
        events: Arc::new(|_| {}),
        lock_down: Box::new(|| Ok(())),
    };
    println!("{:28} {:>8} {:>8}", "calls", "ns", "native");
    guest::alone(script::nothing(), rounds);
    let status = boot::run(config).expect("the sandbox boots");
    println!("{status:?}");
}
