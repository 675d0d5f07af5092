//! Duty 7 and the host's side: what stubs hold, what signals from outside do, and that nothing is left.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cofferdam_platform::{Error, Event, Platform, Registers, SENTRY_SYSCALLS, Token, Trap};

use super::tasks::eventually;
use crate::code;
use crate::guest::*;

/// All processes below this one, by host id.
pub fn descendants() -> Vec<i32> {
    let parents: BTreeMap<i32, i32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, field(pid, "PPid")?.parse().ok()?)))
        .collect();
    let own = std::process::id() as i32;
    let below = |mut pid| {
        for _ in 0..100 {
            match parents.get(&pid) {
                Some(parent) if *parent == own => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().copied().filter(|pid| below(*pid)).collect()
}

fn field(pid: i32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(
        text.lines()
            .find_map(|l| l.strip_prefix(&format!("{name}:")))?
            .trim()
            .to_owned(),
    )
}

/// Those of them that are not dead; the dead may wait for a while to be reaped.
pub fn living() -> usize {
    let state = |pid: &i32| field(*pid, "State").unwrap_or_default();
    descendants()
        .iter()
        .filter(|pid| !state(pid).is_empty() && !state(pid).starts_with('Z'))
        .count()
}

/// Those that wait to be reaped.
pub fn dead() -> usize {
    descendants().len().saturating_sub(living())
}

/// The zygote: the one whose parent is this process.
fn zygote() -> i32 {
    let own = std::process::id().to_string();
    descendants()
        .into_iter()
        .find(|pid| field(*pid, "PPid").as_ref() == Some(&own))
        .unwrap()
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: no memory involved.
    unsafe { libc::kill(pid, signal) };
}

/// As [`signal`]; whoever stops an untraced stub must let it go on.
fn stray_signal(p: &dyn Platform, pid: i32, number: i32) {
    signal(pid, number);
    if number == libc::SIGSTOP && p.name() != "ptrace" {
        signal(pid, libc::SIGCONT);
    }
}

pub fn stubs_have_nothing(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("syscall"));
    let (_, _child) = g.thread.fork(Token(2)).unwrap();
    let pids = descendants();
    assert!(pids.len() >= 3, "{pids:?}");
    for pid in pids {
        let get = |name| field(pid, name).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(get(set), "0000000000000000", "{set}");
        }
        assert_eq!(
            (get("NoNewPrivs"), get("Seccomp"), get("Seccomp_filters")),
            ("1".into(), "2".into(), "1".into())
        );
        let tracer = if p.name() == "ptrace" {
            std::process::id()
        } else {
            0
        };
        assert_eq!(get("TracerPid"), tracer.to_string());
        // The sentry's capabilities are gone, but its user id still lets it look at a dumpable stub.
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        for line in maps.lines() {
            let counters = line.contains("memfd:epochs") && line.contains(" r--s ");
            let known = counters
                || line.contains("[v")
                || line.contains("memfd:mailbox")
                || !line.contains('/');
            assert!(known, "{line}");
        }
        assert!(
            !maps.contains(".so") && !maps.contains("[stack]") && !maps.contains("[heap]"),
            "{maps}"
        );
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count();
        assert_eq!(fds, 0);
        let own = |ns: &str| std::fs::read_link(format!("/proc/self/ns/{ns}")).ok();
        let its = |ns: &str| std::fs::read_link(format!("/proc/{pid}/ns/{ns}")).ok();
        for ns in ["pid", "mnt", "net", "ipc", "uts"] {
            assert_ne!(own(ns), its(ns), "{ns}");
        }
        assert_eq!(own("user"), its("user"));
        assert_eq!(
            std::fs::read_dir(format!("/proc/{pid}/root"))
                .unwrap()
                .count(),
            0
        );
    }
}

/// Signals from outside reach nobody.
pub fn stray_signals(p: Box<dyn Platform>) {
    let g = load(
        &*p,
        1,
        code!("inc qword ptr [rdi]", "mov eax, 39", "syscall", "jmp 2b"),
    );
    let pids = descendants();
    let mut regs = Registers {
        rdi: DATA,
        ..start()
    };
    let mut calls = 0;
    for round in 0..20 {
        for number in (1..=64).filter(|n| *n != libc::SIGKILL) {
            for pid in &pids {
                stray_signal(&*p, *pid, number);
            }
            loop {
                let (trap, at) = g.run(&*p, &regs);
                regs = at;
                if trap == Trap::Syscall {
                    break;
                }
                assert_eq!(trap, Trap::Interrupted, "signal {number}");
            }
            calls += 1;
            if (number + round) % 7 == 0 {
                let (space, _thread) = g.thread.fork(Token(2)).unwrap();
                assert_eq!(word(&*space, DATA), calls);
                let fresh = load(&*p, 3, code!("syscall"));
                assert_eq!(fresh.run(&*p, &start()).0, Trap::Syscall);
            }
        }
    }
    assert_eq!(g.word(DATA), calls);
    // While it runs.
    assert_eq!(g.space.write(CODE, code!("jmp 2b")), 2);
    g.thread.resume(&start()).unwrap();
    for number in [
        libc::SIGSTOP,
        libc::SIGCONT,
        libc::SIGTSTP,
        libc::SIGSEGV,
        libc::SIGTRAP,
        libc::SIGTERM,
    ] {
        for pid in &pids {
            stray_signal(&*p, *pid, number);
        }
        p.wake();
        assert_eq!(p.next_event().unwrap(), Event::Woken);
    }
    g.thread.interrupt();
    assert_eq!(next(&*p, Token(1)), Trap::Interrupted);
}

