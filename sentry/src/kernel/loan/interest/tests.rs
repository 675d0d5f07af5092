use super::*;
use crate::fs::epoll;
use crate::fs::eventfd::EventFd;
use crate::mm::fake::{FakeSpace, FakeThread};
use crate::sync::{Events, Notify};
use crate::vfs::{KernelCaller, OpenFlags};
use cofferdam_platform::{AddressSpace, MemOp, Noted, Registers, Result, Token};
use parking_lot::Mutex as Plain;

/// A thread whose stub notes.
struct Noting {
    inner: FakeThread,
    told: Plain<Told>,
}

#[derive(Default)]
struct Told {
    lent: Vec<u32>,
    interest: HashMap<u32, bool>,
    noted: Vec<Noted>,
    notes_on: bool,
}

impl Thread for Noting {
    fn lend_interest(&self, epoll: u32) -> bool {
        let mut t = self.told.lock();
        assert!(!t.notes_on, "what was noted of another instance is lost");
        t.lent.push(epoll);
        t.interest.clear();
        t.notes_on = true;
        true
    }
    fn set_interest(&self, fd: u32, is_in: Option<bool>) {
        let interest = &mut self.told.lock().interest;
        match is_in {
            Some(is_in) => interest.insert(fd, is_in),
            None => interest.remove(&fd),
        };
    }
    fn take_noted(&self, end: bool) -> Vec<Noted> {
        let mut t = self.told.lock();
        t.notes_on &= !end;
        std::mem::take(&mut t.noted)
    }
    fn note_on(&self) {
        self.told.lock().notes_on = true;
    }
    fn resume(&self, regs: &Registers) -> Result<()> {
        self.inner.resume(regs)
    }
    fn interrupt(&self) {}
    fn registers(&self) -> Result<Registers> {
        self.inner.registers()
    }
    fn fpstate(&self) -> Result<Vec<u8>> {
        self.inner.fpstate()
    }
    fn set_fpstate(&self, state: &[u8]) -> Result<()> {
        self.inner.set_fpstate(state)
    }
    fn execute(&self, ops: &[MemOp<'_>]) -> Result<()> {
        self.inner.execute(ops)
    }
    fn compare_exchange(&self, addr: u64, old: u32, new: u32) -> Result<Option<u32>> {
        self.inner.compare_exchange(addr, old, new)
    }
    fn spawn(&self, token: Token) -> Result<Box<dyn Thread>> {
        self.inner.spawn(token)
    }
    fn fork(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        self.inner.fork(token)
    }
    fn terminate(&self) {}
    fn cpu_time(&self) -> (u64, u64) {
        self.inner.cpu_time()
    }
    fn peak_memory(&self) -> u64 {
        self.inner.peak_memory()
    }
    fn resident(&self, addr: u64, pages: &mut [u8]) -> Result<()> {
        self.inner.resident(addr, pages)
    }
}

struct Waiter;

impl Notify for Waiter {
    fn notify(&self, _: Events) {}
}

fn noting() -> Arc<Noting> {
    Arc::new(Noting {
        inner: FakeThread(Arc::new(FakeSpace::default())),
        told: Plain::default(),
    })
}
fn instance() -> Arc<File> {
    epoll::create(&KernelCaller).unwrap()
}
fn eventfd() -> Arc<File> {
    EventFd::create(&KernelCaller, 0, false, OpenFlags::empty()).unwrap()
}
fn start(file: &Arc<File>, thread: &Arc<Noting>, number: u32, loans: &Loans) -> Arc<Interest> {
    let epoll = epoll_of(file).unwrap();
    let new = Arc::new(Interest::new(1, epoll));
    let thread: Arc<dyn Thread> = thread.clone();
    begin(&new, epoll, &thread, number, loans, || true);
    new
}

#[test]
fn notes_of_another_instance_end_only_if_these_begin() {
    let (thread, loans) = (noting(), Loans::default());
    let (first, second) = (instance(), instance());
    let notes = start(&first, &thread, 3, &loans);
    assert!(!Notes::is_over(&*notes));
    let queue = epoll_of(&second).unwrap().queue();
    let waiter = queue.register(Arc::new(Waiter), Events::IN);
    let refused = start(&second, &thread, 4, &loans);
    assert!(Notes::is_over(&*refused) && !Notes::is_over(&*notes));
    // Neither may its end take what the first one's stub notes.
    drop(refused);
    assert!(Arc::ptr_eq(&loans.interest().unwrap(), &notes));
    assert!(thread.told.lock().notes_on);
    queue.unregister(waiter);
    let other = start(&second, &thread, 4, &loans);
    assert!(Notes::is_over(&*notes) && !Notes::is_over(&*other));
    assert_eq!(thread.told.lock().lent, [3, 4]);
}

#[test]
fn nothing_is_kept_of_what_is_not_known() {
    let (thread, loans, fds) = (noting(), Loans::default(), FdTable::default());
    let (set, file) = (instance(), eventfd());
    fds.install_at(5, file.clone(), false, 10).unwrap();
    let interest = start(&set, &thread, 3, &loans);
    for _ in 0..100 {
        learn(&interest, &fds, (5, &file), true);
        learn(&interest, &fds, (5, &file), false);
        assert_eq!(thread.told.lock().interest, [(5, false)].into());
        assert_eq!(fds.loans(), 1);
        // What was noted before counts.
        thread.told.lock().noted.push(Noted {
            op: libc::EPOLL_CTL_DEL,
            fd: 5,
            events: 0,
            data: 0,
        });
        unlearn(&interest, &fds, 5);
        unlearn(&interest, &fds, 5);
        assert_eq!(fds.loans(), 0);
        assert!(interest.state.lock().known.is_empty());
        assert!(thread.told.lock().interest.is_empty());
        let left = Notes::take(&*interest, false);
        let keys: Vec<_> = left.iter().map(Change::key).collect();
        assert_eq!(keys, [Key::new(5, &file)]);
    }
}

#[test]
fn a_descriptor_that_names_another_file_is_asked_for() {
    let (thread, loans, fds) = (noting(), Loans::default(), FdTable::default());
    let (set, file, other) = (instance(), eventfd(), eventfd());
    for fd in [5, 6] {
        fds.install_at(fd, file.clone(), false, 10).unwrap();
    }
    let interest = start(&set, &thread, 3, &loans);
    learn(&interest, &fds, (5, &file), true);
    learn(&interest, &fds, (6, &file), true);
    // Too late: it names another one already.
    learn(&interest, &fds, (7, &file), true);
    fds.install_at(5, other, false, 10).unwrap();
    assert_eq!(thread.told.lock().interest, [(6, true)].into());
    assert!(thread.told.lock().notes_on && fds.loans() == 1);
    drop(fds.remove_where(|fd, _| fd == 6));
    assert!(thread.told.lock().interest.is_empty() && fds.loans() == 0);
    // Of notes that are over nothing stays.
    fds.install_at(6, file.clone(), false, 10).unwrap();
    learn(&interest, &fds, (6, &file), true);
    interest.end_notes();
    assert!(interest.state.lock().known.is_empty() && !thread.told.lock().notes_on);
    fds.forget_ended();
    assert_eq!(fds.loans(), 0);
}
