//! The ordered set of mappings of one address space, and the arithmetic on it. No locks, no host operations.

use super::vma::{PAGE, VmFlags, Vma};
use cofferdam_platform::rewrite::GAP;
use std::collections::BTreeMap;

/// Distance that is kept free below a stack (`stack_guard_gap`), in bytes.
pub const GUARD_GAP: u64 = 256 * PAGE;

/// Disjoint mappings by start address; neighbours that can be one are one.
#[derive(Clone, Default)]
pub struct VmaMap {
    tree: BTreeMap<u64, Vma>,
    total: u64,
    data: u64,
    locked: u64,
}

impl VmaMap {
    /// Number of mappings.
    pub fn count(&self) -> usize {
        self.tree.len()
    }
    /// Bytes mapped.
    pub fn total(&self) -> u64 {
        self.total
    }
    /// Bytes that count against RLIMIT_DATA.
    pub fn data(&self) -> u64 {
        self.data
    }
    /// Bytes that count against RLIMIT_MEMLOCK.
    pub fn locked(&self) -> u64 {
        self.locked
    }
    /// All mappings, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma> {
        self.tree.values()
    }
    /// Mappings that start at or above `addr`, ascending.
    pub fn iter_from(&self, addr: u64) -> impl Iterator<Item = &Vma> {
        self.tree.range(addr..).map(|(_, v)| v)
    }
    /// The mapping that contains `addr`.
    pub fn find(&self, addr: u64) -> Option<&Vma> {
        self.below_or_at(addr).filter(|v| addr < v.end)
    }
    /// The mapping with the greatest start that is not above `addr`.
    pub fn below_or_at(&self, addr: u64) -> Option<&Vma> {
        self.tree.range(..=addr).next_back().map(|(_, v)| v)
    }
    /// The first mapping that ends above `addr` (`find_vma`).
    pub fn first_ending_above(&self, addr: u64) -> Option<&Vma> {
        self.find(addr)
            .or_else(|| self.tree.range(addr..).next().map(|(_, v)| v))
    }
    /// Mappings that overlap `start..end`, ascending.
    pub fn overlapping(&self, start: u64, end: u64) -> impl DoubleEndedIterator<Item = &Vma> {
        let from = self.find(start).map_or(start, |v| v.start);
        let to = end.max(from);
        self.tree.range(from..to).map(|(_, v)| v)
    }
    /// Whether nothing is mapped or kept for a stack in `start..end`.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.overlapping(start, end).next().is_none() && self.reserve_in(start, end).is_none()
    }
    /// Whether a mapping at `start..end` would be free and keep its distance from a stack above.
    pub fn is_free_below_guard(&self, start: u64, end: u64) -> bool {
        self.is_free(start, end)
            && self
                .tree
                .range(end..)
                .next()
                .is_none_or(|(_, v)| end <= stack_guard(v))
    }
    /// Whether `start..end` lies inside one mapping and touches neither of its ends: removing it makes two of one.
    pub fn punches_hole(&self, start: u64, end: u64) -> bool {
        self.find(start)
            .is_some_and(|v| v.start < start && end < v.end)
    }
    /// Bytes mapped in `start..end`.
    pub fn mapped_in(&self, start: u64, end: u64) -> u64 {
        self.overlapping(start, end)
            .map(|v| v.end.min(end) - v.start.max(start))
            .sum()
    }
    /// How far the range from `start` is mapped without a hole, at most to `end`.
    pub fn contiguous_until(&self, start: u64, end: u64) -> u64 {
        let mut at = start;
        for v in self.overlapping(start, end) {
            if v.start > at {
                break;
            }
            at = v.end.min(end);
        }
        at
    }

    fn add(&mut self, v: Vma) {
        self.total += v.len();
        if v.is_data() {
            self.data += v.len();
        }
        if v.flags.contains(VmFlags::LOCKED) {
            self.locked += v.len();
        }
        self.tree.insert(v.start, v);
    }
    fn take(&mut self, start: u64) -> Option<Vma> {
        let v = self.tree.remove(&start)?;
        self.total -= v.len();
        if v.is_data() {
            self.data -= v.len();
        }
        if v.flags.contains(VmFlags::LOCKED) {
            self.locked -= v.len();
        }
        Some(v)
    }
    /// Makes `at` a boundary between mappings.
    fn split(&mut self, at: u64) {
        let Some(start) = self.find(at).map(|v| v.start).filter(|s| *s < at) else {
            return;
        };
        if let Some(mut lower) = self.take(start) {
            let upper = lower.split_off(at);
            self.add(lower);
            self.add(upper);
        }
    }
    /// Joins the mappings on both sides of the boundary `at` if they allow it; what became superfluous goes to `out`.
    fn join(&mut self, at: u64, out: &mut Vec<Vma>) {
        let Some(lower) = self.tree.range(..at).next_back().map(|(_, v)| v) else {
            return;
        };
        if !self.tree.get(&at).is_some_and(|u| lower.merges_with(u)) {
            return;
        }
        let start = lower.start;
        if let (Some(mut lower), Some(upper)) = (self.take(start), self.take(at)) {
            lower.end = upper.end;
            lower.flags |= upper.flags & VmFlags::WRITTEN;
            self.add(lower);
            out.push(upper);
        }
    }

    /// Unmaps `start..end`; the pieces removed go to `out`, to be dropped without locks.
    pub fn remove(&mut self, start: u64, end: u64, out: &mut Vec<Vma>) {
        self.split(start);
        self.split(end);
        let starts: Vec<u64> = self.overlapping(start, end).map(|v| v.start).collect();
        for s in starts {
            out.extend(self.take(s));
        }
    }

    /// Maps `vma`, replacing whatever was in its range.
    pub fn insert(&mut self, vma: Vma, out: &mut Vec<Vma>) {
        let (start, end) = (vma.start, vma.end);
        self.remove(start, end, out);
        self.add(vma);
        self.join(start, out);
        self.join(end, out);
    }

    /// Changes each mapping in `start..end` (cut at the ends) by `change`, and joins what became alike.
    pub fn update(
        &mut self,
        start: u64,
        end: u64,
        out: &mut Vec<Vma>,
        mut change: impl FnMut(&mut Vma),
    ) {
        self.split(start);
        self.split(end);
        let starts: Vec<u64> = self.overlapping(start, end).map(|v| v.start).collect();
        for s in &starts {
            if let Some(mut v) = self.take(*s) {
                let range = (v.start, v.end, v.reserve);
                change(&mut v);
                (v.start, v.end, v.reserve) = range;
                self.add(v);
            }
        }
        for s in starts {
            self.join(s, out);
        }
        self.join(end, out);
    }

    /// Moves the start of the mapping that starts at `start` down to `new_start` and its reserve to `new_reserve`; the
    /// space is free.
    pub fn grow_down(&mut self, start: u64, new_start: u64, new_reserve: u64) {
        if let Some(mut v) = self.take(start) {
            v.start = new_start.min(start);
            v.reserve = new_reserve.min(v.start);
            self.add(v);
        }
    }

    /// A mapping whose reserve (not the mapping itself) overlaps `start..end`: it must become part of
    /// the mapping before the range is changed. Its start and its reserve.
    pub fn reserve_in(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        self.tree
            .range(start..end.max(start))
            .chain(self.tree.range(end.max(start)..).take(1))
            .map(|(_, v)| v)
            .find(|v| v.reserve < v.start && v.reserve < end && start < v.start)
            .map(|v| (v.start, v.reserve))
    }

    /// The highest free range of `len` bytes in `low..high`, its start aligned to `align` (a power of two).
    pub fn gap_top_down(&self, len: u64, low: u64, high: u64, align: u64) -> Option<u64> {
        let mut ceiling = high;
        for v in self.tree.range(..high).rev().map(|(_, v)| v) {
            if let Some(at) = fit_below(ceiling, len, align)
                && at >= v.end
                && at >= low
            {
                return Some(at);
            }
            ceiling = ceiling.min(guarded_start(v));
            if ceiling < low {
                return None;
            }
        }
        fit_below(ceiling, len, align).filter(|at| *at >= low)
    }

    /// The lowest free range of `len` bytes in `low..high`, its start aligned to `align`.
    pub fn gap_bottom_up(&self, len: u64, low: u64, high: u64, align: u64) -> Option<u64> {
        let mut floor = self.find(low).map_or(low, |v| v.end);
        let fits = |floor: u64, limit: u64| {
            let at = floor.checked_next_multiple_of(align)?;
            (at.checked_add(len)? <= limit).then_some(at)
        };
        for v in self.tree.range(floor..).map(|(_, v)| v) {
            if let Some(at) = fits(floor, guarded_start(v).min(high)) {
                return Some(at);
            }
            floor = v.end;
            if floor >= high {
                return None;
            }
        }
        fits(floor, high)
    }
}

/// Lowest address that a new neighbour below `v` may reach, if the address is ours to choose.
fn guarded_start(v: &Vma) -> u64 {
    if v.flags.contains(VmFlags::KEEPS_GAP) {
        v.start.saturating_sub(GAP)
    } else {
        stack_guard(v)
    }
}

/// Lowest address that any new neighbour below `v` may reach.
fn stack_guard(v: &Vma) -> u64 {
    if v.flags.contains(VmFlags::GROWSDOWN) {
        v.reserve.saturating_sub(GUARD_GAP)
    } else {
        v.start
    }
}

fn fit_below(ceiling: u64, len: u64, align: u64) -> Option<u64> {
    Some(ceiling.checked_sub(len)? & !(align - 1))
}
