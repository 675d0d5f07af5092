//! Processes that the sandbox's owner starts: init, and others beside it later.

use super::config::{BootError, CapsConfig, ProcessConfig};
use super::control::{Event, EventSink};
use super::{reason, show, terminal, user};
use crate::abi::Errno;
use crate::auth::{Caps, Credentials};
use crate::fs::host::{HostFile, HostPoller};
use crate::fs::tty::{Devpts, HostBridge};
use crate::kernel::seccomp;
use crate::kernel::task::spawn::{SpawnRequest, spawn};
use crate::kernel::{FdTable, Kernel, Limits, MAX_FDS, Task, ThreadGroup};
use crate::sync::{Mutex, Rank};
use crate::vfs::{self, At, FsContext, KernelCaller, WalkFlags, names};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is needed to start processes.
pub struct Boot {
    /// The sandbox's kernel.
    pub kernel: Arc<Kernel>,
    pub(super) poller: Arc<HostPoller>,
    pub(super) devpts: Arc<Devpts>,
    /// Root and working directory at the root of the first mount namespace.
    pub(super) fs: FsContext,
    pub(super) events: EventSink,
    /// By the monitor's numbers.
    pub(super) started: Mutex<HashMap<u32, Started>>,
}

/// A process that was started from outside.
#[derive(Clone)]
pub(super) struct Started {
    pid: i32,
    bridge: Option<Arc<HostBridge>>,
}

/// How long what a process has printed may take to reach its host terminal after its end.
const DRAIN: Duration = Duration::from_secs(2);

impl Boot {
    pub(super) fn no_processes() -> Mutex<HashMap<u32, Started>> {
        Mutex::new(Rank::LEAF, HashMap::new())
    }

    /// The process with the monitor's number, if it still lives.
    pub(super) fn process(&self, number: u32) -> Option<Arc<ThreadGroup>> {
        let pid = self.started.lock().get(&number)?.pid;
        self.kernel.process(pid)
    }

    /// Its terminal.
    pub(super) fn bridge(&self, number: u32) -> Option<Arc<HostBridge>> {
        self.started.lock().get(&number)?.bridge.clone()
    }

    /// Tells the monitor when the process ends. Call before it runs.
    pub(super) fn watch(self: &Arc<Self>, number: u32, pid: i32, bridge: Option<Arc<HostBridge>>) {
        self.started.lock().insert(number, Started { pid, bridge });
        if number == 0 {
            // The sandbox ends with init, and with it this is told.
            return;
        }
        let boot = self.clone();
        self.kernel.when_ended(
            pid,
            Box::new(move |status| {
                let ended = boot.started.lock().remove(&number);
                let tell = move || {
                    if let Some(bridge) = ended.and_then(|e| e.bridge) {
                        bridge.drain(DRAIN);
                    }
                    (boot.events)(Event::Ended(number, status));
                };
                // A slow terminal holds up nobody else.
                let thread = std::thread::Builder::new().name("ended".into());
                if let Err(e) = thread.spawn(tell) {
                    log::error!("cannot tell the monitor that process {number} has ended: {e}");
                }
            }),
        );
    }

    /// Makes a process that does not run yet. `init`: it is the first, and whether it is a real init.
    pub(super) fn process_from(
        &self,
        p: &ProcessConfig,
        streams: Vec<OwnedFd>,
        init: Option<bool>,
    ) -> Result<(Arc<Task>, Option<Arc<HostBridge>>), BootError> {
        let account = user::find(&p.user, &self.fs)?;
        let creds = credentials(&account, p);
        let mut envp = p.envp.clone();
        if !envp.iter().any(|e| e.starts_with(b"HOME="))
            && let Some(home) = user::home(&account, &self.fs, p.set_home)
        {
            envp.push([b"HOME=".as_slice(), &home].concat());
        }
        let as_user = user::AsUser {
            creds: Arc::new(creds.clone()),
        };
        let fs = Arc::new(self.fs.duplicate());
        self.enter(&fs, &as_user, p)?;
        if let Some(umask) = p.umask {
            fs.set_umask(umask);
        }
        let fds = Arc::new(FdTable::default());
        let bridge = self.install_streams(&fds, p, streams, &fs, account.uid)?;
        let (file, path) = user::find_program(&as_user, &fs, &p.argv, &envp)?;
        let task = spawn(
            &self.kernel,
            SpawnRequest {
                file,
                path: path.clone(),
                argv: p.argv.clone(),
                envp: envp.clone(),
                creds,
                fs,
                fds,
                limits: limits(p),
                caller: &KernelCaller,
                is_init: init.unwrap_or(false),
            },
        )
        .map_err(|e| {
            // The file itself is there.
            let which = match e {
                Errno::ENOENT => " (the interpreter or loader that it names)",
                Errno::ENOEXEC => " (neither an x86-64 program nor a script that begins with #!)",
                _ => "",
            };
            let reason = reason(e);
            BootError::NotExecutable(format!("cannot execute {}: {reason}{which}", show(&path)))
        })?;
        if let Some(tracer) = &self.kernel.tracer {
            tracer.started(&task, &path, &p.argv, &envp);
        }
        if let Some(adjust) = p.oom_score_adj {
            task.group().oom_score_adj.store(adjust, Ordering::Relaxed);
        }
        if let Some(s) = &p.scheduler {
            task.sched.policy.store(s.policy, Ordering::Relaxed);
            task.sched.nice.store(s.nice, Ordering::Relaxed);
            task.sched.rt_priority.store(s.priority, Ordering::Relaxed);
            for (to, from) in task.sched.deadline.iter().zip(s.deadline) {
                to.store(from, Ordering::Relaxed);
            }
        }
        if let Some(priority) = p.io_priority {
            task.sched.io_priority.store(priority, Ordering::Relaxed);
        }
        if let Some(filter) = &p.seccomp {
            seccomp::attach(&task, &filter.program, filter.log).map_err(|e| {
                BootError::Failed(format!("the seccomp profile is not valid: {}", reason(e)))
            })?;
        }
        if let Some(bridge) = &bridge {
            terminal::control(bridge, &task);
        }
        Ok((task, bridge))
    }

