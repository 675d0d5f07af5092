//! `--profile`: how often each system call was made, how long it kept the sentry busy, and where the time went.
//!
//! Nothing here is in the way when it is off. When it is on, the sentry's own edges are wrapped: [`platform`] times what
//! workers ask of guest processes and when they wait for guests, [`transport`] the round trips to the gofer, and
//! [`Profile`] itself is the tracer that sees each call start and end.
//!
//! A worker's time is cut where it turns from one thing to another: when it gets an event, when it has let a guest run,
//! when a call starts or ends. What lies between two cuts belongs to the call seen last, so a call that waits costs only what its
//! handler used. Time for the gofer and the host within is known by its own counters, and taken off the sentry's.
//!
//! A program may mark sections: a `write` to descriptor -1 at address [`MARK`] fails as it always does, and begins the
//! section whose number is its length. The benchmark of this project does that around each of its rows.

mod platform;
mod transport;

pub use platform::wrap;
pub use transport::Timed;

use crate::abi::sysno;
use crate::kernel::{SyscallTracer, Task};
use crate::sync::{Mutex, Rank};
use crate::time::Instant;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Address of the buffer of a `write` to descriptor -1 that begins a section.
pub const MARK: u64 = 0x636f_6666_6572_6461;
/// Most sections; a guest that marks more gets no more.
const MOST_SECTIONS: usize = 4096;

/// What a worker's time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Waits for guests.
    Wait,
    /// Has guest processes do something, or reads and writes their memory.
    Host,
    /// Waits for the gofer's answer.
    Gofer,
    /// Fetches and sets a guest's registers: the way in and out.
    Trap,
}

/// Time and number of something.
#[derive(Default)]
struct Counter {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Counter {
    fn add(&self, nanos: u64) {
        self.count.fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    fn get(&self) -> Total {
        Total {
            count: self.count.load(Relaxed),
            nanos: self.nanos.load(Relaxed),
        }
    }
}

/// How often, and how long together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Number.
    pub count: u64,
    /// Nanoseconds.
    pub nanos: u64,
}

impl Total {
    fn since(self, before: Total) -> Total {
        Total {
            count: self.count.saturating_sub(before.count),
            nanos: self.nanos.saturating_sub(before.nanos),
        }
    }
}

/// Where the time went, all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Wall time in nanoseconds.
    pub wall: u64,
    /// System calls that reached the sentry.
    pub calls: u64,
    /// Workers busy, in nanoseconds, but for `gofer` and `host`.
    pub sentry: u64,
    /// Events that workers waited for; while they wait, guests run, or are on their way in or out, or nothing happens.
    pub wait: Total,
    /// Round trips to the gofer.
    pub gofer: Total,
    /// Operations on guest processes and their memory.
    pub host: Total,
}

impl Split {
    fn since(&self, before: &Split) -> Split {
        Split {
            wall: self.wall.saturating_sub(before.wall),
            calls: self.calls.saturating_sub(before.calls),
            sentry: self.sentry.saturating_sub(before.sentry),
            wait: self.wait.since(before.wait),
            gofer: self.gofer.since(before.gofer),
            host: self.host.since(before.host),
        }
    }
}

/// One system call's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTotal {
    /// Its name; `?` for numbers that Linux does not have.
    pub name: &'static str,
    /// How often, and how long workers were busy with it, gofer and host included.
    pub total: Total,
    /// How often it failed.
    pub errors: u64,
}

/// Everything, once the sandbox has ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// From the start of the profile.
    pub whole: Split,
    /// System calls that were made, the dearest first.
    pub calls: Vec<CallTotal>,
    /// Sections in the order in which they were begun: their numbers, and what happened in them.
    pub sections: Vec<(u64, Split)>,
}

/// Where a worker is.
#[derive(Clone, Copy)]
struct Cut {
    at: Instant,
    /// Time of the gofer and the host since then.
    elsewhere: u64,
    /// The call seen last, by index.
    call: Option<usize>,
}

thread_local!(static LAST: Cell<Option<Cut>> = const { Cell::new(None) });

#[derive(Default)]
struct Call {
    time: Counter,
    errors: AtomicU64,
}

