//! Whatever is killed, nothing is left, and `delete --force` cleans.

use super::bundle::{Bundle, bundle, eventually, reap};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Its children.
pub fn children(of: Pid) -> Vec<Pid> {
    let text =
        std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    text.split_whitespace()
        .map(|p| Pid::from_raw(p.parse().unwrap()))
        .collect()
}

/// All below it.
pub fn descendants(of: Pid) -> Vec<Pid> {
    let mut all = children(of);
    let mut i = 0;
    while i < all.len() {
        all.extend(children(all[i]));
        i += 1;
    }
    all
}

fn is_gone(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty()
        || stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
}

pub fn groups_left(b: &Bundle) -> Vec<String> {
    let mut left = Vec::new();
    for base in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        if base.path().join(&b.id).exists() {
            left.push(base.path().display().to_string());
        }
    }
    left
}

/// Runs a container, kills what `choose` says, and looks.
fn killed(choose: impl Fn(Pid, &[Pid]) -> Vec<Pid>) {
    let Some(b) = bundle("echo up; sleep 1000 & sleep 1000") else {
        return;
    };
    let monitor = b.start();
    b.await_output("up");
    let all = descendants(monitor);
    assert!(all.len() >= 4, "gofer, sentry, zygote, stubs: {all:?}");
    for pid in choose(monitor, &children(monitor)) {
        // With the monitor go the others at once.
        let _ = kill(pid, Signal::SIGKILL);
    }
    let status = reap(monitor);
    assert_ne!(status, 0);
    eventually("all processes are gone", || all.iter().all(|p| is_gone(*p)));
    assert_eq!(b.status(), "stopped");
    b.ok(&["delete", "--force"], &[]);
    assert!(!b.dir.join("state").join(&b.id).exists());
    assert_eq!(groups_left(&b), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&b.id), "{mounts}");
}

#[test]
fn the_monitor() {
    killed(|monitor, _| vec![monitor]);
}

#[test]
fn either_of_its_children() {
    killed(|_, children| vec![children[0]]);
    killed(|_, children| vec![children[1]]);
}

#[test]
fn all_at_once() {
    killed(|monitor, children| [&[monitor][..], children].concat());
}

#[test]
fn a_create_that_is_killed_leaves_what_delete_removes() {
    let Some(mut b) = bundle("true") else { return };
    b.config["hooks"] =
        serde_json::json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]});
    b.save();
    let mut create = b.command(&["create", &b.id]).spawn().unwrap();
    let saved = b.dir.join("state").join(&b.id).join("state.json");
    eventually("the hook runs", || saved.exists());
    let hook = || children(Pid::from_raw(create.id().cast_signed()));
    eventually("the hook runs", || hook().len() >= 2);
    let orphans = hook();
    create.kill().unwrap();
    create.wait().unwrap();
    b.ok(&["delete", "--force"], &[]);
    for pid in orphans {
        // The hook is the caller's own affair; the monitor has ended.
        let _ = kill(pid, Signal::SIGKILL);
        reap(pid);
    }
    assert!(!b.dir.join("state").join(&b.id).exists());
    assert_eq!(groups_left(&b), Vec::<String>::new());
}
