//! Asking about mounts by their unique ids: statmount, listmount.

use super::mount_api::shown;
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::fs::devices::{major, minor};
use crate::procfs::mount_part;
use crate::syscalls::{Args, Cx, SysResult};
use crate::usermem::UserPtr;
use crate::vfs::Mount;
use std::collections::HashSet;
use std::sync::Arc;
use zerocopy::{Immutable, IntoBytes};

/// All unique ids are greater.
const ID_OFFSET: u64 = 1 << 31;
/// LSMT_ROOT: the caller's root.
const ROOT: u64 = u64::MAX;
/// Most ids of one listmount(2).
const MOST_IDS: usize = 1_000_000;

/// `struct mnt_id_req`.
struct Request {
    id: u64,
    param: u64,
}

fn request(cx: &Cx<'_>, addr: u64) -> Result<Request> {
    let size = usize::try_from(cx.mem().get(UserPtr::<u32>::new(addr))?).unwrap_or(0);
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < 24 {
        return Err(Errno::EINVAL);
    }
    let head: [u32; 2] = cx.mem().get(UserPtr::new(addr))?;
    let [id, param]: [u64; 2] = cx.mem().get(UserPtr::new(addr.wrapping_add(8)))?;
    let rest = cx
        .mem()
        .get_array::<u8>(UserPtr::new(addr.wrapping_add(24)), size - 24)?;
    if rest.iter().skip(8).any(|b| *b != 0) {
        return Err(Errno::E2BIG);
    }
    let namespace = rest
        .first_chunk::<8>()
        .map_or(0, |b| u64::from_ne_bytes(*b));
    let [_, spare] = head;
    if spare != 0 || id <= ID_OFFSET {
        return Err(Errno::EINVAL);
    }
    if namespace != 0 && namespace != cx.fs().namespace().id() {
        return Err(Errno::ENOENT);
    }
    Ok(Request { id, param })
}

/// The mounts that the caller's root shows, parents first; its own among them.
fn visible(cx: &Cx<'_>) -> Vec<Arc<Mount>> {
    let root = cx.fs().root();
    let mut seen = HashSet::from([root.mount.id()]);
    let mut found = vec![root.mount.clone()];
    for m in cx.fs().namespace().mounts() {
        let below = m.mountpoint().is_some_and(|p| {
            seen.contains(&p.mount.id())
                && (p.mount.id() != root.mount.id() || p.dentry.is_within(&root.dentry))
        });
        if below && seen.insert(m.id()) {
            found.push(m);
        }
    }
    found
}

pub(super) fn listmount(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(3);
    // LISTMOUNT_REVERSE.
    if flags & !1 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let room: usize = args.get(2);
    if room > MOST_IDS {
        return Err(Errno::EOVERFLOW.into());
    }
    let asked = request(cx, args.get(0))?;
    if asked.param != 0 && asked.param <= ID_OFFSET {
        return Err(Errno::EINVAL.into());
    }
    let all = visible(cx);
    let mut ids: Vec<u64> = if asked.id == ROOT {
        all.iter().map(|m| m.unique_id()).collect()
    } else {
        let found = all.iter().find(|m| m.unique_id() == asked.id).cloned();
        let (top, all) = match found {
            Some(m) => (m, all),
            None => (hidden(cx, asked.id)?, cx.fs().namespace().mounts()),
        };
        let mut below = HashSet::from([top.id()]);
        let mut ids = Vec::new();
        for m in &all {
            if m.mountpoint()
                .is_some_and(|p| below.contains(&p.mount.id()))
                && below.insert(m.id())
            {
                ids.push(m.unique_id());
            }
        }
        ids
    };
    ids.sort_unstable();
    let reverse = flags & 1 != 0;
    if reverse {
        ids.reverse();
    }
    let after = |id: &u64| match asked.param {
        0 => true,
        last if reverse => *id < last,
        last => *id > last,
    };
    let ids: Vec<u64> = ids.into_iter().filter(after).take(room).collect();
    cx.mem().put_array(UserPtr::new(args.get(1)), &ids)?;
    Ok(i64::try_from(ids.len()).unwrap_or(0))
}

/// Why a mount is not among the visible ones; one that the root hides can be asked about by who may see everything.
fn hidden(cx: &Cx<'_>, id: u64) -> Result<Arc<Mount>> {
    let ns = cx.fs().namespace();
    let mut mounts = ns.mounts().into_iter();
    let m = mounts.find(|m| m.unique_id() == id).ok_or(Errno::ENOENT)?;
    if cx.creds().has_in(ns.common().owner(), Caps::SYS_ADMIN) {
        Ok(m)
    } else {
        Err(Errno::EPERM)
    }
}

/// `struct statmount`, without the strings.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct StatMount {
    size: u32,
    mnt_opts: u32,
    mask: u64,
    sb_dev: [u32; 2],
    sb_magic: u64,
    sb_flags: u32,
    fs_type: u32,
    mnt_id: u64,
    mnt_parent_id: u64,
    mnt_id_old: u32,
    mnt_parent_id_old: u32,
    mnt_attr: u64,
    mnt_propagation: u64,
    mnt_peer_group: u64,
    mnt_master: u64,
    propagate_from: u64,
    mnt_root: u32,
    mnt_point: u32,
    mnt_ns_id: u64,
    fs_subtype: u32,
    sb_source: u32,
    opt_num: u32,
    opt_array: u32,
    opt_sec_num: u32,
    opt_sec_array: u32,
    supported_mask: u64,
    id_maps: [u32; 4],
    spare: [u64; 21],
    spare2: [u64; 22],
}

