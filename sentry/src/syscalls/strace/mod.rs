//! `--strace`: every system call of every task, decoded, as strace(1) shows it.
//!
//! The shape of a call's arguments comes from the one system call table. A line is begun when the call starts, up to the
//! first argument that the call fills, and completed when it has its result; if another task's call comes between, the
//! line is left `<unfinished ...>` and taken up again later. So a call that hangs is there to be seen.

mod decode;
mod flags;

use super::table::{self, ArgKind};
use crate::abi::{Errno, sysno};
use crate::kernel::{SyscallTracer, Task};
use crate::sync::{Mutex, Rank};
use decode::Decoder;
pub(super) use flags::{ACCESS, AT, AT_ACCESS, FUTEX, IOCTL, PTRACE, RESOURCE, UNLINK};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;

/// Writes calls to a file.
pub struct Strace {
    out: Mutex<Output>,
}

struct Output {
    file: File,
    /// Told, once, why no more calls are shown.
    complain: fn(&std::io::Error),
    /// Whose line is begun and not yet ended.
    open: Option<i32>,
    /// Writing has failed: that was told, and nothing more is tried.
    failed: bool,
}

impl Strace {
    /// A tracer that writes to `file`; it may be shared with others, who then see whole lines only if they append.
    /// `complain` is called at most once: when no more can be written.
    pub fn new(file: File, complain: fn(&std::io::Error)) -> Strace {
        Strace {
            out: Mutex::new(
                Rank::LEAF,
                Output {
                    file,
                    complain,
                    open: None,
                    failed: false,
                },
            ),
        }
    }
}

impl Output {
    fn write(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() && !self.failed {
            match self.file.write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or(&[]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => self.wait(),
                Err(e) => {
                    log::error!("cannot write --strace's output: {e}; no more calls are shown");
                    (self.complain)(&e);
                    self.failed = true;
                }
            }
        }
    }

    /// Until a non-blocking pipe or terminal takes more.
    fn wait(&self) {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        // Whatever it says, the next write tells more.
        let _ = poll(&mut fds, PollTimeout::NONE);
    }

    /// Ends another task's open line.
    fn begin_line(&mut self, text: &mut String) {
        if self.open.take().is_some() {
            text.insert_str(0, " <unfinished ...>\n");
        }
    }
}

/// Arguments that can be shown before the call has run.
fn known_at_start(kinds: &[ArgKind]) -> usize {
    let filled = kinds.iter().position(|k| matches!(k, ArgKind::OutBuf));
    filled.unwrap_or(kinds.len())
}

/// Calls that never have a result.
fn ends_the_task(number: u64) -> bool {
    i64::try_from(number).is_ok_and(|n| n == libc::SYS_exit || n == libc::SYS_exit_group)
}

/// Name and argument kinds; calls that are missing show all six registers.
fn describe(number: u64) -> (String, &'static [ArgKind]) {
    const UNKNOWN: &[ArgKind] = &[ArgKind::Hex; 6];
    match table::lookup(number) {
        Some(call) => (call.name.to_owned(), call.args),
        None => {
            let name = usize::try_from(number).ok().and_then(sysno::name);
            (
                name.map_or_else(|| format!("syscall_{number:#x}"), str::to_owned),
                UNKNOWN,
            )
        }
    }
}

impl SyscallTracer for Strace {
    fn started(&self, task: &Task, path: &[u8], argv: &[Vec<u8>], envp: &[Vec<u8>]) {
        let mut text = format!("[{:5}] ", task.tid());
        decode::execve(&mut text, path, argv, envp);
        text.push_str(" = 0\n");
        let mut out = self.out.lock();
        out.begin_line(&mut text);
        out.write(&text);
    }

    fn enter(&self, task: &Task, number: u64, args: &[u64; 6]) {
        let (name, kinds) = describe(number);
        let mm = task.mm();
        let decoder = Decoder {
            mem: &*mm,
            args,
            result: 0,
        };
        let mut text = format!("[{:5}] {name}(", task.tid());
        let shown = known_at_start(kinds);
        decoder.list(&mut text, kinds, 0, shown);
        let ends = ends_the_task(number);
        if ends {
            text.push_str(") = ?\n");
        }
        let mut out = self.out.lock();
        out.begin_line(&mut text);
        out.open = (!ends).then(|| task.tid());
        out.write(&text);
    }

    fn exit(&self, task: &Task, number: u64, args: &[u64; 6], result: i64) {
        let (name, kinds) = describe(number);
        let mm = task.mm();
        let decoder = Decoder {
            mem: &*mm,
            args,
            result,
        };
        let mut rest = String::new();
        decoder.list(&mut rest, kinds, known_at_start(kinds), kinds.len());
        // Writing to a String cannot fail.
        let _ = writeln!(rest, ") = {}", outcome(result));
        let mut out = self.out.lock();
        if out.open == Some(task.tid()) {
            out.open = None;
        } else {
            rest.insert_str(0, &format!("[{:5}] <... {name} resumed>", task.tid()));
            out.begin_line(&mut rest);
        }
        out.write(&rest);
    }
}

/// A result as strace shows it: an error by name, an address in hexadecimal.
fn outcome(result: i64) -> String {
    match result {
        -4095..0 => {
            let number = i32::try_from(-result).unwrap_or(libc::EIO);
            let text = std::io::Error::from_raw_os_error(number).to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            format!("-1 {} ({text})", Errno::from_raw(number).name())
        }
        n if n > i64::from(u32::MAX) || n < 0 => format!("{n:#x}"),
        n => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_read_as_strace_prints_them() {
        assert_eq!(outcome(0), "0");
        assert_eq!(outcome(-2), "-1 ENOENT (No such file or directory)");
        assert_eq!(outcome(0x7f12_3456_7000), "0x7f1234567000");
        assert_eq!(outcome(4096), "4096");
    }

    #[test]
    fn missing_calls_have_names() {
        assert_eq!(describe(u64::MAX).0, "syscall_0xffffffffffffffff");
        assert_eq!(describe(9999).1.len(), 6);
    }
}
