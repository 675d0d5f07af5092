//! Supplementary groups.

use crate::abi::{Errno, Result};
use crate::kernel::{Cx, identity};
use crate::syscalls::{Args, SysResult};
use crate::usermem::UserPtr;

/// NGROUPS_MAX.
const MAX: u32 = 65536;

pub(super) fn getgroups(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let size = usize::try_from(args.get::<i32>(0)).map_err(|_| Errno::EINVAL)?;
    let groups = cx.creds().groups.clone();
    if size != 0 {
        if groups.len() > size {
            return Err(Errno::EINVAL.into());
        }
        let list: UserPtr<u32> = args.get(1);
        let ns = &cx.creds().user_ns;
        let shown: Vec<u32> = groups.iter().map(|g| ns.show_group(*g)).collect();
        cx.mem().put_array(list, &shown)?;
    }
    Ok(groups.len() as i64)
}

pub(super) fn setgroups(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let count: u32 = args.get(0);
    if !cx.creds().may_setgroups() {
        return Err(Errno::EPERM.into());
    }
    if count > MAX {
        return Err(Errno::EINVAL.into());
    }
    let list: UserPtr<u32> = args.get(1);
    let gids: Vec<u32> = cx.mem().get_array(list, count as usize)?;
    let ns = &cx.creds().user_ns;
    let groups: Result<Vec<u32>> = gids.iter().map(|g| ns.group_arg(*g)).collect();
    let new = cx.creds().setgroups(groups?)?;
    identity::commit(cx, new);
    Ok(0)
}
