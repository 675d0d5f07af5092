//! Rewritten texts in one address space: mapping them, and giving the original back when somebody might notice.
//!
//! A mapping of a rewritten file is entered in the list as what it is for the guest, the file's own pages; [`Vma::text`] says that
//! the host has the rewritten version there. The trampolines are an *island* in the gap below, in no list
//! that the guest sees. All changes come by [`Change::carry_out`], which asks [`Change::before`] what has to be done first:
//!
//! - what becomes writable, or moves, gets its original pages back. The island stays: a thread may be in it;
//! - whatever is to lie where an island is evicts it, and its text gets its original pages back;
//! - an island whose text is gone altogether goes too ([`Change::sink_islands`]).

use super::change::{Change, Edit, Op, patiently};
use super::text::{Piece, Text, Texts};
use super::vma::{Backing, VmFlags, Vma};
use super::{MemoryManager, State};
use crate::abi::Errno;
use crate::vfs::MapSource;
use cofferdam_platform::{GUEST_END, GUEST_START, Prot, Thread};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Trampolines that are mapped.
#[derive(Clone)]
pub(super) struct Island {
    pub end: u64,
    /// Where file offset 0 of the text's mapping lies.
    pub base: u64,
    pub text: Arc<Text>,
}

/// The rewritten version of a mapped file.
#[derive(Clone)]
pub struct Rewritten {
    /// What the file was rewritten to.
    pub(super) text: Arc<Text>,
    /// The host has it mapped; false once the original is back for good.
    pub(super) live: bool,
}

/// A mapping that is to be rewritten.
pub struct RewriteWanted {
    /// An address in it.
    at: u64,
    text: Arc<Text>,
}

impl PartialEq for Rewritten {
    fn eq(&self, other: &Rewritten) -> bool {
        Arc::ptr_eq(&self.text, &other.text) && self.live == other.live
    }
}

/// Where file offset 0 of a mapping lies, or would.
fn base(v: &Vma) -> Option<u64> {
    v.start.checked_sub(v.offset())
}

/// Whether the host's pages are the file's, to be executed, and only that.
fn is_text(v: &Vma) -> bool {
    v.prot.contains(Prot::EXEC)
        && !v.prot.contains(Prot::WRITE)
        && !v.flags.intersects(VmFlags::SHARED | VmFlags::WRITTEN)
        && matches!(
            v.backing,
            Backing::File {
                source: MapSource::Host(_),
                ..
            }
        )
}

impl Vma {
    /// Remembers, if `restored`, that the host has none of the rewritten version here any more.
    pub(super) fn note_restored(&mut self, restored: bool) {
        if let Some(t) = &mut self.text {
            t.live &= !restored;
        }
    }
}

impl State {
    /// Islands that overlap a range.
    fn islands_in(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, &Island)> {
        self.islands
            .range(..end)
            .filter(move |(_, i)| i.end > start)
            .map(|(s, i)| (*s, i))
    }

    /// Whether there are trampolines in the range.
    pub(super) fn is_island(&self, start: u64, end: u64) -> bool {
        self.islands_in(start, end).next().is_some()
    }

    /// Steps that give the original back in `start..end`, where it is rewritten.
    fn restore(&self, start: u64, end: u64, steps: &mut Vec<(Op, Edit)>) {
        for v in self.map.overlapping(start, end) {
            if !v.text.as_ref().is_some_and(|t| t.live) {
                continue;
            }
            let (from, to) = (v.start.max(start), v.end.min(end));
            let mut part = v.clone();
            if from > v.start {
                part = part.split_off(from);
            }
            if to < part.end {
                part.split_off(to);
            }
            part.text = None;
            steps.push((Op::Map(part), Edit::Restored(from, to)));
        }
    }

    /// The same for whole mappings that overlap the range.
    fn restore_whole(&self, start: u64, end: u64, steps: &mut Vec<(Op, Edit)>) {
        let low = self.map.overlapping(start, end).next().map(|v| v.start);
        let high = self.map.overlapping(start, end).next_back().map(|v| v.end);
        if let (Some(low), Some(high)) = (low, high) {
            self.restore(low, high, steps);
        }
    }

    /// Steps that make place in `start..end`.
    fn evict(&self, start: u64, end: u64, steps: &mut Vec<(Op, Edit)>) {
        for (at, i) in self.islands_in(start, end) {
            let (from, to) = i.text.span();
            let (from, to) = (i.base.saturating_add(from), i.base.saturating_add(to));
            self.restore(from, to, steps);
            steps.push((Op::Unmap(at, i.end), Edit::NoIsland(at)));
        }
    }

    /// Whether a mapping still uses the island.
    fn needs(&self, i: &Island) -> bool {
        let (from, to) = i.text.span();
        let (from, to) = (i.base.saturating_add(from), i.base.saturating_add(to));
        self.map.overlapping(from, to).any(|v| {
            base(v) == Some(i.base)
                && v.text
                    .as_ref()
                    .is_some_and(|t| Arc::ptr_eq(&t.text, &i.text))
        })
    }

