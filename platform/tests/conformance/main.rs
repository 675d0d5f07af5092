//! Conformance of the backends: every numbered duty of the platform's contract, as tests against the trait.
//!
//! Each case runs in a process of its own, with a time limit, for every backend and under two identities: as root, and as an
//! ordinary user in a user namespace. After the launch the process gives up its capabilities and becomes
//! non-dumpable, as the sentry does. `cargo test --test conformance -- [FILTER…]`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // tests
#![allow(unsafe_code)] // machine code for guests, identities for child processes

mod cases;
mod guest;
mod identity;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use cofferdam_platform::{NotifyPlatform, Platform, PtracePlatform};
use identity::Identity;

const BACKENDS: &[&str] = &["ptrace", "notify", "inline"];
const LIMIT: Duration = Duration::from_secs(60);

fn launch(backend: &str) -> Box<dyn Platform> {
    match backend {
        "ptrace" => Box::new(PtracePlatform::launch().unwrap()),
        "notify" => Box::new(NotifyPlatform::launch().unwrap()),
        "inline" => Box::new(NotifyPlatform::launch_inline().unwrap()),
        other => panic!("no backend {other}"),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, backend, case] = &args[..]
        && flag == "--case"
    {
        let (_, run) = cases::ALL.iter().find(|(name, _)| name == case).unwrap();
        let platform = launch(backend);
        identity::lock_down();
        run(platform);
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let mut failed = Vec::new();
    let mut passed = 0;
    for identity in [Identity::Root, Identity::User] {
        for backend in BACKENDS {
            for (name, _) in cases::ALL {
                let full = format!("{backend}::{identity}::{name}");
                if !filters.is_empty() && !filters.iter().any(|f| full.contains(*f)) {
                    continue;
                }
                if args.iter().any(|a| a == "--list") {
                    println!("{full}: test");
                    continue;
                }
                if let Some(reason) = identity.unavailable() {
                    println!("test {full} ... skipped: {reason}");
                    continue;
                }
                let start = Instant::now();
                let result = match *name {
                    "sentry_killed" => kill_sentry(identity, backend, name),
                    _ => run_case(identity, backend, name),
                };
                match result {
                    Ok(()) => {
                        passed += 1;
                        println!("test {full} ... ok ({} ms)", start.elapsed().as_millis());
                    }
                    Err(why) => {
                        println!("test {full} ... FAILED\n{why}");
                        failed.push(full);
                    }
                }
            }
        }
    }
    println!(
        "\ntest result: {passed} passed; {} failed {failed:?}",
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// Kills a platform's process and looks whether its stubs go.
fn kill_sentry(identity: Identity, backend: &str, name: &str) -> Result<(), String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--case", backend, name])
        .stdout(Stdio::piped());
    identity.apply(&mut command);
    let mut child = command.spawn().map_err(|e| format!("cannot start: {e}"))?;
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    child.kill().unwrap();
    child.wait().unwrap();
    read.map_err(|e| e.to_string())?;
    let pids: Vec<&str> = line.split_whitespace().collect();
    if pids.len() < 3 {
        return Err(format!("too few stubs: {line:?}"));
    }
    let start = Instant::now();
    // A zombie is dead; how soon the host's init reaps it is not our affair.
    let lives = |pid: &&&str| {
        std::fs::read_to_string(format!("/proc/{pid}/status"))
            .is_ok_and(|status| !status.contains("State:\tZ"))
    };
    while let Some(pid) = pids.iter().find(lives) {
        if start.elapsed() > Duration::from_secs(5) {
            return Err(format!("stub {pid} lives on"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn run_case(identity: Identity, backend: &str, name: &str) -> Result<(), String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--case", backend, name])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    identity.apply(&mut command);
    let mut child = command.spawn().map_err(|e| format!("cannot start: {e}"))?;
    let mut out = child.stdout.take().unwrap();
    let mut err = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = err.read_to_end(&mut text);
        let _ = out.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = reader.join().unwrap();
    match status {
        Some(status) if status.success() => {
            print!("{text}");
            Ok(())
        }
        Some(status) => Err(format!("{text}{status}")),
        None => Err(format!("{text}no end after {LIMIT:?}")),
    }
}
