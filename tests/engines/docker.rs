//! Docker.

use super::common::COFFERDAM;
use super::image::{Client, LIMIT, ready, scratch};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A daemon that ends with the test.
struct Daemon {
    child: Child,
    client: Client,
    dir: PathBuf,
}

fn daemon() -> Option<Daemon> {
    if !ready(&["dockerd", "docker", "containerd", "runc", "busybox"]) {
        return None;
    }
    let dir = scratch("docker");
    let at = |name: &str| dir.join(name).display().to_string();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let socket = format!("unix://{}", at("sock"));
    let child = Command::new("/usr/sbin/dockerd")
        .args(["--iptables=false", "--bridge=none", "--storage-driver=vfs"])
        .args([
            "--data-root",
            &at("data"),
            "--exec-root",
            &at("exec"),
            "--pidfile",
            &at("pid"),
            "-H",
            &socket,
        ])
        .arg(format!("--add-runtime=cofferdam={COFFERDAM}"))
        .arg("--default-runtime=cofferdam")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let client = Client {
        prefix: vec!["/usr/bin/docker".into(), "-H".into(), socket],
    };
    let d = Daemon { child, client, dir };
    let until = Instant::now() + LIMIT;
    while d.client.call(&["version"]).status != 0 {
        let said = std::fs::read_to_string(d.dir.join("log")).unwrap_or_default();
        assert!(Instant::now() < until, "dockerd does not start: {said}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    d.client.ok(&[
        "import",
        &d.dir.join("image.tar").display().to_string(),
        "bb",
    ]);
    Some(d)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let all = self.client.call(&["ps", "-aq"]).stdout;
            let ids: Vec<&str> = all.split_whitespace().collect();
            if !ids.is_empty() {
                let _ = self.client.call(&[&["rm", "-f"][..], &ids].concat());
            }
        }
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
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
    options(c);
    life(c);
    build(&d);
}

fn options(c: &Client) {
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
    let said = c.ok(&run(
        &[
            "--rm",
            "--user",
            "5:6",
            "--hostname",
            "named",
            "--workdir",
            "/some/where",
            "-e",
            "A=b",
            "--ulimit",
            "nofile=99:99",
            "--init",
        ],
        &["sh", "-c", "id -u; hostname; pwd; echo $A; ulimit -n"],
    ));
    assert_eq!(said, "5\nnamed\n/some/where\nb\n99");
    let caps = c.ok(&run(
        &[
            "--rm",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
        ],
        &["cat", "/proc/self/status"],
    ));
    assert!(
        caps.contains("CapEff:\t0000000000000000") && caps.contains("NoNewPrivs:\t1"),
        "{caps}"
    );
    let limits = c.ok(&run(
        &[
            "--rm",
            "--memory",
            "64m",
            "--cpus",
            "0.5",
            "--pids-limit",
            "20",
        ],
        &[
            "cat",
            "/sys/fs/cgroup/memory.max",
            "/sys/fs/cgroup/pids.max",
        ],
    ));
    assert_eq!(limits, "67108864\n20");
    assert!(
        c.fails(
            1,
            &run(&["--rm", "--read-only"], &["sh", "-c", "echo > /x"])
        )
        .contains("Read-only")
    );
    assert!(
        c.ok(&run(&["--rm", "--tmpfs", "/t"], &["mount"]))
            .contains(" on /t type tmpfs")
    );
    assert_eq!(c.ok(&run(&["--rm", "-t"], &["tty"])), "/dev/pts/0");
}

fn life(c: &Client) {
    let script = "trap 'echo got term; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    c.ok(&run(&["-d", "--name", "web"], &["sh", "-c", script]));
    c.await_log("web", "up");
    assert_eq!(
        c.ok(&["exec", "web", "sh", "-c", "echo in; echo x > /file"]),
        "in"
    );
    assert_eq!(c.fails(4, &["exec", "-t", "web", "sh", "-c", "exit 4"]), "");
    assert!(
        c.ok(&["top", "web"]).contains("got term"),
        "its program's own command line"
    );
    assert!(c.ok(&["cp", "web:/file", "-"]).contains("x\n"));
    c.ok(&["pause", "web"]);
    assert_eq!(
        c.ok(&["inspect", "-f", "{{.State.Status}}", "web"]),
        "paused"
    );
    c.ok(&["unpause", "web"]);
    c.ok(&["update", "--memory", "100m", "--memory-swap", "200m", "web"]);
    assert!(c.ok(&["stats", "--no-stream", "web"]).contains("100MiB"));
    c.ok(&["stop", "web"]);
    assert_eq!(c.ok(&["inspect", "-f", "{{.State.ExitCode}}", "web"]), "3");
    c.ok(&["restart", "web"]);
    c.ok(&["kill", "web"]);
    assert_eq!(c.ok(&["wait", "web"]), "137");
    assert!(c.ok(&["diff", "web"]).contains("A /file"));
    c.ok(&["rm", "web"]);
}

fn build(d: &Daemon) {
    let dir = d.dir.join("build");
    std::fs::create_dir(&dir).unwrap();
    let steps = "FROM bb\nRUN echo built > /built && mkdir /d && chown 5:6 /d\nRUN cat /built && rm /bin/tty\nCMD [\"ls\", \"-ldn\", \"/d\"]\n";
    std::fs::write(dir.join("Dockerfile"), steps).unwrap();
    d.client.ok(&[
        "build",
        "--network",
        "none",
        "-t",
        "built",
        &dir.display().to_string(),
    ]);
    let said = d.client.ok(&["run", "--rm", "--network", "none", "built"]);
    assert!(said.contains(" 5 ") && said.contains(" 6 "), "{said}");
    d.client
        .fails(127, &["run", "--rm", "--network", "none", "built", "tty"]);
}
