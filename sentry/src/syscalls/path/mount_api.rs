//! Mounts by descriptor: open_tree, move_mount, mount_setattr.

use super::at::{EMPTY_PATH, NO_AUTOMOUNT, NOFOLLOW, lookup, only};
use super::mount::may_mount;
use crate::abi::{Errno, Result};
use crate::kernel::loan;
use crate::sync::Events;
use crate::syscalls::{Args, Cx, Fd, SysResult};
use crate::usermem::{UserPtr, UserStr};
use crate::vfs::propagation::Propagation;
use crate::vfs::{self, File, FileOps, MountFlags, MountNamespace, OpenFlags};
use std::any::Any;
use std::sync::Arc;

/// AT_RECURSIVE.
const RECURSIVE: u32 = 0x8000;
/// OPEN_TREE_CLONE.
const CLONE: u32 = 1;

/// MOUNT_ATTR_* that are flags by themselves, and what they are called here.
const ATTRIBUTES: [(u64, MountFlags); 6] = [
    (1, MountFlags::READONLY),
    (2, MountFlags::NOSUID),
    (4, MountFlags::NODEV),
    (8, MountFlags::NOEXEC),
    (0x80, MountFlags::NODIRATIME),
    (0x20_0000, MountFlags::NOSYMFOLLOW),
];
/// MOUNT_ATTR__ATIME.
const ATIME: u64 = 0x70;

/// What of MOUNT_ATTR_* is about access times.
fn atime(attributes: u64) -> Result<MountFlags> {
    Ok(match attributes & ATIME {
        0 => MountFlags::RELATIME,
        0x10 => MountFlags::NOATIME,
        0x20 => MountFlags::empty(),
        _ => return Err(Errno::EINVAL),
    })
}

fn plain(attributes: u64) -> MountFlags {
    let chosen = ATTRIBUTES.iter().filter(|(bit, _)| attributes & bit != 0);
    chosen.fold(MountFlags::empty(), |all, (_, f)| all | *f)
}

/// Mount flags as MOUNT_ATTR_* (statmount(2)).
pub(super) fn shown(flags: MountFlags) -> u64 {
    let chosen = ATTRIBUTES.iter().filter(|(_, f)| flags.contains(*f));
    let atime = if flags.contains(MountFlags::NOATIME) {
        0x10
    } else if flags.contains(MountFlags::RELATIME) {
        0
    } else {
        0x20
    };
    chosen.fold(atime, |all, (bit, _)| all | bit)
}

/// Flags of a new mount.
pub(super) fn mount_attributes(attributes: u64) -> Result<MountFlags> {
    let known = ATTRIBUTES.iter().fold(ATIME, |all, (bit, _)| all | bit);
    if attributes & !known != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(plain(attributes) | atime(attributes)?)
}

