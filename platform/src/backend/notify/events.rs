//! From rings and deaths to events.
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use super::exchange::{IN_SLOT, NO_MEMORY};
use super::place::Place;
use super::{Inner, MOST_ZOMBIES, Phase, Process, State, Task, Waits, ZOMBIES};
use crate::bell::{self, Ring};
use crate::stub::filter::DOORBELL;
use crate::stub::free;
use crate::stub::slot::{CALL, LINE, REGS, kind, order, woken};
use crate::{Call, Error, Event, Registers, Result, Trap, mem, sys, wake};

const AUDIT_ARCH_X86_64: u64 = 0xc000_003e;
const AUDIT_ARCH_I386: u64 = 0x4000_0003;
/// `si_code` of a SIGSYS that seccomp raised.
const SYS_SECCOMP: u64 = 1;
const ENOSYS: i64 = -(libc::ENOSYS as i64);
/// How long the worker sleeps at most while threads have not stopped that were interrupted: they may ignore it.
const TICK: Duration = Duration::from_millis(20);
/// How long the dead wait at most to be buried while others make calls, in processor cycles.
const MOURNING: u64 = 3_000_000;
/// While guests run, a process for the pool is made only when none of them has said anything for so long: in between, all would wait for it.
const LULL: Duration = Duration::from_micros(20);
/// The same before dead processes are buried: longer than the host's tick, since a timer that ends before costs as much as a ring.
const REST: Duration = Duration::from_millis(5);
/// CPU time after which a process is killed if a thread of it ignores an interrupt, in nanoseconds.
const PATIENCE: u64 = 50_000_000;
/// How many times as long as it took is waited before interrupted threads are looked at again: a process that is killed may have thousands.
const MIND_SHARE: u32 = 10;
/// CPU time after which an interrupt is sent again, in nanoseconds.
const RESEND: u64 = 5_000_000;

/// A trap as a ring tells it, or `None` if no stub rings so.
fn trap(args: [u64; 6], regs: &mut Registers) -> Option<Trap> {
    let [_, signo, code, addr, info, _] = args;
    let number = regs.rax;
    regs.orig_rax = u64::MAX;
    let signo = i32::try_from(signo).ok()?;
    match signo {
        libc::SIGSYS if code == SYS_SECCOMP => {
            regs.orig_rax = number;
            regs.set_return(ENOSYS);
            match info >> 32 {
                AUDIT_ARCH_X86_64 => Some(Trap::Syscall),
                AUDIT_ARCH_I386 => Some(Trap::Syscall32),
                _ => None,
            }
        }
        libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP => {
            Some(Trap::Fault {
                signo,
                code: code as i32,
                addr,
            })
        }
        wake::SIGNAL => Some(Trap::Interrupted),
        _ => None,
    }
}

/// What came of a message.
pub(super) enum Heard {
    /// The thread has stopped, for this reason.
    Trap(Trap),
    /// It has stopped, and is to leave: [`Inner::finish`].
    Doomed,
    /// The thread did not run, so it is a message that is being handled; or it talks nonsense and is killed.
    Nothing,
}

/// Makes of the registers of a gate those that a guest has behind its `syscall` instruction.
fn as_call(regs: &mut Registers) {
    // Nothing else was saved.
    regs.cs = 0x33;
    regs.ss = 0x2b;
    regs.orig_rax = u64::from(regs.rax as u32);
    regs.set_return(ENOSYS);
    regs.rcx = regs.rip;
    regs.r11 = regs.eflags;
}

/// A call as it is posted in the slot: its number comes with the state.
fn call_posted(task: &Task, [_, _, number, ..]: [u64; 6]) -> Call {
    let [_, rdi, rsi, rdx, r10, r8, r9, rip] = task.process.mailboxes.words(task.slot, LINE);
    Call {
        number: u64::from(number as u32),
        args: [rdi, rsi, rdx, r10, r8, r9],
        rip,
    }
}

