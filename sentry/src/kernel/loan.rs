//! What guest threads are lent of their open files, so that the stub answers lseek, fstat, and read and write of memory devices and pipes itself
//! ([`Thread::describe`]).
//!
//! A loan is known to its task, which has one for each entry of its stub's table; to the descriptor table, which ends it when the descriptor goes; to
//! the open file whose position it has; and to the inode whose attributes it has copied. Each ends it before it lets a change be seen. It also ends
//! with the task's host thread, and whenever the task's answers are given anew.

use super::task::Task;
use super::{Cx, Kernel};
use crate::fs::pipe::lent::{self, End, SharedRing};
use crate::sync::{Mutex, Rank};
use crate::vfs::loan::{Fixed, Loan};
use crate::vfs::{File, notify};
use cofferdam_platform::{DESCRIPTORS, Descriptor, Known, Thread};
use std::sync::Arc;

/// A loan by one descriptor of one task.
pub(super) struct Lent {
    entry: usize,
    /// Of the pipe whose end it is.
    ring: Option<Arc<SharedRing>>,
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
}

/// The loans of a task, by entry.
pub(super) struct Loans(Mutex<[Option<Arc<Lent>>; DESCRIPTORS]>);

impl Default for Loans {
    fn default() -> Loans {
        Loans(Mutex::new(Rank::LEAF, [const { None }; DESCRIPTORS]))
    }
}

impl Loans {
    /// Ends all of them.
    pub(super) fn end(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        for loan in all.into_iter().flatten() {
            loan.end();
        }
    }
    /// Whether there is one for this entry, and such a one.
    fn has(&self, entry: usize, is: impl FnOnce(&Arc<dyn Loan>) -> bool) -> bool {
        let lent = self.0.lock().get(entry).and_then(Clone::clone);
        lent.is_some_and(|l| {
            let loan: Arc<dyn Loan> = l;
            is(&loan)
        })
    }
    /// Puts one in the place of another, which ends.
    fn put(&self, new: &Arc<Lent>) {
        let old = self
            .0
            .lock()
            .get_mut(new.entry)
            .and_then(|place| place.replace(new.clone()));
        if let Some(old) = old {
            old.end();
        }
    }
}

impl Lent {
    fn new(entry: usize, thread: &Arc<dyn Thread>, ring: Option<Arc<SharedRing>>) -> Arc<Lent> {
        let state = State {
            thread: Some(thread.clone()),
            position: 0,
            is_taken: false,
            stat_is_old: false,
        };
        Arc::new(Lent {
            entry,
            ring,
            state: Mutex::new(Rank::LEAF, state),
        })
    }
    /// Tells the stub, unless the loan is over already; whether it knows now.
    fn begin(&self, descriptor: &Descriptor) -> bool {
        let s = self.state.lock();
        let stat = descriptor.stat.filter(|_| !s.stat_is_old);
        s.thread.as_ref().is_some_and(|t| {
            t.describe(&Descriptor {
                stat,
                ..*descriptor
            })
        })
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
        if let Some(t) = &self.state.lock().thread {
            t.unite();
        }
    }
    fn part(&self) {
        if let Some(t) = &self.state.lock().thread {
            t.part();
        }
    }
    fn attributes_changed(&self) {
        let mut s = self.state.lock();
        s.stat_is_old = true;
        if let Some(t) = &s.thread {
            t.forget_stat(self.entry);
        }
    }
    fn end(&self) {
        let thread = {
            let mut s = self.state.lock();
            let thread = s.thread.take();
            if let Some(t) = &thread {
                let position = t.forget(self.entry);
                if !s.is_taken {
                    s.position = position;
                }
                if let Some(ring) = &self.ring {
                    ring.stop();
                }
            }
            thread
        };
        drop(thread);
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

/// A call by descriptor `fd` on `file` was made that the stub could have answered: after some of them it is told how. `stat` gives what fstat(2) says.
pub fn asked(cx: &Cx<'_>, fd: i32, file: &Arc<File>, stat: impl FnOnce() -> Option<[u8; 144]>) {
    if file.ops().fixed().contains(Fixed::RING) {
        let waits = &cx.local.waits;
        lent::give(file, |queue| {
            waits.iter().filter(|(q, _)| Arc::ptr_eq(q, queue)).count()
        });
    }
    if file.asked() {
        lend(cx, fd, file, stat);
    }
}

/// Lends an end of a pipe.
fn lend_ring(cx: &Cx<'_>, fd: u32, file: &Arc<File>) {
    let (Ok(number), Some(thread)) = (i32::try_from(fd), &cx.own.thread) else {
        return;
    };
    let entry = Descriptor::entry(fd);
    if cx.task.loans.has(entry, |l| lent::is_lent_to(file, l)) || notify::is_watched() {
        return;
    }
    let Some((ring, end)) = lent::ring_of(file) else {
        return;
    };
    let new = Lent::new(entry, thread, Some(ring.clone()));
    let loan: Arc<dyn Loan> = new.clone();
    let windows = cx.mm.extensions.extension::<lent::Windows>();
    let Some((window, there)) = windows.take(&ring, end, &loan) else {
        return;
    };
    if !there && thread.execute(&ring.windows(end, window)).is_err() {
        windows.give_back(window);
        return new.end();
    }
    cx.task.loans.put(&new);
    let known = match end {
        End::Read => Known::READ_RING,
        End::Write => Known::WRITE_RING,
    };
    let begun = cx.fds().lend(number, file, loan.clone())
        && lent::lend(file, &ring, &loan)
        && new.begin(&Descriptor {
            fd,
            known,
            position: None,
            stat: None,
            ring: Some(window),
        });
    if !begun {
        new.end();
    }
}

fn lend(cx: &Cx<'_>, fd: i32, file: &Arc<File>, stat: impl FnOnce() -> Option<[u8; 144]>) {
    let (Ok(number), Some(thread), true) =
        (u32::try_from(fd), &cx.own.thread, cx.local.is_answered)
    else {
        return;
    };
    if file.ops().fixed().contains(Fixed::RING) {
        return lend_ring(cx, number, file);
    }
    let new = Lent::new(Descriptor::entry(number), thread, None);
    cx.task.loans.put(&new);
    if !cx.fds().lend(fd, file, new.clone()) {
        return new.end();
    }
    let copies = file.inode().copies();
    let stat = copies.and_then(|c| {
        c.lend(new.clone());
        // Perhaps it has become one that changes without a word.
        file.inode().copies().and_then(|_| stat())
    });
    let flags = file.flags();
    let fixed = file.ops().fixed();
    // Whoever watches anything is to hear of each read and write.
    let quiet = !notify::is_watched();
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
