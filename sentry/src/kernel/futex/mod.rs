//! Futexes (futex(2), futex(7)): wait queues named by guest addresses, priority-inheritance locks, robust lists.
//!
//! A waiter is an object in the table ([`FutexTable`]) that FUTEX_WAKE marks; the parked call finds the mark when it is run
//! again. The value check and the enqueueing happen under the lock of the waiter's shard; guest words are only read
//! there. What must change a guest word (PI locks, WAKE_OP, robust lists) does so by an exchange with the stub, without locks.
//!
//! Where the platform can, private futexes are the host's: see [`host`].
//!
//! Locks: a shard or the PI table (`FUTEX`); inside them only leaves.

pub mod host;
mod key;
mod op;
mod pi;
mod requeue_pi;
mod robust;
mod table;
#[cfg(test)]
mod tests;

pub use key::{Key, Target, target};
pub use op::wake_op;
pub use pi::{LockPi, lock_pi, unlock_pi};
pub use requeue_pi::{Pair, cmp_requeue_pi, wait_requeue_pi};
pub use robust::{clear_child_tid, exit_robust_list};
pub use table::{Enqueued, FutexTable, Requeue};

/// Any bit: FUTEX_BITSET_MATCH_ANY.
pub const MATCH_ANY: u32 = u32::MAX;
/// Somebody waits (FUTEX_WAITERS).
const WAITERS: u32 = 0x8000_0000;
/// The owner died (FUTEX_OWNER_DIED).
const OWNER_DIED: u32 = 0x4000_0000;
/// The owner's tid (FUTEX_TID_MASK).
const TID_MASK: u32 = 0x3fff_ffff;
