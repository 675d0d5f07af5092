//! The ticket for a change of mappings, and carrying a change out.

use super::rewrite::{Island, Rewritten};
use super::text::{Piece, Text, Texts};
use super::touch::Touched;
use super::vma::{Backing, VmFlags, Vma, host_prot};
use super::{MAPPINGS, MAX_MAP_COUNT, MemoryManager, State};
use crate::abi::Errno;

use crate::sync::{Events, MutexGuard, WaitQueue, aside, before_exchange};
use crate::vfs::{MapSource, Path};
use cofferdam_platform::{MemOp, Prot, Thread};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Why a memory operation did not happen.
pub enum MmError {
    /// As the guest sees it.
    Errno(Errno),
    /// Another task's change is in flight; the operation is to be tried again once the queue is woken.
    Busy(Arc<WaitQueue>),
}

impl From<Errno> for MmError {
    fn from(e: Errno) -> MmError {
        MmError::Errno(e)
    }
}

impl std::fmt::Debug for MmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MmError::Errno(e) => e.fmt(f),
            MmError::Busy(_) => f.write_str("Busy"),
        }
    }
}

/// With fewer mappings than this (half of what Linux allows by default), no change of them fails because the host counts too many.
const SURE_COUNT: usize = 32_000;

/// Bytes that go to an address.
pub type Write<'a> = (u64, &'a [u8]);

/// Result of a memory operation.
pub type Result<T> = std::result::Result<T, MmError>;

/// How long [`patiently`] tries.
const PATIENCE: Duration = Duration::from_millis(100);

/// Tries again while another change is in flight, for those who cannot be parked. A change takes some microseconds, and a stub that does not answer is killed.
///
/// # Errors
/// Those of `f`.
pub fn patiently<T>(mut f: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        match f() {
            Err(MmError::Busy(_)) if Instant::now() < until => {
                aside(|| std::thread::sleep(Duration::from_micros(50)));
            }
            other => return other,
        }
    }
}

/// What the guest sees of a failure in the stub.
pub(super) fn host_error(e: &cofferdam_platform::Error) -> Errno {
    match e {
        cofferdam_platform::Error::Op { errno, .. } => Errno::from_raw(*errno),
        cofferdam_platform::Error::Gone => Errno::ESRCH,
        cofferdam_platform::Error::Host(why) => {
            log::warn!("memory operation failed on the host: {why}");
            Errno::ENOMEM
        }
    }
}

/// What one confirmed operation changes in the list.
pub(super) enum Edit {
    /// Nothing.
    None,
    /// A mapping appears, replacing what was in its range.
    Insert(Vma),
    /// A range disappears.
    Remove(u64, u64),
    /// A range gets a new protection.
    Protect(u64, u64, Prot),
    /// Flags of a range are cleared (first) and set (second).
    Flags(u64, u64, VmFlags, VmFlags),
    /// The mapping that starts at .0 grows down to start .1 and reserve .2.
    GrowDown(u64, u64, u64),
    /// A range of anonymous memory gets a name, or loses it.
    Name(u64, u64, Option<Arc<[u8]>>),
    /// Trampolines appear.
    Island(u64, Island),
    /// Trampolines at this address disappear.
    NoIsland(u64),
    /// A range has the rewritten text now.
    Rewritten(u64, u64, Arc<Text>),
    /// A range has its original text back.
    Restored(u64, u64),
    /// The first edit, then the second.
    Both(Box<Edit>, Box<Edit>),
}

impl Edit {
    pub(super) fn apply(self, s: &mut State, out: &mut Vec<Vma>) {
        let map = &mut s.map;
        match self {
            Edit::None => {}
            Edit::Insert(vma) => map.insert(vma, out),
            Edit::Remove(start, end) => map.remove(start, end, out),
            Edit::Protect(start, end, prot) => map.update(start, end, out, |v| {
                v.prot = prot;
                v.note_writable();
                v.note_restored(prot.contains(Prot::WRITE));
            }),
            Edit::Island(at, island) => {
                s.islands.insert(at, island);
            }
            Edit::NoIsland(at) => {
                s.islands.remove(&at);
            }
            Edit::Rewritten(start, end, text) => map.update(start, end, out, |v| {
                v.text = Some(Rewritten {
                    text: text.clone(),
                    live: true,
                });
            }),
            Edit::Restored(start, end) => {
                map.update(start, end, out, |v| v.note_restored(true));
            }
            Edit::Flags(start, end, clear, set) => {
                map.update(start, end, out, |v| v.flags = (v.flags - clear) | set);
            }
            Edit::Name(start, end, name) => {
                map.update(start, end, out, |v| v.anon_name = name.clone());
            }
            Edit::GrowDown(start, new_start, reserve) => map.grow_down(start, new_start, reserve),
            Edit::Both(a, b) => {
                a.apply(s, out);
                b.apply(s, out);
            }
        }
    }
}

