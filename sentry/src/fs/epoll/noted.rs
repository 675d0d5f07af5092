//! Changes of a set that a guest thread's stub has noted instead of asking for them ([`cofferdam_platform::Thread::lend_interest`]).
//!
//! The notes of one thread at a time count, and only while nobody waits for the instance: who waits registers first and looks then. Whoever looks at
//! the set takes the notes first, and if it is another one, for good. So nobody can tell when what was noted was done.
//!
//! What is noted cannot fail: an item that is taken out while notes count is *retired*, not gone, and can be put in again.

use super::item::Key;
use super::{ALWAYS, Epoll, EpollEvent, Interest};
use crate::abi::Errno;
use std::sync::Arc;

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
    /// EPOLL_CTL_*.
    pub op: i32,
    /// Of which descriptor and file.
    pub(super) key: Key,
    /// The new interest.
    pub event: EpollEvent,
}

impl Change {
    /// `file`: the address of the file, which cannot be that of another one as long as the notes exist.
    pub fn new(op: i32, fd: i32, file: usize, event: EpollEvent) -> Change {
        Change {
            op,
            key: Key { fd, file },
            event,
        }
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
}

impl Epoll {
    /// From now on the notes count of whom `begin` lets note changes, unless somebody waits; whether they do.
    pub fn lend(&self, notes: Arc<dyn Notes>, begin: impl FnOnce() -> bool) -> bool {
        self.settle(None);
        let mut i = self.interest.lock();
        // A race with another one that lends.
        let free = !i.lent.any() && i.lent.disputes < DISPUTES;
        let begun = free && self.queue.is_empty() && begin();
        if begun {
            i.lent.notes = Some(notes);
        }
        begun
    }

    /// Carries out what was noted, for task `by`, or for others.
    pub fn settle(&self, by: Option<u64>) {
        let mut i = self.interest.lock();
        i.settle(self, by);
    }

    /// Whether the file has an item that is not in the set, but can be put in without fail.
    pub fn is_retired(&self, fd: i32, file: &Arc<crate::vfs::File>) -> bool {
        let i = self.interest.lock();
        let item = i.items.get(&Key::new(fd, file));
        item.is_some_and(|item| item.is_retired())
    }
}

impl Interest {
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
        }
        for change in changes {
            // Nobody is told of what a hostile guest notes.
            let _: Result<(), Errno> = self.apply(epoll, &change);
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

    fn apply(&mut self, epoll: &Epoll, change: &Change) -> Result<(), Errno> {
        let item = self.items.get(&change.key).ok_or(Errno::ENOENT)?;
        let EpollEvent { events, data } = change.event;
        let is_in = !item.is_retired();
        match change.op {
            libc::EPOLL_CTL_DEL if is_in && !item.is_exclusive() => {
                item.retire(&mut epoll.ready.lock());
            }
            libc::EPOLL_CTL_MOD if is_in && !item.is_exclusive() => {
                item.set(events | ALWAYS, data);
                // Whether it is ready is found out when somebody wants to know.
                epoll.ready.lock().push(item);
            }
            libc::EPOLL_CTL_ADD if !is_in => {
                item.revive(events | ALWAYS, data);
                epoll.ready.lock().push(item);
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}
