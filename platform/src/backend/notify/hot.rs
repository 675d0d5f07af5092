//! The hot exchange: while a guest thread makes one call after the other, the worker watches its slot instead of waiting for a ring.
//!
//! Two processors that look at the same cache line exchange a call in a tenth of what a ring costs, but the worker takes a processor for it. So it does so
//! only while calls come fast ([`STREAK`] in a row, each within [`SOON`] of the time the thread was let run), while there is a processor to spare, and for [`LINGER`] after the last call, and longer by what it has saved.
//! Threads that take turns (pipes, locks) are all watched; there is no processor to spare while one of them wakes the other, which is borne for [`GRACE`].
//! Without a processor to spare it is tried when so many calls come ([`BUSY_CALLS`]) that rings take most of the time, and goes on while messages do. With one
//! processor it never is.
//! A spinner that was not run for [`STALL`] has met other work, and leaves the processor to it: the next tries come later and later.
//!
//! A thread whose call waits is told so, and goes to sleep: it would keep those that it waits for from its processor.
//!
//! What may happen between the two is in [`crate::stub::slot`]. No wake-up is lost: a stub rings for whatever nobody has answered when it has looked long
//! enough. That the worker looks once more when it has ceased to watch only saves the ring. (The stub posts by a plain store, so the two may miss each other.)
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::*, fence};
use std::time::Duration;

use parking_lot::Mutex;

use super::events::Heard;
use super::exchange::IN_SLOT;
use super::place::{AtomicPlace, Place, Places, processor};
use super::{Inner, Task, Waits, kin};
use crate::stub::slot::{HOT, MESSAGE, RING_LOOKS, SLOT, SLOTS, SPIN, STATE, kind, state};
use crate::{Error, Event, Result, sys};

/// How many slots are watched at most.
const WATCHED: usize = 8;
/// How many calls in a row must come soon before a slot is watched: of all threads, and of that thread.
const STREAK: u32 = 8;
const OWN_STREAK: u32 = 3;
/// If there is no processor to spare, how many calls of all threads must come in how many processor cycles: then rings take so much of the
/// processors that it is worth a try.
const BUSY_CALLS: u32 = 10;
const BUSY_TIME: u64 = 600_000;
/// How long there may be as many running threads as processors while slots are watched, in processor cycles, unless at least so many
/// messages come meanwhile: then rings would cost more than the processor does.
const GRACE: u64 = 750_000;
const GRACE_MESSAGES: u64 = 30;
/// What is soon, in processor cycles since the thread was let run.
const SOON: u64 = 120_000;
/// How long the worker watches without a message, in processor cycles.
const LINGER: u64 = 150_000;
/// The same before the first one of a program that begins: its loader has work to do first.
const FIRST: u64 = 600_000;
/// For how long it does nothing that can wait after a program has begun, unless that makes its first call before: then its loader computes for [`FIRST`].
const BEGINNING: u64 = 520_000;
/// After which silence it does what can wait: buries the dead, makes a process for the pool; in processor cycles.
const LULL: u64 = 80_000;
/// It may watch longer, by what it has saved: what a call by a ring would have cost, and how much of that counts at most.
const SAVED: u64 = 20_000;
const CREDIT: u64 = 1_000_000;
/// How long a thread is not watched that has forked, and a forked one, in processor cycles: mostly the next fork or a program comes first, and a watch that
/// ends so soon only moves everybody to and fro.
const PARENT: u64 = 4_000_000;
const CHILD: u64 = 1_000_000;
/// How long threads that talk to each other without the sentry are kept on processors of their own at first, in processor cycles.
const APART: u64 = 15_000_000;
/// A pause of the worker in which it cannot have run, in processor cycles.
const STALL: u64 = 400_000;
/// How often it looks at the slots between two looks at everything else, and while the ring of somebody is due.
const LOOKS: u32 = 400;
const FEW_LOOKS: u32 = 20;
/// How often the stub looks for a reply before it falls asleep: if there is a processor to spare, and if not. A call that waits does not look at all.
const STUB_LOOKS: u64 = 2500;
const CROWDED_LOOKS: u64 = 400;
/// How often a stub looks for bytes in a ring, while that is tried: for some 100 us.
const RING_STUB_LOOKS: u64 = 2500;
/// How many messages in a row are taken before everything else is looked at.
const MESSAGES: u64 = 256;
/// Fewest calls that make a watch worth its while.
const WORTH: u64 = 6;
/// First time without watches after a bad one, in processor cycles; it doubles up to 2¹⁰ times this.
const PENALTY: u64 = 1_000_000;
/// Binary logarithm of the greatest factor if it was bad because the guest's own threads needed all processors.
const CROWDED: u32 = 5;

