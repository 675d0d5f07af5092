//! The gofer's process, from its clone to its end.

use super::control::{ChildEnd, FAILED_PREFIX, Report};
use super::{host, logging, tree::Served};
use crate::cli::FAILED;
use crate::jail::{self, caps, filters, process, seccomp, violation};
use cofferdam_gofer::server::{self, Export};
use cofferdam_gofer::tree;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Everything the gofer is given.
pub struct Gofer {
    /// To the monitor.
    pub control: ChildEnd,
    /// To the sentry.
    pub socket: OwnedFd,
    /// What it serves.
    pub served: Served,
    /// Other descriptors to keep open (the log).
    pub keep: Vec<i32>,
    /// Its user namespace may lack the ids it starts with.
    pub foreign: bool,
    /// Whether that namespace lets go of supplementary groups.
    pub may_drop_groups: bool,
}

impl Gofer {
    /// Runs in the child; its exit status.
    pub fn run(self) -> u8 {
        logging::role("gofer");
        let Gofer {
            control,
            socket,
            served,
            mut keep,
            foreign,
            may_drop_groups,
        } = self;
        keep.extend([control.as_fd().as_raw_fd(), socket.as_raw_fd()]);
        let settled = match foreign {
            // Without an id of its own it could make nothing.
            true => process::become_root_of_namespace(may_drop_groups).map_err(jail),
            false => Ok(()),
        };
        let result = settled
            .and_then(|()| confine(&control, &served, &keep))
            .and_then(|(exports, proc_fds)| {
                // The monitor waits for this; without a monitor there is nothing to do.
                let _ = control.send(&Report::Ready);
                server::run(socket, exports, proc_fds).map_err(|e| e.to_string())
            });
        match result {
            Ok(()) => 0,
            Err(sentence) => {
                log::error!("{sentence}");
                let _ = control.send(&Report::Failed(FAILED, sentence));
                FAILED
            }
        }
    }
}

fn jail(e: jail::Error) -> String {
    format!("the gofer {}", host::explain_jail(&e))
}

fn confine(
    control: &ChildEnd,
    served: &Served,
    keep: &[i32],
) -> Result<(Vec<Export>, cofferdam_gofer::host::ProcFds), String> {
    process::own_session().map_err(jail)?;
    process::die_with_parent().map_err(jail)?;
    process::close_all_but(keep).map_err(jail)?;
    process::no_core().map_err(jail)?;
    server::prepare_process();
    // The tree is built with the rights over the new namespaces, which then go.
    let proc_fds = tree::enter(&served.entries).map_err(|e| host::explain_tree(&e))?;
    let mut exports = Vec::new();
    for e in &served.exports {
        let failed = |error: String| format!("cannot serve {}: {error}", e.source.display());
        let root = open(&e.place, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| failed(errno.desc().into()))?;
        exports.push(Export::from_fd(root, &e.source, e.options).map_err(|e| e.to_string())?);
    }
    caps::keep_only(rights(served)).map_err(jail)?;
    process::undumpable().map_err(jail)?;
    violation::report_to(control.as_fd().as_raw_fd(), FAILED_PREFIX);
    seccomp::confine(&filters::gofer::ROLE).map_err(jail)?;
    Ok((exports, proc_fds))
}

/// What the caller could do with the files served: root passes over permission bits, others have no capabilities that
/// count on the host.
fn rights(served: &Served) -> caps::CapSet {
    let mut keep = caps::CapSet::NONE;
    if served.needs_rights() {
        keep = keep.with(caps::DAC_READ_SEARCH);
    }
    if served.writable() {
        keep = keep
            .with(caps::DAC_OVERRIDE)
            .with(caps::CHOWN)
            .with(caps::FOWNER)
            .with(caps::FSETID);
    }
    keep
}
