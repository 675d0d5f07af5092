//! Sockets. Each file is one verb; [`address`], [`message`] and [`control`] decode what several of them take.

mod accept;
mod address;
mod connect;
mod control;
mod create;
mod message;
mod name;
mod option;
mod recv;
mod send;

use super::{ArgKind, Fd, Syscall};
use crate::abi::{Errno, Result};
use crate::kernel::Cx;
use crate::net::socket::{Socket, socket_of};
use crate::net::{NetNamespace, SockCx};
use crate::vfs::File;
use ArgKind::{Hex, InBuf, Int, OutBuf, Ptr, SockAddr, Uint};
use std::sync::Arc;

const FD: ArgKind = ArgKind::Fd;

/// This family's calls.
pub static TABLE: &[Syscall] = &[
    Syscall::new(libc::SYS_socket, "socket", create::socket, &[Int, Hex, Int]),
    Syscall::new(
        libc::SYS_socketpair,
        "socketpair",
        create::socketpair,
        &[Int, Hex, Int, Ptr],
    ),
    Syscall::new(libc::SYS_bind, "bind", name::bind, &[FD, SockAddr(2), Uint]),
    Syscall::new(libc::SYS_listen, "listen", accept::listen, &[FD, Int]),
    Syscall::new(libc::SYS_accept, "accept", accept::accept, &[FD, Ptr, Ptr]),
    Syscall::new(
        libc::SYS_accept4,
        "accept4",
        accept::accept4,
        &[FD, Ptr, Ptr, Hex],
    ),
    Syscall::new(
        libc::SYS_connect,
        "connect",
        connect::connect,
        &[FD, SockAddr(2), Uint],
    ),
    Syscall::new(
        libc::SYS_shutdown,
        "shutdown",
        connect::shutdown,
        &[FD, Int],
    ),
    Syscall::new(
        libc::SYS_getsockname,
        "getsockname",
        name::getsockname,
        &[FD, Ptr, Ptr],
    ),
    Syscall::new(
        libc::SYS_getpeername,
        "getpeername",
        name::getpeername,
        &[FD, Ptr, Ptr],
    ),
    Syscall::new(
        libc::SYS_sendto,
        "sendto",
        send::sendto,
        &[FD, InBuf(2), Uint, Hex, SockAddr(5), Uint],
    ),
    Syscall::new(libc::SYS_sendmsg, "sendmsg", send::sendmsg, &[FD, Ptr, Hex]),
    Syscall::new(
        libc::SYS_sendmmsg,
        "sendmmsg",
        send::sendmmsg,
        &[FD, Ptr, Uint, Hex],
    ),
    Syscall::new(
        libc::SYS_recvfrom,
        "recvfrom",
        recv::recvfrom,
        &[FD, OutBuf, Uint, Hex, Ptr, Ptr],
    ),
    Syscall::new(libc::SYS_recvmsg, "recvmsg", recv::recvmsg, &[FD, Ptr, Hex]),
    Syscall::new(
        libc::SYS_recvmmsg,
        "recvmmsg",
        recv::recvmmsg,
        &[FD, Ptr, Uint, Hex, ArgKind::Timespec],
    ),
    Syscall::new(
        libc::SYS_getsockopt,
        "getsockopt",
        option::getsockopt,
        &[FD, Int, Int, Ptr, Ptr],
    ),
    Syscall::new(
        libc::SYS_setsockopt,
        "setsockopt",
        option::setsockopt,
        &[FD, Int, Int, InBuf(4), Uint],
    ),
];

/// The caller's network namespace.
fn namespace(cx: &Cx<'_>) -> Arc<NetNamespace> {
    cx.task.namespaces().net.clone()
}

/// File and socket of a descriptor argument; EBADF, ENOTSOCK.
fn socket(cx: &Cx<'_>, fd: Fd) -> Result<(Arc<File>, Arc<dyn Socket>)> {
    let file = cx.file(fd)?;
    let socket = socket_of(&file).cloned().ok_or(Errno::ENOTSOCK)?;
    Ok((file, socket))
}

/// Runs `f` with the caller as sockets see it.
fn with_caller<R>(cx: &Cx<'_>, f: impl FnOnce(&SockCx<'_>) -> R) -> R {
    let caller = cx.caller();
    f(&SockCx {
        caller: &caller,
        fs: Some(cx.fs()),
    })
}
