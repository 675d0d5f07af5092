//! `startContainer` hooks: programs of the container, run in it before its own program, as its user.

use super::failed;
use crate::container::exec::file_with;
use crate::container::protocol::{Connection, Reply, Request};
use crate::container::{Container, Error, Result, at};
use crate::oci::{Notes, process};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::Hook;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Runs them in order, until one fails.
///
/// # Errors
/// As [`super::run`].
pub fn run(container: &Container, hooks: Option<&Vec<Hook>>, state: &Value) -> Result<()> {
    for (i, hook) in hooks.into_iter().flatten().enumerate() {
        run_one(container, hook, state)?.map_err(|why| failed("startContainer", i, hook, &why))?;
    }
    Ok(())
}

/// The hook's program, as the container's process would be described.
fn description(container: &Container, hook: &Hook) -> Result<Vec<u8>> {
    let spec = &container.saved.spec;
    let mut p = spec.process().clone().ok_or(Error::NotRunning)?;
    // The first argument is the name that the program is called by; inside it is also what is executed.
    let mut args = vec![hook.path().to_string_lossy().into_owned()];
    args.extend(hook.args().iter().flatten().skip(1).cloned());
    p.set_args(Some(args));
    // Without an environment of its own it has that of the process, as with runc.
    if let Some(env) = hook.env() {
        p.set_env(Some(env.clone()));
    }
    p.set_cwd("/".into());
    p.set_terminal(Some(false));
    let linux = spec.linux().as_ref();
    let profile = linux.and_then(|l| l.seccomp().as_ref());
    let config = process::translate(&p, profile, false, &mut Notes::default())?;
    serde_json::to_vec(&config).map_err(at("a hook"))
}

fn run_one(
    container: &Container,
    hook: &Hook,
    state: &Value,
) -> Result<std::result::Result<(), String>> {
    let mut stdin = File::from(file_with("state", state.to_string().as_bytes())?);
    stdin.rewind().map_err(at("a hook's standard input"))?;
    let stdin = OwnedFd::from(stdin);
    let stdout = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(at("/dev/null"))?;
    let stderr = file_with("stderr", b"")?;
    let connection = container.connect()?;
    connection.send(
        &Request::Exec,
        &[
            file_with("process", &description(container, hook)?)?.as_fd(),
            stdin.as_fd(),
            stdout.as_fd(),
            stderr.as_fd(),
        ],
    )?;
    let timeout = hook.timeout().and_then(|s| u64::try_from(s).ok());
    let deadline = timeout.map(|s| Instant::now() + Duration::from_secs(s));
    loop {
        if !is_ready(&connection, deadline) {
            // The monitor kills the process of a connection that ends.
            let seconds = timeout.unwrap_or(0);
            return Ok(Err(format!("timed out after {seconds} seconds")));
        }
        match connection.receive::<Reply>()? {
            Some(Reply::Started) => {}
            Some(Reply::Ended { status: 0 }) => return Ok(Ok(())),
            Some(Reply::Ended { status }) => {
                return Ok(Err(format!(
                    "exit status: {status}, stderr: {}",
                    text(stderr)
                )));
            }
            Some(Reply::NotStarted { sentence, .. } | Reply::Refused { sentence }) => {
                return Ok(Err(sentence));
            }
            _ => return Err(Error::NotRunning),
        }
    }
}

/// Waits for something to receive, or the deadline.
fn is_ready(connection: &Connection, deadline: Option<Instant>) -> bool {
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |d| {
            PollTimeout::try_from(d + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) if left.is_some_and(|l| l.is_zero()) => return false,
            // EINTR, or the longest time there is: wait again.
            Ok(0) | Err(_) => {}
            Ok(_) => return true,
        }
    }
}

/// What it said, in one line.
fn text(file: OwnedFd) -> String {
    let mut file = File::from(file);
    let mut said = Vec::new();
    // An extra.
    let _ = file
        .rewind()
        .and_then(|()| file.take(4096).read_to_end(&mut said));
    String::from_utf8_lossy(&said).trim().replace('\n', " ")
}
