//! Limits: what happens over the memory limit, and what is seen of limits inside.

use super::bundle::{Bundle, bundle, eventually, reap};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Events of the host's group that count kills.
fn oom_kills(b: &Bundle) -> u64 {
    let v1 = format!("/sys/fs/cgroup/memory/{}/memory.oom_control", b.id);
    let v2 = format!("/sys/fs/cgroup/{}/memory.events", b.id);
    let text = std::fs::read_to_string(v1).or_else(|_| std::fs::read_to_string(v2));
    let text = text.unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
    line.map_or(0, |n| n.parse().unwrap())
}

/// Over its limit of 64 MB, touching its memory itself.
const HOG: &str = r#"awk 'BEGIN { s = "x"; while (1) s = s s }'"#;

#[test]
fn over_the_memory_limit_one_process_dies() {
    let script = format!("{HOG} 2>/dev/null; echo status $?; cat /etc/passwd; sleep 1000");
    let Some(mut b) = bundle(&script) else { return };
    b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
    let pid = b.start();
    b.await_output("bob");
    assert!(b.output().starts_with("status 137\n"), "{}", b.output());
    assert_eq!(b.status(), "running");
    assert_eq!(oom_kills(&b), 1);
    let events = b.ok(&["exec"], &["cat", "/sys/fs/cgroup/memory.events"]);
    assert!(events.contains("\noom_kill 1\n"), "{events}");
    b.ok(&["delete", "--force"], &[]);
    assert_eq!(reap(pid), 128 + 9);
}

/// What `script` says on each platform under a limit of 64 MB, and how many processes the host killed.
fn eaters(script: &str) -> Vec<(String, u64)> {
    let mut said = Vec::new();
    for platform in ["inline", "notify", "ptrace"] {
        let Some(mut b) = bundle(&format!("{script}; echo end; sleep 1000")) else {
            return said;
        };
        b.config["annotations"]["dev.cofferdam.platform"] = json!(platform);
        b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
        b.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
        let pid = b.start();
        // A shell that was killed says no more.
        eventually("the end of the script", || {
            b.output().ends_with("end\n") || b.status() == "stopped"
        });
        said.push((b.output(), oom_kills(&b)));
        b.ok(&["delete", "--force"], &[]);
        reap(pid);
    }
    said
}

/// Over the limit in a call: it is the sentry that has something to write there.
const READER: &str = "dd if=/dev/urandom of=/dev/null bs=200M count=1 2>/dev/null";

#[test]
fn a_call_over_the_memory_limit_costs_one_process() {
    let script = format!("for i in 1 2 3 4 5 6; do {READER}; echo $?; done");
    for said in eaters(&script) {
        assert_eq!(said, ("137\n".repeat(6) + "end\n", 6));
    }
}

#[test]
fn several_over_the_memory_limit_die_and_nobody_else() {
    let script = format!(
        "for i in 1 2 3; do for j in 1 2 3; do {READER} & done; {HOG} 2>/dev/null &
         for j in 1 2 3 4 5; do echo a | cat; done; wait; done"
    );
    for said in eaters(&script) {
        assert_eq!(said, ("a\n".repeat(15) + "end\n", 12));
    }
}

#[test]
fn files_in_memory_and_a_call_over_the_limit() {
    let script = format!(
        "for i in 1 2 3; do dd if=/dev/zero of=/tmp/big bs=1M count=100 2>/dev/null; echo $?; {READER}; echo $?; rm /tmp/big; done"
    );
    for said in eaters(&script) {
        assert_eq!(said, ("1\n137\n".repeat(3) + "end\n", 3));
    }
}

