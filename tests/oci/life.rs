//! From create to delete: states, pid files, signals, errors in the callers' words.

use super::bundle::{bundle, eventually, reap, signal};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

#[test]
fn run_passes_output_and_status_on() {
    let Some(b) = bundle("echo out; echo err >&2; exit 7") else {
        return;
    };
    let o = b.run();
    assert_eq!(
        (o.status, o.stdout.as_str(), o.stderr.as_str()),
        (7, "out\n", "err\n")
    );
    assert!(b.log().is_empty(), "{:?}", b.log());
    assert_eq!(b.call(&["state", &b.id]).status, 1, "run deletes");
}

#[test]
fn a_container_is_created_started_and_deleted() {
    let Some(b) = bundle("echo ran; exit 3") else {
        return;
    };
    let pid = b.create();
    assert_eq!(b.status(), "created");
    assert_eq!(b.output(), "", "create does not start");
    let again = b.call(&["create", &b.id]);
    assert_eq!(again.status, 1);
    assert!(
        again
            .stderr
            .contains("container with given ID already exists")
    );
    assert_eq!(b.status(), "created");
    b.ok(&["start"], &[]);
    assert_eq!(reap(pid), 3);
    assert_eq!(b.output(), "ran\n");
    assert_eq!(b.status(), "stopped");
    let o = b.call(&["start", &b.id]);
    assert!(
        o.status == 1
            && o.stderr
                .contains("cannot start a container that has stopped"),
        "{o:?}"
    );
    let o = b.call(&["kill", &b.id]);
    assert!(
        o.status == 1 && o.stderr.contains("container not running"),
        "{o:?}"
    );
    b.ok(&["kill", "--all"], &[]);
    b.ok(&["delete"], &[]);
    for verb in ["state", "start", "kill", "delete"] {
        let o = b.call(&[verb, &b.id]);
        assert!(
            o.status == 1 && o.stderr.contains("container does not exist"),
            "{verb}: {o:?}"
        );
    }
    b.ok(&["delete", "--force"], &[]);
}

#[test]
fn a_running_container_is_listed_and_not_deleted() {
    let Some(b) = bundle("echo up; sleep 1000") else {
        return;
    };
    let pid = b.start();
    b.await_output("up");
    assert_eq!(b.status(), "running");
    let all: Value = serde_json::from_str(&b.call(&["list", "--format", "json"]).stdout).unwrap();
    assert_eq!(all[0]["id"], b.id.as_str());
    assert_eq!(all[0]["pid"], pid.as_raw());
    assert_eq!(all[0]["owner"], "root");
    assert_eq!(b.call(&["list", "-q"]).stdout, format!("{}\n", b.id));
    let o = b.call(&["start", &b.id]);
    assert!(
        o.stderr
            .contains("cannot start an already running container"),
        "{o:?}"
    );
    let o = b.call(&["delete", &b.id]);
    assert!(
        o.status == 1 && o.stderr.contains("that is not stopped: running"),
        "{o:?}"
    );
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(
        command, b"sh\0-c\0echo up; sleep 1000\0",
        "it looks like its program"
    );
    b.ok(&["delete", "--force"], &[]);
    assert_eq!(reap(pid), 128 + 9);
    assert_eq!(b.call(&["state", &b.id]).status, 1);
}

#[test]
fn signals_arrive_by_verb_and_directly() {
    let script = "trap 'echo got term' TERM; trap 'echo got usr1; exit 4' USR1; echo up; while :; do sleep 0.02; done";
    let Some(b) = bundle(script) else { return };
    let pid = b.start();
    b.await_output("up");
    b.ok(&["kill"], &["TERM"]);
    b.await_output("got term");
    signal(pid, Signal::SIGUSR1);
    b.await_output("got usr1");
    assert_eq!(reap(pid), 4);
}

