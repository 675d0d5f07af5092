//! Pipes whose bytes guest threads move by themselves: a ring in memory that their stubs share ([`cofferdam_platform::Ring`]).
//!
//! Each end of an anonymous pipe is lent to one thread at a time. While both are, the pipe is empty and nobody waits for it, the ring is *given*: writes that fit
//! and reads of what is there do not come here. Whoever looks at the pipe here takes the ring first, and what is in it; the next read or write that leaves the
//! pipe empty gives it again. Who is to be woken registers first and looks at the pipe then, so nobody waits for a pipe that is given.
//!
//! A reader that finds nothing comes here and waits, and the next write wakes it: a sleep and a wake-up for each message. If that happens again and again it is
//! *tried* whether writer and reader keep pace: each gets a processor, and the reader's stub looks for a while before it comes. If it comes all the same before
//! much was moved, the next try is later and later.

use super::file::{PipeFile, pipe_of};
use super::{PAGE, Pipe, State};
use crate::abi::{Errno, Result};
use crate::sync::{Charge, Mutex, Quota, Rank, WaitQueue};
use crate::usermem::Segment;
use crate::vfs::host::reopen_read_only;
use crate::vfs::loan::Loan;
use crate::vfs::{File, OpenFlags};
use cofferdam_platform::{MemOp, RING_BYTES_LEN, RING_READER_LEN, RING_SIZE, Ring, WINDOWS};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How many rings a sandbox has: each takes four descriptors.
static RINGS: Quota = Quota::new(128);
/// A pipe with fewer slots is not lent: messages of more than half a page fill one each, and what the ring takes, the pipe must take.
const FEWEST_SLOTS: usize = 2 * RING_SIZE / PAGE;
/// Of the windows of a process those from here on are for pipes, two for each end.
const FIRST_WINDOW: usize = crate::vfs::pages::WINDOWS;
const PAIRS: usize = (WINDOWS - FIRST_WINDOW) / 2;

/// A ring with the descriptors that show it.
pub struct SharedRing {
    ring: Ring,
    /// For who may only see it: the bytes, the reader's word.
    bytes: OwnedFd,
    reader: OwnedFd,
    _charge: Charge,
}

/// An end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Which bytes are read from.
    Read,
    /// Which they are written to.
    Write,
}

/// What a pipe lends.
pub(super) struct Lending {
    ring: Arc<SharedRing>,
    reader: Option<Arc<dyn Loan>>,
    writer: Option<Arc<dyn Loan>>,
    /// Which tasks have had the read end and the write end of this ring. Another one gets another ring: a writer's copy that was overtaken by the end of its loan
    /// may still be under way, and a process that had an end keeps its way to the ring.
    tasks: [Option<i32>; 2],
    is_given: bool,
}

/// How well reader and writer keep pace with each other.
#[derive(Default)]
pub(super) struct Pace {
    /// Length of the last message that came here, in bytes.
    message: u64,
    /// Takings in a row that found little moved.
    poor: u32,
    /// When to lend again.
    lending: Pause,
    /// Writes that woke a reader since the last try.
    wakes: u32,
    /// The try that is on.
    tries: Option<Try>,
    /// When to try again.
    trying: Pause,
}

#[derive(Default)]
struct Try {
    /// How many bytes stubs have read.
    moved: u64,
    /// How often the ring was taken.
    taken: u64,
}

/// After something that was not worth it: the longer the more often.
#[derive(Default)]
struct Pause {
    /// Binary logarithm of its length in [`PAUSE`]s.
    factor: u32,
    not_before: Option<Instant>,
}

/// The first pause, and the longest as a factor.
const PAUSE: Duration = Duration::from_millis(4);
const LONGEST: u32 = 8;
/// So many writes that wake a reader make it worth a try.
const WAKES: u32 = 8;
/// So many messages for each taking make a try a good one.
const GOOD: u64 = 32;
/// So many takings in a row that each found less than so many messages moved end the loans.
const POOR: u32 = 64;
const FEW: u64 = 4;

