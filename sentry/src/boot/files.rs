//! The guest's file tree at start.

use super::{BootError, MountConfig, MountSource, RootConfig, reason, show};
use crate::abi::Errno;
use crate::fs::devfs;
use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::fs::tty::Devpts;
use crate::kernel::Kernel;
use crate::vfs::{
    self, At, FsContext, InodeRef, KernelCaller, MountFlags, MountNamespace, Path, SuperBlock,
    WalkFlags, names,
};
use cofferdam_gofer::client::Client;
use std::sync::Arc;

/// Makes the mount namespace: the root, the kernel's own file systems, then what the caller asked for.
pub(super) fn mount_all(
    kernel: &Arc<Kernel>,
    devpts: &Arc<Devpts>,
    gofer: Option<&Arc<Client>>,
    root: RootConfig,
    mounts: &[MountConfig],
) -> Result<Arc<MountNamespace>, BootError> {
    crate::procfs::prepare();
    devfs::register_drivers();
    let failed =
        |what: &str, e: Errno| BootError::Failed(format!("cannot mount {what}: {}", reason(e)));
    let sb = root_superblock(gofer, root).map_err(|e| failed("the root", e))?;
    let ns = MountNamespace::new(sb, b"rootfs", MountFlags::empty());
    let fs = FsContext::new(ns.clone());
    for (target, sb, flags) in own_mounts(kernel, devpts) {
        let at = mount_point(&fs, target, true).map_err(|e| failed(&show(target), e))?;
        let fs_type = sb.fs_type().to_owned();
        ns.mount(&at, sb, fs_type.as_bytes(), flags)
            .map_err(|e| failed(&show(target), e))?;
        if target == b"/dev" {
            devfs::populate(&fs).map_err(|e| failed("the devices of /dev", e))?;
        }
    }
    for m in mounts {
        let what = show(&m.target);
        let (sb, is_dir) = match m.source {
            MountSource::Tmpfs(size) => (tmpfs_superblock(size), true),
            MountSource::Export(index) => {
                let inode = export(gofer, index).map_err(|e| failed(&what, e))?;
                let is_dir = inode.file_type() == vfs::FileType::Directory;
                (
                    SuperBlock::new(inode, "cofferdam", if m.read_only { "ro" } else { "rw" }),
                    is_dir,
                )
            }
        };
        let at = mount_point(&fs, &m.target, is_dir).map_err(|e| failed(&what, e))?;
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
        flags.set(MountFlags::READONLY, m.read_only);
        ns.mount(&at, sb, b"none", flags)
            .map_err(|e| failed(&what, e))?;
    }
    if root.read_only
        && let Some(m) = ns.mounts().first()
    {
        m.set_flags(m.flags() | MountFlags::READONLY);
    }
    Ok(ns)
}

fn export(gofer: Option<&Arc<Client>>, index: u32) -> Result<InodeRef, Errno> {
    let _ = (gofer, index);
    Err(Errno::ENODEV)
}

fn root_superblock(
    gofer: Option<&Arc<Client>>,
    root: RootConfig,
) -> Result<Arc<SuperBlock>, Errno> {
    Ok(match (root.export, root.overlay) {
        (None, _) => tmpfs_superblock(None),
        (Some(index), false) => SuperBlock::new(export(gofer, index)?, "cofferdam", "rw"),
        (Some(index), true) => SuperBlock::new(export(gofer, index)?, "overlay", "rw"),
    })
}

fn tmpfs_superblock(size: Option<u64>) -> Arc<SuperBlock> {
    Tmpfs::superblock(&TmpfsOptions {
        size: size.or(TmpfsOptions::default().size),
        ..TmpfsOptions::default()
    })
}

/// The kernel's own file systems.
fn own_mounts(
    kernel: &Arc<Kernel>,
    devpts: &Arc<Devpts>,
) -> Vec<(&'static [u8], Arc<SuperBlock>, MountFlags)> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    vec![
        (
            b"/proc",
            crate::procfs::superblock(kernel),
            plain | MountFlags::NOEXEC,
        ),
        (b"/dev", tmpfs_superblock(None), MountFlags::NOSUID),
        (
            b"/dev/pts",
            devpts.superblock(),
            MountFlags::NOSUID | MountFlags::NOEXEC,
        ),
        (b"/dev/shm", tmpfs_superblock(None), plain),
        (b"/tmp", tmpfs_superblock(None), plain),
    ]
}

/// The place at `path`, made if it is missing.
fn mount_point(fs: &FsContext, path: &[u8], dir: bool) -> Result<Path, Errno> {
    match vfs::resolve(&KernelCaller, fs, &At::Cwd, path, WalkFlags::FOLLOW) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let parts: Vec<&[u8]> = path
        .split(|b| *b == b'/')
        .filter(|p| !p.is_empty())
        .collect();
    let mut so_far = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        so_far.push(b'/');
        so_far.extend_from_slice(part);
        let last = i + 1 == parts.len();
        let made = if last && !dir {
            names::mknod(
                &KernelCaller,
                fs,
                &At::Cwd,
                &so_far,
                vfs::FileType::Regular,
                0o644,
                0,
            )
        } else {
            names::mkdir(&KernelCaller, fs, &At::Cwd, &so_far, 0o755)
        };
        match made {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
    }
    vfs::resolve(&KernelCaller, fs, &At::Cwd, path, WalkFlags::FOLLOW)
}
