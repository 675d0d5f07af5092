//! The `ptrace` backend: system calls trap by PTRACE_SYSEMU.
//!
//! One worker thread, the one that calls [`PtracePlatform::launch`], is the tracer of all stubs; only it may call the methods of
//! [`crate::Thread`] (except `interrupt` and dropping) and [`Platform::next_event`]. `wait` turns stops into events,
//! `exchange` lets the stub work for the sentry, `thread` is the guest thread.
//!
//! Lock order: `Inner::tasks`, then a task's `state`, then its process's `dead`.
mod exchange;
mod place;
mod thread;
mod wait;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use libc::pid_t;
use parking_lot::{Mutex, RwLock};

use crate::stub::filter;
use crate::stub::mailbox::Mailboxes;
use crate::stub::{Layout, PAGE, TASK_END, parse_maps};
use crate::wake::Waker;
use crate::zygote::{self, Zygote};
use crate::{
    AddressSpace, Error, Event, Platform, Registers, Result, Thread, Token, Vdso, mem, sys,
};
use place::{Place, Placement};
use thread::PtraceThread;

/// How many stub processes are kept ready.
const POOL: usize = 3;

/// The platform. Dropping it ends every stub process.
pub struct PtracePlatform {
    inner: Arc<Inner>,
}

/// What all handles share.
#[derive(Debug)]
struct Inner {
    layout: Layout,
    zygote: Zygote,
    zygote_place: Place,
    placement: Placement,
    waker: Waker,
    woken: AtomicBool,
    /// The last event was `Woken`.
    woken_last: AtomicBool,
    /// Every host thread of every stub process, by host thread id.
    tasks: Mutex<HashMap<pid_t, Arc<Task>>>,
    pool: Mutex<Vec<Arc<Task>>>,
    /// Threads whose handle was dropped elsewhere than on the worker.
    dropped: Mutex<Vec<Arc<Task>>>,
    /// The zygote died or the platform was dropped.
    over: AtomicBool,
}

/// A stub process.
#[derive(Debug)]
struct Process {
    pid: pid_t,
    /// Set before the process is reaped, so that whoever holds this lock and finds false may use `pid`.
    dead: RwLock<bool>,
    /// Was sent SIGKILL.
    killed: AtomicBool,
    mailboxes: Mailboxes,
    /// Guest threads that were not terminated.
    threads: AtomicUsize,
    /// Host threads that may run guest code.
    hosts: AtomicUsize,
    /// CPU time at its end.
    final_time: Mutex<(u64, u64)>,
}

/// A host thread of a stub process.
#[derive(Debug)]
struct Task {
    tid: pid_t,
    process: Arc<Process>,
    slot: usize,
    place: Place,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In a ptrace stop, in the hands of the sentry.
    Stopped,
    /// Runs guest code.
    Running,
    /// Was terminated while it ran; ends at its next stop.
    Doomed,
    /// A leader whose guest thread has ended while others live: it stays in a ptrace stop to keep the process id.
    Parked,
    /// On its way out through the stub.
    Exiting,
    /// Reaped, or about to be.
    Dead,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    token: Token,
    /// The guest's registers at the last trap.
    regs: Registers,
}

impl Process {
    /// SIGKILL to the process unless it is dead.
    fn kill(&self) {
        self.killed.store(true, SeqCst);
        let dead = self.dead.read();
        if !*dead {
            // ESRCH cannot happen while the lock is held; nothing to do about anything else.
            let _ = sys::tgkill(self.pid, self.pid, libc::SIGKILL);
        }
    }
}

