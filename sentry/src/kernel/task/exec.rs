//! execve: another program in a fresh address space (`fs/exec.c`).
//!
//! The new program is loaded completely into a new host process first; only when nothing can fail any more do the
//! sibling threads end and the task moves over. A failed exec leaves the caller as it was.

use super::clone::host_error;
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials, FileOwner, UserNamespace};
use crate::kernel::ptrace::{self, event_code};
use crate::kernel::{Cx, Task, futex, signal};
use crate::loader::{self, Identity, LoadRequest, Loaded};
use crate::mm::{MemoryManager, MmLimits, Settings};
use crate::sync::{Events, Mutex, Rank, before_exchange};
use crate::syscalls::{Block, Fd, OnSignal, SysErr, SysResult};
use crate::usermem::{UserPtr, UserStr};
use crate::vfs::permission::{self, READ};
use crate::vfs::walk::anonymous_path;
use crate::vfs::{self, At, Caller, File, FsContext, WalkFlags};
use cofferdam_platform::{Registers, Thread, Token};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A program that is loaded and waits for the sibling threads to end.
struct Prepared {
    token: Token,
    mm: Arc<MemoryManager>,
    thread: Mutex<Option<Box<dyn Thread>>>,
    loaded: Loaded,
    creds: Credentials,
    name: Vec<u8>,
    /// Whether the identity changed (set-user-id): no parent-death signal.
    secure: bool,
    dumpable: bool,
    program_ns: Arc<UserNamespace>,
}

/// execve(2) and execveat(2).
///
/// # Errors
/// As the man page; nothing has changed for the caller.
pub fn execve(
    cx: &mut Cx<'_>,
    dirfd: Fd,
    path: UserStr,
    argv: u64,
    envp: u64,
    flags: i32,
) -> SysResult {
    if cx.progress().started {
        // A tracer has heard of it.
        return Err(SysErr::NoReturn);
    }
    let earlier = cx
        .progress()
        .object
        .clone()
        .and_then(|o| o.downcast::<Prepared>().ok());
    let prepared = match earlier {
        Some(p) => p,
        None => {
            let p = Arc::new(prepare(cx, dirfd, path, argv, envp, flags)?);
            cx.progress().object = Some(p.clone());
            signal::end_siblings(cx.task)?;
            p
        }
    };
    if others(cx) > 0 {
        return Err(Block::on(cx.group().exit_events.clone(), Events::IN)
            .on_signal(OnSignal::Killable)
            .into());
    }
    // What it was called until now, by its tracer.
    let tid = ptrace::seen_by_tracer(cx.task, cx.task.tid());
    commit(cx, &prepared)?;
    let p = cx.progress();
    p.started = true;
    p.object = None;
    if ptrace::event(cx, event_code::EXEC, tid.cast_unsigned().into()) {
        return Err(SysErr::Traced);
    }
    ptrace::exec_signal(cx);
    Err(SysErr::NoReturn)
}

fn prepare(
    cx: &mut Cx<'_>,
    dirfd: Fd,
    path: UserStr,
    argv: u64,
    envp: u64,
    flags: i32,
) -> Result<Prepared> {
    let name = cx.mem().read_path(path)?.into_vec();
    if flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let at = match dirfd.0 {
        _ if name.starts_with(b"/") => At::Cwd,
        libc::AT_FDCWD => At::Cwd,
        fd => {
            let f = cx.fds().get_any(fd)?;
            At::Path(f.path().cloned().unwrap_or_else(|| anonymous_path(&f)))
        }
    };
    let mut how = WalkFlags::empty();
    how.set(WalkFlags::FOLLOW, flags & libc::AT_SYMLINK_NOFOLLOW == 0);
    how.set(WalkFlags::EMPTY_PATH, flags & libc::AT_EMPTY_PATH != 0);
    let caller = cx.caller();
    let fs = cx.fs();
    let file = vfs::open_exec(&caller, fs, &at, &name, how)?;
    let by_fd = matches!(at, At::Path(_));
    let inaccessible = by_fd && cx.fds().entry(dirfd.0).is_ok_and(|e| e.cloexec);
    let shown = if name.is_empty() || (dirfd.0 != libc::AT_FDCWD && !name.starts_with(b"/")) {
        let mut s = format!("/dev/fd/{}", dirfd.0).into_bytes();
        if !name.is_empty() {
            s.push(b'/');
            s.extend_from_slice(&name);
        }
        s
    } else {
        name
    };
    let mut left = loader::strings_limit(cx.limit(libc::RLIMIT_STACK));
    let argv = loader::read_strings(cx.mem(), UserPtr::new(argv), &mut left)?;
    let envp = loader::read_strings(cx.mem(), UserPtr::new(envp), &mut left)?;
    let loader = Loader {
        kernel: cx.kernel(),
        caller: &caller,
        fs,
        limits: cx.mm_limits(),
        fs_shared: !cx.creds().has_own(Caps::SETUID) && fs_shared(cx),
        watched: !cx.creds().has_own(Caps::SETUID) && ptrace::is_watched(cx.task),
        fixed: cx.local.personality & ADDR_NO_RANDOMIZE != 0,
        traced: cx.task.tracing.is_traced(),
        settings: cx.mm.inherited_settings(),
        shifted: !cx.task.namespaces().time_for_children.offsets().is_none(),
    };
    let p = loader.load(cx.creds(), file, shown, inaccessible, argv, envp)?;
    Ok(Prepared {
        thread: Mutex::new(Rank::LEAF, Some(p.thread)),
        token: p.token,
        mm: p.mm,
        loaded: p.loaded,
        creds: p.creds,
        name: p.name,
        secure: p.secure,
        dumpable: p.dumpable,
        program_ns: p.program_ns,
    })
}

