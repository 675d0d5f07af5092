//! getsockopt(2), setsockopt(2).

use super::socket;
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::net::options;
use crate::syscalls::{Args, SysResult};
use crate::usermem::UserPtr;

/// Longest option value that is read; no option here takes more.
const MAX_VALUE: usize = 4096;

pub(super) fn getsockopt(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (_, socket) = socket(cx, args.get(0))?;
    let (level, name): (i32, i32) = (args.get(1), args.get(2));
    let len: UserPtr<i32> = args.get(4);
    let room = usize::try_from(cx.mem().get(len)?).map_err(|_| Errno::EINVAL)?;
    let caller = cx.caller();
    let value = if level == libc::SOL_SOCKET {
        options::get(&*socket, &caller, name)?
    } else {
        socket.option(&caller, level, name)?
    };
    let value = value.get(..room).unwrap_or(&value);
    cx.mem()
        .write_bytes(args.get::<UserPtr<u8>>(3).addr(), value)?;
    cx.mem()
        .put(len, &i32::try_from(value.len()).unwrap_or(i32::MAX))?;
    Ok(0)
}

pub(super) fn setsockopt(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (level, name): (i32, i32) = (args.get(1), args.get(2));
    let len = usize::try_from(args.get::<i32>(4)).map_err(|_| Errno::EINVAL)?;
    let (_, socket) = socket(cx, args.get(0))?;
    let value: Vec<u8> = cx.mem().get_array(args.get(3), len.min(MAX_VALUE))?;
    let caller = cx.caller();
    if level == libc::SOL_SOCKET {
        options::set(&*socket, &caller, name, &value)?;
    } else {
        socket.set_option(&caller, level, name, &value)?;
    }
    Ok(0)
}
