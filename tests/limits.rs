//! Limits of `cofferdam do`: what happens at them, and that nothing stays behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use common::{COFFERDAM, Outcome, command, platforms, run};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `cofferdam do` with options, then a program, on a platform.
fn inside(platform: &str, options: &[&str], program: &[&str]) -> Outcome {
    let args = [&["do", "--platform", platform], options, &["--"], program].concat();
    run(command(COFFERDAM, &args), b"", LIMIT)
}

/// Control groups that no living monitor has.
fn abandoned_groups() -> Vec<PathBuf> {
    let found = run(
        command(
            "find",
            &["/sys/fs/cgroup", "-type", "d", "-name", "cofferdam-do-*"],
        ),
        b"",
        LIMIT,
    );
    let dirs = found.stdout.lines().map(PathBuf::from);
    dirs.filter(|dir| {
        let name = dir.file_name().unwrap().to_string_lossy();
        let pid = name.strip_prefix("cofferdam-do-").unwrap();
        !Path::new("/proc").join(pid).exists()
    })
    .collect()
}

/// Whether this host lets us have a control group.
fn can_limit_memory() -> bool {
    let tried = inside("auto", &["--memory", "256m"], &["true"]);
    if tried.status != 0 {
        eprintln!("skip: limits of memory: {}", tried.stderr.trim());
    }
    tried.status == 0
}

/// As in a container: programs size themselves by it.
#[test]
fn without_a_limit_the_machine_has_the_memory_of_the_host() {
    let total = ["grep", "MemTotal", "/proc/meminfo"];
    let host = run(command("grep", &total[1..]), b"", LIMIT);
    assert_eq!(inside("auto", &[], &total).stdout, host.stdout);
}

#[test]
fn memory() {
    if !can_limit_memory() {
        return;
    }
    for platform in platforms() {
        let python = |limit: &str, code: &str| {
            inside(platform, &["--memory", limit], &["python3", "-c", code])
        };
        let fits = python("192m", "len(bytearray(40 << 20))");
        assert_eq!((fits.status, fits.stderr.as_str()), (0, ""), "{platform}");
        // What the program is told.
        let told = python("192m", "import os; print(os.sysconf('SC_PHYS_PAGES') >> 8)");
        assert_eq!(told.stdout, "192\n", "{platform}");
        // A child is killed; its parent goes on.
        let child = "import subprocess as s; print(s.run(['python3', '-c', 'bytearray(400 << 20)']).returncode)";
        let killed = python("192m", child);
        assert_eq!(killed.stdout, "-9\n", "{platform}: {}", killed.stderr);
        assert!(
            killed
                .stderr
                .contains("the memory limit of 192 MiB was reached; "),
            "{platform}: {}",
            killed.stderr
        );
    }
    assert_eq!(abandoned_groups(), Vec::<PathBuf>::new());
}

/// Files in memory may take three quarters of it.
#[test]
fn memory_limits_what_file_systems_say_they_hold() {
    if !can_limit_memory() {
        return;
    }
    let script = "df -k --output=size,used,avail /tmp /dev/shm | tail -n +2
        head -c 30M /dev/zero > /tmp/x
        df -k --output=size,used,avail /tmp /dev/shm | tail -n +2
        head -c 90M /dev/zero > /dev/shm/y 2>/dev/null || stat -c %s /dev/shm/y
        df -k --output=avail /tmp /dev/shm | tail -n +2";
    for platform in platforms() {
        let options = ["--memory", "128m", "--tmpfs", "/dev/shm:size=70m"];
        let got = inside(platform, &options, &["sh", "-c", script]);
        let numbers: Vec<u64> = got
            .stdout
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        let [mib, all, shm] = [1 << 10, 96 << 10, 70 << 10];
        let near = |a: u64, b: u64| a.abs_diff(b) <= mib;
        assert_eq!((numbers[0], numbers[3]), (all, shm), "{platform}: {got:?}");
        let want = [
            (1, 0),
            (2, all),
            (5, shm),
            (7, 30 * mib),
            (8, 66 * mib),
            (10, 0),
            (11, 66 * mib),
            (12, 66 * mib * 1024),
            (13, 0),
            (14, 0),
        ];
        for (i, n) in want {
            let close = near(numbers[i], n) || i == 12 && numbers[i].abs_diff(n) <= 1 << 20;
            assert!(close, "{platform}: {i} is not {n}: {got:?}");
        }
        assert_eq!(numbers.len(), 15);
    }
}

/// Who has been waited for has no memory any more, and who begins another program not that of before.
#[test]
fn memory_of_the_dead_is_free_at_once() {
    if !can_limit_memory() {
        return;
    }
    let code = "import os, sys
def fill():
    m = bytearray(120 << 20)
    del m
for i in range(6):
    pid = os.fork()
    if not pid:
        m = bytearray(120 << 20)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    fill()
if len(sys.argv) < 4:
    m = bytearray(120 << 20)
    os.execv('/usr/bin/env', ['env', 'python3', '-c', sys.argv[1], *sys.argv[1:], 'x'])
print('done')";
    for platform in platforms() {
        let options = ["--memory", "148m"];
        let got = inside(platform, &options, &["python3", "-c", code, code]);
        assert_eq!(
            (got.stdout.as_str(), got.stderr.as_str()),
            ("done\n", ""),
            "{platform}"
        );
    }
}

