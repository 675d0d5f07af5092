//! podman, as root.

use super::common::COFFERDAM;
use super::image::{Client, ready, scratch};

#[test]
fn podman() {
    if !ready(&["podman", "conmon", "busybox"]) {
        return;
    }
    let dir = scratch("podman");
    let at = |name: &str| dir.join(name).display().to_string();
    let prefix = [
        "podman",
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
        COFFERDAM,
    ];
    let c = Client {
        prefix: prefix.iter().map(|s| (*s).to_owned()).collect(),
    };
    c.ok(&["import", &at("image.tar"), "bb"]);
    let run = |options: &[&'static str], command: &[&'static str]| {
        [&["run", "--network", "none"][..], options, &["bb"], command].concat()
    };
    assert_eq!(c.ok(&run(&["--rm"], &["id", "-u"])), "0");
    c.fails(7, &run(&["--rm"], &["sh", "-c", "exit 7"]));
    c.fails(127, &run(&["--rm"], &["nope"]));
    c.fails(126, &run(&["--rm"], &["/etc"]));
    assert_eq!(c.ok(&run(&["--rm", "-t"], &["tty"])), "/dev/pts/0");
    let script = "trap 'echo got term; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    c.ok(&run(&["-d", "--name", "web"], &["sh", "-c", script]));
    c.await_log("web", "up");
    assert_eq!(c.ok(&["exec", "web", "echo", "in"]), "in");
    c.fails(127, &["exec", "web", "nope"]);
    c.ok(&["pause", "web"]);
    c.ok(&["unpause", "web"]);
    c.ok(&["stop", "web"]);
    assert_eq!(c.ok(&["inspect", "-f", "{{.State.ExitCode}}", "web"]), "3");
    c.ok(&["rm", "-f", "web"]);
    let _ = std::fs::remove_dir_all(&dir);
}