/// A call whose stub rings.
fn call_rung(task: &Task) -> Call {
    let [r9, r8, rax, r10, rdx, rsi, rdi, rip] = task.process.mailboxes.words(task.slot, CALL);
    Call {
        number: u64::from(rax as u32),
        args: [rdi, rsi, rdx, r10, r8, r9],
        rip,
    }
}

/// uretprobe(2) and uprobe(2) pass every seccomp filter (Linux 6.11, 6.18); called from anywhere but the kernel's own trampolines they raise
/// SIGILL and lose their number. The guest sees an unknown system call.
fn unfiltered(task: &Task, trap: Trap, regs: &mut Registers) -> Trap {
    const SYS_URETPROBE: u64 = 335;
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    let kernel = Trap::Fault {
        signo: libc::SIGILL,
        code: 0x80,
        addr: 0,
    };
    let mut code = [0; 2];
    if trap != kernel
        || regs.rcx != regs.rip
        || mem::read(task.process.pid, regs.rip.wrapping_sub(2), &mut code) != 2
        || code != SYSCALL
    {
        return trap;
    }
    regs.orig_rax = SYS_URETPROBE;
    regs.set_return(ENOSYS);
    Trap::Syscall
}

impl Inner {
    /// The loop behind [`crate::Platform::next_event`].
    pub(super) fn next_event(&self) -> Result<Event> {
        self.close_bounce();
        if let Some(tid) = self.handoff.end() {
            self.let_sleep(tid);
        }
        if !self.is_watching() {
            self.unbind_worker();
            self.execute_condemned(usize::MAX, false);
        }
        loop {
            for task in self.dropped.take() {
                self.terminate(&task);
            }
            // Wakes must not starve traps: after one, a trap goes first.
            let again = self.woken_last.load(Relaxed);
            self.woken_last.store(false, Relaxed);
            if !again && self.woken.load(SeqCst) {
                self.woken.store(false, SeqCst);
                self.woken_last.store(true, Relaxed);
                return Ok(Event::Woken);
            }
            if let Some(event) = self.queued() {
                return Ok(event);
            }
            if let Some(event) = self.watch()? {
                return Ok(event);
            }
            let busy = self.needs_stubs()
                || self.is_to_reap()
                || self.woken.load(SeqCst)
                || self.died.load(Relaxed) != 0;
            let limit = match busy {
                false => None,
                true if !self.can_put_off() => Some(Duration::ZERO),
                true if self.needs_stubs() => Some(LULL),
                true => Some(REST),
            };
            if self.pump(limit)? {
                continue;
            }
            if self.died.load(Relaxed) != 0 {
                self.bury();
                continue;
            }
            if busy && !self.woken.load(SeqCst) && !self.refill_aside() {
                // Nothing else to do, and no room in the pool: bury, then wait.
                self.reap();
                if self.events.is_empty() {
                    self.pump(None)?;
                }
            }
        }
    }

    /// Whether what is to be done besides events can wait a moment.
    fn can_put_off(&self) -> bool {
        self.running.load(Relaxed) > 0
            && !self.pool.lock().is_empty()
            && self.zombies.lock().len() <= MOST_ZOMBIES
            && !self.woken.load(SeqCst)
    }

    /// As [`Inner::refill`], but if guest threads run, on a processor that they do not use: the last one to be let run is here.
    fn refill_aside(&self) -> bool {
        let aside = self.running.load(Relaxed) > 0 && self.needs_stubs();
        if aside {
            self.step_aside();
        }
        let more = self.refill();
        self.unbind_worker();
        more
    }

    /// Whether dead processes should be reaped: one is not worth an exchange while others run.
    pub(super) fn is_to_reap(&self) -> bool {
        let few = match self.running.load(Relaxed) {
            0 => 0,
            _ => ZOMBIES,
        };
        self.zombies.lock().len() > few
    }

