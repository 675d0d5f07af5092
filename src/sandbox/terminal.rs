//! The host terminal while a program inside has a terminal of its own behind it.
//!
//! Raw, so that Ctrl-C and the like reach the guest's line discipline as bytes, and what that has made of the output is
//! not processed again (an editor's line feed is to stay one). Restored by [`Terminal`]'s drop, around job-control stops, and before any
//! complaint is printed.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::termios::{
    InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr,
    tcsetattr,
};
use nix::unistd::{getpgrp, tcgetpgrp};
use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};

/// A terminal that this process has made raw.
#[derive(Debug)]
pub struct Terminal {
    fd: OwnedFd,
    before: Termios,
    raw: bool,
}

impl Terminal {
    /// The terminal that is both standard input and standard output, if there is one and it listens to this process;
    /// not yet raw. A background job leaves its terminal alone.
    pub fn of_streams() -> Option<Terminal> {
        if !stdin().is_terminal() || !stdout().is_terminal() {
            return None;
        }
        let device = |fd: std::os::fd::BorrowedFd<'_>| nix::sys::stat::fstat(fd).map(|s| s.st_rdev);
        if device(stdin().as_fd()) != device(stdout().as_fd()) {
            return None;
        }
        // ENOTTY: not our controlling terminal, so nobody's keyboard is taken away.
        if tcgetpgrp(stdin()).is_ok_and(|foreground| foreground != getpgrp()) {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let fd = stdin().as_fd().try_clone_to_owned().ok()?;
        Some(Terminal {
            fd,
            before,
            raw: false,
        })
    }

    /// This terminal, whoever else uses it.
    ///
    /// # Errors
    /// It is none.
    pub fn of_fd(fd: OwnedFd) -> Result<Terminal, Errno> {
        let before = tcgetattr(&fd)?;
        Ok(Terminal {
            fd,
            before,
            raw: false,
        })
    }

    /// Leaves it as it is now.
    pub fn leave(mut self) {
        self.raw = false;
    }

    /// A description of its own of the terminal, for the sentry: non-blocking without disturbing others.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn reopen(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        nix::fcntl::open("/proc/self/fd/0", flags, Mode::empty())
    }

    /// Makes it raw.
    ///
    /// # Errors
    /// What tcsetattr(3) reports.
    pub fn enter_raw(&mut self) -> Result<(), Errno> {
        let mut t = self.before.clone();
        t.input_flags &= !(InputFlags::IGNBRK
            | InputFlags::BRKINT
            | InputFlags::PARMRK
            | InputFlags::ISTRIP
            | InputFlags::INLCR
            | InputFlags::IGNCR
            | InputFlags::ICRNL
            | InputFlags::IXON);
        t.local_flags &= !(LocalFlags::ECHO
            | LocalFlags::ECHONL
            | LocalFlags::ICANON
            | LocalFlags::ISIG
            | LocalFlags::IEXTEN);
        t.output_flags &= !OutputFlags::OPOST;
        t.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        t.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(&self.fd, SetArg::TCSANOW, &t)?;
        self.raw = true;
        Ok(())
    }

    /// Puts it back as it was found.
    pub fn restore(&mut self) {
        if std::mem::take(&mut self.raw) {
            // A terminal that has gone away needs no restoring.
            let _ = tcsetattr(&self.fd, SetArg::TCSADRAIN, &self.before);
        }
    }

    /// Rows and columns.
    pub fn size(&self) -> (u16, u16) {
        window_size(&self.fd).unwrap_or((24, 80))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

fn window_size(fd: &OwnedFd) -> Option<(u16, u16)> {
    crate::jail::sys::window_size(fd.as_fd())
        .ok()
        .filter(|(rows, columns)| *rows > 0 && *columns > 0)
}