/// What the worker knows of its watches.
#[derive(Debug)]
pub(super) struct Hot {
    watched: Mutex<Vec<Arc<Task>>>,
    /// Whether `watched` is not empty.
    any: AtomicBool,
    pub(super) places: Places,
    /// Calls in a row that came soon, of whatever thread.
    streak: AtomicU32,
    /// When the count of calls began, in cycles; the count; and whether the last one was high.
    counted: AtomicU64,
    calls: AtomicU32,
    busy: AtomicBool,
    /// Since when there is no processor to spare, in cycles; 0 if there is one. And how many messages there were then.
    crowded: AtomicU64,
    crowded_messages: AtomicU64,
    /// How many threads that are answered in their slots fell asleep before: their rings are due.
    due: AtomicU32,
    /// The worker is to go to another processor, where it watches from.
    leaves: AtomicBool,
    /// How long it may watch without a message beyond [`LINGER`], in cycles: what watching has saved lately.
    credit: AtomicU64,
    /// When a message was last known to have come, in cycles, and how many there were then.
    last: AtomicU64,
    seen: AtomicU64,
    /// Nothing is done before that can wait, in cycles.
    attentive_until: AtomicU64,
    /// Messages since the watch began.
    messages: AtomicU64,
    /// What bad watches cost; and the same of those that began without a processor to spare, which say nothing of the others.
    spare: Penalty,
    crowd: Penalty,
    /// The watch began without a processor to spare.
    began_crowded: AtomicBool,
}

/// How long there is no watch after a bad one.
#[derive(Debug, Default)]
struct Penalty {
    /// No watch before this, in cycles.
    not_before: AtomicU64,
    /// Binary logarithm of the next one's factor.
    factor: AtomicU32,
}

/// How fast a thread makes calls.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When it was let run, in cycles.
    resumed: AtomicU64,
    /// Calls in a row that came soon.
    streak: AtomicU32,
    /// What its slot says in [`HOT`].
    hot: AtomicU64,
    /// What its slot says in [`SPIN`].
    looks: AtomicU64,
    /// From which processor it last rang, as it says.
    processor: AtomicI32,
    /// Many calls are expected at once: see [`Pace::expect_calls`].
    begins: AtomicBool,
    /// It runs a program that has made no call yet.
    silent: AtomicBool,
    /// That is because it has forked, or was, and so is stopped beside the worker: it can go on elsewhere.
    born: AtomicBool,
    /// No watch for its calls before this, in cycles.
    not_before: AtomicU64,
    pub(super) kin: kin::Kin,
    /// See [`Place`].
    pub(super) place: AtomicPlace,
    /// Until then it runs beside others rather than in the place of who wakes it, in cycles.
    apart: AtomicU64,
    /// It is to wake there next, to run beside another one.
    away: Mutex<Option<Place>>,
    /// What its slot says in [`RING_LOOKS`].
    ring_looks: AtomicU64,
}

impl Pace {
    pub(super) fn set_processor(&self, number: u64) {
        self.processor
            .store(i32::try_from(number).unwrap_or(-1), Relaxed);
    }

    /// The thread has just been forked from that one: either both make calls now, or it begins another program or ends.
    pub(super) fn is_forked_from(&mut self, parent: &Pace) {
        self.kin = parent.kin.child();
        if parent.kin.expects_calls() {
            for pace in [self, parent] {
                pace.expect_calls();
                pace.born.store(true, Relaxed);
            }
        } else {
            self.not_before = AtomicU64::new(sys::cycles().wrapping_add(CHILD));
        }
    }

