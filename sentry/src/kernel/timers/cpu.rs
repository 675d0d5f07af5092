//! What happens at an amount of CPU time: ITIMER_VIRTUAL, ITIMER_PROF, RLIMIT_CPU, CPU-clock POSIX timers.
//!
//! The host does not tell when a process has used so much; one watch per process looks when it could be so at the earliest
//! (as many threads as it has cannot use more), but not more often than a tick, and rarely while nothing runs.

use super::ProcessTimers;
use super::itimer::Which;
use crate::kernel::cpu_time::CpuTime;
use crate::kernel::limits::INFINITY;
use crate::kernel::signal::{Origin, SigInfo, Signal, send_group};
use crate::kernel::{ExitStatus, ThreadGroup};
use crate::sync::{Events, Mutex, Notify, Rank};
use crate::time::spec::{Setting, forward};
use crate::time::{Instant, TimerHandle};
use smallvec::SmallVec;
use std::sync::{Arc, Weak};

/// Time between two looks at least, in nanoseconds: a tick of 250 Hz.
const TICK: u64 = 4_000_000;
/// And at most while the process does not run.
const IDLE: u64 = 64_000_000;
const SECOND: u64 = 1_000_000_000;

/// One itimer on a CPU clock: when (in CPU time) it expires next.
#[derive(Clone, Copy, Debug, Default)]
struct CpuItimer {
    interval: u64,
    next: Option<u64>,
}

impl CpuItimer {
    /// Whether it has expired by `now`; sets the next expiry.
    fn expire(&mut self, now: u64) -> bool {
        let Some(next) = self.next.filter(|n| *n <= now) else {
            return false;
        };
        self.next = (self.interval != 0).then(|| forward(next, self.interval, now).0);
        true
    }
    fn setting(&self, now: u64) -> Setting {
        Setting {
            interval: self.interval,
            value: self.next.map_or(0, |n| n.saturating_sub(now).max(1)),
        }
    }
}

/// Watches one process.
pub struct CpuWatch {
    me: Weak<CpuWatch>,
    group: Weak<ThreadGroup>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    virt: CpuItimer,
    prof: CpuItimer,
    /// Next SIGXCPU, in CPU time: from the soft limit on, one a second.
    xcpu: Option<u64>,
    handle: Option<TimerHandle>,
    /// CPU time at the last look, and how long to wait if it does not change.
    seen: u64,
    pause: u64,
}

