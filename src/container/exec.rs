//! `exec`: another process in a running container, with a process of its own on the host that stands for it.
//!
//! The **agent** is that process: its pid goes into the pid file, its exit status is the guest process's, signals sent to it
//! are passed on, and if it is killed the guest process is too.

use super::cgroup::Cgroup;
use super::console::{self, Behind, Console};
use super::protocol::{Connection, Reply, Request};
use super::store::{Container, Status, write_pid_file};
use super::{Error, Result, at, cannot_start, foreground, fork, monitor};
use crate::jail::{caps, filters, process, seccomp, sys};
use crate::oci::{self, Notes};
use crate::sandbox::signals::{Incoming, Signals};
use crate::sandbox::streams;
use cofferdam_sentry::boot::ProcessConfig;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::MsgFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What a caller of `exec` says.
#[derive(Debug, Default)]
pub struct ExecRequest {
    /// Where the terminal's master goes.
    pub console_socket: Option<PathBuf>,
    /// Where the agent's pid goes.
    pub pid_file: Option<PathBuf>,
    /// Where a descriptor of the agent goes.
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// Do not wait for the end.
    pub detach: bool,
    /// A paused container is no error: the process starts when it goes on.
    pub ignore_paused: bool,
    /// Log descriptors to keep open.
    pub log_fds: Vec<i32>,
}

/// What the agent tells the verb.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    /// `None`: it runs.
    failed: Option<(u8, String)>,
}

/// Runs a process; its exit status, or 0 at once with `detach`.
///
/// # Errors
/// In the words that callers know.
pub fn exec(container: &Container, request: &ExecRequest, p: &Process) -> Result<u8> {
    match container.status() {
        Status::Running | Status::Created => {}
        Status::Paused if request.ignore_paused => {}
        Status::Paused => {
            return Err(Error::Other(
                "cannot exec in a paused container (use --ignore-paused to override)".into(),
            ));
        }
        Status::Stopped => {
            return Err(Error::Other("cannot exec in a stopped container".into()));
        }
        Status::Creating => return Err(Error::NotRunning),
    }
    let mut notes = Notes::default();
    let linux = container.saved.spec.linux().as_ref();
    let profile = linux.and_then(|l| l.seccomp().as_ref());
    let config = oci::process::translate(p, profile, false, &mut notes)?;
    let console = match (config.terminal, &request.console_socket) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(Error::Other(
                "cannot use console socket if the process has no terminal".into(),
            ));
        }
        (Some(_), None) if request.detach => {
            return Err(Error::Other(
                "cannot allocate tty if the process is detached without setting console socket"
                    .into(),
            ));
        }
        (Some(size), socket) => {
            if socket.is_none() {
                foreground::own_terminal()?;
            }
            Some(Console::open(size)?)
        }
    };
    let program = config.argv.first().cloned().unwrap_or_default();
    let (master, slave) = console.map_or((None, None), |c| (Some(c.master), Some(c.slave)));
    let (ours, theirs) = monitor::handshake()?;
    let agent = Agent {
        verb: theirs,
        monitor: container.connect()?,
        slave,
        preserve_fds: request.preserve_fds,
        cgroup: container.saved.cgroup.clone(),
        config,
        keep: request.log_fds.clone(),
    };
    let pid = fork::fork(0, move || agent.run())?;
    let agent = Unannounced(Some(pid));
    let failure = match ours.receive::<Outcome>()? {
        Some(Outcome { failed: None }) => None,
        Some(Outcome {
            failed: Some((status, sentence)),
        }) => Some(format!(
            "exec failed: {}",
            cannot_start(&program, status, &sentence)
        )),
        None => Some("the process that stands for it ended without a word".into()),
    };
    if let Some(sentence) = failure {
        return Err(Error::Other(sentence));
    }
    if let (Some(master), Some(path)) = (&master, &request.console_socket) {
        console::send_fd(path, master, b"/dev/ptmx")?;
    }
    if let Some(path) = &request.pidfd_socket {
        let pidfd = sys::pidfd(pid.as_raw()).map_err(at("cannot open the agent's pidfd"))?;
        console::send_fd(path, &pidfd, b"pidfd")?;
    }
    if let Some(path) = &request.pid_file {
        write_pid_file(path, pid.as_raw())?;
    }
    agent.announced();
    for note in notes.0 {
        log::warn!("{note}");
    }
    if request.detach {
        return Ok(0);
    }
    foreground::attend(pid, master.filter(|_| request.console_socket.is_none()))
}

/// An agent that the caller has not been told of in all the ways that it asked for: it goes, and its process with it, if that fails.
struct Unannounced(Option<Pid>);

impl Unannounced {
    fn announced(mut self) {
        self.0 = None;
    }
}

impl Drop for Unannounced {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may have ended.
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}

/// A file in memory with this text.
///
/// # Errors
/// The host has no memory.
pub fn file_with(name: &str, text: &[u8]) -> Result<OwnedFd> {
    let fd =
        memfd_create(name, MFdFlags::MFD_CLOEXEC).map_err(at("cannot make a file in memory"))?;
    let mut file = File::from(fd);
    file.write_all(text)
        .map_err(at("cannot write a file in memory"))?;
    Ok(file.into())
}