/// Flag of personality(2).
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;

/// Who loads a program: the identity and surroundings it is looked up with.
pub(super) struct Loader<'a> {
    pub kernel: &'a Arc<crate::kernel::Kernel>,
    pub caller: &'a dyn Caller,
    pub fs: &'a FsContext,
    pub limits: MmLimits,
    /// Another process could change the new program's root and working directory (CLONE_FS): it gains no rights.
    pub fs_shared: bool,
    /// A tracer without rights watches: it gains none.
    pub watched: bool,
    /// ADDR_NO_RANDOMIZE: addresses are the same each time.
    pub fixed: bool,
    /// It is traced: its text is not rewritten.
    pub traced: bool,
    /// Settings of its memory.
    pub settings: Settings,
    /// Its clocks are not the host's: it is not told of the host's vDSO.
    pub shifted: bool,
}

/// A new host process with the program in it.
pub(super) struct Program {
    pub token: Token,
    pub mm: Arc<MemoryManager>,
    pub thread: Box<dyn Thread>,
    pub loaded: Loaded,
    pub creds: Credentials,
    /// comm.
    pub name: Vec<u8>,
    /// Whether the identity changed (set-user-id): no parent-death signal.
    pub secure: bool,
    /// Whether others of its user may look into it: not if it acts for another user or cannot be read (`begin_new_exec`).
    pub dumpable: bool,
    /// Whose rights it takes to look into it else (`would_dump`).
    pub program_ns: Arc<UserNamespace>,
}

impl Loader<'_> {
    /// `path_inaccessible`: see [`LoadRequest`].
    pub(super) fn load(
        &self,
        old: &Credentials,
        file: Arc<File>,
        path: Vec<u8>,
        path_inaccessible: bool,
        argv: Vec<Vec<u8>>,
        envp: Vec<Vec<u8>>,
    ) -> Result<Program> {
        let token = self.kernel.new_token();
        before_exchange();
        let (space, thread) = self
            .kernel
            .platform
            .new_process(token)
            .map_err(host_error)?;
        let mm = MemoryManager::new(space)
            .with_texts(self.kernel.texts.clone())
            .with_settings(self.settings)
            .with_own_text(self.traced);
        let name = path
            .rsplit(|b| *b == b'/')
            .next()
            .unwrap_or_default()
            .to_vec();
        let mut creds = old.clone();
        let mut readable = false;
        let mut program_ns = old.user_ns.clone();
        let request = LoadRequest {
            file,
            path,
            path_inaccessible,
            argv,
            envp,
            limits: self.limits,
            random_addresses: !self.fixed,
            vdso: self.kernel.platform.vdso().filter(|_| !self.shifted),
            identify: &mut |program| {
                let stat = program.inode().stat()?;
                readable = permission::check(self.caller, program.inode(), READ).is_ok();
                if !readable {
                    // Only who may read the file may look into it.
                    while !program_ns.maps_both(stat.uid, stat.gid) {
                        let Some(above) = program_ns.parent().cloned() else {
                            break;
                        };
                        program_ns = above;
                    }
                }
                let owner = FileOwner {
                    uid: stat.uid,
                    gid: stat.gid,
                    perm: stat.perm,
                };
                creds = crate::auth::exec_credentials(
                    old,
                    owner,
                    !self.fs_shared
                        && !self.watched
                        && program.path().is_some_and(|path| {
                            let mounts = self.fs.namespace().id();
                            permission::honours_setid(path, &old.user_ns, mounts)
                        }),
                );
                if self.watched {
                    creds.permitted &= old.permitted;
                    creds.effective &= creds.permitted;
                }
                let ns = &creds.user_ns;
                Ok(Identity {
                    uid: ns.show_user(creds.uid),
                    euid: ns.show_user(creds.euid),
                    gid: ns.show_group(creds.gid),
                    egid: ns.show_group(creds.egid),
                    secure: creds.euid != creds.uid || creds.egid != creds.gid,
                })
            },
            open: &mut |p| vfs::open_exec(self.caller, self.fs, &At::Cwd, p, WalkFlags::FOLLOW),
        };
        let loaded = loader::load(request, &mm, &*thread).map_err(|e| {
            // The host took it for want of memory.
            let ended = mm.space().has_ended();
            if ended { Errno::ENOMEM } else { e }
        })?;
        let secure = creds.euid != old.euid || creds.egid != old.egid;
        let own = creds.euid == creds.uid && creds.egid == creds.gid;
        Ok(Program {
            token,
            mm: Arc::new(mm),
            thread,
            loaded,
            creds,
            name,
            secure,
            dumpable: readable && own && !secure,
            program_ns,
        })
    }
}

