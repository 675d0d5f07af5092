//! inotify(7): a queue of file events.
//!
//! The VFS reports events to [`Inotify`] as a [`Watcher`]; the descriptor is an [`InotifyFile`]. A watch pins its inode.
//! Locks: the state only (LEAF), never while the VFS is called or the queue is woken.

use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonKind, anon_file};
use crate::sync::{Charge, Events, Knob, Mutex, Quota, Rank, WaitQueue};
use crate::usermem::{Sink, UserPtr, put_all};
use crate::vfs::notify::{Event, Mask, Watch, Watcher, Watches};
use crate::vfs::{Caller, File, FileOps, InodeRef, OpenFlags};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

/// Most instances, whatever the administrator says.
static INSTANCES: Quota = Quota::new(1 << 16);
/// `fs.inotify.max_user_instances`.
pub static MAX_INSTANCES: Knob = Knob::at(128, 0, i32::MAX as u64);
/// `fs.inotify.max_user_watches`.
static WATCHES: Quota = Quota::new(65536);
/// `fs.inotify.max_queued_events`.
const MAX_EVENTS: usize = 16384;
/// Bytes of all events that nobody has read.
static EVENTS: Quota = Quota::new(64 << 20);
/// What an event costs beside its name, in bytes.
const OVERHEAD: usize = 96;
/// `struct inotify_event` without the name.
const HEADER: usize = 16;

/// One instance.
pub struct Inotify {
    me: Weak<Inotify>,
    state: Mutex<State>,
    queue: Arc<WaitQueue>,
    _charge: Charge,
}

#[derive(Default)]
struct State {
    last_wd: i32,
    watches: BTreeMap<i32, (InodeRef, Mask, Charge)>,
    events: VecDeque<Queued>,
}

struct Queued {
    wd: i32,
    mask: Mask,
    cookie: u32,
    name: Box<[u8]>,
    /// None for an overflow, of which a queue holds one at most.
    _charge: Option<Charge>,
}

impl Queued {
    /// Length of the name field: with its NUL, a multiple of 16; 0 without a name.
    fn name_len(&self) -> usize {
        if self.name.is_empty() {
            0
        } else {
            (self.name.len() + 1).next_multiple_of(16)
        }
    }
    fn len(&self) -> usize {
        HEADER + self.name_len()
    }
    fn is(&self, wd: i32, mask: Mask, cookie: u32, name: &[u8]) -> bool {
        (self.wd, self.mask, self.cookie) == (wd, mask, cookie) && *self.name == *name
    }
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        out.extend_from_slice(&self.wd.to_ne_bytes());
        out.extend_from_slice(&self.mask.bits().to_ne_bytes());
        out.extend_from_slice(&self.cookie.to_ne_bytes());
        out.extend_from_slice(&(self.name_len() as u32).to_ne_bytes());
        out.extend_from_slice(&self.name);
        out.resize(self.len(), 0);
        out
    }
}

/// The open descriptor.
pub struct InotifyFile(Arc<Inotify>);

impl Inotify {
    /// What is watched, for fdinfo: watch descriptor, object, events.
    pub fn watches(&self) -> Vec<(i32, InodeRef, Mask)> {
        let s = self.state.lock();
        let each =
            |(wd, (inode, mask, _)): (&i32, &(InodeRef, Mask, Charge))| (*wd, inode.clone(), *mask);
        s.watches.iter().map(each).collect()
    }
    /// inotify_init1(2). `flags`: O_NONBLOCK.
    ///
    /// # Errors
    /// EMFILE if there are too many instances.
    pub fn create(cx: &dyn Caller, flags: OpenFlags) -> Result<Arc<File>> {
        let charge = INSTANCES.charge(1).ok_or(Errno::EMFILE)?;
        if !MAX_INSTANCES.allows(INSTANCES.used()) {
            return Err(Errno::EMFILE);
        }
        let instance = Arc::new_cyclic(|me| Inotify {
            me: me.clone(),
            state: Mutex::new(Rank::LEAF, State::default()),
            queue: Arc::new(WaitQueue::new()),
            _charge: charge,
        });
        let ops = Box::new(InotifyFile(instance));
        Ok(anon_file(cx, ops, AnonKind::Other("inotify"), flags))
    }

    fn watcher(&self) -> Weak<dyn Watcher> {
        self.me.clone()
    }

