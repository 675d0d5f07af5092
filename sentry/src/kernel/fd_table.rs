//! Descriptor tables (`struct files_struct`).

mod loans;

use crate::abi::{Errno, Result};
use crate::sync::{Charge, Knob, Mutex, Quota, Rank};
use crate::vfs::File;
use crate::vfs::loan::Loan;
use loans::Loans;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One descriptor.
#[derive(Clone)]
pub struct FdEntry {
    /// The open file description.
    pub file: Arc<File>,
    /// FD_CLOEXEC.
    pub cloexec: bool,
}

/// Descriptors of one or more tasks. Closed files are handed back to the caller so that they are dropped without the lock.
pub struct FdTable {
    /// Names the owner of POSIX record locks.
    id: u64,
    /// Tasks that have it.
    users: AtomicUsize,
    inner: Mutex<Inner>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Slots of all tables of the sandbox: a table may have a million of them, and every fork copies it.
static SLOTS: Quota = Quota::new(8 << 20);

#[derive(Default)]
struct Inner {
    slots: Vec<Option<FdEntry>>,
    charge: Option<Charge>,
    /// No free slot below this index.
    first_free: usize,
    /// What was lent by descriptors.
    loans: Loans,
}

impl Default for FdTable {
    fn default() -> Self {
        FdTable::with(Inner::default())
    }
}

impl Inner {
    /// Makes slots up to `at`.
    ///
    /// # Errors
    /// ENFILE if the sandbox has too many.
    fn reach(&mut self, at: usize) -> Result<()> {
        let len = at + 1;
        if len <= self.slots.len() {
            return Ok(());
        }
        let taken = match &mut self.charge {
            Some(c) => c.resize(len),
            none => {
                *none = SLOTS.charge(len);
                none.is_some()
            }
        };
        if !taken {
            return Err(Errno::ENFILE);
        }
        self.slots.resize(len, None);
        Ok(())
    }
    /// The descriptor names another file now, or none: what was lent by it is over before anybody learns of that.
    fn changed(&mut self, at: usize) {
        self.loans.end(at);
    }
}

fn index(fd: i32) -> Result<usize> {
    usize::try_from(fd).map_err(|_| Errno::EBADF)
}

impl FdTable {
    fn with(inner: Inner) -> FdTable {
        FdTable {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            users: AtomicUsize::new(0),
            inner: Mutex::new(Rank::FD_TABLE, inner),
        }
    }
    /// Its number, unlike that of any other table: the owner of POSIX record locks.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// A task gets this table.
    pub(super) fn enter(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }
    /// A task gives it up; whether it was the last one.
    pub(super) fn leave(&self) -> bool {
        self.users.fetch_sub(1, Ordering::AcqRel) == 1
    }
    /// Whether more than one task has it.
    pub fn is_shared(&self) -> bool {
        self.users.load(Ordering::Acquire) > 1
    }
    /// The file behind `fd`, whatever it was opened for (O_PATH included).
    pub fn get_any(&self, fd: i32) -> Result<Arc<File>> {
        self.entry(fd).map(|e| e.file)
    }
    /// The file behind `fd`; EBADF for O_PATH descriptors too.
    pub fn get(&self, fd: i32) -> Result<Arc<File>> {
        let f = self.get_any(fd)?;
        if f.flags().contains(crate::vfs::OpenFlags::PATH) {
            Err(Errno::EBADF)
        } else {
            Ok(f)
        }
    }
    /// File and close-on-exec flag.
    pub fn entry(&self, fd: i32) -> Result<FdEntry> {
        self.inner
            .lock()
            .slots
            .get(index(fd)?)
            .and_then(Clone::clone)
            .ok_or(Errno::EBADF)
    }
    /// Lowest free descriptor that is at least `min` and below `limit` (RLIMIT_NOFILE).
    ///
    /// # Errors
    /// EMFILE; ENFILE if the sandbox has too many.
    pub fn install(&self, file: Arc<File>, cloexec: bool, min: i32, limit: u64) -> Result<i32> {
        let mut t = self.inner.lock();
        let min = index(min).map_err(|_| Errno::EINVAL)?;
        let start = min.max(t.first_free);
        let at = (start..t.slots.len())
            .find(|i| matches!(t.slots.get(*i), Some(None)))
            .unwrap_or(t.slots.len().max(min));
        if at as u64 >= limit.min(MAX_FDS as u64) {
            return Err(Errno::EMFILE);
        }
        t.reach(at)?;
        if let Some(s) = t.slots.get_mut(at) {
            *s = Some(FdEntry { file, cloexec });
        }
        if start == t.first_free {
            t.first_free = at + 1;
        }
        i32::try_from(at).map_err(|_| Errno::EMFILE)
    }
    /// EMFILE if no descriptor below `limit` is free.
    pub fn has_room(&self, limit: u64) -> Result<()> {
        let t = self.inner.lock();
        let at = (t.first_free..t.slots.len())
            .find(|i| matches!(t.slots.get(*i), Some(None)))
            .unwrap_or(t.slots.len());
        if at as u64 >= limit.min(MAX_FDS as u64) {
            return Err(Errno::EMFILE);
        }
        Ok(())
    }
    /// Puts `file` at exactly `fd` (dup2, dup3); what was there is returned.
    ///
    /// # Errors
    /// EBADF if `fd` is negative or not below `limit`; ENFILE if the sandbox has too many.
    pub fn install_at(
        &self,
        fd: i32,
        file: Arc<File>,
        cloexec: bool,
        limit: u64,
    ) -> Result<Option<FdEntry>> {
        let at = index(fd)?;
        if at as u64 >= limit.min(MAX_FDS as u64) {
            return Err(Errno::EBADF);
        }
        let mut t = self.inner.lock();
        t.reach(at)?;
        t.changed(at);
        Ok(t.slots
            .get_mut(at)
            .and_then(|s| s.replace(FdEntry { file, cloexec })))
    }
    /// Remembers that something of `file` is lent by `fd`, until that names another one; false if it does already.
    pub(super) fn lend(&self, fd: i32, file: &Arc<File>, loan: Arc<dyn Loan>) -> bool {
        let Ok(at) = index(fd) else { return false };
        self.forget_ended();
        let mut t = self.inner.lock();
        let there = matches!(t.slots.get(at), Some(Some(e)) if Arc::ptr_eq(&e.file, file));
        if there {
            t.loans.add(at, loan);
        }
        there
    }
    /// The loan by `fd` has ended.
    pub(super) fn end_loan(&self, fd: i32, loan: &Arc<dyn Loan>) {
        if let Ok(at) = index(fd) {
            self.inner.lock().loans.remove(at, loan);
        }
    }
    /// Forgets some loans that have ended: there might be room for another one.
    pub(super) fn forget_ended(&self) {
        let over = self.inner.lock().loans.look();
        drop(over);
    }
    /// How many loans it knows of.
    #[cfg(test)]
    pub(super) fn loans(&self) -> usize {
        self.inner.lock().loans.len()
    }
    /// Removes `fd`; the caller flushes and drops the entry.
    pub fn remove(&self, fd: i32) -> Result<FdEntry> {
        let at = index(fd)?;
        let mut t = self.inner.lock();
        let e = t
            .slots
            .get_mut(at)
            .and_then(Option::take)
            .ok_or(Errno::EBADF)?;
        t.changed(at);
        t.first_free = t.first_free.min(at);
        Ok(e)
    }
    /// Sets FD_CLOEXEC.
    pub fn set_cloexec(&self, fd: i32, on: bool) -> Result<()> {
        let at = index(fd)?;
        let mut t = self.inner.lock();
        t.slots
            .get_mut(at)
            .and_then(Option::as_mut)
            .ok_or(Errno::EBADF)?
            .cloexec = on;
        Ok(())
    }
    /// Descriptors that the table has room for now (`max_fds` in Linux): select(2) does not look beyond.
    pub fn capacity(&self) -> usize {
        match self.inner.lock().slots.len() {
            0..=64 => 64,
            n => n.div_ceil(128).next_power_of_two() * 128,
        }
    }
    /// Open descriptors, ascending.
    pub fn list(&self) -> Vec<i32> {
        let t = self.inner.lock();
        (0i32..)
            .zip(t.slots.iter())
            .filter(|(_, s)| s.is_some())
            .map(|(i, _)| i)
            .collect()
    }
    /// A table with the same files (fork).
    ///
    /// # Errors
    /// ENOMEM if the sandbox has too many slots.
    pub fn duplicate(&self) -> Result<FdTable> {
        let t = self.inner.lock();
        // As Linux, no more room than is needed.
        let used = t
            .slots
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |i| i + 1);
        if room_for(used as u64) > room_for(NR_OPEN.get()) {
            return Err(Errno::EMFILE);
        }
        let charge = Some(SLOTS.charge(used).ok_or(Errno::ENOMEM)?);
        Ok(FdTable::with(Inner {
            slots: t.slots.iter().take(used).cloned().collect(),
            charge,
            first_free: t.first_free.min(used),
            loans: Loans::default(),
        }))
    }
    /// Takes out every entry for which `pick(fd, entry)` holds (exec's close-on-exec, close_range, exit).
    pub fn remove_where(&self, mut pick: impl FnMut(i32, &FdEntry) -> bool) -> Vec<FdEntry> {
        let mut guard = self.inner.lock();
        let t = &mut *guard;
        let mut out = Vec::new();
        let mut lowest = usize::MAX;
        for (i, slot) in t.slots.iter_mut().enumerate() {
            if slot
                .as_ref()
                .is_some_and(|e| pick(i32::try_from(i).unwrap_or(i32::MAX), e))
            {
                lowest = lowest.min(i);
                out.extend(slot.take());
                t.loans.end(i);
            }
        }
        t.first_free = t.first_free.min(lowest);
        out
    }
    /// Applies `f` to every entry (close_range's CLOSE_RANGE_CLOEXEC).
    pub fn for_each(&self, mut f: impl FnMut(i32, &mut FdEntry)) {
        let mut t = self.inner.lock();
        for (i, slot) in t.slots.iter_mut().enumerate() {
            if let Some(e) = slot {
                f(i32::try_from(i).unwrap_or(i32::MAX), e);
            }
        }
    }
}

