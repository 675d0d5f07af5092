//! What the stub of a backend with a gate answers by a descriptor (`Thread::describe`), and what it hands over although it knows the descriptor.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use std::time::Duration;

use cofferdam_platform::{
    DESCRIPTORS, Descriptor, GUEST_END, Known, Platform, Registers, Token, Trap,
};

use super::attacks::region;
use crate::code;
use crate::guest::*;

/// A number that no stub answers.
pub(super) const OTHER: u64 = 500;
pub(super) const FD: u32 = 37;

/// One call, whose result is in r12 when the next one, with number [`OTHER`], is seen.
pub(super) fn asking(p: &dyn Platform) -> Guest {
    load(
        p,
        1,
        code!(
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "mov r12, rax",
            "mov rax, 500",
            "jmp 2b"
        ),
    )
}

pub(super) fn call(gate: u64, number: i64, args: [u64; 4]) -> Registers {
    Registers {
        rax: number.cast_unsigned(),
        rdi: args[0],
        rsi: args[1],
        rdx: args[2],
        r10: args[3],
        r14: gate,
        rip: CODE,
        ..start()
    }
}

fn all() -> Descriptor {
    Descriptor {
        fd: FD,
        known: Known::READ_ZEROES | Known::WRITE_ALL,
        position: Some(100),
        stat: Some(std::array::from_fn(|i| i as u8 + 1)),
        pages: None,
        ring: None,
    }
}

