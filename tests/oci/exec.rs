//! Further processes, and terminals.

use super::bundle::{Bundle, bundle, eventually, reap, signal};
use super::common::run;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

fn running() -> Option<Bundle> {
    let b = bundle("echo up; while :; do sleep 0.05; done")?;
    b.start();
    b.await_output("up");
    Some(b)
}

#[test]
fn a_second_process_has_streams_and_status_of_its_own() {
    let Some(b) = running() else { return };
    let o = run(
        b.command(&[
            "exec",
            "--env",
            "A=b",
            "--cwd",
            "/etc",
            "--user",
            "7:8",
            "-g",
            "9",
            &b.id,
            "sh",
            "-c",
            "cat; id; pwd; echo $A >&2; exit 5",
        ]),
        b"input\n",
        super::bundle::LIMIT,
    );
    assert_eq!(o.status, 5, "{o:?}");
    assert!(o.stdout.starts_with("input\nuid=7(bob) gid=8"), "{o:?}");
    assert!(
        o.stdout.contains("9") && o.stdout.ends_with("/etc\n"),
        "{o:?}"
    );
    assert_eq!(o.stderr, "b\n");
    let o = b.call(&["exec", &b.id, "nope"]);
    assert!(
        o.status == 255
            && o.stderr
                .contains("exec: \"nope\": executable file not found in $PATH"),
        "{o:?}"
    );
    let o = b.call(&["exec", &b.id, "sh", "-c", "kill -TERM $$"]);
    assert_eq!(o.status, 128 + 15, "{o:?}");
}

