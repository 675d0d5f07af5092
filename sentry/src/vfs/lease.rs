//! File leases (fcntl(2), F_SETLEASE): whoever opens or truncates a file in a way that a lease forbids waits until its holder,
//! who is told by a signal, gives it up, or until its time is over.
//!
//! [`Leases`] hangs on the inode. Nothing here waits: see [`blocks`]. One LEAF lock; holders are told without it.

use super::deny_write;
use super::file::File;
use super::inode::{FileType, InodeRef};
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials};
use crate::sync::{Charge, Events, Knob, Mutex, Quota, Rank, WaitQueue};
use crate::time::Instant;
use std::sync::Arc;

/// `fs.lease-break-time`: seconds that a holder has.
pub static BREAK_TIME: Knob = Knob::at(45, 0, i32::MAX as u64);
/// `fs.leases-enable`.
pub static ENABLED: Knob = Knob::new(0, 1);

/// All leases of the sandbox; more is ENOLCK.
static QUOTA: Quota = Quota::new(32768);

/// What a lease allows others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseKind {
    /// F_RDLCK: reading.
    Read,
    /// F_WRLCK: nothing.
    Write,
}

/// Told when a lease is to be given up.
pub trait Holder: Send + Sync {
    /// Somebody waits.
    fn broken(&self);
}

/// Until when a lease must be given up, or changed to one for reading; without a time for ever.
#[derive(Clone, Copy, Default)]
struct Pending {
    unlock: Option<Option<Instant>>,
    downgrade: Option<Option<Instant>>,
}

struct Lease {
    /// Address of the open file description.
    file: usize,
    kind: LeaseKind,
    pending: Pending,
    holder: Arc<dyn Holder>,
    _charge: Charge,
}

impl Lease {
    fn conflicts(&self, write: bool) -> bool {
        write || self.kind == LeaseKind::Write
    }
}

/// Leases on one inode (an extension of its `InodeMeta`).
pub struct Leases {
    state: Mutex<Vec<Lease>>,
    /// Woken when one goes or becomes less.
    queue: Arc<WaitQueue>,
}

impl Default for Leases {
    fn default() -> Leases {
        Leases {
            state: Mutex::new(Rank::LEAF, Vec::new()),
            queue: Arc::new(WaitQueue::new()),
        }
    }
}

fn is_past(time: Option<Option<Instant>>) -> bool {
    time.flatten().is_some_and(|t| t <= Instant::now())
}

/// Takes back what was to be given up by now.
fn time_out(leases: &mut Vec<Lease>) -> bool {
    let before = leases.len();
    leases.retain(|l| !is_past(l.pending.unlock));
    let mut changed = before != leases.len();
    for l in leases.iter_mut().filter(|l| is_past(l.pending.downgrade)) {
        l.kind = LeaseKind::Read;
        l.pending.downgrade = None;
        changed = true;
    }
    changed
}

impl Leases {
    fn with<R>(&self, f: impl FnOnce(&mut Vec<Lease>) -> (R, bool)) -> R {
        let (result, changed) = {
            let mut state = self.state.lock();
            let timed_out = time_out(&mut state);
            let (result, changed) = f(&mut state);
            (result, changed || timed_out)
        };
        if changed {
            self.queue.wake(Events::IN);
        }
        result
    }
}

fn identity(file: &File) -> usize {
    std::ptr::from_ref(file).addr()
}

