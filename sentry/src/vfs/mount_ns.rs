//! Mount namespaces: trees of mounts, and their changes.
//!
//! One change at a time, in whatever namespaces ([`CHANGES`], rank MOUNT_CHANGES): what is mounted in one may appear in others.
//! A namespace's own lock (MOUNTS) is for its readers.

use super::inode::FileType;
use super::mount::{MOUNTS, Mount, MountFlags, SuperBlock};
use super::path::Path;
use super::propagation::{self, Kin, Placed, Planned, Propagation, Tree as Grafted};
use super::told::Changing;
use crate::abi::{Errno, Result};
use crate::auth::{NsCommon, UserNamespace};
use crate::sync::{Changes, Charge, Knob, Mutex, MutexGuard, Quota, Rank};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Most mounts in one namespace; more is ENOSPC (`fs.mount-max`).
pub static MOUNT_MAX: Knob = Knob::new(1, 10_000);

/// Most mount namespaces (`user.max_mnt_namespaces`).
pub static NAMESPACES: Quota = Quota::new(1024);

/// Held over each change.
static CHANGES: Mutex<()> = Mutex::new(Rank::MOUNT_CHANGES, ());

/// Begins a change, which ends when this goes. Nobody who was told of a path before, or is meanwhile, is to believe it then.
pub(super) fn begin_change() -> (Changing, MutexGuard<'static, ()>) {
    let one = CHANGES.lock();
    (Changing::begin(), one)
}

/// All namespaces, by number.
static ALL: Mutex<BTreeMap<u64, Weak<MountNamespace>>> = Mutex::new(Rank::LEAF, BTreeMap::new());

pub(super) fn by_id(id: u64) -> Option<Arc<MountNamespace>> {
    ALL.lock().get(&id)?.upgrade()
}

/// A tree of mounts that tasks see.
pub struct MountNamespace {
    common: NsCommon,
    pub(super) tree: Mutex<Tree>,
    /// Whether only a descriptor holds it.
    detached: bool,
    /// Of the tree (poll on /proc/mounts).
    pub(super) changes: Arc<Changes>,
}

pub(super) struct Tree {
    pub(super) root: Arc<Mount>,
    /// Counts `mounts`.
    pub(super) charge: Charge,
    /// In the order they were made; parents before children.
    pub(super) mounts: Vec<Arc<Mount>>,
}

impl MountNamespace {
    /// A namespace whose root is the whole of `superblock`.
    pub fn new(
        superblock: Arc<SuperBlock>,
        source: &[u8],
        flags: MountFlags,
    ) -> Arc<MountNamespace> {
        let root = superblock.root().clone();
        let root = Mount::new(superblock, root, source, flags);
        let common = NsCommon::initial(crate::auth::user_ns::next_number());
        MountNamespace::with_root(common, root, MOUNTS.nothing(), false)
    }

