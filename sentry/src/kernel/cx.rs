//! A task while a worker runs it: what a system call handler works with.

use super::task::Own;
use super::{FdTable, Kernel, Task, TaskLocal, ThreadGroup};
use crate::abi::Result;
use crate::auth::Credentials;
use crate::mm::{MemoryManager, Touching};
use crate::time::Instant;
use crate::usermem::GuestMemory;
use crate::vfs::{Caller, File, FsContext};
use cofferdam_platform::Call;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How much of a buffer the platform looks at, in bytes.
const LOOKED_AT: usize = 4096;
/// Calls that know better than their arguments how much they are going to write: see [`GuestMemory::prepare`].
const PREPARE_THEMSELVES: [i64; 4] = [
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_recvfrom,
    libc::SYS_getrandom,
];

/// What a call writes, as far as its arguments say.
fn output((number, args): (u64, [u64; 6])) -> Option<(u64, u64)> {
    Call {
        number,
        args,
        rip: 0,
    }
    .writes_to()
}

/// What earlier runs of a call that had to wait achieved. Reset at the start of each call.
#[derive(Debug, Default)]
pub struct Progress {
    /// Absolute deadline computed by the first run.
    pub deadline: Option<Instant>,
    /// When the call first had to wait.
    pub waiting_since: Option<Instant>,
    /// Bytes (or items) already moved.
    pub done: usize,
    /// Whether an earlier run set up what only the first may (a futex waiter, a vfork child).
    pub started: bool,
    /// A call-specific value.
    pub value: u64,
    /// A call-specific object.
    pub object: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

/// The running task. Only the worker that runs it has one: "only the running task may do this" is this type.
pub struct Cx<'a> {
    /// The task.
    pub task: &'a Arc<Task>,
    /// State only the running task touches.
    pub local: &'a mut TaskLocal,
    /// Its memory.
    pub mm: &'a Arc<MemoryManager>,
    /// What it had when this run began; a change (execve, unshare, setuid) counts from the next run on.
    pub(super) own: &'a Own,
}

impl<'a> Cx<'a> {
    pub(super) fn new(task: &'a Arc<Task>, local: &'a mut TaskLocal, own: &'a Own) -> Cx<'a> {
        Cx {
            task,
            local,
            mm: &own.mm,
            own,
        }
    }
    /// The sandbox.
    pub fn kernel(&self) -> &'a Arc<Kernel> {
        self.task.kernel()
    }
    /// The process.
    pub fn group(&self) -> &'a Arc<ThreadGroup> {
        self.task.group()
    }
    /// Guest memory.
    pub fn mem(&self) -> &'a dyn GuestMemory {
        &**self.mm
    }
    /// Identity.
    pub fn creds(&self) -> &'a Arc<Credentials> {
        &self.own.creds
    }
    /// Descriptor table.
    pub fn fds(&self) -> &'a Arc<FdTable> {
        &self.own.fds
    }
    /// Root, working directory, umask.
    pub fn fs(&self) -> &'a Arc<FsContext> {
        &self.own.fs
    }
    /// File of a descriptor argument; EBADF (O_PATH descriptors included).
    pub fn file(&self, fd: crate::syscalls::Fd) -> Result<Arc<File>> {
        self.own.fds.get(fd.0)
    }
    /// File of a descriptor argument, O_PATH ones too.
    pub fn file_any(&self, fd: crate::syscalls::Fd) -> Result<Arc<File>> {
        self.own.fds.get_any(fd.0)
    }
    /// Installs a new descriptor at the lowest free number.
    pub fn install_fd(&self, file: Arc<File>, cloexec: bool) -> Result<i32> {
        self.fds()
            .install(file, cloexec, 0, self.group().limit(libc::RLIMIT_NOFILE))
    }
    /// The same, once the guest was told its number by `tell`; if that fails there is none.
    ///
    /// # Errors
    /// EMFILE, ENFILE, and those of `tell`.
    pub fn give_fd(
        &self,
        file: Arc<File>,
        cloexec: bool,
        tell: impl FnOnce(i32) -> Result<()>,
    ) -> Result<i32> {
        let fd = self.install_fd(file.clone(), cloexec)?;
        if let Err(e) = tell(fd) {
            let taken = self
                .fds()
                .remove_where(|n, entry| n == fd && Arc::ptr_eq(&entry.file, &file));
            drop(taken);
            return Err(e);
        }
        Ok(fd)
    }
    /// What a task, process, group or session is called where the caller lives; 0 if it is not seen there.
    pub fn seen(&self, pid: i32) -> i32 {
        self.kernel().pid_seen(self.group().pid_ns(), pid)
    }
    /// What a number that the caller gives means.
    pub fn named(&self, number: i32) -> Option<i32> {
        self.kernel().pid_named(self.group().pid_ns(), number)
    }
    /// The task that the caller calls `tid`.
    pub fn find_task(&self, tid: i32) -> Option<Arc<Task>> {
        self.kernel().task(self.named(tid)?)
    }
    /// The process that the caller calls `pid`, zombies included.
    pub fn find_process(&self, pid: i32) -> Option<Arc<ThreadGroup>> {
        self.kernel().process(self.named(pid)?)
    }
    /// Processes of the group that the caller calls `pgid`.
    pub fn find_group(&self, pgid: i32) -> Vec<Arc<ThreadGroup>> {
        let named = self.named(pgid);
        named.map_or_else(Vec::new, |pgid| self.kernel().process_group(pgid))
    }
    /// getpid(2).
    pub fn own_pid(&self) -> i32 {
        self.seen(self.group().pid())
    }
    /// getuid(2).
    pub fn own_uid(&self) -> u32 {
        self.creds().user_ns.show_user(self.creds().uid)
    }
    /// Soft limit of RLIMIT_*.
    pub fn limit(&self, resource: u32) -> u64 {
        self.group().limit(resource)
    }
    /// The process's limits on memory.
    pub fn mm_limits(&self) -> crate::mm::MmLimits {
        let creds = self.creds();
        self.group().limits().lock().memory(creds)
    }
    /// What earlier runs of this call recorded.
    pub fn progress(&mut self) -> &mut Progress {
        &mut self.local.progress
    }
    /// The deadline of this call: `timeout_ns` from its first run. `None` waits forever.
    pub fn deadline_after(&mut self, timeout_ns: Option<u64>) -> Option<Instant> {
        let ns = timeout_ns?;
        Some(
            *self
                .local
                .progress
                .deadline
                .get_or_insert_with(|| Instant::now().after(ns)),
        )
    }
    /// Whether the call's recorded deadline has passed.
    pub fn expired(&self) -> bool {
        self.local
            .progress
            .deadline
            .is_some_and(|d| d <= Instant::now())
    }
    /// All registers of the guest.
    pub fn regs(&mut self) -> &mut cofferdam_platform::Registers {
        let thread = self.own.thread.as_deref();
        self.local.regs.all(thread)
    }
    /// Its memory, for buffers that are filled: see [`Touching`].
    pub fn buffers(&self) -> Result<Touching<'a>> {
        let thread = self.thread()?;
        let by_gate =
            !thread.by_instruction() && self.local.call.is_some_and(|c| output(c).is_some());
        Ok(Touching::new(
            self.mm,
            thread,
            if by_gate { LOOKED_AT } else { 0 },
        ))
    }
    /// Has the guest's process make the pages that the call in flight is going to write, where the platform has not seen to that.
    pub(super) fn touch_output(&self) {
        let Some((call, thread)) = self.local.call.zip(self.thread().ok()) else {
            return;
        };
        if thread.by_instruction()
            && !PREPARE_THEMSELVES.contains(&call.0.cast_signed())
            && let Some((addr, len)) = output(call)
        {
            self.mm
                .touch(thread, addr, usize::try_from(len).unwrap_or(0), 0);
        }
    }
    /// The host thread, for memory operations.
    pub fn thread(&self) -> Result<&'a dyn cofferdam_platform::Thread> {
        self.own.thread.as_deref().ok_or(crate::abi::Errno::ESRCH)
    }
}

