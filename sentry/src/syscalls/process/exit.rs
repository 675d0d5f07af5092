//! exit(2), exit_group(2), execve(2), execveat(2).

use super::super::{Args, Cx, Fd, SysResult};
use crate::kernel::ExitStatus;
use crate::kernel::task::{exec, exit as kernel_exit};
use crate::usermem::UserStr;

/// `exit(code)`: ends this thread.
pub fn exit(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    kernel_exit::exit_call(cx, ExitStatus::Exited(a.get::<u32>(0) as u8))
}

/// `exit_group(code)`: ends the process.
pub fn exit_group(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let status = ExitStatus::Exited(a.get::<u32>(0) as u8);
    kernel_exit::group_exit(cx.group(), status);
    kernel_exit::exit_call(cx, status)
}

/// `execve(path, argv, envp)`.
pub fn execve(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    exec::execve(
        cx,
        Fd(libc::AT_FDCWD),
        a.get::<UserStr>(0),
        a.get(1),
        a.get(2),
        0,
    )
}

/// `execveat(dirfd, path, argv, envp, flags)`.
pub fn execveat(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    exec::execve(
        cx,
        a.get(0),
        a.get::<UserStr>(1),
        a.get(2),
        a.get(3),
        a.get(4),
    )
}
