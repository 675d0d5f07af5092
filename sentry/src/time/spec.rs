//! `struct timespec`, `timeval` and their pairs, as nanoseconds.

use crate::abi::{Errno, Result};

const NS: u64 = 1_000_000_000;

/// `struct timespec`: seconds, nanoseconds.
pub type Timespec = [i64; 2];
/// `struct itimerspec` or `itimerval`: interval, then value.
pub type Pair = [[i64; 2]; 2];

/// A timer's setting in nanoseconds; `value` 0 disarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Setting {
    pub interval: u64,
    pub value: u64,
}

fn ns(raw: [i64; 2], per_second: u64) -> Result<u64> {
    let [sec, part] = raw.map(u64::try_from);
    match (sec, part) {
        (Ok(sec), Ok(part)) if part < per_second => Ok(sec
            .saturating_mul(NS)
            .saturating_add(part.saturating_mul(NS / per_second))
            .min(i64::MAX.unsigned_abs())),
        _ => Err(Errno::EINVAL),
    }
}

/// Nanoseconds as seconds and a part in units of `NS / per_second`.
fn split(ns: u64, per_second: u64) -> [i64; 2] {
    [ns / NS, ns % NS / (NS / per_second)].map(u64::cast_signed)
}

/// Nanoseconds as a `timespec`.
pub fn timespec(ns: u64) -> Timespec {
    split(ns, NS)
}

/// Nanoseconds as a `timeval`, rounded down.
pub fn timeval(ns: u64) -> [i64; 2] {
    split(ns, 1_000_000)
}

/// Nanoseconds of a `timespec`; times beyond 292 years are cut.
///
/// # Errors
/// EINVAL if it is negative or has more than a second's nanoseconds.
pub fn from_timespec(raw: Timespec) -> Result<u64> {
    ns(raw, NS)
}

impl Setting {
    /// From an `itimerspec`.
    ///
    /// # Errors
    /// EINVAL.
    pub fn from_spec(raw: Pair) -> Result<Setting> {
        Self::from_raw(raw, NS)
    }
    /// From an `itimerval`.
    ///
    /// # Errors
    /// EINVAL.
    pub fn from_val(raw: Pair) -> Result<Setting> {
        Self::from_raw(raw, 1_000_000)
    }
    fn from_raw([interval, value]: Pair, per_second: u64) -> Result<Setting> {
        Ok(Setting {
            interval: ns(interval, per_second)?,
            value: ns(value, per_second)?,
        })
    }
    /// As an `itimerspec`.
    pub fn spec(self) -> Pair {
        [timespec(self.interval), timespec(self.value)]
    }
    /// As an `itimerval`; a value that is left never rounds down to 0, which would mean disarmed.
    pub fn val(self) -> Pair {
        let value = if self.value == 0 {
            0
        } else {
            self.value.max(1000)
        };
        [timeval(self.interval), timeval(value)]
    }
}

/// Periods of a timer: the first expiry after `now` of one that expired at `first` and every `interval` (not 0) after it, and
/// how many expiries lie between, `first` included.
pub fn forward(first: u64, interval: u64, now: u64) -> (u64, u64) {
    let Some(late) = now.checked_sub(first) else {
        return (first, 0);
    };
    let periods = (late / interval.max(1)).saturating_add(1);
    (
        first.saturating_add(periods.saturating_mul(interval)),
        periods,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range() {
        assert_eq!(ns([1, 5], NS), Ok(1_000_000_005));
        assert_eq!(ns([1, 5], 1_000_000), Ok(1_000_005_000));
        for bad in [[-1, 0], [0, -1], [0, 1_000_000_000]] {
            assert_eq!(ns(bad, NS), Err(Errno::EINVAL));
        }
        assert_eq!(ns([0, 1_000_000], 1_000_000), Err(Errno::EINVAL));
        assert_eq!(ns([i64::MAX, 0], NS), Ok(i64::MAX as u64));
        assert_eq!(timespec(3_000_000_007), [3, 7]);
        let tiny = Setting {
            interval: 0,
            value: 1,
        };
        assert_eq!(tiny.val(), [[0, 0], [0, 1]]);
    }

    #[test]
    fn forward_counts_missed_periods() {
        assert_eq!(forward(100, 10, 99), (100, 0));
        assert_eq!(forward(100, 10, 100), (110, 1));
        assert_eq!(forward(100, 10, 135), (140, 4));
        assert_eq!(forward(0, 1, u64::MAX), (u64::MAX, u64::MAX));
    }
}
