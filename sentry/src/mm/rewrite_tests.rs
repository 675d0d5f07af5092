//! Rewritten texts against the fake host: what the guest's list says, what the host has, and where trampolines are.

use super::fake::{FakeSpace, FakeThread};
use super::text::THRESHOLD;
use super::vma::host_prot;
use super::*;
use crate::usermem::KernelSource;
use crate::vfs::File;
use crate::vfs::caller::KernelCaller;
use cofferdam_platform::Prot;
use cofferdam_platform::rewrite::GAP;
use proptest::prelude::*;
use std::sync::atomic::Ordering;

const GATE: u64 = 0x7fff_0000_1000;
/// Where the program lies; the space below it is free.
const BASE: u64 = 0x7000_0000_0000;
/// Pages of the program file: a header, then text.
const PAGES: u64 = 9;
const RX: Prot = Prot::READ.union(Prot::EXEC);
const RW: Prot = Prot::READ.union(Prot::WRITE);

/// An ELF file of [`PAGES`] pages with a system call in the middle of each page of text.
fn program() -> Vec<u8> {
    let text = (PAGES as usize - 1) * 4096;
    let mut f = vec![0u8; 4096];
    f.resize(4096 + text, 0xcc);
    let mut put = |at: usize, bytes: &[u8]| f[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01");
    put(16, &3u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(40, &0x200u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &1u16.to_le_bytes());
    put(58, &64u16.to_le_bytes());
    put(60, &1u16.to_le_bytes());
    put(64, &1u32.to_le_bytes());
    put(68, &5u32.to_le_bytes());
    put(72, &0x1000u64.to_le_bytes());
    put(80, &0x1000u64.to_le_bytes());
    put(96, &(text as u64).to_le_bytes());
    // One section: symbols.
    put(0x204, &2u32.to_le_bytes());
    put(0x218, &0x300u64.to_le_bytes());
    put(0x220, &((PAGES - 1) * 24).to_le_bytes());
    for i in 1..PAGES as usize {
        let at = i * 4096 + 0x800;
        // xor %edi,%edi; mov $39,%eax; syscall; ret
        put(at, &[0x31, 0xff, 0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3]);
        let symbol = 0x300 + (i - 1) * 24;
        put(symbol, &[0, 0, 0, 0, 2, 0, 1, 0]);
        put(symbol + 8, &(at as u64).to_le_bytes());
        put(symbol + 16, &10u64.to_le_bytes());
    }
    f
}

/// Where the `syscall` instruction of a page ends.
fn behind_call(page: u64) -> u64 {
    BASE + page * PAGE + 0x809
}

struct World {
    space: Arc<FakeSpace>,
    mm: MemoryManager,
    thread: FakeThread,
    file: Arc<File>,
    /// The host has refused something since the last change: unused trampolines may be waiting for the next.
    refused: std::sync::atomic::AtomicBool,
}

impl World {
    fn new() -> World {
        let texts = Texts::start(GATE).unwrap();
        Self::with(texts, Self::file(&program()))
    }
    fn with(texts: Arc<Texts>, file: Arc<File>) -> World {
        let space = Arc::new(FakeSpace::default());
        let mm = MemoryManager::new(space.clone()).with_texts(Some(texts));
        mm.set_layout(|l| l.mmap_base = BASE + 64 * PAGE);
        World {
            thread: FakeThread(space.clone()),
            space,
            mm,
            file,
            refused: std::sync::atomic::AtomicBool::new(false),
        }
    }
    fn file(content: &[u8]) -> Arc<File> {
        let f = crate::fs::tmpfs::memfd_create(&KernelCaller, b"program", 0).unwrap();
        let mut pos = 0;
        let mut source = KernelSource::new(content);
        while pos < content.len() as u64 {
            f.ops()
                .write(&f, &KernelCaller, &mut source, &mut pos, false)
                .unwrap();
        }
        f
    }
    fn request(&self, page: u64, pages: u64, prot: Prot, flags: MapFlags) -> MapRequest {
        MapRequest {
            addr: BASE + page * PAGE,
            len: pages * PAGE,
            prot,
            flags: flags | MapFlags::PRIVATE,
            what: MapWhat::File(self.file.clone()),
            offset: page * PAGE,
        }
    }
    /// Maps header and text as a dynamic loader does.
    fn load(&self) {
        for (page, pages, prot) in [(0, 1, Prot::READ), (1, PAGES - 1, RX)] {
            let req = self.request(page, pages, prot, MapFlags::FIXED);
            self.mm.mmap(&self.thread, &req, &MmLimits::NONE).unwrap();
        }
    }
    /// Lets calls trap until the text is rewritten; whether it was.
    fn warm_up(&self) -> bool {
        for _ in 0..THRESHOLD + 2 {
            if let Some(w) = self.trapped(1) {
                self.mm.rewrite_now(&self.thread, &w);
                return true;
            }
        }
        false
    }
    /// A call traps; whatever is to be rewritten for it has been when it returns.
    fn trapped(&self, page: u64) -> Option<RewriteWanted> {
        let wanted = self.mm.trapped(behind_call(page));
        self.mm.texts.as_ref().unwrap().wait();
        wanted
    }
    fn live(&self) -> Vec<(u64, u64)> {
        let s = self.mm.state.lock();
        let live = s
            .map
            .iter()
            .filter(|v| v.text.as_ref().is_some_and(|t| t.live));
        live.map(|v| ((v.start - BASE) / PAGE, (v.end - BASE) / PAGE))
            .collect()
    }
    fn byte(&self, addr: u64) -> u8 {
        let mut b = [0];
        assert_eq!(self.space.read(addr, &mut b), 1);
        b[0]
    }
    fn protect(&self, page: u64, pages: u64, prot: Prot) -> Result<(), MmError> {
        let (addr, len) = (BASE + page * PAGE, pages * PAGE);
        self.mm
            .mprotect(&self.thread, addr, len, prot, false, &MmLimits::NONE)
    }
    fn unmap(&self, addr: u64, pages: u64) {
        self.mm.munmap(&self.thread, addr, pages * PAGE).unwrap();
    }
    fn anonymous(&self, addr: u64, pages: u64, flags: MapFlags) -> Result<u64, MmError> {
        let req = MapRequest {
            addr,
            len: pages * PAGE,
            prot: RW,
            flags: flags | MapFlags::PRIVATE,
            what: MapWhat::Anonymous,
            offset: 0,
        };
        self.mm.mmap(&self.thread, &req, &MmLimits::NONE)
    }

    /// The host has what the list says, rewritten where it should be, and islands where they are needed.
    fn check(&self) {
        let s = self.mm.state.lock();
        assert!(!s.busy);
        let pages = self.space.pages.lock().unwrap();
        let ino = |fd: std::os::fd::BorrowedFd<'_>| nix::sys::stat::fstat(fd).unwrap().st_ino;
        let mut count = 0;
        for v in s.map.iter() {
            for addr in (v.start..v.end).step_by(PAGE as usize) {
                let p = &pages[&addr];
                assert_eq!(p.prot, host_prot(v.prot), "at {addr:#x}");
                count += 1;
                let Backing::File {
                    source: crate::vfs::MapSource::Host(fd),
                    ..
                } = &v.backing
                else {
                    assert_eq!(p.file, None);
                    continue;
                };
                use std::os::fd::AsFd;
                let offset = v.offset() + (addr - v.start);
                let mut want = (ino(fd.as_fd()), offset);
                if let Some(t) = v.text.as_ref().filter(|t| t.live) {
                    assert!(!v.prot.contains(Prot::WRITE));
                    for piece in t.text.pieces(offset, PAGE) {
                        want = (ino(t.text.fd()), piece.at);
                        let base = v.start - v.offset();
                        let island = t.text.island(base).unwrap();
                        assert_eq!(s.islands.get(&island.0).map(|i| i.base), Some(base));
                    }
                }
                assert_eq!(p.file, Some(want), "at {addr:#x}");
            }
        }
        for (start, i) in &s.islands {
            assert!(s.map.is_free(*start, i.end));
            let users = s.map.iter().filter(|v| {
                v.start - v.offset() == i.base
                    && v.text
                        .as_ref()
                        .is_some_and(|t| Arc::ptr_eq(&t.text, &i.text))
            });
            let unused = users.count() == 0;
            assert!(
                !unused || self.refused.load(Ordering::Relaxed),
                "an island without a text"
            );
            for addr in (*start..i.end).step_by(PAGE as usize) {
                let p = &pages[&addr];
                assert_eq!(
                    (p.prot, p.file),
                    (RX, Some((ino(i.text.fd()), addr - start)))
                );
                count += 1;
            }
        }
        assert_eq!(count, pages.len(), "the host has more than that");
    }
}

#[test]
fn rewritten_after_many_traps() {
    let w = World::new();
    w.load();
    w.check();
    let before = w.mm.maps().len();
    for _ in 0..=THRESHOLD {
        assert!(w.trapped(1).is_none());
    }
    let wanted = w.trapped(2).unwrap();
    w.mm.rewrite_now(&w.thread, &wanted);
    w.check();
    assert_eq!(w.live(), [(1, PAGES)]);
    // mov is a jmp now, the syscall is there, and the guest's list is as it was.
    let site = behind_call(3) - 7;
    assert_eq!([0, 5, 6].map(|i| w.byte(site + i)), [0xe9, 0x0f, 5]);
    assert_eq!(w.mm.maps().len(), before);
    assert!(w.mm.maps().iter().all(|e| e.vma.file().is_some()));
    // Nothing more to do.
    assert!(w.mm.trapped(behind_call(1)).is_none());
}

#[test]
fn later_mappings_are_rewritten_at_once() {
    let w = World::new();
    w.load();
    assert!(w.warm_up());
    let texts = w.mm.texts.clone().unwrap();
    let other = World::with(texts.clone(), w.file.clone());
    let batches = other.space.batches.load(Ordering::Relaxed);
    other.load();
    assert_eq!(other.space.batches.load(Ordering::Relaxed), batches + 2);
    other.check();
    assert_eq!(other.live(), [(1, PAGES)]);
    // A file with the same bytes is another file, and so is this one once it was written to.
    let copy = World::with(texts.clone(), World::file(&program()));
    copy.load();
    assert!(copy.live().is_empty());
    let mut source = KernelSource::new(&[0x90]);
    w.file
        .ops()
        .write(&w.file, &KernelCaller, &mut source, &mut 0x1000, false)
        .unwrap();
    let changed = World::with(texts, w.file.clone());
    changed.load();
    assert!(changed.live().is_empty());
    changed.check();
}

#[test]
fn what_is_not_plain_text_is_left_alone() {
    let w = World::new();
    w.load();
    // Was writable once.
    w.protect(1, 8, RW).unwrap();
    w.protect(1, 8, RX).unwrap();
    assert!(!w.warm_up());
    w.check();
    // Anonymous memory, and addresses where nothing is.
    let at = w.anonymous(0, 1, MapFlags::empty()).unwrap();
    assert!(w.mm.trapped(at + 2).is_none());
    assert!(w.mm.trapped(1).is_none());
    assert!(w.mm.trapped(BASE - PAGE).is_none());
}

#[test]
fn no_room_no_rewriting() {
    let w = World::new();
    w.load();
    w.anonymous(BASE - GAP, 1, MapFlags::FIXED).unwrap();
    w.warm_up();
    assert!(w.live().is_empty());
    w.check();
}

#[test]
fn writable_text_is_the_original() {
    let w = World::new();
    w.load();
    assert!(w.warm_up());
    w.protect(3, 2, RW | RX).unwrap();
    w.check();
    assert_eq!(w.live(), [(1, 3), (5, PAGES)]);
    assert_eq!(w.byte(behind_call(3) - 7), 0xb8);
    assert_eq!(w.byte(behind_call(5) - 7), 0xe9);
    // The trampolines stay as long as a thread may be in them: while the mapping exists.
    w.protect(1, 8, RW).unwrap();
    w.check();
    assert_eq!(w.mm.state.lock().islands.len(), 1);
    w.unmap(BASE, PAGES);
    w.check();
    assert!(w.mm.state.lock().islands.is_empty());
}

#[test]
fn writable_text_whose_trampolines_are_gone() {
    let w = World::new();
    w.load();
    assert!(w.warm_up());
    // The header is in one mapping with a page of text; nothing of it is rewritten.
    let req = w.request(0, 2, RX, MapFlags::FIXED);
    w.mm.mmap(&w.thread, &req, &MmLimits::NONE).unwrap();
    w.check();
    w.anonymous(BASE - GAP - 2 * PAGE, 3, MapFlags::FIXED)
        .unwrap();
    w.check();
    w.protect(0, 1, RW).unwrap();
    w.check();
    // What the guest writes there is not undone when the text is rewritten anew.
    w.unmap(BASE - GAP - 2 * PAGE, 3);
    assert_eq!(w.space.write(BASE, &[1, 2, 3]), 3);
    w.protect(0, 1, RX).unwrap();
    let req = w.request(1, PAGES - 1, RX, MapFlags::FIXED);
    w.mm.mmap(&w.thread, &req, &MmLimits::NONE).unwrap();
    w.check();
    assert_eq!(w.live(), [(1, PAGES)]);
    w.protect(0, 2, RW | RX).unwrap();
    w.check();
    assert_eq!(w.byte(BASE + 1), 2);
}

#[test]
fn trampolines_that_the_host_did_not_unmap_go_later() {
    let w = World::new();
    w.load();
    assert!(w.warm_up());
    w.space.fail_after.store(2, Ordering::Relaxed);
    w.unmap(BASE, PAGES);
    assert_eq!(w.mm.state.lock().islands.len(), 1);
    w.anonymous(BASE, 1, MapFlags::FIXED).unwrap();
    assert!(w.mm.state.lock().islands.is_empty());
    w.check();
}

#[test]
fn islands_give_way() {
    for how in 0..4 {
        let w = World::new();
        w.load();
        assert!(w.warm_up());
        let island = BASE - GAP;
        match how {
            0 => {
                w.anonymous(island, 1, MapFlags::FIXED).unwrap();
            }
            1 => {
                w.anonymous(
                    island - PAGE,
                    3,
                    MapFlags::FIXED | MapFlags::FIXED_NOREPLACE,
                )
                .unwrap();
            }
            2 => {
                w.anonymous(island - PAGE, 1, MapFlags::FIXED).unwrap();
                w.unmap(island - PAGE, 2);
            }
            _ => {
                let at = w.anonymous(BASE + 32 * PAGE, 1, MapFlags::FIXED).unwrap();
                let req = RemapRequest {
                    addr: at,
                    old_len: PAGE,
                    new_len: PAGE,
                    flags: RemapFlags::MAYMOVE | RemapFlags::FIXED,
                    new_addr: island,
                };
                w.mm.mremap(&w.thread, &req, &MmLimits::NONE).unwrap();
            }
        }
        w.check();
        assert!(w.live().is_empty(), "{how}");
        assert!(w.mm.state.lock().islands.is_empty());
    }
}

#[test]
fn chosen_addresses_leave_the_gap() {
    let w = World::new();
    let mut req = w.request(0, PAGES, Prot::READ, MapFlags::empty());
    req.addr = 0;
    let first = w.mm.mmap(&w.thread, &req, &MmLimits::NONE).unwrap();
    let second = w.mm.mmap(&w.thread, &req, &MmLimits::NONE).unwrap();
    assert!(second + PAGES * PAGE + GAP <= first);
    let anon = w.anonymous(0, 1, MapFlags::empty()).unwrap();
    assert!(anon + PAGE + GAP <= second);
    // What is no program goes where it would go anyway.
    req.what = MapWhat::File(World::file(&[1; 9 * 4096]));
    let data = w.mm.mmap(&w.thread, &req, &MmLimits::NONE).unwrap();
    assert_eq!(data + PAGES * PAGE, anon);
    // A hint into the gap is honoured while there are no trampolines.
    let hint = second - 4 * PAGE;
    assert_eq!(w.anonymous(hint, 1, MapFlags::empty()).unwrap(), hint);
    w.check();
}

#[test]
fn a_host_that_cannot_maps_the_original() {
    let w = World::new();
    w.load();
    assert!(w.warm_up());
    let texts = w.mm.texts.clone().unwrap();
    for fail in 1..3 {
        let other = World::with(texts.clone(), w.file.clone());
        let req = other.request(1, PAGES - 1, RX, MapFlags::FIXED);
        other.space.fail_after.store(fail, Ordering::Relaxed);
        other.mm.mmap(&other.thread, &req, &MmLimits::NONE).unwrap();
        other.check();
        assert!(other.live().is_empty());
    }
}

#[test]
fn moved_text_and_forks() {
    let w = World::new();
    w.load();
    assert!(w.warm_up());
    let (child, _) =
        w.mm.fork(|| w.thread.fork(cofferdam_platform::Token(1)))
            .unwrap();
    assert_eq!(child.state.lock().islands.len(), 1);
    let req = RemapRequest {
        addr: BASE + 2 * PAGE,
        old_len: 3 * PAGE,
        new_len: 3 * PAGE,
        flags: RemapFlags::MAYMOVE | RemapFlags::FIXED,
        new_addr: BASE + 40 * PAGE,
    };
    w.mm.mremap(&w.thread, &req, &MmLimits::NONE).unwrap();
    w.check();
    assert!(w.live().is_empty());
    assert_eq!(w.byte(BASE + 40 * PAGE + 0x802), 0xb8);
}

#[test]
fn addresses_are_shown_as_the_program_knows_them() {
    let w = World::new();
    w.load();
    assert!(w.warm_up());
    let site = behind_call(1) - 7;
    let jump: [u8; 4] = std::array::from_fn(|i| w.byte(site + 1 + i as u64));
    let trampoline = site
        .wrapping_add(5)
        .wrapping_add_signed(i32::from_le_bytes(jump).into());
    assert!((BASE - GAP..BASE).contains(&trampoline));
    assert_eq!(w.mm.shown_address(trampoline), site);
    assert_eq!(w.mm.shown_address(trampoline + 5), site + 5);
    assert_eq!(w.mm.shown_address(trampoline + 12), site + 5);
    assert_eq!(w.mm.shown_address(site), site);
    assert_eq!(w.mm.shown_address(BASE - 1), BASE - 1);
    assert_eq!(w.mm.real_address(site), site);
    assert_eq!(w.mm.real_address(site + 5), site + 5);
    assert_eq!(w.mm.real_address(0), 0);
}

#[derive(Clone, Debug)]
enum Action {
    Load(u64, u64, bool),
    Unmap(u64, u64),
    Protect(u64, u64, u32),
    Remap(u64, u64, u64, u64, u32),
    Anonymous(u64, u64),
    Trap(u64),
    Fail(usize),
}

/// Pages around the island (from 0) and around the program (from 300).
fn place(n: u64) -> u64 {
    match n {
        0..10 => BASE - GAP + n * PAGE - 4 * PAGE,
        _ => BASE + (n - 10) * PAGE,
    }
}

fn actions() -> impl Strategy<Value = Action> {
    let page = || 0..30u64;
    let len = || 1..9u64;
    prop_oneof![
        4 => (0..PAGES, len(), any::<bool>()).prop_map(|(p, n, x)| Action::Load(p, n, x)),
        2 => (page(), len()).prop_map(|(p, n)| Action::Unmap(p, n)),
        3 => (page(), len(), 0..8u32).prop_map(|(p, n, x)| Action::Protect(p, n, x)),
        3 => (page(), 1..6u64, 1..8u64, page(), 0..8u32)
            .prop_map(|(p, o, n, t, f)| Action::Remap(p, o, n, t, f)),
        2 => (page(), len()).prop_map(|(p, n)| Action::Anonymous(p, n)),
        6 => (1..PAGES).prop_map(Action::Trap),
        1 => (1..6usize).prop_map(Action::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 1000 }))]
    #[test]
    fn any_sequence(list in prop::collection::vec(actions(), 1..60)) {
        let w = World::new();
        w.load();
        prop_assert!(w.warm_up());
        for a in list {
            match a {
                Action::Load(page, len, x) => {
                    let prot = if x { RX } else { Prot::READ };
                    let req = w.request(page, len.min(PAGES - page), prot, MapFlags::FIXED);
                    let _ = w.mm.mmap(&w.thread, &req, &MmLimits::NONE);
                }
                Action::Unmap(page, len) => {
                    let _ = w.mm.munmap(&w.thread, place(page), len * PAGE);
                }
                Action::Protect(page, len, prot) => {
                    let prot = Prot::from_bits_truncate(prot);
                    let _ = w.mm.mprotect(&w.thread, place(page), len * PAGE, prot, false, &MmLimits::NONE);
                }
                Action::Remap(page, old, new, to, flags) => {
                    let req = RemapRequest {
                        addr: place(page),
                        old_len: old * PAGE,
                        new_len: new * PAGE,
                        flags: RemapFlags::from_bits_truncate(flags),
                        new_addr: place(to),
                    };
                    let _ = w.mm.mremap(&w.thread, &req, &MmLimits::NONE);
                }
                Action::Anonymous(page, len) => {
                    let _ = w.anonymous(place(page), len, MapFlags::FIXED);
                }
                Action::Trap(page) => {
                    if let Some(t) = w.trapped(page) {
                        w.mm.rewrite_now(&w.thread, &t);
                    }
                }
                Action::Fail(after) => {
                    w.space.fail_after.store(after, Ordering::Relaxed);
                    w.refused.store(true, Ordering::Relaxed);
                    continue;
                }
            }
            w.space.fail_after.store(0, Ordering::Relaxed);
            w.check();
            if w.refused.swap(false, Ordering::Relaxed) {
                w.anonymous(BASE + 50 * PAGE, 1, MapFlags::FIXED).unwrap();
                w.check();
            }
        }
    }
}
