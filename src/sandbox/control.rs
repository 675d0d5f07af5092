//! The monitor's connections with gofer and sentry: small messages over SOCK_SEQPACKET.
//!
//! Children send [`Report`]s: a kind byte and a payload of at most [`MAX_TEXT`] bytes. They are checked as hostile
//! input; the worst a child can do is end its own sandbox with a wrong status. In the other direction travel
//! [`Message`]s, which the sentry itself reads.

use cofferdam_sentry::boot::control::{Event, Message};
use cofferdam_sentry::boot::fds;
use cofferdam_sentry::kernel::ExitStatus;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Longest text in a message, in bytes.
pub const MAX_TEXT: usize = 4096;

/// A message from a child to the monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Set-up is done: the program is about to run, or the gofer serves.
    Ready,
    /// The program ended with this code.
    Exited(u8),
    /// The program was ended by this signal.
    Signaled(u8),
    /// Of a process beside the program.
    Process(Event),
    /// The child cannot go on: the exit status that stands for it, and one sentence.
    Failed(u8, String),
}

const READY: u8 = 1;
const EXITED: u8 = 2;
const SIGNALED: u8 = 3;
const FAILED: u8 = 4;
const SPAWNED: u8 = 5;
const SPAWN_FAILED: u8 = 6;
const PROCESS_EXITED: u8 = 7;
const PROCESS_SIGNALED: u8 = 8;
const DONE: u8 = 9;

/// What a [`Report::Failed`] with status 125 starts with, for those who can only write(2) bytes.
pub const FAILED_PREFIX: [u8; 2] = [FAILED, crate::cli::FAILED];

impl Report {
    fn encode(&self) -> Vec<u8> {
        match self {
            Report::Ready => vec![READY],
            Report::Exited(code) => vec![EXITED, *code],
            Report::Signaled(signal) => vec![SIGNALED, *signal],
            Report::Failed(status, text) => [&[FAILED, *status][..], cut(text)].concat(),
            Report::Process(event) => encode_event(event),
        }
    }

    fn decode(message: &[u8]) -> Option<Report> {
        match message {
            [READY] => Some(Report::Ready),
            [EXITED, code] => Some(Report::Exited(*code)),
            [SIGNALED, signal] => Some(Report::Signaled(*signal)),
            [FAILED, status, text @ ..] => Some(Report::Failed(*status, one_line(text))),
            [kind, a, b, c, d, rest @ ..] => {
                decode_event(*kind, u32::from_le_bytes([*a, *b, *c, *d]), rest).map(Report::Process)
            }
            _ => None,
        }
    }
}

fn cut(text: &str) -> &[u8] {
    let text = text.as_bytes();
    text.get(..text.len().min(MAX_TEXT)).unwrap_or(&[])
}

/// Kind, the process's number, and what belongs to the kind.
fn encode_event(event: &Event) -> Vec<u8> {
    let head = |kind: u8, number: &u32| [&[kind][..], &number.to_le_bytes()].concat();
    match event {
        Event::Spawned(n, pid) => [head(SPAWNED, n), pid.to_le_bytes().to_vec()].concat(),
        Event::SpawnFailed(n, status, text) => {
            [&head(SPAWN_FAILED, n)[..], &[*status], cut(text)].concat()
        }
        Event::Ended(n, ExitStatus::Exited(code)) => {
            [head(PROCESS_EXITED, n), vec![*code]].concat()
        }
        Event::Ended(n, ExitStatus::Signaled(signal, _)) => {
            let signal = u8::try_from(*signal).unwrap_or(0);
            [head(PROCESS_SIGNALED, n), vec![signal]].concat()
        }
        Event::Done(n) => head(DONE, n),
    }
}

fn decode_event(kind: u8, number: u32, rest: &[u8]) -> Option<Event> {
    match (kind, rest) {
        (SPAWNED, pid) => Some(Event::Spawned(
            number,
            i32::from_le_bytes(pid.try_into().ok()?),
        )),
        (SPAWN_FAILED, [status, text @ ..]) => {
            Some(Event::SpawnFailed(number, *status, one_line(text)))
        }
        (PROCESS_EXITED, [code]) => Some(Event::Ended(number, ExitStatus::Exited(*code))),
        (PROCESS_SIGNALED, [signal]) => Some(Event::Ended(
            number,
            ExitStatus::Signaled(i32::from(*signal & 0x7f), false),
        )),
        (DONE, []) => Some(Event::Done(number)),
        _ => None,
    }
}

