//! Directory entries: the cache of names, and where each object is in its tree.
//!
//! There is at most one live dentry per name of a directory, so mounts, working directories and renames agree on it.
//! Every change of a directory's names runs under its `names` lock (Linux's `i_rwsem`; the one lock that may be held
//! while the gofer works); look-ups run without and retry if a change finished meanwhile.
//! Locks: `names` (DIRECTORY) before `cache` (DENTRY) before `place` (LEAF).

use super::inode::{FileType, InodeRef, same_inode};
use super::told::{Mark, Teller};
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, MutexGuard, Rank};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

/// Longest name of one path component, in bytes.
pub const NAME_MAX: usize = 255;

/// Bytes of one component.
pub type Name = Arc<[u8]>;

/// A name that exists: its inode and its place in the tree.
pub struct Dentry {
    inode: InodeRef,
    place: Mutex<Place>,
    deleted: AtomicBool,
    /// No file system tree holds it (pipes, memfds): its name is a description.
    anonymous: bool,
    mounted: AtomicU32,
    names: Mutex<()>,
    cache: Mutex<Cache>,
    /// Told: that it is what its name in its directory means.
    told: Mark,
}

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Name,
}

#[derive(Default)]
struct Cache {
    /// Names come from guests, who must not be able to make them collide: the hash is keyed.
    children: HashMap<Name, Child, ahash::RandomState>,
    /// Changes of the directory's names that have finished.
    changes: u64,
    /// Whether the pruning ring knows this directory.
    in_ring: bool,
}

enum Child {
    /// Kept: nobody else needs to hold it.
    Strong(Arc<Dentry>),
    /// Kept only while in use, for directories that change by themselves.
    Weak(Weak<Dentry>),
    /// Known not to exist, and perhaps told.
    Negative(Mark),
}

impl Child {
    fn get(&self) -> Option<Arc<Dentry>> {
        match self {
            Child::Strong(d) => Some(d.clone()),
            Child::Weak(w) => w.upgrade(),
            Child::Negative(_) => None,
        }
    }
    fn absent() -> Child {
        Child::Negative(Mark::default())
    }
    /// The name means something else now. Said with the cache locked, so before anybody can see it.
    fn changed(&self) {
        match self {
            Child::Strong(d) => d.told.changed(),
            Child::Weak(_) => {}
            Child::Negative(told) => told.changed(),
        }
    }
}

/// By a dentry's address and a namespace's number.
type MountCounts = HashMap<(usize, u64), u32, ahash::RandomState>;

/// How many mounts of which namespace are on which dentry: each mount holds its dentry.
static MOUNTED: LazyLock<Mutex<MountCounts>> =
    LazyLock::new(|| Mutex::new(Rank::LEAF, HashMap::default()));

/// Incremented by every rename, so that walks over parents can notice one.
static RENAMES: AtomicU64 = AtomicU64::new(0);

/// Number of renames so far.
pub fn rename_count() -> u64 {
    RENAMES.load(Ordering::Acquire)
}

