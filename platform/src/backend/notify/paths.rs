//! Telling the stub of paths; see [`crate::stub::paths`].
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use super::Task;
use crate::stub::paths::{
    ATTRIBUTES, COUNTER, EPOCH, KEY, LEN, RESULT, TEXT, USES, entry, hash, number, words,
};
use crate::stub::slot::{ANSWERS, PATHS, answer};
use crate::{PATH_LONGEST, PathAnswer};

/// The next number that says which entries count: never that of an answer that was taken back.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Of a thread: the number that its entries have, 0 if nothing was told since answers were taken back.
#[derive(Debug, Default)]
pub(super) struct Telling(AtomicU64);

impl Telling {
    /// The stub's word for it is about to be cleared.
    pub(super) fn end(&self) {
        self.0.store(0, SeqCst);
    }
}

/// See [`crate::Thread::tell`].
pub(super) fn tell(task: &Task, new: &PathAnswer<'_>) -> Option<u32> {
    if new.path.len() > PATH_LONGEST || new.path.contains(&0) {
        return None;
    }
    let (mailboxes, slot) = (&task.process.mailboxes, task.slot);
    let set = |at, word: u64| mailboxes.set_words(slot, at, &[word]);
    let mut count = task.telling.0.load(SeqCst);
    if count == 0 {
        count = NEXT.fetch_add(1, SeqCst);
        task.telling.0.store(count, SeqCst);
        set(ANSWERS + 8 * answer::PATHS, count);
    }
    let at = PATHS + entry(hash(new.call, new.path)) * LEN;
    let text: Vec<u64> = words(new.path).collect();
    let key = (count << 8 | text.len() as u64) << 8 | u64::from(number(new.call));
    let before = same_text(task, at, key, &text);
    let uses = before.then(|| mailboxes.words::<1>(slot, at + USES)[0]);
    set(at + KEY, 0);
    mailboxes.set_words(slot, at + TEXT, &text);
    let result = match new.result {
        Ok(stat) => {
            mailboxes.set_bytes(slot, at + ATTRIBUTES, stat);
            0
        }
        Err(errno) => i64::from(errno).wrapping_neg(),
    };
    set(at + RESULT, result.cast_unsigned());
    set(at + USES, 0);
    set(at + COUNTER, new.counter as u64);
    set(at + EPOCH, new.epoch);
    set(at + KEY, key);
    Some(uses.map_or(0, |u| u32::try_from(u).unwrap_or(u32::MAX)))
}

/// Whether an entry is of this call and path, as far as the guest left it.
fn same_text(task: &Task, at: usize, key: u64, text: &[u64]) -> bool {
    let word = |offset| {
        task.process
            .mailboxes
            .words::<1>(task.slot, at + offset)
            .first()
            .copied()
    };
    // Which count it is of does not matter.
    word(KEY).is_some_and(|k| k & 0xffff == key & 0xffff)
        && text
            .iter()
            .enumerate()
            .all(|(i, w)| word(TEXT + 8 * i) == Some(*w))
}
