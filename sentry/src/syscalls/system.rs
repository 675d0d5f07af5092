//! uname, sysinfo, random, and the like.

use super::Syscall;

/// This family's calls.
pub static TABLE: &[Syscall] = &[];
