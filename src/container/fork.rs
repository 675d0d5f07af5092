//! fork(2) of this single-threaded program.
#![allow(unsafe_code)] // fork(2)

use super::{Error, Result};
use nix::unistd::{ForkResult, Pid, fork as fork_process};

/// Runs `child` in a new process, whose exit status is its result; the new process's id. The caller must be
/// single-threaded.
///
/// # Errors
/// What fork(2) reports.
pub fn fork(child: impl FnOnce() -> u8) -> Result<Pid> {
    // SAFETY: single-threaded, so that the child may do anything that the parent might.
    match unsafe { fork_process() } {
        Err(e) => Err(Error::Other(format!("cannot start a process: {}", e.desc()))),
        Ok(ForkResult::Parent { child }) => Ok(child),
        Ok(ForkResult::Child) => crate::jail::process::exit_now(child()),
    }
}
