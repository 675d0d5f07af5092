//! A verb that stays until the workload has ended: passes signals on, and its own terminal's bytes to and fro.

use super::{Result, at};
use crate::jail::sys;
use crate::sandbox::signals::{Incoming, Signals};
use crate::sandbox::terminal::Terminal;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, read, write};
use std::fs::File;
use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Waits for a child that stands for the workload; its exit status, 128 + n if signal n ended it. `master`: of the
/// workload's terminal, to be shown on the caller's.
///
/// # Errors
/// The host fails; the child goes on.
pub fn attend(child: Pid, master: Option<OwnedFd>) -> Result<u8> {
    const FAILED: &str = "cannot wait for the container";
    let signals = Signals::block().map_err(at(FAILED))?;
    let pidfd = sys::pidfd(child.as_raw()).map_err(at(FAILED))?;
    let mut own = master.as_ref().and_then(|_| own_terminal().ok());
    if let (Some(master), Some(own)) = (&master, &mut own) {
        copy_size(own, master);
        own.enter_raw().map_err(at(FAILED))?;
    }
    let mut relay = Relay {
        input: true,
        output: true,
    };
    loop {
        let mut fds = vec![
            (pidfd.as_fd(), PollFlags::POLLIN),
            (signals.as_fd(), PollFlags::POLLIN),
        ];
        let in_fd = stdin();
        let (mut input_at, mut output_at) = (None, None);
        if let Some(master) = &master {
            if relay.output {
                output_at = Some(fds.len());
                fds.push((master.as_fd(), PollFlags::POLLIN));
            }
            if relay.input {
                input_at = Some(fds.len());
                fds.push((in_fd.as_fd(), PollFlags::POLLIN));
            }
        }
        let ready = wait(&fds)?;
        let is = |i: Option<usize>| i.is_some_and(|i| ready.get(i).copied().unwrap_or(false));
        if let Some(master) = &master {
            if is(output_at) {
                relay.output = pass(master.as_fd(), stdout().as_fd());
            }
            if is(input_at) {
                relay.input = pass(in_fd.as_fd(), master.as_fd());
                if !relay.input && own.is_none() {
                    // What is typed ends with a key: without it, a shell would wait for more for ever.
                    let _ = write(master, &[END_OF_INPUT]);
                }
            }
        }
        if is(Some(1)) {
            while let Some(incoming) = signals.next().map_err(at(FAILED))? {
                match incoming {
                    Incoming::Child => {}
                    Incoming::WindowSize => {
                        if let (Some(own), Some(master)) = (&own, &master) {
                            copy_size(own, master);
                        }
                    }
                    Incoming::Forward(n) | Incoming::Stop(n) => {
                        if let Ok(signal) = Signal::try_from(n) {
                            // It may just have ended.
                            let _ = kill(child, signal);
                        }
                    }
                }
            }
        }
        if is(Some(0)) {
            if let Some(master) = &master {
                while relay.output && wait_now(master.as_fd()) {
                    relay.output = pass(master.as_fd(), stdout().as_fd());
                }
            }
            drop(own);
            return status_of(child);
        }
    }
}

/// The caller's terminal, on which the workload's is to be shown: one of its standard streams, else that of its session.
///
/// # Errors
/// It has none: nobody would ever see what the workload shows, or answer it.
pub fn own_terminal() -> Result<Terminal> {
    let (input, output, error) = (stdin(), stdout(), stderr());
    for stream in [error.as_fd(), output.as_fd(), input.as_fd()] {
        if let Ok(fd) = stream.try_clone_to_owned()
            && let Ok(terminal) = Terminal::of_fd(fd)
        {
            return Ok(terminal);
        }
    }
    const PATH: &str = "/dev/tty";
    let opened = File::options().read(true).write(true).open(PATH);
    let file = opened.map_err(at(format!("open {PATH}")))?;
    Terminal::of_fd(file.into()).map_err(at(PATH))
}

/// Reaps a child; its exit status, 128 + n for signal n.
///
/// # Errors
/// It is none of ours.
pub fn status_of(child: Pid) -> Result<u8> {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, status)) => {
                return Ok(u8::try_from(status & 0xff).unwrap_or(0));
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Ok(128 + u8::try_from(signal as i32).unwrap_or(0));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(at("cannot wait for the container")(e.desc())),
        }
    }
}

/// Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// Which directions are still open.
struct Relay {
    input: bool,
    output: bool,
}

fn wait(fds: &[(BorrowedFd<'_>, PollFlags)]) -> Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|(fd, f)| PollFd::new(*fd, *f)).collect();
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(e) => return Err(at("cannot wait for the container")(e.desc())),
    }
    let ready = polled
        .iter()
        .map(|fd| fd.revents().is_some_and(|r| !r.is_empty()));
    Ok(ready.collect())
}

fn wait_now(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// Moves what is there; whether there may be more.
fn pass(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buf = [0; 8192];
    let n = match read(from, &mut buf) {
        Ok(0) => return false,
        Ok(n) => n,
        Err(Errno::EINTR | Errno::EAGAIN) => return true,
        // EIO: the terminal's other side is closed.
        Err(_) => return false,
    };
    let mut data = buf.get(..n).unwrap_or(&[]);
    while !data.is_empty() {
        match write(to, data) {
            Ok(n) => data = data.get(n..).unwrap_or(&[]),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
                // An error shows at the next write.
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
            Err(_) => return false,
        }
    }
    true
}

fn copy_size(own: &Terminal, master: &OwnedFd) {
    let (rows, columns) = own.size();
    // A size is a courtesy.
    let _ = sys::set_window_size(master.as_fd(), rows, columns);
}
