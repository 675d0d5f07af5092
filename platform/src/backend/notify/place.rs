//! Which processors threads may run on: the worker, those that it watches from another one, those that make others beside it.
//!
//! To bind a thread is a host call of 2 µs, and much more if it runs elsewhere. So what a thread is bound to is remembered, and bindings are undone when it runs on without
//! a reason for them, not before.
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{Inner, Task};
use crate::sys::{self, CpuSet};

/// Where a thread may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    On(usize),
    /// Anywhere else than there.
    Off(usize),
}

/// A [`Place`] that is remembered.
#[derive(Debug, Default)]
pub(super) struct AtomicPlace(AtomicU32);

impl AtomicPlace {
    pub(super) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// What is known of another thread holds for this one.
    pub(super) fn copy(&self, other: &AtomicPlace) {
        self.0.store(other.get(), Relaxed);
    }

    fn set(&self, place: Place) {
        self.0.store(place.code(), Relaxed);
    }

    fn is(&self, place: Place) -> bool {
        self.get() == place.code()
    }
}

impl Place {
    fn code(self) -> u32 {
        let number = |cpu: usize| u32::try_from(cpu).unwrap_or(0) & 0xffff;
        match self {
            Place::Anywhere => 0,
            Place::On(cpu) => 1 << 16 | number(cpu),
            Place::Off(cpu) => 2 << 16 | number(cpu),
        }
    }
}

/// The processors that there are for this sandbox.
#[derive(Debug)]
pub(super) struct Places {
    /// If they can be told.
    allowed: Option<CpuSet>,
    count: usize,
    /// If there are two: to be off the one is to be on the other.
    pair: Option<(usize, usize)>,
}

impl Places {
    pub(super) fn new() -> Places {
        let allowed = sys::affinity();
        let count = allowed.as_ref().map_or(1, sys::cpu_count);
        let mut cpus = allowed
            .as_ref()
            .map(sys::cpus)
            .unwrap_or_default()
            .into_iter();
        let pair = cpus.next().zip(cpus.next()).filter(|_| count == 2);
        Places {
            allowed,
            count,
            pair,
        }
    }

    /// How many there are; 1 if that cannot be told.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Anywhere else than there.
    pub(super) fn off(&self, cpu: usize) -> Place {
        match self.pair {
            Some((one, other)) if cpu == one => Place::On(other),
            Some((one, other)) if cpu == other => Place::On(one),
            _ => Place::Off(cpu),
        }
    }

    /// Whether the host did.
    fn bind(&self, tid: libc::pid_t, place: Place) -> bool {
        let Some(allowed) = self.allowed.as_ref().filter(|_| self.count > 1) else {
            // Nobody moves.
            return true;
        };
        let set = match place {
            Place::Anywhere => *allowed,
            Place::On(cpu) => sys::single_cpu(cpu),
            Place::Off(cpu) => sys::without_cpu(allowed, cpu),
        };
        // Not of a thread that is gone; or processors were taken away from this sandbox: then the kernel chooses.
        sys::set_affinity(tid, &set).is_ok()
    }
}

thread_local! {
    /// Where the calling thread is bound: each may be the worker.
    static WORKER: Cell<u32> = const { Cell::new(0) };
}

/// The number of the processor that runs the worker.
pub(super) fn processor() -> usize {
    usize::try_from(sys::current_cpu()).unwrap_or(0)
}

impl Inner {
    /// Binds a stub's thread. Those that it makes inherit that.
    pub(super) fn put(&self, task: &Task, place: Place) {
        if task.pace.place.is(place) {
            return;
        }
        // The id of a process that was killed from outside, too, is nobody else's before it is marked dead.
        let dead = task.process.dead.read_recursive();
        if !*dead && self.hot.places.bind(task.tid, place) {
            task.pace.place.set(place);
        }
    }

    /// Binds the calling thread. It makes none meanwhile, which would inherit that: see [`Inner::unbind_worker`].
    pub(super) fn put_worker(&self, place: Place) {
        if WORKER.get() != place.code() && self.hot.places.bind(0, place) {
            WORKER.set(place.code());
        }
    }

    /// Binds a thread to the worker's processor: what the sentry does wakes it there, where it costs a switch.
    pub(super) fn bind_here(&self, task: &Task) {
        self.put(task, Place::On(processor()));
    }

    /// The same for the worker.
    pub(super) fn stay_here(&self) {
        self.put_worker(Place::On(processor()));
    }

    /// Leaves this processor to a guest thread for a while, if there is another one.
    pub(super) fn step_aside(&self) {
        self.put_worker(self.hot.places.off(processor()));
    }

    /// The worker may go where it likes again, unless it watches from here.
    pub(super) fn unbind_worker(&self) {
        if !self.is_watching() {
            self.put_worker(Place::Anywhere);
        }
    }

    /// A thread is about to run on: undoes what it was bound for, unless it is watched or about to be.
    pub(super) fn release(&self, task: &Task) {
        if !task.is_hot() && !self.hot.leaves() {
            self.put(task, Place::Anywhere);
        }
    }

    /// A stopped thread is about to die, and its memory with it, which takes the host longer than many a call: on a processor that nobody needs, since
    /// whoever waits for that end goes on here.
    pub(super) fn send_away(&self, task: &Task) {
        let spare = self.running.load(Relaxed) + 1 < self.hot.places.count();
        let place = if spare {
            self.hot.places.off(processor())
        } else {
            Place::Anywhere
        };
        self.put(task, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let all = [Place::Anywhere, Place::On(0), Place::Off(0), Place::On(7)];
        let place = AtomicPlace::default();
        assert!(place.is(Place::Anywhere), "nobody is bound at first");
        for (i, one) in all.iter().enumerate().skip(1).chain([(0, &all[0])]) {
            assert!(!place.is(*one), "{i}");
            place.set(*one);
            assert!(place.is(*one), "{i}");
        }
    }

    #[test]
    fn only_what_the_host_grants_is_a_binding() {
        let mut places = Places::new();
        places.count = 2;
        let Some(here) = places
            .allowed
            .as_ref()
            .and_then(|s| sys::cpus(s).first().copied())
        else {
            return;
        };
        std::thread::spawn(move || {
            assert!(places.bind(0, Place::On(here)));
            assert!(
                !places.bind(0, Place::On(size_of::<CpuSet>() * 8 - 1)),
                "no such processor"
            );
            assert!(places.bind(0, Place::Anywhere));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn off_the_one_of_two_is_on_the_other() {
        let places = Places {
            allowed: None,
            count: 2,
            pair: Some((3, 5)),
        };
        assert_eq!(places.off(3), Place::On(5));
        assert_eq!(places.off(5), Place::On(3));
        assert_eq!(places.off(4), Place::Off(4));
    }
}
