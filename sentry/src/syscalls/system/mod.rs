//! uname, sysinfo, random numbers, seccomp, other processes' memory, and what only the owner of a machine may do.

mod filesystems;
mod machine;
mod names;
mod process_vm;
mod random;
mod refused;

use super::{ArgKind, Args, Cx, SysResult, Syscall};
use crate::kernel::seccomp;

/// This family's calls.
#[rustfmt::skip]
pub static TABLE: &[Syscall] = {
    use ArgKind::*;
    const NEVER: &str = "always refused";
    const ABSENT: &str = "ENOSYS, as on a kernel built without it";
    &[
        Syscall::new(libc::SYS_uname, "uname", names::uname, &[Ptr]),
        Syscall::new(libc::SYS_sethostname, "sethostname", names::sethostname, &[Str, Uint]),
        Syscall::new(libc::SYS_setdomainname, "setdomainname", names::setdomainname, &[Str, Uint]),
        Syscall::new(libc::SYS_personality, "personality", names::personality, &[Hex])
            .partial("PER_LINUX32 (on uname), STICKY_TIMEOUTS and ADDR_NO_RANDOMIZE have an effect"),
        Syscall::new(libc::SYS_sysinfo, "sysinfo", machine::sysinfo, &[Ptr]),
        Syscall::new(libc::SYS_sysfs, "sysfs", filesystems::sysfs, &[Int, Hex, Ptr]),
        Syscall::new(libc::SYS_ustat, "ustat", filesystems::ustat, &[Hex, Ptr]),
        Syscall::new(libc::SYS_getcpu, "getcpu", machine::getcpu, &[Ptr, Ptr])
            .partial("the first processor that the task may run on"),
        Syscall::new(libc::SYS_sched_yield, "sched_yield", machine::sched_yield, &[]),
        Syscall::new(libc::SYS_syslog, "syslog", machine::syslog, &[Int, Ptr, Int])
            .partial("the kernel's log is empty"),
        Syscall::new(libc::SYS_reboot, "reboot", machine::reboot, &[Hex, Hex, Hex, Ptr]),
        Syscall::new(libc::SYS_getrandom, "getrandom", random::getrandom, &[OutBuf, Uint, Hex]),
        Syscall::new(libc::SYS_seccomp, "seccomp", seccomp_call, &[Int, Hex, Ptr])
            .partial("no user notification"),
        Syscall::new(libc::SYS_process_vm_readv, "process_vm_readv", process_vm::readv, &[Pid, Ptr, Uint, Ptr, Uint, Hex]),
        Syscall::new(libc::SYS_process_vm_writev, "process_vm_writev", process_vm::writev, &[Pid, Ptr, Uint, Ptr, Uint, Hex]),
        Syscall::new(libc::SYS_iopl, "iopl", refused::iopl, &[Int]).partial(NEVER),
        Syscall::new(libc::SYS_ioperm, "ioperm", refused::ioperm, &[Uint, Uint, Int]).partial(NEVER),
        Syscall::new(libc::SYS_vhangup, "vhangup", machine::vhangup, &[]),
        Syscall::new(libc::SYS_acct, "acct", refused::eperm, &[Path]).partial(NEVER),
        Syscall::new(libc::SYS_swapon, "swapon", refused::eperm, &[Path, Hex]).partial(NEVER),
        Syscall::new(libc::SYS_swapoff, "swapoff", refused::eperm, &[Path]).partial(NEVER),
        Syscall::new(libc::SYS_init_module, "init_module", refused::eperm, &[Ptr, Uint, Str]).partial(NEVER),
        Syscall::new(libc::SYS_finit_module, "finit_module", refused::eperm, &[Fd, Str, Hex]).partial(NEVER),
        Syscall::new(libc::SYS_delete_module, "delete_module", refused::eperm, &[Str, Hex]).partial(NEVER),
        Syscall::new(libc::SYS_kexec_load, "kexec_load", refused::eperm, &[Ptr, Uint, Ptr, Hex]).partial(NEVER),
        Syscall::new(libc::SYS_kexec_file_load, "kexec_file_load", refused::eperm, &[Fd, Fd, Uint, Str, Hex]).partial(NEVER),
        Syscall::new(libc::SYS_bpf, "bpf", refused::eperm, &[Int, Ptr, Uint]).partial(NEVER),
        Syscall::new(libc::SYS_perf_event_open, "perf_event_open", refused::enosys, &[Ptr, Pid, Int, Fd, Hex]).partial(ABSENT),
        Syscall::new(libc::SYS_modify_ldt, "modify_ldt", refused::enosys, &[Int, Ptr, Uint]).partial(ABSENT),
        Syscall::new(libc::SYS_rseq, "rseq", refused::rseq, &[Ptr, Uint, Hex, Hex]).partial(ABSENT),
        Syscall::new(libc::SYS_io_uring_setup, "io_uring_setup", refused::enosys, &[Uint, Ptr]).partial(ABSENT),
        Syscall::new(libc::SYS_io_uring_enter, "io_uring_enter", refused::enosys, &[Fd, Uint, Uint, Hex, Ptr]).partial(ABSENT),
        Syscall::new(libc::SYS_io_uring_register, "io_uring_register", refused::enosys, &[Fd, Uint, Ptr, Uint]).partial(ABSENT),
        Syscall::new(libc::SYS_landlock_create_ruleset, "landlock_create_ruleset", refused::enosys, &[Ptr, Uint, Hex]).partial(ABSENT),
        Syscall::new(libc::SYS_landlock_add_rule, "landlock_add_rule", refused::enosys, &[Fd, Int, Ptr, Hex]).partial(ABSENT),
        Syscall::new(libc::SYS_landlock_restrict_self, "landlock_restrict_self", refused::enosys, &[Fd, Hex]).partial(ABSENT),
    ]
};

fn seccomp_call(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    seccomp::seccomp(cx, args.get(0), args.get(1), args.get(2))
}
