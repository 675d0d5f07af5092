//! A bundle in a directory of its own, and the runtime called on it.

use super::common::{COFFERDAM, Outcome, run};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// For anything.
pub const LIMIT: Duration = Duration::from_secs(30);

const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "id", "ls", "mkdir", "sleep", "kill", "stty", "tty", "env", "hostname",
    "pwd", "rm", "true", "chown", "ps", "test", "grep", "head", "dd", "stat", "touch", "mount",
    "awk", "cut", "ionice", "mknod", "nc", "sort", "wc", "trap", "chmod",
];

/// A bundle; its containers are deleted with it.
pub struct Bundle {
    /// Everything of it.
    pub dir: PathBuf,
    /// The configuration, written by each call that needs it.
    pub config: Value,
    /// The container's name.
    pub id: String,
}

/// What is missing for these tests, if anything.
fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root");
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("busybox-static");
    }
    None
}

/// A bundle whose program is `sh -c script`; `None`, with a word, where these tests cannot run.
pub fn bundle(script: &str) -> Option<Bundle> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static SUBREAPER: OnceLock<()> = OnceLock::new();
    if let Some(what) = missing() {
        eprintln!("skipped: needs {what}");
        return None;
    }
    SUBREAPER.get_or_init(|| nix::sys::prctl::set_child_subreaper(true).unwrap());
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let id = format!("cofferdam-test-{}-{n}", std::process::id());
    let dir = std::env::temp_dir().join(&id);
    let rootfs = dir.join("rootfs");
    for sub in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        std::fs::create_dir_all(rootfs.join(sub)).unwrap();
    }
    std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    std::fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nbob:x:7:8::/home/bob:/bin/sh\n",
    )
    .unwrap();
    let spec = Command::new(COFFERDAM)
        .args(["spec", "--bundle"])
        .arg(&dir)
        .status()
        .unwrap();
    assert!(spec.success());
    let text = std::fs::read(dir.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", script]);
    config["root"]["readonly"] = json!(false);
    config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    Some(Bundle { dir, config, id })
}

impl Bundle {
    /// The runtime with its global options and these.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(COFFERDAM);
        c.arg("--root")
            .arg(self.dir.join("state"))
            .arg("--log")
            .arg(self.dir.join("log"))
            .args(["--log-format", "json"])
            .args(args)
            .current_dir(&self.dir);
        c
    }

    /// Writes the configuration and calls the runtime.
    pub fn call(&self, args: &[&str]) -> Outcome {
        self.save();
        run(self.command(args), b"", LIMIT)
    }

    /// Writes the configuration.
    pub fn save(&self) {
        std::fs::write(self.dir.join("config.json"), self.config.to_string()).unwrap();
    }

    /// Calls a verb that must succeed on the container; its standard output.
    pub fn ok(&self, verb: &[&str], rest: &[&str]) -> String {
        let mut args = verb.to_vec();
        args.push(&self.id);
        args.extend(rest);
        let o = self.call(&args);
        assert_eq!(o.status, 0, "{args:?}: {o:?}");
        o.stdout
    }

    /// `run`: the outcome of the program itself.
    pub fn run(&self) -> Outcome {
        self.call(&["run", &self.id])
    }

    /// Creates, with standard output and error in the file `out`; the monitor's pid, a child of this process.
    pub fn create(&self) -> Pid {
        self.create_with(&[])
    }

    /// The same with options.
    pub fn create_with(&self, options: &[&str]) -> Pid {
        self.save();
        let out = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("out"))
            .unwrap();
        let mut c = self.command(&["create", "--pid-file", "pid"]);
        let status = c
            .args(options)
            .arg(&self.id)
            .stdin(std::process::Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status()
            .unwrap();
        assert!(status.success(), "{}", self.output());
        self.pid_file("pid")
    }

    /// A pid file's contents, which must be digits and nothing else.
    pub fn pid_file(&self, name: &str) -> Pid {
        let text = std::fs::read_to_string(self.dir.join(name)).unwrap();
        assert!(text.bytes().all(|b| b.is_ascii_digit()), "{text:?}");
        Pid::from_raw(text.parse().unwrap())
    }

    /// Creates and starts.
    pub fn start(&self) -> Pid {
        let pid = self.create();
        self.ok(&["start"], &[]);
        pid
    }

    /// What a created container's program has written.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.dir.join("out")).unwrap_or_default()
    }

    /// Waits until it has written this.
    pub fn await_output(&self, text: &str) {
        eventually(text, || self.output().contains(text));
    }

    /// `status` of `state`.
    pub fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.ok(&["state"], &[])).unwrap();
        assert_eq!(state["id"], self.id.as_str());
        assert_eq!(state["bundle"], self.dir.to_str().unwrap());
        state["status"].as_str().unwrap().to_owned()
    }

    /// Messages of the log, by line.
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    /// Adds a mount.
    pub fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", &self.id]).output();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Waits for something that takes its time.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !is() {
        assert!(Instant::now() < until, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The exit status of a child (an orphan given to this process), 128 + n for a signal.
pub fn reap(pid: Pid) -> i32 {
    let until = Instant::now() + LIMIT;
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::Exited(_, status) => return status,
            WaitStatus::Signaled(_, signal, _) => return 128 + signal as i32,
            _ => {}
        }
        assert!(Instant::now() < until, "{pid} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A signal that must arrive.
pub fn signal(pid: Pid, signal: Signal) {
    nix::sys::signal::kill(pid, signal).unwrap();
}
