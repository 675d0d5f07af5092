//! clone, exec, exit, wait, groups, sessions, prctl, limits.

use super::Syscall;

/// This family's calls.
pub static TABLE: &[Syscall] = &[];
