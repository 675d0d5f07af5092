//! `cofferdam bench` and `do --profile`: every operation works on every platform, and what is written is what it is said to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use common::{COFFERDAM, Outcome, Scratch, command, platforms, run};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(300);

fn cofferdam(args: &[&str]) -> Outcome {
    run(command(COFFERDAM, args), b"", LIMIT)
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Runs the benchmark with results in files; what it printed, the JSON, and the chart.
fn bench(args: &[&str]) -> (String, Value, String) {
    let scratch = Scratch::new();
    let (data, chart) = (scratch.path().join("b.json"), scratch.path().join("b.svg"));
    let mut all = vec!["bench", "--rounds", "1"];
    all.extend(["--json", data.to_str().unwrap()]);
    all.extend(["--plot", chart.to_str().unwrap()]);
    all.extend(args);
    let outcome = cofferdam(&all);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let chart = std::fs::read_to_string(chart).unwrap();
    (outcome.stdout, json(&data), chart)
}

/// Programs may be named as seen from the current directory.
#[test]
fn other_programs_are_found_from_the_current_directory() {
    let here = Path::new(COFFERDAM).parent().unwrap();
    let mut c = command(
        COFFERDAM,
        &["bench", "--rounds", "1", "--platform", "ptrace"],
    );
    c.args(["--compare", "./cofferdam", "--filter", "getppid"]);
    c.current_dir(here);
    let done = run(c, b"", LIMIT);
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert!(done.stdout.contains("cofferdam:ptrace"), "{}", done.stdout);
    assert!(
        !done.stdout.contains("cofferdam:ptrace: "),
        "{}",
        done.stdout
    );
    let missing = cofferdam(&["bench", "--compare", "./nowhere", "--filter", "getppid"]);
    assert_eq!(missing.status, 125);
    assert!(
        missing.stderr.contains("--compare ./nowhere"),
        "{}",
        missing.stderr
    );
}

#[test]
fn every_operation_is_measured_on_every_platform() {
    let (table, report, chart) = bench(&[]);
    assert_eq!(report["schema"], "cofferdam-bench/1");
    let targets = list(&report["targets"]);
    assert_eq!(targets.len(), platforms().len() + 1);
    let titles = cofferdam(&["bench", "--list"]).stdout;
    assert_eq!(list(&report["rows"]).len(), titles.lines().count());
    let mut bars = 0;
    for row in list(&report["rows"]) {
        let title = format!(
            "{}: {}",
            row["group"].as_str().unwrap(),
            row["name"].as_str().unwrap()
        );
        assert!(table.contains(&title), "{title} is not in the table");
        for (at, m) in list(&row["results"]).iter().enumerate() {
            let context = format!("{title} on {}: {}", m["target"], m["failed"]);
            assert_eq!(m["failed"], Value::Null, "{context}");
            assert!(m["median"].as_f64().unwrap() > 0.0, "{context}");
            let samples = list(&list(&m["samples"])[0]).len();
            assert!(samples >= 5, "{context}");
            if at == 0 {
                assert_eq!(m["ratio"], Value::Null, "{context}");
                assert_eq!(m["split"], Value::Null, "{context}");
            } else {
                bars += 1;
                assert!(m["ratio"].as_f64().unwrap() > 0.0, "{context}");
                let wall = m["split"]["wall"].as_f64();
                assert!(wall.is_some_and(|w| w > 0.0), "{context}: {}", m["split"]);
            }
        }
    }
    // The paper, a square for each name, and the bars.
    assert_eq!(chart.matches("<rect").count(), 1 + targets.len() - 1 + bars);
    assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"));
    for kind in ["text", "svg"] {
        let (open, close) = (format!("<{kind} "), format!("</{kind}>"));
        assert_eq!(
            chart.matches(&open).count(),
            chart.matches(&close).count(),
            "{kind}"
        );
    }
}

/// A call that the sentry has to see is seen once for each operation, and its time is accounted for.
#[test]
fn the_split_counts_the_calls_of_the_row() {
    let (_, report, _) = bench(&["--filter", "sigprocmask", "--filter", "open+close tmpfs"]);
    for (row, calls) in list(&report["rows"]).iter().zip([1.0, 2.0]) {
        for m in list(&row["results"]).iter().skip(1) {
            let part = |name: &str| m["split"][name].as_f64().unwrap();
            let seen = part("calls");
            assert!((seen - calls).abs() < 0.3, "{seen} calls, not {calls}: {m}");
            let sum: f64 = ["trap", "sentry", "gofer", "host"].map(part).iter().sum();
            let wall = part("wall");
            assert!((0.99..1.5).contains(&(sum / wall)), "{sum} of {wall}: {m}");
            assert!(part("sentry") > 0.0, "{m}");
        }
    }
}

/// What the stub answers where calls are rewritten is not seen by the sentry. On a busy machine a row may be over before the calls are rewritten, or
/// have come often enough: it has another chance.
#[test]
fn what_the_stub_answers_is_not_seen() {
    let mut left = vec![
        "getppid",
        "fstat",
        "lseek",
        "pread tmpfs",
        "pwrite tmpfs",
        "stat tmpfs",
        "ENOENT",
        "access",
        "pipe write+read",
    ];
    let mut seen = Vec::new();
    for _ in 0..20 {
        let filters: Vec<&str> = left.iter().flat_map(|row| ["--filter", row]).collect();
        let (_, report, _) = bench(&filters);
        seen.clear();
        for row in list(&report["rows"]) {
            let inline = |m: &&Value| m["target"] == "inline";
            let Some(m) = list(&row["results"]).iter().find(inline) else {
                println!("skipped: inline does not work here");
                return;
            };
            let calls = m["split"]["calls"].as_f64().unwrap();
            if calls >= 0.1 {
                seen.push(format!("{}: {calls} calls", row["name"]));
            }
        }
        left.retain(|row| seen.iter().any(|s| s.contains(row)));
        if left.is_empty() {
            return;
        }
    }
    panic!("{seen:?}");
}

#[test]
fn whole_commands_are_measured_from_nothing_and_inside() {
    let (table, report, _) = bench(&["--wrapper", "env=env,-u,HOME", "--", "true"]);
    let rows = list(&report["rows"]);
    assert_eq!(rows.len(), 2, "{table}");
    assert_eq!(rows[0]["group"], "from nothing");
    for row in rows {
        let results = list(&row["results"]);
        assert_eq!(results.len(), platforms().len() + 2);
        assert_eq!(results.last().unwrap()["target"], "env");
        for m in results {
            assert!(m["median"].as_f64().unwrap() > 1000.0, "{m}");
        }
    }
}

#[test]
fn mistakes_are_one_sentence() {
    for (args, words) in [
        (&["--rounds", "0"][..], &["--rounds"][..]),
        (&["--filter", "juggling"], &["'juggling'", "--list"]),
        (&["--platform", "kvm"], &["'kvm'", "ptrace"]),
        (
            &["--platform", "ptrace", "--platform", "ptrace"],
            &["ptrace", "twice"],
        ),
        (&["--runtime", "runc"], &["--runtime", "NAME=PATH"]),
        (&["--wrapper", "=bwrap"], &["--wrapper", "NAME=PATH"]),
        (
            &["--runtime", "x=/nonexistent"],
            &["--runtime x", "/nonexistent"],
        ),
        (
            &["--wrapper", "x=not-a-program"],
            &["--wrapper x", "not-a-program", "PATH"],
        ),
        (&["--compare", "/nonexistent"], &["/nonexistent"]),
        (&["--json", "/nonexistent/x"], &["--json /nonexistent/x"]),
        (&["--plot", "/nonexistent/x"], &["--plot /nonexistent/x"]),
        (&["--filter", "x", "--", "true"], &["--filter"]),
        (&["--", "false"], &["natively", "failed"]),
        (&["--", "/nonexistent"], &["/nonexistent"]),
    ] {
        let all: Vec<&str> = std::iter::once("bench")
            .chain(args.iter().copied())
            .collect();
        let Outcome {
            status,
            stdout,
            stderr,
        } = cofferdam(&all);
        assert_eq!((status, stdout.as_str()), (125, ""), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "no '{word}' in: {stderr}");
        }
    }
}

