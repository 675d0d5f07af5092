//! podman, as root and as an ordinary user.

use super::common::COFFERDAM;
use super::image::{Client, ready, scratch};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn client(dir: &Path, before: &[String], runtime: &str) -> Client {
    let at = |name: &str| dir.join(name).display().to_string();
    let options = [
        "--root",
        &at("root"),
        "--runroot",
        &at("run"),
        "--tmpdir",
        &at("tmp"),
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
        "--events-backend",
        "file",
        "--runtime",
        runtime,
    ];
    let mut prefix = before.to_vec();
    prefix.push("podman".into());
    prefix.extend(options.map(str::to_owned));
    Client { prefix }
}

fn run(options: &[&'static str], command: &[&'static str]) -> Vec<&'static str> {
    [&["run", "--network", "none"][..], options, &["bb"], command].concat()
}

/// What works for everybody.
fn session(c: &Client, pause: bool) {
    assert_eq!(c.ok(&run(&["--rm"], &["id", "-u"])), "0");
    c.fails(7, &run(&["--rm"], &["sh", "-c", "exit 7"]));
    c.fails(127, &run(&["--rm"], &["nope"]));
    c.fails(126, &run(&["--rm"], &["/etc"]));
    assert_eq!(c.ok(&run(&["--rm", "-t"], &["tty"])), "/dev/pts/0");
    // What engines bind of the host's kernel then is the sandbox's own.
    let shared = ["run", "--rm", "--network", "host", "bb"];
    let said = c.ok(&[&shared[..], &["ls", "/sys/class/net"]].concat());
    assert_eq!(said, "lo");
    let script = "trap 'echo got term; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    c.ok(&run(&["-d", "--name", "web"], &["sh", "-c", script]));
    c.await_log("web", "up");
    assert_eq!(c.ok(&["exec", "web", "echo", "in"]), "in");
    c.fails(127, &["exec", "web", "nope"]);
    if pause {
        c.ok(&["pause", "web"]);
        c.ok(&["unpause", "web"]);
    }
    c.ok(&["stop", "web"]);
    assert_eq!(c.ok(&["inspect", "-f", "{{.State.ExitCode}}", "web"]), "3");
    c.ok(&["rm", "-f", "web"]);
}

#[test]
fn podman() {
    if !ready(&["podman", "conmon", "busybox"]) {
        return;
    }
    let dir = scratch("podman");
    let c = client(&dir, &[], COFFERDAM);
    let image = dir.join("image.tar").display().to_string();
    c.ok(&["import", &image, "bb"]);
    session(&c, true);
    let _ = std::fs::remove_dir_all(&dir);
}

/// As nobody, without subordinate ids and without a control group.
#[test]
fn podman_rootless() {
    if !ready(&["podman", "conmon", "busybox", "setpriv"]) {
        return;
    }
    let dir = scratch("rootless");
    for sub in ["home", "xdg"] {
        std::fs::create_dir(dir.join(sub)).unwrap();
    }
    // The user need not be able to read where the test's program is.
    let runtime = dir.join("cofferdam");
    std::fs::copy(COFFERDAM, &runtime).unwrap();
    std::fs::set_permissions(dir.join("xdg"), PermissionsExt::from_mode(0o700)).unwrap();
    let owned = Command::new("chown")
        .args(["-R", "nobody:nogroup"])
        .arg(&dir)
        .status();
    assert!(owned.unwrap().success());
    let home = format!("HOME={}", dir.join("home").display());
    let xdg = format!("XDG_RUNTIME_DIR={}", dir.join("xdg").display());
    let as_nobody = [
        "/usr/bin/setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "/usr/bin/env",
        "-i",
        "--chdir=/",
        "PATH=/usr/bin:/usr/sbin:/bin:/sbin",
        &home,
        &xdg,
    ];
    let before = as_nobody.map(str::to_owned);
    let c = client(&dir, &before, &runtime.display().to_string());
    let image = dir.join("image.tar").display().to_string();
    c.ok(&["import", &image, "bb"]);
    session(&c, false);
    // podman leaves a process that holds its user namespace.
    let pause = dir.join("tmp/pause.pid");
    let text = std::fs::read_to_string(pause).unwrap_or_default();
    if let Ok(pid) = text.trim().parse() {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    let _ = std::fs::remove_dir_all(&dir);
}
