//! What this backend asks of the host.

/// The host system calls of this backend in the sentry after launch, with the reason for each. For its seccomp allow-list.
pub const SENTRY_SYSCALLS: &[(i64, &str)] = &[
    (
        libc::SYS_ioctl,
        "receives and answers the doorbell (SECCOMP_IOCTL_NOTIF_*)",
    ),
    (
        libc::SYS_ppoll,
        "waits for the doorbell, deaths and wake-ups",
    ),
    (
        libc::SYS_poll,
        "waits for what the host's kernel does by itself",
    ),
    (libc::SYS_epoll_wait, "which processes died"),
    (libc::SYS_epoll_ctl, "watches a new process"),
    (libc::SYS_pidfd_open, "watches a new process"),
    (libc::SYS_pidfd_send_signal, "kills stub processes"),
    (libc::SYS_tgkill, "interrupts stub threads"),
    (libc::SYS_write, "wakes the worker"),
    (libc::SYS_read, "the worker was woken"),
    (libc::SYS_wait4, "reaps the zygote"),
    (libc::SYS_waitid, "whether the zygote died"),
    (libc::SYS_process_vm_readv, "reads guest memory"),
    (libc::SYS_process_vm_writev, "writes guest memory"),
    (libc::SYS_memfd_create, "mailboxes"),
    (libc::SYS_fallocate, "mailboxes that are used again"),
    (libc::SYS_ftruncate, "mailboxes"),
    (
        libc::SYS_fcntl,
        "seals mailboxes (F_ADD_SEALS); which files a stub may keep",
    ),
    (libc::SYS_fstat, "which files a stub may keep"),
    (libc::SYS_newfstatat, "the same, as the C library does it"),
    (libc::SYS_mmap, "maps mailboxes"),
    (libc::SYS_munmap, "unmaps mailboxes"),
    (libc::SYS_close, "closes mailboxes and pidfds"),
    (libc::SYS_clock_gettime, "CPU time of stub processes"),
    (
        libc::SYS_sched_setaffinity,
        "keeps watched threads and the worker on different processors",
    ),
    (
        libc::SYS_gettid,
        "start of a thread, by the standard library",
    ),
    (libc::SYS_futex, "locks"),
];