/// What fails on one target only is told there, and the others are measured.
#[test]
fn a_target_that_fails_does_not_spoil_the_others() {
    let (table, report, _) = bench(&[
        "--platform",
        &platforms()[0],
        "--wrapper",
        "broken=false",
        "--filter",
        "getppid",
    ]);
    let results = list(&report["rows"][0]["results"]);
    assert!(results[1]["ratio"].as_f64().is_some(), "{table}");
    assert_eq!(results[2]["median"], Value::Null, "{table}");
    assert!(
        results[2]["failed"]
            .as_str()
            .unwrap()
            .contains("exit status")
    );
    assert!(table.contains("on broken: "), "{table}");
}

#[test]
fn a_profile_counts_calls_errors_and_time() {
    let scratch = Scratch::new();
    let file = scratch.path().join("profile.json");
    let option = format!("--profile={}", file.display());
    for platform in platforms() {
        let script = "echo one; echo two; cat /missing; exit 7";
        let args = [
            "do",
            "--platform",
            platform,
            &option,
            "--",
            "sh",
            "-c",
            script,
        ];
        let outcome = cofferdam(&args);
        assert_eq!(outcome.status, 7, "{}", outcome.stderr);
        let profile = json(&file);
        assert_eq!(profile["schema"], "cofferdam-profile/1");
        let call = |name: &str| {
            let mut calls = list(&profile["calls"]).iter();
            calls.find(|c| c["name"] == name).unwrap()
        };
        let number = |v: &Value| v.as_u64().unwrap();
        assert!(number(&call("write")["count"]) >= 2, "{profile}");
        assert!(number(&call("openat")["errors"]) >= 1, "{profile}");
        assert_eq!(number(&call("execve")["count"]), 1, "{profile}");
        let whole = &profile["whole"];
        let calls = list(&profile["calls"]).iter().map(|c| number(&c["count"]));
        assert_eq!(calls.sum::<u64>(), number(&whole["calls"]), "{profile}");
        let busy = list(&profile["calls"]).iter().map(|c| number(&c["busy"]));
        assert!(busy.sum::<u64>() > 0, "{profile}");
        assert!(
            number(&whole["sentry"]) < number(&whole["wall"]),
            "{profile}"
        );
        assert!(number(&whole["gofer_trips"]) > 0, "{profile}");
    }
}

/// A call that stubs do not answer does not make others of the same pipe come to the sentry.
#[test]
fn a_pipe_that_is_lent_stays_so_after_readv() {
    let scratch = Scratch::new();
    let file = scratch.path().join("profile.json");
    let option = format!("--profile={}", file.display());
    let program = "import os
r, w = os.pipe()
for i in range(32000):
    os.write(w, b'x')
    if i % 16 != 15: os.read(r, 1)
    else: os.readv(r, [bytearray(1)])";
    let args = ["do", "--platform", "inline", &option, "--", "python3", "-c"];
    let outcome = cofferdam(&[&args[..], &[program]].concat());
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    let profile = json(&file);
    let count = |name: &str| {
        let mut calls = list(&profile["calls"]).iter();
        let call = calls.find(|c| c["name"] == name).unwrap();
        call["count"].as_u64().unwrap()
    };
    assert_eq!(count("readv"), 2000);
    assert!(count("write") < count("readv"), "{profile}");
}

#[test]
fn a_profile_on_standard_error_is_a_table() {
    let outcome = cofferdam(&["do", "--profile", "--strace=/dev/null", "--", "true"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, ""));
    for words in ["system call", "exit_group", "wall time", "gofer"] {
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
}