    /// The oldest event that was received while something else was waited for.
    pub(super) fn queued(&self) -> Option<Event> {
        while let Some((task, trap)) = self.events.pop() {
            if let Some(event) = self.event(&task, trap) {
                return Some(event);
            }
        }
        None
    }

    /// The trap of a stopped task as an event, which is in hand from now on; `None` if nobody wants to know any more.
    pub(super) fn event(&self, task: &Arc<Task>, trap: Trap) -> Option<Event> {
        let state = task.state.lock();
        if state.terminated {
            return None;
        }
        let (token, call, windows) = (state.token, state.call, state.windows);
        drop(state);
        self.handoff.begin(task.tid);
        if let Some(call) = call.filter(|_| task.light.load(Relaxed)) {
            // Not before: what is in hand until now may have writes to carry out.
            self.open_bounce(task, &call, windows);
        }
        Some(Event::Trap(token, trap))
    }

    /// Handles what there is, waiting for it no longer than this (`None`: as long as it takes). Whether
    /// there was anything.
    pub(super) fn pump(&self, limit: Option<Duration>) -> Result<bool> {
        match self.next_ring(limit, self.running.load(Relaxed) > 0)? {
            Some(ring) => {
                self.rang(ring);
                Ok(true)
            }
            None => Ok(!self.events.is_empty()),
        }
    }

    /// The next ring, if one comes in time. Buries the dead on the way; later if there are more urgent things.
    pub(super) fn next_ring(&self, limit: Option<Duration>, urgent: bool) -> Result<Option<Ring>> {
        let host = |e: std::io::Error| Error::Host(format!("cannot wait for the doorbell: {e}"));
        // Whoever waits for something in particular has no ear for the flags below.
        let listens = limit.is_none_or(|limit| limit == LULL || limit == REST);
        self.waiting.store(true, SeqCst);
        // Whoever adds to them after this look raises the bell.
        let limit = limit.or((!self.kicks.is_empty()).then_some(TICK));
        // Whoever sets a flag after this look raises the bell.
        let pending = listens && (self.woken.load(SeqCst) || !self.dropped.is_empty());
        let since = self.died.load(Relaxed);
        let later = urgent && (since == 0 || sys::cycles().wrapping_sub(since) < MOURNING);
        let fds = [
            Some(self.listener.as_fd()),
            Some(self.deaths.as_fd()).filter(|_| !later || since == 0),
            Some(self.bell.as_fd()),
        ];
        let ready = bell::poll(fds, if pending { Some(Duration::ZERO) } else { limit });
        self.waiting.store(false, SeqCst);
        let [rang, died, woken] = ready.map_err(host)?;
        if woken {
            bell::lower(self.bell.as_fd());
        }
        if died && later {
            self.died.store(sys::cycles(), Relaxed);
        } else if died {
            self.bury();
        }
        self.mind_kicks();
        if !rang {
            return Ok(None);
        }
        bell::receive(self.listener.as_fd()).map_err(host)
    }

    /// A ring that nobody waits for in particular.
    pub(super) fn rang(&self, ring: Ring) {
        if self.is_letter(&ring) {
            return;
        }
        let task = self.tasks.lock().get(&ring.tid).cloned();
        let Some(task) = task else {
            if ring.tid != self.zygote.tid {
                log::warn!("task {} was not ordered: killed", ring.tid);
                if let Ok(pidfd) = bell::pidfd(ring.tid) {
                    let _ = bell::kill(pidfd.as_fd());
                }
            }
            return;
        };
        if self.pay(&task, &ring).unwrap_or(true) {
            return;
        }
        let mut state = task.state.lock();
        match state.phase {
            Phase::Running | Phase::Doomed
                if ring.number == DOORBELL
                    && matches!(
                        ring.args.first(),
                        Some(&(kind::TRAP | kind::CALL | kind::WOKEN))
                    ) =>
            {
                drop(state);
                self.trapped(&task, ring.id, ring.args);
            }
            Phase::Exiting if ring.number == libc::SYS_exit => {
                state.phase = Phase::Dead;
                drop(state);
                self.tasks.lock().remove(&ring.tid);
                let _ = bell::let_pass(self.listener.as_fd(), ring.id);
                task.process.mailboxes.give(task.slot);
                task.process.hosts.fetch_sub(1, SeqCst);
            }
            _ => {
                drop(state);
                let what = match ring.args.first() {
                    Some(&kind::DONE) => NO_MEMORY,
                    _ => "rang unasked",
                };
                self.misbehaved(&task, what);
            }
        }
    }

