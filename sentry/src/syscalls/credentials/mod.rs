//! Identity and capabilities.

mod caps;
mod groups;
mod ids;

use super::{ArgKind, Syscall};

/// This family's calls.
#[rustfmt::skip]
pub static TABLE: &[Syscall] = {
    use ArgKind::*;
    &[
        Syscall::new(libc::SYS_getuid, "getuid", ids::getuid, &[]),
        Syscall::new(libc::SYS_geteuid, "geteuid", ids::geteuid, &[]),
        Syscall::new(libc::SYS_getgid, "getgid", ids::getgid, &[]),
        Syscall::new(libc::SYS_getegid, "getegid", ids::getegid, &[]),
        Syscall::new(libc::SYS_getresuid, "getresuid", ids::getresuid, &[Ptr, Ptr, Ptr]),
        Syscall::new(libc::SYS_getresgid, "getresgid", ids::getresgid, &[Ptr, Ptr, Ptr]),
        Syscall::new(libc::SYS_setuid, "setuid", ids::setuid, &[Int]),
        Syscall::new(libc::SYS_setgid, "setgid", ids::setgid, &[Int]),
        Syscall::new(libc::SYS_setreuid, "setreuid", ids::setreuid, &[Int, Int]),
        Syscall::new(libc::SYS_setregid, "setregid", ids::setregid, &[Int, Int]),
        Syscall::new(libc::SYS_setresuid, "setresuid", ids::setresuid, &[Int, Int, Int]),
        Syscall::new(libc::SYS_setresgid, "setresgid", ids::setresgid, &[Int, Int, Int]),
        Syscall::new(libc::SYS_setfsuid, "setfsuid", ids::setfsuid, &[Int]),
        Syscall::new(libc::SYS_setfsgid, "setfsgid", ids::setfsgid, &[Int]),
        Syscall::new(libc::SYS_getgroups, "getgroups", groups::getgroups, &[Int, Ptr]),
        Syscall::new(libc::SYS_setgroups, "setgroups", groups::setgroups, &[Int, Ptr]),
        Syscall::new(libc::SYS_capget, "capget", caps::capget, &[Ptr, Ptr]),
        Syscall::new(libc::SYS_capset, "capset", caps::capset, &[Ptr, Ptr]),
    ]
};
