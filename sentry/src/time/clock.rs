//! The clocks that measure wall time (clock_gettime(2)), and deadlines on them.

use super::{Instant, clock_ns};

/// A clock that all tasks share. The guest reads most of them through the host's vDSO, so they are the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Clock {
    Realtime,
    Monotonic,
    MonotonicRaw,
    RealtimeCoarse,
    MonotonicCoarse,
    Boottime,
    RealtimeAlarm,
    BoottimeAlarm,
    Tai,
}

impl Clock {
    /// From a `clockid_t`; `None` for CPU clocks and unknown ones.
    pub fn from_id(id: i32) -> Option<Clock> {
        Some(match id {
            libc::CLOCK_REALTIME => Clock::Realtime,
            libc::CLOCK_MONOTONIC => Clock::Monotonic,
            libc::CLOCK_MONOTONIC_RAW => Clock::MonotonicRaw,
            libc::CLOCK_REALTIME_COARSE => Clock::RealtimeCoarse,
            libc::CLOCK_MONOTONIC_COARSE => Clock::MonotonicCoarse,
            libc::CLOCK_BOOTTIME => Clock::Boottime,
            libc::CLOCK_REALTIME_ALARM => Clock::RealtimeAlarm,
            libc::CLOCK_BOOTTIME_ALARM => Clock::BoottimeAlarm,
            libc::CLOCK_TAI => Clock::Tai,
            _ => return None,
        })
    }
    fn host(self) -> libc::clockid_t {
        match self {
            Clock::Realtime | Clock::RealtimeAlarm => libc::CLOCK_REALTIME,
            Clock::Monotonic => libc::CLOCK_MONOTONIC,
            Clock::MonotonicRaw => libc::CLOCK_MONOTONIC_RAW,
            Clock::RealtimeCoarse => libc::CLOCK_REALTIME_COARSE,
            Clock::MonotonicCoarse => libc::CLOCK_MONOTONIC_COARSE,
            Clock::Boottime | Clock::BoottimeAlarm => libc::CLOCK_BOOTTIME,
            Clock::Tai => libc::CLOCK_TAI,
        }
    }
    /// Nanoseconds it shows now.
    pub fn now(self) -> u64 {
        clock_ns(self.host())
    }
    /// Nanoseconds between its steps: 1 (high-resolution timers), or a tick of 4 ms.
    pub fn resolution(self) -> u64 {
        match self {
            Clock::RealtimeCoarse | Clock::MonotonicCoarse => 4_000_000,
            _ => 1,
        }
    }
    /// Whether timers and sleeps work on it.
    pub fn has_timers(self) -> bool {
        !matches!(
            self,
            Clock::MonotonicRaw | Clock::RealtimeCoarse | Clock::MonotonicCoarse
        )
    }
    /// Whether it would wake a sleeping machine (CAP_WAKE_ALARM).
    pub fn is_alarm(self) -> bool {
        matches!(self, Clock::RealtimeAlarm | Clock::BoottimeAlarm)
    }
    /// When it will show `ns`, if nobody sets it. Times past give instants past.
    pub fn instant(self, ns: u64) -> Instant {
        let now = Instant::now();
        if self == Clock::Monotonic {
            return Instant(ns);
        }
        let shown = self.now();
        Instant(if ns >= shown {
            now.0.saturating_add(ns - shown)
        } else {
            now.0.saturating_sub(shown - ns)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_on_any_clock_are_monotonic_instants() {
        for id in [0, 1, 4, 5, 6, 7, 8, 9, 11] {
            let c = Clock::from_id(id).unwrap();
            let later = c.instant(c.now() + 5_000_000_000);
            let left = later.remaining();
            assert!(
                (4_000_000_000..=5_010_000_000).contains(&left),
                "{c:?} {left}"
            );
            assert_eq!(c.instant(0).remaining(), 0);
        }
        assert!(Clock::from_id(2).is_none() && Clock::from_id(-6).is_none());
        assert!(Clock::from_id(12).is_none() && Clock::from_id(10).is_none());
    }
}
