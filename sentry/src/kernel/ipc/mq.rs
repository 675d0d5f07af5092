//! POSIX message queues (mq_overview(7)): named queues with priorities, whose descriptors are files.

use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials};
use crate::sync::{Events, Mutex, MutexGuard, Rank, WaitQueue};
use crate::usermem::Sink;
use crate::vfs::{
    Caller, File, FileOps, FileType, Inode, InodeMeta, InodeRef, OpenFlags, SetAttr, SetTime, Stat,
    StatFs, Timestamp,
};
use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Priorities are below this (`MQ_PRIO_MAX`).
pub const PRIO_MAX: u32 = 32768;
/// Longest name (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// `fs.mqueue.queues_max`.
const QUEUES_MAX: usize = 256;
/// `fs.mqueue.msg_max` and its default; what CAP_SYS_RESOURCE may have.
const MSG_MAX: i64 = 10;
const HARD_MSG_MAX: i64 = 65536;
/// `fs.mqueue.msgsize_max` and its default; what CAP_SYS_RESOURCE may have.
const MSGSIZE_MAX: i64 = 8192;
const HARD_MSGSIZE_MAX: i64 = 16 << 20;
/// What a message and a tree node cost in Linux's accounting, in bytes.
const MESSAGE_COST: i64 = 48;
/// Most bytes that all queues together may hold: they are the sentry's memory.
const TOTAL_MAX: u64 = 64 << 20;

/// Who is told of a message in an empty queue (mq_notify(2)).
pub struct Registration {
    /// Thread-group id.
    pub tgid: i32,
    /// How.
    pub how: Notification,
}

/// `sigev_notify` of a registration.
pub enum Notification {
    /// SIGEV_NONE.
    None,
    /// SIGEV_SIGNAL: number and `sigev_value`.
    Signal(i32, u64),
    /// SIGEV_THREAD: the C library's helper thread reads the cookie from this netlink socket.
    Thread(Arc<File>, [u8; COOKIE]),
}

/// Bytes of the cookie of SIGEV_THREAD (`NOTIFY_COOKIE_LEN`); the last one says what happened.
pub const COOKIE: usize = 32;

impl Registration {
    /// Tells the helper thread of SIGEV_THREAD: a message came (`woken`), or the registration was taken away.
    pub fn tell_thread(self, woken: bool) {
        const WOKENUP: u8 = 1;
        const REMOVED: u8 = 2;
        if let Notification::Thread(socket, mut cookie) = self.how {
            if let Some(last) = cookie.last_mut() {
                *last = if woken { WOKENUP } else { REMOVED };
            }
            crate::net::netlink::deliver(&socket, cookie.to_vec());
        }
    }
}

/// Capacity of a queue (`struct mq_attr`).
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Capacity {
    pub max_messages: i64,
    pub message_size: i64,
}

impl Default for Capacity {
    fn default() -> Capacity {
        Capacity {
            max_messages: MSG_MAX,
            message_size: MSGSIZE_MAX,
        }
    }
}

impl Capacity {
    /// Bytes that count against RLIMIT_MSGQUEUE.
    fn charge(self, creds: &Credentials) -> Result<u64> {
        let Capacity {
            max_messages: n,
            message_size: size,
        } = self;
        if n <= 0 || size <= 0 {
            return Err(Errno::EINVAL);
        }
        let (most, longest) = if creds.has(Caps::SYS_RESOURCE) {
            (HARD_MSG_MAX, HARD_MSGSIZE_MAX)
        } else {
            (MSG_MAX, MSGSIZE_MAX)
        };
        if n > most || size > longest {
            return Err(Errno::EINVAL);
        }
        let nodes = n.min(i64::from(PRIO_MAX));
        let bytes = n * MESSAGE_COST + nodes * MESSAGE_COST + n * size;
        u64::try_from(bytes).map_err(|_| Errno::EOVERFLOW)
    }
}

/// A queue.
pub struct MqInode {
    meta: InodeMeta,
    ino: u64,
    capacity: Capacity,
    state: Mutex<State>,
    queue: Arc<WaitQueue>,
    /// Gives the quota back.
    _charge: Charge,
}

struct State {
    perm: u32,
    uid: u32,
    gid: u32,
    linked: bool,
    atime: Timestamp,
    mtime: Timestamp,
    ctime: Timestamp,
    messages: BTreeMap<u32, VecDeque<Vec<u8>>>,
    count: i64,
    bytes: u64,
    registration: Option<Registration>,
    /// Receivers that wait: they take precedence over a notification.
    receivers: usize,
}

