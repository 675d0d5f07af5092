//! getsockopt(2), setsockopt(2).

use super::socket;
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::net::options;
use crate::syscalls::{Args, SysResult};
use crate::usermem::UserPtr;

/// Longest option value that is read; no option here takes more.
const MAX_VALUE: usize = 4096;
const SO_PEERPIDFD: i32 = 77;
const SO_PEERGROUPS: i32 = 59;
/// IFNAMSIZ.
const INTERFACE_NAME: usize = 16;

pub(super) fn getsockopt(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (_, socket) = socket(cx, args.get(0))?;
    let (level, name): (i32, i32) = (args.get(1), args.get(2));
    let len: UserPtr<i32> = args.get(4);
    let room = usize::try_from(cx.mem().get(len)?).map_err(|_| Errno::EINVAL)?;
    let caller = cx.caller();
    if (level, name) == (libc::SOL_SOCKET, SO_PEERPIDFD) && socket.domain() == libc::AF_UNIX {
        let peer = socket.peer_credentials()?;
        if peer.cred.pid <= 0 {
            return Err(Errno::ENODATA.into());
        }
        let file = super::control::pidfd(cx, peer)?;
        let to: UserPtr<u8> = args.get(3);
        cx.give_fd(file, true, |fd| {
            let fd = fd.to_ne_bytes();
            let part = fd.get(..room).unwrap_or(&fd);
            cx.mem().write_bytes(to.addr(), part)?;
            cx.mem().put(len, &i32::try_from(part.len()).unwrap_or(4))
        })?;
        return Ok(0);
    }
    let value = if level == libc::SOL_SOCKET {
        options::get(&*socket, &caller, name)?
    } else {
        socket.option(&caller, level, name)?
    };
    let whole = (level, name) == (libc::SOL_SOCKET, libc::SO_BINDTODEVICE);
    if whole && !value.is_empty() && room < INTERFACE_NAME {
        return Err(Errno::EINVAL.into());
    }
    if (level, name) == (libc::SOL_SOCKET, libc::SO_GET_FILTER) {
        // Lengths are numbers of instructions of 8 bytes; 0 asks for theirs.
        let count = value.len() / 8;
        if room != 0 && room < count {
            return Err(Errno::EINVAL.into());
        }
        if room != 0 {
            cx.mem()
                .write_bytes(args.get::<UserPtr<u8>>(3).addr(), &value)?;
        }
        cx.mem()
            .put(len, &i32::try_from(count).unwrap_or(i32::MAX))?;
        return Ok(0);
    }
    if (level, name) == (libc::SOL_SOCKET, SO_PEERGROUPS) && value.len() > room {
        // As many as there would be.
        cx.mem()
            .put(len, &i32::try_from(value.len()).unwrap_or(i32::MAX))?;
        return Err(Errno::ERANGE.into());
    }
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
