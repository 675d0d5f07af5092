//! The list of mappings against a fake host that keeps an array of pages.

use super::fake::{FakeSpace, FakeThread};
use super::vma::host_prot;
use super::*;
use crate::abi::Errno;
use cofferdam_platform::Prot;
use proptest::prelude::*;
use std::sync::atomic::Ordering;

const BASE: u64 = 0x7000_0000_0000;
const PAGES: u64 = 40;
const RW: Prot = Prot::READ.union(Prot::WRITE);

fn world() -> (Arc<FakeSpace>, MemoryManager, FakeThread) {
    let space = Arc::new(FakeSpace::default());
    let mm = MemoryManager::new(space.clone());
    mm.set_layout(|l| {
        l.mmap_base = BASE + PAGES * PAGE;
        l.start_brk = BASE;
        l.brk = BASE;
    });
    let thread = FakeThread(space.clone());
    (space, mm, thread)
}

fn anon(addr: u64, pages: u64, prot: Prot, flags: MapFlags) -> MapRequest {
    MapRequest {
        addr,
        len: pages * PAGE,
        prot,
        flags,
        what: MapWhat::Anonymous,
        offset: 0,
    }
}

fn map(mm: &MemoryManager, t: &FakeThread, page: u64, pages: u64, prot: Prot) -> u64 {
    let req = anon(
        BASE + page * PAGE,
        pages,
        prot,
        MapFlags::PRIVATE | MapFlags::FIXED,
    );
    mm.mmap(t, &req, &MmLimits::NONE).unwrap()
}

fn errno<T: std::fmt::Debug>(r: Result<T, MmError>) -> Errno {
    r.unwrap_err().into()
}

/// The list must say what the host has, be merged, and be counted right.
fn check(space: &FakeSpace, mm: &MemoryManager) {
    let s = mm.state.lock();
    assert!(!s.busy);
    let pages = space.pages.lock().unwrap();
    let mut count = 0;
    for v in s.map.iter() {
        assert!(v.start < v.end && v.reserve <= v.start);
        for addr in (v.reserve..v.end).step_by(PAGE as usize) {
            let p = pages
                .get(&addr)
                .unwrap_or_else(|| panic!("{addr:#x} is not on the host"));
            assert_eq!(p.prot, host_prot(v.prot), "at {addr:#x}");
            let file = match &v.backing {
                Backing::SharedAnon { mem, offset } => {
                    let ino = nix::sys::stat::fstat(mem.fd()).unwrap().st_ino;
                    Some((ino, offset + (addr - v.start)))
                }
                _ => None,
            };
            assert_eq!(p.file, file, "at {addr:#x}");
            count += 1;
        }
    }
    assert_eq!(count, pages.len(), "the host has more than the list");
    let all: Vec<&Vma> = s.map.iter().collect();
    for w in all.windows(2) {
        assert!(w[0].end <= w[1].start);
        assert!(!w[0].merges_with(w[1]), "unmerged at {:#x}", w[1].start);
    }
    let sum =
        |f: &dyn Fn(&Vma) -> bool| -> u64 { all.iter().filter(|v| f(v)).map(|v| v.len()).sum() };
    assert_eq!(s.map.total(), sum(&|_| true));
    assert_eq!(s.map.data(), sum(&|v| v.is_data()));
    assert_eq!(s.map.locked(), sum(&|v| v.flags.contains(VmFlags::LOCKED)));
}

#[derive(Clone, Debug)]
enum Action {
    Map {
        page: u64,
        len: u64,
        prot: u32,
        shared: bool,
        how: u8,
    },
    Unmap {
        page: u64,
        len: u64,
    },
    Protect {
        page: u64,
        len: u64,
        prot: u32,
    },
    Remap {
        page: u64,
        old: u64,
        new: u64,
        to: u64,
        flags: u32,
    },
    Advise {
        page: u64,
        len: u64,
        advice: i32,
    },
    Lock {
        page: u64,
        len: u64,
        on: bool,
    },
    Brk {
        page: u64,
    },
    Seal {
        page: u64,
    },
}

