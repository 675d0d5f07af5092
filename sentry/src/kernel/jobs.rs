//! What terminals ask of the sandbox's processes ([`Jobs`]), and the terminal of a session that ends.

use super::signal::{self, Signal};
use super::{Kernel, ThreadGroup};
use crate::fs::tty::{Jobs, Terminal, leader_exits};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// The kernel as terminals see it. They live in its file systems, so they hold it weakly.
pub struct KernelJobs(Weak<Kernel>);

impl KernelJobs {
    /// For terminals of this sandbox.
    pub fn new(kernel: &Arc<Kernel>) -> Arc<KernelJobs> {
        Arc::new(KernelJobs(Arc::downgrade(kernel)))
    }
}

impl Jobs for KernelJobs {
    fn signal_group(&self, pgid: i32, signal: i32) {
        if let (Some(kernel), Some(s)) = (self.0.upgrade(), Signal::new(signal)) {
            signal::send_pgrp(&kernel, pgid, s);
        }
    }
    fn signal_process(&self, pid: i32, signal: i32) {
        if let Some(group) = self.0.upgrade().and_then(|k| k.process(pid)) {
            signal::send_kernel(&group, signal);
        }
    }
    fn session_of_group(&self, id: i32) -> Option<i32> {
        let kernel = self.0.upgrade()?;
        let member = kernel.process_group(id).first().cloned();
        member.or_else(|| kernel.process(id)).map(|g| g.sid())
    }
    fn is_orphaned(&self, pgid: i32) -> bool {
        self.0.upgrade().is_none_or(|k| k.is_orphaned_group(pgid))
    }
    fn drop_terminal(&self, sid: i32, terminal: &Terminal, foreground: i32) {
        let Some(kernel) = self.0.upgrade() else {
            return;
        };
        for group in kernel.session(sid) {
            let dropped = {
                let mut tty = group.tty.lock();
                tty.take_if(|t| Arc::ptr_eq(t, terminal))
            };
            if dropped.is_some() && group.pid() == sid {
                group.tty_old_group.store(foreground, Ordering::Relaxed);
            }
        }
    }
}

/// A session leader has ended: its terminal becomes free and the foreground group is told.
pub fn session_leader_exited(leader: &Arc<ThreadGroup>) {
    let Some(kernel) = leader.kernel() else {
        return;
    };
    let terminal = leader.tty.lock().clone();
    let old = leader.tty_old_group.swap(0, Ordering::Relaxed);
    leader_exits(
        &KernelJobs(Arc::downgrade(&kernel)),
        leader.sid(),
        terminal.as_ref(),
        old,
    );
}
