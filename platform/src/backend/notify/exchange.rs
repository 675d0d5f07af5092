//! Exchanges: the sentry answers a ring with an order and waits for the ring that says it was carried out.
//!
//! What an order works on lies in the slot, which other threads of the guest can rewrite meanwhile: then the stub makes other calls
//! that the filter allows, which hurt that process alone, or rings otherwise than expected, and is killed. An exchange
//! that takes too much CPU time is a guest that ran away, and is killed too.
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use libc::pid_t;

use super::condemned::AT_BIRTH;
use super::hot::Answered;
use super::pause::Pause;
use super::place::processor;
use super::strangers::Stranger;
use super::{Inner, Phase, Task, Waits};
use crate::bell::{self, Ring};
use crate::stub::filter::{self, DOORBELL};
use crate::stub::mailbox::Op;
use crate::stub::ops::{self, result};
use crate::stub::slot::{ARGS, FP, FP_AREA, IN, RESULT, SLOT, USED_BEFORE, kind, order};
use crate::{Aside, Error, GUEST_END, GUEST_START, Result, sys, wake};

/// How often a waiting sentry looks whether the stub ran away.
const TICK: Duration = Duration::from_millis(50);
/// How long an exchange takes before the worker waits for it aside.
const LONG: Duration = Duration::from_millis(2);
/// The same if no guest thread runs that may want something: longer than the host's tick, since a timer that ends before costs as much as a ring.
const LONG_ALONE: Duration = Duration::from_millis(5);
/// After which silence in an exchange the stub is interrupted.
const SILENCE: Duration = Duration::from_millis(50);
/// User CPU time that an exchange may cost the process, per host thread of it, in nanoseconds: the others run meanwhile.
const PATIENCE: u64 = 500_000_000;
/// For so many threads at most.
const PATIENCE_THREADS: u64 = 16;
/// What of the time in the host's kernel counts, one part in so many. It takes its time to unmap much memory; but a guest that runs the stub's
/// instructions can answer an exchange by calls of its own that take no other time.
const SYSTEM_SHARE: u64 = 8;
/// Time after which a new task that never said hello is given up.
const BIRTH: Duration = Duration::from_secs(10);
/// The same if neither it nor its parent used the processor meanwhile; and how much longer for each guest thread that runs, behind which they may
/// have to wait.
const STILLBIRTH: Duration = Duration::from_secs(1);
const QUEUE: Duration = Duration::from_millis(5);
/// CPU time that it may use before, in nanoseconds: it has a few calls to make.
const FIRST_CALLS: u64 = 50_000_000;
/// The same once a task has said hello that nobody ordered: most likely the one that is waited for, whose nonce a thread of the
/// guest rewrote. (While somebody else is the worker, that one kills the stranger.)
const MISBIRTH: Duration = Duration::from_millis(100);

/// Why a process dies whose list failed that could not.
pub(super) const NO_MEMORY: &str =
    "was refused a change of its memory by the host (out of memory?)";

/// A task that the stub made, waiting for orders.
#[derive(Debug)]
pub(super) struct Child {
    pub tid: pid_t,
    /// Its id in the zygote's namespace.
    pub inner_pid: u64,
    pub ring: u64,
}

/// Whether it is what a task rings first.
pub(super) fn is_first(ring: &Ring) -> bool {
    ring.number == DOORBELL && matches!(ring.args.first(), Some(&(kind::HELLO | kind::READY)))
}

/// Id of what was not rung but said in the slot.
pub(super) const IN_SLOT: u64 = 0;

/// How the sender of this waits for its answer.
pub(super) fn waits(ring: &Ring) -> Waits {
    match ring.id {
        IN_SLOT => Waits::Slot,
        id => Waits::Ring(id),
    }
}

/// Watches over one exchange.
#[derive(Default)]
struct Watch<'a> {
    /// It takes long: somebody else is the worker while its rings are waited for.
    pause: Option<Pause<'a>>,
    /// When the wait began.
    began: Option<Instant>,
    /// What the process had spent when the wait began.
    spent: Option<u64>,
    /// When the wait for a new task ends.
    birth: Option<Instant>,
    /// What those who make it and are made had used of the processor, and since when.
    labour: Option<(u64, Instant)>,
    /// When strangers were last searched for.
    searched: Option<Instant>,
    /// When the guest was last looked at. Rings of others, which come as often as guests like, do not put that off.
    looked: Option<Instant>,
    /// When it began, or the stub was last interrupted.
    prodded: Option<Instant>,
    /// It is over when the task rings the message again that the sentry has.
    again: bool,
}

