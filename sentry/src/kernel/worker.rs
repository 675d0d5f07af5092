//! Workers: threads that take traps and woken tasks, run handlers, and let guests run again.
//!
//! A handler that must wait does not hold its worker: [`park`] registers the task with the queues it waits on and leaves it.
//! Whoever wakes a queue puts the task on the run queue, and a worker (the waker's own, if it is one) runs the handler again.
//!
//! To lose no wake-up, a task registers first and then runs its handler once more; only if that would still wait *and*
//! nobody has woken it meanwhile does it become `PARKED`.

use super::futex::FutexTable;
use super::shift::Work;
use super::signal::{self, Delivery};
use super::task::{GuestRegs, exit};
use super::{Cx, ExitStatus, Kernel, Task};
use super::{ptrace, rewriting, seccomp, vdso_call};
use crate::abi::{Errno, sysno};
use crate::sync::{Events, Notify, work_for};
use crate::syscalls::{self, Args, Block, OnSignal, SysErr};
use crate::time::Instant;
use cofferdam_platform::{CutShort, Event, Thread, Token, Trap};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where a task is.
pub(super) mod state {
    /// A worker runs its handler.
    pub const RUNNING: u8 = 0;
    /// Its host thread runs guest code.
    pub const GUEST: u8 = 1;
    /// Registered with its queues; its worker is about to park it.
    pub const PARKING: u8 = 2;
    /// As PARKING, but somebody has woken it.
    pub const WOKEN: u8 = 3;
    /// Waits without a thread.
    pub const PARKED: u8 = 4;
    /// On the run queue.
    pub const QUEUED: u8 = 5;
}
use state::*;

/// `si_code` of SIGSEGV where nothing is mapped.
const SEGV_MAPERR: i32 = 1;
/// `si_code` of SIGTRAP by the trap flag.
const TRAP_TRACE: i32 = 2;

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    /// A call on this worker has just ended its turn and is on the run queue.
    static TURN_ENDED: Cell<bool> = const { Cell::new(false) };
}

fn swap_if(s: &AtomicU8, from: u8, to: u8) -> bool {
    s.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}

/// Makes the task look at its pending signals soon, wherever it is. Any thread may call it.
pub fn kick(task: &Arc<Task>) {
    if !wake(task)
        && task.run_state.load(Ordering::SeqCst) == GUEST
        && let Some(t) = task.thread()
    {
        t.interrupt();
    }
}

/// The futexes of a task came home: if it runs guest code, it comes and learns of it.
pub(super) fn call_back(task: &Arc<Task>) {
    if task.run_state.load(Ordering::SeqCst) == GUEST
        && let Some(t) = task.thread()
    {
        task.away.store(true, Ordering::Relaxed);
        t.interrupt();
    }
}

/// Wakes the task if it is parked or parking; whether it was.
pub(super) fn wake(task: &Arc<Task>) -> bool {
    loop {
        match task.run_state.load(Ordering::SeqCst) {
            PARKED if swap_if(&task.run_state, PARKED, QUEUED) => {
                task.kernel().enqueue(task.clone());
                return true;
            }
            PARKING if swap_if(&task.run_state, PARKING, WOKEN) => return true,
            PARKED | PARKING => {}
            other => return matches!(other, WOKEN | QUEUED),
        }
    }
}

/// The registration of a task in a wait queue or timer.
pub(super) struct TaskWaker(pub std::sync::Weak<Task>);

impl Notify for TaskWaker {
    fn notify(&self, _: Events) {
        if let Some(t) = self.0.upgrade() {
            wake(&t);
        }
    }
}

impl Kernel {
    fn enqueue(self: &Arc<Self>, task: Arc<Task>) {
        {
            let mut queue = self.run_queue.lock();
            queue.push_back(task);
            self.queued.store(queue.len(), Ordering::Relaxed);
        }
        if !IS_WORKER.get() {
            self.rouse();
        }
    }

    /// Has a worker call `f` soon: only workers may ask the platform for new address spaces, since a tracer is a thread.
    pub fn on_worker(self: &Arc<Self>, f: impl FnOnce() + Send + 'static) {
        self.errands.lock().push_back(Box::new(f));
        self.has_errands.store(true, Ordering::SeqCst);
        self.rouse();
    }

    /// Whether there is something to do for a worker but what guests ask for.
    pub(super) fn has_work(&self) -> bool {
        self.queued.load(Ordering::SeqCst) > 0 || self.has_errands.load(Ordering::SeqCst)
    }

