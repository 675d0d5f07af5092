//! CPU time of processes: the host's figures for the address spaces that a process has lived in.
//!
//! The platform measures a running process only as a whole ([`AddressSpace::cpu_time`]), a thread only while it is
//! stopped. A vfork child runs in its parent's space while that one waits, so what passes there meanwhile is the child's.

use super::ThreadGroup;
use crate::sync::{Mutex, Rank};
use cofferdam_platform::AddressSpace;
use std::sync::Arc;

/// Nanoseconds in user mode and in the kernel.
pub type CpuTime = (u64, u64);

/// The CPU clock of a process.
pub struct CpuClock(Mutex<State>);

#[derive(Default)]
struct State {
    /// In address spaces that execve has replaced.
    before: CpuTime,
    /// The present one, and what it had used when the process moved in.
    space: Option<(Arc<dyn AddressSpace>, CpuTime)>,
}

fn add(a: CpuTime, b: CpuTime) -> CpuTime {
    (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
}

impl Default for CpuClock {
    fn default() -> Self {
        CpuClock(Mutex::new(Rank::LEAF, State::default()))
    }
}

impl CpuClock {
    /// What the process has used so far.
    pub fn now(&self) -> CpuTime {
        let (before, space) = {
            let s = self.0.lock();
            (s.before, s.space.clone())
        };
        match space {
            None => before,
            Some((space, start)) => {
                let (user, system) = space.cpu_time();
                let here = (user.saturating_sub(start.0), system.saturating_sub(start.1));
                add(before, here)
            }
        }
    }
    /// What it has used, if it has not ended.
    pub fn alive(&self) -> Option<CpuTime> {
        self.0.lock().space.as_ref()?;
        Some(self.now())
    }
    /// The process goes on in an address space that nobody has used before: what little its host process has run counts as its own.
    pub fn enter_fresh(&self, space: &Arc<dyn AddressSpace>) {
        let before = self.now();
        let space = Some((space.clone(), (0, 0)));
        let old = std::mem::replace(&mut *self.0.lock(), State { before, space });
        drop(old);
    }
    /// The process has ended, having used `total`.
    pub fn end(&self, total: CpuTime) {
        let ended = State {
            before: total,
            space: None,
        };
        let old = std::mem::replace(&mut *self.0.lock(), ended);
        drop(old);
    }
    /// The process goes on in another address space (birth, execve), or in none (its end).
    pub fn enter(&self, space: Option<&Arc<dyn AddressSpace>>) {
        let before = self.now();
        let space = space.map(|s| (s.clone(), s.cpu_time()));
        let old = std::mem::replace(&mut *self.0.lock(), State { before, space });
        drop(old);
    }
}

impl ThreadGroup {
    /// CPU time of all threads, dead ones too, in nanoseconds (user, system).
    pub fn cpu_time(&self) -> CpuTime {
        self.cpu.now()
    }
    /// CPU time of children that were waited for, in nanoseconds (user, system).
    pub fn children_cpu_time(&self) -> CpuTime {
        self.times.lock().children
    }
    /// User and system time together.
    pub fn cpu_total(&self) -> u64 {
        let (user, system) = self.cpu_time();
        user.saturating_add(system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Space(AtomicU64);
    impl AddressSpace for Space {
        fn read(&self, _: u64, _: &mut [u8]) -> usize {
            0
        }
        fn write(&self, _: u64, _: &[u8]) -> usize {
            0
        }
        fn kill(&self) {}
        fn host_pid(&self) -> Option<u32> {
            None
        }
        fn cpu_time(&self) -> CpuTime {
            let t = self.0.load(Ordering::Relaxed);
            (t, t / 2)
        }
    }

    #[test]
    fn time_goes_on_over_execve_and_ends_with_the_process() {
        let clock = CpuClock::default();
        let first = Arc::new(Space(AtomicU64::new(100)));
        let as_space: Arc<dyn AddressSpace> = first.clone();
        clock.enter(Some(&as_space));
        assert_eq!(clock.now(), (0, 0));
        first.0.store(160, Ordering::Relaxed);
        assert_eq!(clock.now(), (60, 30));
        let second: Arc<dyn AddressSpace> = Arc::new(Space(AtomicU64::new(10)));
        clock.enter(Some(&second));
        first.0.store(1000, Ordering::Relaxed);
        assert_eq!(clock.now(), (60, 30));
        clock.enter(None);
        assert_eq!(clock.now(), (60, 30));
        assert_eq!(Arc::strong_count(&second), 1);
    }
}
