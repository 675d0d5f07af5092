//! Mounts and mount namespaces.
//!
//! A [`SuperBlock`] is one instance of a file system; a [`Mount`] shows (part of) it at a place; a [`MountNamespace`] owns a
//! tree of mounts. Changes of a tree run under the namespace's lock (MOUNTS); the links between mounts are LEAF locks.

use super::dentry::Dentry;
use super::inode::InodeRef;
use super::path::Path;
use crate::abi::{Errno, Result};
use crate::auth::{NsCommon, UserNamespace};
use crate::sync::{Changes, Charge, Mutex, Quota, Rank};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

bitflags::bitflags! {
    /// Per-mount flags, with the values of mount(2)'s MS_*.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub struct MountFlags: u32 {
        const READONLY = 1;
        const NOSUID = 2;
        const NODEV = 4;
        const NOEXEC = 8;
        const NOSYMFOLLOW = 256;
        const NOATIME = 1024;
        const NODIRATIME = 2048;
        const RELATIME = 1 << 21;
        const STRICTATIME = 1 << 24;
    }
}

/// Most mounts in one namespace; more is ENOSPC (`fs.mount-max`).
pub const MOUNT_MAX: usize = 10_000;

/// Mounts of all namespaces of the sandbox: a new namespace is a copy of another one.
static MOUNTS: Quota = Quota::new(1 << 17);

/// Most mount namespaces (`user.max_mnt_namespaces`).
pub static NAMESPACES: Quota = Quota::new(1024);

/// One instance of a file system.
pub struct SuperBlock {
    root: Arc<Dentry>,
    fs_type: String,
    /// Options for /proc/mounts, without the mount flags: `size=64k`.
    options: String,
    readonly: AtomicU32,
    /// Where capabilities over it count: that of who mounted it.
    user_ns: Arc<UserNamespace>,
    /// One rename at a time, so that no two make a cycle.
    pub(super) rename: Mutex<()>,
}

impl SuperBlock {
    /// A file system with this root directory. `fs_type` and `options` are for /proc/mounts.
    pub fn new(root: InodeRef, fs_type: &str, options: &str) -> Arc<SuperBlock> {
        Self::owned_by(UserNamespace::initial(), root, fs_type, options)
    }
    /// A file system that somebody of this user namespace mounts: no device works on it, nor set-id programs outside.
    pub fn owned_by(
        user_ns: &Arc<UserNamespace>,
        root: InodeRef,
        fs_type: &str,
        options: &str,
    ) -> Arc<SuperBlock> {
        Arc::new(SuperBlock {
            root: Dentry::root(root),
            fs_type: fs_type.to_owned(),
            options: options.to_owned(),
            readonly: AtomicU32::new(0),
            user_ns: user_ns.clone(),
            rename: Mutex::new(Rank::RENAME, ()),
        })
    }
    /// The root directory.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }
    /// File system type, as in /proc/mounts.
    pub fn fs_type(&self) -> &str {
        &self.fs_type
    }
    /// Options, as in /proc/mounts.
    pub fn options(&self) -> &str {
        &self.options
    }
    /// Whether device nodes on it work: not on what a user namespace mounted, but terminals (SB_I_NODEV).
    pub fn has_devices(&self) -> bool {
        self.user_ns.is_initial() || self.fs_type == "devpts"
    }
    /// The user namespace it belongs to.
    pub fn user_ns(&self) -> &Arc<UserNamespace> {
        &self.user_ns
    }
    /// Whether the whole file system is read-only.
    pub fn readonly(&self) -> bool {
        self.readonly.load(Ordering::Relaxed) != 0
    }
    /// Makes the whole file system read-only or writable (remount).
    pub fn set_readonly(&self, on: bool) {
        self.readonly.store(on.into(), Ordering::Relaxed);
    }
}

impl Drop for SuperBlock {
    fn drop(&mut self) {
        self.root.forget_tree();
    }
}

/// A file system, or a part of it, at a place.
pub struct Mount {
    id: i32,
    superblock: Arc<SuperBlock>,
    root: Arc<Dentry>,
    /// What /proc/mounts shows as the device.
    source: Vec<u8>,
    flags: AtomicU32,
    /// Came along from a more privileged namespace (MNT_LOCKED): what is below must stay covered.
    locked: AtomicBool,
    /// Its restrictions did, too (MNT_LOCK_*): they must stay.
    locked_flags: AtomicBool,
    /// Namespace id; 0 once detached.
    namespace: AtomicU64,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    /// Where it is mounted.
    at: Option<Path>,
    /// What it covers of a mount that is in no namespace any more, and is held by: see [`Mount::leave_connected`].
    covers: Option<(Arc<Dentry>, Charge)>,
    /// What is mounted on it, by address of the dentry.
    children: HashMap<usize, Arc<Mount>>,
}

