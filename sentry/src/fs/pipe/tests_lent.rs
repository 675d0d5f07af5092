//! What a pipe lends, and when, with borrowers that only note what they are told.

use super::*;
use crate::fs::pipe::create;
use crate::usermem::{KernelSink, KernelSource};
use crate::vfs::caller::KernelCaller;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// A borrower that notes what it is told.
#[derive(Default)]
struct Fake {
    over: AtomicBool,
    parted: AtomicUsize,
    united: AtomicUsize,
}

impl Loan for Fake {
    fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
    fn part(&self) {
        self.parted.fetch_add(1, Ordering::SeqCst);
    }
    fn unite(&self) {
        self.united.fetch_add(1, Ordering::SeqCst);
    }
}

fn write(f: &File, data: &[u8]) {
    let mut src = KernelSource::new(data);
    let n = f.ops().write(f, &KernelCaller, &mut src, &mut 0, false);
    assert_eq!(n, Ok(data.len()));
}
fn read(f: &File) -> Result<usize> {
    f.ops()
        .read(f, &KernelCaller, &mut KernelSink::new(100), &mut 0)
}
fn is_given(f: &File) -> bool {
    let s = pipe_of(f).unwrap().state.lock();
    s.lent.as_ref().is_some_and(|l| l.is_given)
}
fn borrow(f: &File, task: i32) -> (Arc<Fake>, Arc<SharedRing>) {
    let (ring, _) = ring_of(f, task, || true).unwrap();
    let fake = Arc::new(Fake::default());
    let loan: Arc<dyn Loan> = fake.clone();
    assert!(lend(f, &ring, &loan, task));
    assert!(is_lent_to(f, &loan));
    (fake, ring)
}

#[test]
fn given_while_both_ends_are_lent_and_nothing_is_there() {
    let (r, w) = create(&KernelCaller, OpenFlags::empty()).unwrap();
    let (writer, _) = borrow(&w, 1);
    give(&w, |_| 0);
    assert!(!is_given(&w), "nobody has the other end");
    let (reader, _) = borrow(&r, 2);
    write(&w, b"abc");
    give(&w, |_| 0);
    assert!(!is_given(&w), "not empty");
    assert_eq!(read(&r), Ok(3));
    give(&r, |_| 1);
    assert!(!is_given(&w), "somebody else waits");
    give(&r, |_| 0);
    assert!(is_given(&w));
    assert!(!r.poll().contains(crate::sync::Events::READABLE));
    assert!(!is_given(&w), "whoever looks takes it");
    give(&r, |_| 0);
    writer.end();
    write(&w, b"d");
    assert_eq!(read(&r), Ok(1));
    give(&r, |_| 0);
    assert!(!is_given(&w), "a loan is over");
    assert!(!reader.is_over());
}

#[test]
fn who_had_no_end_before_gets_another_ring() {
    let (r, w) = create(&KernelCaller, OpenFlags::empty()).unwrap();
    for (f, task) in [(&w, 1), (&r, 1)] {
        let (first, ring) = borrow(f, task);
        let (_, again) = borrow(f, task);
        assert!(Arc::ptr_eq(&ring, &again) && first.is_over());
        let (loan, _) = borrow(f, task);
        assert!(ring_of(f, 2, || true).is_none(), "and not at once");
        assert!(loan.is_over());
        pipe_of(f).unwrap().state.lock().pace.lending = Pause::default();
        let (other, _) = ring_of(f, 2, || true).unwrap();
        assert!(!Arc::ptr_eq(&ring, &other));
    }
}

#[test]
fn nothing_is_made_for_which_there_is_no_room() {
    let (r, w) = create(&KernelCaller, OpenFlags::empty()).unwrap();
    assert!(ring_of(&w, 1, || false).is_none());
    assert!(pipe_of(&w).unwrap().state.lock().lent.is_none());
    let (_, ring) = borrow(&w, 1);
    // What is there is found: it may be shown already.
    let (same, end) = ring_of(&r, 1, || false).unwrap();
    assert!(Arc::ptr_eq(&ring, &same) && end == End::Read);
}

#[test]
fn loans_that_move_little_end() {
    let (r, w) = create(&KernelCaller, OpenFlags::empty()).unwrap();
    let (loans, _) = (borrow(&w, 1), borrow(&r, 1));
    for _ in 0..POOR {
        assert!(!loans.0.is_over());
        give(&r, |_| 0);
        assert!(is_given(&w));
        write(&w, b"x");
        assert_eq!(read(&r), Ok(1));
    }
    assert!(loans.0.is_over());
    assert!(ring_of(&w, 1, || true).is_none());
}

#[test]
fn tries_come_later_and_later() {
    let mut pace = Pace::default();
    pace.message(10);
    let mut tried = 0;
    for _ in 0..100 * WAKES {
        if pace.wakes() {
            tried += 1;
            pace.taken(20);
            assert_eq!(pace.waits(), Some(false));
        }
    }
    assert!((1..50).contains(&tried), "{tried}");
    pace.trying = Pause::default();
    while !pace.wakes() {}
    pace.taken(10 * GOOD);
    assert_eq!((pace.waits(), pace.trying.factor), (Some(true), 0));
}

#[test]
fn windows_give_way_to_their_own_task() {
    let windows = Windows::default();
    let ring = || Arc::new(SharedRing::new().unwrap());
    let loan = || -> Arc<dyn Loan> { Arc::new(Fake::default()) };
    let (first, lent) = (ring(), loan());
    let (at, there) = windows.take(&first, End::Read, &lent, 1).unwrap();
    assert!(!there);
    assert_eq!(
        windows.take(&first, End::Read, &loan(), 1),
        Some((at, false))
    );
    assert!(lent.is_over());
    let lent = loan();
    assert_eq!(windows.take(&first, End::Read, &lent, 1), Some((at, false)));
    windows.show(at, &lent);
    assert_eq!(windows.take(&first, End::Read, &lent, 1), Some((at, true)));
    let others: Vec<_> = (1..PAIRS).map(|_| (ring(), loan())).collect();
    for (ring, loan) in &others {
        let (other, there) = windows.take(ring, End::Write, loan, 2).unwrap();
        assert!(other != at && !there);
    }
    lent.end();
    assert!(windows.has_room(1) && !windows.has_room(2));
    assert_eq!(windows.take(&ring(), End::Read, &loan(), 2), None);
    assert_eq!(
        windows.take(&ring(), End::Read, &loan(), 1),
        Some((at, false))
    );
}
