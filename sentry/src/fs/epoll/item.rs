//! One watched file of an epoll instance.

use super::ready::{Listed, Ready};
use super::{EXCLUSIVE, Epoll, PRIVATE};
use crate::sync::{Charge, Events, Notify, WaitKey, WaitQueue};
use crate::vfs::File;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Items are found by descriptor and open file: after dup2 the same number may be watched twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(super) fd: i32,
    /// Address of the file; an item keeps it from being used again.
    pub(super) file: usize,
}

impl Key {
    pub fn new(fd: i32, file: &Arc<File>) -> Key {
        Key {
            fd,
            file: Arc::as_ptr(file) as usize,
        }
    }
}

/// A watched file.
pub(super) struct Item {
    me: Weak<Item>,
    key: Key,
    file: Weak<File>,
    epoll: Weak<Epoll>,
    queue: Arc<WaitQueue>,
    registration: parking_lot::Mutex<Option<WaitKey>>,
    events: AtomicU32,
    data: AtomicU64,
    listed: Listed,
    /// It is not in the set (any more); changed under the instance's `EPOLL` lock.
    retired: AtomicBool,
    _charge: Charge,
}

impl Item {
    pub fn new(
        key: Key,
        file: &Arc<File>,
        epoll: &Weak<Epoll>,
        queue: Arc<WaitQueue>,
        events: u32,
        data: u64,
        charge: Charge,
    ) -> Arc<Item> {
        Arc::new_cyclic(|me| Item {
            me: me.clone(),
            key,
            file: Arc::downgrade(file),
            epoll: epoll.clone(),
            queue,
            registration: parking_lot::Mutex::new(None),
            events: AtomicU32::new(events),
            data: AtomicU64::new(data),
            listed: Listed::default(),
            retired: AtomicBool::new(false),
            _charge: charge,
        })
    }
    pub fn key(&self) -> Key {
        self.key
    }
    pub fn file(&self) -> Option<Arc<File>> {
        self.file.upgrade()
    }
    pub fn is_closed(&self) -> bool {
        self.file.strong_count() == 0
    }
    pub fn events(&self) -> u32 {
        self.events.load(Ordering::SeqCst)
    }
    pub fn data(&self) -> u64 {
        self.data.load(Ordering::SeqCst)
    }
    /// Changes what is watched for; the instance's `EPOLL` lock is held.
    pub fn set(&self, events: u32, data: u64) {
        self.data.store(data, Ordering::SeqCst);
        self.events.store(events, Ordering::SeqCst);
    }
    /// Starts listening to the file.
    pub fn register(&self) {
        let Some(me) = self.me.upgrade() else {
            return;
        };
        let events = self.events();
        let key = if events & EXCLUSIVE != 0 {
            self.queue
                .register_exclusive(me, Events::from_bits_truncate(events & !PRIVATE))
        } else {
            // All: EPOLL_CTL_MOD changes what matters.
            self.queue.register(me, Events::all())
        };
        *self.registration.lock() = Some(key);
    }
    /// Stops listening.
    pub fn unregister(&self) {
        if let Some(key) = self.registration.lock().take() {
            self.queue.unregister(key);
        }
    }
    /// Looks at the file once, after a change of interest.
    pub fn check(&self, file: &File) {
        let now = file.poll();
        if now.bits() & self.events() & !PRIVATE != 0 {
            self.notify(now);
        }
    }
    /// Where it is on the ready list.
    pub fn listed(&self) -> &Listed {
        &self.listed
    }
    /// Whether only one of those is woken that wait for the file.
    pub fn is_exclusive(&self) -> bool {
        self.events() & EXCLUSIVE != 0
    }
    /// Whether it is not in the set.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
    /// It is not in the set any more; the instance's `EPOLL` lock is held.
    pub fn retire(&self, ready: &mut Ready) {
        self.retired.store(true, Ordering::Relaxed);
        ready.remove(self);
    }
    /// As [`Self::retire`], of one that is on no list that matters: its file is closed.
    pub fn mark_gone(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
    /// It is in the set again, as if it were new; the instance's `EPOLL` lock is held.
    pub fn revive(&self, events: u32, data: u64) {
        self.set(events, data);
        self.retired.store(false, Ordering::Relaxed);
    }
}

impl Notify for Item {
    fn notify(&self, events: Events) {
        if self.is_retired() {
            return;
        }
        let mask = self.events();
        // Without events of interest it is disabled (EPOLLONESHOT); not even errors are reported then.
        if mask & !PRIVATE == 0 || (!events.is_empty() && events.bits() & mask & !PRIVATE == 0) {
            return;
        }
        if let (Some(epoll), Some(me)) = (self.epoll.upgrade(), self.me.upgrade()) {
            epoll.became_ready(&me);
        }
    }
    fn always_awaited(&self) -> bool {
        false
    }
    fn is_awaited(&self) -> bool {
        self.epoll.upgrade().is_some_and(|e| e.is_awaited())
    }
}
