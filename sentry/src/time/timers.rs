//! One thread that notifies at deadlines.

use super::Instant;
use crate::sync::{Events, Notify};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Deadlines and whom to tell. One thread serves all of them.
pub struct TimerQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    entries: BTreeMap<(Instant, u64), Arc<dyn Notify>>,
    /// Until when the thread sleeps, if it does and for no longer. Perhaps for a timer that is disarmed: most are before they
    /// are due, and to be told of each would cost more than to look once in vain.
    wakes_at: Option<Instant>,
    /// It sleeps, or is about to.
    sleeps: bool,
    stop: bool,
}

/// An armed timer; dropping it disarms.
pub struct TimerHandle {
    queue: Arc<TimerQueue>,
    key: (Instant, u64),
}

impl Drop for TimerHandle {
    fn drop(&mut self) {
        let removed = self.queue.state.lock().entries.remove(&self.key);
        drop(removed);
    }
}

impl TimerQueue {
    /// Starts the timer thread.
    pub fn start() -> std::io::Result<Arc<TimerQueue>> {
        let queue = Arc::new(TimerQueue {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        });
        let q = queue.clone();
        std::thread::Builder::new()
            .name("timers".into())
            .spawn(move || q.run())?;
        Ok(queue)
    }

    /// Tells `target` (with no events) once `deadline` is reached; at once if it is past.
    pub fn arm(self: &Arc<Self>, deadline: Instant, target: Arc<dyn Notify>) -> TimerHandle {
        let mut s = self.state.lock();
        let key = (deadline, s.next);
        s.next = s.next.wrapping_add(1);
        s.entries.insert(key, target);
        let too_late = s.sleeps && s.wakes_at.is_none_or(|at| deadline < at);
        if too_late {
            s.wakes_at = Some(deadline);
        }
        drop(s);
        if too_late {
            self.changed.notify_one();
        }
        TimerHandle {
            queue: self.clone(),
            key,
        }
    }

    /// Ends the timer thread.
    pub fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_one();
    }

    fn run(&self) {
        let mut s = self.state.lock();
        while !s.stop {
            let Some((key, target)) = s.entries.first_key_value().map(|(k, t)| (*k, t.clone()))
            else {
                s.wakes_at = None;
                s.sleeps = true;
                self.changed.wait(&mut s);
                s.sleeps = false;
                continue;
            };
            let left = key.0.remaining();
            if left > 0 {
                s.wakes_at = Some(key.0);
                s.sleeps = true;
                self.changed
                    .wait_for(&mut s, std::time::Duration::from_nanos(left));
                s.sleeps = false;
                continue;
            }
            s.entries.remove(&key);
            parking_lot::MutexGuard::unlocked(&mut s, || {
                target.notify(Events::empty());
                drop(target);
            });
        }
    }
}
