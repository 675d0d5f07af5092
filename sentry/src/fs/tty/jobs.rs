//! Controlling terminals and job control: credentials(7), "Sessions and process groups"; ioctl_tty(2).

use super::pty::Pty;
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::vfs::Caller;
use std::any::Any;
use std::sync::Arc;

/// A controlling terminal as the kernel keeps it with a process: a [`Pty`].
pub type Terminal = Arc<dyn Any + Send + Sync>;

/// What terminals ask of the sandbox's processes. No terminal's lock is held when these are called.
pub trait Jobs: Send + Sync {
    /// Sends a signal to every process of a group.
    fn signal_group(&self, pgid: i32, signal: i32);
    /// Sends a signal to one process.
    fn signal_process(&self, pid: i32, signal: i32);
    /// The session of process group `id` (or of the process with that pid); `None` if there is neither.
    fn session_of_group(&self, id: i32) -> Option<i32>;
    /// Whether a group is orphaned: no member has a parent outside the group but in its session.
    fn is_orphaned(&self, pgid: i32) -> bool;
    /// Takes `terminal` away from every process of session `sid` that has it; its leader remembers `foreground`
    /// (`tty_old_pgrp`), for [`leader_exits`].
    fn drop_terminal(&self, sid: i32, terminal: &Terminal, foreground: i32);
}

/// A session leader exits: its terminal becomes free, the foreground group gets SIGHUP (`disassociate_ctty`). `terminal` is the
/// leader's; without one, `old_group` is the group that a hang-up left behind (0 if none).
pub fn leader_exits(jobs: &dyn Jobs, sid: i32, terminal: Option<&Terminal>, old_group: i32) {
    let Some(terminal) = terminal else {
        if old_group != 0 {
            jobs.signal_group(old_group, libc::SIGHUP);
            jobs.signal_group(old_group, libc::SIGCONT);
        }
        return;
    };
    disassociate(jobs, sid, terminal, true);
}

fn disassociate(jobs: &dyn Jobs, sid: i32, terminal: &Terminal, exiting: bool) {
    let Ok(pty) = terminal.clone().downcast::<Pty>() else {
        return;
    };
    let foreground = pty.with(|s| {
        let foreground = s.foreground;
        if s.session == sid {
            s.session = 0;
            s.foreground = 0;
        }
        foreground
    });
    if foreground != 0 {
        jobs.signal_group(foreground, libc::SIGHUP);
        if !exiting {
            jobs.signal_group(foreground, libc::SIGCONT);
        }
    }
    jobs.drop_terminal(sid, terminal, 0);
}

/// The caller's controlling terminal.
pub(super) fn controlling(cx: &dyn Caller) -> Option<Arc<Pty>> {
    cx.controlling_terminal()?.downcast::<Pty>().ok()
}

/// Whether `pty` is the caller's controlling terminal.
pub(super) fn is_controlling(pty: &Arc<Pty>, cx: &dyn Caller) -> bool {
    controlling(cx).is_some_and(|t| Arc::ptr_eq(&t, pty))
}

fn is_leader(cx: &dyn Caller) -> bool {
    cx.tgid() != 0 && cx.tgid() == cx.sid()
}

/// Before a background process reads, writes or changes its controlling terminal: `signal` is SIGTTIN or SIGTTOU.
///
/// # Errors
/// EIO where Linux gives it; EAGAIN with [`Caller::restart_after_signal`] once the signal has been sent.
pub(super) fn check_change(pty: &Arc<Pty>, cx: &dyn Caller, signal: i32) -> Result<()> {
    if !is_controlling(pty, cx) {
        return Ok(());
    }
    let foreground = pty.with(|s| s.foreground);
    let group = cx.pgid();
    if foreground == 0 || foreground == group {
        return Ok(());
    }
    if cx.ignores_signal(signal) {
        return if signal == libc::SIGTTIN {
            Err(Errno::EIO)
        } else {
            Ok(())
        };
    }
    if pty.jobs().is_orphaned(group) {
        return Err(Errno::EIO);
    }
    pty.jobs().signal_group(group, signal);
    cx.restart_after_signal();
    Err(Errno::EAGAIN)
}

fn acquire(pty: &Arc<Pty>, cx: &dyn Caller) {
    pty.with(|s| {
        s.session = cx.sid();
        s.foreground = cx.pgid();
    });
    cx.set_controlling_terminal(Some(pty.clone()));
}

/// A session leader without a terminal opened a free one without O_NOCTTY.
pub(super) fn acquire_by_open(pty: &Arc<Pty>, cx: &dyn Caller) {
    if is_leader(cx) && cx.controlling_terminal().is_none() && pty.with(|s| s.session == 0) {
        acquire(pty, cx);
    }
}

/// TIOCSCTTY.
pub(super) fn set_controlling(
    pty: &Arc<Pty>,
    cx: &dyn Caller,
    readable: bool,
    steal: bool,
) -> Result<()> {
    let session = pty.with(|s| s.session);
    if is_leader(cx) && session == cx.sid() {
        return Ok(());
    }
    if !is_leader(cx) || cx.controlling_terminal().is_some() {
        return Err(Errno::EPERM);
    }
    let admin = cx.credentials().has(Caps::SYS_ADMIN);
    if session != 0 {
        if !(steal && admin) {
            return Err(Errno::EPERM);
        }
        let terminal: Terminal = pty.clone();
        pty.jobs().drop_terminal(session, &terminal, 0);
    }
    if !readable && !admin {
        return Err(Errno::EPERM);
    }
    acquire(pty, cx);
    Ok(())
}

/// TIOCNOTTY.
pub(super) fn give_up(pty: &Arc<Pty>, cx: &dyn Caller) -> Result<()> {
    if !is_controlling(pty, cx) {
        return Err(Errno::ENOTTY);
    }
    if is_leader(cx) {
        let terminal: Terminal = pty.clone();
        disassociate(pty.jobs(), cx.sid(), &terminal, false);
    }
    cx.set_controlling_terminal(None);
    Ok(())
}

/// TIOCSPGRP.
pub(super) fn set_foreground(pty: &Arc<Pty>, cx: &dyn Caller, pgid: i32) -> Result<()> {
    match check_change(pty, cx, libc::SIGTTOU) {
        Err(Errno::EIO) => return Err(Errno::ENOTTY),
        other => other?,
    }
    if pgid < 0 {
        return Err(Errno::EINVAL);
    }
    if !is_controlling(pty, cx) || pty.with(|s| s.session) != cx.sid() {
        return Err(Errno::ENOTTY);
    }
    let pgid = cx.pid_named(pgid).ok_or(Errno::ESRCH)?;
    match pty.jobs().session_of_group(pgid) {
        None => Err(Errno::ESRCH),
        Some(sid) if sid != cx.sid() => Err(Errno::EPERM),
        Some(_) => {
            pty.with(|s| s.foreground = pgid);
            Ok(())
        }
    }
}
