//! Runs a command to its end, for a bounded time.

use super::Result;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How a command ended.
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// From before its start until it was seen to have ended.
    pub took: Duration,
    /// What it wrote to standard output, if that was asked for.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ended {
    /// The exit status and the last thing it said.
    pub fn why(&self) -> String {
        let last = self.stderr.lines().last().unwrap_or("").trim();
        match last {
            "" => self.status.to_string(),
            said => format!("{}: {said}", self.status),
        }
    }
}

/// What to do with the standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Collect it.
    Keep,
    /// Let it go to `/dev/null`.
    Discard,
}

/// Runs it with nothing to read.
///
/// # Errors
/// It could not be started, or took longer than `limit` and was killed.
pub fn run(command: &mut Command, output: Output, limit: Duration) -> Result<Ended> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command.stdout(match output {
        Output::Keep => Stdio::piped(),
        Output::Discard => Stdio::null(),
    });
    let start = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|e| crate::cli::printable(&format!("cannot run {name}: {e}")))?;
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let took = wait(&child, start, limit);
    let status = child
        .wait()
        .map_err(|e| format!("cannot wait for {name}: {e}"))?;
    let took = took.ok_or_else(|| format!("{name} did not end within {limit:?}"))?;
    Ok(Ended {
        status,
        took,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

/// Until the child has ended, without reaping it: so its number cannot be anyone else's when the time is up. `None`: it was killed.
fn wait(child: &Child, start: Instant, limit: Duration) -> Option<Duration> {
    let pid = Pid::from_raw(i32::try_from(child.id()).ok()?);
    let (ended, watch) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if late {
            let _ = kill(pid, Signal::SIGKILL);
        }
        late
    });
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        == Err(nix::errno::Errno::EINTR)
    {}
    let took = start.elapsed();
    drop(ended);
    let late = watchdog.join().unwrap_or(false);
    (!late).then_some(took)
}

type Collected = mpsc::Receiver<String>;

fn collect(mut from: impl Read + Send + 'static) -> Collected {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = from.read_to_end(&mut bytes);
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

/// Somebody whom the command left behind may still hold the pipe: there is no waiting for that.
fn text(from: Option<Collected>) -> String {
    from.and_then(|r| r.recv_timeout(Duration::from_secs(2)).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_status_and_limit() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let ended = run(&mut command, Output::Keep, Duration::from_secs(20)).unwrap();
        assert_eq!(
            (ended.stdout.as_str(), ended.status.code()),
            ("out\n", Some(3))
        );
        assert!(ended.why().ends_with(": err"), "{}", ended.why());
        let mut slow = Command::new("sleep");
        let limit = Duration::from_millis(50);
        let late = run(slow.arg("30"), Output::Discard, limit).err().unwrap();
        assert!(late.contains("did not end"), "{late}");
    }
}