/// One operation for the stub; unlike [`MemOp`] it owns what it maps.
pub(super) enum Op {
    /// Maps like this VMA (from its reserve on).
    Map(Vma),
    /// Maps rewritten text or trampolines.
    Text {
        addr: u64,
        prot: Prot,
        piece: Piece,
        text: Arc<Text>,
    },
    /// munmap of start..end.
    Unmap(u64, u64),
    /// mprotect of start..end.
    Protect(u64, u64, Prot),
    /// mremap.
    Remap {
        addr: u64,
        old_len: u64,
        new_addr: u64,
        new_len: u64,
        keep_old: bool,
    },
    /// madvise of start..end.
    Advise(u64, u64, i32),
    /// membarrier.
    Membarrier(i32),
}

impl Op {
    fn as_mem_op(&self) -> MemOp<'_> {
        match self {
            Op::Map(v) => {
                let addr = v.reserve;
                let len = v.end - addr;
                let prot = host_prot(v.prot);
                match &v.backing {
                    Backing::SharedAnon { mem, offset } => MemOp::MapFile {
                        addr,
                        len,
                        prot,
                        fd: mem.fd(),
                        offset: *offset,
                        shared: true,
                        common: false,
                    },
                    Backing::File {
                        source: MapSource::Host(fd),
                        offset,
                        file,
                    } => MemOp::MapFile {
                        addr,
                        len,
                        prot,
                        fd: fd.as_fd(),
                        offset: *offset,
                        shared: v.shared(),
                        common: !v.shared() && file.path().is_some_and(Path::is_open_to_all),
                    },
                    Backing::Anonymous
                    | Backing::File {
                        source: MapSource::Anonymous,
                        ..
                    } => MemOp::MapAnon { addr, len, prot },
                }
            }
            Op::Text {
                addr,
                prot,
                piece,
                text,
            } => MemOp::MapFile {
                addr: *addr,
                len: piece.len,
                prot: host_prot(*prot),
                fd: text.fd(),
                offset: piece.at,
                shared: false,
                common: text.is_common(),
            },
            Op::Unmap(start, end) => MemOp::Unmap {
                addr: *start,
                len: end - start,
            },
            Op::Protect(start, end, prot) => MemOp::Protect {
                addr: *start,
                len: end - start,
                prot: host_prot(*prot),
            },
            Op::Remap {
                addr,
                old_len,
                new_addr,
                new_len,
                keep_old,
            } => MemOp::Remap {
                addr: *addr,
                old_len: *old_len,
                new_addr: *new_addr,
                new_len: *new_len,
                keep_old: *keep_old,
            },
            Op::Advise(start, end, advice) => MemOp::Advise {
                addr: *start,
                len: end - start,
                advice: *advice,
            },
            Op::Membarrier(command) => MemOp::Membarrier { command: *command },
        }
    }

    /// The pages that it takes away or replaces are not known to be there any more.
    fn forget(&self, touched: &Touched) {
        match self {
            Op::Map(v) => touched.forget(v.reserve, v.end),
            Op::Text { addr, piece, .. } => touched.forget(*addr, addr.saturating_add(piece.len)),
            Op::Unmap(start, end) | Op::Advise(start, end, _) => touched.forget(*start, *end),
            Op::Remap {
                addr,
                old_len,
                new_addr,
                new_len,
                ..
            } => {
                touched.forget(*addr, addr.saturating_add(*old_len));
                touched.forget(*new_addr, new_addr.saturating_add(*new_len));
            }
            Op::Protect(..) | Op::Membarrier(_) => {}
        }
    }
}

/// The ticket: while it lives nobody else changes mappings of this address space.
pub(super) struct Change<'a> {
    mm: &'a MemoryManager,
    /// Mappings that went away; dropped with the ticket, without locks.
    gone: Vec<Vma>,
}

impl MemoryManager {
    /// Takes the ticket.
    pub(super) fn begin(&self) -> Result<Change<'_>> {
        let mut s = self.state.lock();
        if s.busy {
            return Err(MmError::Busy(self.free.clone()));
        }
        s.busy = true;
        self.changes.fetch_add(1, Ordering::SeqCst);
        Ok(Change {
            mm: self,
            gone: Vec::new(),
        })
    }
}

