//! Device nodes of a container: those that every one has, and what else was asked for.

use super::config::DeviceConfig;
use super::{BootError, reason, show};
use crate::abi::Errno;
use crate::fs::devices::makedev;
use crate::vfs::{At, FileType, FsContext, KernelCaller, names};

/// Makes a node unless something is there already, with the directories above it (`/dev/cpu/0/msr`).
pub(super) fn make(fs: &FsContext, device: &DeviceConfig) -> Result<(), BootError> {
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
        Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(BootError::Failed(format!(
            "cannot make the device {}: {}",
            show(&device.path),
            reason(e)
        ))),
    }
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
