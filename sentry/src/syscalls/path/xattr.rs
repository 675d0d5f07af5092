//! setxattr, getxattr, listxattr, removexattr and their families (xattr(7)).

use super::at::{FDCWD, NOFOLLOW, lookup, of_open};
use crate::abi::{Errno, Result};
use crate::syscalls::{Args, Cx, SysResult};
use crate::usermem::UserStr;
use crate::vfs::{Path, xattr};

/// XATTR_CREATE | XATTR_REPLACE.
const FLAGS: u32 = 3;
/// Longest list of names (XATTR_LIST_MAX).
const LIST_MAX: usize = 65536;

/// The name argument: ERANGE if empty or too long.
fn name(cx: &Cx<'_>, at: UserStr) -> Result<Vec<u8>> {
    match cx.mem().read_cstr(at, xattr::NAME_MAX.saturating_add(1)) {
        Ok(n) if !n.is_empty() => Ok(n),
        Ok(_) | Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        Err(e) => Err(e),
    }
}

/// Hands `bytes` out to a buffer of `size` bytes; a size of 0 asks only how long they are.
fn give(cx: &Cx<'_>, bytes: &[u8], buf: u64, size: usize) -> SysResult {
    if size > 0 {
        if bytes.len() > size {
            return Err(Errno::ERANGE.into());
        }
        cx.mem().write_bytes(buf, bytes)?;
    }
    Ok(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
}

/// What of a call on a place is left after the place: its arguments start at 1.
fn set(cx: &Cx<'_>, args: &Args, place: impl FnOnce() -> Result<Path>) -> SysResult {
    let flags: u32 = args.get(4);
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = name(cx, args.get(1))?;
    let size: usize = args.get(3);
    if size > xattr::SIZE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let mut value = vec![0; size];
    cx.mem().read_bytes(args.get(2), &mut value)?;
    xattr::set(&cx.caller(), &place()?, &name, &value, flags)?;
    Ok(0)
}

fn get(cx: &Cx<'_>, args: &Args, place: impl FnOnce() -> Result<Path>) -> SysResult {
    let name = name(cx, args.get(1))?;
    let value = xattr::get(&cx.caller(), &place()?, &name)?;
    let size: usize = args.get(3);
    give(cx, &value, args.get(2), size.min(xattr::SIZE_MAX))
}

fn list(cx: &Cx<'_>, args: &Args, place: impl FnOnce() -> Result<Path>) -> SysResult {
    let names = xattr::list(&cx.caller(), &place()?)?;
    let size: usize = args.get(2);
    give(cx, &names, args.get(1), size.min(LIST_MAX))
}

fn remove(cx: &Cx<'_>, args: &Args, place: impl FnOnce() -> Result<Path>) -> SysResult {
    let name = name(cx, args.get(1))?;
    xattr::remove(&cx.caller(), &place()?, &name)?;
    Ok(0)
}

macro_rules! family {
    ($do:ident, $path:ident, $link:ident, $fd:ident) => {
        pub(super) fn $path(cx: &mut Cx<'_>, args: &Args) -> SysResult {
            $do(cx, args, || lookup(cx, FDCWD, args.get(0), 0))
        }
        pub(super) fn $link(cx: &mut Cx<'_>, args: &Args) -> SysResult {
            $do(cx, args, || lookup(cx, FDCWD, args.get(0), NOFOLLOW))
        }
        pub(super) fn $fd(cx: &mut Cx<'_>, args: &Args) -> SysResult {
            $do(cx, args, || of_open(cx, args.get(0)))
        }
    };
}

family!(set, setxattr, lsetxattr, fsetxattr);
family!(get, getxattr, lgetxattr, fgetxattr);
family!(list, listxattr, llistxattr, flistxattr);
family!(remove, removexattr, lremovexattr, fremovexattr);
