//! Device nodes of a container: those that every one has, and what else was asked for.

use super::config::DeviceConfig;
use super::{BootError, reason, show};
use crate::abi::Errno;
use crate::fs::devices::makedev;
use crate::vfs::{At, FileType, FsContext, KernelCaller, names};

/// Makes a node unless something is there already.
pub(super) fn make(fs: &FsContext, device: &DeviceConfig) -> Result<(), BootError> {
    let kind = match device.kind {
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        _ => FileType::CharDevice,
    };
    let rdev = makedev(device.major, device.minor);
    let made = names::mknod(
        &KernelCaller,
        fs,
        &At::Cwd,
        &device.path,
        kind,
        device.mode & 0o7777,
        rdev,
    );
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