impl Watch<'_> {
    /// Whether the wait has taken long.
    fn is_long(&mut self) -> bool {
        self.began.get_or_insert_with(Instant::now).elapsed() > LONG
    }

    /// Waits for a new task no longer than this from now.
    fn expect_birth(&mut self, within: Duration) {
        let at = Instant::now() + within;
        self.birth = Some(self.birth.map_or(at, |old| old.min(at)));
    }

    /// Whether it is time to look what the guest does.
    fn is_time_to_look(&mut self) -> bool {
        let now = Instant::now();
        let due = now.duration_since(*self.looked.get_or_insert(now)) >= TICK;
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// Whether it is time to search for strangers, which takes a millisecond or two: whoever else dies meanwhile is no reason.
    fn is_time_to_search(&mut self) -> bool {
        let now = Instant::now();
        let due = now.duration_since(*self.searched.get_or_insert(now)) >= TICK;
        if due {
            self.searched = Some(now);
        }
        due
    }

    /// Whether nobody has used the processor for so long, who had used so much of it until now.
    fn is_still(&mut self, spent: u64, patience: Duration) -> bool {
        let now = Instant::now();
        match self.labour {
            Some((before, since)) if before == spent => now.duration_since(since) > patience,
            _ => {
                self.labour = Some((spent, now));
                false
            }
        }
    }

    /// Whether the stub has been silent for long. (More often the handlers of the signal might fill its stack.)
    fn is_time_to_prod(&mut self) -> bool {
        let now = Instant::now();
        let due = now.duration_since(*self.prodded.get_or_insert(now)) >= SILENCE;
        if due {
            self.prodded = Some(now);
        }
        due
    }
}

impl Inner {
    /// Answers a stopped task.
    pub(super) fn order(&self, task: &Task, order: u64) -> Result<()> {
        let waits = std::mem::replace(&mut task.state.lock().waits, Waits::Nothing);
        match waits {
            Waits::Ring(ring) => self.answer_ring(ring, order),
            Waits::Slot => {
                if self.answer_slot(task, order)? == Answered::Asleep {
                    task.state.lock().waits = Waits::Owed(order);
                    self.is_due(true);
                }
                Ok(())
            }
            Waits::Owed(_) | Waits::Nothing => {
                task.state.lock().waits = waits;
                Err(Error::Gone)
            }
        }
    }

    /// Answers a ring.
    pub(super) fn answer_ring(&self, ring: u64, order: u64) -> Result<()> {
        bell::answer(self.listener.as_fd(), ring, order).map_err(|_| Error::Gone)
    }

