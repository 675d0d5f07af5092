//! File handles: no file system here can be found by them.

use super::at::{EMPTY_PATH, FOLLOW, NOFOLLOW, lookup, only};
use crate::abi::Errno;
use crate::auth::Caps;
use crate::syscalls::{Args, Cx, SysResult};
use crate::vfs::caller::require;

pub(super) fn name_to_handle_at(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(4);
    only(flags, FOLLOW | EMPTY_PATH)?;
    let how = (flags & EMPTY_PATH) | if flags & FOLLOW == 0 { NOFOLLOW } else { 0 };
    lookup(cx, args.get(0), args.get(1), how)?;
    Err(Errno::EOPNOTSUPP.into())
}

pub(super) fn open_by_handle_at(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    require(&cx.caller(), Caps::DAC_READ_SEARCH)?;
    Err(Errno::EOPNOTSUPP.into())
}
