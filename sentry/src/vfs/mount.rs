//! Mounts: a [`SuperBlock`] is one instance of a file system; a [`Mount`] shows (part of) it at a place. A `MountNamespace` owns
//! a tree of them. The links between mounts are LEAF locks.

use super::dentry::Dentry;
use super::inode::{Inode, InodeRef};
use super::path::Path;
use super::propagation::{Kin, Ties};
use super::told::{self, Changing};
use crate::abi::{Errno, Result};
use crate::auth::UserNamespace;
use crate::sync::{Charge, Mutex, Quota, Rank};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

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

impl MountFlags {
    /// With RELATIME, unless something else is said of times of access (`do_mount`).
    #[must_use]
    pub fn or_relatime(self) -> MountFlags {
        if self.intersects(MountFlags::NOATIME | MountFlags::STRICTATIME) {
            return self;
        }
        self | MountFlags::RELATIME
    }
    /// What a less privileged namespace cannot lift.
    const RESTRICTIONS: MountFlags = MountFlags::READONLY
        .union(MountFlags::NODEV)
        .union(MountFlags::NOSUID)
        .union(MountFlags::NOEXEC);
    /// How times of access are kept; RELATIME is what there is without the others.
    pub(super) const ATIME: MountFlags = MountFlags::NOATIME
        .union(MountFlags::NODIRATIME)
        .union(MountFlags::STRICTATIME);
}

/// Mounts of all namespaces of the sandbox: a new namespace is a copy of another one.
pub(super) static MOUNTS: Quota = Quota::new(1 << 17);

/// Objects that handles were given of, in the sandbox.
static HANDLES: Quota = Quota::new(1 << 16);

/// What a handle was given of, by its name, which may be forgotten, and itself.
type Kept = (Weak<Dentry>, Weak<dyn Inode>, Charge);

/// A superblock that is read-only for ever.
const WRITE_PROTECTED: u32 = 2;

