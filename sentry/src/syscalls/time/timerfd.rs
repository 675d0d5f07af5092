//! timerfd_create(2), timerfd_settime(2), timerfd_gettime(2).

use super::{ABSTIME, on_host, read_setting};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::fs::timerfd::TimerFd;
use crate::kernel::Cx;
use crate::syscalls::{Args, Fd, SysResult};
use crate::time::Clock;
use crate::vfs::{File, OpenFlags};
use std::sync::Arc;

pub(super) fn timerfd_create(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags = OpenFlags::from_bits_retain(args.get(1));
    let clock = Clock::from_id(args.get(0)).filter(|c| {
        matches!(
            c,
            Clock::Realtime
                | Clock::Monotonic
                | Clock::Boottime
                | Clock::RealtimeAlarm
                | Clock::BoottimeAlarm
        )
    });
    let (Some(clock), true) = (
        clock,
        (OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags),
    ) else {
        return Err(Errno::EINVAL.into());
    };
    if clock.is_alarm() && !cx.creds().has(Caps::WAKE_ALARM) {
        return Err(Errno::EPERM.into());
    }
    let timers = cx.kernel().timers.clone();
    let file = TimerFd::create(&cx.caller(), &timers, clock, flags - OpenFlags::CLOEXEC)?;
    Ok(i64::from(
        cx.install_fd(file, flags.contains(OpenFlags::CLOEXEC))?,
    ))
}

/// TFD_TIMER_CANCEL_ON_SET: accepted; the guest's clocks are never set.
const CANCEL_ON_SET: u32 = 2;

fn timer(cx: &Cx<'_>, fd: Fd) -> Result<Arc<File>> {
    let file = cx.file(fd)?;
    match file.downcast::<TimerFd>() {
        Some(_) => Ok(file),
        None => Err(Errno::EINVAL),
    }
}

pub(super) fn timerfd_settime(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags: u32 = args.get(1);
    let mut new = read_setting(cx, args.get(2))?;
    if flags & !(ABSTIME | CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = timer(cx, args.get(0))?;
    let t = file.downcast::<TimerFd>().ok_or(Errno::EINVAL)?;
    if flags & ABSTIME != 0 {
        new = on_host(cx, t.clock(), new);
    }
    let before = t.set(new, flags & ABSTIME != 0);
    cx.mem().put_opt(args.get(3), &before.spec())?;
    Ok(0)
}

pub(super) fn timerfd_gettime(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = timer(cx, args.get(0))?;
    let now = file.downcast::<TimerFd>().ok_or(Errno::EINVAL)?.get();
    cx.mem().put(args.get(1), &now.spec())?;
    Ok(0)
}
