//! Host ids of a sandbox's processes: who the sentry and the gofer are on the host, and the maps that make it so.

use super::{Error, Result};
use std::fmt::Write;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// First of the host uids (and gids) that sandboxes of root use: far above those of people, services and subordinate
/// ranges.
const FIRST: u32 = 0x7000_0000;
/// How many there are.
const COUNT: u32 = 0x0f00_0000;

/// A host uid that no other sandbox has while this lives.
#[derive(Debug)]
pub struct HostId {
    id: u32,
    /// A name in the abstract socket namespace is a lock that no crash leaves behind.
    _lock: UnixListener,
}

impl HostId {
    /// Takes a free one.
    ///
    /// # Errors
    /// None is free, or sockets cannot be made.
    pub fn take() -> Result<HostId> {
        let mut seed = [0; 4];
        let failed =
            |e: std::io::Error| Error::Host(format!("cannot take a host uid for the sandbox: {e}"));
        for _ in 0..64 {
            fs::File::open("/dev/urandom")
                .and_then(|mut f| std::io::Read::read_exact(&mut f, &mut seed))
                .map_err(failed)?;
            let id = FIRST + u32::from_le_bytes(seed) % COUNT;
            let name =
                SocketAddr::from_abstract_name(format!("cofferdam/uid/{id}")).map_err(failed)?;
            match UnixListener::bind_addr(&name) {
                Ok(lock) => return Ok(HostId { id, _lock: lock }),
                Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(Error::Host(
            "cannot take a host uid for the sandbox: 64 random ones are all in use".into(),
        ))
    }
}

/// Who the processes are on the host.
#[derive(Debug)]
pub enum Plan {
    /// The caller is root: the sentry gets a uid of its own; the gofer sees all ids as they are.
    Root(HostId),
    /// The caller is root of a user namespace with several ids: the sentry gets one of them, the gofer sees all.
    Namespace(u32, u32),
    /// The caller is an ordinary user: everything runs as that user.
    User(u32, u32),
}

/// Lines for uid_map and gid_map of a user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    pub uid: String,
    pub gid: String,
    /// Only with this may an unprivileged writer set a gid map; it takes setgroups(2) away.
    pub deny_setgroups: bool,
    /// The caller's own ids may not be in it: the process is to become its root first of all.
    pub foreign: bool,
}

impl Plan {
    /// For the calling process.
    ///
    /// # Errors
    /// See [`HostId::take`].
    pub fn for_caller() -> Result<Plan> {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        if uid.is_root() && may_map_any_id() {
            return Ok(Plan::Root(HostId::take()?));
        }
        if uid.is_root()
            && let (Some(uid), Some(gid)) = (last_id("uid_map"), last_id("gid_map"))
        {
            return Ok(Plan::Namespace(uid, gid));
        }
        Ok(Plan::User(uid.as_raw(), gid.as_raw()))
    }

    /// The sentry is id 0 of its user namespace and an unimportant id on the host.
    pub fn sentry_maps(&self) -> Maps {
        match self {
            Plan::Root(host) => Maps {
                uid: one(0, host.id),
                gid: one(0, host.id),
                deny_setgroups: false,
                foreign: false,
            },
            Plan::Namespace(uid, gid) => Maps {
                uid: one(0, *uid),
                gid: one(0, *gid),
                deny_setgroups: false,
                foreign: false,
            },
            Plan::User(uid, gid) => Maps {
                uid: one(0, *uid),
                gid: one(0, *gid),
                deny_setgroups: true,
                foreign: false,
            },
        }
    }

    /// The gofer keeps the caller's ids, and as many others as the caller may map, so that owners of files keep theirs.
    ///
    /// # Errors
    /// The caller's own map cannot be read.
    pub fn gofer_maps(&self) -> Result<Maps> {
        match self {
            Plan::Root(_) | Plan::Namespace(..) => Ok(Maps {
                uid: same("uid_map")?,
                gid: same("gid_map")?,
                deny_setgroups: false,
                foreign: false,
            }),
            Plan::User(uid, gid) => Ok(Maps {
                uid: one(*uid, *uid),
                gid: one(*gid, *gid),
                deny_setgroups: true,
                foreign: false,
            }),
        }
    }