    pub(super) fn is_apart(&self) -> bool {
        let until = self.apart.load(Relaxed);
        until != 0 && sys::cycles() < until
    }

    /// The thread makes many calls soon.
    fn expect_calls(&self) {
        self.begins.store(true, Relaxed);
    }

    /// The thread is about to begin a program: most make many calls at once.
    pub(super) fn begins_program(&self) {
        self.expect_calls();
        self.silent.store(true, Relaxed);
    }

    pub(super) fn processor(&self) -> i32 {
        self.processor.load(Relaxed)
    }
}

/// Whether a stub that was answered in its slot looks there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Awake,
    Asleep,
}

/// What came of looking at the slots.
enum Looked {
    /// A message.
    Event(Event),
    /// Something else is to be done first.
    Else,
    /// Nothing was said.
    Nothing,
}

/// What [`HOT`] says while the worker watches from here.
fn here() -> u64 {
    processor() as u64 + 1
}

/// Adds 1 to a counter that only the worker changes.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

impl Hot {
    pub(super) fn new() -> Hot {
        Hot {
            watched: Mutex::default(),
            any: AtomicBool::new(false),
            places: Places::new(),
            streak: AtomicU32::new(0),
            counted: AtomicU64::new(0),
            calls: AtomicU32::new(0),
            busy: AtomicBool::new(false),
            crowded: AtomicU64::new(0),
            crowded_messages: AtomicU64::new(0),
            due: AtomicU32::new(0),
            leaves: AtomicBool::new(false),
            credit: AtomicU64::new(0),
            last: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            attentive_until: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            spare: Penalty::default(),
            crowd: Penalty::default(),
            began_crowded: AtomicBool::new(false),
        }
    }
}

impl Hot {
    /// Whether the worker is about to leave its processor to the guest.
    pub(super) fn leaves(&self) -> bool {
        self.leaves.load(Relaxed)
    }

    /// What counts for a watch that begins, or began, with a processor to spare or without.
    fn penalty(&self, spare: bool) -> &Penalty {
        if spare { &self.spare } else { &self.crowd }
    }
}

impl Task {
    fn slot_word(&self, offset: usize) -> Option<&AtomicU64> {
        self.process.mailboxes.atomic(self.slot, offset)
    }

    /// The message in the slot, as the words of a ring. It stays there until it is answered.
    fn message(&self) -> Option<[u64; 6]> {
        let word = self.slot_word(STATE)?.load(Acquire);
        if word & 0xff != state::POSTED {
            return None;
        }
        let said = word >> state::SAID;
        if said & 0xff == kind::CALL {
            let windows = u64::from((word >> state::WINDOWS) as u16);
            return Some([kind::CALL, windows, word >> state::NUMBER, 0, 0, 0]);
        }
        let [a, b, c, d, e] = self.process.mailboxes.words(self.slot, MESSAGE);
        Some([a, b, c, d, e, 0])
    }

    /// Has a stub that waits for its answer here ring for it.
    pub(super) fn doze(&self) {
        if let Some(word) = self.slot_word(STATE) {
            let posted = word.load(Relaxed);
            if posted & 0xff == state::POSTED {
                // Else it has just fallen asleep.
                let _ = word.compare_exchange(posted, state::DOZING, AcqRel, Relaxed);
            }
        }
    }

    /// Tells the stub from which processor its slot is watched (number plus 1), or that it is not (0).
    fn set_hot(&self, value: u64) {
        if self.pace.hot.load(Relaxed) == value {
            return;
        }
        self.pace.hot.store(value, Relaxed);
        if let Some(word) = self.slot_word(HOT) {
            word.store(value, SeqCst);
        }
    }

    /// Tells the stub how long to look for an answer.
    fn set_looks(&self, spare: bool) {
        let looks = if spare { STUB_LOOKS } else { CROWDED_LOOKS };
        if self.pace.looks.load(Relaxed) != looks {
            self.pace.looks.store(looks, Relaxed);
            self.process.mailboxes.set_words(self.slot, SPIN, &[looks]);
        }
    }