/// Each call that can be answered, with what makes it one that cannot; what is answered is not seen.
pub fn descriptors_are_answered(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = asking(&*p);
    let fd = u64::from(FD);
    let ask = |number: i64, args: [u64; 4]| {
        let (trap, at) = g.run(&*p, &call(gate, number, args));
        assert_eq!(trap, Trap::Syscall);
        // Seen, or answered with this.
        (at.syscall_number() == OTHER).then_some(at.r12.cast_signed())
    };
    let (read, write, seek) = (libc::SYS_read, libc::SYS_write, libc::SYS_lseek);
    let (stat, stat_at) = (libc::SYS_fstat, libc::SYS_newfstatat);
    assert_eq!(ask(seek, [fd, 5, 0, 0]), None, "not described yet");
    assert_eq!(
        ask(libc::SYS_sched_yield, [0; 4]),
        None,
        "nothing is answered"
    );
    assert!(g.thread.describe(&all()));

    assert_eq!(ask(seek, [fd, 5, 0, 0]), Some(5));
    assert_eq!(
        ask(seek, [fd | 1 << 32, 7, 1 << 32, 0]),
        Some(7),
        "upper halves do not count"
    );
    assert_eq!(ask(seek, [fd, 10, 1, 0]), Some(17));
    assert_eq!(ask(seek, [fd, (-17i64).cast_unsigned(), 1, 0]), Some(0));
    assert_eq!(g.thread.position(Descriptor::entry(FD)), 0);
    for (offset, whence) in [
        (-1, 1),
        (-1, 0),
        (i64::MIN, 0),
        (0, 2),
        (0, 3),
        (0, 4),
        (0, -1),
    ] {
        let args = [
            fd,
            i64::cast_unsigned(offset),
            i64::cast_unsigned(whence),
            0,
        ];
        assert_eq!(ask(seek, args), None, "{offset} {whence}");
    }
    assert_eq!(
        ask(seek, [fd, i64::MAX.cast_unsigned(), 0, 0]),
        Some(i64::MAX)
    );
    assert_eq!(ask(seek, [fd, 1, 1, 0]), None, "too far");
    assert_eq!(
        g.thread.take_position(Descriptor::entry(FD)),
        i64::MAX.cast_unsigned()
    );
    assert_eq!(ask(seek, [fd, 0, 1, 0]), None, "taken");
    g.thread.give_position(Descriptor::entry(FD), 40);
    assert_eq!(ask(seek, [fd, 2, 1, 0]), Some(42));

    // Other numbers, among them some with the same entry.
    for other in [
        0,
        fd - 1,
        fd + DESCRIPTORS as u64,
        u64::MAX,
        (-100i64).cast_unsigned(),
    ] {
        assert_eq!(ask(seek, [other, 5, 0, 0]), None, "{other}");
    }

    let bad = 0x6000_0000;
    g.space.write(DATA, &[7; 300]);
    assert_eq!(ask(read, [fd, DATA + 1, 40, 0]), Some(40));
    let mut got = [0; 42];
    g.space.read(DATA, &mut got);
    assert!(got[0] == 7 && got[1..41].iter().all(|b| *b == 0) && got[41] == 7);
    assert_eq!(ask(read, [fd, DATA, 0, 0]), Some(0));
    assert_eq!(ask(read, [fd, bad, 1, 0]), None, "a fault is the sentry's");
    assert_eq!(
        ask(read, [fd, DATA + 2 * PAGE - 8, 64, 0]),
        None,
        "as is half of one"
    );
    assert_eq!(ask(write, [fd, bad, 99, 0]), Some(99), "not looked at");
    for number in [read, write] {
        for (at, len) in [
            (GUEST_END, 1),
            (GUEST_END - 1, 1),
            (u64::MAX - 10, 5),
            (u64::MAX, 5),
            (DATA, 1 << 21),
            (DATA, u64::MAX),
        ] {
            assert_eq!(ask(number, [fd, at, len, 0]), None, "{number} {at:x} {len}");
        }
    }

    assert_eq!(ask(stat, [fd, DATA, 0, 0]), Some(0));
    let mut got = [0; 145];
    g.space.read(DATA, &mut got);
    assert!(got[..144].iter().zip(1u8..).all(|(a, b)| *a == b) && got[144] == 7);
    let (empty, path, flag) = (DATA + PAGE, DATA + PAGE + 8, libc::AT_EMPTY_PATH as u64);
    g.space.write(empty, b"\0");
    g.space.write(path, b"x\0");
    g.space.write(DATA, &[0; 144]);
    assert_eq!(ask(stat_at, [fd, empty, DATA, flag]), Some(0));
    g.space.read(DATA, &mut got);
    assert_eq!((got[0], got[143]), (1, 144));
    assert_eq!(ask(stat_at, [fd, path, DATA, flag]), None);
    assert_eq!(ask(stat_at, [fd, bad, DATA, flag]), None);
    assert_eq!(ask(stat_at, [fd, 0, DATA, flag]), None);
    assert_eq!(ask(stat_at, [fd, empty, DATA, 0]), None);
    assert_eq!(ask(stat_at, [fd, empty, DATA, flag | 0x100]), None);
    for to in [bad, 0, GUEST_END, u64::MAX - 7, DATA + 2 * PAGE - 100] {
        assert_eq!(ask(stat, [fd, to, 0, 0]), None, "{to:x}");
        assert_eq!(ask(stat_at, [fd, empty, to, flag]), None, "{to:x}");
    }
    g.thread.forget_stat(Descriptor::entry(FD));
    assert_eq!(ask(stat, [fd, DATA, 0, 0]), None);
    assert_eq!(ask(seek, [fd, 1, 1, 0]), Some(43), "the rest stays");

    assert!(g.thread.describe(&Descriptor {
        fd: 0,
        known: Known::READ_END,
        position: None,
        stat: None,
        pages: None,
        ring: None,
    }));
    assert_eq!(ask(read, [0, DATA, 40, 0]), Some(0));
    for (number, args) in [
        (write, [0, DATA, 1, 0]),
        (seek, [0; 4]),
        (stat, [0, DATA, 0, 0]),
    ] {
        assert_eq!(ask(number, args), None, "{number}");
    }

    assert_eq!(g.thread.forget(Descriptor::entry(FD)), 43);
    assert_eq!(ask(seek, [fd, 1, 1, 0]), None);
    assert!(g.thread.describe(&all()));
    assert_eq!(ask(seek, [fd, 1, 1, 0]), Some(101));
    g.thread.answer(Some(&answers(false)));
    assert_eq!(ask(seek, [fd, 1, 1, 0]), None);
    assert_eq!(ask(libc::SYS_sched_yield, [0; 4]), Some(0));
    assert_eq!(
        g.thread.forget(Descriptor::entry(FD)),
        101,
        "the position outlives that"
    );
}

