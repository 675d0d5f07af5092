//! Mailboxes: the memory that one guest process shares with the sentry, one slot per host thread.
//!
//! A process has one sealed memfd ([`Mailboxes`]) that holds the slots of all its threads and of nobody else. The guest can
//! write to it at any time: what is read from here is hostile and must be copied once, then checked.
#![allow(unsafe_code)] // volatile access to memory that another process writes
use std::arch::x86_64::_mm_prefetch;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::{Error, Result, sys};

/// Length of one slot of a traced stub in bytes.
pub(crate) const SLOT: usize = 8192;
/// How many threads one traced process may have.
pub(crate) const SLOTS: usize = 4096;
/// Length of the window of all slots of a traced stub in bytes.
pub(crate) const WINDOW: usize = SLOT * SLOTS;
/// How many list entries fit in a slot; the rest is left for results.
pub(crate) const MAX_OPS: usize = 96;
/// Offset of the result area in a slot, in bytes; it is `SLOT - RESULT` bytes long.
pub(crate) const RESULT: usize = MAX_OPS * size_of::<Op>();

/// One entry of the list that the stub carries out: a host system call.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Op {
    /// System call number.
    pub number: u64,
    /// Arguments.
    pub args: [u64; 6],
    /// 1: ring for a descriptor first; it becomes `args[4]` and is closed afterwards. In untraced stubs also 2:
    /// it is kept, and its number put into `args[4]`; 3: the one that an earlier operation of the list kept, whose index is in the higher bytes; 4: no system
    /// call, but a copy: to, from, length in bytes, and the result if it faults.
    pub with_fd: u64,
}

/// The mailboxes of one guest process, as the sentry sees them.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    map: *mut u8,
    /// Length of a slot in bytes, and how many there are.
    shape: (usize, usize),
    slots: Mutex<Slots>,
    /// What `map` points to; until the end.
    memory: Option<Memory>,
    /// Where it goes then.
    depot: OnceLock<Arc<Depot>>,
}

/// A memfd that is mapped, and its descriptor if it is wanted again.
#[derive(Debug)]
pub(crate) struct Memory {
    map: *mut u8,
    len: usize,
    fd: Option<OwnedFd>,
}

/// Emptied memory of dead processes' mailboxes, all of one shape, for new ones: to make, map and unmap it takes a good part of the time of a short process.
#[derive(Debug, Default)]
pub(crate) struct Depot(Mutex<Vec<Memory>>);

/// How many a [`Depot`] holds.
const STORED: usize = 4;

#[derive(Debug, Default)]
struct Slots {
    next: usize,
    free: BTreeSet<usize>,
}

// SAFETY: as for `Mailboxes`; the mapping is not reached through this at all.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}
// SAFETY: the mapping is only reached through volatile accesses below; nothing else is thread-bound.
unsafe impl Send for Mailboxes {}
// SAFETY: as above; each slot is used by the owner of its thread.
unsafe impl Sync for Mailboxes {}

impl Mailboxes {
    /// Makes an empty set of slots, and the memfd for the stub to map; no memory is used before a slot is.
    pub fn new() -> Result<(Mailboxes, OwnedFd)> {
        Mailboxes::with_shape(SLOT, SLOTS)
    }

    /// With slots of another length.
    pub fn with_shape(slot: usize, slots: usize) -> Result<(Mailboxes, OwnedFd)> {
        let (memory, fd) = Memory::new(slot * slots)?;
        Ok((Mailboxes::over(memory, (slot, slots)), fd))
    }

    fn over(memory: Memory, shape: (usize, usize)) -> Mailboxes {
        Mailboxes {
            map: memory.map,
            shape,
            slots: Mutex::default(),
            memory: Some(memory),
            depot: OnceLock::new(),
        }
    }

