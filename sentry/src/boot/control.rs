//! Messages from the monitor to the sentry, 12-byte packets on a SOCK_SEQPACKET socket, and what the sentry tells in return.
//!
//! Processes that the sandbox's owner has started have numbers of the monitor's choice: 0 is init, others come with
//! [`Message::Spawn`].

use super::config::ProcessConfig;
use super::{Boot, fds};
use crate::kernel::{ExitStatus, Kernel, ThreadGroup, signal};
use nix::sys::socket::MsgFlags;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Send this signal to a process, as if from outside its pid namespace.
    Signal(u32, i32),
    /// The size of the host terminal of a process: rows, columns.
    WindowSize(u32, u16, u16),
    /// End everything at once.
    Kill,
    /// Let init run, which has waited for it.
    Start,
    /// Start a process with this number beside init. Descriptors: a file with a [`ProcessConfig`] in JSON, then either the
    /// host terminal or three standard streams, then others from 3 on.
    Spawn(u32),
    /// Send this signal to every process.
    SignalAll(i32),
    /// Write what runs into the file that comes along, as JSON, and answer with the number.
    Processes(u32),
    /// The sandbox may have from now on what the file that comes along says, an [`Allowance`](crate::kernel::Allowance) in JSON; the answer is the number.
    Allow(u32),
}

/// Length of an encoded message in bytes.
pub const LEN: usize = 12;

impl Message {
    /// Bytes on the wire: kind, process, value, each a little-endian u32.
    pub fn encode(self) -> [u8; LEN] {
        let (kind, process, value) = match self {
            Message::Signal(p, n) => (1u32, p, n.cast_unsigned()),
            Message::WindowSize(p, rows, cols) => (2, p, u32::from(rows) << 16 | u32::from(cols)),
            Message::Kill => (3, 0, 0),
            Message::Start => (4, 0, 0),
            Message::Spawn(p) => (5, p, 0),
            Message::SignalAll(n) => (6, 0, n.cast_unsigned()),
            Message::Processes(p) => (7, p, 0),
            Message::Allow(p) => (8, p, 0),
        };
        let mut out = [0; LEN];
        let bytes = [kind, process, value]
            .into_iter()
            .flat_map(u32::to_le_bytes);
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = from;
        }
        out
    }
    /// From the wire; `None` for anything malformed.
    pub fn decode(raw: &[u8]) -> Option<Message> {
        let &[a, b, c, d, e, f, g, h, i, j, k, l] = raw else {
            return None;
        };
        let kind = u32::from_le_bytes([a, b, c, d]);
        let process = u32::from_le_bytes([e, f, g, h]);
        let value = u32::from_le_bytes([i, j, k, l]);
        match kind {
            1 if value <= 64 => Some(Message::Signal(process, value.cast_signed())),
            2 => Some(Message::WindowSize(
                process,
                (value >> 16) as u16,
                value as u16,
            )),
            3 => Some(Message::Kill),
            4 => Some(Message::Start),
            5 => Some(Message::Spawn(process)),
            6 if value <= 64 => Some(Message::SignalAll(value.cast_signed())),
            7 => Some(Message::Processes(process)),
            8 => Some(Message::Allow(process)),
            _ => None,
        }
    }
}

/// What the sentry tells the monitor while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process with this number runs, with this pid inside.
    Spawned(u32, i32),
    /// It could not be started: exit status that stands for it (126, 127, else 125), and one sentence.
    SpawnFailed(u32, u8, String),
    /// It has ended.
    Ended(u32, ExitStatus),
    /// What [`Message::Processes`] or [`Message::Allow`] asked for is done.
    Done(u32),
}

/// Whoever passes events on.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// A process of [`Message::Processes`].
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct ListedProcess {
    /// Pid inside.
    pub pid: i32,
    /// Its parent's, 0 for those started from outside.
    pub ppid: i32,
    /// Real user id.
    pub uid: u32,
    /// Live threads.
    pub threads: usize,
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Name (comm).
    pub name: String,
}

/// The thread that obeys the monitor.
pub(super) struct Listener {
    pub socket: OwnedFd,
    pub boot: Arc<Boot>,
    /// Waits for [`Message::Start`].
    pub init: Option<Arc<crate::kernel::Task>>,
}

