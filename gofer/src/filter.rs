//! What the server asks of the host's kernel, as data for the seccomp allow-list of its jail.

use libc::{
    SYS_brk, SYS_clock_gettime, SYS_close, SYS_exit, SYS_exit_group, SYS_fchmodat, SYS_fchownat,
    SYS_fcntl, SYS_fdatasync, SYS_fgetxattr, SYS_flistxattr, SYS_fremovexattr, SYS_fsetxattr,
    SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_getdents64, SYS_getrandom, SYS_linkat,
    SYS_lseek, SYS_madvise, SYS_mkdirat, SYS_mknodat, SYS_mmap, SYS_mremap, SYS_munmap, SYS_openat,
    SYS_openat2, SYS_prlimit64, SYS_readlinkat, SYS_recvmsg, SYS_renameat, SYS_renameat2,
    SYS_restart_syscall, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sendmsg, SYS_shutdown,
    SYS_sigaltstack, SYS_statx, SYS_symlinkat, SYS_unlinkat, SYS_utimensat, SYS_write,
};

/// Every system call of a serving gofer, from [`crate::server::run`] to its exit, with its reason.
/// The jail may pin arguments further; none of these takes a path that is not one component below a
/// descriptor.
pub const GOFER_SYSCALLS: &[(i64, &str)] = &[
    // requests and replies
    (SYS_recvmsg, "receive a request"),
    (SYS_sendmsg, "send a reply, donate a descriptor"),
    (SYS_shutdown, "end a connection whose client sends rubbish"),
    (SYS_close, "drop a handle"),
    (
        SYS_fcntl,
        "duplicate an export's root; the runtime's check that a closed descriptor was open",
    ),
    // finding and opening
    (SYS_openat2, "walk one component; create a file"),
    (
        SYS_openat,
        "reopen a handle through the directory of own descriptors",
    ),
    (SYS_statx, "attributes"),
    (
        SYS_fstatfs,
        "statistics; telling kernel file systems from ordinary ones",
    ),
    (SYS_getdents64, "list a directory"),
    (SYS_lseek, "go on listing where the last reply ended"),
    (SYS_readlinkat, "target of a symbolic link"),
    // changing (writable exports)
    (SYS_mkdirat, "mkdir"),
    (SYS_symlinkat, "symlink"),
    (SYS_mknodat, "mknod of files, FIFOs and socket nodes"),
    (SYS_linkat, "link"),
    (SYS_unlinkat, "unlink and rmdir"),
    (SYS_renameat2, "rename"),
    (
        SYS_renameat,
        "rename without flags, as the C library's renameat2 makes it",
    ),
    (SYS_fchmodat, "chmod"),
    (SYS_fchownat, "chown"),
    (SYS_utimensat, "utimens"),
    (SYS_ftruncate, "truncate"),
    (SYS_fsync, "fsync"),
    (SYS_fdatasync, "fdatasync"),
    (SYS_fgetxattr, "read an extended attribute"),
    (SYS_flistxattr, "list extended attributes"),
    (SYS_fsetxattr, "set an extended attribute"),
    (SYS_fremovexattr, "remove an extended attribute"),
    // runtime
    (SYS_mmap, "allocator"),
    (SYS_munmap, "allocator"),
    (SYS_mremap, "allocator"),
    (SYS_madvise, "allocator"),
    (SYS_brk, "allocator"),
    (SYS_futex, "locks of the runtime"),
    (SYS_write, "log lines to the descriptor given"),
    (
        SYS_clock_gettime,
        "time stamps of log lines where the vDSO cannot",
    ),
    (SYS_getrandom, "keys of the runtime's hash tables"),
    (SYS_prlimit64, "size of the handle table"),
    (SYS_sigaltstack, "end of the runtime"),
    (SYS_rt_sigprocmask, "end of the runtime"),
    (SYS_rt_sigreturn, "return from a signal handler"),
    (
        SYS_restart_syscall,
        "a receive that a stop signal interrupted",
    ),
    (SYS_exit, "end of a thread"),
    (SYS_exit_group, "end"),
];

#[cfg(test)]
mod tests {
    use super::GOFER_SYSCALLS;

    #[test]
    fn list_is_short_and_without_repeats() {
        assert!(
            GOFER_SYSCALLS.len() <= 45,
            "{} system calls",
            GOFER_SYSCALLS.len()
        );
        let mut numbers: Vec<_> = GOFER_SYSCALLS.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), GOFER_SYSCALLS.len());
    }
}
