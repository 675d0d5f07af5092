//! One guest thread (`struct task_struct`).

use super::cx::Progress;
use super::signal::TaskSignals;
use super::{FdTable, Kernel, Namespaces, ThreadGroup};
use crate::auth::{Credentials, UserNamespace};
use crate::mm::MemoryManager;
use crate::sync::{Mutex, Rank, WaitKey, WaitQueue};
use crate::vfs::FsContext;
use cofferdam_platform::{Answers, Thread, Token};
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

pub mod clone;
pub mod exec;

pub mod exit;
pub mod job;
mod regs;
pub mod spawn;
pub mod wait;
pub use regs::GuestRegs;

/// What a vfork parent waits for.
#[derive(Default)]
pub struct VforkDone {
    done: AtomicBool,
    queue: Arc<WaitQueue>,
}

impl VforkDone {
    /// The child has left the parent's memory.
    pub fn finish(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.wake(crate::sync::Events::IN);
    }
}

/// A guest thread.
pub struct Task {
    me: Weak<Task>,
    kernel: Arc<Kernel>,
    group: Arc<ThreadGroup>,
    tid: AtomicI32,
    token: AtomicU64,
    /// Counts changes of `shared` and `thread`.
    generation: AtomicU32,
    /// What other tasks may look at.
    shared: Mutex<Shared>,
    /// The host thread that runs it; `None` once it has exited.
    thread: Mutex<Option<Arc<dyn Thread>>>,
    pub(super) loans: super::loan::Loans,
    /// Where it is: see [`super::worker`].
    pub(super) run_state: AtomicU8,
    /// Mask and thread-directed pending signals.
    pub signals: TaskSignals,
    /// Seccomp filters.
    pub seccomp: super::seccomp::Seccomp,
    /// Whether somebody traces it, and what that wants to see.
    pub tracing: super::ptrace::Tracing,
    namespaces: Mutex<Arc<Namespaces>>,
    /// The user namespace its program was executed in (`mm->user_ns`).
    program_ns: Mutex<Arc<UserNamespace>>,
    /// Signal sent when the parent dies (PR_SET_PDEATHSIG), 0 none.
    parent_death_signal: AtomicI32,
    /// A file operation sent the task a signal that ends the call in flight (ERESTARTSYS): job control.
    pub(super) restart: AtomicBool,
    /// Its futexes came home while it ran: what it did until its next trap it did on the host.
    pub(super) away: AtomicBool,
    /// Scheduling attributes and the like, recorded and reported back.
    pub sched: SchedState,
    local: Mutex<TaskLocal>,
}

/// What the guest sets and reads back but the sentry does not enforce.
#[derive(Debug)]
pub struct SchedState {
    /// nice value, -20 to 19.
    pub nice: AtomicI32,
    /// SCHED_* with SCHED_RESET_ON_FORK.
    pub policy: AtomicI32,
    /// Bit per CPU.
    pub affinity: AtomicU64,
    /// Nanoseconds.
    pub timer_slack: AtomicU64,
    /// What PR_SET_TIMERSLACK with 0 returns to: the parent's at the fork.
    pub default_timer_slack: AtomicU64,
    /// Priority of SCHED_FIFO and SCHED_RR, 1 to 99; else 0.
    pub rt_priority: AtomicI32,
    /// SCHED_DEADLINE: runtime, deadline, period in nanoseconds.
    pub deadline: [AtomicU64; 3],
    /// As ioprio_set(2) encodes it; 0 for none.
    pub io_priority: AtomicI32,
    /// PR_MCE_KILL.
    pub memory_failure: AtomicU8,
    /// personality(2), for others to see.
    pub personality: AtomicU32,
    /// NUMA policy (set_mempolicy(2)), its mode with flags.
    pub numa_policy: AtomicU32,
}

