//! User namespaces (user_namespaces(7)): which ids mean what, and where capabilities count.
//!
//! Every id that the sentry keeps is one of the initial namespace (Linux's `kuid_t`). A namespace translates at the edge: what
//! a task names is mapped down when it comes in, what it is shown is mapped up when it goes out.

use super::{Caps, Credentials};
use crate::abi::{Errno, Result};
use crate::sync::{Charge, Mutex, Quota, Rank};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

/// What an id is shown as that a namespace does not map (`/proc/sys/kernel/overflowuid`).
pub const OVERFLOW_ID: u32 = 65534;
/// No id.
pub const INVALID_ID: u32 = u32::MAX;
/// Deepest nesting below the initial namespace.
const MAX_LEVEL: u32 = 32;
/// Most lines of a map (UID_GID_MAP_MAX_EXTENTS).
const MAX_EXTENTS: usize = 340;
/// Most user namespaces of the sandbox (`user.max_user_namespaces`).
static QUOTA: Quota = Quota::new(MAX_NAMESPACES as usize);
/// See [`QUOTA`].
const MAX_NAMESPACES: u32 = 4096;

/// Number of the initial one, as in Linux (PROC_USER_INIT_INO).
const INITIAL: u64 = 4_026_531_837;

/// A number for a namespace of any kind, above those that Linux gives its initial ones.
pub fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(4_026_532_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// `count` ids from `first` on are those from `lower` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Extent {
    pub first: u32,
    pub lower: u32,
    pub count: u32,
}

impl Extent {
    fn offset(from: u32, count: u32, id: u32) -> Option<u32> {
        id.checked_sub(from).filter(|o| *o < count)
    }
}

/// Users or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum IdKind {
    Users,
    Groups,
    Projects,
}

/// One kind's map; it is written once. `lower` ids are the initial namespace's.
#[derive(Debug, Default)]
struct IdMap(OnceLock<Box<[Extent]>>);

impl IdMap {
    fn extents(&self) -> &[Extent] {
        self.0.get().map_or(&[], |e| e)
    }
    fn down(&self, id: u32) -> Option<u32> {
        let mut all = self.extents().iter();
        all.find_map(|e| Some(e.lower + Extent::offset(e.first, e.count, id)?))
    }
    /// The first of `count` ids from `id` on, if one line maps them all.
    fn down_range(&self, id: u32, count: u32) -> Option<u32> {
        let mut all = self.extents().iter();
        all.find_map(|e| {
            let offset = Extent::offset(e.first, e.count, id)?;
            (count <= e.count - offset).then_some(e.lower + offset)
        })
    }
    fn up(&self, id: u32) -> Option<u32> {
        let mut all = self.extents().iter();
        all.find_map(|e| Some(e.first + Extent::offset(e.lower, e.count, id)?))
    }
}

/// `struct user_namespace`.
#[derive(Debug)]
pub struct UserNamespace {
    number: u64,
    parent: Option<Arc<UserNamespace>>,
    level: u32,
    owner: u32,
    /// Whether its creator had CAP_SETFCAP: else it may not map the parent's root.
    creator_had_setfcap: bool,
    users: IdMap,
    groups: IdMap,
    projects: IdMap,
    setgroups: AtomicBool,
    /// Most user namespaces below it, and how many there are.
    most: AtomicU32,
    below: AtomicU32,
    /// One change of maps and `setgroups` at a time.
    changing: Mutex<()>,
    _charge: Option<Charge>,
}

impl PartialEq for UserNamespace {
    fn eq(&self, other: &UserNamespace) -> bool {
        self.number == other.number
    }
}
impl Eq for UserNamespace {}

