//! A guest thread: the [`Thread`] of this backend.
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::{Inner, Phase, Task};
use crate::stub::filter;
use crate::{AddressSpace, Error, MemOp, Registers, Result, Thread, Token, sys, wake};

/// Handle of a guest thread; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct PtraceThread {
    inner: Arc<Inner>,
    task: Arc<Task>,
}

impl PtraceThread {
    pub(super) fn new(inner: Arc<Inner>, task: Arc<Task>) -> PtraceThread {
        PtraceThread { inner, task }
    }

    /// Errors unless the thread is stopped and the caller is the tracer; the guest's registers.
    fn stopped(&self) -> Result<Registers> {
        self.inner.on_worker()?;
        let state = self.task.state.lock();
        match state.phase {
            Phase::Stopped => Ok(state.regs),
            Phase::Running => Err(Error::Host("the guest thread runs".into())),
            _ => Err(Error::Gone),
        }
    }
}

fn errno(e: &std::io::Error) -> Error {
    match e.raw_os_error() {
        Some(libc::ESRCH) | None => Error::Gone,
        Some(errno) => Error::Op { index: 0, errno },
    }
}

impl Thread for PtraceThread {
    fn resume(&self, regs: &Registers) -> Result<()> {
        self.stopped()?;
        let tid = self.task.tid;
        sys::set_registers(tid, &regs.sanitized()).map_err(|e| errno(&e))?;
        if self.inner.placement.starts() {
            self.inner.place_running();
        }
        self.inner.placement.place(tid, &self.task.place);
        // Running before it runs: an interrupt from here on is not lost.
        self.task.state.lock().phase = Phase::Running;
        if let Err(e) = sys::restart(sys::PTRACE_SYSEMU, tid) {
            self.task.state.lock().phase = Phase::Stopped;
            self.inner.placement.stops();
            return Err(errno(&e));
        }
        Ok(())
    }

    fn interrupt(&self) {
        let state = self.task.state.lock();
        if state.phase == Phase::Running {
            // The id is valid: it is reaped only after the phase is Dead.
            let _ = sys::tgkill(self.task.process.pid, self.task.tid, wake::SIGNAL);
        }
    }

    fn registers(&self) -> Result<Registers> {
        let state = self.task.state.lock();
        match state.phase {
            Phase::Stopped => Ok(state.regs),
            Phase::Running => Err(Error::Host("the guest thread runs".into())),
            _ => Err(Error::Gone),
        }
    }

    fn fpstate(&self) -> Result<Vec<u8>> {
        self.stopped()?;
        sys::get_xstate(self.task.tid).map_err(|e| errno(&e))
    }

    fn set_fpstate(&self, state: &[u8]) -> Result<()> {
        self.stopped()?;
        sys::set_xstate(self.task.tid, state).map_err(|e| errno(&e))
    }

    fn execute(&self, ops: &[MemOp<'_>]) -> Result<()> {
        self.stopped()?;
        self.inner.execute(&self.task, ops)
    }

    fn compare_exchange(&self, addr: u64, old: u32, new: u32) -> Result<Option<u32>> {
        self.stopped()?;
        self.inner.compare_exchange(&self.task, addr, old, new)
    }

    fn spawn(&self, token: Token) -> Result<Box<dyn Thread>> {
        let regs = self.stopped()?;
        let task = self.inner.spawn(&self.task, regs, token)?;
        Ok(Box::new(PtraceThread::new(Arc::clone(&self.inner), task)))
    }

    fn fork(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        let regs = self.stopped()?;
        let pid = self.inner.clone_task(self.task.tid, filter::FORK_FLAGS)?;
        let task = self
            .inner
            .adopt(pid, self.task.place.inherited(), regs, token)?;
        let process = Arc::clone(&task.process);
        Ok((
            process,
            Box::new(PtraceThread::new(Arc::clone(&self.inner), task)),
        ))
    }

    fn terminate(&self) {
        if self.inner.on_worker().is_ok() {
            self.inner.terminate(&self.task);
        } else {
            self.inner.dropped.lock().push(Arc::clone(&self.task));
            self.inner.waker.wake();
        }
    }

    fn cpu_time(&self) -> (u64, u64) {
        if self.task.process.threads.load(SeqCst) == 1 {
            return AddressSpace::cpu_time(&*self.task.process);
        }
        if self.stopped().is_err() {
            return (0, 0);
        }
        self.inner.thread_time(&self.task).unwrap_or((0, 0))
    }

    fn peak_memory(&self) -> u64 {
        if self.stopped().is_err() {
            return 0;
        }
        self.inner.peak_memory(&self.task).unwrap_or(0)
    }

    fn resident(&self, addr: u64, pages: &mut [u8]) -> Result<()> {
        self.stopped()?;
        self.inner.resident(&self.task, addr, pages)
    }
}

impl Drop for PtraceThread {
    fn drop(&mut self) {
        self.terminate();
    }
}
