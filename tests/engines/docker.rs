//! Docker.

use super::common::COFFERDAM;
use super::image::{Client, Daemon, debian, debootstrap, eventually, ready, scratch};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

fn daemon() -> Option<Daemon> {
    if !ready(&[
        "dockerd",
        "docker",
        "docker-init",
        "containerd",
        "runc",
        "busybox",
        "script",
    ]) {
        return None;
    }
    let dir = scratch("docker");
    let at = |name: &str| dir.join(name).display().to_string();
    let socket = format!("unix://{}", at("sock"));
    let runtime = format!("--add-runtime=cofferdam={COFFERDAM}");
    let program = [
        "/usr/sbin/dockerd",
        "--iptables=false",
        "--bridge=none",
        "--storage-driver=vfs",
        "--data-root",
        &at("data"),
        "--exec-root",
        &at("exec"),
        "--pidfile",
        &at("pid"),
        "-H",
        &socket,
        &runtime,
        "--default-runtime=cofferdam",
    ];
    let client = Client {
        prefix: vec!["/usr/bin/docker".into(), "-H".into(), socket.clone()],
    };
    let d = Daemon::start(&program, client, &["version"], dir.clone());
    d.client.ok(&["import", &at("image.tar"), "bb"]);
    Some(d)
}

/// Containers that a failed test has left must not outlive the daemon.
struct Containers<'c>(&'c Client);

impl Drop for Containers<'_> {
    fn drop(&mut self) {
        let all = self.0.call(&["ps", "-aq"]).stdout;
        let ids: Vec<&str> = all.split_whitespace().collect();
        if !ids.is_empty() {
            let _ = self.0.call(&[&["rm", "-f"][..], &ids].concat());
        }
    }
}

/// `docker run` with no network.
fn run<'a>(options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--network", "none"][..], options, &["bb"], command].concat()
}

#[test]
fn docker() {
    let Some(d) = daemon() else { return };
    let c = &d.client;
    let containers = Containers(c);
    statuses(c);
    options(c, &d.dir);
    terminals(c);
    life(c, &d.dir);
    memory(c);
    build(c, &d.dir);
    distribution(c, &d.dir);
    drop(containers);
}

fn statuses(c: &Client) {
    assert_eq!(c.ok(&run(&["--rm"], &["id", "-u"])), "0");
    assert_eq!(c.fails(7, &run(&["--rm"], &["sh", "-c", "exit 7"])), "");
    assert!(
        c.fails(127, &run(&["--rm"], &["nope"]))
            .contains("executable file not found")
    );
    assert!(
        c.fails(126, &run(&["--rm"], &["/etc"]))
            .contains("permission denied")
    );
}

fn options(c: &Client, dir: &Path) {
    let env_file = dir.join("env").display().to_string();
    std::fs::write(&env_file, "A=b\nLONG=c d\n").unwrap();
    let who = [
        "--rm",
        "--user",
        "5:6",
        "--hostname",
        "named",
        "--workdir",
        "/some/where",
        "--env-file",
        &env_file,
        "--ulimit",
        "nofile=99:199",
    ];
    let script = "id -u; id -g; hostname; pwd; echo $A $LONG; ulimit -n; ulimit -Hn";
    let said = c.ok(&run(&who, &["sh", "-c", script]));
    assert_eq!(said, "5\n6\nnamed\n/some/where\nb c d\n99\n199");

    let init = c.ok(&run(
        &["--rm", "--init"],
        &["cat", "/proc/1/cmdline", "/proc/self/stat"],
    ));
    assert!(init.starts_with("/sbin/docker-init\0--\0cat"), "{init}");
    assert!(!init.contains("1 (cat)"), "{init}");

    let bare = [
        "--rm",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
    ];
    let caps = c.ok(&run(&bare, &["cat", "/proc/self/status"]));
    assert!(
        caps.contains("CapEff:\t0000000000000000") && caps.contains("NoNewPrivs:\t1"),
        "{caps}"
    );

    let limited = [
        "--rm",
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "20",
    ];
    let files = ["memory.max", "cpu.max", "pids.max"].map(|f| format!("/sys/fs/cgroup/{f}"));
    let command = ["cat", &files[0], &files[1], &files[2]];
    assert_eq!(c.ok(&run(&limited, &command)), "67108864\n50000 100000\n20");

    let said = c.fails(
        1,
        &run(&["--rm", "--read-only"], &["sh", "-c", "echo > /x"]),
    );
    assert!(said.contains("Read-only"), "{said}");
    let mounts = c.ok(&run(&["--rm", "--tmpfs", "/t"], &["mount"]));
    assert!(mounts.contains(" on /t type tmpfs"), "{mounts}");

    let volume = format!("{}:/v", dir.join("volume").display());
    let script = "echo kept > /v/file; id -u";
    c.ok(&run(&["--rm", "-v", &volume], &["sh", "-c", script]));
    let kept = std::fs::read_to_string(dir.join("volume/file")).unwrap();
    assert_eq!(kept, "kept\n");
    let read_only = format!("{volume}:ro");
    let said = c.fails(
        1,
        &run(&["--rm", "-v", &read_only], &["sh", "-c", "echo > /v/file"]),
    );
    assert!(said.contains("Read-only"), "{said}");
}