impl UserNamespace {
    /// The initial one: every id is itself.
    pub fn initial() -> &'static Arc<UserNamespace> {
        static NS: LazyLock<Arc<UserNamespace>> = LazyLock::new(|| {
            let all = || {
                IdMap(OnceLock::from(Box::from([Extent {
                    first: 0,
                    lower: 0,
                    count: u32::MAX,
                }])))
            };
            Arc::new(UserNamespace {
                number: INITIAL,
                parent: None,
                level: 0,
                owner: 0,
                creator_had_setfcap: true,
                users: all(),
                groups: all(),
                projects: all(),
                setgroups: AtomicBool::new(true),
                most: AtomicU32::new(MAX_NAMESPACES),
                below: AtomicU32::new(0),
                changing: Mutex::new(Rank::LEAF, ()),
                _charge: None,
            })
        });
        &NS
    }
    /// What `/proc/PID/ns/user` shows.
    pub fn number(&self) -> u64 {
        self.number
    }
    /// The one it was made in.
    pub fn parent(&self) -> Option<&Arc<UserNamespace>> {
        self.parent.as_ref()
    }
    /// The user who made it.
    pub fn owner(&self) -> u32 {
        self.owner
    }
    /// Whether it is the initial one.
    pub fn is_initial(&self) -> bool {
        self.level == 0
    }
    /// Whether it is `above` or below that.
    pub fn is_within(&self, above: &UserNamespace) -> bool {
        let mut at = self;
        while at.level > above.level {
            match &at.parent {
                Some(p) => at = p,
                None => return false,
            }
        }
        at == above
    }

    fn map(&self, kind: IdKind) -> &IdMap {
        match kind {
            IdKind::Users => &self.users,
            IdKind::Groups => &self.groups,
            IdKind::Projects => &self.projects,
        }
    }
    /// The user that `uid` means in this namespace.
    pub fn user(&self, uid: u32) -> Option<u32> {
        self.users.down(uid)
    }
    /// The group that `gid` means in this namespace.
    pub fn group(&self, gid: u32) -> Option<u32> {
        self.groups.down(gid)
    }
    /// The user that `uid` means: EINVAL if none.
    pub fn user_arg(&self, uid: u32) -> Result<u32> {
        self.user(uid).ok_or(Errno::EINVAL)
    }
    /// The group that `gid` means: EINVAL if none.
    pub fn group_arg(&self, gid: u32) -> Result<u32> {
        self.group(gid).ok_or(Errno::EINVAL)
    }
    /// The uid that a user has here.
    pub fn uid(&self, user: u32) -> Option<u32> {
        self.users.up(user)
    }
    /// The gid that a group has here.
    pub fn gid(&self, group: u32) -> Option<u32> {
        self.groups.up(group)
    }
    /// What a user is shown as here.
    pub fn show_user(&self, user: u32) -> u32 {
        self.users.up(user).unwrap_or(OVERFLOW_ID)
    }
    /// What a group is shown as here.
    pub fn show_group(&self, group: u32) -> u32 {
        self.groups.up(group).unwrap_or(OVERFLOW_ID)
    }
    /// Whoever is uid 0 here; nobody's id if the map has none.
    pub fn root(&self) -> u32 {
        self.user(0).unwrap_or(INVALID_ID)
    }
    /// Whether both ids of an object are mapped here.
    pub fn maps_both(&self, user: u32, group: u32) -> bool {
        self.uid(user).is_some() && self.gid(group).is_some()
    }
    /// Whether setgroups(2) works here: groups are mapped, and it was not forbidden.
    pub fn allows_setgroups(&self) -> bool {
        !self.groups.extents().is_empty() && self.setgroups.load(Ordering::Relaxed)
    }

    /// CLONE_NEWUSER by a task with these credentials.
    ///
    /// # Errors
    /// ENOSPC beyond the deepest nesting or the quota; EPERM if the caller's ids are not mapped in its namespace.
    pub fn create(creator: &Credentials) -> Result<Arc<UserNamespace>> {
        let parent = &creator.user_ns;
        if parent.level > MAX_LEVEL {
            return Err(Errno::ENOSPC);
        }
        let charge = QUOTA.charge(1).ok_or(Errno::ENOSPC)?;
        parent.allows_another()?;
        if !parent.maps_both(creator.euid, creator.egid) {
            return Err(Errno::EPERM);
        }
        parent.each_above(|ns| ns.below.fetch_add(1, Ordering::Relaxed));
        Ok(Arc::new(UserNamespace {
            number: next_number(),
            parent: Some(parent.clone()),
            level: parent.level + 1,
            owner: creator.euid,
            creator_had_setfcap: creator.effective.contains(Caps::SETFCAP),
            users: IdMap::default(),
            groups: IdMap::default(),
            projects: IdMap::default(),
            setgroups: AtomicBool::new(parent.setgroups.load(Ordering::Relaxed)),
            // As Linux: without a limit of its own.
            most: AtomicU32::new(i32::MAX as u32),
            below: AtomicU32::new(0),
            changing: Mutex::new(Rank::LEAF, ()),
            _charge: Some(charge),
        }))
    }

    /// Calls `each` with this one and all above.
    fn each_above<R>(&self, each: impl Fn(&UserNamespace) -> R) {
        let mut at = Some(self);
        while let Some(ns) = at {
            each(ns);
            at = ns.parent.as_deref();
        }
    }
    /// ENOSPC if this one or one above may have no more below.
    fn allows_another(&self) -> Result<()> {
        let mut at = Some(self);
        while let Some(ns) = at {
            if ns.below.load(Ordering::Relaxed) >= ns.most() {
                return Err(Errno::ENOSPC);
            }
            at = ns.parent.as_deref();
        }
        Ok(())
    }
    /// Most user namespaces below it (`user.max_user_namespaces` as its tasks see it).
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }
    /// Sets that.
    ///
    /// # Errors
    /// EINVAL beyond what Linux takes, or in the initial one beyond what the sandbox bears.
    pub fn set_most(&self, most: u32) -> Result<()> {
        let bound = if self.is_initial() {
            MAX_NAMESPACES
        } else {
            i32::MAX as u32
        };
        if most > bound {
            return Err(Errno::EINVAL);
        }
        self.most.store(most, Ordering::Relaxed);
        Ok(())
    }

    /// `uid_map` and the like, as `reader` sees it.
    pub fn show_map(self: &Arc<Self>, kind: IdKind, reader: &Arc<UserNamespace>) -> String {
        // Its own tasks see ids of the namespace above.
        let below = match &self.parent {
            Some(parent) if reader == self => parent,
            _ => reader,
        };
        let line = |e: &Extent| {
            let lower = below.map(kind).up(e.lower).unwrap_or(INVALID_ID);
            format!("{:>10} {lower:>10} {:>10}\n", e.first, e.count)
        };
        self.map(kind).extents().iter().map(line).collect()
    }

    /// A write to `uid_map` and the like through a file that `opener` opened: what a privileged program is made to write is
    /// not its wish (`map_write`). Linux asks for the writer's rights, too; a set-user-id program gains none by this.
    ///
    /// # Errors
    /// EPERM: already written, or not the opener's right; EINVAL: not a map.
    pub fn write_map(&self, kind: IdKind, text: &[u8], opener: &Credentials) -> Result<()> {
        let parent = self.parent.as_ref().ok_or(Errno::EPERM)?;
        if *opener.user_ns != *self && opener.user_ns != *parent {
            return Err(Errno::EPERM);
        }
        let _one = self.changing.lock();
        if self.map(kind).0.get().is_some() {
            return Err(Errno::EPERM);
        }
        // Projects have no owners: their map asks for less.
        if kind != IdKind::Projects && !opener.has_in(self, Caps::SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        let named = parse_map(text)?;
        if !self.may_map(parent, kind, &named, opener) {
            return Err(Errno::EPERM);
        }
        let translate = |e: &Extent| {
            let lower = parent.map(kind).down_range(e.lower, e.count);
            Ok(Extent {
                lower: lower.ok_or(Errno::EPERM)?,
                ..*e
            })
        };
        let lower: Result<Box<[Extent]>> = named.iter().map(translate).collect();
        self.map(kind).0.set(lower?).map_err(|_| Errno::EPERM)
    }

    /// `new_idmap_permitted`.
    fn may_map(
        &self,
        parent: &Arc<UserNamespace>,
        kind: IdKind,
        named: &[Extent],
        opener: &Credentials,
    ) -> bool {
        if kind == IdKind::Users && named.iter().any(|e| e.lower == 0) {
            // The parent's root: its files' capabilities would come along.
            let allowed = if *opener.user_ns == *self {
                self.creator_had_setfcap
            } else {
                opener.has_in(parent, Caps::SETFCAP)
            };
            if !allowed {
                return false;
            }
        }
        if let [one] = named
            && one.count == 1
            && opener.euid == self.owner
        {
            let own = match kind {
                IdKind::Users => parent.user(one.lower) == Some(opener.euid),
                IdKind::Groups => {
                    !self.setgroups.load(Ordering::Relaxed)
                        && parent.group(one.lower) == Some(opener.egid)
                }
                IdKind::Projects => false,
            };
            if own {
                return true;
            }
        }
        let cap = match kind {
            IdKind::Users => Caps::SETUID,
            IdKind::Groups => Caps::SETGID,
            IdKind::Projects => return true,
        };
        opener.has_in(parent, cap)
    }

    /// What the file `setgroups` shows.
    pub fn show_setgroups(&self) -> &'static str {
        if self.setgroups.load(Ordering::Relaxed) {
            "allow\n"
        } else {
            "deny\n"
        }
    }
    /// A write to `setgroups`, whose opener had the right.
    ///
    /// # Errors
    /// EINVAL for other words; EPERM: allowed again after deny, or denied after groups were mapped.
    pub fn write_setgroups(&self, text: &[u8]) -> Result<()> {
        let allow = match text.trim_ascii_end() {
            b"allow" => true,
            b"deny" => false,
            _ => return Err(Errno::EINVAL),
        };
        let _one = self.changing.lock();
        let now = self.setgroups.load(Ordering::Relaxed);
        if allow && !now || !allow && self.groups.0.get().is_some() {
            return Err(Errno::EPERM);
        }
        self.setgroups.store(allow, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for UserNamespace {
    /// Lets go of those above in a loop.
    fn drop(&mut self) {
        let gone = |ns: &UserNamespace| {
            if let Some(parent) = &ns.parent {
                parent.each_above(|above| above.below.fetch_sub(1, Ordering::Relaxed));
            }
        };
        gone(self);
        let mut next = self.parent.take();
        while let Some(mut ns) = next.and_then(Arc::into_inner) {
            gone(&ns);
            next = ns.parent.take();
        }
    }
}

/// Lines of three numbers that map disjoint ranges.
fn parse_map(text: &[u8]) -> Result<Vec<Extent>> {
    if text.len() >= 4096 {
        return Err(Errno::EINVAL);
    }
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let mut out: Vec<Extent> = Vec::new();
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        let mut words = line.split_ascii_whitespace().map(parse_id);
        let mut next = || words.next().unwrap_or(Err(Errno::EINVAL));
        let e = Extent {
            first: next()?,
            lower: next()?,
            count: next()?,
        };
        let bad = |from: u32| from == INVALID_ID || from.checked_add(e.count).is_none();
        let overlap = |a: u32, m: u32, b: u32, n: u32| {
            a <= b.saturating_add(n - 1) && b <= a.saturating_add(m - 1)
        };
        if words.next().is_some()
            || e.count == 0
            || bad(e.first)
            || bad(e.lower)
            || out.len() >= MAX_EXTENTS
            || out.iter().any(|o| {
                overlap(o.first, o.count, e.first, e.count)
                    || overlap(o.lower, o.count, e.lower, e.count)
            })
        {
            return Err(Errno::EINVAL);
        }
        out.push(e);
    }
    Ok(out)
}

/// As simple_strtoul: 0x and 0 prefixes count.
fn parse_id(word: &str) -> Result<u32> {
    let (digits, radix) = match (word.strip_prefix("0x"), word.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (word, 10),
    };
    u32::from_str_radix(digits, radix).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Credentials {
        Credentials::new(1000, 1000, &[], Caps::all())
    }

    #[test]
    fn a_user_maps_itself_alone() {
        let outside = user();
        let ns = UserNamespace::create(&outside).unwrap();
        let inside = outside.in_new(ns.clone());
        assert_eq!(ns.show_user(1000), OVERFLOW_ID);
        let map = |kind, text: &str| ns.write_map(kind, text.as_bytes(), &inside);
        assert_eq!(map(IdKind::Users, "0 0 1"), Err(Errno::EPERM));
        assert_eq!(map(IdKind::Users, "0 1000 2"), Err(Errno::EPERM));
        assert_eq!(map(IdKind::Users, "0 1000 1\n"), Ok(()));
        assert_eq!(map(IdKind::Users, "0 1000 1"), Err(Errno::EPERM));
        assert_eq!(
            (ns.show_user(1000), ns.user(0), ns.user(1)),
            (0, Some(1000), None)
        );
        assert_eq!(map(IdKind::Groups, "0 1000 1"), Err(Errno::EPERM));
        assert_eq!(ns.write_setgroups(b"deny\n"), Ok(()));
        assert_eq!(ns.write_setgroups(b"allow"), Err(Errno::EPERM));
        assert_eq!(map(IdKind::Groups, "0 1000 1"), Ok(()));
        assert!(!ns.allows_setgroups());
    }

    #[test]
    fn capabilities_count_in_the_namespace_and_below() {
        let outside = user();
        let ns = UserNamespace::create(&outside).unwrap();
        let inside = outside.in_new(ns.clone());
        let initial = UserNamespace::initial();
        assert!(inside.has_own(Caps::SYS_ADMIN) && !inside.has(Caps::SYS_ADMIN));
        assert!(inside.has_in(&ns, Caps::KILL) && !inside.has_in(initial, Caps::KILL));
        // Its owner has all rights in it, other users none; root of the namespace above has them, too.
        assert!(outside.has_in(&ns, Caps::KILL));
        let other = Credentials::new(1001, 1001, &[], Caps::all());
        assert!(!other.has_in(&ns, Caps::KILL));
        assert!(Credentials::root().has_in(&ns, Caps::KILL));
        // A sibling's root has none.
        let sibling = other.in_new(UserNamespace::create(&other).unwrap());
        assert!(!sibling.has_in(&ns, Caps::KILL));
    }

    #[test]
    fn maps_are_parsed_as_linux_does() {
        for bad in [
            "",
            "0 0",
            "0 0 0",
            "0 0 1 1",
            "a 0 1",
            "4294967295 0 1",
            "0 4294967290 10",
            "0 0 2\n1 5 1",
            "0 0 1\n\n5 5 1",
        ] {
            assert_eq!(parse_map(bad.as_bytes()), Err(Errno::EINVAL), "{bad:?}");
        }
        assert_eq!(parse_map(b"  0   0x10 010\n20 100 1").unwrap().len(), 2);
    }

    #[test]
    fn nesting_ends() {
        let mut c = Credentials::root();
        let mut depth = 0;
        loop {
            let ns = match UserNamespace::create(&c) {
                Ok(ns) => ns,
                Err(e) => break assert_eq!((e, depth), (Errno::ENOSPC, 33)),
            };
            let inside = c.in_new(ns.clone());
            for kind in [IdKind::Users, IdKind::Groups] {
                ns.write_map(kind, b"0 0 4294967295", &c).unwrap();
            }
            (c, depth) = (inside, depth + 1);
        }
    }
}