/// All queues of an IPC namespace.
pub struct MqNamespace {
    queues: Mutex<BTreeMap<Vec<u8>, Arc<MqInode>>>,
    charged: Arc<Mutex<HashMap<u32, u64>>>,
}

impl MqNamespace {
    /// Another one without queues, on the same accounts.
    pub fn sibling(&self) -> MqNamespace {
        MqNamespace {
            queues: Mutex::new(Rank::IPC_TABLE, BTreeMap::new()),
            charged: self.charged.clone(),
        }
    }
}

impl Default for MqNamespace {
    fn default() -> Self {
        MqNamespace {
            queues: Mutex::new(Rank::IPC_TABLE, BTreeMap::new()),
            charged: Arc::new(Mutex::new(Rank::LEAF, HashMap::new())),
        }
    }
}

/// Bytes charged to a user for one queue.
struct Charge {
    accounts: Arc<Mutex<HashMap<u32, u64>>>,
    uid: u32,
    bytes: u64,
}

impl Charge {
    fn new(
        accounts: &Arc<Mutex<HashMap<u32, u64>>>,
        uid: u32,
        bytes: u64,
        limit: u64,
    ) -> Result<Charge> {
        let mut all = accounts.lock();
        let total: u64 = all.values().sum();
        let mine = all.get(&uid).copied().unwrap_or(0);
        if mine.saturating_add(bytes) > limit || total.saturating_add(bytes) > TOTAL_MAX {
            return Err(Errno::EMFILE);
        }
        // Not before: who gets nothing leaves nothing behind.
        *all.entry(uid).or_default() += bytes;
        Ok(Charge {
            accounts: accounts.clone(),
            uid,
            bytes,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut all = self.accounts.lock();
        if let Some(n) = all.get_mut(&self.uid) {
            *n = n.saturating_sub(self.bytes);
            if *n == 0 {
                all.remove(&self.uid);
            }
        }
    }
}

/// st_dev: a minor number that no other mount of the guest has.
pub(super) const DEVICE: u64 = 19;

static NEXT_INO: AtomicU64 = AtomicU64::new(2);

fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() {
        Err(Errno::ENOENT)
    } else if name.contains(&b'/') || name == b"." || name == b".." {
        Err(Errno::EACCES)
    } else if name.len() > NAME_MAX {
        Err(Errno::ENAMETOOLONG)
    } else {
        Ok(())
    }
}

impl MqNamespace {
    /// mq_open(2): `flags` as in open(2), `perm` with the umask not yet applied, `limit` RLIMIT_MSGQUEUE.
    ///
    /// # Errors
    /// As mq_open(2).
    pub fn open(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        flags: OpenFlags,
        perm: u32,
        capacity: Option<Capacity>,
        limit: u64,
    ) -> Result<Arc<File>> {
        check_name(name)?;
        let creds = cx.credentials();
        let mut queues = self.queues.lock();
        let inode = match queues.get(name) {
            Some(q) => {
                if flags.contains(OpenFlags::CREAT | OpenFlags::EXCL) {
                    return Err(Errno::EEXIST);
                }
                let wanted = match flags.bits() & 3 {
                    0 => 4,
                    1 => 2,
                    2 => 6,
                    _ => return Err(Errno::EINVAL),
                };
                crate::vfs::permission::check_mode(
                    creds,
                    FileType::Regular,
                    q.permissions()?,
                    wanted,
                )?;
                q.clone()
            }
            None => {
                if !flags.contains(OpenFlags::CREAT) {
                    return Err(Errno::ENOENT);
                }
                let q = self.make(queues.len(), cx, perm & !cx.umask(), capacity, limit)?;
                queues.insert(name.to_vec(), q.clone());
                q
            }
        };
        drop(queues);
        let ops = Box::new(MqFile(inode.clone()));
        Ok(File::new(ops, inode as InodeRef, None, flags))
    }

    /// A new queue, of the file system: `perm` as it is to be.
    ///
    /// # Errors
    /// EEXIST, ENOSPC, EINVAL, EMFILE.
    pub(super) fn create(
        &self,
        cx: &dyn Caller,
        name: &[u8],
        perm: u32,
        capacity: Option<Capacity>,
        limit: u64,
    ) -> Result<Arc<MqInode>> {
        let mut queues = self.queues.lock();
        if queues.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let q = self.make(queues.len(), cx, perm, capacity, limit)?;
        queues.insert(name.to_vec(), q.clone());
        Ok(q)
    }

