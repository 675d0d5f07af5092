//! Puts a kernel together and runs it until init has exited.
//!
//! Order: helper threads (timers, host descriptors), file systems, the first process ([`process`]), lock-down, monitor's messages, work.

pub mod config;
pub mod control;
mod devices;
pub mod fds;
mod files;
mod process;
mod terminal;
mod user;

pub use config::{
    BootConfig, BootError, CapsConfig, DeviceConfig, GuestConfig, MountConfig, MountSource,
    ProcessConfig, RootConfig, SchedulerConfig, SeccompConfig, UserConfig,
};
pub use process::Boot;

use crate::abi::Errno;
use crate::fs::host::HostPoller;
use crate::kernel::{ExitStatus, Kernel};
use crate::sync::{aside, aside_locked};
use crate::vfs::FsContext;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use std::sync::Arc;

/// Boots the sandbox and returns how its first process ended.
///
/// # Errors
/// Nothing ran; the sentence says why.
pub fn run(config: BootConfig) -> Result<ExitStatus, BootError> {
    let failed = |what: &str, e: &dyn std::fmt::Display| BootError::Failed(format!("{what}: {e}"));
    let guest = config.guest;
    if let Some(gofer) = &config.gofer {
        gofer.wait_by(Box::new(|wait| aside(wait)));
        crate::vfs::host::set_gofer(gofer.clone());
        let limit = getrlimit(Resource::RLIMIT_NOFILE);
        crate::mm::set_descriptors(limit.map_or(0, |(soft, _)| soft));
    }
    let kernel = Kernel::new(config.platform, &guest.hostname, config.tracer).map_err(|e| {
        let hint = if e.kind() == std::io::ErrorKind::WouldBlock {
            "; raise RLIMIT_NPROC (ulimit -u)"
        } else {
            ""
        };
        failed(
            "cannot start the sentry's helper threads",
            &format!("{e}{hint}"),
        )
    })?;
    // Whatever is locked: who wants that waits aside, too.
    kernel.platform.wait_by(Box::new(|wait| aside_locked(wait)));
    remember_vdso(&*kernel.platform);
    if let Some(name) = &guest.domainname {
        kernel
            .namespaces
            .uts
            .names()
            .lock()
            .domainname
            .clone_from(name);
    }
    if let Some(bytes) = guest.machine_memory {
        kernel.set_machine_memory(bytes);
    }
    kernel.allow(guest.allowance);
    crate::net::set_timers(&kernel.timers);
    if let Some(file) = config.memory_events {
        kernel.set_memory_events(file);
    }
    if let Some(port) = guest.unprivileged_ports {
        crate::net::inet::set_unprivileged_ports(port);
    }
    if let Some(maps) = &guest.id_maps {
        // It is new: nothing is set.
        let _ = kernel.id_maps.set(maps.clone());
    }
    let poller = HostPoller::start().map_err(|e| failed("cannot watch host descriptors", &e))?;
    let devpts = terminal::devpts(&kernel);
    let sources = files::Sources {
        kernel: &kernel,
        gofer: config.gofer.as_ref(),
        devpts: &devpts,
    };
    let namespace = sources.mount_all(&guest)?;
    let boot = Arc::new(Boot {
        kernel: kernel.clone(),
        poller,
        devpts,
        fs: FsContext::new(namespace),
        events: config.events,
        started: Boot::no_processes(),
    });
    let (task, bridge) = boot.process_from(&guest.process, config.streams, Some(guest.is_init))?;
    boot.watch(0, task.tid(), bridge.clone());
    let (now, later) = if guest.wait_for_start {
        (None, Some(task))
    } else {
        (Some(task), None)
    };
    if let Some(socket) = config.control {
        control::Listener {
            socket,
            boot,
            init: later,
        }
        .start()
        .map_err(|e| failed("cannot start the control thread", &e))?;
    }
    (config.lock_down)().map_err(BootError::Failed)?;
    kernel.watch_load();
    if let Some(limit) = guest.cpu_time {
        kernel.limit_cpu(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    }
    if let Some(task) = now {
        kernel.start(task);
    }
    kernel
        .work()
        .map_err(|e| failed("the platform failed", &e))?;
    if let Some(bridge) = bridge {
        bridge.drain(std::time::Duration::from_secs(2));
    }
    if let (true, Some(limit)) = (kernel.overran(), guest.cpu_time) {
        return Err(BootError::Overrun(limit));
    }
    Ok(kernel
        .init_status()
        .unwrap_or(ExitStatus::Signaled(libc::SIGKILL, false)))
}

/// Bytes of the guest's for a message.
fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An error in words.
fn reason(e: Errno) -> String {
    std::io::Error::from_raw_os_error(e.raw())
        .to_string()
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

/// Guests have the host's vDSO, as this process has; debuggers inside want to read it.
fn remember_vdso(platform: &dyn cofferdam_platform::Platform) {
    let Some((start, len)) = platform.vdso().map(|v| v.vdso) else {
        return;
    };
    let own = crate::loader::auxv::own_vdso();
    let (Ok(base), Ok(len)) = (usize::try_from(own), usize::try_from(len)) else {
        return;
    };
    let mut bytes = vec![0; len.min(64 << 10)];
    let len = bytes.len();
    let here = [RemoteIoVec { base, len }];
    let local = &mut [std::io::IoSliceMut::new(&mut bytes)];
    match process_vm_readv(nix::unistd::Pid::this(), local, &here) {
        Ok(n) if own != 0 && n == len => crate::mm::set_vdso(start, bytes),
        other => log::debug!("the vDSO cannot be shown: {other:?}"),
    }
}
