//! The keyrings that a caller starts from: of its thread, process, session and user; and searches from there.

use super::{Actor, Content, Key, Kind, MAX_DEPTH, Store, right};
use crate::abi::{Errno, Result};
use std::collections::HashSet;

/// Numbers that stand for a keyring of the caller's (KEY_SPEC_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Special {
    Thread,
    Process,
    Session,
    User,
    UserSession,
}

impl Special {
    fn of(id: i32) -> Option<Special> {
        Some(match id {
            -1 => Special::Thread,
            -2 => Special::Process,
            -3 => Special::Session,
            -4 => Special::User,
            -5 => Special::UserSession,
            _ => return None,
        })
    }
}

impl Store {
    /// The number of a key: as given, or of one of the caller's keyrings, which is made if it is missing and `create`.
    ///
    /// # Errors
    /// ENOKEY, EINVAL, EDQUOT.
    pub fn resolve(&mut self, who: Actor<'_>, id: i32, create: bool) -> Result<i32> {
        if id > 0 {
            return self.key(id).map(|_| id);
        }
        match Special::of(id) {
            Some(special) => self.special(who, special, create),
            // KEY_SPEC_REQKEY_AUTH_KEY, KEY_SPEC_REQUESTOR_KEYRING: nobody asks us to make keys.
            None if id == -7 || id == -8 => Err(Errno::ENOKEY),
            None => Err(Errno::EINVAL),
        }
    }

    fn special(&mut self, who: Actor<'_>, special: Special, create: bool) -> Result<i32> {
        let known = match special {
            Special::Thread => self.threads.get(&who.tid),
            Special::Process => self.processes.get(&who.pid),
            Special::Session => self.sessions.get(&who.tid),
            Special::User => return self.of_user(who).map(|u| u.0),
            Special::UserSession => return self.of_user(who).map(|u| u.1),
        };
        if let Some(id) = known {
            return Ok(*id);
        }
        match special {
            Special::Session if create => return self.join(who, None),
            // Without a session the user's stands for it.
            Special::Session => {
                let ring = self.of_user(who)?.1;
                self.sessions.insert(who.tid, ring);
                return Ok(ring);
            }
            _ if !create => return Err(Errno::ENOKEY),
            _ => {}
        }
        let name: &[u8] = if special == Special::Thread {
            b"_tid"
        } else {
            b"_pid"
        };
        let ring = self.make(ring(who, name.to_vec(), 0x3f01_0000))?;
        if special == Special::Thread {
            self.threads.insert(who.tid, ring);
        } else {
            self.processes.insert(who.pid, ring);
        }
        Ok(ring)
    }

    /// The keyrings of the caller's user: its own, and the one that stands for a session.
    fn of_user(&mut self, who: Actor<'_>) -> Result<(i32, i32)> {
        let uid = who.creds.uid;
        if let Some(both) = self.users.get(&uid) {
            return Ok(*both);
        }
        let new = |name: String| Key {
            uid,
            ..ring(who, name.into_bytes(), 0x1f3f_0000)
        };
        let own = self.make(new(format!("_uid.{uid}")))?;
        let session = self.make(new(format!("_uid_ses.{uid}")))?;
        self.users.insert(uid, (own, session));
        self.link(own, session)?;
        Ok((own, session))
    }

    /// keyctl_join_session_keyring(3): a new one, or by name one that the caller may search.
    pub fn join(&mut self, who: Actor<'_>, name: Option<Vec<u8>>) -> Result<i32> {
        let known = name.as_ref().and_then(|name| {
            let mut all = self.keys.iter();
            let found = all.find(|(id, k)| {
                k.kind == Kind::Keyring
                    && k.description == *name
                    && k.check_alive().is_ok()
                    && k.grants(who.creds, self.possesses(who, **id), right::SEARCH)
            });
            found.map(|(id, _)| *id)
        });
        let id = match (known, name) {
            (Some(id), _) => id,
            (None, Some(name)) => self.make(ring(who, name, 0x3f13_0000))?,
            (None, None) => self.make(ring(who, b"_ses".to_vec(), 0x3f03_0000))?,
        };
        self.sessions.insert(who.tid, id);
        self.sweep();
        Ok(id)
    }

    /// Where searches of the caller start.
    fn own_rings(&self, who: Actor<'_>) -> impl Iterator<Item = i32> {
        let user = self.users.get(&who.creds.uid).map(|u| u.1);
        let session = self.sessions.get(&who.tid).copied().or(user);
        let thread = self.threads.get(&who.tid).copied();
        let process = self.processes.get(&who.pid).copied();
        [thread, process, session].into_iter().flatten()
    }

    /// Whether the key can be found from the caller's keyrings.
    pub fn possesses(&self, who: Actor<'_>, id: i32) -> bool {
        let mut is_it = |found: i32, key: &Key| {
            (found == id && key.grants(who.creds, true, right::SEARCH)).then_some(())
        };
        self.own_rings(who)
            .any(|ring| self.walk(who, ring, true, &mut is_it).is_some())
    }

