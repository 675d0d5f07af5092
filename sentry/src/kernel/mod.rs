//! Tasks and everything that belongs to them: thread groups, process groups and sessions, signals, descriptor tables, limits.
//!
//! Key types: [`Kernel`] (one sandbox), [`Task`] (one guest thread), [`ThreadGroup`] (one guest process), [`Cx`] (a task
//! while a worker runs it). Locks: see [`crate::sync`].

pub mod aio;
mod allowance;
pub mod async_io;
pub mod cpu_time;
pub mod cx;
pub mod dnotify;
mod ends;
mod fd_table;
pub mod futex;
mod heap;
pub mod identity;
pub mod ipc;
pub mod jobs;
pub mod keys;
pub mod leases;
pub mod limits;
pub mod loan;
pub mod machine;
mod memory_events;
pub mod namespaces;
pub mod paths;
pub mod pidfd;
pub mod ptrace;
pub mod rewriting;
pub mod seccomp;
mod shift;
pub mod signal;
pub mod task;
pub mod timers;
mod tree;
mod usage;
mod vdso_call;
mod windows;
pub mod worker;

pub use allowance::{Allowance, IdMaps};
pub use cx::{Cx, Progress, TaskCaller, task_of};
pub use fd_table::{FdEntry, FdTable, MAX_FDS, NR_OPEN};
pub use limits::Limits;
pub use namespaces::{Namespaces, PidNamespace};
pub use task::{Task, TaskLocal};
pub use tree::{ExitStatus, ThreadGroup};

use crate::mm::Texts;
use crate::sync::{Mutex, Rank};
use crate::time::{Instant, TimerQueue};
use cofferdam_platform::Platform;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

/// Most tasks in one sandbox (`kernel.pid_max` of the guest).
pub const PID_MAX: i32 = 32768;

/// One sandbox's kernel.
pub struct Kernel {
    /// How guest code runs.
    pub platform: Arc<dyn Platform>,
    /// Programs whose system calls were rewritten to go to the platform's gate, if it has one.
    pub texts: Option<Arc<Texts>>,
    /// Deadlines.
    pub timers: Arc<TimerQueue>,
    /// CLOCK_BOOTTIME zero of the sandbox (host CLOCK_MONOTONIC).
    pub boot: Instant,
    /// Those of the first process.
    pub namespaces: Arc<Namespaces>,
    /// What tasks are called in PID namespaces below the initial one.
    pids: Mutex<namespaces::PidTable>,
    tree: Mutex<tree::TaskTree>,
    run_queue: Mutex<VecDeque<Arc<Task>>>,
    /// Length of `run_queue`.
    queued: AtomicUsize,
    shift: shift::Shift,
    /// Work for a worker's thread: see [`Kernel::on_worker`].
    errands: Mutex<VecDeque<Errand>>,
    /// There may be some.
    has_errands: AtomicBool,
    next_token: AtomicU64,
    /// What the machine is said to have, in bytes.
    machine_memory: AtomicU64,
    allowance: Mutex<Allowance>,
    task_limit: AtomicU64,
    /// The host's file that counts processes killed for want of memory.
    memory_events: std::sync::OnceLock<std::fs::File>,
    /// What the user namespace's maps say; unset: the initial namespace's.
    pub id_maps: std::sync::OnceLock<IdMaps>,
    /// Whom to tell of the end of processes that were started from outside, by pid.
    outside: Mutex<HashMap<i32, EndWatcher>>,
    cpu_mask: u64,
    usage: usage::Usage,
    by_token: Mutex<HashMap<u64, Arc<Task>>>,
    /// How many times a task has left `by_token`.
    departures: AtomicU64,
    /// Set once init has exited.
    stopping: AtomicBool,
    /// How init ended.
    init_status: Mutex<Option<ExitStatus>>,
    /// What is missing and was already logged.
    missing: Mutex<std::collections::HashSet<&'static str>>,
    /// Called for each finished system call when `--strace` is on.
    pub tracer: Option<Box<dyn SyscallTracer>>,
    /// Objects that upper layers keep per sandbox (socket namespaces, ptys, futexes), keyed by type.
    pub extensions: crate::vfs::InodeMeta,
}

/// What the guest is told of the sandbox's memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryInfo {
    /// The sandbox's limit.
    pub total: u64,
    /// Resident in its processes.
    pub used: u64,
}

