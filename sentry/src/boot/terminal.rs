//! Terminals at start: devpts, and the guest terminal behind the host's.

use super::{BootError, reason};
use crate::fs::host::HostPoller;
use crate::fs::tty::{Devpts, DevptsOptions, HostBridge, register_drivers};
use crate::kernel::jobs::KernelJobs;
use crate::kernel::{Kernel, Task};
use crate::vfs::{self, At, File, FileType, FsContext, KernelCaller, OpenFlags, OpenHow, names};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The sandbox's devpts; device numbers of terminals lead to it from now on.
pub(super) fn devpts(kernel: &Arc<Kernel>) -> Arc<Devpts> {
    let devpts = Devpts::new(
        KernelJobs::new(kernel),
        kernel.timers.clone(),
        DevptsOptions::default(),
    );
    register_drivers(&devpts);
    devpts
}

/// Gives the guest a terminal behind the host's: the bridge, and the open slave for the standard streams. `uid` will own it.
pub(super) fn connect(
    host: OwnedFd,
    size: (u16, u16),
    devpts: &Arc<Devpts>,
    poller: &Arc<HostPoller>,
    fs: &FsContext,
    uid: u32,
) -> Result<(Arc<HostBridge>, Arc<File>), BootError> {
    let failed = |e: &dyn std::fmt::Display| {
        BootError::Failed(format!("cannot connect the sandbox to the terminal: {e}"))
    };
    let bridge = HostBridge::new(host, devpts, poller).map_err(|e| failed(&e))?;
    bridge.set_winsize([size.0, size.1, 0, 0]);
    bridge.pty().set_owner(uid);
    devpts.set_console(bridge.pty());
    let rdev = crate::fs::devices::makedev(5, 1);
    // Missing only if the caller mounted something else at /dev.
    if let Err(e) = names::mknod(
        &KernelCaller,
        fs,
        &At::Cwd,
        b"/dev/console",
        FileType::CharDevice,
        0o600,
        rdev,
    ) {
        log::info!("no /dev/console: {e}");
    }
    let path = bridge.path();
    let how = OpenHow::new(OpenFlags::RDWR | OpenFlags::NOCTTY);
    let file = vfs::open(&KernelCaller, fs, &At::Cwd, path.as_bytes(), &how)
        .map_err(|e| failed(&reason(e)))?;
    Ok((bridge, file))
}

/// Makes it the controlling terminal of a session leader that has not run yet.
pub(super) fn control(bridge: &HostBridge, task: &Arc<Task>) {
    let group = task.group();
    bridge.pty().give_to_session(group.sid(), group.pgid());
    *group.tty.lock() = Some(bridge.pty().clone());
}