    /// Whether the island can be there, or is; `also` will be mapped too.
    fn island_fits(&self, text: &Arc<Text>, base: u64, also: &[Vma]) -> bool {
        let Some((start, end)) = text.island(base) else {
            return false;
        };
        if let Some(i) = self.islands.get(&start) {
            return i.base == base && Arc::ptr_eq(&i.text, text);
        }
        start >= GUEST_START
            && end <= GUEST_END
            && self.map.is_free(start, end)
            && self.islands_in(start, end).next().is_none()
            && !also.iter().any(|v| v.reserve < end && v.end > start)
    }
}

impl Change<'_> {
    /// What has to be done before these steps.
    pub(super) fn before(&self, planned: &[(Op, Edit)]) -> Vec<(Op, Edit)> {
        let mut steps = Vec::new();
        let s = self.state();
        if s.islands.is_empty() {
            return steps;
        }
        for (op, _) in planned {
            match op {
                Op::Map(v) => s.evict(v.reserve, v.end, &mut steps),
                Op::Unmap(start, end) => s.evict(*start, *end, &mut steps),
                Op::Text { addr, piece, .. } => s.evict(*addr, addr + piece.len, &mut steps),
                Op::Protect(start, end, prot) if prot.contains(Prot::WRITE) => {
                    s.restore(*start, *end, &mut steps);
                }
                Op::Remap {
                    addr,
                    old_len,
                    new_addr,
                    new_len,
                    ..
                } => {
                    s.restore_whole(*addr, addr + old_len, &mut steps);
                    if new_addr == addr {
                        s.evict(addr + old_len, addr + new_len, &mut steps);
                    } else {
                        s.evict(*new_addr, new_addr + new_len, &mut steps);
                    }
                }
                _ => {}
            }
        }
        steps
    }

    /// Removes islands that nobody needs. What the host does not unmap now is tried again with the next change.
    pub(super) fn sink_islands(&mut self, thread: &dyn Thread) {
        let useless: Vec<(u64, u64)> = {
            let s = self.state();
            let unneeded = s.islands.iter().filter(|(_, i)| !s.needs(i));
            unneeded.map(|(at, i)| (*at, i.end)).collect()
        };
        let mut left_over = false;
        for (start, end) in useless {
            let op = cofferdam_platform::MemOp::Unmap {
                addr: start,
                len: end - start,
            };
            // Until then it stays listed and in the way of nobody.
            match thread.execute(&[op]) {
                Ok(()) => drop(self.state().islands.remove(&start)),
                Err(_) => left_over = true,
            }
        }
        self.state().left_over = left_over;
    }

    /// The rewritten text of a new mapping and where its island goes; `also` is mapped with it.
    fn text_of(&self, v: &Vma, also: &[Vma]) -> Option<(Arc<Text>, u64)> {
        let texts = self.texts()?;
        if !is_text(v) {
            return None;
        }
        let text = texts.get(v.file()?)?;
        let base = base(v)?;
        let fits = !text.pieces(v.offset(), v.len()).is_empty()
            && self.state().island_fits(&text, base, also);
        fits.then_some((text, base))
    }

    /// How to map `v`: like the file, or like its rewritten text if there is one and room for its island.
    pub(super) fn steps_for(&self, v: Vma, also: &[Vma]) -> Vec<(Op, Edit)> {
        let Some((text, base)) = self.text_of(&v, also) else {
            return vec![(Op::Map(v.clone()), Edit::Insert(v))];
        };
        let mut steps = Vec::new();
        self.add_island(&text, base, &mut steps);
        let pieces = text.pieces(v.offset(), v.len());
        let listed = Vma {
            text: Some(Rewritten {
                text: text.clone(),
                live: true,
            }),
            ..v.clone()
        };
        let whole = pieces.len() == 1 && pieces.iter().all(|p| p.len == v.len());
        match pieces.first().copied().filter(|_| whole) {
            Some(piece) => {
                let op = Op::Text {
                    addr: v.start,
                    prot: v.prot,
                    piece,
                    text,
                };
                steps.push((op, Edit::Insert(listed)));
            }
            None => {
                let (addr, offset, prot) = (v.start, v.offset(), v.prot);
                steps.push((Op::Map(v), Edit::Insert(listed)));
                for piece in pieces {
                    let addr = addr + (piece.offset - offset);
                    steps.push((text_op(addr, prot, piece, &text), Edit::None));
                }
            }
        }
        steps
    }

    fn add_island(&self, text: &Arc<Text>, base: u64, steps: &mut Vec<(Op, Edit)>) {
        let Some((start, end)) = text.island(base) else {
            return;
        };
        if self.state().islands.contains_key(&start) {
            return;
        }
        let island = Island {
            end,
            base,
            text: text.clone(),
        };
        let piece = Piece {
            offset: 0,
            len: end - start,
            at: 0,
        };
        let op = text_op(start, Prot::READ | Prot::EXEC, piece, text);
        steps.push((op, Edit::Island(start, island)));
    }
}

