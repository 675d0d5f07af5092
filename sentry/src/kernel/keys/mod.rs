//! Keys and keyrings (keyrings(7)): what pam_keyinit, systemd and container engines use of them.
//!
//! A [`Store`] has all keys of the sandbox and who is anchored where: the keyrings of threads, processes, sessions and users. A key
//! that nothing links to is gone. One lock around all of it, `LEAF`; guest memory is not touched under it. Nobody is asked
//! to make keys (`/sbin/request-key`): what is not found is ENOKEY, and where it was to be made a *negative* key remembers that for a minute.

mod key;
mod rings;

pub use key::{ALL_RIGHTS, Content, Key, Kind, right};
pub use rings::Special;

use super::Kernel;
use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials};
use crate::sync::{Knob, Mutex, MutexGuard, Rank};
use crate::time::Instant;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Most keys of the sandbox and most bytes in them.
const MAX_KEYS: usize = 4096;
const MAX_BYTES: usize = 16 << 20;
/// Most links of all keyrings together: all of them are followed when a key goes.
const MAX_LINKS: usize = 16384;
/// Most keys and bytes of one user that is not root (`kernel.keys.maxkeys`, `maxbytes`).
pub static USER_KEYS: Knob = Knob::at(200, 0, 4096);
/// See [`USER_KEYS`].
pub static USER_BYTES: Knob = Knob::at(20_000, 0, 16 << 20);
/// Those of root: the sandbox may have fewer.
pub static ROOT_KEYS: Knob = Knob::at(4096, 0, 1_000_000);
/// See [`ROOT_KEYS`].
pub static ROOT_BYTES: Knob = Knob::at(16 << 20, 0, 25_000_000);
/// Seconds until keys that have ended are collected (`gc_delay`): here they are not shown before either.
pub static GC_DELAY: Knob = Knob::at(300, 0, i32::MAX as u64);
/// How long a negative key lasts (`key_negative_timeout`), in nanoseconds.
const NEGATIVE: u64 = 60_000_000_000;
/// Most keyrings below each other.
const MAX_DEPTH: usize = 6;

/// Who calls.
#[derive(Clone, Copy)]
pub struct Actor<'a> {
    /// Thread.
    pub tid: i32,
    /// Process.
    pub pid: i32,
    /// With these rights.
    pub creds: &'a Credentials,
}

/// All keys of a sandbox (an extension of the kernel).
pub struct Keys(Mutex<Store>);

impl Default for Keys {
    fn default() -> Keys {
        Keys(Mutex::new(Rank::LEAF, Store::default()))
    }
}

impl Keys {
    /// The store, locked.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock()
    }
}

/// Keys by number, and the roots that keep them.
#[derive(Default)]
pub struct Store {
    keys: BTreeMap<i32, Key>,
    threads: HashMap<i32, i32>,
    processes: HashMap<i32, i32>,
    sessions: HashMap<i32, i32>,
    /// User keyring and user session keyring.
    users: HashMap<u32, (i32, i32)>,
    /// Where request_key(2) puts keys, by thread; kept only.
    pub defaults: HashMap<i32, i32>,
}

impl Store {
    /// A key that is there, EKEYREVOKED and EKEYEXPIRED not yet asked.
    pub fn key(&self, id: i32) -> Result<&Key> {
        self.keys.get(&id).ok_or(Errno::ENOKEY)
    }

    /// The same, to change it.
    pub fn key_mut(&mut self, id: i32) -> Result<&mut Key> {
        self.keys.get_mut(&id).ok_or(Errno::ENOKEY)
    }

    /// The key, if it is alive and the caller has these rights: EACCES.
    pub fn checked(&self, who: Actor<'_>, id: i32, rights: u32) -> Result<&Key> {
        self.key(id)?.check_positive()?;
        self.checked_partial(who, id, rights)
    }

    /// The same, of a negative key, too.
    pub fn checked_partial(&self, who: Actor<'_>, id: i32, rights: u32) -> Result<&Key> {
        let key = self.key(id)?;
        key.check_alive()?;
        if key.grants(who.creds, self.possesses(who, id), rights) {
            Ok(key)
        } else {
            Err(Errno::EACCES)
        }
    }

    /// The same, for a keyring: ENOTDIR.
    pub fn keyring(&self, who: Actor<'_>, id: i32, rights: u32) -> Result<&Key> {
        let key = self.checked(who, id, rights)?;
        if key.kind == Kind::Keyring {
            Ok(key)
        } else {
            Err(Errno::ENOTDIR)
        }
    }

    /// A new key that nothing links to yet.
    pub(super) fn make(&mut self, key: Key) -> Result<i32> {
        self.check_room(&key)?;
        loop {
            // Positive, as Linux's, which are random.
            let id = (crate::mm::random_u64() & 0x7fff_ffff) as u32;
            let id = id.cast_signed();
            if id > 2 && !self.keys.contains_key(&id) {
                self.keys.insert(id, key);
                return Ok(id);
            }
        }
    }

