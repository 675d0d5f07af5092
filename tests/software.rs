//! Real programs: scripts of `tests/software/`, run by bash natively first and then inside on every platform. Both
//! must print the same and end the same.
//!
//! A new test is a new file. Those in `tests/software/long/` take many minutes and run only if COFFERDAM_LONG is set. Directives (`#@ key=value`): `needs` (programs; a test whose programs are missing is
//! skipped, or fails if COFFERDAM_REQUIRE_ALL is set), `timeout=SECONDS`, `options` (of `cofferdam do`), `prepare` (a shell command that is run
//! outside before, with the scripts' directory as $SOFTWARE), `compare=ok-lines` (lines that end in ` ok` natively must be
//! there inside; others may differ).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use common::directives::Directives;
use common::{COFFERDAM, Outcome, Scratch, command, compare, platforms, repository, run};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Servers with timeouts inside: one at a time tells about the sandbox, not about the machine's load.
    arguments.test_threads.get_or_insert(1);
    let require_all = std::env::var_os("COFFERDAM_REQUIRE_ALL").is_some();
    let dir = repository().join("tests/software");
    let mut scripts: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    if std::env::var_os("COFFERDAM_LONG").is_some() {
        let long = std::fs::read_dir(repository().join("tests/software/long")).unwrap();
        scripts.extend(long.map(|e| e.unwrap().path()));
    }
    scripts.retain(|p| p.extension().is_some_and(|e| e == "sh"));
    scripts.sort();
    let mut trials = Vec::new();
    for script in scripts {
        let missing = Directives::of(&script).missing();
        for platform in platforms() {
            let name = format!(
                "{}::{platform}",
                script.file_stem().unwrap().to_string_lossy()
            );
            if !missing.is_empty() {
                eprintln!("skip: {name}: not installed: {}", missing.join(" "));
            }
            let script = script.clone();
            let test = move || differential(&script, platform);
            trials.push(
                Trial::test(name, test).with_ignored_flag(!missing.is_empty() && !require_all),
            );
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn differential(script: &Path, platform: &str) -> Result<(), Failed> {
    let directives = Directives::of(script);
    let missing = directives.missing();
    if !missing.is_empty() {
        return Err(format!("not installed: {}", missing.join(" ")).into());
    }
    let environment = [
        ("LC_ALL", "C"),
        ("HOME", "/tmp"),
        ("TZ", "UTC"),
        ("PATH", PATH),
    ];

    let scratch = prepared(script, &directives)?;
    let mut native = command("/bin/bash", &["script"]);
    native
        .current_dir(scratch.path())
        .env_clear()
        .envs(environment);
    let native = run(native, b"", directives.timeout());

    let scratch = prepared(script, &directives)?;
    let mut inside = command(COFFERDAM, &["do", "--platform", platform]);
    inside
        .args(directives.words("options"))
        .args(["--", "/bin/bash", "script"]);
    inside
        .current_dir(scratch.path())
        .env_clear()
        .envs(environment);
    let inside = run(inside, b"", directives.timeout());

    if directives.get("compare") == Some("ok-lines") {
        return compare_verdicts(script, &native, &inside);
    }
    compare(&script.display().to_string(), &native, &inside)?;
    if native.status != 0 || native.stdout.is_empty() {
        return Err(format!("the script does not even work natively: {native:?}").into());
    }
    Ok(())
}

/// For test suites: what passes natively must pass inside.
fn compare_verdicts(script: &Path, native: &Outcome, inside: &Outcome) -> Result<(), Failed> {
    let ok = |o: &Outcome| -> BTreeSet<String> {
        o.stdout
            .lines()
            .filter(|l| l.ends_with(" ok"))
            .map(str::to_owned)
            .collect()
    };
    let (native, passed) = (ok(native), ok(inside));
    let lost: Vec<&String> = native.difference(&passed).collect();
    println!(
        "{}: {} of {} pass inside",
        script.display(),
        native.len() - lost.len(),
        native.len()
    );
    if native.is_empty() {
        return Err("nothing passes natively".into());
    }
    if lost.is_empty() {
        return Ok(());
    }
    let lost: Vec<&str> = lost.into_iter().map(String::as_str).collect();
    Err(format!(
        "pass natively but not inside:\n{}\n--- stderr inside\n{}",
        lost.join("\n"),
        inside.stderr
    )
    .into())
}

/// A directory with the script and what its `prepare` command makes.
fn prepared(script: &Path, directives: &Directives) -> Result<Scratch, Failed> {
    let scratch = Scratch::new();
    std::fs::copy(script, scratch.path().join("script"))?;
    if let Some(prepare) = directives.get("prepare") {
        let mut shell = command("/bin/sh", &["-ec", prepare]);
        shell
            .current_dir(scratch.path())
            .env("SOFTWARE", repository().join("tests/software"));
        let done = run(shell, b"", directives.timeout());
        if done.status != 0 {
            return Err(format!("'{prepare}' failed:\n{}{}", done.stdout, done.stderr).into());
        }
    }
    Ok(scratch)
}

/// The distribution's programs, not those of whoever runs the tests.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
