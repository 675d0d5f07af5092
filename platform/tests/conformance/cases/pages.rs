//! What the stub of a backend with a gate answers from a file's pages in a window (`Pages`): pread64, pwrite64, and read by the lent position.
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cofferdam_platform::{
    Descriptor, GUEST_END, Known, MemOp, Pages, Platform, Prot, Registers, Stamps, Token, Trap,
    Valid, WINDOW_LEN, ticks,
};

use super::attacks::region;
use super::descriptors::{FD, OTHER, asking, call};
use super::traps::file_of;
use crate::code;
use crate::guest::*;

const WINDOW: usize = 5;
const PREAD: i64 = libc::SYS_pread64;
const PWRITE: i64 = libc::SYS_pwrite64;

/// A file of `len` bytes, each unlike its neighbours.
fn pattern(len: usize) -> (std::fs::File, Vec<u8>) {
    let file = file_of(len as u64);
    let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    file.write_all_at(&bytes, 0).unwrap();
    (file, bytes)
}

fn show(g: &Guest, file: Option<&std::fs::File>, writable: bool) {
    let window = MemOp::Window {
        index: WINDOW,
        len: WINDOW_LEN,
        file: file.map(AsFd::as_fd),
        writable,
    };
    g.thread.execute(&[window]).unwrap();
}

fn described(read: u32, write: u32) -> Descriptor {
    Descriptor {
        fd: FD,
        known: Known::empty(),
        position: Some(100),
        stat: Some([1; 144]),
        pages: Some(Pages {
            window: WINDOW,
            valid: Valid { read, write },
            read_at: 1,
        }),
        ring: None,
    }
}

