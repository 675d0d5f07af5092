//! Verbs that meet: none waits for another one's hooks, and nothing is left behind that no verb finds.

use super::bundle::{Bundle, bundle, eventually};
use super::common::Outcome;
use super::crash::groups_left;
use serde_json::json;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// What answers at once takes no longer, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(8);
/// How long hooks take.
const LONG: &str = "sleep 20";

fn start(b: &Bundle, args: &[&str]) -> Child {
    b.save();
    let mut c = b.command(args);
    c.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    c.spawn().unwrap()
}

fn ends(child: &mut Child) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    false
}

/// A container in the middle of its creation: `create` waits for a hook.
fn half_created(kind: &str) -> Option<(Bundle, Child)> {
    let mut b = bundle("sleep 30")?;
    let begun = b.dir.join("begun");
    let script = format!("touch {}; exec {LONG}", begun.display());
    b.config["hooks"] = json!({ kind: [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    let create = start(&b, &["create", &b.id]);
    eventually("the hook", || begun.exists());
    Some((b, create))
}

fn nothing_left(b: &Bundle) {
    let left: Vec<_> = std::fs::read_dir(b.dir.join("state"))
        .map(|d| d.flatten().map(|e| e.file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(groups_left(b), Vec::<String>::new());
}

#[test]
fn state_is_told_while_hooks_run() {
    for kind in ["createRuntime", "createContainer"] {
        let Some((b, mut create)) = half_created(kind) else {
            return;
        };
        let begin = Instant::now();
        let state = b.ok(&["state"], &[]);
        assert!(state.contains("\"creating\""), "{kind}: {state}");
        let list = b.call(&["list"]);
        assert!(list.stdout.contains(&b.id), "{kind}: {list:?}");
        let paused = b.call(&["pause", &b.id]);
        assert_ne!(paused.status, 0, "{kind}");
        let took = begin.elapsed();
        assert!(
            took < AT_ONCE,
            "{kind}: state, list and pause took {took:?}"
        );
        create.kill().unwrap();
        create.wait().unwrap();
        b.ok(&["delete", "--force"], &[]);
        nothing_left(&b);
    }
}

#[test]
fn what_is_being_created_can_be_deleted() {
    for kind in ["createRuntime", "createContainer"] {
        let Some((b, mut create)) = half_created(kind) else {
            return;
        };
        let begin = Instant::now();
        b.ok(&["delete", "--force"], &[]);
        let took = begin.elapsed();
        assert!(took < AT_ONCE, "{kind}: {took:?}");
        create.kill().unwrap();
        create.wait().unwrap();
        nothing_left(&b);
    }
}

/// A create that ended before it had saved anything left a group that only the name leads to.
#[test]
fn groups_of_an_unfinished_creation_go() {
    let Some(b) = bundle("sleep 30") else {
        return;
    };
    b.ok(&["create"], &[]);
    let dir = b.dir.join("state").join(&b.id);
    std::fs::remove_file(dir.join("state.json")).unwrap();
    let refused = b.call(&["delete", &b.id]);
    assert!(refused.stderr.contains("does not exist"), "{refused:?}");
    b.ok(&["delete", "--force"], &[]);
    nothing_left(&b);
}

/// Several callers make, freeze, kill and remove one container, and some of them are killed.
#[test]
fn a_storm_of_verbs_leaves_nothing() {
    let Some(b) = bundle("sleep 1") else {
        return;
    };
    b.save();
    let id = b.id.as_str();
    let verbs: &[&[&str]] = &[
        &["create", id],
        &["run", "--detach", id],
        &["start", id],
        &["pause", id],
        &["resume", id],
        &["kill", id, "KILL"],
        &["delete", "--force", id],
        &["state", id],
        &["exec", id, "true"],
    ];
    let end = Instant::now() + Duration::from_secs(6);
    let stuck: Vec<String> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let b = &b;
                scope.spawn(move || {
                    let mut stuck = vec![];
                    let mut random: usize = 12345 + caller;
                    while Instant::now() < end {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        let verb = verbs[(random >> 33) % verbs.len()];
                        let mut c = b.command(verb);
                        c.stdin(Stdio::null())
                            .stdout(Stdio::null())
                            .stderr(Stdio::null());
                        let mut child = c.spawn().unwrap();
                        if (random >> 40).is_multiple_of(12) {
                            std::thread::sleep(Duration::from_millis((random >> 50) as u64 % 150));
                            let _ = child.kill();
                        }
                        if !ends(&mut child) {
                            stuck.push(format!("{verb:?}"));
                        }
                    }
                    stuck
                })
            })
            .collect();
        // One that met a pause waits in a container that nobody resumes any more: it is not stuck if it ends with that.
        while callers.iter().any(|c| !c.is_finished()) {
            std::thread::sleep(Duration::from_millis(500));
            if Instant::now() > end {
                let mut c = b.command(&["delete", "--force", id]);
                c.stdout(Stdio::null()).stderr(Stdio::null());
                let _ = c.status();
            }
        }
        callers
            .into_iter()
            .flat_map(|c| c.join().unwrap())
            .collect()
    });
    assert!(stuck.is_empty(), "{stuck:?}");
    let gone: Outcome = b.call(&["delete", "--force", id]);
    assert_eq!(gone.status, 0, "{gone:?}");
    eventually("all processes", || {
        !Path::new(&b.dir.join("state").join(id)).exists()
    });
    nothing_left(&b);
}
