//! A busybox tree as an archive to import, and what is missing on this machine.

use super::common::{Outcome, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// For anything.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Whether all programs are there and this is root; says what is missing.
pub fn ready(programs: &[&str]) -> bool {
    let found = |name: &str| {
        ["/usr/bin", "/usr/sbin", "/bin"]
            .iter()
            .any(|d| Path::new(d).join(name).exists())
    };
    let missing: Vec<&&str> = programs.iter().filter(|p| !found(p)).collect();
    if !missing.is_empty() || !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root and {missing:?}");
        return false;
    }
    true
}

/// A directory of this test's own, with `image.tar` in it.
pub fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("cofferdam-{name}-{}", std::process::id()));
    let tree = dir.join("tree");
    for sub in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(tree.join(sub)).unwrap();
    }
    std::fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "cat", "echo", "id", "ls", "sleep", "true", "mount", "rm", "hostname", "env", "tty",
        "mkdir", "chown",
    ] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet)).unwrap();
    }
    std::fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(dir.join("image.tar"))
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    dir
}

/// An engine's client with its own arguments.
pub struct Client {
    /// The program and what comes before each command.
    pub prefix: Vec<String>,
}

impl Client {
    /// Runs a command.
    pub fn call(&self, args: &[&str]) -> Outcome {
        let mut c = Command::new(&self.prefix[0]);
        c.args(&self.prefix[1..]).args(args);
        run(c, b"", LIMIT)
    }

    /// One that must succeed; what it prints, trimmed.
    pub fn ok(&self, args: &[&str]) -> String {
        let o = self.call(args);
        assert_eq!(o.status, 0, "{args:?}: {o:?}");
        o.stdout.trim().to_owned()
    }

    /// One with this exit status; what it prints on both streams.
    pub fn fails(&self, status: i32, args: &[&str]) -> String {
        let o = self.call(args);
        assert_eq!(o.status, status, "{args:?}: {o:?}");
        o.stdout + &o.stderr
    }

    /// Waits until a container has printed this.
    pub fn await_log(&self, container: &str, text: &str) {
        let until = std::time::Instant::now() + LIMIT;
        while !self.ok(&["logs", container]).contains(text) {
            assert!(
                std::time::Instant::now() < until,
                "{container} never prints {text}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
