//! add_key(2), request_key(2), keyctl(2).

use super::table::ArgKind::{Hex, Int, Ptr, Str, Uint};
use super::{Args, Cx, SysResult, Syscall};
use crate::abi::{Errno, Result};
use crate::kernel::keys::{self, ALL_RIGHTS, Actor, Content, Kind, Store, right};
use crate::time::Instant;
use crate::usermem::{UserPtr, UserStr};

pub(super) const TABLE: &[Syscall] = {
    #[rustfmt::skip]
    const T: &[Syscall] = &[
        Syscall::new(libc::SYS_add_key, "add_key", add_key, &[Str, Str, Ptr, Uint, Int])
            .partial("keyrings, user, logon and big_key keys"),
        Syscall::new(libc::SYS_request_key, "request_key", request_key, &[Str, Str, Str, Int])
            .partial("nobody is asked to make keys: a negative one takes their place"),
        Syscall::new(libc::SYS_keyctl, "keyctl", keyctl, &[Int, Hex, Hex, Hex, Hex])
            .partial("no instantiation, restriction, persistent keyrings, asymmetric keys"),
    ];
    T
};

/// Longest name of a type, and of a key, with the NUL.
const TYPE_MAX: usize = 32;
const DESCRIPTION_MAX: usize = 4096;
/// Longest payload.
const PAYLOAD_MAX: usize = (1 << 20) - 1;

fn with<R>(cx: &Cx<'_>, f: impl FnOnce(&mut Store, Actor<'_>) -> R) -> R {
    let keys = keys::of(cx.kernel());
    let who = Actor {
        tid: cx.task.tid(),
        pid: cx.group().pid(),
        creds: cx.creds(),
    };
    let mut store = keys.lock();
    f(&mut store, who)
}

/// A type's name; those that start with a dot are the kernel's own.
fn read_type(cx: &Cx<'_>, at: UserStr) -> Result<Vec<u8>> {
    let name = cx.mem().read_cstr(at, TYPE_MAX).map_err(too_long)?;
    match name.first() {
        None => Err(Errno::EINVAL),
        Some(b'.') => Err(Errno::EPERM),
        Some(_) => Ok(name),
    }
}

fn read_description(cx: &Cx<'_>, at: UserStr) -> Result<Vec<u8>> {
    cx.mem().read_cstr(at, DESCRIPTION_MAX).map_err(too_long)
}

/// strndup_user says EINVAL.
fn too_long(e: Errno) -> Errno {
    if e == Errno::ENAMETOOLONG {
        Errno::EINVAL
    } else {
        e
    }
}

fn read_payload(cx: &Cx<'_>, at: u64, len: usize) -> Result<Vec<u8>> {
    if len > PAYLOAD_MAX {
        return Err(Errno::EINVAL);
    }
    let mut payload = vec![0; len];
    cx.mem().read_bytes(at, &mut payload)?;
    Ok(payload)
}

fn add_key(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (kind, description): (UserStr, UserStr) = (a.get(0), a.get(1));
    if a.get::<usize>(3) > PAYLOAD_MAX {
        return Err(Errno::EINVAL.into());
    }
    let kind = read_type(cx, kind)?;
    let description = if description.is_null() {
        Vec::new()
    } else {
        read_description(cx, description)?
    };
    if kind == b"keyring" && description.first() == Some(&b'.') {
        return Err(Errno::EPERM.into());
    }
    let payload = read_payload(cx, a.get(2), a.get(3))?;
    let ring: i32 = a.get(4);
    let id = with(cx, |store, who| -> Result<i32> {
        let ring = store.resolve(who, ring, true)?;
        store.keyring(who, ring, right::WRITE)?;
        let kind = Kind::parse(&kind)?;
        if description.is_empty() {
            return Err(Errno::EINVAL);
        }
        store.add(who, ring, kind, description, payload)
    })?;
    Ok(id.into())
}

fn request_key(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let kind = read_type(cx, a.get(0))?;
    let description = read_description(cx, a.get(1))?;
    let callout: UserStr = a.get(2);
    if !callout.is_null() {
        cx.mem().read_cstr(callout, 4096).map_err(too_long)?;
    }
    let to: i32 = a.get(3);
    let id = with(cx, |store, who| -> Result<i32> {
        let to = match to {
            0 => None,
            id => Some(store.resolve(who, id, true)?),
        };
        if let Some(to) = to {
            store.keyring(who, to, right::WRITE)?;
        }
        let kind = Kind::parse(&kind)?;
        let Some(found) = store.search_own(who, kind, &description)? else {
            return Err(if callout.is_null() {
                Errno::ENOKEY
            } else {
                store.negate(who, to, kind, description)?
            });
        };
        if let Some(to) = to {
            store.checked(who, found, right::LINK)?;
            store.link(found, to)?;
        }
        Ok(found)
    })?;
    Ok(id.into())
}

