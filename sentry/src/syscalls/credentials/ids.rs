//! User and group ids.

use crate::abi::Result;
use crate::auth::{Credentials, NO_CHANGE};
use crate::kernel::{Cx, identity};
use crate::syscalls::{Args, SysResult};

pub(super) fn getuid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    let c = cx.creds();
    Ok(c.user_ns.show_user(c.uid).into())
}
pub(super) fn geteuid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    let c = cx.creds();
    Ok(c.user_ns.show_user(c.euid).into())
}
pub(super) fn getgid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    let c = cx.creds();
    Ok(c.user_ns.show_group(c.gid).into())
}
pub(super) fn getegid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    let c = cx.creds();
    Ok(c.user_ns.show_group(c.egid).into())
}

fn put_three(cx: &mut Cx<'_>, args: &Args, ids: [u32; 3]) -> SysResult {
    for (n, id) in ids.iter().enumerate() {
        cx.mem().put(args.get(n), id)?;
    }
    Ok(0)
}

pub(super) fn getresuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let c = cx.creds();
    let ids = [c.uid, c.euid, c.suid];
    put_three(cx, args, ids.map(|u| c.user_ns.show_user(u)))
}
pub(super) fn getresgid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let c = cx.creds();
    let ids = [c.gid, c.egid, c.sgid];
    put_three(cx, args, ids.map(|g| c.user_ns.show_group(g)))
}

/// The user an argument means; -1 stays: most calls take it as "leave it".
fn user(cx: &Cx<'_>, args: &Args, n: usize) -> Result<u32> {
    match args.get(n) {
        NO_CHANGE => Ok(NO_CHANGE),
        uid => cx.creds().user_ns.user_arg(uid),
    }
}

/// The same for a group.
fn group(cx: &Cx<'_>, args: &Args, n: usize) -> Result<u32> {
    match args.get(n) {
        NO_CHANGE => Ok(NO_CHANGE),
        gid => cx.creds().user_ns.group_arg(gid),
    }
}

fn set(cx: &mut Cx<'_>, new: Result<Credentials>) -> SysResult {
    identity::commit(cx, new?);
    Ok(0)
}

pub(super) fn setuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let a = user(cx, args, 0)?;
    let new = cx.creds().setuid(a);
    set(cx, new)
}
pub(super) fn setgid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let a = group(cx, args, 0)?;
    let new = cx.creds().setgid(a);
    set(cx, new)
}
pub(super) fn setreuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let a = user(cx, args, 0)?;
    let b = user(cx, args, 1)?;
    let new = cx.creds().setreuid(a, b);
    set(cx, new)
}
pub(super) fn setregid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let a = group(cx, args, 0)?;
    let b = group(cx, args, 1)?;
    let new = cx.creds().setregid(a, b);
    set(cx, new)
}
pub(super) fn setresuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let a = user(cx, args, 0)?;
    let b = user(cx, args, 1)?;
    let c = user(cx, args, 2)?;
    let new = cx.creds().setresuid(a, b, c);
    set(cx, new)
}
pub(super) fn setresgid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let a = group(cx, args, 0)?;
    let b = group(cx, args, 1)?;
    let c = group(cx, args, 2)?;
    let new = cx.creds().setresgid(a, b, c);
    set(cx, new)
}

/// Returns the old id, whether or not it could be changed.
pub(super) fn setfsuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let old = cx.creds();
    let new = user(cx, args, 0).ok().and_then(|id| old.setfsuid(id));
    if let Some(new) = new {
        identity::commit(cx, new);
    }
    Ok(old.user_ns.show_user(old.fsuid).into())
}
/// As [`setfsuid`].
pub(super) fn setfsgid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let old = cx.creds();
    let new = group(cx, args, 0).ok().and_then(|id| old.setfsgid(id));
    if let Some(new) = new {
        identity::commit(cx, new);
    }
    Ok(old.user_ns.show_group(old.fsgid).into())
}