impl SchedState {
    pub(super) fn new(cpu_mask: u64) -> SchedState {
        SchedState {
            nice: AtomicI32::new(0),
            policy: AtomicI32::new(0),
            affinity: AtomicU64::new(cpu_mask),
            timer_slack: AtomicU64::new(50_000),
            default_timer_slack: AtomicU64::new(50_000),
            rt_priority: AtomicI32::new(0),
            deadline: [const { AtomicU64::new(0) }; 3],
            io_priority: AtomicI32::new(0),
            memory_failure: AtomicU8::new(2),
            personality: AtomicU32::new(0),
            numa_policy: AtomicU32::new(0),
        }
    }
    /// What a child starts with (`sched_fork`).
    pub(super) fn inherit(&self) -> SchedState {
        const RESET_ON_FORK: i32 = 0x4000_0000;
        let get = |v: &AtomicI32| v.load(Ordering::Relaxed);
        let (policy, nice) = (get(&self.policy), get(&self.nice));
        let slack = self.timer_slack.load(Ordering::Relaxed);
        let mut child = SchedState::new(self.affinity.load(Ordering::Relaxed));
        child.timer_slack = AtomicU64::new(slack);
        child.default_timer_slack = AtomicU64::new(slack);
        child.io_priority = AtomicI32::new(get(&self.io_priority));
        child.memory_failure = AtomicU8::new(self.memory_failure.load(Ordering::Relaxed));
        child.personality = AtomicU32::new(self.personality.load(Ordering::Relaxed));
        child.numa_policy = AtomicU32::new(self.numa_policy.load(Ordering::Relaxed));
        if policy & RESET_ON_FORK == 0 {
            child.nice = AtomicI32::new(nice);
            child.policy = AtomicI32::new(policy);
            child.rt_priority = AtomicI32::new(get(&self.rt_priority));
            for (to, from) in child.deadline.iter().zip(&self.deadline) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        } else {
            // Real-time tasks start as ordinary ones with nice 0, ordinary ones without a raised priority.
            let fair = matches!(policy & !RESET_ON_FORK, 0 | 3 | 5);
            let nice = if fair { nice.max(0) } else { 0 };
            child.nice = AtomicI32::new(nice);
            let policy = if fair { policy & !RESET_ON_FORK } else { 0 };
            child.policy = AtomicI32::new(policy);
        }
        child
    }
}

/// What a new task starts with.
pub(super) struct TaskParts {
    pub group: Arc<ThreadGroup>,
    pub tid: i32,
    pub token: Token,
    pub creds: Arc<Credentials>,
    pub name: Vec<u8>,
    pub mm: Arc<MemoryManager>,
    pub fs: Arc<FsContext>,
    pub fds: Arc<FdTable>,
    pub thread: Box<dyn Thread>,
    pub signals: TaskSignals,
    pub local: TaskLocal,
    pub sched: SchedState,
    pub namespaces: Arc<Namespaces>,
    pub program_ns: Arc<UserNamespace>,
}

struct Shared {
    creds: Arc<Credentials>,
    /// comm, at most 15 bytes.
    name: Vec<u8>,
    mm: Arc<MemoryManager>,
    fs: Arc<FsContext>,
    fds: Arc<FdTable>,
}

/// What a task has of [`Shared`] and its host thread, held by its worker so that a call need not lock and count.
pub(super) struct Own {
    /// [`Task::generation`] when it was taken.
    generation: u32,
    pub creds: Arc<Credentials>,
    pub mm: Arc<MemoryManager>,
    pub fs: Arc<FsContext>,
    pub fds: Arc<FdTable>,
    pub thread: Option<Arc<dyn Thread>>,
}

