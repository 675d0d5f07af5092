//! User and group ids.

use crate::abi::Result;
use crate::auth::Credentials;
use crate::kernel::{Cx, identity};
use crate::syscalls::{Args, SysResult};

pub(super) fn getuid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(cx.creds().uid.into())
}
pub(super) fn geteuid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(cx.creds().euid.into())
}
pub(super) fn getgid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(cx.creds().gid.into())
}
pub(super) fn getegid(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(cx.creds().egid.into())
}

fn put_three(cx: &mut Cx<'_>, args: &Args, ids: [u32; 3]) -> SysResult {
    for (n, id) in ids.iter().enumerate() {
        cx.mem().put(args.get(n), id)?;
    }
    Ok(0)
}

pub(super) fn getresuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let c = cx.creds();
    put_three(cx, args, [c.uid, c.euid, c.suid])
}
pub(super) fn getresgid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let c = cx.creds();
    put_three(cx, args, [c.gid, c.egid, c.sgid])
}

fn set(cx: &mut Cx<'_>, new: Result<Credentials>) -> SysResult {
    identity::commit(cx, new?);
    Ok(0)
}

pub(super) fn setuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let new = cx.creds().setuid(args.get(0));
    set(cx, new)
}
pub(super) fn setgid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let new = cx.creds().setgid(args.get(0));
    set(cx, new)
}
pub(super) fn setreuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let new = cx.creds().setreuid(args.get(0), args.get(1));
    set(cx, new)
}
pub(super) fn setregid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let new = cx.creds().setregid(args.get(0), args.get(1));
    set(cx, new)
}
pub(super) fn setresuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let new = cx.creds().setresuid(args.get(0), args.get(1), args.get(2));
    set(cx, new)
}
pub(super) fn setresgid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let new = cx.creds().setresgid(args.get(0), args.get(1), args.get(2));
    set(cx, new)
}

/// Returns the old id, whether or not it could be changed.
pub(super) fn setfsuid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let old = cx.creds();
    if let Some(new) = old.setfsuid(args.get(0)) {
        identity::commit(cx, new);
    }
    Ok(old.fsuid.into())
}
/// As [`setfsuid`].
pub(super) fn setfsgid(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let old = cx.creds();
    if let Some(new) = old.setfsgid(args.get(0)) {
        identity::commit(cx, new);
    }
    Ok(old.fsgid.into())
}
