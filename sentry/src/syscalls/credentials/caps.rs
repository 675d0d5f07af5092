//! capget(2), capset(2), versions 1 to 3.

use crate::abi::{Errno, Result};
use crate::auth::{CapSets, Caps};
use crate::kernel::{Cx, identity};
use crate::syscalls::{Args, SysResult};
use crate::usermem::UserPtr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Header {
    version: u32,
    pid: i32,
}

/// 32 bits of each set.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const V1: u32 = 0x1998_0330;
const V2: u32 = 0x2007_1026;
const V3: u32 = 0x2008_0522;

/// How many [`Data`] the version of the header means. For an unknown one the best version is written there.
fn words(cx: &Cx<'_>, ptr: UserPtr<Header>) -> Result<(Header, Result<usize>)> {
    let header = cx.mem().get(ptr)?;
    let words = match header.version {
        V1 => Ok(1),
        V2 | V3 => Ok(2),
        _ => {
            cx.mem().put(ptr.cast::<u32>(), &V3)?;
            Err(Errno::EINVAL)
        }
    };
    Ok((header, words))
}

pub(super) fn capget(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let data: UserPtr<Data> = args.get(1);
    let (header, words) = words(cx, args.get(0))?;
    if data.is_null() {
        // The documented way to ask for the version.
        return Ok(0);
    }
    let words = words?;
    if header.pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let creds = match header.pid {
        0 => cx.creds().clone(),
        pid => cx.find_task(pid).ok_or(Errno::ESRCH)?.creds(),
    };
    let part = |caps: Caps, word: usize| (caps.bits() >> (32 * word)) as u32;
    let out = [0, 1].map(|w| Data {
        effective: part(creds.effective, w),
        permitted: part(creds.permitted, w),
        inheritable: part(creds.inheritable, w),
    });
    cx.mem().put_array(data, out.get(..words).unwrap_or(&out))?;
    Ok(0)
}

pub(super) fn capset(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (header, words) = words(cx, args.get(0))?;
    let words = words?;
    if header.pid != 0 && header.pid != cx.task.own_tid() {
        return Err(Errno::EPERM.into());
    }
    let raw = cx.mem().get_array(args.get::<UserPtr<Data>>(1), words)?;
    let join = |pick: fn(&Data) -> u32| {
        let low = raw.first().map_or(0, pick);
        let high = raw.get(1).map_or(0, pick);
        Caps::from_bits_truncate(u64::from(low) | (u64::from(high) << 32))
    };
    let new = cx.creds().with_caps(CapSets {
        effective: join(|d| d.effective),
        permitted: join(|d| d.permitted),
        inheritable: join(|d| d.inheritable),
    })?;
    identity::commit(cx, new);
    Ok(0)
}
