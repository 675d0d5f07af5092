//! Limits that the guest's administrator may set lower (sysctl).

use crate::abi::{Errno, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of /proc/sys. The greatest value is what the sandbox can bear.
#[derive(Debug)]
pub struct Knob {
    value: AtomicU64,
    least: u64,
    most: u64,
}

impl Knob {
    /// Set to its greatest value.
    pub const fn new(least: u64, most: u64) -> Knob {
        Knob {
            value: AtomicU64::new(most),
            least,
            most,
        }
    }
    /// Set to `value`.
    pub const fn set_to(value: u64, least: u64, most: u64) -> Knob {
        Knob {
            value: AtomicU64::new(value),
            least,
            most,
        }
    }
    /// Its value.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
    /// Whether so many are no more than it says.
    pub fn allows(&self, n: usize) -> bool {
        n as u64 <= self.get()
    }
    /// Sets it.
    ///
    /// # Errors
    /// EINVAL if it is out of range.
    pub fn set(&self, value: u64) -> Result<()> {
        if !(self.least..=self.most).contains(&value) {
            return Err(Errno::EINVAL);
        }
        self.value.store(value, Ordering::Relaxed);
        Ok(())
    }
}
