//! What a sandbox is to be: given to [`super::run`] by the launcher.

use super::control::EventSink;
use crate::kernel::{Allowance, IdMaps, SyscallTracer};
use crate::vfs::MountFlags;
use cofferdam_gofer::client::Client;
use cofferdam_platform::Platform;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One sandbox, ready to be booted. Made by the launcher before the sentry's process is locked down.
pub struct BootConfig {
    /// How guest code runs; launched on the thread that calls [`super::run`].
    pub platform: Arc<dyn Platform>,
    /// Connection to the gofer, if anything is served by one.
    pub gofer: Option<Arc<Client>>,
    /// What the guest finds.
    pub guest: GuestConfig,
    /// Streams of the first process: either the host terminal or standard input, output and error; then any others.
    pub streams: Vec<OwnedFd>,
    /// Sees every system call (`--strace`).
    pub tracer: Option<Box<dyn SyscallTracer>>,
    /// The host's count of processes killed for want of memory: `memory.events` of the sandbox's control group, or
    /// version 1's `memory.oom_control`.
    pub memory_events: Option<File>,
    /// Messages from the monitor ([`super::control`]); its end of file ends the sandbox.
    pub control: Option<OwnedFd>,
    /// Told of what happens to processes other than init.
    pub events: EventSink,
    /// Called once when everything that needs the host is done, before any guest code runs: empties namespaces,
    /// drops what is left of rights and installs the system call filter. Helper threads are running by then.
    pub lock_down: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

/// What the guest finds: plain data.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    /// What `/` is.
    pub root: RootConfig,
    /// Mount `/proc`, `/dev`, `/dev/pts`, `/dev/shm`, `/tmp` and `/sys` before `mounts`. Otherwise `mounts` says it all, and
    /// the usual nodes and links are made in whatever is at `/dev` then.
    pub kernel_mounts: bool,
    /// Mounted in order. Missing mount points are made where the root can be written.
    pub mounts: Vec<MountConfig>,
    /// Further nodes.
    pub devices: Vec<DeviceConfig>,
    /// Paths hidden behind an empty file or directory; missing ones are skipped.
    pub masked: Vec<Vec<u8>>,
    /// Paths that become read-only mounts; missing ones are skipped.
    pub read_only_paths: Vec<Vec<u8>>,
    /// The first process.
    pub process: ProcessConfig,
    /// The program is a real init (a container's entry point under an engine): it waits for orphans itself and is
    /// protected from signals it does not handle. False for `cofferdam do`, where it is an ordinary program.
    pub is_init: bool,
    /// Init does not run before [`super::control::Message::Start`].
    pub wait_for_start: bool,
    /// uname's nodename.
    pub hostname: Vec<u8>,
    /// uname's domainname.
    pub domainname: Option<Vec<u8>>,
    /// Memory that the machine is said to have, in bytes; `None`: what a sandbox without limits is said to have.
    pub machine_memory: Option<u64>,
    /// What the sandbox may have of it all.
    pub allowance: Allowance,
    /// Most CPU time of all processes together, and of the sentry for them.
    pub cpu_time: Option<std::time::Duration>,
    /// `net.ipv4.ip_unprivileged_port_start`, if it is not Linux's own.
    pub unprivileged_ports: Option<u16>,
    /// What its user namespace's maps say, if it is not the initial one.
    pub id_maps: Option<IdMaps>,
}

impl GuestConfig {
    /// An ordinary program in a tree with the kernel's own mounts and no limits of its own.
    pub fn new(root: RootConfig, mounts: Vec<MountConfig>, process: ProcessConfig) -> GuestConfig {
        GuestConfig {
            root,
            kernel_mounts: true,
            mounts,
            devices: Vec::new(),
            masked: Vec::new(),
            read_only_paths: Vec::new(),
            process,
            is_init: false,
            wait_for_start: false,
            hostname: b"cofferdam".to_vec(),
            domainname: None,
            machine_memory: None,
            allowance: Allowance::default(),
            cpu_time: None,
            unprivileged_ports: None,
            id_maps: None,
        }
    }
}

impl ProcessConfig {
    /// A program with all that Linux gives it by default.
    pub fn new(argv: Vec<Vec<u8>>, envp: Vec<Vec<u8>>, cwd: Vec<u8>, user: UserConfig) -> Self {
        ProcessConfig {
            argv,
            envp,
            cwd,
            make_cwd: false,
            cwd_may_miss: false,
            set_home: false,
            user,
            caps: None,
            no_new_privs: false,
            limits: Vec::new(),
            umask: None,
            oom_score_adj: None,
            scheduler: None,
            io_priority: None,
            seccomp: None,
            terminal: None,
        }
    }
}