/// The counters.
pub struct Profile {
    start: Instant,
    /// By number; the last is for all numbers beyond.
    calls: Vec<Call>,
    count: AtomicU64,
    sentry: AtomicU64,
    wait: Counter,
    gofer: Counter,
    host: Counter,
    sections: Mutex<Vec<(u64, Split)>>,
}

fn nanos(from: Instant, to: Instant) -> u64 {
    to.0.saturating_sub(from.0)
}

impl Profile {
    /// All zero, from now on.
    pub fn start() -> Arc<Profile> {
        Arc::new(Profile {
            start: Instant::now(),
            calls: (0..=sysno::LIMIT).map(|_| Call::default()).collect(),
            count: AtomicU64::new(0),
            sentry: AtomicU64::new(0),
            wait: Counter::default(),
            gofer: Counter::default(),
            host: Counter::default(),
            sections: Mutex::new(Rank::LEAF, Vec::new()),
        })
    }

    /// The tracer's end of it.
    pub fn tracer(self: &Arc<Profile>) -> Box<dyn SyscallTracer> {
        Box::new(Tracer(Arc::clone(self)))
    }

    /// A worker turns to something else: what it did since the last cut is settled, and `call` is what it does from now on.
    fn cut(&self, call: Option<usize>) {
        let now = Instant::now();
        if let Some(last) = LAST.get() {
            self.settle(&last, now);
        }
        LAST.set(Some(Cut {
            at: now,
            elsewhere: 0,
            call,
        }));
    }

    fn settle(&self, last: &Cut, now: Instant) {
        let busy = nanos(last.at, now);
        self.sentry
            .fetch_add(busy.saturating_sub(last.elsewhere), Relaxed);
        if let Some(call) = last.call.and_then(|c| self.calls.get(c)) {
            call.time.nanos.fetch_add(busy, Relaxed);
        }
    }

    /// Times something that is not the sentry's own work.
    pub(crate) fn time<T>(&self, part: Part, work: impl FnOnce() -> T) -> T {
        if part == Part::Wait {
            // Settled up to here, and nothing from here on.
            self.cut(None);
        }
        let start = Instant::now();
        let result = work();
        let end = Instant::now();
        let took = nanos(start, end);
        match part {
            Part::Wait => {
                self.wait.add(took);
                LAST.set(Some(Cut {
                    at: end,
                    elsewhere: 0,
                    call: None,
                }));
            }
            Part::Gofer => self.gofer.add(took),
            Part::Host => self.host.add(took),
            // Not counted: it is part of what is left when all else is known.
            Part::Trap => {}
        }
        // Other threads than workers do not cut their time, and their work is nobody's.
        if part != Part::Wait
            && let Some(mut last) = LAST.get()
        {
            last.elsewhere = last.elsewhere.saturating_add(took);
            LAST.set(Some(last));
        }
        result
    }

    /// A guest runs again: what comes next is not the call's.
    pub(crate) fn resumed(&self) {
        self.cut(None);
    }

    fn split(&self) -> Split {
        Split {
            wall: nanos(self.start, Instant::now()),
            calls: self.count.load(Relaxed),
            sentry: self.sentry.load(Relaxed),
            wait: self.wait.get(),
            gofer: self.gofer.get(),
            host: self.host.get(),
        }
    }

    fn mark(&self, section: u64) {
        let now = self.split();
        let mut sections = self.sections.lock();
        if sections.len() < MOST_SECTIONS {
            sections.push((section, now));
        }
    }

    /// What has been counted.
    pub fn summary(&self) -> Summary {
        let whole = self.split();
        let mut calls: Vec<CallTotal> = self
            .calls
            .iter()
            .enumerate()
            .map(|(number, call)| CallTotal {
                name: sysno::name(number).unwrap_or("?"),
                total: call.time.get(),
                errors: call.errors.load(Relaxed),
            })
            .filter(|c| c.total.count > 0)
            .collect();
        calls.sort_by_key(|c| std::cmp::Reverse(c.total.nanos));
        let begun = self.sections.lock().clone();
        let ends = begun.iter().skip(1).map(|(_, s)| *s).chain([whole]);
        let sections = begun
            .iter()
            .zip(ends)
            .map(|((number, start), end)| (*number, end.since(start)))
            .collect();
        Summary {
            whole,
            calls,
            sections,
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).map_or(sysno::LIMIT, |n| n.min(sysno::LIMIT))
}

struct Tracer(Arc<Profile>);

impl SyscallTracer for Tracer {
    /// A profile is to show what happens without it.
    fn wants_all(&self) -> bool {
        false
    }

