//! The `notify` backend: nobody traces; a stub says what happened by a system call that becomes a notification.
//!
//! Every system call of a guest is RET_TRAP: the stub's SIGSYS handler posts the registers into the thread's slot and rings.
//! The sentry reads them there, and its answer to the ring is the next order. Which thread rings comes from the
//! notification alone. Faults and interrupts are signals with the same handler. See [`crate::stub::free`].
//!
//! One worker thread, the one that launched the platform, receives and answers. `events` receives, `exchange` gives orders,
//! `thread` is the guest thread.
//!
//! The `inline` backend is the same with a gate, to which rewritten call sites jump instead of trapping, and with the hot
//! exchange (`hot`): while a guest thread makes one call after the other, the worker watches its slot instead of
//! waiting for a ring. `bounce` is the guest memory that the stub copies along.
//!
//! Lock order: the list of watched tasks (`hot`), a task's `state`, the windows of its bounce buffer, its process's `dead`. The other tables of
//! [`Inner`] come last, one at a time.
mod backlog;
mod birth;
mod bounce;
mod condemned;
mod events;
mod exchange;
mod files;
mod fp;
mod futex;
mod handoff;
mod hot;
mod idle;
mod interest;
mod kin;
mod paths;
mod pause;
mod place;
mod strangers;
mod syscalls;
mod thread;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};
use std::time::{Duration, Instant};

use libc::pid_t;
use parking_lot::{Mutex, RwLock};

use crate::stub::mailbox::{Depot, Mailboxes, Op};
use crate::stub::slot::{BEGUN, FP_LEN, SLOT, SLOTS};
use crate::stub::{Layout, TASK_END, free, parse_maps};
use crate::{
    AddressSpace, Aside, Call, Error, Event, Platform, Registers, Result, Thread, Token, Trap,
    Vdso, bell, mem, sys, zygote,
};
use fp::Shape;
pub use syscalls::SENTRY_SYSCALLS;
use thread::FreeThread;

/// How many stub processes are kept ready.
const POOL: usize = 3;
/// How many dead processes wait to be reaped by the zygote while others run.
const ZOMBIES: usize = 8;
/// The same before that cannot wait for a pause any longer.
const MOST_ZOMBIES: usize = 24;
/// How often to look whether a process has made its first memory, and how long to wait in between.
const BEGINNING_LOOKS: u32 = 20;
const BEGINNING_LOOK: Duration = Duration::from_micros(50);

/// The platform. Dropping it ends every stub process.
pub struct NotifyPlatform {
    inner: Arc<Inner>,
}

