//! More weapons of a guest that runs the stub's own instructions: forged signal frames, selectors, other people's
//! descriptors, floods of rings. Whatever it does, only its own process may suffer.
use std::time::{Duration, Instant};

use cofferdam_platform::{Event, MemOp, Platform, Registers, Token, Trap};

use super::attacks::{next_interrupting, region, stub_text, system_calls};
use super::host::living;
use super::tasks::eventually;
use crate::code;
use crate::guest::*;

const RT_SIGRETURN: u64 = 15;

/// The words of a `struct ucontext` (rt_sigreturn(2) finds it at the stack pointer): registers as given, this mask.
fn frame(regs: &Registers, fpstate: u64, mask: u64) -> Vec<u64> {
    let selectors = 0x33 | 0x2b << 48;
    let mut words = vec![0, 0, 0, 2, 0]; // flags, link, alternate stack (SS_DISABLE)
    words.extend([
        regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ]);
    words.extend([
        regs.rdi, regs.rsi, regs.rbp, regs.rbx, regs.rdx, regs.rax, regs.rcx, regs.rsp, regs.rip,
    ]);
    words.extend([0x202, selectors, 0, 0, 0, 0, fpstate]);
    words.extend([0; 8]);
    words.push(mask);
    words
}

/// A frame that blocks every signal, the interrupt's among them, and goes on in an endless loop: the process is
/// interrupted all the same, or dies.
pub fn forged_signal_frame(p: Box<dyn Platform>) {
    let Some((base, _)) = region(&*p) else { return };
    for place in system_calls(&*p, base) {
        for mask in [u64::MAX, 1 << 15, 0] {
            let g = load(&*p, 1, code!("syscall", "4: jmp 4b"));
            let target = Registers {
                rip: CODE + 2,
                ..start()
            };
            let bytes: Vec<u8> = frame(&target, 0, mask)
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect();
            assert_eq!(g.space.write(DATA + 512, &bytes), bytes.len());
            let regs = Registers {
                rip: place,
                rax: RT_SIGRETURN,
                rsp: DATA + 512,
                ..start()
            };
            g.thread.resume(&regs).unwrap();
            let begin = Instant::now();
            match next_interrupting(&*p, &*g.thread) {
                Event::Trap(Token(1), _) => {}
                other => panic!("{other:?}"),
            }
            assert!(begin.elapsed() < Duration::from_secs(5), "{mask:#x}");
        }
    }
}

/// Selectors that the guest loads, and bases that point at the mailboxes: its calls are seen and its memory operations work.
pub fn other_selectors(p: Box<dyn Platform>) {
    let window = region(&*p).map_or(DATA, |(_, window)| window);
    let selectors = [0u64, 1, 3, 0x23, 0x2b, 0x33, 0x7b];
    for base in [0, DATA, window, window + 0x8000] {
        for selector in selectors {
            let g = load(
                &*p,
                1,
                code!("mov gs, edi", "mov fs, edi", "syscall", "jmp 2b"),
            );
            let regs = Registers {
                rdi: selector,
                gs_base: base,
                fs_base: base,
                ..start()
            };
            for _ in 0..3 {
                match g.run(&*p, &regs).0 {
                    Trap::Syscall => {}
                    // A selector of nothing.
                    Trap::Fault { signo, .. } => assert_eq!(signo, libc::SIGSEGV),
                    other => panic!("{selector:#x} {base:#x}: {other:?}"),
                }
                g.thread
                    .execute(&[MemOp::MapAnon {
                        addr: 0x30_0000,
                        len: PAGE,
                        prot: RW,
                    }])
                    .unwrap();
            }
        }
    }
}

/// No descriptor of anything is there to be mapped, read through a mapping, or passed on.
pub fn foreign_descriptors(p: Box<dyn Platform>) {
    let Some((base, _)) = region(&*p) else { return };
    let shared = libc::MAP_SHARED as u64;
    let fixed = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
    for place in system_calls(&*p, base) {
        for fd in 0..16 {
            for (rdi, r10) in [(0, shared), (0x40_0000, fixed)] {
                let g = load(&*p, 1, code!("syscall", "mov rax, [rdi]", "syscall"));
                let regs = Registers {
                    rip: place,
                    rax: libc::SYS_mmap as u64,
                    rdi,
                    rsi: PAGE,
                    rdx: 1,
                    r10,
                    r8: fd,
                    ..start()
                };
                g.thread.resume(&regs).unwrap();
                let Event::Trap(Token(1), trap) = next_interrupting(&*p, &*g.thread) else {
                    panic!("woken")
                };
                if trap == Trap::Gone {
                    continue;
                }
                let look = Registers {
                    rip: CODE + 2,
                    rdi: 0x40_0000,
                    ..start()
                };
                let (trap, _) = g.run(&*p, &look);
                assert_ne!(trap, Trap::Syscall, "descriptor {fd} was mapped");
            }
        }
    }
}