    /// Whether files of other owners appear as the overflow id to the gofer.
    pub fn foreign_owners_overflow(&self) -> bool {
        matches!(self, Plan::User(..))
    }
}

impl Maps {
    /// From lines `inside outside count`.
    pub fn from_lines(uid: &str, gid: &str) -> Maps {
        Maps {
            uid: uid.to_owned(),
            gid: gid.to_owned(),
            deny_setgroups: false,
            foreign: true,
        }
    }
}

/// Whether sandboxes of the calling process see files of other owners as the overflow id's.
pub fn overflows() -> bool {
    let uid = nix::unistd::geteuid();
    !(uid.is_root() && (may_map_any_id() || last_id("uid_map").is_some()))
}

fn one(inside: u32, outside: u32) -> String {
    format!("{inside} {outside} 1\n")
}

/// The caller's own map, mapped onto itself.
fn same(file: &str) -> Result<String> {
    let path = format!("/proc/self/{file}");
    let text = fs::read_to_string(&path).map_err(|e| {
        Error::Host(format!(
            "cannot read {path}: {e}; Cofferdam needs /proc to be mounted"
        ))
    })?;
    Ok(identity(&text))
}

fn identity(map: &str) -> String {
    let mut out = String::new();
    for line in map.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [inside, _, count] = fields.as_slice() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{inside} {inside} {count}");
        }
    }
    out
}

/// The last of several ids that the caller's user namespace maps; `None` if there is but one.
fn last_id(file: &str) -> Option<u32> {
    last_of(&fs::read_to_string(format!("/proc/self/{file}")).ok()?)
}

fn last_of(map: &str) -> Option<u32> {
    let ranges = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        let (first, _, count) = (
            fields.next()?.ok()?,
            fields.next()?.ok()?,
            fields.next()?.ok()?,
        );
        first.checked_add(count.checked_sub(1)?)
    });
    ranges.max().filter(|last| *last > 0)
}

/// Whether uid [`FIRST`] and those above exist in the caller's user namespace (not so in most containers).
fn may_map_any_id() -> bool {
    let whole = |file: &str| {
        fs::read_to_string(file).is_ok_and(|map| {
            map.lines().any(|line| {
                let mut fields = line
                    .split_whitespace()
                    .map(|f| f.parse::<u64>().unwrap_or(0));
                let (start, count) = (fields.next().unwrap_or(0), fields.nth(1).unwrap_or(0));
                start <= u64::from(FIRST)
                    && start.saturating_add(count) >= u64::from(FIRST) + u64::from(COUNT)
            })
        })
    };
    whole("/proc/self/uid_map") && whole("/proc/self/gid_map")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_maps_keep_the_callers_ranges() {
        assert_eq!(
            identity("         0          0 4294967295\n"),
            "0 0 4294967295\n"
        );
        assert_eq!(identity("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }

    #[test]
    fn the_last_id_of_a_namespace() {
        assert_eq!(last_of("         0       1000          1\n"), None);
        assert_eq!(last_of("0 1000 1\n1 100000 65536\n"), Some(65536));
        assert_eq!(last_of(""), None);
    }

    #[test]
    fn two_sandboxes_have_two_ids() {
        let (a, b) = (HostId::take().unwrap(), HostId::take().unwrap());
        assert_ne!(a.id, b.id);
        let name = SocketAddr::from_abstract_name(format!("cofferdam/uid/{}", a.id)).unwrap();
        assert!(UnixListener::bind_addr(&name).is_err());
        drop(a);
        assert!(UnixListener::bind_addr(&name).is_ok());
    }
}