/// Each call that can be answered, with what makes it one that cannot.
pub fn pages_are_answered(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let g = asking(&*p);
    let (fd, entry) = (u64::from(FD), Descriptor::entry(FD));
    let ask = |number: i64, args: [u64; 4]| {
        let (trap, at) = g.run(&*p, &call(gate, number, args));
        assert_eq!(trap, Trap::Syscall);
        assert!(!g.thread.is_copying(entry));
        (at.syscall_number() == OTHER).then_some(at.r12.cast_signed())
    };
    let memory = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        assert_eq!(g.space.read(at, &mut bytes), len);
        bytes
    };
    let (file, mut bytes) = pattern(12000);
    show(&g, Some(&file), true);
    assert_eq!(ask(PREAD, [fd, DATA, 10, 0]), None, "not described yet");
    assert!(g.thread.describe(&described(10000, 9000)));

    for (offset, len) in [(0, 10), (4090, 4096), (0, 8192), (9999, 1), (9000, 1000)] {
        g.space.write(DATA, &[0xee; 8192]);
        assert_eq!(ask(PREAD, [fd, DATA, len, offset]), Some(len as i64));
        let (offset, len) = (offset as usize, len as usize);
        assert_eq!(memory(DATA, len), bytes[offset..offset + len]);
        assert!(
            memory(DATA + len as u64, 8192 - len)
                .iter()
                .all(|b| *b == 0xee)
        );
    }
    assert_eq!(g.thread.take_stamps(entry), Stamps::default());
    let beyond = [
        (10000, 1),
        (9999, 2),
        (0, 10001),
        (u64::MAX, 1),
        (u64::MAX, 2),
        (u64::MAX - 9000, 10000),
        (1 << 32, 1),
        (1 << 63, 8),
        (0, 0),
        (0, u64::MAX),
        (1, u64::MAX),
        (0, 1 << 32 | 8),
        (0, 1 << 21),
    ];
    for (offset, len) in beyond {
        assert_eq!(ask(PREAD, [fd, DATA, len, offset]), None, "{offset} {len}");
        assert_eq!(ask(PWRITE, [fd, DATA, len, offset]), None, "{offset} {len}");
    }
    let bad = 0x6000_0000;
    for at in [
        bad,
        0,
        GUEST_END,
        GUEST_END - 1,
        u64::MAX - 3,
        DATA + 2 * PAGE - 4,
    ] {
        assert_eq!(ask(PREAD, [fd, at, 8, 0]), None, "{at:x}");
        assert_eq!(ask(PWRITE, [fd, at, 8, 8800]), None, "{at:x}");
    }
    assert_eq!(g.thread.take_stamps(entry), Stamps::default());
    // A write that met a fault may have written its first bytes.
    file.write_all_at(&bytes, 0).unwrap();
    assert_eq!(ask(libc::SYS_fstat, [fd, DATA, 0, 0]), Some(0));

    let before = ticks();
    g.space.write(DATA, &[0xaa; 300]);
    assert_eq!(ask(PWRITE, [fd, DATA, 300, 8700]), Some(300));
    bytes[8700..9000].fill(0xaa);
    let mut now = vec![0; 12000];
    file.read_exact_at(&mut now, 0).unwrap();
    assert!(now == bytes);
    assert_eq!(
        ask(PWRITE, [fd, DATA, 301, 8700]),
        None,
        "that is not valid"
    );
    assert_eq!(
        ask(libc::SYS_fstat, [fd, DATA, 0, 0]),
        None,
        "its times have changed"
    );
    let stamps = g.thread.take_stamps(entry);
    assert!(before < stamps.written && stamps.written < ticks() && stamps.read == 0);
    assert_eq!(g.thread.take_stamps(entry), Stamps::default());
    // The first read after a write, and no other.
    assert_eq!(ask(PWRITE, [fd, DATA, 1, 0]), Some(1));
    assert_eq!(ask(PREAD, [fd, DATA, 1, 0]), Some(1));
    let between = ticks();
    assert_eq!(ask(PREAD, [fd, DATA, 1, 0]), Some(1));
    let stamps = g.thread.take_stamps(entry);
    assert!(stamps.written < stamps.read && stamps.read < between);
    g.thread.mark_read(entry, 0, 7);
    g.thread.mark_read(entry, 1, 0);
    assert_eq!(ask(PREAD, [fd, DATA, 1, 0]), Some(1));
    assert!(g.thread.take_stamps(entry).read > between);
    g.thread.mark_read(entry, 1, u64::MAX);
    assert_eq!(ask(PWRITE, [fd, DATA, 1, 0]), Some(1));
    assert_eq!(ask(PREAD, [fd, DATA, 1, 0]), Some(1));
    assert_eq!(g.thread.take_stamps(entry).read, 0);
    assert_eq!(ask(PWRITE, [fd, DATA, 1, 0]), Some(1));
    assert_eq!(ask(PREAD, [fd, DATA, 1, 0]), Some(1));
    assert_eq!(g.thread.take_stamps(entry).read, 0, "not at all");

    // By the position.
    let read = libc::SYS_read;
    file.write_all_at(&bytes, 0).unwrap();
    assert_eq!(ask(read, [fd, DATA, 50, 0]), Some(50));
    assert_eq!(memory(DATA, 50), bytes[100..150]);
    assert_eq!(g.thread.position(entry), 150);
    assert_eq!(ask(read, [fd, bad, 50, 0]), None);
    assert_eq!(ask(read, [fd, DATA, 9851, 0]), None);
    assert_eq!(g.thread.take_position(entry), 150);
    assert_eq!(ask(read, [fd, DATA, 50, 0]), None);
    g.thread.give_position(entry, i64::MAX.cast_unsigned());
    assert_eq!(ask(read, [fd, DATA, 50, 0]), None);
    g.thread.give_position(entry, 9990);
    assert_eq!(ask(read, [fd, DATA, 10, 0]), Some(10));
    assert_eq!(ask(libc::SYS_write, [fd, DATA, 10, 0]), None);
    assert_eq!(ask(libc::SYS_lseek, [fd, 0, 1, 0]), Some(10000));

    // Taken back in part, and given again.
    g.thread.set_valid(
        entry,
        Valid {
            read: 9000,
            write: 0,
        },
    );
    assert_eq!(ask(PWRITE, [fd, DATA, 1, 0]), None);
    assert_eq!(
        ask(PREAD, [fd, DATA, 9000, 0]),
        None,
        "the memory is not so long"
    );
    assert_eq!(ask(PREAD, [fd, DATA, 8000, 1000]), Some(8000));
    g.thread.set_valid(entry, Valid { read: 0, write: 5 });
    assert_eq!(ask(PREAD, [fd, DATA, 1, 0]), None);
    assert_eq!(ask(PWRITE, [fd, DATA, 5, 0]), Some(5));

    // A file that became shorter: SIGBUS.
    g.thread.set_valid(
        entry,
        Valid {
            read: 12000,
            write: 12000,
        },
    );
    file.set_len(4096).unwrap();
    for number in [PREAD, PWRITE] {
        assert_eq!(ask(number, [fd, DATA, 8, 4096]), None);
        assert_eq!(ask(number, [fd, DATA, 8, 4092]), None);
        assert_eq!(ask(number, [fd, DATA, 8, 4088]), Some(8));
    }
    // A window that cannot be written, one that is empty, and a process that was not given it.
    show(&g, Some(&file), false);
    assert_eq!(ask(PWRITE, [fd, DATA, 8, 0]), None);
    assert_eq!(ask(PREAD, [fd, DATA, 8, 0]), Some(8));
    let (_space, child) = g.thread.fork(Token(2)).unwrap();
    assert!(child.describe(&described(10000, 0)));
    let at = Registers {
        rip: CODE,
        ..call(gate, PREAD, [fd, DATA, 8, 0])
    };
    let (trap, at) = run(&*p, &*child, Token(2), &at);
    assert_eq!(
        (trap, at.syscall_number()),
        (Trap::Syscall, PREAD.cast_unsigned())
    );
    show(&g, None, false);
    assert_eq!(ask(PREAD, [fd, DATA, 8, 0]), None);
    show(&g, Some(&file), true);
    assert_eq!(ask(PREAD, [fd, DATA, 8, 0]), Some(8));
    g.thread.forget(entry);
    assert_eq!(ask(PREAD, [fd, DATA, 8, 0]), None);
    // Told anew without pages.
    assert!(g.thread.describe(&Descriptor {
        pages: None,
        ..described(0, 0)
    }));
    assert_eq!(ask(PREAD, [fd, DATA, 8, 0]), None);
    assert_eq!(ask(read, [fd, DATA, 8, 0]), None);
}

