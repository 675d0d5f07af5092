//! The sentry: no path, no new socket, no execve; what it may touch it holds since before its lock-down.

use super::{Condition::Is, NO_CLONE3, NOT_EXECUTABLE, Role, Rule, THREAD, allow, only};
use cofferdam_platform::Kind;

/// The sentry's filter on a platform, installed before any guest code runs.
pub const fn role(kind: Kind) -> Role {
    Role {
        name: "sentry",
        theirs: kind.sentry_syscalls(),
        ours: RULES,
        refused: NO_CLONE3,
    }
}

const RULES: &[Rule] = &[
    // files the guest has open: donated by the gofer, memfds, standard streams
    allow(libc::SYS_read, "streams, eventfds"),
    allow(libc::SYS_write, "streams, eventfds, the log"),
    allow(libc::SYS_readv, "the same"),
    allow(libc::SYS_writev, "the same"),
    allow(libc::SYS_pread64, "files; guest memory"),
    allow(libc::SYS_pwrite64, "files; guest memory"),
    allow(libc::SYS_preadv, "files"),
    allow(libc::SYS_preadv2, "what is in memory of files"),
    allow(libc::SYS_pwritev, "files"),
    allow(libc::SYS_pwritev2, "append to files"),
    allow(libc::SYS_lseek, "streams that are files; holes"),
    allow(libc::SYS_statx, "size of donated files"),
    allow(libc::SYS_fstat, "the same"),
    allow(libc::SYS_newfstatat, "the same, as the C library does it"),
    allow(libc::SYS_fallocate, "memfds: punch holes"),
    allow(libc::SYS_fsync, "fsync"),
    allow(libc::SYS_fdatasync, "fdatasync"),
    allow(libc::SYS_fstatfs, "statfs of standard streams"),
    // the gofer and the monitor
    allow(libc::SYS_sendmsg, "requests to the gofer"),
    allow(
        libc::SYS_recvmsg,
        "replies of the gofer, with descriptors; the monitor's messages",
    ),
    allow(libc::SYS_sendto, "messages to the monitor; stream sockets"),
    allow(
        libc::SYS_recvfrom,
        "messages of the monitor; stream sockets",
    ),
    allow(libc::SYS_shutdown, "standard streams that are sockets"),
    // waiting and waking
    allow(
        libc::SYS_epoll_ctl,
        "watch a standard stream while somebody waits for it",
    ),
    allow(
        libc::SYS_epoll_wait,
        "the thread that watches standard streams",
    ),
    allow(
        libc::SYS_epoll_pwait,
        "the same, as the C library may do it",
    ),
    allow(libc::SYS_ppoll, "the same"),
    allow(libc::SYS_clock_nanosleep, "back off"),
    allow(libc::SYS_nanosleep, "back off"),
    allow(libc::SYS_sched_yield, "spinning"),
    allow(
        libc::SYS_restart_syscall,
        "waiting that a stop signal interrupted",
    ),
    // the doorbell (the kernel's numbers for it), and terminals among the standard streams
    only(
        libc::SYS_ioctl,
        &[Is(1, 0xc050_2100)],
        "receive the doorbell (SECCOMP_IOCTL_NOTIF_RECV)",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, 0xc018_2101)],
        "answer the doorbell (SECCOMP_IOCTL_NOTIF_SEND)",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, 0x4008_2102)],
        "check a doorbell (SECCOMP_IOCTL_NOTIF_ID_VALID)",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, 0x4018_2103)],
        "hand a descriptor to a stub (SECCOMP_IOCTL_NOTIF_ADDFD)",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, 0x4008_2104)],
        "where the doorbell wakes whom (SECCOMP_IOCTL_NOTIF_SET_FLAGS)",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, libc::TCGETS)],
        "settings of the host terminal",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, libc::TCSETS)],
        "settings of the host terminal",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, libc::TCSETSW)],
        "settings of the host terminal",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, libc::TCSETSF)],
        "settings of the host terminal",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, libc::TIOCGWINSZ)],
        "window size of the host terminal",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, libc::FIONREAD)],
        "bytes waiting in a stream",
    ),
    only(
        libc::SYS_ioctl,
        &[Is(1, libc::TIOCOUTQ)],
        "bytes still to be shown by a terminal",
    ),
    only(
        libc::SYS_membarrier,
        &[Is(0, 1)],
        "membarrier for all processes (MEMBARRIER_CMD_GLOBAL)",
    ),
    // memory and threads of the sentry itself
    only(
        libc::SYS_mmap,
        NOT_EXECUTABLE,
        "allocator; memfds; thread stacks",
    ),
    only(libc::SYS_mprotect, NOT_EXECUTABLE, "allocator; guard pages"),
    allow(libc::SYS_mremap, "allocator"),
    allow(libc::SYS_madvise, "allocator"),
    allow(libc::SYS_brk, "allocator"),
    only(libc::SYS_clone, THREAD, "threads"),
    allow(libc::SYS_set_robust_list, "start of a thread"),
    allow(libc::SYS_rseq, "start of a thread"),
    only(
        libc::SYS_prctl,
        &[Is(0, libc::PR_SET_NAME as u64)],
        "name of a thread",
    ),
    allow(
        libc::SYS_sched_getaffinity,
        "start of a thread; how many processors",
    ),
    allow(libc::SYS_getpid, "signals to itself"),
    allow(libc::SYS_sigaltstack, "start and end of a thread"),
    allow(libc::SYS_rt_sigprocmask, "start of a thread"),
    allow(libc::SYS_getrandom, "random numbers, AT_RANDOM, hash keys"),
    allow(libc::SYS_exit, "end of a thread"),
    allow(libc::SYS_exit_group, "end"),
];
