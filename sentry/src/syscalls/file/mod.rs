//! Calls on descriptors: read, write, lseek, dup, fcntl, ioctl, splice, locks.

mod descriptor;
mod fcntl;
mod getdents;
mod iflags;
mod ioctl;
mod lock;
mod rw;
mod splice;
pub(in crate::syscalls) mod storage;
mod terminal;

pub(super) use rw::{AioBuffers, aio_rw};

use super::{ArgKind, Handler, Syscall};
use ArgKind::{Fd, Hex, InBuf, Int, OutBuf, Ptr, Str, Uint};

/// A byte count as a result; never over MAX_RW_COUNT, so it fits.
fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

const fn call(
    number: i64,
    name: &'static str,
    handler: Handler,
    args: &'static [ArgKind],
) -> Syscall {
    Syscall::new(number, name, handler, args)
}

/// This family's calls.
pub static TABLE: &[Syscall] = &[
    call(libc::SYS_read, "read", rw::read, &[Fd, OutBuf, Uint]),
    call(libc::SYS_write, "write", rw::write, &[Fd, InBuf(2), Uint]),
    call(libc::SYS_readv, "readv", rw::readv, &[Fd, Ptr, Uint]),
    call(libc::SYS_writev, "writev", rw::writev, &[Fd, Ptr, Uint]),
    call(
        libc::SYS_pread64,
        "pread64",
        rw::pread64,
        &[Fd, OutBuf, Uint, Int],
    ),
    call(
        libc::SYS_pwrite64,
        "pwrite64",
        rw::pwrite64,
        &[Fd, InBuf(2), Uint, Int],
    ),
    call(
        libc::SYS_preadv,
        "preadv",
        rw::preadv,
        &[Fd, Ptr, Uint, Int],
    ),
    call(
        libc::SYS_pwritev,
        "pwritev",
        rw::pwritev,
        &[Fd, Ptr, Uint, Int],
    ),
    call(
        libc::SYS_preadv2,
        "preadv2",
        rw::preadv2,
        &[Fd, Ptr, Uint, Int, Int, Hex],
    ),
    call(
        libc::SYS_pwritev2,
        "pwritev2",
        rw::pwritev2,
        &[Fd, Ptr, Uint, Int, Int, Hex],
    ),
    call(libc::SYS_lseek, "lseek", descriptor::lseek, &[Fd, Int, Int]),
    call(libc::SYS_dup, "dup", descriptor::dup, &[Fd]),
    call(libc::SYS_dup2, "dup2", descriptor::dup2, &[Fd, Fd]),
    call(
        libc::SYS_dup3,
        "dup3",
        descriptor::dup3,
        &[Fd, Fd, ArgKind::OpenFlags],
    ),
    call(libc::SYS_close, "close", descriptor::close, &[Fd]),
    call(
        libc::SYS_close_range,
        "close_range",
        descriptor::close_range,
        &[Fd, Fd, Hex],
    ),
    call(libc::SYS_fcntl, "fcntl", fcntl::fcntl, &[Fd, Int, Hex]),
    call(libc::SYS_flock, "flock", lock::flock, &[Fd, Hex]),
    call(
        libc::SYS_ioctl,
        "ioctl",
        ioctl::ioctl,
        &[Fd, super::strace::IOCTL, Hex],
    ),
    call(
        libc::SYS_getdents,
        "getdents",
        getdents::getdents,
        &[Fd, Ptr, Uint],
    ),
    call(
        libc::SYS_getdents64,
        "getdents64",
        getdents::getdents64,
        &[Fd, Ptr, Uint],
    ),
    call(
        libc::SYS_ftruncate,
        "ftruncate",
        storage::ftruncate,
        &[Fd, Int],
    ),
    call(
        libc::SYS_fallocate,
        "fallocate",
        storage::fallocate,
        &[Fd, Hex, Int, Int],
    ),
    call(libc::SYS_fsync, "fsync", storage::fsync, &[Fd]),
    call(451, "cachestat", storage::cachestat, &[Fd, Ptr, Ptr, Hex])
        .partial("all of a file counts as in memory"),
    call(libc::SYS_fdatasync, "fdatasync", storage::fdatasync, &[Fd]),
    call(libc::SYS_sync, "sync", storage::sync, &[]),
    call(libc::SYS_syncfs, "syncfs", storage::syncfs, &[Fd]),
    call(
        libc::SYS_sync_file_range,
        "sync_file_range",
        storage::sync_file_range,
        &[Fd, Int, Int, Hex],
    ),
    call(
        libc::SYS_fadvise64,
        "fadvise64",
        storage::fadvise64,
        &[Fd, Int, Int, Int],
    ),
    call(
        libc::SYS_readahead,
        "readahead",
        storage::readahead,
        &[Fd, Int, Uint],
    ),
    call(
        libc::SYS_sendfile,
        "sendfile",
        splice::sendfile,
        &[Fd, Fd, Ptr, Uint],
    ),
    call(
        libc::SYS_splice,
        "splice",
        splice::splice,
        &[Fd, Ptr, Fd, Ptr, Uint, Hex],
    ),
    call(libc::SYS_tee, "tee", splice::tee, &[Fd, Fd, Uint, Hex]),
    call(
        libc::SYS_vmsplice,
        "vmsplice",
        splice::vmsplice,
        &[Fd, Ptr, Uint, Hex],
    ),
    call(
        libc::SYS_copy_file_range,
        "copy_file_range",
        splice::copy_file_range,
        &[Fd, Ptr, Fd, Ptr, Uint, Hex],
    ),
    call(
        libc::SYS_memfd_create,
        "memfd_create",
        storage::memfd_create,
        &[Str, Hex],
    ),
];