/// On a terminal of the test's own, so that the client may be given -it.
fn on_terminal(c: &Client, args: &[&str]) -> String {
    let words: Vec<&str> = c
        .prefix
        .iter()
        .map(String::as_str)
        .chain(args.iter().copied())
        .collect();
    let quoted: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
    let line = format!("stty rows 33 cols 44; exec {}", quoted.join(" "));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    let o = super::common::run(command, b"", super::image::LIMIT);
    assert_eq!(o.status, 5, "{args:?}: {o:?}");
    o.stdout.replace('\r', "")
}

fn terminals(c: &Client) {
    assert_eq!(c.ok(&run(&["--rm", "-t"], &["tty"])), "/dev/pts/0");
    let script = "tty; sleep 1; stty size; exit 5";
    let said = on_terminal(c, &run(&["--rm", "-it"], &["sh", "-c", script]));
    assert!(
        said.contains("/dev/pts/0\n") && said.contains("33 44\n"),
        "{said}"
    );
    c.ok(&run(&["-d", "--name", "term"], &["sleep", "1000"]));
    let said = on_terminal(c, &["exec", "-it", "term", "sh", "-c", script]);
    assert!(
        said.contains("/dev/pts/0\n") && said.contains("33 44\n"),
        "{said}"
    );
    assert_eq!(
        c.fails(4, &["exec", "-t", "term", "sh", "-c", "exit 4"]),
        ""
    );
    c.ok(&["rm", "-f", "term"]);
}

fn life(c: &Client, dir: &Path) {
    let script = "trap 'echo got term; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    c.ok(&run(&["-d", "--name", "web"], &["sh", "-c", script]));
    c.await_log("web", "up");
    let script = "echo in; id -u; pwd; echo $A; echo x > /file";
    let exec = [
        "exec", "-u", "0", "-w", "/etc", "-e", "A=b", "web", "sh", "-c", script,
    ];
    assert_eq!(c.ok(&exec), "in\n0\n/etc\nb");
    // Docker's own way; with runc too.
    c.fails(126, &["exec", "web", "nope"]);
    let top = c.ok(&["top", "web"]);
    assert!(
        top.contains("got term"),
        "its program's own command line: {top}"
    );

    assert!(c.ok(&["cp", "web:/file", "-"]).contains("x\n"));
    let file = dir.join("sent").display().to_string();
    std::fs::write(&file, "sent in").unwrap();
    c.ok(&["cp", &file, "web:/tmp/sent"]);
    assert_eq!(c.ok(&["exec", "web", "cat", "/tmp/sent"]), "sent in");

    c.ok(&["pause", "web"]);
    let status = || c.ok(&["inspect", "-f", "{{.State.Status}}", "web"]);
    assert_eq!(status(), "paused");
    c.ok(&["unpause", "web"]);
    assert_eq!(status(), "running");
    c.ok(&["update", "--memory", "100m", "--memory-swap", "200m", "web"]);
    assert!(c.ok(&["stats", "--no-stream", "web"]).contains("100MiB"));
    let seen = c.ok(&["exec", "web", "cat", "/sys/fs/cgroup/memory.max"]);
    assert_eq!(seen, (100 << 20).to_string());

    c.ok(&["stop", "web"]);
    assert_eq!(c.ok(&["inspect", "-f", "{{.State.ExitCode}}", "web"]), "3");
    assert!(c.ok(&["logs", "web"]).contains("got term"));
    c.ok(&["restart", "web"]);
    c.ok(&["kill", "web"]);
    assert_eq!(c.ok(&["wait", "web"]), "137");
    assert!(c.ok(&["diff", "web"]).contains("A /file"));
    c.ok(&["rm", "web"]);
}