    /// Whether workers are to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn next_errand(&self) -> Option<super::Errand> {
        self.errands.lock().pop_front()
    }

    /// Takes events until init has exited. Called on the thread that launched the platform.
    ///
    /// # Errors
    /// The platform failed; the sandbox must end.
    pub fn work(self: &Arc<Self>) -> cofferdam_platform::Result<()> {
        let worked = self.work_on(true);
        match self.failure() {
            Some(error) => Err(error),
            None => worked,
        }
    }

    /// Works until the sandbox ends, or others do and this thread is not needed.
    fn work_on(self: &Arc<Self>, is_first: bool) -> cofferdam_platform::Result<()> {
        IS_WORKER.set(true);
        if self.platform.is_movable() {
            work_for(Some(Arc::new(Work(Arc::clone(self)))));
        }
        let worked = self.take_events(is_first);
        work_for(None);
        worked
    }

    fn take_events(self: &Arc<Self>, is_first: bool) -> cofferdam_platform::Result<()> {
        let mut known = Known::default();
        while !self.is_stopping() {
            if self.shift.is_wanted() {
                known = Known::default();
                if !self.change_shift(is_first) {
                    return Ok(());
                }
            }
            if let Err(e) = self.take_event(&mut known) {
                self.leave_work();
                return Err(e);
            }
        }
        self.leave_work();
        Ok(())
    }

    fn take_event(self: &Arc<Self>, known: &mut Known) -> cofferdam_platform::Result<()> {
        if self.has_errands.swap(false, Ordering::SeqCst) {
            while let Some(f) = self.next_errand() {
                f();
            }
        }
        if let Some(task) = self.dequeue() {
            task.run_state.store(PARKING, Ordering::SeqCst);
            step(&task, None);
            if TURN_ENDED.take() {
                self.take_traps(known)?;
            }
            return Ok(());
        }
        match self.platform.next_event()? {
            Event::Woken => {}
            Event::Trap(token, trap) => self.trapped(known, token, trap),
        }
        Ok(())
    }

    fn trapped(&self, known: &mut Known, token: Token, trap: Trap) {
        if let Some(task) = known.task(self, token) {
            // Whoever still sees GUEST interrupts a thread that is stopped, which is harmless.
            task.run_state.store(RUNNING, Ordering::Relaxed);
            step(task, Some(trap));
        }
        known.refresh(self);
    }

    /// Handles the traps that wait now, before a call that takes many turns goes on.
    fn take_traps(&self, known: &mut Known) -> cofferdam_platform::Result<()> {
        // Others make calls all the time: the long one must get on, too.
        const MOST: usize = 64;
        let mut none = false;
        for _ in 0..MOST {
            self.platform.wake();
            match self.platform.next_event()? {
                // After a wake a trap goes first: there is none.
                Event::Woken if none => break,
                Event::Woken => none = true,
                Event::Trap(token, trap) => {
                    none = false;
                    self.trapped(known, token, trap);
                }
            }
        }
        Ok(())
    }

    /// The next woken task. Looks without the lock first: who enqueues from elsewhere wakes the platform afterwards.
    fn dequeue(&self) -> Option<Arc<Task>> {
        if self.queued.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut queue = self.run_queue.lock();
        let task = queue.pop_front();
        self.queued.store(queue.len(), Ordering::Relaxed);
        task
    }

    /// Starts a task that has never run: its host thread is stopped and its registers are set.
    pub fn start(self: &Arc<Self>, task: Arc<Task>) {
        task.run_state.store(QUEUED, Ordering::SeqCst);
        self.enqueue(task);
    }
}

/// What a worker thread other than the first does.
pub(super) fn run_beside(kernel: &Arc<Kernel>) {
    if kernel.stand_by(false)
        && let Err(e) = kernel.work_on(false)
    {
        kernel.fail(e);
    }
}

/// Tasks that this worker served lately. Forgotten when any task lets go of its thread, so it keeps no dead one alive for long.
#[derive(Default)]
struct Known {
    /// [`Kernel::departures`] when the entries were made.
    departures: u64,
    tasks: [Option<(Token, Arc<Task>)>; 8],
}

