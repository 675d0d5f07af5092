//! A guest thread: the [`Thread`] of this backend.
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use parking_lot::MutexGuard;

use super::place::Place;
use super::{Inner, Phase, Task, interest, paths};
use crate::stub::filter;
use crate::stub::futex::Then;
use crate::stub::slot::{ANSWERS, DESCRIPTORS, REGS, VALUE, answer, descriptor, order, woken};
use crate::{
    AddressSpace, Answers, Call, CutShort, Descriptor, Error, Known, MemOp, Noted, Pages,
    PathAnswer, Registers, Result, Stamps, Thread, Token, Valid,
};

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

/// See [`descriptor::HELD`].
const HELD: u64 = 1 << descriptor::HELD;

/// Where a word of an entry lies in the slot.
fn at(entry: usize, word: usize) -> usize {
    DESCRIPTORS + entry % crate::DESCRIPTORS * descriptor::LEN + word
}

impl FreeThread {
    fn word(&self, entry: usize, word: usize) -> Option<&AtomicU64> {
        let mailboxes = &self.task.process.mailboxes;
        mailboxes.atomic(self.task.slot, at(entry, word))
    }

    fn set_word(&self, entry: usize, word: usize, value: u64) {
        if let Some(word) = self.word(entry, word) {
            word.store(value, SeqCst);
        }
    }

    /// Where the pages of a file lie that an entry is of, if anywhere. The thread is stopped.
    fn show_pages(&self, entry: usize, pages: Option<Pages>) {
        let place = pages.and_then(|p| Some((self.inner.layout.window(p.window)?, p)));
        let (window, valid, read_at) = place.map_or((0, Valid::default(), 0), |(window, p)| {
            (window, p.valid, p.read_at)
        });
        for (at, value) in [
            (descriptor::pages::WINDOW, window),
            (descriptor::pages::WRITTEN_AT, 0),
            (descriptor::pages::READ_AT, read_at),
            (descriptor::pages::COPYING, 0),
        ] {
            self.set_word(entry, at, value);
        }
        self.set_valid(entry, valid);
    }

    pub(super) fn new(inner: Arc<Inner>, task: Arc<Task>) -> FreeThread {
        FreeThread { inner, task }
    }

    /// Errors unless the thread is stopped and the caller is the worker; the guest's registers.
    fn stopped(&self) -> Result<Registers> {
        self.inner.on_worker()?;
        self.registers()
    }

    /// Lets the guest run: behind its call with this result; or with these registers, and what the order says before.
    fn go(&self, result: Option<u64>, regs: &Registers, order: u64) -> Result<()> {
        let task = &self.task;
        let inner = &self.inner;
        let order = match result {
            Some(result) => self.returning(result),
            None => {
                inner.close_bounce();
                if order != order::RESUME || !task.fresh.load(Relaxed) {
                    self.settled()?;
                }
                let mut regs = regs.sanitized();
                if inner.inline && regs.gs_base == 0 {
                    // The gate's way to the slot.
                    regs.gs_base = inner.slot_address(task.slot);
                }
                task.process
                    .mailboxes
                    .set_words(task.slot, REGS, &regs.to_words());
                inner.begin_anew(task, order)?
            }
        };
        let mut state = task.state.lock();
        if state.phase != Phase::Stopped {
            // It was buried while an exchange waited aside: nobody would ever tell of its end.
            return Err(Error::Gone);
        }
        task.fresh.store(false, Relaxed);
        // Running before it runs: an interrupt from here on is not lost.
        state.phase = Phase::Running;
        state.generation += 1;
        state.kicked = false;
        let waits = state.waits;
        drop(state);
        inner.starts(task, waits);
        let is_sent = inner.send_apart(task);
        let answered = inner.order(task, order);
        if is_sent {
            inner.put(task, Place::Anywhere);
        }
        inner.answered();
        if answered.is_err() {
            task.state.lock().phase = Phase::Stopped;
            inner.stops();
            return Err(Error::Gone);
        }
        Ok(())
    }

    /// The order to go on behind a call.
    fn returning(&self, result: u64) -> u64 {
        let task = &self.task;
        let later = task.later.load(Relaxed);
        let (order, by_slot) = if later == 0 {
            order::returning(result, self.inner.leave_bounce_to_stub(task))
        } else {
            // What was written comes before, and nothing of it is left for when the guest runs again.
            self.inner.close_bounce();
            task.later.store(0, Relaxed);
            (order::EXECUTE_RETURN | (later as u64) << 8, true)
        };
        if by_slot {
            let mailboxes = &task.process.mailboxes;
            mailboxes.set_words(task.slot, VALUE, &[result]);
        }
        order
    }

    /// Carries out what was put off.
    fn settled(&self) -> Result<()> {
        if self.task.later.load(Relaxed) == 0 {
            return Ok(());
        }
        let _alone = self.inner.begin_exchange(&self.task.process);
        self.inner.settle(&self.task)
    }