    /// The memfd, if it was kept.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.memory.as_ref()?.fd.as_ref()?.as_fd())
    }

    /// Closes the memfd, so that the memory will not be used again.
    pub fn close_fd(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.fd = None;
        }
    }

    /// The process is dead, nobody else has the memory mapped: it can be used again.
    pub fn store_in(&self, depot: &Arc<Depot>) {
        let _ = self.depot.set(Arc::clone(depot));
    }

    /// Takes a free slot; `None` if the process has too many threads.
    pub fn take(&self) -> Option<usize> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.free.pop_first() {
            return Some(slot);
        }
        (slots.next < self.shape.1).then(|| {
            slots.next += 1;
            slots.next - 1
        })
    }

    /// Takes this slot of a process that has none yet.
    pub fn take_first(&self, slot: usize) {
        let mut slots = self.slots.lock();
        slots.free.extend(0..slot);
        slots.next = slot + 1;
    }

    /// Gives a slot back.
    pub fn give(&self, slot: usize) {
        self.slots.lock().free.insert(slot);
    }

    /// Writes the list for the stub of the thread that owns `slot`; entries beyond [`MAX_OPS`] are the caller's mistake and dropped.
    pub fn post(&self, slot: usize, ops: &[Op]) {
        self.post_from(0, slot, ops);
    }

    /// The same behind the `first` entries that are there.
    pub fn post_from(&self, first: usize, slot: usize, ops: &[Op]) {
        debug_assert!(slot < self.shape.1 && first + ops.len() <= MAX_OPS);
        if slot >= self.shape.1 {
            return;
        }
        for (i, op) in (first..MAX_OPS).zip(ops) {
            // SAFETY: slot < SLOTS and i < MAX_OPS keep the entry inside the mapping; it is aligned to 64
            // bytes; the memfd cannot shrink (sealed); volatile since the guest may write there too.
            unsafe {
                self.map
                    .add(slot * self.shape.0)
                    .cast::<Op>()
                    .add(i)
                    .write_volatile(*op)
            }
        }
    }

    /// Copies `N` words of the result area.
    pub fn results<const N: usize>(&self, slot: usize) -> [u64; N] {
        const { assert!(RESULT + N * 8 <= SLOT) };
        self.words(slot, RESULT)
    }

    /// Copies `N` words at `offset` in a slot; zeroes if that is not inside it.
    pub fn words<const N: usize>(&self, slot: usize, offset: usize) -> [u64; N] {
        if !self.inside(slot, offset, N * 8) {
            return [0; N];
        }
        std::array::from_fn(|i| {
            // SAFETY: inside the slot by the check above; aligned to 8 bytes; the memfd cannot shrink; volatile since
            // the guest may write there too.
            unsafe {
                self.map
                    .add(slot * self.shape.0 + offset)
                    .cast::<u64>()
                    .add(i)
                    .read_volatile()
            }
        })
    }

    /// Writes words at `offset` in a slot; nothing if that is not inside it.
    pub fn set_words(&self, slot: usize, offset: usize, words: &[u64]) {
        if !self.inside(slot, offset, words.len() * 8) {
            return;
        }
        for (i, word) in words.iter().enumerate() {
            // SAFETY: as in `words`.
            unsafe {
                self.map
                    .add(slot * self.shape.0 + offset)
                    .cast::<u64>()
                    .add(i)
                    .write_volatile(*word);
            }
        }
    }

    /// Copies bytes at `offset` in a slot; `None` if they are not inside it.
    pub fn bytes(&self, slot: usize, offset: usize, len: usize) -> Option<Vec<u8>> {
        if !self.inside(slot, offset, len) {
            return None;
        }
        let words = (0..len.div_ceil(8)).map(|i| {
            let [word] = self.words(slot, offset + 8 * i);
            word.to_le_bytes()
        });
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(len);
        Some(bytes)
    }

    /// Writes whole words of bytes at `offset` in a slot.
    pub fn set_bytes(&self, slot: usize, offset: usize, bytes: &[u8]) {
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|c| c.try_into().map_or(0, u64::from_le_bytes))
            .collect();
        self.set_words(slot, offset, &words);
    }

    /// The word at `offset` in a slot, for atomic access; `None` if it is not inside it.
    pub fn atomic(&self, slot: usize, offset: usize) -> Option<&AtomicU64> {
        // SAFETY: inside the slot by the check, which also aligns it; the mapping lives as long as `self`; everybody accesses these words by atomic
        // operations (the guest's accesses are another process's, which atomics must bear).
        self.inside(slot, offset, 8).then(|| unsafe {
            AtomicU64::from_ptr(self.map.add(slot * self.shape.0 + offset).cast())
        })
    }

    /// Copies bytes at `offset` in a slot to `buf`; false if they are not inside it.
    pub fn copy_out(&self, slot: usize, offset: usize, buf: &mut [u8]) -> bool {
        let (start, skip) = (offset & !7, offset & 7);
        if !self.inside(slot, start, skip + buf.len()) {
            return false;
        }
        // SAFETY: inside the slot by the check above; `buf` is memory of ours, so the two do not overlap. The guest may write meanwhile: any
        // mixture of bytes is as good as another, and this copy does not look at them.
        unsafe {
            let from = self.map.add(slot * self.shape.0 + offset);
            racy_copy(from, buf.as_mut_ptr(), buf.len());
        }
        true
    }

    /// Copies `bytes` to `offset` in a slot; false if that is not inside it.
    pub fn copy_in(&self, slot: usize, offset: usize, bytes: &[u8]) -> bool {
        let (start, skip) = (offset & !7, offset & 7);
        if !self.inside(slot, start, skip + bytes.len()) {
            return false;
        }
        // SAFETY: as in `copy_out`.
        unsafe {
            let to = self.map.add(slot * self.shape.0 + offset);
            racy_copy(bytes.as_ptr(), to, bytes.len());
        }
        true
    }

    /// Fetches up to [`FETCHED`] cache lines at `offset` in a slot, which another processor has, while there is something else to do.
    pub fn prefetch<const HINT: i32>(&self, slot: usize, offset: usize, len: usize) {
        let len = len.min(FETCHED * LINE);
        if !self.inside(slot, offset, len) {
            return;
        }
        for at in (0..len).step_by(LINE) {
            // SAFETY: inside the slot by the check above; nothing is read.
            unsafe {
                let line = self.map.add(slot * self.shape.0 + offset + at);
                _mm_prefetch::<HINT>(line.cast());
            }
        }
    }

    fn inside(&self, slot: usize, offset: usize, len: usize) -> bool {
        slot < self.shape.1
            && offset.is_multiple_of(8)
            && offset
                .checked_add(len)
                .is_some_and(|end| end <= self.shape.0)
    }
}

