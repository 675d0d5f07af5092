//! Rows: calls that hardly do anything, so that getting to the kernel and back is what they cost.

use super::{Batch, Row, done, each, sys};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::sync::atomic::AtomicU32;

pub(super) const ROWS: &[Row] = &[
    Row::new("call", "getpid", || each(|| done(sys::getpid()))),
    Row::new("call", "gettid by syscall()", || {
        each(|| done(sys::gettid()))
    }),
    Row::new("call", "getuid", || each(|| done(nix::unistd::getuid()))),
    Row::new("call", "getppid", || each(|| done(nix::unistd::getppid()))),
    Row::new("call", "clock_gettime", || {
        each(|| done(clock_gettime(ClockId::CLOCK_REALTIME)?))
    }),
    Row::new("call", "sched_yield", || {
        each(|| Ok(nix::sched::sched_yield()?))
    }),
    Row::new("call", "futex wake, no waiter", || {
        let word = AtomicU32::new(0);
        each(move || done(sys::futex_wake(&word)))
    }),
    Row::new("signal", "sigprocmask", || {
        each(|| {
            Ok(sigprocmask(
                SigmaskHow::SIG_BLOCK,
                Some(&SigSet::empty()),
                None,
            )?)
        })
    }),
    Row::new("signal", "delivery to a handler", deliver),
];

fn deliver() -> io::Result<Batch> {
    sys::handle(Signal::SIGUSR1)?;
    each(|| Ok(raise(Signal::SIGUSR1)?))
}
