//! One guest thread (`struct task_struct`).

use super::cx::Progress;
use super::signal::TaskSignals;
use super::{FdTable, Kernel, ThreadGroup};
use crate::auth::Credentials;
use crate::mm::MemoryManager;
use crate::sync::{Mutex, Rank, WaitKey, WaitQueue};
use crate::vfs::FsContext;
use cofferdam_platform::{Registers, Thread, Token};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8};

/// A guest thread.
pub struct Task {
    kernel: Arc<Kernel>,
    group: Arc<ThreadGroup>,
    tid: AtomicI32,
    token: Token,
    /// What other tasks may look at.
    shared: Mutex<Shared>,
    /// The host thread that runs it; `None` once it has exited.
    thread: Mutex<Option<Arc<dyn Thread>>>,
    /// Where it is: see [`super::worker`].
    pub(super) run_state: AtomicU8,
    /// Mask and thread-directed pending signals.
    pub signals: Mutex<TaskSignals>,
    local: Mutex<TaskLocal>,
}

struct Shared {
    creds: Arc<Credentials>,
    /// comm, at most 15 bytes.
    name: Vec<u8>,
    mm: Arc<MemoryManager>,
    fs: Arc<FsContext>,
    fds: Arc<FdTable>,
}

/// State only the running task (its worker) touches.
#[derive(Default)]
pub struct TaskLocal {
    /// Guest registers at the last trap, or to resume with.
    pub regs: Registers,
    /// Progress of the system call in flight.
    pub progress: Progress,
    /// Number and arguments of the system call in flight.
    pub call: Option<(u64, [u64; 6])>,
    /// Registrations of a parked call.
    pub(super) waits: Vec<(Arc<WaitQueue>, WaitKey)>,
    pub(super) timer: Option<crate::time::TimerHandle>,
    /// What a signal makes of the parked call.
    pub(super) on_signal: Option<crate::syscalls::OnSignal>,
    /// restart_syscall(2) continues this call (ERESTART_RESTARTBLOCK) with its progress.
    pub restart: Option<(u64, [u64; 6], Progress)>,
    /// set_tid_address(2).
    pub clear_child_tid: u64,
    /// set_robust_list(2): head address and length.
    pub robust_list: (u64, u64),
    /// sigaltstack(2).
    pub alt_stack: super::signal::AltStack,
    /// Mask to restore after a handler that interrupted sigsuspend, ppoll, pselect, epoll_pwait.
    pub saved_mask: Option<u64>,
    /// vfork: the parent waits on this until exec or exit.
    pub vfork_done: Option<Arc<WaitQueue>>,
}

impl Task {
    /// The sandbox.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }
    /// The process.
    pub fn group(&self) -> &Arc<ThreadGroup> {
        &self.group
    }
    /// Thread id: what gettid(2) returns.
    pub fn tid(&self) -> i32 {
        self.tid.load(std::sync::atomic::Ordering::Relaxed)
    }
    /// The platform's number for it.
    pub fn token(&self) -> Token {
        self.token
    }
    /// Identity.
    pub fn creds(&self) -> Arc<Credentials> {
        self.shared.lock().creds.clone()
    }
    /// Replaces the identity. Only the task itself does this.
    pub fn set_creds(&self, creds: Credentials) {
        self.shared.lock().creds = Arc::new(creds);
    }
    /// comm (PR_GET_NAME), at most 15 bytes.
    pub fn name(&self) -> Vec<u8> {
        self.shared.lock().name.clone()
    }
    /// Sets comm; longer names are cut.
    pub fn set_name(&self, name: &[u8]) {
        self.shared.lock().name = name.get(..name.len().min(15)).unwrap_or(&[]).to_vec();
    }
    /// Memory.
    pub fn mm(&self) -> Arc<MemoryManager> {
        self.shared.lock().mm.clone()
    }
    /// Working directory and root.
    pub fn fs(&self) -> Arc<FsContext> {
        self.shared.lock().fs.clone()
    }
    /// Descriptor table.
    pub fn fds(&self) -> Arc<FdTable> {
        self.shared.lock().fds.clone()
    }
    /// Gives the task its own or another file-system context (unshare, clone).
    pub fn set_fs(&self, fs: Arc<FsContext>) {
        self.shared.lock().fs = fs;
    }
    /// Gives the task its own or another descriptor table.
    pub fn set_fds(&self, fds: Arc<FdTable>) -> Arc<FdTable> {
        std::mem::replace(&mut self.shared.lock().fds, fds)
    }
    /// The host thread, while the task lives.
    pub fn thread(&self) -> Option<Arc<dyn Thread>> {
        self.thread.lock().clone()
    }
}