#[test]
fn init_is_protected_and_sigkill_is_not_refused() {
    // No handler: an init of a pid namespace does not get it.
    let Some(b) = bundle("echo up; while :; do sleep 0.02; done") else {
        return;
    };
    let pid = b.start();
    b.await_output("up");
    b.ok(&["kill"], &["SIGTERM"]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(b.status(), "running");
    b.ok(&["kill"], &["9"]);
    assert_eq!(reap(pid), 128 + 9);
    let o = b.call(&["kill", &b.id, "NOSUCH"]);
    assert!(
        o.status == 1 && o.stderr.contains("unknown signal"),
        "{o:?}"
    );
}

#[test]
fn a_created_container_can_be_killed_and_deleted() {
    let Some(b) = bundle("echo never") else {
        return;
    };
    let pid = b.create();
    b.ok(&["kill"], &["KILL"]);
    assert_eq!(reap(pid), 128 + 9);
    assert_eq!(b.status(), "stopped");
    b.ok(&["delete"], &[]);
    let pid = b.create();
    b.ok(&["delete"], &[]);
    assert_eq!(reap(pid), 128 + 9);
    assert_eq!(b.output(), "");
}

#[test]
fn a_program_that_cannot_run_is_one_line() {
    let Some(mut b) = bundle("") else { return };
    for (program, words) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        (
            "/nope",
            "exec: \"/nope\": stat /nope: no such file or directory",
        ),
        ("/etc", "exec: \"/etc\": permission denied"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        b.config["process"]["args"] = json!([program]);
        let _ = std::fs::remove_file(b.dir.join("log"));
        let o = b.call(&["create", &b.id]);
        assert_eq!(o.status, 1, "{o:?}");
        assert!(o.stderr.contains(words), "{program}: {}", o.stderr);
        let log = b.log();
        assert_eq!(log.len(), 1, "{log:?}");
        assert_eq!(log[0]["level"], "error");
        assert!(log[0]["msg"].as_str().unwrap().contains(words), "{log:?}");
        assert!(log[0]["time"].as_str().unwrap().ends_with('Z'));
        let o = b.call(&["state", &b.id]);
        assert!(
            o.stderr.contains("does not exist"),
            "nothing is left: {o:?}"
        );
    }
}

#[test]
fn bad_configurations_are_refused_by_name() {
    let Some(mut b) = bundle("true") else { return };
    let good = b.config.clone();
    let mut refused = |change: &dyn Fn(&mut Value), words: &str| {
        b.config = good.clone();
        change(&mut b.config);
        let o = b.call(&["create", &b.id]);
        assert!(o.status == 1 && o.stderr.contains(words), "{words}: {o:?}");
        assert!(!b.dir.join("state").join(&b.id).exists());
    };
    refused(&|c| c["ociVersion"] = json!("2.0.0"), "2.0.0");
    refused(&|c| c["root"]["path"] = json!("nowhere"), "invalid rootfs");
    refused(
        &|c| c["process"]["args"] = json!([]),
        "args must not be empty",
    );
    refused(
        &|c| c["process"]["cwd"] = json!("x"),
        "Cwd must be an absolute path",
    );
    refused(
        &|c| c["process"]["terminal"] = json!(true),
        "console socket",
    );
    refused(
        &|c| c["annotations"] = json!({"dev.cofferdam.strace": "/x"}),
        "dev.cofferdam.strace is not allowed",
    );
    refused(
        &|c| c["annotations"] = json!({"dev.cofferdam.platform": "kvm"}),
        "'kvm'",
    );
    refused(
        &|c| c["linux"]["namespaces"] = json!([{"type": "ipc", "path": "/proc/self/ns/net"}]),
        "/proc/self/ns/net is not of type ipc",
    );
    refused(
        &|c| c["linux"]["namespaces"] = json!([{"type": "network", "path": "/dev/null"}]),
        "/dev/null is not of type net",
    );
    refused(
        &|c| c["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "pid"}]),
        "the pid namespace is given twice",
    );
    let o = b.call(&["create", "../x"]);
    assert!(o.stderr.contains("invalid container ID format"), "{o:?}");
    std::fs::remove_file(b.dir.join("config.json")).unwrap();
    let o = b.command(&["create", &b.id]).output().unwrap();
    let said = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(said.contains("config.json not found"), "{said}");
}

#[test]
fn pause_stops_and_resume_goes_on() {
    let Some(b) = bundle("i=0; while :; do i=$((i+1)); echo n$i; sleep 0.02; done") else {
        return;
    };
    let pid = b.start();
    b.await_output("n5");
    b.ok(&["pause"], &[]);
    assert_eq!(b.status(), "paused");
    let then = b.output();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(b.output(), then, "nothing runs");
    let o = b.call(&["exec", &b.id, "true"]);
    assert!(
        o.stderr.contains("cannot exec in a paused container"),
        "{o:?}"
    );
    b.ok(&["resume"], &[]);
    eventually("more", || b.output().len() > then.len());
    assert_eq!(b.status(), "running");
    b.ok(&["pause"], &[]);
    b.ok(&["kill"], &["KILL"]);
    assert_eq!(reap(pid), 128 + 9, "SIGKILL reaches what is paused");
}

#[test]
fn usage_limits_and_processes() {
    let Some(mut b) = bundle("echo up; sleep 1000 & sleep 1000") else {
        return;
    };
    b.config["linux"]["resources"] = json!({"memory": {"limit": 100 << 20}, "pids": {"limit": 50}});
    let pid = b.start();
    b.await_output("up");
    let stats: Value = serde_json::from_str(&b.ok(&["events", "--stats"], &[])).unwrap();
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 100 << 20);
    assert!(stats["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 100_000);
    b.ok(&["update", "--memory", "209715200"], &[]);
    let stats: Value = serde_json::from_str(&b.ok(&["events", "--stats"], &[])).unwrap();
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 200 << 20);
    // The shell says "up" before it has begun them.
    eventually("both sleep", || {
        let table = b.ok(&["ps"], &[]);
        table.lines().filter(|l| l.ends_with("sleep")).count() == 2
    });
    let pids: Value = serde_json::from_str(&b.ok(&["ps", "--format", "json"], &[])).unwrap();
    assert_eq!(pids, json!([pid.as_raw()]));
}

#[test]
fn documents() {
    let Some(b) = bundle("true") else { return };
    let features: Value = serde_json::from_str(&b.call(&["features"]).stdout).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    for verb in ["checkpoint", "restore"] {
        let o = b.call(&[verb, "--image-path", "/x", &b.id]);
        assert!(
            o.status == 1 && o.stderr.contains("not supported yet"),
            "{o:?}"
        );
    }
    let version = b.call(&["--version"]).stdout;
    assert!(
        version.starts_with("cofferdam version ") && version.contains("\nspec: 1."),
        "{version}"
    );
    let o = b.call(&["spec"]);
    assert!(o.status == 1 && o.stderr.contains("exists"), "{o:?}");
}
