//! Calls on descriptors: read, write, lseek, dup, fcntl, ioctl, splice, locks.

use super::Syscall;

/// This family's calls.
pub static TABLE: &[Syscall] = &[];