fn key(dentry: &Arc<Dentry>) -> usize {
    Arc::as_ptr(dentry).addr()
}

static NEXT_MOUNT: AtomicI32 = AtomicI32::new(20);

impl Mount {
    /// A mount of `root` (a directory or file of `superblock`) that is nowhere yet.
    pub fn new(
        superblock: Arc<SuperBlock>,
        root: Arc<Dentry>,
        source: &[u8],
        flags: MountFlags,
    ) -> Arc<Mount> {
        Arc::new(Mount {
            id: NEXT_MOUNT.fetch_add(1, Ordering::Relaxed),
            superblock,
            root,
            source: source.to_vec(),
            flags: AtomicU32::new(flags.bits()),
            locked: AtomicBool::new(false),
            locked_flags: AtomicBool::new(false),
            namespace: AtomicU64::new(0),
            links: Mutex::new(Rank::LEAF, Links::default()),
        })
    }
    /// The mount of objects without a tree (pipes, sockets, memfds).
    pub fn internal() -> Arc<Mount> {
        use std::sync::OnceLock;
        static INTERNAL: OnceLock<Arc<Mount>> = OnceLock::new();
        INTERNAL
            .get_or_init(|| {
                let sb = SuperBlock::new(super::open::nothing_inode(), "anon_inodefs", "");
                let root = sb.root().clone();
                Mount::new(sb, root, b"none", MountFlags::default())
            })
            .clone()
    }
    /// Mount id (/proc/PID/mountinfo, statx).
    pub fn id(&self) -> i32 {
        self.id
    }
    /// One that no other mount ever has (STATX_MNT_ID_UNIQUE); not to be taken for the other one.
    pub fn unique_id(&self) -> u64 {
        (1 << 31) + u64::from(self.id.unsigned_abs())
    }
    /// The file system.
    pub fn superblock(&self) -> &Arc<SuperBlock> {
        &self.superblock
    }
    /// What it shows at its place.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }
    /// The root as a path.
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path {
            mount: self.clone(),
            dentry: self.root.clone(),
        }
    }
    /// Device name for /proc/mounts.
    pub fn source(&self) -> &[u8] {
        &self.source
    }
    /// Flags.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }
    /// Replaces the flags (remount).
    ///
    /// # Errors
    /// EPERM if that lifts a restriction which a more privileged namespace imposed (`can_change_locked_flags`).
    pub fn set_flags(&self, flags: MountFlags) -> Result<()> {
        let old = self.flags();
        let must_stay = old
            & (MountFlags::READONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC);
        // RELATIME is what there is without the others.
        let atime = MountFlags::NOATIME | MountFlags::NODIRATIME | MountFlags::STRICTATIME;
        if self.locked_flags.load(Ordering::Relaxed)
            && (!flags.contains(must_stay) || old & atime != flags & atime)
        {
            return Err(Errno::EPERM);
        }
        self.flags.store(flags.bits(), Ordering::Relaxed);
        Ok(())
    }
    /// Whether it cannot be taken away alone.
    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }
    /// A mount of the same that is nowhere yet. It is as locked as this one.
    fn copy(&self, root: &Arc<Dentry>) -> Arc<Mount> {
        let m = Mount::new(
            self.superblock.clone(),
            root.clone(),
            &self.source,
            self.flags(),
        );
        m.locked.store(self.is_locked(), Ordering::Relaxed);
        let flags = self.locked_flags.load(Ordering::Relaxed);
        m.locked_flags.store(flags, Ordering::Relaxed);
        m
    }
    /// EROFS if nothing may be changed through this mount.
    pub fn want_write(&self) -> Result<()> {
        if self.flags().contains(MountFlags::READONLY) || self.superblock.readonly() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }
    /// Where it is mounted; `None` for the root of a namespace and for detached mounts.
    pub fn mountpoint(&self) -> Option<Path> {
        self.links.lock().at.clone()
    }
    /// What is mounted on `dentry` of this mount.
    pub fn child_at(&self, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        self.links.lock().children.get(&key(dentry)).cloned()
    }
    /// Mounts directly on this one.
    pub fn children(&self) -> Vec<Arc<Mount>> {
        self.links.lock().children.values().cloned().collect()
    }
    /// Id of the namespace it is in; 0 if detached.
    pub fn namespace_id(&self) -> u64 {
        self.namespace.load(Ordering::Relaxed)
    }

    fn attach(self: &Arc<Self>, at: Path, namespace: u64) {
        at.dentry.mount_added(namespace);
        let old = at
            .mount
            .links
            .lock()
            .children
            .insert(key(&at.dentry), self.clone());
        drop(old);
        self.namespace.store(namespace, Ordering::Relaxed);
        self.links.lock().at = Some(at);
    }

    fn detach(&self) {
        let at = self.links.lock().at.take();
        let namespace = self.namespace.swap(0, Ordering::Relaxed);
        if let Some(at) = at {
            let me = at.mount.links.lock().children.remove(&key(&at.dentry));
            at.dentry.mount_unlisted(namespace);
            at.dentry.mount_gone();
            drop(me);
        }
    }

    /// Leaves the namespace together with the mount it is on, and stays on that: whoever still holds that one must not see what
    /// a locked mount covers (`disconnect_mount`). The one below holds this one, not the other way round any more.
    fn leave_connected(&self) {
        let namespace = self.namespace.swap(0, Ordering::Relaxed);
        let mut links = self.links.lock();
        let at = links.at.take();
        if let Some(at) = &at {
            let mut charge = MOUNTS.nothing();
            charge.settle(1);
            links.covers = Some((at.dentry.clone(), charge));
        }
        drop(links);
        if let Some(at) = at {
            at.dentry.mount_unlisted(namespace);
        }
    }

    /// Leaves a namespace that the mount below leaves, too.
    fn leave(&self) {
        if self.is_locked() {
            self.leave_connected();
        } else {
            self.detach();
        }
    }
}