struct Agent {
    verb: Connection,
    monitor: Connection,
    slave: Option<OwnedFd>,
    preserve_fds: u32,
    cgroup: Option<Cgroup>,
    config: ProcessConfig,
    keep: Vec<i32>,
}

impl Agent {
    /// Runs in a child of the verb; the process's exit status.
    fn run(self) -> u8 {
        crate::sandbox::logging::role("exec");
        process::set_title(&self.config.argv);
        let verb = match self.verb.as_fd().try_clone_to_owned() {
            Ok(fd) => Connection::from_fd(fd),
            Err(_) => return crate::cli::FAILED,
        };
        let keep = verb.as_fd().as_raw_fd();
        let (outcome, attendant) = match self.start(keep) {
            Ok(Ok(attendant)) => (Outcome { failed: None }, Some(attendant)),
            Ok(Err(why)) => (Outcome { failed: Some(why) }, None),
            Err(e) => {
                let failed = Some((crate::cli::FAILED, e.to_string()));
                (Outcome { failed }, None)
            }
        };
        // A verb that is gone changes nothing for the process.
        let _ = verb.send(&outcome, &[]);
        drop(verb);
        attendant.map_or(crate::cli::FAILED, |mut a| a.attend())
    }

    fn start(mut self, verb: i32) -> Result<std::result::Result<Attendant, (u8, String)>> {
        let terminal = console::enter_session(self.slave.take())?;
        let mut keep = vec![
            0,
            1,
            2,
            verb,
            self.verb.as_fd().as_raw_fd(),
            self.monitor.as_fd().as_raw_fd(),
        ];
        keep.extend((0..self.preserve_fds).filter_map(|n| i32::try_from(n + 3).ok()));
        keep.extend(terminal.iter().map(Behind::raw_fd));
        keep.extend(&self.keep);
        process::close_all_but(&keep)?;
        if let Some(cgroup) = &self.cgroup {
            cgroup.join_self()?;
        }
        let signals = Signals::block().map_err(at("cannot receive signals"))?;
        let mut files = match &terminal {
            Some(t) => {
                self.config.terminal = Some(t.size());
                vec![t.reopen()?]
            }
            None => streams::for_sentry()
                .map_err(at("cannot pass on the standard streams"))?
                .into(),
        };
        for number in 3..3 + self.preserve_fds {
            let number = i32::try_from(number).unwrap_or(-1);
            files.push(sys::inherited(number).map_err(at(format!(
                "--preserve-fds: descriptor {number} is not open"
            )))?);
        }
        let text = serde_json::to_vec(&self.config).map_err(at("the process"))?;
        files.insert(0, file_with("process", &text)?);
        let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        self.monitor.send(&Request::Exec, &borrowed)?;
        drop(files);
        let reply = self.monitor.receive::<Reply>()?;
        match reply {
            Some(Reply::Started) => {}
            Some(Reply::NotStarted { status, sentence }) => return Ok(Err((status, sentence))),
            Some(Reply::Refused { sentence }) => return Err(Error::Other(sentence)),
            _ => return Err(Error::NotRunning),
        }
        streams::give_up_all();
        process::no_core()?;
        caps::keep_only(caps::CapSet::NONE)?;
        seccomp::confine(&filters::monitor::CONTAINER)?;
        Ok(Ok(Attendant {
            monitor: self.monitor,
            signals,
            terminal,
        }))
    }
}

/// The agent once its process runs.
struct Attendant {
    monitor: Connection,
    signals: Signals,
    terminal: Option<Behind>,
}

impl Attendant {
    /// Until the process has ended; its exit status.
    fn attend(&mut self) -> u8 {
        loop {
            let mut fds = [
                PollFd::new(self.monitor.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            // EINTR: look, then wait again.
            let _ = poll(&mut fds, PollTimeout::NONE);
            let ready = fds.map(|fd| fd.revents().is_some_and(|r| !r.is_empty()));
            if ready == [false, true] {
                self.pass_signals();
            }
            if let [true, _] = ready {
                match self.monitor.receive_with::<Reply>(MsgFlags::MSG_DONTWAIT) {
                    Ok(Some((Reply::Ended { status }, _))) => return status,
                    Ok(Some(_)) => {}
                    // The container is gone, and with it the process.
                    Ok(None) | Err(_) => return 128 + 9,
                }
            }
        }
    }

    fn pass_signals(&self) {
        while let Ok(Some(incoming)) = self.signals.next() {
            let request = match incoming {
                Incoming::Child => continue,
                Incoming::WindowSize => match &self.terminal {
                    Some(t) => {
                        let (rows, columns) = t.size();
                        Request::Resize { rows, columns }
                    }
                    None => continue,
                },
                Incoming::Forward(signal) | Incoming::Stop(signal) => {
                    Request::Signal { signal, all: false }
                }
            };
            // A monitor that is gone is noticed by the end of the connection.
            let _ = self.monitor.send(&request, &[]);
        }
    }
}
