//! A guest thread: the [`Thread`] of this backend.
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::{Inner, Phase, Task};
use crate::stub::filter;
use crate::stub::slot::{ANSWERS, REGS, VALUE, answer, order};
use crate::{AddressSpace, Answers, Error, MemOp, Registers, Result, Thread, Token};

/// Whether only the result of a call has changed.
fn returns(before: &Registers, after: &Registers) -> bool {
    let result = Registers {
        rax: after.rax,
        orig_rax: after.orig_rax,
        ..*before
    };
    result == *after
}

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
        self.inner.on_worker()?;
        let task = &self.task;
        let inner = &self.inner;
        let mut state = task.state.lock();
        match state.phase {
            Phase::Stopped => {}
            Phase::Running => return Err(Error::Host("the guest thread runs".into())),
            _ => return Err(Error::Gone),
        }
        let order = if task.light.load(Relaxed) && returns(&state.regs, regs) {
            let later = task.later.load(Relaxed);
            let (order, by_slot) = if later == 0 {
                order::returning(regs.rax, inner.leave_bounce_to_stub(task))
            } else {
                // What was written comes before, and nothing of it is left for when the guest runs again.
                inner.close_bounce();
                task.later.store(0, Relaxed);
                (order::EXECUTE_RETURN | (later as u64) << 8, true)
            };
            if by_slot {
                let mailboxes = &task.process.mailboxes;
                mailboxes.set_words(task.slot, VALUE, &[regs.rax]);
            }
            order
        } else {
            inner.close_bounce();
            if task.later.load(Relaxed) > 0 {
                drop(state);
                inner.settle(task)?;
                state = task.state.lock();
            }
            let mut regs = regs.sanitized();
            if inner.inline && regs.gs_base == 0 {
                // The gate's way to the slot.
                regs.gs_base = inner.slot_address(task.slot);
            }
            task.process
                .mailboxes
                .set_words(task.slot, REGS, &regs.to_words());
            order::RESUME
        };
        // Running before it runs: an interrupt from here on is not lost.
        state.phase = Phase::Running;
        state.generation += 1;
        state.kicked = false;
        let waits = state.waits;
        drop(state);
        inner.starts(task, waits);
        let answered = inner.order(task, order);
        inner.answered();
        if answered.is_err() {
            task.state.lock().phase = Phase::Stopped;
            inner.stops();
            return Err(Error::Gone);
        }
        Ok(())
    }

    fn interrupt(&self) {
        self.inner.kick(&self.task);
    }

    fn answer(&self, answers: Option<&Answers>) {
        let words = answers.map_or([0; answer::COUNT], |a| {
            let mut words = [0; answer::COUNT];
            for (i, value) in [
                (answer::PID, a.pid),
                (answer::TID, a.tid),
                (answer::UID, a.uid),
                (answer::GID, a.gid),
                (answer::EUID, a.euid),
                (answer::EGID, a.egid),
            ] {
                words[i] = u64::from(value) + 1;
            }
            words
        });
        self.task
            .process
            .mailboxes
            .set_words(self.task.slot, ANSWERS, &words);
    }

    fn by_instruction(&self) -> bool {
        !self.task.light.load(Relaxed)
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
        self.task.light.store(false, Relaxed);
        Ok(())
    }

    fn execute(&self, ops: &[MemOp<'_>]) -> Result<()> {
        self.stopped()?;
        self.inner.settle(&self.task)?;
        self.inner.close_bounce();
        self.inner.execute(&self.task, ops)
    }

    fn execute_later(&self, ops: &[MemOp<'_>]) -> bool {
        self.inner.on_worker().is_ok() && self.inner.put_off(&self.task, ops)
    }

    fn settle(&self) -> Result<()> {
        self.inner.on_worker()?;
        self.inner.settle(&self.task)
    }

    fn compare_exchange(&self, addr: u64, old: u32, new: u32) -> Result<Option<u32>> {
        self.stopped()?;
        self.inner.settle(&self.task)?;
        self.inner.close_bounce();
        self.inner.compare_exchange(&self.task, addr, old, new)
    }

    fn spawn(&self, token: Token) -> Result<Box<dyn Thread>> {
        let regs = self.stopped()?;
        self.inner.settle(&self.task)?;
        self.inner.close_bounce();
        let task = self.inner.spawn(&self.task, regs, token)?;
        Ok(Box::new(FreeThread::new(Arc::clone(&self.inner), task)))
    }

    fn fork(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        let regs = self.stopped()?;
        self.inner.settle(&self.task)?;
        self.inner.close_bounce();
        let vector = self.inner.stored_vector_registers(&self.task);
        let task = self.inner.new_process(
            &self.task,
            filter::FORK_FLAGS,
            regs,
            token,
            vector.as_deref(),
        )?;
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
            self.inner.dropped.push(Arc::clone(&self.task));
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

    fn peak_memory(&self) -> u64 {
        if self.stopped().is_err() {
            return 0;
        }
        self.inner.close_bounce();
        self.inner.peak_memory(&self.task).unwrap_or(0)
    }
}

impl Drop for FreeThread {
    fn drop(&mut self) {
        self.terminate();
    }
}
