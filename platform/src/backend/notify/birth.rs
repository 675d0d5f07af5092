//! New processes and threads, and the pool of processes that are made ahead.
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use parking_lot::{Mutex, RwLock};

use super::Inner;
use super::{POOL, Process, State, Task, bounce, exchange};
use crate::stub::filter;
use crate::stub::mailbox::Mailboxes;
use crate::stub::slot::{
    ANSWERS, FP, FP_AREA, FRAME, NAP, RING_LOOKS, SLOT, SLOTS, STACK, STACK_START, answer,
};
use crate::{Error, Registers, Result, Token, bell, sys};

/// So many processes keep the descriptor of their mailboxes, so that their memory can be used again.
const REUSED: usize = 32;

impl Inner {
    /// A new stub process from the zygote, stopped.
    pub(super) fn new_stub(&self) -> Result<Arc<Task>> {
        if self.over.load(SeqCst) {
            return Err(Error::Host(
                "the zygote died: no new guest process can be made".into(),
            ));
        }
        if self.is_to_reap() {
            self.reap();
        }
        let image = self.shape.initial();
        self.new_process(
            &self.zygote,
            filter::STUB_FLAGS,
            Registers::default(),
            Token(0),
            Some(&image),
        )
        .map_err(|e| match e {
            Error::Gone => Error::Host("the zygote died: no new guest process can be made".into()),
            e => e,
        })
    }

    /// A copy of the process of `parent`, with one stopped thread that has these registers.
    pub(super) fn new_process(
        &self,
        parent: &Task,
        flags: u64,
        regs: Registers,
        token: Token,
        vector: Option<&[u8]>,
    ) -> Result<Arc<Task>> {
        if self.died.load(Relaxed) != 0 && self.depot.is_empty() {
            // Theirs can be used again.
            self.bury();
        }
        let mut mailboxes = self.depot.mailboxes(SLOT, SLOTS)?;
        // The child inherits the address of its alternate stack, hence the slot's number.
        mailboxes.take_first(parent.slot);
        self.prepare_slot(&mailboxes, parent.slot, vector);
        let _one = self.begin_birth();
        let child = self.clone_or_make_room(parent, flags, parent.slot, mailboxes.fd())?;
        // A guest can take the birth of its child into its own hands, and keep the descriptor for those that come after it.
        let trusted = std::ptr::eq(parent, &*self.zygote);
        if !trusted || self.processes.lock().len() >= REUSED {
            mailboxes.close_fd();
        }
        let key = self.next.fetch_add(1, SeqCst);
        let host = |e: std::io::Error| Error::Host(format!("cannot watch a guest process: {e}"));
        let pidfd = bell::pidfd(child.tid).map_err(|e| match e.raw_os_error() {
            Some(libc::ESRCH) => Error::Gone,
            _ => {
                self.abandon(&child);
                host(e)
            }
        })?;
        let process = Arc::new(Process {
            pid: child.tid,
            inner_pid: child.inner_pid,
            pidfd,
            dead: RwLock::new(false),
            killed: AtomicBool::new(false),
            mailboxes,
            bounce: bounce::Bounce::default(),
            // Descriptors are inherited.
            files: Mutex::new(parent.process.files.lock().clone()),
            idle: Mutex::default(),
            threads: AtomicUsize::new(1),
            had_more: AtomicBool::new(false),
            hosts: AtomicUsize::new(1),
            final_time: Mutex::default(),
            exchange: Mutex::default(),
            begins: AtomicUsize::new(0),
        });
        if let Err(e) = bell::watch(self.deaths.as_fd(), process.pidfd.as_fd(), key) {
            self.abandon(&child);
            return Err(host(e));
        }
        self.processes.lock().insert(key, Arc::clone(&process));
        let state = State::new(token, regs, child.ring);
        let mut task = Task::new(child.tid, process, parent.slot, state);
        task.fresh.store(true, Relaxed);
        task.pace.place.copy(&parent.pace.place);
        if !trusted {
            task.pace.is_forked_from(&parent.pace);
        }
        Ok(self.register(task))
    }

