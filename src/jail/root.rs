//! A root directory with nothing in it.

use super::{Result, at, sys};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, fchdir, pivot_root};
use std::os::fd::AsFd;

/// Replaces the root of the calling process's own mount namespace by an empty, read-only directory and lets go
/// of everything else. Descriptors that are open stay usable. Needs CAP_SYS_ADMIN in the namespace's owner.
///
/// # Errors
/// Names the step that the host refused.
pub fn enter_empty() -> Result<()> {
    const MOUNT_ATTRS: u64 = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    private()?;
    let empty = sys::detached_tmpfs(MOUNT_ATTRS).map_err(at("make an empty file system"))?;
    // On top of the old root; pivot_root then takes the old one away from under it.
    sys::attach_mount(empty.as_fd(), c"/").map_err(at("mount an empty file system"))?;
    fchdir(&empty).map_err(at("enter an empty file system"))?;
    pivot_root(".", ".").map_err(at(
        "change the root directory (is this process inside a chroot?)",
    ))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(at("let go of the host's file systems"))?;
    chdir("/").map_err(at("enter the empty root"))
}

/// Stops mounts from travelling between this namespace and the host's.
///
/// # Errors
/// Names the step.
pub fn private() -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(at("make its mounts private"))
}
