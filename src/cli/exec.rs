//! `cofferdam exec`: another process in a running container.

use super::runtime::{EXEC_FAILED, Global, check_preserved};
use crate::container::exec::{ExecRequest, exec};
use crate::container::{Container, Error, Result, at};
use oci_spec::runtime::{LinuxCapabilities, Process, User};
use std::path::PathBuf;
use std::process::ExitCode;

/// Run another process in a container
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Unix socket that gets the master of the process's terminal
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the process
    #[arg(long, value_name = "PATH")]
    pidfd_socket: Option<PathBuf>,
    /// Working directory inside
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set a variable in its environment (repeatable)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Run as this user
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Further groups (repeatable)
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Its description, instead of the other options
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Do not wait
    #[arg(short, long)]
    detach: bool,
    /// File that gets the pid of the process that stands for it
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Accepted and ignored: see docs/oci.md
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Accepted and ignored: see docs/oci.md
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// No execve of it gains rights
    #[arg(long)]
    no_new_privs: bool,
    /// Add a capability (repeatable)
    #[arg(short, long, value_name = "CAP")]
    cap: Vec<String>,
    /// Pass on N descriptors from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Accepted: a container has one control group
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// In a paused container it starts when that goes on
    #[arg(long)]
    ignore_paused: bool,
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<String>,
}

impl Exec {
    /// Runs it; without --detach the exit status is the process's; 255 if there was none, as with runc.
    pub fn run(self, global: &Global) -> ExitCode {
        let preserved = check_preserved(self.preserve_fds);
        global.run_or(EXEC_FAILED, |log| {
            preserved?;
            let container = global.store().load(&self.id)?;
            let process = self.describe(&container)?;
            let request = ExecRequest {
                console_socket: self.console_socket,
                pid_file: self.pid_file,
                pidfd_socket: self.pidfd_socket,
                preserve_fds: self.preserve_fds,
                detach: self.detach,
                ignore_paused: self.ignore_paused,
                log_fds: log.to_vec(),
            };
            exec(&container, &request, &process)
        })
    }

    /// The file, or the container's own process with the options on top.
    fn describe(&self, container: &Container) -> Result<Process> {
        if let Some(path) = &self.process {
            let text =
                std::fs::read(path).map_err(at(format!("cannot read {}", path.display())))?;
            return serde_json::from_slice(&text)
                .map_err(at(format!("{} is malformed", path.display())));
        }
        if self.command.is_empty() {
            return Err(Error::Other("process args cannot be empty".into()));
        }
        let own = container.saved.spec.process().clone();
        let mut p = own.ok_or(Error::Other("the configuration has no process".into()))?;
        p.set_args(Some(self.command.clone()));
        p.set_terminal(Some(self.tty));
        if let Some(cwd) = &self.cwd {
            p.set_cwd(cwd.clone());
        }
        let mut env = p.env().clone().unwrap_or_default();
        for pair in &self.env {
            let name = |p: &str| p.split('=').next().unwrap_or_default().to_owned();
            env.retain(|old| name(old) != name(pair));
            env.push(pair.clone());
        }
        p.set_env(Some(env));
        if self.no_new_privs {
            p.set_no_new_privileges(Some(true));
        }
        if let Some(user) = &self.user {
            p.set_user(parse_user(user)?);
        }
        if !self.additional_gids.is_empty() {
            let mut user = p.user().clone();
            let mut gids = user.additional_gids().clone().unwrap_or_default();
            gids.extend(&self.additional_gids);
            user.set_additional_gids(Some(gids));
            p.set_user(user);
        }
        if !self.cap.is_empty() {
            let caps = p.capabilities().clone().unwrap_or_default();
            p.set_capabilities(Some(with_caps(caps, &self.cap)?));
        }
        Ok(p)
    }
}

fn parse_user(text: &str) -> Result<User> {
    let number = |s: &str| {
        s.parse::<u32>()
            .map_err(|_| Error::Other(format!("--user {text}: write UID or UID:GID")))
    };
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    let mut user = User::default();
    user.set_uid(number(uid)?).set_gid(number(gid)?);
    Ok(user)
}

/// Adds to all sets, as runc does.
fn with_caps(mut caps: LinuxCapabilities, names: &[String]) -> Result<LinuxCapabilities> {
    let parsed: Vec<oci_spec::runtime::Capability> = serde_json::to_value(names)
        .and_then(serde_json::from_value)
        .map_err(at("--cap"))?;
    let add = |set: &Option<oci_spec::runtime::Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(parsed.iter().copied());
        Some(set)
    };
    let sets = (
        add(caps.bounding()),
        add(caps.effective()),
        add(caps.permitted()),
        add(caps.inheritable()),
        add(caps.ambient()),
    );
    caps.set_bounding(sets.0)
        .set_effective(sets.1)
        .set_permitted(sets.2)
        .set_inheritable(sets.3)
        .set_ambient(sets.4);
    Ok(caps)
}
