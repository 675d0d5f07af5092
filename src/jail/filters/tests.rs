//! Each role's filter, installed in a forked child, refuses what it must and lets pass what it lists.
#![allow(unsafe_code)] // fork and raw system calls in the child

use super::{Role, gofer, monitor, sentry};
use crate::jail::seccomp;
use crate::jail::violation;
use cofferdam_platform::Kind;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::AsRawFd;

const SENTRY: Role = sentry::role(Kind::Ptrace);
const NOTIFY: Role = sentry::role(Kind::Notify);
const ROLES: [&Role; 4] = [&monitor::ROLE, &gofer::ROLE, &SENTRY, &NOTIFY];

/// Whether a child that confined itself was refused this call, by its number.
fn refused(role: &Role, number: i64, args: [u64; 6]) -> bool {
    let (mut told, tell) = std::io::pipe().unwrap();
    // SAFETY: the child allocates (glibc makes that safe after fork) and takes no lock of this test's other threads.
    let status = match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => {
            drop(tell);
            waitpid(child, None).unwrap()
        }
        // SAFETY: the calls' arguments are chosen to fail or to do no harm.
        ForkResult::Child => unsafe {
            violation::report_to(tell.as_raw_fd(), [0; 2]);
            if seccomp::confine(role).is_err() {
                libc::_exit(1);
            }
            let [a, b, c, d, e, f] = args;
            libc::syscall(number, a, b, c, d, e, f);
            libc::_exit(0)
        },
    };
    let mut sentence = String::new();
    told.read_to_string(&mut sentence).unwrap();
    match status {
        WaitStatus::Exited(_, 0) if sentence.is_empty() => false,
        WaitStatus::Exited(_, violation::EXIT_STATUS) => {
            let expected = format!("the {} made system call {number},", role.name);
            assert!(sentence.contains(&expected), "{sentence}");
            true
        }
        other => panic!("{}: {other:?} {sentence}", role.name),
    }
}

#[test]
fn forbidden_calls_are_refused() {
    let everywhere = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_open,
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_open_tree,
        libc::SYS_open_by_handle_at,
        libc::SYS_chroot,
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_io_uring_setup,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_rt_sigaction,
        libc::SYS_setuid,
        libc::SYS_capset,
        libc::SYS_pidfd_getfd,
    ];
    let null = [0; 6];
    for role in ROLES {
        for number in everywhere {
            assert!(
                refused(role, number, null),
                "{} may call {number}",
                role.name
            );
        }
        assert!(
            refused(role, libc::SYS_mmap, [0, 4096, 7, 0x22, u64::MAX, 0]),
            "{} may map code",
            role.name
        );
        assert!(
            !refused(role, libc::SYS_mmap, [0, 4096, 3, 0x22, u64::MAX, 0]),
            "{} may not map data",
            role.name
        );
        assert!(
            !refused(role, libc::SYS_clone3, null),
            "clone3 must be ENOSYS, not death"
        );
    }
    for number in [
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_socketpair,
    ] {
        assert!(
            refused(&SENTRY, number, null),
            "the sentry may call {number}"
        );
    }
    assert!(
        refused(
            &SENTRY,
            libc::SYS_clone,
            [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]
        ),
        "the sentry may fork"
    );
    assert!(
        refused(&gofer::ROLE, libc::SYS_clone, null),
        "the gofer may make threads"
    );
    assert!(
        refused(&gofer::ROLE, libc::SYS_ptrace, null),
        "the gofer may trace"
    );
}

#[test]
fn lists_are_short_and_each_rule_has_its_reason() {
    let most = [40, 46, 70, 74];
    for (role, most) in ROLES.iter().zip(most) {
        let rules = role.rules();
        let numbers: BTreeSet<i64> = rules.iter().map(|r| r.number).collect();
        println!(
            "{}: {} system calls allowed, {} rules",
            role.name,
            numbers.len(),
            rules.len()
        );
        assert!(
            numbers.len() <= most,
            "{}: {} system calls",
            role.name,
            numbers.len()
        );
        for rule in &rules {
            assert!(
                !rule.reason.is_empty(),
                "{}: {} has no reason",
                role.name,
                rule.number
            );
            let same = rules.iter().filter(|r| r.number == rule.number);
            assert!(
                rule.when.is_empty() == (same.clone().count() == 1 && rule.when.is_empty()),
                "{}: a bare rule for {} makes its others idle",
                role.name,
                rule.number
            );
        }
    }
}
