//! Times what workers ask of guest processes: a [`Platform`] around the real one.
//!
//! Methods with a default body must be passed on too, which the compiler does not ask for: `tests/style.rs` does.

use super::{Part, Profile};
use cofferdam_platform::{
    AddressSpace, Answers, Aside, Call, CutShort, Descriptor, Event, MemOp, Noted, PathAnswer,
    Platform, Registers, Result, Stamps, Thread, Token, Valid, Vdso,
};
use std::sync::Arc;
use std::time::Duration;

/// The same platform, counted.
pub fn wrap(inner: Arc<dyn Platform>, profile: &Arc<Profile>) -> Arc<dyn Platform> {
    Arc::new(Timed {
        inner,
        profile: Arc::clone(profile),
    })
}

struct Timed<T> {
    inner: T,
    profile: Arc<Profile>,
}

impl<T> Timed<T> {
    fn host<R>(&self, work: impl FnOnce(&T) -> R) -> R {
        self.profile.time(Part::Host, || work(&self.inner))
    }

    fn thread(&self, inner: Box<dyn Thread>) -> Box<dyn Thread> {
        Box::new(Timed {
            inner,
            profile: Arc::clone(&self.profile),
        })
    }

    fn process(
        &self,
        (space, thread): (Arc<dyn AddressSpace>, Box<dyn Thread>),
    ) -> (Arc<dyn AddressSpace>, Box<dyn Thread>) {
        let space = Timed {
            inner: space,
            profile: Arc::clone(&self.profile),
        };
        (Arc::new(space), self.thread(thread))
    }
}

impl Platform for Timed<Arc<dyn Platform>> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn gate(&self) -> Option<u64> {
        self.inner.gate()
    }
    fn max_workers(&self) -> usize {
        self.inner.max_workers()
    }
    fn is_movable(&self) -> bool {
        self.inner.is_movable()
    }
    fn leave(&self) -> bool {
        self.inner.leave()
    }
    fn take_over(&self) {
        self.inner.take_over();
    }
    fn wait_by(&self, aside: Box<Aside>) {
        self.inner.wait_by(aside);
    }
    fn new_process(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        let made = self.host(|p| p.new_process(token))?;
        Ok(self.process(made))
    }
    fn ending(&self) -> Vec<Arc<dyn AddressSpace>> {
        self.inner.ending()
    }
    fn next_event(&self) -> Result<Event> {
        self.profile.time(Part::Wait, || self.inner.next_event())
    }
    fn wake(&self) {
        self.inner.wake();
    }
    fn vdso(&self) -> Option<Vdso> {
        self.inner.vdso()
    }
}

impl AddressSpace for Timed<Arc<dyn AddressSpace>> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.host(|s| s.read(addr, buf))
    }
    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        self.host(|s| s.write(addr, buf))
    }
    fn kill(&self) {
        self.inner.kill();
    }
    fn host_pid(&self) -> Option<u32> {
        self.inner.host_pid()
    }
    fn has_ended(&self) -> bool {
        self.inner.has_ended()
    }
    fn await_end(&self, limit: Duration) -> bool {
        self.inner.await_end(limit)
    }
    fn cpu_time(&self) -> (u64, u64) {
        self.inner.cpu_time()
    }
}

