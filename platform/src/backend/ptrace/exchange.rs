//! Exchanges: the tracer sets a stopped thread's registers to a place in the stub and lets it run to the next `int3`.
//!
//! Nothing that a guest can reach matters while an exchange is under way: the list in the mailbox is used only where the process
//! has no other thread, else one operation at a time goes from registers; results are taken from registers. So an exchange
//! makes exactly the calls that were ordered, rings exactly as often as expected, and ends.
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use libc::pid_t;

use super::{Inner, Task};
use crate::arch::USER_FLAGS;
use crate::stub::mailbox::{MAX_OPS, Op, RESULT, SLOT, WINDOW};
use crate::stub::ops::{self, encode, result};
use crate::stub::{Entry, filter};
use crate::sys::{self, Change};
use crate::{Error, GUEST_END, GUEST_START, MemOp, Prot, Registers, Result};

/// `si_code` of a SIGSYS that seccomp raised.
pub(super) const SYS_SECCOMP: i32 = 1;

/// How an exchange ended.
#[derive(Debug)]
pub(super) struct Done {
    /// Registers at the final `int3`, or at the fault.
    pub regs: Registers,
    /// A task that the stub made.
    pub child: Option<pid_t>,
    /// It ended in a fault at the place where one was expected.
    pub faulted: bool,
}

/// Registers for the stub to start with.
fn stub_registers(rip: u64) -> Registers {
    Registers {
        rip,
        ..Registers::default()
    }
    .sanitized()
}

