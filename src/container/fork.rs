//! Processes cloned from this single-threaded program.
#![allow(unsafe_code)] // clone3(2) has no safe wrapper

use super::{Error, Result};
use nix::unistd::Pid;

/// Runs `child` in a new process, in new namespaces by `flags` (CLONE_NEW*); its exit status is the result of `child`. The
/// new process's id. The caller must be single-threaded.
///
/// # Errors
/// What clone3(2) reports.
pub fn fork(flags: libc::c_int, child: impl FnOnce() -> u8) -> Result<Pid> {
    // SAFETY: zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags.cast_unsigned());
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM this is a fork of a single-threaded process, whose child may do anything; `args` lives
    // through the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            size_of::<libc::clone_args>(),
        )
    };
    match i32::try_from(pid) {
        Ok(0) => crate::jail::process::exit_now(child()),
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(Error::Other(format!(
            "cannot start a process: {}",
            nix::errno::Errno::last().desc()
        ))),
    }
}