    /// A stub that fell asleep in a hot exchange rings the message that the sentry has already: notes that, or gives it the answer that it
    /// is owed. False if the ring is something else.
    pub(super) fn pay(&self, task: &Task, ring: &Ring) -> Result<bool> {
        if ring.number != DOORBELL {
            return Ok(false);
        }
        let mut state = task.state.lock();
        match state.waits {
            Waits::Owed(order) => {
                state.waits = Waits::Nothing;
                drop(state);
                self.is_due(false);
                self.answer_ring(ring.id, order)?;
            }
            Waits::Slot => state.waits = Waits::Ring(ring.id),
            Waits::Ring(_) | Waits::Nothing => return Ok(false),
        }
        Ok(true)
    }

    /// As [`Inner::heard`], for the queue.
    pub(super) fn trapped(&self, task: &Arc<Task>, ring: u64, args: [u64; 6]) {
        match self.heard(task, ring, args) {
            Heard::Trap(trap) => self.events.push((Arc::clone(task), trap)),
            Heard::Doomed => self.finish(task),
            Heard::Nothing => {}
        }
    }

    /// A thread trapped, and says so in `args`: by this ring, or in its slot.
    pub(super) fn heard(&self, task: &Task, ring: u64, args: [u64; 6]) -> Heard {
        let mut state = task.state.lock();
        let ran = matches!(state.phase, Phase::Running | Phase::Doomed);
        // While the stub waits for an answer, its last message is still in the slot.
        if !ran || ring == IN_SLOT && state.waits != Waits::Nothing {
            return Heard::Nothing;
        }
        let [kind, windows, .., processor] = args;
        if ring != IN_SLOT {
            task.pace.set_processor(processor);
        }
        let woken = self.inline && kind == kind::WOKEN;
        // A gate's call; what an order began was told with all registers.
        let call = self.inline && kind == kind::CALL || woken && windows == woken::OWN;
        let (windows, cut_short) = if woken {
            (0, windows.min(woken::BEFORE) as u8 + 1)
        } else {
            (windows, 0)
        };
        let trap = if call {
            state.call = Some(match ring {
                IN_SLOT if !woken => call_posted(task, args),
                _ => call_rung(task),
            });
            Some(Trap::Syscall)
        } else if woken {
            state.call = None;
            state.regs = self.registers_in_slot(task);
            as_call(&mut state.regs);
            Some(Trap::Syscall)
        } else {
            state.call = None;
            state.regs = self.registers_in_slot(task);
            let regs = &mut state.regs;
            trap(args, regs)
                .map(|trap| self.slow_gate(trap, regs))
                .map(|trap| unfiltered(task, trap, regs))
        };
        let Some(trap) = trap else {
            drop(state);
            let what = match kind {
                kind::DONE => NO_MEMORY,
                _ => "said nonsense",
            };
            self.misbehaved(task, what);
            return Heard::Nothing;
        };
        state.waits = match ring {
            IN_SLOT => Waits::Slot,
            id => Waits::Ring(id),
        };
        if state.phase == Phase::Doomed {
            return Heard::Doomed;
        }
        state.phase = Phase::Stopped;
        state.windows = windows;
        drop(state);
        task.light.store(call, Relaxed);
        task.cut_short.store(cut_short, Relaxed);
        self.stops();
        if trap == Trap::Syscall {
            self.pace(task);
        }
        Heard::Trap(trap)
    }

