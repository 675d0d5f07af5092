//! What guest threads are lent of their open files, so that the stub answers lseek, fstat, read and write of memory devices, reads and writes of files in
//! memory ([`pages`]) and of pipes ([`rings`]) itself, and notes changes of epoll sets ([`interest`]) ([`Thread::describe`]).
//!
//! A loan is known to its task, which has one for each entry of its stub's table; to the descriptor table, which ends it when the descriptor goes; to
//! the open file whose position it has; and to the inode whose attributes it has copied. Each ends it before it lets a change be seen. It also ends
//! with the task's host thread, and whenever the task's answers are given anew.

mod interest;
mod pages;
mod rings;

pub use interest::{set_changed, set_unknown};

use super::task::Task;
use super::{Cx, Kernel, windows};
use crate::fs::pipe::lent::{self, SharedRing};
use crate::sync::{Mutex, Rank};
use crate::vfs::loan::{Fixed, Loan};
use crate::vfs::pages::MOST;
use crate::vfs::{File, notify};
use cofferdam_platform::{DESCRIPTORS, Descriptor, Known, Thread};
use interest::Interest;
use pages::Lending;
use std::sync::Arc;

/// A loan by one descriptor of one task.
pub(super) struct Lent {
    entry: usize,
    /// Of which file: its address, to be compared.
    file: usize,
    state: Mutex<State>,
}

struct State {
    /// The borrower's; `None` once the loan is over.
    thread: Option<Arc<dyn Thread>>,
    /// Where the position is, if the borrower does not have it.
    position: u64,
    /// It was taken back for a while.
    is_taken: bool,
    /// The attributes have changed since the loan was made.
    stat_is_old: bool,
    /// The stub was told.
    has_begun: bool,
    /// See [`Loan::is_left`].
    is_left: bool,
    /// Of the pipe whose end it is.
    ring: Option<Arc<SharedRing>>,
    pages: Lending,
}

/// The loans of a task, by entry; and what it notes.
pub(super) struct Loans {
    lent: Mutex<[Option<Arc<Lent>>; DESCRIPTORS]>,
    interest: Mutex<Option<Arc<Interest>>>,
}

impl Default for Loans {
    fn default() -> Loans {
        Loans {
            lent: Mutex::new(Rank::LEAF, [const { None }; DESCRIPTORS]),
            interest: Mutex::new(Rank::LEAF, None),
        }
    }
}

impl Loans {
    /// Ends all of them. The thread is stopped, or has ended.
    pub(super) fn end(&self) {
        let all = std::mem::take(&mut *self.lent.lock());
        for loan in all.into_iter().flatten() {
            loan.end_stopped();
        }
        let interest = self.interest.lock().take();
        if let Some(interest) = interest {
            interest.end_notes();
        }
    }
    fn interest(&self) -> Option<Arc<Interest>> {
        self.interest.lock().clone()
    }
    /// Its notes are these; those of another instance end.
    fn put_interest(&self, new: Arc<Interest>) {
        let old = self.interest.lock().replace(new);
        if let Some(old) = old {
            old.end_notes();
        }
    }
    /// Whether there is one for this entry, and such a one.
    fn has(&self, entry: usize, is: impl FnOnce(&Arc<dyn Loan>) -> bool) -> bool {
        let lent = self.lent.lock().get(entry).and_then(Clone::clone);
        lent.is_some_and(|l| {
            let loan: Arc<dyn Loan> = l;
            is(&loan)
        })
    }
    /// Puts one in the place of another, which ends: what was lent of the pages of the same file. The thread is stopped.
    fn put(&self, new: &Arc<Lent>) -> Option<bool> {
        let old = self
            .lent
            .lock()
            .get_mut(new.entry)
            .and_then(|place| place.replace(new.clone()));
        let old = old?;
        let lent = old.lent_pages().filter(|_| old.file == new.file);
        old.end_stopped();
        lent
    }
}

