//! timerfd_create(2): a timer whose expiries are read as a count.

use super::anon::{AnonKind, anon_file};
use crate::abi::{Errno, Result};
use crate::sync::{Charge, Events, Mutex, Notify, Quota, Rank, WaitQueue};
use crate::time::spec::{Setting, forward};
use crate::time::{Clock, Instant, TimerHandle, TimerQueue};
use crate::usermem::{Sink, put_all};
use crate::vfs::{Caller, File, FileOps, OpenFlags};
use std::any::Any;
use std::sync::Arc;

/// Most timerfds in the sandbox.
static QUOTA: Quota = Quota::new(1 << 16);

/// The timer.
pub struct TimerFd {
    clock: Clock,
    timers: Arc<TimerQueue>,
    shared: Arc<Shared>,
    _charge: Charge,
}

struct Shared {
    state: Mutex<State>,
    queue: Arc<WaitQueue>,
}

#[derive(Default)]
struct State {
    interval: u64,
    /// Next expiry; past if it has expired and not been read.
    next: Option<Instant>,
    handle: Option<TimerHandle>,
}

impl Notify for Shared {
    fn notify(&self, _: Events) {
        self.queue.wake(Events::IN);
    }
}

impl State {
    fn expired(&self) -> bool {
        self.next.is_some_and(|n| n <= Instant::now())
    }
    /// Takes the expiries so far; the next expiry of a periodic timer is set.
    fn take(&mut self) -> u64 {
        let now = Instant::now();
        let Some(next) = self.next.filter(|n| *n <= now) else {
            return 0;
        };
        if self.interval == 0 {
            self.next = None;
            return 1;
        }
        let (later, count) = forward(next.0, self.interval, now.0);
        self.next = Some(Instant(later));
        count
    }
    fn setting(&self) -> Setting {
        let now = Instant::now();
        let value = match self.next {
            None => 0,
            Some(n) if n > now => n.remaining().max(1),
            Some(_) if self.interval == 0 => 0,
            Some(n) => forward(n.0, self.interval, now.0).0.saturating_sub(now.0),
        };
        Setting {
            interval: self.interval,
            value,
        }
    }
}

impl TimerFd {
    /// A disarmed timer on `clock`.
    ///
    /// # Errors
    /// ENFILE if there are too many.
    pub fn create(
        cx: &dyn Caller,
        timers: &Arc<TimerQueue>,
        clock: Clock,
        flags: OpenFlags,
    ) -> Result<Arc<File>> {
        let ops = TimerFd {
            clock,
            timers: timers.clone(),
            shared: Arc::new(Shared {
                state: Mutex::new(Rank::OBJECT, State::default()),
                queue: Arc::new(WaitQueue::new()),
            }),
            _charge: QUOTA.charge(1).ok_or(Errno::ENFILE)?,
        };
        Ok(anon_file(
            cx,
            Box::new(ops),
            AnonKind::Other("[timerfd]"),
            OpenFlags::RDWR | flags,
        ))
    }
    /// timerfd_settime(2): arms (`absolute`: `value` is a time on the clock) or, with value 0, disarms. The old setting.
    pub fn set(&self, new: Setting, absolute: bool) -> Setting {
        let next = match new.value {
            0 => None,
            v if absolute => Some(self.clock.instant(v)),
            v => Some(Instant::now().after(v)),
        };
        let mut s = self.shared.state.lock();
        let old = s.setting();
        s.interval = new.interval;
        s.next = next;
        self.arm(&mut s);
        old
    }
    fn arm(&self, s: &mut State) {
        s.handle = s.next.map(|n| {
            let target: Arc<dyn Notify> = self.shared.clone();
            self.timers.arm(n, target)
        });
    }
    /// timerfd_gettime(2): time left and interval.
    pub fn get(&self) -> Setting {
        self.shared.state.lock().setting()
    }
    /// Clock and expiries not yet read, for fdinfo.
    pub fn clock(&self) -> Clock {
        self.clock
    }
}

impl FileOps for TimerFd {
    fn read(&self, _: &File, _: &dyn Caller, dst: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let ticks = {
            let mut s = self.shared.state.lock();
            let ticks = s.take();
            if ticks > 0 {
                self.arm(&mut s);
            }
            ticks
        };
        if ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        if put_all(dst, &ticks.to_ne_bytes())? < 8 {
            return Err(Errno::EFAULT);
        }
        Ok(8)
    }
    fn poll(&self, _: &File) -> Events {
        if self.shared.state.lock().expired() {
            Events::IN
        } else {
            Events::empty()
        }
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.shared.queue.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usermem::KernelSink;
    use crate::vfs::caller::KernelCaller;

    fn read(f: &File) -> Result<u64> {
        let mut s = KernelSink::new(8);
        f.ops().read(f, &KernelCaller, &mut s, &mut 0)?;
        Ok(u64::from_ne_bytes(s.data.try_into().unwrap()))
    }

    #[test]
    fn expiries_are_counted_until_read() {
        let timers = TimerQueue::start().unwrap();
        let f =
            TimerFd::create(&KernelCaller, &timers, Clock::Monotonic, OpenFlags::empty()).unwrap();
        let t: &TimerFd = f.downcast().unwrap();
        assert_eq!(read(&f), Err(Errno::EAGAIN));
        // An absolute time 95 ms ago, every 10 ms: 10 expiries.
        let start = Clock::Monotonic.now() - 95_000_000;
        let setting = Setting {
            interval: 10_000_000,
            value: start,
        };
        assert_eq!(t.set(setting, true), Setting::default());
        assert_eq!(f.poll(), Events::IN);
        assert!((10..=12).contains(&read(&f).unwrap()));
        assert_eq!(t.get().interval, 10_000_000);
        assert!((1..=10_000_000).contains(&t.get().value));
        t.set(Setting::default(), false);
        assert_eq!(read(&f), Err(Errno::EAGAIN));
        assert_eq!(t.get(), Setting::default());
        timers.stop();
    }

    #[test]
    fn one_shot_wakes_once() {
        struct Flag(std::sync::mpsc::Sender<()>);
        impl Notify for Flag {
            fn notify(&self, _: Events) {
                let _ = self.0.send(());
            }
        }
        let timers = TimerQueue::start().unwrap();
        let f =
            TimerFd::create(&KernelCaller, &timers, Clock::Realtime, OpenFlags::empty()).unwrap();
        let (tx, rx) = std::sync::mpsc::channel();
        f.ops()
            .wait_queue()
            .unwrap()
            .register(Arc::new(Flag(tx)), Events::IN);
        let t: &TimerFd = f.downcast().unwrap();
        t.set(
            Setting {
                interval: 0,
                value: 5_000_000,
            },
            false,
        );
        rx.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        assert_eq!(read(&f), Ok(1));
        assert_eq!(read(&f), Err(Errno::EAGAIN));
        timers.stop();
    }
}
