//! sigaction, kill, sigreturn, signalfd.

use super::Syscall;

/// This family's calls.
pub static TABLE: &[Syscall] = &[];