#[test]
fn a_detached_process_is_a_process_of_the_host() {
    let Some(b) = running() else { return };
    let script = "trap 'echo usr1; exit 6' USR1; echo ready; while :; do sleep 0.02; done";
    std::fs::write(
        b.dir.join("process.json"),
        json!({"args": ["sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0}}).to_string(),
    )
    .unwrap();
    let exec = || {
        let out = File::create(b.dir.join("exec-out")).unwrap();
        let mut c = b.command(&[
            "exec",
            "--detach",
            "--pid-file",
            "exec-pid",
            "--process",
            "process.json",
            &b.id,
        ]);
        assert!(
            c.stdin(Stdio::null())
                .stdout(out)
                .status()
                .unwrap()
                .success()
        );
        let said = || std::fs::read_to_string(b.dir.join("exec-out")).unwrap();
        eventually("ready", || said().contains("ready"));
        b.pid_file("exec-pid")
    };
    let pid = exec();
    signal(pid, Signal::SIGUSR1);
    assert_eq!(reap(pid), 6, "its signals and status");
    let pid = exec();
    signal(pid, Signal::SIGKILL);
    assert_eq!(reap(pid), 128 + 9);
    let shells = || {
        b.ok(&["ps"], &[])
            .lines()
            .filter(|l| l.ends_with(" sh"))
            .count()
    };
    eventually("the process dies with the one that stands for it", || {
        shells() == 1
    });
    let pid = exec();
    b.ok(&["kill"], &["KILL"]);
    assert_eq!(reap(pid), 128 + 9, "with the container goes the process");
    eventually("stopped", || b.status() == "stopped");
    let o = b.call(&["exec", &b.id, "true"]);
    assert!(
        o.status == 255 && o.stderr.contains("cannot exec in a stopped container"),
        "{o:?}"
    );
}

/// Processes of the container.
fn processes(b: &Bundle) -> usize {
    b.ok(&["ps"], &[]).lines().count()
}

#[test]
fn a_process_that_nobody_was_told_of_does_not_stay() {
    let Some(b) = running() else { return };
    let before = processes(&b);
    let exec = ["exec", "--detach"];
    let command = [b.id.as_str(), "sleep", "1000"];
    for (options, why) in [
        (["--pid-file", "none/pid"], "cannot write"),
        (["--pidfd-socket", "none/socket"], "cannot send"),
    ] {
        let o = b.call(&[&exec[..], &options, &command].concat());
        assert_eq!(o.status, 255, "{o:?}");
        assert!(o.stderr.contains(why), "{o:?}");
        eventually("it goes", || processes(&b) == before);
    }
}

#[test]
fn a_terminal_that_nobody_looks_at_is_refused() {
    let Some(mut b) = running() else { return };
    // Without a terminal of the test's own.
    let alone = |b: &Bundle, args: &[&str]| {
        b.save();
        let inner = b.command(args);
        let mut c = std::process::Command::new("setsid");
        c.arg("--wait").arg(inner.get_program());
        c.args(inner.get_args()).current_dir(&b.dir);
        run(c, b"", super::bundle::LIMIT)
    };
    let o = alone(&b, &["exec", "--tty", &b.id, "true"]);
    assert_eq!(o.status, 255, "{o:?}");
    assert!(o.stderr.contains("open /dev/tty: "), "{o:?}");
    b.ok(&["delete", "--force"], &[]);
    b.config["process"]["terminal"] = json!(true);
    let o = alone(&b, &["run", &b.id]);
    assert_eq!(o.status, 1, "{o:?}");
    assert!(o.stderr.contains("open /dev/tty: "), "{o:?}");
    assert_eq!(b.call(&["state", &b.id]).status, 1, "nothing is left");
}

/// Listens at a console socket; the master that comes.
fn receive_master(listener: &UnixListener) -> OwnedFd {
    let (socket, _) = listener.accept().unwrap();
    let flags = nix::sys::socket::MsgFlags::empty();
    let (_, fds) = cofferdam_sentry::boot::fds::receive(&socket, &mut [0; 100], flags).unwrap();
    fds.into_iter().next().expect("a descriptor comes")
}

fn set_size(master: &OwnedFd, rows: u16, columns: u16) {
    let mut stty = std::process::Command::new("stty");
    stty.args(["rows", &rows.to_string(), "cols", &columns.to_string()]);
    assert!(
        stty.stdin(master.try_clone().unwrap())
            .status()
            .unwrap()
            .success()
    );
}

/// What comes from a terminal.
struct Screen {
    terminal: File,
    unread: String,
}

impl Screen {
    fn of(master: &OwnedFd) -> Screen {
        Screen {
            terminal: File::from(master.try_clone().unwrap()),
            unread: String::new(),
        }
    }

    /// Reads on until this text has come.
    fn until(&mut self, text: &str) {
        let mut buf = [0; 1000];
        loop {
            if let Some(at) = self.unread.find(text) {
                self.unread.drain(..at + text.len());
                return;
            }
            let mut fds = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap();
            assert!(ready > 0, "{text} never came: {:?}", self.unread);
            match self.terminal.read(&mut buf) {
                Ok(n) if n > 0 => self.unread.push_str(&String::from_utf8_lossy(&buf[..n])),
                end => panic!("{text} never came: {:?} {end:?}", self.unread),
            }
        }
    }

    fn write(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }
}

const TERMINAL: &str = "stty size; tty; trap 'stty size' WINCH; echo ready; while :; do read l || continue; echo \"<$l>\"; test \"$l\" = end && exit 5; done";

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let Some(mut b) = bundle(TERMINAL) else {
        return;
    };
    b.config["process"]["terminal"] = json!(true);
    b.config["process"]["consoleSize"] = json!({"height": 30, "width": 100});
    let listener = UnixListener::bind(b.dir.join("console")).unwrap();
    let pid = b.create_with(&["--console-socket", "console"]);
    let master = receive_master(&listener);
    let mut screen = Screen::of(&master);
    b.ok(&["start"], &[]);
    screen.until("30 100\r\n");
    screen.until("ready\r\n");
    set_size(&master, 40, 120);
    // A shell's read is not interrupted by its traps; a line lets it look.
    screen.write("hello\n");
    screen.until("40 120\r\n");
    screen.write("end\n");
    screen.until("<end>\r\n");
    assert_eq!(reap(pid), 5);
}

#[test]
fn exec_has_a_terminal_too() {
    let Some(b) = running() else { return };
    let listener = UnixListener::bind(b.dir.join("console")).unwrap();
    std::fs::write(
        b.dir.join("process.json"),
        json!({"args": ["sh", "-c", TERMINAL], "env": ["PATH=/bin"], "cwd": "/", "terminal": true, "user": {"uid": 0, "gid": 0}}).to_string(),
    )
    .unwrap();
    let mut c = b.command(&[
        "exec",
        "--detach",
        "--pid-file",
        "exec-pid",
        "--console-socket",
        "console",
        "--process",
        "process.json",
        &b.id,
    ]);
    assert!(c.stdin(Stdio::null()).status().unwrap().success());
    let master = receive_master(&listener);
    let mut screen = Screen::of(&master);
    screen.until("ready\r\n");
    set_size(&master, 50, 130);
    screen.write("hello\n");
    screen.until("50 130\r\n");
    screen.write("end\n");
    screen.until("<end>\r\n");
    assert_eq!(reap(b.pid_file("exec-pid")), 5);
}

#[test]
fn descriptors_are_preserved_on_demand() {
    let Some(b) = bundle("ls /proc/self/fd | wc -l; read l <&3 && echo \"got $l\"") else {
        return;
    };
    b.save();
    std::fs::write(b.dir.join("input"), "three\n").unwrap();
    // A shell to open descriptor 3.
    let line = format!(
        "exec {} --root state run --preserve-fds 1 {} 3<input",
        super::common::COFFERDAM,
        b.id
    );
    let mut c = std::process::Command::new("sh");
    c.args(["-c", &line]).current_dir(&b.dir);
    let o = run(c, b"", super::bundle::LIMIT);
    assert!(o.stdout.contains("got three"), "{o:?}");
    // What is not there is not made up of descriptors of our own.
    let o = b.call(&["run", "--preserve-fds", "100", &b.id]);
    assert_eq!((o.status, o.stdout.as_str()), (1, ""), "{o:?}");
    assert!(o.stderr.contains("unable to stat preserved-fd"), "{o:?}");
}
