//! What the stub of a backend with a gate answers of paths (`Thread::tell`), what it hands over although it was told, and when an answer counts no more.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cofferdam_platform::{
    EPOCHS, GUEST_END, PATH_LONGEST, PathAnswer, PathCall, Platform, Registers, Token, Trap,
    end_epoch, epoch, path_hash,
};

use super::attacks::region;
use super::descriptors::{OTHER, asking};
use crate::code;
use crate::guest::*;

const COUNTER: usize = 77;
const TEXT: u64 = DATA + PAGE;

fn call(gate: u64, number: i64, args: [u64; 4]) -> Registers {
    Registers {
        rax: number.cast_unsigned(),
        rdi: args[0],
        rsi: args[1],
        rdx: args[2],
        r10: args[3],
        r8: 0x8888,
        r9: 0x9999,
        rbx: 0xbbbb,
        r14: gate,
        rip: CODE,
        ..start()
    }
}

/// What the guest is told with one call: `None` if the call is seen.
fn ask(p: &dyn Platform, g: &Guest, gate: u64, number: i64, args: [u64; 4]) -> Option<i64> {
    let before = call(gate, number, args);
    let (trap, at) = g.run(p, &before);
    assert_eq!(trap, Trap::Syscall);
    assert_eq!(
        (at.rdi, at.rsi, at.rdx, at.r10, at.r8, at.r9, at.rbx),
        (
            args[0], args[1], args[2], args[3], before.r8, before.r9, before.rbx
        )
    );
    (at.syscall_number() == OTHER).then_some(at.r12.cast_signed())
}

fn tell(g: &Guest, call: PathCall, path: &[u8], result: Result<&[u8; 144], i32>) -> Option<u32> {
    g.thread.tell(&PathAnswer {
        call,
        path,
        counter: COUNTER,
        epoch: epoch(COUNTER).unwrap(),
        result,
    })
}

fn stat(first: u8) -> [u8; 144] {
    std::array::from_fn(|i| first.wrapping_add(i as u8))
}

fn put(g: &Guest, at: u64, path: &[u8]) {
    let text = [path, b"\0"].concat();
    assert_eq!(g.space.write(at, &text), text.len());
}

/// What was written of attributes, and that nothing behind them was.
fn got(g: &Guest) -> u8 {
    let mut all = [0; 145];
    g.space.read(DATA, &mut all);
    let first = all[0];
    assert!(all[..144] == stat(first) && all[144] == 0, "{all:?}");
    g.space.write(DATA, &[0; 144]);
    first
}

const ACCESS: PathCall = PathCall::Access {
    mode: 4,
    effective: false,
};

