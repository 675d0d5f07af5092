//! Log lines of all processes of a sandbox, in one file that each of them appends to.

use log::{LevelFilter, Log, Metadata, Record};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair};
use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The role's name in its lines.
static ROLE: Mutex<Option<&'static str>> = Mutex::new(None);

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `time="…" level=… msg="…"`, as other runtimes write it.
    Text,
    /// `{"level":…,"msg":…,"time":…}`.
    Json,
}

/// Warnings of a verb that may yet fail: readers of a failed verb's log expect one line, its error.
static DEFERRED: Mutex<Option<String>> = Mutex::new(None);

struct FileLog {
    file: File,
    /// Of this process.
    failed: AtomicBool,
    /// Holds one message for all processes of the sandbox: who takes it tells that the log is lost.
    turn: (OwnedFd, OwnedFd),
    /// Gofer and sentry say nothing here: what ends them the monitor says.
    quiet: bool,
    /// `None`: our own format with the process's role.
    format: Option<Format>,
    /// Of this process.
    budget: Mutex<Budget>,
}

/// Lines that one process may log at once.
const BURST: u64 = 1000;

/// How many lines a process may log: a guest can make its sentry log one whenever it likes, and the disk is the host's. Another line
/// may follow each second. What is asked for by `debug` and `trace` is not counted.
struct Budget {
    left: u64,
    refilled: Instant,
    lost: u64,
}

impl Budget {
    fn new(now: Instant) -> Budget {
        Budget {
            left: BURST,
            refilled: now,
            lost: 0,
        }
    }

    /// Takes one; how many were lost before it. `None`: this one is lost too.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let seconds = now.saturating_duration_since(self.refilled).as_secs();
        if seconds > 0 {
            self.left = self.left.saturating_add(seconds).min(BURST);
            self.refilled = now;
        }
        if self.left == 0 {
            self.lost = self.lost.saturating_add(1);
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.lost))
    }
}

impl Log for FileLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let role = ROLE.lock().ok().and_then(|r| *r);
        if self.quiet && !matches!(role, None | Some("monitor")) {
            return;
        }
        let counted = role.is_some() && record.level() <= log::Level::Info;
        if counted && let Ok(mut budget) = self.budget.lock() {
            match budget.take(Instant::now()) {
                None => return,
                Some(0) => {}
                Some(lost) => self.write(
                    &self.text(
                        role,
                        &Record::builder()
                            .level(log::Level::Warn)
                            .target(record.target())
                            .args(format_args!("{lost} lines were left out"))
                            .build(),
                    ),
                ),
            }
        }
        let line = self.text(role, record);
        if role.is_none()
            && record.level() > log::Level::Error
            && let Ok(mut deferred) = DEFERRED.lock()
            && let Some(lines) = &mut *deferred
        {
            lines.push_str(&line);
            return;
        }
        self.write(&line);
    }

    fn flush(&self) {
        let lines = DEFERRED.lock().ok().and_then(|mut d| d.take());
        if let Some(lines) = lines.filter(|l| !l.is_empty()) {
            self.write(&lines);
        }
    }
}

impl FileLog {
    fn text(&self, role: Option<&'static str>, record: &Record<'_>) -> String {
        match self.format {
            None => line(role.unwrap_or("monitor"), record),
            Some(format) => runtime_line(format, record),
        }
    }

    fn write(&self, line: &str) {
        // One write per line: lines of several processes do not mix. The first failure is told, the others, in
        // this process or another, would only repeat it.
        if let Err(e) = (&self.file).write_all(line.as_bytes())
            && !self.failed.swap(true, Ordering::Relaxed)
            && self.takes_turn()
        {
            crate::cli::complain(format_args!(
                "cannot write the log: {e}; log lines are lost from here on"
            ));
        }
    }
}

/// A line as callers of OCI runtimes parse it.
fn runtime_line(format: Format, record: &Record<'_>) -> String {
    let level = match record.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "info",
        log::Level::Debug | log::Level::Trace => "debug",
    };
    let (message, time) = (record.args().to_string(), crate::clock::rfc3339_now());
    match format {
        Format::Json => {
            let line = serde_json::json!({ "level": level, "msg": message, "time": time });
            format!("{line}\n")
        }
        Format::Text => format!("time={time:?} level={level} msg={message:?}\n"),
    }
}