/// Processes that ring without end, with everything a ring can say: another's calls and memory operations go on.
pub fn flood_of_rings(p: Box<dyn Platform>) {
    if p.name() == "ptrace" {
        println!(
            "skip: a traced flood delays the others' calls by seconds now and then (docs/platform.md)"
        );
        return;
    }
    let Some((base, _)) = region(&*p) else { return };
    let places = system_calls(&*p, base);
    let good = load(&*p, 1, code!("syscall", "jmp 2b"));
    let before = living();
    let mut hostile: Vec<(Token, Guest)> = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..200u64 {
        while hostile.len() < 6 {
            let token = Token(100 + round * 10 + hostile.len() as u64);
            let g = load(&*p, token.0, code!("syscall", "jmp 2b"));
            let n = round as usize + hostile.len();
            let ring = Registers {
                rip: places[n % places.len()],
                rax: 0x3fd0,
                rdi: round % 9,
                rsi: [0, 1, 31, u64::MAX][n % 4],
                rdx: DATA,
                ..start()
            };
            // Half of them ring by ordinary calls, as fast as they are answered.
            let regs = if n.is_multiple_of(2) { ring } else { start() };
            g.thread.resume(&regs).unwrap();
            hostile.push((token, g));
        }
        let begin = Instant::now();
        good.thread
            .execute(&[MemOp::MapAnon {
                addr: 0x30_0000,
                len: PAGE,
                prot: RW,
            }])
            .unwrap();
        good.thread.resume(&start()).unwrap();
        loop {
            match p.next_event().unwrap() {
                Event::Trap(Token(1), trap) => break assert_eq!(trap, Trap::Syscall),
                Event::Trap(token, _) => {
                    let Some(at) = hostile.iter().position(|(t, _)| *t == token) else {
                        continue;
                    };
                    let again = hostile[at]
                        .1
                        .thread
                        .registers()
                        .is_ok_and(|_| hostile[at].1.thread.resume(&start()).is_ok());
                    if !again {
                        hostile.swap_remove(at);
                    }
                }
                Event::Woken => {}
            }
        }
        slowest = slowest.max(begin.elapsed());
        if round % 20 == 19 {
            hostile.clear();
        }
    }
    assert!(slowest < Duration::from_secs(8), "{slowest:?}");
    hostile.clear();
    // None of them stays.
    eventually(&*p, || living() <= before + 4);
}

/// A guest that traps by the stub's own instructions, in a loop of its own making: it takes the order that it gets for the result of a call and makes
/// the next one, and all of them take time of the host alone. It dies, and nobody waits for long.
pub fn exchange_answered_by_calls(p: Box<dyn Platform>) {
    let Some((base, window)) = region(&*p) else {
        return;
    };
    if p.name() == "ptrace" {
        return println!("skipped: a traced stub does not ring");
    }
    const BIG: u64 = 0x1_0000_0000;
    const LIST: u64 = 0x4000_0000;
    const OPS: u64 = 4096;
    let length = 2 << 30;
    let text = stub_text(&*p, base);
    let marks = code!("mov r13, -1");
    let at = text.windows(marks.len()).position(|w| w == marks).unwrap();
    let g = load(&*p, 1, code!("syscall"));
    let map = |addr, len| MemOp::MapAnon {
        addr,
        len,
        prot: RW,
    };
    let small = MemOp::Advise {
        addr: BIG,
        len: length,
        advice: libc::MADV_NOHUGEPAGE,
    };
    g.thread
        .execute(&[map(BIG, length), map(LIST, OPS * 64), small])
        .unwrap();
    let trap = [
        0x3fd0,
        1,
        libc::SIGSYS as u64,
        1,
        CODE,
        0xc000_003e << 32,
        0,
        0,
    ];
    let advise = |i: u64| {
        let advice = match i % 2 {
            0 => libc::MADV_DONTNEED,
            _ => libc::MADV_POPULATE_READ,
        };
        [28, BIG, length, advice as u64, 0, 0, 0, 0]
    };
    let list: Vec<u8> = (0..OPS)
        .flat_map(|i| if i == 0 { trap } else { advise(i) })
        .flat_map(u64::to_le_bytes)
        .collect();
    assert_eq!(g.space.write(LIST, &list), list.len());
    let (trap, _) = g.run(
        &*p,
        &Registers {
            rip: base + at as u64,
            rbx: LIST,
            rbp: OPS,
            r12: 0,
            r15: window,
            ..start()
        },
    );
    assert_eq!(trap, Trap::Syscall);
    let begin = Instant::now();
    let result = g.thread.execute(&[map(0x30_0000, PAGE)]);
    println!("{result:?} after {:?}", begin.elapsed());
    assert!(result.is_err());
    let fresh = load(&*p, 2, code!("syscall"));
    assert_eq!(fresh.run(&*p, &start()).0, Trap::Syscall);
}
