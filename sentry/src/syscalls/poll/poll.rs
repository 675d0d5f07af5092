//! poll(2), ppoll(2).

use super::waits::Waits;
use super::{mask, timeout};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::sync::Events;
use crate::syscalls::{Args, OnSignal, SysResult};
use crate::usermem::UserPtr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PollFd {
    fd: i32,
    events: u16,
    revents: u16,
}

pub(super) fn poll(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let ns = timeout::from_ms(args.get(2));
    do_poll(cx, args.get(0), args.get(1), ns, OnSignal::RestartBlock)
}

pub(super) fn ppoll(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let time: UserPtr<[i64; 2]> = args.get(2);
    // Read once: later runs of this call find the deadline recorded.
    let ns = match cx.progress().deadline {
        Some(_) => Some(0),
        None => timeout::from_timespec(cx.mem(), time)?,
    };
    mask::with_mask(cx, args.get(3), args.get(4), |cx| {
        let outcome = do_poll(cx, args.get(0), args.get(1), ns, OnSignal::RestartNoHand);
        let deadline = timeout::to_show(cx);
        timeout::put_remaining(cx.mem(), time, deadline, 1);
        outcome
    })
}

fn do_poll(
    cx: &mut Cx<'_>,
    list: UserPtr<PollFd>,
    count: u32,
    ns: Option<u64>,
    on_signal: OnSignal,
) -> SysResult {
    if u64::from(count) > cx.limit(libc::RLIMIT_NOFILE) {
        return Err(Errno::EINVAL.into());
    }
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let mut fds = cx.mem().get_array(list, count)?;
    let deadline = cx.deadline_after(ns);
    let table = cx.fds();
    let mut waits = Waits::default();
    let mut ready = 0;
    for p in &mut fds {
        p.revents = 0;
        if p.fd < 0 {
            continue;
        }
        let got = match table.get(p.fd) {
            Err(_) => Events::NVAL,
            Ok(file) => {
                let want =
                    Events::from_bits_truncate(u32::from(p.events)) | Events::ERR | Events::HUP;
                let got = file.poll() & want;
                if got.is_empty()
                    && ready == 0
                    && let Some(queue) = file.ops().wait_queue()
                {
                    waits.add(queue, want);
                }
                got
            }
        };
        p.revents = u16::try_from(got.bits()).unwrap_or(0);
        ready += i64::from(p.revents != 0);
    }
    if ready == 0 && !cx.expired() {
        return Err(waits.park(cx, deadline, on_signal));
    }
    // Linux writes the revents fields alone, which another thread could tell only in a race with itself.
    cx.mem().put_array(list, &fds)?;
    Ok(ready)
}
