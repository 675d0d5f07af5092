//! Hooks: programs that are told of a container's life, its state on their standard input. They are the host's, those of
//! `startContainer` the container's own ([`inside`]).

pub mod inside;

use super::{Error, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use oci_spec::runtime::Hook;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs hooks of one kind in order, until one fails.
///
/// # Errors
/// One could not be run, failed, or took too long; the sentence says which.
pub fn run(
    kind: &str,
    hooks: Option<&Vec<Hook>>,
    state: &Value,
    dir: &std::path::Path,
) -> Result<()> {
    for (i, hook) in hooks.into_iter().flatten().enumerate() {
        run_one(hook, state, dir).map_err(|why| failed(kind, i, hook, &why))?;
    }
    Ok(())
}

/// Runs them all; what failed.
pub fn run_all(
    kind: &str,
    hooks: Option<&Vec<Hook>>,
    state: &Value,
    dir: &std::path::Path,
) -> Vec<Error> {
    let all = hooks.into_iter().flatten().enumerate();
    all.filter_map(|(i, hook)| {
        let why = run_one(hook, state, dir).err()?;
        Some(failed(kind, i, hook, &why))
    })
    .collect()
}

fn failed(kind: &str, number: usize, hook: &Hook, why: &str) -> Error {
    let path = hook.path().display();
    Error::Other(format!(
        "error running hook #{number}: error running {kind} hook {path}: {why}"
    ))
}

fn run_one(hook: &Hook, state: &Value, dir: &std::path::Path) -> std::result::Result<(), String> {
    let mut args = hook.args().iter().flatten();
    let mut command = Command::new(hook.path());
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args).env_clear().current_dir(dir);
    for pair in hook.env().iter().flatten() {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        command.env(key, value);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read it; the state fits into the pipe.
        let _ = stdin.write_all(state.to_string().as_bytes());
    }
    let mut said = Said::of(child.stderr.take());
    let timeout = hook.timeout().and_then(|s| u64::try_from(s).ok());
    let deadline = timeout.map(|s| Instant::now() + Duration::from_secs(s));
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if deadline.is_some_and(|d| Instant::now() >= d) => {
                // It may have ended by itself just now.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("timed out after {} seconds", timeout.unwrap_or(0)));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
        said.take_in();
    };
    if status.success() {
        return Ok(());
    }
    said.take_in();
    Err(format!(
        "{status}, stderr: {}",
        String::from_utf8_lossy(&said.text)
            .trim()
            .replace('\n', " ")
    ))
}

/// What a hook writes to its standard error, an extra: the first of it is kept. Never waited for, as somebody whom the hook has left
/// behind may hold the other end.
struct Said {
    pipe: Option<ChildStderr>,
    text: Vec<u8>,
}

impl Said {
    const MOST: usize = 4096;

    fn of(pipe: Option<ChildStderr>) -> Said {
        let pipe = pipe.filter(|p| fcntl(p, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok());
        Said { pipe, text: vec![] }
    }

    /// Takes in what is there now.
    fn take_in(&mut self) {
        const MOST_READS: usize = 64;
        let Some(pipe) = &mut self.pipe else { return };
        let mut buf = [0; Said::MOST];
        for _ in 0..MOST_READS {
            let Ok(n @ 1..) = pipe.read(&mut buf) else {
                return;
            };
            let room = Said::MOST.saturating_sub(self.text.len()).min(n);
            self.text.extend(buf.get(..room).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn hook(script: &str, timeout: Option<i64>) -> Vec<Hook> {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b"], "timeout": timeout});
        vec![serde_json::from_value(hook).unwrap()]
    }

    fn outcome(script: &str, timeout: Option<i64>) -> Result<()> {
        let state = json!({"id": "x"});
        run(
            "createRuntime",
            Some(&hook(script, timeout)),
            &state,
            Path::new("/"),
        )
    }

    #[test]
    fn they_get_the_state_and_their_environment_alone() {
        let script = r#"read s; test "$s" = '{"id":"x"}' && test "$A" = b && test -z "$HOME""#;
        outcome(script, None).unwrap();
    }

    #[test]
    fn failures_and_timeouts_are_told() {
        let e = outcome("echo oh no >&2; exit 3", None)
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("createRuntime") && e.contains("oh no") && e.contains('3'),
            "{e}"
        );
        // One who talks more than fits into a pipe, and one who leaves somebody behind.
        outcome("head -c 300000 /dev/zero >&2", Some(10)).unwrap();
        let e = outcome("sleep 20 & echo no >&2; exit 3", Some(10))
            .unwrap_err()
            .to_string();
        assert!(e.contains("no") && !e.contains("timed out"), "{e}");
        let e = outcome("exec sleep 20", Some(1)).unwrap_err().to_string();
        assert!(e.contains("timed out after 1 seconds"), "{e}");
    }
}
