//! poll, select, epoll, eventfd, pipe.

mod epoll;
mod eventfd;
mod mask;
mod pipe;
#[allow(clippy::module_inception)]
mod poll;
mod select;
mod timeout;
mod waits;

pub(super) use mask::with_mask;
pub(super) use timeout::{from_timespec as timespec, put_timespec};

use super::{ArgKind, Syscall};
use ArgKind::{Fd, Hex, Int, Ptr, Timespec, Uint};

/// This family's calls.
pub static TABLE: &[Syscall] = &[
    Syscall::new(libc::SYS_poll, "poll", poll::poll, &[Ptr, Uint, Int]),
    Syscall::new(
        libc::SYS_ppoll,
        "ppoll",
        poll::ppoll,
        &[Ptr, Uint, Timespec, Ptr, Uint],
    ),
    Syscall::new(
        libc::SYS_select,
        "select",
        select::select,
        &[Int, Ptr, Ptr, Ptr, Ptr],
    ),
    Syscall::new(
        libc::SYS_pselect6,
        "pselect6",
        select::pselect6,
        &[Int, Ptr, Ptr, Ptr, Timespec, Ptr],
    ),
    Syscall::new(libc::SYS_pipe, "pipe", pipe::pipe, &[Ptr]),
    Syscall::new(
        libc::SYS_pipe2,
        "pipe2",
        pipe::pipe2,
        &[Ptr, ArgKind::OpenFlags],
    ),
    Syscall::new(
        libc::SYS_epoll_create,
        "epoll_create",
        epoll::epoll_create,
        &[Int],
    ),
    Syscall::new(
        libc::SYS_epoll_create1,
        "epoll_create1",
        epoll::epoll_create1,
        &[Hex],
    ),
    Syscall::new(
        libc::SYS_epoll_ctl,
        "epoll_ctl",
        epoll::epoll_ctl,
        &[Fd, Int, Fd, Ptr],
    ),
    Syscall::new(
        libc::SYS_epoll_wait,
        "epoll_wait",
        epoll::epoll_wait,
        &[Fd, Ptr, Int, Int],
    ),
    Syscall::new(
        libc::SYS_epoll_pwait,
        "epoll_pwait",
        epoll::epoll_pwait,
        &[Fd, Ptr, Int, Int, Ptr, Uint],
    ),
    Syscall::new(
        libc::SYS_epoll_pwait2,
        "epoll_pwait2",
        epoll::epoll_pwait2,
        &[Fd, Ptr, Int, Timespec, Ptr, Uint],
    ),
    Syscall::new(libc::SYS_eventfd, "eventfd", eventfd::eventfd, &[Uint]),
    Syscall::new(
        libc::SYS_eventfd2,
        "eventfd2",
        eventfd::eventfd2,
        &[Uint, Hex],
    ),
];
