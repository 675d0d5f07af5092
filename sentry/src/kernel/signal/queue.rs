//! Pending signals: standard ones coalesce, real-time ones queue up to RLIMIT_SIGPENDING.

use super::info::SigInfo;
use super::set::{SigSet, Signal};
use crate::sync::{Charge, Mutex, Quota, Rank};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Told when a queued signal is taken: periodic timers count their overruns and start again then.
pub trait OnDequeue: Send + Sync {
    /// Completes the signal's information. Called with signal locks held: must only touch its own (LEAF-ranked) state.
    fn dequeued(&self, info: &mut SigInfo);
}

/// One queued signal.
pub struct Queued {
    /// What is delivered.
    pub info: SigInfo,
    /// Whom to tell.
    pub hook: Option<Arc<dyn OnDequeue>>,
    quota: Option<QuotaGuard>,
}

impl Queued {
    /// Without a quota.
    pub fn new(info: SigInfo) -> Queued {
        Queued {
            info,
            hook: None,
            quota: None,
        }
    }
    /// With somebody to tell when it is taken. Its sender has made sure that not arbitrarily many of them wait.
    pub fn with_hook(self, hook: Arc<dyn OnDequeue>) -> Queued {
        Queued {
            hook: Some(hook),
            ..self
        }
    }
}

/// Queued signals per real user id, for RLIMIT_SIGPENDING. One per sandbox.
pub struct SignalQuota {
    users: Mutex<HashMap<u32, Arc<AtomicU64>>>,
}

impl Default for SignalQuota {
    fn default() -> Self {
        SignalQuota {
            users: Mutex::new(Rank::LEAF, HashMap::new()),
        }
    }
}

/// Signals and timers of all users: root may raise RLIMIT_SIGPENDING as it likes.
static TOTAL: Quota = Quota::new(1 << 18);

