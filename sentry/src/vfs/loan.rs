//! What is lent to the code in a guest process that answers calls there: an open file's position, a copy of an inode's attributes.
//!
//! The lender keeps the [`Loan`] and asks it, or ends it, before it tells anybody of a change. What the borrower says of a position is the guest's
//! word: any number below 2⁶³.

use super::told::{Mark, Of, Teller};
use crate::sync::{Mutex, Rank};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

bitflags::bitflags! {
    /// What of an open file's behaviour never changes, so that others may answer for it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Fixed: u8 {
        /// read(2) finds the end.
        const READ_END = 1;
        /// read(2) gives as many zeroes as are asked for.
        const READ_ZEROES = 2;
        /// write(2) takes everything and looks at nothing.
        const WRITE_ALL = 4;
        /// lseek(2) goes to any place from 0 to 2⁶³ - 1 without asking.
        const PLACES = 8;
        /// The beginning of the contents can be lent: [`FileOps::lend_pages`](super::FileOps::lend_pages).
        const PAGES = 16;
        /// It is one end of a pipe, or of a FIFO (which is not lent).
        const RING = 32;
    }
}

/// What a guest thread was lent by one descriptor. All methods take a short lock and may be called while others are held. What is not said here is of a loan
/// without a position and attributes.
pub trait Loan: Send + Sync {
    /// Where the guest has moved the position to; if the loan is over, where it was then.
    fn position(&self) -> u64 {
        0
    }
    /// Takes the position back for a while, as a call does that others are not to come between; where it is.
    fn take_position(&self) -> u64 {
        0
    }
    /// Gives it again, if the loan is not over.
    fn give_position(&self, _position: u64) {}
    /// The borrower is going to talk to another one by a pipe: see [`cofferdam_platform::Thread::part`].
    fn part(&self) {}
    /// It is not any more.
    fn unite(&self) {}
    /// The copy of the attributes counts no more.
    fn attributes_changed(&self) {}
    /// Nothing counts any more.
    fn end(&self);
    /// Whether it has ended.
    fn is_over(&self) -> bool;
    /// Whether it ended while the borrower was stopped: nothing that was begun before can be under way.
    fn is_left(&self) -> bool {
        false
    }
}

/// Who has a copy of an inode's attributes: one at a time. And whether others were told of them by path.
pub struct Copies {
    told: Mark,
    /// The same of those that decide on access alone.
    search: Mark,
    any: AtomicBool,
    holder: Mutex<Option<Arc<dyn Loan>>>,
}

impl Default for Copies {
    fn default() -> Copies {
        Copies {
            told: Mark::default(),
            search: Mark::default(),
            any: AtomicBool::new(false),
            holder: Mutex::new(Rank::LEAF, None),
        }
    }
}

impl Copies {
    /// `holder` is about to copy the attributes; who had a copy has none.
    pub fn lend(&self, holder: Arc<dyn Loan>) {
        let old = {
            let mut h = self.holder.lock();
            self.any.store(true, Ordering::SeqCst);
            h.replace(holder)
        };
        if let Some(old) = old {
            old.attributes_changed();
        }
    }
    /// Somebody is about to look at the attributes, to be told of them until they change.
    pub fn tell(&self, teller: &Teller, of: Of) {
        match of {
            Of::Search => self.search.set(teller),
            Of::All => self.told.set(teller),
        }
    }
    /// What decides on access has changed, and nobody can have seen it yet; as for [`Copies::changed`].
    pub fn search_changed(&self) {
        self.search.changed();
    }
    /// An attribute is about to change, or has changed: both must be said, since a copy may be made in between; unless what it would be made of is
    /// locked until the change is done.
    pub fn changed(&self) {
        self.told.changed();
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let old = {
            let mut h = self.holder.lock();
            self.any.store(false, Ordering::SeqCst);
            h.take()
        };
        if let Some(old) = old {
            old.attributes_changed();
        }
    }
}
