//! Guests that use the stub in their own process as a weapon: every system call of it with arguments that would hurt, and threads
//! that rewrite what another's system call is made of. The worst that may happen is the death of that process.
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use cofferdam_platform::{Event, GUEST_END, Platform, Registers, Thread, Token, Trap};

use super::host::living;
use crate::code;
use crate::guest::*;

/// The stub's text and the mailboxes; `None` where the vDSO does not give them away.
pub(super) fn region(p: &dyn Platform) -> Option<(u64, u64)> {
    let base = p.vdso()?.vvar.0 - (1 << 20);
    assert!(base > GUEST_END && base.is_multiple_of(PAGE));
    Some((base, base + (128 << 20)))
}

/// The next event, while the thread is interrupted again and again.
pub(super) fn next_interrupting(p: &dyn Platform, thread: &dyn Thread) -> Event {
    std::thread::scope(|s| {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        s.spawn(move || {
            while receiver.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout)
            {
                thread.interrupt();
            }
        });
        let event = p.next_event().unwrap();
        drop(sender);
        event
    })
}

/// The stub's text, read by a guest.
pub(super) fn stub_text(p: &dyn Platform, base: u64) -> Vec<u8> {
    let g = load(
        p,
        1,
        code!("mov rsi, [rdi]", "mov [r8], rsi", "mov rax, rdi", "syscall"),
    );
    let mut text = Vec::new();
    for at in (base..base + PAGE).step_by(8) {
        let (trap, _) = g.run(
            p,
            &Registers {
                rdi: at,
                r8: DATA,
                ..start()
            },
        );
        assert_eq!(trap, Trap::Syscall);
        text.extend(g.word(DATA).to_le_bytes());
    }
    text
}

/// Where `syscall` stands there.
pub(super) fn system_calls(p: &dyn Platform, base: u64) -> Vec<u64> {
    let text = stub_text(p, base);
    (0..text.len() - 1)
        .filter(|i| text[*i..*i + 2] == [0x0f, 0x05])
        .map(|i| base + i as u64)
        .collect()
}

/// The stub's own system calls, made by the guest.
pub fn calls_of_the_stub(p: Box<dyn Platform>) {
    let Some((base, window)) = region(&*p) else {
        return;
    };
    let places = system_calls(&*p, base);
    assert!(!places.is_empty());
    let thread_flags = 0x50f00u64;
    let parent = libc::CLONE_PARENT as u64 | libc::SIGCHLD as u64;
    let fixed = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
    let mut calls: Vec<[u64; 5]> = vec![
        // What makes tasks: only on the sentry's order.
        [56, libc::SIGCHLD as u64, 0, 0, 0],
        [56, parent, 0, 0, 0],
        [56, thread_flags, 0, 0, 0],
        [56, 0x10_0000 | parent, 0, 0, 0],
        [435, DATA, 88, 0, 0],
        // The stub and the mailboxes, unmapped, remapped, made writable, replaced.
        [11, base, PAGE, 0, 0],
        [11, window, 128 << 20, 0, 0],
        [11, 0, 0x7fff_ffff_f000, 0, 0],
        [10, base, PAGE, 7, 0],
        [9, base, PAGE, 7, fixed],
        [9, window, 128 << 20, 3, fixed],
        [25, window, 128 << 20, 64 << 20, 3],
        [28, window, 128 << 20, libc::MADV_DOFORK as u64, 0],
        // Signals: another stack, a forged frame, a blocked interrupt, another handler.
        [131, DATA, 0, 0, 0],
        [131, window + 0xd08, 0, 0, 0],
        [15, 0, 0, 0, 0],
        [14, 0, DATA, 0, 8],
        [13, libc::SIGSTKFLT as u64, DATA, 0, 8],
        // Others: signals, memory, files, sockets.
        [62, u64::MAX, 9, 0, 0],
        [234, 1, 1, 9, 0],
        [310, 1, DATA, 1, DATA],
        [257, u64::MAX - 99, DATA, 0, 0],
        [41, 1, 1, 0, 0],
        [101, 16, 1, 0, 0],
        [60, 0, 0, 0, 0],
        [231, 0, 0, 0, 0],
        [61, u64::MAX, 0, 1, 0],
        [317, 1, 0, DATA, 0],
    ];
    calls.extend((0..8).map(|kind| [0x3fd0, kind, 31, 1, 0]));
    let load_guest = || load(&*p, 1, code!("syscall"));
    let mut g = load_guest();
    let before = living();
    for [rax, rdi, rsi, rdx, r10] in calls {
        for rip in &places {
            let regs = Registers {
                rip: *rip,
                rax,
                rdi,
                rsi,
                rdx,
                r10,
                ..start()
            };
            if g.thread.resume(&regs).is_err() {
                g = load_guest();
                continue;
            }
            match next_interrupting(&*p, &*g.thread) {
                Event::Trap(Token(1), _) => {}
                other => panic!("{other:?}"),
            }
            g = load_guest();
        }
    }
    drop(g);
    for _ in 0..8 {
        p.wake();
        while p.next_event().unwrap() != Event::Woken {}
    }
    let after = living();
    assert!(after <= before + 4, "{before} processes became {after}");
    let fresh = load(&*p, 2, code!("syscall"));
    assert_eq!(fresh.run(&*p, &start()).0, Trap::Syscall);
}

