//! Device nodes of a container: those that every one has, and what else was asked for.

use super::config::DeviceConfig;
use super::files::mount_point;
use super::{BootError, reason, show};
use crate::abi::Errno;
use crate::fs::devfs;
use crate::fs::devices::makedev;
use crate::vfs::{self, At, FileType, FsContext, KernelCaller, MountNamespace, WalkFlags, names};

/// Makes a node unless something is there already, with the directories above it (`/dev/cpu/0/msr`). A device of ours is shown
/// at its place also where no node can be made (what the gofer serves), and hides a file that is there.
pub(super) fn make(
    ns: &MountNamespace,
    fs: &FsContext,
    device: &DeviceConfig,
) -> Result<(), BootError> {
    let kind = match device.kind {
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        _ => FileType::CharDevice,
    };
    let rdev = makedev(device.major, device.minor);
    let node = || {
        names::mknod(
            &KernelCaller,
            fs,
            &At::Cwd,
            &device.path,
            kind,
            device.mode & 0o7777,
            rdev,
        )
    };
    let made = match node() {
        Err(Errno::ENOENT) => make_parents(fs, &device.path).and_then(|()| node()),
        made => made,
    };
    match made {
        Ok(path) => {
            if device.uid != 0 || device.gid != 0 {
                let owner = crate::vfs::inode::SetAttr {
                    uid: Some(device.uid),
                    gid: Some(device.gid),
                    ..Default::default()
                };
                if let Err(e) = path.inode().set_attr(&KernelCaller, &owner) {
                    log::warn!("owner of {}: {}", show(&device.path), reason(e));
                }
            }
            Ok(())
        }
        Err(e) => {
            let shown = match own(device, kind) {
                Some(name) => show_own(ns, fs, device, &name),
                None if e == Errno::EEXIST => Ok(()),
                None => Err(e),
            };
            shown.map_err(|e| {
                BootError::Failed(format!(
                    "cannot make the device {}: {}",
                    show(&device.path),
                    reason(e)
                ))
            })
        }
    }
}

/// Our own node of this device.
fn own(device: &DeviceConfig, kind: FileType) -> Option<Vec<u8>> {
    let name = devfs::node(device.major, device.minor)?;
    (kind == FileType::CharDevice).then(|| [b"/dev/", name.as_bytes()].concat())
}

fn show_own(
    ns: &MountNamespace,
    fs: &FsContext,
    device: &DeviceConfig,
    node: &[u8],
) -> Result<(), Errno> {
    let at = mount_point(fs, &device.path, false)?;
    let there = at.inode().stat()?;
    if there.file_type == FileType::CharDevice && there.rdev == makedev(device.major, device.minor)
    {
        return Ok(());
    }
    let node = vfs::resolve(&KernelCaller, fs, &At::Cwd, node, WalkFlags::FOLLOW)?;
    ns.bind(&node, &at, false).map(drop)
}

fn make_parents(fs: &FsContext, path: &[u8]) -> Result<(), Errno> {
    let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
    for (end, _) in slashes {
        let Some(dir) = path.get(..end).filter(|d| !d.is_empty()) else {
            continue;
        };
        match names::mkdir(&KernelCaller, fs, &At::Cwd, dir, 0o755) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
