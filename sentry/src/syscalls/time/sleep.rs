//! nanosleep(2), clock_nanosleep(2).

use super::clock::AnyClock;
use super::{ABSTIME, read_timespec};
use crate::abi::Errno;
use crate::kernel::{Cx, signal};
use crate::syscalls::{Args, Block, OnSignal, SysResult};
use crate::time::Instant;
use crate::time::spec::{Timespec, timespec};
use crate::usermem::UserPtr;

pub(super) fn nanosleep(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let ns = match cx.progress().deadline {
        Some(_) => 0,
        None => read_timespec(cx.mem(), args.get(0))?,
    };
    relative(cx, ns, args.get(1))
}

pub(super) fn clock_nanosleep(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let clock = AnyClock::find(cx, args.get(0))?;
    match &clock {
        AnyClock::Wall(c) if c.is_alarm() || !c.has_timers() => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        // The named clock cannot be slept on at all; of the others, a thread that sleeps would wait for itself.
        AnyClock::Thread { .. } if args.get::<i32>(0) == libc::CLOCK_THREAD_CPUTIME_ID => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        AnyClock::Thread { .. } => return Err(Errno::EINVAL.into()),
        _ => {}
    }
    let absolute = args.get::<u32>(1) & ABSTIME != 0;
    let ns = if cx.progress().started {
        0
    } else {
        read_timespec(cx.mem(), args.get(2))?
    };
    cx.progress().started = true;
    match clock {
        AnyClock::Wall(_) if !absolute => relative(cx, ns, args.get(3)),
        AnyClock::Wall(c) => {
            let offsets = cx.task.time_offsets();
            let deadline = *cx
                .progress()
                .deadline
                .get_or_insert_with(|| offsets.instant(c, ns));
            until(cx, deadline, OnSignal::RestartNoHand)
        }
        cpu => on_cpu_clock(cx, &cpu, ns, absolute, args.get(3)),
    }
}

fn until(cx: &mut Cx<'_>, deadline: Instant, on_signal: OnSignal) -> SysResult {
    if cx.expired() {
        return Ok(0);
    }
    Err(Block::until(Some(deadline), on_signal).into())
}

fn relative(cx: &mut Cx<'_>, ns: u64, left: UserPtr<Timespec>) -> SysResult {
    let Some(deadline) = cx.deadline_after(Some(ns)) else {
        return Ok(0);
    };
    // About to be interrupted: the caller learns how long it would have slept on.
    if signal::interrupts(cx.task) && !cx.expired() {
        cx.mem().put_opt(left, &timespec(deadline.remaining()))?;
    }
    until(cx, deadline, OnSignal::RestartBlock)
}

/// Sleeps until other tasks have used so much CPU time. There is no telling when that will be: looks now and then.
fn on_cpu_clock(
    cx: &mut Cx<'_>,
    clock: &AnyClock,
    ns: u64,
    absolute: bool,
    left: UserPtr<Timespec>,
) -> SysResult {
    const TICK: u64 = 4_000_000;
    let now = clock.now(cx);
    // `value` is the goal in CPU time plus 1, to tell it from "not set".
    if cx.progress().value == 0 {
        let goal = if absolute { ns } else { now.saturating_add(ns) };
        cx.progress().value = goal.saturating_add(1);
    }
    let goal = cx.progress().value.saturating_sub(1);
    let Some(rest) = goal.checked_sub(now).filter(|r| *r > 0) else {
        return Ok(0);
    };
    if signal::interrupts(cx.task) && !absolute {
        cx.mem().put_opt(left, &timespec(rest))?;
    }
    let on_signal = if absolute {
        OnSignal::RestartNoHand
    } else {
        OnSignal::RestartBlock
    };
    let threads = cx.group().signals.lock().tasks().count().max(1) as u64;
    // Kept while it is in the future, so that a call that merely looks again does not register anew.
    let look = cx
        .progress()
        .deadline
        .filter(|d| d.remaining() > 0)
        .unwrap_or_else(|| Instant::now().after((rest / threads).max(TICK)));
    cx.progress().deadline = Some(look);
    Err(Block::until(Some(look), on_signal).into())
}