    /// `charge` counts what will be in it.
    fn with_root(
        common: NsCommon,
        root: Arc<Mount>,
        charge: Charge,
        detached: bool,
    ) -> Arc<MountNamespace> {
        let number = common.number();
        root.namespace.store(number, Ordering::Relaxed);
        let ns = Arc::new(MountNamespace {
            common,
            tree: Mutex::new(
                Rank::MOUNTS,
                Tree {
                    mounts: vec![root.clone()],
                    root,
                    charge,
                },
            ),
            detached,
            changes: Arc::default(),
        });
        ALL.lock().insert(number, Arc::downgrade(&ns));
        ns
    }
    /// A namespace that only a descriptor holds (open_tree(2), fsmount(2)): `made` until it is mounted somewhere.
    ///
    /// # Errors
    /// ENOSPC if the sandbox has too many mounts or namespaces.
    fn detached(owner: &Arc<UserNamespace>, made: &[Placed]) -> Result<Arc<MountNamespace>> {
        let (top, _) = made.first().ok_or(Errno::EINVAL)?;
        let mut charge = MOUNTS.nothing();
        if !charge.resize(made.len()) {
            return Err(Errno::ENOSPC);
        }
        let common = NsCommon::create(&NAMESPACES, owner)?;
        let ns = MountNamespace::with_root(common, top.clone(), charge, true);
        for (m, place) in made {
            if let Some(place) = place {
                m.attach(place.clone(), ns.id());
                ns.tree.lock().mounts.push(m.clone());
            }
        }
        Ok(ns)
    }
    /// Its number (/proc/PID/ns/mnt).
    pub fn id(&self) -> u64 {
        self.common.number()
    }
    /// Number and owner.
    pub fn common(&self) -> &NsCommon {
        &self.common
    }
    /// Its changes.
    pub fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }
    /// What is visible at the root.
    pub fn root(&self) -> Path {
        let root = self.tree.lock().root.clone();
        root.root_path().visible()
    }
    /// All mounts; parents before what is on them.
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.tree.lock().mounts.clone()
    }

    /// Whether some mount here shows a whole file system of this type, as writable as with `flags`, and nothing of it is
    /// covered by what came from a more privileged namespace (`mnt_already_visible`): which of `flags` must stay then.
    pub fn shows_all_of(&self, fs_type: &str, flags: MountFlags) -> Option<MountFlags> {
        // Nothing is in the directory that sysfs has for control groups.
        let hides = |m: &Arc<Mount>| {
            m.is_locked()
                && m.mountpoint()
                    .is_some_and(|p| *p.dentry.name() != *b"cgroup")
        };
        self.mounts().iter().find_map(|m| {
            let sb = m.superblock();
            let mut must_stay = m.locked_flags() & (MountFlags::READONLY | MountFlags::ATIME);
            must_stay.set(
                MountFlags::READONLY,
                must_stay.contains(MountFlags::READONLY) || sb.readonly(),
            );
            let shows = sb.fs_type() == fs_type
                && Arc::ptr_eq(m.root(), sb.root())
                && flags.contains(must_stay & MountFlags::READONLY)
                && (!must_stay.intersects(MountFlags::ATIME)
                    || m.flags() & MountFlags::ATIME == flags & MountFlags::ATIME)
                && !m.children().iter().any(hides);
            shows.then_some(must_stay)
        })
    }

    /// Mounts all of `superblock` over `at`.
    ///
    /// # Errors
    /// ENOTDIR if one is a directory and the other is not; EINVAL if `at` is not in this namespace; ENOENT
    /// if `at` was removed; ENOSPC.
    pub fn mount(
        &self,
        at: &Path,
        superblock: Arc<SuperBlock>,
        source: &[u8],
        flags: MountFlags,
    ) -> Result<Arc<Mount>> {
        self.mount_locked(at, superblock, source, flags, MountFlags::empty())
    }

    /// The same; the flags in `must_stay` cannot be changed later.
    pub fn mount_locked(
        &self,
        at: &Path,
        superblock: Arc<SuperBlock>,
        source: &[u8],
        flags: MountFlags,
        must_stay: MountFlags,
    ) -> Result<Arc<Mount>> {
        let root = superblock.root().clone();
        let m = Mount::new(superblock, root, source, flags);
        m.lock_flags(must_stay);
        let _one = begin_change();
        self.graft(at, vec![(m.clone(), None)], false)?;
        Ok(m)
    }

    /// A copy of what is at `source`, with the mounts below it if `recursive`.
    ///
    /// # Errors
    /// EINVAL if it is unbindable, or would uncover what a locked mount hides; EPERM if one below is locked and unbindable.
    fn copy_of(&self, source: &Path, recursive: bool) -> Result<Grafted> {
        if source.mount.ties().unbindable {
            return Err(Errno::EINVAL);
        }
        let covers = |m: &Arc<Mount>| {
            m.is_locked()
                && m.mountpoint()
                    .is_some_and(|p| p.dentry.is_within(&source.dentry))
        };
        if !recursive && source.mount.children().iter().any(covers) {
            return Err(Errno::EINVAL);
        }
        let top = source.mount.copy(&source.dentry, Kin::Peer);
        top.locked.store(false, Ordering::Relaxed);
        let mut made = vec![(top.clone(), None)];
        if recursive {
            let mut copies: HashMap<i32, Arc<Mount>> = HashMap::new();
            copies.insert(source.mount.id(), top);
            let of = by_id(source.mount.namespace_id());
            for m in of.map_or_else(Vec::new, |ns| ns.mounts()) {
                let Some(place) = m.mountpoint() else {
                    continue;
                };
                let Some(parent) = copies.get(&place.mount.id()).cloned() else {
                    continue;
                };
                if place.mount.id() == source.mount.id() && !place.dentry.is_within(&source.dentry)
                {
                    continue;
                }
                if m.ties().unbindable {
                    // Left out, a locked one would uncover what it hides (`copy_tree`).
                    if m.is_locked() {
                        untie(&made);
                        return Err(Errno::EPERM);
                    }
                    continue;
                }
                let c = m.copy(m.root(), Kin::Peer);
                copies.insert(m.id(), c.clone());
                made.push((
                    c,
                    Some(Path {
                        mount: parent,
                        dentry: place.dentry,
                    }),
                ));
            }
        }
        Ok(made)
    }

    /// Shows `source` at `at` too (MS_BIND), with the mounts below it if `recursive` (MS_REC).
    pub fn bind(&self, source: &Path, at: &Path, recursive: bool) -> Result<Arc<Mount>> {
        let _one = begin_change();
        let made = self.copy_of(source, recursive)?;
        let top = made.first().map(|(m, _)| m.clone());
        self.graft(at, made, false)?;
        top.ok_or(Errno::EINVAL)
    }

    /// A copy of what is at `source` that is mounted nowhere (OPEN_TREE_CLONE).
    pub fn clone_tree(&self, source: &Path, recursive: bool) -> Result<Arc<MountNamespace>> {
        let _one = begin_change();
        let made = self.copy_of(source, recursive)?;
        MountNamespace::detached(self.common.owner(), &made).inspect_err(|_| untie(&made))
    }

    /// All of `superblock`, mounted nowhere (fsmount(2)); the flags in `must_stay` cannot be changed later.
    pub fn detached_mount(
        &self,
        superblock: Arc<SuperBlock>,
        source: &[u8],
        flags: MountFlags,
        must_stay: MountFlags,
    ) -> Result<Arc<MountNamespace>> {
        let root = superblock.root().clone();
        let top = Mount::new(superblock, root, source, flags);
        top.lock_flags(must_stay);
        MountNamespace::detached(self.common.owner(), &[(top, None)])
    }

    /// Attaches mounts: the first (without a place) over `at`, or under what is mounted there if `beneath`; the others at their
    /// places. Who hears of it gets copies. Call with [`CHANGES`] held.
    fn graft(&self, at: &Path, made: Grafted, beneath: bool) -> Result<()> {
        let outcome = self.try_graft(at, &made, beneath);
        if outcome.is_err() {
            untie(&made);
        }
        outcome
    }

    fn try_graft(&self, at: &Path, made: &[Placed], beneath: bool) -> Result<()> {
        let Some((top, _)) = made.first() else {
            return Ok(());
        };
        let at = place_for(top, at, beneath)?;
        if top.root().is_dir() != at.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if at.mount.namespace_id() != self.id() {
            return Err(Errno::EINVAL);
        }
        // Nor on the links of /proc/PID/fd, which come and go (`dont_mount`).
        if at.dentry.is_deleted() || at.inode().file_type() == FileType::Symlink {
            return Err(Errno::ENOENT);
        }
        let mut more: HashMap<u64, usize> = HashMap::from([(self.id(), made.len())]);
        if !self.has_room(made.len()) {
            return Err(Errno::ENOSPC);
        }
        let mut plans = Vec::new();
        // What is moved stays as it was if it cannot be (`cleanup_group_ids`).
        let mut shared = Vec::new();
        let unshare = |shared: &[&Arc<Mount>]| shared.iter().for_each(|m| m.unshare());
        if at.mount.ties().group.is_some() {
            for (m, _) in made.iter().filter(|(m, _)| m.ties().group.is_none()) {
                m.make_shared();
                shared.push(m);
            }
            let mut total = made.len();
            plans = propagation::plan(&at, made, |ns, n| {
                let count = more.entry(ns).or_default();
                *count = count.saturating_add(n);
                total = total.saturating_add(n);
                MOUNTS.has_room(total) && by_id(ns).is_some_and(|ns| ns.has_room(*count))
            })
            .inspect_err(|_| unshare(&shared))?;
        }
        let spaces: Vec<_> = more
            .iter()
            .filter_map(|(id, n)| Some((by_id(*id)?, *n)))
            .collect();
        for (ns, n) in &spaces {
            let mut tree = ns.tree.lock();
            let count = tree.mounts.len().saturating_add(*n);
            if !tree.charge.resize(count) {
                drop(tree);
                propagation::discard(plans);
                unshare(&shared);
                for (ns, _) in &spaces {
                    let mut tree = ns.tree.lock();
                    let count = tree.mounts.len();
                    tree.charge.settle(count);
                }
                return Err(Errno::ENOSPC);
            }
        }
        // Once at the end, however often one namespace hears of it.
        let mut to_sort = HashSet::new();
        if self.put(&at, made) {
            to_sort.insert(self.id());
        }
        for Planned { at, tree } in plans {
            let Some(ns) = by_id(at.mount.namespace_id()) else {
                continue;
            };
            if ns.common.owner() != self.common.owner() {
                for (m, _) in tree.iter() {
                    m.locked.store(true, Ordering::Relaxed);
                    m.lock_restrictions();
                }
            }
            if let Some((top, _)) = tree.first() {
                top.locked.store(false, Ordering::Relaxed);
            }
            if ns.put(&at, &tree) {
                to_sort.insert(ns.id());
            }
        }
        for (ns, _) in &spaces {
            if to_sort.contains(&ns.id()) {
                ns.tree.lock().sort();
            }
            ns.changes.tell();
        }
        Ok(())
    }

    fn has_room(&self, n: usize) -> bool {
        MOUNT_MAX.allows(self.tree.lock().mounts.len().saturating_add(n))
    }

    /// Puts mounts into the tree; there is room. Whether the tree must be sorted then.
    fn put(&self, at: &Path, made: &[Placed]) -> bool {
        let covered = at.mount.child_at(&at.dentry).is_some();
        for (m, place) in made {
            m.attach(place.clone().unwrap_or_else(|| at.clone()), self.id());
        }
        let mut tree = self.tree.lock();
        tree.mounts.extend(made.iter().map(|(m, _)| m.clone()));
        covered
    }

    /// `mount` and what is on it.
    pub(super) fn subtree(&self, mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let mut ids = HashSet::from([mount.id()]);
        let mut found = vec![mount.clone()];
        for m in self.mounts() {
            if m.mountpoint().is_some_and(|p| ids.contains(&p.mount.id())) && ids.insert(m.id()) {
                found.push(m);
            }
        }
        found
    }

    /// The tree that a mount is in, if it is one that only a descriptor holds.
    pub fn detached_of(mount: &Mount) -> Option<Arc<MountNamespace>> {
        by_id(mount.namespace_id()).filter(|ns| ns.detached)
    }

    /// MOVE_MOUNT_SET_GROUP: the mount at `to` gets the peers and the master of that at `from` (`do_set_group`).
    ///
    /// # Errors
    /// EINVAL.
    pub fn share_ties(&self, from: &Path, to: &Path) -> Result<()> {
        let _one = begin_change();
        let ties = from.mount.ties();
        let mine = to.mount.ties();
        if !Arc::ptr_eq(&from.dentry, from.mount.root())
            || !Arc::ptr_eq(&to.dentry, to.mount.root())
            || from.mount.namespace_id() != self.id()
            || to.mount.namespace_id() != self.id()
            || mine.group.is_some()
            || mine.master.is_some()
            || (ties.group.is_none() && ties.master.is_none())
            || !Arc::ptr_eq(from.mount.superblock(), to.mount.superblock())
            || !to.mount.root().is_within(from.mount.root())
        {
            return Err(Errno::EINVAL);
        }
        from.mount.tie_copy(&to.mount, Kin::Peer);
        Ok(())
    }

    /// The mount whose root is `at`, with those below it if `recursive`.
    fn chosen(&self, at: &Path, recursive: bool) -> Result<Vec<Arc<Mount>>> {
        if !Arc::ptr_eq(&at.dentry, at.mount.root()) || at.mount.namespace_id() != self.id() {
            return Err(Errno::EINVAL);
        }
        Ok(if recursive {
            self.subtree(&at.mount)
        } else {
            vec![at.mount.clone()]
        })
    }

    /// MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE of the mount whose root is `at`.
    ///
    /// # Errors
    /// EINVAL if it is none, or of another namespace.
    pub fn set_propagation(&self, at: &Path, to: Propagation, recursive: bool) -> Result<()> {
        let _one = begin_change();
        let chosen = self.chosen(at, recursive)?;
        for m in &chosen {
            m.set_propagation(to);
        }
        self.changes.tell();
        Ok(())
    }

    /// Changes flags of the mount at `at`, with those below it if `recursive` (mount_setattr(2)): of all or of none.
    ///
    /// # Errors
    /// EINVAL, EPERM, EBUSY.
    pub fn set_flags(
        &self,
        at: &Path,
        recursive: bool,
        change: impl Fn(MountFlags) -> MountFlags,
    ) -> Result<()> {
        let _one = begin_change();
        let chosen = self.chosen(at, recursive)?;
        for m in &chosen {
            let new = change(m.flags());
            m.may_set_flags(new)?;
            let more = new - m.flags();
            if more.contains(MountFlags::READONLY) && m.has_writers() {
                return Err(Errno::EBUSY);
            }
        }
        for m in &chosen {
            m.set_flags(change(m.flags()))?;
        }
        self.changes.tell();
        Ok(())
    }

    /// mount(2) with MS_MOVE, and move_mount(2) of what is mounted somewhere.
    ///
    /// # Errors
    /// EINVAL if `from` is not a mount root or is the namespace's root, or its parent is shared; ELOOP if `to` is below `from`.
    pub fn move_mount(&self, from: &Path, to: &Path, beneath: bool) -> Result<()> {
        let _one = begin_change();
        let to_place = place_for(&from.mount, to, beneath)?;
        let parent = from.mount.mountpoint();
        if !Arc::ptr_eq(&from.dentry, from.mount.root())
            || from.mount.namespace_id() != self.id()
            || to_place.mount.namespace_id() != self.id()
            || Arc::ptr_eq(&from.mount, &self.tree.lock().root)
            || from.mount.is_locked()
            || parent.is_none_or(|p| p.mount.ties().group.is_some())
            || from.is_dir() != to_place.is_dir()
        {
            return Err(Errno::EINVAL);
        }
        let moved = self.subtree(&from.mount);
        if to_place.mount.ties().group.is_some() && moved.iter().any(|m| m.ties().unbindable) {
            return Err(Errno::EINVAL);
        }
        if mount_above(&to_place.mount, &from.mount) {
            return Err(Errno::ELOOP);
        }
        if to_place.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        let shared = to_place.mount.ties().group.is_some();
        if !shared {
            from.mount.detach();
            from.mount.attach(to_place, self.id());
            self.tree.lock().sort();
            self.changes.tell();
            return Ok(());
        }
        // Where it comes from nobody else hears of it: taken out and mounted anew.
        let made = Self::taken(&moved);
        let old = from.mount.mountpoint();
        from.mount.detach();
        self.forget(&moved);
        // It may hear of it itself.
        for m in &moved {
            m.namespace.store(self.id(), Ordering::Relaxed);
        }
        let outcome = self.try_graft(to, &made, beneath);
        if outcome.is_err()
            && let Some(old) = old
        {
            let mut tree = self.tree.lock();
            let count = tree.mounts.len().saturating_add(moved.len());
            tree.charge.settle(count);
            drop(tree);
            let covered = self.put(&old, &made);
            if covered {
                self.tree.lock().sort();
            }
        }
        outcome
    }

    /// As what is grafted: the first without a place.
    fn taken(mounts: &[Arc<Mount>]) -> Grafted {
        let places = mounts.iter().enumerate().map(|(i, m)| {
            let place = if i == 0 { None } else { m.mountpoint() };
            (m.clone(), place)
        });
        let made: Grafted = places.collect();
        for (m, place) in &made {
            if place.is_some() {
                m.detach();
            }
        }
        made
    }

    /// Takes mounts off the list.
    fn forget(&self, mounts: &[Arc<Mount>]) {
        let ids: HashSet<i32> = mounts.iter().map(|m| m.id()).collect();
        let mut tree = self.tree.lock();
        tree.mounts.retain(|m| !ids.contains(&m.id()));
        let left = tree.mounts.len();
        tree.charge.settle(left);
    }

    /// move_mount(2) of what `detached` holds.
    ///
    /// # Errors
    /// EINVAL, ENOTDIR, ENOENT, ENOSPC.
    pub fn adopt(&self, detached: &MountNamespace, to: &Path, beneath: bool) -> Result<()> {
        let _one = begin_change();
        let all = detached.mounts();
        let Some(top) = all.first() else {
            return Err(Errno::EINVAL);
        };
        let to_place = place_for(top, to, beneath)?;
        let shared = to_place.mount.ties().group.is_some();
        if to_place.mount.namespace_id() != self.id()
            || top.root().is_dir() != to_place.is_dir()
            || (shared && all.iter().any(|m| m.ties().unbindable))
        {
            return Err(Errno::EINVAL);
        }
        let made = Self::taken(&all);
        let outcome = self.try_graft(to, &made, beneath);
        if outcome.is_ok() {
            detached.forget(&all);
        } else {
            for (m, place) in made {
                if let Some(place) = place {
                    m.attach(place, detached.id());
                }
            }
        }
        outcome
    }

    /// pivot_root(2): `new_root` (a mount's root) takes the place of `root`, the caller's, which moves to `put_old`.
    ///
    /// # Errors
    /// EINVAL, EBUSY, ENOENT.
    pub fn pivot_root(&self, root: &Path, new_root: &Path, put_old: &Path) -> Result<()> {
        let _one = begin_change();
        let put_old = &put_old.clone().visible();
        let shared = |m: &Arc<Mount>| m.ties().group.is_some();
        let on_shared = |m: &Arc<Mount>| m.mountpoint().is_some_and(|p| shared(&p.mount));
        if shared(&put_old.mount) || on_shared(&new_root.mount) || on_shared(&root.mount) {
            return Err(Errno::EINVAL);
        }
        if root.mount.namespace_id() != self.id()
            || new_root.mount.namespace_id() != self.id()
            || put_old.mount.namespace_id() != self.id()
            || new_root.mount.is_locked()
        {
            return Err(Errno::EINVAL);
        }
        if new_root.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        if Arc::ptr_eq(&new_root.mount, &root.mount) || Arc::ptr_eq(&put_old.mount, &root.mount) {
            return Err(Errno::EBUSY);
        }
        if !Arc::ptr_eq(&root.dentry, root.mount.root())
            || !Arc::ptr_eq(&new_root.dentry, new_root.mount.root())
            || !mount_above(&put_old.mount, &new_root.mount)
            || !mount_above(&new_root.mount, &root.mount)
        {
            return Err(Errno::EINVAL);
        }
        let old = root.mount.clone();
        if old.locked.swap(false, Ordering::Relaxed) {
            new_root.mount.locked.store(true, Ordering::Relaxed);
        }
        let place = old.mountpoint();
        new_root.mount.detach();
        new_root.mount.namespace.store(self.id(), Ordering::Relaxed);
        match place {
            Some(place) => {
                old.detach();
                new_root.mount.attach(place, self.id());
            }
            None => self.tree.lock().root = new_root.mount.clone(),
        }
        old.attach(put_old.clone(), self.id());
        self.tree.lock().sort();
        self.changes.tell();
        Ok(())
    }

    /// A copy of the whole tree (CLONE_NEWNS), and the translation of places in the old tree to the new one. Another user
    /// namespace than the old one's owns it less: what is covered and how mounts are restricted stays so (`lock_mnt_tree`).
    ///
    /// # Errors
    /// ENOSPC if the sandbox has too many mounts or namespaces.
    pub fn duplicate(
        &self,
        owner: &Arc<UserNamespace>,
    ) -> Result<(Arc<MountNamespace>, impl Fn(&Path) -> Path + use<>)> {
        let common = NsCommon::create(&NAMESPACES, owner)?;
        let lock = owner != self.common.owner();
        let kin = if lock { Kin::SlaveOfShared } else { Kin::Peer };
        let _one = begin_change();
        let tree = self.tree.lock();
        let mut charge = MOUNTS.nothing();
        if !charge.resize(tree.mounts.len()) {
            return Err(Errno::ENOSPC);
        }
        let copy = |m: &Mount| {
            let c = m.copy(m.root(), kin);
            if lock {
                c.lock_restrictions();
            }
            c
        };
        let root = copy(&tree.root);
        let mut map = HashMap::from([(tree.root.id(), root.clone())]);
        let ns = MountNamespace::with_root(common, root, charge, false);
        for m in &tree.mounts {
            let Some(at) = m.mountpoint() else { continue };
            if m.superblock().fs_type() == "nsfs" && m.root().name().starts_with(b"mnt:") {
                // A namespace that kept another alive might keep itself.
                continue;
            }
            let Some(parent) = map.get(&at.mount.id()).cloned() else {
                continue;
            };
            let c = copy(m);
            if lock {
                c.locked.store(true, Ordering::Relaxed);
            }
            map.insert(m.id(), c.clone());
            let place = Path {
                mount: parent,
                dentry: at.dentry,
            };
            c.attach(place, ns.id());
            ns.tree.lock_nested().mounts.push(c);
        }
        let translate = move |p: &Path| match map.get(&p.mount.id()) {
            Some(m) => Path {
                mount: m.clone(),
                dentry: p.dentry.clone(),
            },
            None => p.clone(),
        };
        Ok((ns, translate))
    }
}