/// Each call that can be answered, with what makes it one that cannot; what is answered is not seen.
pub fn paths_are_answered(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else {
        let g = asking(&*p);
        assert!(tell(&g, PathCall::Stat, b"/a", Err(2)).is_none());
        return;
    };
    let g = asking(&*p);
    let ask = |number: i64, args: [u64; 4]| ask(&*p, &g, gate, number, args);
    let (by_stat, by_lstat, by_access) = (libc::SYS_stat, libc::SYS_lstat, libc::SYS_access);
    let (by_at, by_access_at, by_access2) = (
        libc::SYS_newfstatat,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
    );
    let cwd = i64::from(libc::AT_FDCWD).cast_unsigned();
    put(&g, TEXT, b"/a");
    assert_eq!(ask(by_stat, [TEXT, DATA, 0, 0]), None, "not told yet");
    assert_eq!(tell(&g, PathCall::Stat, b"/a", Ok(&stat(3))), Some(0));
    for _ in 0..3 {
        assert_eq!(ask(by_stat, [TEXT, DATA, 7, 7]), Some(0));
        assert_eq!(got(&g), 3);
    }
    // What libraries make of it; a directory does not count.
    for (dir, flags) in [(cwd, 0), (5, 0), (cwd, 0x800), (cwd, 1 << 32)] {
        assert_eq!(ask(by_at, [dir, TEXT, DATA, flags]), Some(0));
        assert_eq!(got(&g), 3);
    }
    for flags in [0x100, 0x1000, 0x900, 0x200, 0x2000] {
        assert_eq!(ask(by_at, [cwd, TEXT, DATA, flags]), None, "{flags:x}");
    }
    assert_eq!(ask(by_lstat, [TEXT, DATA, 0, 0]), None, "another call");
    assert_eq!(ask(by_access, [TEXT, 0, 0, 0]), None, "another call");
    assert_eq!(ask(libc::SYS_open, [TEXT, DATA, 0, 0]), None);
    assert_eq!(tell(&g, PathCall::Lstat, b"/a", Err(20)), Some(0));
    assert_eq!(ask(by_lstat, [TEXT, 0, 0, 0]), Some(-20), "not looked at");
    assert_eq!(ask(by_at, [cwd, TEXT, 0, 0x100]), Some(-20));
    assert_eq!(ask(by_at, [cwd, TEXT, 0, 0x900]), Some(-20));
    assert_eq!(
        tell(&g, PathCall::Stat, b"/a", Ok(&stat(9))),
        Some(7),
        "so often it was used"
    );
    assert_eq!(ask(by_stat, [TEXT, DATA, 0, 0]), Some(0));
    assert_eq!(got(&g), 9);

    // access: by mode and whose rights.
    assert_eq!(tell(&g, ACCESS, b"/a", Ok(&stat(0))), Some(0));
    assert_eq!(ask(by_access, [TEXT, 4, 9, 9]), Some(0));
    assert_eq!(ask(by_access, [TEXT, 4 | 1 << 32, 9, 9]), Some(0));
    assert_eq!(ask(by_access_at, [cwd, TEXT, 4, 99]), Some(0));
    assert_eq!(ask(by_access2, [cwd, TEXT, 4, 0]), Some(0));
    for mode in [0, 1, 2, 3, 5, 6, 7, 8, 12, 20, 0xffff_ffff] {
        assert_eq!(ask(by_access, [TEXT, mode, 0, 0]), None, "{mode}");
        assert_eq!(ask(by_access_at, [cwd, TEXT, mode, 0]), None, "{mode}");
    }
    for flags in [0x100, 0x200, 0x1000, 0x300] {
        assert_eq!(ask(by_access2, [cwd, TEXT, 4, flags]), None, "{flags:x}");
    }
    let effective = PathCall::Access {
        mode: 2,
        effective: true,
    };
    assert_eq!(tell(&g, effective, b"/a", Err(13)), Some(0));
    assert_eq!(ask(by_access2, [cwd, TEXT, 2, 0x200]), Some(-13));
    assert_eq!(ask(by_access2, [cwd, TEXT, 2, 0]), None);
    assert_eq!(ask(by_access, [TEXT, 2, 0, 0]), None);

    // Other texts: what begins alike, is empty, or has the same entry.
    for other in [
        &b""[..],
        b"/",
        b"a",
        b"/b",
        b"/aa",
        b"/a/",
        b"//a",
        b"/a\x01",
    ] {
        put(&g, TEXT, other);
        assert_eq!(ask(by_stat, [TEXT, DATA, 0, 0]), None, "{other:?}");
    }
    let place = |path: &[u8]| path_hash(PathCall::Stat, path) >> 60;
    let rival = (0..)
        .map(|i| format!("/rival{i}").into_bytes())
        .find(|r| place(r) == place(b"/a"))
        .unwrap();
    put(&g, TEXT, &rival);
    assert_eq!(ask(by_stat, [TEXT, DATA, 0, 0]), None);
    assert_eq!(tell(&g, PathCall::Stat, &rival, Err(2)), Some(0));
    assert_eq!(ask(by_stat, [TEXT, DATA, 0, 0]), Some(-2));
    put(&g, TEXT, b"/a");
    assert_eq!(ask(by_stat, [TEXT, DATA, 0, 0]), None, "its place is taken");

    faults(&*p, &g, gate);
    lengths(&*p, &g, gate);
    ends(&*p, &g, gate);
}

/// What cannot be read or written is the sentry's.
fn faults(p: &dyn Platform, g: &Guest, gate: u64) {
    let bad = 0x6000_0000;
    put(g, TEXT, b"/fault");
    assert!(tell(g, PathCall::Stat, b"/fault", Ok(&stat(1))).is_some());
    let by_stat = |path, to| ask(p, g, gate, libc::SYS_stat, [path, to, 0, 0]);
    assert_eq!(by_stat(TEXT, DATA), Some(0));
    assert_eq!(got(g), 1);
    for path in [0, 1, bad, GUEST_END, u64::MAX, 1 << 63] {
        assert_eq!(by_stat(path, DATA), None, "{path:x}");
    }
    for to in [
        0,
        bad,
        GUEST_END,
        u64::MAX - 7,
        DATA + 2 * PAGE - 100,
        1 << 63,
    ] {
        assert_eq!(by_stat(TEXT, to), None, "{to:x}");
    }
    // Up to the last byte of memory, and across the pages' border.
    assert_eq!(by_stat(TEXT, TEXT - 100), Some(0));
    put(g, TEXT, b"/fault");
    g.space.write(DATA, &[0; 144]);
    let last = DATA + 2 * PAGE - 7;
    put(g, last, b"/fault");
    assert_eq!(by_stat(last, DATA), None, "more is looked at than is there");
    put(g, last - 1, b"/fault");
    assert_eq!(by_stat(last - 1, DATA), Some(0));
    got(g);
    put(g, TEXT - 3, b"/fault");
    assert_eq!(by_stat(TEXT - 3, DATA), Some(0));
    got(g);
    // No end in sight.
    g.space.write(TEXT, &[b'/'; PAGE as usize]);
    assert_eq!(by_stat(TEXT, DATA), None);
    assert_eq!(by_stat(TEXT + PAGE - 16, DATA), None);
}

