//! Placeholder.
use cofferdam_platform::*;
fn main() {
    let p = PtracePlatform::launch().unwrap();
    println!("vdso {:x?}", p.vdso());
    let (space, thread) = p.new_process(Token(7)).unwrap();
    thread
        .execute(&[MemOp::MapAnon {
            addr: 0x10000,
            len: 0x2000,
            prot: Prot::READ | Prot::WRITE | Prot::EXEC,
        }])
        .unwrap();
    assert_eq!(space.write(0x10000, &[0x0f, 0x05, 0xeb, 0xfc]), 4);
    let mut regs = Registers {
        rip: 0x10000,
        rax: 39,
        ..Default::default()
    };
    let t = std::time::Instant::now();
    let n = 2000;
    for i in 0..n {
        thread.resume(&regs).unwrap();
        let e = p.next_event().unwrap();
        assert_eq!(e, Event::Trap(Token(7), Trap::Syscall));
        regs = thread.registers().unwrap();
        assert_eq!(regs.rip, 0x10002);
        assert_eq!(regs.orig_rax, if i == 0 { 39 } else { i as u64 });
        regs.set_return(i + 1);
    }
    println!("trap {:?}", t.elapsed() / n as u32);
    let t = std::time::Instant::now();
    for _ in 0..200 {
        let (s, c) = thread.fork(Token(8)).unwrap();
        let mut b = [0; 4];
        assert_eq!(s.read(0x10000, &mut b), 4);
        drop(c);
    }
    println!("fork {:?}", t.elapsed() / 200);
    let t = std::time::Instant::now();
    let v: Vec<_> = (0..200).map(|_| thread.spawn(Token(8)).unwrap()).collect();
    println!("spawn {:?}", t.elapsed() / 200);
    drop(v);
    let t = std::time::Instant::now();
    for _ in 0..200 {
        p.new_process(Token(9)).unwrap();
    }
    println!("new_process {:?}", t.elapsed() / 200);
}
