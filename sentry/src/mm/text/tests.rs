//! When programs are rewritten, and when not.

use super::*;

#[test]
fn long_rewritings_are_followed_by_a_rest() {
    let (mut p, now) = (Pace::default(), Instant::now());
    p.took(QUICK, now);
    assert!(p.rested(now));
    p.took(Duration::from_secs(1), now);
    assert!(!p.rested(now + Duration::from_secs(9)));
    assert!(p.rested(now + Duration::from_secs(10)));
}

/// What was asked for while another one took long does not end its rest.
#[test]
fn what_is_wanted_during_a_rest_waits() {
    let file =
        crate::fs::tmpfs::memfd_create(&KernelCaller, b"program", 0).expect("a file in memory");
    let id = Identity::of(&file).expect("its identity");
    let table = Table {
        gate: 0,
        files: Mutex::new(Rank::LEAF, HashMap::from([(id, Known::Wanted)])),
        pace: Mutex::new(Rank::LEAF, Pace::default()),
    };
    table
        .pace
        .lock()
        .took(Duration::from_secs(60), Instant::now());
    table.fill(&file, id);
    let again = |k: Option<&Known>| matches!(k, Some(Known::Traps(THRESHOLD)));
    assert!(again(table.files.lock().get(&id)));
    assert!(!table.pace.lock().rested(Instant::now()));
}