impl AddressSpace for Process {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let dead = self.dead.read();
        if *dead {
            0
        } else {
            mem::read(self.pid, addr, buf)
        }
    }

    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        let dead = self.dead.read();
        if *dead {
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
        *dead || mem::is_gone(self.pid)
    }

    fn await_end(&self, limit: Duration) -> bool {
        if !self.killed.load(SeqCst) {
            return *self.dead.read();
        }
        let end = Instant::now() + limit;
        let mut without = 0;
        loop {
            let dead = self.dead.read();
            without += u32::from(!*dead && mem::is_gone(self.pid));
            // It is not said of a leader before its other threads have been reaped, which only the tracer does; they have given up their memory a moment after the leader.
            let over = *dead
                || sys::wait_for_any_thread(self.pid).is_ok_and(|w| w.is_some())
                || without > 10;
            drop(dead);
            if over || Instant::now() >= end {
                return over;
            }
            sys::pause(1);
        }
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

/// The host system calls of this backend in the sentry after launch, with the reason for each. For its seccomp allow-list.
pub const SENTRY_SYSCALLS: &[(i64, &str)] = &[
    (libc::SYS_ptrace, "runs and inspects stub threads"),
    (libc::SYS_waitid, "learns that a stub thread stopped"),
    (libc::SYS_wait4, "reaps stub threads"),
    (
        libc::SYS_tgkill,
        "interrupts and kills stub threads, wakes the worker",
    ),
    (libc::SYS_process_vm_readv, "reads guest memory"),
    (libc::SYS_process_vm_writev, "writes guest memory"),
    (libc::SYS_poll, "waits for the doorbell"),
    (
        libc::SYS_ioctl,
        "receives and answers the doorbell (SECCOMP_IOCTL_NOTIF_*)",
    ),
    (libc::SYS_memfd_create, "mailboxes"),
    (libc::SYS_ftruncate, "mailboxes"),
    (libc::SYS_fcntl, "seals mailboxes (F_ADD_SEALS)"),
    (libc::SYS_mmap, "maps mailboxes"),
    (libc::SYS_munmap, "unmaps mailboxes"),
    (libc::SYS_close, "closes mailboxes"),
    (libc::SYS_clock_gettime, "CPU time of stub processes"),
    (libc::SYS_gettid, "finds out whether it runs on the worker"),
    (
        libc::SYS_sched_setaffinity,
        "brings the worker and a lone guest thread to one core",
    ),
    (libc::SYS_futex, "locks"),
    (
        libc::SYS_rt_sigreturn,
        "returns from the wake-up signal's handler",
    ),
];

impl PtracePlatform {
    /// Starts the zygote. The calling thread becomes the platform's only worker.
    ///
    /// The caller must still be allowed to make namespaces (CAP_SYS_ADMIN in its user namespace) and must already
    /// have the user and group ids that the sentry will keep: a sentry without capabilities may only
    /// touch processes of its own ids. Afterwards [`SENTRY_SYSCALLS`] suffice. A thread can drive one platform at a time.
    ///
    /// # Errors
    /// [`Error::Host`] says what the host lacks and what to do.
    pub fn launch() -> Result<PtracePlatform> {
        let maps = std::fs::read_to_string("/proc/self/maps").map_err(|e| {
            Error::Host(format!(
                "cannot read /proc/self/maps: {e} (is /proc mounted?)"
            ))
        })?;
        let (layout, moves) = Layout::choose(&parse_maps(&maps))?;
        let waker = Waker::for_this_thread()
            .map_err(|e| Error::Host(format!("cannot install a signal handler: {e}")))?;
        let zygote = zygote::launch(layout, moves)?;
        let inner = Inner {
            layout,
            zygote,
            zygote_place: Place::anywhere(),
            placement: Placement::new(),
            waker,
            woken: AtomicBool::new(false),
            woken_last: AtomicBool::new(false),
            tasks: Mutex::default(),
            pool: Mutex::default(),
            dropped: Mutex::default(),
            over: AtomicBool::new(false),
        };
        let platform = PtracePlatform {
            inner: Arc::new(inner),
        };
        platform.inner.empty_zygote()?;
        // The first process is needed anyway, and whatever is missing on this host shows now.
        let first = platform.inner.new_stub().map_err(|e| match e {
            Error::Op { errno: libc::EINVAL, .. } => Error::Host(
                "the host kernel cannot hand descriptors to guest processes: Linux 5.14 or newer is needed".into(),
            ),
            Error::Op { errno, .. } => Error::Host(format!(
                "cannot make a guest process: {} (is a limit on processes, memory or cgroup pids reached?)",
                std::io::Error::from_raw_os_error(errno)
            )),
            Error::Gone => Error::Host("the first guest process died at once".into()),
            e => e,
        })?;
        platform.inner.pool.lock().push(first);
        Ok(platform)
    }
}

impl Drop for PtracePlatform {
    fn drop(&mut self) {
        self.inner.shut_down();
    }
}

impl Platform for PtracePlatform {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    fn max_workers(&self) -> usize {
        1
    }

    fn new_process(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        self.inner.on_worker()?;
        let ready = self.inner.pool.lock().pop();
        let task = match ready {
            Some(task) => task,
            None => self.inner.new_stub()?,
        };
        task.state.lock().token = token;
        let process = Arc::clone(&task.process);
        Ok((
            process,
            Box::new(PtraceThread::new(Arc::clone(&self.inner), task)),
        ))
    }

    fn ending(&self) -> Vec<Arc<dyn AddressSpace>> {
        let tasks = self.inner.tasks.lock();
        let leaders = tasks.values().filter(|t| t.tid == t.process.pid);
        let ending = leaders.filter(|t| t.process.killed.load(SeqCst));
        ending.map(|t| Arc::clone(&t.process) as _).collect()
    }

    fn next_event(&self) -> Result<Event> {
        self.inner.on_worker()?;
        self.inner.next_event()
    }

    fn wake(&self) {
        self.inner.woken.store(true, SeqCst);
        self.inner.waker.wake();
    }

    fn vdso(&self) -> Option<Vdso> {
        self.inner.layout.vdso
    }
}

impl Inner {
    /// Errors unless the caller is the tracer.
    fn on_worker(&self) -> Result<()> {
        if sys::gettid() == self.waker.worker() {
            return Ok(());
        }
        Err(Error::Host(
            "a guest thread was used on a thread that is not its platform's worker".into(),
        ))
    }

    /// Lets the zygote close what it still has and unmap everything but the stub and the vDSO.
    fn empty_zygote(&self) -> Result<()> {
        let close = [self.zygote.inner_listener, 0, 0, 0, 0, 0];
        let low = [0, self.layout.base, 0, 0, 0, 0];
        let high = [self.layout.end(), TASK_END - self.layout.end(), 0, 0, 0, 0];
        for (number, args) in [
            (libc::SYS_close, close),
            (libc::SYS_munmap, low),
            (libc::SYS_munmap, high),
        ] {
            let (ret, _) = self.syscall(self.zygote.pid, number, args)?;
            if ret < 0 {
                return Err(Error::Host(format!(
                    "a new guest process could not do system call {number}: errno {}",
                    -ret
                )));
            }
        }
        Ok(())
    }

    /// A new stub process from the zygote, its mailboxes mapped, stopped.
    fn new_stub(&self) -> Result<Arc<Task>> {
        if self.over.load(SeqCst) {
            return Err(Error::Host(
                "the zygote died: no new guest process can be made".into(),
            ));
        }
        self.placement.place(self.zygote.pid, &self.zygote_place);
        let pid = self
            .clone_task(self.zygote.pid, filter::STUB_FLAGS)
            .map_err(|e| match e {
                Error::Gone => {
                    Error::Host("the zygote died: no new guest process can be made".into())
                }
                e => e,
            })?;
        self.adopt(
            pid,
            self.zygote_place.inherited(),
            Registers::default(),
            Token(0),
        )
    }

    /// Makes a task of the fresh process `pid`, which is in its first stop.
    fn adopt(&self, pid: pid_t, place: Place, regs: Registers, token: Token) -> Result<Arc<Task>> {
        let made = Mailboxes::new().map(|(mailboxes, fd)| {
            let process = Arc::new(Process {
                pid,
                dead: RwLock::new(false),
                killed: AtomicBool::new(false),
                mailboxes,
                threads: AtomicUsize::new(1),
                hosts: AtomicUsize::new(1),
                final_time: Mutex::default(),
            });
            let slot = process.mailboxes.take().unwrap_or(0);
            (self.register(pid, process, slot, place, regs, token), fd)
        });
        let (task, fd) = match made {
            Ok(made) => made,
            Err(e) => {
                let _ = sys::tgkill(pid, pid, libc::SIGKILL); // reaped by next_event as a stranger
                return Err(e);
            }
        };
        if let Err(e) = self.map_mailboxes(&task, fd.as_fd()) {
            task.state.lock().phase = Phase::Doomed;
            task.process.kill();
            return Err(e);
        }
        Ok(task)
    }

    fn register(
        &self,
        tid: pid_t,
        process: Arc<Process>,
        slot: usize,
        place: Place,
        regs: Registers,
        token: Token,
    ) -> Arc<Task> {
        let state = Mutex::new(State {
            phase: Phase::Stopped,
            token,
            regs,
        });
        let task = Arc::new(Task {
            tid,
            process,
            slot,
            place,
            state,
        });
        self.tasks.lock().insert(tid, Arc::clone(&task));
        task
    }

    /// Adds a stub to the pool; false if it is full or none can be made, which shows when a process is really needed.
    fn refill(&self) -> bool {
        if self.over.load(SeqCst) || self.pool.lock().len() >= POOL {
            return false;
        }
        match self.new_stub() {
            Ok(task) => {
                self.pool.lock().push(task);
                true
            }
            Err(e) => {
                log::debug!("no stub for the pool: {e}");
                false
            }
        }
    }

    /// Kills the zygote, and with it everything in its pid namespace, and reaps it all.
    fn shut_down(&self) {
        self.over.store(true, SeqCst);
        self.pool.lock().clear();
        // Everything must be dead before ids are free again: first mark, then kill, then reap.
        let tasks: Vec<Arc<Task>> = self.tasks.lock().drain().map(|(_, task)| task).collect();
        for task in &tasks {
            task.state.lock().phase = Phase::Dead;
            let mut dead = task.process.dead.write();
            if !*dead {
                if let Some(time) = sys::process_time(task.process.pid) {
                    *task.process.final_time.lock() = time;
                }
                let _ = sys::tgkill(task.process.pid, task.process.pid, libc::SIGKILL);
                *dead = true;
            }
        }
        let _ = sys::tgkill(self.zygote.pid, self.zygote.pid, libc::SIGKILL);
        // A leader can be reaped only after its other threads.
        for task in tasks.iter().filter(|t| t.tid != t.process.pid) {
            sys::reap(task.tid);
        }
        for task in tasks.iter().filter(|t| t.tid == t.process.pid) {
            sys::reap(task.tid);
        }
        // The zygote's end waits for everything in its namespace; what nobody ordered may never be reaped here
        // and goes with the tracer.
        for _ in 0..2000 {
            if !matches!(sys::wait_for_any_thread(self.zygote.pid), Ok(None)) {
                sys::reap(self.zygote.pid);
                return;
            }
            sys::pause(1);
        }
    }
}

const _: () = assert!(PAGE == 4096);

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter as it is installed: a call that is not listed ends the stub, and nobody else.
    #[test]
    fn forbidden_calls_of_a_stub_end_it() {
        let platform = match PtracePlatform::launch() {
            Ok(platform) => platform,
            Err(e) => return println!("skipped: {e}"), // the conformance tests insist
        };
        let forbidden = [
            (libc::SYS_getpid, [0; 6]),
            (libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
            (libc::SYS_openat, [0; 6]),
            (libc::SYS_ptrace, [0; 6]),
            (libc::SYS_kill, [u64::MAX, 9, 0, 0, 0, 0]),
            (libc::SYS_execve, [0; 6]),
            (libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0]),
            (
                libc::SYS_clone,
                [libc::CLONE_NEWUSER as u64 | 17, 0, 0, 0, 0, 0],
            ),
            (
                libc::SYS_clone,
                [libc::CLONE_UNTRACED as u64 | 17, 0, 0, 0, 0, 0],
            ),
            (libc::SYS_clone3, [0; 6]),
            (libc::SYS_madvise, [0, 4096, 12, 0, 0, 0]),
            (libc::SYS_rt_sigreturn, [0; 6]),
            (libc::SYS_mmap | 0x4000_0000, [0; 6]),
        ];
        for (number, args) in forbidden {
            let task = platform.inner.new_stub().unwrap();
            let result = platform.inner.syscall(task.tid, number, args);
            assert!(matches!(result, Err(Error::Gone)), "{number}: {result:?}");
        }
        let task = platform.inner.new_stub().unwrap();
        let (ret, _) = platform
            .inner
            .syscall(task.tid, libc::SYS_munmap, [0x1_0000, 4096, 0, 0, 0, 0])
            .unwrap();
        assert_eq!(ret, 0);
    }
}
