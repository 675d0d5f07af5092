//! Names of flags, as in the man pages.

use crate::kernel::signal::Signal;
use crate::syscalls::ArgKind;

/// access(2).
pub const ACCESS: ArgKind = ArgKind::Flags(&[(4, "R_OK"), (2, "W_OK"), (1, "X_OK")], "F_OK");

/// Calls on a descriptor and a path.
pub const AT: ArgKind = ArgKind::Flags(
    &[
        (0x100, "AT_SYMLINK_NOFOLLOW"),
        (0x400, "AT_SYMLINK_FOLLOW"),
        (0x800, "AT_NO_AUTOMOUNT"),
        (0x1000, "AT_EMPTY_PATH"),
        (0x2000, "AT_STATX_FORCE_SYNC"),
        (0x4000, "AT_STATX_DONT_SYNC"),
    ],
    "0",
);

/// faccessat2(2).
pub const AT_ACCESS: ArgKind = ArgKind::Flags(
    &[
        (0x100, "AT_SYMLINK_NOFOLLOW"),
        (0x200, "AT_EACCESS"),
        (0x1000, "AT_EMPTY_PATH"),
    ],
    "0",
);

/// unlinkat(2).
pub const UNLINK: ArgKind = ArgKind::Flags(&[(0x200, "AT_REMOVEDIR")], "0");

/// futex(2).
#[rustfmt::skip]
pub const FUTEX: ArgKind = ArgKind::Name(&[
    (0, "FUTEX_WAIT"), (0x80, "FUTEX_WAIT_PRIVATE"),
    (1, "FUTEX_WAKE"), (0x81, "FUTEX_WAKE_PRIVATE"),
    (3, "FUTEX_REQUEUE"), (0x83, "FUTEX_REQUEUE_PRIVATE"),
    (4, "FUTEX_CMP_REQUEUE"), (0x84, "FUTEX_CMP_REQUEUE_PRIVATE"),
    (5, "FUTEX_WAKE_OP"), (0x85, "FUTEX_WAKE_OP_PRIVATE"),
    (6, "FUTEX_LOCK_PI"), (0x86, "FUTEX_LOCK_PI_PRIVATE"),
    (7, "FUTEX_UNLOCK_PI"), (0x87, "FUTEX_UNLOCK_PI_PRIVATE"),
    (8, "FUTEX_TRYLOCK_PI"), (0x88, "FUTEX_TRYLOCK_PI_PRIVATE"),
    (9, "FUTEX_WAIT_BITSET"), (0x89, "FUTEX_WAIT_BITSET_PRIVATE"),
    (0x109, "FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME"), (0x189, "FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME"),
    (10, "FUTEX_WAKE_BITSET"), (0x8a, "FUTEX_WAKE_BITSET_PRIVATE"),
]);

/// getrlimit(2), prlimit(2).
#[rustfmt::skip]
pub const RESOURCE: ArgKind = ArgKind::Name(&[
    (0, "RLIMIT_CPU"), (1, "RLIMIT_FSIZE"), (2, "RLIMIT_DATA"), (3, "RLIMIT_STACK"), (4, "RLIMIT_CORE"), (5, "RLIMIT_RSS"),
    (6, "RLIMIT_NPROC"), (7, "RLIMIT_NOFILE"), (8, "RLIMIT_MEMLOCK"), (9, "RLIMIT_AS"), (10, "RLIMIT_LOCKS"),
    (11, "RLIMIT_SIGPENDING"), (12, "RLIMIT_MSGQUEUE"), (13, "RLIMIT_NICE"), (14, "RLIMIT_RTPRIO"), (15, "RLIMIT_RTTIME"),
]);

/// ptrace(2) requests.
#[rustfmt::skip]
pub const PTRACE: ArgKind = ArgKind::Name(&[
    (0, "PTRACE_TRACEME"), (1, "PTRACE_PEEKTEXT"), (2, "PTRACE_PEEKDATA"), (3, "PTRACE_PEEKUSER"), (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"), (6, "PTRACE_POKEUSER"), (7, "PTRACE_CONT"), (8, "PTRACE_KILL"), (9, "PTRACE_SINGLESTEP"),
    (12, "PTRACE_GETREGS"), (13, "PTRACE_SETREGS"), (14, "PTRACE_GETFPREGS"), (15, "PTRACE_SETFPREGS"), (16, "PTRACE_ATTACH"),
    (17, "PTRACE_DETACH"), (24, "PTRACE_SYSCALL"), (30, "PTRACE_ARCH_PRCTL"), (31, "PTRACE_SYSEMU"), (32, "PTRACE_SYSEMU_SINGLESTEP"),
    (0x4200, "PTRACE_SETOPTIONS"), (0x4201, "PTRACE_GETEVENTMSG"), (0x4202, "PTRACE_GETSIGINFO"), (0x4203, "PTRACE_SETSIGINFO"),
    (0x4204, "PTRACE_GETREGSET"), (0x4205, "PTRACE_SETREGSET"), (0x4206, "PTRACE_SEIZE"), (0x4207, "PTRACE_INTERRUPT"),
    (0x4208, "PTRACE_LISTEN"), (0x4209, "PTRACE_PEEKSIGINFO"), (0x420a, "PTRACE_GETSIGMASK"), (0x420b, "PTRACE_SETSIGMASK"),
    (0x420c, "PTRACE_SECCOMP_GET_FILTER"), (0x420e, "PTRACE_GET_SYSCALL_INFO"), (0x420f, "PTRACE_GET_RSEQ_CONFIGURATION"),
]);

/// ioctl(2): those that most programs make.
#[rustfmt::skip]
pub const IOCTL: ArgKind = ArgKind::Name(&[
    (0x5401, "TCGETS"), (0x5402, "TCSETS"), (0x5403, "TCSETSW"), (0x5404, "TCSETSF"), (0x5409, "TCSBRK"), (0x540b, "TCFLSH"),
    (0x540e, "TIOCSCTTY"), (0x540f, "TIOCGPGRP"), (0x5410, "TIOCSPGRP"), (0x5413, "TIOCGWINSZ"), (0x5414, "TIOCSWINSZ"),
    (0x541b, "FIONREAD"), (0x5421, "FIONBIO"), (0x5422, "TIOCNOTTY"), (0x5429, "TIOCGSID"), (0x5450, "FIONCLEX"),
    (0x5451, "FIOCLEX"), (0x8004_5430, "TIOCGPTN"), (0x4004_5431, "TIOCSPTLCK"),
]);

/// mmap(2), mprotect(2).
pub(super) const PROT: &[(u64, &str)] = &[
    (1, "PROT_READ"),
    (2, "PROT_WRITE"),
    (4, "PROT_EXEC"),
    (0x0100_0000, "PROT_GROWSDOWN"),
    (0x0200_0000, "PROT_GROWSUP"),
];

/// mmap(2).
pub(super) const MAP: &[(u64, &str)] = &[
    (0x3, "MAP_SHARED_VALIDATE"),
    (0x1, "MAP_SHARED"),
    (0x2, "MAP_PRIVATE"),
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x40, "MAP_32BIT"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x1000, "MAP_EXECUTABLE"),
    (0x2000, "MAP_LOCKED"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x10000, "MAP_NONBLOCK"),
    (0x20000, "MAP_STACK"),
    (0x40000, "MAP_HUGETLB"),
    (0x100000, "MAP_FIXED_NOREPLACE"),
];