    /// Tells the stub how long to look for bytes in a ring.
    fn set_ring_looks(&self, looks: u64) {
        if self.pace.ring_looks.swap(looks, Relaxed) != looks {
            let mailboxes = &self.process.mailboxes;
            mailboxes.set_words(self.slot, RING_LOOKS, &[looks]);
        }
    }

    pub(super) fn is_hot(&self) -> bool {
        self.pace.hot.load(Relaxed) != 0
    }
}

impl Inner {
    pub(super) fn is_watching(&self) -> bool {
        self.hot.any.load(Relaxed)
    }

    /// Puts an order into the slot of a stub that waits there.
    pub(super) fn answer_slot(&self, task: &Task, order: u64) -> Result<Answered> {
        let word = task.slot_word(STATE).ok_or(Error::Gone)?;
        let answer = order << state::SAID | state::ANSWERED;
        match word.swap(answer, AcqRel) & 0xff {
            state::POSTED | state::DOZING => Ok(Answered::Awake),
            state::ASLEEP => Ok(Answered::Asleep),
            _ => {
                self.misbehaved(task, "left a hot exchange");
                Err(Error::Gone)
            }
        }
    }

    /// Counts a call that came from this thread.
    pub(super) fn pace(&self, task: &Task) {
        task.pace.kin.calls();
        if task.pace.silent.load(Relaxed) {
            task.pace.silent.store(false, Relaxed);
            self.hot.attentive_until.store(0, Relaxed);
            let until = sys::cycles().wrapping_add(FIRST);
            self.hot.last.fetch_max(until, Relaxed);
        }
        if !self.inline || task.is_hot() {
            return;
        }
        let hot = &self.hot;
        let now = sys::cycles();
        let calls = hot.calls.load(Relaxed) + 1;
        if now.wrapping_sub(hot.counted.load(Relaxed)) < BUSY_TIME {
            hot.calls.store(calls, Relaxed);
        } else {
            hot.busy.store(calls >= BUSY_CALLS, Relaxed);
            hot.calls.store(0, Relaxed);
            hot.counted.store(now, Relaxed);
        }
        let resumed = task.pace.resumed.load(Relaxed);
        if resumed == 0 {
            return;
        }
        let soon = now.wrapping_sub(resumed) < SOON;
        for streak in [&self.hot.streak, &task.pace.streak] {
            let calls = streak.load(Relaxed);
            // One slow call among fast ones does not end it.
            let calls = if soon {
                (calls + 1).min(2 * STREAK)
            } else {
                calls / 2
            };
            streak.store(calls, Relaxed);
        }
    }

    /// The thread makes another one, or a process: work of the host, for which the worker had better be on the same processor, so nobody is watched
    /// meanwhile. Calls are counted anew.
    pub(super) fn pause_pace(&self, task: &Task) {
        if self.hot.any.load(Relaxed) {
            self.praise();
            self.cool_for(Some(task));
        }
        task.pace.streak.store(0, Relaxed);
        let until = sys::cycles().wrapping_add(PARENT);
        task.pace.not_before.store(until, Relaxed);
        self.hot.calls.store(0, Relaxed);
        self.hot.busy.store(false, Relaxed);
    }

    /// How many stubs ring soon for an answer that they are owed: one more or less.
    pub(super) fn is_due(&self, more: bool) {
        let due = self.hot.due.load(Relaxed);
        let due = if more { due + 1 } else { due.saturating_sub(1) };
        self.hot.due.store(due, Relaxed);
    }

    /// The call of this thread waits: it shall not spin for the answer.
    pub(super) fn let_sleep(&self, tid: libc::pid_t) {
        if !self.hot.any.load(Relaxed) {
            return;
        }
        let watched = self.hot.watched.lock();
        let Some(task) = watched.iter().find(|t| t.tid == tid) else {
            return;
        };
        if task.state.lock().waits == Waits::Slot {
            task.doze();
        }
    }