fn actions() -> impl Strategy<Value = Action> {
    let page = || 0..PAGES;
    let len = || 1..8u64;
    prop_oneof![
        4 => (page(), len(), 0..8u32, any::<bool>(), 0..4u8)
            .prop_map(|(page, len, prot, shared, how)| Action::Map { page, len, prot, shared, how }),
        3 => (page(), len()).prop_map(|(page, len)| Action::Unmap { page, len }),
        3 => (page(), len(), 0..8u32).prop_map(|(page, len, prot)| Action::Protect { page, len, prot }),
        3 => (page(), 0..6u64, 0..8u64, page(), 0..8u32)
            .prop_map(|(page, old, new, to, flags)| Action::Remap { page, old, new, to, flags }),
        1 => (page(), len(), prop_oneof![Just(libc::MADV_DONTFORK), Just(libc::MADV_DOFORK), Just(libc::MADV_RANDOM), Just(libc::MADV_NORMAL)])
            .prop_map(|(page, len, advice)| Action::Advise { page, len, advice }),
        1 => (page(), len(), any::<bool>()).prop_map(|(page, len, on)| Action::Lock { page, len, on }),
        1 => page().prop_map(|page| Action::Brk { page }),
        1 => page().prop_map(|page| Action::Seal { page }),
    ]
}