/// The calling task as files see it.
pub struct TaskCaller<'a> {
    task: &'a Arc<Task>,
    own: &'a Own,
    waiting_since: Option<Instant>,
}

impl<'a> Cx<'a> {
    /// The caller argument for VFS and file operations.
    pub fn caller(&self) -> TaskCaller<'a> {
        TaskCaller {
            task: self.task,
            own: self.own,
            waiting_since: self.local.progress.waiting_since,
        }
    }
}

/// The task behind a caller, if it is one: terminals and procfs reach the kernel through it.
pub fn task_of(caller: &dyn Caller) -> Option<&Arc<Task>> {
    caller.task()?.downcast_ref()
}

impl Caller for TaskCaller<'_> {
    fn credentials(&self) -> &Arc<Credentials> {
        &self.own.creds
    }
    fn memory(&self) -> &dyn GuestMemory {
        &*self.own.mm
    }
    fn tgid(&self) -> i32 {
        self.task.group().pid()
    }
    fn born(&self) -> u64 {
        self.task.group().start_ns
    }
    fn pgid(&self) -> i32 {
        self.task.group().pgid()
    }
    fn sid(&self) -> i32 {
        self.task.group().sid()
    }
    fn pid_seen(&self, pid: i32) -> i32 {
        let group = self.task.group();
        self.task.kernel().pid_seen(group.pid_ns(), pid)
    }
    fn pid_named(&self, number: i32) -> Option<i32> {
        let group = self.task.group();
        self.task.kernel().pid_named(group.pid_ns(), number)
    }
    fn umask(&self) -> u32 {
        self.own.fs.umask()
    }
    fn file_size_limit(&self) -> u64 {
        self.task.group().limit(libc::RLIMIT_FSIZE)
    }
    fn open_files_limit(&self) -> u64 {
        self.task.group().limit(libc::RLIMIT_NOFILE)
    }
    fn controlling_terminal(&self) -> Option<crate::fs::tty::Terminal> {
        self.task.group().tty.lock().clone()
    }
    fn set_controlling_terminal(&self, tty: Option<crate::fs::tty::Terminal>) {
        let group = self.task.group();
        let old = std::mem::replace(&mut *group.tty.lock(), tty);
        group.tty_old_group.store(0, Ordering::Relaxed);
        drop(old);
    }
    fn ignores_signal(&self, signal: i32) -> bool {
        super::signal::is_ignored(self.task, signal)
    }
    fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }
    fn restart_after_signal(&self) {
        self.task.restart.store(true, Ordering::Relaxed);
    }
    fn task(&self) -> Option<&dyn std::any::Any> {
        Some(self.task)
    }
}