/// Interrupts, and a sentry that takes the pages back and gives them again, meet calls at every instruction: none is lost or made twice.
pub fn pages_interrupted(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    // For ever: adds one to the file's first word.
    let g = load(
        &*p,
        1,
        code!(
            "mov edi, r13d",
            "mov rsi, r15",
            "mov edx, 200",
            "xor r10d, r10d",
            "mov eax, 17",
            "lea r11, [rip + 5f]",
            "jmp r14",
            "syscall",
            "5:",
            "cmp eax, edx",
            "jne 9f",
            "inc qword ptr [r15]",
            "mov eax, 18",
            "lea r11, [rip + 6f]",
            "jmp r14",
            "syscall",
            "6:",
            "cmp eax, edx",
            "jne 9f",
            "inc rbx",
            "jmp 2b",
            "9:",
            "ud2"
        ),
    );
    let (file, _) = pattern(4096);
    file.write_all_at(&[0; 8], 0).unwrap();
    show(&g, Some(&file), true);
    let entry = Descriptor::entry(FD);
    assert!(g.thread.describe(&described(4096, 4096)));
    let mut regs = Registers {
        r13: FD.into(),
        r14: gate,
        r15: DATA,
        ..start()
    };
    let over = AtomicBool::new(false);
    let (mut interrupted, mut seen) = (0u64, 0u64);
    std::thread::scope(|s| {
        let (thread, over) = (&*g.thread, &over);
        s.spawn(move || {
            let mut round = 0u32;
            while !over.load(SeqCst) {
                round = round.wrapping_add(1);
                thread.interrupt();
                for _ in 0..round % 300 {
                    std::hint::spin_loop();
                }
                if round.is_multiple_of(7) {
                    thread.set_valid(entry, Valid::default());
                    let valid = Valid {
                        read: 4096,
                        write: 4096,
                    };
                    thread.set_valid(entry, valid);
                }
            }
        });
        let start = Instant::now();
        let mut buf = [0; 200];
        while (interrupted < 20_000 || seen < 50) && start.elapsed() < Duration::from_secs(10) {
            let (trap, at) = g.run(&*p, &regs);
            regs = at;
            match (trap, at.syscall_number().cast_signed()) {
                (Trap::Interrupted, _) => {
                    assert!((CODE..CODE + PAGE).contains(&at.rip), "{:#x}", at.rip);
                    interrupted += 1;
                    continue;
                }
                (Trap::Syscall, PREAD) => {
                    file.read_exact_at(&mut buf, 0).unwrap();
                    assert_eq!(g.space.write(DATA, &buf), 200);
                }
                (Trap::Syscall, PWRITE) => {
                    assert_eq!(g.space.read(DATA, &mut buf), 200);
                    file.write_all_at(&buf, 0).unwrap();
                }
                other => panic!("{other:?} {at:x?}"),
            }
            seen += 1;
            assert_eq!(at.syscall_args()[..4], [FD.into(), DATA, 200, 0]);
            assert!(!g.thread.is_copying(entry));
            regs.rax = 200;
        }
        over.store(true, SeqCst);
    });
    let mut count = [0; 8];
    file.read_exact_at(&mut count, 0).unwrap();
    let count = u64::from_le_bytes(count);
    println!("{count} counted, {interrupted} interrupts, {seen} calls seen");
    assert!(count - regs.rbx <= 1, "{count} {}", regs.rbx);
    assert!(interrupted > 0 && count > seen);
}

