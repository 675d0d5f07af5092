//! sysfs(2) and ustat(2): old questions about file systems.

use crate::abi::Errno;
use crate::procfs::filesystem_names;
use crate::syscalls::{Args, Cx, SysResult};
use crate::usermem::{UserPtr, UserStr};
use zerocopy::{Immutable, IntoBytes};

/// `sysfs(option, …)`: index of a name, name of an index, number of file system types.
pub(super) fn sysfs(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    match args.get::<i32>(0) {
        1 => {
            let name = cx.mem().read_path(UserStr(args.get(1)))?;
            let index = filesystem_names().position(|n| n.as_bytes() == &*name);
            let index = index.and_then(|i| i64::try_from(i).ok());
            Ok(index.ok_or(Errno::EINVAL)?)
        }
        2 => {
            let index: u32 = args.get(1);
            let name = filesystem_names().nth(index as usize);
            let text = [name.ok_or(Errno::EINVAL)?.as_bytes(), b"\0"].concat();
            cx.mem().write_bytes(args.get(2), &text)?;
            Ok(0)
        }
        3 => Ok(i64::try_from(filesystem_names().count()).unwrap_or(0)),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `struct ustat`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Ustat {
    free_blocks: i32,
    pad: i32,
    free_inodes: u64,
    names: [u8; 12],
    end: i32,
}

/// `ustat(dev, *ubuf)`: of the mounted file system with this device number.
pub(super) fn ustat(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    // As new_decode_dev does of the 32 bits that the call takes.
    let raw: u32 = args.get(0);
    let dev = libc::makedev((raw & 0xfff00) >> 8, (raw & 0xff) | (raw >> 12 & 0xfff00));
    let fs = cx.fs();
    let mounts = fs.namespace().mounts();
    let found = mounts.iter().find_map(|m| {
        let inode = m.superblock().root().inode().clone();
        inode.stat().is_ok_and(|s| s.dev == dev).then_some(inode)
    });
    let s = found.ok_or(Errno::EINVAL)?.statfs()?;
    let out = Ustat {
        free_blocks: s.blocks_free as i32,
        pad: 0,
        free_inodes: s.files_free,
        names: [0; 12],
        end: 0,
    };
    cx.mem().put(UserPtr::new(args.get(1)), &out)?;
    Ok(0)
}
