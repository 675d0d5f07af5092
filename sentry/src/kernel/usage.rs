//! What the sandbox as a whole uses: load averages, and a limit on its CPU time.
//!
//! Two timers look now and then. The one for the limit is there only if there is one; the one for the averages sleeps the longer
//! the longer nothing runs.

use super::Kernel;
use crate::sync::{Events, Mutex, Notify, Rank};
use crate::time::{Instant, TimerHandle};
use nix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

const SECOND: u64 = 1_000_000_000;
/// Time between two samples of the load (LOAD_FREQ), and between those of a sandbox that has long been idle.
const SAMPLE: u64 = 5 * SECOND;
const IDLE_SAMPLE: u64 = 16 * SAMPLE;
/// Decay per sample over 1, 5 and 15 minutes, in 1/2048 (EXP_1, EXP_5, EXP_15).
const DECAY: [u64; 3] = [1884, 2014, 2037];
/// 1.0 of a load average (FIXED_1), and the bits after the point.
const ONE: u64 = 1 << SHIFT;
const SHIFT: u32 = 11;
/// Between two looks at the CPU time: at least this, and so many times what a look takes.
const LOOK: u64 = SECOND / 100;
const SHARE: u64 = 50;
const IDLE_LOOK: u64 = SECOND / 4;

/// What a sandbox has used.
pub(super) struct Usage {
    /// CPU time of processes that have ended, in nanoseconds.
    ended: AtomicU64,
    loads: [AtomicU64; 3],
    /// More than the limit was used.
    overrun: AtomicBool,
    load_timer: Mutex<Option<TimerHandle>>,
    limit_timer: Mutex<Option<TimerHandle>>,
}

impl Default for Usage {
    fn default() -> Usage {
        Usage {
            ended: AtomicU64::new(0),
            loads: Default::default(),
            overrun: AtomicBool::new(false),
            load_timer: Mutex::new(Rank::TIMERS, None),
            limit_timer: Mutex::new(Rank::TIMERS, None),
        }
    }
}

impl Kernel {
    /// Load averages over 1, 5 and 15 minutes, in 1/2048.
    pub fn loads(&self) -> [u64; 3] {
        self.usage
            .loads
            .each_ref()
            .map(|l| l.load(Ordering::Relaxed))
    }
    /// Tasks that run or could.
    pub fn runnable(&self) -> usize {
        let groups = self.processes();
        let running =
            |g: &Arc<super::ThreadGroup>| g.threads().iter().filter(|t| t.is_running()).count();
        groups.iter().map(running).sum()
    }
    /// Starts taking the load averages.
    pub fn watch_load(self: &Arc<Self>) {
        let kernel = Arc::downgrade(self);
        Sampler(kernel).wait(self, SAMPLE);
    }
    /// Ends the sandbox when it has used so many nanoseconds of CPU time.
    pub fn limit_cpu(self: &Arc<Self>, limit: u64) {
        let watch = Arc::new(LimitWatch {
            kernel: Arc::downgrade(self),
            limit,
            seen: AtomicU64::new(0),
            pause: AtomicU64::new(LOOK),
        });
        watch.notify(Events::empty());
    }
    /// Whether [`Kernel::limit_cpu`] has ended it.
    pub fn overran(&self) -> bool {
        self.usage.overrun.load(Ordering::SeqCst)
    }
    /// CPU time of all processes so far, and of the sentry for them, in nanoseconds.
    pub fn cpu_used(&self) -> u64 {
        let alive = self.processes().into_iter().filter_map(|g| g.cpu.alive());
        let alive: u64 = alive
            .map(|(user, system)| user.saturating_add(system))
            .sum();
        self.usage
            .ended
            .load(Ordering::Relaxed)
            .saturating_add(alive)
            .saturating_add(own())
    }
    /// A process has ended that used so much.
    pub(super) fn count_ended(&self, (user, system): (u64, u64)) {
        let used = user.saturating_add(system);
        self.usage.ended.fetch_add(used, Ordering::Relaxed);
    }
}

/// CPU time of the sentry.
fn own() -> u64 {
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok();
    used.map_or(0, |t| {
        let seconds = t.tv_sec().unsigned_abs().saturating_mul(SECOND);
        seconds.saturating_add(t.tv_nsec().unsigned_abs())
    })
}

