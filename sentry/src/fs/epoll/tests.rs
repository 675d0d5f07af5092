use super::noted::Notes;
use super::*;
use crate::fs::{eventfd::EventFd, pipe};
use crate::usermem::{KernelSink, KernelSource};
use crate::vfs::caller::KernelCaller;

const IN: u32 = Events::IN.bits();
const OUT: u32 = Events::OUT.bits();

fn new() -> Arc<File> {
    create(&KernelCaller).unwrap()
}
fn ep(f: &Arc<File>) -> &Arc<Epoll> {
    epoll_of(f).unwrap()
}
fn event(events: u32, data: u64) -> EpollEvent {
    EpollEvent { events, data }
}
fn wait(f: &Arc<File>, max: usize) -> Vec<(u32, u64)> {
    let mut got = Vec::new();
    let n = ep(f)
        .collect(max, &mut |e| {
            got.extend(e.iter().map(|e| (e.events, e.data)));
            Ok(())
        })
        .unwrap();
    assert_eq!(n, got.len());
    got
}
fn pipe() -> (Arc<File>, Arc<File>) {
    pipe::create(&KernelCaller, OpenFlags::empty()).unwrap()
}
fn write(f: &File, data: &[u8]) {
    f.ops()
        .write(
            f,
            &KernelCaller,
            &mut KernelSource::new(data),
            &mut 0,
            false,
        )
        .unwrap();
}
fn read(f: &File, n: usize) {
    f.ops()
        .read(f, &KernelCaller, &mut KernelSink::new(n), &mut 0)
        .unwrap();
}

#[test]
fn level_triggered_reports_while_ready() {
    let (e, (r, w)) = (new(), pipe());
    ep(&e).add(3, &r, event(IN, 7)).unwrap();
    assert_eq!(ep(&e).add(3, &r, event(IN, 7)), Err(Errno::EEXIST));
    assert_eq!(wait(&e, 8), []);
    write(&w, b"ab");
    assert_eq!(wait(&e, 8), [(IN, 7)]);
    read(&r, 1);
    assert_eq!(wait(&e, 8), [(IN, 7)]);
    read(&r, 1);
    assert_eq!(wait(&e, 8), []);
    drop(w);
    assert_eq!(wait(&e, 8), [(Events::HUP.bits(), 7)]);
    ep(&e).remove(3, &r).unwrap();
    assert_eq!(ep(&e).remove(3, &r), Err(Errno::ENOENT));
    assert_eq!(wait(&e, 8), []);
}

#[test]
fn edge_triggered_reports_each_arrival_once() {
    let (e, (r, w)) = (new(), pipe());
    write(&w, b"a");
    ep(&e).add(3, &r, event(IN | EDGE, 1)).unwrap();
    assert_eq!(wait(&e, 8), [(IN, 1)]);
    assert_eq!(wait(&e, 8), []);
    write(&w, b"b");
    assert_eq!(wait(&e, 8), [(IN, 1)]);
    assert_eq!(wait(&e, 8), []);
    // EPOLL_CTL_MOD looks again.
    ep(&e).modify(3, &r, event(IN | EDGE, 2)).unwrap();
    assert_eq!(wait(&e, 8), [(IN, 2)]);
}

#[test]
fn oneshot_is_silent_until_rearmed() {
    let (e, (r, w)) = (new(), pipe());
    ep(&e).add(3, &r, event(IN | ONESHOT, 1)).unwrap();
    write(&w, b"a");
    assert_eq!(wait(&e, 8), [(IN, 1)]);
    write(&w, b"b");
    drop(w);
    assert_eq!(wait(&e, 8), []);
    ep(&e).modify(3, &r, event(IN | ONESHOT, 1)).unwrap();
    assert_eq!(wait(&e, 8), [(IN | Events::HUP.bits(), 1)]);
}

#[test]
fn a_fault_while_reporting_loses_nothing() {
    let (e, (r, w)) = (new(), pipe());
    ep(&e).add(3, &r, event(IN | EDGE | ONESHOT, 1)).unwrap();
    write(&w, b"a");
    assert_eq!(
        ep(&e).collect(1, &mut |_| Err(Errno::EFAULT)),
        Err(Errno::EFAULT)
    );
    assert_eq!(wait(&e, 1), [(IN, 1)]);
    assert_eq!(wait(&e, 1), []);
}