/// Who may have a lease on the file, and whether it can have any.
fn may_lease(creds: &Credentials, file: &File) -> Result<()> {
    let owner = file.inode().permissions()?;
    if creds.fsuid != owner.uid && !creds.has(Caps::LEASE) {
        return Err(Errno::EACCES);
    }
    if file.inode().file_type() != FileType::Regular {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// EAGAIN if the file is open in a way that the lease would forbid (`check_conflicting_open`).
fn check_open(file: &File, kind: LeaseKind) -> Result<()> {
    let writers = deny_write::writers(file.inode());
    let flags = file.flags();
    let free = match kind {
        LeaseKind::Read => writers <= 0,
        LeaseKind::Write => {
            writers == i64::from(flags.writable())
                && file.inode().meta().readers() == u32::from(!flags.writable() && flags.readable())
        }
    };
    if free { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// F_SETLEASE of a lease for `file`.
///
/// # Errors
/// EACCES, EINVAL, EAGAIN, ENOLCK.
pub fn set(
    creds: &Credentials,
    file: &File,
    kind: LeaseKind,
    holder: Arc<dyn Holder>,
) -> Result<()> {
    may_lease(creds, file)?;
    if ENABLED.get() == 0 {
        return Err(Errno::EINVAL);
    }
    let me = identity(file);
    let charge = QUOTA.charge(1).ok_or(Errno::ENOLCK)?;
    let leases = file.inode().meta().extension::<Leases>();
    leases.with(|all| {
        let outcome = (|| {
            check_open(file, kind)?;
            let mut others = all.iter().filter(|l| l.file != me);
            if others.any(|l| kind == LeaseKind::Write || l.pending.unlock.is_some()) {
                return Err(Errno::EAGAIN);
            }
            match all.iter_mut().find(|l| l.file == me) {
                Some(l) => {
                    l.kind = kind;
                    if kind == LeaseKind::Read {
                        l.pending.downgrade = None;
                    }
                }
                None => all.push(Lease {
                    file: me,
                    kind,
                    pending: Pending::default(),
                    holder,
                    _charge: charge,
                }),
            }
            Ok(())
        })();
        let changed = outcome.is_ok();
        (outcome, changed)
    })
}

/// F_SETLEASE with F_UNLCK.
///
/// # Errors
/// EACCES, EINVAL; EAGAIN if there is none.
pub fn remove(creds: &Credentials, file: &File) -> Result<()> {
    may_lease(creds, file)?;
    if take(file) {
        Ok(())
    } else {
        Err(Errno::EAGAIN)
    }
}

fn take(file: &File) -> bool {
    let Some(leases) = file.inode().meta().existing::<Leases>() else {
        return false;
    };
    leases.with(|all| {
        let at = all.iter().position(|l| l.file == identity(file));
        let gone = at.map(|i| all.swap_remove(i));
        (gone.is_some(), gone.is_some())
    })
}

/// The description goes, and its lease.
pub(super) fn released(file: &File) {
    take(file);
}

/// F_GETLEASE: what the lease of `file` is, or is to become.
pub fn get(file: &File) -> Option<LeaseKind> {
    let leases = file.inode().meta().existing::<Leases>()?;
    leases.with(|all| {
        let found = all.iter().find(|l| l.file == identity(file));
        let kind = found.and_then(|l| match l.pending {
            Pending {
                unlock: Some(_), ..
            } => None,
            Pending {
                downgrade: Some(_), ..
            } => Some(LeaseKind::Read),
            _ => Some(l.kind),
        });
        (kind, false)
    })
}

/// Asks holders of leases to give up what forbids opening the file, and says whether anybody has to (`__break_lease`).
pub fn break_for(inode: &InodeRef, write: bool) -> bool {
    let Some(leases) = inode.meta().existing::<Leases>() else {
        return false;
    };
    let seconds = BREAK_TIME.get();
    let until = (seconds > 0).then(|| Instant::now().after(seconds.saturating_mul(1_000_000_000)));
    let (told, conflict) = leases.with(|all| {
        let mut told = Vec::new();
        let mut conflict = false;
        for l in all.iter_mut().filter(|l| l.conflicts(write)) {
            conflict = true;
            if write {
                if l.pending.unlock.is_some() {
                    continue;
                }
                l.pending.unlock = Some(until);
            } else {
                if l.pending.unlock.is_some() || l.pending.downgrade.is_some() {
                    continue;
                }
                l.pending.downgrade = Some(until);
            }
            told.push(l.holder.clone());
        }
        ((told, conflict), false)
    });
    for holder in told {
        holder.broken();
    }
    conflict
}

/// What an open or truncation that `write` describes has to wait for: the queue, and the time to look again.
pub fn blocks(inode: &InodeRef, write: bool) -> Option<(Arc<WaitQueue>, Option<Instant>)> {
    let leases = inode.meta().existing::<Leases>()?;
    leases.with(|all| {
        let in_the_way = || all.iter().filter(|l| l.conflicts(write));
        let times = in_the_way().filter_map(|l| l.pending.unlock.or(l.pending.downgrade).flatten());
        let wait = in_the_way()
            .next()
            .map(|_| (leases.queue.clone(), times.min()));
        (wait, false)
    })
}

/// A file that open(2) has made but may not return yet.
pub fn opening(file: &File) -> Option<(Arc<WaitQueue>, Option<Instant>)> {
    if !file.is_opening() {
        return None;
    }
    blocks(file.inode(), file.flags().writable())
}
