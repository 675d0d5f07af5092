//! Starts gofer and sentry, for whatever monitor will look after them.

use super::control::{self, MonitorEnd, Received, Report};
use super::gofer::Gofer;
use super::ids::{Maps, Plan};
use super::sentry::Sentry;
use super::spawn::{Child, Ended, spawn};
use super::tree::Served;
use super::{Error, Result};
use cofferdam_sentry::boot::GuestConfig;
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};

/// What they are to do.
pub struct Start {
    /// Who they are on the host.
    pub gofer_maps: Maps,
    /// What the gofer serves.
    pub served: Served,
    /// What the guest finds.
    pub guest: GuestConfig,
    /// The first process's streams.
    pub streams: Vec<OwnedFd>,
    /// How much sooner than others the host is to kill the guest's processes (`oom_score_adj`).
    pub guest_oom_score_adj: i32,
    /// Name of the platform.
    pub platform: String,
    /// Counts processes killed for want of memory.
    pub memory_events: Option<File>,
    /// Where decoded system calls go.
    pub strace: Option<File>,
    /// Where the profile goes.
    pub profile: Option<crate::profile::Output>,
    /// Other descriptors that they keep open (the log).
    pub keep: Vec<RawFd>,
    /// Those of the sentry.
    pub sentry_keeps: Vec<RawFd>,
}

/// Both processes.
#[derive(Debug)]
pub struct Started {
    /// Serves files.
    pub gofer: Process,
    /// The kernel.
    pub sentry: Process,
}

/// Clones both. The caller must be single-threaded.
///
/// # Errors
/// A sentence that names what the host forbids.
pub fn start(plan: &Plan, start: Start) -> Result<Started> {
    let broken = |e: std::io::Error| {
        Error::Host(format!(
            "cannot make a socket: {e}; is a limit on descriptors (ulimit -n) too low?"
        ))
    };
    let (gofer_end, gofer_child_end) = control::pair().map_err(broken)?;
    let (sentry_end, sentry_child_end) = control::pair().map_err(broken)?;
    let (server, client) = cofferdam_gofer::transport::SeqPacket::pair().map_err(broken)?;
    let gofer = Gofer {
        control: gofer_child_end,
        socket: server,
        served: start.served,
        keep: start.keep,
        foreign: start.gofer_maps.foreign,
        may_drop_groups: !start.gofer_maps.deny_setgroups,
    };
    let gofer = Process {
        name: "gofer",
        end: gofer_end,
        child: spawn(&start.gofer_maps, move || gofer.run())?,
        open: true,
    };
    let sentry_maps = plan.sentry_maps();
    let sentry = Sentry {
        control: sentry_child_end,
        gofer: client,
        guest: start.guest,
        streams: start.streams,
        guest_oom_score_adj: start.guest_oom_score_adj,
        platform: start.platform,
        memory_events: start.memory_events,
        strace: start.strace,
        profile: start.profile,
        may_drop_groups: !sentry_maps.deny_setgroups,
        keep: start.sentry_keeps,
    };
    let sentry = Process {
        name: "sentry",
        end: sentry_end,
        child: spawn(&sentry_maps, move || sentry.run())?,
        open: true,
    };
    Ok(Started { gofer, sentry })
}

/// A child and the connection with it.
#[derive(Debug)]
pub struct Process {
    /// For messages.
    pub name: &'static str,
    /// The connection.
    pub end: MonitorEnd,
    /// The process.
    pub child: Child,
    /// The connection has not ended.
    pub open: bool,
}

impl Process {
    /// What it says next; `None` once it says no more.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn report(&mut self) -> Result<Option<Report>> {
        match self.end.receive() {
            Ok(Received::Report(report)) => Ok(Some(report)),
            Ok(Received::End) => {
                self.open = false;
                Ok(None)
            }
            Err(e) => Err(Error::Died(format!("the {} broke off: {e}", self.name))),
        }
    }

    /// The sentence for an end that nobody announced.
    pub fn died(&mut self) -> Error {
        let how = match self.child.wait() {
            Ended::Exited(status) => format!("ended with status {status}"),
            Ended::Signaled(signal) => format!("was killed by signal {signal}"),
        };
        Error::Died(format!(
            "the {} {how} while the program ran; the sandbox is gone",
            self.name
        ))
    }
}

impl Started {
    /// Ends what still runs and reaps it. The sentry is init of its pid namespace: with it go zygote and stubs, and it is
    /// reaped only when they are gone.
    pub fn end(&mut self) {
        self.sentry.child.kill();
        self.gofer.child.kill();
        self.sentry.child.wait();
        self.gofer.child.wait();
    }
}
