//! System V IPC objects: shared memory, semaphores, message queues (svipc(7)); POSIX message queues.
//!
//! Locks: the table of a kind (`IPC_TABLE`), inside it or alone an object's state (`OBJECT`). Guest memory is not touched
//! under them.

pub mod mq;
mod mq_fs;
pub mod msg;
mod perm;
pub mod sem;
pub mod shm;

pub use mq_fs::MqDir;
pub use perm::Perm;

use crate::abi::{Errno, Result};
use crate::auth::{Credentials, UserNamespace};
use crate::sync::{Charge, Events, Knob, Mutex, Quota, Rank, WaitQueue};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// IPC_PRIVATE: a key that never matches.
pub const IPC_PRIVATE: i32 = 0;
/// IPC_CREAT.
pub const IPC_CREAT: i32 = 0o1000;
/// IPC_EXCL.
pub const IPC_EXCL: i32 = 0o2000;
/// IPC_NOWAIT.
pub const IPC_NOWAIT: i32 = 0o4000;

/// Bits of an id that are the index in the table (`ipc_mni_shift`).
const INDEX_BITS: i32 = 15;
const INDEX_MASK: i32 = (1 << INDEX_BITS) - 1;

/// One IPC object with data of type `S`.
pub struct Object<S> {
    /// Identifier: a sequence number and the index.
    pub id: i32,
    /// Woken when the data changed or the object was removed.
    pub queue: Arc<WaitQueue>,
    /// Permissions and data.
    pub state: Mutex<State<S>>,
    _charge: Charge,
}

/// What is inside an [`Object`].
pub struct State<S> {
    /// Owner and mode.
    pub perm: Perm,
    /// IPC_RMID has taken it out of the table.
    pub removed: bool,
    /// The object itself.
    pub data: S,
}

/// All objects of one kind.
pub struct Table<S> {
    inner: Mutex<Inner<S>>,
    max: &'static Knob,
    /// Of all namespaces.
    quota: &'static Quota,
    owner: Arc<UserNamespace>,
}

struct Inner<S> {
    objects: BTreeMap<i32, Arc<Object<S>>>,
    keys: HashMap<i32, i32>,
    seq: i32,
    last: i32,
    /// The id that the next object is to have (`kernel/*_next_id`).
    next: Option<i32>,
}

impl<S> Table<S> {
    fn new(max: &'static Knob, quota: &'static Quota, owner: &Arc<UserNamespace>) -> Self {
        Table {
            quota,
            owner: owner.clone(),
            inner: Mutex::new(
                Rank::IPC_TABLE,
                Inner {
                    objects: BTreeMap::new(),
                    keys: HashMap::new(),
                    seq: 0,
                    last: -1,
                    next: None,
                },
            ),
            max,
        }
    }

    /// shmget, semget, msgget: the id for a key. `fits` checks an existing object, `make` gives the data of a new one.
    ///
    /// # Errors
    /// ENOENT, EEXIST, EACCES, ENOSPC; those of `fits` and `make`.
    pub fn get(
        &self,
        creds: &Credentials,
        key: i32,
        flags: i32,
        fits: impl FnOnce(&S) -> Result<()>,
        make: impl FnOnce() -> Result<S>,
    ) -> Result<i32> {
        let mut inner = self.inner.lock();
        let existing = inner
            .keys
            .get(&key)
            .filter(|_| key != IPC_PRIVATE)
            .and_then(|index| inner.objects.get(index))
            .cloned();
        if let Some(object) = existing {
            if flags & IPC_CREAT != 0 && flags & IPC_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            let state = object.state.lock();
            fits(&state.data)?;
            state.perm.check(creds, flags)?;
            return Ok(object.id);
        }
        if key != IPC_PRIVATE && flags & IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        if !self.max.allows(inner.objects.len() + 1) {
            return Err(Errno::ENOSPC);
        }
        let charge = self.quota.charge(1).ok_or(Errno::ENOSPC)?;
        let data = make()?;
        // As wished, or next to it, if somebody wished (`ipc_idr_alloc`).
        let wish = inner.next.take();
        let index = inner.free_from(wish.map_or(0, |id| id & INDEX_MASK))?;
        let seq = if let Some(id) = wish {
            id >> INDEX_BITS
        } else {
            if index <= inner.last {
                inner.seq = (inner.seq + 1) & 0xffff;
            }
            inner.last = index;
            inner.seq
        };
        let id = (seq << INDEX_BITS) | index;
        let object = Arc::new(Object {
            id,
            queue: Arc::new(WaitQueue::new()),
            state: Mutex::new(
                Rank::OBJECT,
                State {
                    perm: Perm::new(creds, &self.owner, key, flags, seq),
                    removed: false,
                    data,
                },
            ),
            _charge: charge,
        });
        inner.objects.insert(index, object);
        if key != IPC_PRIVATE {
            inner.keys.insert(key, index);
        }
        Ok(id)
    }