#[test]
fn few_slots_rotate_among_many_ready_files() {
    let e = new();
    let pipes: Vec<_> = (0..4).map(|_| pipe()).collect();
    for (i, (r, w)) in pipes.iter().enumerate() {
        ep(&e).add(i as i32, r, event(IN, i as u64)).unwrap();
        write(w, b"x");
    }
    let mut seen: Vec<u64> = (0..2).flat_map(|_| wait(&e, 2)).map(|e| e.1).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3]);
}

#[test]
fn closed_files_vanish() {
    let (e, (r, w)) = (new(), pipe());
    ep(&e).add(3, &r, event(IN, 1)).unwrap();
    write(&w, b"x");
    drop(r);
    assert_eq!(wait(&e, 8), []);
    assert_eq!(ep(&e).targets(), []);
    // Also those that never become ready.
    let used = WATCHES.used();
    for fd in 0..300 {
        let f = EventFd::create(&KernelCaller, 0, false, OpenFlags::empty()).unwrap();
        ep(&e).add(fd, &f, event(IN, 1)).unwrap();
    }
    assert!(ep(&e).targets().len() <= 64);
    drop(e);
    assert!(
        WATCHES.used() <= used + 64,
        "other tests run beside this one"
    );
}

#[test]
fn nests_without_loops() {
    let (a, b, (r, w)) = (new(), new(), pipe());
    ep(&a).add(1, &b, event(IN, 1)).unwrap();
    ep(&b).add(2, &r, event(IN, 2)).unwrap();
    assert_eq!(a.poll(), Events::empty());
    write(&w, b"x");
    assert_eq!(a.poll(), Events::READABLE);
    assert_eq!(wait(&a, 8), [(IN, 1)]);
    assert_eq!(wait(&b, 8), [(IN, 2)]);
    read(&r, 1);
    assert_eq!(wait(&a, 8), []);
    assert_eq!(ep(&b).add(3, &a, event(IN, 3)), Err(Errno::ELOOP));

    // A chain of five, built from the top and from the bottom.
    let chain: Vec<_> = (0..6).map(|_| new()).collect();
    for i in 0..4 {
        ep(&chain[i]).add(0, &chain[i + 1], event(IN, 0)).unwrap();
    }
    assert_eq!(
        ep(&chain[4]).add(0, &chain[5], event(IN, 0)),
        Err(Errno::ELOOP)
    );
    let chain: Vec<_> = (0..6).map(|_| new()).collect();
    for i in (1..5).rev() {
        ep(&chain[i]).add(0, &chain[i + 1], event(IN, 0)).unwrap();
    }
    assert_eq!(
        ep(&chain[0]).add(0, &chain[1], event(IN, 0)),
        Err(Errno::ELOOP)
    );
    ep(&chain[4]).remove(0, &chain[5]).unwrap();
    ep(&chain[0]).add(0, &chain[1], event(IN, 0)).unwrap();
}

#[test]
fn exclusive_items_that_nobody_waits_for_are_all_ready() {
    let (a, b, (r, w)) = (new(), new(), pipe());
    ep(&a).add(1, &r, event(IN | EXCLUSIVE, 1)).unwrap();
    ep(&b).add(1, &r, event(IN | EXCLUSIVE, 2)).unwrap();
    write(&w, b"x");
    // A wake-up goes on until somebody is woken.
    assert_eq!(wait(&a, 8).len() + wait(&b, 8).len(), 2);
    assert_eq!(
        ep(&a).modify(1, &r, event(IN, 1)),
        Err(Errno::EINVAL),
        "exclusive items cannot be changed"
    );
    assert_eq!(
        ep(&a).add(2, &w, event(OUT | ONESHOT | EXCLUSIVE, 1)),
        Err(Errno::EINVAL)
    );
}

/// Notes of task 1.
#[derive(Default)]
struct Noting {
    changes: parking_lot::Mutex<Vec<noted::Change>>,
    over: std::sync::atomic::AtomicBool,
}