/// KEYCTL_* of linux/keyctl.h.
mod op {
    pub const GET_KEYRING_ID: i32 = 0;
    pub const JOIN_SESSION_KEYRING: i32 = 1;
    pub const UPDATE: i32 = 2;
    pub const REVOKE: i32 = 3;
    pub const CHOWN: i32 = 4;
    pub const SETPERM: i32 = 5;
    pub const DESCRIBE: i32 = 6;
    pub const CLEAR: i32 = 7;
    pub const LINK: i32 = 8;
    pub const UNLINK: i32 = 9;
    pub const SEARCH: i32 = 10;
    pub const READ: i32 = 11;
    pub const SET_REQKEY_KEYRING: i32 = 14;
    pub const SET_TIMEOUT: i32 = 15;
    pub const ASSUME_AUTHORITY: i32 = 16;
    pub const GET_SECURITY: i32 = 17;
    pub const INVALIDATE: i32 = 21;
    pub const CAPABILITIES: i32 = 31;
}

fn keyctl(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (id, second): (i32, i32) = (a.get(1), a.get(2));
    match a.get::<i32>(0) {
        op::JOIN_SESSION_KEYRING => join(cx, a.get(1)),
        op::UPDATE => update(cx, id, a.get(2), a.get(3)),
        op::DESCRIBE => {
            let text = with(cx, |s, who| describe(s, who, id))?;
            give(cx, &text, a.get(2), a.get(3))
        }
        op::READ => {
            let content = with(cx, |s, who| read(s, who, id))?;
            give(cx, &content, a.get(2), a.get(3))
        }
        op::GET_SECURITY => {
            with(cx, |s, who| -> Result<()> {
                let key = s.resolve(who, id, false)?;
                s.checked_partial(who, key, right::VIEW).map(drop)
            })?;
            give(cx, &[0], a.get(2), a.get(3))
        }
        // Keyrings can be invalidated; nothing else that can be asked for is there.
        op::CAPABILITIES => give_some(cx, &[0x20, 0], a.get(1), a.get(2)),
        op::SEARCH => search(cx, id, a),
        op::SET_REQKEY_KEYRING => with(cx, |s, who| match id {
            -1 => Ok(s.defaults.get(&who.tid).copied().unwrap_or(0).into()),
            0..=5 | 7 => Ok(s.defaults.insert(who.tid, id).unwrap_or(0).into()),
            _ => Err(Errno::EINVAL.into()),
        }),
        op::ASSUME_AUTHORITY => match id {
            0 => Ok(0),
            i32::MIN..=-1 => Err(Errno::EINVAL.into()),
            _ => Err(Errno::ENOKEY.into()),
        },
        op::CHOWN => change_partial(cx, id, right::SETATTR, |s, who, key| {
            s.chown(who, key, a.get(2), a.get(3))
        }),
        op::SETPERM => {
            let rights: u32 = a.get(2);
            if rights & !ALL_RIGHTS != 0 {
                return Err(Errno::EINVAL.into());
            }
            change_partial(cx, id, right::SETATTR, |s, who, key| {
                s.key(key)?.check_owner(who.creds)?;
                s.key_mut(key)?.rights = rights;
                Ok(())
            })
        }
        op::SET_TIMEOUT => {
            let seconds: u32 = a.get(2);
            let end =
                (seconds != 0).then(|| Instant::now().after(u64::from(seconds) * 1_000_000_000));
            change_partial(cx, id, right::SETATTR, |s, _, key| {
                s.key_mut(key)?.expires = end;
                Ok(())
            })
        }
        op::CLEAR => change(cx, id, right::WRITE, |s, _, key| s.clear(key)),
        op::INVALIDATE => change(cx, id, right::SEARCH, |s, _, key| {
            s.invalidate(key);
            Ok(())
        }),
        op::REVOKE => revoke(cx, id),
        op::GET_KEYRING_ID => with(cx, |s, who| {
            let key = s.resolve(who, id, second != 0)?;
            s.checked(who, key, right::SEARCH)?;
            Ok(key.into())
        }),
        op::LINK => with(cx, |s, who| {
            let ring = s.resolve(who, second, true)?;
            s.keyring(who, ring, right::WRITE)?;
            let key = s.resolve(who, id, true)?;
            s.checked(who, key, right::LINK)?;
            s.link(key, ring)?;
            Ok(0)
        }),
        op::UNLINK => with(cx, |s, who| {
            let ring = s.resolve(who, second, false)?;
            s.keyring(who, ring, right::WRITE)?;
            let key = s.resolve(who, id, false)?;
            s.unlink(key, ring)?;
            Ok(0)
        }),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

/// Something that is done to one key for those who have the right.
fn change(
    cx: &Cx<'_>,
    id: i32,
    rights: u32,
    f: impl FnOnce(&mut Store, Actor<'_>, i32) -> Result<()>,
) -> SysResult {
    with(cx, |s, who| {
        let key = s.resolve(who, id, true)?;
        s.checked(who, key, rights)?;
        f(s, who, key)?;
        Ok(0)
    })
}

/// The same, of a negative key, too.
fn change_partial(
    cx: &Cx<'_>,
    id: i32,
    rights: u32,
    f: impl FnOnce(&mut Store, Actor<'_>, i32) -> Result<()>,
) -> SysResult {
    with(cx, |s, who| {
        let key = s.resolve(who, id, true)?;
        s.checked_partial(who, key, rights)?;
        f(s, who, key)?;
        Ok(0)
    })
}

fn join(cx: &Cx<'_>, name: UserStr) -> SysResult {
    let name = if name.is_null() {
        None
    } else {
        let name = read_description(cx, name)?;
        if name.first() == Some(&b'.') {
            return Err(Errno::EPERM.into());
        }
        Some(name)
    };
    Ok(with(cx, |s, who| s.join(who, name))?.into())
}

fn update(cx: &Cx<'_>, id: i32, at: u64, len: usize) -> SysResult {
    let payload = read_payload(cx, at, len)?;
    change(cx, id, right::WRITE, |s, _, key| {
        s.set_payload(key, payload)
    })
}

fn revoke(cx: &Cx<'_>, id: i32) -> SysResult {
    with(cx, |s, who| {
        let key = s.resolve(who, id, false)?;
        match s.checked(who, key, right::WRITE) {
            Err(Errno::EACCES) => s.checked(who, key, right::SETATTR)?,
            other => other?,
        };
        let key = s.key_mut(key)?;
        key.revoked = true;
        match &mut key.content {
            Content::Bytes(b) => b.clear(),
            Content::Links(l) => l.clear(),
        }
        Ok(0)
    })
}

fn search(cx: &Cx<'_>, ring: i32, a: &Args) -> SysResult {
    let kind = read_type(cx, a.get(2))?;
    let description = read_description(cx, a.get(3))?;
    let to: i32 = a.get(4);
    let id = with(cx, |s, who| -> Result<i32> {
        let ring = s.resolve(who, ring, false)?;
        s.keyring(who, ring, right::SEARCH)?;
        let to = match to {
            0 => None,
            id => Some(s.resolve(who, id, true)?),
        };
        if let Some(to) = to {
            s.keyring(who, to, right::WRITE)?;
        }
        let found = s.search(who, ring, Kind::parse(&kind)?, &description)?;
        let found = found.ok_or(Errno::ENOKEY)?;
        if let Some(to) = to {
            s.checked(who, found, right::LINK)?;
            s.link(found, to)?;
        }
        Ok(found)
    })?;
    Ok(id.into())
}

/// `type;uid;gid;rights;description`, with a NUL.
fn describe(s: &mut Store, who: Actor<'_>, id: i32) -> Result<Vec<u8>> {
    let id = s.resolve(who, id, false)?;
    let key = s.checked_partial(who, id, right::VIEW)?;
    let head = format!(
        "{};{};{};{:08x};",
        key.kind.name(),
        who.creds.user_ns.show_user(key.uid),
        who.creds.user_ns.show_group(key.gid),
        key.rights
    );
    Ok([head.as_bytes(), &key.description, &[0]].concat())
}

/// What a key holds, for those who may read it, or find it by searching their own keyrings.
fn read(s: &mut Store, who: Actor<'_>, id: i32) -> Result<Vec<u8>> {
    let id = s.resolve(who, id, false)?;
    s.key(id)?.check_positive()?;
    s.key(id)?.check_alive()?;
    match s.checked(who, id, right::READ) {
        Err(Errno::EACCES) => {
            s.checked(who, id, right::SEARCH)?;
            if !s.possesses(who, id) {
                return Err(Errno::EACCES);
            }
        }
        other => drop(other?),
    }
    let key = s.key(id)?;
    match &key.content {
        _ if key.kind == Kind::Logon => Err(Errno::EOPNOTSUPP),
        Content::Bytes(b) => Ok(b.clone()),
        Content::Links(l) => Ok(l.iter().flat_map(|id| id.to_ne_bytes()).collect()),
    }
}

/// The whole, if there is room for it; how long it is.
fn give(cx: &Cx<'_>, data: &[u8], at: u64, room: usize) -> SysResult {
    if at != 0 && data.len() <= room {
        cx.mem().write_bytes(at, data)?;
    }
    Ok(i64::try_from(data.len()).unwrap_or(i64::MAX))
}

/// As much as there is room for, then zeros; how long it is.
fn give_some(cx: &Cx<'_>, data: &[u8], at: u64, room: usize) -> SysResult {
    let n = data.len().min(room);
    cx.mem()
        .write_bytes(at, data.get(..n).unwrap_or_default())?;
    for i in n..room.min(64) {
        cx.mem().put(UserPtr::<u8>::new(at).offset(i), &0)?;
    }
    Ok(i64::try_from(data.len()).unwrap_or(i64::MAX))
}
