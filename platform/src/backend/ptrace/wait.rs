//! From stops of host threads to events.
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use libc::pid_t;

use super::exchange::SYS_SECCOMP;
use super::{Inner, POOL, Phase, Task};
use crate::stub::Entry;
use crate::sys::{self, Change};
use crate::wake;
use crate::{Error, Event, Registers, Result, Trap};

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

impl Inner {
    /// The loop behind [`crate::Platform::next_event`].
    pub(super) fn next_event(&self) -> Result<Event> {
        loop {
            self.waker.clear();
            let dropped = std::mem::take(&mut *self.dropped.lock());
            for task in dropped {
                self.terminate(&task);
            }
            let mut seen = Ok(None);
            // Wakes must not starve traps: after one, a trap goes first.
            if self.woken_last.swap(false, SeqCst) {
                seen = sys::wait_for(None, true);
            }
            if matches!(seen, Ok(None)) && self.woken.swap(false, SeqCst) {
                self.woken_last.store(true, SeqCst);
                return Ok(Event::Woken);
            }
            if matches!(seen, Ok(None)) && self.pool.lock().len() < POOL {
                // Only when there is nothing else to do.
                seen = sys::wait_for(None, true);
                if matches!(seen, Ok(None)) && self.refill() {
                    continue;
                }
            }
            if matches!(seen, Ok(None)) {
                let start = self.placement.watches().then(Instant::now);
                seen = self.waker.wait();
                if start.is_some_and(|start| self.placement.waited(start.elapsed())) {
                    self.place_running();
                }
            }
            let (tid, change) = match seen {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(e) => {
                    return Err(Error::Host(format!(
                        "no guest process is left to wait for: {e}"
                    )));
                }
            };
            if let Some(event) = self.changed(tid, change) {
                return Ok(event);
            }
        }
    }

    /// Lets the running guest threads run where they now may.
    pub(super) fn place_running(&self) {
        let tasks: Vec<Arc<Task>> = self.tasks.lock().values().cloned().collect();
        for task in tasks {
            let state = task.state.lock();
            if state.phase == Phase::Running {
                self.placement.place(task.tid, &task.place);
            }
        }
    }

    fn changed(&self, tid: pid_t, change: Change) -> Option<Event> {
        let Some(task) = self.tasks.lock().get(&tid).cloned() else {
            self.stranger(tid, change);
            return None;
        };
        if change == Change::Dead {
            return self.buried(tid);
        }
        let _ = sys::consume(tid);
        let phase = task.state.lock().phase;
        match phase {
            Phase::Running => {}
            Phase::Doomed => {
                self.finish(&task);
                return None;
            }
            Phase::Exiting => {
                let _ = sys::restart(libc::PTRACE_CONT, tid);
                return None;
            }
            // A stopped task does not stop again.
            Phase::Stopped | Phase::Parked | Phase::Dead => return None,
        }
        match self.trap(&task, change) {
            Ok(Some((trap, regs))) => {
                let mut state = task.state.lock();
                if state.phase == Phase::Doomed {
                    drop(state);
                    self.finish(&task);
                    return None;
                }
                state.phase = Phase::Stopped;
                self.placement.stops();
                state.regs = regs;
                Some(Event::Trap(state.token, trap))
            }
            Ok(None) => {
                // Not for the guest.
                let _ = sys::restart(sys::PTRACE_SYSEMU, tid);
                None
            }
            Err(_) => None, // it dies; that is its next change
        }
    }

