//! The sentry's heap: what a process made the sentry hold may leave it large and mostly free when that ends. It goes back to the host soon after.

use super::Kernel;
use crate::sync::{Events, Mutex, Notify, Rank};
use crate::time::{Instant, TimerHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// So much must be free, in bytes.
const WORTH: usize = 32 << 20;
/// How long after the end of a process that is looked at, in nanoseconds: once for all that end meanwhile, and what they held is gone by then.
const LATER: u64 = 200_000_000;

#[derive(Default)]
struct Heap(Arc<Look>);

struct Look {
    is_due: AtomicBool,
    timer: Mutex<Option<TimerHandle>>,
}

impl Default for Look {
    fn default() -> Look {
        Look {
            is_due: AtomicBool::new(false),
            timer: Mutex::new(Rank::LEAF, None),
        }
    }
}

impl Notify for Look {
    fn notify(&self, _: Events) {
        self.is_due.store(false, Ordering::SeqCst);
        cofferdam_platform::trim_heap(WORTH);
    }
}

impl Kernel {
    /// A process has ended.
    pub(super) fn look_at_heap(&self) {
        let look = &self.extensions.extension::<Heap>().0;
        if !look.is_due.swap(true, Ordering::SeqCst) {
            let timer = self.timers.arm(Instant::now().after(LATER), look.clone());
            let old = look.timer.lock().replace(timer);
            drop(old);
        }
    }
}
