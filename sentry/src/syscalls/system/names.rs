//! uname(2), sethostname(2), setdomainname(2), personality(2).

use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::RELEASE;
use crate::syscalls::{Args, Cx, SysResult};
use crate::usermem::UserPtr;

/// Longest host or domain name, in bytes (__NEW_UTS_LEN).
const MAX_NAME: usize = 64;
/// One field of `struct new_utsname`, with its NUL.
type Field = [u8; MAX_NAME + 1];
/// PER_MASK: the part of a personality that is not flags.
const PER_MASK: u32 = 0xff;
const PER_LINUX32: u32 = 8;

fn field(text: &[u8]) -> Field {
    let mut f = [0; MAX_NAME + 1];
    for (to, from) in f.iter_mut().take(MAX_NAME).zip(text) {
        *to = *from;
    }
    f
}

pub(super) fn uname(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let names = cx.task.namespaces().uts.names().lock().clone();
    let machine: &[u8] = if cx.local.personality & PER_MASK == PER_LINUX32 {
        b"i686"
    } else {
        b"x86_64"
    };
    let fields: [Field; 6] = [
        field(b"Linux"),
        field(&names.hostname),
        field(RELEASE.as_bytes()),
        field(b"#1 SMP"),
        field(machine),
        field(&names.domainname),
    ];
    cx.mem().put(UserPtr::new(args.get(0)), &fields)?;
    Ok(0)
}

fn read_name(cx: &Cx<'_>, args: &Args) -> Result<Vec<u8>> {
    let owner = cx.task.namespaces().uts.common.owner().clone();
    if !cx.creds().has_in(&owner, Caps::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(args.get::<i32>(1))
        .ok()
        .filter(|l| *l <= MAX_NAME)
        .ok_or(Errno::EINVAL)?;
    let mut name = vec![0; len];
    cx.mem().read_bytes(args.get(0), &mut name)?;
    Ok(name)
}

pub(super) fn sethostname(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let name = read_name(cx, args)?;
    cx.task.namespaces().uts.names().lock().hostname = name;
    Ok(0)
}

pub(super) fn setdomainname(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let name = read_name(cx, args)?;
    cx.task.namespaces().uts.names().lock().domainname = name;
    Ok(0)
}

pub(super) fn personality(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let new: u32 = args.get(0);
    let old = cx.local.personality;
    if new != u32::MAX {
        cx.local.personality = new;
        let shown = &cx.task.sched.personality;
        shown.store(new, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(i64::from(old))
}
