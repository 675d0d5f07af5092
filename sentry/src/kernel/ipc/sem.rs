//! Semaphore sets (semget(2), semop(2), semctl(2)).

use super::{IPC_NOWAIT, IpcNamespace, Object, now};
use crate::abi::{Errno, Result};
use crate::sync::{Charge, Events, Knob, Quota};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Most semaphores in a set.
pub const SEMMSL: i32 = 32000;
/// Most sets.
pub const SEMMNI: usize = 32000;
/// There is no sysctl for it alone.
pub(super) static MAX_SETS: Knob = Knob::new(0, SEMMNI as u64);
/// Sets of all namespaces.
pub(super) static SETS: Quota = Quota::new(SEMMNI);
/// Most semaphores in all sets (fewer than Linux's default: they cost the sentry memory).
pub const SEMMNS: i32 = 512_000;
/// Most operations in one call.
pub const SEMOPM: usize = 500;
/// Greatest value.
pub const SEMVMX: i32 = 32767;
/// Greatest adjustment.
const SEMAEM: i32 = 32767;
/// SEM_UNDO.
pub const SEM_UNDO: i16 = 0x1000;

/// One operation of semop(2).
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct SemOp {
    pub num: u16,
    pub op: i16,
    pub flags: i16,
}

impl SemOp {
    fn nowait(self) -> bool {
        i32::from(self.flags) & IPC_NOWAIT != 0
    }
    fn undo(self) -> bool {
        self.flags & SEM_UNDO != 0
    }
}

/// One semaphore.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Sem {
    pub value: i32,
    /// Who changed it last.
    pub pid: i32,
}

/// Most semaphores of all namespaces; one may have them all.
static SEMAPHORES: Quota = Quota::new(SEMMNS as usize);
/// Adjustments of all processes in all sets: a process has as many in a set as that has semaphores.
static UNDO: Quota = Quota::new(4 << 20);

/// What the end of a process adds to the semaphores of a set.
struct Undo {
    values: Vec<i32>,
    _charge: Charge,
}

/// A set.
pub struct Set {
    _charge: Option<Charge>,
    /// The semaphores.
    pub sems: Vec<Sem>,
    /// What the end of a process adds, by thread-group id.
    undo: HashMap<i32, Undo>,
    /// Waiting calls: their number, semaphore, and whether they wait for zero.
    waiting: Vec<(u64, u16, bool)>,
    next_wait: u64,
    /// Last operation, in seconds since the epoch.
    pub otime: i64,
    /// Creation or change.
    pub ctime: i64,
}

/// Why operations cannot be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum NotNow {
    /// Never.
    Errno(Errno),
    /// This semaphore must change; `true`: become zero.
    Wait(u16, bool),
}

impl Set {
    /// All operations or none (`perform_atomic_semop`). Whether values changed.
    pub fn perform(&mut self, pid: i32, ops: &[SemOp]) -> std::result::Result<bool, NotNow> {
        let mut values: HashMap<u16, i32> = HashMap::new();
        let mut adjust: HashMap<u16, i32> = HashMap::new();
        for op in ops {
            let sem = self
                .sems
                .get(usize::from(op.num))
                .ok_or(NotNow::Errno(Errno::EFBIG))?;
            let value = values.entry(op.num).or_insert(sem.value);
            let new = *value + i32::from(op.op);
            let blocked = if op.op == 0 { *value != 0 } else { new < 0 };
            if blocked {
                return Err(if op.nowait() {
                    NotNow::Errno(Errno::EAGAIN)
                } else {
                    NotNow::Wait(op.num, op.op == 0)
                });
            }
            if new > SEMVMX {
                return Err(NotNow::Errno(Errno::ERANGE));
            }
            if op.undo() {
                let old = self
                    .undo
                    .get(&pid)
                    .and_then(|u| u.values.get(usize::from(op.num)))
                    .copied()
                    .unwrap_or(0);
                let a = adjust.entry(op.num).or_insert(old);
                *a -= i32::from(op.op);
                if a.abs() > SEMAEM {
                    return Err(NotNow::Errno(Errno::ERANGE));
                }
            }
            *value = new;
        }
        let changed = ops.iter().any(|o| o.op != 0);
        if !adjust.is_empty() {
            let undo = self.undo_of(pid).map_err(NotNow::Errno)?;
            for (num, a) in adjust {
                if let Some(slot) = undo.values.get_mut(usize::from(num)) {
                    *slot = a;
                }
            }
        }
        for op in ops {
            if let Some(sem) = self.sems.get_mut(usize::from(op.num)) {
                sem.value = values.get(&op.num).copied().unwrap_or(sem.value);
                sem.pid = pid;
            }
        }
        self.otime = now();
        Ok(changed)
    }