impl Dentry {
    fn make(
        inode: InodeRef,
        parent: Option<Arc<Dentry>>,
        name: Name,
        anonymous: bool,
    ) -> Arc<Dentry> {
        Arc::new(Dentry {
            inode,
            place: Mutex::new(Rank::LEAF, Place { parent, name }),
            deleted: AtomicBool::new(false),
            anonymous,
            mounted: AtomicU32::new(0),
            names: Mutex::new(Rank::DIRECTORY, ()),
            cache: Mutex::new(Rank::DENTRY, Cache::default()),
            told: Mark::default(),
        })
    }
    /// Root of a file system.
    pub fn root(inode: InodeRef) -> Arc<Dentry> {
        Dentry::make(inode, None, Arc::from(&b"/"[..]), false)
    }
    /// An object outside any tree; `name` is what procfs shows (`pipe:[1]`).
    pub fn anonymous(inode: InodeRef, name: &[u8]) -> Arc<Dentry> {
        Dentry::make(inode, None, Arc::from(name), true)
    }
    /// An unnamed file made in directory `parent` (O_TMPFILE); shown as deleted `name`.
    pub fn unnamed(parent: &Arc<Dentry>, inode: InodeRef, name: &[u8]) -> Arc<Dentry> {
        let d = Dentry::make(inode, Some(parent.clone()), Arc::from(name), false);
        d.deleted.store(true, Ordering::Release);
        d
    }
    /// The inode.
    pub fn inode(&self) -> &InodeRef {
        &self.inode
    }
    /// The directory it is in; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }
    /// Its name in that directory.
    pub fn name(&self) -> Name {
        self.place.lock().name.clone()
    }
    /// Parent and name, consistent with each other.
    pub fn place(&self) -> (Option<Arc<Dentry>>, Name) {
        let p = self.place.lock();
        (p.parent.clone(), p.name.clone())
    }
    /// Whether the name is gone (unlinked, removed, replaced).
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }
    /// Whether it is outside any tree.
    pub fn is_anonymous(&self) -> bool {
        self.anonymous
    }
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.inode.file_type() == FileType::Directory
    }
    /// Whether something is mounted on it, in any mount namespace.
    pub fn is_mountpoint(&self) -> bool {
        self.mounted.load(Ordering::Acquire) > 0
    }
    /// Whether something is mounted on it in the mount namespace of this number: only there it cannot be removed.
    pub fn is_mountpoint_in(&self, namespace: u64) -> bool {
        self.is_mountpoint() && MOUNTED.lock().contains_key(&self.mounted_key(namespace))
    }
    fn mounted_key(&self, namespace: u64) -> (usize, u64) {
        (std::ptr::from_ref(self).addr(), namespace)
    }
    pub(super) fn mount_added(&self, namespace: u64) {
        self.mounted.fetch_add(1, Ordering::AcqRel);
        *MOUNTED
            .lock()
            .entry(self.mounted_key(namespace))
            .or_default() += 1;
    }
    /// What is mounted there is in no namespace any more, but still there.
    pub(super) fn mount_unlisted(&self, namespace: u64) {
        let mut mounted = MOUNTED.lock();
        let key = self.mounted_key(namespace);
        if let Some(n) = mounted.get_mut(&key) {
            *n -= 1;
            if *n == 0 {
                mounted.remove(&key);
            }
        }
    }
    /// It is not there any more.
    pub(super) fn mount_gone(&self) {
        self.mounted.fetch_sub(1, Ordering::AcqRel);
    }
    /// Whether `self` is `other` or below it.
    pub fn is_within(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, other) {
                return true;
            }
            match at.parent() {
                Some(p) => at = p,
                None => return false,
            }
        }
    }

    /// Child `name`, or `None` if there is none.
    ///
    /// # Errors
    /// ENAMETOOLONG, ENOTDIR, EIO; what the file system's `lookup` gives, but ENOENT.
    pub fn lookup(self: &Arc<Self>, name: &[u8]) -> Result<Option<Arc<Dentry>>> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let keep = self.inode.cacheable();
        for _ in 0..8 {
            if let Some(answer) = self.try_lookup(name, keep)? {
                return Ok(answer);
            }
        }
        let _still = self.names.lock();
        self.try_lookup(name, keep)?.ok_or(Errno::ESTALE)
    }

    /// One attempt; `None` if a change of the directory finished meanwhile.
    fn try_lookup(
        self: &Arc<Self>,
        name: &[u8],
        keep: bool,
    ) -> Result<Option<Option<Arc<Dentry>>>> {
        let before = {
            let c = self.cache.lock();
            match c.children.get(name) {
                Some(Child::Negative(_)) if keep => return Ok(Some(None)),
                Some(child) => {
                    if let Some(d) = child.get().filter(|d| keep || d.is_mountpoint()) {
                        return Ok(Some(Some(d)));
                    }
                }
                None => {}
            }
            c.changes
        };
        let found = match self.inode.lookup(name) {
            Ok(inode) => Some(inode),
            Err(Errno::ENOENT) => None,
            Err(e) => return Err(e),
        };
        let mut dropped = None;
        let result = {
            let mut c = self.cache.lock();
            if c.changes != before {
                return Ok(None);
            }
            match found {
                Some(inode) => Some(self.insert(&mut c, name, inode, keep, &mut dropped)),
                None => {
                    if keep {
                        dropped = self.put(&mut c, Arc::from(name), Child::absent());
                    } else {
                        dropped = self.take(&mut c, name);
                    }
                    None
                }
            }
        };
        forget(dropped);
        balance();
        Ok(Some(result))
    }

    /// Marks that `name` means `found` here, as was just looked up; false if it does no more, or nobody can tell until when.
    pub(super) fn tell(&self, name: &[u8], found: Option<&Arc<Dentry>>, teller: &Teller) -> bool {
        if !self.inode.cacheable() {
            return false;
        }
        let c = self.cache.lock();
        match (c.children.get(name), found) {
            (Some(Child::Strong(d)), Some(found)) if Arc::ptr_eq(d, found) => d.told.set(teller),
            (Some(Child::Negative(told)), None) => told.set(teller),
            _ => return false,
        }
        true
    }

    /// The dentry of `name`, which is `inode`: the cached one if it is the same.
    fn insert(
        self: &Arc<Self>,
        c: &mut Cache,
        name: &[u8],
        inode: InodeRef,
        keep: bool,
        dropped: &mut Option<Child>,
    ) -> Arc<Dentry> {
        if let Some(d) = c.children.get(name).and_then(Child::get)
            && (keep || same_inode(&d.inode, &inode))
        {
            return d;
        }
        let name: Name = Arc::from(name);
        let d = Dentry::make(inode, Some(self.clone()), name.clone(), false);
        let child = if keep {
            Child::Strong(d.clone())
        } else {
            Child::Weak(Arc::downgrade(&d))
        };
        *dropped = self.put(c, name, child);
        d
    }

    fn put(self: &Arc<Self>, c: &mut Cache, name: Name, child: Child) -> Option<Child> {
        if !c.in_ring {
            c.in_ring = true;
            ring_add(self);
        }
        let old = c.children.insert(name, child);
        match &old {
            Some(old) => old.changed(),
            None => {
                CACHED.fetch_add(1, Ordering::Relaxed);
            }
        }
        old
    }

    fn take(&self, c: &mut Cache, name: &[u8]) -> Option<Child> {
        let old = c.children.remove(name);
        if let Some(old) = &old {
            CACHED.fetch_sub(1, Ordering::Relaxed);
            old.changed();
        }
        old
    }

    /// Locks this directory's names for a change.
    pub(super) fn lock_names(&self) -> MutexGuard<'_, ()> {
        self.names.lock()
    }
    /// The same while another directory's names may be locked (rename; the one with the lower address first).
    pub(super) fn lock_names_nested(&self) -> MutexGuard<'_, ()> {
        self.names.lock_nested()
    }

    /// Records that `name` now is `inode` (created, linked). Call with the names locked.
    pub(super) fn added(self: &Arc<Self>, name: &[u8], inode: InodeRef) -> Arc<Dentry> {
        let keep = self.inode.cacheable();
        let mut dropped = None;
        let mut gone = None;
        let d = {
            let mut c = self.cache.lock();
            c.changes = c.changes.wrapping_add(1);
            // A look-up may have cached the new object between the creation and now.
            let stale = c
                .children
                .get(name)
                .and_then(Child::get)
                .is_some_and(|d| !same_inode(&d.inode, &inode));
            if stale {
                gone = self.take(&mut c, name);
            }
            self.insert(&mut c, name, inode, keep, &mut dropped)
        };
        forget(gone);
        forget(dropped);
        balance();
        d
    }

    /// Records that `name` no longer exists. Call with the names locked.
    pub(super) fn removed(self: &Arc<Self>, name: &[u8]) {
        let old = {
            let mut c = self.cache.lock();
            c.changes = c.changes.wrapping_add(1);
            if self.inode.cacheable() {
                self.put(&mut c, Arc::from(name), Child::absent())
            } else {
                self.take(&mut c, name)
            }
        };
        forget(old);
    }

    /// Records that `child` moved to `name` in `to`. Call with the names of both directories locked.
    pub(super) fn moved(child: &Arc<Dentry>, to: &Arc<Dentry>, name: &[u8]) {
        let name: Name = Arc::from(name);
        let (from, old_name) = child.place();
        let mut dropped = [None, None];
        if let Some(from) = from {
            let mut c = from.cache.lock();
            c.changes = c.changes.wrapping_add(1);
            let here = c
                .children
                .get(&old_name)
                .and_then(Child::get)
                .is_some_and(|d| Arc::ptr_eq(&d, child));
            if here {
                dropped[0] = from.take(&mut c, &old_name);
            }
        }
        let keep = to.inode.cacheable();
        {
            let mut c = to.cache.lock();
            c.changes = c.changes.wrapping_add(1);
            let link = if keep {
                Child::Strong(child.clone())
            } else {
                Child::Weak(Arc::downgrade(child))
            };
            dropped[1] = to.put(&mut c, name.clone(), link);
        }
        let old_parent = {
            let mut p = child.place.lock();
            p.name = name;
            p.parent.replace(to.clone())
        };
        RENAMES.fetch_add(1, Ordering::AcqRel);
        let [source, replaced] = dropped;
        forget(replaced);
        drop((source, old_parent));
    }

    /// Exchanges the places of two dentries. Call with the names of both directories locked.
    pub(super) fn exchanged(a: &Arc<Dentry>, b: &Arc<Dentry>) {
        let (pa, na) = a.place();
        let (pb, nb) = b.place();
        let (Some(pa), Some(pb)) = (pa, pb) else {
            return;
        };
        for (dir, name, child) in [(&pa, &na, b), (&pb, &nb, a)] {
            let old = {
                let mut c = dir.cache.lock();
                c.changes = c.changes.wrapping_add(1);
                let link = if dir.inode.cacheable() {
                    Child::Strong(child.clone())
                } else {
                    Child::Weak(Arc::downgrade(child))
                };
                dir.put(&mut c, name.clone(), link)
            };
            drop(old);
        }
        let old_a = std::mem::replace(
            &mut *a.place.lock(),
            Place {
                parent: Some(pb),
                name: nb,
            },
        );
        let old_b = std::mem::replace(
            &mut *b.place.lock(),
            Place {
                parent: Some(pa),
                name: na,
            },
        );
        RENAMES.fetch_add(1, Ordering::AcqRel);
        drop((old_a, old_b));
    }

    /// Marks the name as gone (its last holder sees " (deleted)").
    pub(super) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    /// Drops cached children that nobody uses. Returns how many entries went.
    fn prune(&self) -> usize {
        let mut gone: Vec<Child> = Vec::new();
        let n = {
            let mut c = self.cache.lock();
            let before = c.children.len();
            let stay = |child: &Child| match child {
                Child::Strong(d) => Arc::strong_count(d) > 1 || d.is_mountpoint(),
                Child::Weak(w) => w.strong_count() > 0,
                Child::Negative(_) => false,
            };
            c.children.retain(|_, child| {
                let stays = stay(child);
                if !stays {
                    gone.push(std::mem::replace(child, Child::absent()));
                }
                stays
            });
            before.saturating_sub(c.children.len())
        };
        CACHED.fetch_sub(n, Ordering::Relaxed);
        drop(gone);
        n
    }

    /// Empties the caches of a whole tree, which breaks the cycles between parents and children.
    pub(super) fn forget_tree(self: &Arc<Self>) {
        let mut todo = vec![self.clone()];
        while let Some(d) = todo.pop() {
            let children = std::mem::take(&mut d.cache.lock().children);
            CACHED.fetch_sub(children.len(), Ordering::Relaxed);
            todo.extend(children.into_values().filter_map(|c| match c {
                Child::Strong(d) => Some(d),
                _ => None,
            }));
        }
    }
}

