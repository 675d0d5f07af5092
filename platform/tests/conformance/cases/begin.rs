//! What a thread that has not run carries out on its way to its first instruction ([`Thread::execute_later`](cofferdam_platform::Thread::execute_later)).
use std::os::fd::AsFd;

use cofferdam_platform::{GUEST_END, MemOp, Platform, Prot, Registers, Token, Trap};

use crate::code;
use crate::guest::*;

const NEW: u64 = 0x30_0000;
const TEXT: u64 = 0x40_0000;
/// More does not fit in two pieces of whole words each.
const MOST: usize = 8184;

fn pages(addr: u64) -> MemOp<'static> {
    MemOp::MapAnon {
        addr,
        len: 4 * PAGE,
        prot: RW,
    }
}

/// Whether the backend puts anything off; the others say no.
fn puts_off(p: &dyn Platform) -> bool {
    if p.name() == "ptrace" {
        let g = load(p, 1, code!("syscall"));
        assert!(!g.thread.execute_later(&[pages(NEW)]));
        println!("skipped: ptrace puts nothing off");
    }
    p.name() != "ptrace"
}

/// Memory appears, and bytes in it, when the thread first runs or somebody is to see them before.
pub fn writes_before_the_first_instruction(p: Box<dyn Platform>) {
    if !puts_off(&*p) {
        return;
    }
    let program = code!("mov rbx, [r15]", "syscall");
    let bytes: Vec<u8> = (0..MOST).map(|i| (i % 251) as u8 + 1).collect();
    let write = |addr, bytes| MemOp::Write {
        addr,
        bytes,
        vital: true,
    };
    let at = NEW + 100;
    let mut expected = bytes.clone();
    expected[5000..9000.min(MOST)].fill(0);
    let zeroes = [0; 4000];
    for round in 0..12 {
        let g = load(&*p, 10 + round, program);
        let (a, b) = bytes.split_at(3001);
        assert!(g.thread.execute_later(&[pages(NEW), write(at, a)]));
        assert!(g.thread.execute_later(&[write(at + 3001, b)]));
        let cleared = &zeroes[..expected.len() - 5000];
        assert!(g.thread.execute_later(&[write(at + 5000, cleared)]));
        // There is no room for more, and nothing is there yet.
        assert!(!g.thread.execute_later(&[write(at, &[1])]));
        assert_eq!(g.space.read(NEW, &mut [0; 8]), 0);
        match round % 4 {
            0 => g.thread.settle().unwrap(),
            1 => g.thread.execute(&[]).unwrap(),
            2 => {
                let (space, _child) = g.thread.fork(Token(99)).unwrap();
                assert_eq!(word(&*space, at), g.word(at));
            }
            _ => {
                let regs = Registers {
                    r15: at + 3001,
                    ..start()
                };
                let (trap, regs) = g.run(&*p, &regs);
                let first = u64::from_le_bytes(b[..8].try_into().unwrap());
                assert_eq!((trap, regs.rbx), (Trap::Syscall, first));
                assert!(!g.thread.execute_later(&[write(at, &[1])]), "it has run");
            }
        }
        let mut found = vec![0; MOST];
        assert_eq!(g.space.read(at, &mut found), MOST);
        assert!(found == expected, "round {round}");
    }
    // Who looks while the thread is on its way finds everything.
    for round in 0..100 {
        let g = load(&*p, 200 + round, program);
        assert!(g.thread.execute_later(&[pages(NEW), write(at, &bytes)]));
        g.thread.resume(&Registers { r15: at, ..start() }).unwrap();
        let mut found = vec![0; MOST];
        assert_eq!(g.space.read(at, &mut found), MOST, "round {round}");
        assert!(found == bytes, "round {round}");
        assert_eq!(next(&*p, g.token), Trap::Syscall);
    }
    let g = load(&*p, 50, program);
    assert!(!g.thread.execute_later(&[write(GUEST_END - 4, &[1; 8])]));
    assert!(!g.thread.execute_later(&[write(u64::MAX - 4, &[1; 8])]));
    // A child that has not run either.
    let (trap, regs) = g.run(
        &*p,
        &Registers {
            r15: DATA,
            ..start()
        },
    );
    assert_eq!(trap, Trap::Syscall);
    let (space, child) = g.thread.fork(Token(51)).unwrap();
    let seven = 7u32.to_ne_bytes();
    assert!(child.execute_later(&[write(DATA, &seven)]));
    let again = Registers { rip: CODE, ..regs };
    let (trap, regs) = run(&*p, &*child, Token(51), &again);
    assert_eq!((trap, regs.rbx), (Trap::Syscall, 7));
    assert_eq!((word(&*space, DATA), g.word(DATA)), (7, 0));
    // What faults and is not vital is left out, what comes behind is done.
    let (space, child) = g.thread.fork(Token(52)).unwrap();
    let nowhere = MemOp::Write {
        addr: NEW,
        bytes: &seven,
        vital: false,
    };
    assert!(child.execute_later(&[nowhere, write(DATA, &seven)]));
    let (trap, regs) = run(&*p, &*child, Token(52), &again);
    assert_eq!((trap, regs.rbx, word(&*space, DATA)), (Trap::Syscall, 7, 7));
    // In a child there may be much to take away.
    let (_space, child) = g.thread.fork(Token(53)).unwrap();
    let much = MemOp::Unmap {
        addr: 0x1000_0000,
        len: 1 << 30,
    };
    assert!(!child.execute_later(&[much]));
    // What is vital and cannot be written costs the process its life, and no other one.
    let lost = load(&*p, 60, program);
    assert!(lost.thread.execute_later(&[write(NEW, &[1])]));
    let (trap, _) = lost.run(&*p, &start());
    assert_eq!(trap, Trap::Gone);
    assert_eq!(g.space.read(DATA, &mut [0; 8]), 8);
}

/// A file is mapped to be executed on the way to the first instruction once that is known to work, and not before.
pub fn texts_before_the_first_instruction(p: Box<dyn Platform>) {
    if !puts_off(&*p) {
        return;
    }
    let file_of = |bytes: &[u8]| {
        let path = std::env::temp_dir().join(format!("begin-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file
    };
    let mut page = vec![0xcc; PAGE as usize];
    let program = code!("mov ebx, 77", "syscall");
    page[..program.len()].copy_from_slice(program);
    let files = [file_of(&page), file_of(&page)];
    let map = |file: usize, prot| MemOp::MapFile {
        addr: TEXT,
        len: PAGE,
        prot,
        fd: files[file].as_fd(),
        offset: 0,
        shared: false,
        common: true,
    };
    let text = Prot::READ | Prot::EXEC;
    let mut later = 0;
    for round in 0..12 {
        let token = Token(10 + round);
        let (_space, thread) = p.new_process(token).unwrap();
        // The second one is only ever read.
        thread.execute(&[map(1, Prot::READ)]).unwrap();
        assert!(!thread.execute_later(&[map(1, text)]));
        if thread.execute_later(&[map(0, text)]) {
            later += 1;
        } else {
            assert_eq!(later, 0, "round {round}: it was known");
            thread.execute(&[map(0, text)]).unwrap();
        }
        let regs = Registers {
            rip: TEXT,
            ..Registers::default()
        };
        let (trap, regs) = run(&*p, &*thread, token, &regs);
        assert_eq!((trap, regs.rbx), (Trap::Syscall, 77), "round {round}");
    }
    assert!(later >= 4, "{later} of 12");
}
