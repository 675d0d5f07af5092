//! A process's directory, and each of its threads' under `task/`.

mod fd;
mod info;
mod links;
mod maps;
mod mem;
mod mounts;
mod pagemap;
mod query;
pub use mounts::part as mount_part;
mod stat;
mod status;

use super::root::task_of;
use super::{Proc, net};
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials};
use crate::fs::pseudo::{Attr, Child, Content, Directory, PseudoDir, PseudoFile};
use crate::kernel::{PidNamespace, Task, ThreadGroup, identity};
use crate::sync::Changes;
use crate::vfs::{Caller, FileType, InodeRef, OpenFlags};
use std::sync::{Arc, Weak};

/// A process or one thread of it, by number: it may end at any time.
#[derive(Clone)]
struct Subject {
    proc: Proc,
    group: Weak<ThreadGroup>,
    pid: i32,
    /// Thread id in `task/TID`; `None` for the process's own directory.
    tid: Option<i32>,
}

/// A subject that still exists.
struct Live {
    group: Arc<ThreadGroup>,
    /// The thread, or any thread of the process; `None` for a zombie.
    task: Option<Arc<Task>>,
    whole_process: bool,
    /// Whose numbers are shown.
    ns: Arc<PidNamespace>,
}

impl Subject {
    fn live(&self) -> Result<Live> {
        let kernel = self.proc.kernel()?;
        let group = self.group.upgrade().ok_or(Errno::ESRCH)?;
        kernel
            .process(self.pid)
            .filter(|g| Arc::ptr_eq(g, &group))
            .ok_or(Errno::ESRCH)?;
        let threads = group.threads();
        let task = match self.tid {
            Some(tid) => Some(
                threads
                    .into_iter()
                    .find(|t| t.tid() == tid)
                    .ok_or(Errno::ESRCH)?,
            ),
            None => threads
                .iter()
                .find(|t| t.tid() == self.pid)
                .or(threads.first())
                .cloned(),
        };
        Ok(Live {
            group,
            task,
            whole_process: self.tid.is_none(),
            ns: self.proc.ns.clone(),
        })
    }
    fn number(&self) -> i32 {
        self.tid.unwrap_or(self.pid)
    }
    /// Whether its directory has such an entry: some are only of processes, one only of threads.
    fn has(&self, name: &str) -> bool {
        match name {
            "children" => self.tid.is_some(),
            "coredump_filter" | "mountstats" | "task" | "timens_offsets" | "timerslack_ns" => {
                self.tid.is_none()
            }
            _ => true,
        }
    }
    /// Owner of the entries: the process's effective ids, root's if it is not dumpable.
    fn owner(&self) -> (u32, u32) {
        let Ok(l) = self.live() else { return (0, 0) };
        if l.group.dumpable.load(std::sync::atomic::Ordering::Relaxed) != 1 {
            // Root of the namespace that its program is of.
            return l.task.map_or((0, 0), |t| {
                let ns = t.program_ns();
                (ns.user(0).unwrap_or(0), ns.group(0).unwrap_or(0))
            });
        }
        l.task.map_or((0, 0), |t| {
            let c = t.creds();
            (c.euid, c.egid)
        })
    }
    fn attr(&self, perm: u32, index: u64) -> Attr {
        Attr::owned(self.proc.fs, perm, ino(self.number(), index), self.owner())
    }
}

impl Live {
    /// What a process or group is called where the file system was mounted.
    fn seen(&self, pid: i32) -> i32 {
        if pid <= 0 {
            // No process.
            return pid;
        }
        self.group.kernel().map_or(0, |k| k.pid_seen(&self.ns, pid))
    }
    fn task(&self) -> Result<&Arc<Task>> {
        self.task.as_ref().ok_or(Errno::ESRCH)
    }
    /// Takes something of the thread if [`Live::may_inspect`].
    fn inspect<T>(
        &self,
        cx: &dyn Caller,
        take: impl Fn(Option<&Arc<Task>>) -> Result<T>,
    ) -> Result<T> {
        match &self.task {
            Some(task) => identity::look(task, || self.may_inspect(cx), || take(Some(task))),
            None => take(None),
        }
    }
    /// ptrace(2)'s access check (PTRACE_MODE_READ_FSCREDS): EACCES.
    fn may_inspect(&self, cx: &dyn Caller) -> Result<()> {
        let Some(task) = &self.task else {
            return Ok(());
        };
        if task_of(cx).is_some_and(|c| Arc::ptr_eq(c.group(), &self.group)) {
            return Ok(());
        }
        let me = cx.credentials();
        if identity::may_access(me, (me.fsuid, me.fsgid), me.effective, task) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }
}

