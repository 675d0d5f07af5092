//! What a sandbox is to be: given to [`super::run`] by the launcher.

use crate::auth::Caps;
use crate::kernel::{Limits, SyscallTracer};
use cofferdam_gofer::client::Client;
use cofferdam_platform::Platform;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One sandbox, ready to be booted. Made by the launcher before the sentry's process is locked down.
pub struct BootConfig {
    /// How guest code runs; launched on the thread that calls [`super::run`].
    pub platform: Arc<dyn Platform>,
    /// Connection to the gofer, if anything is served by one.
    pub gofer: Option<Arc<Client>>,
    /// What `/` is.
    pub root: RootConfig,
    /// Mounted in order, after `/proc`, `/dev`, `/dev/pts`, `/dev/shm`, `/tmp` and `/sys`. Missing mount points
    /// are made where the root can be written.
    pub mounts: Vec<MountConfig>,
    /// The program and its arguments; a name without '/' is looked up in PATH of `envp`.
    pub argv: Vec<Vec<u8>>,
    /// `K=V` strings.
    pub envp: Vec<Vec<u8>>,
    /// The program is a real init (a container's entry point under an engine): it waits for orphans itself and is
    /// protected from signals it does not handle. False for `cofferdam do`, where it is an ordinary program.
    pub is_init: bool,
    /// Working directory in the guest.
    pub cwd: Vec<u8>,
    /// Who the program runs as.
    pub user: UserConfig,
    /// Capability bounding set; root starts with all of it.
    pub caps: Caps,
    /// uname's nodename.
    pub hostname: Vec<u8>,
    /// Standard input, output and error.
    pub stdio: Stdio,
    /// Sees every system call (`--strace`).
    pub tracer: Option<Box<dyn SyscallTracer>>,
    /// Resource limits of the first process.
    pub limits: Limits,
    /// Messages from the monitor ([`super::control`]); its end of file ends the sandbox.
    pub control: Option<OwnedFd>,
    /// Called once when everything that needs the host is done, before any guest code runs: empties namespaces,
    /// drops what is left of rights and installs the system call filter. Helper threads are running by then.
    pub lock_down: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

/// What `/` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootConfig {
    /// Export that the gofer serves, by index; `None`: an empty tmpfs.
    pub export: Option<u32>,
    /// Put an in-memory layer over it that takes writes; otherwise writes go to the export (if it lets them).
    pub overlay: bool,
    /// Refuse writes with EROFS (`--read-only`); `/tmp`, `/dev/shm` and the like stay writable.
    pub read_only: bool,
}

/// One mount.
#[derive(Clone, Debug)]
pub struct MountConfig {
    /// Absolute path in the guest.
    pub target: Vec<u8>,
    /// What is there.
    pub source: MountSource,
    /// Refuse writes with EROFS.
    pub read_only: bool,
    /// Put an in-memory layer over a directory that is served, so that writes succeed and vanish. Not with `read_only`.
    pub overlay: bool,
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum MountSource {
    /// An export that the gofer serves (a directory or a single file), by index.
    Export(u32),
    /// An empty tmpfs; size limit in bytes.
    Tmpfs(Option<u64>),
}

/// Who the program runs as.
#[derive(Clone, Debug)]
pub enum UserConfig {
    /// By number.
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
    /// A name of the guest's /etc/passwd (and its groups of /etc/group).
    Name(String),
}

/// Standard streams of the first process.
pub enum Stdio {
    /// Host descriptors as they are.
    Host([OwnedFd; 3]),
    /// The guest gets a terminal of its own, pumped to and from this host terminal (in raw mode).
    Terminal {
        /// The host terminal, open for reading and writing.
        host: OwnedFd,
        /// Rows and columns at the start.
        size: (u16, u16),
    },
}

/// Why a sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The program does not exist (exit status 127).
    #[error("{0}")]
    NotFound(String),
    /// The program exists but cannot be executed (exit status 126).
    #[error("{0}")]
    NotExecutable(String),
    /// Anything else (exit status 125).
    #[error("{0}")]
    Failed(String),
}
