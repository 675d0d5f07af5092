//! PID namespaces (pid_namespaces(7)).
//!
//! Inside the sentry a task, process, group or session has one number: that of the initial namespace. [`PidTable`] knows
//! what each is called in the namespaces below, and system calls translate at the edge. Its lock is a LEAF, taken alone or
//! under the tree of tasks.

use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials, NsCommon, UserNamespace};
use crate::kernel::PID_MAX;
use crate::sync::Quota;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Most of them (`user.max_pid_namespaces`).
pub static QUOTA: Quota = Quota::new(1024);
/// Deepest nesting below the initial one (MAX_PID_NS_LEVEL).
const MAX_LEVEL: usize = 32;

/// `struct pid_namespace`.
pub struct PidNamespace {
    /// Number and owner.
    pub common: NsCommon,
    parent: Option<Arc<PidNamespace>>,
    level: usize,
    /// Its init, by the initial namespace's number; 0 until there is one.
    init: AtomicI32,
    /// Init has begun to end: nothing is born here any more.
    dying: AtomicBool,
}

impl PidNamespace {
    /// That of the sandbox.
    pub(super) fn initial() -> Arc<PidNamespace> {
        Arc::new(PidNamespace {
            common: NsCommon::initial(super::INITIAL_PID),
            parent: None,
            level: 0,
            init: AtomicI32::new(1),
            dying: AtomicBool::new(false),
        })
    }
    /// CLONE_NEWPID: one below this.
    ///
    /// # Errors
    /// EINVAL if the owner is not at or below this one's; ENOSPC beyond the deepest nesting or the quota.
    pub fn create(self: &Arc<Self>, owner: &Arc<UserNamespace>) -> Result<Arc<PidNamespace>> {
        if !owner.is_within(self.common.owner()) {
            return Err(Errno::EINVAL);
        }
        if self.level >= MAX_LEVEL {
            return Err(Errno::ENOSPC);
        }
        Ok(Arc::new(PidNamespace {
            common: NsCommon::create(&QUOTA, owner)?,
            parent: Some(self.clone()),
            level: self.level + 1,
            init: AtomicI32::new(0),
            dying: AtomicBool::new(false),
        }))
    }
    /// Whether it is the sandbox's own.
    pub fn is_initial(&self) -> bool {
        self.level == 0
    }
    /// How many are above it.
    pub fn level(&self) -> usize {
        self.level
    }
    /// Whether somebody with these rights may choose what a new task is called, from here upwards (`alloc_pid`).
    ///
    /// # Errors
    /// EINVAL, EPERM.
    pub(in crate::kernel) fn check_wanted(
        &self,
        creds: &Credentials,
        wanted: &[i32],
    ) -> Result<()> {
        if wanted.len() > self.level + 1 {
            return Err(Errno::EINVAL);
        }
        let mut at = Some(self);
        for number in wanted {
            let Some(ns) = at else {
                return Err(Errno::EINVAL);
            };
            let owner = ns.common.owner();
            if !(1..PID_MAX).contains(number) || *number != 1 && ns.init() == 0 {
                return Err(Errno::EINVAL);
            }
            if !creds.has_in(owner, Caps::CHECKPOINT_RESTORE)
                && !creds.has_in(owner, Caps::SYS_ADMIN)
            {
                return Err(Errno::EPERM);
            }
            at = ns.parent.as_deref();
        }
        Ok(())
    }
    /// The one it was made in.
    pub fn parent(&self) -> Option<&Arc<PidNamespace>> {
        self.parent.as_ref()
    }
    /// Its init, by the initial namespace's number; 0 if it has none yet.
    pub fn init(&self) -> i32 {
        self.init.load(Ordering::SeqCst)
    }
    /// Whether its init has begun to end.
    pub fn is_dying(&self) -> bool {
        self.dying.load(Ordering::SeqCst)
    }
    pub(in crate::kernel) fn set_dying(&self) {
        self.dying.store(true, Ordering::SeqCst);
    }
    /// Whether it is `above` or below that.
    pub fn is_within(&self, above: &PidNamespace) -> bool {
        let mut at = self;
        while at.level > above.level {
            match &at.parent {
                Some(p) => at = p,
                None => return false,
            }
        }
        at == above
    }
}