    /// The thread is about to run, one of `running`: shall its slot be watched? Tells the stub.
    pub(super) fn set_watch(&self, task: &Arc<Task>, running: usize) {
        if !self.inline || self.hot.places.count() < 2 {
            return;
        }
        let hot = &self.hot;
        let any = hot.any.load(Relaxed);
        let spare = running < hot.places.count();
        if spare {
            hot.crowded.store(0, Relaxed);
            if task.is_hot() {
                task.set_looks(true);
                return;
            }
        }
        if task.is_hot() {
            task.set_looks(spare);
        }
        let now = sys::cycles();
        task.pace.resumed.store(now, Relaxed);
        if any && task.pace.silent.load(Relaxed) {
            // A program takes the place of another one.
            hot.crowded.store(0, Relaxed);
        }
        if !spare && any {
            self.crowd(now);
        }
        if !task.is_hot() && task.pace.is_apart() {
            return;
        }
        let begins = task.pace.begins.swap(false, Relaxed) && (spare || any);
        let born = task.pace.born.swap(false, Relaxed) && begins;
        let fast = hot.streak.load(Relaxed) >= STREAK
            && task.pace.streak.load(Relaxed) >= OWN_STREAK
            && now >= task.pace.not_before.load(Relaxed)
            && (spare || hot.any.load(Relaxed));
        if task.is_hot()
            || !(begins || fast || !spare && hot.busy.load(Relaxed))
            || now < hot.penalty(spare).not_before.load(Relaxed)
        {
            return;
        }
        let mut watched = hot.watched.lock();
        if watched.len() >= WATCHED {
            return;
        }
        let first = watched.is_empty();
        watched.push(Arc::clone(task));
        drop(watched);
        task.set_looks(spare);
        if first && !born {
            hot.leaves.store(true, Relaxed);
        } else {
            self.put(task, self.hot.places.off(processor()));
            task.set_hot(here());
        }
        if !hot.any.swap(true, Relaxed) {
            hot.began_crowded.store(!spare, Relaxed);
            hot.messages.store(0, Relaxed);
            hot.credit.store(0, Relaxed);
            hot.seen.store(0, Relaxed);
            hot.crowded.store(0, Relaxed);
        }
        // A fresh watch: the thread may need long to get to its processor.
        let patience = if begins { FIRST } else { LINGER };
        hot.last.store(now + patience, Relaxed);
        if task.pace.silent.load(Relaxed) {
            hot.attentive_until.store(now + BEGINNING, Relaxed);
        }
    }

    /// There is no processor to spare: ceases to watch if that has been so for long.
    fn crowd(&self, now: u64) {
        let hot = &self.hot;
        let since = hot.crowded.load(Relaxed);
        if since != 0 && now.saturating_sub(since) <= GRACE {
            return;
        }
        let messages = hot.messages.load(Relaxed);
        let before = hot.crowded_messages.load(Relaxed);
        if since == 0 || messages.saturating_sub(before) >= GRACE_MESSAGES {
            hot.crowded.store(now, Relaxed);
            hot.crowded_messages.store(messages, Relaxed);
        } else {
            self.judge(true, now);
            self.cool();
            // Unlike other work on the machine, it passes as quickly as it came.
            let soon = now + (PENALTY << CROWDED);
            for penalty in [&hot.spare, &hot.crowd] {
                if penalty.not_before.load(Relaxed) > soon {
                    penalty.not_before.store(soon, Relaxed);
                }
            }
        }
    }

