//! Log lines of all processes of a sandbox, in one file that each of them appends to.

use log::{LevelFilter, Log, Metadata, Record};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair};
use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The role's name in its lines.
static ROLE: OnceLock<&'static str> = OnceLock::new();

struct FileLog {
    file: File,
    /// Of this process.
    failed: AtomicBool,
    /// Holds one message for all processes of the sandbox: who takes it tells that the log is lost.
    turn: (OwnedFd, OwnedFd),
}

impl Log for FileLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = line(ROLE.get().copied().unwrap_or("monitor"), record);
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

    fn flush(&self) {}
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
    let message = record.args().to_string().replace(['\n', '\r'], " ");
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
    let turn = socketpair(
        AddressFamily::Unix,
        SockType::Datagram,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    send(turn.0.as_raw_fd(), &[1], MsgFlags::empty())?;
    let used = vec![
        file.as_raw_fd(),
        turn.0.as_raw_fd(),
        turn.1.as_raw_fd(),
        libc::STDERR_FILENO,
    ];
    if log::set_boxed_logger(Box::new(FileLog {
        file,
        failed: AtomicBool::new(false),
        turn,
    }))
    .is_ok()
    {
        log::set_max_level(level);
    }
    Ok(used)
}

/// Names this process in its lines from here on. Called once in a child.
pub fn role(name: &'static str) {
    let _ = ROLE.set(name);
}