    /// What a stop means for the guest.
    fn trap(&self, task: &Task, change: Change) -> std::io::Result<Option<(Trap, Registers)>> {
        match change {
            Change::Syscall => {
                let regs = sys::get_registers(task.tid)?;
                let native = sys::syscall_arch(task.tid)? == AUDIT_ARCH_X86_64;
                Ok(Some((
                    if native {
                        Trap::Syscall
                    } else {
                        Trap::Syscall32
                    },
                    regs,
                )))
            }
            Change::Signal(wake::SIGNAL) => {
                Ok(Some((Trap::Interrupted, sys::get_registers(task.tid)?)))
            }
            Change::Signal(signo) => {
                let info = sys::signal_info(task.tid)?;
                match signo {
                    libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP
                        if info.si_code > 0 =>
                    {
                        let fault = Trap::Fault {
                            signo,
                            code: info.si_code,
                            addr: sys::fault_address(&info),
                        };
                        Ok(Some((fault, sys::get_registers(task.tid)?)))
                    }
                    // A call of the vsyscall page, which the kernel emulates past PTRACE_SYSEMU: the filter
                    // refuses it, and rip and rsp are already those of the caller.
                    libc::SIGSYS if info.si_code == SYS_SECCOMP => {
                        let mut regs = sys::get_registers(task.tid)?;
                        regs.orig_rax = sys::sigsys_number(&info).into();
                        Ok(Some((Trap::Syscall, regs)))
                    }
                    _ => Ok(None),
                }
            }
            Change::Event(_) | Change::Dead => Ok(None),
        }
    }

    /// A change of a task that is not registered: the zygote, or one that nobody ordered.
    fn stranger(&self, tid: pid_t, change: Change) {
        if change == Change::Dead {
            if tid == self.zygote.pid {
                log::error!("the zygote died; all guest processes end");
                self.over.store(true, SeqCst);
            }
            let _ = sys::consume(tid);
            return;
        }
        let _ = sys::consume(tid);
        if tid == self.zygote.pid {
            // Something from outside; its rest is the stub's park.
            let at_rest =
                sys::get_registers(tid).is_ok_and(|r| self.layout.at(Entry::Park) <= r.rip);
            if !at_rest {
                log::warn!("the zygote left the stub");
            }
            return;
        }
        log::warn!("task {tid} was not ordered: killed");
        let _ = sys::tgkill(tid, tid, libc::SIGKILL);
    }

    /// Marks a dead task as such, then reaps it; its last event.
    pub(super) fn buried(&self, tid: pid_t) -> Option<Event> {
        let Some(task) = self.tasks.lock().remove(&tid) else {
            let _ = sys::consume(tid);
            return None;
        };
        let mut state = task.state.lock();
        let before = std::mem::replace(&mut state.phase, Phase::Dead);
        let token = state.token;
        drop(state);
        if before == Phase::Running {
            self.placement.stops();
        }
        self.pool.lock().retain(|t| !Arc::ptr_eq(t, &task));
        let leader = tid == task.process.pid;
        if leader {
            *task.process.dead.write() = true;
        } else {
            task.process.mailboxes.give(task.slot);
            task.process.hosts.fetch_sub(1, SeqCst);
        }
        if let Ok(time) = sys::consume(tid)
            && leader
        {
            *task.process.final_time.lock() = time;
        }
        (before == Phase::Running).then_some(Event::Trap(token, Trap::Gone))
    }

    /// Ends a guest thread.
    pub(super) fn terminate(&self, task: &Arc<Task>) {
        let mut state = task.state.lock();
        match state.phase {
            Phase::Dead | Phase::Doomed | Phase::Exiting | Phase::Parked => return,
            Phase::Running => {
                state.phase = Phase::Doomed;
                self.placement.stops();
                let _ = sys::tgkill(task.process.pid, task.tid, wake::SIGNAL);
                drop(state);
                if task.process.threads.fetch_sub(1, SeqCst) == 1 {
                    task.process.kill();
                }
                return;
            }
            Phase::Stopped => state.phase = Phase::Doomed,
        }
        drop(state);
        if task.process.threads.fetch_sub(1, SeqCst) == 1 {
            task.process.kill();
        } else {
            self.finish(task);
        }
    }

    /// Lets a doomed, stopped thread of a process that lives on leave; the leader stays to keep the process id.
    fn finish(&self, task: &Arc<Task>) {
        let mut state = task.state.lock();
        if state.phase != Phase::Doomed {
            return;
        }
        if task.tid == task.process.pid {
            state.phase = Phase::Parked;
            task.process.hosts.fetch_sub(1, SeqCst);
            return;
        }
        state.phase = Phase::Exiting;
        drop(state);
        let regs = Registers {
            rip: self.layout.at(Entry::Exit),
            ..Registers::default()
        }
        .sanitized();
        // Fails only if it is dead already.
        if sys::set_registers(task.tid, &regs).is_ok() {
            let _ = sys::restart(libc::PTRACE_CONT, task.tid);
        }
    }
}