    /// Ends a new process that nobody can watch: else it would wait for orders for ever.
    pub(super) fn abandon(&self, child: &exchange::Child) {
        // Nobody has reaped it, so the id is its own.
        let _ = sys::tgkill(child.tid, child.tid, libc::SIGKILL);
        self.zombies.lock().push(child.inner_pid);
    }

    /// A new thread in the process of `task`, stopped: an idle one, or a clone.
    pub(super) fn spawn(&self, task: &Task, regs: Registers, token: Token) -> Result<Arc<Task>> {
        if let Some(idle) = self.idle_of(task) {
            return self.reuse(task, &idle, regs, token);
        }
        let vector = self.stored_vector_registers(task);
        let process = &task.process;
        let Some(slot) = process.mailboxes.take() else {
            return Err(Error::Op {
                index: 0,
                errno: libc::EAGAIN,
            });
        };
        self.prepare_slot(&process.mailboxes, slot, vector.as_deref());
        let _one = self.begin_birth();
        match self.clone_or_make_room(task, filter::THREAD_FLAGS, slot, None) {
            Ok(child) => {
                process.threads.fetch_add(1, SeqCst);
                process.had_more.store(true, SeqCst);
                process.hosts.fetch_add(1, SeqCst);
                let process = Arc::clone(process);
                let state = State::new(token, regs, child.ring);
                let child = Task::new(child.tid, process, slot, state);
                child.pace.place.copy(&task.pace.place);
                Ok(self.register(child))
            }
            Err(e) => {
                process.mailboxes.give(slot);
                Err(e)
            }
        }
    }

    /// As [`Inner::clone_task`]; dead processes and idle threads count against the host's limits until they are gone.
    pub(super) fn clone_or_make_room(
        &self,
        parent: &Task,
        flags: u64,
        slot: usize,
        mailboxes: Option<BorrowedFd<'_>>,
    ) -> Result<exchange::Child> {
        match self.clone_task(parent, flags, slot, mailboxes) {
            Err(Error::Op { errno, .. })
                if errno == libc::EAGAIN && {
                    if self.execute_condemned(usize::MAX, false) {
                        sys::pause(1);
                    }
                    self.bury();
                    self.reap() | self.dismiss_idle()
                } =>
            {
                self.clone_task(parent, flags, slot, mailboxes)
            }
            other => other,
        }
    }

    /// What a new task finds in its slot.
    pub(super) fn prepare_slot(&self, mailboxes: &Mailboxes, slot: usize, vector: Option<&[u8]>) {
        let address = self.slot_address(slot);
        let stack = [address + STACK_START as u64, 0, (SLOT - STACK_START) as u64];
        mailboxes.set_words(slot, STACK, &stack);
        mailboxes.set_words(slot, ANSWERS, &[0; answer::COUNT]);
        mailboxes.set_words(slot, NAP, &[0]);
        mailboxes.set_words(slot, RING_LOOKS, &[0]);
        mailboxes.set_words(slot, FRAME, &[address + SLOT as u64 - 64]);
        match vector {
            Some(vector) => {
                mailboxes.set_bytes(slot, FP_AREA, vector);
                mailboxes.set_words(slot, FP, &[address + FP_AREA as u64]);
            }
            // The child is born with those of its parent.
            None => mailboxes.set_words(slot, FP, &[0]),
        }
    }

    fn register(&self, task: Task) -> Arc<Task> {
        let task = Arc::new(task);
        self.tasks.lock().insert(task.tid, Arc::clone(&task));
        self.newest.store(task.tid, SeqCst);
        task
    }

    /// Whether the pool lacks stubs.
    pub(super) fn needs_stubs(&self) -> bool {
        self.pool.lock().len() < POOL
    }

    /// Adds a stub to the pool; false if it is full or none can be made, which shows when a process is really needed.
    pub(super) fn refill(&self) -> bool {
        // It need not wait for the birth of another one.
        if self.over.load(SeqCst) || !self.needs_stubs() || self.birth.is_locked() {
            return false;
        }
        match self.new_stub() {
            Ok(task) => {
                self.pool.lock().push(task);
                true
            }
            Err(e) => {
                log::debug!("no stub for the pool: {e}");
                false
            }
        }
    }
}