impl Drop for Mount {
    /// Lets go of the mounts above and below in loops: they may be stacked deep.
    fn drop(&mut self) {
        if let Some((dentry, _charge)) = self.links.get_mut().covers.take() {
            dentry.mount_gone();
        }
        let mut connected: Vec<Arc<Mount>> = std::mem::take(&mut self.links.get_mut().children)
            .into_values()
            .collect();
        while let Some(m) = connected.pop() {
            if let Some(mut m) = Arc::into_inner(m) {
                connected.extend(std::mem::take(&mut m.links.get_mut().children).into_values());
            }
        }
        let mut next = self.links.get_mut().at.take();
        while let Some(mut m) = next.and_then(|p| Arc::into_inner(p.mount)) {
            next = m.links.get_mut().at.take();
        }
    }
}

/// A tree of mounts that tasks see.
pub struct MountNamespace {
    common: NsCommon,
    tree: Mutex<Tree>,
    /// Of the tree (poll on /proc/mounts).
    changes: Arc<Changes>,
}

struct Tree {
    root: Arc<Mount>,
    /// Counts `mounts`.
    charge: Charge,
    /// In the order they were made; parents before children.
    mounts: Vec<Arc<Mount>>,
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
        MountNamespace::with_root(common, root, MOUNTS.nothing())
    }

    /// `charge` counts what will be in it.
    fn with_root(common: NsCommon, root: Arc<Mount>, charge: Charge) -> Arc<MountNamespace> {
        root.namespace.store(common.number(), Ordering::Relaxed);
        Arc::new(MountNamespace {
            common,
            tree: Mutex::new(
                Rank::MOUNTS,
                Tree {
                    mounts: vec![root.clone()],
                    root,
                    charge,
                },
            ),
            changes: Arc::default(),
        })
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
    /// covered by what came from a more privileged namespace (`mnt_already_visible`).
    pub fn shows_all_of(&self, fs_type: &[u8], flags: MountFlags) -> bool {
        // Nothing is in the directory that sysfs has for control groups.
        let hides = |m: &Arc<Mount>| {
            m.is_locked()
                && m.mountpoint()
                    .is_some_and(|p| *p.dentry.name() != *b"cgroup")
        };
        self.mounts().iter().any(|m| {
            m.superblock.fs_type.as_bytes() == fs_type
                && Arc::ptr_eq(&m.root, m.superblock.root())
                && (!m.locked_flags.load(Ordering::Relaxed)
                    || !m.flags().contains(MountFlags::READONLY)
                    || flags.contains(MountFlags::READONLY))
                && !m.children().iter().any(hides)
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
        let root = superblock.root().clone();
        let m = Mount::new(superblock, root, source, flags);
        self.graft(at, vec![(m.clone(), None)])?;
        Ok(m)
    }

    /// Shows `source` at `at` too (MS_BIND), with the mounts below it if `recursive` (MS_REC).
    pub fn bind(&self, source: &Path, at: &Path, recursive: bool) -> Result<Arc<Mount>> {
        let top = source.mount.copy(&source.dentry);
        top.locked.store(false, Ordering::Relaxed);
        let covers = |m: &Arc<Mount>| {
            m.is_locked()
                && m.mountpoint()
                    .is_some_and(|p| p.dentry.is_within(&source.dentry))
        };
        if !recursive && source.mount.children().iter().any(covers) {
            return Err(Errno::EINVAL);
        }
        let mut made = vec![(top.clone(), None)];
        if recursive {
            let mut copies: HashMap<i32, Arc<Mount>> = HashMap::new();
            copies.insert(source.mount.id, top.clone());
            for m in self.mounts() {
                let Some(place) = m.mountpoint() else {
                    continue;
                };
                let Some(parent) = copies.get(&place.mount.id).cloned() else {
                    continue;
                };
                if place.mount.id == source.mount.id && !place.dentry.is_within(&source.dentry) {
                    continue;
                }
                let c = m.copy(&m.root);
                copies.insert(m.id, c.clone());
                made.push((
                    c,
                    Some(Path {
                        mount: parent,
                        dentry: place.dentry,
                    }),
                ));
            }
        }
        self.graft(at, made)?;
        Ok(top)
    }

    /// Attaches mounts: the first (without a place) over `at`, the others at their places.
    fn graft(&self, at: &Path, made: Vec<(Arc<Mount>, Option<Path>)>) -> Result<()> {
        let at = at.clone().visible();
        let Some((top, _)) = made.first() else {
            return Ok(());
        };
        if top.root.is_dir() != at.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        {
            let mut tree = self.tree.lock();
            if at.mount.namespace_id() != self.id() {
                return Err(Errno::EINVAL);
            }
            if at.dentry.is_deleted() {
                return Err(Errno::ENOENT);
            }
            let count = tree.mounts.len().saturating_add(made.len());
            if count > MOUNT_MAX || !tree.charge.resize(count) {
                return Err(Errno::ENOSPC);
            }
            for (m, place) in made {
                m.attach(place.unwrap_or_else(|| at.clone()), self.id());
                tree.mounts.push(m);
            }
        }
        self.changes.tell();
        Ok(())
    }

    /// umount2(2) of the mount whose root is `at`. `lazy` is MNT_DETACH: what is below goes along.
    ///
    /// # Errors
    /// EINVAL if `at` is not the root of a mount of this namespace, or it is the namespace's root;
    /// EBUSY if it is in use or holds mounts.
    pub fn unmount(&self, at: Path, lazy: bool) -> Result<()> {
        let mount = at.mount.clone();
        if !Arc::ptr_eq(&at.dentry, &mount.root) {
            return Err(Errno::EINVAL);
        }
        drop(at);
        let mut gone = Vec::new();
        {
            let mut tree = self.tree.lock();
            if mount.namespace_id() != self.id()
                || Arc::ptr_eq(&mount, &tree.root)
                || mount.is_locked()
            {
                return Err(Errno::EINVAL);
            }
            // Holders: the tree, the mount below, and `mount` here.
            if !lazy && (!mount.links.lock().children.is_empty() || Arc::strong_count(&mount) > 3) {
                return Err(Errno::EBUSY);
            }
            let mut ids = std::collections::HashSet::from([mount.id]);
            for m in &tree.mounts {
                if m.mountpoint().is_some_and(|p| ids.contains(&p.mount.id)) {
                    ids.insert(m.id);
                }
            }
            tree.mounts.retain(|m| {
                let stay = !ids.contains(&m.id);
                if !stay {
                    gone.push(m.clone());
                }
                stay
            });
            let left = tree.mounts.len();
            tree.charge.settle(left);
            for m in &gone {
                if Arc::ptr_eq(m, &mount) {
                    m.detach();
                } else {
                    m.leave();
                }
            }
        }
        self.changes.tell();
        drop(gone);
        Ok(())
    }

    /// mount(2) with MS_MOVE.
    ///
    /// # Errors
    /// EINVAL if `from` is not a mount root or is the namespace's root; ELOOP if `to` is below `from`.
    pub fn move_mount(&self, from: &Path, to: &Path) -> Result<()> {
        let to = to.clone().visible();
        if !Arc::ptr_eq(&from.dentry, &from.mount.root) {
            return Err(Errno::EINVAL);
        }
        let mut tree = self.tree.lock();
        if from.mount.namespace_id() != self.id()
            || to.mount.namespace_id() != self.id()
            || Arc::ptr_eq(&from.mount, &tree.root)
            || from.mount.is_locked()
        {
            return Err(Errno::EINVAL);
        }
        if from.is_dir() != to.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if mount_above(&to.mount, &from.mount) {
            return Err(Errno::ELOOP);
        }
        from.mount.detach();
        from.mount.attach(to, self.id());
        tree.sort();
        drop(tree);
        self.changes.tell();
        Ok(())
    }

    /// pivot_root(2): `new_root` (a mount's root) becomes the namespace's root, the old root moves to `put_old`.
    pub fn pivot_root(&self, new_root: &Path, put_old: &Path) -> Result<()> {
        let mut tree = self.tree.lock();
        if !Arc::ptr_eq(&new_root.dentry, &new_root.mount.root)
            || new_root.mount.namespace_id() != self.id()
            || put_old.mount.namespace_id() != self.id()
            || new_root.mount.is_locked()
        {
            return Err(Errno::EINVAL);
        }
        if Arc::ptr_eq(&new_root.mount, &tree.root) || Arc::ptr_eq(&put_old.mount, &tree.root) {
            return Err(Errno::EBUSY);
        }
        if !mount_above(&put_old.mount, &new_root.mount) {
            return Err(Errno::EINVAL);
        }
        let old = tree.root.clone();
        if old.locked.swap(false, Ordering::Relaxed) {
            new_root.mount.locked.store(true, Ordering::Relaxed);
        }
        new_root.mount.detach();
        new_root.mount.namespace.store(self.id(), Ordering::Relaxed);
        old.attach(put_old.clone(), self.id());
        tree.root = new_root.mount.clone();
        tree.sort();
        drop(tree);
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
        let tree = self.tree.lock();
        let mut charge = MOUNTS.nothing();
        if !charge.resize(tree.mounts.len()) {
            return Err(Errno::ENOSPC);
        }
        let copy = |m: &Mount| {
            let c = m.copy(&m.root);
            if lock {
                c.locked_flags.store(true, Ordering::Relaxed);
            }
            c
        };
        let root = copy(&tree.root);
        let mut map = HashMap::from([(tree.root.id, root.clone())]);
        let ns = MountNamespace::with_root(common, root, charge);
        for m in &tree.mounts {
            let Some(at) = m.mountpoint() else { continue };
            if m.superblock.fs_type == "nsfs" && m.root.name().starts_with(b"mnt:") {
                // A namespace that kept another alive might keep itself.
                continue;
            }
            let Some(parent) = map.get(&at.mount.id).cloned() else {
                continue;
            };
            let c = copy(m);
            if lock {
                c.locked.store(true, Ordering::Relaxed);
            }
            map.insert(m.id, c.clone());
            let place = Path {
                mount: parent,
                dentry: at.dentry,
            };
            c.attach(place, ns.id());
            ns.tree.lock_nested().mounts.push(c);
        }
        let translate = move |p: &Path| match map.get(&p.mount.id) {
            Some(m) => Path {
                mount: m.clone(),
                dentry: p.dentry.clone(),
            },
            None => p.clone(),
        };
        Ok((ns, translate))
    }
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
    fn sort(&mut self) {
        let mut depths: HashMap<i32, usize> = HashMap::new();
        for m in &self.mounts {
            // Down to one that is known: each is walked over once, however deep they are stacked.
            let mut unknown = Vec::new();
            let mut at = Some(m.clone());
            let mut depth = 0;
            while let Some(m) = at {
                if let Some(n) = depths.get(&m.id) {
                    depth = n + 1;
                    break;
                }
                unknown.push(m.id);
                at = m.mountpoint().map(|p| p.mount);
            }
            for id in unknown.into_iter().rev() {
                depths.insert(id, depth);
                depth += 1;
            }
        }
        self.mounts
            .sort_by_key(|m| depths.get(&m.id).copied().unwrap_or(0));
    }
}

impl Drop for MountNamespace {
    /// Breaks the cycles between mounts and what they are on.
    fn drop(&mut self) {
        let mounts = std::mem::take(&mut self.tree.get_mut().mounts);
        for m in mounts.iter().rev() {
            m.leave();
        }
    }
}
