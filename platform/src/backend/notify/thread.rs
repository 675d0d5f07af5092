//! A guest thread: the [`Thread`] of this backend.
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::{Inner, Phase, Task};
use crate::stub::filter;
use crate::stub::slot::{REGS, order};
use crate::{AddressSpace, Error, MemOp, Registers, Result, Thread, Token, bell};

/// Handle of a guest thread; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct FreeThread {
    inner: Arc<Inner>,
    task: Arc<Task>,
}

impl FreeThread {
    pub(super) fn new(inner: Arc<Inner>, task: Arc<Task>) -> FreeThread {
        FreeThread { inner, task }
    }

    /// Errors unless the thread is stopped and the caller is the worker; the guest's registers.
    fn stopped(&self) -> Result<Registers> {
        self.inner.on_worker()?;
        self.registers()
    }
}

impl Thread for FreeThread {
    fn resume(&self, regs: &Registers) -> Result<()> {
        self.stopped()?;
        let task = &self.task;
        let words = regs.sanitized().to_words();
        task.process.mailboxes.set_words(task.slot, REGS, &words);
        self.inner.starts();
        let mut state = task.state.lock();
        // Running before it runs: an interrupt from here on is not lost.
        state.phase = Phase::Running;
        state.generation += 1;
        state.kicked = false;
        let ring = state.ring;
        drop(state);
        if bell::answer(self.inner.listener.as_fd(), ring, order::RESUME).is_err() {
            self.task.state.lock().phase = Phase::Stopped;
            self.inner.stops();
            return Err(Error::Gone);
        }
        Ok(())
    }

    fn interrupt(&self) {
        self.inner.kick(&self.task);
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
        self.inner.alive(&self.task)?;
        self.inner.vector_registers(&self.task)
    }

    fn set_fpstate(&self, state: &[u8]) -> Result<()> {
        self.stopped()?;
        self.inner.alive(&self.task)?;
        if !self.inner.shape.is_valid(state) {
            return Err(Error::Op {
                index: 0,
                errno: libc::EINVAL,
            });
        }
        self.inner.set_vector_registers(&self.task, state);
        Ok(())
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
        Ok(Box::new(FreeThread::new(Arc::clone(&self.inner), task)))
    }

    fn fork(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        let regs = self.stopped()?;
        let vector = self.inner.vector_registers(&self.task)?;
        let task = self
            .inner
            .new_process(&self.task, filter::FORK_FLAGS, regs, token, &vector)?;
        let process = Arc::clone(&task.process);
        Ok((
            process,
            Box::new(FreeThread::new(Arc::clone(&self.inner), task)),
        ))
    }

    fn terminate(&self) {
        if self.inner.on_worker().is_ok() {
            self.inner.terminate(&self.task);
        } else {
            self.inner.dropped.lock().push(Arc::clone(&self.task));
            self.inner.rouse();
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
}

impl Drop for FreeThread {
    fn drop(&mut self) {
        self.terminate();
    }
}
