//! Puts a kernel together and runs it until init has exited.
//!
//! Order: helper threads (timers, host descriptors), file systems, the first process, lock-down, monitor's messages, work.

pub mod config;
pub mod control;
mod files;
mod terminal;
mod user;

pub use config::{BootConfig, BootError, MountConfig, MountSource, RootConfig, Stdio, UserConfig};

use crate::abi::Errno;
use crate::fs::host::{HostFile, HostPoller};
use crate::kernel::task::spawn::{SpawnRequest, spawn};
use crate::kernel::{ExitStatus, FdTable, Kernel, MAX_FDS};
use crate::vfs::{self, At, FsContext, KernelCaller, WalkFlags};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Boots the sandbox and returns how its first process ended.
///
/// # Errors
/// Nothing ran; the sentence says why.
pub fn run(config: BootConfig) -> Result<ExitStatus, BootError> {
    let failed = |what: &str, e: &dyn std::fmt::Display| BootError::Failed(format!("{what}: {e}"));
    let kernel = Kernel::new(config.platform, &config.hostname, config.tracer)
        .map_err(|e| failed("cannot start the sentry's helper threads", &e))?;
    let poller = HostPoller::start().map_err(|e| failed("cannot watch host descriptors", &e))?;
    let devpts = terminal::devpts(&kernel);
    let sources = files::Sources {
        kernel: &kernel,
        gofer: config.gofer.as_ref(),
        devpts: &devpts,
    };
    let namespace = sources.mount_all(config.root, &config.mounts)?;
    let fs = Arc::new(FsContext::new(namespace));
    let account = user::find(&config.user, &fs)?;
    let creds =
        crate::auth::Credentials::new(account.uid, account.gid, &account.groups, config.caps);
    let mut envp = config.envp;
    if let Some(home) = account.home
        && !envp.iter().any(|e| e.starts_with(b"HOME="))
    {
        envp.push([b"HOME=".as_slice(), &home].concat());
    }
    let as_user = user::AsUser {
        creds: Arc::new(creds.clone()),
    };
    let cwd = vfs::resolve(
        &as_user,
        &fs,
        &At::Cwd,
        &config.cwd,
        WalkFlags::FOLLOW | WalkFlags::DIRECTORY,
    )
    .map_err(|e| {
        failed(
            &format!("working directory {} in the sandbox", show(&config.cwd)),
            &reason(e),
        )
    })?;
    fs.set_cwd(cwd);
    let fds = Arc::new(FdTable::default());
    let bridge = match config.stdio {
        Stdio::Host(streams) => {
            for fd in streams {
                install(&fds, host_file(fd, &poller)?)?;
            }
            None
        }
        Stdio::Terminal { host, size } => {
            let (bridge, file) = terminal::connect(host, size, &devpts, &poller, &fs, account.uid)?;
            for _ in 0..3 {
                install(&fds, file.clone())?;
            }
            Some(bridge)
        }
    };
    let (file, path) = user::find_program(&as_user, &fs, &config.argv, &envp)?;
    let task = spawn(
        &kernel,
        SpawnRequest {
            file,
            path: path.clone(),
            argv: config.argv,
            envp,
            creds,
            fs,
            fds,
            limits: config.limits,
            caller: &KernelCaller,
            is_init: config.is_init,
        },
    )
    .map_err(|e| {
        BootError::NotExecutable(format!("cannot execute {}: {}", show(&path), reason(e)))
    })?;
    if let Some(bridge) = &bridge {
        terminal::control(bridge, &task);
    }
    if let Some(socket) = config.control {
        control::listen(socket, &kernel, bridge.clone())
            .map_err(|e| failed("cannot start the control thread", &e))?;
    }
    (config.lock_down)().map_err(BootError::Failed)?;
    kernel.start(task);
    kernel
        .work()
        .map_err(|e| failed("the platform failed", &e))?;
    if let Some(bridge) = bridge {
        bridge.drain(std::time::Duration::from_secs(2));
    }
    Ok(kernel
        .init_status()
        .unwrap_or(ExitStatus::Signaled(libc::SIGKILL, false)))
}

/// Puts a standard stream at the next descriptor.
fn install(fds: &FdTable, file: Arc<vfs::File>) -> Result<(), BootError> {
    fds.install(file, false, 0, MAX_FDS as u64)
        .map(drop)
        .map_err(|e| BootError::Failed(format!("cannot install the standard streams: {e}")))
}

/// An open file over a host descriptor.
fn host_file(fd: OwnedFd, poller: &Arc<HostPoller>) -> Result<Arc<vfs::File>, BootError> {
    HostFile::open(fd, poller)
        .map_err(|e| BootError::Failed(format!("cannot use a standard stream: {e}")))
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