    /// Begins an exchange: nothing is left to be done before it.
    fn alone(&self) -> Result<MutexGuard<'_, ()>> {
        let alone = self.inner.begin_exchange(&self.task.process);
        // Others worked while that waited.
        self.is_stopped()?;
        if self.task.fresh.load(Relaxed) {
            // It was made where the zygote or its parent is; what the sentry orders it to do is done best here.
            self.inner.bind_here(&self.task);
        }
        self.inner.settle(&self.task)?;
        self.inner.close_bounce();
        Ok(alone)
    }

    /// Errors unless the thread is stopped.
    fn is_stopped(&self) -> Result<()> {
        match self.task.state.lock().phase {
            Phase::Stopped => Ok(()),
            Phase::Running => Err(Error::Host("the guest thread runs".into())),
            _ => Err(Error::Gone),
        }
    }
}

impl Thread for FreeThread {
    fn resume(&self, regs: &Registers) -> Result<()> {
        let before = self.stopped()?;
        let light = self.task.light.load(Relaxed) && returns(&before, regs);
        self.go(light.then_some(regs.rax), regs, order::RESUME)
    }

    fn resume_asleep(&self, regs: &Registers, args: [u64; 6], until: Option<u64>) -> Result<()> {
        self.stopped()?;
        self.settled()?;
        self.inner.close_bounce();
        let order = self
            .inner
            .prepare_futex(&self.task, args, until, Then::Run)?;
        // As at the instruction: an interrupt tells of the call again.
        let before = Registers {
            rax: regs.orig_rax,
            ..*regs
        };
        self.go(None, &before, order)
    }

    fn futex(&self, args: [u64; 6]) -> Result<i64> {
        self.stopped()?;
        let _alone = self.alone()?;
        self.inner.futex(&self.task, args)
    }

    fn host_futexes(&self) -> bool {
        self.inner.inline
    }

    fn cut_short(&self) -> Option<CutShort> {
        match self.task.cut_short.load(Relaxed) {
            0 => None,
            cut => Some(match u64::from(cut) - 1 {
                woken::OWN => CutShort::Own,
                woken::ORDERED => CutShort::Ordered,
                _ => CutShort::Before,
            }),
        }
    }

    fn asleep(&self) -> bool {
        self.inner.inline && self.task.naps()
    }

    fn call(&self) -> Option<Call> {
        self.task.state.lock().call
    }

    fn return_from_call(&self, result: u64) -> Result<()> {
        self.inner.on_worker()?;
        if self.task.light.load(Relaxed) {
            self.is_stopped()?;
            return self.go(Some(result), &Registers::default(), order::RESUME);
        }
        let regs = Registers {
            rax: result,
            ..self.registers()?
        };
        self.go(None, &regs, order::RESUME)
    }

    fn interrupt(&self) {
        self.inner.kick(&self.task);
    }

    fn answer(&self, answers: Option<&Answers>) {
        self.task.telling.end();
        let words = answers.map_or([0; answer::COUNT], |a| {
            let mut words = [0; answer::COUNT];
            for (i, value) in [
                (answer::PID, a.pid),
                (answer::TID, a.tid),
                (answer::UID, a.uid),
                (answer::GID, a.gid),
                (answer::EUID, a.euid),
                (answer::EGID, a.egid),
                (answer::PPID, a.ppid),
            ] {
                words[i] = u64::from(value) + 1;
            }
            words[answer::FUTEX] = a.futexes.into();
            words
        });
        self.task
            .process
            .mailboxes
            .set_words(self.task.slot, ANSWERS, &words);
    }

    fn describe(&self, new: &Descriptor) -> bool {
        if !self.inner.inline {
            return false;
        }
        let entry = Descriptor::entry(new.fd);
        let word = |at, value| self.set_word(entry, at, value);
        word(descriptor::KEY, 0);
        word(descriptor::POSITION, new.position.map_or(0, |p| p | HELD));
        word(descriptor::HAS_STAT, new.stat.is_some().into());
        self.show_pages(entry, new.pages);
        let mut known = new.known;
        match new.ring.and_then(|window| self.inner.layout.window(window)) {
            Some(address) => word(descriptor::RING, address),
            None => known -= Known::READ_RING | Known::WRITE_RING,
        }
        let mailboxes = &self.task.process.mailboxes;
        let slot = self.task.slot;
        if let Some(stat) = &new.stat {
            mailboxes.set_bytes(slot, at(entry, descriptor::STAT), stat);
        }
        let known = u64::from(known.bits()) << 32;
        word(descriptor::KEY, (u64::from(new.fd) + 1) | known);
        mailboxes.set_words(slot, ANSWERS + 8 * answer::DESCRIPTORS, &[1]);
        true
    }

    fn tell(&self, answer: &PathAnswer<'_>) -> Option<u32> {
        if self.inner.inline {
            paths::tell(&self.task, answer)
        } else {
            None
        }
    }

    fn position(&self, entry: usize) -> u64 {
        let word = self.word(entry, descriptor::POSITION);
        word.map_or(0, |w| w.load(SeqCst) & !HELD)
    }

    fn take_position(&self, entry: usize) -> u64 {
        let word = self.word(entry, descriptor::POSITION);
        word.map_or(0, |w| w.swap(0, SeqCst) & !HELD)
    }

