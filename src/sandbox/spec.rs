//! What a sandbox is to be: plain data, checked by whoever fills it in.

use super::tree::Mounted;
use cofferdam_sentry::boot::{GuestConfig, ProcessConfig, UserConfig};
use cofferdam_sentry::kernel::Allowance;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// What the guest sees as `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The host's system directories as far as everybody may read them.
    System,
    /// A directory of the host.
    Directory(PathBuf),
}

/// Something at a place of its own in the guest's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A file or directory of the host.
    Bind {
        /// Absolute host path.
        source: PathBuf,
        /// Absolute guest path.
        target: PathBuf,
        /// Changes go to the host.
        writable: bool,
        /// Changes go to memory and vanish; not with `writable`.
        overlay: bool,
        /// Only what everybody may read.
        world_readable_only: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Absolute guest path.
        target: PathBuf,
        /// Limit in bytes.
        size: Option<u64>,
    },
}

/// Whom the program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// User, group, supplementary groups.
    Ids(u32, u32, Vec<u32>),
    /// A name in the guest's /etc/passwd and /etc/group.
    Name(String),
}

/// What a sandbox may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all its processes, files in memory included, in bytes.
    pub memory: Option<u64>,
    /// Most processes and threads.
    pub tasks: Option<u64>,
    /// How long it may run.
    pub time: Option<Duration>,
    /// How much CPU time it may use.
    pub cpu_time: Option<Duration>,
}

/// A sandbox with one program.
#[derive(Debug)]
pub struct Spec {
    /// What `/` is.
    pub root: Root,
    /// Writes to the root fail with EROFS instead of going to memory.
    pub read_only: bool,
    /// Further mounts, in this order.
    pub mounts: Vec<Mount>,
    /// Command and arguments; not empty.
    pub argv: Vec<OsString>,
    /// `NAME=VALUE` strings.
    pub env: Vec<OsString>,
    /// Working directory inside.
    pub cwd: PathBuf,
    /// `/` instead, if there is no such directory.
    pub cwd_may_miss: bool,
    /// Whom the program runs as.
    pub identity: Identity,
    /// Name of the machine, as uname(2) tells it.
    pub hostname: String,
    /// What it may use.
    pub limits: Limits,
    /// Name of the platform.
    pub platform: String,
    /// Where decoded system calls go.
    pub strace: Option<File>,
    /// Where the profile goes.
    pub profile: Option<crate::profile::Output>,
    /// Where log lines go, and up to which level.
    pub log: Option<(File, log::LevelFilter)>,
}

impl Spec {
    /// The sentry's part. `terminal`: rows and columns of the host terminal that the program's is behind.
    pub fn guest(&self, mounted: Mounted, terminal: Option<(u16, u16)>) -> GuestConfig {
        let user = match &self.identity {
            Identity::Ids(uid, gid, groups) => UserConfig::Ids {
                uid: *uid,
                gid: *gid,
                groups: groups.clone(),
            },
            Identity::Name(name) => UserConfig::Name(name.clone()),
        };
        let cwd = self.cwd.as_os_str().as_bytes().to_vec();
        let process = ProcessConfig {
            terminal,
            cwd_may_miss: self.cwd_may_miss,
            limits: file_size(),
            ..ProcessConfig::new(bytes(&self.argv), bytes(&self.env), cwd, user)
        };
        GuestConfig {
            hostname: self.hostname.clone().into_bytes(),
            machine_memory: nix::sys::sysinfo::sysinfo().ok().map(|s| s.ram_total()),
            allowance: Allowance {
                memory: self.limits.memory,
                tasks: self.limits.tasks,
                ..Allowance::default()
            },
            cpu_time: self.limits.cpu_time,
            ..GuestConfig::new(mounted.root, mounted.mounts, process)
        }
    }
}

/// The caller's limit on file sizes: the one that says what becomes of files outside.
fn file_size() -> Vec<(u32, u64, u64)> {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    let limit = getrlimit(Resource::RLIMIT_FSIZE);
    let limit = limit.ok().filter(|(soft, _)| *soft != RLIM_INFINITY);
    limit
        .into_iter()
        .map(|(soft, hard)| (libc::RLIMIT_FSIZE, soft, hard))
        .collect()
}

fn bytes(strings: &[OsString]) -> Vec<Vec<u8>> {
    strings.iter().map(|s| s.clone().into_vec()).collect()
}
