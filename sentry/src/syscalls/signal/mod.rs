//! Signals: sigaction, sigprocmask, kill, sigaltstack, waiting for signals, sigreturn, signalfd, pidfds.

mod action;
mod kill;
mod pidfd;
mod signalfd;
mod wait;

use super::{ArgKind, Syscall};
use crate::abi::{Errno, Result};
use crate::kernel::Cx;
use crate::kernel::signal::SigSet;
use crate::usermem::UserPtr;

/// This family's calls.
#[rustfmt::skip]
pub static TABLE: &[Syscall] = {
    use ArgKind::*;
    &[
        Syscall::new(libc::SYS_rt_sigaction, "rt_sigaction", action::rt_sigaction, &[Signal, Ptr, Ptr, Uint]),
        Syscall::new(libc::SYS_rt_sigprocmask, "rt_sigprocmask", action::rt_sigprocmask, &[Int, Ptr, Ptr, Uint]),
        Syscall::new(libc::SYS_rt_sigpending, "rt_sigpending", action::rt_sigpending, &[Ptr, Uint]),
        Syscall::new(libc::SYS_sigaltstack, "sigaltstack", action::sigaltstack, &[Ptr, Ptr]),
        Syscall::new(libc::SYS_rt_sigreturn, "rt_sigreturn", action::rt_sigreturn, &[]),
        Syscall::new(libc::SYS_rt_sigtimedwait, "rt_sigtimedwait", wait::rt_sigtimedwait, &[Ptr, Ptr, Timespec, Uint]),
        Syscall::new(libc::SYS_rt_sigsuspend, "rt_sigsuspend", wait::rt_sigsuspend, &[Ptr, Uint]),
        Syscall::new(libc::SYS_pause, "pause", wait::pause, &[]),
        Syscall::new(libc::SYS_restart_syscall, "restart_syscall", wait::restart_syscall, &[]),
        Syscall::new(libc::SYS_kill, "kill", kill::kill, &[Pid, Signal]),
        Syscall::new(libc::SYS_tkill, "tkill", kill::tkill, &[Pid, Signal]),
        Syscall::new(libc::SYS_tgkill, "tgkill", kill::tgkill, &[Pid, Pid, Signal]),
        Syscall::new(libc::SYS_rt_sigqueueinfo, "rt_sigqueueinfo", kill::rt_sigqueueinfo, &[Pid, Signal, Ptr]),
        Syscall::new(libc::SYS_rt_tgsigqueueinfo, "rt_tgsigqueueinfo", kill::rt_tgsigqueueinfo, &[Pid, Pid, Signal, Ptr]),
        Syscall::new(libc::SYS_signalfd, "signalfd", signalfd::signalfd, &[Fd, Ptr, Uint])
            .partial("poll looks at the signals of the task that made it or last read from it"),
        Syscall::new(libc::SYS_signalfd4, "signalfd4", signalfd::signalfd4, &[Fd, Ptr, Uint, Hex])
            .partial("poll looks at the signals of the task that made it or last read from it"),
        Syscall::new(libc::SYS_pidfd_open, "pidfd_open", pidfd::pidfd_open, &[Pid, Hex]),
        Syscall::new(libc::SYS_pidfd_send_signal, "pidfd_send_signal", pidfd::pidfd_send_signal, &[Fd, Signal, Ptr, Hex]),
        Syscall::new(libc::SYS_pidfd_getfd, "pidfd_getfd", pidfd::pidfd_getfd, &[Fd, Int, Hex]),
    ]
};

/// Bytes of the kernel's `sigset_t`.
const SIGSET_SIZE: usize = 8;

/// EINVAL unless `size` is that of a signal set.
fn check_size(size: usize) -> Result<()> {
    if size == SIGSET_SIZE {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn read_set(cx: &Cx<'_>, ptr: UserPtr<u64>) -> Result<SigSet> {
    cx.mem().get(ptr).map(SigSet)
}