/// Duty 8.
pub fn killed_from_outside(p: Box<dyn Platform>) {
    let before = descendants();
    let g = load(&*p, 1, code!("jmp 2b"));
    let survivor = load(&*p, 2, code!("syscall"));
    g.thread.resume(&start()).unwrap();
    // All others are idle, so it is the one that used the processor.
    let busy = || {
        descendants()
            .into_iter()
            .filter(|pid| field(*pid, "State").unwrap_or_default().starts_with('R'))
            .collect::<Vec<_>>()
    };
    let started = Instant::now();
    let pid = loop {
        if let [pid] = busy()[..] {
            break pid;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{before:?}");
    };
    signal(pid, libc::SIGKILL);
    assert_eq!(next(&*p, Token(1)), Trap::Gone);
    assert!(matches!(g.thread.resume(&start()), Err(Error::Gone)));
    assert_eq!(survivor.run(&*p, &start()).0, Trap::Syscall);
}

pub fn zygote_killed(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("jmp 2b"));
    g.thread.resume(&start()).unwrap();
    signal(zygote(), libc::SIGKILL);
    assert_eq!(next(&*p, Token(1)), Trap::Gone);
    eventually_error(&*p);
    drop(g);
    drop(p);
    assert_eq!(descendants(), []);
}

fn eventually_error(p: &dyn Platform) {
    let start = Instant::now();
    let mut kept = Vec::new();
    loop {
        assert!(start.elapsed() < Duration::from_secs(5));
        match p.new_process(Token(9)) {
            Ok(made) => kept.push(made), // from the pool, dying
            Err(Error::Host(why)) => break assert!(why.contains("zygote"), "{why}"),
            Err(e) => panic!("{e}"),
        }
    }
}

pub fn drop_leaves_nothing(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("jmp 2b"));
    let threads: Vec<_> = (2..6).map(|i| g.thread.spawn(Token(i)).unwrap()).collect();
    let forks: Vec<_> = (6..9).map(|i| g.thread.fork(Token(i)).unwrap()).collect();
    for thread in threads.iter().chain([&g.thread]) {
        thread.resume(&start()).unwrap();
    }
    assert!(descendants().len() >= 5);
    drop(p);
    assert_eq!(descendants(), []);
    // Handles that outlive it are dead.
    assert!(matches!(g.thread.resume(&start()), Err(Error::Gone)));
    assert_eq!(g.space.read(CODE, &mut [0]), 0);
    g.space.kill();
    threads[0].interrupt();
    drop((g, threads, forks));
}

/// The death of the sentry ends every stub: says which there are and waits to be killed by the harness, which then looks.
pub fn sentry_killed(p: Box<dyn Platform>) {
    let g = load(&*p, 1, code!("jmp 2b"));
    let (_, _child) = g.thread.fork(Token(2)).unwrap();
    g.thread.resume(&start()).unwrap();
    let pids: Vec<String> = descendants().iter().map(i32::to_string).collect();
    println!("{}", pids.join(" "));
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The list that the jail is made from, plus what this test itself needs.
pub fn listed_syscalls_suffice(p: Box<dyn Platform>) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let own = [
        libc::SYS_write,
        libc::SYS_exit_group,
        libc::SYS_rt_sigaction,
        libc::SYS_exit,
        libc::SYS_brk,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_mprotect,
        libc::SYS_sigaltstack,
        libc::SYS_sched_yield,
        libc::SYS_clock_nanosleep,
        libc::SYS_clone3,
        libc::SYS_rseq,
        libc::SYS_set_robust_list,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sched_getaffinity,
        libc::SYS_getrandom,
    ];
    let listed = match p.name() {
        "ptrace" => SENTRY_SYSCALLS,
        _ => cofferdam_platform::backend::notify::SENTRY_SYSCALLS,
    };
    let rules = listed
        .iter()
        .map(|(n, _)| *n)
        .chain(own)
        .map(|n| (n, vec![]))
        .collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        arch,
    )
    .unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();

    let g = load(&*p, 1, code!("inc qword ptr [rdi]", "syscall", "jmp 2b"));
    let file = g.thread.fpstate().unwrap();
    g.thread.set_fpstate(&file).unwrap();
    for _ in 0..20 {
        let (trap, _) = g.run(
            &*p,
            &Registers {
                rdi: DATA,
                ..start()
            },
        );
        assert_eq!(trap, Trap::Syscall);
        let (space, child) = g.thread.fork(Token(2)).unwrap();
        let thread = g.thread.spawn(Token(3)).unwrap();
        assert_eq!(g.thread.compare_exchange(DATA + 64, 0, 0).unwrap(), Some(0));
        let _ = (g.thread.cpu_time(), g.space.cpu_time(), g.space.host_pid());
        assert_eq!(word(&*space, DATA), g.word(DATA));
        drop((child, thread));
        let fresh = load(&*p, 4, code!("syscall"));
        fresh.space.kill();
        std::thread::scope(|s| {
            s.spawn(|| p.wake());
            assert_eq!(p.next_event().unwrap(), Event::Woken);
        });
    }
    eventually(&*p, || true);
    drop(p);
}