    /// Goes through a keyring and those in it that the caller may search, until `f` has something.
    fn walk<R>(
        &self,
        who: Actor<'_>,
        from: i32,
        possessed: bool,
        f: &mut dyn FnMut(i32, &Key) -> Option<R>,
    ) -> Option<R> {
        let mut seen = HashSet::new();
        let mut next = vec![(from, 0)];
        while let Some((id, depth)) = next.pop() {
            let Some(key) = self.keys.get(&id).filter(|_| seen.insert(id)) else {
                continue;
            };
            if let Some(r) = f(id, key) {
                return Some(r);
            }
            let open = depth <= MAX_DEPTH
                && key.check_alive().is_ok()
                && key.grants(who.creds, possessed, right::SEARCH);
            if open {
                next.extend(key.links().iter().rev().map(|l| (*l, depth + 1)));
            }
        }
        None
    }

    /// The first key of this type and name in a keyring or below it.
    ///
    /// # Errors
    /// Why the one that was found cannot be used: EKEYREVOKED, EKEYEXPIRED, EACCES; ENOKEY for a negative one.
    pub fn search(
        &self,
        who: Actor<'_>,
        ring: i32,
        kind: Kind,
        description: &[u8],
    ) -> Result<Option<i32>> {
        let possessed = self.possesses(who, ring);
        let mut refused = Errno::ENOKEY;
        let mut negative = false;
        let found = self.walk(who, ring, possessed, &mut |id, key| {
            if id == ring || key.kind != kind || key.description != description {
                return None;
            }
            if let Err(e) = key.check_alive() {
                refused = e;
                return None;
            }
            if !key.grants(who.creds, possessed, right::SEARCH) {
                refused = Errno::EACCES;
                return None;
            }
            if let Err(e) = key.check_positive() {
                refused = e;
                negative = true;
                return None;
            }
            Some(id)
        });
        match found {
            Some(id) => Ok(Some(id)),
            None if refused == Errno::ENOKEY && !negative => Ok(None),
            None => Err(refused),
        }
    }

    /// The first key of this type and name that the caller can find from its own keyrings (request_key(2)); those that have expired do not count.
    pub fn search_own(
        &self,
        who: Actor<'_>,
        kind: Kind,
        description: &[u8],
    ) -> Result<Option<i32>> {
        let mut refused = None;
        let rings: Vec<i32> = self.own_rings(who).collect();
        for ring in rings {
            match self.search(who, ring, kind, description) {
                Ok(None) | Err(Errno::EKEYEXPIRED) => {}
                Ok(found) => return Ok(found),
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Where keys go that are made for request_key(2) (`construct_get_dest_keyring`).
    pub(super) fn default_ring(&mut self, who: Actor<'_>) -> Result<i32> {
        // KEY_REQKEY_DEFL_*; the first of these from that one on that there is.
        let order = [&self.threads, &self.processes, &self.sessions];
        let ids = [who.tid, who.pid, who.tid];
        let from = match self.defaults.get(&who.tid) {
            Some(4) => return self.of_user(who).map(|u| u.0),
            Some(5) => return self.of_user(who).map(|u| u.1),
            Some(2) => 1,
            Some(3) => 2,
            _ => 0,
        };
        let found = order.iter().zip(ids).skip(from);
        let ring = found.filter_map(|(map, id)| map.get(&id)).next().copied();
        match ring {
            Some(ring) => Ok(ring),
            None => self.of_user(who).map(|u| u.1),
        }
    }

    /// All keyrings that keep keys.
    pub(super) fn anchors(&self) -> impl Iterator<Item = i32> {
        let users = self.users.values().flat_map(|(a, b)| [*a, *b]);
        let others = [&self.threads, &self.processes, &self.sessions];
        others
            .into_iter()
            .flat_map(|m| m.values().copied())
            .chain(users)
    }

    /// Those that are gone are nobody's any more.
    pub(super) fn forget_anchors(&mut self, gone: impl Fn(i32) -> bool) {
        for map in [&mut self.threads, &mut self.processes, &mut self.sessions] {
            map.retain(|_, ring| !gone(*ring));
        }
        self.users.retain(|_, (a, b)| !gone(*a) && !gone(*b));
    }

    pub(super) fn inherit(&mut self, parent: i32, child: i32) {
        if let Some(ring) = self.sessions.get(&parent).copied() {
            self.sessions.insert(child, ring);
        }
        if let Some(default) = self.defaults.get(&parent).copied() {
            self.defaults.insert(child, default);
        }
    }

    pub(super) fn exec(&mut self, tid: i32, pid: i32) {
        if self.threads.remove(&tid).is_some() | self.processes.remove(&pid).is_some() {
            self.sweep();
        }
    }

    pub(super) fn exit(&mut self, tid: i32, pid: Option<i32>) {
        self.defaults.remove(&tid);
        let gone = self.threads.remove(&tid).is_some() | self.sessions.remove(&tid).is_some();
        if gone | pid.is_some_and(|p| self.processes.remove(&p).is_some()) {
            self.sweep();
        }
    }
}

/// An empty keyring of the caller's.
fn ring(who: Actor<'_>, description: Vec<u8>, rights: u32) -> Key {
    Key {
        kind: Kind::Keyring,
        description,
        uid: who.creds.uid,
        gid: who.creds.gid,
        rights,
        content: Content::Links(Vec::new()),
        expires: None,
        revoked: false,
        negative: false,
    }
}
