//! Names of flags, as in the man pages.

use crate::kernel::signal::Signal;

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
