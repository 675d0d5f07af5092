//! stat and statm.

use super::{Live, info};
use crate::abi::Result;
use crate::fs::tty::Pty;
use crate::kernel::{Task, ptrace};
use crate::vfs::Caller;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// State letter of a thread, or of a process.
pub(super) fn state(l: &Live) -> char {
    match &l.task {
        None => 'Z',
        Some(t) if ptrace::shown(t).0 => 't',
        Some(t) if crate::kernel::signal::stands(t) => 'T',
        // The leader speaks for the process, even when it has exited before its threads.
        Some(t) if l.whole_process && t.tid() != l.group.pid() => 'Z',
        Some(_) => letter(l.task.as_ref()),
    }
}

fn letter(task: Option<&Arc<Task>>) -> char {
    if task.is_some_and(|t| t.is_running()) {
        'R'
    } else {
        'S'
    }
}

/// CPU nanoseconds (user, system) of the thread or the whole process.
fn times(l: &Live) -> (u64, u64) {
    match &l.task {
        Some(t) if !l.whole_process => t.thread().map_or((0, 0), |t| t.cpu_time()),
        _ => l.group.cpu_time(),
    }
}

/// Number of the controlling terminal and its foreground group; 0 and -1 without one.
fn terminal(l: &Live) -> (u64, i32) {
    let terminal = l.group.tty.lock().clone();
    match terminal.and_then(|t| t.downcast::<Pty>().ok()) {
        Some(pty) => (pty.device(), l.seen(pty.job_state().1)),
        None => (0, -1),
    }
}

pub(super) fn stat(l: &Live, cx: &dyn Caller) -> Result<Vec<u8>> {
    let ticks = |ns: u64| ns / 10_000_000;
    let number = match &l.task {
        Some(t) if !l.whole_process => t.tid(),
        _ => l.group.pid(),
    };
    let (user, system) = times(l);
    let children = l.group.times.lock().children;
    let mm = l.task.as_ref().map(|t| t.mm());
    let sizes = mm.as_ref().map(|m| m.sizes()).unwrap_or_default();
    let layout = mm.as_ref().map(|m| m.layout());
    let shown = l.may_inspect(cx).is_ok();
    let address = |pick: fn(&crate::mm::Layout) -> u64| match &layout {
        Some(y) if shown => pick(y),
        _ => 0,
    };
    let nice = l
        .task
        .as_ref()
        .map_or(0, |t| t.sched.nice.load(Ordering::Relaxed));
    let policy = l
        .task
        .as_ref()
        .map_or(0, |t| t.sched.policy.load(Ordering::Relaxed));
    let tty = terminal(l);
    let offsets = super::super::offsets(cx);
    let threads = l.group.threads().len();
    let (pending, blocked, ignored, caught) = super::status::signal_sets(l);
    let mut out = format!("{} (", l.seen(number)).into_bytes();
    out.extend_from_slice(&info::name(l));
    let tail = format!(
        ") {} {} {} {} {} {} 4194304 0 0 0 0 {} {} {} {} {} {nice} {threads} 0 {} {} {} 18446744073709551615 {} {} {} 0 0 {} {} {} {} 0 0 0 17 0 0 {policy} 0 0 0 {} {} {} {} {} {} {} 0\n",
        state(l),
        l.seen(l.group.parent_pid()),
        l.seen(l.group.pgid()),
        l.seen(l.group.sid()),
        tty.0,
        tty.1,
        ticks(user),
        ticks(system),
        ticks(children.0),
        ticks(children.1),
        20 + nice,
        ticks(offsets.since_boot(l.group.start_ns)),
        sizes.total,
        sizes.resident.total / 4096,
        address(|y| y.start_code),
        address(|y| y.end_code),
        address(|y| y.start_stack),
        pending & 0x7fff_ffff,
        blocked & 0x7fff_ffff,
        ignored & 0x7fff_ffff,
        caught & 0x7fff_ffff,
        address(|y| y.start_data),
        address(|y| y.end_data),
        address(|y| y.start_brk),
        address(|y| y.arg_start),
        address(|y| y.arg_end),
        address(|y| y.env_start),
        address(|y| y.env_end),
    );
    out.extend_from_slice(tail.as_bytes());
    Ok(out)
}

pub(super) fn statm(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let s = l.task.as_ref().map(|t| t.mm().sizes()).unwrap_or_default();
    let pages = |b: u64| b / 4096;
    Ok(format!(
        "{} {} {} {} 0 {} 0\n",
        pages(s.total),
        pages(s.resident.total),
        pages(s.resident.shared),
        pages(s.exe),
        pages(s.data + s.stack)
    )
    .into_bytes())
}
