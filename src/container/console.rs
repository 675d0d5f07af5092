//! Terminals: a pty of the host's whose master goes to whoever runs the container, and whose slave is behind the guest's own.

use super::{Error, Result, at};
use crate::jail::{process, sys};
use crate::sandbox::terminal::Terminal;
use cofferdam_sentry::boot::fds;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Both ends of a terminal.
#[derive(Debug)]
pub struct Console {
    /// For the one who looks at it.
    pub master: OwnedFd,
    /// For the sandbox.
    pub slave: OwnedFd,
}

impl Console {
    /// A new one of this size; 0 rows: unknown.
    ///
    /// # Errors
    /// The host has none to give.
    pub fn open((rows, columns): (u16, u16)) -> Result<Console> {
        let pty = openpty(None, None).map_err(at("cannot make a terminal"))?;
        let (master, slave) = (pty.master, pty.slave);
        for fd in [&master, &slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
                .map_err(at("cannot make a terminal"))?;
        }
        if rows > 0 && columns > 0 {
            sys::set_window_size(slave.as_fd(), rows, columns)
                .map_err(at("cannot set the terminal's size"))?;
        }
        Ok(Console { master, slave })
    }
}

/// Sends a descriptor to a Unix socket.
///
/// # Errors
/// Nobody listens there.
pub fn send_fd(path: &Path, fd: &OwnedFd, text: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::Other(format!("cannot send to the socket {}: {e}", path.display()))
    };
    let to = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|e| failed(e.into()))?;
    let address = UnixAddr::new(path).map_err(|e| failed(e.into()))?;
    connect(to.as_raw_fd(), &address).map_err(|e| failed(e.into()))?;
    fds::send(&to, text, &[fd.as_fd()], MsgFlags::empty()).map_err(failed)
}

/// The sandbox's side of a terminal in the process that looks after it: its session's controlling terminal, so that the
/// kernel tells of new sizes (SIGWINCH) and of the end (SIGHUP).
#[derive(Debug)]
pub struct Behind {
    slave: OwnedFd,
}

impl Behind {
    /// The calling process leads a session without a terminal.
    ///
    /// # Errors
    /// The host refuses.
    pub fn control(slave: OwnedFd) -> Result<Behind> {
        sys::set_controlling_terminal(slave.as_fd())
            .map_err(at("cannot take control of the terminal"))?;
        Ok(Behind { slave })
    }

    /// A description of its own, non-blocking, for the sentry.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn reopen(&self) -> Result<OwnedFd> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let path = format!("/proc/self/fd/{}", self.slave.as_raw_fd());
        nix::fcntl::open(path.as_str(), flags, Mode::empty())
            .map_err(at("cannot open the terminal"))
    }

    /// Rows and columns; 0 if nobody has said.
    pub fn size(&self) -> (u16, u16) {
        sys::window_size(self.slave.as_fd()).unwrap_or((0, 0))
    }

    /// Leaves all processing to the guest's terminal. To be done once that has taken over the settings.
    ///
    /// # Errors
    /// What tcsetattr(3) reports.
    pub fn make_raw(&self) -> Result<()> {
        const FAILED: &str = "cannot make the terminal raw";
        let fd = self.slave.try_clone().map_err(at(FAILED))?;
        let mut terminal = Terminal::of_fd(fd).map_err(at(FAILED))?;
        terminal.enter_raw().map_err(at(FAILED))?;
        terminal.leave();
        Ok(())
    }

    /// Its number, to keep it open.
    pub fn raw_fd(&self) -> i32 {
        self.slave.as_raw_fd()
    }
}

/// Leaves the caller's session and takes a terminal, if there is one.
///
/// # Errors
/// The host refuses.
pub fn enter_session(slave: Option<OwnedFd>) -> Result<Option<Behind>> {
    process::own_session()?;
    slave.map(Behind::control).transpose()
}
