//! mount, umount2, pivot_root: tmpfs, proc, sysfs, devpts, mqueue, cgroup2, bind mounts, remounts and propagation; what else a
//! kernel can mount is not here.

use super::at::{FDCWD, lookup};
use super::mount_api::propagation;
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::fs::sysfs;
use crate::fs::tmpfs::{Tmpfs, TmpfsInode, TmpfsOptions};
use crate::fs::tty::{Devpts, DevptsOptions};
use crate::kernel::ipc::MqDir;
use crate::kernel::jobs::KernelJobs;
use crate::kernel::loan;
use crate::kernel::machine::KernelMachine;
use crate::kernel::namespaces::Namespace;
use crate::syscalls::{Args, Cx, SysResult};
use crate::usermem::UserStr;
use crate::vfs::{At, MountFlags, Path, SuperBlock, WalkFlags, resolve};
use std::sync::Arc;

const MS_REMOUNT: u64 = 32;
const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;
const MS_REC: u64 = 16384;
/// MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE.
const PROPAGATION: u64 = 0x1e_0000;
const MS_SILENT: u64 = 0x8000;
const MS_NOUSER: u64 = 1 << 31;
const MS_MGC_MSK: u64 = 0xffff_0000;
const MS_MGC_VAL: u64 = 0xc0ed_0000;

/// A string that may be absent.
fn optional(cx: &Cx<'_>, s: UserStr) -> Result<Vec<u8>> {
    if s.is_null() {
        return Ok(Vec::new());
    }
    Ok(cx.mem().read_path(s)?.into_vec())
}

fn mount_flags(bits: u64) -> MountFlags {
    MountFlags::from_bits_truncate(bits as u32).or_relatime()
}

