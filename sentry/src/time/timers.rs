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
        let first = s.entries.keys().next().is_none_or(|k| key < *k);
        s.entries.insert(key, target);
        drop(s);
        if first {
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
                self.changed.wait(&mut s);
                continue;
            };
            let left = key.0.remaining();
            if left > 0 {
                self.changed
                    .wait_for(&mut s, std::time::Duration::from_nanos(left));
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