impl SharedRing {
    fn new() -> Result<SharedRing> {
        let charge = RINGS.charge(1).ok_or(Errno::ENOMEM)?;
        let ring = Ring::new().map_err(|_| Errno::ENOMEM)?;
        Ok(SharedRing {
            bytes: reopen_read_only(ring.bytes_fd())?,
            reader: reopen_read_only(ring.reader_fd())?,
            ring,
            _charge: charge,
        })
    }
    /// Nobody moves anything any more, from any thread.
    pub fn stop(&self) {
        self.ring.stop();
    }
    /// How `end` is shown from window `index` on.
    pub fn windows(&self, end: End, index: usize) -> [MemOp<'_>; 2] {
        let (bytes, reader) = match end {
            End::Read => (&self.bytes, self.ring.reader_fd()),
            End::Write => (self.ring.bytes_fd(), &self.reader),
        };
        [
            MemOp::Window {
                index,
                len: RING_BYTES_LEN,
                file: Some(bytes.as_fd()),
                writable: end == End::Write,
            },
            MemOp::Window {
                index: index + 1,
                len: RING_READER_LEN,
                file: Some(reader.as_fd()),
                writable: end == End::Read,
            },
        ]
    }
}

impl Lending {
    fn holder(&mut self, end: End) -> &mut Option<Arc<dyn Loan>> {
        match end {
            End::Read => &mut self.reader,
            End::Write => &mut self.writer,
        }
    }
    fn task(&self, end: End) -> Option<i32> {
        let [reader, writer] = self.tasks;
        match end {
            End::Read => reader,
            End::Write => writer,
        }
    }
    fn task_mut(&mut self, end: End) -> &mut Option<i32> {
        let [reader, writer] = &mut self.tasks;
        match end {
            End::Read => reader,
            End::Write => writer,
        }
    }
    fn is_held(&self) -> bool {
        let held = |l: &Option<Arc<dyn Loan>>| l.as_ref().is_some_and(|l| !l.is_over());
        held(&self.reader) && held(&self.writer)
    }
    fn end(self) {
        for loan in [self.reader, self.writer].into_iter().flatten() {
            loan.end();
        }
    }
}

impl Pause {
    fn is_on(&self) -> bool {
        self.not_before.is_some_and(|at| Instant::now() < at)
    }
    fn begin(&mut self, good: bool) {
        self.factor = if good {
            0
        } else {
            (self.factor + 1).min(LONGEST)
        };
        self.not_before = Instant::now().checked_add(PAUSE * (1 << self.factor));
    }
}

impl Pace {
    /// A message of this length came here.
    pub(super) fn message(&mut self, len: usize) {
        self.message = len as u64;
    }
    fn messages(&self, count: u64) -> u64 {
        self.message.max(1).saturating_mul(count)
    }
    /// The ring was taken when stubs had read so many bytes: whether it goes on being lent.
    fn taken(&mut self, read: u64) -> bool {
        if let Some(try_) = &mut self.tries {
            try_.moved = try_.moved.saturating_add(read);
            try_.taken += 1;
        }
        if read >= self.messages(FEW) {
            self.poor = 0;
            if read >= self.messages(GOOD) {
                self.lending = Pause::default();
            }
            return true;
        }
        self.poor += 1;
        if self.poor < POOR {
            return true;
        }
        self.poor = 0;
        self.lending.begin(false);
        false
    }
    /// A write wakes a reader: whether to try now.
    fn wakes(&mut self) -> bool {
        if self.tries.is_some() {
            return false;
        }
        self.wakes += 1;
        if self.wakes < WAKES {
            return false;
        }
        self.wakes = 0;
        if self.trying.is_on() {
            return false;
        }
        self.tries = Some(Try::default());
        true
    }
    /// The reader waits: was the try that was on a good one?
    fn waits(&mut self) -> Option<bool> {
        let t = self.tries.take()?;
        let enough = self.messages(GOOD).saturating_mul(t.taken.max(1));
        let good = t.moved >= enough;
        self.trying.begin(good);
        Some(good)
    }
}

