//! Which host system calls the stub may make: data, one rule a line with its reason, and its translation to BPF.
//!
//! Assume that the guest makes every call listed here itself, with any arguments the rule lets through. What
//! is allowed may then hurt that guest process alone.
use libc::{sock_filter, sock_fprog};

/// The number that rings the sentry: unknown to every kernel, so ENOSYS once nobody listens.
pub(crate) const DOORBELL: i64 = 0x3fd0;

/// clone flags of a new guest thread.
pub(crate) const THREAD_FLAGS: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM) as u64;
/// clone flags by which the zygote makes a stub process.
pub(crate) const STUB_FLAGS: u64 = libc::SIGCHLD as u64;
/// clone flags of a guest's fork: a sibling, so that the zygote, which ignores SIGCHLD, is the parent of all.
pub(crate) const FORK_FLAGS: u64 = (libc::CLONE_PARENT | libc::SIGCHLD) as u64;

/// What an argument must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// None of these bits is set in argument `.0`.
    NoBits(u32, u64),
    /// Argument `.0` is one of these.
    OneOf(u32, &'static [u64]),
}

/// What happens to a call that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Goes to the host kernel.
    Allow,
    /// Waits for the sentry's answer.
    Notify,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// System call number.
    pub number: i64,
    /// All must hold.
    pub checks: &'static [Check],
    /// Then this happens.
    pub action: Action,
    /// Why it must be possible.
    #[allow(dead_code)] // for the reader
    pub why: &'static str,
}

const fn rule(number: i64, checks: &'static [Check], action: Action, why: &'static str) -> Rule {
    Rule {
        number,
        checks,
        action,
        why,
    }
}

/// Advice that touches nothing but the guest's own memory: no huge pages, no merging, no poisoning, no undoing of
/// DONTFORK (mailboxes must not be inherited).
pub(crate) const ADVICE: &[u64] = &[
    0, 1, 2, 3, 4, 8, 9, 10, 15, 16, 17, 18, 19, 20, 21, 22, 23, 102, 103,
];

use Action::{Allow, Notify};
use Check::{NoBits, OneOf};

/// The table. What is not listed is RET_TRAP: SIGSYS, which the tracer sees.
pub(crate) const RULES: &[Rule] = &[
    rule(DOORBELL, &[], Notify, "asks the sentry for a descriptor"),
    rule(
        libc::SYS_mmap,
        &[NoBits(3, libc::MAP_HUGETLB as u64)],
        Allow,
        "guest mappings; no huge pages, which are a shared pool",
    ),
    rule(libc::SYS_munmap, &[], Allow, "guest mappings"),
    rule(
        libc::SYS_mprotect,
        &[NoBits(2, !7)],
        Allow,
        "guest mappings",
    ),
    rule(libc::SYS_mremap, &[], Allow, "guest mappings"),
    rule(
        libc::SYS_madvise,
        &[OneOf(2, ADVICE)],
        Allow,
        "guest mappings; mailboxes are not inherited",
    ),
    rule(libc::SYS_close, &[], Allow, "descriptors live for one mmap"),
    rule(
        libc::SYS_clone,
        &[
            OneOf(0, &[THREAD_FLAGS, STUB_FLAGS, FORK_FLAGS]),
            OneOf(1, &[0]),
        ],
        Allow,
        "threads and processes; the tracer sees each and kills what it did not order",
    ),
    rule(
        libc::SYS_getrusage,
        &[OneOf(0, &[libc::RUSAGE_THREAD as u64])],
        Allow,
        "CPU time of one thread",
    ),
    rule(libc::SYS_exit, &[], Allow, "end of a thread"),
];

const LD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JSET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
// Offsets in struct seccomp_data.
const NR: u32 = 0;
const ARCH: u32 = 4;

const fn arg_low(index: u32) -> u32 {
    16 + 8 * index
}

const fn op(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Translates the table. Linear: the stub makes few calls, and the hot ones come first.
pub(crate) fn program(rules: &[Rule]) -> Vec<sock_filter> {
    let other = op(RET, libc::SECCOMP_RET_TRAP, 0, 0);
    let mut out = vec![
        op(LD, ARCH, 0, 0),
        op(JEQ, AUDIT_ARCH_X86_64, 1, 0),
        op(RET, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        op(LD, NR, 0, 0),
    ];
    for rule in rules {
        let mut body = Vec::new();
        for check in rule.checks {
            match *check {
                Check::NoBits(arg, bits) => {
                    for (offset, half) in [(0, bits as u32), (4, (bits >> 32) as u32)] {
                        body.push(op(LD, arg_low(arg) + offset, 0, 0));
                        body.push(op(JSET, half, 0, 1));
                        body.push(other);
                    }
                }
                Check::OneOf(arg, values) => {
                    // All listed values fit in 32 bits: the upper half must be 0, the lower one listed.
                    debug_assert!(
                        values.iter().all(|v| u32::try_from(*v).is_ok()) && values.len() < 200
                    );
                    body.push(op(LD, arg_low(arg) + 4, 0, 0));
                    body.push(op(JEQ, 0, 1, 0));
                    body.push(other);
                    body.push(op(LD, arg_low(arg), 0, 0));
                    for (i, value) in values.iter().enumerate() {
                        body.push(op(JEQ, *value as u32, (values.len() - i) as u8, 0));
                    }
                    body.push(other);
                }
            }
        }
        body.push(op(
            RET,
            match rule.action {
                Action::Allow => libc::SECCOMP_RET_ALLOW,
                Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
            },
            0,
            0,
        ));
        debug_assert!(body.len() < 256);
        out.push(op(JEQ, rule.number as u32, 0, body.len() as u8));
        out.extend(body);
    }
    out.push(other);
    out
}

/// The program header for seccomp(2); `code` must outlive its use.
pub(crate) fn header(code: &mut [sock_filter]) -> sock_fprog {
    sock_fprog {
        len: u16::try_from(code.len()).unwrap_or(0),
        filter: code.as_mut_ptr(),
    }
}