/// A tree of mounts that is mounted nowhere and ends with its descriptor.
struct DetachedTree(#[allow(dead_code)] Arc<MountNamespace>);

impl FileOps for DetachedTree {
    fn poll(&self, _: &File) -> Events {
        Events::empty()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A descriptor for a tree that is mounted nowhere.
pub(super) fn install_tree(cx: &mut Cx<'_>, tree: Arc<MountNamespace>, cloexec: bool) -> SysResult {
    let path = tree.root();
    let inode = path.inode().clone();
    let ops = Box::new(DetachedTree(tree));
    let file = File::new(ops, inode, Some(path), OpenFlags::PATH);
    Ok(cx.install_fd(file, cloexec)?.into())
}

pub(super) fn open_tree(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(2);
    let cloexec = OpenFlags::CLOEXEC.bits();
    only(
        flags,
        EMPTY_PATH | NO_AUTOMOUNT | RECURSIVE | NOFOLLOW | CLONE | cloexec,
    )?;
    if flags & (RECURSIVE | CLONE) == RECURSIVE {
        return Err(Errno::EINVAL.into());
    }
    if flags & CLONE != 0 {
        may_mount(cx)?;
    }
    let at = lookup(cx, args.get(0), args.get(1), flags)?;
    if flags & CLONE == 0 {
        let file = vfs::open_path(&cx.caller(), &at, OpenFlags::PATH)?;
        return Ok(cx.install_fd(file, flags & cloexec != 0)?.into());
    }
    let ns = cx.fs().namespace();
    let of = at.mount.namespace_id();
    if of != ns.id() && MountNamespace::detached_of(&at.mount).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let tree = ns.clone_tree(&at, flags & RECURSIVE != 0)?;
    install_tree(cx, tree, flags & cloexec != 0)
}

// Flags of move_mount(2).
const F_SYMLINKS: u32 = 1;
const F_EMPTY_PATH: u32 = 4;
const T_SYMLINKS: u32 = 0x10;
const T_EMPTY_PATH: u32 = 0x40;
const SET_GROUP: u32 = 0x100;
const BENEATH: u32 = 0x200;

/// AT_* of what move_mount(2) says of one of its paths.
fn how(flags: u32, follow: u32, empty: u32) -> u32 {
    let nofollow = if flags & follow == 0 { NOFOLLOW } else { 0 };
    let may_be_empty = if flags & empty != 0 { EMPTY_PATH } else { 0 };
    nofollow | may_be_empty
}

pub(super) fn move_mount(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    may_mount(cx)?;
    let flags: u32 = args.get(4);
    only(flags, 0x377)?;
    if flags & (SET_GROUP | BENEATH) == SET_GROUP | BENEATH {
        return Err(Errno::EINVAL.into());
    }
    let from_how = how(flags, F_SYMLINKS, F_EMPTY_PATH);
    let to_how = how(flags, T_SYMLINKS, T_EMPTY_PATH);
    let to = lookup(cx, args.get(2), args.get(3), to_how)?;
    let from = lookup(cx, args.get(0), args.get(1), from_how)?;
    let ns = cx.fs().namespace();
    if flags & SET_GROUP != 0 {
        ns.share_ties(&from, &to)?;
        return Ok(0);
    }
    let beneath = flags & BENEATH != 0;
    if beneath && !Arc::ptr_eq(&to.dentry, to.mount.root()) {
        return Err(Errno::EINVAL.into());
    }
    match MountNamespace::detached_of(&from.mount) {
        Some(tree) => {
            if !Arc::ptr_eq(&from.dentry, from.mount.root()) || from.mount.mountpoint().is_some() {
                return Err(Errno::EINVAL.into());
            }
            ns.adopt(&tree, &to, beneath)?;
        }
        None => ns.move_mount(&from, &to, beneath)?,
    }
    Ok(0)
}

/// `struct mount_attr`: attributes to set and to clear, propagation, user namespace.
type MountAttr = [u64; 4];

/// MOUNT_ATTR_IDMAP.
const IDMAP: u64 = 0x10_0000;

/// A type of propagation by its MS_* bit; `None` for 0.
pub(super) fn propagation(bits: u64) -> Result<Option<Propagation>> {
    Ok(match bits {
        0 => None,
        0x2_0000 => Some(Propagation::Unbindable),
        0x4_0000 => Some(Propagation::Private),
        0x8_0000 => Some(Propagation::Slave),
        0x10_0000 => Some(Propagation::Shared),
        _ => return Err(Errno::EINVAL),
    })
}

pub(super) fn mount_setattr(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(2);
    only(flags, EMPTY_PATH | RECURSIVE | NOFOLLOW | NO_AUTOMOUNT)?;
    let size: usize = args.get(4);
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    if size < 32 {
        return Err(Errno::EINVAL.into());
    }
    may_mount(cx)?;
    let addr: u64 = args.get(3);
    let [set, clear, ties, user_ns]: MountAttr = cx.mem().get(UserPtr::new(addr))?;
    let rest = cx
        .mem()
        .get_array::<u8>(UserPtr::new(addr.wrapping_add(32)), size - 32)?;
    if rest.iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    if (set, clear, ties) == (0, 0, 0) {
        return Ok(0);
    }
    let ties = propagation(ties)?;
    let known = ATTRIBUTES.iter().fold(ATIME, |all, (bit, _)| all | bit);
    // No ids are mapped by mounts here.
    if (set | clear) & !(known | IDMAP) != 0
        || (set | clear) & IDMAP != 0
        || user_ns > u64::from(u32::MAX)
    {
        return Err(Errno::EINVAL.into());
    }
    let times = match clear & ATIME {
        0 if set & ATIME == 0 => None,
        ATIME => Some(atime(set)?),
        _ => return Err(Errno::EINVAL.into()),
    };
    let fd: Fd = args.get(0);
    let path: UserStr = args.get(1);
    let at = lookup(cx, fd, path, flags)?;
    let ns = MountNamespace::detached_of(&at.mount).unwrap_or_else(|| cx.fs().namespace());
    let recursive = flags & RECURSIVE != 0;
    let kinds_of_times = MountFlags::NOATIME | MountFlags::RELATIME | MountFlags::STRICTATIME;
    let (set, clear) = (plain(set), plain(clear));
    ns.set_flags(&at, recursive, |old| {
        let new = (old - clear) | set;
        match times {
            Some(times) => (new - kinds_of_times) | times,
            None => new,
        }
    })?;
    // It was looked at when files were lent.
    loan::end_all(cx.kernel());
    if let Some(ties) = ties {
        ns.set_propagation(&at, ties, recursive)?;
    }
    Ok(0)
}