    /// The adjustments of a process; ENOMEM if the sandbox has too many.
    fn undo_of(&mut self, pid: i32) -> Result<&mut Undo> {
        let len = self.sems.len();
        match self.undo.entry(pid) {
            Entry::Occupied(e) => Ok(e.into_mut()),
            Entry::Vacant(e) => Ok(e.insert(Undo {
                _charge: UNDO.charge(len).ok_or(Errno::ENOMEM)?,
                values: vec![0; len],
            })),
        }
    }

    /// SETVAL: adjustments of this semaphore are forgotten.
    pub fn set_value(&mut self, num: usize, value: i32, pid: i32) -> Result<()> {
        if !(0..=SEMVMX).contains(&value) {
            return Err(Errno::ERANGE);
        }
        let sem = self.sems.get_mut(num).ok_or(Errno::EINVAL)?;
        *sem = Sem { value, pid };
        for slot in self.undo.values_mut().filter_map(|u| u.values.get_mut(num)) {
            *slot = 0;
        }
        self.ctime = now();
        Ok(())
    }

    /// SETALL: all adjustments are forgotten.
    pub fn set_all(&mut self, values: &[u16], pid: i32) -> Result<()> {
        if values.iter().any(|v| i32::from(*v) > SEMVMX) {
            return Err(Errno::ERANGE);
        }
        for (sem, v) in self.sems.iter_mut().zip(values) {
            *sem = Sem {
                value: i32::from(*v),
                pid,
            };
        }
        self.undo.clear();
        self.ctime = now();
        Ok(())
    }

    /// Calls that wait for `num` to grow (`false`) or become zero (`true`).
    pub fn waiting_for(&self, num: u16, zero: bool) -> usize {
        self.waiting
            .iter()
            .filter(|(_, n, z)| (*n, *z) == (num, zero))
            .count()
    }

    /// The process ended: its adjustments are made.
    fn apply_undo(&mut self, pid: i32) -> bool {
        let Some(undo) = self.undo.remove(&pid) else {
            return false;
        };
        for (sem, adjust) in self
            .sems
            .iter_mut()
            .zip(undo.values)
            .filter(|(_, a)| *a != 0)
        {
            *sem = Sem {
                value: (sem.value + adjust).clamp(0, SEMVMX),
                pid,
            };
        }
        self.otime = now();
        true
    }
}

/// A call that waits, as GETNCNT and GETZCNT count it; dropping it ends the wait.
pub struct Waiting {
    /// The set.
    pub set: Arc<Object<Set>>,
    number: u64,
}

impl Waiting {
    /// Enters a waiting call.
    pub fn new(set: &Arc<Object<Set>>, num: u16, zero: bool) -> Waiting {
        let mut s = set.state.lock();
        let number = s.data.next_wait;
        s.data.next_wait = number.wrapping_add(1);
        s.data.waiting.push((number, num, zero));
        drop(s);
        Waiting {
            set: set.clone(),
            number,
        }
    }
    /// It waits for something else now.
    pub fn change(&self, num: u16, zero: bool) {
        let mut s = self.set.state.lock();
        if let Some(w) = s.data.waiting.iter_mut().find(|w| w.0 == self.number) {
            (w.1, w.2) = (num, zero);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set
            .state
            .lock()
            .data
            .waiting
            .retain(|w| w.0 != self.number);
    }
}

impl IpcNamespace {
    /// semget(2).
    ///
    /// # Errors
    /// EINVAL for a bad count; ENOSPC; those of [`super::Table::get`].
    pub fn semget(
        &self,
        creds: &crate::auth::Credentials,
        key: i32,
        count: i32,
        flags: i32,
    ) -> Result<i32> {
        let n = usize::try_from(count)
            .ok()
            .filter(|_| count <= SEMMSL)
            .ok_or(Errno::EINVAL)?;
        self.sem.get(
            creds,
            key,
            flags,
            |s| {
                if n > s.sems.len() {
                    Err(Errno::EINVAL)
                } else {
                    Ok(())
                }
            },
            || {
                if n == 0 {
                    return Err(Errno::EINVAL);
                }
                let charge = SEMAPHORES.charge(n).ok_or(Errno::ENOSPC)?;
                Ok(Set {
                    _charge: Some(charge),
                    sems: vec![Sem::default(); n],
                    undo: HashMap::new(),
                    waiting: Vec::new(),
                    next_wait: 0,
                    otime: 0,
                    ctime: now(),
                })
            },
        )
    }

