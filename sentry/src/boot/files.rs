//! The guest's file tree at start.

use super::{BootError, GuestConfig, MountConfig, MountSource, RootConfig, devices, reason, show};
use crate::abi::Errno;
use crate::fs::devfs;
use crate::fs::gofer::{CachePolicy, GoferFs};
use crate::fs::overlay::Overlay;
use crate::fs::sysfs;
use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::fs::tty::Devpts;
use crate::kernel::Kernel;
use crate::kernel::ipc::MqDir;
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
    pub(super) fn mount_all(&self, guest: &GuestConfig) -> Result<Arc<MountNamespace>, BootError> {
        crate::procfs::prepare();
        devfs::register_drivers();
        let failed =
            |what: &str, e: Errno| BootError::Failed(format!("cannot mount {what}: {}", reason(e)));
        let sb = self.root(guest.root).map_err(|e| failed("the root", e))?;
        let fs_type = sb.fs_type().to_owned();
        let flags = MountFlags::empty().or_relatime();
        let ns = MountNamespace::new(sb, fs_type.as_bytes(), flags);
        let fs = FsContext::new(ns.clone());
        if guest.kernel_mounts {
            self.mount_own(&ns, &fs)?;
        }
        for m in &guest.mounts {
            let what = show(&m.target);
            self.mount(&ns, &fs, m).map_err(|e| failed(&what, e))?;
        }
        if !guest.kernel_mounts {
            devfs::populate(&fs).map_err(|e| failed("the devices of /dev", e))?;
        }
        for device in &guest.devices {
            devices::make(&ns, &fs, device)?;
        }
        for path in &guest.read_only_paths {
            read_only(&ns, &fs, path).map_err(|e| failed(&show(path), e))?;
        }
        for path in &guest.masked {
            mask(&ns, &fs, path).map_err(|e| failed(&show(path), e))?;
        }
        if guest.root.read_only
            && let Some(m) = ns.mounts().first()
        {
            // Nothing is locked yet.
            let _ = m.set_flags(m.flags() | MountFlags::READONLY);
        }
        Ok(ns)
    }

    fn mount_own(&self, ns: &Arc<MountNamespace>, fs: &FsContext) -> Result<(), BootError> {
        for (target, sb, flags) in self.own_mounts() {
            let failed = |e: Errno| {
                BootError::Failed(format!("cannot mount {}: {}", show(target), reason(e)))
            };
            let at = mount_point(fs, target, true).map_err(failed)?;
            let fs_type = sb.fs_type().to_owned();
            ns.mount(&at, sb, fs_type.as_bytes(), flags.or_relatime())
                .map_err(failed)?;
            if target == b"/dev" {
                devfs::populate(fs).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn mount(
        &self,
        ns: &Arc<MountNamespace>,
        fs: &FsContext,
        m: &MountConfig,
    ) -> Result<(), Errno> {
        let sb = match &m.source {
            MountSource::Tmpfs(options) => {
                Tmpfs::superblock(&TmpfsOptions::parse(options.as_bytes())?)
            }
            MountSource::TmpfsCopy(options) => {
                let options = TmpfsOptions::parse(options.as_bytes())?;
                let at = mount_point(fs, &m.target, true)?;
                Overlay::superblock(at.inode().clone(), options.size)?
            }
            MountSource::Export(index) => self.served(*index, m.overlay)?,
            MountSource::Proc => crate::procfs::superblock(self.kernel),
            MountSource::Sysfs => sysfs::superblock(&KernelMachine::of(self.kernel)),
            MountSource::Cgroup => sysfs::cgroup_superblock(&KernelMachine::of(self.kernel)),
            MountSource::Devpts => self.devpts.superblock(),
            MountSource::Mqueue => {
                let root = MqDir::root(&self.kernel.namespaces.ipc, (0, 0));
                SuperBlock::new(root, "mqueue", "")
            }
        };
        let at = mount_point(fs, &m.target, sb.root().is_dir())?;
        let fs_type = sb.fs_type().to_owned();
        let name = m.name.as_deref().unwrap_or(fs_type.as_bytes());
        ns.mount(&at, sb, name, m.flags.or_relatime()).map(drop)
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

/// Makes what is at `path` a read-only mount. Missing paths are skipped.
fn read_only(ns: &Arc<MountNamespace>, fs: &FsContext, path: &[u8]) -> Result<(), Errno> {
    let at = match vfs::resolve(&KernelCaller, fs, &At::Cwd, path, WalkFlags::FOLLOW) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        other => other?,
    };
    let m = ns.bind(&at, &at, true)?;
    // Nothing is locked yet.
    let _ = m.set_flags(m.flags() | MountFlags::READONLY);
    Ok(())
}

/// Hides what is at `path` behind an empty, read-only file or directory. Missing paths are skipped.
fn mask(ns: &Arc<MountNamespace>, fs: &FsContext, path: &[u8]) -> Result<(), Errno> {
    let at = match vfs::resolve(&KernelCaller, fs, &At::Cwd, path, WalkFlags::FOLLOW) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        other => other?,
    };
    if at.inode().file_type() == FileType::Directory {
        ns.mount(
            &at,
            tmpfs_superblock(None, 0o755),
            b"tmpfs",
            MountFlags::READONLY.or_relatime(),
        )?;
        return Ok(());
    }
    let null = vfs::resolve(&KernelCaller, fs, &At::Cwd, b"/dev/null", WalkFlags::FOLLOW)?;
    ns.bind(&null, &at, false).map(drop)
}

/// The place at `path`, made if it is missing.
pub(super) fn mount_point(fs: &FsContext, path: &[u8], dir: bool) -> Result<Path, Errno> {
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
