//! Containers in scopes of systemd (`--systemd-cgroup`), where there is one.

use super::bundle::{Bundle, bundle, eventually, reap};
use nix::unistd::Pid;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A bundle whose scope is `unit` in a slice of its own; `None`, with a word, where there is no systemd.
fn scope(script: &str) -> Option<(Bundle, String)> {
    if !Path::new("/run/systemd/system").is_dir() {
        eprintln!("skipped: needs systemd as the host's init");
        return None;
    }
    let mut b = bundle(script)?;
    b.config["linux"]["cgroupsPath"] = json!(format!("cofferdam-test.slice:test:{}", b.id));
    let unit = format!("test-{}.scope", b.id);
    Some((b, unit))
}

/// A property of a unit, as systemd knows it.
fn property(unit: &str, name: &str) -> String {
    let o = Command::new("systemctl")
        .args(["show", "--value", "-p", name, unit])
        .output()
        .unwrap();
    String::from_utf8(o.stdout).unwrap().trim().to_owned()
}

/// Creates with `--systemd-cgroup`, and starts.
fn start(b: &Bundle) -> Pid {
    b.save();
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    let args = ["--systemd-cgroup", "create", "--pid-file", "pid", &b.id];
    let status = b
        .command(&args)
        .stdin(std::process::Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status();
    assert!(status.unwrap().success(), "{}", b.output());
    b.ok(&["start"], &[]);
    b.pid_file("pid")
}

/// The directory of the group that holds `pid`, in the hierarchy that systemd keeps.
fn group(pid: Pid) -> PathBuf {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let line = text.lines().find_map(|l| {
        l.strip_prefix("0::/")
            .or(l.strip_prefix("1:name=systemd:/"))
    });
    let root = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup"];
    let root = root.into_iter().find(|r| Path::new(r).is_dir()).unwrap();
    Path::new(root).join(line.unwrap())
}

#[test]
fn a_scope_holds_the_container_and_knows_its_limits() {
    let Some((mut b, unit)) = scope("echo up; sleep 1000") else {
        return;
    };
    b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50},
        "cpu": {"quota": 50000, "period": 100_000, "shares": 1024}});
    let pid = start(&b);
    b.await_output("up");
    assert_eq!(property(&unit, "ActiveState"), "active");
    assert_eq!(property(&unit, "Slice"), "cofferdam-test.slice");
    assert_eq!(property(&unit, "Delegate"), "yes");
    assert_eq!(property(&unit, "TasksMax"), (50 + 128).to_string());
    assert_eq!(property(&unit, "CPUQuotaPerSecUSec"), "500ms");
    let end = format!("/cofferdam.slice/cofferdam-test.slice/{unit}");
    assert!(group(pid).display().to_string().ends_with(&end));
    // What systemd writes when it looks again is what was asked for.
    assert!(
        Command::new("systemctl")
            .arg("daemon-reload")
            .status()
            .unwrap()
            .success()
    );
    let seen = |files: &str| {
        b.ok(
            &["exec"],
            &["sh", "-c", &format!("cd /sys/fs/cgroup; cat {files}")],
        )
    };
    assert_eq!(
        seen("memory.max pids.max cpu.max"),
        "67108864\n50\n50000 100000\n"
    );
    b.ok(
        &[
            "update",
            "--memory",
            "134217728",
            "--pids-limit",
            "60",
            "--cpu-quota",
            "25000",
        ],
        &[],
    );
    assert_eq!(
        seen("memory.max pids.max cpu.max"),
        "134217728\n60\n25000 100000\n"
    );
    assert_eq!(property(&unit, "TasksMax"), (60 + 128).to_string());
    assert_eq!(property(&unit, "CPUQuotaPerSecUSec"), "250ms");
    b.ok(&["pause"], &[]);
    assert_eq!(b.status(), "paused");
    b.ok(&["resume"], &[]);
    let dir = group(pid);
    b.ok(&["delete", "--force"], &[]);
    assert_eq!(reap(pid), 128 + 9);
    assert_eq!(property(&unit, "LoadState"), "not-found");
    assert!(!dir.exists(), "{}", dir.display());
}

#[test]
fn a_scope_ends_with_its_container() {
    let Some((mut b, unit)) = scope("") else {
        return;
    };
    // Over its limit, which leaves a unit that failed.
    b.config["process"]["args"] = json!(["awk", r#"BEGIN { s = "x"; while (1) s = s s }"#]);
    b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
    let pid = start(&b);
    assert_eq!(reap(pid), 128 + 9);
    eventually("inactive", || property(&unit, "ActiveState") != "active");
    b.ok(&["delete"], &[]);
    assert_eq!(property(&unit, "LoadState"), "not-found");
}

#[test]
fn a_path_that_is_no_scope_is_refused() {
    let Some((mut b, _)) = scope("true") else {
        return;
    };
    b.config["linux"]["cgroupsPath"] = json!("/a/b");
    let o = b.call(&["--systemd-cgroup", "run", &b.id]);
    assert_eq!(o.status, 1, "{o:?}");
    assert!(o.stderr.contains("slice:prefix:name"), "{o:?}");
    b.config["linux"]["cgroupsPath"] = json!("nodots:test:x");
    let o = b.call(&["--systemd-cgroup", "run", &b.id]);
    assert_eq!(o.status, 1, "{o:?}");
    assert!(o.stderr.contains("nodots is not a slice"), "{o:?}");
}