impl Lent {
    fn new(
        entry: usize,
        file: &Arc<File>,
        thread: &Arc<dyn Thread>,
        ring: Option<Arc<SharedRing>>,
    ) -> Arc<Lent> {
        let state = State {
            thread: Some(thread.clone()),
            position: 0,
            is_taken: false,
            stat_is_old: false,
            has_begun: false,
            is_left: false,
            ring,
            pages: Lending::default(),
        };
        Arc::new(Lent {
            entry,
            file: std::ptr::from_ref::<File>(file).addr(),
            state: Mutex::new(Rank::LEAF, state),
        })
    }
    /// Tells the stub, unless the loan is over already; whether it knows now.
    fn begin(&self, descriptor: &Descriptor) -> bool {
        let mut s = self.state.lock();
        let stat = descriptor.stat.filter(|_| !s.stat_is_old);
        let pages = s.pages.told();
        let begun = s.thread.as_ref().is_some_and(|t| {
            t.describe(&Descriptor {
                stat,
                pages,
                ..*descriptor
            })
        });
        s.has_begun |= begun;
        begun
    }
    fn end_by(&self, is_stopped: bool, waits: bool) {
        let thread = {
            let mut guard = self.state.lock();
            let s = &mut *guard;
            let thread = s.thread.take();
            if let Some(t) = &thread {
                let position = t.forget(self.entry);
                if !s.is_taken {
                    s.position = position;
                }
                if s.has_begun {
                    s.pages.end(t, self.entry, waits);
                }
            }
            if is_stopped {
                s.is_left = true;
                s.pages.leave(self.entry);
            }
            if let Some(ring) = s.ring.take() {
                ring.stop();
            }
            thread
        };
        drop(thread);
    }
    /// As [`Loan::end`]: the borrower is stopped, or has ended, and nothing is under way.
    fn end_stopped(&self) {
        self.end_by(true, false);
    }
    /// As [`Loan::end`], without waiting for what is under way.
    fn end_at_once(&self) {
        self.end_by(false, false);
    }
}

impl Loan for Lent {
    fn position(&self) -> u64 {
        let s = self.state.lock();
        match &s.thread {
            Some(t) if !s.is_taken => t.position(self.entry),
            _ => s.position,
        }
    }
    fn take_position(&self) -> u64 {
        let mut s = self.state.lock();
        if let Some(t) = &s.thread {
            s.position = t.take_position(self.entry);
            s.is_taken = true;
        }
        s.position
    }
    fn give_position(&self, position: u64) {
        let mut s = self.state.lock();
        s.position = position;
        s.is_taken = false;
        if let Some(t) = &s.thread {
            t.give_position(self.entry, position);
        }
    }
    fn unite(&self) {
        let thread = self.state.lock().thread.clone();
        if let Some(t) = thread {
            t.unite();
        }
    }
    fn part(&self) {
        let thread = self.state.lock().thread.clone();
        if let Some(t) = thread {
            t.part();
        }
    }
    fn is_left(&self) -> bool {
        self.state.lock().is_left
    }
    fn attributes_changed(&self) {
        let mut s = self.state.lock();
        s.stat_is_old = true;
        if let Some(t) = &s.thread {
            t.forget_stat(self.entry);
        }
    }
    fn end(&self) {
        self.end_by(false, true);
    }
    fn is_over(&self) -> bool {
        self.state.lock().thread.is_none()
    }
}

impl Task {
    /// The stub knows nothing of its files any more.
    pub(super) fn end_loans(&self) {
        self.loans.end();
    }
}

/// Something is watched that was not: whoever watches is to hear of each read and write.
pub fn end_all(kernel: &Kernel) {
    for task in kernel.tasks() {
        task.forget_answers();
    }
}

/// The calling task has a table of descriptors of its own now: what it was lent by the other one ends.
pub fn unshared(cx: &Cx<'_>) {
    cx.task.end_loans();
}