/// How many cache lines are fetched at once, and their length in bytes.
const FETCHED: usize = 4;
const LINE: usize = 64;

/// Up to this many bytes are copied one by one, which is faster than to start the instruction for more.
const SMALL: usize = 16;

/// Copies bytes one side of which another process may be writing: by an instruction that the compiler does not look into.
///
/// # Safety
/// As `copy_nonoverlapping`, but for such writes.
unsafe fn racy_copy(from: *const u8, to: *mut u8, len: usize) {
    if len <= SMALL {
        for i in 0..len {
            // SAFETY: the caller's; volatile for the same reason.
            unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
        }
        return;
    }
    // SAFETY: the caller's; the direction flag is clear by the ABI.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}

impl Drop for Mailboxes {
    fn drop(&mut self) {
        if let (Some(memory), Some(depot)) = (self.memory.take(), self.depot.get()) {
            depot.store(memory);
        }
    }
}

impl Depot {
    /// Empty mailboxes that keep their memfd.
    pub fn mailboxes(&self, slot: usize, slots: usize) -> Result<Mailboxes> {
        let stored = self.0.lock().pop();
        let memory = match stored {
            Some(memory) => memory,
            None => {
                let (mut memory, fd) = Memory::new(slot * slots)?;
                memory.fd = Some(fd);
                memory
            }
        };
        Ok(Mailboxes::over(memory, (slot, slots)))
    }

    /// Has some ready, if there are none; whether it made them.
    pub fn prepare(&self, slot: usize, slots: usize) -> bool {
        if !self.is_empty() {
            return false;
        }
        let Ok((mut memory, fd)) = Memory::new(slot * slots) else {
            return false;
        };
        memory.fd = Some(fd);
        self.0.lock().push(memory);
        true
    }

    /// Whether the next ones are made anew.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Takes memory that nobody else has mapped. All of it is emptied: a process can write to slots that it never had.
    fn store(&self, memory: Memory) {
        let emptied = memory
            .fd
            .as_ref()
            .is_some_and(|fd| sys::punch_hole(fd.as_fd(), memory.len as u64).is_ok());
        let mut stored = self.0.lock();
        if emptied && stored.len() < STORED {
            stored.push(memory);
        }
    }
}

impl Memory {
    /// The first word, for atomic access.
    pub(crate) fn word(&self) -> &AtomicU64 {
        debug_assert!(self.len >= 8);
        // SAFETY: the mapping is at least a page long, aligned to one, and lives as long as `self`; everybody accesses this word by atomic operations
        // (the guest's accesses are another process's, which atomics must bear).
        unsafe { AtomicU64::from_ptr(self.map.cast()) }
    }

    /// Copies bytes from `offset` on to `buf`; false if they are not inside it.
    pub(crate) fn copy_out(&self, offset: usize, buf: &mut [u8]) -> bool {
        if !self.inside(offset, buf.len()) {
            return false;
        }
        // SAFETY: inside the mapping by the check above; `buf` is memory of ours. The guest may write meanwhile, which this copy bears.
        unsafe { racy_copy(self.map.add(offset), buf.as_mut_ptr(), buf.len()) };
        true
    }

    /// Copies `bytes` to `offset`; false if that is not inside it.
    #[cfg(test)]
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.inside(offset, bytes.len()) {
            return false;
        }
        // SAFETY: as in `copy_out`.
        unsafe { racy_copy(bytes.as_ptr(), self.map.add(offset), bytes.len()) };
        true
    }

    fn inside(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// A new memfd of this length, mapped.
    pub(crate) fn new(len: usize) -> Result<(Memory, OwnedFd)> {
        let fd = sys::memfd(c"mailbox", len as u64).map_err(|e| {
            let hint = match e.raw_os_error() {
                Some(libc::EFBIG) => "; is the hard limit on file sizes (ulimit -H -f) too low?",
                _ => "",
            };
            Error::Host(format!("cannot make a mailbox: {e}{hint}"))
        })?;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; checked below, unmapped in drop.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(Error::Host(format!(
                "cannot map a mailbox: {}",
                std::io::Error::last_os_error()
            )));
        }
        let map = map.cast();
        Ok((Memory { map, len, fd: None }, fd))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no reference into it exists.
        unsafe { libc::munmap(self.map.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::slot;

    fn used_again(depot: &Depot, before: *mut u8) -> Mailboxes {
        let again = depot.mailboxes(slot::SLOT, slot::SLOTS).unwrap();
        assert_eq!(again.map, before);
        again
    }

    /// Whoever had the memory before can have written anywhere, also to slots that were nobody's.
    #[test]
    fn memory_that_is_used_again_is_empty() {
        let depot = Arc::new(Depot::default());
        let first = depot.mailboxes(slot::SLOT, slot::SLOTS).unwrap();
        let map = first.map;
        first.take_first(0);
        let places = [(0, slot::HOT), (1, slot::HOT), (slot::SLOTS - 1, 0)];
        for (slot, offset) in places {
            first.set_words(slot, offset, &[!0]);
        }
        first.store_in(&depot);
        drop(first);
        let again = used_again(&depot, map);
        for (slot, offset) in places {
            assert_eq!(again.words(slot, offset), [0], "{slot} {offset:#x}");
        }
        assert_eq!(again.take(), Some(0));
        again.store_in(&depot);
        drop(again);
        used_again(&depot, map);
    }
}