/// Most descriptors in one table.
pub const MAX_FDS: usize = 1 << 20;
/// `fs.nr_open`: what RLIMIT_NOFILE may say, and what a copy of a table may have room for.
pub static NR_OPEN: Knob = Knob::new(64, MAX_FDS as u64);

/// Tables grow by so many (BITS_PER_LONG).
fn room_for(n: u64) -> u64 {
    n.next_multiple_of(64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::eventfd::EventFd;
    use crate::vfs::{KernelCaller, OpenFlags};

    #[test]
    fn copies_of_large_tables_are_bounded() {
        let file = EventFd::create(&KernelCaller, 0, false, OpenFlags::empty()).unwrap();
        let table = FdTable::default();
        table.install_at(3, file.clone(), false, 10).unwrap();
        assert_eq!(table.duplicate().unwrap().inner.lock().slots.len(), 4);
        let top = i32::try_from(MAX_FDS).unwrap() - 1;
        table.install_at(top, file, false, u64::MAX).unwrap();
        let mut copies = Vec::new();
        let refused = loop {
            match table.duplicate() {
                Ok(t) => copies.push(t),
                Err(e) => break e,
            }
            assert!(copies.len() < 8);
        };
        assert_eq!(refused, Errno::ENOMEM);
        drop(copies);
        table.duplicate().unwrap();
    }
}