/// Pid or tid of a directory name: decimal without leading zeros.
pub(super) fn parse(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let n: i32 = text.parse().ok().filter(|n| *n > 0)?;
    (n.to_string() == text).then_some(n)
}

/// Inode number of entry `index` of a process or thread.
pub(super) fn ino(number: i32, index: u64) -> u64 {
    (u64::from(number.unsigned_abs()) << 32) | index
}

/// The directory of a process (or, as Linux allows, of any thread by its tid).
pub(super) fn lookup(proc: &Proc, pid: i32) -> Result<InodeRef> {
    let kernel = proc.kernel()?;
    let pid = kernel.pid_named(&proc.ns, pid).ok_or(Errno::ENOENT)?;
    let group = kernel
        .process(pid)
        .or_else(|| kernel.task(pid).map(|t| t.group().clone()))
        .ok_or(Errno::ENOENT)?;
    let s = Subject {
        proc: proc.clone(),
        pid: group.pid(),
        group: Arc::downgrade(&group),
        tid: None,
    };
    Ok(dir(s))
}

fn dir(s: Subject) -> InodeRef {
    PseudoDir::new(s.attr(0o555, 0), Entries(s))
}

type Text = fn(&Live, &dyn Caller) -> Result<Vec<u8>>;
type Store = fn(&Live, &dyn Caller, &[u8]) -> Result<()>;
/// What is written counts by who opened the file, and only at its start. How many bytes were taken.
type StoreMap = fn(&Live, &Credentials, &[u8]) -> Result<usize>;

/// One generated file.
struct Entry {
    name: &'static str,
    perm: u32,
    /// Needs the ptrace access check to be opened.
    private: bool,
    text: Text,
    store: Option<Store>,
    map: Option<StoreMap>,
}

const fn public(name: &'static str, text: Text) -> Entry {
    Entry {
        name,
        perm: 0o444,
        private: false,
        text,
        store: None,
        map: None,
    }
}
const fn private(name: &'static str, perm: u32, text: Text) -> Entry {
    Entry {
        name,
        perm,
        private: true,
        text,
        store: None,
        map: None,
    }
}
const fn writable(name: &'static str, perm: u32, text: Text, store: Store) -> Entry {
    Entry {
        name,
        perm,
        private: false,
        text,
        store: Some(store),
        map: None,
    }
}
const fn mapped(name: &'static str, text: Text, map: StoreMap) -> Entry {
    Entry {
        name,
        perm: 0o644,
        private: false,
        text,
        store: None,
        map: Some(map),
    }
}

