//! Tests of the waiter table.

use super::*;
use crate::usermem::GuestMemory;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// One word that reads the same at any address.
struct Word(AtomicU32);
impl GuestMemory for Word {
    fn read_partial(&self, _: u64, buf: &mut [u8]) -> usize {
        buf.copy_from_slice(&self.0.load(Ordering::Relaxed).to_le_bytes());
        buf.len()
    }
    fn write_partial(&self, _: u64, _: &[u8]) -> usize {
        0
    }
}

fn at(addr: u64) -> Target {
    Target {
        key: Key::Private(1, addr),
        keep: None,
    }
}

fn wait(t: &Arc<FutexTable>, addr: u64, bitset: u32) -> Arc<Enqueued> {
    let mem = Word(AtomicU32::new(7));
    t.wait(&mem, vec![(addr, at(addr), 7, bitset)]).unwrap()
}

#[test]
fn wakes_in_order_and_no_more_than_asked() {
    let t = Arc::new(FutexTable::default());
    let w: Vec<_> = (0..3).map(|_| wait(&t, 8, MATCH_ANY)).collect();
    assert_eq!(t.wake(at(8).key, 2, MATCH_ANY), Ok(2));
    assert_eq!(
        w.iter().map(|w| w.woken()).collect::<Vec<_>>(),
        [Some(0), Some(0), None]
    );
    assert_eq!(t.wake(at(12).key, 9, MATCH_ANY), Ok(0));
    drop(w);
    assert_eq!(t.len(), 0);
}

#[test]
fn a_different_value_is_eagain() {
    let t = Arc::new(FutexTable::default());
    let mem = Word(AtomicU32::new(7));
    let futexes = vec![(8, at(8), 7, MATCH_ANY), (12, at(12), 6, MATCH_ANY)];
    assert!(matches!(
        t.wait(&mem, futexes),
        Err(crate::abi::Errno::EAGAIN)
    ));
    assert_eq!(t.len(), 0, "the first waiter is gone too");
}

#[test]
fn bitsets_select() {
    let t = Arc::new(FutexTable::default());
    let a = wait(&t, 8, 1);
    let b = wait(&t, 8, 2);
    assert_eq!(t.wake(at(8).key, 5, 2), Ok(1));
    assert_eq!((a.woken(), b.woken()), (None, Some(0)));
}

#[test]
fn a_wake_that_nobody_took_goes_to_the_next() {
    let t = Arc::new(FutexTable::default());
    let a = wait(&t, 8, MATCH_ANY);
    let b = wait(&t, 8, MATCH_ANY);
    assert_eq!(t.wake(at(8).key, 1, MATCH_ANY), Ok(1));
    // A signal ended the call before it looked.
    drop(a);
    assert_eq!(b.woken(), Some(0));
}

#[test]
fn a_cancelled_wait_knows_of_an_earlier_wake() {
    let t = Arc::new(FutexTable::default());
    let a = wait(&t, 8, MATCH_ANY);
    let b = wait(&t, 8, MATCH_ANY);
    t.wake(at(8).key, 1, MATCH_ANY).unwrap();
    assert_eq!(a.cancel(), Some(0));
    assert_eq!(b.cancel(), None);
    assert_eq!(t.len(), 0);
}

#[test]
fn requeue_wakes_some_and_moves_others() {
    let t = Arc::new(FutexTable::default());
    let mem = Word(AtomicU32::new(7));
    for to in (4..400).step_by(4).filter(|a| *a != 8) {
        let w: Vec<_> = (0..4).map(|_| wait(&t, 8, MATCH_ANY)).collect();
        let how = Requeue {
            wake: 1,
            requeue: 2,
        };
        let wrong = t.requeue(&mem, at(8).key, &at(to), &how, Some((8, 1)));
        assert!(matches!(wrong, Err(crate::abi::Errno::EAGAIN)));
        let n = t.requeue(&mem, at(8).key, &at(to), &how, Some((8, 7)));
        assert!(matches!(n, Ok(3)));
        assert_eq!(t.wake(at(to).key, 9, MATCH_ANY), Ok(2));
        assert_eq!(
            w.iter().map(|w| w.woken().is_some()).collect::<Vec<_>>(),
            [true, true, true, false]
        );
        drop(w);
        assert_eq!(t.len(), 0);
    }
}

#[test]
fn waiting_on_several_tells_which() {
    let t = Arc::new(FutexTable::default());
    let mem = Word(AtomicU32::new(7));
    let futexes = (0..4).map(|i| (i * 4, at(i * 4), 7, MATCH_ANY)).collect();
    let w = t.wait(&mem, futexes).unwrap();
    assert_eq!(w.woken(), None);
    t.wake(at(8).key, 1, MATCH_ANY).unwrap();
    assert_eq!(w.cancel(), Some(2));
    assert_eq!(t.len(), 0);
}
