//! What guest processes were told of paths, so that they need not ask again: marks on what such an answer is made of.
//!
//! Who is about to be told marks all that decides on the answer, name by name and inode by inode, before looking at it, having read where the answer's counter stands before
//! that. Who changes something that is marked moves the mark's counter before anybody is told that the change was made; the mark is gone then. A change that is visible before
//! it is said, or that takes time, is said before and after.
//!
//! There are few counters ([`EPOCHS`]), so answers share them. The first one counts for all: it is what a mark is moved to that is wanted with two counters.

use cofferdam_platform::{EPOCHS, end_epoch, epoch};
use std::sync::atomic::{AtomicU16, Ordering};

/// That of all answers, plus 1.
const ALL: u16 = 1;

/// Which counter the answers have that depend on this; none at first. If it goes, they count no more.
#[derive(Default)]
pub struct Mark(AtomicU16);

impl Mark {
    /// About to be looked at for an answer with this counter.
    pub fn set(&self, teller: &Teller) {
        let new = teller.mark();
        let old = self
            .0
            .compare_exchange(0, new, Ordering::SeqCst, Ordering::SeqCst);
        if old.is_err_and(|old| old != new) {
            self.0.store(ALL, Ordering::SeqCst);
        }
    }
    /// It is about to change, or has changed.
    pub fn changed(&self) {
        if self.0.load(Ordering::SeqCst) == 0 {
            return;
        }
        if let Some(counter) = self.0.swap(0, Ordering::SeqCst).checked_sub(1) {
            end_epoch(counter.into());
        }
    }
    /// It is about to change, and has when this goes.
    pub fn changing(&self) -> impl Drop + use<'_> {
        self.changed();
        Until(self)
    }
}

struct Until<'a>(&'a Mark);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.changed();
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.changed();
    }
}

/// Something has changed, or is about to, that any answer may depend on: mounts, somebody's root.
pub fn all_changed() {
    end_epoch(0);
}

/// Both when it is made and when it goes: [`all_changed`].
pub struct Changing(());

impl Changing {
    /// About to change something.
    pub fn begin() -> Changing {
        all_changed();
        Changing(())
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        all_changed();
    }
}

/// What of an inode an answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A directory that is searched: what decides on access.
    Search,
    /// All attributes; and, of a link, whether whoever follows it leaves a trace.
    All,
}

/// An answer in the making.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    counter: usize,
    epoch: u64,
}

impl Teller {
    /// About to look; `hash` of what is asked chooses the counter. `None` if nobody can be told.
    pub fn begin(hash: u64) -> Option<Teller> {
        let counter = 1 + usize::try_from(hash).unwrap_or(0) % (EPOCHS - 1);
        let epoch = epoch(counter)?;
        Some(Teller { counter, epoch })
    }
    /// The answer's counter, and where it stood.
    pub fn stand(&self) -> (usize, u64) {
        (self.counter, self.epoch)
    }
    fn mark(&self) -> u16 {
        u16::try_from(self.counter).map_or(ALL, |c| c.saturating_add(1))
    }
}