static FILES: &[Entry] = &[
    private("auxv", 0o400, info::auxv),
    public("cgroup", |_, _| Ok(b"0::/\n".to_vec())),
    public("children", info::children),
    writable(
        "clear_refs",
        0o200,
        |_, _| Err(Errno::EINVAL),
        info::clear_refs,
    ),
    public("cmdline", info::cmdline),
    writable("comm", 0o644, info::comm, info::set_comm),
    private("environ", 0o400, info::environ),
    writable(
        "coredump_filter",
        0o644,
        info::coredump_filter,
        info::set_coredump_filter,
    ),
    public("cpuset", |_, _| Ok(b"/\n".to_vec())),
    mapped("gid_map", info::gid_map, info::set_gid_map),
    private("io", 0o400, info::io),
    public("limits", info::limits),
    writable(
        "loginuid",
        0o644,
        |_, _| Ok(b"4294967295".to_vec()),
        info::refuse,
    ),
    private("maps", 0o444, maps::maps),
    public("mountinfo", mounts::mountinfo),
    public("mounts", mounts::mounts),
    private("mountstats", 0o400, mounts::mountstats),
    writable("oom_adj", 0o644, info::oom_adj, info::set_oom_adj),
    public("oom_score", |_, _| Ok(b"0\n".to_vec())),
    writable(
        "oom_score_adj",
        0o644,
        info::oom_score_adj,
        info::set_oom_score_adj,
    ),
    private("personality", 0o400, info::personality),
    mapped("projid_map", info::projid_map, info::set_projid_map),
    public("schedstat", info::schedstat),
    public("sessionid", |_, _| Ok(b"4294967295".to_vec())),
    mapped("setgroups", info::setgroups, info::set_setgroups),
    private("smaps", 0o444, maps::smaps),
    private("smaps_rollup", 0o444, maps::smaps_rollup),
    // The sentry's stacks are nobody's business.
    private("stack", 0o400, |_, _| Err(Errno::EPERM)),
    private("syscall", 0o400, info::syscall),
    public("stat", stat::stat),
    public("statm", stat::statm),
    public("status", status::status),
    mapped("timens_offsets", info::time_offsets, info::set_time_offsets),
    writable(
        "timerslack_ns",
        0o666,
        info::timer_slack,
        info::set_timer_slack,
    ),
    mapped("uid_map", info::uid_map, info::set_uid_map),
    public("wchan", |_, _| Ok(b"0".to_vec())),
];

/// Directories and links, after the files in a listing.
const OTHERS: &[(&str, FileType)] = &[
    ("attr", FileType::Directory),
    ("cwd", FileType::Symlink),
    ("exe", FileType::Symlink),
    ("fd", FileType::Directory),
    ("fdinfo", FileType::Directory),
    ("mem", FileType::Regular),
    ("net", FileType::Directory),
    ("ns", FileType::Directory),
    ("pagemap", FileType::Regular),
    ("root", FileType::Symlink),
    ("task", FileType::Directory),
];

/// Children of a process's or thread's directory.
struct Entries(Subject);

struct Generated {
    subject: Subject,
    entry: &'static Entry,
}

impl Content for Generated {
    fn read(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        let live = self.subject.live()?;
        let text = || (self.entry.text)(&live, cx);
        if !self.entry.private {
            return text();
        }
        // Opened for a program that the process no longer runs: that one's memory is gone, and the new one is not shown.
        match live.may_inspect(cx) {
            Ok(()) => live.inspect(cx, |_| text()),
            Err(_) => Ok(Vec::new()),
        }
    }
    fn write_opened(
        &self,
        cx: &dyn Caller,
        opener: &Credentials,
        at: u64,
        data: &[u8],
    ) -> Result<usize> {
        let Some(map) = self.entry.map else {
            return self.write(cx, data);
        };
        if at != 0 {
            return Err(Errno::EINVAL);
        }
        map(&self.subject.live()?, opener, data)
    }
    fn write(&self, cx: &dyn Caller, data: &[u8]) -> Result<usize> {
        let store = self.entry.store.ok_or(Errno::EINVAL)?;
        store(&self.subject.live()?, cx, data)?;
        Ok(data.len())
    }
    fn ioctl(&self, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        if self.entry.name != "maps" || cmd != query::PROCMAP_QUERY {
            return Err(Errno::ENOTTY);
        }
        let live = self.subject.live()?;
        live.may_inspect(cx).map_err(|_| Errno::ESRCH)?;
        query::procmap(&live, cx, arg)
    }
    fn changes(&self) -> Option<Arc<Changes>> {
        if !matches!(self.entry.name, "mounts" | "mountinfo" | "mountstats") {
            return None;
        }
        let task = self.subject.live().ok()?.task?;
        Some(task.fs().namespace().changes().clone())
    }
    fn may_open(&self, cx: &dyn Caller, flags: OpenFlags) -> Result<()> {
        if self.entry.name == "setgroups" && flags.bits() & 3 != 0 {
            let live = self.subject.live()?;
            let ns = live.task()?.creds().user_ns.clone();
            if !cx.credentials().has_in(&ns, Caps::SYS_ADMIN) {
                return Err(Errno::EACCES);
            }
        }
        let mounts = matches!(self.entry.name, "mounts" | "mountinfo" | "mountstats");
        if mounts && self.subject.live()?.task.is_none() {
            // A zombie has none (`mounts_open_common`).
            return Err(Errno::EINVAL);
        }
        if self.entry.private {
            self.subject.live()?.may_inspect(cx)
        } else {
            Ok(())
        }
    }
}

