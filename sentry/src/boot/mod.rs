//! Puts a kernel together and runs it until init has exited.
//!
//! Order: helper threads (timers, host descriptors), file systems, the first process, lock-down, monitor's messages, work.

pub mod config;
pub mod control;
mod files;
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
    let namespace = files::mount_all(&kernel, config.gofer.as_ref(), config.root, &config.mounts)?;
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
    install_stdio(&fds, config.stdio, &poller)?;
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
    if let Some(socket) = config.control {
        control::listen(socket, &kernel)
            .map_err(|e| failed("cannot start the control thread", &e))?;
    }
    (config.lock_down)().map_err(BootError::Failed)?;
    kernel.start(task);
    kernel
        .work()
        .map_err(|e| failed("the platform failed", &e))?;
    Ok(kernel
        .init_status()
        .unwrap_or(ExitStatus::Signaled(libc::SIGKILL, false)))
}

fn install_stdio(fds: &FdTable, stdio: Stdio, poller: &Arc<HostPoller>) -> Result<(), BootError> {
    let put = |file: Arc<vfs::File>| {
        fds.install(file, false, 0, MAX_FDS as u64)
            .map_err(|e| BootError::Failed(format!("cannot install the standard streams: {e}")))
    };
    match stdio {
        Stdio::Host(streams) => {
            for fd in streams {
                put(host_file(fd, poller)?)?;
            }
            Ok(())
        }
        Stdio::Terminal { .. } => Err(BootError::Failed("terminals are not connected yet".into())),
    }
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