impl Known {
    /// The task with this token.
    fn task(&mut self, kernel: &Kernel, token: Token) -> Option<&Arc<Task>> {
        self.refresh(kernel);
        let slot = self.tasks.get_mut((token.0 % 8) as usize)?;
        if slot.as_ref().is_none_or(|(t, _)| *t != token) {
            let task = kernel.by_token.lock().get(&token.0).cloned();
            *slot = task.map(|t| (token, t));
        }
        slot.as_ref().map(|(_, task)| task)
    }
    fn refresh(&mut self, kernel: &Kernel) {
        let now = kernel.departures.load(Ordering::Acquire);
        if now != self.departures {
            *self = Known {
                departures: now,
                ..Known::default()
            };
        }
    }
}

/// Runs a task until it is in the guest again, parked or gone. `trap` is `None` for a woken task.
fn step(task: &Arc<Task>, trap: Option<Trap>) {
    let mut guard = task.lock_local();
    let local = &mut *guard;
    let mut own = task.take_own(local);
    if run(&mut Cx::new(task, local, &own), trap) {
        if !task.is_current(&own) {
            own = task.own();
        }
        task.publish(local, &own);
        resume(&mut Cx::new(task, local, &own));
    }
    task.keep_own(local, own);
    drop(guard);
    rewriting::settle(task.group());
}

/// Deals with the trap, or goes on with the call of a woken task. False: the task is parked or gone.
fn run(cx: &mut Cx<'_>, trap: Option<Trap>) -> bool {
    let task = cx.task;
    match trap {
        None if cx.local.trace.is_stopped() => traced(cx),
        None => go_on_with_call(cx),
        Some(Trap::Gone) => {
            exit::group_exit(task.group(), ExitStatus::Signaled(libc::SIGKILL, false));
            true
        }
        Some(t) => match cx.thread().map(|thread| registers(thread, t)) {
            Ok(Ok(regs)) => {
                cx.local.regs = regs;
                if t != Trap::Syscall {
                    // No call is in flight.
                    cx.regs().orig_rax = u64::MAX;
                }
                if cx.local.trace.step {
                    cx.regs().eflags &= !ptrace::TRAP_FLAG;
                }
                if task.away.swap(false, Ordering::Relaxed) {
                    let table: Arc<FutexTable> = cx.kernel().extensions.extension();
                    table.look_again(cx.mm);
                }
                if cuts_short(cx, t) {
                    run_call(cx)
                } else {
                    trapped(cx, t)
                }
            }
            _ => {
                exit::group_exit(task.group(), ExitStatus::Signaled(libc::SIGKILL, false));
                true
            }
        },
    }
}

fn go_on_with_call(cx: &mut Cx<'_>) -> bool {
    cx.local.call.is_none() || cx.local.interrupted.is_some() || run_call(cx)
}

/// A task that stopped for its tracer stays so, or goes on if it may. False: it is parked or gone.
fn traced(cx: &mut Cx<'_>) -> bool {
    loop {
        // State first, as ever: who lets it go wakes it afterwards.
        cx.task.run_state.store(PARKING, Ordering::SeqCst);
        if ptrace::ready(cx.task) {
            break;
        }
        if swap_if(&cx.task.run_state, PARKING, PARKED) {
            return false;
        }
    }
    match ptrace::go_on(cx) {
        ptrace::Step::Resume => true,
        ptrace::Step::Call => go_on_with_call(cx),
        ptrace::Step::Begin => begin_call(cx, true),
        ptrace::Step::Again => begin_call(cx, false),
        ptrace::Step::Skip => {
            if let Some((nr, args)) = cx.local.call {
                let shown = cx.local.regs.result();
                finish(cx, nr, &args, shown);
            }
            true
        }
    }
}

/// What is known of the registers after a trap.
fn registers(thread: &dyn Thread, trap: Trap) -> cofferdam_platform::Result<GuestRegs> {
    match thread.call().filter(|_| trap == Trap::Syscall) {
        Some(call) => Ok(call.into()),
        None => Ok(thread.registers()?.into()),
    }
}

/// Whether the trap is that of a call which waited on the host, and is still in flight. Otherwise what was handed to the host is over.
fn cuts_short(cx: &mut Cx<'_>, trap: Trap) -> bool {
    if !std::mem::take(&mut cx.local.on_host) {
        return false;
    }
    let cut = cx.thread().ok().and_then(Thread::cut_short);
    let ordered = matches!(cut, Some(CutShort::Ordered | CutShort::Before));
    if trap == Trap::Syscall && ordered {
        return true;
    }
    cx.local.call = None;
    cx.local.progress = Default::default();
    false
}

