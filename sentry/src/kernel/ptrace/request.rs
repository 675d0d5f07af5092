//! The tracer's side: what it does with a tracee that stands.

use super::regs::{self, RegSet};
use super::{Kind, Options, Trace, TracedStop, flag, is_traced_by};
use crate::abi::{Errno, Result};
use crate::kernel::signal::{SigInfo, SigSet, TaskState, recalculate, trap_again};
use crate::kernel::{Cx, Task, worker};
use crate::mm::MemoryManager;
use crate::sync::before_exchange;
use cofferdam_platform::{Registers, Thread};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How a tracee goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// PTRACE_CONT.
    Continue,
    /// PTRACE_SYSCALL.
    ToCall,
    /// PTRACE_SYSEMU.
    Emulate,
    /// PTRACE_SYSEMU_SINGLESTEP.
    EmulateStep,
    /// PTRACE_SINGLESTEP.
    Step,
}

/// What PTRACE_GET_SYSCALL_INFO tells.
pub struct SyscallInfo {
    /// In which kind of stop the tracee is.
    pub kind: Kind,
    /// Its registers.
    pub regs: Registers,
}

/// A tracee of the running task that stands.
pub struct Stopped {
    task: Arc<Task>,
}

/// Keeps a task in its stop.
struct Hold<'a>(&'a Arc<Task>);

impl Hold<'_> {
    /// `None`: it does not stand any more.
    fn of(task: &Arc<Task>) -> Option<Hold<'_>> {
        let g = task.group().signals.lock();
        let mut t = task.signals.lock();
        let fatal = g.exiting.is_some() || t.exit.is_some();
        let stop = t.traced_stop.as_mut().filter(|s| !s.may_end(fatal))?;
        stop.held = stop.held.checked_add(1)?;
        Some(Hold(task))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Some(stop) = self.0.signals.lock().traced_stop.as_mut() {
            stop.held = stop.held.saturating_sub(1);
        }
        if super::ready(self.0) {
            worker::kick(self.0);
        }
    }
}

/// The tracee with this id.
///
/// # Errors
/// ESRCH: not there, or not the caller's.
fn tracee(cx: &Cx<'_>, pid: i32) -> Result<Arc<Task>> {
    let task = cx.kernel().task(pid).ok_or(Errno::ESRCH)?;
    if is_traced_by(&task, cx.task) {
        Ok(task)
    } else {
        Err(Errno::ESRCH)
    }
}

/// PTRACE_KILL, which does not ask for a stop.
///
/// # Errors
/// ESRCH.
pub fn kill(cx: &Cx<'_>, pid: i32) -> Result<()> {
    super::link::kill_task(&tracee(cx, pid)?);
    Ok(())
}

/// PTRACE_INTERRUPT.
///
/// # Errors
/// ESRCH; EIO unless it was seized.
pub fn interrupt(cx: &Cx<'_>, pid: i32) -> Result<()> {
    let task = tracee(cx, pid)?;
    {
        let g = task.group().signals.lock();
        let mut t = task.signals.lock();
        let trace = t.trace.as_mut().filter(|t| t.seized).ok_or(Errno::EIO)?;
        trace.trap = true;
        trap_again(&mut t);
        recalculate(&g, &task, &t);
    }
    worker::kick(&task);
    Ok(())
}

/// The stop that the tracee stands in.
fn stopped(t: &mut TaskState) -> Result<&mut TracedStop> {
    let stop = t.traced_stop.as_mut().filter(|s| s.go.is_none());
    stop.map(|s| &mut **s).ok_or(Errno::ESRCH)
}

