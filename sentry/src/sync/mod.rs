//! Locks with ranks and wait queues.
//!
//! # Lock order
//! A thread may take a lock only if its [`Rank`] is greater than that of every lock it holds (debug builds
//! check this and panic). Two locks of the same rank (two inodes in a rename) are taken with
//! [`Mutex::lock_nested`], in an order that the taker documents. No lock but `TASK_LOCAL` is held
//! across an exchange with a stub or the gofer.

mod mutex;
mod quota;
mod wait_queue;

pub use mutex::{Mutex, MutexGuard, Rank};
pub use quota::{Charge, Quota};
pub use wait_queue::{Events, Notify, WaitKey, WaitQueue};
