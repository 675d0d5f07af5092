//! What stubs note of epoll_ctl(2): the sentry's side of [`crate::stub::interest`].
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::Task;
use crate::Noted;
use crate::stub::interest::{ALLOWED, EPOLL, FDS, HELD, IN, LIST, NOTE, NOTED, NOTES, OUT, TAKEN};
use crate::stub::slot::{ANSWERS, answer};

const HELD_BIT: u64 = 1 << HELD;

fn word(task: &Task) -> Option<&AtomicU64> {
    task.process.mailboxes.atomic(task.slot, NOTED)
}

/// From now on `count` notes are taken.
fn set_taken(task: &Task, count: u64) {
    task.noted.store(count, Relaxed);
    let mailboxes = &task.process.mailboxes;
    mailboxes.set_words(task.slot, TAKEN, &[count]);
}

pub(super) fn lend(task: &Task, epoll: u32) -> bool {
    let Some(word) = word(task) else { return false };
    let mailboxes = &task.process.mailboxes;
    word.store(0, SeqCst);
    set_taken(task, 0);
    mailboxes.set_words(task.slot, ALLOWED, &[0; FDS / 8]);
    mailboxes.set_words(task.slot, EPOLL, &[u64::from(epoll) + 1]);
    mailboxes.set_words(task.slot, ANSWERS + 8 * answer::DESCRIPTORS, &[1]);
    word.store(HELD_BIT, SeqCst);
    true
}

pub(super) fn set(task: &Task, fd: u32, is_in: Option<bool>) {
    let Some(at) = usize::try_from(fd).ok().filter(|fd| *fd < FDS) else {
        return;
    };
    let allowed = match is_in {
        Some(true) => IN as u8,
        Some(false) => OUT as u8,
        None => 0,
    };
    let mailboxes = &task.process.mailboxes;
    mailboxes.copy_in(task.slot, ALLOWED + at, &[allowed]);
}

pub(super) fn take(task: &Task, end: bool) -> Vec<Noted> {
    let Some(word) = word(task) else {
        return Vec::new();
    };
    let noted = match end {
        true => word.fetch_and(!HELD_BIT, SeqCst),
        false => word.load(SeqCst),
    };
    let count = noted & !HELD_BIT;
    let taken = task.noted.load(Relaxed);
    let new = count.wrapping_sub(taken);
    if new == 0 {
        return Vec::new();
    }
    // Of a number that makes no sense nothing is believed.
    let new = if new > NOTES as u64 { 0 } else { new };
    let notes = (0..new).map(|i| {
        let at = taken.wrapping_add(i) as usize % NOTES;
        let mailboxes = &task.process.mailboxes;
        let [what, events, data] = mailboxes.words(task.slot, LIST + at * NOTE);
        Noted {
            op: (what >> 32) as i32,
            fd: what as u32,
            events: events as u32,
            data,
        }
    });
    let notes = notes.collect();
    set_taken(task, count);
    notes
}

pub(super) fn note_on(task: &Task) {
    if let Some(word) = word(task) {
        // One more, so that what began before fails.
        let count = task.noted.load(Relaxed).wrapping_add(1) & !HELD_BIT;
        set_taken(task, count);
        word.store(HELD_BIT | count, SeqCst);
    }
}
