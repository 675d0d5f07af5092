//! Rows: more threads than processors, and programs that compute between their calls. The call is one that reaches the sentry.

use super::{Batch, Row, each, sys};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

/// How many busy threads there are.
const THREADS: u64 = 8;

pub(super) const ROWS: &[Row] = &[
    Row::new("threads", "8 busy threads, a call each time", || {
        busy(|| {
            nix::unistd::getpgrp();
        })
    }),
    Row::new(
        "threads",
        "8 busy threads, about 20 us between calls",
        || {
            busy(|| {
                sys::compute(20_000);
                nix::unistd::getpgrp();
            })
        },
    ),
    Row::new("threads", "1 thread, about 1 ms between calls", || {
        each(|| {
            sys::compute(1_000_000);
            nix::unistd::getpgrp();
            Ok(())
        })
    }),
];

struct Team {
    /// Operations of each member in this batch; `u64::MAX` sends them home.
    work: AtomicU64,
    start: Barrier,
    end: Barrier,
}

struct Leader(Arc<Team>);

impl Drop for Leader {
    fn drop(&mut self) {
        self.0.work.store(u64::MAX, Ordering::SeqCst);
        self.0.start.wait();
    }
}

/// The operation done by [`THREADS`] threads at once; each of them does its share of a batch.
fn busy(operation: fn()) -> io::Result<Batch> {
    let all = THREADS as usize + 1;
    let team = Arc::new(Team {
        work: AtomicU64::new(0),
        start: Barrier::new(all),
        end: Barrier::new(all),
    });
    for _ in 0..THREADS {
        let team = Arc::clone(&team);
        std::thread::spawn(move || {
            loop {
                team.start.wait();
                let work = team.work.load(Ordering::SeqCst);
                if work == u64::MAX {
                    return;
                }
                (0..work).for_each(|_| operation());
                team.end.wait();
            }
        });
    }
    let leader = Leader(team);
    Ok(Box::new(move |n| {
        leader.0.work.store(n.div_ceil(THREADS), Ordering::SeqCst);
        leader.0.start.wait();
        leader.0.end.wait();
        Ok(())
    }))
}
