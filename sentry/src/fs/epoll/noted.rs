//! Changes of a set that a guest thread's stub has noted instead of asking for them ([`cofferdam_platform::Thread::lend_interest`]).
//!
//! The notes of one thread at a time count, and only while nobody waits for the instance: who waits registers first and looks then. Whoever looks at
//! the set takes the notes first, and if it is another one, for good. All that can be told is the order of events: what was noted joins the ready list then.
//!
//! What is noted cannot fail: an item that is taken out while notes count is *retired*, not gone, and can be put in again.

use super::item::{Item, Key};
use super::{ALWAYS, Epoll, EpollEvent, Interest};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Of descriptors below, an item that is taken out while notes count can be put in again.
const FDS: i32 = cofferdam_platform::INTEREST_FDS as i32;
/// How many times notes may be ended by others until an instance has none any more.
const DISPUTES: u32 = 16;

/// Who notes changes of an instance's set.
pub trait Notes: Send + Sync {
    /// Which task: its token.
    fn borrower(&self) -> u64;
    /// What was noted since the last time, oldest first. `end`: nothing is from now on.
    fn take(&self, end: bool) -> Vec<Change>;
    /// It has ended; what was noted may have to be taken yet.
    fn is_over(&self) -> bool;
}

/// A change that was noted; as the guest says.
pub struct Change {
    key: Key,
    /// The new interest, `None` if there is none.
    to: Option<EpollEvent>,
}

impl Change {
    /// Of which descriptor and file: the address of the file, which cannot be that of another one as long as the notes exist.
    pub fn new(fd: i32, file: usize, to: Option<EpollEvent>) -> Change {
        Change {
            key: Key { fd, file },
            to,
        }
    }
    /// Of what: only the last change of each counts.
    pub fn key(&self) -> Key {
        self.key
    }
}

/// The notes of an instance.
#[derive(Default)]
pub(super) struct Lent {
    notes: Option<Arc<dyn Notes>>,
    disputes: u32,
}

impl Lent {
    pub fn any(&self) -> bool {
        self.notes.is_some()
    }
    /// Whether what is taken out is to be kept, so that it can be put in without fail.
    pub fn keeps(&self, item: &Item) -> bool {
        self.any() && item.key().fd < FDS && !item.is_exclusive()
    }
}

impl Epoll {
    /// From now on the notes count of whom `begin` lets note changes, unless somebody waits; whether they do.
    pub fn lend(&self, notes: Arc<dyn Notes>, begin: impl FnOnce() -> bool) -> bool {
        self.settle(None);
        let mut i = self.interest.lock();
        // A race with another one that lends.
        if i.lent.any() || i.lent.disputes >= DISPUTES {
            return false;
        }
        // Who waits registers first and looks at this then: one of the two sees the other.
        self.is_lent.store(true, Ordering::SeqCst);
        let begun = self.queue.is_empty() && begin();
        if begun {
            i.lent.notes = Some(notes);
        } else {
            self.is_lent.store(false, Ordering::SeqCst);
        }
        begun
    }

    /// Carries out what was noted, for task `by`, or for others.
    pub fn settle(&self, by: Option<u64>) {
        if self.is_lent.load(Ordering::SeqCst) {
            self.interest.lock().settle(self, by);
        }
    }

    /// Whether the file has an item that is not in the set, but can be put in without fail.
    pub fn is_retired(&self, fd: i32, file: &Arc<crate::vfs::File>) -> bool {
        let i = self.interest.lock();
        let item = i.items.get(&Key::new(fd, file));
        item.is_some_and(|item| item.is_retired())
    }
}

impl Interest {
    /// As [`Epoll::settle`], for somebody who will not wait.
    pub(super) fn settle_now(&mut self, epoll: &Epoll) {
        let borrower = self.lent.notes.as_ref().map(|n| n.borrower());
        self.settle(epoll, borrower);
    }

    /// As [`Epoll::settle`]. Nobody need be woken: those who wait look for themselves.
    pub(super) fn settle(&mut self, epoll: &Epoll, by: Option<u64>) {
        let Some(notes) = &self.lent.notes else {
            return;
        };
        let was_over = notes.is_over();
        let end = was_over || by != Some(notes.borrower());
        let changes = notes.take(end);
        if end {
            self.lent.disputes += u32::from(!was_over);
            self.lent.notes = None;
            epoll.is_lent.store(false, Ordering::SeqCst);
        }
        for change in changes {
            self.apply(epoll, &change);
        }
        if self.lent.any() {
            return;
        }
        let mut gone = Vec::new();
        self.items.retain(|_, item| {
            if item.is_retired() {
                gone.push(item.clone());
            }
            !item.is_retired()
        });
        epoll.forget(&gone);
    }

    fn apply(&mut self, epoll: &Epoll, change: &Change) {
        // Nobody is told of what only a hostile guest can note.
        let item = self.items.get(&change.key);
        let Some(item) = item.filter(|item| !item.is_exclusive()) else {
            return;
        };
        let mut ready = epoll.ready.lock();
        match change.to {
            None => item.retire(&mut ready),
            Some(EpollEvent { events, data }) => {
                item.revive(events | ALWAYS, data);
                // Whether it is ready is found out when somebody wants to know.
                ready.push(item);
            }
        }
    }
}
