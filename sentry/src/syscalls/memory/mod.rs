//! mmap, munmap, mprotect, mremap, madvise, brk, memory locks, NUMA policies of a machine with one node.

mod lock;
mod map;
mod numa;
mod other;
mod remote;

use super::ArgKind::{Fd as FdArg, Hex, Int, MapFlags as Flags, Pid, Prot as ProtArg, Ptr, Uint};
use super::{Block, OnSignal, SysErr, Syscall};
use crate::mm::MmError;
use crate::sync::Events;

/// This family's calls.
pub static TABLE: &[Syscall] = &[
    Syscall::new(
        libc::SYS_mmap,
        "mmap",
        map::mmap,
        &[Ptr, Uint, ProtArg, Flags, FdArg, Hex],
    ),
    Syscall::new(libc::SYS_munmap, "munmap", map::munmap, &[Ptr, Uint]),
    Syscall::new(
        libc::SYS_mprotect,
        "mprotect",
        map::mprotect,
        &[Ptr, Uint, ProtArg],
    ),
    Syscall::new(
        libc::SYS_mremap,
        "mremap",
        map::mremap,
        &[Ptr, Uint, Uint, Hex, Ptr],
    ),
    Syscall::new(
        libc::SYS_madvise,
        "madvise",
        map::madvise,
        &[Ptr, Uint, Int],
    )
    .partial("no memory poisoning, no huge pages, no guard pages (MADV_GUARD_INSTALL) in mappings that grow"),
    Syscall::new(
        libc::SYS_process_madvise,
        "process_madvise",
        remote::process_madvise,
        &[FdArg, Ptr, Uint, Int, Hex],
    )
    .partial("no effect on other processes"),
    Syscall::new(
        libc::SYS_process_mrelease,
        "process_mrelease",
        remote::process_mrelease,
        &[FdArg, Hex],
    ),
    Syscall::new(libc::SYS_brk, "brk", map::brk, &[Ptr]),
    Syscall::new(libc::SYS_msync, "msync", map::msync, &[Ptr, Uint, Hex]),
    Syscall::new(
        libc::SYS_mincore,
        "mincore",
        map::mincore,
        &[Ptr, Uint, Ptr],
    )
    .partial("of files that the host lets the guest only read, all pages count as resident"),
    Syscall::new(libc::SYS_mlock, "mlock", lock::mlock, &[Ptr, Uint])
        .partial("accounted and filled, not locked on the host"),
    Syscall::new(libc::SYS_mlock2, "mlock2", lock::mlock2, &[Ptr, Uint, Hex])
        .partial("accounted and filled, not locked on the host"),
    Syscall::new(libc::SYS_munlock, "munlock", lock::munlock, &[Ptr, Uint]),
    Syscall::new(libc::SYS_mlockall, "mlockall", lock::mlockall, &[Hex])
        .partial("accounted, not locked on the host"),
    Syscall::new(libc::SYS_munlockall, "munlockall", lock::munlockall, &[]),
    Syscall::new(
        libc::SYS_remap_file_pages,
        "remap_file_pages",
        other::remap_file_pages,
        &[Ptr, Uint, Hex, Uint, Hex],
    ),
    Syscall::new(libc::SYS_mseal, "mseal", other::mseal, &[Ptr, Uint, Hex]),
    Syscall::new(
        libc::SYS_pkey_mprotect,
        "pkey_mprotect",
        other::pkey_mprotect,
        &[Ptr, Uint, ProtArg, Int],
    )
    .partial("as a processor without protection keys"),
    Syscall::new(
        libc::SYS_pkey_alloc,
        "pkey_alloc",
        other::pkey_alloc,
        &[Hex, Hex],
    )
    .partial("as a processor without protection keys"),
    Syscall::new(libc::SYS_pkey_free, "pkey_free", other::pkey_free, &[Int])
        .partial("as a processor without protection keys"),
    Syscall::new(
        libc::SYS_mbind,
        "mbind",
        numa::mbind,
        &[Ptr, Uint, Int, Ptr, Uint, Hex],
    )
    .partial("one node; policies are kept, and change nothing"),
    Syscall::new(
        libc::SYS_set_mempolicy,
        "set_mempolicy",
        numa::set_mempolicy,
        &[Int, Ptr, Uint],
    )
    .partial("one node; policies are kept, and change nothing"),
    Syscall::new(
        libc::SYS_get_mempolicy,
        "get_mempolicy",
        numa::get_mempolicy,
        &[Ptr, Ptr, Uint, Ptr, Hex],
    )
    .partial("one node"),
    Syscall::new(
        libc::SYS_membarrier,
        "membarrier",
        other::membarrier,
        &[Int, Hex, Int],
    )
    .partial("no rseq commands"),
    Syscall::new(
        libc::SYS_migrate_pages,
        "migrate_pages",
        numa::migrate_pages,
        &[Pid, Uint, Ptr, Ptr],
    )
    .partial("one node: nothing to move"),
    Syscall::new(
        libc::SYS_move_pages,
        "move_pages",
        numa::move_pages,
        &[Pid, Uint, Ptr, Ptr, Ptr, Hex],
    )
    .partial("one node: nothing to move"),
    Syscall::new(
        libc::SYS_set_mempolicy_home_node,
        "set_mempolicy_home_node",
        numa::set_home_node,
        &[Ptr, Uint, Uint, Hex],
    )
    .partial("one node"),
];

impl From<MmError> for SysErr {
    /// A call that finds another change of the same mappings in flight waits for it and runs again.
    fn from(e: MmError) -> SysErr {
        match e {
            MmError::Errno(e) => e.into(),
            MmError::Busy(queue) => Block::on(queue, Events::READABLE)
                .on_signal(OnSignal::RestartNoIntr)
                .into(),
        }
    }
}