fn text_op(addr: u64, prot: Prot, piece: Piece, text: &Arc<Text>) -> Op {
    Op::Text {
        addr,
        prot,
        piece,
        text: text.clone(),
    }
}

impl MemoryManager {
    /// Has new mappings of programs rewritten by this table.
    pub fn with_texts(mut self, texts: Option<Arc<Texts>>) -> MemoryManager {
        self.texts = texts;
        self
    }

    /// Nothing is rewritten from the start.
    pub fn with_own_text(self, own: bool) -> MemoryManager {
        self.own_text.store(own, Ordering::Relaxed);
        self
    }

    /// Rewritten programs, if they are for this address space.
    pub(super) fn texts(&self) -> Option<&Arc<Texts>> {
        let own = self.own_text.load(Ordering::Relaxed);
        self.texts.as_ref().filter(|_| !own)
    }

    /// From now on the process runs its own text, for somebody who looks at it or changes it (ptrace(2)): what was rewritten gets its
    /// original pages back. Threads may be in the trampolines, which stay.
    pub fn keep_own_text(&self, thread: &dyn Thread) {
        if self.texts().is_none() {
            return;
        }
        let Ok(mut change) = patiently(|| self.begin()) else {
            return;
        };
        self.own_text.store(true, Ordering::Relaxed);
        let mut steps = Vec::new();
        change.state().restore(0, u64::MAX, &mut steps);
        if !steps.is_empty()
            && let Err(e) = change.carry_out(thread, steps)
        {
            log::debug!("a program's own text did not come back: {e:?}");
        }
    }

    /// A system call trapped whose instruction ends at `rip`. Counts it; `Some` if its file has had enough of them and the
    /// mapping is to be rewritten.
    pub fn trapped(&self, rip: u64) -> Option<RewriteWanted> {
        let texts = self.texts()?;
        let at = rip.checked_sub(2)?;
        let found = {
            let s = self.state.lock();
            let v = s.map.find(at).filter(|v| v.text.is_none() && is_text(v));
            v.and_then(|v| v.file().cloned())
        };
        let text = texts.trapped(&found?)?;
        Some(RewriteWanted { at, text })
    }

    /// Rewrites a mapping. No other thread runs in this address space: one might be between the instructions that move.
    pub fn rewrite_now(&self, thread: &dyn Thread, what: &RewriteWanted) {
        if let Err(e) = self.rewrite_live(thread, what.at, &what.text) {
            log::debug!("a running program's text was not rewritten: {e:?}");
        }
    }

    /// Puts the rewritten text over the mapping at `at`.
    fn rewrite_live(&self, thread: &dyn Thread, at: u64, text: &Arc<Text>) -> Result<(), Errno> {
        let Ok(mut change) = self.begin() else {
            return Ok(());
        };
        if self.texts().is_none() {
            return Ok(());
        }
        let v = {
            let s = change.state();
            s.map
                .find(at)
                .filter(|v| v.text.is_none() && is_text(v))
                .cloned()
        };
        let Some((v, base)) = v.and_then(|v| base(&v).map(|b| (v, b))) else {
            return Ok(());
        };
        if !change.state().island_fits(text, base, &[]) {
            return Ok(());
        }
        let mut steps = Vec::new();
        change.add_island(text, base, &mut steps);
        for piece in text.pieces(v.offset(), v.len()) {
            let addr = v.start + (piece.offset - v.offset());
            let edit = Edit::Rewritten(v.start, v.end, text.clone());
            steps.push((text_op(addr, v.prot, piece, text), edit));
        }
        change.carry_out(thread, steps)
    }

    /// The address that the guest knows for one in an island: a signal frame, or whoever else looks at the registers, is
    /// to see the program's own text.
    pub fn shown_address(&self, rip: u64) -> u64 {
        if self.texts.is_none() {
            return rip;
        }
        let s = self.state.lock();
        let island = s.islands.range(..=rip).next_back();
        island
            .filter(|(_, i)| rip < i.end)
            .and_then(|(start, i)| i.base.checked_add(i.text.original(rip - start)?))
            .unwrap_or(rip)
    }

    /// The reverse, for registers that the guest sets: where a thread goes on that was between instructions which have moved.
    pub fn real_address(&self, rip: u64) -> u64 {
        if self.texts.is_none() {
            return rip;
        }
        let s = self.state.lock();
        let moved = || {
            let v = s.map.find(rip)?;
            let t = v.text.as_ref().filter(|t| t.live)?;
            let base = base(v)?;
            let (island, _) = t.text.island(base)?;
            island.checked_add(t.text.moved(rip - base)?)
        };
        moved().unwrap_or(rip)
    }
}
