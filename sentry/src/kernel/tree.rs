//! Thread groups, process groups and sessions: who is whose parent, and who has ended how.

use super::signal::GroupSignals;
use super::{Kernel, Limits, PidNamespace, Task};
use crate::sync::{Mutex, Rank, WaitQueue};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// How a process ended, as wait4 encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// exit or exit_group with this code (low 8 bits).
    Exited(u8),
    /// Ended by this signal; whether Linux would have dumped core.
    Signaled(i32, bool),
}

impl ExitStatus {
    /// wait status word of wait4(2).
    pub fn wait_status(self) -> i32 {
        match self {
            ExitStatus::Exited(c) => i32::from(c) << 8,
            ExitStatus::Signaled(s, core) => (s & 0x7f) | if core { 0x80 } else { 0 },
        }
    }
}

/// One guest process (`struct signal_struct`).
pub struct ThreadGroup {
    kernel: Weak<Kernel>,
    /// Real uid of the thread that ended last (a zombie has no task to ask).
    pub(super) last_uid: AtomicU32,
    pid: i32,
    pid_ns: Arc<PidNamespace>,
    /// As the tree says, for those who only ask.
    parent: AtomicI32,
    pgid: AtomicI32,
    sid: AtomicI32,
    limits: Mutex<Limits>,
    /// Signal actions and process-directed pending signals.
    pub signals: Mutex<GroupSignals>,
    /// Woken when a child changes state, for wait4 and waitid.
    pub child_events: Arc<WaitQueue>,
    /// Woken when this process ends (pidfd) or one of its threads does.
    pub exit_events: Arc<WaitQueue>,
    /// Measures its CPU time.
    pub(super) cpu: super::cpu_time::CpuClock,
    /// CPU time at its end and of waited-for children.
    pub times: Mutex<GroupTimes>,
    /// Start time in nanoseconds since the sandbox's boot.
    pub start_ns: u64,
    /// coredump_filter as procfs shows it; there are no core dumps.
    pub coredump_filter: AtomicU32,
    /// How it ended, as wait(2) says it, for pidfds that outlive it.
    pub ended_with: OnceLock<i32>,
    /// oom_score_adj as procfs shows it.
    pub oom_score_adj: AtomicI32,
    /// Controlling terminal (see `fs::tty`).
    pub tty: Mutex<Option<crate::fs::tty::Terminal>>,
    /// Foreground group of the terminal that a session leader lost by a hang-up, 0 none: signalled when the leader exits.
    pub tty_old_group: AtomicI32,
    /// Objects that belong to the process (POSIX timers, itimers), keyed by type.
    pub extensions: crate::vfs::InodeMeta,
    exiting: AtomicBool,
    /// Rewriting of its system calls.
    pub(super) rewriting: super::rewriting::Rewriting,
    /// comm of the thread that ended last (a zombie has no task to ask).
    pub last_name: Mutex<Vec<u8>>,
    /// PR_SET_DUMPABLE.
    pub dumpable: AtomicI32,
    /// Number of voluntary context switches (parks).
    pub switches: AtomicU64,
}

/// CPU time of what is no more, in nanoseconds (user, system).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct GroupTimes {
    /// Of the process itself when a thread of it last ended; final in a zombie.
    pub dead_threads: (u64, u64),
    pub children: (u64, u64),
    pub children_maxrss: u64,
    pub maxrss: u64,
}