    /// The object with this id.
    ///
    /// # Errors
    /// EINVAL for no object; EIDRM if its place was taken by another.
    pub fn find(&self, id: i32) -> Result<Arc<Object<S>>> {
        if id < 0 {
            return Err(Errno::EINVAL);
        }
        let object = self.at_index(id & INDEX_MASK)?;
        if object.id == id {
            Ok(object)
        } else {
            Err(Errno::EIDRM)
        }
    }

    /// The object with this index (SHM_STAT and the like).
    ///
    /// # Errors
    /// EINVAL.
    pub fn at_index(&self, index: i32) -> Result<Arc<Object<S>>> {
        self.inner
            .lock()
            .objects
            .get(&index)
            .cloned()
            .ok_or(Errno::EINVAL)
    }

    /// The id that the next object is to have, if somebody wished for one.
    pub fn next_id(&self) -> Option<i32> {
        self.inner.lock().next
    }

    /// Wishes for one.
    pub fn set_next_id(&self, id: i32) {
        self.inner.lock().next = Some(id);
    }

    /// Greatest index in use; 0 if there is none.
    pub fn highest_index(&self) -> i32 {
        self.inner
            .lock()
            .objects
            .last_key_value()
            .map_or(0, |(i, _)| *i)
    }

    /// All objects by index.
    pub fn all(&self) -> Vec<Arc<Object<S>>> {
        self.inner.lock().objects.values().cloned().collect()
    }

    /// Takes an object out and wakes who waits on it.
    pub fn remove(&self, object: &Arc<Object<S>>) {
        let old = {
            let mut inner = self.inner.lock();
            let index = object.id & INDEX_MASK;
            let ours = inner
                .objects
                .get(&index)
                .is_some_and(|o| Arc::ptr_eq(o, object));
            inner.forget_key(object, index);
            if ours {
                inner.objects.remove(&index)
            } else {
                None
            }
        };
        drop(old);
        object.state.lock().removed = true;
        object.queue.wake(Events::READABLE | Events::WRITABLE);
    }

    /// Makes the key free while the object stays (a segment that is still attached).
    pub fn forget_key(&self, object: &Arc<Object<S>>) {
        let index = object.id & INDEX_MASK;
        self.inner.lock().forget_key(object, index);
    }
}

impl<S> Inner<S> {
    /// The lowest index from `start` on that nobody has.
    fn free_from(&self, start: i32) -> Result<i32> {
        let count = i32::try_from(self.objects.len()).unwrap_or(i32::MAX);
        let dense = self.objects.last_key_value().map_or(-1, |(last, _)| *last) < count;
        let free = if dense && start <= count {
            // All from 0 on are taken: as it mostly is with many.
            count
        } else {
            let taken = self.objects.range(start..).map(|(index, _)| *index);
            (start..)
                .zip(taken)
                .take_while(|(want, have)| want == have)
                .last()
                .map_or(start, |(last, _)| last.saturating_add(1))
        };
        if free > INDEX_MASK {
            return Err(Errno::ENOSPC);
        }
        Ok(free)
    }
    fn forget_key(&mut self, object: &Arc<Object<S>>, index: i32) {
        let key = object.state.lock().perm.key;
        if self.keys.get(&key) == Some(&index) {
            self.keys.remove(&key);
        }
    }
}

/// All System V objects of an IPC namespace.
pub struct IpcNamespace {
    /// Shared memory segments.
    pub shm: Table<shm::Segment>,
    /// Semaphore sets.
    pub sem: Table<sem::Set>,
    /// Message queues.
    pub msg: Table<msg::Queue>,
    /// Processes that have semaphore adjustments.
    undo_users: Mutex<std::collections::HashSet<i32>>,
}

impl IpcNamespace {
    /// Without objects. `owner`: where capabilities over them count.
    pub fn new(owner: &Arc<UserNamespace>) -> Self {
        IpcNamespace {
            shm: Table::new(&shm::MAX_SEGMENTS, &shm::SEGMENTS, owner),
            sem: Table::new(&sem::MAX_SETS, &sem::SETS, owner),
            msg: Table::new(&msg::MAX_QUEUES, &msg::QUEUES, owner),
            undo_users: Mutex::new(Rank::LEAF, Default::default()),
        }
    }
}

/// Seconds since the epoch, as the time stamps of IPC objects have it.
pub fn now() -> i64 {
    i64::try_from(crate::time::realtime_ns() / 1_000_000_000).unwrap_or(0)
}