/// State only the running task (its worker) touches.
#[derive(Default)]
pub struct TaskLocal {
    /// As the last run left it, while it counts.
    own: Option<Own>,
    /// Of which generation the answers are that the platform gives for the task.
    published: u32,
    /// Whether it gives any.
    pub(super) is_answered: bool,
    /// The calls on paths that it made lately.
    pub(super) paths: super::paths::Memories,
    /// Guest registers at the last trap, or to resume with.
    pub regs: GuestRegs,
    /// Progress of the system call in flight.
    pub progress: Progress,
    /// Number and arguments of the system call in flight.
    pub call: Option<(u64, [u64; 6])>,
    /// The call in flight is to wait on the host when the guest runs.
    pub(super) host_wait: Option<super::futex::host::HostWait>,
    /// The call in flight was handed to the host so: it is over at the next trap, unless that says it was cut short.
    pub(super) on_host: bool,
    /// Registrations of a parked call.
    pub(super) waits: Vec<(Arc<WaitQueue>, WaitKey)>,
    pub(super) timer: Option<crate::time::TimerHandle>,
    pub(super) timer_deadline: Option<crate::time::Instant>,
    /// Whether the call in flight has registered (a call may wait on nothing but signals).
    pub(super) registered: bool,
    /// A signal ended the call in flight: what `signal::deliver` is to make of it. `deliver` takes it, and clears
    /// `call`, whenever it lets the task go on.
    pub interrupted: Option<crate::syscalls::OnSignal>,
    /// restart_syscall(2) continues this call (ERESTART_RESTARTBLOCK) with its progress.
    pub restart: Option<(u64, [u64; 6], Progress)>,
    /// set_tid_address(2).
    pub clear_child_tid: u64,
    /// set_robust_list(2): head address and length.
    pub robust_list: (u64, u64),
    /// sigaltstack(2).
    pub alt_stack: super::signal::AltStack,
    /// personality(2).
    pub personality: u32,
    /// Its last CPU exception, for signal frames.
    pub fault: super::signal::FaultRecord,
    /// Mask to restore after a handler that interrupted sigsuspend, ppoll, pselect, epoll_pwait.
    pub saved_mask: Option<u64>,
    /// Stops for a tracer: where it goes on.
    pub trace: super::ptrace::TraceLocal,
    /// vfork: the parent waits for this until exec or exit.
    pub vfork_done: Option<Arc<VforkDone>>,
}

impl Kernel {
    /// All tasks that live in this address space.
    pub(in crate::kernel) fn tasks_of(&self, mm: &Arc<MemoryManager>) -> Vec<Arc<Task>> {
        let all: Vec<Arc<Task>> = self.by_token.lock().values().cloned().collect();
        let inside = |t: &Arc<Task>| Arc::ptr_eq(&t.mm(), mm);
        all.into_iter().filter(inside).collect()
    }
}

