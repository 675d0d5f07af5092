//! poll, select, epoll, eventfd, pipe.

use super::Syscall;

/// This family's calls.
pub static TABLE: &[Syscall] = &[];