impl Stopped {
    /// The running task's tracee with this id (`ptrace_check_attach`).
    ///
    /// # Errors
    /// ESRCH: not there, not the caller's, or it does not stand.
    pub fn find(cx: &Cx<'_>, pid: i32) -> Result<Stopped> {
        let task = tracee(cx, pid)?;
        let stands = {
            let t = task.signals.lock();
            let stop = t.traced_stop.as_ref();
            stop.is_some_and(|s| s.go.is_none() && !s.listening)
        };
        if stands && !super::ready(&task) {
            Ok(Stopped { task })
        } else {
            Err(Errno::ESRCH)
        }
    }
    /// The tracee.
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }
    fn stop<T>(&self, f: impl FnOnce(&mut TracedStop) -> Result<T>) -> Result<T> {
        f(stopped(&mut self.task.signals.lock())?)
    }
    fn trace<T>(&self, f: impl FnOnce(&mut Trace) -> T) -> Result<T> {
        let mut t = self.task.signals.lock();
        t.trace.as_mut().map(|t| f(t)).ok_or(Errno::ESRCH)
    }
    /// Works with its host thread; should it be killed meanwhile, it waits.
    fn with_thread<T>(&self, f: impl FnOnce(&dyn Thread) -> T) -> Result<T> {
        let _stays = Hold::of(&self.task).ok_or(Errno::ESRCH)?;
        let thread = self.task.thread().ok_or(Errno::ESRCH)?;
        Ok(f(&*thread))
    }

    /// Lets it go on, with this signal or 0.
    ///
    /// # Errors
    /// ESRCH if it was killed meanwhile.
    pub fn resume(&self, how: Resume, signal: i32) -> Result<()> {
        let set = match how {
            Resume::Continue => 0,
            Resume::ToCall => flag::CALLS,
            Resume::Emulate => flag::EMULATE,
            Resume::EmulateStep => flag::EMULATE | flag::STEP,
            Resume::Step => flag::STEP,
        };
        self.task
            .tracing
            .change(flag::CALLS | flag::EMULATE | flag::STEP, set);
        self.stop(|s| {
            s.go = Some(signal);
            Ok(())
        })?;
        worker::kick(&self.task);
        Ok(())
    }

    /// PTRACE_LISTEN.
    ///
    /// # Errors
    /// EIO: it was not seized, or is in another kind of stop.
    pub fn listen(&self) -> Result<()> {
        let notified = {
            let mut t = self.task.signals.lock();
            let trace = t.trace.as_ref().filter(|t| t.seized).ok_or(Errno::EIO)?;
            let notified = trace.notify;
            let stop = t.traced_stop.as_mut().ok_or(Errno::ESRCH)?;
            let event = stop.info.map_or(0, |i| i.code >> 8);
            if event.cast_unsigned() != super::event_code::STOP {
                return Err(Errno::EIO);
            }
            stop.listening = true;
            if notified {
                trap_again(&mut t);
            }
            notified
        };
        if notified {
            worker::kick(&self.task);
        }
        Ok(())
    }

    /// PTRACE_SETOPTIONS.
    ///
    /// # Errors
    /// ESRCH.
    pub fn set_options(&self, options: Options) -> Result<()> {
        self.trace(|t| t.options = options)
    }
    /// PTRACE_GETEVENTMSG.
    ///
    /// # Errors
    /// ESRCH.
    pub fn message(&self) -> Result<u64> {
        self.trace(|t| t.message)
    }
    /// PTRACE_GETSIGINFO.
    ///
    /// # Errors
    /// EINVAL in a group stop.
    pub fn siginfo(&self) -> Result<SigInfo> {
        self.stop(|s| s.info.ok_or(Errno::EINVAL))
    }
    /// PTRACE_SETSIGINFO.
    ///
    /// # Errors
    /// EINVAL in a group stop.
    pub fn set_siginfo(&self, info: SigInfo) -> Result<()> {
        self.stop(|s| {
            *s.info.as_mut().ok_or(Errno::EINVAL)? = info;
            Ok(())
        })
    }
    /// Waiting signals from the `skip`th on, at most `most`, of the task or its process.
    pub fn pending(&self, skip: usize, most: usize, shared: bool) -> Vec<SigInfo> {
        let g = self.task.group().signals.lock();
        let t = self.task.signals.lock();
        let queue = if shared { g.queue() } else { t.queue() };
        queue.infos().skip(skip).take(most).copied().collect()
    }
    /// Its signal mask.
    pub fn mask(&self) -> SigSet {
        self.task.signals.blocked()
    }
    /// Sets it.
    pub fn set_mask(&self, mask: SigSet) {
        let g = self.task.group().signals.lock();
        let mut t = self.task.signals.lock();
        t.set_blocked(mask);
        recalculate(&g, &self.task, &t);
    }
    /// For PTRACE_GET_SYSCALL_INFO.
    ///
    /// # Errors
    /// ESRCH.
    pub fn syscall_info(&self) -> Result<SyscallInfo> {
        self.stop(|s| {
            Ok(SyscallInfo {
                kind: s.kind,
                regs: s.regs,
            })
        })
    }

    /// A word of `struct user`.
    ///
    /// # Errors
    /// EIO.
    pub fn peek_user(&self, at: u64) -> Result<u64> {
        let mut t = self.task.signals.lock();
        let addresses = t.debug_addresses;
        let s = stopped(&mut t)?;
        match regs::debug_address(at) {
            Some(i) => addresses.get(i).copied().ok_or(Errno::EIO),
            None => regs::peek_user(&s.regs, at),
        }
    }
    /// Sets it.
    ///
    /// # Errors
    /// EIO and what [`regs::poke_user`] says.
    pub fn poke_user(&self, at: u64, value: u64) -> Result<()> {
        let mut t = self.task.signals.lock();
        regs::poke_user(&mut stopped(&mut t)?.regs, at, value)?;
        if let Some(slot) = regs::debug_address(at).and_then(|i| t.debug_addresses.get_mut(i)) {
            *slot = value;
        }
        Ok(())
    }
    /// A register set as bytes.
    ///
    /// # Errors
    /// ESRCH.
    pub fn registers(&self, set: RegSet) -> Result<Vec<u8>> {
        if set == RegSet::General {
            return self.stop(|s| Ok(regs::to_bytes(&s.regs)));
        }
        before_exchange();
        let state = self.with_thread(|t| t.fpstate())?;
        let state = state.map_err(|_| Errno::ESRCH)?;
        Ok(if set == RegSet::Float {
            regs::legacy(&state)
        } else {
            regs::extended(state)
        })
    }
    /// Sets it, or the start of it.
    ///
    /// # Errors
    /// EIO, EINVAL for values that the processor would not take; ESRCH.
    pub fn set_registers(&self, set: RegSet, bytes: &[u8]) -> Result<()> {
        if set == RegSet::General {
            return self.stop(|s| regs::set_bytes(&mut s.regs, bytes));
        }
        before_exchange();
        let state = self.with_thread(|t| t.fpstate())?;
        let mut state = state.map_err(|_| Errno::ESRCH)?;
        if set == RegSet::Float {
            regs::set_legacy(&mut state, bytes);
        } else {
            // As Linux: all or nothing.
            if bytes.len() != state.len() {
                return Err(Errno::EFAULT);
            }
            state = bytes.to_vec();
        }
        self.with_thread(|t| t.set_fpstate(&state))?
            .map_err(|_| Errno::EINVAL)
    }

    /// Its memory, if the tracer may see it (`ptracer_access_allowed`).
    fn memory(&self) -> Result<Arc<MemoryManager>> {
        // Those over the program, which may be another's than the tracee (`ptracer_capable` of its `mm->user_ns`).
        let program = self.task.program_ns();
        let capable = self.trace(|t| t.is_capable(&program))?;
        if self.task.group().dumpable.load(Ordering::Relaxed) != 1 && !capable {
            return Err(Errno::EIO);
        }
        Ok(self.task.mm())
    }
    /// PTRACE_PEEKDATA.
    ///
    /// # Errors
    /// EIO.
    pub fn peek(&self, addr: u64) -> Result<u64> {
        let mm = self.memory()?;
        let mut word = [0; 8];
        if self.with_thread(|t| mm.read_forced(t, addr, &mut word))? == 8 {
            Ok(u64::from_ne_bytes(word))
        } else {
            Err(Errno::EIO)
        }
    }
    /// PTRACE_POKEDATA: also where the tracee may not write.
    ///
    /// # Errors
    /// EIO.
    pub fn poke(&self, addr: u64, word: u64) -> Result<()> {
        let mm = self.memory()?;
        if self.with_thread(|t| mm.write_forced(t, addr, &word.to_ne_bytes()))? == 8 {
            Ok(())
        } else {
            Err(Errno::EIO)
        }
    }
}

/// Works with a host thread that stands and lives in this memory: the caller's own, or that of a task in a stop.
pub fn with_thread_in<T>(
    caller: &Task,
    mm: &Arc<MemoryManager>,
    f: impl FnOnce(&dyn Thread) -> T,
) -> Option<T> {
    if Arc::ptr_eq(&caller.mm(), mm) {
        return Some(f(&*caller.thread()?));
    }
    let tasks = caller.kernel().tasks_of(mm);
    let task = tasks.into_iter().find(|t| !super::ready(t))?;
    Stopped { task }.with_thread(f).ok()
}
