//! Signals that the monitor receives, as events of its loop.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use std::os::fd::{AsFd, BorrowedFd};

/// All signals that can be caught, blocked and readable from a descriptor.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// What a signal means to the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The program is to get it.
    Forward(i32),
    /// The host terminal changed its size.
    WindowSize,
    /// The keyboard or the shell wants the job stopped: the program is to get this signal, then the monitor stops.
    Stop(i32),
    /// A child of the monitor changed its state.
    Child,
}

impl Signals {
    /// Blocks them. Children inherit that until they unblock.
    ///
    /// # Errors
    /// Too many descriptors.
    pub fn block() -> nix::Result<Signals> {
        let mut set = SigSet::all();
        // A call that the filter forbids must reach its handler (see jail::violation).
        set.remove(Signal::SIGSYS);
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None)?;
        // Real-time signals are not in nix's Signal, but they are in its full set.
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Signals)
    }

    /// The next pending signal, if any.
    ///
    /// # Errors
    /// What read(2) reports.
    pub fn next(&self) -> nix::Result<Option<Incoming>> {
        let Some(info) = self.0.read_signal()? else {
            return Ok(None);
        };
        let number = i32::try_from(info.ssi_signo).unwrap_or(0);
        // CLD_*: the kernel reports a child. kill(2) and sigqueue(3) have codes of 0 and below.
        let by_kernel = info.ssi_code > 0;
        Ok(Some(match number {
            libc::SIGCHLD if by_kernel => Incoming::Child,
            libc::SIGWINCH => Incoming::WindowSize,
            libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Incoming::Stop(number),
            n => Incoming::Forward(n),
        }))
    }

    /// Stops this process, as the signal would have. Returns once it is continued.
    pub fn stop_self() {
        // Cannot fail: a process may always signal itself.
        let _ = kill(Pid::this(), Signal::SIGSTOP);
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
