//! clone, exec, exit, wait, groups, sessions, prctl, limits, scheduling.

mod clone;
mod exit;
mod ids;
mod ioprio;
mod limits;
mod namespaces;
pub(crate) mod policy;
mod prctl;
mod ptrace;
mod sched;
mod wait;

use super::ArgKind::{
    CloneFlags, DirFd, Environment, Fd, Hex, Int, Path, Pid, Ptr, StrArray, Uint,
};
use super::Syscall;

/// This family's calls.
pub static TABLE: &[Syscall] = &[
    Syscall::new(
        libc::SYS_clone,
        "clone",
        clone::clone,
        &[CloneFlags, Ptr, Ptr, Ptr, Ptr],
    ),
    Syscall::new(libc::SYS_clone3, "clone3", clone::clone3, &[Ptr, Uint]).partial("no cgroup"),
    Syscall::new(libc::SYS_fork, "fork", clone::fork, &[]),
    Syscall::new(libc::SYS_vfork, "vfork", clone::vfork, &[]),
    Syscall::new(libc::SYS_exit, "exit", exit::exit, &[Int]),
    Syscall::new(libc::SYS_exit_group, "exit_group", exit::exit_group, &[Int]),
    Syscall::new(
        libc::SYS_execve,
        "execve",
        exit::execve,
        &[Path, StrArray, Environment],
    ),
    Syscall::new(
        libc::SYS_execveat,
        "execveat",
        exit::execveat,
        &[DirFd, Path, StrArray, Environment, Hex],
    ),
    Syscall::new(libc::SYS_wait4, "wait4", wait::wait4, &[Pid, Ptr, Hex, Ptr]),
    Syscall::new(
        libc::SYS_waitid,
        "waitid",
        wait::waitid,
        &[Int, Pid, Ptr, Hex, Ptr],
    ),
    Syscall::new(libc::SYS_getpid, "getpid", ids::getpid, &[]),
    Syscall::new(libc::SYS_gettid, "gettid", ids::gettid, &[]),
    Syscall::new(libc::SYS_getppid, "getppid", ids::getppid, &[]),
    Syscall::new(libc::SYS_getpgrp, "getpgrp", ids::getpgrp, &[]),
    Syscall::new(libc::SYS_getpgid, "getpgid", ids::getpgid, &[Pid]),
    Syscall::new(libc::SYS_setpgid, "setpgid", ids::setpgid, &[Pid, Pid]),
    Syscall::new(libc::SYS_getsid, "getsid", ids::getsid, &[Pid]),
    Syscall::new(libc::SYS_setsid, "setsid", ids::setsid, &[]),
    Syscall::new(
        libc::SYS_set_tid_address,
        "set_tid_address",
        ids::set_tid_address,
        &[Ptr],
    ),
    Syscall::new(
        libc::SYS_unshare,
        "unshare",
        namespaces::unshare,
        &[CloneFlags],
    ),
    Syscall::new(
        libc::SYS_setns,
        "setns",
        namespaces::setns,
        &[Fd, CloneFlags],
    ),
    Syscall::new(
        libc::SYS_kcmp,
        "kcmp",
        namespaces::kcmp,
        &[Pid, Pid, Int, Uint, Uint],
    )
    .partial("KCMP_FILE, VM, FILES, FS, SIGHAND"),
    Syscall::new(
        libc::SYS_arch_prctl,
        "arch_prctl",
        prctl::arch_prctl,
        &[Hex, Ptr],
    ),
    Syscall::new(
        libc::SYS_prctl,
        "prctl",
        prctl::prctl,
        &[Int, Hex, Hex, Hex, Hex],
    )
    .partial("what has no meaning in a user-space kernel is EINVAL"),
    Syscall::new(
        libc::SYS_ptrace,
        "ptrace",
        ptrace::ptrace,
        &[super::strace::PTRACE, Pid, Ptr, Ptr],
    )
    .partial("no hardware breakpoints, no block steps, no 32-bit tracees"),
    Syscall::new(
        libc::SYS_getrlimit,
        "getrlimit",
        limits::getrlimit,
        &[super::strace::RESOURCE, Ptr],
    ),
    Syscall::new(
        libc::SYS_setrlimit,
        "setrlimit",
        limits::setrlimit,
        &[super::strace::RESOURCE, Ptr],
    ),
    Syscall::new(
        libc::SYS_prlimit64,
        "prlimit64",
        limits::prlimit64,
        &[Pid, super::strace::RESOURCE, Ptr, Ptr],
    ),
    Syscall::new(
        libc::SYS_getrusage,
        "getrusage",
        limits::getrusage,
        &[Int, Ptr],
    ),
    Syscall::new(
        libc::SYS_getpriority,
        "getpriority",
        sched::getpriority,
        &[Int, Pid],
    ),
    Syscall::new(
        libc::SYS_setpriority,
        "setpriority",
        sched::setpriority,
        &[Int, Pid, Int],
    )
    .partial("recorded, not enforced"),
    Syscall::new(
        libc::SYS_sched_getscheduler,
        "sched_getscheduler",
        policy::getscheduler,
        &[Pid],
    ),
    Syscall::new(
        libc::SYS_sched_setscheduler,
        "sched_setscheduler",
        policy::setscheduler,
        &[Pid, Int, Ptr],
    )
    .partial("recorded, not enforced"),
    Syscall::new(
        libc::SYS_sched_getparam,
        "sched_getparam",
        policy::getparam,
        &[Pid, Ptr],
    ),
    Syscall::new(
        libc::SYS_sched_setparam,
        "sched_setparam",
        policy::setparam,
        &[Pid, Ptr],
    ),
    Syscall::new(
        libc::SYS_sched_setattr,
        "sched_setattr",
        policy::setattr,
        &[Pid, Ptr, Hex],
    )
    .partial("recorded, not enforced; no utilization clamps"),
    Syscall::new(
        libc::SYS_sched_getattr,
        "sched_getattr",
        policy::getattr,
        &[Pid, Ptr, Uint, Hex],
    ),
    Syscall::new(libc::SYS_ioprio_get, "ioprio_get", ioprio::get, &[Int, Pid]),
    Syscall::new(
        libc::SYS_ioprio_set,
        "ioprio_set",
        ioprio::set,
        &[Int, Pid, Hex],
    )
    .partial("recorded, not enforced"),
    Syscall::new(
        libc::SYS_sched_get_priority_max,
        "sched_get_priority_max",
        sched::priority_max,
        &[Int],
    ),
    Syscall::new(
        libc::SYS_sched_get_priority_min,
        "sched_get_priority_min",
        sched::priority_min,
        &[Int],
    ),
    Syscall::new(
        libc::SYS_sched_rr_get_interval,
        "sched_rr_get_interval",
        sched::rr_interval,
        &[Pid, Ptr],
    ),
    Syscall::new(
        libc::SYS_sched_getaffinity,
        "sched_getaffinity",
        sched::getaffinity,
        &[Pid, Uint, Ptr],
    ),
    Syscall::new(
        libc::SYS_sched_setaffinity,
        "sched_setaffinity",
        sched::setaffinity,
        &[Pid, Uint, Ptr],
    )
    .partial("recorded, not enforced"),
];
