//! Errors in use: each is one clear sentence on standard error with the right exit status.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use common::{COFFERDAM, Outcome, Scratch, command, run};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn cofferdam(args: &[&str]) -> Outcome {
    run(command(COFFERDAM, args), b"", LIMIT)
}

/// The outcome is this status and one sentence with all these words in it.
fn is_one_sentence(outcome: &Outcome, status: i32, words: &[&str]) {
    let Outcome {
        status: got,
        stdout,
        stderr,
    } = outcome;
    assert_eq!(*got, status, "{stderr}");
    assert_eq!(stdout, "", "nothing on standard output");
    assert_eq!(stderr.lines().count(), 1, "one sentence, not:\n{stderr}");
    assert!(stderr.starts_with("cofferdam: "), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no '{word}' in: {stderr}");
    }
}

#[test]
fn bad_options_are_named() {
    for (args, words) in [
        (&["do", "--nonsense", "true"][..], &["--nonsense"][..]),
        (&["do"], &["COMMAND"]),
        (&[], &["no command"]),
        (&["undo"], &["undo"]),
        (&["doo"], &["'doo'", "'do'"]),
        (&["gcc", "-c"], &["cofferdam do -- gcc"]),
        (
            &["do", "--bindd", "/etc", "true"],
            &["--bindd", "'--bind'", "do --help"],
        ),
        (
            &["--platform", "ptrace", "do", "true"],
            &["--platform before 'do'"],
        ),
        (&["bench", "true"], &["'true'", "'--' before"]),
        (
            &["do", "--bind", "/etc:relative", "true"],
            &["--bind", "absolute"],
        ),
        (
            &["do", "--bind", "a:/b:/c:ro", "true"],
            &["--bind", "SRC[:DST][:ro|rw]"],
        ),
        (
            &["do", "--tmpfs", "relative", "true"],
            &["--tmpfs", "absolute"],
        ),
        (
            &["do", "--tmpfs", "/x:size=much", "true"],
            &["--tmpfs", "'much'"],
        ),
        (
            &["do", "--env", "novalue", "true"],
            &["--env", "NAME=VALUE"],
        ),
        (
            &["do", "--user", "12:", "true"],
            &["--user", "USER[:GROUP]"],
        ),
        (&["do", "--user", "12:4x", "true"], &["--user", "'4x'"]),
        (&["do", "--cpu-time", "0", "true"], &["--cpu-time", "'0'"]),
        (&["do", "--memory", "-1", "true"], &["--memory", "'-1'"]),
        (&["do", "--hostname", "", "true"], &["--hostname"]),
        (&["do", "--cwd", "relative", "true"], &["--cwd", "absolute"]),
        (
            &["do", "--log-level", "loud", "true"],
            &["--log-level", "debug"],
        ),
        (&["do", "--platform", "kvm", "true"], &["'kvm'", "ptrace"]),
        (&["do", "--memory", "much", "true"], &["--memory", "'much'"]),
        (
            &["do", "--memory", "1m", "true"],
            &["--memory", "at least 32m"],
        ),
        (
            &["do", "--pids", "0", "true"],
            &["--pids", "'0' is not a number of tasks"],
        ),
        (&["do", "--time", "soon", "true"], &["--time", "'soon'"]),
        (&["do", "--time", "0", "true"], &["--time", "'0'"]),
    ] {
        is_one_sentence(&cofferdam(args), 125, words);
    }
}

#[test]
fn bad_command_lines_of_verbs_end_as_with_runc() {
    for (args, words) in [
        (&["state"] as &[&str], &["<ID>", "cofferdam state --help"]),
        (&["--root", "/x", "kill", "a", "b", "c"], &["'c'", "kill"]),
        (&["exec"], &["<ID>", "exec"]),
        (&["delete", "--frce", "a"], &["--frce", "--force"]),
    ] {
        is_one_sentence(&cofferdam(args), 1, words);
    }
}