    /// Working directory.
    fn enter(
        &self,
        fs: &FsContext,
        as_user: &user::AsUser,
        p: &ProcessConfig,
    ) -> Result<(), BootError> {
        let flags = WalkFlags::FOLLOW | WalkFlags::DIRECTORY;
        let mut found = vfs::resolve(as_user, fs, &At::Cwd, &p.cwd, flags);
        if matches!(found, Err(Errno::ENOENT)) && p.make_cwd {
            let mut so_far = Vec::new();
            for part in p.cwd.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
                so_far.push(b'/');
                so_far.extend_from_slice(part);
                match names::mkdir(&KernelCaller, fs, &At::Cwd, &so_far, 0o755) {
                    Ok(_) | Err(Errno::EEXIST) => {}
                    Err(_) => break,
                }
            }
            found = vfs::resolve(as_user, fs, &At::Cwd, &p.cwd, flags);
        }
        let missing = matches!(found, Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES));
        if missing && p.cwd_may_miss {
            found = vfs::resolve(as_user, fs, &At::Cwd, b"/", flags);
        }
        let cwd = found.map_err(|e| {
            BootError::Failed(format!(
                "working directory {} in the sandbox: {}",
                show(&p.cwd),
                reason(e)
            ))
        })?;
        fs.set_cwd(cwd);
        Ok(())
    }

    fn install_streams(
        &self,
        fds: &FdTable,
        p: &ProcessConfig,
        streams: Vec<OwnedFd>,
        fs: &FsContext,
        uid: u32,
    ) -> Result<Option<Arc<HostBridge>>, BootError> {
        let mut streams = streams.into_iter();
        let bridge = match p.terminal {
            None => None,
            Some(size) => {
                let host = streams
                    .next()
                    .ok_or_else(|| BootError::Failed("the terminal is missing".into()))?;
                let (bridge, file) =
                    terminal::connect(host, size, &self.devpts, &self.poller, fs, uid)?;
                for _ in 0..3 {
                    install(fds, file.clone())?;
                }
                Some(bridge)
            }
        };
        for fd in streams {
            let file = HostFile::open(fd, &self.poller)
                .map_err(|e| BootError::Failed(format!("cannot use a standard stream: {e}")))?;
            install(fds, file)?;
        }
        Ok(bridge)
    }
}

/// Puts a stream at the next descriptor.
fn install(fds: &FdTable, file: Arc<vfs::File>) -> Result<(), BootError> {
    fds.install(file, false, 0, MAX_FDS as u64)
        .map(drop)
        .map_err(|e| BootError::Failed(format!("cannot install the standard streams: {e}")))
}

fn credentials(account: &user::Account, p: &ProcessConfig) -> Credentials {
    let CapsConfig {
        bounding,
        permitted,
        effective,
        inheritable,
        ambient,
    } = p.caps.unwrap_or(CapsConfig {
        bounding: u64::MAX,
        ..CapsConfig::default()
    });
    let set = Caps::from_bits_truncate;
    let mut creds = Credentials::new(account.uid, account.gid, &account.groups, set(bounding));
    if p.caps.is_some() {
        creds.permitted = set(permitted);
        creds.effective = set(effective & permitted);
        creds.inheritable = set(inheritable);
        creds.ambient = set(ambient & permitted & inheritable);
    }
    creds.no_new_privs = p.no_new_privs;
    creds
}

fn limits(p: &ProcessConfig) -> Limits {
    let mut limits = Limits::default();
    for (resource, soft, hard) in &p.limits {
        if let Some(slot) = limits.0.get_mut(*resource as usize) {
            *slot = (*soft, *hard);
        }
    }
    limits
}