/// Ties of mounts that are not to be.
fn untie(made: &[Placed]) {
    for (m, _) in made {
        m.untie();
    }
}

/// Where `top` is mounted if it is to be at `to`, or under what is mounted there if `beneath`.
///
/// # Errors
/// EINVAL if that is locked, or is the namespace's root, or `top` is covered or is mounted on it (`can_move_mount_beneath`).
fn place_for(top: &Arc<Mount>, to: &Path, beneath: bool) -> Result<Path> {
    if !beneath {
        return Ok(to.clone().visible());
    }
    if to.mount.is_locked()
        || !Arc::ptr_eq(&to.dentry, to.mount.root())
        || top.child_at(top.root()).is_some()
        || mount_above(top, &to.mount)
    {
        return Err(Errno::EINVAL);
    }
    to.mount.mountpoint().ok_or(Errno::EINVAL)
}

/// Whether `below` is `above` or mounted somewhere on it.
fn mount_above(below: &Arc<Mount>, above: &Arc<Mount>) -> bool {
    let mut at = below.clone();
    loop {
        if Arc::ptr_eq(&at, above) {
            return true;
        }
        match at.mountpoint() {
            Some(p) => at = p.mount,
            None => return false,
        }
    }
}

impl Tree {
    /// Brings parents before children again.
    pub(super) fn sort(&mut self) {
        let mut depths: HashMap<i32, usize> = HashMap::new();
        for m in &self.mounts {
            // Down to one that is known: each is walked over once, however deep they are stacked.
            let mut unknown = Vec::new();
            let mut at = Some(m.clone());
            let mut depth = 0;
            while let Some(m) = at {
                if let Some(n) = depths.get(&m.id()) {
                    depth = n + 1;
                    break;
                }
                unknown.push(m.id());
                at = m.mountpoint().map(|p| p.mount);
            }
            for id in unknown.into_iter().rev() {
                depths.insert(id, depth);
                depth += 1;
            }
        }
        self.mounts
            .sort_by_key(|m| depths.get(&m.id()).copied().unwrap_or(0));
    }
}

impl Drop for MountNamespace {
    /// Breaks the cycles between mounts and what they are on.
    fn drop(&mut self) {
        ALL.lock().remove(&self.common.number());
        let mounts = std::mem::take(&mut self.tree.get_mut().mounts);
        for m in mounts.iter().rev() {
            m.untie();
            m.leave();
        }
    }
}