/// One queued signal of a user; dropping it gives the place back.
pub struct QuotaGuard(Arc<AtomicU64>, #[allow(dead_code)] Charge);

impl Drop for QuotaGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SignalQuota {
    /// A place for one more signal of `uid`, if fewer than `limit` are queued.
    pub fn take(&self, uid: u32, limit: u64) -> Option<QuotaGuard> {
        let counter = {
            let mut users = self.users.lock();
            if users.len() > 4096 {
                users.retain(|_, c| Arc::strong_count(c) > 1);
            }
            users.entry(uid).or_default().clone()
        };
        if counter.fetch_add(1, Ordering::Relaxed) < limit
            && let Some(charge) = TOTAL.charge(1)
        {
            Some(QuotaGuard(counter, charge))
        } else {
            counter.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }
    /// Signals queued for `uid` (SigQ of /proc/PID/status).
    pub fn used(&self, uid: u32) -> u64 {
        self.users
            .lock()
            .get(&uid)
            .map_or(0, |c| c.load(Ordering::Relaxed))
    }
}

/// Signals waiting for a task or a process (`struct sigpending`).
#[derive(Default)]
pub struct Pending {
    set: SigSet,
    queue: VecDeque<Queued>,
}

impl Pending {
    /// Which signals wait.
    pub fn set(&self) -> SigSet {
        self.set
    }
    /// What each waiting signal says, oldest first (PTRACE_PEEKSIGINFO).
    pub fn infos(&self) -> impl Iterator<Item = &SigInfo> {
        self.queue.iter().map(|q| &q.info)
    }
    /// Whether a standard signal need not be queued since it already waits.
    pub fn coalesces(&self, signal: Signal) -> bool {
        !signal.is_realtime() && self.set.contains(signal)
    }
    /// Adds a signal with its information.
    pub fn push(&mut self, signal: Signal, mut queued: Queued, quota: Option<QuotaGuard>) {
        queued.quota = quota;
        self.set.insert(signal);
        self.queue.push_back(queued);
    }
    /// Adds a signal without information (no room for it).
    pub fn push_bare(&mut self, signal: Signal) {
        self.set.insert(signal);
    }
    /// Takes the oldest instance of `signal`.
    pub fn take(&mut self, signal: Signal) -> Option<(SigInfo, Option<Arc<dyn OnDequeue>>)> {
        if !self.set.contains(signal) {
            return None;
        }
        let number = signal.number();
        let at = self.queue.iter().position(|q| q.info.signo == number);
        let Some(q) = at.and_then(|i| self.queue.remove(i)) else {
            self.set.remove(signal);
            // What Linux makes up when the information was lost (collect_signal).
            return Some((SigInfo::user(signal, 0, 0), None));
        };
        if !self.queue.iter().any(|q| q.info.signo == number) {
            self.set.remove(signal);
        }
        Some((q.info, q.hook))
    }
    /// Takes the next signal that `blocked` lets through: synchronous ones first, then the lowest number.
    pub fn next(&mut self, blocked: SigSet) -> Option<(SigInfo, Option<Arc<dyn OnDequeue>>)> {
        let ready = self.set & !blocked;
        let first = (ready & SigSet::SYNCHRONOUS)
            .first()
            .or_else(|| ready.first())?;
        self.take(first)
    }
    /// Drops every signal of `which`.
    pub fn flush(&mut self, which: SigSet) -> Vec<Queued> {
        if (self.set & which).is_empty() {
            return Vec::new();
        }
        self.set = self.set & !which;
        let (gone, keep): (VecDeque<Queued>, VecDeque<Queued>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|q| q.info.signal().is_some_and(|s| which.contains(s)));
        self.queue = keep;
        gone.into()
    }
    /// Drops what `pick` says (a deleted timer's signal).
    pub fn remove_where(&mut self, mut pick: impl FnMut(&Queued) -> bool) -> Vec<Queued> {
        let (gone, keep): (VecDeque<Queued>, VecDeque<Queued>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(&mut pick);
        self.queue = keep;
        for s in gone.iter().filter_map(|q| q.info.signal()) {
            if !self.queue.iter().any(|q| q.info.signo == s.number()) {
                self.set.remove(s);
            }
        }
        gone.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(n: i32, value: u64) -> (Signal, Queued) {
        let s = Signal::new(n).unwrap();
        (s, Queued::new(SigInfo::queued(s, -1, 1, 0, value)))
    }

    #[test]
    fn realtime_signals_queue_in_order_and_lowest_number_first() {
        let mut p = Pending::default();
        for (n, v) in [(40, 1), (34, 2), (40, 3)] {
            let (s, q) = info(n, v);
            assert!(!p.coalesces(s));
            p.push(s, q, None);
        }
        let order: Vec<_> = std::iter::from_fn(|| p.next(SigSet::EMPTY))
            .map(|(i, _)| (i.signo, i.value()))
            .collect();
        assert_eq!(order, [(34, 2), (40, 1), (40, 3)]);
        assert!(p.set().is_empty());
    }

    #[test]
    fn standard_signals_coalesce_and_faults_come_first() {
        let mut p = Pending::default();
        let (s, q) = info(2, 1);
        p.push(s, q, None);
        assert!(p.coalesces(s));
        let (s, q) = info(11, 2);
        p.push(s, q, None);
        assert_eq!(p.next(SigSet::EMPTY).unwrap().0.signo, 11);
        assert!(p.next(SigSet::of(Signal::INT)).is_none());
        assert_eq!(p.next(SigSet::EMPTY).unwrap().0.signo, 2);
    }

    #[test]
    fn bare_signal_reads_as_si_user_of_nobody() {
        let mut p = Pending::default();
        p.push_bare(Signal::TERM);
        let (i, _) = p.next(SigSet::EMPTY).unwrap();
        assert_eq!((i.signo, i.code, i.pid()), (15, 0, 0));
        assert!(p.next(SigSet::EMPTY).is_none());
    }

    #[test]
    fn quota_counts_per_user() {
        let q = SignalQuota::default();
        let a = q.take(1, 2);
        let b = q.take(1, 2);
        assert!(a.is_some() && b.is_some());
        assert!(q.take(1, 2).is_none());
        assert!(q.take(2, 2).is_some());
        drop(a);
        assert!(q.take(1, 2).is_some());
    }

    #[test]
    fn flush_removes_all_instances() {
        let mut p = Pending::default();
        for n in [20, 40, 40] {
            let (s, q) = info(n, 0);
            p.push(s, q, None);
        }
        p.flush(SigSet::STOP | SigSet(1 << 39));
        assert!(p.set().is_empty() && p.next(SigSet::EMPTY).is_none());
    }
}
