//! Hooks: when, where and with what they run.

use super::bundle::{bundle, reap};
use serde_json::{Value, json};

#[test]
fn a_failing_poststop_hook_hinders_nobody() {
    let Some(mut b) = bundle("exit 0") else {
        return;
    };
    let file = b.dir.join("hooks");
    let sh = |script: String| json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let told = sh(format!("echo told >> {}", file.display()));
    b.config["hooks"] = json!({"poststop": [sh("exit 1".into()), told]});
    let o = b.run();
    assert_eq!(o.status, 0, "{o:?}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "told\n");
}

#[test]
fn hooks_inside_have_the_environment_of_the_process_or_their_own() {
    let Some(mut b) = bundle("exit 0") else {
        return;
    };
    b.config["process"]["env"] = json!(["PATH=/bin", "A=b"]);
    let sh = |script: &str| json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let mut own = sh("test -z \"$A\" && test $C = d");
    own["env"] = json!(["C=d"]);
    b.config["hooks"] = json!({"startContainer": [sh("test $A = b"), own]});
    let o = b.run();
    assert_eq!(o.status, 0, "{o:?}");
}

#[test]
fn hooks_run_in_their_order_with_the_state() {
    let Some(mut b) = bundle("exit 0") else {
        return;
    };
    let file = b.dir.join("hooks");
    let hook = |kind: &str, path: &str| {
        let script = format!("read -r state; echo \"{kind} $state\" >> {path}");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 10}])
    };
    b.config["annotations"] = json!({"an": "notation"});
    b.config["hooks"] = json!({"startContainer": hook("startContainer", "/hooks")});
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ] {
        b.config["hooks"][kind] = hook(kind, file.to_str().unwrap());
    }
    let pid = b.create();
    let kinds = |file: &std::path::Path| -> Vec<(String, Value)> {
        let text = std::fs::read_to_string(file).unwrap();
        let line = |l: &str| {
            let (kind, state) = l.split_once(' ').unwrap();
            (kind.to_owned(), serde_json::from_str(state).unwrap())
        };
        text.lines().map(line).collect()
    };
    let names = |all: &[(String, Value)]| all.iter().map(|(k, _)| k.clone()).collect::<Vec<_>>();
    assert_eq!(
        names(&kinds(&file)),
        ["prestart", "createRuntime", "createContainer"]
    );
    assert!(!b.dir.join("rootfs/hooks").exists());
    b.ok(&["start"], &[]);
    reap(pid);
    b.ok(&["delete"], &[]);
    let mut all = kinds(&file);
    assert_eq!(names(&all[3..]), ["poststart", "poststop"]);
    // A program of the container, which sees the container's root.
    let inside = kinds(&b.dir.join("rootfs/hooks"));
    assert_eq!(names(&inside), ["startContainer"]);
    assert_eq!(inside[0].1["status"], "created");
    all.extend(inside);
    for (kind, state) in &all {
        assert_eq!(state["id"], b.id.as_str(), "{kind}");
        assert_eq!(state["annotations"]["an"], "notation");
    }
    for (_, state) in &all[..3] {
        assert_eq!(state["pid"], pid.as_raw());
        assert_eq!(state["status"], "creating");
    }
    assert_eq!(all[4].1["status"], "stopped");
}

#[test]
fn a_failing_hook_stops_the_container() {
    let Some(mut b) = bundle("sleep 1000") else {
        return;
    };
    for (kind, verb) in [
        ("prestart", "create"),
        ("createRuntime", "create"),
        ("createContainer", "create"),
        ("startContainer", "start"),
        ("poststart", "start"),
    ] {
        let script = "echo oh no >&2; exit 3";
        b.config["hooks"] = json!({kind: [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
        let pid = (verb == "start").then(|| b.create());
        let o = b.call(&[verb, &b.id]);
        let words = format!("error running {kind} hook /bin/sh: exit status: 3, stderr: oh no");
        assert!(o.status == 1 && o.stderr.contains(&words), "{kind}: {o:?}");
        match pid {
            Some(pid) => {
                assert_eq!(b.status(), "stopped", "{kind}");
                assert_eq!(reap(pid), 128 + 9, "{kind}");
                b.ok(&["delete"], &[]);
            }
            None => assert!(b.call(&["state", &b.id]).stderr.contains("does not exist")),
        }
    }
    b.config["hooks"] = json!({"startContainer": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]});
    let pid = b.create();
    let o = b.call(&["start", &b.id]);
    assert!(
        o.status == 1 && o.stderr.contains("timed out after 1 seconds"),
        "{o:?}"
    );
    assert_eq!(reap(pid), 128 + 9);
}

/// What device plug-ins do: bind the host's files into the root from the container's mount namespace.
#[test]
fn what_create_container_hooks_mount_is_inside() {
    let Some(mut b) = bundle("cat /tmp/there; mount | grep -c tmpfs") else {
        return;
    };
    let root = b.dir.join("rootfs/tmp");
    let script = format!(
        "mount -t tmpfs none {0} && echo mounted > {0}/there",
        root.display()
    );
    b.config["hooks"] = json!({"createContainer": [
        {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/sbin:/usr/bin"]}]});
    let o = b.run();
    assert_eq!(o.stdout.lines().next(), Some("mounted"), "{o:?}");
    assert!(!root.join("there").exists(), "the host does not see it");
}
