//! Extended attributes (xattr(7)): who may use which family.

use super::caller::Caller;
use super::inode::{FileType, InodeRef};
use super::notify::{self, Mask};
use super::path::Path;
use super::permission::{self, READ, STICKY, WRITE, owner_or_capable};
use crate::abi::{Errno, Result};
use crate::auth::Caps;

/// Longest name.
pub const NAME_MAX: usize = 255;
/// Longest value.
pub const SIZE_MAX: usize = 65536;

fn check(cx: &dyn Caller, inode: &InodeRef, name: &[u8], write: bool) -> Result<()> {
    if write {
        permission::check_changeable(inode)?;
    }
    let creds = cx.credentials();
    let kind = inode.file_type();
    let refused = if write { Errno::EPERM } else { Errno::ENODATA };
    if name.starts_with(b"security.") {
        // Reading is free; file capabilities want CAP_SETFCAP, the rest CAP_SYS_ADMIN.
        if !write {
            return Ok(());
        }
        let cap = if name == b"security.capability" {
            Caps::SETFCAP
        } else {
            Caps::SYS_ADMIN
        };
        return if creds.has(cap) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        };
    }
    if name.starts_with(b"system.") {
        return Ok(());
    }
    if name.starts_with(b"trusted.") {
        return if creds.has(Caps::SYS_ADMIN) {
            Ok(())
        } else {
            Err(refused)
        };
    }
    if name.starts_with(b"user.") {
        if !matches!(kind, FileType::Regular | FileType::Directory) {
            return Err(refused);
        }
        let st = inode.stat()?;
        if write
            && kind == FileType::Directory
            && st.perm & STICKY != 0
            && !owner_or_capable(creds, st.permissions())
        {
            return Err(Errno::EPERM);
        }
    }
    permission::check(cx, inode, if write { WRITE } else { READ })
}

/// Whether it is a `struct vfs_cap_data` or `vfs_ns_cap_data` (`validheader`).
fn is_capability(value: &[u8]) -> bool {
    const FLAG_EFFECTIVE: u32 = 1;
    let Some(magic) = value.first_chunk::<4>().map(|m| u32::from_le_bytes(*m)) else {
        return false;
    };
    matches!(
        (magic & !FLAG_EFFECTIVE, value.len()),
        (0x0200_0000, 20) | (0x0300_0000, 24)
    )
}

/// setxattr(2); flags are known to be valid.
pub fn set(cx: &dyn Caller, path: &Path, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
    path.mount.want_write()?;
    if name == b"security.capability" && !is_capability(value) {
        return Err(Errno::EINVAL);
    }
    check(cx, path.inode(), name, true)?;
    path.inode().setxattr(cx, name, value, flags)?;
    notify::object(&path.dentry, Mask::ATTRIB);
    Ok(())
}

/// getxattr(2).
pub fn get(cx: &dyn Caller, path: &Path, name: &[u8]) -> Result<Vec<u8>> {
    check(cx, path.inode(), name, false)?;
    path.inode().getxattr(cx, name)
}

/// removexattr(2).
pub fn remove(cx: &dyn Caller, path: &Path, name: &[u8]) -> Result<()> {
    path.mount.want_write()?;
    check(cx, path.inode(), name, true)?;
    path.inode().removexattr(cx, name)?;
    notify::object(&path.dentry, Mask::ATTRIB);
    Ok(())
}

/// listxattr(2): names with their NULs; `trusted.` ones only for CAP_SYS_ADMIN.
pub fn list(cx: &dyn Caller, path: &Path) -> Result<Vec<u8>> {
    let admin = cx.credentials().has(Caps::SYS_ADMIN);
    let mut out = Vec::new();
    for name in path.inode().listxattr(cx)? {
        if admin || !name.starts_with(b"trusted.") {
            out.extend_from_slice(&name);
            out.push(0);
        }
    }
    Ok(out)
}