impl ThreadGroup {
    pub(super) fn new(
        kernel: &Arc<Kernel>,
        (pid, pid_ns): (i32, &Arc<PidNamespace>),
        (pgid, sid): (i32, i32),
        limits: Limits,
        signals: GroupSignals,
        start_ns: u64,
    ) -> Arc<ThreadGroup> {
        Arc::new(ThreadGroup {
            kernel: Arc::downgrade(kernel),
            last_uid: AtomicU32::new(0),
            pid,
            pid_ns: pid_ns.clone(),
            parent: AtomicI32::new(0),
            pgid: AtomicI32::new(pgid),
            sid: AtomicI32::new(sid),
            limits: Mutex::new(Rank::LEAF, limits),
            signals: Mutex::new(Rank::SIGNALS, signals),
            child_events: Arc::new(WaitQueue::new()),
            exit_events: Arc::new(WaitQueue::new()),
            cpu: Default::default(),
            times: Mutex::new(Rank::LEAF, GroupTimes::default()),
            start_ns,
            coredump_filter: AtomicU32::new(0x33),
            ended_with: OnceLock::new(),
            oom_score_adj: AtomicI32::new(0),
            tty: Mutex::new(Rank::LEAF, None),
            tty_old_group: AtomicI32::new(0),
            extensions: Default::default(),
            exiting: AtomicBool::new(false),
            rewriting: Default::default(),
            last_name: Mutex::new(Rank::LEAF, Vec::new()),
            dumpable: AtomicI32::new(1),
            switches: AtomicU64::new(0),
        })
    }
    /// The sandbox, while it lives.
    pub fn kernel(&self) -> Option<Arc<Kernel>> {
        self.kernel.upgrade()
    }
    /// Live threads.
    pub fn threads(&self) -> Vec<Arc<Task>> {
        let Some(kernel) = self.kernel() else {
            return Vec::new();
        };
        let tree = kernel.tree.lock();
        tree.nodes
            .get(&self.pid)
            .map(|n| n.threads.clone())
            .unwrap_or_default()
    }
    /// The parent's pid, 0 for init.
    pub fn parent_pid(&self) -> i32 {
        self.parent.load(Ordering::Relaxed)
    }
    /// The PID namespace it was born in.
    pub fn pid_ns(&self) -> &Arc<PidNamespace> {
        &self.pid_ns
    }
    /// Whether it is the init of a PID namespace below the initial one.
    pub fn is_namespace_init(&self) -> bool {
        !self.pid_ns.is_initial() && self.pid_ns.init() == self.pid
    }
    /// Thread-group id: what getpid(2) returns in the initial namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }
    /// Process-group id.
    pub fn pgid(&self) -> i32 {
        self.pgid.load(Ordering::Relaxed)
    }
    /// Session id.
    pub fn sid(&self) -> i32 {
        self.sid.load(Ordering::Relaxed)
    }
    /// Whether the whole process is being ended (exit_group or a fatal signal).
    pub fn is_exiting(&self) -> bool {
        self.exiting.load(Ordering::SeqCst)
    }
    pub(super) fn set_exiting(&self) {
        self.exiting.store(true, Ordering::SeqCst);
    }
    pub(super) fn set_pgid(&self, pgid: i32) {
        self.pgid.store(pgid, Ordering::Relaxed);
    }
    pub(super) fn set_sid(&self, sid: i32) {
        self.sid.store(sid, Ordering::Relaxed);
    }
    /// Soft limit of RLIMIT_*.
    pub fn limit(&self, resource: u32) -> u64 {
        self.limits.lock().soft(resource)
    }
    /// All limits.
    pub fn limits(&self) -> &Mutex<Limits> {
        &self.limits
    }
}

/// Where a process stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Has live threads.
    Alive,
    /// Being killed by exit_group or a fatal signal, with this status.
    Exiting(ExitStatus),
    /// All threads are gone; waits to be reaped.
    Zombie(ExitStatus),
}

/// What the tree knows of a process.
pub(super) struct Node {
    pub group: Arc<ThreadGroup>,
    /// Set by [`Node::set_parent`].
    pub parent: i32,
    pub children: Vec<i32>,
    pub threads: Vec<Arc<Task>>,
    pub life: Life,
    /// Signal that the parent gets at exit; 0 none (clone's low byte).
    pub exit_signal: i32,
    /// PR_SET_CHILD_SUBREAPER.
    pub subreaper: bool,
    /// The thread that made it (`real_parent`): PTRACE_TRACEME's tracer.
    pub forker: Weak<Task>,
    /// Has called execve since fork (setpgid's EACCES).
    pub execed: bool,
    /// Given to an init that need not wait for strangers ([`TaskTree::reap_orphans`]): nobody sees it end.
    pub adopted: bool,
    /// The init of a PID namespace that has no thread left and waits for the namespace's other processes to end.
    pub waits_for_namespace: bool,
}

impl Node {
    /// Gives the process a parent.
    pub fn set_parent(&mut self, parent: i32) {
        self.parent = parent;
        self.group.parent.store(parent, Ordering::Relaxed);
    }
}

/// All processes of the sandbox (guarded by one lock, as Linux's `tasklist_lock`).
#[derive(Default)]
pub(super) struct TaskTree {
    pub nodes: BTreeMap<i32, Node>,
    pub tasks: BTreeMap<i32, Weak<Task>>,
    /// Who is traced by whom, by the tracee's tid.
    pub traced: BTreeMap<i32, super::ptrace::Link>,
    pub last_pid: i32,
    /// Orphans that come to init end unseen, as if the machine's own init had them: the first process is an ordinary program.
    pub reap_orphans: bool,
    /// Inits of PID namespaces for which the last process is gone that they waited for.
    pub emptied: Vec<i32>,
}

impl TaskTree {
    /// A pid that is neither a task, nor a process, process group or session in use.
    pub fn allocate_pid(&mut self) -> Option<i32> {
        for _ in 0..super::PID_MAX {
            // Linux starts again at 300 after a wrap (RESERVED_PIDS).
            let pid = if self.last_pid + 1 >= super::PID_MAX {
                300
            } else {
                self.last_pid + 1
            };
            self.last_pid = pid;
            if !self.is_used(pid) {
                return Some(pid);
            }
        }
        None
    }
    /// Whether a process, group or session has this number.
    pub fn is_used(&self, pid: i32) -> bool {
        self.tasks.contains_key(&pid)
            || self.nodes.contains_key(&pid)
            || self.traced.contains_key(&pid)
            || self
                .nodes
                .values()
                .any(|n| n.group.pgid() == pid || n.group.sid() == pid)
    }
    /// Processes of a PID namespace and those below, without its init.
    pub fn namespace_members(&self, ns: &PidNamespace) -> impl Iterator<Item = &Node> {
        let init = ns.init();
        self.nodes
            .values()
            .filter(move |n| n.group.pid() != init && n.group.pid_ns().is_within(ns))
    }
    /// Live processes of a process group.
    pub fn group_members(&self, pgid: i32) -> Vec<Arc<ThreadGroup>> {
        self.nodes
            .values()
            .filter(|n| n.group.pgid() == pgid)
            .map(|n| n.group.clone())
            .collect()
    }
}