/// What all handles share.
#[derive(Debug)]
struct Inner {
    layout: Layout,
    /// With a gate and hot exchanges.
    inline: bool,
    hot: hot::Hot,
    /// The task whose bounce buffer holds something, of the event that the worker handles.
    bounced: backlog::Backlog<Arc<Task>>,
    listener: OwnedFd,
    /// Pidfds of all processes; readable when one died.
    deaths: OwnedFd,
    /// An eventfd that ends the worker's wait.
    bell: OwnedFd,
    /// The worker's [`sys::thread_mark`]; 0 while there is none. Whatever is said to be changed on the worker only is handed over with that.
    worker: AtomicUsize,
    shape: Shape,
    zygote: Arc<Task>,
    /// Since when it is known that processes died which nobody has looked at yet, in cycles; 0 if there are none.
    died: AtomicU64,
    /// The worker waits or is about to.
    waiting: AtomicBool,
    woken: AtomicBool,
    /// The last event was `Woken`.
    woken_last: AtomicBool,
    /// Every host thread of every stub process, by host thread id.
    tasks: Mutex<HashMap<pid_t, Arc<Task>>>,
    processes: Mutex<HashMap<u64, Arc<Process>>>,
    /// Received while something else was waited for.
    events: backlog::Backlog<(Arc<Task>, Trap)>,
    /// The host promises no memory that it lacks: mappings can fail for want of it.
    strict: bool,
    pool: Mutex<Vec<Arc<Task>>>,
    depot: Arc<Depot>,
    common: Mutex<files::Common>,
    executable: Mutex<files::Executable>,
    /// Idle host threads of all processes.
    idle: AtomicUsize,
    /// Threads whose handle was dropped elsewhere than on the worker.
    dropped: backlog::Backlog<Arc<Task>>,
    /// Some of those may still look for answers.
    drowsy: AtomicBool,
    /// Ended processes that have not been killed, and since when, in cycles. Changed on the worker only.
    condemned: Mutex<Vec<(Arc<Task>, u64)>>,
    /// Dead processes that the zygote has not reaped, by their ids there.
    zombies: Mutex<Vec<u64>>,
    /// How many more there are whose ids are not known.
    nameless: AtomicUsize,
    /// See [`free::MARK`].
    mark: u64,
    /// The task that was registered last: who nobody ordered has one of the ids after it.
    newest: AtomicI32,
    /// Threads that were interrupted and have not stopped.
    kicks: backlog::Backlog<Kick>,
    /// When they are looked at next.
    minds_at: Mutex<Option<Instant>>,
    /// Guest threads that run.
    running: AtomicUsize,
    /// How many of them slept in a futex of the host when last counted; until when that counts, in processor cycles.
    nappers: AtomicUsize,
    nappers_until: AtomicU64,
    /// The host kernel can run the other side of a ring or answer on the same core.
    has_sync: bool,
    /// It does so now.
    sync: AtomicBool,
    handoff: handoff::Handoff,
    next: AtomicU64,
    random: RandomState,
    /// How a worker waits for exchanges that take long; how many do, and for which new tasks: their nonces, and who makes them.
    aside: pause::Way,
    paused: AtomicUsize,
    births: Mutex<HashMap<u64, pid_t>>,
    /// Held from the order to clone until the new task is known: who is not known meanwhile is its child, or a stranger.
    birth: Mutex<()>,
    /// The zygote died or the platform was dropped.
    over: AtomicBool,
}

/// A stub process.
#[derive(Debug)]
struct Process {
    pid: pid_t,
    /// Its id in the zygote's namespace.
    inner_pid: u64,
    pidfd: OwnedFd,
    /// Set before the process is reaped, so that whoever holds this lock and finds false may use `pid`.
    dead: RwLock<bool>,
    /// Was sent SIGKILL.
    killed: AtomicBool,
    mailboxes: Mailboxes,
    bounce: bounce::Bounce,
    files: Mutex<files::Files>,
    /// Its host threads that are idle.
    idle: Mutex<Vec<pid_t>>,
    /// Guest threads that were not terminated.
    threads: AtomicUsize,
    /// There was another one at some time: the process's CPU time is not that of the last one.
    had_more: AtomicBool,
    /// Host threads that may run guest code.
    hosts: AtomicUsize,
    /// CPU time at its end.
    final_time: Mutex<(u64, u64)>,
    /// Held during an exchange with a thread of it.
    exchange: Mutex<()>,
    /// Its first thread makes its memory on the way to its first instruction, for all that is known: that thread's slot plus 1, or 0.
    begins: AtomicUsize,
}

/// A host thread of a stub process.
#[derive(Debug)]
struct Task {
    tid: pid_t,
    process: Arc<Process>,
    slot: usize,
    state: Mutex<State>,
    /// The registers in the slot are those of `state.regs` but for what a system call changes: the stub may return by itself. Changed on
    /// the worker only.
    light: AtomicBool,
    /// How many operations are in its list, to be carried out on the way back to the guest. Changed on the worker only.
    later: AtomicUsize,
    /// How many bytes of its bounce buffer those copy from. Changed on the worker only.
    later_bytes: AtomicUsize,
    /// It has not run yet, nor has anybody else in its process. Changed on the worker only.
    fresh: AtomicBool,
    /// The second word of [`kind::WOKEN`] plus 1, if that was the last message. Changed on the worker only.
    cut_short: AtomicU8,
    /// It is the second guest thread or a later one of its host thread, and has not run yet. Changed on the worker only.
    reused: AtomicBool,
    /// Whether its host thread had used something before it, as that says in its slot.
    before: AtomicBool,
    pace: hot::Pace,
    letters: pause::Letters,
    telling: paths::Telling,
    /// How many notes of its stub were taken: see [`interest`].
    noted: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits at the doorbell, in the hands of the sentry.
    Stopped,
    /// Runs guest code.
    Running,
    /// Was terminated while it ran; ends at its next ring.
    Doomed,
    /// Its guest thread has ended while others of the process live: it waits for another one. Also how a leader keeps the process id.
    Idle,
    /// On its way out through the stub.
    Exiting,
    /// Gone, or about to be.
    Dead,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    token: Token,
    /// The guest's registers at the last trap, unless that was a call of which no more was read than `call`.
    regs: Registers,
    /// The call; valid if `regs` are not.
    call: Option<Call>,
    /// How the stub waits for an answer.
    waits: Waits,
    /// Which windows of the bounce buffer the call has.
    windows: u64,
    /// Counts resumes.
    generation: u64,
    /// An interrupt is on its way since the last resume.
    kicked: bool,
    /// Its handle is gone: no more events.
    terminated: bool,
}

