//! Clones a process into namespaces of its own.
//!
//! A plain clone without execve: the monitor is single-threaded, so the child may do anything, and there is no second
//! program to find, no configuration to hand over, and no other user's execute permission to need.
#![allow(unsafe_code)] // clone3(2) has no safe wrapper

use super::{Error, Result, host, ids::Maps};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// All that a role has for itself.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// A child process. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Child {
    pidfd: OwnedFd,
    ended: Option<Ended>,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// Starts `body` in a new process, init of its own pid namespace, with all capabilities in its own user namespace. Its
/// result is the process's exit status. It starts with all signals unblocked and as nobody in particular: `body`
/// chooses one of the mapped ids. The caller must be single-threaded.
///
/// # Errors
/// A sentence that names what the host forbids.
pub fn spawn(maps: &Maps, body: impl FnOnce() -> u8) -> Result<Child> {
    let broken = |e: std::io::Error| {
        Error::Host(format!(
            "cannot make a pipe: {e}; is a limit on descriptors (ulimit -n) too low?"
        ))
    };
    let (mut wait, mut go) = std::io::pipe().map_err(broken)?;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (NAMESPACES | libc::CLONE_PIDFD) as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM this is a fork: the child has a copy of this single-threaded process; `args` and the
    // pidfd's place live through the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            size_of::<libc::clone_args>(),
        )
    };
    if pid < 0 {
        return Err(host::explain_clone(nix::errno::Errno::last()));
    }
    if pid == 0 {
        drop(go);
        let status = match wait.read_exact(&mut [0]) {
            Ok(()) => {
                drop(wait);
                let unblocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
                unblocked.map_or(crate::cli::FAILED, |()| body())
            }
            // The parent failed or died; it has said why, if it could.
            Err(_) => crate::cli::FAILED,
        };
        // SAFETY: ends the process without running the parent's exit handlers.
        unsafe { libc::_exit(status.into()) }
    }
    // SAFETY: clone3 has just made this descriptor for us.
    let child = Child {
        pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        ended: None,
    };
    drop(wait);
    write_maps(pid, maps)?;
    go.write_all(b"g")
        .map_err(|_| Error::Died("a process of the sandbox was killed while it started".into()))?;
    Ok(child)
}

fn write_maps(pid: libc::c_long, maps: &Maps) -> Result<()> {
    let write = |file: &str, text: &str| {
        fs::write(format!("/proc/{pid}/{file}"), text).map_err(|e| host::explain_map(file, &e))
    };
    write("uid_map", &maps.uid)?;
    if maps.deny_setgroups {
        write("setgroups", "deny")?;
    }
    write("gid_map", &maps.gid)
}

impl Child {
    /// Sends SIGKILL. A child that has ended is no error.
    pub fn kill(&self) {
        // ESRCH: it has ended. EPERM cannot be: the monitor keeps the right to signal its children.
        let _ = pidfd_send_signal(self.pidfd.as_fd(), Signal::SIGKILL);
    }

    /// Whether it has been waited for.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Waits for the end and reaps. Later calls give the same answer.
    pub fn wait(&mut self) -> Ended {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        loop {
            if let Some(ended) = self.ended {
                return ended;
            }
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) {
                Ok(WaitStatus::Exited(_, status)) => self.ended = Some(Ended::Exited(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    self.ended = Some(Ended::Signaled(signal as i32))
                }
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                // Nothing to wait for; cannot happen while this object owns the child.
                Err(_) => self.ended = Some(Ended::Signaled(libc::SIGKILL)),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
            self.wait();
        }
    }
}

/// Readable once the child has ended.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed; the other arguments are numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as libc::c_int,
            info,
            0,
        )
    };
    nix::errno::Errno::result(result).map(drop)
}
