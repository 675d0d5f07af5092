//! What the test programs share: running commands with a time limit, natively and inside, and comparing.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // each test program uses its part

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

/// Directives at the head of a test file: lines `//@ key=value` or `#@ key=value`.
pub mod directives;

/// The program under test.
pub const COFFERDAM: &str = env!("CARGO_BIN_EXE_cofferdam");

/// How a command ended and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status; 128+n for a signal, as a shell tells it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end. Panics if that takes longer than `limit` (and kills its process group).
pub fn run(mut command: Command, stdin: &[u8], limit: Duration) -> Outcome {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
    let mut to = child.stdin.take().unwrap();
    let input = stdin.to_vec();
    // A child that does not read its input gives EPIPE.
    std::thread::spawn(move || to.write_all(&input));
    let read = |mut from: Box<dyn Read + Send>| {
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        receive
    };
    let stdout = read(Box::new(child.stdout.take().unwrap()));
    let stderr = read(Box::new(child.stderr.take().unwrap()));
    let ended = wait(&mut child, limit);
    if ended.is_none() {
        kill_group(&child);
        let _ = child.wait();
    }
    // Whoever still holds the pipes (a daemon that escaped) gets a moment.
    let grace = Duration::from_secs(5);
    let stdout = stdout
        .recv_timeout(grace)
        .unwrap_or_else(|_| "<still open>".into());
    let stderr = stderr
        .recv_timeout(grace)
        .unwrap_or_else(|_| "<still open>".into());
    match ended {
        Some(status) => Outcome {
            status,
            stdout,
            stderr,
        },
        None => panic!("{shown} did not end within {limit:?}\nstdout: {stdout}\nstderr: {stderr}"),
    }
}

/// The exit status, if the child ends in time.
pub fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let until = std::time::Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(
                status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap()),
            );
        }
        if std::time::Instant::now() > until {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn kill_group(child: &Child) {
    let group = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
}

/// Platforms that work on this machine; those that do not are printed once.
pub fn platforms() -> &'static [String] {
    static PLATFORMS: OnceLock<Vec<String>> = OnceLock::new();
    PLATFORMS.get_or_init(|| {
        let listed = run(
            command(COFFERDAM, &["platforms"]),
            b"",
            Duration::from_secs(10),
        );
        assert_eq!(
            listed.status, 0,
            "no platform works here: {}",
            listed.stdout
        );
        let (works, rest): (Vec<_>, Vec<_>) = listed
            .stdout
            .lines()
            .partition(|l| l.contains("works here"));
        for line in rest {
            eprintln!("skip: platform {line}");
        }
        works
            .iter()
            .map(|l| l.split_whitespace().next().unwrap().to_owned())
            .collect()
    })
}

/// A command with arguments.
pub fn command(program: impl AsRef<Path>, args: &[&str]) -> Command {
    let mut c = Command::new(program.as_ref());
    c.args(args);
    c
}

/// A directory of its own, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cofferdam-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path.canonicalize().unwrap())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where built guest programs and the like go.
pub fn build_dir() -> PathBuf {
    Path::new(COFFERDAM).parent().unwrap().join("guest-tests")
}

/// Whether a program is in PATH (or in sbin, where daemons live).
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.into_iter()
        .any(|dir: PathBuf| dir.join(program).is_file())
}

/// Complains unless both runs printed and returned the same. The reader gets the first line that differs.
pub fn compare(what: &str, native: &Outcome, inside: &Outcome) -> Result<(), String> {
    if native.status == inside.status && native.stdout == inside.stdout {
        return Ok(());
    }
    let mut text = format!(
        "{what}: natively exit status {}, inside {}\n",
        native.status, inside.status
    );
    let (mut n, mut i) = (native.stdout.lines(), inside.stdout.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (n.next(), i.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                let end = "<end of output>";
                text += &format!(
                    "first difference, line {number}:\n  native: {}\n  inside: {}\n",
                    a.unwrap_or(end),
                    b.unwrap_or(end)
                );
                break;
            }
        }
    }
    text += &format!(
        "--- native stdout\n{}\n--- native stderr\n{}\n",
        tail(&native.stdout),
        tail(&native.stderr)
    );
    text += &format!(
        "--- inside stdout\n{}\n--- inside stderr\n{}\n",
        tail(&inside.stdout),
        tail(&inside.stderr)
    );
    Err(text)
}

/// The last lines of a long text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skip = lines.len().saturating_sub(60);
    lines[skip..].join("\n")
}
