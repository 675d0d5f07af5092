//! Guests that take the birth of a process into their own hands: they ring and clone by the stub's instructions, from where they come back with what the
//! sentry answered, and so hold the nonce of the child and the descriptor of its mailboxes.
use std::time::{Duration, Instant};

use cofferdam_platform::{Platform, Registers, Token, Trap};

use super::attacks::{region, stub_text};
use super::host::{dead, living};
use super::tasks::eventually;
use crate::code;
use crate::guest::*;

/// Where the children map their mailboxes a second time, each generation 64 KiB further on.
const KEPT: u64 = 0x5000_0000;
/// The registers in a slot.
const REGS: u64 = 0xc00;
/// One of them, rbx.
const RBX: u64 = REGS + 40;
/// Words of [`midwife`], behind the slot that it pretends to have.
const KIND: u64 = DATA + 0x100;
/// What a child does instead of being born: the first instruction is at this offset.
const STRAY: u64 = KIND + 8;

/// Calls, in rbx, the `syscall` of the stub's futex calls, behind which the registers come from the slot at r15, here in the guest's own memory. Traps;
/// carries out an order to clone by itself; rings whatever else it is asked. The child, with the nonce in [`KIND`] + 16 and the
/// generation in + 24, is lost at once if [`STRAY`] says so (1: it computes, 2: it sleeps). Otherwise it asks for its mailboxes, maps them where they belong and at
/// [`KEPT`], keeps the descriptor, and is ready. The parent tells its id, or what is in [`KIND`] + 56 instead.
fn midwife() -> &'static [u8] {
    code!(
        // Traps as if by a call.
        "20: mov eax, 0x3fd0",
        "mov edi, 1",
        "mov esi, 31",
        "mov edx, 1",
        "xor r10d, r10d",
        "mov r8, 0xc000003e00000000",
        "21: lea rcx, [rip + 22f]",
        "mov [r15 + 0xc80], rcx",
        "mov [r15 + 0xc98], rsp",
        "xor r14d, r14d",
        "jmp rbx",
        // What is ordered?
        "22: cmp al, 4",
        "jne 20b",
        "shr rax, 24",
        "mov [r15 + 0x110], rax",
        "mov eax, 56",
        "mov edi, 0x8011",
        "xor esi, esi",
        "xor edx, edx",
        "xor r10d, r10d",
        "xor r8d, r8d",
        "lea rcx, [rip + 23f]",
        "mov [r15 + 0xc80], rcx",
        "xor r14d, r14d",
        "jmp rbx",
        "23: test rax, rax",
        "jz 24f",
        // The parent: done.
        "mov rdx, rax",
        "mov rcx, [r15 + 0x138]",
        "test rcx, rcx",
        "cmovnz rdx, rcx",
        "mov eax, 0x3fd0",
        "mov edi, 2",
        "mov esi, 1",
        "jmp 21b",
        "24: cmp qword ptr [r15 + 0x108], 1",
        "jb 27f",
        "je 25f",
        // Sleeps while a word is 0.
        "26: mov eax, 202",
        "lea rdi, [r15 + 0x120]",
        "mov esi, 128",
        "xor edx, edx",
        "xor r10d, r10d",
        "lea rcx, [rip + 26b]",
        "mov [r15 + 0xc80], rcx",
        "xor r14d, r14d",
        "jmp rbx",
        "25: jmp 25b",
        // Asks for its mailboxes.
        "27: mov eax, 0x3fd0",
        "mov edi, 4",
        "mov rsi, [r15 + 0x110]",
        "lea rcx, [rip + 28f]",
        "mov [r15 + 0xc80], rcx",
        "xor r14d, r14d",
        "jmp rbx",
        "28: mov [r15 + 0x128], rax",
        "mov rdi, [r15 + 0x130]",
        "mov esi, 0x8000000",
        "mov edx, 3",
        "mov r10d, 0x11",
        "mov r8, rax",
        "xor r9d, r9d",
        "mov eax, 9",
        "lea rcx, [rip + 29f]",
        "mov [r15 + 0xc80], rcx",
        "xor r14d, r14d",
        "jmp rbx",
        "29: mov rdi, [r15 + 0x118]",
        "add qword ptr [r15 + 0x118], 0x10000",
        "mov esi, 0x10000",
        "mov edx, 3",
        "mov r10d, 0x11",
        "mov r8, [r15 + 0x128]",
        "xor r9d, r9d",
        "mov eax, 9",
        "lea rcx, [rip + 30f]",
        "mov [r15 + 0xc80], rcx",
        "xor r14d, r14d",
        "jmp rbx",
        "30: mov eax, 0x3fd0",
        "mov edi, 5",
        "mov rsi, [r15 + 0x110]",
        "jmp 21b"
    )
}

