//! Time namespaces (time_namespaces(7)): clocks since boot that show more or less than the host's.
//!
//! The host's vDSO, which lies in every guest process, knows the host's clocks only. A program that starts where clocks are shifted is not told of
//! it, so that its C library makes calls; in a process that goes there without execve it is concealed ([`MemoryManager::conceal_vdso`]).

use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials, NsCommon, UserNamespace};
use crate::kernel::futex::host;
use crate::kernel::{Kernel, Task};
use crate::mm::MemoryManager;
use crate::sync::{Mutex, Quota, Rank};
use crate::time::{Clock, Offsets};
use cofferdam_platform::Thread;
use std::fmt::Write;
use std::sync::Arc;

/// Most of them (`user.max_time_namespaces`).
pub static QUOTA: Quota = Quota::new(1024);

/// Seconds that a clock may show at most: half of what nanoseconds can count (`proc_timens_set_offset`).
const MOST_SECONDS: i64 = i64::MAX / NS / 2;
const NS: i64 = 1_000_000_000;

/// `struct time_namespace`.
pub struct TimeNamespace {
    /// Number and owner.
    pub common: NsCommon,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    offsets: Offsets,
    /// Somebody lives there: nothing changes any more.
    frozen: bool,
}

impl TimeNamespace {
    fn make(common: NsCommon, state: State) -> Arc<TimeNamespace> {
        Arc::new(TimeNamespace {
            common,
            state: Mutex::new(Rank::LEAF, state),
        })
    }
    /// That of the first process.
    pub(super) fn initial() -> Arc<TimeNamespace> {
        let frozen = State {
            frozen: true,
            ..State::default()
        };
        TimeNamespace::make(NsCommon::initial(super::INITIAL_TIME), frozen)
    }
    /// A new one with the same offsets, where nobody lives yet.
    ///
    /// # Errors
    /// ENOSPC if there are too many.
    pub(super) fn duplicate(&self, owner: &Arc<UserNamespace>) -> Result<Arc<TimeNamespace>> {
        let state = State {
            offsets: self.offsets(),
            frozen: false,
        };
        Ok(TimeNamespace::make(NsCommon::create(&QUOTA, owner)?, state))
    }
    /// What is shifted.
    pub fn offsets(&self) -> Offsets {
        self.state.lock().offsets
    }
    /// `/proc/PID/timens_offsets`.
    pub fn show(&self) -> String {
        let o = self.offsets();
        let mut out = String::new();
        for (name, ns) in [("monotonic", o.monotonic), ("boottime", o.boottime)] {
            let (seconds, part) = (ns.div_euclid(NS), ns.rem_euclid(NS));
            let _ = writeln!(out, "{name:<10} {seconds:>10} {part:>9}");
        }
        out
    }
    /// Writes it; how many bytes count.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_TIME over it, EACCES if somebody lives there, ERANGE, EINVAL.
    pub fn write(&self, opener: &Credentials, text: &[u8]) -> Result<usize> {
        let (new, used) = parse(text)?;
        if !opener.has_in(self.common.owner(), Caps::SYS_TIME) {
            return Err(Errno::EPERM);
        }
        let mut state = self.state.lock();
        let mut offsets = state.offsets;
        for (clock, seconds, part) in new {
            let shown = i64::try_from(clock.now()).unwrap_or(i64::MAX);
            let (now, now_part) = (shown / NS, shown % NS);
            let carry = i64::from(now_part + part >= NS);
            let then = now.saturating_add(seconds).saturating_add(carry);
            if !(0..=MOST_SECONDS).contains(&then) {
                return Err(Errno::ERANGE);
            }
            let offset = seconds.saturating_mul(NS).saturating_add(part);
            match clock {
                Clock::Boottime => offsets.boottime = offset,
                _ => offsets.monotonic = offset,
            }
        }
        if state.frozen {
            return Err(Errno::EACCES);
        }
        state.offsets = offsets;
        Ok(used)
    }
    /// A task comes to live there, with its memory and a stopped host thread: what is shifted stays so. Its futexes are the sentry's, which knows
    /// what its points in time mean, and so are calls of the vDSO if it knows that.
    pub(in crate::kernel) fn enter(
        &self,
        kernel: &Kernel,
        mm: &Arc<MemoryManager>,
        thread: &dyn Thread,
    ) -> Result<()> {
        let offsets = {
            let mut state = self.state.lock();
            state.frozen = true;
            state.offsets
        };
        if !offsets.is_none() {
            host::bring_home(kernel, mm);
            mm.conceal_vdso(thread, true)?;
        }
        Ok(())
    }
}

/// A clock, and by how many seconds and nanoseconds it is shifted.
type Line = (Clock, i64, i64);

/// Lines of a clock's name or number, seconds and nanoseconds (`timens_offsets_write`), and how many bytes they are: what follows the second line
/// is not looked at.
fn parse(text: &[u8]) -> Result<(Vec<Line>, usize)> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let mut found = Vec::new();
    let mut used = 0usize;
    for line in text.split_inclusive('\n').take(2) {
        let mut words = line.split_ascii_whitespace();
        let clock = match words.next() {
            Some("monotonic" | "1") => Clock::Monotonic,
            Some("boottime" | "7") => Clock::Boottime,
            _ => return Err(Errno::EINVAL),
        };
        let mut number = || words.next()?.parse::<i64>().ok();
        let (Some(seconds), Some(part)) = (number(), number()) else {
            return Err(Errno::EINVAL);
        };
        if !(0..NS).contains(&part) {
            return Err(Errno::EINVAL);
        }
        found.push((clock, seconds, part));
        used = used.saturating_add(line.len());
    }
    if found.is_empty() {
        return Err(Errno::EINVAL);
    }
    Ok((found, used))
}

impl Task {
    /// What its clocks are shifted by.
    pub fn time_offsets(&self) -> Offsets {
        self.namespaces().time.offsets()
    }
    /// Goes where its children would be born (execve), with new memory.
    pub(in crate::kernel) fn follow_time(&self, mm: &Arc<MemoryManager>, thread: &dyn Thread) {
        let mut own = (*self.namespaces()).clone();
        let moves = !Arc::ptr_eq(&own.time, &own.time_for_children);
        own.time = own.time_for_children.clone();
        if own.time.enter(self.kernel(), mm, thread).is_err() {
            log::warn!("a program in a time namespace knows the vDSO");
        }
        if moves {
            self.set_namespaces(Arc::new(own));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let (both, used) = parse(b"monotonic -5 7\n7 3 0\nmore").unwrap();
        assert_eq!(both, [(Clock::Monotonic, -5, 7), (Clock::Boottime, 3, 0)]);
        assert_eq!(used, 21);
        assert!(parse(b"1 0 0").is_ok());
        for bad in [
            &b""[..],
            b"\n",
            b"0 0 0",
            b"monotonic 1",
            b"monotonic 1 1000000000",
            b"monotonic 1 -1",
            b"1 1 1\n\n",
            b"\xff 1 1",
        ] {
            assert_eq!(parse(bad).err(), Some(Errno::EINVAL), "{bad:?}");
        }
    }
}