/// How a stopped stub waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// For the answer to this ring.
    Ring(u64),
    /// For a change of its slot; it may fall asleep, and ring the same message again.
    Slot,
    /// It got its answer in the slot, but fell asleep before: its ring is to be answered with this order.
    Owed(u64),
    /// It does not: it has its answer.
    Nothing,
}

/// A thread that must stop soon.
#[derive(Debug)]
struct Kick {
    task: Arc<Task>,
    generation: u64,
    /// CPU time of its process when first looked at, in nanoseconds.
    since: Option<u64>,
    /// CPU time since then when the signal was last sent.
    resent: u64,
}

impl Process {
    /// Memory that is being made is there when somebody else looks at it; unless it takes long, and then it is as with Linux, where a program's memory
    /// is made while others can look at it.
    fn await_beginning(&self) {
        let slot = self.begins.load(Relaxed);
        if slot == 0 {
            return;
        }
        for _ in 0..BEGINNING_LOOKS {
            let [begun] = self.mailboxes.words(slot - 1, BEGUN);
            if begun != 0 || self.killed.load(SeqCst) {
                break;
            }
            // It may want this very processor.
            let _ = bell::poll([None; 3], Some(BEGINNING_LOOK));
        }
        self.begins.store(0, Relaxed);
    }

    /// SIGKILL to the process.
    fn kill(&self) {
        self.killed.store(true, SeqCst);
        // By pidfd: never meets another process. An error means that it is dead.
        let _ = bell::kill(self.pidfd.as_fd());
    }
}

impl AddressSpace for Process {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        if let Some(n) = self.bounced_read(addr, buf) {
            return n;
        }
        self.await_beginning();
        let dead = self.dead.read();
        if *dead || self.killed.load(SeqCst) {
            0
        } else {
            mem::read(self.pid, addr, buf)
        }
    }

    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        if let Some(n) = self.bounced_write(addr, buf) {
            return n;
        }
        self.await_beginning();
        let dead = self.dead.read();
        if *dead || self.killed.load(SeqCst) {
            0
        } else {
            mem::write(self.pid, addr, buf)
        }
    }

    fn kill(&self) {
        Process::kill(self);
    }

    fn has_ended(&self) -> bool {
        let dead = self.dead.read();
        *dead || self.killed.load(SeqCst) || mem::is_gone(self.pid)
    }

    fn await_end(&self, limit: Duration) -> bool {
        if *self.dead.read() {
            return true;
        }
        if !self.killed.load(SeqCst) {
            return false;
        }
        self.kill();
        // Readable when all its threads are dead, whose memory goes before (`do_exit` of the kernel).
        sys::readable_within(self.pidfd.as_fd(), limit)
    }

    fn host_pid(&self) -> Option<u32> {
        let dead = self.dead.read();
        u32::try_from(self.pid).ok().filter(|_| !*dead)
    }

    fn cpu_time(&self) -> (u64, u64) {
        let dead = self.dead.read();
        let live = if *dead {
            None
        } else {
            sys::process_time(self.pid)
        };
        drop(dead);
        live.unwrap_or_else(|| *self.final_time.lock())
    }
}