impl Inner {
    /// Lets `tid` run in the stub from `regs` until the `int3` before `done`. The doorbell is answered with `fds` in order.
    /// A fault at `fault_at` ends it too.
    pub(super) fn run(
        &self,
        tid: pid_t,
        regs: &Registers,
        done: u64,
        fault_at: Option<u64>,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Done> {
        debug_assert_eq!(regs.eflags & !USER_FLAGS & !0x202, 0);
        sys::set_registers(tid, regs).map_err(|_| Error::Gone)?;
        sys::restart(libc::PTRACE_CONT, tid).map_err(|_| Error::Gone)?;
        let mut fds = fds.iter();
        let mut pending = fds.next();
        let mut child = None;
        loop {
            let change = match pending {
                Some(fd) => match self.ring(tid, *fd)? {
                    Some(change) => change,
                    None => {
                        pending = fds.next();
                        continue;
                    }
                },
                None => self.wait_for(tid)?,
            };
            match change {
                Change::Dead => {
                    self.buried(tid);
                    return Err(Error::Gone);
                }
                Change::Signal(libc::SIGTRAP | libc::SIGSEGV | libc::SIGBUS) => {
                    let regs = sys::get_registers(tid).map_err(|_| Error::Gone)?;
                    let _ = sys::consume(tid);
                    if change == Change::Signal(libc::SIGTRAP) && regs.rip == done {
                        return Ok(Done {
                            regs,
                            child,
                            faulted: false,
                        });
                    }
                    let info = sys::signal_info(tid).map_err(|_| Error::Gone)?;
                    if change != Change::Signal(libc::SIGTRAP)
                        && Some(regs.rip) == fault_at
                        && info.si_code > 0
                    {
                        return Ok(Done {
                            regs,
                            child,
                            faulted: true,
                        });
                    }
                    if info.si_code > 0 {
                        log::warn!(
                            "stub {tid} stopped unexpectedly at {:#x} by signal {}: killed",
                            regs.rip,
                            info.si_signo
                        );
                        return self.give_up(tid);
                    }
                }
                Change::Signal(libc::SIGSYS) => {
                    let _ = sys::consume(tid);
                    let info = sys::signal_info(tid).map_err(|_| Error::Gone)?;
                    if info.si_code == SYS_SECCOMP {
                        log::warn!("stub {tid} made a forbidden system call: killed");
                        return self.give_up(tid);
                    }
                }
                Change::Event(
                    libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK,
                ) => {
                    let message = sys::event_message(tid).map_err(|_| Error::Gone)?;
                    let _ = sys::consume(tid);
                    child = pid_t::try_from(message).ok();
                }
                // A signal from outside, a group stop: not for the stub.
                Change::Signal(_) | Change::Event(_) | Change::Syscall => {
                    let _ = sys::consume(tid);
                }
            }
            sys::restart(libc::PTRACE_CONT, tid).map_err(|_| Error::Gone)?;
        }
    }

    /// Kills the process of `tid`, whose stub does not what it should.
    fn give_up<T>(&self, tid: pid_t) -> Result<T> {
        let task = self.tasks.lock().get(&tid).cloned();
        if let Some(task) = task {
            task.process.kill();
        } else {
            let _ = sys::tgkill(tid, tid, libc::SIGKILL);
        }
        Err(Error::Gone)
    }

    /// Blocks until `tid` changes.
    fn wait_for(&self, tid: pid_t) -> Result<Change> {
        match sys::wait_for(Some(tid), false) {
            Ok(Some((_, change))) => Ok(change),
            _ => Err(Error::Gone),
        }
    }

    /// Answers one ring of `tid` with `fd`; `Some` if the thread stopped or died instead of ringing.
    fn ring(&self, tid: pid_t, fd: BorrowedFd<'_>) -> Result<Option<Change>> {
        let listener = self.zygote.listener.as_fd();
        loop {
            // A thread that dies or fails before it rings shows only in a wait, hence the timeout.
            if !sys::readable(listener, 3)
                .map_err(|e| Error::Host(format!("cannot wait for the doorbell: {e}")))?
            {
                match sys::wait_for(Some(tid), true) {
                    Ok(Some((_, change))) => return Ok(Some(change)),
                    Ok(None) => continue,
                    Err(_) => return Err(Error::Gone),
                }
            }
            let ring = match sys::receive(listener) {
                Ok(Some(ring)) => ring,
                Ok(None) => continue,
                Err(e) => {
                    return Err(Error::Host(format!(
                        "cannot receive from the doorbell: {e}"
                    )));
                }
            };
            if ring.tid != tid || i64::from(ring.number) != filter::DOORBELL {
                log::warn!("task {} rang unasked (argument {:#x})", ring.tid, ring.arg);
                let _ = sys::answer_error(listener, ring.id, libc::ENOSYS);
                continue;
            }
            match sys::answer_fd(listener, ring.id, fd) {
                Ok(()) => return Ok(None),
                // It died, or a signal made it ring again.
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
                Err(e) => {
                    // Most likely its descriptors ran out: the operation fails in the stub.
                    let errno = e.raw_os_error().unwrap_or(libc::EIO);
                    let _ = sys::answer_error(listener, ring.id, errno);
                    return Ok(None);
                }
            }
        }
    }

    /// One host system call of the stub; its result and a task that it made.
    pub(super) fn syscall(
        &self,
        tid: pid_t,
        number: i64,
        a: [u64; 6],
    ) -> Result<(i64, Option<pid_t>)> {
        let [rdi, rsi, rdx, r10, r8, r9] = a;
        let start = stub_registers(self.layout.at(Entry::Syscall));
        let regs = Registers {
            rax: number.cast_unsigned(),
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..start
        };
        let done = self.run(tid, &regs, self.layout.at(Entry::SyscallDone), None, &[])?;
        Ok((done.regs.rax.cast_signed(), done.child))
    }

    /// Lets the stub clone itself; the new task is in its first stop.
    pub(super) fn clone_task(&self, tid: pid_t, flags: u64) -> Result<pid_t> {
        let (ret, child) = self.syscall(tid, libc::SYS_clone, [flags, 0, 0, 0, 0, 0])?;
        let Some(child) = child else {
            let errno = i32::try_from(-ret).unwrap_or(libc::EAGAIN);
            return Err(Error::Op { index: 0, errno });
        };
        loop {
            match self.wait_for(child)? {
                Change::Event(sys::EVENT_STOP) => break,
                Change::Dead => {
                    let _ = sys::consume(child);
                    return Err(Error::Gone);
                }
                _ => {
                    let _ = sys::consume(child);
                    sys::restart(libc::PTRACE_CONT, child).map_err(|_| Error::Gone)?;
                }
            }
        }
        let _ = sys::consume(child);
        Ok(child)
    }

    /// Lets the stub ask for `fd` and map it, all from registers; `advice` for the mapping afterwards.
    fn map(&self, task: &Task, op: &Op, fd: BorrowedFd<'_>, advice: Option<i32>) -> Result<()> {
        let [addr, len, prot, flags, _, offset] = op.args;
        let advice = advice.map_or(-1, i64::from).cast_unsigned();
        let regs = Registers {
            r12: addr,
            r13: len,
            r14: prot,
            r15: flags,
            rbx: offset,
            rbp: advice,
            ..stub_registers(self.layout.at(Entry::Map))
        };
        let done = self.run(task.tid, &regs, self.layout.at(Entry::MapDone), None, &[fd])?;
        result(done.regs.rax.cast_signed())
    }

    /// The first act of a new process: it fetches and maps its own mailboxes, which its children shall not inherit.
    pub(super) fn map_mailboxes(&self, task: &Task, fd: BorrowedFd<'_>) -> Result<()> {
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        let args = [
            self.layout.mailboxes(),
            WINDOW as u64,
            u64::from((Prot::READ | Prot::WRITE).bits()),
            flags,
            0,
            0,
        ];
        let op = Op {
            args,
            ..Op::default()
        };
        self.map(task, &op, fd, Some(libc::MADV_DONTFORK))
    }

    /// Address of a slot in the guest process.
    fn mailbox_address(&self, task: &Task) -> u64 {
        self.layout.mailboxes() + (task.slot * SLOT) as u64
    }

    /// A batch of operations, in as few exchanges as fit the mailbox.
    pub(super) fn execute(&self, task: &Task, ops: &[MemOp<'_>]) -> Result<()> {
        let mut encoded = Vec::with_capacity(ops.len().min(MAX_OPS));
        let mut fds = Vec::new();
        for (chunk_index, chunk) in ops.chunks(MAX_OPS).enumerate() {
            let first = chunk_index * MAX_OPS;
            encoded.clear();
            fds.clear();
            let mut refused = false;
            for op in chunk {
                let Some((op, fd)) = encode(op) else {
                    refused = true;
                    break;
                };
                encoded.push(op);
                fds.extend(fd);
            }
            self.execute_list(task, &encoded, &fds)
                .map_err(|e| match e {
                    Error::Op { index, errno } => Error::Op {
                        index: first + index,
                        errno,
                    },
                    e => e,
                })?;
            if refused {
                return Err(Error::Op {
                    index: first + encoded.len(),
                    errno: libc::EINVAL,
                });
            }
        }
        Ok(())
    }

    /// One operation an exchange, from registers: for a process whose other threads could meanwhile rewrite the mailbox,
    /// and make the stub ring when nobody listens.
    fn execute_singly(&self, task: &Task, ops: &[Op], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let mut fds = fds.iter();
        for (index, op) in ops.iter().enumerate() {
            let done = match (op.with_fd, fds.next()) {
                (1, Some(fd)) => self.map(task, op, *fd, None),
                _ => self
                    .syscall(task.tid, op.number.cast_signed(), op.args)
                    .and_then(|(ret, _)| result(ret)),
            };
            done.map_err(|e| match e {
                Error::Op { errno, .. } => Error::Op { index, errno },
                e => e,
            })?;
        }
        Ok(())
    }

    fn execute_list(&self, task: &Task, ops: &[Op], fds: &[BorrowedFd<'_>]) -> Result<()> {
        if ops.is_empty() {
            return Ok(());
        }
        if task.process.hosts.load(SeqCst) > 1 {
            return self.execute_singly(task, ops, fds);
        }
        task.process.mailboxes.post(task.slot, ops);
        let start = stub_registers(self.layout.at(Entry::Execute));
        let regs = Registers {
            rbx: self.mailbox_address(task),
            rbp: ops.len() as u64,
            ..start
        };
        let done = self.run(
            task.tid,
            &regs,
            self.layout.at(Entry::ExecuteDone),
            None,
            fds,
        )?;
        if done.child.is_some() {
            return self.give_up(task.tid); // nobody ordered it
        }
        let count = usize::try_from(done.regs.r12).unwrap_or(usize::MAX);
        if count == ops.len() {
            return Ok(());
        }
        match i32::try_from(-done.regs.rax.cast_signed()) {
            Ok(errno @ 1..4096) if count < ops.len() => Err(Error::Op {
                index: count,
                errno,
            }),
            _ => self.give_up(task.tid),
        }
    }

    /// The stub's compare-and-exchange at a checked address; `None` on a fault.
    pub(super) fn compare_exchange(
        &self,
        task: &Task,
        addr: u64,
        old: u32,
        new: u32,
    ) -> Result<Option<u32>> {
        if !addr.is_multiple_of(4) || !(GUEST_START..GUEST_END).contains(&addr) {
            return Ok(None);
        }
        let at = self.layout.at(Entry::Cas);
        let regs = Registers {
            rdi: addr,
            rax: old.into(),
            rsi: new.into(),
            ..stub_registers(at)
        };
        let done = self.run(
            task.tid,
            &regs,
            self.layout.at(Entry::CasDone),
            Some(at),
            &[],
        )?;
        Ok((!done.faulted).then_some(done.regs.rax as u32))
    }

    /// CPU time of one thread in nanoseconds (user, system).
    pub(super) fn thread_time(&self, task: &Task) -> Result<(u64, u64)> {
        let [user_s, user_us, system_s, system_us, _] = self.usage(task)?;
        let ns = |s: u64, us: u64| {
            s.saturating_mul(1_000_000_000)
                .saturating_add(us.saturating_mul(1000))
        };
        Ok((ns(user_s, user_us), ns(system_s, system_us)))
    }

    /// Greatest resident size of its process so far, in bytes.
    pub(super) fn peak_memory(&self, task: &Task) -> Result<u64> {
        let [.., kib] = self.usage(task)?;
        Ok(kib.saturating_mul(1024))
    }

    /// Which pages are in memory: see [`crate::Thread::resident`].
    pub(super) fn resident(&self, task: &Task, addr: u64, pages: &mut [u8]) -> Result<()> {
        let to = self.mailbox_address(task) + RESULT as u64;
        let (op, len) = ops::ask_resident(addr, pages, to)?;
        let (ret, _) = self.syscall(task.tid, op.number.cast_signed(), op.args)?;
        ops::result(ret)?;
        let to = pages.get_mut(..len).unwrap_or_default();
        if task.process.mailboxes.copy_out(task.slot, RESULT, to) {
            Ok(())
        } else {
            self.give_up(task.tid)
        }
    }

    /// What a thread's own getrusage(2) says: ru_utime, ru_stime, ru_maxrss.
    fn usage(&self, task: &Task) -> Result<[u64; 5]> {
        let result = self.mailbox_address(task) + RESULT as u64;
        let who = u64::from(libc::RUSAGE_THREAD.cast_unsigned());
        let (ret, _) = self.syscall(task.tid, libc::SYS_getrusage, [who, result, 0, 0, 0, 0])?;
        if ret != 0 {
            return Ok([0; 5]);
        }
        Ok(task.process.mailboxes.results(task.slot))
    }

    /// A new thread in the process of `task`, stopped.
    pub(super) fn spawn(
        &self,
        task: &Task,
        regs: Registers,
        token: crate::Token,
    ) -> Result<Arc<Task>> {
        let Some(slot) = task.process.mailboxes.take() else {
            return Err(Error::Op {
                index: 0,
                errno: libc::EAGAIN,
            });
        };
        match self.clone_task(task.tid, filter::THREAD_FLAGS) {
            Ok(tid) => {
                task.process.threads.fetch_add(1, SeqCst);
                task.process.hosts.fetch_add(1, SeqCst);
                Ok(self.register(
                    tid,
                    Arc::clone(&task.process),
                    slot,
                    task.place.inherited(),
                    regs,
                    token,
                ))
            }
            Err(e) => {
                task.process.mailboxes.give(slot);
                Err(e)
            }
        }
    }
}
