//! Changes of epoll sets that a stub notes instead of asking: see [`crate::fs::epoll::noted`].
//!
//! One instance at a time for each task, and of its set the descriptors that the sentry has changed by that task since. The table of descriptors knows of each ([`Tracked`]): one that names another
//! file now is asked for again.

#[cfg(test)]
mod tests;

use super::Loans;
use crate::fs::epoll::noted::{Change, Notes};
use crate::fs::epoll::{EXCLUSIVE, Epoll, EpollEvent, Key, WAKEUP, epoll_of};
use crate::kernel::Cx;
use crate::kernel::fd_table::FdTable;
use crate::sync::{Charge, Mutex, Quota, Rank};
use crate::vfs::File;
use crate::vfs::loan::Loan;
use cofferdam_platform::{INTEREST_FDS, Thread};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// How many changes are left to be taken before those that others have made void are dropped: more than there are descriptors.
const LEFT: usize = 2 * INTEREST_FDS as usize;

/// Descriptors that stubs know the place of: more are asked for.
static KNOWN: Quota = Quota::new(1 << 18);

/// The notes of a task.
pub(in crate::kernel) struct Interest {
    /// The borrower's token.
    borrower: u64,
    epoll: Weak<Epoll>,
    state: Mutex<State>,
}

struct State {
    /// The borrower's; `None` before they begin, and once they are over.
    thread: Option<Arc<dyn Thread>>,
    /// The descriptors that something is known of.
    known: Known,
    /// What was noted, and is to be taken yet.
    left: Vec<Change>,
}

type Known = HashMap<u32, Arc<Tracked>, ahash::RandomState>;

/// A descriptor whose place in the set the stub knows.
struct Tracked {
    interest: Weak<Interest>,
    fd: u32,
    file: Weak<File>,
    _charge: Charge,
}

