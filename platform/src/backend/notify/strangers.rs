//! Processes that nobody ordered, and what the zygote reaps.
//!
//! A guest that runs the stub's instructions in an order of its own can make the clone that the sentry lets pass into a process that never says hello. The
//! sentry does not know it, but knows it for its own by a mark in the stub's text, which nobody outside this sandbox has and nobody in it can
//! remove.
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::SeqCst;

use super::Inner;
use crate::stub::free::MARK;
use crate::stub::mailbox::Op;
use crate::stub::slot::{MAX_OPS, RESULT};
use crate::{Error, bell, sys};
use libc::pid_t;

/// So many ids after the newest known task a stranger's may be: the sentry's own threads take some, too.
const NEAR: pid_t = 1024;
/// Where ids begin again once they have run out (RESERVED_PIDS in kernel/pid.c).
const FIRST_ID: pid_t = 300;
/// What an operation leaves where it found nobody to reap: not a status.
const NOBODY: u32 = u32::MAX;

/// A process of this sandbox that nobody ordered.
pub(super) struct Stranger {
    pid: pid_t,
    pidfd: OwnedFd,
}

impl Stranger {
    /// CPU time that it has used, in nanoseconds.
    pub fn spent(&self) -> u64 {
        sys::process_time(self.pid).map_or(0, |(user, system)| user.saturating_add(system))
    }
}

impl Inner {
    /// Processes that were made since the newest one that is known, and are not known.
    pub(super) fn strangers(&self) -> Vec<Stranger> {
        let newest = self.newest.load(SeqCst);
        let after = newest.saturating_add(1)..=newest.saturating_add(NEAR);
        let again = FIRST_ID..=FIRST_ID + NEAR;
        let mut found: Vec<Stranger> = Vec::new();
        for pid in after.chain(again) {
            // Of a thread there is none.
            let Ok(pidfd) = bell::pidfd(pid) else {
                continue;
            };
            let mut mark = [0; 8];
            let known = pid == self.zygote.tid || self.tasks.lock().contains_key(&pid);
            if !known
                && sys::read_memory(pid, self.layout.base + MARK, &mut mark) == mark.len()
                && mark == self.mark.to_le_bytes()
            {
                found.push(Stranger { pid, pidfd });
            }
        }
        found
    }

    /// Kills them.
    pub(super) fn kill_strangers(&self) {
        for stranger in self.strangers() {
            log::warn!("process {} was not ordered: killed", stranger.pid);
            let _ = bell::kill(stranger.pidfd.as_fd());
            self.nameless.fetch_add(1, SeqCst);
        }
    }

    /// Has the zygote reap dead processes; whether there were any.
    pub(super) fn reap(&self) -> bool {
        let mut any = false;
        loop {
            let batch: Vec<u64> = {
                let mut zombies = self.zombies.lock();
                let n = zombies.len().min(MAX_OPS);
                zombies.drain(..n).collect()
            };
            if batch.is_empty() || self.over.load(SeqCst) {
                break;
            }
            // Where its id does not lead to a dead process, a guest lied when it told that of its child.
            let lies = self.wait_for(&batch);
            self.nameless.fetch_add(lies, SeqCst);
            any = true;
        }
        let nameless = self.nameless.load(SeqCst).min(MAX_OPS);
        if nameless > 0 && !self.over.load(SeqCst) {
            // Only of those that are marked dead may the ids be given up.
            self.bury();
            let left = self.wait_for(&vec![u64::MAX; nameless]);
            self.bury();
            self.nameless.fetch_sub(nameless - left, SeqCst);
        }
        any
    }

    /// Has the zygote reap these of its children (-1: any one); how many could not be.
    fn wait_for(&self, pids: &[u64]) -> usize {
        // Four bytes for each.
        const { assert!(MAX_OPS * 4 <= 256) };
        let mailboxes = &self.zygote.process.mailboxes;
        let nobody = u64::from(NOBODY) << 32 | u64::from(NOBODY);
        mailboxes.set_words(self.zygote.slot, RESULT, &[nobody; MAX_OPS / 2]);
        let status = self.slot_address(self.zygote.slot) + RESULT as u64;
        let ops: Vec<Op> = (0..)
            .step_by(4)
            .zip(pids)
            .map(|(at, pid)| Op {
                number: libc::SYS_wait4.cast_unsigned(),
                args: [
                    *pid,
                    status + at,
                    u64::from(libc::WNOHANG.cast_unsigned()),
                    0,
                    0,
                    0,
                ],
                with_fd: 0,
            })
            .collect();
        let mut rest = &ops[..];
        // An operation that fails ends a list.
        while let Err(Error::Op { index, .. }) = self.execute_list(&self.zygote, rest, &[]) {
            rest = rest.get(index + 1..).unwrap_or(&[]);
        }
        let words: [u64; MAX_OPS / 2] = mailboxes.words(self.zygote.slot, RESULT);
        let each = words
            .iter()
            .flat_map(|w| [*w as u32, (*w >> 32) as u32])
            .take(pids.len());
        each.filter(|status| *status == NOBODY).count()
    }
}