impl MemoryInfo {
    /// What is left.
    pub fn free(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}

/// Called once by a worker.
type Errand = Box<dyn FnOnce() + Send>;

/// Called once with how a process ended.
pub type EndWatcher = Box<dyn FnOnce(ExitStatus) + Send>;

/// Memory that a sandbox is said to have if nobody sets it ([`Kernel::set_machine_memory`]) and there is no limit.
const DEFAULT_MEMORY: u64 = 2 << 30;

/// Sees system calls as they start and finish.
pub trait SyscallTracer: Send + Sync {
    /// A process was made from outside and has this program: what would have been its execve.
    fn started(&self, _task: &Task, _path: &[u8], _argv: &[Vec<u8>], _envp: &[Vec<u8>]) {}
    /// A call starts (again, if it was parked: once per call).
    fn enter(&self, task: &Task, number: u64, args: &[u64; 6]);
    /// Whether it wants to see also the calls that the platform could answer without the sentry.
    fn wants_all(&self) -> bool {
        true
    }
    /// A call has its result (negated errno on failure).
    fn exit(&self, task: &Task, number: u64, args: &[u64; 6], result: i64);
}

/// What the guest's uname(2) says; programs gate features on the release.
pub const RELEASE: &str = "6.12.0-cofferdam";

/// One bit per processor of the host, at most 64. Asked at boot: later the answer would need files of the host's, and the
/// platform may have pinned the thread that asks.
fn host_cpus() -> u64 {
    let n = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
    let n = n
        .ok()
        .flatten()
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(1);
    u64::MAX >> (64 - n.clamp(1, 64))
}

impl Kernel {
    /// How init ended, once it has.
    pub fn init_status(&self) -> Option<ExitStatus> {
        *self.init_status.lock()
    }
    /// Ends the sandbox at once: workers return, and dropping the platform ends every guest process.
    pub fn shut_down(self: &Arc<Self>) {
        self.stopping
            .store(true, std::sync::atomic::Ordering::SeqCst);
        self.rouse();
    }
    /// Memory of the sandbox.
    pub fn memory(&self) -> MemoryInfo {
        let used = self
            .processes()
            .iter()
            .filter_map(|g| g.threads().first().map(|t| t.mm().resident()))
            // Most shared pages are those of a few programs.
            .map(|r| r.total - r.shared)
            .sum();
        MemoryInfo {
            total: self.total_memory(),
            used,
        }
    }
    fn total_memory(&self) -> u64 {
        let machine = self
            .machine_memory
            .load(std::sync::atomic::Ordering::Relaxed);
        machine.min(self.allowance().memory.unwrap_or(u64::MAX))
    }
    /// Sets how much memory the machine is said to have, in bytes.
    pub fn set_machine_memory(&self, bytes: u64) {
        self.machine_memory
            .store(bytes, std::sync::atomic::Ordering::Relaxed);
    }
    /// What the sandbox may have.
    pub fn allowance(&self) -> Allowance {
        *self.allowance.lock()
    }
    /// Sets it.
    pub fn allow(&self, allowance: Allowance) {
        *self.allowance.lock() = allowance;
        self.set_task_limit(allowance.tasks.unwrap_or(u64::MAX));
        crate::fs::tmpfs::set_room(allowance.memory);
        crate::mm::set_limited(allowance.memory.is_some());
    }
    /// Most tasks at a time (the guest's `pids.max`).
    pub fn task_limit(&self) -> u64 {
        self.task_limit.load(std::sync::atomic::Ordering::Relaxed)
    }
    /// Sets it; never more than half of [`PID_MAX`].
    fn set_task_limit(&self, tasks: u64) {
        self.task_limit.store(
            tasks.clamp(1, PID_MAX as u64 / 2),
            std::sync::atomic::Ordering::Relaxed,
        );
    }
    /// Calls `tell` when a process that was started from outside has ended. Call before it runs.
    pub fn when_ended(&self, pid: i32, tell: EndWatcher) {
        self.outside.lock().insert(pid, tell);
    }
    /// Bit per CPU that the guest may use.
    pub fn cpu_mask(&self) -> u64 {
        self.cpu_mask
    }
    pub(in crate::kernel) fn new_token(&self) -> cofferdam_platform::Token {
        cofferdam_platform::Token(
            self.next_token
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        )
    }
    /// A kernel without tasks.
    pub fn new(
        platform: Arc<dyn Platform>,
        hostname: &[u8],
        tracer: Option<Box<dyn SyscallTracer>>,
    ) -> std::io::Result<Arc<Kernel>> {
        Ok(Arc::new(Kernel {
            texts: platform.gate().map(Texts::start).transpose()?,
            platform,
            timers: TimerQueue::start()?,
            boot: Instant::now(),
            namespaces: Arc::new(Namespaces::initial(hostname)),
            pids: Mutex::new(Rank::LEAF, Default::default()),
            tree: Mutex::new(Rank::TASKS, tree::TaskTree::default()),
            run_queue: Mutex::new(Rank::RUN_QUEUE, VecDeque::new()),
            queued: AtomicUsize::new(0),
            shift: shift::Shift::default(),
            errands: Mutex::new(Rank::RUN_QUEUE, VecDeque::new()),
            has_errands: AtomicBool::new(false),
            next_token: AtomicU64::new(1),
            machine_memory: AtomicU64::new(DEFAULT_MEMORY),
            allowance: Mutex::new(Rank::LEAF, Allowance::default()),
            task_limit: AtomicU64::new(PID_MAX as u64 / 2),
            memory_events: Default::default(),
            id_maps: Default::default(),
            outside: Mutex::new(Rank::LEAF, HashMap::new()),
            cpu_mask: host_cpus(),
            usage: usage::Usage::default(),
            by_token: Mutex::new(Rank::LEAF, HashMap::new()),
            departures: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            init_status: Mutex::new(Rank::LEAF, None),
            missing: Mutex::new(Rank::LEAF, Default::default()),
            tracer,
            extensions: Default::default(),
        }))
    }
}
