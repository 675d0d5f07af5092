//! getdents(2), getdents64(2).

use crate::abi::{Errno, Result};
use crate::syscalls::{Args, Cx, SysResult};
use crate::vfs::{DirEntry, File};
use std::sync::Arc;

/// Most bytes that one call returns.
const MAX: usize = 1 << 20;

/// `struct linux_dirent64`: inode, next position, record length, type, name.
fn entry64(e: &DirEntry<'_>, out: &mut Vec<u8>) {
    let len = (19 + e.name.len() + 1).next_multiple_of(8);
    let start = out.len();
    out.extend_from_slice(&e.ino.to_ne_bytes());
    out.extend_from_slice(&e.next.to_ne_bytes());
    out.extend_from_slice(&(len as u16).to_ne_bytes());
    out.push(e.file_type.dirent_type());
    out.extend_from_slice(e.name);
    out.resize(start + len, 0);
}

/// `struct linux_dirent`: as above, but the type is the last byte.
fn entry_old(e: &DirEntry<'_>, out: &mut Vec<u8>) {
    let len = (18 + e.name.len() + 2).next_multiple_of(8);
    let start = out.len();
    out.extend_from_slice(&e.ino.to_ne_bytes());
    out.extend_from_slice(&e.next.to_ne_bytes());
    out.extend_from_slice(&(len as u16).to_ne_bytes());
    out.extend_from_slice(e.name);
    out.resize(start + len - 1, 0);
    out.push(e.file_type.dirent_type());
}

fn list(
    cx: &Cx<'_>,
    file: &Arc<File>,
    addr: u64,
    size: usize,
    encode: fn(&DirEntry<'_>, &mut Vec<u8>),
) -> Result<i64> {
    if !crate::vfs::FileType::Directory.eq(&file.inode().file_type()) {
        return Err(Errno::ENOTDIR);
    }
    if file.path().is_some_and(|p| p.dentry.is_deleted()) {
        return Err(Errno::ENOENT);
    }
    let room = size.min(MAX);
    let caller = cx.caller();
    file.with_position(|pos| {
        let before = *pos;
        let mut out = Vec::new();
        let mut full = false;
        file.ops().readdir(file, &caller, pos, &mut |e| {
            let start = out.len();
            encode(e, &mut out);
            full = out.len() > room;
            if full {
                out.truncate(start);
            }
            !full
        })?;
        if out.is_empty() && full {
            return Err(Errno::EINVAL);
        }
        if let Err(e) = cx.mem().write_bytes(addr, &out) {
            *pos = before;
            return Err(e);
        }
        Ok(super::count(out.len()))
    })
}

pub(super) fn getdents64(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    let size: u32 = args.get(2);
    Ok(list(cx, &file, args.get(1), size as usize, entry64)?)
}

pub(super) fn getdents(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    let size: u32 = args.get(2);
    Ok(list(cx, &file, args.get(1), size as usize, entry_old)?)
}