    /// Semaphores in all sets.
    pub fn semaphores(&self) -> usize {
        self.sem
            .all()
            .iter()
            .map(|s| s.state.lock().data.sems.len())
            .sum()
    }

    /// A process has adjustments now.
    pub fn note_undo(&self, pid: i32) {
        self.undo_users.lock().insert(pid);
    }

    /// The last thread of a process ends: its semaphore adjustments are made.
    pub fn exit_process(&self, pid: i32) {
        if !self.undo_users.lock().remove(&pid) {
            return;
        }
        for set in self.sem.all() {
            if set.state.lock().data.apply_undo(pid) {
                set.queue.wake(Events::READABLE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(values: &[i32]) -> Set {
        Set {
            _charge: None,
            sems: values.iter().map(|v| Sem { value: *v, pid: 0 }).collect(),
            undo: HashMap::new(),
            waiting: Vec::new(),
            next_wait: 0,
            otime: 0,
            ctime: 0,
        }
    }
    fn op(num: u16, op: i16, flags: i16) -> SemOp {
        SemOp { num, op, flags }
    }

    #[test]
    fn all_operations_or_none() {
        let mut s = set(&[1, 0]);
        assert_eq!(
            s.perform(1, &[op(0, -1, 0), op(1, -1, 0)]),
            Err(NotNow::Wait(1, false))
        );
        assert_eq!(s.sems[0].value, 1);
        assert_eq!(s.perform(1, &[op(0, -1, 0), op(0, 0, 0)]), Ok(true));
        assert_eq!(s.sems[0].value, 0);
        assert_eq!(
            s.perform(1, &[op(0, 2, 0), op(0, 0, IPC_NOWAIT as i16)]),
            Err(NotNow::Errno(Errno::EAGAIN))
        );
        assert_eq!(
            s.perform(1, &[op(2, 1, 0)]),
            Err(NotNow::Errno(Errno::EFBIG))
        );
    }

    #[test]
    fn values_and_adjustments_are_bounded() {
        let mut s = set(&[32767]);
        assert_eq!(
            s.perform(1, &[op(0, 1, 0)]),
            Err(NotNow::Errno(Errno::ERANGE))
        );
        s.perform(1, &[op(0, -32767, SEM_UNDO)]).unwrap();
        assert_eq!(
            s.perform(1, &[op(0, 32767, 0), op(0, -1, SEM_UNDO)]),
            Err(NotNow::Errno(Errno::ERANGE))
        );
        s.set_value(0, 5, 1).unwrap();
        assert_eq!(s.set_value(0, 32768, 1), Err(Errno::ERANGE));
        assert!(s.apply_undo(1));
        assert_eq!(s.sems[0].value, 5, "SETVAL forgot the adjustment");
    }

    #[test]
    fn the_end_of_a_process_undoes() {
        let mut s = set(&[3]);
        s.perform(7, &[op(0, -2, SEM_UNDO)]).unwrap();
        s.perform(8, &[op(0, 1, SEM_UNDO)]).unwrap();
        assert!(s.apply_undo(7));
        assert_eq!(s.sems[0].value, 4);
        assert!(!s.apply_undo(7));
        s.perform(9, &[op(0, -4, 0)]).unwrap();
        s.apply_undo(8);
        assert_eq!(s.sems[0].value, 0, "never below zero");
    }
}