/// A thread that calls getpid for ever; and from its 11th byte on one that writes rdx to rbx words from rdi on, for ever.
fn scribbler() -> &'static [u8] {
    code!(
        "mov rax, 39",
        "syscall",
        "jmp 2b",
        "5: mov rax, rdi",
        "mov ecx, ebx",
        "4: mov [rax], rdx",
        "add rax, 8",
        "dec ecx",
        "jnz 4b",
        "jmp 5b"
    )
}

/// A thread that rewrites the registers and the vector registers of another whose system calls are in flight.
pub fn scribbled_system_calls(p: Box<dyn Platform>) {
    let Some((base, window)) = region(&*p) else {
        return;
    };
    let code = scribbler();
    // Slot 0 of an untraced stub: lists, registers, vector registers, the stack of signals.
    let areas = [
        (0xc00, 27),
        (0xc00, 64),
        (0x1000, 512),
        (0x2000, 0xc00),
        (0, 0x1000),
    ];
    let values = [0, 0x2b, 0x33, CODE, DATA, base, window, u64::MAX, 1 << 63];
    for (offset, words) in areas {
        for value in values {
            let g = load(&*p, 1, code);
            let busy = g.thread.spawn(Token(2)).unwrap();
            busy.resume(&Registers {
                rip: CODE + 11,
                rdi: window + offset,
                rdx: value,
                rbx: words,
                ..start()
            })
            .unwrap();
            for _ in 0..40 {
                if g.thread.resume(&start()).is_err() {
                    break;
                }
                match next_interrupting(&*p, &*g.thread) {
                    Event::Trap(Token(1), Trap::Gone) => break,
                    Event::Trap(Token(1), _) => {
                        let _ = g.thread.fpstate();
                    }
                    // The other one may trap or die first; then this one still owes its event.
                    Event::Trap(Token(2), _) => {
                        let _ = next_interrupting(&*p, &*g.thread);
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            drop(busy);
            drop(g);
            p.wake();
            while p.next_event().unwrap() != Event::Woken {}
        }
    }
    let fresh = load(&*p, 3, code!("syscall"));
    assert_eq!(fresh.run(&*p, &start()).0, Trap::Syscall);
}

/// A thread that rewrites what another's clone is made of: whether or not their process survives it, nobody waits for the child.
pub fn scribbled_clones(p: Box<dyn Platform>) {
    let Some((_, window)) = region(&*p) else {
        return;
    };
    let code = scribbler();
    let mut slowest = Duration::ZERO;
    // The arguments of orders lie at 0xd20 in the slot of an untraced stub.
    for (offset, words) in [(0xd28, 1), (0xd30, 1), (0xd28, 2), (0xd20, 3)] {
        for value in [0, 1, window + (1 << 16), u64::MAX] {
            let g = load(&*p, 1, code);
            let busy = g.thread.spawn(Token(2)).unwrap();
            busy.resume(&Registers {
                rip: CODE + 11,
                rdi: window + offset,
                rdx: value,
                rbx: words,
                ..start()
            })
            .unwrap();
            for _ in 0..8 {
                let begin = Instant::now();
                let forked = g.thread.fork(Token(3)).is_ok();
                slowest = slowest.max(begin.elapsed());
                if !forked {
                    break;
                }
            }
            drop(busy);
            drop(g);
            p.wake();
            while p.next_event().unwrap() != Event::Woken {}
        }
    }
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    let fresh = load(&*p, 4, code!("syscall"));
    assert_eq!(fresh.run(&*p, &start()).0, Trap::Syscall);
}

/// Segment bases that the guest sets by itself are seen and kept.
pub fn own_segment_bases(p: Box<dyn Platform>) {
    let g = load(
        &*p,
        1,
        code!(
            "wrfsbase rdi",
            "wrgsbase rsi",
            "syscall",
            "mov rbx, gs:[0]",
            "mov rax, fs:[0]",
            "syscall"
        ),
    );
    assert_eq!(g.space.write(DATA, &7u64.to_le_bytes()), 8);
    assert_eq!(g.space.write(DATA + 8, &8u64.to_le_bytes()), 8);
    let (trap, at) = g.run(
        &*p,
        &Registers {
            rdi: DATA,
            rsi: DATA + 8,
            ..start()
        },
    );
    if !matches!(trap, Trap::Syscall) {
        return println!("skipped: no FSGSBASE");
    }
    assert_eq!((at.fs_base, at.gs_base), (DATA, DATA + 8));
    let (trap, at) = g.run(&*p, &at);
    assert_eq!((trap, at.orig_rax, at.rbx), (Trap::Syscall, 7, 8));
}
