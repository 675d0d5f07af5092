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
/// clone flags of a guest's fork: a sibling, so that the zygote, which reaps or has the kernel reap, is the parent of all.
pub(crate) const FORK_FLAGS: u64 = (libc::CLONE_PARENT | libc::SIGCHLD) as u64;

/// What an argument must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// None of these bits is set in argument `.0`.
    NoBits(u32, u64),
    /// Argument `.0` is one of these.
    OneOf(u32, &'static [u64]),
    /// The call is made by this instruction of the stub (the offset behind it), and no other.
    Site(fn() -> u64),
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

/// MEMBARRIER_CMD_* that concern the calling process alone.
pub(crate) const BARRIERS: &[u64] = &[8, 16, 32, 64];

use Action::{Allow, Notify};
use Check::{NoBits, OneOf, Site};

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
    rule(
        libc::SYS_membarrier,
        &[OneOf(0, BARRIERS), OneOf(1, &[0])],
        Allow,
        "memory barriers among the threads of one process",
    ),
    rule(
        libc::SYS_mincore,
        &[],
        Allow,
        "which pages are in memory, for the sentry; of files the host says it to those who may write or own them",
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

/// What is added to [`FREE_RULES`] where there is a gate. From one place only: a stub that carries out orders, which other threads can rewrite, must not fall asleep.
pub(crate) const GATE_RULES: &[Rule] = &[
    rule(
        libc::SYS_futex,
        &[Site(super::free::futex), OneOf(1, super::futex::OPERATIONS)],
        Allow,
        "futexes that only the threads of this process can share",
    ),
    rule(
        libc::SYS_restart_syscall,
        &[Site(super::free::futex)],
        Allow,
        "the host goes on with a futex call after it froze the process",
    ),
    rule(
        libc::SYS_sched_yield,
        &[],
        Allow,
        "lets others of its threads run, and any other process",
    ),
];

/// The table of a stub that nobody traces; only its own text may make these calls, everything else is the guest's and RET_TRAP. That
/// check is for telling the two apart: a guest can jump into the stub.
pub(crate) const FREE_RULES: &[Rule] = &[
    rule(
        DOORBELL,
        &[],
        Notify,
        "says what happened and waits for orders",
    ),
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
    rule(
        libc::SYS_membarrier,
        &[OneOf(0, BARRIERS), OneOf(1, &[0])],
        Allow,
        "memory barriers among the threads of one process",
    ),
    rule(
        libc::SYS_mincore,
        &[],
        Allow,
        "which pages are in memory, for the sentry; of files the host says it to those who may write or own them",
    ),
    rule(libc::SYS_close, &[], Allow, "descriptors live for one mmap"),
    rule(
        libc::SYS_clone,
        &[
            OneOf(0, &[THREAD_FLAGS, STUB_FLAGS, FORK_FLAGS]),
            OneOf(1, &[0]),
        ],
        Notify,
        "threads and processes: the sentry lets pass exactly what it ordered",
    ),
    rule(
        libc::SYS_exit,
        &[],
        Notify,
        "end of a thread: only when the sentry ordered it",
    ),
    rule(
        libc::SYS_exit_group,
        &[],
        Allow,
        "end of the process when the sentry is gone",
    ),
    rule(
        libc::SYS_sigaltstack,
        &[],
        Allow,
        "where a new thread takes its signals",
    ),
    rule(
        libc::SYS_getrusage,
        &[OneOf(0, &[libc::RUSAGE_THREAD as u64])],
        Allow,
        "CPU time of one thread",
    ),
    rule(
        libc::SYS_wait4,
        &[OneOf(2, &[libc::WNOHANG as u64])],
        Allow,
        "the zygote reaps; other stubs have no children",
    ),
];

const LD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JSET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
// Offsets in struct seccomp_data.
const NR: u32 = 0;
const ARCH: u32 = 4;
const RIP: u32 = 8;

const fn arg_low(index: u32) -> u32 {
    16 + 8 * index
}

const fn op(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Translates the table. Linear: the stub makes few calls, and the hot ones come first.
pub(crate) fn program(rules: &[Rule]) -> Vec<sock_filter> {
    let mut out = vec![
        op(LD, ARCH, 0, 0),
        op(JEQ, AUDIT_ARCH_X86_64, 1, 0),
        op(RET, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
    ];
    translate(rules, 0, &mut out);
    out.push(OTHER);
    out
}

/// Translates tables for the stub's text at `text`; what comes from elsewhere, or by a 32-bit entry, is RET_TRAP.
pub(crate) fn program_at(tables: &[&[Rule]], text: u64) -> Vec<sock_filter> {
    let mut out = vec![
        op(LD, ARCH, 0, 0),
        op(JEQ, AUDIT_ARCH_X86_64, 3, 0),
        op(JEQ, AUDIT_ARCH_I386, 0, 1),
        op(RET, libc::SECCOMP_RET_TRAP, 0, 0),
        op(RET, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        op(LD, RIP + 4, 0, 0),
        op(JEQ, (text >> 32) as u32, 1, 0),
        op(RET, libc::SECCOMP_RET_TRAP, 0, 0),
        op(LD, RIP, 0, 0),
        op(AND, !(super::free::TEXT as u32 - 1), 0, 0),
        op(JEQ, text as u32, 1, 0),
        op(RET, libc::SECCOMP_RET_TRAP, 0, 0),
    ];
    for rules in tables {
        translate(rules, text, &mut out);
    }
    out.push(OTHER);
    out
}

/// What no rule names.
const OTHER: sock_filter = op(RET, libc::SECCOMP_RET_TRAP, 0, 0);

fn translate(rules: &[Rule], text: u64, out: &mut Vec<sock_filter>) {
    let other = OTHER;
    out.push(op(LD, NR, 0, 0));
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
                Check::Site(offset) => {
                    // The upper half was checked with the text.
                    body.push(op(LD, RIP, 0, 0));
                    body.push(op(JEQ, (text + offset()) as u32, 1, 0));
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
}

/// The program header for seccomp(2); `code` must outlive its use.
pub(crate) fn header(code: &mut [sock_filter]) -> sock_fprog {
    sock_fprog {
        len: u16::try_from(code.len()).unwrap_or(0),
        filter: code.as_mut_ptr(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::free::TEXT as LEN;

    /// What the kernel would do with the program, for the few instructions used here.
    fn verdict(code: &[sock_filter], number: i64, arch: u32, args: [u64; 6]) -> u32 {
        let mut data = [0u32; 16];
        data[0] = number as u32;
        data[1] = arch;
        for (i, arg) in args.iter().enumerate() {
            data[4 + 2 * i] = *arg as u32;
            data[5 + 2 * i] = (*arg >> 32) as u32;
        }
        run(code, &data)
    }

    fn run(code: &[sock_filter], data: &[u32; 16]) -> u32 {
        let (mut pc, mut a) = (0, 0);
        loop {
            let i = code[pc];
            pc += 1;
            match i.code {
                LD => a = data[i.k as usize / 4],
                JEQ => pc += usize::from(if a == i.k { i.jt } else { i.jf }),
                JSET => pc += usize::from(if a & i.k != 0 { i.jt } else { i.jf }),
                AND => a &= i.k,
                RET => return i.k,
                other => panic!("{other:#x}"),
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
    const TRAP: u32 = libc::SECCOMP_RET_TRAP;

    fn native(number: i64, args: [u64; 6]) -> u32 {
        verdict(&program(RULES), number, AUDIT_ARCH_X86_64, args)
    }

    #[test]
    fn only_what_the_table_lists() {
        let first = |values: &[u64]| values.first().copied().unwrap_or(0);
        for number in (0..1024).chain([DOORBELL, 0x4000_0000 | libc::SYS_mmap, -1]) {
            let rule = RULES.iter().find(|r| r.number == number);
            let mut args = [0; 6];
            for check in rule.map_or(&[][..], |r| r.checks) {
                if let Check::OneOf(arg, values) = check {
                    args[*arg as usize] = first(values);
                }
            }
            let expected = match rule.map(|r| r.action) {
                None => TRAP,
                Some(Action::Allow) => ALLOW,
                Some(Action::Notify) => NOTIFY,
            };
            assert_eq!(native(number, args), expected, "{number}");
        }
        println!(
            "the stub's filter lets {} system calls through",
            RULES.len()
        );
        assert!(RULES.len() <= 20);
    }

    #[test]
    fn arguments_are_checked_in_both_halves() {
        let mmap = |flags| native(libc::SYS_mmap, [0, 0, 7, flags, 0, 0]);
        assert_eq!((mmap(0x32), mmap(0x4_0032)), (ALLOW, TRAP));
        let protect = |prot| native(libc::SYS_mprotect, [0, 0, prot, 0, 0, 0]);
        assert_eq!(
            (
                protect(7),
                protect(8),
                protect(0x100_0000),
                protect(1 << 32)
            ),
            (ALLOW, TRAP, TRAP, TRAP)
        );
        let clone = |flags, stack| native(libc::SYS_clone, [flags, stack, 0, 0, 0, 0]);
        for flags in [THREAD_FLAGS, STUB_FLAGS, FORK_FLAGS] {
            assert_eq!(
                (clone(flags, 0), clone(flags, 1), clone(flags, 1 << 40)),
                (ALLOW, TRAP, TRAP)
            );
            assert_eq!(clone(flags | 1 << 33, 0), TRAP);
            assert_eq!(clone(flags | libc::CLONE_UNTRACED as u64, 0), TRAP);
            assert_eq!(clone(flags | libc::CLONE_NEWUSER as u64, 0), TRAP);
        }
        assert_eq!(clone(0, 0), TRAP);
        let advise = |advice| native(libc::SYS_madvise, [0, 0, advice, 0, 0, 0]);
        for advice in 0..300 {
            assert_eq!(
                advise(advice),
                if ADVICE.contains(&advice) {
                    ALLOW
                } else {
                    TRAP
                }
            );
        }
        for harmful in [
            libc::MADV_HUGEPAGE,
            libc::MADV_MERGEABLE,
            libc::MADV_DOFORK,
            libc::MADV_HWPOISON,
            libc::MADV_COLLAPSE,
        ] {
            assert_eq!(advise(harmful as u64), TRAP);
        }
        let barrier = |command, flags| native(libc::SYS_membarrier, [command, flags, 0, 0, 0, 0]);
        assert_eq!((barrier(8, 0), barrier(8, 1)), (ALLOW, TRAP));
        assert_eq!((barrier(1, 0), barrier(2, 0)), (TRAP, TRAP));
        assert_eq!(native(libc::SYS_getrusage, [1, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(native(libc::SYS_getrusage, [0, 0, 0, 0, 0, 0]), TRAP);
    }

    #[test]
    fn only_the_stubs_own_text_may_call() {
        const TEXT: u64 = 0x7ffe_0400_0000;
        let code = program_at(&[FREE_RULES], TEXT);
        println!(
            "the free stub's filter lets {} system calls through",
            FREE_RULES.len()
        );
        assert!(FREE_RULES.len() <= 20);
        let at = |rip, number| {
            let mut data = [0u32; 16];
            data[0] = number as u32;
            data[1] = AUDIT_ARCH_X86_64;
            data[2] = rip as u32;
            data[3] = (rip >> 32) as u32;
            run(&code, &data)
        };
        for rip in [TEXT, TEXT + 4095, TEXT + LEN - 1] {
            assert_eq!(at(rip, libc::SYS_munmap), ALLOW);
            assert_eq!(at(rip, DOORBELL), NOTIFY);
            assert_eq!(at(rip, libc::SYS_exit), NOTIFY);
            assert_eq!(at(rip, libc::SYS_getpid), TRAP);
            assert_eq!(at(rip, libc::SYS_rt_sigreturn), TRAP);
        }
        for rip in [
            0x40_0000,
            TEXT - 1,
            TEXT + LEN,
            TEXT ^ 1 << 32,
            TEXT ^ 1 << 63,
        ] {
            for number in 0..600 {
                assert_eq!(at(rip, number), TRAP);
            }
            assert_eq!(at(rip, DOORBELL), TRAP);
        }
        let foreign = |arch| verdict(&code, libc::SYS_munmap, arch, [0; 6]);
        assert_eq!(foreign(AUDIT_ARCH_I386), TRAP);
        assert_eq!(foreign(0xc000_00b7), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn futexes_of_the_host_are_private_and_from_one_place() {
        const TEXT: u64 = 0x7ffe_0400_0000;
        let code = program_at(&[GATE_RULES, FREE_RULES], TEXT);
        let at = |rip: u64, number: i64, op: u64| {
            let mut data = [0u32; 16];
            data[0] = number as u32;
            data[1] = AUDIT_ARCH_X86_64;
            data[2] = rip as u32;
            data[3] = (rip >> 32) as u32;
            data[6] = op as u32;
            data[7] = (op >> 32) as u32;
            run(&code, &data)
        };
        let site = TEXT + super::super::free::futex();
        let passing: Vec<u64> = (0..1 << 10)
            .filter(|op| at(site, libc::SYS_futex, *op) == ALLOW)
            .collect();
        assert_eq!(passing, [128, 129, 131, 132, 133, 137, 138, 0x189]);
        for op in passing {
            for wild in [op | 1 << 32, op | 1 << 31, op | 1 << 63, op & !128] {
                assert_eq!(at(site, libc::SYS_futex, wild), TRAP, "{wild:#x}");
            }
            for rip in (TEXT..TEXT + LEN).filter(|rip| *rip != site) {
                assert_eq!(at(rip, libc::SYS_futex, op), TRAP, "{rip:#x}");
                assert_eq!(at(rip, libc::SYS_restart_syscall, op), TRAP, "{rip:#x}");
            }
            assert_eq!(at(site ^ 1 << 32, libc::SYS_futex, op), TRAP);
        }
        assert_eq!(at(site, libc::SYS_restart_syscall, 0), ALLOW);
        // Without a gate there are none.
        let code = program_at(&[FREE_RULES], TEXT);
        let mut data = [0u32; 16];
        data[..4].copy_from_slice(&[
            libc::SYS_futex as u32,
            AUDIT_ARCH_X86_64,
            site as u32,
            (site >> 32) as u32,
        ]);
        data[6] = 129;
        assert_eq!(run(&code, &data), TRAP);
    }

    #[test]
    fn other_architectures_are_killed() {
        for arch in [0x4000_0003, 0, 0xc000_00b7] {
            assert_eq!(
                verdict(&program(RULES), libc::SYS_mmap, arch, [0; 6]),
                libc::SECCOMP_RET_KILL_PROCESS
            );
        }
    }
}