impl PartialEq for PidNamespace {
    fn eq(&self, other: &PidNamespace) -> bool {
        self.common.number() == other.common.number()
    }
}
impl Eq for PidNamespace {}

impl Drop for PidNamespace {
    /// Lets go of those above in a loop.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut ns) = next.and_then(Arc::into_inner) {
            next = ns.parent.take();
        }
    }
}

/// What one task is called: its namespace, and its number in each from the first below the initial one down to that.
struct Names {
    ns: Arc<PidNamespace>,
    numbers: SmallVec<[i32; 2]>,
}

#[derive(Default)]
struct Level {
    last: i32,
    by_number: HashMap<i32, i32>,
}

/// Numbers in the namespaces below the initial one. Most sandboxes have none.
#[derive(Default)]
pub struct PidTable {
    names: HashMap<i32, Names>,
    /// By number of the namespace.
    levels: HashMap<u64, Level>,
}

impl PidTable {
    /// Gives `pid` (of the initial namespace) a number in `ns` and those above.
    ///
    /// # Errors
    /// ENOMEM if the namespace's init is gone; EAGAIN if it has no number left; EEXIST if one of those that are wanted (from `ns` upwards) is another's.
    pub(in crate::kernel) fn assign(
        &mut self,
        pid: i32,
        ns: &Arc<PidNamespace>,
        wanted: &[i32],
    ) -> Result<()> {
        // The number may have been another's, of which a group or session remained.
        self.release(pid);
        if ns.is_initial() {
            return Ok(());
        }
        if ns.is_dying() {
            return Err(Errno::ENOMEM);
        }
        let mut chain: SmallVec<[&Arc<PidNamespace>; 2]> = SmallVec::new();
        let mut at = ns;
        while !at.is_initial() {
            chain.push(at);
            match &at.parent {
                Some(p) => at = p,
                None => break,
            }
        }
        let mut numbers = SmallVec::new();
        for level in chain.iter().rev() {
            let l = self.levels.entry(level.common.number()).or_default();
            let number = match wanted.get(ns.level.saturating_sub(level.level)) {
                Some(number) if l.by_number.contains_key(number) => Err(Errno::EEXIST),
                Some(number) => Ok(*number),
                None => l.free().ok_or(Errno::EAGAIN),
            };
            let Ok(number) = number else {
                self.names.insert(
                    pid,
                    Names {
                        ns: ns.clone(),
                        numbers,
                    },
                );
                self.release(pid);
                return number.map(drop);
            };
            l.by_number.insert(number, pid);
            numbers.push(number);
        }
        if ns.init() == 0 {
            ns.init.store(pid, Ordering::SeqCst);
        }
        self.names.insert(
            pid,
            Names {
                ns: ns.clone(),
                numbers,
            },
        );
        Ok(())
    }
    /// Nobody has the number any more.
    pub(in crate::kernel) fn release(&mut self, pid: i32) {
        let Some(names) = self.names.remove(&pid) else {
            return;
        };
        let mut depth = names.numbers.len();
        let mut at = Some(&names.ns);
        // The chain may be longer than the numbers that were assigned.
        while let Some(ns) = at.filter(|ns| !ns.is_initial()) {
            if ns.level <= depth
                && let Some(number) = names.numbers.get(ns.level - 1)
                && let Some(l) = self.levels.get_mut(&ns.common.number())
            {
                l.by_number.remove(number);
                if l.by_number.is_empty() && ns.is_dying() {
                    self.levels.remove(&ns.common.number());
                }
                depth = ns.level - 1;
            }
            at = ns.parent();
        }
    }
    /// The number given out last.
    pub(in crate::kernel) fn last(&self, ns: &PidNamespace) -> i32 {
        self.levels.get(&ns.common.number()).map_or(0, |l| l.last)
    }
    /// Changes it.
    pub(in crate::kernel) fn set_last(&mut self, ns: &PidNamespace, last: i32) {
        if let Some(l) = self.levels.get_mut(&ns.common.number()) {
            l.last = last;
        }
    }
    /// Whether it has a name below the initial namespace.
    pub(in crate::kernel) fn knows(&self, pid: i32) -> bool {
        self.names.contains_key(&pid)
    }
    /// What `pid` is called in `ns`; `None` if it is not seen there.
    pub fn seen(&self, ns: &PidNamespace, pid: i32) -> Option<i32> {
        if ns.is_initial() {
            return Some(pid);
        }
        let names = self.names.get(&pid)?;
        let number = *names.numbers.get(ns.level - 1)?;
        names.ns.is_within(ns).then_some(number)
    }
    /// What `number` means in `ns`.
    pub fn named(&self, ns: &PidNamespace, number: i32) -> Option<i32> {
        if ns.is_initial() {
            return Some(number);
        }
        let level = self.levels.get(&ns.common.number())?;
        level.by_number.get(&number).copied()
    }
    /// What `pid` is called in `ns` and in each namespace below that `task` is in; 0 where it is not seen.
    pub fn all_seen(&self, ns: &PidNamespace, task: i32, pid: i32) -> Vec<i32> {
        let mut all: Vec<i32> = Vec::new();
        let mut at = self.names.get(&task).map(|n| &n.ns);
        while let Some(below) = at.filter(|n| n.level > ns.level) {
            all.push(self.seen(below, pid).unwrap_or(0));
            at = below.parent();
        }
        all.push(self.seen(ns, pid).unwrap_or(0));
        all.reverse();
        all
    }
}