/// Text that a child sent, fit for a terminal.
fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// What came from a child.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A report.
    Report(Report),
    /// The other side is gone.
    End,
}

/// The monitor's end.
#[derive(Debug)]
pub struct MonitorEnd(OwnedFd);

/// The child's end.
#[derive(Debug)]
pub struct ChildEnd(OwnedFd);

/// A connection.
///
/// # Errors
/// What socketpair(2) reports.
pub fn pair() -> io::Result<(MonitorEnd, ChildEnd)> {
    let (a, b) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    Ok((MonitorEnd(a), ChildEnd(b)))
}

impl MonitorEnd {
    /// Sends without waiting: a sentry that does not read loses messages, not the monitor's time.
    ///
    /// # Errors
    /// What send(2) reports; EAGAIN if the sentry is that far behind.
    pub fn send(&self, message: Message) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// As [`MonitorEnd::send`], with descriptors.
    ///
    /// # Errors
    /// The same.
    pub fn send_with(&self, message: Message, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        fds::send(&self.0, &message.encode(), files, MsgFlags::MSG_DONTWAIT)
    }

    /// Waits for a report.
    ///
    /// # Errors
    /// What recv(2) reports, or a malformed message.
    pub fn receive(&self) -> io::Result<Received> {
        let mut buffer = [0; MAX_TEXT + 16];
        loop {
            return match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(nix::errno::Errno::ECONNRESET) | Ok(0) => Ok(Received::End),
                Err(e) => Err(e.into()),
                Ok(n) => match buffer.get(..n).and_then(Report::decode) {
                    Some(report) => Ok(Received::Report(report)),
                    None => Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "malformed report",
                    )),
                },
            };
        }
    }
}

impl ChildEnd {
    /// Sends a report.
    ///
    /// # Errors
    /// What send(2) reports; EPIPE if the monitor is gone.
    pub fn send(&self, report: &Report) -> io::Result<()> {
        // write(2), which every role may call. SIGPIPE is ignored, as the Rust runtime sets it.
        loop {
            match nix::unistd::write(&self.0, &report.encode()) {
                Err(nix::errno::Errno::EINTR) => {}
                result => return Ok(result.map(drop)?),
            }
        }
    }

    /// A second descriptor for it, for what the sentry itself reads.
    ///
    /// # Errors
    /// Too many descriptors.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl From<OwnedFd> for ChildEnd {
    fn from(fd: OwnedFd) -> ChildEnd {
        ChildEnd(fd)
    }
}

impl AsFd for MonitorEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let (monitor, child) = pair().unwrap();
        let failed = Report::Failed(127, "no such thing".into());
        for report in [
            Report::Ready,
            Report::Exited(3),
            Report::Signaled(9),
            failed,
            Report::Process(Event::Spawned(3, 17)),
            Report::Process(Event::SpawnFailed(4, 126, "no".into())),
            Report::Process(Event::Ended(5, ExitStatus::Exited(7))),
            Report::Process(Event::Ended(6, ExitStatus::Signaled(9, false))),
            Report::Process(Event::Done(1 << 20)),
        ] {
            child.send(&report).unwrap();
            assert_eq!(monitor.receive().unwrap(), Received::Report(report));
        }
        drop(child);
        assert_eq!(monitor.receive().unwrap(), Received::End);
    }

    #[test]
    fn what_a_child_sends_is_not_trusted() {
        assert_eq!(Report::decode(&[]), None);
        assert_eq!(Report::decode(&[EXITED]), None);
        assert_eq!(Report::decode(&[READY, 1]), None);
        assert_eq!(Report::decode(&[99, 0]), None);
        assert_eq!(
            Report::decode(&[FAILED, 125, 0x1b, b'[', b'2', b'J', 0xff, b'\n']),
            Some(Report::Failed(125, " [2J\u{fffd} ".into()))
        );
        let long = Report::Failed(1, "x".repeat(MAX_TEXT * 2)).encode();
        assert_eq!(long.len(), MAX_TEXT + 2);
    }
}