impl Thread for Timed<Box<dyn Thread>> {
    fn resume(&self, regs: &Registers) -> Result<()> {
        let result = self.profile.time(Part::Trap, || self.inner.resume(regs));
        self.profile.resumed();
        result
    }
    fn interrupt(&self) {
        self.inner.interrupt();
    }
    fn answer(&self, answers: Option<&Answers>) {
        self.inner.answer(answers);
    }
    fn part(&self) {
        self.inner.part();
    }
    fn unite(&self) {
        self.inner.unite();
    }
    fn describe(&self, descriptor: &Descriptor) -> bool {
        self.inner.describe(descriptor)
    }
    fn tell(&self, answer: &PathAnswer<'_>) -> Option<u32> {
        self.inner.tell(answer)
    }
    fn position(&self, entry: usize) -> u64 {
        self.inner.position(entry)
    }
    fn take_position(&self, entry: usize) -> u64 {
        self.inner.take_position(entry)
    }
    fn give_position(&self, entry: usize, position: u64) {
        self.inner.give_position(entry, position);
    }
    fn forget_stat(&self, entry: usize) {
        self.inner.forget_stat(entry);
    }
    fn set_valid(&self, entry: usize, valid: Valid) {
        self.inner.set_valid(entry, valid);
    }
    fn is_copying(&self, entry: usize) -> bool {
        self.inner.is_copying(entry)
    }
    fn take_stamps(&self, entry: usize) -> Stamps {
        self.inner.take_stamps(entry)
    }
    fn mark_read(&self, entry: usize, from: u64, to: u64) {
        self.inner.mark_read(entry, from, to);
    }
    fn forget(&self, entry: usize) -> u64 {
        self.inner.forget(entry)
    }
    fn lend_interest(&self, epoll: u32) -> bool {
        self.inner.lend_interest(epoll)
    }
    fn set_interest(&self, fd: u32, is_in: Option<bool>) {
        self.inner.set_interest(fd, is_in);
    }
    fn take_noted(&self, end: bool) -> Vec<Noted> {
        self.inner.take_noted(end)
    }
    fn note_on(&self) {
        self.inner.note_on();
    }
    fn by_instruction(&self) -> bool {
        self.inner.by_instruction()
    }
    fn host_futexes(&self) -> bool {
        self.inner.host_futexes()
    }
    fn futex(&self, args: [u64; 6]) -> Result<i64> {
        self.host(|t| t.futex(args))
    }
    fn resume_asleep(&self, regs: &Registers, args: [u64; 6], until: Option<u64>) -> Result<()> {
        let result = self
            .profile
            .time(Part::Trap, || self.inner.resume_asleep(regs, args, until));
        self.profile.resumed();
        result
    }
    fn cut_short(&self) -> Option<CutShort> {
        self.inner.cut_short()
    }
    fn asleep(&self) -> bool {
        self.inner.asleep()
    }
    fn registers(&self) -> Result<Registers> {
        self.profile.time(Part::Trap, || self.inner.registers())
    }
    fn call(&self) -> Option<Call> {
        self.profile.time(Part::Trap, || self.inner.call())
    }
    fn return_from_call(&self, result: u64) -> Result<()> {
        let returned = self
            .profile
            .time(Part::Trap, || self.inner.return_from_call(result));
        self.profile.resumed();
        returned
    }
    fn fpstate(&self) -> Result<Vec<u8>> {
        self.host(|t| t.fpstate())
    }
    fn set_fpstate(&self, state: &[u8]) -> Result<()> {
        self.host(|t| t.set_fpstate(state))
    }
    fn execute(&self, ops: &[MemOp<'_>]) -> Result<()> {
        self.host(|t| t.execute(ops))
    }
    fn execute_later(&self, ops: &[MemOp<'_>]) -> bool {
        self.host(|t| t.execute_later(ops))
    }
    fn settle(&self) -> Result<()> {
        self.host(|t| t.settle())
    }
    fn compare_exchange(&self, addr: u64, old: u32, new: u32) -> Result<Option<u32>> {
        self.host(|t| t.compare_exchange(addr, old, new))
    }
    fn spawn(&self, token: Token) -> Result<Box<dyn Thread>> {
        let made = self.host(|t| t.spawn(token))?;
        Ok(self.thread(made))
    }
    fn fork(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        let made = self.host(|t| t.fork(token))?;
        Ok(self.process(made))
    }
    fn terminate(&self) {
        self.host(|t| t.terminate());
    }
    fn cpu_time(&self) -> (u64, u64) {
        self.inner.cpu_time()
    }
    fn peak_memory(&self) -> u64 {
        self.host(|t| t.peak_memory())
    }
    fn resident(&self, addr: u64, pages: &mut [u8]) -> Result<()> {
        self.host(|t| t.resident(addr, pages))
    }
}