/// open(2), without the access mode. Those that contain others come first.
const OPEN: &[(u64, &str)] = &[
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o4010000, "O_SYNC"),
    (0o10000, "O_DSYNC"),
    (0o20000, "O_ASYNC"),
    (0o40000, "O_DIRECT"),
    (0o100000, "O_LARGEFILE"),
    (0o20200000, "O_TMPFILE"),
    (0o200000, "O_DIRECTORY"),
    (0o400000, "O_NOFOLLOW"),
    (0o1000000, "O_NOATIME"),
    (0o2000000, "O_CLOEXEC"),
    (0o10000000, "O_PATH"),
];

const CLONE: &[(u64, &str)] = &[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"),
    (0x2000, "CLONE_PTRACE"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x10000, "CLONE_THREAD"),
    (0x20000, "CLONE_NEWNS"),
    (0x40000, "CLONE_SYSVSEM"),
    (0x80000, "CLONE_SETTLS"),
    (0x100000, "CLONE_PARENT_SETTID"),
    (0x200000, "CLONE_CHILD_CLEARTID"),
    (0x400000, "CLONE_DETACHED"),
    (0x800000, "CLONE_UNTRACED"),
    (0x1000000, "CLONE_CHILD_SETTID"),
    (0x2000000, "CLONE_NEWCGROUP"),
    (0x4000000, "CLONE_NEWUTS"),
    (0x8000000, "CLONE_NEWIPC"),
    (0x10000000, "CLONE_NEWUSER"),
    (0x20000000, "CLONE_NEWPID"),
    (0x40000000, "CLONE_NEWNET"),
    (0x80000000, "CLONE_IO"),
];

/// Names joined by `|`, then what has no name in hexadecimal; `none` for zero.
pub(super) fn names(mut value: u64, table: &[(u64, &str)], none: &str) -> String {
    if value == 0 {
        return none.to_owned();
    }
    let mut out = String::new();
    for (bits, name) in table {
        if value & bits == *bits {
            value &= !bits;
            join(&mut out, name);
        }
    }
    if value != 0 {
        join(&mut out, &format!("{value:#x}"));
    }
    out
}

fn join(out: &mut String, name: &str) {
    if !out.is_empty() {
        out.push('|');
    }
    out.push_str(name);
}

/// Flags of open(2), the access mode first.
pub(super) fn open(value: u32) -> String {
    let mut out = match value & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "O_ACCMODE",
    }
    .to_owned();
    let rest = names(u64::from(value & !3), OPEN, "");
    if !rest.is_empty() {
        join(&mut out, &rest);
    }
    out
}

/// Flags of clone(2), whose low byte is a signal.
pub(super) fn clone(value: u64) -> String {
    let mut out = names(value & !0xff, CLONE, "");
    if value & 0xff != 0 || out.is_empty() {
        join(&mut out, &signal((value & 0xff) as i32));
    }
    out
}

/// A signal's name.
pub(super) fn signal(number: i32) -> String {
    match Signal::new(number) {
        Some(signal) if number < 32 => signal.name().to_owned(),
        Some(_) => format!("SIGRT_{}", number - 32),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_their_names() {
        assert_eq!(open(0), "O_RDONLY");
        assert_eq!(open(0o2 | 0o4010000), "O_RDWR|O_SYNC");
        assert_eq!(open(0o2 | 0o20200000), "O_RDWR|O_TMPFILE");
        assert_eq!(names(0x22, MAP, "0"), "MAP_PRIVATE|MAP_ANONYMOUS");
        assert_eq!(names(0x8000_0002, MAP, "0"), "MAP_PRIVATE|0x80000000");
        assert_eq!(clone(17), "SIGCHLD");
        assert_eq!(clone(0x4111), "CLONE_VM|CLONE_VFORK|SIGCHLD");
        assert_eq!(clone(0), "0");
        assert_eq!(signal(34), "SIGRT_2");
        assert_eq!(signal(77), "77");
    }
}