// STATMOUNT_*.
const SB_BASIC: u64 = 1;
const MNT_BASIC: u64 = 2;
const PROPAGATE_FROM: u64 = 4;
const MNT_ROOT: u64 = 8;
const MNT_POINT: u64 = 0x10;
const FS_TYPE: u64 = 0x20;
const MNT_NS_ID: u64 = 0x40;
const MNT_OPTS: u64 = 0x80;
const SB_SOURCE: u64 = 0x200;
const SUPPORTED_MASK: u64 = 0x1000;
const SUPPORTED: u64 = SB_BASIC
    | MNT_BASIC
    | PROPAGATE_FROM
    | MNT_ROOT
    | MNT_POINT
    | FS_TYPE
    | MNT_NS_ID
    | MNT_OPTS
    | SB_SOURCE
    | SUPPORTED_MASK;

/// MS_SHARED and the like.
fn propagation_bits(m: &Mount) -> u64 {
    let t = m.ties();
    let mut bits = 0;
    if t.group.is_some() {
        bits |= 1 << 20;
    }
    if t.master.is_some() {
        bits |= 1 << 19;
    }
    if t.unbindable {
        bits |= 1 << 17;
    }
    if bits == 0 { 1 << 18 } else { bits }
}

pub(super) fn statmount(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    if args.get::<u32>(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let asked = request(cx, args.get(0))?;
    let all = visible(cx);
    let m = match all.iter().find(|m| m.unique_id() == asked.id) {
        Some(m) => m.clone(),
        None => hidden(cx, asked.id)?,
    };
    let mut text = Vec::new();
    let out = describe(cx, &m, asked.param, &mut text)?;
    let room: usize = args.get(2);
    let addr: u64 = args.get(1);
    let head = out.as_bytes();
    if !text.is_empty() && head.len().saturating_add(text.len()) > room {
        return Err(Errno::EOVERFLOW.into());
    }
    let shown = head.get(..head.len().min(room)).unwrap_or(head);
    cx.mem().write_bytes(addr, shown)?;
    cx.mem()
        .write_bytes(addr.wrapping_add(head.len() as u64), &text)?;
    Ok(0)
}

fn describe(cx: &Cx<'_>, m: &Arc<Mount>, mask: u64, text: &mut Vec<u8>) -> Result<StatMount> {
    let mut out = StatMount::default();
    let sb = m.superblock();
    let wants = |bit| mask & bit != 0;
    if wants(SB_BASIC) {
        let dev = sb.root().inode().stat()?.dev;
        out.sb_dev = [major(dev), minor(dev)];
        out.sb_magic = sb.root().inode().statfs()?.magic;
        out.sb_flags = sb.readonly().into();
        out.mask |= SB_BASIC;
    }
    if wants(MNT_BASIC) {
        let parent = m.mountpoint().map_or_else(|| m.clone(), |p| p.mount);
        out.mnt_id = m.unique_id();
        out.mnt_parent_id = parent.unique_id();
        out.mnt_id_old = m.id().unsigned_abs();
        out.mnt_parent_id_old = parent.id().unsigned_abs();
        out.mnt_attr = shown(m.flags());
        out.mnt_propagation = propagation_bits(m);
        let ties = m.ties();
        out.mnt_peer_group = ties.group.map_or(0, |g| g.id().into());
        out.mnt_master = ties.master.map_or(0, |g| g.id().into());
        out.mask |= MNT_BASIC;
    }
    if wants(PROPAGATE_FROM) {
        out.mask |= PROPAGATE_FROM;
    }
    if wants(MNT_NS_ID) {
        out.mnt_ns_id = m.namespace_id();
        out.mask |= MNT_NS_ID;
    }
    if wants(SUPPORTED_MASK) {
        out.supported_mask = SUPPORTED;
        out.mask |= SUPPORTED_MASK;
    }
    // Where nothing is to be said there is no string.
    let mut string = |bit: u64, value: Vec<u8>| -> u32 {
        if mask & bit == 0 || value.is_empty() {
            return 0;
        }
        let at = u32::try_from(text.len()).unwrap_or(0);
        text.extend_from_slice(&value);
        text.push(0);
        out.mask |= bit;
        at
    };
    out.fs_type = string(FS_TYPE, sb.fs_type().as_bytes().to_vec());
    out.mnt_root = string(MNT_ROOT, mount_part(m));
    let place = m.root_path().display(&cx.fs().root());
    out.mnt_point = string(MNT_POINT, place);
    out.mnt_opts = string(MNT_OPTS, sb.options().into_bytes());
    out.sb_source = string(SB_SOURCE, m.source().to_vec());
    let length = std::mem::size_of::<StatMount>().saturating_add(text.len());
    out.size = u32::try_from(length).unwrap_or(0);
    Ok(out)
}
