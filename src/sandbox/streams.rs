//! The standard streams that the program inside gets.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The caller's standard streams, for the sentry. Pipes and terminals are opened anew where that is allowed, so that
/// the sentry can have them non-blocking without changing the description that others share. This is done here because
/// the sentry is another user on the host.
///
/// # Errors
/// Too many descriptors.
pub fn for_sentry() -> io::Result<[OwnedFd; 3]> {
    let stream = |number: u32, fd: BorrowedFd<'_>| match reopen(number, fd) {
        Some(own) => Ok(own),
        None => fd.try_clone_to_owned(),
    };
    Ok([
        stream(0, io::stdin().as_fd())?,
        stream(1, io::stdout().as_fd())?,
        stream(2, io::stderr().as_fd())?,
    ])
}

fn reopen(number: u32, fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    let kind = SFlag::from_bits_truncate(fstat(fd).ok()?.st_mode) & SFlag::S_IFMT;
    let terminal = kind == SFlag::S_IFCHR && nix::unistd::isatty(fd).unwrap_or(false);
    if kind != SFlag::S_IFIFO && !terminal {
        return None;
    }
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).ok()?);
    let flags = flags & (OFlag::O_ACCMODE | OFlag::O_APPEND | OFlag::O_DIRECT);
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // A pipe or terminal of somebody else (su, sudo) may refuse; then the shared description must do.
    nix::fcntl::open(
        format!("/proc/self/fd/{number}").as_str(),
        flags,
        Mode::empty(),
    )
    .ok()
}

/// As [`give_up`], standard error too: whoever speaks later has a log.
pub fn give_up_all() {
    give_up();
    if let Ok(null) = nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
    {
        let _ = nix::unistd::dup2_stderr(&null);
    }
}

/// Replaces this process's standard input and output by `/dev/null`: whoever is at the other end of them is to learn
/// of it when the program inside closes its own. Standard error stays, for the last word.
pub fn give_up() {
    // Without /dev/null they stay open, which only delays that news.
    if let Ok(null) = nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
    {
        let _ = nix::unistd::dup2_stdin(&null);
        let _ = nix::unistd::dup2_stdout(&null);
    }
}
