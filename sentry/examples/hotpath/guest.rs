//! The fake platform: one guest thread that makes the calls of a script.

use crate::script::{Arg, Bench, Call, TEXTS};
use cofferdam_platform::{
    AddressSpace, Error, Event, MemOp, Platform, Registers, Result, Thread, Token, Trap, Vdso,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Where the guest's buffer lies in its address space.
pub const ARENA: u64 = 0x2000_0000;
const ARENA_LEN: usize = 0x40000;

/// What the calling thread and the worker, which are one thread, share.
struct Shared {
    arena: Mutex<Vec<u8>>,
    registers: Mutex<Registers>,
    running: AtomicBool,
    woken: AtomicBool,
    token: AtomicU64,
    script: Mutex<Progress>,
}

/// How far the script is.
struct Progress {
    benches: std::vec::IntoIter<Bench>,
    current: Option<Bench>,
    rounds: u32,
    /// Rounds of the current bench that are done; the setup counts as none.
    round: u32,
    /// Calls of the current round or of the setup that were made.
    made: usize,
    in_setup: bool,
    best: f64,
    start: Instant,
    saved: [u64; 8],
    last: Option<Call>,
}

/// The platform.
pub struct ScriptPlatform(Arc<Shared>);

impl ScriptPlatform {
    /// Runs all benches, the best of so many rounds each.
    pub fn new(benches: Vec<Bench>, rounds: u32) -> ScriptPlatform {
        let mut arena = vec![0; ARENA_LEN];
        for (i, t) in TEXTS.iter().enumerate() {
            arena[i * 64..i * 64 + t.len()].copy_from_slice(t.as_bytes());
        }
        // An iovec of one byte.
        arena[0x2000..0x2008].copy_from_slice(&(ARENA + 0x10000).to_le_bytes());
        arena[0x2008] = 1;
        ScriptPlatform(Arc::new(Shared {
            arena: Mutex::new(arena),
            registers: Mutex::new(Registers::default()),
            running: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            token: AtomicU64::new(0),
            script: Mutex::new(Progress {
                benches: benches.into_iter(),
                current: None,
                rounds,
                round: 0,
                made: 0,
                in_setup: true,
                best: f64::MAX,
                start: Instant::now(),
                saved: [0; 8],
                last: None,
            }),
        }))
    }
}

/// Runs a bench without a sentry.
pub fn alone(bench: Bench, rounds: u32) {
    let platform = ScriptPlatform::new(vec![bench], rounds);
    let (_, thread) = platform.new_process(Token(1)).unwrap();
    let mut registers = Registers::default();
    while registers.orig_rax != libc::SYS_exit_group.cast_unsigned() {
        thread.resume(&registers).unwrap();
        platform.next_event().unwrap();
        registers = thread.registers().unwrap();
    }
}

impl Progress {
    /// The next call; `result` is that of the last one.
    fn next(&mut self, result: u64, arena: &Mutex<Vec<u8>>) -> Option<(u64, [u64; 6])> {
        if let Some(last) = &self.last {
            if let Some(at) = last.save {
                self.saved[at] = result;
            }
            let value = result.cast_signed();
            assert!(
                value >= 0 || value == -i64::from(last.fails),
                "{}: call {} gave {value}",
                self.current.as_ref().map_or("", |b| b.name),
                last.number
            );
        }
        loop {
            let Some(bench) = &self.current else {
                self.current = Some(self.benches.next()?);
                self.in_setup = true;
                self.made = 0;
                self.round = 0;
                self.best = f64::MAX;
                continue;
            };
            let calls = if self.in_setup {
                &bench.setup
            } else {
                &bench.body
            };
            let total = if self.in_setup {
                calls.len()
            } else {
                calls.len() * bench.times as usize
            };
            if self.made < total {
                let call = calls[self.made % calls.len()].clone();
                self.made += 1;
                let args = call.args.map(|a| match a {
                    Arg::Is(v) => v,
                    Arg::Saved(at) => self.saved[at],
                    Arg::Word(at) => {
                        let a = arena.lock().unwrap();
                        let at = at as usize;
                        u64::from(u32::from_le_bytes(a[at..at + 4].try_into().unwrap()))
                    }
                });
                let number = call.number;
                self.last = Some(call);
                return Some((number, args));
            }
            if !self.in_setup {
                let ns = self.start.elapsed().as_nanos() as f64 / f64::from(bench.times);
                self.best = self.best.min(ns);
                self.round += 1;
            }
            self.in_setup = false;
            self.made = 0;
            if self.round == self.rounds {
                println!("{:28} {:8.0} {:8}", bench.name, self.best, bench.native);
                self.current = None;
            }
            self.start = Instant::now();
        }
    }
}

impl Platform for ScriptPlatform {
    fn name(&self) -> &'static str {
        "script"
    }
    fn max_workers(&self) -> usize {
        1
    }
    fn new_process(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        self.0.token.store(token.0, Ordering::Relaxed);
        Ok((
            Arc::new(ScriptSpace(self.0.clone())),
            Box::new(ScriptThread(self.0.clone())),
        ))
    }
    fn next_event(&self) -> Result<Event> {
        if self.0.woken.load(Ordering::Relaxed) {
            self.0.woken.store(false, Ordering::Relaxed);
            return Ok(Event::Woken);
        }
        assert!(self.0.running.load(Ordering::Relaxed), "a call waits");
        let mut regs = self.0.registers.lock().unwrap();
        let next = self.0.script.lock().unwrap().next(regs.rax, &self.0.arena);
        // At the end the guest exits.
        let (number, args) = next.unwrap_or((libc::SYS_exit_group.cast_unsigned(), [0; 6]));
        regs.orig_rax = number;
        [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
        let token = Token(self.0.token.load(Ordering::Relaxed));
        Ok(Event::Trap(token, Trap::Syscall))
    }
    fn wake(&self) {
        self.0.woken.store(true, Ordering::Relaxed);
    }
    fn vdso(&self) -> Option<Vdso> {
        None
    }
}

/// Guest memory: the arena; elsewhere zeros are read and writes vanish.
struct ScriptSpace(Arc<Shared>);

impl ScriptSpace {
    fn at(
        &self,
        addr: u64,
        len: usize,
    ) -> Option<(MutexGuard<'_, Vec<u8>>, std::ops::Range<usize>)> {
        let at = usize::try_from(addr.checked_sub(ARENA)?).ok()?;
        let range = at..at.checked_add(len).filter(|e| *e <= ARENA_LEN)?;
        Some((self.0.arena.lock().unwrap(), range))
    }
}

impl AddressSpace for ScriptSpace {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        match self.at(addr, buf.len()) {
            Some((arena, range)) => buf.copy_from_slice(&arena[range]),
            None => buf.fill(0),
        }
        buf.len()
    }
    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        if let Some((mut arena, range)) = self.at(addr, buf.len()) {
            arena[range].copy_from_slice(buf);
        }
        buf.len()
    }
    fn kill(&self) {}
    fn host_pid(&self) -> Option<u32> {
        None
    }
    fn cpu_time(&self) -> (u64, u64) {
        (0, 0)
    }
}

struct ScriptThread(Arc<Shared>);

impl Thread for ScriptThread {
    fn resume(&self, regs: &Registers) -> Result<()> {
        *self.0.registers.lock().unwrap() = *regs;
        self.0.running.store(true, Ordering::Relaxed);
        Ok(())
    }
    fn interrupt(&self) {}
    fn registers(&self) -> Result<Registers> {
        self.0.running.store(false, Ordering::Relaxed);
        Ok(*self.0.registers.lock().unwrap())
    }
    fn fpstate(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn set_fpstate(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn execute(&self, _: &[MemOp<'_>]) -> Result<()> {
        Ok(())
    }
    fn compare_exchange(&self, _: u64, _: u32, _: u32) -> Result<Option<u32>> {
        Ok(None)
    }
    fn spawn(&self, _: Token) -> Result<Box<dyn Thread>> {
        Err(Error::Gone)
    }
    fn fork(&self, _: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        Err(Error::Gone)
    }
    fn terminate(&self) {}
    fn cpu_time(&self) -> (u64, u64) {
        (0, 0)
    }
    fn peak_memory(&self) -> u64 {
        0
    }
    fn resident(&self, _: u64, _: &mut [u8]) -> Result<()> {
        Err(Error::Gone)
    }
}
