//! Hostile guests (`tests/hostile/`): whatever they do, the sentry neither dies nor hangs nor grows.
//!
//! A short run on every platform is part of `cargo test`. `COFFERDAM_FUZZ_SECONDS=3600 cargo test --test hostile` takes an hour
//! for each platform, `COFFERDAM_FUZZ_SEED=N` starts elsewhere (a failure prints its seed).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use common::{COFFERDAM, Scratch, build_dir, command, platforms, repository, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The watching process inside says that it is alive ten times a second; this long it may be silent. Generous, as the machine may
/// be busy with other tests.
const SILENCE: Duration = Duration::from_secs(15);
/// How much memory of its own the sentry may have gained once everything that attacked it is dead.
const GROWTH_KIB: u64 = 24 << 10;

fn build(name: &str) -> PathBuf {
    let dir = build_dir().join("hostile");
    std::fs::create_dir_all(&dir).unwrap();
    let program = dir.join(name);
    let new = dir.join(format!("{name}.{}.new", std::process::id()));
    let source = repository().join("tests/hostile").join(format!("{name}.c"));
    let mut gcc = command(
        "gcc",
        &["-std=gnu11", "-O1", "-g", "-static", "-Wall", "-Wextra"],
    );
    gcc.args(["-Werror", "-Wno-unused-parameter", "-o"])
        .arg(&new)
        .arg(&source);
    let built = run(gcc, b"", Duration::from_secs(120));
    assert_eq!(built.status, 0, "{}", built.stderr);
    std::fs::rename(&new, &program).unwrap();
    program
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().unwrap())
}

/// The sentry: the second child of the monitor.
fn sentry(monitor: &Child) -> Option<i32> {
    let pid = monitor.id();
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let mut pids: Vec<i32> = text
        .split_whitespace()
        .map(|p| p.parse().unwrap())
        .collect();
    pids.sort_unstable();
    pids.get(1).copied()
}

/// Memory of its own (RssAnon), in KiB.
fn own_memory(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|l| l.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs a guest that reports, and hands each line of its output to `line`. Ends with the exit status.
fn watch(
    platform: &str,
    program: &Path,
    args: &[&str],
    mut line: impl FnMut(&str, Option<i32>),
) -> Result<(), String> {
    let scratch = Scratch::new();
    let log = scratch.path().join("log");
    let mut c = command(
        COFFERDAM,
        &["do", "--platform", platform, "--user", "0", "--bind"],
    );
    c.arg(program)
        .arg("--log")
        .arg(&log)
        .arg("--")
        .arg(program)
        .args(args);
    c.current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = c.spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for l in out.split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&l).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut hung = false;
    let mut sentry_pid = None;
    loop {
        match receive.recv_timeout(SILENCE) {
            Ok(l) => {
                sentry_pid = sentry_pid.or_else(|| sentry(&child));
                line(&l, sentry_pid);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                hung = true;
                let _ = kill(
                    Pid::from_raw(i32::try_from(child.id()).unwrap()),
                    Signal::SIGKILL,
                );
                break;
            }
        }
    }
    let ended = child.wait_with_output().unwrap();
    let log = std::fs::read_to_string(&log).unwrap_or_default();
    let last: Vec<&str> = log.lines().rev().take(12).collect();
    let told = format!(
        "{}\n{}",
        String::from_utf8_lossy(&ended.stderr),
        last.join("\n")
    );
    if hung {
        Err(format!("no process answered for {SILENCE:?}: {told}"))
    } else if !ended.status.success() {
        Err(format!("{}: {told}", ended.status))
    } else {
        Ok(())
    }
}

