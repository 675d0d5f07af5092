//! Host threads whose guest thread has ended wait for the next one of their process: it costs no clone and no exchange then, and the end of a thread no
//! exit. A thread pool, as it were; glibc keeps the stacks of ended threads in the same way.
//!
//! An idle thread is what it was before, stopped in the hands of the sentry, and its table knows it: nobody else can have it run, and if it rings its process
//! dies. What a new guest thread must not find of the last one: registers (all are given, those for vectors copied from the thread that makes it), what the
//! stub answers itself, the CPU time that was used (subtracted). An interrupt on its way to the last one is at most a spurious one of the next.
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use super::place::Place;
use super::{Inner, Phase, State, Task, Waits};
use crate::stub::slot::{BEGUN, FP_AREA, USED_BEFORE, order, windows};
use crate::{Registers, Result, Token};

/// How many idle threads a process has at most, and all together: they count against the host's limits.
const IDLE: usize = 8;
const ALL: usize = 32;
/// How long to wait for idle threads to leave at most, in looks, and how long one takes.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(5);

impl Inner {
    /// A stopped task whose guest thread has ended shall be idle; false if there are enough. The leader always is: it keeps the process id.
    pub(super) fn rest(&self, task: &Task) -> bool {
        let process = &task.process;
        let mut idle = process.idle.lock();
        let room = idle.len() < IDLE && self.idle.load(Relaxed) < ALL;
        if !room && task.tid != process.pid {
            return false;
        }
        idle.push(task.tid);
        drop(idle);
        self.idle.fetch_add(1, Relaxed);
        process.hosts.fetch_sub(1, SeqCst);
        // It may have been watched, or have come by a clone.
        self.put(task, Place::Anywhere);
        let mut state = task.state.lock();
        state.phase = Phase::Idle;
        let spins = state.waits == Waits::Slot;
        drop(state);
        if spins {
            task.doze();
        }
        true
    }

    /// An idle thread of the process of `task`, which is no longer.
    pub(super) fn idle_of(&self, task: &Task) -> Option<Arc<Task>> {
        loop {
            let tid = task.process.idle.lock().pop()?;
            self.idle.fetch_sub(1, Relaxed);
            let idle = self.tasks.lock().get(&tid).cloned()?;
            if idle.state.lock().phase == Phase::Idle {
                return Some(idle);
            }
        }
    }

    /// A new guest thread on the host thread of an idle one, with the vector registers of `parent`.
    pub(super) fn reuse(
        &self,
        parent: &Task,
        idle: &Task,
        regs: Registers,
        token: Token,
    ) -> Result<Arc<Task>> {
        let process = &idle.process;
        let vector = match self.known_vector_registers(parent) {
            Some(vector) => vector,
            None => self.vector_registers(parent)?,
        };
        self.prepare_slot(&process.mailboxes, idle.slot, Some(&vector));
        let mut old = idle.state.lock();
        let mut state = State::new(token, regs, 0);
        state.waits = std::mem::replace(&mut old.waits, Waits::Nothing);
        old.phase = Phase::Dead;
        drop(old);
        let task = Task::new(idle.tid, Arc::clone(process), idle.slot, state);
        task.reused.store(true, Relaxed);
        task.before.store(true, Relaxed);
        task.pace.place.copy(&idle.pace.place);
        task.pace
            .set_processor(u64::from(idle.pace.processor().cast_unsigned()));
        let task = Arc::new(task);
        self.tasks.lock().insert(idle.tid, Arc::clone(&task));
        process.threads.fetch_add(1, SeqCst);
        process.hosts.fetch_add(1, SeqCst);
        Ok(task)
    }

    /// The vector registers of a stopped task, if its stub has stored them somewhere.
    fn known_vector_registers(&self, task: &Task) -> Option<Vec<u8>> {
        if let Some(stored) = self.stored_vector_registers(task) {
            return Some(stored);
        }
        let copied = task.light.load(Relaxed) && task.state.lock().windows & windows::VECTOR != 0;
        copied.then(|| {
            let at = self.slot_address(task.slot) + FP_AREA as u64;
            self.vector_registers_at(task, at)
        })
    }

    /// A thread is about to run, by this order, and perhaps to carry out before what was put off until its first instruction. The first time on a host thread that
    /// another one had, the stub says before what that used.
    pub(super) fn begin_anew(&self, task: &Task, order: u64) -> Result<u64> {
        let later = task.later.swap(0, Relaxed);
        if later != 0 {
            debug_assert!(!task.reused.load(Relaxed), "a thread begins once");
            task.later_bytes.store(0, Relaxed);
            task.process.mailboxes.set_words(task.slot, BEGUN, &[0]);
            task.process.begins.store(task.slot + 1, Relaxed);
            return Ok(order::EXECUTE_RESUME | (later as u64) << 8);
        }
        if !task.reused.swap(false, Relaxed) {
            return Ok(order);
        }
        let ask = [self.ask_usage(task, USED_BEFORE)];
        if order == order::RESUME {
            task.process.mailboxes.post(task.slot, &ask);
            return Ok(order::EXECUTE_RESUME | 1 << 8);
        }
        let _alone = self.begin_exchange(&task.process);
        self.execute_list(task, &ask, &[])?;
        Ok(order)
    }

    /// Has the idle threads of all processes end, but the leaders; whether there were any.
    pub(super) fn dismiss_idle(&self) -> bool {
        let processes: Vec<_> = self.processes.lock().values().cloned().collect();
        let mut tids = Vec::new();
        for process in processes {
            process.idle.lock().retain(|tid| {
                let stays = *tid == process.pid;
                if !stays {
                    tids.push(*tid);
                }
                stays
            });
        }
        self.idle.fetch_sub(tids.len(), Relaxed);
        let known = self.tasks.lock();
        let leaving: Vec<_> = tids
            .iter()
            .filter_map(|tid| known.get(tid).cloned())
            .collect();
        drop(known);
        for task in &leaving {
            // Those that are idle do not count, those that leave do.
            task.process.hosts.fetch_add(1, SeqCst);
            self.leave_process(task);
        }
        for _ in 0..LOOKS {
            let gone = |task: &Arc<Task>| task.state.lock().phase != Phase::Exiting;
            if leaving.iter().all(gone) || self.pump(Some(LOOK)).is_err() {
                break;
            }
        }
        if !leaving.is_empty() {
            // What is left of their end is the host kernel's.
            crate::sys::pause(1);
        }
        !leaving.is_empty()
    }
}