impl Kernel {
    /// The task with this tid.
    pub fn task(&self, tid: i32) -> Option<Arc<Task>> {
        self.tree.lock().tasks.get(&tid).and_then(Weak::upgrade)
    }
    /// The process with this pid, zombies included.
    pub fn process(&self, pid: i32) -> Option<Arc<ThreadGroup>> {
        self.tree.lock().nodes.get(&pid).map(|n| n.group.clone())
    }
    /// All processes by pid, zombies included.
    pub fn processes(&self) -> Vec<Arc<ThreadGroup>> {
        self.tree
            .lock()
            .nodes
            .values()
            .map(|n| n.group.clone())
            .collect()
    }
    /// Processes of a process group, zombies included.
    pub fn process_group(&self, pgid: i32) -> Vec<Arc<ThreadGroup>> {
        self.tree.lock().group_members(pgid)
    }
    /// Processes of a session, zombies included.
    pub fn session(&self, sid: i32) -> Vec<Arc<ThreadGroup>> {
        self.tree
            .lock()
            .nodes
            .values()
            .filter(|n| n.group.sid() == sid)
            .map(|n| n.group.clone())
            .collect()
    }
    /// Whether a process group is orphaned (its background reads give EIO, its stops are ignored).
    pub fn is_orphaned_group(&self, pgid: i32) -> bool {
        super::task::exit::is_orphaned(&self.tree.lock(), pgid, 0)
    }
    /// The pid given out last.
    pub fn last_pid(&self) -> i32 {
        self.tree.lock().last_pid
    }
    /// The number given out last in a PID namespace.
    pub fn last_pid_in(&self, ns: &PidNamespace) -> i32 {
        if ns.is_initial() {
            return self.last_pid();
        }
        self.pids.lock().last(ns)
    }
    /// What is given out next is the next free number after this one.
    pub fn set_last_pid(&self, ns: &PidNamespace, pid: i32) {
        if ns.is_initial() {
            self.tree.lock().last_pid = pid;
        } else {
            self.pids.lock().set_last(ns, pid);
        }
    }
    /// Number of live tasks whose real user is `uid`.
    pub fn task_count_of(&self, uid: u32) -> usize {
        let tasks: Vec<Arc<Task>> = {
            let tree = self.tree.lock();
            tree.tasks.values().filter_map(Weak::upgrade).collect()
        };
        tasks.iter().filter(|t| t.creds().uid == uid).count()
    }
    /// All live tasks.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        let tree = self.tree.lock();
        tree.tasks.values().filter_map(Weak::upgrade).collect()
    }
    /// What a task, process, group or session is called in a PID namespace; 0 if it is not seen there.
    pub fn pid_seen(&self, ns: &PidNamespace, pid: i32) -> i32 {
        if ns.is_initial() || pid == 0 {
            return pid;
        }
        self.pids.lock().seen(ns, pid).unwrap_or(0)
    }
    /// What a number means in a PID namespace.
    pub fn pid_named(&self, ns: &PidNamespace, number: i32) -> Option<i32> {
        if ns.is_initial() {
            return Some(number);
        }
        self.pids.lock().named(ns, number)
    }
    /// What it is called in a PID namespace and in those below that `task` is in.
    pub fn pids_seen(&self, ns: &PidNamespace, task: i32, pid: i32) -> Vec<i32> {
        self.pids.lock().all_seen(ns, task, pid)
    }
    /// Gives a new task its numbers; those that are wanted, from its own namespace upwards.
    pub(super) fn assign_pid(
        &self,
        pid: i32,
        ns: &Arc<PidNamespace>,
        wanted: &[i32],
    ) -> crate::abi::Result<()> {
        self.pids.lock().assign(pid, ns, wanted)
    }
    /// Takes the numbers of what is no more, unless a group or session still has them.
    pub(super) fn release_pids(&self, tree: &TaskTree, pids: &[i32]) {
        let known = |pid: &&i32| self.pids.lock().knows(**pid);
        for pid in pids.iter().filter(known) {
            if !tree.is_used(*pid) {
                self.pids.lock().release(*pid);
            }
        }
    }
    /// Number of live tasks.
    pub fn task_count(&self) -> usize {
        self.tree.lock().tasks.len()
    }
}