/// Parks a task that would run again now; whoever holds it wakes it.
pub(super) fn park_held(task: &Task) -> bool {
    swap_if(&task.run_state, PARKING, PARKED)
}

/// The registers are those of a system call. False: the task is parked or gone.
pub(super) fn call_made(cx: &mut Cx<'_>) -> bool {
    let nr = cx.local.regs.syscall_number();
    let args = cx.local.regs.syscall_args();
    // As the hardware leaves it; also what a restart relies on.
    cx.local.regs.set_return(-i64::from(Errno::ENOSYS.raw()));
    cx.local.progress = Default::default();
    cx.local.call = Some((nr, args));
    if ptrace::enter_call(cx) {
        traced(cx)
    } else {
        begin_call(cx, true)
    }
}

fn trapped(cx: &mut Cx<'_>, trap: Trap) -> bool {
    match trap {
        Trap::Syscall => {
            if cx.kernel().texts.is_some() {
                rewriting::note_trap(cx);
            }
            call_made(cx)
        }
        Trap::Syscall32 => {
            cx.kernel()
                .log_missing("a 32-bit system call entry (int 0x80)");
            cx.local.regs.set_return(-i64::from(Errno::ENOSYS.raw()));
            true
        }
        // The step that a tracer wanted who is gone.
        Trap::Fault {
            signo: libc::SIGTRAP,
            code: TRAP_TRACE,
            ..
        } if cx.local.trace.step && !cx.task.tracing.is_traced() => {
            cx.local.trace.step = false;
            true
        }
        Trap::Fault { signo, code, addr } => {
            if signo == libc::SIGSEGV
                && let Some(goes_on) = vdso_call::made(cx, addr)
            {
                return goes_on;
            }
            // That of an instruction which was moved.
            let addr = cx.mm.shown_address(addr);
            // What is mapped and forbidden (executing the stack) does not become allowed by trying again.
            let grown = (signo, code) == (libc::SIGSEGV, SEGV_MAPERR)
                && cx
                    .thread()
                    .is_ok_and(|t| cx.mm.handle_fault(t, addr, &cx.mm_limits()));
            if !grown {
                signal::force_fault(cx, signo, code, addr);
            }
            true
        }
        Trap::Interrupted | Trap::Gone => true,
    }
}

/// A call begins. `first`: no tracer has been asked about it by a seccomp filter. False: the task is parked or gone.
fn begin_call(cx: &mut Cx<'_>, first: bool) -> bool {
    let Some((nr, args)) = cx.local.call else {
        return true;
    };
    if first && let Some(t) = &cx.task.kernel().tracer {
        t.enter(cx.task, nr, &args);
    }
    if cx.task.seccomp.active() {
        match seccomp::check(cx, nr, &args) {
            seccomp::Verdict::Go => {}
            seccomp::Verdict::Ask(data) => {
                if first {
                    if ptrace::seccomp_stop(cx, data) {
                        return traced(cx);
                    }
                    // Nobody traces: the call is not there.
                    let missing = -i64::from(Errno::ENOSYS.raw());
                    cx.local.regs.set_return(missing);
                    finish(cx, nr, &args, missing);
                    return true;
                }
            }
            verdict => {
                if let seccomp::Verdict::Return(v) = verdict {
                    cx.local.regs.set_return(v);
                }
                let shown = cx.local.regs.result();
                finish(cx, nr, &args, shown);
                return true;
            }
        }
    }
    cx.touch_output();
    run_call(cx)
}