/// One instance of a file system.
pub struct SuperBlock {
    root: Arc<Dentry>,
    fs_type: String,
    /// Options for /proc/mounts, without the mount flags: `size=64k`.
    options: Mutex<String>,
    readonly: AtomicU32,
    /// Where capabilities over it count: that of who mounted it.
    user_ns: Arc<UserNamespace>,
    /// What file handles were given of, by inode number.
    handles: Mutex<BTreeMap<u64, Kept>>,
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
            options: Mutex::new(Rank::LEAF, options.to_owned()),
            readonly: AtomicU32::new(0),
            user_ns: user_ns.clone(),
            handles: Mutex::new(Rank::LEAF, BTreeMap::new()),
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
    pub fn options(&self) -> String {
        self.options.lock().clone()
    }
    /// They were changed (remount).
    pub fn set_options(&self, options: String) {
        *self.options.lock() = options;
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
    /// What it is made of can never be written.
    pub fn set_write_protected(&self) {
        self.readonly.store(WRITE_PROTECTED, Ordering::Relaxed);
    }
    /// Whether it cannot be made writable.
    pub fn is_write_protected(&self) -> bool {
        self.readonly.load(Ordering::Relaxed) == WRITE_PROTECTED
    }
    /// Keeps track of an object that somebody has a handle of.
    ///
    /// # Errors
    /// ENOMEM if there are too many in the sandbox.
    pub fn keep_handle(&self, ino: u64, dentry: &Arc<Dentry>) -> Result<()> {
        let entry = |charge| {
            (
                Arc::downgrade(dentry),
                Arc::downgrade(dentry.inode()),
                charge,
            )
        };
        let mut handles = self.handles.lock();
        if let Some((d, i, _)) = handles.get_mut(&ino) {
            (*d, *i) = (Arc::downgrade(dentry), Arc::downgrade(dentry.inode()));
            return Ok(());
        }
        let charge = match HANDLES.charge(1) {
            Some(c) => c,
            None => {
                handles.retain(|_, (_, inode, _)| inode.strong_count() > 0);
                HANDLES.charge(1).ok_or(Errno::ENOMEM)?
            }
        };
        handles.insert(ino, entry(charge));
        Ok(())
    }
    /// What a handle was given of, if it is still there.
    pub fn by_handle(&self, ino: u64) -> Option<Arc<Dentry>> {
        let (dentry, inode) = {
            let handles = self.handles.lock();
            let (d, i, _) = handles.get(&ino)?;
            (d.upgrade(), i.upgrade())
        };
        // Its name may have been forgotten; what there is has none then.
        dentry.or_else(|| Some(Dentry::unnamed(&self.root, inode?, b"")))
    }
    /// Makes the whole file system read-only or writable (remount).
    pub fn set_readonly(&self, on: bool) {
        let _said = Changing::begin();
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
    pub(super) locked: AtomicBool,
    /// Which of its restrictions did, too (MNT_LOCK_*): they must stay.
    locked_flags: AtomicU32,
    /// Namespace id; 0 once detached.
    pub(super) namespace: AtomicU64,
    links: Mutex<Links>,
    ties: Mutex<Ties>,
    /// Files open for writing: as long as there is one it cannot be made read-only.
    writers: AtomicU32,
    /// Nobody has come here since MNT_EXPIRE marked it.
    expiring: AtomicBool,
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
            locked_flags: AtomicU32::new(0),
            namespace: AtomicU64::new(0),
            links: Mutex::new(Rank::LEAF, Links::default()),
            ties: Mutex::new(Rank::LEAF, Ties::default()),
            writers: AtomicU32::new(0),
            expiring: AtomicBool::new(false),
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
        self.may_set_flags(flags)?;
        self.flags.store(flags.bits(), Ordering::Relaxed);
        Ok(())
    }
    /// Whether they may be replaced.
    pub(super) fn may_set_flags(&self, flags: MountFlags) -> Result<()> {
        let (old, locked) = (self.flags(), self.locked_flags());
        if !flags.contains(locked & MountFlags::RESTRICTIONS)
            || (locked.intersects(MountFlags::ATIME)
                && old & MountFlags::ATIME != flags & MountFlags::ATIME)
        {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
    /// Which flags must stay as they are; those of [`MountFlags::ATIME`] together.
    pub(super) fn locked_flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.locked_flags.load(Ordering::Relaxed))
    }
    /// These must stay, too.
    pub(super) fn lock_flags(&self, flags: MountFlags) {
        self.locked_flags.fetch_or(flags.bits(), Ordering::Relaxed);
    }
    /// Whoever owns it is less privileged than who restricted it: that must stay (`lock_mnt_tree`).
    pub(super) fn lock_restrictions(&self) {
        self.lock_flags((self.flags() & MountFlags::RESTRICTIONS) | MountFlags::ATIME);
    }
    /// Whether it cannot be taken away alone.
    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }
    /// A mount of the same that is nowhere yet. It is as locked as this one.
    pub(super) fn copy(&self, root: &Arc<Dentry>, kin: Kin) -> Arc<Mount> {
        let m = Mount::new(
            self.superblock.clone(),
            root.clone(),
            &self.source,
            self.flags(),
        );
        m.locked.store(self.is_locked(), Ordering::Relaxed);
        m.lock_flags(self.locked_flags());
        self.tie_copy(&m, kin);
        m
    }
    /// How it is tied to other mounts.
    pub fn ties(&self) -> Ties {
        self.ties.lock().clone()
    }
    pub(super) fn with_ties<R>(&self, f: impl FnOnce(&mut Ties) -> R) -> R {
        f(&mut self.ties.lock())
    }
    /// A file was opened for writing through it.
    pub(super) fn writer_added(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }
    pub(super) fn writer_gone(&self) {
        self.writers.fetch_sub(1, Ordering::Relaxed);
    }
    /// Whether a file is open for writing through it.
    pub fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Relaxed) > 0
    }
    /// Somebody came here.
    pub fn used(&self) {
        if self.expiring.load(Ordering::Relaxed) {
            self.expiring.store(false, Ordering::Relaxed);
        }
    }
    /// MNT_EXPIRE: marks it; whether it was.
    pub fn expire(&self) -> bool {
        let was = self.expiring.swap(true, Ordering::Relaxed);
        // Who comes here is to be seen.
        told::all_changed();
        was
    }
    /// Whether anything is mounted on it.
    pub fn has_children(&self) -> bool {
        !self.links.lock().children.is_empty()
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

    /// Puts it at `at`. What was there is put upon it.
    pub(super) fn attach(self: &Arc<Self>, at: Path, namespace: u64) {
        at.dentry.mount_added(namespace);
        let old = at
            .mount
            .links
            .lock()
            .children
            .insert(key(&at.dentry), self.clone());
        self.namespace.store(namespace, Ordering::Relaxed);
        self.links.lock().at = Some(at);
        if let Some(old) = old {
            old.put_upon(self);
        }
    }

    /// What another mount was put under, or taken from under, goes to that one's root, or on top of what is there.
    fn put_upon(self: &Arc<Self>, below: &Arc<Mount>) {
        let at = self.links.lock().at.take();
        if let Some(at) = at {
            at.dentry.mount_unlisted(self.namespace_id());
            at.dentry.mount_gone();
        }
        // Upon all that is stacked there already.
        let mut place = below.root_path();
        while let Some(on) = place.mount.child_at(&place.dentry) {
            place = on.root_path();
        }
        place.dentry.mount_added(self.namespace_id());
        let none = {
            let mut links = place.mount.links.lock();
            links.children.insert(key(&place.dentry), self.clone())
        };
        drop(none);
        self.links.lock().at = Some(place);
    }

    pub(super) fn detach(&self) {
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
    pub(super) fn leave(&self) {
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