fn perform(mm: &MemoryManager, t: &FakeThread, a: &Action) {
    let at = |page: u64| BASE + page * PAGE;
    let none = &MmLimits::NONE;
    match *a {
        Action::Map {
            page,
            len,
            prot,
            shared,
            how,
        } => {
            let mut flags = if shared {
                MapFlags::SHARED
            } else {
                MapFlags::PRIVATE
            };
            flags |= match how {
                0 => MapFlags::FIXED,
                1 => MapFlags::FIXED_NOREPLACE,
                2 => MapFlags::LOCKED,
                _ => MapFlags::empty(),
            };
            let prot = Prot::from_bits_truncate(prot);
            let _ = mm.mmap(t, &anon(at(page), len, prot, flags), none);
        }
        Action::Unmap { page, len } => {
            let _ = mm.munmap(t, at(page), len * PAGE);
        }
        Action::Protect { page, len, prot } => {
            let prot = Prot::from_bits_truncate(prot);
            let _ = mm.mprotect(t, at(page), len * PAGE, prot, false, none);
        }
        Action::Remap {
            page,
            old,
            new,
            to,
            flags,
        } => {
            let req = RemapRequest {
                addr: at(page),
                old_len: old * PAGE,
                new_len: new * PAGE,
                flags: RemapFlags::from_bits_truncate(flags),
                new_addr: at(to),
            };
            let _ = mm.mremap(t, &req, none);
        }
        Action::Advise { page, len, advice } => {
            let _ = mm.madvise(t, at(page), len * PAGE, advice);
        }
        Action::Lock { page, len, on } => {
            let _ = if on {
                mm.mlock(t, at(page), len * PAGE, true, none)
            } else {
                mm.munlock(at(page), len * PAGE)
            };
        }
        Action::Brk { page } => {
            let _ = mm.brk(t, at(page) + 123, none);
        }
        Action::Seal { page } => {
            if page == 0 {
                let _ = mm.mseal(at(page), PAGE);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn list_and_host_agree(
        steps in prop::collection::vec((actions(), 0..12usize), 1..60),
    ) {
        let (space, mm, t) = world();
        for (a, fail) in &steps {
            // Now and then the host refuses.
            space.fail_after.store(if *fail < 3 { *fail } else { 0 }, Ordering::Relaxed);
            perform(&mm, &t, a);
            space.fail_after.store(0, Ordering::Relaxed);
            check(&space, &mm);
        }
        let mut copy = None;
        let (child, _) = mm
            .fork(|| {
                let space = Arc::new(FakeSpace {
                    pages: std::sync::Mutex::new(space.pages.lock().unwrap().clone()),
                    ..FakeSpace::default()
                });
                copy = Some(space.clone());
                Ok((space.clone(), Box::new(FakeThread(space)) as Box<dyn Thread>))
            })
            .unwrap();
        check(&copy.unwrap(), &child);
        prop_assert_eq!(child.sizes().locked, 0);
        prop_assert!(child.maps().iter().all(|e| !e.vma.flags.contains(VmFlags::DONTFORK)));
    }
}

#[test]
fn places_top_down_and_honours_hints() {
    let (_, mm, t) = world();
    let top = BASE + PAGES * PAGE;
    let req = anon(0, 3, RW, MapFlags::PRIVATE);
    assert_eq!(mm.mmap(&t, &req, &MmLimits::NONE).unwrap(), top - 3 * PAGE);
    let hint = anon(BASE + 5 * PAGE + 1, 1, RW, MapFlags::PRIVATE);
    assert_eq!(
        mm.mmap(&t, &hint, &MmLimits::NONE).unwrap(),
        BASE + 5 * PAGE
    );
    // A taken hint is ignored; the highest gap that fits is used.
    assert_eq!(mm.mmap(&t, &hint, &MmLimits::NONE).unwrap(), top - 4 * PAGE);
    let low = anon(0, 1, RW, MapFlags::PRIVATE | MapFlags::LOW_2GB);
    assert_eq!(mm.mmap(&t, &low, &MmLimits::NONE).unwrap(), 0x4000_0000);
}

#[test]
fn fixed_addresses_are_checked() {
    let (_, mm, t) = world();
    let at = |addr, flags| {
        errno(mm.mmap(
            &t,
            &anon(addr, 1, RW, MapFlags::PRIVATE | flags),
            &MmLimits::NONE,
        ))
    };
    assert_eq!(at(BASE + 1, MapFlags::FIXED), Errno::EINVAL);
    assert_eq!(at(0x1000, MapFlags::FIXED), Errno::EPERM);
    assert_eq!(
        at(cofferdam_platform::GUEST_END, MapFlags::FIXED),
        Errno::ENOMEM
    );
    assert_eq!(at(!0xfff, MapFlags::FIXED), Errno::ENOMEM);
    map(&mm, &t, 2, 1, RW);
    assert_eq!(
        at(BASE + 2 * PAGE, MapFlags::FIXED_NOREPLACE),
        Errno::EEXIST
    );
    let len = |len| {
        let mut r = anon(0, 1, RW, MapFlags::PRIVATE);
        r.len = len;
        errno(mm.mmap(&t, &r, &MmLimits::NONE))
    };
    assert_eq!(len(0), Errno::EINVAL);
    assert_eq!(len(u64::MAX), Errno::ENOMEM);
    assert_eq!(len(1 << 48), Errno::ENOMEM);
}

#[test]
fn neighbours_merge_and_split() {
    let (space, mm, t) = world();
    map(&mm, &t, 0, 2, RW);
    map(&mm, &t, 4, 2, RW);
    map(&mm, &t, 2, 2, RW);
    assert_eq!(mm.sizes().count, 1);
    mm.mprotect(
        &t,
        BASE + 2 * PAGE,
        PAGE,
        Prot::READ,
        false,
        &MmLimits::NONE,
    )
    .unwrap();
    assert_eq!(mm.sizes().count, 3);
    mm.mprotect(&t, BASE + 2 * PAGE, PAGE, RW, false, &MmLimits::NONE)
        .unwrap();
    assert_eq!(mm.sizes().count, 1);
    check(&space, &mm);
}

#[test]
fn protecting_past_a_hole_changes_what_lies_before() {
    let (space, mm, t) = world();
    map(&mm, &t, 0, 2, RW);
    map(&mm, &t, 3, 1, RW);
    let r = mm.mprotect(&t, BASE, 4 * PAGE, Prot::READ, false, &MmLimits::NONE);
    assert_eq!(errno(r), Errno::ENOMEM);
    assert_eq!(mm.find_vma(BASE + PAGE).unwrap().prot, Prot::READ);
    assert_eq!(mm.find_vma(BASE + 3 * PAGE).unwrap().prot, RW);
    check(&space, &mm);
}

#[test]
fn limits_hold() {
    let (_, mm, t) = world();
    let limits = MmLimits {
        address_space: 4 * PAGE,
        data: 2 * PAGE,
        ..MmLimits::NONE
    };
    let go = |pages, prot| mm.mmap(&t, &anon(0, pages, prot, MapFlags::PRIVATE), &limits);
    go(2, RW).unwrap();
    assert_eq!(errno(go(1, RW)), Errno::ENOMEM);
    let ro = go(2, Prot::READ).unwrap();
    assert_eq!(errno(go(1, Prot::READ)), Errno::ENOMEM);
    assert_eq!(
        errno(mm.mprotect(&t, ro, PAGE, RW, false, &limits)),
        Errno::ENOMEM
    );
    // Replacing what is there needs no more room.
    let over = anon(ro, 2, Prot::READ, MapFlags::PRIVATE | MapFlags::FIXED);
    mm.mmap(&t, &over, &limits).unwrap();
}

#[test]
fn remap_keeps_contents() {
    let (space, mm, t) = world();
    let a = map(&mm, &t, 0, 2, RW);
    map(&mm, &t, 2, 1, Prot::READ);
    let mem: &dyn GuestMemory = &mm;
    mem.write_bytes(a + PAGE, b"hello").unwrap();
    let req = |flags, new_len: u64| RemapRequest {
        addr: a,
        old_len: 2 * PAGE,
        new_len,
        flags,
        new_addr: BASE + 10 * PAGE,
    };
    let none = &MmLimits::NONE;
    let stay = req(RemapFlags::empty(), 3 * PAGE);
    assert_eq!(errno(mm.mremap(&t, &stay, none)), Errno::ENOMEM);
    let moved = mm
        .mremap(&t, &req(RemapFlags::MAYMOVE, 3 * PAGE), none)
        .unwrap();
    let mut back = [0; 5];
    mem.read_bytes(moved + PAGE, &mut back).unwrap();
    assert_eq!(&back, b"hello");
    assert!(mm.find_vma(a).is_none());
    check(&space, &mm);
    // In place, where there is room above.
    let grow = RemapRequest {
        addr: moved,
        old_len: 3 * PAGE,
        new_len: PAGE,
        flags: RemapFlags::empty(),
        new_addr: 0,
    };
    assert_eq!(mm.mremap(&t, &grow, none).unwrap(), moved);
    let grow = RemapRequest {
        old_len: PAGE,
        new_len: 2 * PAGE,
        ..grow
    };
    assert_eq!(mm.mremap(&t, &grow, none).unwrap(), moved);
    check(&space, &mm);
}

#[test]
fn a_zero_old_length_duplicates_shared_memory_only() {
    let (space, mm, t) = world();
    let shared = anon(0, 2, RW, MapFlags::SHARED);
    let a = mm.mmap(&t, &shared, &MmLimits::NONE).unwrap();
    let req = RemapRequest {
        addr: a,
        old_len: 0,
        new_len: 2 * PAGE,
        flags: RemapFlags::MAYMOVE,
        new_addr: 0,
    };
    let b = mm.mremap(&t, &req, &MmLimits::NONE).unwrap();
    assert_ne!(a, b);
    check(&space, &mm);
    let private = map(&mm, &t, 0, 1, RW);
    let req = RemapRequest {
        addr: private,
        ..req
    };
    assert_eq!(errno(mm.mremap(&t, &req, &MmLimits::NONE)), Errno::EINVAL);
}

fn stack(reserve: u64, start: u64, end: u64) -> Vma {
    Vma {
        flags: VmFlags::MAY_ALL | VmFlags::GROWSDOWN,
        reserve: BASE + reserve * PAGE,
        ..Vma::anonymous(BASE + start * PAGE, BASE + end * PAGE, RW)
    }
}

#[test]
fn a_stack_has_its_reserve_and_grows_below_it() {
    let (space, mm, t) = world();
    let far = 5000;
    mm.map_all(&t, vec![stack(far, far + 8, far + 10)], &[])
        .unwrap();
    check(&space, &mm);
    // The sentry can write where the guest has not been.
    let mem: &dyn GuestMemory = &mm;
    mem.write_bytes(BASE + far * PAGE, b"x").unwrap();
    // Nothing else is put there, but naming it takes it in.
    let there = anon(
        BASE + (far + 1) * PAGE,
        1,
        RW,
        MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE,
    );
    assert_eq!(errno(mm.mmap(&t, &there, &MmLimits::NONE)), Errno::EEXIST);
    mm.mprotect(
        &t,
        BASE + far * PAGE,
        PAGE,
        Prot::empty(),
        false,
        &MmLimits::NONE,
    )
    .unwrap();
    check(&space, &mm);
    assert_eq!(mm.find_vma(BASE + (far + 1) * PAGE).unwrap().prot, RW);
}

#[test]
fn faults_grow_stacks_within_limit_and_gap() {
    let (space, mm, t) = world();
    let far = 5000;
    mm.map_all(&t, vec![stack(far, far, far + 2)], &[]).unwrap();
    let at = |page: u64| BASE + page * PAGE + 8;
    let limits = MmLimits {
        stack: 100 * PAGE,
        ..MmLimits::NONE
    };
    assert!(mm.handle_fault(&t, at(far - 3), &limits));
    assert_eq!(mm.find_vma(at(far)).unwrap().start, BASE + (far - 3) * PAGE);
    check(&space, &mm);
    assert!(
        !mm.handle_fault(&t, at(far - 99), &limits),
        "over the limit"
    );
    map(&mm, &t, far - 260, 1, RW);
    assert!(!mm.handle_fault(&t, at(far - 4), &limits), "into the gap");
    assert!(!mm.handle_fault(&t, at(far + 5), &limits), "above");
    map(&mm, &t, 0, 1, RW);
    assert!(!mm.handle_fault(&t, at(0), &limits), "no stack");
}

#[test]
fn heap_moves_both_ways_and_stops_at_neighbours() {
    let (space, mm, t) = world();
    let none = &MmLimits::NONE;
    assert_eq!(mm.brk(&t, 0, none).unwrap(), BASE);
    assert_eq!(mm.brk(&t, BASE + 100, none).unwrap(), BASE + 100);
    assert_eq!(mm.brk(&t, BASE + 3 * PAGE, none).unwrap(), BASE + 3 * PAGE);
    map(&mm, &t, 6, 1, Prot::READ);
    assert_eq!(mm.brk(&t, BASE + 6 * PAGE, none).unwrap(), BASE + 3 * PAGE);
    assert_eq!(mm.brk(&t, BASE + 1, none).unwrap(), BASE + 1);
    assert_eq!(mm.sizes().total, 2 * PAGE);
    assert_eq!(mm.maps()[0].label, Label::Heap);
    check(&space, &mm);
}

#[test]
fn locks_are_counted_against_the_limit() {
    let (_, mm, t) = world();
    let a = map(&mm, &t, 0, 4, RW);
    let limits = MmLimits {
        memlock: 2 * PAGE,
        ipc_lock: false,
        ..MmLimits::NONE
    };
    mm.mlock(&t, a, 2 * PAGE, false, &limits).unwrap();
    mm.mlock(&t, a, 2 * PAGE, false, &limits).unwrap();
    assert_eq!(
        errno(mm.mlock(&t, a, 3 * PAGE, false, &limits)),
        Errno::ENOMEM
    );
    assert_eq!(mm.sizes().locked, 2 * PAGE);
    let locked = anon(0, 1, RW, MapFlags::PRIVATE | MapFlags::LOCKED);
    assert_eq!(errno(mm.mmap(&t, &locked, &limits)), Errno::EAGAIN);
    assert_eq!(
        errno(mm.madvise(&t, a, PAGE, libc::MADV_DONTNEED)),
        Errno::EINVAL
    );
    mm.munlockall().unwrap();
    assert_eq!(mm.sizes().locked, 0);
}

#[test]
fn one_change_at_a_time() {
    let (_, mm, t) = world();
    let a = map(&mm, &t, 0, 1, RW);
    let ticket = mm.begin().unwrap_or_else(|_| panic!("free"));
    let Err(MmError::Busy(queue)) = mm.munmap(&t, a, PAGE) else {
        panic!("a second change while one is in flight");
    };
    assert!(mm.find_vma(a).is_some());
    drop(ticket);
    assert!(Arc::ptr_eq(&queue, &mm.free));
    mm.munmap(&t, a, PAGE).unwrap();
}

#[test]
fn an_elf_sized_batch_is_one_exchange() {
    let (space, mm, t) = world();
    let v = |p: u64, prot| Vma::anonymous(BASE + p * PAGE, BASE + (p + 1) * PAGE, prot);
    mm.map_all(&t, vec![v(0, Prot::READ), v(1, RW), v(2, RW)], &[])
        .unwrap();
    assert_eq!(space.batches.load(Ordering::Relaxed), 1);
    check(&space, &mm);
}

/// A name keeps mappings apart, and shows.
#[test]
fn anonymous_memory_has_names() {
    let (space, mm, t) = world();
    let at = map(&mm, &t, 0, 6, RW);
    let labels = || -> Vec<(u64, Label)> {
        mm.maps()
            .into_iter()
            .map(|e| ((e.vma.start - at) / PAGE, e.label))
            .collect()
    };
    let named = |name: &[u8]| Label::Anon(name.to_vec());
    mm.set_anon_name(at + PAGE, 2 * PAGE, Some(b"pool"))
        .unwrap();
    mm.set_anon_name(at + 3 * PAGE, 1, Some(b"pool")).unwrap();
    let expected = [(0, Label::None), (1, named(b"pool")), (4, Label::None)];
    assert_eq!(labels(), expected);
    mm.set_anon_name(at + 2 * PAGE, PAGE, None).unwrap();
    assert_eq!(labels().len(), 5);
    check(&space, &mm);
    mm.set_anon_name(at, 6 * PAGE, None).unwrap();
    assert_eq!(labels(), [(0, Label::None)]);
    let hole = mm.set_anon_name(at, 7 * PAGE, Some(b"x"));
    assert_eq!(errno(hole), Errno::ENOMEM);
    let odd = mm.set_anon_name(at + 1, PAGE, Some(b"x"));
    assert_eq!(errno(odd), Errno::EINVAL);
}
