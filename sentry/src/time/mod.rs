//! Clocks and the timer thread.

mod clock;
mod offsets;
pub mod spec;
mod timers;

pub use clock::Clock;
pub use offsets::Offsets;
pub use timers::{TimerHandle, TimerQueue};

/// Nanoseconds on CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Now.
    pub fn now() -> Instant {
        Instant(clock_ns(libc::CLOCK_MONOTONIC))
    }
    /// `self` plus `ns`, saturating.
    pub fn after(self, ns: u64) -> Instant {
        Instant(self.0.saturating_add(ns))
    }
    /// Nanoseconds from `self` until now; 0 if in the future.
    pub fn elapsed(self) -> u64 {
        Instant::now().0.saturating_sub(self.0)
    }
    /// Nanoseconds from now until `self`; 0 if past.
    pub fn remaining(self) -> u64 {
        self.0.saturating_sub(Instant::now().0)
    }
}

/// Nanoseconds since the epoch (CLOCK_REALTIME).
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// Reads a host clock, in nanoseconds; 0 if the host does not know it.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    match nix::time::clock_gettime(nix::time::ClockId::from_raw(clock)) {
        Ok(ts) => {
            u64::try_from(ts.tv_sec())
                .unwrap_or(0)
                .saturating_mul(1_000_000_000)
                + u64::try_from(ts.tv_nsec()).unwrap_or(0)
        }
        Err(_) => 0,
    }
}