    /// A queue that has no name yet, where there are `others`.
    fn make(
        &self,
        others: usize,
        cx: &dyn Caller,
        perm: u32,
        capacity: Option<Capacity>,
        limit: u64,
    ) -> Result<Arc<MqInode>> {
        let creds = cx.credentials();
        if others >= QUEUES_MAX && !creds.has(Caps::SYS_RESOURCE) {
            return Err(Errno::ENOSPC);
        }
        let capacity = capacity.unwrap_or_default();
        let bytes = capacity.charge(creds)?;
        let charge = Charge::new(&self.charged, creds.uid, bytes, limit)?;
        let now = Timestamp::now();
        Ok(Arc::new(MqInode {
            meta: InodeMeta::default(),
            ino: NEXT_INO.fetch_add(1, Ordering::Relaxed),
            capacity,
            state: Mutex::new(
                Rank::OBJECT,
                State {
                    perm: perm & 0o777,
                    uid: creds.fsuid,
                    gid: creds.fsgid,
                    linked: true,
                    atime: now,
                    mtime: now,
                    ctime: now,
                    messages: BTreeMap::new(),
                    count: 0,
                    bytes: 0,
                    registration: None,
                    receivers: 0,
                },
            ),
            queue: Arc::new(WaitQueue::new()),
            _charge: charge,
        }))
    }

    /// All queues by name.
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Arc<MqInode>>> {
        self.queues.lock()
    }

    /// mq_unlink(2).
    ///
    /// # Errors
    /// ENOENT; EPERM for another's queue (the directory is sticky).
    pub fn unlink(&self, cx: &dyn Caller, name: &[u8]) -> Result<()> {
        check_name(name)?;
        let creds = cx.credentials();
        let gone = {
            let mut queues = self.queues.lock();
            let q = queues.get(name).ok_or(Errno::ENOENT)?;
            let mut s = q.state.lock();
            if creds.fsuid != s.uid && creds.fsuid != 0 && !creds.has(Caps::FOWNER) {
                return Err(Errno::EPERM);
            }
            s.linked = false;
            drop(s);
            queues.remove(name)
        };
        drop(gone);
        Ok(())
    }
}

/// The queue behind a descriptor.
///
/// # Errors
/// EBADF if it is none.
pub fn queue_of(file: &File) -> Result<Arc<MqInode>> {
    file.downcast::<MqFile>()
        .map(|f| f.0.clone())
        .ok_or(Errno::EBADF)
}

impl MqInode {
    /// Where senders and receivers wait.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }
    /// Inode number.
    pub(super) fn number(&self) -> u64 {
        self.ino
    }
    /// Its name is gone.
    pub(super) fn unlinked(&self) {
        self.state.lock().linked = false;
    }
    /// Size of the largest message, in bytes.
    pub fn message_size(&self) -> usize {
        usize::try_from(self.capacity.message_size).unwrap_or(0)
    }
    /// Capacity, and the number of messages in it.
    pub fn attributes(&self) -> (Capacity, i64) {
        (self.capacity, self.state.lock().count)
    }

    /// Appends a message; whom to notify, if anybody.
    ///
    /// # Errors
    /// EAGAIN if the queue is full.
    pub fn send(&self, priority: u32, text: Vec<u8>) -> Result<Option<Registration>> {
        let notify = {
            let mut s = self.state.lock();
            if s.count >= self.capacity.max_messages {
                return Err(Errno::EAGAIN);
            }
            s.bytes += text.len() as u64;
            s.count += 1;
            s.messages.entry(priority).or_default().push_back(text);
            s.mtime = Timestamp::now();
            if s.count == 1 && s.receivers == 0 {
                s.registration.take()
            } else {
                None
            }
        };
        self.queue.wake(Events::READABLE);
        Ok(notify)
    }

    /// Takes the oldest message of the highest priority.
    ///
    /// # Errors
    /// EAGAIN if there is none.
    pub fn receive(&self) -> Result<(u32, Vec<u8>)> {
        let taken = {
            let mut s = self.state.lock();
            let mut highest = s.messages.last_entry().ok_or(Errno::EAGAIN)?;
            let priority = *highest.key();
            let text = highest.get_mut().pop_front();
            if highest.get().is_empty() {
                highest.remove();
            }
            let text = text.ok_or(Errno::EAGAIN)?;
            s.bytes -= text.len() as u64;
            s.count -= 1;
            s.atime = Timestamp::now();
            (priority, text)
        };
        self.queue.wake(Events::WRITABLE);
        Ok(taken)
    }