    /// inotify_add_watch(2) on an inode; the watch's number.
    ///
    /// # Errors
    /// EEXIST with MASK_CREATE if it is watched already; ENOSPC if there are too many.
    pub fn add(&self, inode: &InodeRef, mask: Mask) -> Result<i32> {
        let kept = Mask::ALL_EVENTS | Mask::ONESHOT | Mask::EXCL_UNLINK;
        let (wd, mask) = {
            let mut s = self.state.lock();
            let known = s
                .watches
                .iter_mut()
                .find(|(_, (i, ..))| crate::vfs::inode::same_inode(i, inode));
            if let Some((wd, (_, old, _))) = known {
                if mask.contains(Mask::MASK_CREATE) {
                    return Err(Errno::EEXIST);
                }
                let new = mask & kept;
                *old = if mask.contains(Mask::MASK_ADD) {
                    *old | new
                } else {
                    new
                };
                (*wd, *old)
            } else {
                let charge = WATCHES.charge(1).ok_or(Errno::ENOSPC)?;
                let wd = s.last_wd.checked_add(1).ok_or(Errno::ENOSPC)?;
                s.last_wd = wd;
                let mask = mask & kept;
                s.watches.insert(wd, (inode.clone(), mask, charge));
                (wd, mask)
            }
        };
        inode.meta().extension::<Watches>().set(Watch {
            watcher: self.watcher(),
            wd,
            mask,
        });
        Ok(wd)
    }

    /// inotify_rm_watch(2).
    ///
    /// # Errors
    /// EINVAL if there is no such watch.
    pub fn remove(&self, wd: i32) -> Result<()> {
        let (inode, ..) = {
            let mut s = self.state.lock();
            s.watches.remove(&wd).ok_or(Errno::EINVAL)?
        };
        inode
            .meta()
            .extension::<Watches>()
            .remove(&self.watcher(), wd);
        self.push(wd, Mask::IGNORED, 0, &[]);
        Ok(())
    }

    fn push(&self, wd: i32, mask: Mask, cookie: u32, name: &[u8]) {
        {
            let mut s = self.state.lock();
            let last = s.events.back();
            // What repeats the last event that nobody has read is not queued again.
            if last.is_some_and(|e| e.is(wd, mask, cookie, name)) {
                return;
            }
            let room = s.events.len() < MAX_EVENTS;
            let charge = room.then(|| EVENTS.charge(OVERHEAD + name.len())).flatten();
            let event = if charge.is_some() {
                Queued {
                    wd,
                    mask,
                    cookie,
                    name: name.into(),
                    _charge: charge,
                }
            } else {
                if last.is_some_and(|e| e.mask == Mask::Q_OVERFLOW) {
                    return;
                }
                Queued {
                    wd: -1,
                    mask: Mask::Q_OVERFLOW,
                    cookie: 0,
                    name: Box::default(),
                    _charge: None,
                }
            };
            s.events.push_back(event);
        }
        self.queue.wake(Events::READABLE);
    }

    fn queued_bytes(&self) -> usize {
        self.state.lock().events.iter().map(Queued::len).sum()
    }
}

impl Watcher for Inotify {
    fn event(&self, wd: i32, event: &Event<'_>) {
        self.push(wd, event.mask, event.cookie, event.name.unwrap_or(&[]));
    }
    fn ended(&self, wd: i32) {
        let gone = self.state.lock().watches.remove(&wd);
        if gone.is_some() {
            self.push(wd, Mask::IGNORED, 0, &[]);
        }
    }
}

/// The instance behind a file; EINVAL if it is another kind.
pub fn instance(file: &File) -> Result<&Inotify> {
    Ok(&file.downcast::<InotifyFile>().ok_or(Errno::EINVAL)?.0)
}

impl Drop for InotifyFile {
    fn drop(&mut self) {
        let watches = std::mem::take(&mut self.0.state.lock().watches);
        let me = self.0.watcher();
        for (wd, (inode, ..)) in watches {
            inode.meta().extension::<Watches>().remove(&me, wd);
        }
    }
}

impl FileOps for InotifyFile {
    fn read(&self, _: &File, _: &dyn Caller, dst: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        let mut done = 0;
        loop {
            let event = {
                let mut s = self.0.state.lock();
                match s.events.front() {
                    None if done == 0 => return Err(Errno::EAGAIN),
                    None => return Ok(done),
                    Some(e) if e.len() > dst.remaining() => {
                        return if done == 0 {
                            Err(Errno::EINVAL)
                        } else {
                            Ok(done)
                        };
                    }
                    Some(_) => s.events.pop_front(),
                }
            };
            let Some(event) = event else {
                return Ok(done);
            };
            match put_all(dst, &event.encode()) {
                Ok(n) => done += n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => return Ok(done),
            }
        }
    }
    fn poll(&self, _: &File) -> Events {
        if self.0.state.lock().events.is_empty() {
            Events::empty()
        } else {
            Events::READABLE
        }
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.0.queue.clone())
    }
    fn ioctl(&self, _: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        if u64::from(cmd) != libc::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = i32::try_from(self.0.queued_bytes()).unwrap_or(i32::MAX);
        cx.memory().put(UserPtr::<i32>::new(arg), &n)?;
        Ok(0)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
