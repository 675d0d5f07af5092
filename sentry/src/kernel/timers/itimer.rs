//! setitimer(2), alarm(2): three timers per process.

use super::ProcessTimers;
use crate::kernel::ThreadGroup;
use crate::kernel::signal::{OnDequeue, Origin, Queued, Sent, SigInfo, Signal, send};
use crate::sync::{Events, Mutex, Notify, Rank};
use crate::time::spec::{Setting, forward};
use crate::time::{Instant, TimerHandle};
use std::sync::{Arc, Weak};

/// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Which {
    Real,
    Virtual,
    Prof,
}

impl Which {
    /// From the argument of setitimer(2).
    pub fn new(raw: i32) -> Option<Which> {
        Some(match raw {
            0 => Which::Real,
            1 => Which::Virtual,
            2 => Which::Prof,
            _ => return None,
        })
    }
}

/// ITIMER_REAL.
pub(super) struct RealTimer {
    me: Weak<RealTimer>,
    group: Weak<ThreadGroup>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    interval: u64,
    next: Option<Instant>,
    /// SIGALRM waits to be taken.
    queued: bool,
    handle: Option<TimerHandle>,
}

impl RealTimer {
    fn new(group: &Arc<ThreadGroup>) -> Arc<RealTimer> {
        Arc::new_cyclic(|me| RealTimer {
            me: me.clone(),
            group: Arc::downgrade(group),
            state: Mutex::new(Rank::TIMERS, State::default()),
        })
    }
    pub(super) fn disarm(&self) {
        *self.state.lock() = State::default();
    }
    fn arm(&self, s: &mut State, at: Instant) {
        let kernel = self.group.upgrade().and_then(|g| g.kernel());
        s.handle = match (kernel, self.me.upgrade()) {
            (Some(k), Some(me)) => Some(k.timers.arm(at, me)),
            _ => None,
        };
    }
    fn get(&self) -> Setting {
        let s = self.state.lock();
        let value = match s.next {
            None => 0,
            Some(n) => n.remaining().max(1),
        };
        Setting {
            interval: s.interval,
            value,
        }
    }
    fn set(&self, new: Setting) -> Setting {
        let old = self.get();
        let mut s = self.state.lock();
        s.handle = None;
        s.interval = new.interval;
        s.next = (new.value != 0).then(|| Instant::now().after(new.value));
        if let Some(n) = s.next {
            self.arm(&mut s, n);
        }
        old
    }
    /// Sets the next period.
    fn again(&self, s: &mut State, not_before: Instant) {
        if let Some(n) = s.next
            && s.interval != 0
        {
            let (next, _) = forward(n.0, s.interval, not_before.0);
            s.next = Some(Instant(next));
            self.arm(s, Instant(next));
        } else if s.next.is_some_and(|n| n <= Instant::now()) {
            s.next = None;
        }
    }
}

impl Notify for RealTimer {
    fn notify(&self, _: Events) {
        let Some(group) = self.group.upgrade() else {
            return;
        };
        {
            let mut s = self.state.lock();
            if s.queued || s.next.is_none_or(|n| n > Instant::now()) || group.is_exiting() {
                return;
            }
            s.queued = true;
            if s.interval == 0 {
                s.next = None;
            }
        }
        let Some(me) = self.me.upgrade() else { return };
        let queued = Queued::new(SigInfo::kernel(Signal::ALRM)).with_hook(me);
        if send(&group, None, queued, Origin::Kernel) != Ok(Sent::Pending) {
            let mut s = self.state.lock();
            s.queued = false;
            self.again(&mut s, Instant::now().after(super::UNSEEN));
        }
    }
}

impl OnDequeue for RealTimer {
    fn dequeued(&self, _: &mut SigInfo) {
        let mut s = self.state.lock();
        s.queued = false;
        // Unless it has been set anew meanwhile.
        if s.next.is_some_and(|n| n <= Instant::now()) {
            self.again(&mut s, Instant::now());
        }
    }
}

/// getitimer(2).
pub fn getitimer(group: &Arc<ThreadGroup>, which: Which) -> Setting {
    let Some(own) = ProcessTimers::existing(group) else {
        return Setting::default();
    };
    match which {
        Which::Real => {
            let real = own.real.lock().clone();
            real.map_or(Setting::default(), |r| r.get())
        }
        Which::Virtual | Which::Prof => {
            let watch = own.watch.lock().clone();
            watch.map_or(Setting::default(), |w| w.itimer(which, group.cpu_time()))
        }
    }
}

/// setitimer(2): the old setting.
pub fn setitimer(group: &Arc<ThreadGroup>, which: Which, new: Setting) -> Setting {
    let own = ProcessTimers::of(group);
    match which {
        Which::Real => {
            let real = own
                .real
                .lock()
                .get_or_insert_with(|| RealTimer::new(group))
                .clone();
            real.set(new)
        }
        Which::Virtual | Which::Prof => own.watch(group).set_itimer(which, new),
    }
}