impl Listener {
    /// Starts it. When the monitor is gone, so is the sandbox.
    pub fn start(mut self) -> std::io::Result<()> {
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                loop {
                    let mut buf = [0u8; LEN];
                    match fds::receive(&self.socket, &mut buf, MsgFlags::empty()) {
                        Ok((0, _)) => break,
                        Ok((n, files)) => match buf.get(..n).and_then(Message::decode) {
                            Some(Message::Kill) => break,
                            Some(message) => self.obey(message, files),
                            None => log::warn!("a message of the monitor is malformed"),
                        },
                        Err(e) => {
                            log::error!("messages of the monitor: {e}");
                            break;
                        }
                    }
                }
                self.boot.kernel.shut_down();
            })?;
        Ok(())
    }

    fn obey(&mut self, message: Message, files: Vec<OwnedFd>) {
        let kernel = self.boot.kernel.clone();
        match message {
            Message::Signal(process, number) => {
                if let Some(group) = self.boot.process(process) {
                    send(&group, number);
                }
            }
            Message::SignalAll(number) => {
                for group in kernel.processes() {
                    send(&group, number);
                }
            }
            Message::WindowSize(process, rows, columns) => {
                if let Some(t) = self.boot.bridge(process) {
                    t.set_winsize([rows, columns, 0, 0]);
                }
            }
            Message::Start => {
                if let Some(init) = self.init.take() {
                    kernel.start(init);
                }
            }
            Message::Spawn(process) => {
                let boot = self.boot.clone();
                kernel.on_worker(move || match spawn(&boot, process, files) {
                    Ok(task) => {
                        // First the word, then the deed: the end is told later than the start.
                        (boot.events)(Event::Spawned(process, task.tid()));
                        boot.kernel.start(task);
                    }
                    Err(e) => {
                        let (status, sentence) = (e.exit_status(), e.to_string());
                        (boot.events)(Event::SpawnFailed(process, status, sentence));
                    }
                });
            }
            Message::Processes(number) => {
                if let Some(file) = files.into_iter().next() {
                    let list = serde_json::to_vec(&list(&kernel)).unwrap_or_default();
                    if let Err(e) = File::from(file).write_all(&list) {
                        log::warn!("cannot list the processes: {e}");
                    }
                }
                (self.boot.events)(Event::Done(number));
            }
            Message::Allow(number) => {
                match files.into_iter().next().map(from_json) {
                    Some(Ok(allowance)) => kernel.allow(allowance),
                    Some(Err(e)) => log::warn!("new limits: {e}"),
                    None => log::warn!("new limits without any"),
                }
                (self.boot.events)(Event::Done(number));
            }
            Message::Kill => {}
        }
    }
}

/// Makes the process that a [`Message::Spawn`] describes; it does not run yet.
fn spawn(
    boot: &Arc<Boot>,
    process: u32,
    files: Vec<OwnedFd>,
) -> Result<Arc<crate::kernel::Task>, super::BootError> {
    let failed = |what: &str| super::BootError::Failed(what.into());
    let mut files = files.into_iter();
    let description = files
        .next()
        .ok_or(failed("no description of the process"))?;
    let config: ProcessConfig =
        from_json(description).map_err(|e| failed(&format!("the process's description: {e}")))?;
    let (task, bridge) = boot.process_from(&config, files.collect(), None)?;
    if let Some(bridge) = &bridge {
        // Before it runs: what it prints is not to be processed twice.
        bridge.make_host_raw().map_err(|e| {
            failed(&format!(
                "cannot make the terminal raw: {}",
                super::reason(e)
            ))
        })?;
    }
    boot.watch(process, task.tid(), bridge);
    Ok(task)
}

/// What a file holds.
fn from_json<T: serde::de::DeserializeOwned>(file: OwnedFd) -> Result<T, String> {
    let mut text = Vec::new();
    let mut file = File::from(file);
    file.rewind()
        .and_then(|()| file.read_to_end(&mut text))
        .map_err(|e| format!("cannot be read: {e}"))?;
    serde_json::from_slice(&text).map_err(|e| format!("malformed: {e}"))
}

/// As kill(2) from outside of the sandbox; 0 and unknown numbers do nothing.
fn send(group: &Arc<ThreadGroup>, number: i32) {
    if let Some(s) = signal::Signal::new(number) {
        // A process that has ended needs no signal.
        let _ = signal::send_group(
            group,
            signal::SigInfo::user(s, 0, 0),
            signal::Origin::Outside,
        );
    }
}

fn list(kernel: &Arc<Kernel>) -> Vec<ListedProcess> {
    let live = kernel.processes().into_iter().filter_map(|g| {
        let threads = g.threads();
        let task = threads.first()?.clone();
        let (user, system) = g.cpu_time();
        Some(ListedProcess {
            pid: g.pid(),
            ppid: g.parent_pid(),
            uid: task.creds().uid,
            threads: threads.len(),
            cpu_ns: user.saturating_add(system),
            name: String::from_utf8_lossy(&task.name()).into_owned(),
        })
    });
    live.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_and_nonsense_does_not() {
        for m in [
            Message::Signal(0, 15),
            Message::Signal(7, 64),
            Message::WindowSize(3, 24, 80),
            Message::Kill,
            Message::Start,
            Message::Spawn(9),
            Message::SignalAll(9),
            Message::Processes(4),
            Message::Allow(5),
        ] {
            assert_eq!(Message::decode(&m.encode()), Some(m));
        }
        assert_eq!(Message::decode(&[0; LEN]), None);
        let short = Message::Kill.encode();
        assert_eq!(short.get(..LEN - 1).and_then(Message::decode), None);
        assert_eq!(
            Message::decode(&[1, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0]),
            None
        );
    }
}
