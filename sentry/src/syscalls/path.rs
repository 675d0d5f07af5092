//! Calls on paths: open, stat, link, rename, chmod, mount, xattrs.

use super::Syscall;

/// This family's calls.
pub static TABLE: &[Syscall] = &[];