/// Runs the handler of the call in flight. False: the task is parked or gone.
fn run_call(cx: &mut Cx<'_>) -> bool {
    loop {
        // Anew each time: restart_syscall(2) turns into the call that it continues.
        let Some((nr, args)) = cx.local.call else {
            return true;
        };
        let outcome = match syscalls::lookup(nr) {
            Some(call) => (call.handler)(cx, &Args(args)),
            None => {
                let name = usize::try_from(nr)
                    .ok()
                    .and_then(sysno::name)
                    .unwrap_or("an unknown system call number");
                cx.kernel().log_missing(name);
                Err(Errno::ENOSYS.into())
            }
        };
        if cx.task.restart.load(Ordering::Relaxed) {
            cx.task.restart.store(false, Ordering::Relaxed);
            if matches!(outcome, Err(SysErr::Errno(_) | SysErr::Block(_))) {
                interrupt(cx, nr, &args, OnSignal::RestartSys);
                return true;
            }
        }
        let value = match outcome {
            Ok(v) => v,
            Err(SysErr::Errno(e)) => -i64::from(e.raw()),
            Err(SysErr::NoReturn) => {
                let rax = cx.local.regs.result();
                finish(cx, nr, &args, rax);
                return true;
            }
            Err(SysErr::Exited) => return false,
            Err(SysErr::Traced) => {
                unregister(cx);
                return traced(cx);
            }
            Err(SysErr::Again) => {
                if must_stop_waiting(cx, OnSignal::Killable) {
                    interrupt(cx, nr, &args, OnSignal::Killable);
                    return true;
                }
                go_behind(cx);
                TURN_ENDED.set(true);
                return false;
            }
            Err(SysErr::Later) => {
                go_behind(cx);
                return false;
            }
            Err(SysErr::Host(wait)) => {
                if must_stop_waiting(cx, wait.on_signal) {
                    interrupt(cx, nr, &args, wait.on_signal);
                } else {
                    unregister(cx);
                    cx.local.host_wait = Some(wait);
                }
                return true;
            }
            Err(SysErr::Interrupted(how)) => {
                interrupt(cx, nr, &args, how);
                return true;
            }
            Err(SysErr::Block(b)) => {
                if must_stop_waiting(cx, b.on_signal) {
                    interrupt(cx, nr, &args, b.on_signal);
                    return true;
                }
                if park(cx, &b) {
                    return false;
                }
                continue;
            }
        };
        cx.local.regs.set_return(value);
        finish(cx, nr, &args, value);
        return true;
    }
}

/// The task goes on when those have that are on the run queue.
fn go_behind(cx: &mut Cx<'_>) {
    unregister(cx);
    cx.task.run_state.store(QUEUED, Ordering::SeqCst);
    cx.kernel().enqueue(cx.task.clone());
}

fn must_stop_waiting(cx: &Cx<'_>, how: OnSignal) -> bool {
    match how {
        OnSignal::Killable => cx.group().is_exiting() || signal::must_die(cx.task),
        _ => signal::interrupts(cx.task),
    }
}

/// The call has its result.
fn finish(cx: &mut Cx<'_>, nr: u64, args: &[u64; 6], value: i64) {
    unregister(cx);
    cx.local.call = None;
    cx.local.progress = Default::default();
    if let Some(t) = &cx.task.kernel().tracer {
        t.exit(cx.task, nr, args, value);
    }
    if cx.task.tracing.is_traced() {
        ptrace::left_call(cx);
    }
}

/// The call was ended by a signal: `signal::deliver` makes of it what the handler found says.
fn interrupt(cx: &mut Cx<'_>, nr: u64, args: &[u64; 6], how: OnSignal) {
    unregister(cx);
    if let Some(t) = &cx.task.kernel().tracer {
        let shown = match how {
            OnSignal::Value(v) => v,
            _ => -i64::from(Errno::EINTR.raw()),
        };
        t.exit(cx.task, nr, args, shown);
    }
    cx.local.interrupted = Some(how);
    if cx.task.tracing.is_traced() {
        ptrace::left_call(cx);
    }
}

fn unregister(cx: &mut Cx<'_>) {
    // Most calls never waited.
    if !cx.local.registered && cx.local.waits.is_empty() {
        return;
    }
    cx.task.run_state.store(RUNNING, Ordering::SeqCst);
    for (queue, key) in cx.local.waits.drain(..) {
        queue.unregister(key);
    }
    cx.local.timer = None;
    cx.local.timer_deadline = None;
    cx.local.registered = false;
}