    /// Watches the slots until something is said there (the event), or nothing was for a while, or something else is to be done.
    pub(super) fn watch(&self) -> Result<Option<Event>> {
        let hot = &self.hot;
        if !hot.any.load(Relaxed) {
            return Ok(None);
        }
        // Since when nothing has been said: not asked for on the quick way.
        let mut silence = 0;
        let mut before = None;
        let mut due = hot.due.load(Relaxed) > 0;
        loop {
            if hot.messages.load(Relaxed) % MESSAGES == MESSAGES - 1 {
                count(&hot.messages);
            } else if due {
                due = false;
            } else {
                match self.look() {
                    Looked::Event(event) => return Ok(Some(event)),
                    Looked::Else => return Ok(None),
                    Looked::Nothing => {}
                }
                let now = sys::cycles();
                let stalled = before.is_some_and(|before| now.wrapping_sub(before) > STALL);
                let messages = hot.messages.load(Relaxed);
                let new = messages.wrapping_sub(hot.seen.swap(messages, Relaxed));
                let last = hot.last.load(Relaxed);
                let mut silent = now.saturating_sub(last);
                let mut credit = hot.credit.load(Relaxed);
                if new > 0 {
                    credit = credit.saturating_sub(silent.saturating_sub(LINGER));
                    credit = (credit + new.saturating_mul(SAVED)).min(CREDIT);
                    hot.credit.store(credit, Relaxed);
                    // A program that has just begun may still be waited for.
                    hot.last.fetch_max(now, Relaxed);
                    silent = 0;
                }
                if stalled || silent > LINGER + credit {
                    self.judge(stalled, now);
                    self.cool();
                    return Ok(self.queued());
                }
                before = Some(now);
                let dead = self.died.load(Relaxed) != 0;
                if silence == 0 {
                    silence = now;
                }
                let idle =
                    now.saturating_sub(silence) > LULL && now > hot.attentive_until.load(Relaxed);
                if idle && (dead || self.needs_stubs() || self.depot.is_empty()) {
                    let mut more = self.refill() || dead;
                    if dead {
                        self.bury();
                    }
                    more |= self.depot.prepare(SLOT, SLOTS);
                    let then = sys::cycles();
                    // The host refuses processes: not again and again.
                    silence = if more { then } else { u64::MAX };
                    before = None;
                    hot.last.fetch_max(then, Relaxed);
                }
                if hot.crowded.load(Relaxed) != 0 {
                    if self.running.load(Relaxed) < hot.places.count() {
                        hot.crowded.store(0, Relaxed);
                    } else {
                        self.crowd(now);
                    }
                }
            }
            if self.is_overdue() {
                self.execute_condemned(usize::MAX, true);
                before = None;
            }
            // Rings of others, deaths, and what other threads want.
            self.pump(Some(Duration::ZERO))?;
            if let Some(event) = self.queued() {
                return Ok(Some(event));
            }
            if self.woken.load(Relaxed) || !hot.any.load(Relaxed) {
                return Ok(None);
            }
        }
    }

    /// The watch ends: was it worth its while?
    fn judge(&self, stalled: bool, now: u64) {
        let hot = &self.hot;
        let penalty = hot.penalty(!hot.began_crowded.load(Relaxed));
        if stalled || hot.messages.load(Relaxed) < WORTH {
            let factor = penalty.factor.fetch_add(1, Relaxed).min(10);
            penalty.not_before.store(now + (PENALTY << factor), Relaxed);
        } else {
            penalty.factor.store(0, Relaxed);
        }
    }

    /// The watch ends with those that were watched, whatever it was worth: no reason to blame it, but perhaps to praise it.
    fn praise(&self) {
        let hot = &self.hot;
        if hot.messages.load(Relaxed) >= WORTH {
            let spare = !hot.began_crowded.load(Relaxed);
            hot.penalty(spare).factor.store(0, Relaxed);
        }
    }

    /// Looks at the watched slots for a while.
    fn look(&self) -> Looked {
        let watched = self.hot.watched.lock();
        let mut doomed = None;
        let looks = if self.hot.due.load(Relaxed) > 0 {
            FEW_LOOKS
        } else {
            LOOKS
        };
        for _ in 0..looks {
            for task in watched.iter() {
                let Some(args) = task.message() else {
                    continue;
                };
                match self.heard(task, IN_SLOT, args) {
                    Heard::Trap(trap) => {
                        count(&self.hot.messages);
                        return self.event(task, trap).map_or(Looked::Else, Looked::Event);
                    }
                    Heard::Doomed => doomed = Some(Arc::clone(task)),
                    Heard::Nothing => {}
                }
            }
            if self.woken.load(Relaxed) || watched.is_empty() || doomed.is_some() {
                break;
            }
            std::hint::spin_loop();
        }
        let empty = watched.is_empty();
        drop(watched);
        if let Some(task) = doomed {
            self.finish(&task);
            return Looked::Else;
        }
        if empty || self.woken.load(Relaxed) {
            return Looked::Else;
        }
        Looked::Nothing
    }

    /// Ceases to watch, if slots are watched.
    pub(super) fn end_watch(&self) {
        if self.hot.any.load(Relaxed) {
            self.cool();
        }
    }

