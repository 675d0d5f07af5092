//! System V and POSIX IPC.

use super::Syscall;

/// This family's calls.
pub static TABLE: &[Syscall] = &[];
