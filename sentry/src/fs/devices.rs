//! Device numbers and who serves them: what opening a character or block device node leads to.
//!
//! Drivers are registered at boot by `devfs`; file systems with device nodes call [`open`] from [`Inode::open`](crate::vfs::Inode::open).

use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::vfs::{Caller, FileOps, FileType, InodeRef, OpenFlags};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Serves a range of device numbers.
pub trait DeviceDriver: Send + Sync {
    /// Opens the device `minor`. `inode` is the node that was opened.
    ///
    /// # Errors
    /// ENXIO if there is no such device.
    fn open(
        &self,
        cx: &dyn Caller,
        inode: &InodeRef,
        minor: u32,
        flags: OpenFlags,
    ) -> Result<Box<dyn FileOps>>;
}

struct Entry {
    kind: FileType,
    major: u32,
    minors: RangeInclusive<u32>,
    driver: Arc<dyn DeviceDriver>,
}

static DRIVERS: Mutex<Vec<Entry>> = Mutex::new(Rank::LEAF, Vec::new());

/// Number of a device in `st_rdev` form (`gnu_dev_makedev`).
pub fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    ((major & 0xffff_f000) << 32)
        | ((major & 0xfff) << 8)
        | ((minor & 0xffff_ff00) << 12)
        | (minor & 0xff)
}

/// Major number of a device.
pub fn major(dev: u64) -> u32 {
    (((dev >> 32) & 0xffff_f000) | ((dev >> 8) & 0xfff)) as u32
}

/// Minor number of a device.
pub fn minor(dev: u64) -> u32 {
    (((dev >> 12) & 0xffff_ff00) | (dev & 0xff)) as u32
}

/// Registers a driver; a later registration wins over an earlier one.
pub fn register(
    kind: FileType,
    major: u32,
    minors: RangeInclusive<u32>,
    driver: Arc<dyn DeviceDriver>,
) {
    DRIVERS.lock().push(Entry {
        kind,
        major,
        minors,
        driver,
    });
}

/// Opens the device behind a node of number `rdev`.
///
/// # Errors
/// ENXIO if nothing serves it.
pub fn open(
    cx: &dyn Caller,
    inode: &InodeRef,
    rdev: u64,
    flags: OpenFlags,
) -> Result<Box<dyn FileOps>> {
    let kind = inode.file_type();
    let (major, minor) = (major(rdev), minor(rdev));
    let driver = DRIVERS
        .lock()
        .iter()
        .rev()
        .find(|e| e.kind == kind && e.major == major && e.minors.contains(&minor))
        .map(|e| e.driver.clone());
    driver.ok_or(Errno::ENXIO)?.open(cx, inode, minor, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_those_of_libc() {
        for (ma, mi) in [
            (1, 3),
            (5, 2),
            (136, 1000),
            (4095, 0xf_ffff),
            (0x12345, 0x54321),
        ] {
            assert_eq!(makedev(ma, mi), libc::makedev(ma, mi));
            assert_eq!((major(makedev(ma, mi)), minor(makedev(ma, mi))), (ma, mi));
        }
    }
}