/// The sentry takes the position, adds to it and gives it back while the guest adds to it: nothing is lost. And attributes that were forgotten do not
/// come again.
pub fn descriptors_change_hands(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    // For ever: a step forward, counted in rbx; what is not answered is seen.
    let g = load(
        &*p,
        1,
        code!(
            "mov eax, 8",
            "mov esi, 1",
            "mov edx, 1",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "inc rbx",
            "jmp 2b"
        ),
    );
    let entry = Descriptor::entry(FD);
    assert!(g.thread.describe(&Descriptor {
        position: Some(0),
        ..all()
    }));
    let mut at = call(gate, 0, [FD.into(), 0, 0, 0]);
    let (added, over, done) = (
        AtomicU64::new(0),
        AtomicBool::new(false),
        AtomicBool::new(false),
    );
    let mut seen = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20_000u64 {
                let old = g.thread.take_position(entry);
                if round % 3 == 0 {
                    std::thread::yield_now();
                }
                g.thread.give_position(entry, old + 1000);
                added.fetch_add(1000, SeqCst);
            }
            over.store(true, SeqCst);
            // One that meets a stopped thread does nothing.
            while !done.load(SeqCst) {
                g.thread.interrupt();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        loop {
            let (trap, regs) = g.run(&*p, &at);
            at = regs;
            if trap == Trap::Syscall {
                // Found it taken: tries again.
                assert_eq!(regs.syscall_number(), libc::SYS_lseek.cast_unsigned());
                seen += 1;
                at = Registers {
                    rax: libc::SYS_lseek.cast_unsigned(),
                    rip: CODE,
                    ..regs
                };
            } else if over.load(SeqCst) {
                done.store(true, SeqCst);
                break;
            }
        }
    });
    let position = g.thread.forget(entry);
    let steps = position - added.load(SeqCst);
    // The last step may have been made and not counted yet.
    assert!(
        steps == at.rbx || steps == at.rbx + 1,
        "{steps} {} {seen}",
        at.rbx
    );
}

/// What the guest writes over what the stub knows confuses nobody but itself.
pub fn descriptors_scribbled(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let Some((_, window)) = region(&*p) else {
        return;
    };
    let entries = window + 0x4000;
    // Words of rbx, rbp, r13 over an entry, again and again, and a call.
    for words in [
        [u64::MAX; 3],
        [(u64::from(FD) + 1) | (0xf << 32), u64::MAX, 1],
        [0, 1 << 63, 0],
    ] {
        let g = load(
            &*p,
            2,
            code!(
                "mov [r15], rbx",
                "mov [r15 + 8], rbp",
                "mov [r15 + 16], r13",
                "lea r11, [rip + 5f]",
                "jmp r14",
                "syscall",
                "5:",
                "mov eax, 500",
                "jmp 2b"
            ),
        );
        assert!(g.thread.describe(&all()));
        let entry = Descriptor::entry(FD);
        let slots = [0u64, 1];
        for slot in slots {
            let at = Registers {
                rbx: words[0],
                rbp: words[1],
                r13: words[2],
                r15: entries + slot * (64 << 10) + entry as u64 * 256,
                ..call(gate, libc::SYS_lseek, [FD.into(), 1, 1, 0])
            };
            let (trap, _) = g.run(&*p, &at);
            assert!(
                matches!(trap, Trap::Syscall | Trap::Fault { .. } | Trap::Gone),
                "{trap:?}"
            );
            assert!(g.thread.position(entry) < 1 << 63);
            assert!(g.thread.take_position(entry) < 1 << 63);
            g.thread.give_position(entry, 5);
            if trap == Trap::Gone {
                break;
            }
        }
        assert!(g.thread.forget(entry) < 1 << 63);
    }
    // Somebody else is well.
    let g = load(&*p, 3, code!("mov eax, 500", "syscall"));
    let (trap, at) = run(&*p, &*g.thread, Token(3), &start());
    assert_eq!((trap, at.syscall_number()), (Trap::Syscall, OTHER));
}