/// One step of parking. True: the task is parked. False: run the handler again.
fn park(cx: &mut Cx<'_>, b: &Block) -> bool {
    let task = cx.task;
    let same = cx.local.waits.len() == b.queues.len()
        && cx
            .local
            .waits
            .iter()
            .zip(&b.queues)
            .all(|((q, _), (want, _))| Arc::ptr_eq(q, want))
        && cx.local.timer_deadline == b.deadline
        && cx.local.registered;
    if same {
        if swap_if(&task.run_state, PARKING, PARKED) {
            task.group().switches.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        task.run_state.store(PARKING, Ordering::SeqCst);
        return false;
    }
    unregister(cx);
    task.run_state.store(PARKING, Ordering::SeqCst);
    cx.local.registered = true;
    cx.local
        .progress
        .waiting_since
        .get_or_insert_with(Instant::now);
    let waker: Arc<dyn Notify> = task.waker();
    for (queue, events) in &b.queues {
        let key = queue.register(waker.clone(), *events);
        cx.local.waits.push((queue.clone(), key));
    }
    cx.local.timer_deadline = b.deadline;
    cx.local.timer = b.deadline.map(|d| cx.task.kernel().timers.arm(d, waker));
    false
}

/// Delivers signals and lets the guest run, unless the task is stopped or exits.
fn resume(cx: &mut Cx<'_>) {
    let task = cx.task;
    if cx.local.interrupted.is_none()
        && cx.local.saved_mask.is_none()
        && !signal::interrupts(task)
        && !cx.group().rewriting.wanted()
        && enter_guest(cx)
    {
        return;
    }
    // Signal frames and what an exit leaves behind are written to memory as the call left it. A process that cannot have it so has been killed.
    let _ = cx.thread().is_ok_and(|t| t.settle().is_ok());
    loop {
        // State first, signals second: a signal sent in between kicks.
        task.run_state.store(PARKING, Ordering::SeqCst);
        if cx.local.host_wait.is_some() && !give_up_host_wait(cx) {
            return;
        }
        match signal::deliver(cx) {
            Delivery::Resume => {}
            Delivery::Stopped => {
                if swap_if(&task.run_state, PARKING, PARKED) {
                    return;
                }
                continue;
            }
            Delivery::ExitTask(status) => {
                if ptrace::dying(cx, status) {
                    continue;
                }
                exit::exit_task(cx, status);
                return;
            }
            Delivery::Exit(status) => {
                exit::group_exit(task.group(), status);
                if ptrace::dying(cx, status) {
                    continue;
                }
                exit::exit_task(cx, status);
                return;
            }
        }
        if rewriting::hold(cx) {
            return;
        }
        if enter_guest(cx) {
            return;
        }
    }
}

/// A call that was to wait on the host does not, since the task cannot run now. False: it is parked.
fn give_up_host_wait(cx: &mut Cx<'_>) -> bool {
    if signal::interrupts(cx.task) {
        // Once more: it makes of the signal what is right.
        cx.local.host_wait = None;
        if !run_call(cx) {
            return false;
        }
    }
    if let (Some(wait), Some((nr, args))) = (cx.local.host_wait.take(), cx.local.call) {
        // It begins anew.
        interrupt(cx, nr, &args, wait.on_signal);
    }
    cx.task.run_state.store(PARKING, Ordering::SeqCst);
    true
}

/// Lets the guest run. False: there are signals to look at (again).
fn enter_guest(cx: &mut Cx<'_>) -> bool {
    let task = cx.task;
    // State first, signals second, as above.
    task.run_state.store(GUEST, Ordering::SeqCst);
    let called = signal::interrupts(task) || cx.group().rewriting.wanted();
    if called && swap_if(&task.run_state, GUEST, RUNNING) {
        return false;
    }
    if cx.local.trace.step {
        cx.regs().eflags |= ptrace::TRAP_FLAG;
    }
    let resumed = match (cx.local.host_wait.take(), cx.local.call) {
        (Some(wait), Some((_, args))) => {
            cx.local.on_host = true;
            let until = wait.until.map(|at| at.0);
            let regs = *cx.regs();
            cx.thread()
                .is_ok_and(|t| t.resume_asleep(&regs, args, until).is_ok())
        }
        _ => cx.thread().is_ok_and(|t| cx.local.regs.resume(t).is_ok()),
    };
    if resumed {
        // Who saw GUEST before the thread ran, which may have waited aside, has interrupted nothing.
        if (signal::interrupts(task) || cx.group().rewriting.wanted())
            && let Ok(thread) = cx.thread()
        {
            thread.interrupt();
        }
        return true;
    }
    task.run_state.store(RUNNING, Ordering::SeqCst);
    exit::group_exit(task.group(), ExitStatus::Signaled(libc::SIGKILL, false));
    false
}

impl Kernel {
    /// Logs something that is missing, once. A name, not what the guest gave: it could fill memory and log.
    pub fn log_missing(&self, what: &'static str) {
        if self.missing.lock().insert(what) {
            log::warn!("not implemented: {what}; the guest got an error");
        }
    }

    /// Logs, once, a call that no sandbox has or grants. Programs that ask are used to that answer, so it is no warning.
    pub fn log_refused(&self, call: &'static str) {
        if self.missing.lock().insert(call) {
            log::info!("refused: {call}, as for every sandbox");
        }
    }
}