/// Registers at a program's entry: all zero but these (`start_thread`).
pub(super) fn start_registers(loaded: &Loaded) -> Registers {
    Registers {
        rip: loaded.entry,
        rsp: loaded.stack_pointer,
        eflags: 0x202,
        cs: 0x33,
        ss: 0x2b,
        ..Registers::default()
    }
}

/// Other threads that have not ended, or whose tracers have yet to hear of it: as on Linux, it is not over before (`de_thread`).
fn others(cx: &Cx<'_>) -> usize {
    let tree = cx.kernel().tree.lock();
    let alive = tree
        .nodes
        .get(&cx.group().pid())
        .map_or(0, |n| n.threads.len().saturating_sub(1));
    alive.saturating_add(ptrace::untold(&tree, cx.group()))
}

/// Whether a task of another process has the running one's root and working directory.
fn fs_shared(cx: &Cx<'_>) -> bool {
    let others: Vec<Arc<Task>> = {
        let tree = cx.kernel().tree.lock();
        let all = tree.tasks.values().filter_map(std::sync::Weak::upgrade);
        all.filter(|t| !Arc::ptr_eq(t.group(), cx.group()))
            .collect()
    };
    others.iter().any(|t| Arc::ptr_eq(&t.fs(), cx.fs()))
}

/// The point of no return.
fn commit(cx: &mut Cx<'_>, p: &Prepared) -> Result<()> {
    let task = cx.task;
    let old = task.creds();
    if p.secure
        && (old.no_new_privs && !p.creds.no_new_privs
            || !old.has_own(Caps::SETUID) && (fs_shared(cx) || ptrace::is_watched(task)))
    {
        // A sibling saw to it after the rights were worked out (SECCOMP_FILTER_FLAG_TSYNC, CLONE_FS).
        return Err(Errno::EAGAIN);
    }
    own_descriptors(cx)?;
    let thread = p.thread.lock().take().ok_or(Errno::ENOEXEC)?;
    futex::exit_robust_list(cx);
    futex::clear_child_tid(cx);
    task.follow_time(&p.mm, &*thread);
    let peak = super::exit::final_peak(cx);
    let old_thread = task.replace_thread(p.token, Some(thread.into()));
    let group = cx.group();
    let dumpable = |yes: bool| group.dumpable.store(i32::from(yes), Ordering::Relaxed);
    // The new program's rights come first: nobody sees its memory with the old ones (`identity::look`).
    if !p.dumpable {
        dumpable(false);
    }
    task.set_creds(p.creds.clone());
    task.set_program_ns(p.program_ns.clone());
    task.set_mm(p.mm.clone());
    dumpable(p.dumpable);
    if let Some(t) = old_thread {
        t.terminate();
    }
    if let Some(done) = cx.local.vfork_done.take() {
        done.finish();
    }
    crate::kernel::keys::exec(cx.kernel(), task.tid(), cx.group().pid());
    become_leader(cx);
    close_on_exec(cx);
    crate::kernel::windows::left(cx.mm);
    signal::exec(cx);
    task.set_name(&p.name);
    if p.secure {
        task.set_parent_death_signal(0);
    }
    cx.local.robust_list = (0, 0);
    cx.local.saved_mask = None;
    let mut regs = start_registers(&p.loaded);
    // Tracers see the call that this was.
    regs.orig_rax = cx.local.call.map_or(u64::MAX, |(number, _)| number);
    cx.local.regs = regs.into();
    if cx.kernel().is_large(peak)
        && let Some(thread) = task.thread()
    {
        // Others may look at the new memory meanwhile. A process that cannot have it so has been killed.
        let _ = thread.settle();
    }
    cx.kernel().await_end(&**cx.mm.space(), peak);
    Ok(())
}

/// The process keeps its pid whichever thread calls execve.
fn become_leader(cx: &Cx<'_>) {
    let pid = cx.group().pid();
    let mut tree = cx.kernel().tree.lock();
    if cx.task.tid() != pid {
        let old = cx.task.tid();
        tree.tasks.remove(&old);
        ptrace::exec_renames(&mut tree, old, pid);
        cx.task.set_tid(pid);
        tree.tasks.insert(pid, Arc::downgrade(cx.task));
        cx.kernel().release_pids(&tree, &[old]);
    }
    if let Some(n) = tree.nodes.get_mut(&pid) {
        n.exit_signal = libc::SIGCHLD;
        n.execed = true;
    }
}

/// A table that is shared with another process is copied (`unshare_files`).
fn own_descriptors(cx: &Cx<'_>) -> Result<()> {
    let fds = cx.task.fds();
    if fds.is_shared() {
        cx.task.set_fds(Arc::new(fds.duplicate()?));
    }
    Ok(())
}

fn close_on_exec(cx: &Cx<'_>) {
    let fds = cx.task.fds();
    let tgid = cx.group().pid();
    for e in fds.remove_where(|_, e| e.cloexec) {
        e.file.ops().flush(&e.file, tgid);
    }
}
