//! What poll(2) and select(2) wait for: each wait queue once, however many descriptors lead to it.

use crate::abi::Errno;
use crate::kernel::Cx;
use crate::sync::{Events, Quota, WaitQueue};
use crate::syscalls::result::{Block, OnSignal, SysErr};
use crate::time::Instant;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// Waits of all calls in the sandbox that have more than [`FEW`].
static QUOTA: Quota = Quota::new(1 << 20);
/// So many are free, and are compared one by one.
const FEW: usize = 16;

/// The queues of one call.
#[derive(Default)]
pub(super) struct Waits {
    queues: SmallVec<[(Arc<WaitQueue>, Events); 2]>,
    /// By address, once there are more than [`FEW`].
    index: HashMap<usize, usize>,
}

fn address(queue: &Arc<WaitQueue>) -> usize {
    Arc::as_ptr(queue).addr()
}

impl Waits {
    /// Waits for `events` of this queue too.
    pub fn add(&mut self, queue: Arc<WaitQueue>, events: Events) {
        let known = if self.queues.len() <= FEW {
            self.queues.iter().position(|(q, _)| Arc::ptr_eq(q, &queue))
        } else {
            self.index.get(&address(&queue)).copied()
        };
        if let Some((_, all)) = known.and_then(|i| self.queues.get_mut(i)) {
            *all |= events;
            return;
        }
        self.queues.push((queue, events));
        if self.queues.len() > FEW {
            let from = self.index.len();
            let fresh = (from..).zip(self.queues.iter().skip(from));
            self.index.extend(fresh.map(|(i, (q, _))| (address(q), i)));
        }
    }

    /// Parks the call.
    ///
    /// # Errors
    /// ENOMEM if the sandbox waits for too much; else the wait.
    pub fn park(self, cx: &mut Cx<'_>, deadline: Option<Instant>, on_signal: OnSignal) -> SysErr {
        // An earlier run's charge goes first.
        cx.progress().object = None;
        if self.queues.len() > FEW {
            let Some(charge) = QUOTA.charge(self.queues.len()) else {
                return Errno::ENOMEM.into();
            };
            cx.progress().object = Some(Arc::new(charge));
        }
        Block {
            queues: self.queues,
            deadline,
            on_signal,
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_waited_for_once() {
        let queues: Vec<_> = (0..100).map(|_| Arc::new(WaitQueue::new())).collect();
        let mut waits = Waits::default();
        for events in [Events::IN, Events::OUT] {
            for q in &queues {
                waits.add(q.clone(), events);
                waits.add(q.clone(), events);
            }
        }
        assert_eq!(waits.queues.len(), queues.len());
        for ((q, events), expected) in waits.queues.iter().zip(&queues) {
            assert!(Arc::ptr_eq(q, expected));
            assert_eq!(*events, Events::IN | Events::OUT);
        }
    }
}
