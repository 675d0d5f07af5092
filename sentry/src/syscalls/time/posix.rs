//! timer_create(2) and what acts on such timers.

use super::clock::AnyClock;
use super::{ABSTIME, on_host, read_setting};
use crate::abi::{Errno, Result};
use crate::kernel::Cx;
use crate::kernel::signal::Signal;
use crate::kernel::timers::{self, Notification, TimerClock};
use crate::syscalls::{Args, SysResult};
use crate::time::spec::Pair;
use crate::usermem::UserPtr;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct sigevent`, 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct SigEvent {
    value: u64,
    signo: i32,
    notify: i32,
    tid: i32,
    rest: [i32; 11],
}

const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;
const SIGEV_THREAD_ID: i32 = 4;

fn notification(cx: &Cx<'_>, ptr: UserPtr<SigEvent>) -> Result<Notification> {
    let Some(ptr) = ptr.non_null() else {
        return Ok(Notification::Process(Signal::ALRM, None));
    };
    let e = cx.mem().get(ptr)?;
    let signal = Signal::new(e.signo).ok_or(Errno::EINVAL);
    match e.notify {
        SIGEV_NONE => Ok(Notification::None),
        SIGEV_SIGNAL | SIGEV_THREAD => Ok(Notification::Process(signal?, Some(e.value))),
        SIGEV_THREAD_ID => {
            let task = cx
                .kernel()
                .task(e.tid)
                .filter(|t| Arc::ptr_eq(t.group(), cx.group()))
                .ok_or(Errno::EINVAL)?;
            Ok(Notification::Thread(
                Arc::downgrade(&task),
                signal?,
                e.value,
            ))
        }
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn timer_create(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let clock = match AnyClock::find(cx, args.get(0))? {
        AnyClock::Wall(c) if c.is_alarm() || !c.has_timers() => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        AnyClock::Wall(c) => TimerClock::Wall(c),
        AnyClock::Process(g, _) if !Arc::ptr_eq(&g, cx.group()) => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        AnyClock::Process(..) | AnyClock::Thread { .. } => TimerClock::Cpu,
    };
    let notification = notification(cx, args.get(1))?;
    let timer = timers::create(cx, clock, notification)?;
    let out: UserPtr<i32> = args.get(2);
    if let Err(e) = cx.mem().put(out, &timer.id()) {
        let _ = timers::delete(cx.group(), timer.id());
        return Err(e.into());
    }
    Ok(0)
}

pub(super) fn timer_settime(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (new, old): (UserPtr<Pair>, UserPtr<Pair>) = (args.get(2), args.get(3));
    let mut new = read_setting(cx, new.non_null().ok_or(Errno::EINVAL)?)?;
    let timer = timers::find(cx.group(), args.get(0))?;
    let absolute = args.get::<u32>(1) & ABSTIME != 0;
    if let (true, TimerClock::Wall(c)) = (absolute, timer.clock()) {
        new = on_host(cx, c, new);
    }
    let before = timer.set(new, absolute);
    cx.mem().put_opt(old, &before.spec())?;
    Ok(0)
}

pub(super) fn timer_gettime(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let now = timers::find(cx.group(), args.get(0))?.get();
    cx.mem().put(args.get(1), &now.spec())?;
    Ok(0)
}

pub(super) fn timer_getoverrun(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let timer = timers::find(cx.group(), args.get(0))?;
    Ok(i64::from(timer.overrun()))
}

pub(super) fn timer_delete(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    timers::delete(cx.group(), args.get(0))?;
    Ok(0)
}
