//! SIGIO (fcntl(2), "Signal-driven I/O"): O_ASYNC on pipes, sockets, terminals and inotify, and who gets the signal.
//!
//! O_ASYNC registers a [`Readiness`] with the file's wait queue; the file keeps the registration. Called from whoever wakes the
//! queue, so it takes no locks but those of signals and the table of tasks.

use super::signal::{Origin, SigInfo, Signal, code, send_group, send_task};
use super::{Cx, Kernel, Task, ThreadGroup};
use crate::fs::inotify;
use crate::sync::{Events, Notify};
use crate::vfs::file::{FileOwner, Registration};
use crate::vfs::{File, FileType};
use std::sync::{Arc, Weak};

/// Kinds of owners (F_SETOWN_EX).
#[allow(missing_docs)]
pub mod owner {
    pub const TID: i32 = 0;
    pub const PID: i32 = 1;
    pub const PGRP: i32 = 2;
}

/// `si_code` of a signal about readiness, with its `si_band` (`band_table` in fs/fcntl.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reason {
    In,
    Out,
    Message,
    Hangup,
}

impl Reason {
    fn code_and_band(self) -> (i32, Events) {
        match self {
            Reason::In => (1, Events::READABLE),
            Reason::Out => (2, Events::WRITABLE | Events::WRBAND),
            Reason::Message => (3, Events::READABLE | Events::MSG),
            Reason::Hangup => (6, Events::HUP | Events::ERR),
        }
    }
}

/// Tells the owner of a file (`send_sigio`). `fd` as it was when notification was asked for.
pub fn send_sigio(kernel: &Kernel, owner: &FileOwner, fd: i32, reason: Reason) {
    if owner.pid == 0 {
        return;
    }
    if owner.kind == owner::TID {
        if let Some(task) = kernel.task(owner.pid) {
            deliver(owner, fd, reason, Some(&task), task.group());
        }
        return;
    }
    let groups = if owner.kind == owner::PID {
        kernel.process(owner.pid).into_iter().collect()
    } else {
        kernel.process_group(owner.pid)
    };
    for group in groups {
        deliver(owner, fd, reason, None, &group);
    }
}

fn deliver(
    owner: &FileOwner,
    fd: i32,
    reason: Reason,
    task: Option<&Arc<Task>>,
    group: &Arc<ThreadGroup>,
) {
    if !permitted(owner, task, group) {
        return;
    }
    let send = |info| match task {
        Some(t) => send_task(t, info, Origin::Kernel),
        None => send_group(group, info, Origin::Kernel),
    };
    if let Some(signal) = Signal::new(owner.signal) {
        let (code, band) = reason.code_and_band();
        // These signals have codes of their own.
        let specific = matches!(
            signal.number(),
            libc::SIGILL
                | libc::SIGFPE
                | libc::SIGSEGV
                | libc::SIGBUS
                | libc::SIGTRAP
                | libc::SIGCHLD
                | libc::SIGSYS
        );
        let code = if specific { code::SI_SIGIO } else { code };
        if send(SigInfo::poll(signal, code, band.bits().into(), fd)).is_ok() {
            return;
        }
    }
    // The plain signal: asked for, or the queue of the chosen one is full.
    if let Some(io) = Signal::new(libc::SIGIO) {
        let _ = send(SigInfo::kernel(io));
    }
}

/// Whether whoever set the owner may signal it (`sigio_perm`).
fn permitted(owner: &FileOwner, task: Option<&Arc<Task>>, group: &ThreadGroup) -> bool {
    let target = match task {
        Some(t) => Some(t.creds()),
        None => super::signal::group_creds(group),
    };
    target.is_some_and(|t| {
        owner.euid == 0
            || [t.uid, t.suid].contains(&owner.euid)
            || [t.uid, t.suid].contains(&owner.uid)
    })
}

/// One O_ASYNC file.
struct Readiness {
    kernel: Weak<Kernel>,
    file: Weak<File>,
    fd: i32,
    fifo: bool,
}

impl Notify for Readiness {
    fn notify(&self, events: Events) {
        let (Some(kernel), Some(file)) = (self.kernel.upgrade(), self.file.upgrade()) else {
            return;
        };
        let owner = *file.owner().lock();
        // A pipe's end hears only of what it is for: a partner that goes is readiness too.
        let reason = if self.fifo {
            if file.flags().readable() {
                Reason::In
            } else {
                Reason::Out
            }
        } else if events.intersects(Events::IN) {
            Reason::In
        } else if events.intersects(Events::HUP | Events::ERR) {
            Reason::Hangup
        } else {
            Reason::Out
        };
        send_sigio(&kernel, &owner, self.fd, reason);
    }
}

/// What an O_ASYNC file tells of; `None` if its kind knows no such thing.
fn events(file: &File) -> Option<Events> {
    match file.inode().file_type() {
        FileType::Fifo if file.flags().readable() => Some(Events::IN),
        FileType::Fifo => Some(Events::OUT),
        // Room to write is told only after a write found none: not kept track of.
        FileType::Socket => Some(Events::IN),
        FileType::CharDevice if file.ops().wait_queue().is_some() => Some(Events::IN),
        _ => inotify::instance(file).is_ok().then_some(Events::IN),
    }
}

/// Whether files of this kind have signal-driven I/O.
pub fn supported(file: &File) -> bool {
    events(file).is_some()
}

/// F_SETFL or FIOASYNC switched O_ASYNC on or off through descriptor `fd`.
pub fn switch(cx: &Cx<'_>, fd: i32, file: &Arc<File>, on: bool) {
    let mut new = None;
    if on
        && let Some(events) = events(file)
        && let Some(queue) = file.ops().wait_queue()
    {
        let target = Arc::new(Readiness {
            kernel: Arc::downgrade(cx.kernel()),
            file: Arc::downgrade(file),
            fd,
            fifo: file.inode().file_type() == FileType::Fifo,
        });
        let key = queue.register(target, events);
        new = Some(Registration::new(queue, key));
        // Terminals have an owner even if nobody set one (`__tty_fasync`).
        if file.inode().file_type() == FileType::CharDevice {
            let creds = cx.creds();
            let mut o = file.owner().lock();
            if o.pid == 0 {
                (o.kind, o.pid) = (owner::PID, cx.group().pid());
                (o.uid, o.euid) = (creds.uid, creds.euid);
            }
        }
    }
    file.set_async(new);
}