impl State {
    /// Takes the ring, if it is given, and what is in it.
    pub(super) fn take_ring(&mut self) {
        let Some(lent) = self.lent.as_mut().filter(|l| l.is_given) else {
            return;
        };
        lent.is_given = false;
        let taken = lent.ring.ring.take();
        if !taken.bytes.is_empty() {
            // It was empty, and Linux takes as much in messages of any length: see `FEWEST_SLOTS`.
            self.slots.push(Segment::new(taken.bytes), false);
        }
        if !self.pace.taken(taken.read.into()) {
            self.end_lending();
        }
    }
    /// A write meets a reader that waits. Who is to keep pace with each other from now on.
    pub(super) fn wakes_reader(&mut self) -> Option<[Arc<dyn Loan>; 2]> {
        let lent = self.lent.as_ref().filter(|l| l.is_held())?;
        let both = [lent.reader.clone()?, lent.writer.clone()?];
        self.pace.wakes().then_some(both)
    }
    /// A reader found nothing.
    pub(super) fn reader_waits(&mut self) {
        let Some(lent) = &self.lent else { return };
        if let Some(reader) = &lent.reader {
            reader.unite();
        }
        if self.pace.waits() == Some(false)
            && let Some(writer) = &lent.writer
        {
            writer.unite();
        }
    }
    /// Ends both loans. The ring is not given.
    fn end_lending(&mut self) {
        if let Some(lent) = self.lent.take() {
            lent.end();
        }
    }
}

impl Pipe {
    fn give_ring(&self, own: usize) {
        let mut s = self.state.lock();
        let may = s.readers > 0
            && s.writers > 0
            && s.slots.is_empty()
            && s.slots.max() >= FEWEST_SLOTS
            && self.queue.len() == own;
        let Some(lent) = s
            .lent
            .as_mut()
            .filter(|l| may && !l.is_given && l.is_held())
        else {
            return;
        };
        lent.is_given = true;
        lent.ring.ring.give();
        if !lent.is_held() {
            // A loan ended meanwhile, and may have stopped it too early.
            lent.ring.stop();
        }
    }
}

/// A call by a pipe's end has moved bytes and is over: gives the ring, if that may be. `own` counts the caller's registrations with a queue, which end now.
pub fn give(file: &File, own: impl FnOnce(&Arc<WaitQueue>) -> usize) {
    if let Some(pipe) = pipe_of(file).filter(|p| p.is_lent.load(Ordering::Relaxed)) {
        pipe.give_ring(own(&pipe.queue));
    }
}

/// The ring of a pipe that can be lent by this file to this task, and which end the file is. `None` for a FIFO, for packets, where rings run out, and if it is
/// not worth it. A new one is made only if there is room for it.
pub fn ring_of(
    file: &File,
    task: i32,
    has_room: impl FnOnce() -> bool,
) -> Option<(Arc<SharedRing>, End)> {
    let pipe = pipe_of(file)?;
    let end = file.downcast::<PipeFile>()?.end()?;
    if file.path().is_some() || file.flags().contains(OpenFlags::DIRECT) {
        return None;
    }
    {
        let mut s = pipe.lock();
        if s.pace.lending.is_on() || s.slots.max() < FEWEST_SLOTS {
            return None;
        }
        if let Some(lent) = &s.lent {
            if lent.task(end).is_none_or(|t| t == task) {
                return Some((lent.ring.clone(), end));
            }
            s.end_lending();
            s.pace.lending.begin(false);
            return None;
        }
    }
    if !has_room() {
        return None;
    }
    let ring = Arc::new(SharedRing::new().ok()?);
    let mut s = pipe.state.lock();
    let lent = s.lent.get_or_insert_with(|| Lending {
        ring,
        reader: None,
        writer: None,
        tasks: [None; 2],
        is_given: false,
    });
    Some((lent.ring.clone(), end))
}

/// Whether `loan` of this end is under way.
pub fn is_lent_to(file: &File, loan: &Arc<dyn Loan>) -> bool {
    let Some((pipe, end)) = pipe_of(file).zip(file.downcast::<PipeFile>().and_then(PipeFile::end))
    else {
        return false;
    };
    let mut s = pipe.state.lock();
    let holder = s.lent.as_mut().and_then(|l| l.holder(end).as_ref());
    holder.is_some_and(|h| Arc::ptr_eq(h, loan) && !h.is_over())
}