impl NotifyPlatform {
    /// Starts the zygote. The calling thread becomes the platform's only worker.
    ///
    /// As [`crate::PtracePlatform::launch`], but afterwards [`SENTRY_SYSCALLS`] of this module suffice, and threads are not bound to
    /// a tracer: several platforms may be driven by one thread.
    ///
    /// # Errors
    /// [`Error::Host`] says what the host lacks and what to do.
    pub fn launch() -> Result<NotifyPlatform> {
        NotifyPlatform::start(false)
    }

    /// The `inline` backend: [`NotifyPlatform::launch`] with a gate and hot exchanges.
    ///
    /// # Errors
    /// [`Error::Host`] says what the host lacks and what to do.
    pub fn launch_inline() -> Result<NotifyPlatform> {
        if !std::arch::is_x86_feature_detected!("bmi2") {
            return Err(Error::Host(
                "this processor lacks instructions (BMI2) that the inline platform needs: use notify".into(),
            ));
        }
        NotifyPlatform::start(true)
    }

    fn start(inline: bool) -> Result<NotifyPlatform> {
        let host = |what: &str, e: std::io::Error| Error::Host(format!("cannot {what}: {e}"));
        let shape = Shape::detect();
        if shape.len == 0 || shape.len > FP_LEN {
            return Err(Error::Host(format!(
                "this processor's vector registers take {} bytes, which the notify platform cannot keep: use ptrace",
                shape.len
            )));
        }
        if !bell::has_fsgsbase() {
            return Err(Error::Host(
                "programs cannot set segment bases themselves on this host (FSGSBASE, Linux 5.9 and a processor of 2012 or newer): use ptrace".into(),
            ));
        }
        let maps = std::fs::read_to_string("/proc/self/maps").map_err(|e| {
            Error::Host(format!(
                "cannot read /proc/self/maps: {e} (is /proc mounted?)"
            ))
        })?;
        let (layout, moves) = Layout::choose(&parse_maps(&maps))?;
        let (mailboxes, fd) = Mailboxes::with_shape(SLOT, SLOTS)?;
        mailboxes.take_first(0);
        let deaths = bell::epoll().map_err(|e| host("make an epoll", e))?;
        let bell = bell::eventfd().map_err(|e| host("make an eventfd", e))?;
        let random = RandomState::new();
        let mark = random.hash_one(0);
        let free = zygote::Free {
            mailboxes: fd.as_fd(),
            gate: inline,
            epochs: if inline {
                Some(crate::epochs::descriptor()?)
            } else {
                None
            },
            mark,
        };
        let started = zygote::launch_free(layout, moves, free)?;
        let guard = ZygoteGuard(Some(started.pid));
        // Not before: guests would inherit it.
        sys::be_punctual();
        let pidfd = bell::pidfd(started.pid).map_err(|e| host("watch the zygote", e))?;
        bell::watch(deaths.as_fd(), pidfd.as_fd(), 0).map_err(|e| host("watch the zygote", e))?;
        let sync = bell::set_sync(started.listener.as_fd(), true).is_ok();
        if !sync {
            log::info!("the host kernel wakes doorbells on any core: Linux 6.6 is faster");
        }
        let process = Arc::new(Process {
            pid: started.pid,
            inner_pid: 1,
            pidfd,
            dead: RwLock::new(false),
            killed: AtomicBool::new(false),
            mailboxes,
            bounce: bounce::Bounce::default(),
            files: Mutex::default(),
            idle: Mutex::default(),
            threads: AtomicUsize::new(1),
            had_more: AtomicBool::new(false),
            hosts: AtomicUsize::new(1),
            final_time: Mutex::default(),
            exchange: Mutex::default(),
            begins: AtomicUsize::new(0),
        });
        let state = State::new(Token(0), Registers::default(), 0);
        let zygote = Arc::new(Task::new(started.pid, process, 0, state));
        let inner = Inner {
            layout,
            inline,
            hot: hot::Hot::new(),
            bounced: backlog::Backlog::default(),
            listener: started.listener,
            deaths,
            bell,
            worker: AtomicUsize::new(sys::thread_mark()),
            shape,
            zygote,
            died: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            woken_last: AtomicBool::new(false),
            tasks: Mutex::default(),
            processes: Mutex::default(),
            events: backlog::Backlog::default(),
            strict: sys::commits_strictly(),
            pool: Mutex::default(),
            depot: Arc::default(),
            common: Mutex::default(),
            executable: Mutex::default(),
            idle: AtomicUsize::new(0),
            dropped: backlog::Backlog::default(),
            condemned: Mutex::default(),
            drowsy: AtomicBool::new(false),
            zombies: Mutex::default(),
            nameless: AtomicUsize::new(0),
            mark,
            newest: AtomicI32::new(started.pid),
            kicks: backlog::Backlog::default(),
            minds_at: Mutex::default(),
            running: AtomicUsize::new(0),
            nappers: AtomicUsize::new(0),
            nappers_until: AtomicU64::new(0),
            has_sync: sync,
            sync: AtomicBool::new(sync),
            handoff: handoff::Handoff::default(),
            next: AtomicU64::new(1),
            random,
            aside: pause::Way::default(),
            paused: AtomicUsize::new(0),
            births: Mutex::default(),
            birth: Mutex::default(),
            over: AtomicBool::new(false),
        };
        guard.disarm();
        let platform = NotifyPlatform {
            inner: Arc::new(inner),
        };
        platform.inner.meet_zygote(started.inner_listener)?;
        // The first process is needed anyway, and whatever is missing on this host shows now.
        let first = platform.inner.new_stub().map_err(|e| match e {
            Error::Op { errno, .. } => Error::Host(format!(
                "cannot make a guest process: {} (is a limit on processes, memory or cgroup pids reached?)",
                std::io::Error::from_raw_os_error(errno)
            )),
            Error::Gone => Error::Host("the first guest process died at once".into()),
            e => e,
        })?;
        if sys::read_memory(first.process.pid, layout.base, &mut [0; 8]) != 8 {
            return Err(Error::Host(
                "cannot read the memory of guest processes (is kernel.yama.ptrace_scope above 1?)"
                    .into(),
            ));
        }
        platform.inner.pool.lock().push(first);
        Ok(platform)
    }
}