#[test]
fn a_killed_monitor_leaves_nothing_for_long() {
    if !can_limit_memory() {
        return;
    }
    let args = ["do", "--memory", "64m", "sh", "-c", "echo up; sleep 60"];
    let mut monitor = command(COFFERDAM, &args)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(monitor.stdout.as_mut().unwrap(), &mut up).unwrap();
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    let until = Instant::now() + LIMIT;
    // Gofer and sentry die by themselves; the next sandbox removes what is empty then.
    while !abandoned_groups().is_empty() {
        assert!(Instant::now() < until, "{:?} stays", abandoned_groups());
        inside("auto", &["--memory", "64m"], &["true"]);
    }
}

#[test]
fn processes() {
    let code = "import os\nn = 0\ntry:\n  while os.fork():\n    n += 1\n  os.pause() if hasattr(os, 'pause') else __import__('signal').pause()\nexcept OSError as e:\n  print(n, e.errno)\n  os._exit(0)";
    for platform in platforms() {
        let got = inside(platform, &["--pids", "6"], &["python3", "-c", code]);
        assert_eq!(
            (got.status, got.stdout.as_str()),
            (0, "5 11\n"),
            "{platform}: {}",
            got.stderr
        );
    }
}

/// Not compared with the host: natively they would be the machine's.
#[test]
fn sysctls_can_be_set_lower() {
    let script = "cd /proc/sys; cat kernel/shmmax kernel/msgmni vm/max_map_count
        echo 4096 > kernel/shmmax && ipcmk -M 4096 >/dev/null && ! ipcmk -M 4097 2>/dev/null || echo no limit
        echo 1 > kernel/msgmni && ipcmk -Q >/dev/null && ! ipcmk -Q 2>/dev/null || echo no limit
        (echo 99999999 > vm/max_map_count) 2>/dev/null && echo higher than the host can bear
        (echo many > kernel/msgmni) 2>/dev/null && echo no number
        cat kernel/shmmax kernel/msgmni vm/max_map_count";
    for platform in platforms() {
        let set = inside(platform, &["--user", "0"], &["sh", "-c", script]);
        let all = "18446744073692774399\n32000\n65530\n4096\n1\n65530\n";
        assert_eq!(
            (set.stdout.as_str(), set.stderr.as_str()),
            (all, ""),
            "{platform}"
        );
        let other = inside(
            platform,
            &["--user", "1234"],
            &[
                "sh",
                "-c",
                "(echo 1 > /proc/sys/kernel/msgmni) 2>/dev/null || echo refused",
            ],
        );
        assert_eq!(other.stdout, "refused\n", "{platform}");
    }
}

#[test]
fn cpu_time() {
    // Two at a time, and children that nobody has waited for, count together.
    let busy = "(while :; do :; done) & (while :; do :; done) & sleep 50";
    // What has ended counts, too: none of these would reach the limit.
    let brief = "while :; do sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'; done";
    for platform in platforms() {
        for script in [busy, brief] {
            let start = Instant::now();
            let ended = inside(platform, &["--cpu-time", "1"], &["sh", "-c", script]);
            assert_eq!(ended.status, 124, "{platform}");
            let sentence = "cofferdam: the program used more than 1s of CPU time and was ended\n";
            assert_eq!(ended.stderr, sentence, "{platform}");
            assert!(start.elapsed() < Duration::from_secs(40), "{platform}");
        }
        let idle = inside(
            platform,
            &["--cpu-time", "1"],
            &["sh", "-c", "sleep 1.5; exit 7"],
        );
        assert_eq!((idle.status, idle.stderr.as_str()), (7, ""), "{platform}");
    }
}

#[test]
fn time() {
    for platform in platforms() {
        let start = Instant::now();
        let slow = inside(
            platform,
            &["--time", "0.5"],
            &["sh", "-c", "sleep 50 & sleep 50"],
        );
        assert_eq!(slow.status, 124, "{platform}");
        let sentence = "cofferdam: the program ran for longer than 500ms and was ended\n";
        assert_eq!(slow.stderr, sentence, "{platform}");
        assert!(start.elapsed() < Duration::from_secs(20));
        let busy = inside(
            platform,
            &["--time", "0.5"],
            &["sh", "-c", "while :; do :; done"],
        );
        assert_eq!(busy.status, 124, "{platform}");
        let quick = inside(platform, &["--time", "1m"], &["sh", "-c", "exit 7"]);
        assert_eq!((quick.status, quick.stderr.as_str()), (7, ""), "{platform}");
    }
}