/// `calc_load`: the average after `periods` samples that saw `running` tasks.
fn decayed(load: u64, decay: u64, running: u64, periods: u64) -> u64 {
    let active = running.saturating_mul(ONE);
    let mut load = load;
    for _ in 0..periods.min(IDLE_SAMPLE / SAMPLE) {
        let up = if active >= load { ONE - 1 } else { 0 };
        load = (load * decay + active * (ONE - decay) + up) >> SHIFT;
    }
    load
}

/// Takes a sample of the load now and then.
struct Sampler(Weak<Kernel>);

impl Sampler {
    fn wait(self, kernel: &Arc<Kernel>, time: u64) {
        let next = Next {
            sampler: self,
            waited: time,
        };
        let handle = kernel
            .timers
            .arm(Instant::now().after(time), Arc::new(next));
        let old = kernel.usage.load_timer.lock().replace(handle);
        drop(old);
    }
}

struct Next {
    sampler: Sampler,
    waited: u64,
}

impl Notify for Next {
    fn notify(&self, _: Events) {
        let Some(kernel) = self.sampler.0.upgrade() else {
            return;
        };
        let running = kernel.runnable() as u64;
        // One sample was seen; what was slept through is taken to have been idle.
        let slept = (self.waited / SAMPLE).saturating_sub(1);
        let mut idle = running == 0;
        for (slot, decay) in kernel.usage.loads.iter().zip(DECAY) {
            let before = decayed(slot.load(Ordering::Relaxed), decay, 0, slept);
            let now = decayed(before, decay, running, 1);
            slot.store(now, Ordering::Relaxed);
            idle &= now == 0;
        }
        let time = if idle {
            self.waited.saturating_mul(2).min(IDLE_SAMPLE)
        } else {
            SAMPLE
        };
        Sampler(self.sampler.0.clone()).wait(&kernel, time);
    }
}

/// Looks at the CPU time as often as it could reach the limit.
struct LimitWatch {
    kernel: Weak<Kernel>,
    limit: u64,
    seen: AtomicU64,
    pause: AtomicU64,
}

impl LimitWatch {
    fn again(&self) -> Arc<LimitWatch> {
        Arc::new(LimitWatch {
            kernel: self.kernel.clone(),
            limit: self.limit,
            seen: AtomicU64::new(self.seen.load(Ordering::Relaxed)),
            pause: AtomicU64::new(self.pause.load(Ordering::Relaxed)),
        })
    }
}

impl Notify for LimitWatch {
    fn notify(&self, _: Events) {
        let Some(kernel) = self.kernel.upgrade() else {
            return;
        };
        let start = Instant::now();
        let used = kernel.cpu_used();
        if used >= self.limit {
            kernel.usage.overrun.store(true, Ordering::SeqCst);
            return kernel.shut_down();
        }
        let little = used.saturating_sub(self.seen.swap(used, Ordering::Relaxed)) < LOOK / 10;
        let pause = if little {
            self.pause
                .load(Ordering::Relaxed)
                .saturating_mul(2)
                .min(IDLE_LOOK)
        } else {
            LOOK
        };
        self.pause.store(pause, Ordering::Relaxed);
        let processors = u64::from(kernel.cpu_mask().count_ones()).max(1);
        let least = pause.max(start.elapsed().saturating_mul(SHARE));
        let wait = ((self.limit - used) / processors).max(least);
        let handle = kernel.timers.arm(Instant::now().after(wait), self.again());
        let old = kernel.usage.limit_timer.lock().replace(handle);
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_rises_to_what_runs_and_falls_again() {
        let minute = 60 * SECOND / SAMPLE;
        let mut load = 0;
        for _ in 0..10 * minute {
            load = decayed(load, DECAY[0], 2, 1);
        }
        assert_eq!((load * 100) >> SHIFT, 200);
        let later = decayed(load, DECAY[0], 0, minute);
        assert!((60..=80).contains(&((later * 100) >> SHIFT)), "{later}");
        assert_eq!(decayed(0, DECAY[2], 0, 5), 0);
    }
}