    /// Ceases to watch.
    fn cool(&self) {
        self.cool_for(None);
        self.execute_condemned(usize::MAX, false);
        self.put_worker(Place::Anywhere);
    }

    /// The same for what is done next on the worker's processor, by this thread.
    fn cool_for(&self, next: Option<&Task>) {
        let watched = std::mem::take(&mut *self.hot.watched.lock());
        self.hot.any.store(false, Relaxed);
        for task in &watched {
            task.set_hot(0);
            if !next.is_some_and(|next| std::ptr::eq(next, &**task)) {
                self.put(task, Place::Anywhere);
                if next.is_some() {
                    // It goes on as before when that is done.
                    task.pace.expect_calls();
                }
            }
        }
        fence(SeqCst);
        for task in &watched {
            if let Some(args) = task.message() {
                self.trapped(task, IN_SLOT, args);
            }
        }
    }

    /// The thread and the one whose call is in hand, perhaps the same, are going to talk to each other by a ring: nobody watches for a while, each gets a processor, and
    /// its stub looks for bytes for about as long as another processor takes to wake up.
    pub(super) fn part(&self, task: &Task) {
        let caller = self.handoff.current();
        // A caller that is watched is on another processor than the worker, one that rang is on the same.
        let is_watched = || self.hot.watched.lock().iter().any(|t| t.tid == caller);
        let away = if caller == task.tid {
            None
        } else if is_watched() {
            Some(Place::On(processor()))
        } else {
            Some(self.hot.places.off(processor()))
        };
        *task.pace.away.lock() = away;
        self.end_watch();
        let until = sys::cycles().wrapping_add(APART);
        task.pace.apart.store(until, Relaxed);
        task.pace.not_before.store(until, Relaxed);
        task.set_ring_looks(RING_STUB_LOOKS);
    }

    /// It was not worth it.
    pub(super) fn unite(&self, task: &Task) {
        if task.pace.apart.swap(0, Relaxed) != 0 {
            task.pace.not_before.store(0, Relaxed);
        }
        task.set_ring_looks(0);
    }

    /// Binds a thread that is about to be let run to the processor that it is to go to, if it is.
    pub(super) fn send_apart(&self, task: &Task) -> bool {
        if !task.pace.is_apart() {
            return false;
        }
        let away = task.pace.away.lock().take();
        if let Some(away) = away {
            self.put(task, away);
        }
        away.is_some()
    }

    /// Forgets a thread that is gone.
    pub(super) fn unwatch(&self, task: &Task) {
        if !self.inline || !task.is_hot() {
            return;
        }
        let mut watched = self.hot.watched.lock();
        watched.retain(|t| !std::ptr::eq(&**t, task));
        self.hot.any.store(!watched.is_empty(), Relaxed);
        let empty = watched.is_empty();
        drop(watched);
        if empty {
            self.execute_condemned(usize::MAX, false);
            self.praise();
            self.put_worker(Place::Anywhere);
        }
        task.set_hot(0);
    }

    /// If a watch has just begun: leaves this processor to the thread that was let run here, which takes the sentry's time and not the guest's. It
    /// rings until the worker has arrived.
    pub(super) fn leave(&self) {
        if !self.hot.leaves.swap(false, Relaxed) {
            return;
        }
        self.step_aside();
        let here = processor();
        self.put_worker(Place::On(here));
        for task in self.hot.watched.lock().iter() {
            self.put(task, self.hot.places.off(here));
            task.set_hot(here as u64 + 1);
        }
    }

    /// Waits a moment for a message in the slot of a thread that carries out an order.
    pub(super) fn await_slot(&self, task: &Task) -> Option<[u64; 6]> {
        // The message of a stub that waits for an answer is the last one.
        if !task.is_hot() || task.state.lock().waits != Waits::Nothing {
            return None;
        }
        let start = sys::cycles();
        loop {
            for _ in 0..64 {
                if let Some(args) = task.message() {
                    return Some(args);
                }
                std::hint::spin_loop();
            }
            if sys::cycles().wrapping_sub(start) > LINGER {
                return None;
            }
        }
    }
}
