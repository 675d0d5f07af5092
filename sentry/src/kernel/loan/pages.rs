//! The part of a loan that is the beginning of a file's contents: see [`crate::vfs::pages`].

use super::Lent;
use crate::vfs::pages::PageLoan;
use cofferdam_platform::{Pages, Stamps, Thread, Valid};
use std::sync::Arc;

/// How often a copy that is under way is looked at before it is left alone: as long as a long one takes. One that takes longer has lost its processor, or is
/// a lie.
const LOOKS: usize = 1000;

/// What is lent, and what is left of it.
#[derive(Default)]
pub(super) struct Lending {
    pages: Option<Pages>,
    /// Writing has to wait.
    is_held: bool,
    /// What the borrower told at last.
    told: Stamps,
    /// The loan is over, but the borrower was still copying.
    copying: Option<Arc<dyn Thread>>,
}

/// Both together: the last write, the first read.
fn merge(a: Stamps, b: Stamps) -> Stamps {
    Stamps {
        written: a.written.max(b.written),
        read: match (a.read, b.read) {
            (0, read) | (read, 0) => read,
            (a, b) => a.min(b),
        },
    }
}

/// Waits for a copy that is under way, but not for long; whether it still is.
fn wait(thread: &dyn Thread, entry: usize) -> bool {
    (0..LOOKS).all(|_| {
        let copies = thread.is_copying(entry);
        if copies {
            std::hint::spin_loop();
        }
        copies
    })
}

impl Lending {
    /// What the stub is told.
    pub(super) fn told(&self) -> Option<Pages> {
        self.pages.map(|p| Pages {
            valid: self.valid(p.valid),
            ..p
        })
    }
    fn valid(&self, valid: Valid) -> Valid {
        Valid {
            write: if self.is_held { 0 } else { valid.write },
            ..valid
        }
    }
    /// The stub has been told that it is over.
    pub(super) fn end(&mut self, thread: &Arc<dyn Thread>, entry: usize, waits: bool) {
        if self.pages.is_none() {
            return;
        }
        let copies = if waits {
            wait(&**thread, entry)
        } else {
            thread.is_copying(entry)
        };
        self.told = merge(self.told, thread.take_stamps(entry));
        self.copying = copies.then(|| thread.clone());
    }
    /// The stub is where it copies nothing.
    pub(super) fn leave(&mut self, entry: usize) {
        if let Some(thread) = self.copying.take() {
            self.told = merge(self.told, thread.take_stamps(entry));
        }
    }
}

impl Lent {
    /// What the stub will be told when the loan begins.
    pub(super) fn offer(&self, pages: Pages) {
        self.state.lock().pages.pages = Some(pages);
    }
    /// Whether there are pages in it that are not over yet, and whether for writing.
    pub(super) fn lent_pages(&self) -> Option<bool> {
        let s = self.state.lock();
        s.thread.as_ref()?;
        s.pages.pages.map(|p| p.valid.write > 0)
    }
    /// Says anew how much is valid, if there is somebody to tell; whether a copy is under way all the same.
    fn change(&self, waits: bool, change: impl FnOnce(&mut Lending)) -> bool {
        let mut guard = self.state.lock();
        let s = &mut *guard;
        change(&mut s.pages);
        let told = s.pages.told().filter(|_| s.has_begun);
        let (Some(told), Some(t)) = (told, &s.thread) else {
            return false;
        };
        t.set_valid(self.entry, told.valid);
        waits && wait(&**t, self.entry)
    }
    /// As [`Lent::change`]. A write that has lost its processor, or is a lie, is not waited for another time: it finds the loan ended when it is done, and is
    /// made anew.
    fn stop_writing(&self, change: impl FnOnce(&mut Lending)) {
        if self.change(true, change) {
            self.end_at_once();
        }
    }
}

impl PageLoan for Lent {
    fn stamps(&self) -> Stamps {
        let mut guard = self.state.lock();
        let s = &mut *guard;
        let mut stamps = std::mem::take(&mut s.pages.told);
        let live = s.thread.as_ref().filter(|_| s.has_begun);
        if s.pages.pages.is_some()
            && let Some(t) = live.or(s.pages.copying.as_ref())
        {
            stamps = merge(stamps, t.take_stamps(self.entry));
        }
        stamps
    }
    fn read_is_due(&self, due: bool) {
        let mut guard = self.state.lock();
        let s = &mut *guard;
        let Some(pages) = &mut s.pages.pages else {
            return;
        };
        let (from, to) = if due { (1, 0) } else { (0, 1) };
        if s.has_begun {
            if let Some(t) = &s.thread {
                t.mark_read(self.entry, from, to);
            }
        } else if pages.read_at == from {
            pages.read_at = to;
        }
    }
    fn hold(&self) {
        self.stop_writing(|p| p.is_held = true);
    }
    fn release(&self) {
        let _ = self.change(false, |p| p.is_held = false);
    }
    fn end_writing(&self) {
        self.stop_writing(|p| {
            if let Some(pages) = &mut p.pages {
                pages.valid.write = 0;
            }
        });
    }
    fn is_settled(&self) -> bool {
        let mut guard = self.state.lock();
        let s = &mut *guard;
        if s.pages
            .copying
            .as_ref()
            .is_some_and(|t| !t.is_copying(self.entry))
        {
            s.pages.leave(self.entry);
        }
        s.thread.is_none() && s.pages.copying.is_none()
    }
}