    /// mq_notify(2): registers, or with `None` takes the caller's registration away.
    ///
    /// # Errors
    /// EBUSY if a process is registered already.
    pub fn register(&self, tgid: i32, registration: Option<Registration>) -> Result<()> {
        let removed = {
            let mut s = self.state.lock();
            match registration {
                Some(_) if s.registration.is_some() => return Err(Errno::EBUSY),
                Some(r) => s.registration.replace(r),
                None => s.registration.take_if(|r| r.tgid == tgid),
            }
        };
        if let Some(r) = removed {
            r.tell_thread(false);
        }
        Ok(())
    }
}

/// A receiver that waits; dropping it ends the wait.
pub struct Receiver(Arc<MqInode>);

impl Receiver {
    /// Counts one more.
    pub fn new(queue: &Arc<MqInode>) -> Receiver {
        queue.state.lock().receivers += 1;
        Receiver(queue.clone())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut s = self.0.state.lock();
        s.receivers = s.receivers.saturating_sub(1);
    }
}

/// An open queue.
struct MqFile(Arc<MqInode>);

impl FileOps for MqFile {
    /// What the queue holds, as text.
    fn read(&self, _: &File, _: &dyn Caller, dst: &mut dyn Sink, pos: &mut u64) -> Result<usize> {
        let text = {
            let s = self.0.state.lock();
            let r = s.registration.as_ref();
            // SIGEV_NONE is 1, SIGEV_THREAD 2.
            let (how, signal) = match r.map(|r| &r.how) {
                Some(Notification::None) => (1, 0),
                Some(Notification::Signal(n, _)) => (0, *n),
                Some(Notification::Thread(..)) => (2, 0),
                None => (0, 0),
            };
            format!(
                "QSIZE:{:<10} NOTIFY:{:<5} SIGNO:{:<5} NOTIFY_PID:{:<6}\n",
                s.bytes,
                how,
                signal,
                r.map_or(0, |r| r.tgid)
            )
        };
        let from = usize::try_from(*pos)
            .ok()
            .and_then(|p| text.as_bytes().get(p..))
            .unwrap_or(&[]);
        if from.is_empty() {
            return Ok(0);
        }
        let n = dst.put(from)?;
        *pos += n as u64;
        Ok(n)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn poll(&self, _: &File) -> Events {
        let s = self.0.state.lock();
        let mut events = Events::empty();
        if s.count > 0 {
            events |= Events::READABLE;
        }
        if s.count < self.0.capacity.max_messages {
            events |= Events::WRITABLE;
        }
        events
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.0.queue.clone())
    }
    fn flush(&self, _: &File, tgid: i32) {
        // A process that closes any descriptor of the queue is no longer told.
        let _ = self.0.register(tgid, None);
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// statfs(2) of the file system.
pub(super) fn statfs() -> Result<StatFs> {
    Ok(StatFs {
        // MQUEUE_MAGIC
        magic: 0x1980_0202,
        block_size: 4096,
        name_max: 255,
        ..StatFs::default()
    })
}

impl Inode for MqInode {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        FileType::Regular
    }
    fn stat(&self) -> Result<Stat> {
        let s = self.state.lock();
        Ok(Stat {
            dev: DEVICE,
            ino: self.ino,
            file_type: FileType::Regular,
            perm: s.perm,
            nlink: u32::from(s.linked),
            uid: s.uid,
            gid: s.gid,
            rdev: 0,
            size: 80,
            blksize: 4096,
            blocks: 0,
            atime: s.atime,
            mtime: s.mtime,
            ctime: s.ctime,
            btime: s.ctime,
        })
    }
    fn set_attr(&self, _: &dyn Caller, changes: &SetAttr) -> Result<()> {
        // Truncation is taken and changes nothing.
        let now = Timestamp::now();
        let time = |t| match t {
            SetTime::Now => now,
            SetTime::At(t) => t,
        };
        let mut s = self.state.lock();
        s.perm = changes.perm.unwrap_or(s.perm);
        s.uid = changes.uid.unwrap_or(s.uid);
        s.gid = changes.gid.unwrap_or(s.gid);
        s.atime = changes.atime.map_or(s.atime, time);
        s.mtime = changes.mtime.map_or(s.mtime, time);
        s.ctime = now;
        Ok(())
    }
    fn statfs(&self) -> Result<StatFs> {
        statfs()
    }
    fn open(self: Arc<Self>, _: &dyn Caller, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(MqFile(self)))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