/// A process to be started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessConfig {
    /// The program and its arguments; a name without '/' is looked up in PATH of `envp`.
    pub argv: Vec<Vec<u8>>,
    /// `K=V` strings.
    pub envp: Vec<Vec<u8>>,
    /// Working directory in the guest.
    pub cwd: Vec<u8>,
    /// Make a missing working directory.
    pub make_cwd: bool,
    /// `/` instead of a working directory that cannot be entered.
    pub cwd_may_miss: bool,
    /// Set HOME, if it is not set, from the guest's /etc/passwd.
    pub set_home: bool,
    /// Who it runs as.
    pub user: UserConfig,
    /// Capabilities before execve; `None`: all for root, and in the bounding set.
    pub caps: Option<CapsConfig>,
    /// prctl(PR_SET_NO_NEW_PRIVS).
    pub no_new_privs: bool,
    /// Resource limits that differ from the sentry's defaults: RLIMIT_*, soft, hard.
    pub limits: Vec<(u32, u64, u64)>,
    /// umask(2).
    pub umask: Option<u32>,
    /// /proc/PID/oom_score_adj.
    pub oom_score_adj: Option<i32>,
    /// What sched_getattr(2) tells of it.
    pub scheduler: Option<SchedulerConfig>,
    /// What ioprio_get(2) tells of it.
    pub io_priority: Option<i32>,
    /// A filter that its calls go through (seccomp(2)).
    pub seccomp: Option<SeccompConfig>,
    /// The first of its streams is a host terminal: the guest gets a terminal of its own, pumped to and from it. Rows and
    /// columns at the start.
    pub terminal: Option<(u16, u16)>,
}

/// Scheduling as sched_setattr(2) has it. As with that call inside, the host's scheduler is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerConfig {
    /// SCHED_*.
    pub policy: i32,
    /// -20 to 19.
    pub nice: i32,
    /// Of SCHED_FIFO and SCHED_RR.
    pub priority: i32,
    /// Of SCHED_DEADLINE: runtime, deadline, period in nanoseconds.
    pub deadline: [u64; 3],
}

/// Capability sets by bit (capabilities(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CapsConfig {
    pub bounding: u64,
    pub permitted: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// A seccomp filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompConfig {
    /// Classic BPF: code, jt, jf, k.
    pub program: Vec<(u16, u8, u8, u32)>,
    /// Log what is not allowed (SECCOMP_FILTER_FLAG_LOG).
    pub log: bool,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Absolute path in the guest.
    pub path: Vec<u8>,
    /// `c`, `b` or `p`.
    pub kind: char,
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
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
    /// What /proc/mounts says is mounted; `None`: the type of the file system.
    pub name: Option<Vec<u8>>,
    /// Refuse writes with EROFS and the like.
    pub flags: MountFlags,
    /// Put an in-memory layer over a directory that is served, so that writes succeed and vanish. Not with `READONLY`.
    pub overlay: bool,
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum MountSource {
    /// An export that the gofer serves (a directory or a single file), by index.
    Export(u32),
    /// An empty tmpfs, with mount(2)'s options.
    Tmpfs(String),
    /// A tmpfs that starts with what is at the mount point, with mount(2)'s options.
    TmpfsCopy(String),
    /// procfs of the sandbox.
    Proc,
    /// sysfs of the sandbox.
    Sysfs,
    /// The sandbox's control group.
    Cgroup,
    /// Terminals of the sandbox.
    Devpts,
    /// POSIX message queues.
    Mqueue,
}

/// Who the program runs as.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// Why a sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The program does not exist (exit status 127).
    #[error("{0}")]
    NotFound(String),
    /// The program exists but cannot be executed (exit status 126).
    #[error("{0}")]
    NotExecutable(String),
    /// The limit on CPU time was reached (exit status 124, as of timeout(1)).
    #[error("the program used more than {0:?} of CPU time and was ended")]
    Overrun(std::time::Duration),
    /// Anything else (exit status 125).
    #[error("{0}")]
    Failed(String),
}

impl BootError {
    /// 127 not found, 126 not executable, 124 out of CPU time, 125 anything else.
    pub fn exit_status(&self) -> u8 {
        match self {
            BootError::NotFound(_) => 127,
            BootError::NotExecutable(_) => 126,
            BootError::Overrun(_) => 124,
            BootError::Failed(_) => 125,
        }
    }
}