/// Paths of all lengths, wherever they lie.
fn lengths(p: &dyn Platform, g: &Guest, gate: u64) {
    for len in 1..=PATH_LONGEST {
        let path: Vec<u8> = (0..len)
            .map(|i| {
                if i == 0 {
                    b'/'
                } else {
                    b'a' + ((i * 7 + len) % 26) as u8
                }
            })
            .collect();
        let first = len as u8;
        assert!(tell(g, PathCall::Lstat, &path, Ok(&stat(first))).is_some());
        for at in [TEXT, TEXT + 1, TEXT + 7] {
            put(g, at, &path);
            let number = libc::SYS_lstat;
            assert_eq!(ask(p, g, gate, number, [at, DATA, 0, 0]), Some(0), "{len}");
            assert_eq!(got(g), first);
            // One byte more or less, or another one.
            put(g, at, &[&path[..], b"x"].concat());
            assert_eq!(ask(p, g, gate, number, [at, DATA, 0, 0]), None);
            if len != 2 {
                put(g, at, &path[..len - 1]);
                assert_eq!(ask(p, g, gate, number, [at, DATA, 0, 0]), None);
            }
            let mut other = path.clone();
            other[len * 5 / 7] ^= 0x80;
            put(g, at, &other);
            assert_eq!(ask(p, g, gate, number, [at, DATA, 0, 0]), None);
        }
    }
    let long = vec![b'/'; PATH_LONGEST + 1];
    assert!(tell(g, PathCall::Stat, &long, Err(2)).is_none());
    put(g, TEXT, &long);
    assert_eq!(
        ask(p, g, gate, libc::SYS_stat, [TEXT, DATA, 0, 0]),
        None,
        "too long"
    );
    assert!(tell(g, PathCall::Stat, b"/a\0b", Err(2)).is_none());
}

/// What ends answers.
fn ends(p: &dyn Platform, g: &Guest, gate: u64) {
    put(g, TEXT, b"/ends");
    let is_told = || ask(p, g, gate, libc::SYS_stat, [TEXT, DATA, 0, 0]) == Some(-2);
    let tell_it = || assert!(tell(g, PathCall::Stat, b"/ends", Err(2)).is_some());
    tell_it();
    assert!(is_told());
    end_epoch(COUNTER + 1);
    end_epoch(EPOCHS);
    assert!(is_told(), "another's counter");
    end_epoch(COUNTER);
    assert!(!is_told());
    tell_it();
    assert!(is_told());
    end_epoch(0);
    assert!(!is_told());
    // Told of what is over already.
    let before = epoch(COUNTER).unwrap();
    end_epoch(COUNTER);
    let old = PathAnswer {
        call: PathCall::Stat,
        path: b"/ends",
        counter: COUNTER,
        epoch: before,
        result: Err(2),
    };
    assert!(g.thread.tell(&old).is_some());
    assert!(!is_told());
    for answers in [Some(&answers(false)), None] {
        tell_it();
        assert!(is_told());
        g.thread.answer(answers);
        assert!(!is_told());
        // Another one makes nothing of the old ones count.
        assert!(tell(g, PathCall::Stat, b"/other", Err(2)).is_some());
        assert!(!is_told());
    }
}