impl State {
    fn take(&mut self, end: bool) {
        let Some(thread) = &self.thread else { return };
        for n in thread.take_noted(end) {
            let (Some(known), Ok(fd)) = (self.known.get(&n.fd), i32::try_from(n.fd)) else {
                continue;
            };
            let event = EpollEvent {
                events: n.events & !(WAKEUP | EXCLUSIVE),
                data: n.data,
            };
            let to = (n.op != libc::EPOLL_CTL_DEL).then_some(event);
            let file = known.file.as_ptr().addr();
            self.left.push(Change::new(fd, file, to));
        }
        if self.left.len() > LEFT {
            self.thin();
        }
    }
    /// Nothing is noted from now on. What is left names files by their addresses, which are kept from being used again.
    fn end(&mut self) -> (Option<Arc<dyn Thread>>, Known) {
        let known = match self.left.is_empty() {
            true => std::mem::take(&mut self.known),
            false => Known::default(),
        };
        (self.thread.take(), known)
    }
    fn knows(&self, tracked: &Tracked) -> bool {
        let known = self.known.get(&tracked.fd);
        known.is_some_and(|t| std::ptr::eq(&**t, tracked))
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
    fn new(borrower: u64, epoll: &Arc<Epoll>) -> Interest {
        let state = State {
            thread: None,
            known: Known::default(),
            left: Vec::new(),
        };
        Interest {
            borrower,
            epoll: Arc::downgrade(epoll),
            state: Mutex::new(Rank::LEAF, state),
        }
    }
    pub(super) fn end_notes(&self) {
        let mut s = self.state.lock();
        s.take(true);
        let rest = s.end();
        drop(s);
        drop(rest);
    }
    /// The descriptor names another file now, or none.
    fn forget(&self, tracked: &Tracked) {
        let mut s = self.state.lock();
        if !s.knows(tracked) {
            return;
        }
        s.take(true);
        let known = s.known.remove(&tracked.fd);
        if let Some(thread) = &s.thread {
            thread.set_interest(tracked.fd, None);
            thread.note_on();
        }
        drop(s);
        drop(known);
    }
    /// The stub is to ask for what concerns the descriptor; what was known of it. The borrower is stopped.
    fn unlearn(&self, fd: u32) -> Option<Arc<Tracked>> {
        let mut s = self.state.lock();
        if !s.known.contains_key(&fd) {
            return None;
        }
        // What it has noted of that counts.
        s.take(false);
        if let Some(thread) = &s.thread {
            thread.set_interest(fd, None);
        }
        s.known.remove(&fd)
    }
    /// Tells the stub whether the descriptor is in the set, if the table of descriptors is told of what is returned. The borrower is stopped.
    fn learn(self: &Arc<Self>, fd: u32, file: &Arc<File>, is_in: bool) -> Learnt {
        let mut guard = self.state.lock();
        let s = &mut *guard;
        let Some(thread) = &s.thread else {
            return Learnt::Nothing;
        };
        let known = s.known.get(&fd);
        let new = match known.filter(|t| t.file.as_ptr() == Arc::as_ptr(file)) {
            Some(_) => Learnt::Again,
            None => {
                let Some(charge) = KNOWN.charge(1) else {
                    return Learnt::Nothing;
                };
                let tracked = Arc::new(Tracked {
                    interest: Arc::downgrade(self),
                    fd,
                    file: Arc::downgrade(file),
                    _charge: charge,
                });
                s.known.insert(fd, tracked.clone());
                Learnt::First(tracked)
            }
        };
        thread.set_interest(fd, Some(is_in));
        new
    }
}

/// What became of telling a stub of a descriptor.
enum Learnt {
    /// It was not told.
    Nothing,
    First(Arc<Tracked>),
    Again,
}

impl Notes for Interest {
    fn borrower(&self) -> u64 {
        self.borrower
    }
    fn take(&self, end: bool) -> Vec<Change> {
        let mut s = self.state.lock();
        s.take(end);
        let left = std::mem::take(&mut s.left);
        let rest = end.then(|| s.end());
        drop(s);
        drop(rest);
        left
    }
    fn is_over(&self) -> bool {
        self.state.lock().thread.is_none()
    }
}

/// The loan by the descriptor of the instance itself.
impl Loan for Interest {
    fn end(&self) {
        self.end_notes();
    }
    fn is_over(&self) -> bool {
        Notes::is_over(self)
    }
}

impl Loan for Tracked {
    fn end(&self) {
        if let Some(interest) = self.interest.upgrade() {
            interest.forget(self);
        }
    }
    fn is_over(&self) -> bool {
        self.interest.upgrade().is_none_or(|interest| {
            let s = interest.state.lock();
            s.thread.is_none() || !s.knows(self)
        })
    }
}

/// What the stub knows of the descriptor may be wrong: a call has failed.
pub fn set_unknown(cx: &Cx<'_>, fd: i32) {
    if let Some(interest) = cx.task.loans.interest() {
        unlearn(&interest, cx.fds(), fd);
    }
}

fn unlearn(interest: &Interest, fds: &FdTable, fd: i32) {
    let number = u32::try_from(fd).ok();
    if let Some(tracked) = number.and_then(|n| interest.unlearn(n)) {
        let loan: Arc<dyn Loan> = tracked;
        fds.end_loan(fd, &loan);
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
        return set_unknown(cx, fd);
    }
    learn(&interest, cx.fds(), (fd, file), is_in);
}

fn learn(interest: &Arc<Interest>, fds: &FdTable, (fd, file): (i32, &Arc<File>), is_in: bool) {
    let number = u32::try_from(fd).ok();
    match number.map(|n| interest.learn(n, file, is_in)) {
        Some(Learnt::First(tracked)) => {
            if !fds.lend(fd, file, tracked.clone()) {
                interest.forget(&tracked);
            }
        }
        // Perhaps for want of room.
        Some(Learnt::Nothing) => fds.forget_ended(),
        Some(Learnt::Again) | None => {}
    }
}

fn lend(cx: &Cx<'_>, epfd: i32, instance: &Arc<File>, epoll: &Arc<Epoll>) -> Option<Arc<Interest>> {
    let thread = cx.own.thread.as_ref().filter(|t| !t.by_instruction())?;
    let number = u32::try_from(epfd).ok()?;
    let new = Arc::new(Interest::new(cx.task.token().0, epoll));
    let begun = begin(&new, epoll, thread, number, &cx.task.loans, || {
        cx.fds().lend(epfd, instance, new.clone())
    });
    begun.then_some(new)
}

/// The notes of another instance end only if these begin. `enter`: the table of descriptors is told.
fn begin(
    new: &Arc<Interest>,
    epoll: &Arc<Epoll>,
    thread: &Arc<dyn Thread>,
    number: u32,
    loans: &Loans,
    enter: impl FnOnce() -> bool,
) -> bool {
    epoll.lend(new.clone(), || {
        loans.put_interest(new.clone());
        new.state.lock().thread = Some(thread.clone());
        let begun = enter() && thread.lend_interest(number);
        if !begun {
            new.end_notes();
        }
        begun
    })
}
