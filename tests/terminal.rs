//! A person at a terminal: an interactive shell is typed at, natively first and then inside, behind the host's terminal.
//! What the screen gets must be the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use common::{COFFERDAM, command, platforms};
use nix::fcntl::{FcntlArg, FdFlag};
use nix::poll::{PollFd, PollFlags};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(30);
const PROMPT: &str = "\n>> ";

/// A program on a terminal of its own.
struct Session {
    keyboard: File,
    /// The slave's path.
    name: PathBuf,
    screen: Receiver<Vec<u8>>,
    seen: String,
    /// Makes the thread that reads the screen close it.
    unplugged: Arc<AtomicBool>,
    child: Child,
}

impl Session {
    fn start(mut command: Command) -> Session {
        let size = nix::pty::Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = nix::pty::openpty(Some(&size), None).unwrap();
        // Nobody but this test may keep the terminal alive.
        for fd in [&pair.master, &pair.slave] {
            nix::fcntl::fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let link = format!("/proc/self/fd/{}", pair.slave.as_raw_fd());
        let name = std::fs::read_link(link).unwrap();
        let stream = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        command
            .stdin(stream(&pair.slave))
            .stdout(stream(&pair.slave))
            .stderr(stream(&pair.slave));
        let child = command.spawn().unwrap();
        drop(command);
        drop(pair.slave);
        let (send, screen) = channel();
        let mut from = File::from(pair.master.try_clone().unwrap());
        let unplugged = Arc::new(AtomicBool::new(false));
        let stop = unplugged.clone();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                if nix::poll::poll(&mut fds, 50u8) == Ok(0) {
                    continue;
                }
                match from.read(&mut buf) {
                    Ok(n) if n > 0 && send.send(buf[..n].to_vec()).is_ok() => {}
                    _ => return,
                }
            }
        });
        Session {
            keyboard: File::from(pair.master),
            name,
            screen,
            seen: String::new(),
            unplugged,
            child,
        }
    }

    /// Waits until `text` is on the screen after what was taken before, and takes everything up to it.
    fn until(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            match self.screen.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => {
                    let bytes = String::from_utf8_lossy(&bytes);
                    self.seen += &bytes.replace('\r', "");
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without {text:?}; the screen: {:?}", self.seen)
                }
                Err(RecvTimeoutError::Timeout) if start.elapsed() > LIMIT => {
                    panic!("no {text:?} after {LIMIT:?}; the screen: {:?}", self.seen)
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a command at the prompt and takes the screen up to the next prompt.
    fn command(&mut self, line: &str) -> String {
        self.press(line);
        self.press("\r");
        self.until(PROMPT)
    }

    fn resize(&self, rows: u16, columns: u16) {
        let done = Command::new("stty")
            .arg("-F")
            .arg(&self.name)
            .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
            .status();
        assert!(done.unwrap().success());
    }

    fn end(mut self) -> i32 {
        common::wait(&mut self.child, LIMIT).expect("it did not end")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Leads a session whose terminal is the standard input.
const LEADER: [&str; 2] = ["--ctty", "--wait"];
const SHELL: [&str; 5] = ["/bin/bash", "--norc", "--noprofile", "--noediting", "-i"];

fn environment(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("PS1", PROMPT)
        .env("LC_ALL", "C")
        .env("TERM", "dumb")
        .env("HOME", "/tmp")
        .env("HISTFILE", "/dev/null");
}

fn native() -> Command {
    let mut c = command("setsid", &LEADER);
    environment(&mut c);
    c.args(SHELL);
    c
}

fn inside(platform: &str) -> Command {
    let mut c = command("setsid", &LEADER);
    environment(&mut c);
    c.args([COFFERDAM, "do", "--platform", platform, "--"])
        .args(SHELL);
    c
}

/// Plays one story at a shell; everything the screen showed, and the exit status.
fn play(command: Command, story: fn(&mut Session) -> String) -> (String, i32) {
    let mut s = Session::start(command);
    s.until(PROMPT);
    let screen = story(&mut s);
    s.press("exit 7\r");
    (screen, s.end())
}

fn same(story: fn(&mut Session) -> String) {
    let expected = play(native(), story);
    assert_eq!(expected.1, 7);
    for platform in platforms() {
        assert_eq!(play(inside(platform), story), expected, "on {platform}");
    }
}

#[test]
fn commands_and_line_editing() {
    same(|s| {
        let mut screen = s.command("echo one; echo two");
        screen += &s.command("stty -a | grep -v baud");
        screen += &s.command("echo wrogn\x7f\x7fng; echo killed\x15echo kept");
        screen += &s.command("test -t 0 -a -t 1 -a -t 2 && echo terminal");
        s.press("cat\r");
        s.press("typed\r");
        screen += &s.until("typed\ntyped\n");
        s.press("\x04");
        screen += &s.until(PROMPT);
        screen
    });
}

#[test]
fn interrupt_stop_and_continue() {
    same(|s| {
        s.press("sh -c 'echo started; exec sleep 100'\r");
        let mut screen = s.until("started\n");
        s.press("\x03");
        screen += &s.until(PROMPT);
        screen += &s.command("echo status $?");
        s.press("sh -c 'echo again; exec sleep 100'\r");
        screen += &s.until("again\n");
        s.press("\x1a");
        screen += &s.until(PROMPT);
        screen += &s.command("jobs");
        screen += &s.command("bg");
        screen += &s.command("jobs");
        s.press("fg\r");
        screen += &s.until("sleep 100'\n");
        std::thread::sleep(Duration::from_millis(300));
        s.press("\x1c");
        screen += &s.until(PROMPT);
        // The core-dump note depends on the machine.
        screen.replace(" (core dumped)", "") + &s.command("echo status $?")
    });
}

#[test]
fn a_background_reader_is_stopped_and_can_be_brought_back() {
    same(|s| {
        s.press("cat &\r");
        s.until(PROMPT);
        std::thread::sleep(Duration::from_millis(300));
        let mut screen = s.command("jobs");
        s.press("fg\r");
        screen += &s.until("cat\n");
        std::thread::sleep(Duration::from_millis(300));
        s.press("hello\r");
        screen += &s.until("hello\nhello\n");
        s.press("\x04");
        screen += &s.until(PROMPT);
        screen
    });
}

#[test]
fn window_size_changes_reach_the_program() {
    same(|s| {
        let mut screen = s.command("stty size");
        s.press("trap 'echo changed; stty size' WINCH; echo ready\r");
        s.until("ready\n");
        s.until(PROMPT);
        s.resize(40, 132);
        // The shell runs the trap when its foreground command ends.
        std::thread::sleep(Duration::from_millis(500));
        screen += &s.command("true");
        screen += &s.command("stty size");
        screen
    });
}

#[test]
fn raw_mode_passes_every_key() {
    same(|s| {
        s.press("stty raw -echo; echo go; dd bs=1 count=5 2>/dev/null | od -c; stty sane\r");
        s.until("go\n");
        s.press("\x03\x1a\r\x04\u{7f}");
        s.until(PROMPT)
    });
}

#[test]
fn the_terminal_is_left_as_it_was_found() {
    for platform in platforms() {
        let mut shell = native();
        shell.env("COFFERDAM", COFFERDAM);
        let mut s = Session::start(shell);
        s.until(PROMPT);
        let before = s.command("stty -g");
        let run =
            format!("$COFFERDAM do --platform {platform} -- /bin/sh -c 'stty raw -echo; exit 3'");
        s.command(&run);
        assert!(s.command("echo status $?").contains("status 3"));
        assert_eq!(s.command("stty -g"), before);
    }
}

#[test]
fn a_terminal_that_goes_away_ends_the_sandbox() {
    for platform in platforms() {
        let mut s = Session::start(inside(platform));
        s.until(PROMPT);
        s.press("echo here; sleep 1000\r");
        s.until("here\n");
        s.unplugged.store(true, Ordering::Relaxed);
        s.keyboard = File::open("/dev/null").unwrap();
        assert!(
            common::wait(&mut s.child, LIMIT).is_some(),
            "still running without a terminal on {platform}"
        );
    }
}

/// script(1) without a keyboard types it at once.
#[test]
fn an_end_of_file_typed_before_the_start_does_not_hang_up() {
    for platform in platforms() {
        let mut c = command("setsid", &LEADER);
        environment(&mut c);
        c.args([COFFERDAM, "do", "--platform", platform, "--"])
            .args(["sh", "-c", "sleep 0.2; tty; exit 5"]);
        let mut s = Session::start(c);
        s.press("\x04");
        s.until("/dev/pts/0\n");
        assert_eq!(s.end(), 5, "on {platform}");
    }
}