/// Drops a cache entry whose name is gone or is another object now.
fn forget(child: Option<Child>) {
    if let Some(d) = child.as_ref().and_then(Child::get) {
        d.mark_deleted();
    }
}

impl Drop for Dentry {
    /// Lets go of the parents in a loop: a chain may be a million directories deep.
    fn drop(&mut self) {
        CACHED.fetch_sub(self.cache.get_mut().children.len(), Ordering::Relaxed);
        let mut next = self.place.get_mut().parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.place.get_mut().parent.take();
        }
    }
}

/// Entries kept in all caches together before unused ones are dropped.
const CACHE_LIMIT: usize = 65536;
/// Entries in all caches.
static CACHED: AtomicUsize = AtomicUsize::new(0);
/// Prune when `CACHED` exceeds this; above `CACHE_LIMIT` if everything was in use.
static PRUNE_AT: AtomicUsize = AtomicUsize::new(CACHE_LIMIT);
static RING: Mutex<Ring> = Mutex::new(
    Rank::LEAF,
    Ring {
        dirs: VecDeque::new(),
        sweep_at: 8192,
    },
);

struct Ring {
    dirs: VecDeque<Weak<Dentry>>,
    /// Dead entries are swept out when the ring is this long.
    sweep_at: usize,
}

fn ring_add(dir: &Arc<Dentry>) {
    let mut ring = RING.lock();
    if ring.dirs.len() >= ring.sweep_at {
        ring.dirs.retain(|w| w.strong_count() > 0);
        ring.sweep_at = ring.dirs.len().saturating_mul(2).max(8192);
    }
    ring.dirs.push_back(Arc::downgrade(dir));
}

/// Drops unused entries if there are too many. Call without cache locks.
fn balance() {
    if CACHED.load(Ordering::Relaxed) <= PRUNE_AT.load(Ordering::Relaxed) {
        return;
    }
    let round = RING.lock().dirs.len();
    for _ in 0..round {
        let Some(weak) = RING.lock().dirs.pop_front() else {
            break;
        };
        if let Some(dir) = weak.upgrade() {
            dir.prune();
            let mut c = dir.cache.lock();
            if c.children.is_empty() {
                c.in_ring = false;
            } else {
                RING.lock().dirs.push_back(weak);
            }
        }
        if CACHED.load(Ordering::Relaxed) <= CACHE_LIMIT / 4 * 3 {
            break;
        }
    }
    let left = CACHED.load(Ordering::Relaxed);
    PRUNE_AT.store(
        CACHE_LIMIT.max(left.saturating_add(CACHE_LIMIT / 4)),
        Ordering::Relaxed,
    );
}

/// Entries in all caches now.
#[cfg(test)]
pub fn cached_entries() -> usize {
    CACHED.load(Ordering::Relaxed)
}