    fn give_position(&self, entry: usize, position: u64) {
        self.set_word(entry, descriptor::POSITION, position | HELD);
    }

    fn forget_stat(&self, entry: usize) {
        self.set_word(entry, descriptor::HAS_STAT, 0);
    }

    fn set_valid(&self, entry: usize, valid: Valid) {
        let both = u64::from(valid.read) | u64::from(valid.write) << 32;
        self.set_word(entry, descriptor::pages::VALID, both);
    }

    fn is_copying(&self, entry: usize) -> bool {
        let word = self.word(entry, descriptor::pages::COPYING);
        word.is_some_and(|w| w.load(SeqCst) != 0)
    }

    fn take_stamps(&self, entry: usize) -> Stamps {
        // What is no stamp stays: nobody else's line is written to for nothing.
        let take = |at, known: u64| {
            let word = self.word(entry, at);
            let stamp = word.map_or(0, |w| match w.load(SeqCst) {
                0 | 1 | u64::MAX => 0,
                _ => w.swap(known, SeqCst),
            });
            if stamp == u64::MAX { 0 } else { stamp }
        };
        Stamps {
            written: take(descriptor::pages::WRITTEN_AT, 0),
            read: take(descriptor::pages::READ_AT, 1),
        }
    }

    fn mark_read(&self, entry: usize, from: u64, to: u64) {
        if let Some(word) = self.word(entry, descriptor::pages::READ_AT) {
            // One that is stamped meanwhile stays.
            let _ = word.compare_exchange(from, to, SeqCst, SeqCst);
        }
    }

    fn forget(&self, entry: usize) -> u64 {
        self.set_word(entry, descriptor::KEY, 0);
        self.set_valid(entry, Valid::default());
        self.forget_stat(entry);
        self.take_position(entry)
    }

    fn lend_interest(&self, epoll: u32) -> bool {
        self.inner.inline && interest::lend(&self.task, epoll)
    }

    fn set_interest(&self, fd: u32, is_in: Option<bool>) {
        interest::set(&self.task, fd, is_in);
    }

    fn take_noted(&self, end: bool) -> Vec<Noted> {
        interest::take(&self.task, end)
    }

    fn note_on(&self) {
        interest::note_on(&self.task);
    }

    fn part(&self) {
        if self.inner.inline && self.inner.hot.places.count() > 1 && self.inner.on_worker().is_ok()
        {
            self.inner.part(&self.task);
        }
    }

    fn unite(&self) {
        self.inner.unite(&self.task);
    }

    fn by_instruction(&self) -> bool {
        !self.task.light.load(Relaxed)
    }

    fn registers(&self) -> Result<Registers> {
        self.is_stopped()?;
        let mut state = self.task.state.lock();
        Ok(*self.inner.complete(&self.task, &mut state))
    }

    fn fpstate(&self) -> Result<Vec<u8>> {
        self.stopped()?;
        self.inner.alive(&self.task)?;
        let _alone = self.inner.begin_exchange(&self.task.process);
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
        self.inner.on_worker()?;
        self.is_stopped()?;
        let _alone = self.alone()?;
        self.inner.execute(&self.task, ops)
    }

    fn execute_later(&self, ops: &[MemOp<'_>]) -> bool {
        self.inner.on_worker().is_ok() && self.inner.put_off(&self.task, ops)
    }

    fn settle(&self) -> Result<()> {
        self.inner.on_worker()?;
        self.settled()
    }

    fn compare_exchange(&self, addr: u64, old: u32, new: u32) -> Result<Option<u32>> {
        self.stopped()?;
        let _alone = self.alone()?;
        self.inner.compare_exchange(&self.task, addr, old, new)
    }

    fn spawn(&self, token: Token) -> Result<Box<dyn Thread>> {
        let regs = self.stopped()?;
        let _alone = self.alone()?;
        let task = self.inner.spawn(&self.task, regs, token)?;
        Ok(Box::new(FreeThread::new(Arc::clone(&self.inner), task)))
    }

    fn fork(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        let regs = self.stopped()?;
        let _alone = self.alone()?;
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
        if !self.task.process.had_more.load(SeqCst) {
            return AddressSpace::cpu_time(&*self.task.process);
        }
        if self.stopped().is_err() {
            return (0, 0);
        }
        let _alone = self.inner.begin_exchange(&self.task.process);
        self.inner.thread_time(&self.task).unwrap_or((0, 0))
    }

    fn peak_memory(&self) -> u64 {
        if self.stopped().is_err() {
            return 0;
        }
        let _alone = self.inner.begin_exchange(&self.task.process);
        self.inner.close_bounce();
        self.inner.peak_memory(&self.task).unwrap_or(0)
    }

    fn resident(&self, addr: u64, pages: &mut [u8]) -> Result<()> {
        self.inner.on_worker()?;
        self.is_stopped()?;
        let _alone = self.alone()?;
        // What the stub copied for the call in hand lies where it will answer.
        self.inner.close_bounce();
        self.inner.resident(&self.task, addr, pages)
    }
}

impl Drop for FreeThread {
    fn drop(&mut self) {
        self.terminate();
    }
}