impl noted::Notes for Noting {
    fn borrower(&self) -> u64 {
        1
    }
    fn take(&self, end: bool) -> Vec<noted::Change> {
        self.over.fetch_or(end, std::sync::atomic::Ordering::SeqCst);
        std::mem::take(&mut *self.changes.lock())
    }
    fn is_over(&self) -> bool {
        self.over.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Noting {
    fn note(&self, fd: i32, file: &Arc<File>, to: Option<EpollEvent>) {
        let change = noted::Change::new(fd, Arc::as_ptr(file) as usize, to);
        self.changes.lock().push(change);
    }
}

#[test]
fn what_was_noted_is_done_before_anybody_looks() {
    let (e, (r, w)) = (new(), pipe());
    write(&w, b"a");
    ep(&e).add(3, &r, event(IN, 7)).unwrap();
    let notes = Arc::new(Noting::default());
    assert!(ep(&e).lend(notes.clone(), || true));
    notes.note(3, &r, None);
    ep(&e).settle(Some(1));
    assert_eq!(wait(&e, 8), []);
    assert!(ep(&e).is_retired(3, &r) && ep(&e).targets().is_empty());
    assert_eq!(ep(&e).modify(3, &r, event(IN, 7)), Err(Errno::ENOENT));
    assert_eq!(ep(&e).remove(3, &r), Err(Errno::ENOENT));
    write(&w, b"b");
    assert_eq!(wait(&e, 8), []);
    // What an unknown file's change says does not count.
    notes.note(4, &r, Some(event(IN, 1)));
    notes.note(3, &w, Some(event(IN, 1)));
    notes.note(3, &r, Some(event(IN | EDGE, 8)));
    ep(&e).settle(Some(1));
    assert_eq!(wait(&e, 8), [(IN, 8)]);
    assert_eq!(wait(&e, 8), []);
    // As EPOLL_CTL_MOD, once more.
    notes.note(3, &r, Some(event(IN | EDGE, 9)));
    ep(&e).settle(Some(1));
    assert_eq!(wait(&e, 8), [(IN, 9)]);
    assert!(!notes.is_over());
    // By poll: of somebody who may wait.
    notes.note(3, &r, None);
    assert_eq!(e.poll(), Events::empty());
    assert!(notes.is_over() && !ep(&e).is_retired(3, &r));
    ep(&e).add(3, &r, event(IN, 1)).unwrap();
    assert_eq!(wait(&e, 8), [(IN, 1)]);
}

#[test]
fn notes_count_only_while_nobody_waits() {
    let (e, outer, (r, w)) = (new(), new(), pipe());
    write(&w, b"a");
    ep(&e).add(3, &r, event(IN, 7)).unwrap();
    let notes = Arc::new(Noting::default());
    assert!(ep(&e).lend(notes.clone(), || true));
    notes.note(3, &r, None);
    ep(&outer).add(5, &e, event(IN, 1)).unwrap();
    assert!(notes.is_over());
    assert_eq!(wait(&outer, 8), []);
    let refused = Arc::new(Noting::default());
    assert!(!ep(&e).lend(refused, || panic!("somebody waits")));
    ep(&outer).remove(5, &e).unwrap();
    // An exclusive item is taken out for good, or it would take wake-ups of others.
    let (p, _q) = pipe();
    ep(&e).add(6, &p, event(IN | EXCLUSIVE, 1)).unwrap();
    let notes = Arc::new(Noting::default());
    assert!(ep(&e).lend(notes.clone(), || true));
    ep(&e).remove(6, &p).unwrap();
    assert!(!ep(&e).is_retired(6, &p));
    // One that was kept can become such.
    ep(&e).add(6, &p, event(IN, 1)).unwrap();
    ep(&e).remove(6, &p).unwrap();
    assert!(ep(&e).is_retired(6, &p));
    ep(&e).add(6, &p, event(IN | EXCLUSIVE, 1)).unwrap();
    assert_eq!(ep(&e).targets(), [(6, IN | EXCLUSIVE | ALWAYS, 1)]);
}

/// Taking items out leaves no more void places than there are others.
#[test]
fn the_ready_list_stays_short() {
    let (e, (r, w)) = (new(), pipe());
    write(&w, b"a");
    for i in 0..100 {
        ep(&e).add(i, &r, event(IN, i as u64)).unwrap();
    }
    for round in 0..50 {
        for i in 0..50 {
            ep(&e).remove(i, &r).unwrap();
            ep(&e).add(i, &r, event(IN, i as u64)).unwrap();
        }
        assert!(ep(&e).ready.lock().places() < 400, "{round}");
    }
    let mut order: Vec<u64> = wait(&e, 200).iter().map(|e| e.1).collect();
    assert_eq!(order[..2], [50, 51]);
    order.sort_unstable();
    assert!(order.iter().copied().eq(0..100));
}
