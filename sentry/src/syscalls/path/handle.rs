//! File handles (open_by_handle_at(2)): a file system keeps what it gave handles of, as long as somebody has it.

use super::at::{EMPTY_PATH, FDCWD, FOLLOW, NOFOLLOW, lookup, only, place_of};
use super::open::{finish, has_room, waiting};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::syscalls::{Args, Cx, Fd, SysResult};
use crate::usermem::UserPtr;
use crate::vfs::{self, File, OpenFlags, Path};
use std::sync::Arc;

/// MAX_HANDLE_SZ.
const MAX_SIZE: u32 = 128;
/// Bytes of our handles, as of tmpfs: generation and inode number.
const SIZE: u32 = 12;
/// FILEID_INO32_GEN.
const KIND: u32 = 1;
/// AT_HANDLE_FID: only to be compared.
const FID: u32 = 0x200;
/// AT_HANDLE_MNT_ID_UNIQUE.
const UNIQUE: u32 = 1;

/// `struct file_handle` with our bytes.
type Handle = [u32; 3];

/// File systems that have none (`exportfs_can_encode_fh`), but for comparing.
fn has_handles(fs_type: &str) -> bool {
    !matches!(
        fs_type,
        "proc" | "sysfs" | "cgroup2" | "devpts" | "mqueue" | "nsfs" | "anon_inodefs" | "devtmpfs"
    )
}

/// What distinguishes this file system's handles from others'.
fn generation(place: &Path) -> Result<u32> {
    Ok(place.mount.superblock().root().inode().stat()?.dev as u32)
}

pub(super) fn name_to_handle_at(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(4);
    only(flags, FOLLOW | EMPTY_PATH | FID | UNIQUE)?;
    let how = (flags & EMPTY_PATH) | if flags & FOLLOW == 0 { NOFOLLOW } else { 0 };
    let place = lookup(cx, args.get(0), args.get(1), how)?;
    let sb = place.mount.superblock();
    if flags & FID == 0 && !has_handles(sb.fs_type()) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let addr: u64 = args.get(2);
    let room = cx.mem().get(UserPtr::<u32>::new(addr))?;
    if room > MAX_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let id: u64 = args.get(3);
    if flags & UNIQUE != 0 {
        cx.mem()
            .put(UserPtr::<u64>::new(id), &place.mount.unique_id())?;
    } else {
        cx.mem().put(UserPtr::<i32>::new(id), &place.mount.id())?;
    }
    if room < SIZE {
        cx.mem().put(UserPtr::<u32>::new(addr), &SIZE)?;
        return Err(Errno::EOVERFLOW.into());
    }
    let ino = place.inode().stat()?.ino;
    sb.keep_handle(ino, &place.dentry)?;
    let handle: Handle = [generation(&place)?, ino as u32, (ino >> 32) as u32];
    cx.mem()
        .put(UserPtr::<[u32; 2]>::new(addr), &[SIZE, KIND])?;
    cx.mem()
        .put(UserPtr::<Handle>::new(addr.wrapping_add(8)), &handle)?;
    Ok(0)
}

pub(super) fn open_by_handle_at(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags = OpenFlags::from_bits_retain(args.get(2));
    let file = match waiting(cx) {
        Some(f) => f,
        None => open_handle(cx, args, flags)?,
    };
    finish(cx, file, flags)
}

fn open_handle(cx: &mut Cx<'_>, args: &Args, flags: OpenFlags) -> Result<Arc<File>> {
    let addr: u64 = args.get(1);
    let [size, kind]: [u32; 2] = cx.mem().get(UserPtr::new(addr))?;
    if size == 0 || size > MAX_SIZE {
        return Err(Errno::EINVAL);
    }
    let fd: Fd = args.get(0);
    let anchor = if fd == FDCWD {
        cx.fs().cwd()
    } else {
        place_of(cx, fd)?
    };
    let sb = anchor.mount.superblock();
    if !cx.creds().has_in(sb.user_ns(), Caps::DAC_READ_SEARCH) {
        return Err(Errno::EPERM);
    }
    let bytes = cx.mem().get_array::<u8>(
        UserPtr::new(addr.wrapping_add(8)),
        usize::try_from(size).unwrap_or(0),
    )?;
    let word = |n: usize| -> Option<u32> {
        let four = bytes.get(n * 4..n * 4 + 4)?;
        Some(u32::from_ne_bytes(*four.first_chunk()?))
    };
    let (Some(own), Some(low), Some(high)) = (word(0), word(1), word(2)) else {
        return Err(Errno::ESTALE);
    };
    if kind != KIND || !has_handles(sb.fs_type()) || own != generation(&anchor)? {
        return Err(Errno::ESTALE);
    }
    let ino = u64::from(high) << 32 | u64::from(low);
    let dentry = sb.by_handle(ino).ok_or(Errno::ESTALE)?;
    let place = Path {
        mount: anchor.mount.clone(),
        dentry,
    };
    if flags.contains(OpenFlags::CREAT) {
        return Err(Errno::EINVAL);
    }
    has_room(cx)?;
    vfs::open_path(&cx.caller(), &place, flags | OpenFlags::LARGEFILE)
}