/// Each test measures how long others get no answer: one after the other.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[test]
fn attacks_hurt_nobody_else() {
    let _alone = alone();
    let program = build("hostile");
    let seed = number("COFFERDAM_FUZZ_SEED", 1);
    let seconds = number("COFFERDAM_FUZZ_SECONDS", 10);
    let mut complaints = Vec::new();
    for platform in platforms() {
        let what = format!("{platform}, COFFERDAM_FUZZ_SEED={seed}");
        let begin = Instant::now();
        let (mut last, mut slowest) = (Instant::now(), Duration::ZERO);
        let (mut rounds, mut deaths, mut memory, mut done) = (0, String::new(), vec![], false);
        let (seed, seconds) = (seed.to_string(), seconds.to_string());
        let outcome = watch(platform, &program, &[&seed, &seconds], |line, sentry| {
            if line.starts_with("tick") {
                slowest = slowest.max(last.elapsed());
                last = Instant::now();
            } else if let Some(rest) = line.strip_prefix("end of round ") {
                rounds += 1;
                deaths = rest.to_owned();
                memory.extend(sentry.and_then(own_memory));
            } else if line == "done" {
                done = true;
            } else if line.starts_with("stuck") {
                complaints.push(format!("{what}: {line}"));
            }
        });
        eprintln!(
            "{what}: {rounds} rounds in {:?} ({deaths}), longest silence {slowest:?}, sentry's memory {:?} to {:?} KiB",
            begin.elapsed(),
            memory.first(),
            memory.last()
        );
        if let Err(why) = outcome {
            complaints.push(format!("{what}, round {rounds}: {why}"));
            continue;
        }
        assert!(
            done && rounds > 1,
            "{what}: the guest did not end by itself"
        );
        // Early rounds warm allocator and caches up.
        let early = memory.iter().take(memory.len().div_ceil(3)).max();
        if let (Some(early), Some(last)) = (early, memory.last())
            && *last > early + GROWTH_KIB
        {
            complaints.push(format!("{what}: the sentry grew: {memory:?} KiB"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What the guest can have of each kind of object ends somewhere, with an error that Linux knows, and the sentry stays
/// small.
#[test]
fn hoarders_meet_limits() {
    let _alone = alone();
    const MOST_KIB: u64 = 600 << 10;
    let program = build("hoard");
    let mut complaints = Vec::new();
    // The limits are the sentry's, whatever the platform: the quickest will do.
    let platform = platforms().last().unwrap();
    let mut most = Vec::new();
    let outcome = watch(platform, &program, &[], |line, sentry| {
        if line.starts_with("tick") {
            return;
        }
        let memory = sentry.and_then(own_memory).unwrap_or(0);
        most.push(format!("{line} [sentry {} MiB]", memory >> 10));
        if line.contains("endless") || line.contains("failed") {
            complaints.push(line.to_owned());
        }
        if memory > MOST_KIB {
            complaints.push(format!("{line}: the sentry has {} MiB", memory >> 10));
        }
    });
    eprintln!("{}", most.join("\n"));
    outcome.unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(most.last().map(|l| l.starts_with("done")), Some(true));
}

/// What a process had made the sentry hold goes back to the host when it has ended.
#[test]
fn memory_of_the_ended_goes_back() {
    let _alone = alone();
    let program = build("heap");
    let platform = platforms().last().unwrap();
    let (mut full, mut ended) = (Vec::new(), Vec::new());
    let outcome = watch(platform, &program, &[], |line, sentry| {
        let memory = sentry.and_then(own_memory).unwrap_or(0);
        match line {
            "full" => full.push(memory),
            "ended" => ended.push(memory),
            other => assert_eq!(other, "tick"),
        }
    });
    outcome.unwrap();
    eprintln!("KiB when full {full:?}, after the end {ended:?}");
    assert_eq!((full.len(), ended.len()), (2, 2));
    for (full, ended) in full.iter().zip(&ended) {
        assert!(*full > 50 << 10 && *ended < full / 2);
    }
}

/// While a call works on what a guest has made much of, others are answered, and the sentry stays small.
#[test]
fn nobody_keeps_the_others_waiting() {
    let _alone = alone();
    const MOST_KIB: u64 = 250 << 10;
    const LONGEST: Duration = Duration::from_secs(3);
    let program = build("stall");
    let mut complaints = Vec::new();
    // The work is the sentry's, or that of the platform that is used if nobody says another one.
    let platform = platforms().first().unwrap();
    let (mut last, mut slowest, mut done) = (Instant::now(), Duration::ZERO, false);
    let outcome = watch(platform, &program, &[], |line, sentry| {
        if line == "tick" {
            slowest = slowest.max(last.elapsed());
            last = Instant::now();
            return;
        }
        let memory = sentry.and_then(own_memory).unwrap_or(0);
        let told = format!(
            "{line}: longest silence {slowest:?}, the sentry has {} MiB",
            memory >> 10
        );
        eprintln!("{told}");
        if slowest > LONGEST || memory > MOST_KIB {
            complaints.push(told);
        }
        slowest = Duration::ZERO;
        done = line == "done";
    });
    outcome.unwrap();
    assert!(done, "the guest did not end by itself");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What stubs are shown of files is no more than descriptors allow.
#[test]
fn windows_show_what_may_be_read() {
    let program = build("windows");
    for platform in platforms() {
        let mut c = command(COFFERDAM, &["do", "--platform", platform, "--bind"]);
        c.arg(&program).arg("--").arg(&program);
        let got = run(c, b"", Duration::from_secs(60));
        // Only there are windows.
        let seen = u8::from(platform == "inline");
        let want = format!(
            "reading and writing: read {seen} written {seen}\nclosed: read 0 written 0\nreading: read {seen} written 0\n\
             writing: read 0 written 0\nnobody: read 0 written 0\n"
        );
        assert_eq!(got.stdout, want, "{platform}: {}", got.stderr);
    }
}
