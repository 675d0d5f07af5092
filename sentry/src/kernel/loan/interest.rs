//! Changes of epoll sets that a stub notes instead of asking: see [`crate::fs::epoll::noted`].
//!
//! One instance at a time for each task, and of its set the descriptors that the sentry has changed by that task since. The table of descriptors knows of each ([`Tracked`]): one that names another
//! file now is asked for again.

use crate::fs::epoll::noted::{Change, Notes};
use crate::fs::epoll::{EXCLUSIVE, Epoll, EpollEvent, Key, WAKEUP, epoll_of};
use crate::kernel::Cx;
use crate::sync::{Mutex, Rank};
use crate::vfs::File;
use crate::vfs::loan::Loan;
use cofferdam_platform::{INTEREST_FDS, Thread};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// How many changes are left to be taken before those that others have made void are dropped: more than there are descriptors.
const LEFT: usize = 2 * INTEREST_FDS as usize;

/// The notes of a task.
pub(in crate::kernel) struct Interest {
    /// The borrower's token.
    borrower: u64,
    epoll: Weak<Epoll>,
    state: Mutex<State>,
}

struct State {
    /// The borrower's; `None` once it is over.
    thread: Option<Arc<dyn Thread>>,
    /// The files of descriptors that something is known of.
    files: HashMap<u32, Weak<File>, ahash::RandomState>,
    /// What was noted, and is to be taken yet.
    left: Vec<Change>,
}

/// A descriptor whose place in the set the stub knows.
struct Tracked {
    interest: Arc<Interest>,
    fd: u32,
}

impl State {
    fn take(&mut self, end: bool) {
        let Some(thread) = &self.thread else { return };
        for n in thread.take_noted(end) {
            let (Some(file), Ok(fd)) = (self.files.get(&n.fd), i32::try_from(n.fd)) else {
                continue;
            };
            let event = EpollEvent {
                events: n.events & !(WAKEUP | EXCLUSIVE),
                data: n.data,
            };
            let to = (n.op != libc::EPOLL_CTL_DEL).then_some(event);
            let file = file.as_ptr().addr();
            self.left.push(Change::new(fd, file, to));
        }
        if self.left.len() > LEFT {
            self.thin();
        }
    }
    /// Leaves of all changes of one descriptor the last one.
    fn thin(&mut self) {
        let mut last: HashMap<Key, usize, ahash::RandomState> = HashMap::default();
        for (i, change) in self.left.iter().enumerate() {
            last.insert(change.key(), i);
        }
        let mut i = 0..;
        self.left
            .retain(|change| i.next() == last.get(&change.key()).copied());
    }
}

impl Interest {
    pub(super) fn end_notes(&self) {
        let mut s = self.state.lock();
        s.take(true);
        let thread = s.thread.take();
        drop(s);
        drop(thread);
    }
    /// The descriptor names another file now, or none.
    fn forget(&self, fd: u32) {
        let mut s = self.state.lock();
        s.take(true);
        s.files.remove(&fd);
        if let Some(thread) = &s.thread {
            thread.set_interest(fd, None);
            thread.note_on();
        }
    }
    /// Tells the stub whether the descriptor is in the set. The borrower is stopped.
    fn know(&self, fd: u32, is_in: Option<bool>) {
        if let Some(thread) = &self.state.lock().thread {
            thread.set_interest(fd, is_in);
        }
    }
    /// As [`Self::know`]; whether nothing was known of the descriptor.
    fn learn(&self, fd: u32, file: &Arc<File>, is_in: bool) -> bool {
        let mut s = self.state.lock();
        let State { thread, files, .. } = &mut *s;
        let Some(thread) = thread else {
            return false;
        };
        thread.set_interest(fd, Some(is_in));
        files.insert(fd, Arc::downgrade(file)).is_none()
    }
}

impl Notes for Interest {
    fn borrower(&self) -> u64 {
        self.borrower
    }
    fn take(&self, end: bool) -> Vec<Change> {
        let mut s = self.state.lock();
        s.take(end);
        let left = std::mem::take(&mut s.left);
        let thread = if end { s.thread.take() } else { None };
        drop(s);
        drop(thread);
        left
    }
    fn is_over(&self) -> bool {
        self.state.lock().thread.is_none()
    }
}

/// The loan by the descriptor of the instance itself.
impl Loan for Interest {
    fn position(&self) -> u64 {
        0
    }
    fn take_position(&self) -> u64 {
        0
    }
    fn give_position(&self, _: u64) {}
    fn attributes_changed(&self) {}
    fn end(&self) {
        self.end_notes();
    }
    fn is_over(&self) -> bool {
        Notes::is_over(self)
    }
}

impl Loan for Tracked {
    fn position(&self) -> u64 {
        0
    }
    fn take_position(&self) -> u64 {
        0
    }
    fn give_position(&self, _: u64) {}
    fn attributes_changed(&self) {}
    fn end(&self) {
        self.interest.forget(self.fd);
    }
    fn is_over(&self) -> bool {
        let s = self.interest.state.lock();
        s.thread.is_none() || !s.files.contains_key(&self.fd)
    }
}

/// What the stub knows of the descriptor may be wrong: a call has failed.
pub fn set_unknown(cx: &Cx<'_>, fd: i32) {
    if let (Some(interest), Ok(fd)) = (cx.task.loans.interest(), u32::try_from(fd)) {
        interest.know(fd, None);
    }
}

/// A call of epoll_ctl(2) by descriptor `epfd` on `fd` was made that the stub could have noted; `is_in`: whether it is in the set now. After some of them the stub is told
/// how.
pub fn set_changed(
    cx: &Cx<'_>,
    (epfd, instance): (i32, &Arc<File>),
    (fd, file): (i32, &Arc<File>),
    is_in: bool,
) {
    let (Ok(number), Some(epoll)) = (u32::try_from(fd), epoll_of(instance)) else {
        return;
    };
    if number >= INTEREST_FDS || !cx.local.is_answered {
        return;
    }
    let interest = match cx.task.loans.interest() {
        Some(i) if i.epoll.as_ptr() == Arc::as_ptr(epoll) && !Notes::is_over(&*i) => i,
        _ if instance.asked() => match lend(cx, epfd, instance, epoll) {
            Some(i) => i,
            None => return,
        },
        _ => return,
    };
    // What cannot be put in again without fail is asked for.
    if epoll_of(file).is_some() || !is_in && !epoll.is_retired(fd, file) {
        return interest.know(number, None);
    }
    if interest.learn(number, file, is_in) {
        let tracked = Arc::new(Tracked {
            interest: interest.clone(),
            fd: number,
        });
        if !cx.fds().lend(fd, file, tracked) {
            interest.forget(number);
        }
    }
}

fn lend(cx: &Cx<'_>, epfd: i32, instance: &Arc<File>, epoll: &Arc<Epoll>) -> Option<Arc<Interest>> {
    let thread = cx.own.thread.as_ref().filter(|t| !t.by_instruction())?;
    let number = u32::try_from(epfd).ok()?;
    let new = Arc::new(Interest {
        borrower: cx.task.token().0,
        epoll: Arc::downgrade(epoll),
        state: Mutex::new(
            Rank::LEAF,
            State {
                thread: Some(thread.clone()),
                files: HashMap::default(),
                left: Vec::new(),
            },
        ),
    });
    cx.task.loans.put_interest(new.clone());
    let begun = cx.fds().lend(epfd, instance, new.clone())
        && epoll.lend(new.clone(), || thread.lend_interest(number));
    if !begun {
        new.end_notes();
        return None;
    }
    Some(new)
}