impl Level {
    fn free(&mut self) -> Option<i32> {
        for _ in 0..PID_MAX {
            // As in the initial namespace (RESERVED_PIDS).
            self.last = if self.last + 1 >= PID_MAX {
                300
            } else {
                self.last + 1
            };
            if !self.by_number.contains_key(&self.last) {
                return Some(self.last);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_seen_from_above_and_not_from_beside() {
        let top = PidNamespace::initial();
        let owner = UserNamespace::initial();
        let (a, b) = (top.create(owner).unwrap(), top.create(owner).unwrap());
        let below = a.create(owner).unwrap();
        let mut t = PidTable::default();
        t.assign(50, &a, &[]).unwrap();
        t.assign(51, &below, &[]).unwrap();
        t.assign(52, &b, &[]).unwrap();
        assert_eq!((a.init(), below.init(), b.init()), (50, 51, 52));
        assert_eq!(
            (t.seen(&top, 51), t.seen(&a, 51), t.seen(&below, 51)),
            (Some(51), Some(2), Some(1))
        );
        assert_eq!(
            (t.seen(&b, 51), t.seen(&below, 50), t.seen(&a, 7)),
            (None, None, None)
        );
        assert_eq!(
            (t.named(&a, 2), t.named(&b, 2), t.named(&top, 9)),
            (Some(51), None, Some(9))
        );
        assert_eq!(t.all_seen(&top, 51, 51), [51, 2, 1]);
        assert_eq!(t.all_seen(&top, 51, 50), [50, 1, 0]);
        assert_eq!(t.all_seen(&a, 51, 51), [2, 1]);
        assert_eq!(t.all_seen(&top, 7, 7), [7]);
        t.release(51);
        assert_eq!((t.seen(&a, 51), t.named(&a, 2)), (None, None));
        // A number that is given out anew means its new owner alone.
        t.assign(50, &b, &[]).unwrap();
        assert_eq!((t.named(&a, 1), t.named(&b, 2)), (None, Some(50)));
        a.set_dying();
        assert_eq!(t.assign(53, &a, &[]), Err(Errno::ENOMEM));
    }
}