/// One of them that has trapped; `None` where the stub does not ring, or cannot be found.
fn hostile(p: &dyn Platform, token: u64, stray: u64) -> Option<Guest> {
    let (base, window) = region(p)?;
    if p.name() == "ptrace" {
        println!("skipped: a traced stub does not ring");
        return None;
    }
    // syscall; mov dword ptr [r15 + …], 0
    let text = stub_text(p, base);
    let site = text
        .windows(5)
        .position(|w| w == [0x0f, 0x05, 0x41, 0xc7, 0x87])
        .unwrap();
    let site = base + site as u64;
    let g = load(p, token, midwife());
    let words = [
        (DATA + REGS, DATA),                // r15
        (DATA + RBX, site),                 // rbx
        (DATA + REGS + 144, 0x202),         // flags
        (DATA + REGS + 152, DATA + 0x2000), // rsp
        (STRAY, stray),
        (KIND + 24, KEPT),
        (KIND + 0x30, window),
    ];
    for (at, word) in words {
        assert_eq!(g.space.write(at, &word.to_le_bytes()), 8);
    }
    let (trap, _) = g.run(
        p,
        &Registers {
            rbx: site,
            r15: DATA,
            ..start()
        },
    );
    assert_eq!(trap, Trap::Syscall);
    Some(g)
}

/// A child that never says hello, and computes or sleeps instead: its process dies, nobody waits for it for long, and it does not live on
/// beside what the sentry knows.
pub fn lost_children(p: Box<dyn Platform>) {
    for stray in [1, 2] {
        if stray == 2 && p.gate().is_none() {
            continue;
        }
        let before = living();
        let Some(g) = hostile(&*p, 1, stray) else {
            return;
        };
        let begin = Instant::now();
        assert!(g.thread.fork(Token(2)).is_err());
        let waited = begin.elapsed();
        println!("{stray}: given up after {waited:?}");
        assert!(waited < Duration::from_secs(3), "{waited:?}");
        drop(g);
        eventually(&*p, || living() <= before + 4);
    }
    let fresh = load(&*p, 3, code!("syscall"));
    assert_eq!(fresh.run(&*p, &start()).0, Trap::Syscall);
}

/// The descriptor of a dead process's mailboxes, which its child has inherited, shows nothing of whoever comes later.
pub fn kept_mailboxes(p: Box<dyn Platform>) {
    const MARK: u64 = 0x5eed_1234_5678_9abc;
    let Some(g) = hostile(&*p, 1, 0) else {
        return;
    };
    let before = living();
    let (_, child) = g.thread.fork(Token(2)).unwrap();
    let (space, heir) = child.fork(Token(3)).unwrap();
    // What the heir sees of the child's slot is what the child was told.
    assert_eq!(word(&*space, KEPT + 0xd08) & 0xffff, 0x8000);
    drop(child);
    eventually(&*p, || living() <= before + 4);
    let mut others = Vec::new();
    for i in 0..12 {
        let other = load(&*p, 10 + i, code!("syscall"));
        let (trap, _) = other.run(
            &*p,
            &Registers {
                rbx: MARK,
                ..start()
            },
        );
        assert_eq!(trap, Trap::Syscall);
        assert_ne!(word(&*space, KEPT + RBX), MARK, "process {i} is laid open");
        others.push(other);
    }
    drop(heir);
}

/// A parent that lies about the ids of its children does not keep them from being reaped.
pub fn lies_about_children(p: Box<dyn Platform>) {
    const LIE: u64 = 7;
    let Some(g) = hostile(&*p, 1, 0) else {
        return;
    };
    assert_eq!(g.space.write(DATA + 0x138, &LIE.to_le_bytes()), 8);
    for i in 0..40 {
        drop(g.thread.fork(Token(2 + i)).unwrap());
    }
    drop(g);
    // The dead are reaped when others are made.
    eventually(&*p, || {
        drop(load(&*p, 100, code!("syscall")));
        dead() < 20
    });
}
