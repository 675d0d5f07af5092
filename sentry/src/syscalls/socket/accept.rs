//! listen(2), accept(2), accept4(2).

use super::create::split_flags;
use super::{address, socket, with_caller};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::net::options::MAX_BACKLOG;
use crate::net::socket::socket_file;
use crate::sync::Events;
use crate::syscalls::{Args, SysResult, file_op};
use crate::usermem::UserPtr;
use crate::vfs::OpenFlags;

pub(super) fn listen(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (_, socket) = socket(cx, args.get(0))?;
    // As unsigned: negative is the most.
    let backlog: u32 = args.get(1);
    let backlog = usize::try_from(backlog)
        .unwrap_or(MAX_BACKLOG)
        .min(MAX_BACKLOG);
    with_caller(cx, |c| socket.listen(c, backlog))?;
    Ok(0)
}

pub(super) fn accept(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_accept(cx, args, 0)
}

pub(super) fn accept4(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_accept(cx, args, args.get(3))
}

fn do_accept(cx: &mut Cx<'_>, args: &Args, flags: i32) -> SysResult {
    cx.file(args.get(0))?;
    let (kind, flags) = split_flags(flags)?;
    if kind != 0 {
        return Err(Errno::EINVAL.into());
    }
    // As Linux, before anything is taken: a connection that finds no descriptor stays in the queue.
    cx.fds().has_room(cx.limit(libc::RLIMIT_NOFILE))?;
    let (file, listener) = socket(cx, args.get(0))?;
    let accepted = file_op(cx, &file, Events::IN, listener.accept())?;
    let new = socket_file(&cx.caller(), accepted.clone(), flags & OpenFlags::NONBLOCK);
    let addr: UserPtr<u8> = args.get(1);
    if !addr.is_null() {
        let name = accepted.peer_name().map_err(|_| Errno::ECONNABORTED)?;
        address::write(cx, &name, addr, args.get(2))?;
    }
    let fd = cx.install_fd(new, flags.contains(OpenFlags::CLOEXEC))?;
    Ok(i64::from(fd))
}
