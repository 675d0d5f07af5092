//! POSIX timers (timer_create(2)).

use super::ProcessTimers;
use crate::abi::{Errno, Result};
use crate::kernel::signal::Signal;
use crate::kernel::signal::{
    OnDequeue, Origin, Queued, QuotaGuard, Sent, SigInfo, SignalQuota, remove_timer_signals, send,
};
use crate::kernel::{Cx, Task, ThreadGroup};
use crate::sync::{Events, Mutex, Notify, Rank};
use crate::time::spec::{Setting, forward};
use crate::time::{Clock, Instant, TimerHandle};
use std::sync::{Arc, Weak};

/// What a timer runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerClock {
    /// Wall time; expiries are kept as instants.
    Wall(Clock),
    /// The process's CPU time.
    Cpu,
}

/// What a timer does when it expires (`struct sigevent`).
pub enum Notification {
    /// SIGEV_NONE: nothing.
    None,
    /// SIGEV_SIGNAL (and SIGEV_THREAD, which the C library builds on it): a signal to the process, with `sigev_value`.
    /// Without a value it is the timer's id.
    Process(Signal, Option<u64>),
    /// SIGEV_THREAD_ID: to one task.
    Thread(Weak<Task>, Signal, u64),
}

/// One timer.
pub struct PosixTimer {
    me: Weak<PosixTimer>,
    id: i32,
    clock: TimerClock,
    notification: Notification,
    group: Weak<ThreadGroup>,
    state: Mutex<State>,
    _quota: QuotaGuard,
}

#[derive(Default)]
struct State {
    interval: u64,
    /// Next expiry: an instant, or CPU time.
    next: Option<u64>,
    /// Its signal waits to be taken.
    queued: bool,
    /// Counts settings: a signal of an earlier one does not touch the timer.
    generation: u64,
    last_overrun: i32,
    handle: Option<TimerHandle>,
}

/// Remembers which setting of a timer a queued signal belongs to.
struct Fired {
    timer: Arc<PosixTimer>,
    generation: u64,
}

impl OnDequeue for Fired {
    fn dequeued(&self, info: &mut SigInfo) {
        let t = &self.timer;
        let now = t.now();
        let mut s = t.state.lock();
        if s.generation != self.generation {
            return;
        }
        s.queued = false;
        s.last_overrun = match s.next {
            Some(n) if s.interval != 0 => {
                let (next, periods) = forward(n, s.interval, now);
                s.next = Some(next);
                t.arm(&mut s, next);
                i32::try_from(periods.saturating_sub(1)).unwrap_or(i32::MAX)
            }
            _ => 0,
        };
        info.set_overrun(s.last_overrun);
        drop(s);
        t.watch_cpu();
    }
}

