//! pipe(2), pipe2(2).

use crate::abi::{Errno, Result};
use crate::fs::pipe::create;
use crate::kernel::Cx;
use crate::syscalls::{Args, SysResult};
use crate::usermem::UserPtr;
use crate::vfs::OpenFlags;

pub(super) fn pipe(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    do_pipe(cx, args.get(0), OpenFlags::empty())?;
    Ok(0)
}

pub(super) fn pipe2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags = OpenFlags::from_bits_retain(args.get(1));
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    do_pipe(cx, args.get(0), flags)?;
    Ok(0)
}

fn do_pipe(cx: &mut Cx<'_>, fds: UserPtr<[i32; 2]>, flags: OpenFlags) -> Result<()> {
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    let (r, w) = create(&cx.caller(), flags - OpenFlags::CLOEXEC)?;
    let rfd = cx.install_fd(r, cloexec)?;
    let wfd = match cx.install_fd(w, cloexec) {
        Ok(fd) => fd,
        Err(e) => {
            drop(cx.fds().remove(rfd));
            return Err(e);
        }
    };
    if let Err(e) = cx.mem().put(fds, &[rfd, wfd]) {
        drop((cx.fds().remove(rfd), cx.fds().remove(wfd)));
        return Err(e);
    }
    Ok(())
}