#[test]
fn an_init_over_the_memory_limit_ends_its_container() {
    let Some(mut b) = bundle("") else { return };
    b.config["process"]["args"] = json!(["awk", r#"BEGIN { s = "x"; while (1) s = s s }"#]);
    b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
    let pid = b.start();
    assert_eq!(reap(pid), 128 + 9);
    assert_eq!(b.status(), "stopped");
    assert_eq!(oom_kills(&b), 1);
}

#[test]
fn events_tell_of_it() {
    let script = format!("read go < /tmp/fifo; {}; sleep 1000", HOG);
    let script = format!("mknod /tmp/fifo p; echo up; {script}");
    let Some(mut b) = bundle(&script) else { return };
    b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
    let pid = b.start();
    b.await_output("up");
    let out = std::fs::File::create(b.dir.join("events")).unwrap();
    let mut watcher = b
        .command(&["events", "--interval", "50ms", &b.id])
        .stdout(out)
        .spawn()
        .unwrap();
    let events = || {
        let text = std::fs::read_to_string(b.dir.join("events")).unwrap();
        let complete = text.rsplit_once('\n').map_or("", |(t, _)| t);
        let lines = complete
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        lines.collect::<Vec<_>>()
    };
    eventually("stats", || !events().is_empty());
    b.ok(&["exec"], &["sh", "-c", "echo > /tmp/fifo"]);
    eventually("oom", || events().iter().any(|e| e["type"] == "oom"));
    b.ok(&["kill"], &["KILL"]);
    reap(pid);
    assert!(
        watcher.wait().unwrap().success(),
        "it ends with the container"
    );
}

#[test]
fn files_in_memory_stay_below_the_limit() {
    let script = "dd if=/dev/zero of=/tmp/big bs=1M count=100; echo status $?; rm /tmp/big; echo up; sleep 1000";
    let Some(mut b) = bundle(script) else { return };
    b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
    b.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    b.start();
    b.await_output("up");
    let said = b.output();
    assert!(
        said.contains("No space left") && said.contains("status 1"),
        "{said}"
    );
    assert_eq!(oom_kills(&b), 0);
}

fn seen(b: &Bundle) -> String {
    let files = ["memory.max", "pids.max", "cpu.max", "cpu.weight"];
    let files = files.map(|f| format!("/sys/fs/cgroup/{f}"));
    let script = format!("cat {}; grep MemTotal /proc/meminfo", files.join(" "));
    b.ok(&["exec"], &["sh", "-c", &script])
}

#[test]
fn limits_are_seen_inside_and_follow_update() {
    let Some(mut b) = bundle("echo up; sleep 1000") else {
        return;
    };
    b.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}));
    b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50},
        "cpu": {"quota": 50000, "period": 100_000, "shares": 1024}});
    b.start();
    b.await_output("up");
    let said = seen(&b);
    assert!(
        said.starts_with("67108864\n50\n50000 100000\n39\nMemTotal:") && said.contains(" 65536 kB"),
        "{said}"
    );
    b.ok(
        &["update", "--memory", "134217728", "--pids-limit", "60"],
        &[],
    );
    let said = seen(&b);
    assert!(
        said.starts_with("134217728\n60\n50000 100000\n39\nMemTotal:")
            && said.contains(" 131072 kB"),
        "{said}"
    );
    b.ok(
        &[
            "update",
            "--memory",
            "-1",
            "--pids-limit",
            "-1",
            "--cpu-quota",
            "-1",
        ],
        &[],
    );
    let host = nix::sys::sysinfo::sysinfo().unwrap().ram_total() / 1024;
    let said = seen(&b);
    assert!(
        said.starts_with("max\nmax\nmax 100000\n39\nMemTotal:")
            && said.contains(&format!(" {host} kB")),
        "{said}"
    );
    b.ok(&["pause"], &[]);
    b.ok(&["update", "--pids-limit", "7"], &[]);
    b.ok(&["resume"], &[]);
    eventually("the limit set while it was paused", || {
        seen(&b).starts_with("max\n7\n")
    });
}

/// The host's order of victims.
#[test]
fn guest_processes_are_killed_before_ours() {
    let Some(mut b) = bundle("echo up; sleep 1000 & sleep 1000") else {
        return;
    };
    for wanted in [0, 300] {
        b.config["process"]["oomScoreAdj"] = json!(wanted);
        let monitor = b.start();
        b.await_output("up");
        let score = |pid: &Pid| -> i32 {
            let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
            text.trim().parse().unwrap()
        };
        let ours = super::crash::children(monitor);
        let guests: Vec<Pid> = super::crash::descendants(monitor)
            .into_iter()
            .filter(|p| !ours.contains(p))
            .collect();
        assert!(guests.len() >= 3, "zygote and stubs: {guests:?}");
        let most = ours.iter().chain([&monitor]).map(score).max().unwrap();
        for guest in &guests {
            assert!(
                score(guest) >= (most + 700).max(wanted),
                "{} {most}",
                score(guest)
            );
        }
        // Inside it is what was asked for.
        let inside = b.ok(&["exec"], &["cat", "/proc/1/oom_score_adj"]);
        assert_eq!(inside, format!("{wanted}\n"));
        b.ok(&["delete", "--force"], &[]);
        reap(monitor);
        std::fs::remove_file(b.dir.join("out")).unwrap();
    }
}