/// Kills the zygote if the launch fails.
struct ZygoteGuard(Option<pid_t>);

impl ZygoteGuard {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for ZygoteGuard {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = sys::tgkill(pid, pid, libc::SIGKILL);
            sys::reap(pid);
        }
    }
}

impl Task {
    fn new(tid: pid_t, process: Arc<Process>, slot: usize, state: State) -> Task {
        Task {
            tid,
            process,
            slot,
            state: Mutex::new(state),
            light: AtomicBool::new(false),
            later: AtomicUsize::new(0),
            later_bytes: AtomicUsize::new(0),
            fresh: AtomicBool::new(false),
            cut_short: AtomicU8::new(0),
            reused: AtomicBool::new(false),
            before: AtomicBool::new(false),
            pace: hot::Pace::default(),
            letters: pause::Letters::default(),
            telling: paths::Telling::default(),
            noted: AtomicU64::new(0),
        }
    }
}

impl State {
    fn new(token: Token, regs: Registers, ring: u64) -> State {
        State {
            phase: Phase::Stopped,
            token,
            regs,
            call: None,
            waits: Waits::Ring(ring),
            windows: 0,
            generation: 0,
            kicked: false,
            terminated: false,
        }
    }
}

impl Drop for NotifyPlatform {
    fn drop(&mut self) {
        self.inner.shut_down();
    }
}