/// Over the memory limit: a process other than init, then init.
fn memory(c: &Client) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap().as_secs().to_string();
    let hog = r#"awk 'BEGIN { s = "x"; while (1) s = s s }'"#;
    let script = format!("{hog}; echo status $?; sleep 1000");
    let limited = ["-d", "--memory", "64m", "--name"];
    let start = |name: &str, command: &str| {
        c.ok(&run(
            &[&limited[..], &[name]].concat(),
            &["sh", "-c", command],
        ));
    };
    start("hit", &script);
    c.await_log("hit", "status 137");
    c.ok(&["kill", "hit"]);
    start("lost", &format!("exec {hog}"));
    assert_eq!(c.ok(&["wait", "lost"]), "137");
    let oom = c.ok(&["inspect", "-f", "{{.State.OOMKilled}}", "lost"]);
    assert_eq!(oom, "true");
    for name in ["hit", "lost"] {
        let told = || {
            let until = SystemTime::now() + Duration::from_secs(1);
            let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            c.ok(&[
                "events",
                "--since",
                &since,
                "--until",
                &until.as_secs().to_string(),
                "--filter",
                &format!("container={name}"),
                "--filter",
                "event=oom",
                "--filter",
                "event=die",
                "--format",
                "{{.Action}} {{.Actor.Attributes.exitCode}}",
            ])
        };
        eventually("events", || told() == "oom <no value>\ndie 137");
    }
    c.ok(&["rm", "hit", "lost"]);
}

fn build(c: &Client, dir: &Path) {
    let dir = dir.join("build");
    std::fs::create_dir(&dir).unwrap();
    let steps = "FROM bb\nRUN echo built > /built && mkdir /d && chown 5:6 /d\nRUN cat /built && rm /bin/tty\nCMD [\"ls\", \"-ldn\", \"/d\"]\n";
    std::fs::write(dir.join("Dockerfile"), steps).unwrap();
    let at = dir.display().to_string();
    c.ok(&["build", "--network", "none", "-t", "built", &at]);
    let said = c.ok(&["run", "--rm", "--network", "none", "built"]);
    assert!(said.contains(" 5 ") && said.contains(" 6 "), "{said}");
    c.fails(127, &["run", "--rm", "--network", "none", "built", "tty"]);
}

/// An image of a distribution's own programs, with its own package manager.
fn distribution(c: &Client, dir: &Path) {
    let Some(archive) = debootstrap().or_else(|| debian(dir)) else {
        return;
    };
    c.ok(&["import", &archive, "debian"]);
    let script = "set -e; bash --version | head -n 1; perl -e 'print 6*7, qq(\\n)'; dpkg --print-architecture; ls -l /proc/self/exe | grep -c /usr/bin/ls; sort /etc/passwd | head -n 1";
    let said = c.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "debian",
        "bash",
        "-c",
        script,
    ]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("GNU bash"), "{said}");
    assert_eq!(lines[1..4], ["42", "amd64", "1"], "{said}");
    // A package once more, if debootstrap has left some.
    let script = "set -e; cd /var/cache/apt/archives 2>/dev/null && test -n \"$(ls sed_*.deb)\" || exit 0; dpkg --install sed_*.deb; dpkg --verify sed; dpkg --status sed | grep Status";
    let debian = ["--rm", "--network", "none", "debian", "bash", "-c", script];
    let said = c.ok(&[&["run"][..], &debian].concat());
    assert!(
        said.is_empty() || said.ends_with("Status: install ok installed"),
        "{said}"
    );
}