/// A new instance of a file system, if the caller may mount it: capabilities count where what it shows belongs.
pub(super) fn new_superblock(cx: &Cx<'_>, kind: &[u8], data: &[u8]) -> Result<Arc<SuperBlock>> {
    let (kernel, me) = (cx.kernel(), cx.creds());
    let own = cx.task.namespaces();
    let owner = match kind {
        b"tmpfs" | b"ramfs" | b"devpts" => &me.user_ns,
        b"proc" => cx.group().pid_ns().common.owner(),
        b"sysfs" => own.net.common.owner(),
        b"mqueue" => own.ipc.common.owner(),
        b"cgroup2" => own.cgroup.common.owner(),
        _ => return Err(Errno::ENODEV),
    };
    if !me.has_in(owner, Caps::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let as_is = |sb: Arc<SuperBlock>| {
        let root = sb.root().inode().clone();
        SuperBlock::owned_by(owner, root, sb.fs_type(), &sb.options())
    };
    match kind {
        b"proc" => Ok(crate::procfs::superblock_of(
            kernel,
            cx.group().pid_ns(),
            owner,
        )),
        b"sysfs" => Ok(as_is(sysfs::superblock(&KernelMachine::of(kernel)))),
        b"cgroup2" => Ok(as_is(sysfs::cgroup_superblock(&KernelMachine::of(kernel)))),
        b"devpts" => {
            let mut options = DevptsOptions::parse(data)?;
            options.uid = options.uid.map(|u| owner.user_arg(u)).transpose()?;
            options.gid = options.gid.map(|g| owner.group_arg(g)).transpose()?;
            let new = Devpts::mounted(KernelJobs::new(kernel), kernel.timers.clone(), options)?;
            Ok(as_is(new.superblock()))
        }
        b"mqueue" => {
            let root = MqDir::root(&own.ipc, (owner.root(), owner.group(0).unwrap_or(0)));
            Ok(SuperBlock::owned_by(owner, root, "mqueue", ""))
        }
        _ => {
            let defaults = TmpfsOptions {
                uid: me.fsuid,
                gid: me.fsgid,
                ..TmpfsOptions::default()
            };
            let options = defaults.with(owner, data)?;
            Ok(Tmpfs::superblock_of(owner, &options))
        }
    }
}

/// What the caller's mounts hide of a proc or sysfs must stay hidden in a new one, and what they restrict must stay so: the flags
/// that it keeps for ever (`mount_too_revealing`).
///
/// # Errors
/// EPERM if no mount shows it all, or not with these flags.
pub(super) fn must_stay(cx: &Cx<'_>, sb: &SuperBlock, flags: MountFlags) -> Result<MountFlags> {
    let ns = cx.fs().namespace();
    if ns.common().owner().is_initial() || !matches!(sb.fs_type(), "proc" | "sysfs") {
        return Ok(MountFlags::empty());
    }
    ns.shows_all_of(sb.fs_type(), flags).ok_or(Errno::EPERM)
}

/// EPERM unless the caller may change its mount namespace.
pub(super) fn may_mount(cx: &Cx<'_>) -> Result<()> {
    let ns = cx.fs().namespace();
    if cx.creds().has_in(ns.common().owner(), Caps::SYS_ADMIN) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

pub(super) fn mount(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let source: UserStr = args.get(0);
    let mut flags: u64 = args.get(3);
    if flags & MS_MGC_MSK == MS_MGC_VAL {
        flags &= !MS_MGC_MSK;
    }
    let kind = optional(cx, args.get(2))?;
    let source_text = optional(cx, source)?;
    let at = lookup(cx, FDCWD, args.get(1), 0)?;
    if flags & MS_NOUSER != 0 {
        return Err(Errno::EINVAL.into());
    }
    may_mount(cx)?;
    let data = if flags & (MS_BIND | MS_MOVE | PROPAGATION) == 0 {
        // As Linux: at most a page, and an unreadable pointer counts as none only if it is null.
        optional(cx, args.get(4))?
    } else {
        Vec::new()
    };
    let ns = cx.fs().namespace();
    if flags & MS_REMOUNT != 0 {
        return Ok(remount(cx, &at, flags, &data)?);
    }
    if flags & MS_BIND != 0 {
        if source_text.is_empty() {
            return Err(Errno::EINVAL.into());
        }
        let from = lookup(cx, FDCWD, source, 0)?;
        match Namespace::of_inode(&**from.inode()) {
            // One that is older than this, or this, would keep itself (`mnt_ns_loop`).
            Some(Namespace::Mount(other)) if other.id() <= ns.id() => {
                return Err(Errno::EINVAL.into());
            }
            Some(_) => {}
            None if from.mount.namespace_id() != ns.id() => return Err(Errno::EINVAL.into()),
            None => {}
        }
        ns.bind(&from, &at, flags & MS_REC != 0)?;
        return Ok(0);
    }
    if flags & PROPAGATION != 0 {
        let recursive = flags & MS_REC != 0;
        let bits = flags & !(MS_REC | MS_SILENT);
        let kind = propagation(bits)?.ok_or(Errno::EINVAL)?;
        ns.set_propagation(&at, kind, recursive)?;
        return Ok(0);
    }
    if flags & MS_MOVE != 0 {
        if source_text.is_empty() {
            return Err(Errno::EINVAL.into());
        }
        let from = lookup(cx, FDCWD, source, 0)?;
        ns.move_mount(&from, &at, false)?;
        return Ok(0);
    }
    if kind.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    let sb = new_superblock(cx, &kind, &data)?;
    let flags = mount_flags(flags);
    let must_stay = must_stay(cx, &sb, flags)?;
    let shown = if source_text.is_empty() {
        b"none".as_slice()
    } else {
        &source_text
    };
    ns.mount_locked(&at, sb, shown, flags, must_stay)?;
    Ok(0)
}

fn is_mount_root(at: &Path) -> bool {
    Arc::ptr_eq(&at.dentry, at.mount.root())
}

/// MS_REMOUNT: of one mount with MS_BIND, else of its file system too.
fn remount(cx: &Cx<'_>, at: &Path, flags: u64, data: &[u8]) -> Result<i64> {
    if !is_mount_root(at) || at.mount.namespace_id() != cx.fs().namespace().id() {
        return Err(Errno::EINVAL);
    }
    let sb = at.mount.superblock();
    if flags & MS_BIND == 0 && !cx.creds().has_in(sb.user_ns(), Caps::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let mut new = mount_flags(flags);
    let atime = MountFlags::NOATIME
        | MountFlags::NODIRATIME
        | MountFlags::RELATIME
        | MountFlags::STRICTATIME;
    if !MountFlags::from_bits_truncate(flags as u32).intersects(atime) {
        // Not asked for: as it was.
        new = (new - atime) | (at.mount.flags() & atime);
    }
    let ns = cx.fs().namespace();
    ns.set_flags(at, false, |_| new)?;
    // They were looked at when files were lent.
    loan::end_all(cx.kernel());
    if flags & MS_BIND == 0 {
        remount_superblock(cx, at, new.contains(MountFlags::READONLY), data)?;
    }
    Ok(0)
}

/// Changes what a file system itself can do.
///
/// # Errors
/// EBUSY if a file is open for writing and it is to be read-only; EINVAL.
pub(super) fn remount_superblock(
    cx: &Cx<'_>,
    at: &Path,
    readonly: bool,
    data: &[u8],
) -> Result<()> {
    let sb = at.mount.superblock();
    if !readonly && sb.is_write_protected() {
        return Err(Errno::EROFS);
    }
    if readonly && !sb.readonly() {
        let mounts = cx.fs().namespace().mounts();
        let mut others = mounts.iter().filter(|m| Arc::ptr_eq(m.superblock(), sb));
        if others.any(|m| m.has_writers()) {
            return Err(Errno::EBUSY);
        }
    }
    let root = sb.root().inode();
    if !data.is_empty()
        && let Some(t) = root.as_any().downcast_ref::<TmpfsInode>()
    {
        let options = t.file_system().options().with(sb.user_ns(), data)?;
        t.file_system().set_limits(&options)?;
        sb.set_options(options.text());
    }
    if !sb.is_write_protected() {
        sb.set_readonly(readonly);
    }
    Ok(())
}

const MNT_FORCE: u32 = 1;
const MNT_DETACH: u32 = 2;
const MNT_EXPIRE: u32 = 4;
const UMOUNT_NOFOLLOW: u32 = 8;

pub(super) fn umount2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(1);
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut walk = WalkFlags::KEEPS_EXPIRY;
    walk.set(WalkFlags::FOLLOW, flags & UMOUNT_NOFOLLOW == 0);
    let path = cx.mem().read_path(args.get(0))?;
    let at = resolve(&cx.caller(), cx.fs(), &At::Cwd, &path, walk)?;
    may_mount(cx)?;
    let ns = cx.fs().namespace();
    if !is_mount_root(&at) || at.mount.namespace_id() != ns.id() || at.mount.is_locked() {
        return Err(Errno::EINVAL.into());
    }
    if flags & MNT_FORCE != 0 && !cx.creds().has(Caps::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    if flags & MNT_EXPIRE != 0 {
        if flags & (MNT_FORCE | MNT_DETACH) != 0 || at.mount.root_path() == cx.fs().root() {
            return Err(Errno::EINVAL.into());
        }
        // Holders: the tree, the mount below, and `at` here.
        if Arc::strong_count(&at.mount) > 3 || at.mount.has_children() {
            return Err(Errno::EBUSY.into());
        }
        if !at.mount.expire() {
            return Err(Errno::EAGAIN.into());
        }
    }
    ns.unmount(at, flags & MNT_DETACH != 0)?;
    Ok(0)
}

pub(super) fn pivot_root(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    may_mount(cx)?;
    let new = lookup(cx, FDCWD, args.get(0), 0)?;
    let old = lookup(cx, FDCWD, args.get(1), 0)?;
    if !new.is_dir() || !old.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    let fs = cx.fs();
    let root = fs.root();
    fs.namespace().pivot_root(&root, &new, &old)?;
    // Whoever stood at the old root now stands at the new one.
    let mut seen: Vec<usize> = Vec::new();
    for group in cx.kernel().processes() {
        for task in group.threads() {
            let context = task.fs();
            let id = Arc::as_ptr(&context).addr();
            if !seen.contains(&id) {
                seen.push(id);
                context.replace_root(&root, &new);
            }
        }
    }
    Ok(0)
}