    fn check_room(&self, key: &Key) -> Result<()> {
        let own = |k: &&Key| k.uid == key.uid;
        let bytes = self.keys.values().map(Key::cost).sum::<usize>();
        let owned = self.keys.values().filter(own).count();
        let owned_bytes = self.keys.values().filter(own).map(Key::cost).sum::<usize>();
        let (keys, most) = limits(key.uid);
        let user = !keys.allows(owned + 1) || !most.allows(owned_bytes.saturating_add(key.cost()));
        if user || self.keys.len() >= MAX_KEYS || bytes.saturating_add(key.cost()) > MAX_BYTES {
            return Err(Errno::EDQUOT);
        }
        Ok(())
    }

    /// add_key(2): into a keyring that the caller may write to; a key of this name there is given the new content instead.
    pub fn add(
        &mut self,
        who: Actor<'_>,
        ring: i32,
        kind: Kind,
        description: Vec<u8>,
        payload: Vec<u8>,
    ) -> Result<i32> {
        kind.check_payload(payload.len())?;
        if kind == Kind::Logon
            && description
                .iter()
                .position(|b| *b == b':')
                .is_none_or(|at| at == 0)
        {
            return Err(Errno::EINVAL);
        }
        self.keyring(who, ring, right::WRITE)?;
        if kind != Kind::Keyring
            && let Some(id) = self.linked(ring, kind, &description)
        {
            self.checked_partial(who, id, right::WRITE)?;
            self.set_payload(id, payload)?;
            return Ok(id);
        }
        let content = match kind {
            Kind::Keyring => Content::Links(Vec::new()),
            _ => Content::Bytes(payload),
        };
        let id = self.make(Key {
            kind,
            description,
            uid: who.creds.fsuid,
            gid: who.creds.fsgid,
            rights: kind.default_rights(),
            content,
            expires: None,
            revoked: false,
            negative: false,
        })?;
        let linked = self.link(id, ring);
        self.sweep();
        linked.map(|()| id)
    }

    /// A key was to be made for request_key(2), and nobody can: what is in its place says so for a while.
    ///
    /// # Errors
    /// ENOKEY; EPERM for a keyring; EACCES for a default keyring that may not be written to.
    pub fn negate(
        &mut self,
        who: Actor<'_>,
        to: Option<i32>,
        kind: Kind,
        description: Vec<u8>,
    ) -> Result<Errno> {
        if kind == Kind::Keyring {
            return Err(Errno::EPERM);
        }
        let ring = match to {
            Some(ring) => ring,
            None => {
                let ring = self.default_ring(who)?;
                if !self.key(ring)?.grants(who.creds, true, right::WRITE) {
                    return Err(Errno::EACCES);
                }
                ring
            }
        };
        let id = self.make(Key {
            kind,
            description,
            uid: who.creds.fsuid,
            gid: who.creds.fsgid,
            rights: kind.default_rights(),
            content: Content::Bytes(Vec::new()),
            expires: Some(Instant::now().after(NEGATIVE)),
            revoked: false,
            negative: true,
        })?;
        let linked = self.link(id, ring);
        self.sweep();
        linked.map(|()| Errno::ENOKEY)
    }

    /// New content for a key, which lives again without an end.
    pub fn set_payload(&mut self, id: i32, payload: Vec<u8>) -> Result<()> {
        let key = self.key_mut(id)?;
        if key.kind == Kind::Keyring {
            return Err(Errno::EOPNOTSUPP);
        }
        key.kind.check_payload(payload.len())?;
        let old = std::mem::replace(&mut key.content, Content::Bytes(payload));
        let expires = key.expires.take();
        let negative = std::mem::take(&mut key.negative);
        let (uid, over) = (
            key.uid,
            self.keys.values().map(Key::cost).sum::<usize>() > MAX_BYTES,
        );
        let owned = self
            .keys
            .values()
            .filter(|k| k.uid == uid)
            .map(Key::cost)
            .sum::<usize>();
        if over || !limits(uid).1.allows(owned) {
            let key = self.key_mut(id)?;
            (key.content, key.expires, key.negative) = (old, expires, negative);
            return Err(Errno::EDQUOT);
        }
        Ok(())
    }

    /// The key of this name in a keyring itself.
    fn linked(&self, ring: i32, kind: Kind, description: &[u8]) -> Option<i32> {
        let links = self.keys.get(&ring)?.links();
        links.iter().copied().find(|id| {
            self.keys
                .get(id)
                .is_some_and(|k| k.kind == kind && k.description == description && !k.revoked)
        })
    }

