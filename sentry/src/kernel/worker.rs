//! Workers: threads that take traps and woken tasks, run handlers, and let guests run again.
//!
//! A handler that must wait does not hold its worker: [`park`] registers the task with the queues it waits on and leaves it.
//! Whoever wakes a queue puts the task on the run queue, and a worker (the waker's own, if it is one) runs the handler again.
//!
//! To lose no wake-up, a task registers first and then runs its handler once more; only if that would still wait *and*
//! nobody has woken it meanwhile does it become `PARKED`.

use super::seccomp;
use super::signal::{self, Delivery};
use super::task::exit;
use super::{Cx, ExitStatus, Kernel, Task};
use crate::abi::{Errno, sysno};
use crate::sync::{Events, Notify};
use crate::syscalls::{self, Args, Block, OnSignal, SysErr};
use crate::time::Instant;
use cofferdam_platform::{Event, Trap};
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

thread_local!(static IS_WORKER: Cell<bool> = const { Cell::new(false) });

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

/// Wakes the task if it is parked or parking; whether it was.
fn wake(task: &Arc<Task>) -> bool {
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
    fn enqueue(&self, task: Arc<Task>) {
        self.run_queue.lock().push_back(task);
        if !IS_WORKER.get() {
            self.platform.wake();
        }
    }

    /// Takes events until init has exited. Called on each worker thread.
    ///
    /// # Errors
    /// The platform failed; the sandbox must end.
    pub fn work(self: &Arc<Self>) -> cofferdam_platform::Result<()> {
        IS_WORKER.set(true);
        while !self.stopping.load(Ordering::SeqCst) {
            let next = self.run_queue.lock().pop_front();
            if let Some(task) = next {
                task.run_state.store(PARKING, Ordering::SeqCst);
                step(&task, None);
                continue;
            }
            match self.platform.next_event()? {
                Event::Woken => {}
                Event::Trap(token, trap) => {
                    let task = self.by_token.lock().get(&token.0).cloned();
                    if let Some(task) = task {
                        task.run_state.store(RUNNING, Ordering::SeqCst);
                        step(&task, Some(trap));
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts a task that has never run: its host thread is stopped and its registers are set.
    pub fn start(&self, task: Arc<Task>) {
        task.run_state.store(QUEUED, Ordering::SeqCst);
        self.enqueue(task);
    }
}

/// Runs a task until it is in the guest again, parked or gone. `trap` is `None` for a woken task.
fn step(task: &Arc<Task>, trap: Option<Trap>) {
    let mut local = task.lock_local();
    let mut cx = Cx {
        task,
        local: &mut local,
        mm: task.mm(),
    };
    let go_on = match trap {
        None => cx.local.call.is_none() || cx.local.interrupted.is_some() || run_call(&mut cx),
        Some(Trap::Gone) => {
            exit::group_exit(task.group(), ExitStatus::Signaled(libc::SIGKILL, false));
            true
        }
        Some(t) => match task.thread().map(|t| t.registers()) {
            Some(Ok(regs)) => {
                cx.local.regs = regs;
                trapped(&mut cx, t)
            }
            _ => {
                exit::group_exit(task.group(), ExitStatus::Signaled(libc::SIGKILL, false));
                true
            }
        },
    };
    if go_on {
        resume(&mut cx);
    }
}

fn trapped(cx: &mut Cx<'_>, trap: Trap) -> bool {
    match trap {
        Trap::Syscall => {
            let nr = cx.local.regs.syscall_number();
            let args = cx.local.regs.syscall_args();
            // As the hardware leaves it; also what a restart relies on.
            cx.local.regs.set_return(-i64::from(Errno::ENOSYS.raw()));
            cx.local.progress = Default::default();
            cx.local.call = Some((nr, args));
            if let Some(t) = &cx.task.kernel().tracer {
                t.enter(cx.task, nr, &args);
            }
            if cx.task.seccomp.active() {
                let verdict = seccomp::check(cx, nr, &args);
                if verdict != seccomp::Verdict::Go {
                    if let seccomp::Verdict::Return(v) = verdict {
                        cx.local.regs.set_return(v);
                    }
                    let shown = cx.local.regs.rax.cast_signed();
                    finish(cx, nr, &args, shown);
                    return true;
                }
            }
            run_call(cx)
        }
        Trap::Syscall32 => {
            cx.kernel()
                .log_missing(u64::MAX, "a 32-bit system call entry (int 0x80)");
            cx.local.regs.set_return(-i64::from(Errno::ENOSYS.raw()));
            true
        }
        Trap::Fault { signo, code, addr } => {
            let grown = matches!(signo, libc::SIGSEGV)
                && cx
                    .task
                    .thread()
                    .is_some_and(|t| cx.mm.handle_fault(&*t, addr, &cx.mm_limits()));
            if !grown {
                signal::force_fault(cx, signo, code, addr);
            }
            true
        }
        Trap::Interrupted | Trap::Gone => true,
    }
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
                    .unwrap_or("an unknown number");
                cx.kernel().log_missing(nr, name);
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
                let rax = cx.local.regs.rax.cast_signed();
                finish(cx, nr, &args, rax);
                return true;
            }
            Err(SysErr::Exited) => return false,
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
}

fn unregister(cx: &mut Cx<'_>) {
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
    loop {
        // State first, signals second: a signal sent in between kicks.
        task.run_state.store(PARKING, Ordering::SeqCst);
        match signal::deliver(cx) {
            Delivery::Resume => {}
            Delivery::Stopped => {
                if swap_if(&task.run_state, PARKING, PARKED) {
                    return;
                }
                continue;
            }
            Delivery::ExitTask(status) => {
                exit::exit_task(cx, status);
                return;
            }
            Delivery::Exit(status) => {
                exit::group_exit(task.group(), status);
                exit::exit_task(cx, status);
                return;
            }
        }
        task.run_state.store(GUEST, Ordering::SeqCst);
        if signal::interrupts(task) && swap_if(&task.run_state, GUEST, RUNNING) {
            continue;
        }
        let resumed = match task.thread() {
            Some(t) => t.resume(&cx.local.regs).is_ok(),
            None => false,
        };
        if resumed {
            return;
        }
        task.run_state.store(RUNNING, Ordering::SeqCst);
        exit::group_exit(task.group(), ExitStatus::Signaled(libc::SIGKILL, false));
    }
}

impl Kernel {
    /// Logs a missing call once.
    pub fn log_missing(&self, number: u64, name: &str) {
        if self.missing.lock().insert(number) {
            log::warn!("not implemented: {name} ({number}); the guest got ENOSYS");
        }
    }
}
