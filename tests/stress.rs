//! Everything at once: `tests/stress/stress.c` forks, executes fresh copies of itself (which are rewritten while their threads call), starts threads, locks,
//! signals, stops, kills, maps and writes code, and checks every result. Natively first, then inside on every platform.
//!
//! A few seconds for each are part of `cargo test`; `COFFERDAM_STRESS_SECONDS=600 cargo test --test stress -- inline` takes ten minutes.
//! `COFFERDAM_STRESS_SEED=N` starts elsewhere (a failure prints its seed).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use common::{COFFERDAM, Scratch, build_dir, command, repository, run};
use std::path::PathBuf;
use std::time::Duration;

/// How long the last round may take once its time is over.
const SLACK: u64 = 120;

fn build() -> PathBuf {
    static ONCE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _once = ONCE.lock().unwrap_or_else(|e| e.into_inner());
    let program = build_dir().join("stress");
    let new = build_dir().join(format!("stress.{}.new", std::process::id()));
    let mut gcc = command("gcc", &["-std=gnu11", "-O1", "-g", "-pthread", "-Wall"]);
    gcc.args(["-Wextra", "-Werror", "-o"])
        .arg(&new)
        .arg(repository().join("tests/stress/stress.c"))
        .arg("-ldl");
    let built = run(gcc, b"", Duration::from_secs(120));
    assert_eq!(built.status, 0, "{}", built.stderr);
    std::fs::rename(&new, &program).unwrap();
    program
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|v| v.parse().unwrap())
}

fn seed() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    number("COFFERDAM_STRESS_SEED").unwrap_or(u64::from(since.subsec_micros()))
}

/// One after the other: each wants all processors.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

fn stress(platform: Option<&str>, seconds: u64) {
    let _alone = alone();
    let program = build();
    let seed = seed();
    let scratch = Scratch::new();
    let log = scratch.path().join("log");
    let mut c = match platform {
        None => command(program.to_str().unwrap(), &[]),
        Some(platform) => {
            let mut c = command(COFFERDAM, &["do", "--platform", platform, "--bind"]);
            c.arg(&program)
                .arg("--log")
                .arg(&log)
                .arg("--")
                .arg(&program);
            c
        }
    };
    c.args([seconds.to_string(), seed.to_string()])
        .current_dir("/");
    let done = run(c, b"", Duration::from_secs(seconds + SLACK));
    let told = std::fs::read_to_string(&log).unwrap_or_default();
    let last: Vec<&str> = told.lines().rev().take(12).collect();
    assert!(
        done.status == 0 && done.stdout == "all right\n",
        "seed {seed}, status {}:\n{}{}\n{}",
        done.status,
        done.stdout,
        done.stderr,
        last.join("\n")
    );
}

fn inside(platform: &str) {
    if !common::platforms().iter().any(|p| p == platform) {
        return println!("skip: {platform} is not there");
    }
    stress(
        Some(platform),
        number("COFFERDAM_STRESS_SECONDS").unwrap_or(4),
    );
}

#[test]
fn natively() {
    stress(None, 2);
}

#[test]
fn ptrace() {
    inside("ptrace");
}

#[test]
fn notify() {
    inside("notify");
}

#[test]
fn inline() {
    inside("inline");
}
