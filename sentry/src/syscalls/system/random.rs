//! getrandom(2).

use crate::abi::Errno;
use crate::kernel::signal;
use crate::syscalls::{Args, Cx, SysErr, SysResult};
use crate::usermem::GuestMemory;
use rand::TryRngCore;

const GRND_NONBLOCK: u32 = 1;
const GRND_RANDOM: u32 = 2;
const GRND_INSECURE: u32 = 4;

/// Most bytes of one call: 32 MiB - 1, as getrandom(2) documents.
const MAX: usize = (32 << 20) - 1;
/// Bytes made at a time; a waiting signal ends the call between two.
const CHUNK: usize = 16 << 10;
/// Bytes made in one turn: they cost far more than copied ones.
const RANDOM_TURN: usize = 1 << 20;

pub(super) fn getrandom(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (addr, len, flags): (u64, usize, u32) = (args.get(0), args.get(1), args.get(2));
    let both = GRND_RANDOM | GRND_INSECURE;
    if flags & !(GRND_NONBLOCK | both) != 0 || flags & both == both {
        return Err(Errno::EINVAL.into());
    }
    let len = len.min(MAX);
    let mem = cx.buffers()?;
    let mut buf = vec![0u8; len.min(CHUNK)];
    let mut done = cx.progress().done;
    let begin = done;
    while done < len {
        if done - begin >= RANDOM_TURN {
            cx.progress().done = done;
            return Err(SysErr::Again);
        }
        let want = (len - done).min(CHUNK);
        let part = buf.get_mut(..want).ok_or(Errno::EFAULT)?;
        rand::rngs::OsRng
            .try_fill_bytes(part)
            .map_err(|_| Errno::EIO)?;
        let at = addr.checked_add(done as u64).ok_or(Errno::EFAULT)?;
        mem.prepare(done, at, want, len - done);
        let put = mem.write_partial(at, part).min(want);
        done += put;
        if put < want {
            if done == 0 {
                return Err(Errno::EFAULT.into());
            }
            break;
        }
        if signal::interrupts(cx.task) {
            break;
        }
    }
    Ok(i64::try_from(done).unwrap_or(i64::MAX))
}
