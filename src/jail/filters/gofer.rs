//! The gofer: serves files below descriptors. The crate lists what serving needs; here arguments are pinned.

use super::{
    Condition::{Is, Masked},
    NO_CLONE3, NOT_EXECUTABLE, Role, Rule, only,
};

/// The gofer's filter, installed before it answers the first request.
pub const ROLE: Role = Role {
    name: "gofer",
    theirs: cofferdam_gofer::filter::GOFER_SYSCALLS,
    ours: RULES,
    refused: NO_CLONE3,
};

const RULES: &[Rule] = &[
    only(libc::SYS_mmap, NOT_EXECUTABLE, "allocator"),
    only(libc::SYS_mprotect, NOT_EXECUTABLE, "allocator"),
    // prlimit64 of itself, reading only: a null new limit.
    only(
        libc::SYS_prlimit64,
        &[Is(0, 0), Masked(2, u64::MAX, 0)],
        "size of the handle table",
    ),
];