    /// Links a key to a keyring, in place of one of the same name.
    ///
    /// # Errors
    /// EDEADLK if the keyring is in the key; ELOOP if keyrings would be too deep; EDQUOT.
    pub fn link(&mut self, id: i32, ring: i32) -> Result<()> {
        let (kind, description) = {
            let key = self.key(id)?;
            if key.kind == Kind::Keyring {
                let depth = self.depth(id, ring, 0)?;
                if depth > MAX_DEPTH {
                    return Err(Errno::ELOOP);
                }
            }
            (key.kind, key.description.clone())
        };
        let replaced = self.linked(ring, kind, &description);
        let full = self.keys.values().map(|k| k.links().len()).sum::<usize>() >= MAX_LINKS;
        let Content::Links(links) = &mut self.key_mut(ring)?.content else {
            return Err(Errno::ENOTDIR);
        };
        if links.contains(&id) {
            return Ok(());
        }
        if let Some(slot) = replaced.and_then(|old| links.iter_mut().find(|l| **l == old)) {
            *slot = id;
        } else if full {
            return Err(Errno::EDQUOT);
        } else {
            links.push(id);
        }
        Ok(())
    }

    /// How many keyrings are below each other from here; EDEADLK if one of them is `not`.
    fn depth(&self, id: i32, not: i32, above: usize) -> Result<usize> {
        if id == not {
            return Err(Errno::EDEADLK);
        }
        if above > MAX_DEPTH {
            return Err(Errno::ELOOP);
        }
        let mut most = above + 1;
        for below in self.key(id)?.links() {
            if self
                .keys
                .get(below)
                .is_some_and(|k| k.kind == Kind::Keyring)
            {
                most = most.max(self.depth(*below, not, above + 1)?);
            }
        }
        Ok(most)
    }

    /// Takes a key out of a keyring: ENOENT if it is not there.
    pub fn unlink(&mut self, id: i32, ring: i32) -> Result<()> {
        let Content::Links(links) = &mut self.key_mut(ring)?.content else {
            return Err(Errno::ENOTDIR);
        };
        let at = links.iter().position(|l| *l == id).ok_or(Errno::ENOENT)?;
        links.remove(at);
        self.sweep();
        Ok(())
    }

    /// Takes everything out of a keyring.
    pub fn clear(&mut self, ring: i32) -> Result<()> {
        match &mut self.key_mut(ring)?.content {
            Content::Links(links) => links.clear(),
            Content::Bytes(_) => return Err(Errno::ENOTDIR),
        }
        self.sweep();
        Ok(())
    }

    /// Takes a key out of everything (keyctl_invalidate(3)).
    pub fn invalidate(&mut self, id: i32) {
        for key in self.keys.values_mut() {
            if let Content::Links(links) = &mut key.content {
                links.retain(|l| *l != id);
            }
        }
        self.forget_anchors(|ring| ring == id);
        self.keys.remove(&id);
        self.sweep();
    }

    /// keyctl_chown(3).
    pub fn chown(&mut self, who: Actor<'_>, id: i32, uid: u32, gid: u32) -> Result<()> {
        let admin = who.creds.has(Caps::SYS_ADMIN);
        let key = self.key_mut(id)?;
        let may_uid = uid == u32::MAX || uid == key.uid;
        let may_gid = gid == u32::MAX || gid == key.gid || who.creds.in_group(gid);
        if !(admin || may_uid && may_gid) {
            return Err(Errno::EACCES);
        }
        if uid != u32::MAX {
            key.uid = uid;
        }
        if gid != u32::MAX {
            key.gid = gid;
        }
        Ok(())
    }

    /// Drops what no anchor leads to.
    fn sweep(&mut self) {
        let mut kept: HashSet<i32> = HashSet::new();
        let mut next: Vec<i32> = self.anchors().collect();
        while let Some(id) = next.pop() {
            if kept.insert(id)
                && let Some(key) = self.keys.get(&id)
            {
                next.extend(key.links());
            }
        }
        self.keys.retain(|id, _| kept.contains(id));
    }
}

/// Most keys and bytes of a user.
fn limits(uid: u32) -> (&'static Knob, &'static Knob) {
    if uid == 0 {
        (&ROOT_KEYS, &ROOT_BYTES)
    } else {
        (&USER_KEYS, &USER_BYTES)
    }
}

/// A new task has the session keyring of the one that made it.
pub(super) fn inherit(kernel: &Kernel, parent: i32, child: i32) {
    if let Some(keys) = kernel.extensions.existing::<Keys>() {
        keys.lock().inherit(parent, child);
    }
}

/// A program is replaced: the keyrings of thread and process go.
pub(super) fn exec(kernel: &Kernel, tid: i32, pid: i32) {
    if let Some(keys) = kernel.extensions.existing::<Keys>() {
        keys.lock().exec(tid, pid);
    }
}

/// A task is gone, and with the last its process.
pub(super) fn exit(kernel: &Kernel, tid: i32, pid: Option<i32>) {
    if let Some(keys) = kernel.extensions.existing::<Keys>() {
        keys.lock().exit(tid, pid);
    }
}

/// The keys of the sandbox.
pub fn of(kernel: &Kernel) -> Arc<Keys> {
    kernel.extensions.extension()
}
