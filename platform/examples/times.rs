//! Prints what the basic operations of each platform cost on this machine, in microseconds (median of several rounds).
//! With arguments: of these platforms only.
#![allow(clippy::unwrap_used)] // an example
use std::time::Instant;

use cofferdam_platform::{Event, KINDS, Kind, MemOp, Prot, Registers, Token, Trap, launch};

const CODE: u64 = 0x1_0000;

/// Runs `work` `n` times, prints the median and the 90th percentile.
fn time(name: &str, n: usize, mut work: impl FnMut()) {
    let mut times: Vec<_> = (0..n)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    let us = |i: usize| times.get(i).copied().unwrap_or(0) as f64 / 1000.0;
    println!("{name:32} {:9.1} {:9.1}", us(n / 2), us(n * 9 / 10));
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for kind in KINDS {
        if wanted.is_empty() || wanted.iter().any(|name| name == kind.name()) {
            measure(*kind);
        }
    }
}

fn measure(kind: Kind) {
    let start = Instant::now();
    let (_, p) = launch(Some(kind)).unwrap();
    println!("\n{kind}: launch {:?}", start.elapsed());
    let idle = || {
        p.wake();
        assert_eq!(p.next_event().unwrap(), Event::Woken);
    };
    let map = [MemOp::MapAnon {
        addr: CODE,
        len: 0x2000,
        prot: Prot::all(),
    }];
    let (space, thread) = p.new_process(Token(1)).unwrap();
    thread.execute(&map).unwrap();
    let code = [0x0f, 0x05, 0xeb, 0xfc]; // syscall; jmp to it
    assert_eq!(space.write(CODE, &code), code.len());
    println!("{:32} {:>9} {:>9}", "microseconds", "median", "p90");
    let mut regs = Registers {
        rip: CODE,
        ..Registers::default()
    };
    time("syscall trap", 5000, || {
        thread.resume(&regs).unwrap();
        assert_eq!(
            p.next_event().unwrap(),
            Event::Trap(Token(1), Trap::Syscall)
        );
        regs = thread.registers().unwrap();
    });
    if let Some(gate) = p.gate() {
        let back = CODE + 0x1000 + 24;
        let mut code = vec![0x49, 0xbb]; // mov r11, back
        code.extend(back.to_le_bytes());
        code.extend([0xff, 0x25, 0, 0, 0, 0]); // jmp [rip]
        code.extend(gate.to_le_bytes());
        code.extend([0xeb, 0xe6]); // back: jmp to the start
        assert_eq!(space.write(CODE + 0x1000, &code), code.len());
        regs.rip = CODE + 0x1000;
        regs.rax = 500;
        let mut n = 0u64;
        let mut call = || {
            thread.resume(&regs).unwrap();
            assert_eq!(
                p.next_event().unwrap(),
                Event::Trap(Token(1), Trap::Syscall)
            );
            regs = thread.registers().unwrap();
            regs.rax = 500;
            n += 1;
        };
        time("system call by the gate", 200_000, &mut call);
    }
    time("execute, 1 operation", 1000, || {
        thread.execute(&map).unwrap()
    });
    let many = [
        map[0].clone(),
        map[0].clone(),
        map[0].clone(),
        map[0].clone(),
        map[0].clone(),
    ];
    time("execute, 5 operations", 1000, || {
        thread.execute(&many).unwrap()
    });
    thread.execute(&map).unwrap();
    time("compare_exchange", 1000, || {
        assert!(thread.compare_exchange(CODE, 0, 0).unwrap().is_some())
    });
    let exe = std::fs::File::open("/proc/self/exe").unwrap();
    let fd = std::os::fd::AsFd::as_fd(&exe);
    let file = MemOp::MapFile {
        addr: 0x10_0000,
        len: 4096,
        prot: Prot::READ,
        fd,
        offset: 0,
        shared: false,
        common: false,
    };
    let files = [file.clone()];
    time("execute, 1 file", 1000, || thread.execute(&files).unwrap());
    time("read 8 bytes", 1000, || {
        assert_eq!(space.read(CODE, &mut [0; 8]), 8)
    });
    time("read 4096 bytes", 1000, || {
        assert_eq!(space.read(CODE, &mut [0; 4096]), 4096)
    });
    time("spawn, terminate", 500, || {
        thread.spawn(Token(2)).unwrap();
        idle();
    });
    time("fork", 200, || {
        std::mem::forget(thread.fork(Token(2)).unwrap())
    });
    time("fork, kill", 500, || {
        thread.fork(Token(2)).unwrap();
        idle();
    });
    idle();
    time("new_process from an idle pool", 50, || {
        let made = p.new_process(Token(3)).unwrap();
        std::mem::forget(made);
    });
    time("new_process, kill, refill", 200, || {
        p.new_process(Token(3)).unwrap();
        idle();
    });
    time("wake", 1000, idle);
    let start = Instant::now();
    drop(p);
    println!("drop {:?}", start.elapsed());
}
