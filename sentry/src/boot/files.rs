//! The guest's file tree at start.

use super::{BootError, MountConfig, MountSource, RootConfig, reason, show};
use crate::abi::Errno;
use crate::fs::devfs;
use crate::fs::gofer::{CachePolicy, GoferFs};
use crate::fs::overlay::Overlay;
use crate::fs::sysfs;
use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::fs::tty::Devpts;
use crate::kernel::Kernel;
use crate::kernel::machine::KernelMachine;
use crate::vfs::{
    self, At, FileType, FsContext, Inode, KernelCaller, MountFlags, MountNamespace, Path,
    SuperBlock, WalkFlags, names,
};
use cofferdam_gofer::client::Client;
use std::sync::Arc;

/// Where mounts come from.
pub(super) struct Sources<'a> {
    pub kernel: &'a Arc<Kernel>,
    pub gofer: Option<&'a Arc<Client>>,
    pub devpts: &'a Arc<Devpts>,
}

/// One of the kernel's own mounts: place, file system, flags.
type OwnMount = (&'static [u8], Arc<SuperBlock>, MountFlags);

impl Sources<'_> {
    /// Makes the mount namespace: the root, the kernel's own file systems, then what the caller asked for.
    pub(super) fn mount_all(
        &self,
        root: RootConfig,
        mounts: &[MountConfig],
    ) -> Result<Arc<MountNamespace>, BootError> {
        crate::procfs::prepare();
        devfs::register_drivers();
        let failed =
            |what: &str, e: Errno| BootError::Failed(format!("cannot mount {what}: {}", reason(e)));
        let sb = self.root(root).map_err(|e| failed("the root", e))?;
        let fs_type = sb.fs_type().to_owned();
        let ns = MountNamespace::new(sb, fs_type.as_bytes(), MountFlags::empty());
        let fs = FsContext::new(ns.clone());
        for (target, sb, flags) in self.own_mounts() {
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
            let sb = match m.source {
                MountSource::Tmpfs(size) => tmpfs_superblock(size, 0o1777),
                MountSource::Export(index) => self
                    .served(index, m.overlay)
                    .map_err(|e| failed(&what, e))?,
            };
            let is_dir = sb.root().is_dir();
            let at = mount_point(&fs, &m.target, is_dir).map_err(|e| failed(&what, e))?;
            let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
            flags.set(MountFlags::READONLY, m.read_only);
            let fs_type = sb.fs_type().to_owned();
            ns.mount(&at, sb, fs_type.as_bytes(), flags)
                .map_err(|e| failed(&what, e))?;
        }
        if root.read_only
            && let Some(m) = ns.mounts().first()
        {
            m.set_flags(m.flags() | MountFlags::READONLY);
        }
        Ok(ns)
    }

    /// What the gofer serves, as it is or under a layer in memory that takes writes.
    fn served(&self, index: u32, overlay: bool) -> Result<Arc<SuperBlock>, Errno> {
        let client = self.gofer.ok_or(Errno::ENODEV)?;
        if !overlay {
            return GoferFs::superblock(client, index, CachePolicy::Shared);
        }
        let lower = GoferFs::root(client, index, CachePolicy::Immutable)?;
        if lower.file_type() != FileType::Directory {
            return GoferFs::superblock(client, index, CachePolicy::Immutable);
        }
        Overlay::superblock(lower, None)
    }

    fn root(&self, root: RootConfig) -> Result<Arc<SuperBlock>, Errno> {
        match (root.export, root.overlay) {
            (None, _) => Ok(tmpfs_superblock(None, 0o755)),
            (Some(index), overlay) => self.served(index, overlay),
        }
    }

    /// The kernel's own file systems.
    fn own_mounts(&self) -> Vec<OwnMount> {
        let plain = MountFlags::NOSUID | MountFlags::NODEV;
        let fixed = plain | MountFlags::NOEXEC | MountFlags::READONLY;
        let machine = KernelMachine::of(self.kernel);
        vec![
            (
                b"/proc",
                crate::procfs::superblock(self.kernel),
                plain | MountFlags::NOEXEC,
            ),
            (b"/sys", sysfs::superblock(&machine), fixed),
            (b"/sys/fs/cgroup", sysfs::cgroup_superblock(&machine), fixed),
            (b"/dev", tmpfs_superblock(None, 0o755), MountFlags::NOSUID),
            (
                b"/dev/pts",
                self.devpts.superblock(),
                MountFlags::NOSUID | MountFlags::NOEXEC,
            ),
            (b"/dev/shm", tmpfs_superblock(None, 0o1777), plain),
            (b"/tmp", tmpfs_superblock(None, 0o1777), plain),
        ]
    }
}

fn tmpfs_superblock(size: Option<u64>, mode: u32) -> Arc<SuperBlock> {
    Tmpfs::superblock(&TmpfsOptions {
        size: size.or(TmpfsOptions::default().size),
        mode,
        ..TmpfsOptions::default()
    })
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