/// Descriptors were closed.
pub fn closed(cx: &Cx<'_>) {
    windows::closed(cx);
}

/// A call has moved bytes that may have been a pipe's, and its ring be given again.
pub fn moved(cx: &Cx<'_>, file: &File) {
    if file.ops().fixed().contains(Fixed::RING) {
        let waits = &cx.local.waits;
        lent::give(file, |queue| {
            waits.iter().filter(|(q, _)| Arc::ptr_eq(q, queue)).count()
        });
    }
}

/// A call by descriptor `fd` on `file` was made that the stub could have answered: after some of them it is told how. `stat` gives what fstat(2) says.
pub fn asked(cx: &Cx<'_>, fd: i32, file: &Arc<File>, stat: impl FnOnce() -> Option<[u8; 144]>) {
    moved(cx, file);
    if file.asked() {
        lend(cx, fd, file, None, stat);
    }
}

/// As [`asked`]: `bytes` from `at` on, or before where the file is now, were read or written.
pub fn pages_asked(
    cx: &Cx<'_>,
    fd: i32,
    file: &Arc<File>,
    at: Option<u64>,
    bytes: u64,
    write: bool,
) {
    let end = at.map_or_else(|| file.position(), |at| at.saturating_add(bytes));
    // A call that did not come by the stub's gate is never answered there.
    let by_gate = || cx.thread().is_ok_and(|t| !t.by_instruction());
    if bytes > 0 && end <= MOST && by_gate() && file.asked_pages(|| windows::show(cx.mm, file)) {
        lend(cx, fd, file, Some(write), || None);
    }
}

fn lend(
    cx: &Cx<'_>,
    fd: i32,
    file: &Arc<File>,
    pages: Option<bool>,
    stat: impl FnOnce() -> Option<[u8; 144]>,
) {
    let (Ok(number), Some(thread), true) =
        (u32::try_from(fd), &cx.own.thread, cx.local.is_answered)
    else {
        return;
    };
    if file.ops().fixed().contains(Fixed::RING) {
        return rings::lend(cx, number, file);
    }
    let new = Lent::new(Descriptor::entry(number), file, thread, None);
    let before = cx.task.loans.put(&new);
    if !cx.fds().lend(fd, file, new.clone()) {
        return new.end();
    }
    // Whoever watches anything is to hear of each read and write.
    let quiet = !notify::is_watched();
    let write = pages.map(|write| write || before == Some(true)).or(before);
    if let Some(write) = write.filter(|_| quiet)
        && let Some(pages) = windows::lend(cx, file, &new, write)
    {
        new.offer(pages);
    }
    let copies = file.inode().copies();
    let stat = copies.and_then(|c| {
        c.lend(new.clone());
        // Perhaps it has become one that changes without a word.
        file.inode().copies().and_then(|_| stat())
    });
    let flags = file.flags();
    let fixed = file.ops().fixed();
    let mut known = Known::empty();
    known.set(Known::READ_END, fixed.contains(Fixed::READ_END));
    known.set(Known::READ_ZEROES, fixed.contains(Fixed::READ_ZEROES));
    known.set(Known::WRITE_ALL, fixed.contains(Fixed::WRITE_ALL));
    if !quiet || !flags.readable() {
        known -= Known::READ_END | Known::READ_ZEROES;
    }
    if !quiet || !flags.writable() {
        known -= Known::WRITE_ALL;
    }
    let mut descriptor = Descriptor {
        fd: number,
        known,
        position: None,
        stat,
        pages: None,
        ring: None,
    };
    let begun = if fixed.contains(Fixed::PLACES) {
        file.lend_position(new.clone(), |at| {
            descriptor.position = Some(at);
            new.begin(&descriptor)
        })
    } else {
        new.begin(&descriptor)
    };
    if !begun {
        new.end();
    }
}