impl Change<'_> {
    /// The state; the guard must be gone before anything is carried out.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.mm.state.lock()
    }

    /// Has the stub do the operations in order, perhaps on its way back to the guest, and enters each that it confirmed. On failure, what came before
    /// the failed one stays.
    pub(super) fn carry_out(
        &mut self,
        thread: &dyn Thread,
        steps: Vec<(Op, Edit)>,
    ) -> std::result::Result<(), Errno> {
        let mut first = self.before(&steps);
        if first.is_empty() {
            return self.carry_out_just(thread, steps, &[]).map(drop);
        }
        first.extend(steps);
        self.carry_out_just(thread, first, &[]).map(drop)
    }

    /// The writes follow if the stub does it later: whether it does.
    fn carry_out_just(
        &mut self,
        thread: &dyn Thread,
        steps: Vec<(Op, Edit)>,
        writes: &[Write<'_>],
    ) -> std::result::Result<bool, Errno> {
        steps.iter().for_each(|(op, _)| op.forget(&self.mm.touched));
        before_exchange();
        let outcome = {
            let mut ops: Vec<MemOp<'_>> = steps.iter().map(|(op, _)| op.as_mem_op()).collect();
            ops.extend(writes.iter().map(|&(addr, bytes)| MemOp::Write {
                addr,
                bytes,
                vital: true,
            }));
            if self.is_sure() && thread.execute_later(&ops) {
                Ok(true)
            } else {
                ops.truncate(steps.len());
                thread.execute(&ops).map(|()| false)
            }
        };
        let confirmed = match &outcome {
            Ok(_) => steps.len(),
            Err(cofferdam_platform::Error::Op { index, .. }) => *index,
            Err(_) => 0,
        };
        let mut s = self.mm.state.lock();
        for (op, edit) in steps.into_iter().take(confirmed) {
            edit.apply(&mut s, &mut self.gone);
            // Dropping what the operation held may close a file: not under the lock.
            if let Op::Map(v) = op {
                self.gone.push(v);
            }
        }
        s.peak_total = s.peak_total.max(s.map.total());
        s.settle();
        let (islands, left_over) = (!s.islands.is_empty(), s.left_over);
        drop(s);
        let loses = || self.gone.iter().any(|v| v.text.is_some());
        if islands && (left_over || outcome.is_err() || loses()) {
            self.sink_islands(thread);
        }
        outcome.map_err(|e| host_error(&e))
    }

    /// Whether the host has mappings to spare: it counts more of them than the list has, since it joins fewer.
    fn is_sure(&self) -> bool {
        self.mm.state.lock().map.count() < SURE_COUNT
    }

    /// Has the stub of a fresh process map all these, in order, and write there what `writes` says: in one exchange without the writes, which are left to the caller
    /// (false), or on its way to the guest (true).
    pub(super) fn map_all(
        &mut self,
        thread: &dyn Thread,
        mut vmas: Vec<Vma>,
        writes: &[Write<'_>],
    ) -> std::result::Result<bool, Errno> {
        if self.texts().is_none() {
            vmas.iter_mut().for_each(|v| v.flags -= VmFlags::KEEPS_GAP);
        }
        let mut steps = Vec::new();
        for v in &vmas {
            steps.extend(self.steps_for(v.clone(), &vmas));
        }
        self.or_plainly(thread, steps, vmas, |change, steps| {
            change.carry_out_just(thread, steps, writes)
        })
    }

    /// Carries out what [`Change::steps_for`] planned for these mappings. If the host cannot do it the rewritten way, the files' own
    /// pages are mapped.
    pub(super) fn carry_out_or_plainly(
        &mut self,
        thread: &dyn Thread,
        steps: Vec<(Op, Edit)>,
        vmas: Vec<Vma>,
    ) -> std::result::Result<(), Errno> {
        self.or_plainly(thread, steps, vmas, |change, steps| {
            change.carry_out(thread, steps)
        })
    }

    fn or_plainly<T: Default>(
        &mut self,
        thread: &dyn Thread,
        steps: Vec<(Op, Edit)>,
        vmas: Vec<Vma>,
        carry_out: impl FnOnce(&mut Self, Vec<(Op, Edit)>) -> std::result::Result<T, Errno>,
    ) -> std::result::Result<T, Errno> {
        let rewritten = steps.iter().any(|(op, _)| matches!(op, Op::Text { .. }));
        match carry_out(self, steps) {
            Err(e) if rewritten && e != Errno::ESRCH => {
                log::debug!("mapping a rewritten text failed: {e:?}");
                let plain = vmas
                    .into_iter()
                    .map(|v| (Op::Map(v.clone()), Edit::Insert(v)))
                    .collect();
                self.carry_out(thread, plain).map(|()| T::default())
            }
            other => other,
        }
    }

    /// The rewritten programs of the sandbox.
    pub(super) fn texts(&self) -> Option<&Arc<Texts>> {
        self.mm.texts()
    }

    /// Enters a change that needs nothing of the stub.
    pub(super) fn enter(&mut self, edit: Edit) {
        let mut s = self.mm.state.lock();
        edit.apply(&mut s, &mut self.gone);
        s.settle();
    }

    /// Makes stack reserve in `start..end` part of its stack, so that the range can be handled as mapped.
    pub(super) fn take_in_reserve(&mut self, start: u64, end: u64) {
        let mut s = self.mm.state.lock();
        while let Some((vma, reserve)) = s.map.reserve_in(start, end) {
            s.map.grow_down(vma, reserve, reserve);
        }
    }

    /// ENOMEM if `more` mappings would be too many, for the process or the sandbox.
    pub(super) fn check_count(&self, more: usize) -> std::result::Result<(), Errno> {
        let count = self.mm.state.lock().map.count().saturating_add(more);
        if MAX_MAP_COUNT.allows(count) && MAPPINGS.has_room(more) {
            Ok(())
        } else {
            Err(Errno::ENOMEM)
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        {
            let mut s = self.mm.state.lock();
            s.busy = false;
            self.mm.changes.fetch_add(1, Ordering::SeqCst);
        }
        self.gone.clear();
        self.mm.free.wake(Events::READABLE);
    }
}