/// A guest that writes over what is said of pages has them read and write what it could itself.
pub fn pages_scribbled(p: Box<dyn Platform>) {
    let Some(gate) = gate_of(&*p) else { return };
    let Some((text, slots)) = region(&*p) else {
        return;
    };
    let (file, bytes) = pattern(4096);
    for (window, writes) in [
        (0, true),
        (text, true),
        (text - 4096, true),
        (slots, false),
        (slots + 0x6000, true),
        (u64::MAX - 100, true),
        (1 << 63, false),
        (GUEST_END, true),
    ] {
        for number in [PREAD, PWRITE, libc::SYS_read] {
            let g = load(
                &*p,
                2,
                code!(
                    "mov [r15 + 24], rbp",
                    "mov rax, -1",
                    "mov [r15 + 32], rax",
                    "mov [r15 + 40], rax",
                    "mov [r15 + 56], rax",
                    "mov eax, r13d",
                    "lea r11, [rip + 5f]",
                    "jmp r14",
                    "syscall",
                    "5:",
                    "mov eax, 500",
                    "lea r11, [rip + 6f]",
                    "jmp r14",
                    "syscall",
                    "6:",
                    "jmp 2b"
                ),
            );
            if number == PWRITE && !writes {
                continue;
            }
            show(&g, Some(&file), false);
            assert!(g.thread.describe(&described(4096, 0)));
            let entry = Descriptor::entry(FD);
            let at = Registers {
                rbp: window,
                r13: number.cast_unsigned(),
                r15: slots + 0x4000 + entry as u64 * 256,
                ..call(gate, number, [FD.into(), DATA, 8, 0])
            };
            let (trap, at) = g.run(&*p, &at);
            assert!(
                matches!(trap, Trap::Syscall | Trap::Fault { .. } | Trap::Gone),
                "{trap:?} {at:x?}"
            );
            g.thread.take_stamps(entry);
            g.thread.set_valid(entry, Valid::default());
            assert!(g.thread.forget(entry) < 1 << 63);
        }
    }
    let mut now = vec![0; 4096];
    file.read_exact_at(&mut now, 0).unwrap();
    assert!(now == bytes, "a window that is read-only");
    // Somebody else is well.
    let g = load(&*p, 3, code!("mov eax, 500", "syscall"));
    let (trap, at) = run(&*p, &*g.thread, Token(3), &start());
    assert_eq!((trap, at.syscall_number()), (Trap::Syscall, OTHER));
    assert!(
        g.thread
            .execute(&[MemOp::Protect {
                addr: text,
                len: PAGE,
                prot: Prot::READ
            }])
            .is_err()
    );
}