    fn registers_in_slot(&self, task: &Task) -> Registers {
        let words = task.process.mailboxes.words(task.slot, REGS);
        let mut regs = Registers::from_words(words);
        // The gate's own: the guest has set none.
        if regs.gs_base == self.slot_address(task.slot) {
            regs.gs_base = 0;
        }
        regs
    }

    /// The registers of a stopped thread, of which only the call may have been read until now.
    pub(super) fn complete<'a>(&self, task: &Task, state: &'a mut State) -> &'a Registers {
        if state.call.take().is_some() {
            state.regs = self.registers_in_slot(task);
            as_call(&mut state.regs);
        }
        &state.regs
    }

    /// A gate that did not find its slot traps: it was a call.
    fn slow_gate(&self, trap: Trap, regs: &mut Registers) -> Trap {
        let gate = self.layout.base + free::slow();
        match trap {
            Trap::Fault {
                signo: libc::SIGTRAP,
                ..
            } if self.inline && regs.rip == gate => {
                regs.rip = regs.rcx;
                as_call(regs);
                Trap::Syscall
            }
            other => other,
        }
    }

    /// Kills a process whose stub does not what it should.
    pub(super) fn misbehaved(&self, task: &Task, what: &str) {
        log::warn!("stub {} {what}: killed", task.tid);
        self.put(task, Place::Anywhere);
        task.process.kill();
    }

    /// Looks which processes died.
    pub(super) fn bury(&self) {
        self.died.store(0, Relaxed);
        for key in bell::watched(self.deaths.as_fd()) {
            if key == 0 {
                log::error!("the zygote died; all guest processes end");
                self.over.store(true, SeqCst);
                *self.zygote.process.dead.write() = true;
                sys::reap(self.zygote.process.pid);
                continue;
            }
            let process = self.processes.lock().remove(&key);
            if let Some(process) = process {
                self.buried(&process);
            }
        }
    }

    fn buried(&self, process: &Arc<Process>) {
        let time = sys::process_time(process.pid);
        *process.dead.write() = true;
        if let Some(time) = time {
            *process.final_time.lock() = time;
        }
        let mut members = Vec::new();
        self.tasks.lock().retain(|_, task| {
            let member = Arc::ptr_eq(&task.process, process);
            if member {
                members.push(Arc::clone(task));
            }
            !member
        });
        self.pool
            .lock()
            .retain(|task| !Arc::ptr_eq(&task.process, process));
        for task in members {
            self.unwatch(&task);
            let mut state = task.state.lock();
            let before = std::mem::replace(&mut state.phase, Phase::Dead);
            if matches!(state.waits, Waits::Owed(_)) {
                state.waits = Waits::Nothing;
                self.is_due(false);
            }
            drop(state);
            if before == Phase::Running {
                self.stops();
                self.events.push((task, Trap::Gone));
            }
        }
        let idle = std::mem::take(&mut *process.idle.lock()).len();
        self.idle.fetch_sub(idle, Relaxed);
        process.mailboxes.store_in(&self.depot);
        self.zombies.lock().push(process.inner_pid);
    }

    /// A guest thread is about to run, whose stub waits at the doorbell or in its slot.
    pub(super) fn starts(&self, task: &Arc<Task>, waits: Waits) {
        let others = self.running.load(Relaxed);
        self.running.store(others + 1, Relaxed);
        let others = self.awake(others);
        self.set_watch(task, others + 1);
        self.place(task, waits, others);
        self.release(task);
    }

    /// A guest thread stopped or died. On the worker only, as all that counts.
    pub(super) fn stops(&self) {
        let running = self.running.load(Relaxed);
        self.running.store(running.saturating_sub(1), Relaxed);
    }

    /// Kills processes of which a thread computes on although it was interrupted.
    fn mind_kicks(&self) {
        if self.kicks.is_empty() {
            return;
        }
        let begin = Instant::now();
        if self.minds_at.lock().is_some_and(|at| begin < at) {
            return;
        }
        let mut kicks = self.kicks.take();
        // Those of one process have its time in common, which takes the longer to read the more threads it has.
        let mut times = HashMap::new();
        kicks.retain_mut(|kick| {
            let state = kick.task.state.lock();
            if !matches!(state.phase, Phase::Running | Phase::Doomed)
                || state.generation != kick.generation
            {
                return false;
            }
            drop(state);
            let process = &kick.task.process;
            let dead = process.dead.read();
            let time = *times
                .entry(process.pid)
                .or_insert_with(|| (!*dead).then(|| sys::process_time(process.pid)).flatten());
            let Some((user, system)) = time else {
                return false;
            };
            let hosts = process.hosts.load(SeqCst) as u64;
            let since = *kick.since.get_or_insert(user + system);
            let spent = (user + system).saturating_sub(since);
            if spent <= PATIENCE.saturating_mul(hosts) {
                // One that met the handler of a signal from outside was swallowed with it.
                if spent.saturating_sub(kick.resent) > RESEND {
                    kick.resent = spent;
                    let _ = sys::tgkill(process.pid, kick.task.tid, wake::SIGNAL);
                }
                return true;
            }
            self.misbehaved(&kick.task, "ignored an interrupt");
            false
        });
        for kick in kicks {
            self.kicks.push(kick);
        }
        *self.minds_at.lock() = begin.checked_add(TICK.max(begin.elapsed() * MIND_SHARE));
    }

    /// Ends a guest thread.
    pub(super) fn terminate(&self, task: &Arc<Task>) {
        let mut state = task.state.lock();
        if !std::mem::replace(&mut state.terminated, true) {
            task.pace.kin.ends();
        }
        match state.phase {
            Phase::Dead | Phase::Doomed | Phase::Exiting | Phase::Idle => return,
            Phase::Running => {
                state.phase = Phase::Doomed;
                drop(state);
                self.stops();
                self.kick(task);
                if task.process.threads.fetch_sub(1, SeqCst) == 1 {
                    task.process.kill();
                }
                return;
            }
            Phase::Stopped => state.phase = Phase::Doomed,
        }
        drop(state);
        if task.process.threads.fetch_sub(1, SeqCst) == 1 {
            self.end_process(task);
        } else {
            self.finish(task);
        }
    }

    /// Lets a doomed, stopped thread of a process that lives on leave, or be idle.
    pub(super) fn finish(&self, task: &Arc<Task>) {
        if task.state.lock().phase != Phase::Doomed || task.process.killed.load(SeqCst) {
            return;
        }
        self.unwatch(task);
        if self.rest(task) {
            return;
        }
        self.leave_process(task);
    }

    /// Has the host thread of a stopped task end.
    pub(super) fn leave_process(&self, task: &Task) {
        task.state.lock().phase = Phase::Exiting;
        // Fails only if it is dead already.
        let _ = self.order(task, order::EXIT);
    }

    /// Sends the interrupt signal to a thread, once per resume.
    pub(super) fn kick(&self, task: &Arc<Task>) {
        let mut state = task.state.lock();
        if !matches!(state.phase, Phase::Running | Phase::Doomed) || state.kicked {
            return;
        }
        let dead = task.process.dead.read();
        if *dead {
            return;
        }
        state.kicked = true;
        // The process id is valid: it is reaped only after `dead` is set. Of a thread that is gone nobody else in the
        // process can have the id without being a thread of this guest.
        let _ = sys::tgkill(task.process.pid, task.tid, wake::SIGNAL);
        let generation = state.generation;
        drop(dead);
        drop(state);
        self.kicks.push(super::Kick {
            task: Arc::clone(task),
            generation,
            since: None,
            resent: 0,
        });
        self.rouse();
    }
}
