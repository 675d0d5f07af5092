//! ioctl(2): what every file knows; the rest is the file's own.

use super::iflags::{self, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS};
use super::{fcntl, terminal};
use crate::abi::{Errno, Result};
use crate::fs::tty::Master;
use crate::kernel::async_io;
use crate::syscalls::{Args, Cx, Fd, SysResult};
use crate::usermem::UserPtr;
use crate::vfs::{File, FileType, OpenFlags};
use std::sync::Arc;

// Owner of SIGIO, by both names.
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const FIOGETOWN: u32 = 0x8903;
const SIOCGPGRP: u32 = 0x8904;
/// FIOASYNC.
const FIOASYNC: u32 = 0x5452;
/// FIOQSIZE.
const FIOQSIZE: u32 = 0x5460;
/// FIGETBSZ.
const FIGETBSZ: u32 = 2;
/// FICLONE.
const FICLONE: u32 = 0x4004_9409;
/// FICLONERANGE.
const FICLONERANGE: u32 = 0x4020_940d;

pub(super) fn ioctl(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let fd: Fd = args.get(0);
    let file = cx.file(fd)?;
    let cmd: u32 = args.get(1);
    let arg: u64 = args.get(2);
    if let Some(done) = generic(cx, fd, &file, cmd, arg)? {
        return Ok(done);
    }
    if cmd == terminal::COMMAND
        && let Some(master) = file.downcast::<Master>()
    {
        return terminal::open_peer(cx, &file, master, arg);
    }
    let outcome = file.ops().ioctl(&file, &cx.caller(), cmd, arg);
    // Terminals make background processes wait (SIGTTOU).
    crate::syscalls::file_op(cx, &file, crate::sync::Events::WRITABLE, outcome)
}

fn set(file: &File, flag: OpenFlags, on: bool) {
    let mut flags = file.flags();
    flags.set(flag, on);
    file.set_flags(flags);
}

fn generic(cx: &Cx<'_>, fd: Fd, file: &Arc<File>, cmd: u32, arg: u64) -> Result<Option<i64>> {
    let int = UserPtr::<i32>::new(arg);
    let kind = file.inode().file_type();
    match u64::from(cmd) {
        libc::FIOCLEX => cx.fds().set_cloexec(fd.0, true)?,
        libc::FIONCLEX => cx.fds().set_cloexec(fd.0, false)?,
        libc::FIONBIO => {
            let on = cx.mem().get(int)? != 0;
            set(file, OpenFlags::NONBLOCK, on);
        }
        _ => match cmd {
            FIOASYNC => {
                let on = cx.mem().get(int)? != 0;
                if on && !async_io::supported(file) {
                    return Err(Errno::ENOTTY);
                }
                if on != file.flags().contains(OpenFlags::ASYNC) {
                    set(file, OpenFlags::ASYNC, on);
                    async_io::switch(cx, fd.0, file, on);
                }
            }
            FIOSETOWN | SIOCSPGRP if kind == FileType::Socket => {
                let owner = cx.mem().get(int)?;
                fcntl::set_owner(cx, file, owner)?;
            }
            FIOGETOWN | SIOCGPGRP if kind == FileType::Socket => {
                cx.mem().put(int, &fcntl::get_owner(cx, file))?;
            }
            FIOQSIZE => {
                if !matches!(
                    kind,
                    FileType::Regular | FileType::Directory | FileType::Symlink
                ) {
                    return Err(Errno::ENOTTY);
                }
                let size = file.ops().stat(file)?.size;
                cx.mem().put(UserPtr::<u64>::new(arg), &size)?;
            }
            FIGETBSZ => {
                let size = file.inode().statfs()?.block_size;
                if size == 0 {
                    return Err(Errno::EINVAL);
                }
                let size = i32::try_from(size).map_err(|_| Errno::EINVAL)?;
                cx.mem().put(int, &size)?;
            }
            FICLONE | FICLONERANGE => return Err(Errno::EOPNOTSUPP),
            FS_IOC_GETFLAGS | FS_IOC_SETFLAGS | FS_IOC_FSGETXATTR | FS_IOC_FSSETXATTR => {
                if !matches!(kind, FileType::Regular | FileType::Directory) {
                    return Ok(None);
                }
                iflags::ioctl(cx, file, cmd, arg)?;
            }
            _ if u64::from(cmd) == libc::FIONREAD && kind == FileType::Regular => {
                // Regular files answer here, but a host object that looks like one may know better.
                if file.ops().own_position() || !file.ops().seekable() {
                    return Ok(None);
                }
                let size = file.ops().stat(file)?.size.cast_signed();
                let left = size.wrapping_sub(file.with_position(|p| p.cast_signed()));
                cx.mem().put(int, &(left as i32))?;
            }
            _ => return Ok(None),
        },
    }
    Ok(Some(0))
}