impl Directory for Entries {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let s = &self.0;
        s.live().map_err(|_| Errno::ENOENT)?;
        if let Some(i) = FILES.iter().position(|e| e.name.as_bytes() == name) {
            let entry = FILES.get(i).ok_or(Errno::ENOENT)?;
            // Only threads list their children.
            if !s.has(entry.name) {
                return Err(Errno::ENOENT);
            }
            let attr = s.attr(entry.perm, 1 + i as u64);
            return Ok(PseudoFile::new(
                attr,
                Generated {
                    subject: s.clone(),
                    entry,
                },
            ));
        }
        Ok(match name {
            b"attr" => info::security(s),
            b"mem" => mem::make(s, s.attr(0o600, 201)),
            b"pagemap" => pagemap::make(s, s.attr(0o400, 202)),
            b"cwd" | b"exe" | b"root" => links::make(s, name),
            b"fd" => fd::dir(s),
            b"fdinfo" => fd::info_dir(s),
            b"net" => {
                let live = s.live()?;
                // A zombie has no network any more.
                let task = live.task().map_err(|_| Errno::EINVAL)?;
                net::make(&s.proc, &task.namespaces().net)
            }
            b"ns" => links::namespaces(s),
            b"task" if s.tid.is_none() => PseudoDir::new(s.attr(0o555, 200), Tasks(s.clone())),
            _ => return Err(Errno::ENOENT),
        })
    }
    fn list(&self, _: &dyn Caller) -> Result<Vec<Child>> {
        let s = &self.0;
        s.live().map_err(|_| Errno::ENOENT)?;
        let files = FILES.iter().map(|e| (e.name, FileType::Regular));
        let here = |name: &str| s.has(name);
        let each = |(i, (name, file_type)): (usize, (&str, FileType))| Child {
            name: name.as_bytes().to_vec(),
            ino: ino(s.number(), 1 + i as u64),
            file_type,
            key: i as u64,
        };
        Ok(files
            .chain(OTHERS.iter().copied())
            .enumerate()
            .filter(|(_, (name, _))| here(name))
            .map(each)
            .collect())
    }
    fn nlink(&self) -> u32 {
        if self.0.tid.is_some() { 7 } else { 9 }
    }
    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

/// The process whose `/proc/PID` directory `inode` is.
///
/// # Errors
/// EBADF for anything else; ESRCH once the process is gone.
pub fn process_of(inode: &InodeRef) -> Result<Arc<ThreadGroup>> {
    let dir = inode.as_any().downcast_ref::<PseudoDir>();
    let entries = dir.and_then(|d| d.directory().as_any()?.downcast_ref::<Entries>());
    let subject = &entries.filter(|e| e.0.tid.is_none()).ok_or(Errno::EBADF)?.0;
    Ok(subject.live()?.group)
}

/// `task/`.
struct Tasks(Subject);

impl Directory for Tasks {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let tid = parse(name).ok_or(Errno::ENOENT)?;
        let proc = &self.0.proc;
        let tid = proc
            .kernel()?
            .pid_named(&proc.ns, tid)
            .ok_or(Errno::ENOENT)?;
        let s = Subject {
            tid: Some(tid),
            ..self.0.clone()
        };
        s.live().map_err(|_| Errno::ENOENT)?;
        Ok(dir(s))
    }
    fn list(&self, _: &dyn Caller) -> Result<Vec<Child>> {
        let l = self.0.live()?;
        let mut tids: Vec<i32> = l.group.threads().iter().map(|t| l.seen(t.tid())).collect();
        tids.sort_unstable();
        let each = |tid: i32| Child {
            name: tid.to_string().into_bytes(),
            ino: ino(tid, 0),
            file_type: FileType::Directory,
            key: u64::from(tid.unsigned_abs()),
        };
        Ok(tids.into_iter().map(each).collect())
    }
    fn nlink(&self) -> u32 {
        let n = self.0.live().map_or(0, |l| l.group.threads().len());
        2 + u32::try_from(n).unwrap_or(0)
    }
}
