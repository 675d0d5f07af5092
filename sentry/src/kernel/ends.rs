//! The memory of processes that have ended. The host takes it back a moment after the sentry has told their parents, which is as good as natively but where
//! somebody counts it: seals of files that the dead had mapped, and limits on memory.

use super::Kernel;
use crate::sync::aside;
use cofferdam_platform::AddressSpace;
use std::time::{Duration, Instant};

/// How long the memory of a process may take to go: gigabytes go in a second.
const LONGEST: Duration = Duration::from_secs(10);
/// Whoever had one part in so many of all memory is not said to have ended before it is free: others may need it at once.
const LARGE: u64 = 8;

impl Kernel {
    /// Waits until all that have ended have given up their memory; whether there were any that had not.
    pub fn await_ends(&self) -> bool {
        let ending = self.platform.ending();
        if ending.is_empty() {
            return false;
        }
        // At once, not one after the other.
        ending.iter().for_each(|space| space.kill());
        let end = Instant::now() + LONGEST;
        aside(|| {
            for space in &ending {
                space.await_end(end.saturating_duration_since(Instant::now()));
            }
        });
        true
    }

    /// Whether [`Kernel::await_end`] waits for that much.
    pub(in crate::kernel) fn is_large(&self, peak: u64) -> bool {
        peak > self.total_memory() / LARGE
    }

    /// The same for one whose last thread has ended or has begun another program, if it had much: `peak` bytes at most.
    pub(in crate::kernel) fn await_end(&self, space: &dyn AddressSpace, peak: u64) {
        if self.is_large(peak) {
            aside(|| space.await_end(LONGEST));
        }
    }
}