    /// The next ring of `task`, or of a task that nobody knows if one with this nonce is waited for.
    fn ring_of<'a>(
        &'a self,
        task: &'a Task,
        newborn: Option<u64>,
        watch: &mut Watch<'a>,
    ) -> Result<Ring> {
        loop {
            if let Some(args) = self.await_slot(task) {
                return Ok(Ring {
                    id: IN_SLOT,
                    tid: task.tid,
                    number: DOORBELL,
                    args,
                });
            }
            let aside = self.aside.get().filter(|_| !self.is_zygote(task));
            let ring = match aside {
                Some(aside) if watch.is_long() => self.ring_aside(aside, task, newborn, watch)?,
                _ => None,
            };
            let ring = match ring {
                None => {
                    let wait = match aside {
                        Some(_) if self.running.load(Relaxed) > 0 => LONG,
                        Some(_) => LONG_ALONE,
                        None => TICK,
                    };
                    // Burials can wait: whoever is being made or changed may have somebody waiting for it. (If it is this one that died, that shows soon.)
                    self.next_ring(Some(wait), true)?
                }
                ring => ring,
            };
            let silent = ring.is_none();
            if let Some(ring) = ring {
                if ring.tid == task.tid {
                    if self.pay(task, &ring)? && !watch.again {
                        continue;
                    }
                    return Ok(ring);
                }
                if newborn.is_some() && is_first(&ring) && !self.knows(ring.tid) {
                    return Ok(ring);
                }
                self.rang(ring);
            }
            if silent || watch.is_time_to_look() {
                self.mind(task, watch)?;
            }
        }
    }

    /// The next ring of an exchange, while somebody else is the worker; `None` if the caller cannot cease to be it.
    fn ring_aside<'a>(
        &'a self,
        aside: &Aside,
        task: &'a Task,
        newborn: Option<u64>,
        watch: &mut Watch<'a>,
    ) -> Result<Option<Ring>> {
        let pause = watch.pause.get_or_insert_with(|| Pause::begin(self, task));
        pause.expect(newborn);
        if let Some(ring) = task.letters.next(Duration::ZERO) {
            return Ok(Some(ring));
        }
        let mut outcome = Ok(None);
        aside(&mut || {
            outcome = loop {
                if self.on_worker().is_ok() {
                    // A sandbox that starts or ends has one worker.
                    break Ok(None);
                }
                let nobody = self.has_no_worker();
                let wait = if nobody { LONG } else { TICK };
                if let Some(ring) = task.letters.next(wait) {
                    break Ok(Some(ring));
                }
                if nobody && self.has_no_worker() {
                    // All threads that could be wait, perhaps for this exchange to end: its rings come to whoever is.
                    break Ok(None);
                }
                if let Err(e) = self.mind(task, watch) {
                    break Err(e);
                }
            };
        });
        if *task.process.dead.read() {
            // It was buried meanwhile: nothing may be registered of it any more.
            return Err(Error::Gone);
        }
        outcome
    }

    /// Looks after the stub during an exchange, now and then: ends the wait if it is dead, and its process if it has run away.
    fn mind(&self, task: &Task, watch: &mut Watch<'_>) -> Result<()> {
        if watch.birth.is_some_and(|end| Instant::now() > end) {
            return self.give_up(task, "has a child that never came");
        }
        if task.state.lock().phase == Phase::Dead {
            return Err(Error::Gone);
        }
        let process = &task.process;
        let dead = process.dead.read();
        if *dead {
            return Err(Error::Gone);
        }
        let (user, system) = sys::process_time(process.pid).unwrap_or_default();
        let spent = user + system / SYSTEM_SHARE;
        let hosts = process.hosts.load(std::sync::atomic::Ordering::SeqCst) as u64;
        if self.inline && watch.birth.is_none() && watch.is_time_to_prod() {
            // A thread of the guest may have led it to where it sleeps. Else nothing comes of this but a spurious interrupt. (A clone would begin anew.)
            let _ = sys::tgkill(process.pid, task.tid, wake::SIGNAL);
        }
        if watch.birth.is_some() && watch.is_time_to_search() {
            let children: Vec<u64> = self.strangers().iter().map(Stranger::spent).collect();
            let sum = children
                .iter()
                .fold(user + system, |a, b| a.saturating_add(*b));
            let running = u32::try_from(self.running.load(Relaxed)).unwrap_or(u32::MAX);
            let patience = STILLBIRTH.saturating_add(QUEUE.saturating_mul(running));
            if children.iter().any(|spent| *spent > FIRST_CALLS) || watch.is_still(sum, patience) {
                drop(dead);
                return self.give_up(task, "has a child that went astray");
            }
        }
        let threads = (hosts + 1).min(PATIENCE_THREADS);
        if spent.saturating_sub(*watch.spent.get_or_insert(spent)) > PATIENCE * threads {
            drop(dead);
            return self.give_up(task, "ran away");
        }
        Ok(())
    }

    fn is_zygote(&self, task: &Task) -> bool {
        std::ptr::eq(task, &*self.zygote)
    }

    /// Whether there is such a task already: it is no new one, even if it knows the nonce. (A signal can leave that on the stack of the thread that
    /// clones, where the others of its process can read it.) Ids of threads of dead processes may be in the table still.
    fn knows(&self, tid: pid_t) -> bool {
        let known = || tid == self.zygote.tid || self.tasks.lock().contains_key(&tid);
        known() && {
            self.bury();
            known()
        }
    }

    fn give_up<T>(&self, task: &Task, what: &str) -> Result<T> {
        self.misbehaved(task, what);
        Err(Error::Gone)
    }

    /// Waits until `task` says that an order was carried out; descriptors that it asks for are `fds` in order.
    pub(super) fn done(&self, task: &Task, fds: &[BorrowedFd<'_>]) -> Result<(u64, u64)> {
        let mut is_bound = false;
        let done = self.handed(task, fds, &mut is_bound);
        if is_bound && task.is_hot() {
            self.put(task, self.hot.places.off(processor()));
        }
        done
    }

    fn handed(
        &self,
        task: &Task,
        fds: &[BorrowedFd<'_>],
        is_bound: &mut bool,
    ) -> Result<(u64, u64)> {
        let mut fds = fds.iter();
        let mut watch = Watch::default();
        loop {
            let ring = self.ring_of(task, None, &mut watch)?;
            let [kind, first, second, ..] = ring.args;
            match (ring.number, kind) {
                (DOORBELL, kind::DONE) => {
                    task.state.lock().waits = waits(&ring);
                    return Ok((first, second));
                }
                (DOORBELL, kind::WANT_FD) if ring.id != IN_SLOT => {
                    let Some(fd) = fds.next() else {
                        return self.give_up(task, "asked for a descriptor");
                    };
                    // Unlike an answer, a descriptor wakes the stub wherever the scheduler likes. It sleeps now: to move one that runs takes long.
                    if !std::mem::replace(is_bound, true) {
                        self.bind_here(task);
                    }
                    self.hand(ring.id, *fd);
                }
                _ => return self.give_up(task, "left an exchange"),
            }
        }
    }

    /// Answers with a descriptor.
    fn hand(&self, ring: u64, fd: BorrowedFd<'_>) {
        let listener = self.listener.as_fd();
        if let Err(e) = sys::answer_fd(listener, ring, fd) {
            // Most likely its descriptors ran out: the operation fails in the stub. If it is dead, that shows soon.
            let errno = i64::from(e.raw_os_error().unwrap_or(libc::EIO));
            let _ = bell::answer(listener, ring, (-errno).cast_unsigned());
        }
    }

    /// Waits for the first ring of a task that is known: the zygote.
    pub(super) fn meet(&self, task: &Task) -> Result<()> {
        let ring = self.ring_of(task, None, &mut Watch::default())?;
        if ring.args.first() != Some(&kind::READY) {
            return Err(Error::Host("the zygote did not find its stub".into()));
        }
        task.state.lock().waits = waits(&ring);
        Ok(())
    }

    /// Has a stopped task wait for its answer by a ring: an order to clone must not lie in its slot, where other threads of the guest could rewrite it.
    /// Its ring also brings the worker to its processor, where the two can be bound while it sleeps: to move one that runs takes long.
    fn have_it_ring(&self, task: &Task) -> Result<()> {
        if task.state.lock().waits != Waits::Slot {
            return Ok(());
        }
        task.doze();
        let mut watch = Watch {
            again: true,
            ..Watch::default()
        };
        self.ring_of(task, None, &mut watch)?;
        match task.state.lock().waits {
            Waits::Ring(_) => Ok(()),
            _ => self.give_up(task, "left a hot exchange"),
        }
    }

    /// Lets the stub clone itself; `mailboxes` for a new process. The child waits for orders.
    pub(super) fn clone_task(
        &self,
        parent: &Task,
        flags: u64,
        slot: usize,
        mailboxes: Option<BorrowedFd<'_>>,
    ) -> Result<Child> {
        let order = order::clone(slot, self.nonce());
        parent
            .process
            .mailboxes
            .set_words(parent.slot, ARGS, &[flags]);
        let zygote = self.is_zygote(parent);
        if !zygote {
            self.pause_pace(parent);
        }
        self.have_it_ring(parent)?;
        // The worker sleeps until a descriptor has arrived, and is woken from there like any sleeper.
        self.stay_here();
        self.bind_here(parent);
        if !zygote {
            // On the other processor, while the clone takes its time on this one: no more than end before parent and child go on there.
            self.execute_condemned(AT_BIRTH, false);
        }
        let child = self.cloned(parent, flags, order, mailboxes);
        if child.is_err() && !zygote {
            // A clone may have passed all the same, whatever the parent says.
            self.kill_strangers();
        }
        if !parent.pace.kin.expects_calls() {
            // Else it is about to watch both from here.
            self.unbind_worker();
        }
        child
    }

    fn cloned(
        &self,
        parent: &Task,
        flags: u64,
        (order, nonce): (u64, u64),
        mailboxes: Option<BorrowedFd<'_>>,
    ) -> Result<Child> {
        self.order(parent, order)?;
        let mut watch = Watch::default();
        watch.expect_birth(BIRTH);
        let mut passed = false;
        let mut inner_pid = None;
        let mut newborn: Option<(pid_t, u64)> = None;
        loop {
            let newborn_to_be = passed.then_some(nonce);
            let ring = self.ring_of(parent, newborn_to_be, &mut watch)?;
            let [kind, first, second, ..] = ring.args;
            if ring.tid == parent.tid {
                match (ring.number, kind) {
                    (libc::SYS_clone, given) if !passed && given == flags && first == 0 => {
                        passed = true;
                        let _ = bell::let_pass(self.listener.as_fd(), ring.id);
                    }
                    (DOORBELL, kind::DONE) if passed => {
                        parent.state.lock().waits = waits(&ring);
                        result(second.cast_signed())?;
                        inner_pid = Some(second);
                    }
                    _ => return self.give_up(parent, "left a clone"),
                }
            } else if first != nonce || newborn.is_some() {
                watch.expect_birth(MISBIRTH);
                self.rang(ring);
            } else {
                match (kind, mailboxes) {
                    (kind::HELLO, Some(fd)) => self.hand(ring.id, fd),
                    (kind::READY, _) => newborn = Some((ring.tid, ring.id)),
                    _ => self.rang(ring),
                }
            }
            if let (Some((tid, ring)), Some(inner_pid)) = (newborn, inner_pid) {
                return Ok(Child {
                    tid,
                    inner_pid,
                    ring,
                });
            }
        }
    }

    /// One exchange with at most `MAX_OPS` operations.
    pub(super) fn execute_list(
        &self,
        task: &Task,
        ops: &[Op],
        fds: &[BorrowedFd<'_>],
    ) -> Result<()> {
        if ops.is_empty() {
            return Ok(());
        }
        task.process.mailboxes.post(task.slot, ops);
        self.carry_out(task, ops.len(), fds)
    }

    /// Has the stub carry out the operations in its list.
    fn carry_out(&self, task: &Task, length: usize, fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.order(task, order::EXECUTE | (length as u64) << 8)?;
        let (count, ret) = self.done(task, fds)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count == length {
            return Ok(());
        }
        match i32::try_from(-ret.cast_signed()) {
            Ok(errno @ 1..4096) if count < length => Err(Error::Op {
                index: count,
                errno,
            }),
            _ => self.give_up(task, "miscounted"),
        }
    }

    /// Carries out what was put off; the process dies if the host refuses.
    pub(super) fn settle(&self, task: &Task) -> Result<()> {
        let length = task.later.swap(0, Relaxed);
        task.later_bytes.store(0, Relaxed);
        if length == 0 {
            return Ok(());
        }
        match self.carry_out(task, length, &[]) {
            Err(Error::Op { .. }) => self.give_up(task, NO_MEMORY),
            other => other,
        }
    }

    /// The stub's compare-and-exchange at a checked address; `None` on a fault.
    pub(super) fn compare_exchange(
        &self,
        task: &Task,
        addr: u64,
        old: u32,
        new: u32,
    ) -> Result<Option<u32>> {
        if !addr.is_multiple_of(4) || !(GUEST_START..GUEST_END).contains(&addr) {
            return Ok(None);
        }
        let args = [addr, old.into(), new.into()];
        task.process.mailboxes.set_words(task.slot, ARGS, &args);
        self.order(task, order::CAS)?;
        let (worked, found) = self.done(task, &[])?;
        Ok((worked == 1).then_some(found as u32))
    }

    /// CPU time of one thread in nanoseconds (user, system).
    pub(super) fn thread_time(&self, task: &Task) -> Result<(u64, u64)> {
        let ns = |s: u64, us: u64| {
            s.saturating_mul(1_000_000_000)
                .saturating_add(us.saturating_mul(1000))
        };
        let times = |[user_s, user_us, system_s, system_us]: [u64; 4]| {
            (ns(user_s, user_us), ns(system_s, system_us))
        };
        if task.reused.load(Relaxed) {
            return Ok((0, 0));
        }
        let [a, b, c, d, _] = self.usage(task)?;
        let (user, system) = times([a, b, c, d]);
        if !task.before.load(Relaxed) {
            return Ok((user, system));
        }
        let before = times(task.process.mailboxes.words(task.slot, USED_BEFORE));
        Ok((
            user.saturating_sub(before.0),
            system.saturating_sub(before.1),
        ))
    }

    /// Greatest resident size of its process so far, in bytes.
    pub(super) fn peak_memory(&self, task: &Task) -> Result<u64> {
        let [.., kib] = self.usage(task)?;
        Ok(kib.saturating_mul(1024))
    }

    /// What a thread's own getrusage(2) says: ru_utime, ru_stime, ru_maxrss.
    fn usage(&self, task: &Task) -> Result<[u64; 5]> {
        self.settle(task)?;
        self.execute_list(task, &[self.ask_usage(task, RESULT)], &[])?;
        Ok(task.process.mailboxes.words(task.slot, RESULT))
    }

    /// Which pages are in memory: see [`crate::Thread::resident`].
    pub(super) fn resident(&self, task: &Task, addr: u64, pages: &mut [u8]) -> Result<()> {
        let (op, len) = ops::ask_resident(addr, pages, self.slot_address(task.slot) + IN as u64)?;
        self.settle(task)?;
        self.execute_list(task, &[op], &[])?;
        let to = pages.get_mut(..len).unwrap_or_default();
        if task.process.mailboxes.copy_out(task.slot, IN, to) {
            Ok(())
        } else {
            self.give_up(task, "has no such slot")
        }
    }

    /// The operation by which a thread says at this place of its slot what it has used.
    pub(super) fn ask_usage(&self, task: &Task, offset: usize) -> Op {
        let who = u64::from(libc::RUSAGE_THREAD.cast_unsigned());
        let to = self.slot_address(task.slot) + offset as u64;
        Op {
            number: libc::SYS_getrusage.cast_unsigned(),
            args: [who, to, 0, 0, 0, 0],
            with_fd: 0,
        }
    }

    /// The vector registers of a stopped task; as at process start if the guest made a mess of them.
    pub(super) fn vector_registers(&self, task: &Task) -> Result<Vec<u8>> {
        if let Some(image) = self.stored_vector_registers(task) {
            return Ok(image);
        }
        self.order(task, order::SAVE_FP)?;
        self.done(task, &[])?;
        let at = self.slot_address(task.slot) + FP_AREA as u64;
        Ok(self.vector_registers_at(task, at))
    }

    /// The same if they are in the slot; `None` if they are in the processor.
    pub(super) fn stored_vector_registers(&self, task: &Task) -> Option<Vec<u8>> {
        let [at] = task.process.mailboxes.words(task.slot, FP);
        (at != 0).then(|| self.vector_registers_at(task, at))
    }

    pub(super) fn vector_registers_at(&self, task: &Task, at: u64) -> Vec<u8> {
        let mailboxes = &task.process.mailboxes;
        let image = at
            .checked_sub(self.slot_address(task.slot))
            .filter(|offset| *offset < SLOT as u64)
            .and_then(|offset| mailboxes.bytes(task.slot, offset as usize, self.shape.len))
            .map(|image| self.shape.export(image))
            .filter(|image| self.shape.is_valid(image));
        image.unwrap_or_else(|| self.shape.initial())
    }

    /// Replaces them.
    pub(super) fn set_vector_registers(&self, task: &Task, image: &[u8]) {
        let mailboxes = &task.process.mailboxes;
        mailboxes.set_bytes(task.slot, FP_AREA, image);
        let at = self.slot_address(task.slot) + FP_AREA as u64;
        mailboxes.set_words(task.slot, FP, &[at]);
    }
}

const _: () = assert!(filter::THREAD_FLAGS & libc::CLONE_VM as u64 != 0);