impl PosixTimer {
    /// `timer_t`.
    pub fn id(&self) -> i32 {
        self.id
    }
    /// What it runs on.
    pub fn clock(&self) -> TimerClock {
        self.clock
    }
    fn now(&self) -> u64 {
        match self.clock {
            TimerClock::Wall(_) => Instant::now().0,
            TimerClock::Cpu => self.group.upgrade().map_or(0, |g| g.cpu_total()),
        }
    }
    fn arm(&self, s: &mut State, at: u64) {
        if matches!(self.clock, TimerClock::Cpu) || matches!(self.notification, Notification::None)
        {
            return;
        }
        let kernel = self.group.upgrade().and_then(|g| g.kernel());
        s.handle = match (kernel, self.me.upgrade()) {
            (Some(k), Some(me)) => Some(k.timers.arm(Instant(at), me)),
            _ => None,
        };
    }
    fn watch_cpu(&self) {
        if self.clock == TimerClock::Cpu
            && let Some(g) = self.group.upgrade()
            && let Some(own) = ProcessTimers::existing(&g)
        {
            own.watch(&g).look_soon();
        }
    }
    pub(super) fn disarm(&self) {
        let old = std::mem::take(&mut *self.state.lock());
        drop(old);
    }
    /// timer_gettime(2).
    pub fn get(&self) -> Setting {
        let now = self.now();
        let s = self.state.lock();
        let silent = matches!(self.notification, Notification::None);
        let value = match s.next {
            None => 0,
            Some(n) if n > now => n - now,
            Some(_) if s.interval == 0 => u64::from(!silent),
            Some(n) => forward(n, s.interval, now).0.saturating_sub(now).max(1),
        };
        Setting {
            interval: s.interval,
            value,
        }
    }
    /// timer_settime(2): the old setting. `absolute`: the value is a time on the clock.
    pub fn set(&self, new: Setting, absolute: bool) -> Setting {
        let old = self.get();
        if let Some(g) = self.group.upgrade() {
            remove_timer_signals(&g, self.id);
        }
        let now = self.now();
        let next = match (new.value, absolute, self.clock) {
            (0, ..) => None,
            (v, false, _) => Some(now.saturating_add(v)),
            (v, true, TimerClock::Wall(c)) => Some(c.instant(v).0),
            (v, true, TimerClock::Cpu) => Some(v),
        };
        {
            let mut s = self.state.lock();
            let generation = s.generation.wrapping_add(1);
            *s = State {
                interval: new.interval,
                next,
                generation,
                ..State::default()
            };
            if let Some(n) = next {
                self.arm(&mut s, n);
            }
        }
        if next.is_some() {
            self.watch_cpu();
        }
        old
    }
    /// timer_getoverrun(2).
    pub fn overrun(&self) -> i32 {
        self.state.lock().last_overrun
    }
    /// For the CPU watch: expires if due; CPU time left until the next expiry.
    pub(super) fn look_at_cpu(&self, now: u64) -> Option<u64> {
        if self.clock != TimerClock::Cpu {
            return None;
        }
        self.expire(now);
        let s = self.state.lock();
        if s.queued {
            return None;
        }
        s.next.map(|n| n.saturating_sub(now))
    }
    fn expire(&self, now: u64) {
        let (Some(group), Some(me)) = (self.group.upgrade(), self.me.upgrade()) else {
            return;
        };
        let generation = {
            let mut s = self.state.lock();
            if s.queued || s.next.is_none_or(|n| n > now) || group.is_exiting() {
                return;
            }
            if matches!(self.notification, Notification::None) {
                return;
            }
            s.queued = true;
            if s.interval == 0 {
                s.next = None;
            }
            s.generation
        };
        let hook: Arc<dyn OnDequeue> = Arc::new(Fired {
            timer: me,
            generation,
        });
        let (target, info) = match &self.notification {
            Notification::None => return,
            Notification::Process(s, value) => {
                let value = value.unwrap_or(u64::from(self.id.cast_unsigned()));
                (None, SigInfo::timer(*s, self.id, 0, value))
            }
            Notification::Thread(t, s, value) => match t.upgrade() {
                Some(t) => (Some(t), SigInfo::timer(*s, self.id, 0, *value)),
                None => return,
            },
        };
        let queued = Queued::new(info).with_hook(hook);
        if send(&group, target.as_ref(), queued, Origin::Kernel) != Ok(Sent::Pending) {
            self.unseen(generation, now);
        }
    }
    /// The signal is ignored: the timer goes on, but not so often that it would cost anything.
    fn unseen(&self, generation: u64, now: u64) {
        let mut s = self.state.lock();
        if s.generation != generation {
            return;
        }
        s.queued = false;
        if let Some(n) = s.next
            && s.interval != 0
        {
            let (next, _) = forward(n, s.interval, now.saturating_add(super::UNSEEN));
            s.next = Some(next);
            self.arm(&mut s, next);
        }
    }
}

impl Notify for PosixTimer {
    fn notify(&self, _: Events) {
        self.expire(Instant::now().0);
    }
}

/// timer_create(2): a disarmed timer of the calling process.
///
/// # Errors
/// EAGAIN if RLIMIT_SIGPENDING (which a timer counts against) is used up.
pub fn create(
    cx: &Cx<'_>,
    clock: TimerClock,
    notification: Notification,
) -> Result<Arc<PosixTimer>> {
    let quota = cx
        .kernel()
        .extensions
        .extension::<SignalQuota>()
        .take(cx.creds().uid, cx.limit(libc::RLIMIT_SIGPENDING))
        .ok_or(Errno::EAGAIN)?;
    let own = ProcessTimers::of(cx.group());
    let mut table = own.posix.lock();
    let mut id = table.next_id;
    while table.timers.contains_key(&id) {
        id = id.checked_add(1).unwrap_or(0);
    }
    table.next_id = id.checked_add(1).unwrap_or(0);
    let timer = Arc::new_cyclic(|me| PosixTimer {
        me: me.clone(),
        id,
        clock,
        notification,
        group: Arc::downgrade(cx.group()),
        state: Mutex::new(Rank::TIMERS, State::default()),
        _quota: quota,
    });
    table.timers.insert(id, timer.clone());
    Ok(timer)
}

/// The timer with this id.
///
/// # Errors
/// EINVAL.
pub fn find(group: &ThreadGroup, id: i32) -> Result<Arc<PosixTimer>> {
    ProcessTimers::existing(group)
        .and_then(|own| own.posix.lock().timers.get(&id).cloned())
        .ok_or(Errno::EINVAL)
}

/// timer_delete(2).
///
/// # Errors
/// EINVAL.
pub fn delete(group: &Arc<ThreadGroup>, id: i32) -> Result<()> {
    let timer = find(group, id)?;
    ProcessTimers::of(group).posix.lock().timers.remove(&id);
    timer.disarm();
    remove_timer_signals(group, id);
    Ok(())
}