impl Task {
    pub(super) fn new(kernel: &Arc<Kernel>, parts: TaskParts) -> Arc<Task> {
        parts.fds.enter();
        parts.mm.enter();
        let task = Arc::new_cyclic(|me| Task {
            me: me.clone(),
            kernel: kernel.clone(),
            group: parts.group,
            tid: AtomicI32::new(parts.tid),
            token: AtomicU64::new(parts.token.0),
            // Not that of the answers which the platform has at first: none.
            generation: AtomicU32::new(1),
            shared: Mutex::new(
                Rank::TASK,
                Shared {
                    creds: parts.creds,
                    name: parts.name,
                    mm: parts.mm,
                    fs: parts.fs,
                    fds: parts.fds,
                },
            ),
            thread: Mutex::new(Rank::LEAF, Some(parts.thread.into())),
            loans: Default::default(),
            run_state: AtomicU8::new(super::worker::state::RUNNING),
            signals: parts.signals,
            namespaces: Mutex::new(Rank::LEAF, parts.namespaces),
            program_ns: Mutex::new(Rank::LEAF, parts.program_ns),
            seccomp: Default::default(),
            tracing: Default::default(),
            parent_death_signal: AtomicI32::new(0),
            restart: AtomicBool::new(false),
            away: AtomicBool::new(false),
            sched: parts.sched,
            local: Mutex::new(Rank::TASK_LOCAL, parts.local),
        });
        kernel.by_token.lock().insert(task.token().0, task.clone());
        super::signal::attach(&task);
        if task.tid() == task.group.pid() {
            task.group.cpu.enter(Some(task.mm().space()));
            super::timers::limits_changed(&task.group);
        }
        task
    }
    pub(super) fn lock_local(&self) -> crate::sync::MutexGuard<'_, TaskLocal> {
        self.local.lock()
    }
    pub(super) fn waker(&self) -> Arc<dyn crate::sync::Notify> {
        Arc::new(super::worker::TaskWaker(self.me.clone()))
    }
    /// Takes away the host thread (exit) or gives the task another one (exec); the old one is returned.
    pub(super) fn replace_thread(
        &self,
        token: Token,
        new: Option<Arc<dyn Thread>>,
    ) -> Option<Arc<dyn Thread>> {
        self.end_loans();
        let mut by_token = self.kernel.by_token.lock();
        by_token.remove(&self.token.load(Ordering::Relaxed));
        self.kernel.departures.fetch_add(1, Ordering::Release);
        if new.is_some() {
            self.token.store(token.0, Ordering::Relaxed);
            by_token.extend(self.me.upgrade().map(|me| (token.0, me)));
        }
        drop(by_token);
        let old = std::mem::replace(&mut *self.thread.lock(), new);
        self.changed();
        old
    }
    pub(super) fn set_mm(&self, mm: Arc<MemoryManager>) -> Arc<MemoryManager> {
        self.group.cpu.enter_fresh(mm.space());
        mm.enter();
        let old = self.change(|s| std::mem::replace(&mut s.mm, mm));
        old.leave();
        old
    }
    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
    fn change<T>(&self, f: impl FnOnce(&mut Shared) -> T) -> T {
        let result = f(&mut self.shared.lock());
        self.changed();
        result
    }
    /// Takes what the task has: from `local` if it is still right.
    pub(super) fn take_own(&self, local: &mut TaskLocal) -> Own {
        match local.own.take() {
            Some(own) if self.is_current(&own) => own,
            _ => self.own(),
        }
    }
    /// Keeps it for the next run unless it has changed.
    pub(super) fn keep_own(&self, local: &mut TaskLocal, own: Own) {
        if self.is_current(&own) {
            local.own = Some(own);
        }
    }
    pub(super) fn is_current(&self, own: &Own) -> bool {
        own.generation == self.generation.load(Ordering::Acquire)
    }
    pub(super) fn own(&self) -> Own {
        let generation = self.generation.load(Ordering::Acquire);
        let thread = self.thread();
        let s = self.shared.lock();
        Own {
            generation,
            creds: s.creds.clone(),
            mm: s.mm.clone(),
            fs: s.fs.clone(),
            fds: s.fds.clone(),
            thread,
        }
    }
    /// Lets the platform answer calls that ask for the task's identity, unless somebody wants to see each call.
    pub(super) fn publish(&self, local: &mut TaskLocal, own: &Own) {
        if local.published == own.generation {
            return;
        }
        local.published = own.generation;
        self.end_loans();
        let Some(thread) = &own.thread else { return };
        let tracer = self.kernel.tracer.as_ref();
        let seen = self.seccomp.active()
            || self.tracing.is_traced()
            || tracer.is_some_and(|t| t.wants_all());
        let number = |pid| self.kernel.pid_seen(self.group.pid_ns(), pid);
        let ns = &own.creds.user_ns;
        let answers = (!seen).then(|| Answers {
            pid: number(self.group.pid()).cast_unsigned(),
            tid: number(self.tid()).cast_unsigned(),
            uid: ns.show_user(own.creds.uid),
            gid: ns.show_group(own.creds.gid),
            euid: ns.show_user(own.creds.euid),
            egid: ns.show_group(own.creds.egid),
            ppid: number(self.group.parent_pid()).cast_unsigned(),
            futexes: thread.host_futexes() && !super::futex::host::are_home(&own.mm),
        });
        local.is_answered = answers.is_some();
        thread.answer(answers.as_ref());
        fence(Ordering::SeqCst);
        if !self.is_current(own) {
            // Taken back meanwhile by somebody who did so too early.
            thread.answer(None);
        }
    }
    /// Somebody else gave the task a seccomp filter, or took its futexes home: from now on it sees each call, until it publishes anew.
    pub(super) fn unpublish(&self) {
        self.changed();
        if let Some(thread) = self.thread() {
            thread.answer(None);
        }
    }
    /// The reason to see each call is gone: it publishes anew when it runs next.
    pub(super) fn republish(&self) {
        self.changed();
    }
    /// What its ids are called where it lives has changed: from its next call on it is told anew.
    pub fn forget_answers(&self) {
        self.unpublish();
    }
    pub(super) fn set_tid(&self, tid: i32) {
        self.tid.store(tid, Ordering::Relaxed);
    }
    /// PR_SET_PDEATHSIG's signal, 0 none.
    pub fn parent_death_signal(&self) -> i32 {
        self.parent_death_signal.load(Ordering::Relaxed)
    }
    /// Sets PR_SET_PDEATHSIG's signal.
    pub fn set_parent_death_signal(&self, signal: i32) {
        self.parent_death_signal.store(signal, Ordering::Relaxed);
    }
    /// The sandbox.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }
    /// The process.
    pub fn group(&self) -> &Arc<ThreadGroup> {
        &self.group
    }
    /// Thread id: what gettid(2) returns.
    pub fn tid(&self) -> i32 {
        self.tid.load(std::sync::atomic::Ordering::Relaxed)
    }
    /// The platform's number for it.
    pub fn token(&self) -> Token {
        Token(self.token.load(Ordering::Relaxed))
    }
    /// Identity.
    pub fn creds(&self) -> Arc<Credentials> {
        self.shared.lock().creds.clone()
    }
    /// Replaces the identity. Only the task itself does this.
    pub fn set_creds(&self, creds: Credentials) {
        self.change(|s| {
            // Another thread may have set it since the task looked, and nothing clears it.
            let no_new_privs = creds.no_new_privs || s.creds.no_new_privs;
            s.creds = Arc::new(Credentials {
                no_new_privs,
                ..creds
            });
        });
    }
    /// No execve gains rights any more. Any thread of the process may say so (SECCOMP_FILTER_FLAG_TSYNC).
    pub fn set_no_new_privs(&self) {
        self.change(|s| {
            s.creds = Arc::new(Credentials {
                no_new_privs: true,
                ..(*s.creds).clone()
            });
        });
    }
    /// comm (PR_GET_NAME), at most 15 bytes.
    pub fn name(&self) -> Vec<u8> {
        self.shared.lock().name.clone()
    }
    /// Sets comm; longer names are cut.
    pub fn set_name(&self, name: &[u8]) {
        self.shared.lock().name = name.get(..name.len().min(15)).unwrap_or(&[]).to_vec();
    }
    /// Memory.
    pub fn mm(&self) -> Arc<MemoryManager> {
        self.shared.lock().mm.clone()
    }
    /// Working directory and root.
    pub fn fs(&self) -> Arc<FsContext> {
        self.shared.lock().fs.clone()
    }
    /// Descriptor table.
    pub fn fds(&self) -> Arc<FdTable> {
        self.shared.lock().fds.clone()
    }
    /// Gives the task its own or another file-system context (unshare, clone).
    pub fn set_fs(&self, fs: Arc<FsContext>) {
        drop(self.change(|s| std::mem::replace(&mut s.fs, fs)));
    }
    /// Namespaces, but for those that credentials, file-system context and process have.
    pub fn namespaces(&self) -> Arc<Namespaces> {
        self.namespaces.lock().clone()
    }
    /// Gives the task other ones (unshare, setns).
    pub fn set_namespaces(&self, new: Arc<Namespaces>) {
        let old = std::mem::replace(&mut *self.namespaces.lock(), new);
        drop(old);
    }
    /// The user namespace whose owner's rights are needed to look into its program if that is not dumpable.
    pub fn program_ns(&self) -> Arc<UserNamespace> {
        self.program_ns.lock().clone()
    }
    /// execve.
    pub(super) fn set_program_ns(&self, ns: Arc<UserNamespace>) {
        let old = std::mem::replace(&mut *self.program_ns.lock(), ns);
        drop(old);
    }
    /// Thread id in its own PID namespace: what gettid(2) returns.
    pub fn own_tid(&self) -> i32 {
        self.kernel.pid_seen(self.group.pid_ns(), self.tid())
    }
    /// Gives the task its own or another descriptor table. The old one, and whether the task was its last user.
    pub fn set_fds(&self, fds: Arc<FdTable>) -> (Arc<FdTable>, bool) {
        fds.enter();
        let old = self.change(|s| std::mem::replace(&mut s.fds, fds));
        let last = old.leave();
        (old, last)
    }
    /// Whether it runs guest code or a worker runs its handler (procfs's R).
    pub fn is_running(&self) -> bool {
        use super::worker::state::{GUEST, QUEUED, RUNNING};
        match self.run_state.load(Ordering::Relaxed) {
            GUEST => !self.thread().is_some_and(|t| t.asleep()),
            state => matches!(state, RUNNING | QUEUED),
        }
    }
    /// The host thread, while the task lives.
    pub fn thread(&self) -> Option<Arc<dyn Thread>> {
        self.thread.lock().clone()
    }
}