impl CpuWatch {
    pub(super) fn new(group: &Arc<ThreadGroup>) -> Arc<CpuWatch> {
        Arc::new_cyclic(|me| CpuWatch {
            me: me.clone(),
            group: Arc::downgrade(group),
            state: Mutex::new(Rank::TIMERS, State::default()),
        })
    }
    pub(super) fn disarm(&self) {
        let old = std::mem::take(&mut *self.state.lock());
        drop(old);
    }
    pub(super) fn itimer(&self, which: Which, (user, system): CpuTime) -> Setting {
        let s = self.state.lock();
        match which {
            Which::Virtual => s.virt.setting(user),
            _ => s.prof.setting(user.saturating_add(system)),
        }
    }
    pub(super) fn set_itimer(&self, which: Which, new: Setting) -> Setting {
        let Some(group) = self.group.upgrade() else {
            return Setting::default();
        };
        let (user, system) = group.cpu_time();
        let now = match which {
            Which::Virtual => user,
            _ => user.saturating_add(system),
        };
        let old = {
            let mut s = self.state.lock();
            let slot = match which {
                Which::Virtual => &mut s.virt,
                _ => &mut s.prof,
            };
            let old = slot.setting(now);
            *slot = CpuItimer {
                interval: new.interval,
                next: (new.value != 0).then(|| now.saturating_add(new.value)),
            };
            old
        };
        self.look(&group);
        old
    }
    /// Looks soon: something was armed.
    pub(super) fn look_soon(&self) {
        let Some(kernel) = self.group.upgrade().and_then(|g| g.kernel()) else {
            return;
        };
        let Some(me) = self.me.upgrade() else { return };
        let mut s = self.state.lock();
        s.pause = TICK;
        s.handle = Some(kernel.timers.arm(Instant::now().after(TICK), me));
    }
    /// Sends what is due and says when to look again.
    pub(super) fn look(&self, group: &Arc<ThreadGroup>) {
        if group.is_exiting() {
            return self.disarm();
        }
        let (user, system) = group.cpu_time();
        let total = user.saturating_add(system);
        let (soft, hard) = cpu_limits(group);
        if total >= hard {
            let status = ExitStatus::Signaled(Signal::KILL.number(), false);
            crate::kernel::signal::start_group_exit(group, status);
            return self.disarm();
        }
        let mut due: SmallVec<[Signal; 3]> = SmallVec::new();
        let mut left = hard.saturating_sub(total);
        {
            let mut s = self.state.lock();
            if s.virt.expire(user) {
                due.push(Signal::VTALRM);
            }
            if s.prof.expire(total) {
                due.push(Signal::PROF);
            }
            let xcpu = s.xcpu.unwrap_or(soft).max(soft);
            s.xcpu = (soft != INFINITY).then_some(xcpu);
            if total >= xcpu {
                due.push(Signal::XCPU);
                s.xcpu = Some(total.saturating_add(SECOND));
            }
            for next in [
                s.virt.next.map(|n| n.saturating_sub(user)),
                s.prof.next.map(|n| n.saturating_sub(total)),
                s.xcpu.map(|n| n.saturating_sub(total)),
            ] {
                left = left.min(next.unwrap_or(INFINITY));
            }
        }
        for signal in due {
            let _ = send_group(group, SigInfo::kernel(signal), Origin::Kernel);
        }
        if let Some(own) = ProcessTimers::existing(group) {
            for t in own.all() {
                left = left.min(t.look_at_cpu(total).unwrap_or(INFINITY));
            }
        }
        self.schedule(group, total, left);
    }
    fn schedule(&self, group: &Arc<ThreadGroup>, total: u64, left: u64) {
        let threads = group.signals.lock().tasks().count().max(1) as u64;
        let (Some(kernel), Some(me)) = (group.kernel(), self.me.upgrade()) else {
            return;
        };
        let mut s = self.state.lock();
        if left == INFINITY {
            s.handle = None;
            return;
        }
        s.pause = if total == s.seen {
            s.pause.saturating_mul(2).clamp(TICK, IDLE)
        } else {
            TICK
        };
        s.seen = total;
        let wait = (left / threads).max(s.pause);
        s.handle = Some(kernel.timers.arm(Instant::now().after(wait), me));
    }
}

impl Notify for CpuWatch {
    fn notify(&self, _: Events) {
        if let Some(group) = self.group.upgrade() {
            self.look(&group);
        }
    }
}

/// RLIMIT_CPU in nanoseconds: soft and hard.
fn cpu_limits(group: &ThreadGroup) -> (u64, u64) {
    let (soft, hard) = group
        .limits()
        .lock()
        .0
        .get(libc::RLIMIT_CPU as usize)
        .copied()
        .unwrap_or((INFINITY, INFINITY));
    let ns = |s: u64| match s {
        INFINITY => INFINITY,
        s => s.max(1).saturating_mul(SECOND),
    };
    (ns(soft), ns(hard))
}

/// RLIMIT_CPU was set, or a process with one was born.
pub fn limits_changed(group: &Arc<ThreadGroup>) {
    if cpu_limits(group) == (INFINITY, INFINITY) {
        return;
    }
    let watch = ProcessTimers::of(group).watch(group);
    watch.state.lock().xcpu = None;
    watch.look(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_itimer_expires_once_per_look_and_goes_on() {
        let mut t = CpuItimer {
            interval: 10,
            next: Some(100),
        };
        assert!(!t.expire(99));
        assert!(t.expire(135));
        assert_eq!(t.next, Some(140));
        assert_eq!(
            t.setting(136),
            Setting {
                interval: 10,
                value: 4
            }
        );
        t.interval = 0;
        assert!(t.expire(140));
        assert_eq!(t.setting(150).value, 0);
    }
}