/// Sends log lines of a verb, and of the processes that it leaves behind, to `file`. Without `debug` its warnings are kept
/// until [`flush_deferred`]. The result is the descriptors that must stay open for it, the file's first.
///
/// # Errors
/// Too many descriptors.
pub fn start_runtime(
    file: File,
    level: LevelFilter,
    format: Format,
    debug: bool,
) -> nix::Result<Vec<RawFd>> {
    let turn = new_turn()?;
    let used = descriptors(&file, &turn);
    let log = FileLog {
        file,
        failed: AtomicBool::new(false),
        turn,
        quiet: !debug,
        format: Some(format),
        budget: Mutex::new(Budget::new(Instant::now())),
    };
    if log::set_boxed_logger(Box::new(log)).is_ok() {
        log::set_max_level(level);
    }
    if !debug && let Ok(mut deferred) = DEFERRED.lock() {
        *deferred = Some(String::new());
    }
    Ok(used)
}

/// The verb has succeeded: its warnings may be read.
pub fn flush_deferred() {
    log::logger().flush();
}

/// The verb has failed: only its error is to be read.
pub fn drop_deferred() {
    if let Ok(mut deferred) = DEFERRED.lock() {
        *deferred = None;
    }
}

impl FileLog {
    fn takes_turn(&self) -> bool {
        // recvmsg is a call that the filters of all roles list.
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_DONTWAIT;
        recvmsg::<()>(self.turn.1.as_raw_fd(), &mut parts, None, flags).is_ok()
    }
}

/// `seconds.micros level role target: message`.
fn line(role: &str, record: &Record<'_>) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let message = crate::cli::printable(&record.args().to_string());
    format!(
        "{}.{:06} {:5} {role} {}: {message}\n",
        now.as_secs(),
        now.subsec_micros(),
        record.level(),
        record.target()
    )
}

/// Sends log lines of this process, and of those cloned from it, to `file`. Called once, by the monitor. The result is the
/// descriptors that must stay open for it.
///
/// # Errors
/// Too many descriptors.
pub fn start(file: File, level: LevelFilter) -> nix::Result<Vec<RawFd>> {
    let turn = new_turn()?;
    let used = descriptors(&file, &turn);
    if log::set_boxed_logger(Box::new(FileLog {
        file,
        failed: AtomicBool::new(false),
        turn,
        quiet: false,
        format: None,
        budget: Mutex::new(Budget::new(Instant::now())),
    }))
    .is_ok()
    {
        log::set_max_level(level);
    }
    Ok(used)
}

/// A message that only one process of a sandbox gets.
fn new_turn() -> nix::Result<(OwnedFd, OwnedFd)> {
    let turn = socketpair(
        AddressFamily::Unix,
        SockType::Datagram,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    send(turn.0.as_raw_fd(), &[1], MsgFlags::empty())?;
    Ok(turn)
}

/// What must stay open for a log, the file first.
fn descriptors(file: &File, turn: &(OwnedFd, OwnedFd)) -> Vec<RawFd> {
    vec![
        file.as_raw_fd(),
        turn.0.as_raw_fd(),
        turn.1.as_raw_fd(),
        libc::STDERR_FILENO,
    ]
}

/// Names this process in its lines from here on. Called at the start of a child.
pub fn role(name: &'static str) {
    if let Ok(mut role) = ROLE.lock() {
        *role = Some(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn floods_of_lines_are_cut() {
        let start = Instant::now();
        let mut b = Budget::new(start);
        let logged = (0..5000).filter(|_| b.take(start).is_some()).count();
        assert_eq!(logged as u64, BURST);
        let later = start + Duration::from_secs(2);
        assert_eq!(b.take(later), Some(4000), "who reads on learns of it");
        assert_eq!((b.take(later), b.take(later)), (Some(0), None));
    }
}
