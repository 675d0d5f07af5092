//! mmap, mprotect, mremap, madvise, brk.

use super::Syscall;

/// This family's calls.
pub static TABLE: &[Syscall] = &[];
