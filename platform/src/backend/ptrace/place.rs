//! Where threads run: the tracer and the stubs share a core while only one guest thread runs at a time.
//!
//! A trap is then a switch on one core instead of the wake-up of another, several times cheaper (see
//! `examples/times.rs`); left alone, the host scheduler takes an idle core for each wake-up. As soon as a second guest thread
//! runs, or the only one computes for long, everybody may run everywhere again; the more often that
//! happens, the longer it takes to come together.
//!
//! While they are together the worker thread is bound to one core, and what it spawns inherits that.
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use libc::pid_t;

use crate::sys::{self, CpuSet};

/// Not bound to one core.
const ANYWHERE: i32 = -1;
/// How many resumes in a row must be of the only running thread before they come together: at first, and at most.
const PATIENCE: (u32, u32) = (32, 8192);
/// The only guest thread has run for this long: it computes.
const LONG: Duration = Duration::from_millis(3);

/// The policy's state; changed on the worker only.
#[derive(Debug)]
pub(super) struct Placement {
    allowed: Option<CpuSet>,
    /// The common core, or [`ANYWHERE`].
    home: AtomicI32,
    running: AtomicUsize,
    alone: AtomicU32,
    patience: AtomicU32,
    enabled: AtomicBool,
}

/// Where a host thread was last put.
#[derive(Debug)]
pub(super) struct Place(AtomicI32);

impl Place {
    /// As the zygote starts.
    pub fn anywhere() -> Place {
        Place(AtomicI32::new(ANYWHERE))
    }

    /// A task's child inherits its place.
    pub fn inherited(&self) -> Place {
        Place(AtomicI32::new(self.0.load(Relaxed)))
    }
}

impl Placement {
    /// With the calling thread's cores.
    pub fn new() -> Placement {
        let allowed = sys::affinity().filter(|set| sys::cpu_count(set) > 1);
        Placement {
            enabled: AtomicBool::new(allowed.is_some()),
            allowed,
            home: AtomicI32::new(ANYWHERE),
            running: AtomicUsize::new(0),
            alone: AtomicU32::new(0),
            patience: AtomicU32::new(PATIENCE.0),
        }
    }

    fn set_affinity(&self, tid: pid_t, home: i32) {
        let set = usize::try_from(home).ok().map(sys::single_cpu);
        if let Some(set) = set.as_ref().or(self.allowed.as_ref())
            && sys::set_affinity(tid, set).is_err()
        {
            // The host's administrator may have taken the core away, or the jail forbids it: leave it be.
            self.enabled.store(false, Relaxed);
        }
    }

    /// Puts a stopped task where it belongs.
    pub fn place(&self, tid: pid_t, place: &Place) {
        let home = self.home.load(Relaxed);
        if place.0.swap(home, Relaxed) != home {
            self.set_affinity(tid, home);
        }
    }

    /// A guest thread is about to run; true if those that run already must be placed anew.
    pub fn starts(&self) -> bool {
        let others = self.running.fetch_add(1, Relaxed);
        if others > 0 {
            return self.part();
        }
        if self.home.load(Relaxed) == ANYWHERE {
            let alone = self.alone.load(Relaxed).saturating_add(1);
            self.alone.store(alone, Relaxed);
            if alone >= self.patience.load(Relaxed) && self.enabled.load(Relaxed) {
                let home = sys::current_cpu();
                self.home.store(home, Relaxed);
                self.set_affinity(0, home);
            }
        }
        false
    }

    /// A guest thread stopped or died.
    pub fn stops(&self) {
        self.running.fetch_sub(1, Relaxed);
    }

    /// Whether it matters how long the worker waits.
    pub fn watches(&self) -> bool {
        self.home.load(Relaxed) != ANYWHERE
    }

    /// The worker waited this long; true as with [`Placement::starts`].
    pub fn waited(&self, time: Duration) -> bool {
        time >= LONG && self.running.load(Relaxed) > 0 && self.part()
    }

    /// Everybody may run everywhere.
    fn part(&self) -> bool {
        self.alone.store(0, Relaxed);
        if self.home.swap(ANYWHERE, Relaxed) == ANYWHERE {
            return false;
        }
        let patience = self.patience.load(Relaxed);
        self.patience.store((patience * 2).min(PATIENCE.1), Relaxed);
        self.set_affinity(0, ANYWHERE);
        true
    }
}
