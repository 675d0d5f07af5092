//! Small guests: a page of code, two of data, and helpers to run them.
use std::sync::Arc;

use cofferdam_platform::{
    AddressSpace, Answers, Event, MemOp, Platform, Prot, Registers, Thread, Token, Trap,
};

pub const CODE: u64 = 0x10_0000;
pub const DATA: u64 = 0x20_0000;
pub const PAGE: u64 = 4096;
pub const RW: Prot = Prot::READ.union(Prot::WRITE);
pub const RWX: Prot = Prot::all();

/// Assembles instructions into bytes; labels 2 and 3 are taken.
#[macro_export]
macro_rules! code {
    ($($line:literal),+ $(,)?) => {{
        let (start, end): (usize, usize);
        // SAFETY: jumps over the bytes and takes their addresses.
        unsafe {
            core::arch::asm!(
                "jmp 3f", "2:", $($line,)+ "3:",
                "lea {start}, [rip + 2b]", "lea {end}, [rip + 3b]",
                start = out(reg) start, end = out(reg) end, options(nomem, nostack),
            );
            core::slice::from_raw_parts(start as *const u8, end - start)
        }
    }};
}

pub struct Guest {
    pub space: Arc<dyn AddressSpace>,
    pub thread: Box<dyn Thread>,
    pub token: Token,
}

/// Answers that are not looked at.
pub fn answers(futexes: bool) -> Answers {
    Answers {
        pid: 1,
        tid: 1,
        uid: 1,
        gid: 1,
        euid: 1,
        egid: 1,
        ppid: 1,
        futexes,
    }
}

/// A new process with `code` at [`CODE`] and two writable pages at [`DATA`].
pub fn load(p: &dyn Platform, token: u64, code: &[u8]) -> Guest {
    let token = Token(token);
    let (space, thread) = p.new_process(token).unwrap();
    thread
        .execute(&[
            MemOp::MapAnon {
                addr: CODE,
                len: PAGE,
                prot: RWX,
            },
            MemOp::MapAnon {
                addr: DATA,
                len: 2 * PAGE,
                prot: RW,
            },
        ])
        .unwrap();
    assert_eq!(space.write(CODE, code), code.len());
    Guest {
        space,
        thread,
        token,
    }
}

/// Registers at the start of the code.
pub fn start() -> Registers {
    Registers {
        rip: CODE,
        rsp: DATA + 2 * PAGE,
        ..Registers::default()
    }
}

/// Runs until the next trap, which must be this thread's.
pub fn run(
    p: &dyn Platform,
    thread: &dyn Thread,
    token: Token,
    regs: &Registers,
) -> (Trap, Registers) {
    thread.resume(regs).unwrap();
    let trap = next(p, token);
    (trap, thread.registers().unwrap_or_default())
}

/// The next event, which must be this thread's.
pub fn next(p: &dyn Platform, token: Token) -> Trap {
    match p.next_event().unwrap() {
        Event::Trap(t, trap) => {
            assert_eq!(t, token);
            trap
        }
        Event::Woken => panic!("woken"),
    }
}

impl Guest {
    pub fn run(&self, p: &dyn Platform, regs: &Registers) -> (Trap, Registers) {
        run(p, &*self.thread, self.token, regs)
    }

    pub fn word(&self, addr: u64) -> u64 {
        word(&*self.space, addr)
    }
}

/// A u64 of guest memory.
pub fn word(space: &dyn AddressSpace, addr: u64) -> u64 {
    let mut b = [0; 8];
    assert_eq!(space.read(addr, &mut b), 8);
    u64::from_le_bytes(b)
}

/// The gate; says that the case is skipped if the backend has none.
pub fn gate_of(p: &dyn Platform) -> Option<u64> {
    let gate = p.gate();
    if gate.is_none() {
        println!("skipped: {} has no gate", p.name());
    }
    gate
}
