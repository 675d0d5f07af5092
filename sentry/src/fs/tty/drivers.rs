//! The device numbers of terminals: /dev/tty, /dev/console, /dev/ptmx and the slaves, whatever file system their node is in.

use super::devpts::Devpts;
use super::master::Master;
use super::slave::{Slave, open_controlling};
use crate::abi::{Errno, Result};
use crate::fs::devices::{DeviceDriver, register};
use crate::vfs::{Caller, FileOps, FileType, InodeRef, OpenFlags};
use std::sync::Arc;

/// First major number of Unix98 slaves, 256 minors each.
pub(super) const SLAVE_MAJOR: u32 = 136;
const LAST_SLAVE_MAJOR: u32 = 143;

/// Major 5: tty, console, ptmx.
struct Auxiliary(Arc<Devpts>);

impl DeviceDriver for Auxiliary {
    fn open(
        &self,
        cx: &dyn Caller,
        _inode: &InodeRef,
        minor: u32,
        flags: OpenFlags,
    ) -> Result<Box<dyn FileOps>> {
        match minor {
            0 => open_controlling(cx, flags),
            1 => {
                let console = self.0.console().ok_or(Errno::ENODEV)?;
                // Opening the console never makes it the controlling terminal.
                let flags = flags | OpenFlags::NOCTTY;
                Ok(Box::new(Slave::open(&console, cx, flags)?))
            }
            2 => Ok(Box::new(Master::open(&self.0, cx)?)),
            _ => Err(Errno::ENXIO),
        }
    }
}

/// Majors 136 to 143: slaves by number.
struct Slaves {
    devpts: Arc<Devpts>,
    first: u32,
}

impl DeviceDriver for Slaves {
    fn open(
        &self,
        cx: &dyn Caller,
        _inode: &InodeRef,
        minor: u32,
        flags: OpenFlags,
    ) -> Result<Box<dyn FileOps>> {
        let pty = self.devpts.get(self.first + minor).ok_or(Errno::EIO)?;
        Ok(Box::new(Slave::open(&pty, cx, flags)?))
    }
}

/// Registers terminals of this instance for device nodes anywhere.
pub fn register_drivers(devpts: &Arc<Devpts>) {
    let kind = FileType::CharDevice;
    register(kind, 5, 0..=2, Arc::new(Auxiliary(devpts.clone())));
    for major in SLAVE_MAJOR..=LAST_SLAVE_MAJOR {
        let driver = Slaves {
            devpts: devpts.clone(),
            first: (major - SLAVE_MAJOR) * 256,
        };
        register(kind, major, 0..=255, Arc::new(driver));
    }
}
