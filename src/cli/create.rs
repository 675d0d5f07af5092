//! `cofferdam create` and `cofferdam run`: containers from bundles.

use super::runtime::{Global, check_preserved};
use crate::container::create::{self, Request};
use crate::container::{delete, foreground, start};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::process::ExitCode;

/// What both take.
#[derive(Debug, clap::Args)]
struct Common {
    /// Directory with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Unix socket that gets the master of the container's terminal
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the container's process
    #[arg(long, value_name = "PATH")]
    pidfd_socket: Option<PathBuf>,
    /// File that gets the pid of the container's process
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Accepted: the sandbox's root is never the host's
    #[arg(long)]
    no_pivot: bool,
    /// Accepted: no keyring of the host is in reach of a sandbox
    #[arg(long)]
    no_new_keyring: bool,
    /// Pass on N descriptors from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
}

impl Common {
    fn request(self, foreground: bool) -> Request {
        Request {
            id: self.id,
            bundle: self.bundle,
            console_socket: self.console_socket,
            pid_file: self.pid_file,
            pidfd_socket: self.pidfd_socket,
            preserve_fds: self.preserve_fds,
            foreground,
        }
    }
}

/// Create a container; 'start' runs its program
#[derive(Debug, clap::Args)]
pub struct Create {
    #[command(flatten)]
    common: Common,
}

impl Create {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        let preserved = check_preserved(self.common.preserve_fds);
        global.run(|log| {
            preserved?;
            create::create(&global.runtime(log)?, &self.common.request(false))?;
            Ok(0)
        })
    }
}

/// Create a container, start it, and wait for its end
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Do not wait
    #[arg(short, long)]
    detach: bool,
    /// Do not delete the container at its end
    #[arg(long)]
    keep: bool,
    /// Accepted: who inherits the container's processes is up to the host
    #[arg(long)]
    no_subreaper: bool,
    #[command(flatten)]
    common: Common,
}

impl Run {
    /// Runs it; the exit status is the workload's.
    pub fn run(self, global: &Global) -> ExitCode {
        let preserved = check_preserved(self.common.preserve_fds);
        global.run(|log| {
            preserved?;
            let runtime = global.runtime(log)?;
            let detach = self.detach;
            let keep = self.keep;
            let request = self.common.request(!detach);
            let shown_here = request.console_socket.is_none();
            let created = create::create(&runtime, &request)?;
            if let Err(e) = start::start(&created.container) {
                // The first error is the one to tell.
                let _ = delete::delete(&runtime.store, &request.id, true);
                return Err(e);
            }
            if detach {
                return Ok(0);
            }
            let pid = Pid::from_raw(created.container.saved.pid);
            let status = foreground::attend(pid, created.master.filter(|_| shown_here))?;
            if !keep {
                delete::delete(&runtime.store, &request.id, true)?;
            }
            Ok(status)
        })
    }
}
