//! Processes that the sandbox's owner starts: init, and what is run in a running sandbox beside it.

use super::exec::{Loader, start_registers};
use super::{SchedState, Task, TaskLocal, TaskParts};
use crate::abi::{Errno, Result};
use crate::auth::Credentials;
use crate::kernel::signal::{GroupSignals, TaskSignals};
use crate::kernel::tree::{Life, Node};
use crate::kernel::{FdTable, Kernel, Limits, ThreadGroup};
use crate::mm::Settings;
use crate::vfs::{Caller, File, FsContext};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A program to start.
pub struct SpawnRequest<'a> {
    /// The executable, opened with `vfs::open_exec`.
    pub file: Arc<File>,
    /// Its path, for AT_EXECFN and comm.
    pub path: Vec<u8>,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment, `K=V`.
    pub envp: Vec<Vec<u8>>,
    /// Identity.
    pub creds: Credentials,
    /// Root, working directory, umask.
    pub fs: Arc<FsContext>,
    /// Descriptors.
    pub fds: Arc<FdTable>,
    /// Resource limits.
    pub limits: Limits,
    /// For lookups of interpreters.
    pub caller: &'a dyn Caller,
    /// The program is a real init: it waits for orphans itself, and signals without a handler do not reach it
    /// (pid_namespaces(7)). Otherwise it is treated as an ordinary program.
    pub is_init: bool,
}

/// Makes a process that leads its own session and group, whose parent is outside the sandbox (pid 0). The first one is init. It
/// does not run before [`Kernel::start`].
///
/// # Errors
/// As execve(2).
pub fn spawn(kernel: &Arc<Kernel>, r: SpawnRequest<'_>) -> Result<Arc<Task>> {
    let loader = Loader {
        kernel,
        caller: r.caller,
        fs: &r.fs,
        limits: r.limits.memory(&r.creds),
        fs_shared: false,
        watched: false,
        fixed: false,
        traced: false,
        settings: Settings::empty(),
        shifted: false,
    };
    let p = loader.load(&r.creds, r.file, r.path, false, r.argv, r.envp)?;
    let mut tree = kernel.tree.lock();
    let pid = tree.allocate_pid().ok_or(Errno::EAGAIN)?;
    kernel.assign_pid(pid, &kernel.namespaces.pid_for_children, &[])?;
    let group = ThreadGroup::new(
        kernel,
        (pid, &kernel.namespaces.pid_for_children),
        (pid, pid),
        r.limits,
        GroupSignals::default(),
        kernel.boot.elapsed(),
    );
    if r.is_init {
        group.signals.lock().set_unkillable(true);
    } else if pid == 1 {
        tree.reap_orphans = true;
    }
    group
        .dumpable
        .store(i32::from(p.dumpable), Ordering::Relaxed);
    let local = TaskLocal {
        regs: start_registers(&p.loaded).into(),
        ..TaskLocal::default()
    };
    let task = Task::new(
        kernel,
        TaskParts {
            group: group.clone(),
            tid: pid,
            token: p.token,
            creds: Arc::new(p.creds),
            name: p.name,
            mm: p.mm,
            fs: r.fs,
            fds: r.fds,
            thread: p.thread,
            signals: TaskSignals::default(),
            local,
            sched: SchedState::new(kernel.cpu_mask()),
            namespaces: kernel.namespaces.clone(),
            program_ns: p.program_ns,
        },
    );
    tree.tasks.insert(pid, Arc::downgrade(&task));
    let node = Node {
        group,
        parent: 0,
        children: Vec::new(),
        threads: vec![task.clone()],
        life: Life::Alive,
        exit_signal: libc::SIGCHLD,
        subreaper: false,
        forker: Default::default(),
        execed: false,
        adopted: false,
        waits_for_namespace: false,
    };
    tree.nodes.insert(pid, node);
    Ok(task)
}
