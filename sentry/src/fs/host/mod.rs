//! Open files over host descriptors that the sandbox was given at start: standard streams and preserved descriptors.
//!
//! A description that host processes share is never changed: O_NONBLOCK is set only on one of our own (pipes and
//! terminals are reopened before lock-down), sockets are used with MSG_DONTWAIT, anything else is polled before it is
//! read. Regular files use the host's own offset, so that `(cofferdam do a; b) > log` appends as it does natively.
//!
//! [`HostPoller`] wakes the wait queues of pollable objects; it sleeps while nobody waits.

mod file;
mod inode;
mod poller;
pub(crate) mod sys;

pub use file::HostFile;
pub use poller::{HostPoller, HostWatch};
