//! containerd, its runc shim pointed at Cofferdam.

use super::common::COFFERDAM;
use super::image::{Client, Daemon, ready, scratch};

#[test]
fn containerd() {
    if !ready(&["containerd", "ctr", "containerd-shim-runc-v2", "busybox"]) {
        return;
    }
    let dir = scratch("containerd");
    let at = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
        at("root"),
        at("state"),
        at("sock")
    );
    std::fs::write(dir.join("config.toml"), config).unwrap();
    let client = Client {
        prefix: vec!["/usr/bin/ctr".into(), "-a".into(), at("sock")],
    };
    let program = ["/usr/bin/containerd", "--config", &at("config.toml")];
    let d = Daemon::start(&program, client, &["version"], dir.clone());
    let c = &d.client;
    let root = at("tree");
    let run = |options: &[&str], id: &str, command: &[&str]| -> Vec<String> {
        let words = [
            &["run", "--runc-binary", COFFERDAM][..],
            options,
            &["--rootfs", &root, id],
            command,
        ]
        .concat();
        words.iter().map(|w| (*w).to_owned()).collect()
    };
    fn words(of: &[String]) -> Vec<&str> {
        of.iter().map(String::as_str).collect()
    }
    let once = run(&["--rm"], "once", &["sh", "-c", "id -u; exit 7"]);
    assert!(c.fails(7, &words(&once)).starts_with("0\n"));
    c.fails(1, &words(&run(&["--rm"], "none", &["nope"])));
    c.ok(&words(&run(&["--detach"], "web", &["sleep", "1000"])));
    assert!(c.ok(&["task", "ls"]).contains("RUNNING"));
    let script = "echo in; exit 3";
    let exec = ["task", "exec", "--exec-id", "e", "web", "sh", "-c", script];
    assert!(c.fails(3, &exec).starts_with("in\n"));
    c.ok(&["task", "pause", "web"]);
    assert!(c.ok(&["task", "ls"]).contains("PAUSED"));
    c.ok(&["task", "resume", "web"]);
    assert!(c.ok(&["task", "ps", "web"]).contains("PID"));
    assert!(c.ok(&["task", "metrics", "web"]).contains("memory"));
    c.ok(&["task", "kill", "--signal", "KILL", "web"]);
    super::image::eventually("it stops", || c.ok(&["task", "ls"]).contains("STOPPED"));
    let deleted = c.call(&["task", "delete", "web"]);
    assert!(deleted.stderr.contains("exit code 137"), "{deleted:?}");
    c.ok(&["container", "delete", "web"]);
    assert!(!c.ok(&["container", "ls"]).contains("web"));
}
