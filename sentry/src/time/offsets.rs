//! How far clocks are shifted for those who live in a time namespace (time_namespaces(7)).

use super::{Clock, Instant};

/// Nanoseconds by which two groups of clocks show more than the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Of CLOCK_MONOTONIC and its coarse and raw forms.
    pub monotonic: i64,
    /// Of CLOCK_BOOTTIME, and of when the machine started.
    pub boottime: i64,
}

impl Offsets {
    /// Whether nothing is shifted.
    pub fn is_none(self) -> bool {
        self == Offsets::default()
    }
    fn of(self, clock: Clock) -> i64 {
        match clock {
            Clock::Monotonic | Clock::MonotonicRaw | Clock::MonotonicCoarse => self.monotonic,
            Clock::Boottime | Clock::BoottimeAlarm => self.boottime,
            Clock::Realtime | Clock::RealtimeCoarse | Clock::RealtimeAlarm | Clock::Tai => 0,
        }
    }
    /// What a clock shows now, in nanoseconds.
    pub fn now(self, clock: Clock) -> u64 {
        shift(clock.now(), self.of(clock))
    }
    /// Time since boot as it is shown, both in nanoseconds.
    pub fn since_boot(self, ns: u64) -> u64 {
        shift(ns, self.boottime)
    }
    /// What the host's clock shows when this one shows `ns`; what is before the host's start is its start.
    pub fn on_host(self, clock: Clock, ns: u64) -> u64 {
        // Not negated: the lowest has no opposite.
        let offset = self.of(clock);
        if offset < 0 {
            ns.saturating_add(offset.unsigned_abs())
        } else {
            ns.saturating_sub(offset.unsigned_abs())
        }
    }
    /// When a clock will show `ns`.
    pub fn instant(self, clock: Clock, ns: u64) -> Instant {
        clock.instant(self.on_host(clock, ns))
    }
}

fn shift(ns: u64, offset: i64) -> u64 {
    ns.saturating_add_signed(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_and_back() {
        let o = Offsets {
            monotonic: 7_000_000_000,
            boottime: -5,
        };
        let before = Clock::Monotonic.now();
        assert!(o.now(Clock::Monotonic) >= before + 7_000_000_000);
        assert_eq!(o.on_host(Clock::Monotonic, before + 7_000_000_000), before);
        assert_eq!(o.on_host(Clock::Monotonic, 3), 0);
        assert_eq!(o.on_host(Clock::BoottimeAlarm, 100), 105);
        assert_eq!(o.on_host(Clock::Realtime, 100), 100);
        assert_eq!(o.since_boot(3), 0);
        assert_eq!(
            Offsets {
                monotonic: i64::MIN,
                boottime: 0
            }
            .on_host(Clock::Monotonic, u64::MAX),
            u64::MAX
        );
    }
}
