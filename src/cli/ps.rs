//! `cofferdam ps`: what runs in a container.

use super::runtime::Global;
use super::{print, print_json};
use crate::container::protocol::{Reply, Request};
use crate::container::store::Status;
use crate::container::{Container, Error, Result, at, exec};
use cofferdam_sentry::boot::control::ListedProcess;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Show the processes of a container
#[derive(Debug, clap::Args)]
pub struct Ps {
    /// table: the processes inside; json: pids of the container's processes on the host
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
    /// Accepted: options of ps(1) have no meaning here
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    options: Vec<String>,
}

impl Ps {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            let container = global.store().load(&self.id)?;
            if container.status() == Status::Stopped {
                return Err(Error::NotRunning);
            }
            if self.format == "json" {
                // What engines want: host pids, to look up in the host's /proc. Those that stand for processes inside: the
                // monitor and the agents of exec.
                let saved = &container.saved;
                let mut pids = vec![saved.pid];
                let others = saved.cgroup.as_ref().map(|c| c.processes());
                pids.extend(
                    others
                        .into_iter()
                        .flatten()
                        .filter(|p| *p != saved.pid && is_outside(*p)),
                );
                print_json(&json!(pids))?;
                return Ok(0);
            }
            print(&format!(
                "{:>7} {:>7} {:>6} {:>4} {:>9} CMD\n",
                "PID", "PPID", "UID", "NLWP", "TIME"
            ))?;
            for p in inside(&container)? {
                let seconds = p.cpu_ns / 1_000_000_000;
                print(&format!(
                    "{:>7} {:>7} {:>6} {:>4} {:>6}:{:02} {}\n",
                    p.pid,
                    p.ppid,
                    p.uid,
                    p.threads,
                    seconds / 60,
                    seconds % 60,
                    p.name
                ))?;
            }
            Ok(0)
        })
    }
}

/// Whether a process is in the caller's pid namespace itself, not in one below.
fn is_outside(pid: i32) -> bool {
    let levels = |path: String| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("NSpid:").map(str::to_owned));
        line.map(|l| l.split_whitespace().count())
    };
    levels(format!("/proc/{pid}/status"))
        .is_some_and(|n| Some(n) == levels("/proc/self/status".into()))
}

/// The processes inside.
fn inside(container: &Container) -> Result<Vec<ListedProcess>> {
    let list = exec::file_with("processes", b"")?;
    let connection = container.connect()?;
    connection.send(&Request::Processes, &[list.as_fd()])?;
    match connection.receive::<Reply>()? {
        Some(Reply::Done) => {}
        Some(Reply::Refused { sentence }) => return Err(Error::Other(sentence)),
        _ => return Err(Error::NotRunning),
    }
    let mut text = Vec::new();
    let mut file = File::from(list);
    file.rewind()
        .and_then(|()| file.read_to_end(&mut text))
        .map_err(at("cannot read the list of processes"))?;
    serde_json::from_slice(&text).map_err(at("the list of processes is malformed"))
}