    fn enter(&self, _: &Task, number: u64, _: &[u64; 6]) {
        let profile = &self.0;
        let at = index(number);
        // What came before, from the event on, was for this call too.
        if let Some(last) = LAST.get() {
            LAST.set(Some(Cut {
                call: last.call.or(Some(at)),
                ..last
            }));
        }
        profile.cut(Some(at));
        profile.count.fetch_add(1, Relaxed);
        if let Some(call) = profile.calls.get(at) {
            call.time.count.fetch_add(1, Relaxed);
        }
    }

    fn exit(&self, _: &Task, number: u64, args: &[u64; 6], result: i64) {
        let profile = &self.0;
        let at = index(number);
        // A call that was woken was not seen to start on this worker.
        if let Some(last) = LAST.get() {
            LAST.set(Some(Cut {
                call: Some(at),
                ..last
            }));
        }
        profile.cut(Some(at));
        if (-4095..0).contains(&result) {
            if let Some(call) = profile.calls.get(at) {
                call.errors.fetch_add(1, Relaxed);
            }
            let is_write = i64::try_from(number).is_ok_and(|n| n == libc::SYS_write);
            // The descriptor is an int: what is above its 32 bits does not count.
            if let [fd, MARK, section, ..] = *args
                && is_write
                && fd & 0xffff_ffff == 0xffff_ffff
            {
                profile.mark(section);
            }
        }
    }
}

/// Two tracers at once.
pub struct Both(pub Box<dyn SyscallTracer>, pub Box<dyn SyscallTracer>);

impl SyscallTracer for Both {
    fn wants_all(&self) -> bool {
        self.0.wants_all() || self.1.wants_all()
    }

    fn started(&self, task: &Task, path: &[u8], argv: &[Vec<u8>], envp: &[Vec<u8>]) {
        self.0.started(task, path, argv, envp);
        self.1.started(task, path, argv, envp);
    }

    fn enter(&self, task: &Task, number: u64, args: &[u64; 6]) {
        self.0.enter(task, number, args);
        self.1.enter(task, number, args);
    }

    fn exit(&self, task: &Task, number: u64, args: &[u64; 6], result: i64) {
        self.0.exit(task, number, args, result);
        self.1.exit(task, number, args, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sleep(ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    /// Each test has a thread of its own, hence cuts of its own.
    #[test]
    fn time_goes_to_the_call_and_parts_are_taken_off_the_sentry() {
        let p = Profile::start();
        p.time(Part::Wait, || sleep(20));
        p.cut(Some(7));
        sleep(5);
        p.time(Part::Host, || sleep(5));
        p.time(Part::Gofer, || sleep(5));
        p.time(Part::Trap, || sleep(5));
        p.resumed();
        sleep(5);
        p.time(Part::Wait, || sleep(1));
        let ms = 1_000_000;
        let s = p.split();
        assert!(s.wait.nanos >= 21 * ms && s.wait.count == 2, "{s:?}");
        assert!(s.host.nanos >= 5 * ms && s.gofer.nanos >= 5 * ms, "{s:?}");
        assert!(s.sentry >= 10 * ms, "{s:?}");
        assert!(
            s.sentry + s.host.nanos + s.gofer.nanos + s.wait.nanos + 5 * ms <= s.wall,
            "no time counts twice: {s:?}"
        );
        let call = p.calls[7].time.get().nanos;
        assert!(
            call >= 20 * ms && call < s.wall - 26 * ms,
            "{call} of {s:?}"
        );
    }

    #[test]
    fn sections_are_differences_and_bounded() {
        let p = Profile::start();
        for n in 0..MOST_SECTIONS as u64 + 5 {
            p.mark(n);
        }
        p.gofer.add(70);
        let summary = p.summary();
        assert_eq!(summary.sections.len(), MOST_SECTIONS);
        let (number, last) = summary.sections[MOST_SECTIONS - 1];
        assert_eq!(number, MOST_SECTIONS as u64 - 1);
        assert_eq!(
            last.gofer,
            Total {
                count: 1,
                nanos: 70
            }
        );
        assert_eq!(summary.sections[0].1.gofer, Total::default());
    }
}
