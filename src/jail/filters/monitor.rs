//! The monitor: waits for the sandbox, passes on signals and window sizes, reports how it ended.

use super::{Condition::Is, NO_CLONE3, NOT_EXECUTABLE, Role, Rule, allow, only};

/// The monitor's filter, installed once gofer and sentry run.
pub const ROLE: Role = Role {
    name: "monitor",
    theirs: &[],
    ours: RULES,
    refused: NO_CLONE3,
};

/// That of a container's monitor, which also answers verbs.
pub const CONTAINER: Role = Role {
    name: "monitor",
    theirs: CONTAINER_CALLS,
    ours: RULES,
    refused: NO_CLONE3,
};

const CONTAINER_CALLS: &[(i64, &str)] = &[(libc::SYS_accept4, "connections of verbs")];

const RULES: &[Rule] = &[
    // waiting
    allow(
        libc::SYS_poll,
        "wait for messages, signals and ends of processes",
    ),
    allow(libc::SYS_ppoll, "the same"),
    allow(libc::SYS_read, "take signals from the signalfd"),
    allow(libc::SYS_recvmsg, "messages of sentry and gofer"),
    allow(libc::SYS_recvfrom, "the same"),
    allow(libc::SYS_waitid, "how a process ended"),
    allow(libc::SYS_restart_syscall, "a poll that a stop interrupted"),
    // acting
    allow(libc::SYS_sendto, "signals and window sizes to the sentry"),
    allow(libc::SYS_sendmsg, "the same"),
    allow(libc::SYS_write, "the sentence on standard error; the log"),
    allow(
        libc::SYS_close,
        "let go of a connection, so that its other end notices",
    ),
    only(
        libc::SYS_unlinkat,
        &[Is(2, libc::AT_REMOVEDIR as u64)],
        "remove the control group, an empty directory",
    ),
    allow(libc::SYS_nanosleep, "until it is empty"),
    allow(
        libc::SYS_clock_nanosleep,
        "the same, as the C library does it",
    ),
    allow(libc::SYS_pidfd_send_signal, "end sentry and gofer"),
    allow(libc::SYS_getpid, "stop itself with the guest (job control)"),
    allow(libc::SYS_gettid, "the same"),
    allow(libc::SYS_tgkill, "the same"),
    allow(libc::SYS_kill, "the same"),
    only(libc::SYS_ioctl, &[Is(1, libc::TCGETS)], "terminal settings"),
    only(
        libc::SYS_ioctl,
        &[Is(1, libc::TCSETS)],
        "restore the terminal",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, libc::TCSETSW)],
        "restore the terminal",
    ),
    only(libc::SYS_ioctl, &[Is(1, libc::TIOCGWINSZ)], "window size"),
    // the runtime
    allow(libc::SYS_rt_sigprocmask, "take a stop signal"),
    allow(libc::SYS_rt_sigreturn, "return from a signal handler"),
    allow(libc::SYS_clock_gettime, "deadlines, where the vDSO cannot"),
    only(libc::SYS_mmap, NOT_EXECUTABLE, "allocator"),
    only(libc::SYS_mprotect, NOT_EXECUTABLE, "allocator"),
    allow(libc::SYS_munmap, "allocator"),
    allow(libc::SYS_mremap, "allocator"),
    allow(libc::SYS_madvise, "allocator"),
    allow(libc::SYS_brk, "allocator"),
    allow(libc::SYS_futex, "locks of the runtime"),
    allow(libc::SYS_getrandom, "allocator"),
    allow(
        libc::SYS_fcntl,
        "the runtime's check that a closed descriptor was open",
    ),
    allow(libc::SYS_sigaltstack, "end of the runtime"),
    allow(libc::SYS_exit_group, "end"),
];
