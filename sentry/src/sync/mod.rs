//! Locks with ranks and wait queues.
//!
//! # Lock order
//! A thread may take a lock only if its [`Rank`] is greater than that of every lock it holds (debug builds
//! check this and panic). Two locks of the same rank (two inodes in a rename) are taken with
//! [`Mutex::lock_nested`], in an order that the taker documents.
//!
//! Across an exchange with a stub or the gofer, which may never answer, a thread holds only the running task's own state and what
//! makes callers of one object wait for each other on Linux, too: the position of an open file, the writers of a file, the names of a
//! directory, a rename. [`before_exchange`] checks that in debug builds.

mod aside;
mod changes;
mod knob;
mod mutex;
mod quota;
mod wait_queue;

pub use aside::{Workplace, aside, aside_locked, work_for};
pub use changes::Changes;
pub use knob::Knob;
pub use mutex::{Mutex, MutexGuard, Rank, before_exchange};
pub use quota::{Charge, Quota};
pub use wait_queue::{Events, Notify, WaitKey, WaitQueue};
