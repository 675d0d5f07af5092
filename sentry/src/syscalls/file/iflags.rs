//! File flags (ioctl_iflags(2)), and the same as `struct fsxattr`.

use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::Cx;
use crate::usermem::UserPtr;
use crate::vfs::File;
use crate::vfs::permission::{APPEND, IMMUTABLE, owner_or_capable};
use std::sync::Arc;

pub(super) const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
pub(super) const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
pub(super) const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
pub(super) const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;

/// FS_*_FL and the FS_XFLAG_* that means the same.
const SAME: [(u32, u32); 4] = [(IMMUTABLE, 0x8), (APPEND, 0x10), (0x40, 0x80), (0x80, 0x40)];

/// `struct fsxattr`: flags, and six words that are of no use here.
type FsXattr = [u32; 7];

fn change(cx: &Cx<'_>, file: &Arc<File>, new: u32) -> Result<()> {
    if let Some(p) = file.path() {
        p.mount.want_write()?;
    }
    let inode = file.inode();
    let creds = cx.creds();
    if !owner_or_capable(creds, inode.permissions()?) {
        return Err(Errno::EPERM);
    }
    let old = inode.file_flags()?;
    if (old ^ new) & (APPEND | IMMUTABLE) != 0 && !creds.has(Caps::LINUX_IMMUTABLE) {
        return Err(Errno::EPERM);
    }
    inode.set_file_flags(new)
}

/// The four of them.
pub(super) fn ioctl(cx: &Cx<'_>, file: &Arc<File>, cmd: u32, arg: u64) -> Result<()> {
    let word = UserPtr::<u32>::new(arg);
    let long = UserPtr::<FsXattr>::new(arg);
    let flags = file.inode().file_flags()?;
    match cmd {
        FS_IOC_GETFLAGS => Ok(cx.mem().put(word, &flags)?),
        FS_IOC_SETFLAGS => change(cx, file, cx.mem().get(word)?),
        FS_IOC_FSGETXATTR => {
            let shown = SAME.iter().filter(|(f, _)| flags & f != 0);
            let mut out = FsXattr::default();
            if let Some(first) = out.first_mut() {
                *first = shown.map(|(_, x)| x).sum();
            }
            Ok(cx.mem().put(long, &out)?)
        }
        _ => {
            let [asked, extent, _, project, cow, ..] = cx.mem().get(long)?;
            let known: u32 = SAME.iter().map(|(_, x)| x).sum();
            if asked & !known != 0 || extent != 0 || project != 0 || cow != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            let chosen = SAME.iter().filter(|(_, x)| asked & x != 0);
            change(cx, file, chosen.map(|(f, _)| f).sum())
        }
    }
}