impl Platform for NotifyPlatform {
    fn name(&self) -> &'static str {
        if self.inner.inline {
            "inline"
        } else {
            "notify"
        }
    }

    fn gate(&self) -> Option<u64> {
        self.inner
            .inline
            .then(|| self.inner.layout.base + free::gate())
    }

    fn max_workers(&self) -> usize {
        1
    }

    fn is_movable(&self) -> bool {
        true
    }

    fn leave(&self) -> bool {
        // Watching binds the worker's thread, and is of no use while nobody looks. So does a birth, and a thread made now would inherit that.
        self.inner.end_watch();
        self.inner.unbind_worker();
        // Whoever takes over need not know whose call was in hand.
        self.inner.close_bounce();
        self.inner.worker.store(0, SeqCst);
        self.inner.running.load(SeqCst) > 0
            || self.inner.paused.load(SeqCst) > 0
            || !self.inner.events.is_empty()
    }

    fn take_over(&self) {
        self.inner.worker.store(sys::thread_mark(), SeqCst);
    }

    fn wait_by(&self, aside: Box<Aside>) {
        self.inner.aside.set(aside);
    }

    fn new_process(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        self.inner.on_worker()?;
        let ready = self.inner.pool.lock().pop();
        let task = match ready {
            Some(task) => task,
            None => self.inner.new_stub()?,
        };
        task.state.lock().token = token;
        task.pace.begins_program();
        let process = Arc::clone(&task.process);
        Ok((
            process,
            Box::new(FreeThread::new(Arc::clone(&self.inner), task)),
        ))
    }

    fn ending(&self) -> Vec<Arc<dyn AddressSpace>> {
        let processes = self.inner.processes.lock();
        let ending = processes.values().filter(|p| p.killed.load(SeqCst));
        ending.map(|p| Arc::clone(p) as _).collect()
    }

    fn next_event(&self) -> Result<Event> {
        self.inner.on_worker()?;
        self.inner.next_event()
    }

    fn wake(&self) {
        self.inner.woken.store(true, SeqCst);
        self.inner.rouse();
    }

    fn vdso(&self) -> Option<Vdso> {
        self.inner.layout.vdso
    }
}

impl Inner {
    /// Errors unless the caller is the worker.
    fn on_worker(&self) -> Result<()> {
        if sys::thread_mark() == self.worker.load(Relaxed) {
            return Ok(());
        }
        Err(Error::Host(
            "a guest thread was used on a thread that is not its platform's worker".into(),
        ))
    }

    /// The last worker has left, and nobody has taken over.
    fn has_no_worker(&self) -> bool {
        self.worker.load(SeqCst) == 0
    }

    /// Ends the worker's wait, if it waits.
    fn rouse(&self) {
        if self.waiting.load(SeqCst) {
            bell::raise(self.bell.as_fd());
        }
    }

    /// Errors if the process of a task was killed.
    fn alive(&self, task: &Task) -> Result<()> {
        if !task.process.killed.load(SeqCst) && !*task.process.dead.read() {
            return Ok(());
        }
        Err(Error::Gone)
    }

    /// Something that a guest cannot guess.
    fn nonce(&self) -> u64 {
        self.random.hash_one(self.next.fetch_add(1, SeqCst))
    }

    /// Address of a slot in a guest process.
    fn slot_address(&self, slot: usize) -> u64 {
        self.layout.mailboxes() + (slot * SLOT) as u64
    }

    /// Waits for the zygote's first ring, then lets it close what it still has and unmap everything but the stub and the vDSO.
    fn meet_zygote(&self, inner_listener: u64) -> Result<()> {
        self.meet(&self.zygote)?;
        let op = |number: i64, a: u64, b: u64| Op {
            number: number.cast_unsigned(),
            args: [a, b, 0, 0, 0, 0],
            with_fd: 0,
        };
        let end = self.layout.end();
        let ops = [
            op(libc::SYS_close, inner_listener, 0),
            op(libc::SYS_munmap, 0, self.layout.base),
            op(libc::SYS_munmap, end, TASK_END - end),
        ];
        self.execute_list(&self.zygote, &ops, &[])
            .map_err(|e| Error::Host(format!("a new guest process could not begin: {e}")))
    }

    /// Kills the zygote, and with it everything in its pid namespace.
    fn shut_down(&self) {
        self.over.store(true, SeqCst);
        self.pool.lock().clear();
        self.events.take();
        let processes: Vec<_> = self.processes.lock().drain().map(|(_, p)| p).collect();
        for process in &processes {
            let mut dead = process.dead.write();
            if let Some(time) = sys::process_time(process.pid) {
                *process.final_time.lock() = time;
            }
            *dead = true;
            process.kill();
        }
        let tasks: Vec<Arc<Task>> = self.tasks.lock().drain().map(|(_, task)| task).collect();
        for task in tasks {
            task.state.lock().phase = Phase::Dead;
        }
        let mut dead = self.zygote.process.dead.write();
        if !std::mem::replace(&mut *dead, true) {
            // The zygote's end waits for everything in its namespace.
            self.zygote.process.kill();
            sys::reap(self.zygote.process.pid);
        }
    }
}
