//! Between verbs and a container's monitor: JSON in packets over a Unix socket in the container's directory.
//!
//! A connection carries one request and its answer; that of an `exec` stays open for signals, sizes and the end.

use super::{Error, Result, at};
use cofferdam_sentry::boot::fds;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, connect, socket,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Longest packet in bytes.
const MAX: usize = 8192;

/// What a verb wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "request")]
pub enum Request {
    /// Created or running?
    State,
    /// Let the program run.
    Start,
    /// A signal to init or to every process; on an exec's connection to its process.
    Signal {
        /// Its number.
        signal: i32,
        /// To every process.
        all: bool,
    },
    /// Start a process. Descriptors as `Message::Spawn` has them.
    Exec,
    /// The size of an exec's terminal.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Write the list of processes into the descriptor that comes along.
    Processes,
    /// Show inside what the descriptor that comes along says the container may have.
    Allow,
}

/// What the monitor answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reply")]
pub enum Reply {
    /// It is done.
    Done,
    /// Whether the program runs.
    State {
        /// It has been started.
        running: bool,
    },
    /// No.
    Refused {
        /// Why.
        sentence: String,
    },
    /// The exec's process runs.
    Started,
    /// It does not.
    NotStarted {
        /// 126, 127 or another.
        status: u8,
        /// Why.
        sentence: String,
    },
    /// The exec's process has ended with this exit status.
    Ended {
        /// 128 + n for signal n.
        status: u8,
    },
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection(OwnedFd);

/// In a directory whose path may be longer than a socket's address may be.
fn address(dir: &File, name: &str) -> nix::Result<UnixAddr> {
    UnixAddr::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).as_str())
}

fn new_socket() -> nix::Result<OwnedFd> {
    socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

/// A socket with this name in `dir`. Connections are refused until [`listen`].
///
/// # Errors
/// What the host says.
pub fn bind(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let dir = File::open(dir)?;
    let fd = new_socket()?;
    nix::sys::socket::bind(fd.as_raw_fd(), &address(&dir, name)?)?;
    Ok(fd)
}

/// Takes connections from now on.
///
/// # Errors
/// What the host says.
pub fn listen(socket: &OwnedFd) -> io::Result<()> {
    Ok(nix::sys::socket::listen(socket, Backlog::new(64)?)?)
}

impl Connection {
    /// To the socket with this name in `dir`.
    ///
    /// # Errors
    /// What the host says.
    pub fn connect(dir: &Path, name: &str) -> io::Result<Connection> {
        let dir = File::open(dir)?;
        let fd = new_socket()?;
        connect(fd.as_raw_fd(), &address(&dir, name)?)?;
        Ok(Connection(fd))
    }

    /// From an accepted or inherited descriptor.
    pub fn from_fd(fd: OwnedFd) -> Connection {
        Connection(fd)
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn send<T: Serialize>(&self, packet: &T, files: &[BorrowedFd<'_>]) -> Result<()> {
        let text = serde_json::to_vec(packet).map_err(at("a request cannot be encoded"))?;
        fds::send(&self.0, &text, files, MsgFlags::empty())
            .map_err(at("the connection with the monitor broke"))
    }

    /// Waits for a packet; `None` if the other end is gone.
    ///
    /// # Errors
    /// The packet is malformed.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        Ok(self.receive_with(MsgFlags::empty())?.map(|(t, _)| t))
    }

    /// The same with the descriptors that came along.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive_with<T: DeserializeOwned>(
        &self,
        flags: MsgFlags,
    ) -> Result<Option<(T, Vec<OwnedFd>)>> {
        let mut buf = vec![0; MAX];
        let (n, files) = match fds::receive(&self.0, &mut buf, flags) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            other => other.map_err(at("the connection with the monitor broke"))?,
        };
        if n == 0 {
            return Ok(None);
        }
        let packet = serde_json::from_slice(buf.get(..n).unwrap_or(&[]))
            .map_err(|e| Error::Other(format!("a packet is malformed: {e}")))?;
        Ok(Some((packet, files)))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