#[test]
fn missing_sources_are_named() {
    let scratch = Scratch::new();
    let file = scratch.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    is_one_sentence(
        &cofferdam(&["do", "--rootfs", "/nonexistent", "true"]),
        125,
        &["--rootfs /nonexistent", "no such file"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--rootfs", file, "true"]),
        125,
        &["--rootfs", "not a directory"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--bind", "/nonexistent", "true"]),
        125,
        &["--bind /nonexistent", "no such file"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--bind", "/dev/null:/x", "true"]),
        125,
        &["/dev/null", "only directories and regular files"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--bind", "/proc:/x", "true"]),
        125,
        &["/proc"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--cwd", "/nonexistent", "true"]),
        125,
        &["/nonexistent", "no such file"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--user", "nobody-at-all", "true"]),
        125,
        &["nobody-at-all", "/etc/passwd"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--user", "daemon:nobody-at-all", "true"]),
        125,
        &["nobody-at-all", "/etc/group"],
    );
    let empty = scratch.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    is_one_sentence(
        &cofferdam(&["do", "--rootfs", empty.to_str().unwrap(), "/bin/true"]),
        127,
        &["/bin/true"],
    );
}

#[test]
fn programs_that_cannot_run_have_their_own_status() {
    is_one_sentence(
        &cofferdam(&["do", "no-such-program"]),
        127,
        &["no-such-program", "not found"],
    );
    is_one_sentence(
        &cofferdam(&["do", "/no/such/program"]),
        127,
        &["/no/such/program"],
    );
    is_one_sentence(
        &cofferdam(&["do", "/etc/passwd"]),
        126,
        &["/etc/passwd", "permission denied"],
    );
    is_one_sentence(&cofferdam(&["do", "/usr"]), 126, &["/usr"]);
    let scratch = Scratch::new();
    let text = scratch.path().join("text");
    for (content, reason) in [
        ("\x7fELF is not enough", "neither an x86-64 program"),
        ("echo no line with an interpreter", "nor a script"),
        ("#!/no/such/interpreter", "the interpreter or loader"),
    ] {
        std::fs::write(&text, content).unwrap();
        std::fs::set_permissions(&text, PermissionsExt::from_mode(0o755)).unwrap();
        let mut c = command(COFFERDAM, &["do", "./text"]);
        c.current_dir(scratch.path());
        is_one_sentence(&run(c, b"", LIMIT), 126, &["./text", reason]);
    }
}

#[test]
fn logs_that_cannot_be_written_are_found_out_at_once() {
    is_one_sentence(
        &cofferdam(&["do", "--log", "/dev/full", "true"]),
        125,
        &["/dev/full", "no space left"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--log", "/nonexistent/log", "true"]),
        125,
        &["/nonexistent/log"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--strace=/nonexistent/trace", "true"]),
        125,
        &["/nonexistent/trace"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--strace=/dev/full", "true"]),
        0,
        &["--strace", "o space left"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--profile=/nonexistent/profile", "true"]),
        125,
        &["/nonexistent/profile"],
    );
    is_one_sentence(
        &cofferdam(&["do", "--profile=/dev/full", "true"]),
        0,
        &["--profile", "o space left"],
    );
}

#[test]
fn the_log_and_the_trace_are_written() {
    let scratch = Scratch::new();
    let (log, trace) = (scratch.path().join("log"), scratch.path().join("trace"));
    let strace = format!("--strace={}", trace.display());
    let done = cofferdam(&[
        "do",
        "--log",
        log.to_str().unwrap(),
        "--log-level",
        "debug",
        &strace,
        "echo",
        "hello",
    ]);
    assert_eq!(
        (done.status, done.stdout.as_str(), done.stderr.as_str()),
        (0, "hello\n", "")
    );
    assert!(
        std::fs::read_to_string(log).unwrap().contains("cofferdam"),
        "the log has lines"
    );
    let trace = std::fs::read_to_string(trace).unwrap();
    // What no program inside has called: how the first one came to be.
    let (first, hello) = (trace.lines().next().unwrap(), "[\"echo\", \"hello\"], /* ");
    assert!(
        first.starts_with("[    1] execve(\"/") && first.ends_with(" vars */) = 0"),
        "{first}"
    );
    assert!(first.contains(hello), "{first}");
    assert!(trace.contains("write(1, \"hello\\n\", 6) = 6"), "{trace}");
    assert!(trace.contains("exit_group(0) = ?"), "{trace}");
}

/// The sandbox's kernel is meant, not the host's.
#[test]
fn sandboxes_in_sandboxes_are_refused_by_name() {
    let bind = format!("{COFFERDAM}:/inner");
    is_one_sentence(
        &cofferdam(&["do", "--bind", &bind, "/inner", "do", "true"]),
        125,
        &["inside a Cofferdam sandbox", "without it"],
    );
}

/// A copy of the program where everybody can run it.
fn public_copy(scratch: &Scratch) -> PathBuf {
    let copy = scratch.path().join("cofferdam");
    // By another process: a descriptor of it that can write, inherited by a child of another test, would be ETXTBSY.
    let copied = run(
        command("cp", &[COFFERDAM, copy.to_str().unwrap()]),
        b"",
        LIMIT,
    );
    assert_eq!(copied.status, 0, "{}", copied.stderr);
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    copy
}

/// A command that runs as an ordinary user if this test runs as root.
fn as_ordinary_user(program: PathBuf) -> Command {
    let mut c = Command::new(program);
    if nix::unistd::geteuid().is_root() {
        c.uid(65534).gid(65534);
    }
    c.current_dir("/");
    c
}

#[test]
fn an_ordinary_user_reads_only_what_is_theirs() {
    let scratch = Scratch::new();
    let copy = public_copy(&scratch);
    let secret = scratch.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).unwrap();
    if nix::unistd::geteuid().is_root() {
        let mut c = as_ordinary_user(copy.clone());
        c.args(["do", "--bind"]).arg(&secret).arg("true");
        is_one_sentence(&run(c, b"", LIMIT), 125, &["secret", "ermission denied"]);
    } else {
        eprintln!(
            "skip: a bind source that cannot be read: only root can make one of somebody else's"
        );
    }
    let mut c = as_ordinary_user(copy);
    c.args(["do", "id", "-u"]);
    let done = run(c, b"", LIMIT);
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert_ne!(done.stdout, "0\n");
}

#[test]
fn a_memory_limit_that_cannot_be_kept_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skip: who may make no control group: only root can become nobody");
        return;
    }
    let scratch = Scratch::new();
    let mut c = as_ordinary_user(public_copy(&scratch));
    c.args(["do", "--memory", "64m", "true"]);
    let words = ["--memory", "control group", "systemd-run"];
    let refused = run(c, b"", LIMIT);
    is_one_sentence(&refused, 125, &words);
    assert!(!refused.stderr.contains("os error"), "{}", refused.stderr);
}

/// The current directory is shown if it can be; nobody asked for it.
#[test]
fn a_current_directory_that_cannot_be_shown_does_no_harm() {
    let scratch = Scratch::new();
    let copy = public_copy(&scratch);
    let pwd = |mut c: Command, options: &[&str]| {
        c.arg("do").args(options).arg("pwd");
        let done = run(c, b"", LIMIT);
        assert_eq!((done.status, done.stderr.as_str()), (0, ""));
        done.stdout
    };
    for (dir, options, shown) in [
        ("/proc", &[][..], "/proc\n"),
        ("/sys/kernel", &[], "/sys/kernel\n"),
        ("/dev", &[], "/dev\n"),
        ("/etc", &[], "/etc\n"),
        // The sandbox has a /tmp of its own over that of the host.
        (scratch.path().to_str().unwrap(), &["--rootfs", "/"], "/\n"),
    ] {
        let mut c = command(COFFERDAM, &[]);
        c.current_dir(dir);
        assert_eq!(pwd(c, options), shown, "in {dir}");
    }
    let mut c = command(
        COFFERDAM,
        &["do", "sh", "-c", "echo x > /dev/null; echo $?"],
    );
    c.current_dir("/dev");
    assert_eq!(
        run(c, b"", LIMIT).stdout,
        "0\n",
        "devices are the sandbox's own"
    );
    if !nix::unistd::geteuid().is_root() {
        eprintln!(
            "skip: system directories and directories of others: only root can read what others cannot"
        );
        return;
    }
    let mut c = command(COFFERDAM, &["do", "cat", "/etc/shadow"]);
    c.current_dir("/etc");
    assert_eq!(run(c, b"", LIMIT).status, 1, "keys of the system stay out");
    // Root starts it there for somebody else, as su does.
    let private = scratch.path().join("private");
    std::fs::create_dir(&private).unwrap();
    std::fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).unwrap();
    let script = "exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" do pwd";
    let mut c = command("sh", &["-c", script]);
    c.arg(copy).current_dir(&private);
    let done = run(c, b"", LIMIT);
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("/\n", ""));
}

#[test]
fn read_only_counts_for_the_current_directory_too() {
    let scratch = Scratch::new();
    for (options, status) in [(&["do"][..], 0), (&["do", "--read-only"], 2)] {
        let mut c = command(COFFERDAM, options);
        c.args(["sh", "-c", "echo x > new"])
            .current_dir(scratch.path());
        assert_eq!(run(c, b"", LIMIT).status, status);
        assert!(!scratch.path().join("new").exists());
    }
}

/// What no sandbox has is a line of the log, once.
#[test]
fn refused_calls_are_in_the_log() {
    let script = "import ctypes\nfor i in range(3): ctypes.CDLL(None).syscall(425, 8, 0)";
    let done = cofferdam(&[
        "do",
        "--log-level",
        "info",
        "/usr/bin/python3",
        "-c",
        script,
    ]);
    if done.status == 127 {
        eprintln!("skip: python3 is not installed");
        return;
    }
    let lines = done
        .stderr
        .lines()
        .filter(|l| l.contains("refused: io_uring_setup"));
    assert_eq!(lines.count(), 1, "{}", done.stderr);
}

#[test]
fn hosts_without_user_namespaces_are_told_what_to_change() {
    if !common::have("unshare") {
        eprintln!("skip: no user namespaces: unshare is not installed");
        return;
    }
    let scratch = Scratch::new();
    let copy = public_copy(&scratch);
    // In a user namespace of its own the limit can be set without touching the host's.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" do true";
    let mut c = command("unshare", &["-r", "sh", "-c", script]);
    c.arg(&copy).current_dir("/");
    let done = run(c, b"", LIMIT);
    if done.stderr.starts_with("unshare") || done.stderr.starts_with("sh:") {
        eprintln!("skip: no user namespaces: {}", done.stderr);
        return;
    }
    is_one_sentence(&done, 125, &["user.max_user_namespaces=0", "sysctl"]);
    // And before anybody starts anything.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" platforms";
    let mut c = command("unshare", &["-r", "sh", "-c", script]);
    c.arg(&copy).current_dir("/");
    let done = run(c, b"", LIMIT);
    assert_eq!(done.status, 125, "{done:?}");
    let verdicts: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(verdicts.len(), 3, "{done:?}");
    for verdict in verdicts {
        assert!(
            verdict.contains("does not work here: ")
                && verdict.contains("user.max_user_namespaces=0"),
            "{verdict}"
        );
    }
    let here = cofferdam(&["platforms"]);
    assert_eq!(here.stdout.matches("works here").count(), 3, "{here:?}");
}

#[test]
fn root_without_capabilities_is_told_which() {
    if !nix::unistd::geteuid().is_root() || !common::have("setpriv") {
        eprintln!("skip: needs root and setpriv");
        return;
    }
    let with = |caps: &str| {
        let bounding = format!("--bounding-set=-all{caps}");
        run(
            command(
                "setpriv",
                &[&bounding, "--inh-caps=-all", COFFERDAM, "do", "--", "true"],
            ),
            b"",
            LIMIT,
        )
    };
    let words = [
        "root lacks",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "--cap-add SETUID",
        "--user",
    ];
    is_one_sentence(&with(""), 125, &words);
    is_one_sentence(&with(",+setuid,+setgid"), 125, &words);
    let enough = with(",+setuid,+setgid,+setfcap");
    assert_eq!((enough.status, enough.stderr.as_str()), (0, ""));
}

#[test]
fn limits_on_descriptors_are_named() {
    for few in ["5", "20", "40"] {
        is_one_sentence(
            &after(&format!("ulimit -n {few};"), "true"),
            125,
            &[few, "descriptors", "ulimit -n", "1024"],
        );
    }
    // The soft limit is the caller's own.
    let low = after("ulimit -S -n 20;", "bash -c 'exec 40</dev/null'");
    assert_eq!((low.status, low.stderr.as_str()), (0, ""));
}

/// Runs a script in a mount namespace of its own, as root there; `None`, with a message, where the host forbids that. The
/// program's copy is `$0`, the scratch directory `$1`.
fn in_mount_namespace(scratch: &Scratch, script: &str) -> Option<Outcome> {
    if !common::have("unshare") {
        eprintln!("skip: unshare is not installed");
        return None;
    }
    let mut c = command("unshare", &["-rm", "sh", "-c", script]);
    c.arg(public_copy(scratch))
        .arg(scratch.path())
        .current_dir("/");
    let done = run(c, b"", LIMIT);
    let refused = ["unshare", "mount", "sh:"];
    if refused.iter().any(|w| done.stderr.starts_with(w)) {
        eprintln!("skip: no mounts of one's own: {}", done.stderr);
        return None;
    }
    Some(done)
}

#[test]
fn old_kernels_are_told_what_is_needed() {
    let scratch = Scratch::new();
    let script = "echo 5.4.0-old >\"$1/release\" && mount --bind \"$1/release\" /proc/sys/kernel/osrelease && exec \"$0\" do true";
    if let Some(done) = in_mount_namespace(&scratch, script) {
        is_one_sentence(&done, 125, &["5.4.0-old", "too old", "5.19"]);
    }
}

/// The program goes on and ends as it would have; that something is lost is said once.
#[test]
fn disks_that_fill_up_lose_log_lines_and_say_so() {
    let scratch = Scratch::new();
    for (options, word) in [
        ("--log \"$1/log\" --log-level trace", "log"),
        ("--strace=\"$1/trace\"", "--strace"),
        ("--log \"$1/log\" --strace=\"$1/trace\"", "--strace"),
    ] {
        let script = format!(
            "mount -t tmpfs -o size=16k none \"$1\" && dd if=/dev/zero of=\"$1/fill\" bs=4k count=3 2>/dev/null; \
             exec \"$0\" do {options} sh -c 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); : </dev/null; done; echo done; exit 3'"
        );
        // The copy must not be hidden by the mount.
        let inner = scratch.path().join("disk");
        let _ = std::fs::create_dir(&inner);
        let script = script.replace("\"$1", "\"$1/disk");
        let Some(done) = in_mount_namespace(&scratch, &script) else {
            return;
        };
        assert_eq!(
            (done.status, done.stdout.as_str()),
            (3, "done\n"),
            "{}",
            done.stderr
        );
        assert_eq!(
            done.stderr.lines().count(),
            1,
            "one sentence, not:\n{}",
            done.stderr
        );
        assert!(
            done.stderr.starts_with("cofferdam: ") && done.stderr.contains(word),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [
        &["--help"][..],
        &["do", "--help"],
        &["help"],
        &["help", "do"],
        &["--version"],
    ] {
        let done = cofferdam(args);
        assert_eq!((done.status, done.stderr.as_str()), (0, ""));
        assert!(!done.stdout.is_empty());
    }
}

/// What a shell with these words before it makes of `cofferdam do -- COMMAND`.
fn after(words: &str, command_inside: &str) -> Outcome {
    let script = format!("{words} {COFFERDAM} do -- {command_inside}");
    run(command("bash", &["-c", &script]), b"", LIMIT)
}

#[test]
fn limits_on_file_sizes_are_the_programs() {
    // In units of 1024 bytes. The sentry's own files in memory are larger.
    let inside = after("ulimit -S -f 3;", "bash -c 'ulimit -S -f; ulimit -H -f'");
    let native = run(
        command(
            "bash",
            &["-c", "ulimit -S -f 3; ulimit -S -f; ulimit -H -f"],
        ),
        b"",
        LIMIT,
    );
    assert_eq!(
        (inside.status, &inside.stdout),
        (0, &native.stdout),
        "{inside:?}"
    );
    let cut = after(
        "ulimit -S -f 3;",
        "bash -c 'trap \"\" XFSZ; head -c 5000 /dev/zero >/tmp/x; stat -c %s /tmp/x'",
    );
    assert_eq!(cut.stdout, "3072\n", "{cut:?}");
    is_one_sentence(
        &after("ulimit -f 3;", "true"),
        125,
        &["file sizes", "ulimit -H -f"],
    );
}

#[test]
fn a_proc_of_other_processes_is_told() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    is_one_sentence(
        &after("unshare --pid --fork", "true"),
        125,
        &["/proc", "PID namespace", "mount -t proc proc /proc"],
    );
}
