//! `/dev`: a tmpfs with the nodes that programs expect, and the drivers behind them.

pub mod mem;

use super::devices;
use crate::abi::{Errno, Result};
use crate::vfs::{At, FileType, FsContext, KernelCaller, names};
use std::sync::Arc;

/// Registers the drivers of the memory devices.
pub fn register_drivers() {
    devices::register(FileType::CharDevice, 1, 0..=255, Arc::new(mem::MemDriver));
}

/// Nodes: name, major, minor, permission bits.
const NODES: &[(&str, u32, u32, u32)] = &[
    ("null", 1, 3, 0o666),
    ("zero", 1, 5, 0o666),
    ("full", 1, 7, 0o666),
    ("random", 1, 8, 0o666),
    ("urandom", 1, 9, 0o666),
    ("tty", 5, 0, 0o666),
];

/// Links: name, target.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// The name of a node that [`populate`] makes.
pub fn node(major: u32, minor: u32) -> Option<&'static str> {
    let found = NODES.iter().find(|n| (n.1, n.2) == (major, minor));
    found.map(|n| n.0)
}

/// What is there already is as good.
fn there<T>(made: Result<T>) -> Result<()> {
    match made {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Puts into `/dev` what is missing there.
///
/// # Errors
/// Those of mknod(2) and symlink(2).
pub fn populate(fs: &FsContext) -> Result<()> {
    let path = |name: &str| format!("/dev/{name}").into_bytes();
    for (name, major, minor, perm) in NODES {
        let rdev = devices::makedev(*major, *minor);
        there(names::mknod(
            &KernelCaller,
            fs,
            &At::Cwd,
            &path(name),
            FileType::CharDevice,
            *perm,
            rdev,
        ))?;
    }
    for (name, target) in LINKS {
        there(names::symlink(
            &KernelCaller,
            fs,
            target.as_bytes(),
            &At::Cwd,
            &path(name),
        ))?;
    }
    for (name, perm) in [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)] {
        there(names::mkdir(&KernelCaller, fs, &At::Cwd, &path(name), perm))?;
    }
    Ok(())
}