/// While the sentry changes what the guest asks, says so, and interrupts it everywhere, the guest never sees less than what it knows to be there.
pub fn paths_are_never_old(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    // r13 is what there is at least, rbx counts; what is seen is r12.
    let g = load(
        &*p,
        1,
        code!(
            "mov r13, [r15]",
            "mov eax, 4",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "mov r12, [rsi]",
            "inc rbx",
            "cmp r12, r13",
            "jae 2b",
            "mov eax, 500",
            "syscall"
        ),
    );
    put(&g, TEXT, b"/some/path/or/other");
    let version = AtomicU64::new(1);
    let over = AtomicBool::new(false);
    let attributes = |version: u64| {
        let mut stat = stat(0);
        stat[..8].copy_from_slice(&version.to_le_bytes());
        stat
    };
    let (mut seen, mut interrupted) = (0u64, 0u64);
    let mut regs = Registers {
        r15: DATA + 512,
        ..call(gate, libc::SYS_stat, [TEXT, DATA, 0, 0])
    };
    regs.rbx = 0;
    std::thread::scope(|s| {
        let (space, thread, version, over) = (&*g.space, &*g.thread, &version, &over);
        s.spawn(move || {
            while !over.load(SeqCst) {
                end_epoch(COUNTER);
                let new = version.fetch_add(1, SeqCst) + 1;
                end_epoch(COUNTER);
                space.write(DATA + 512, &new.to_le_bytes());
                std::thread::sleep(Duration::from_micros(new % 50));
            }
        });
        s.spawn(move || {
            while !over.load(SeqCst) {
                thread.interrupt();
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            let (trap, at) = g.run(&*p, &regs);
            regs = at;
            if trap == Trap::Interrupted {
                interrupted += 1;
                continue;
            }
            assert_eq!(
                (trap, at.syscall_number()),
                (Trap::Syscall, libc::SYS_stat.cast_unsigned()),
                "{} but {}",
                at.r12,
                at.r13
            );
            seen += 1;
            let epoch = epoch(COUNTER).unwrap();
            let now = attributes(version.load(SeqCst));
            assert!(
                thread
                    .tell(&PathAnswer {
                        call: PathCall::Stat,
                        path: b"/some/path/or/other",
                        counter: COUNTER,
                        epoch,
                        result: Ok(&now),
                    })
                    .is_some()
            );
            space.write(DATA, &now);
            regs.rax = 0;
        }
        over.store(true, SeqCst);
    });
    println!("{} calls, {seen} seen, {interrupted} interrupts", regs.rbx);
    assert!(seen > 20 && interrupted > 20 && regs.rbx > 2 * seen);
}

/// What the guest writes over what the stub knows confuses nobody but itself; and the counters it cannot write.
pub fn paths_scribbled(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let Some((base, window)) = region(&*p) else {
        return;
    };
    let path = b"/scribbled";
    let place = path_hash(PathCall::Stat, path) >> 60;
    let entry = window + 0x5000 + place * 512;
    for (offset, value) in [
        (0, u64::MAX),
        (8, u64::MAX),
        (16, u64::MAX),
        (16, 0x1_0000),
        (24, u64::MAX),
        (32, 1 << 63),
        (208, u64::MAX),
    ] {
        let g = load(
            &*p,
            2,
            code!(
                "mov [r15], rbx",
                "lea r11, [rip + 5f]",
                "jmp r14",
                "syscall",
                "5:",
                "mov eax, 500",
                "jmp 2b"
            ),
        );
        put(&g, TEXT, path);
        assert!(tell(&g, PathCall::Stat, path, Ok(&stat(1))).is_some());
        for slot in 0..2u64 {
            let at = Registers {
                rbx: value,
                r15: entry + slot * (64 << 10) + offset,
                ..call(gate, libc::SYS_stat, [TEXT, DATA, 0, 0])
            };
            let (trap, _) = g.run(&*p, &at);
            assert!(
                matches!(trap, Trap::Syscall | Trap::Fault { .. } | Trap::Gone),
                "{trap:?}"
            );
            if trap == Trap::Gone {
                break;
            }
            assert!(tell(&g, PathCall::Stat, path, Ok(&stat(1))).is_some());
        }
    }
    // The counters: a store faults, and mprotect by the stub's own instruction changes nothing.
    let counters = base + (64 << 10);
    let g = load(&*p, 3, code!("mov [rdi], rdi", "ud2"));
    let at = Registers {
        rdi: counters + 8 * COUNTER as u64,
        ..start()
    };
    let before = epoch(COUNTER);
    let (trap, _) = g.run(&*p, &at);
    assert!(
        matches!(
            trap,
            Trap::Fault {
                signo: libc::SIGSEGV,
                ..
            }
        ),
        "{trap:?}"
    );
    assert_eq!(epoch(COUNTER), before);
    let op = cofferdam_platform::MemOp::Protect {
        addr: counters,
        len: PAGE,
        prot: RW,
    };
    assert!(g.thread.execute(&[op]).is_err());
    // Somebody else is well.
    let g = load(&*p, 4, code!("mov eax, 500", "syscall"));
    let (trap, at) = run(&*p, &*g.thread, Token(4), &start());
    assert_eq!((trap, at.syscall_number()), (Trap::Syscall, OTHER));
}