/// Lends an end to `loan`, which knows the ring and is `task`'s; who had it has it no more.
pub fn lend(file: &File, ring: &Arc<SharedRing>, loan: &Arc<dyn Loan>, task: i32) -> bool {
    let Some((pipe, end)) = pipe_of(file).zip(file.downcast::<PipeFile>().and_then(PipeFile::end))
    else {
        return false;
    };
    let old = {
        let mut s = pipe.lock();
        let lent = s.lent.as_mut().filter(|l| Arc::ptr_eq(&l.ring, ring));
        let Some(lent) = lent else { return false };
        if *lent.task_mut(end).get_or_insert(task) != task {
            return false;
        }
        lent.holder(end).replace(loan.clone())
    };
    pipe.is_lent.store(true, Ordering::Relaxed);
    if let Some(old) = old {
        old.end();
    }
    true
}

/// The file is one for packets now, or looked at in another way: it is not lent any more.
pub(super) fn end(pipe: &Pipe) {
    pipe.lock().end_lending();
}

/// Which ends the windows of a process show.
pub struct Windows(Mutex<[Option<Shown>; PAIRS]>);

struct Shown {
    ring: Weak<SharedRing>,
    end: End,
    loan: Arc<dyn Loan>,
    /// Whose loan it is.
    task: i32,
    /// They do show it.
    ready: bool,
}

impl Shown {
    /// Nothing can be under way there: the loan's own task asks, or has not come back from its end.
    fn is_free(&self, task: i32) -> bool {
        self.loan.is_over() && (self.task == task || self.loan.is_left())
    }
}

impl Default for Windows {
    fn default() -> Windows {
        Windows(Mutex::new(Rank::OBJECT, [const { None }; PAIRS]))
    }
}

impl Windows {
    /// Whether another end can be shown to `task`.
    pub fn has_room(&self, task: i32) -> bool {
        let all = self.0.lock();
        all.iter()
            .any(|shown| shown.as_ref().is_none_or(|s| s.is_free(task)))
    }
    /// The windows for an end, from which number on, for the time of `loan`, which is the calling `task`'s; and whether they show it already, else the caller has to
    /// see to that ([`Windows::show`]). `None` if all are taken.
    pub fn take(
        &self,
        ring: &Arc<SharedRing>,
        end: End,
        loan: &Arc<dyn Loan>,
        task: i32,
    ) -> Option<(usize, bool)> {
        let mut all = self.0.lock();
        let find = |is: &dyn Fn(&Shown) -> bool| {
            let place = |shown: &Option<Shown>| shown.as_ref().is_some_and(is);
            all.iter().position(place)
        };
        let same = |s: &Shown| s.end == end && std::ptr::eq(s.ring.as_ptr(), Arc::as_ptr(ring));
        let at = find(&same)
            .or_else(|| find(&|s| s.is_free(task)))
            .or_else(|| all.iter().position(Option::is_none))?;
        let place = all.get_mut(at)?;
        let ready = place.as_ref().is_some_and(|s| same(s) && s.ready);
        let old = place.replace(Shown {
            ring: Arc::downgrade(ring),
            end,
            loan: loan.clone(),
            task,
            ready,
        });
        drop(all);
        if let Some(old) = old {
            old.loan.end();
        }
        Some((FIRST_WINDOW + 2 * at, ready))
    }
    /// The windows from `first` on show now what was to be lent to `loan`.
    pub fn show(&self, first: usize, loan: &Arc<dyn Loan>) {
        let at = first.saturating_sub(FIRST_WINDOW) / 2;
        let mut all = self.0.lock();
        if let Some(Some(shown)) = all.get_mut(at) {
            shown.ready = Arc::ptr_eq(&shown.loan, loan);
        }
    }
}

#[cfg(test)]
#[path = "tests_lent.rs"]
mod tests;
