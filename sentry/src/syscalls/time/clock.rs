//! Reading clocks: clock_gettime(2), clock_getres(2), gettimeofday(2), time(2), times(2); setting them is refused.

use super::read_timespec;
use crate::abi::{Errno, Result};
use crate::kernel::cpu_time::CpuTime;
use crate::kernel::{Cx, ThreadGroup};
use crate::syscalls::{Args, SysResult};
use crate::time::spec::{Timespec, timespec, timeval};
use crate::time::{Clock, Instant, realtime_ns};
use crate::usermem::UserPtr;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Any `clockid_t`.
pub(super) enum AnyClock {
    Wall(Clock),
    /// CPU time of a process.
    Process(Arc<ThreadGroup>, CpuKind),
    /// CPU time of a thread: the caller's own, or another of its process.
    Thread {
        own: bool,
        kind: CpuKind,
    },
}

/// Which part of CPU time a clock counts (CPUCLOCK_PROF, VIRT, SCHED).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CpuKind {
    /// User mode only.
    User,
    /// All of it.
    Total,
}

impl CpuKind {
    fn of(self, (user, system): CpuTime) -> u64 {
        match self {
            CpuKind::User => user,
            CpuKind::Total => user.saturating_add(system),
        }
    }
}

/// Bit 2 of a CPU clock id: of a thread.
const PER_THREAD: i32 = 4;

impl AnyClock {
    /// From a `clockid_t`: constants, or a CPU clock `~pid << 3 | per-thread | kind`.
    ///
    /// # Errors
    /// EINVAL.
    pub(super) fn find(cx: &Cx<'_>, id: i32) -> Result<AnyClock> {
        if let Some(c) = Clock::from_id(id) {
            return Ok(AnyClock::Wall(c));
        }
        match id {
            libc::CLOCK_PROCESS_CPUTIME_ID => {
                return Ok(AnyClock::Process(cx.group().clone(), CpuKind::Total));
            }
            libc::CLOCK_THREAD_CPUTIME_ID => {
                return Ok(AnyClock::Thread {
                    own: true,
                    kind: CpuKind::Total,
                });
            }
            0.. => return Err(Errno::EINVAL),
            _ => {}
        }
        let kind = match id & 3 {
            0 | 2 => CpuKind::Total,
            1 => CpuKind::User,
            // A clock device's descriptor: there are none.
            _ => return Err(Errno::EINVAL),
        };
        let pid = !(id >> 3);
        if id & PER_THREAD != 0 {
            let own = pid == 0 || pid == cx.task.own_tid();
            let ours = own
                || cx
                    .find_task(pid)
                    .is_some_and(|t| Arc::ptr_eq(t.group(), cx.group()));
            return if ours {
                Ok(AnyClock::Thread { own, kind })
            } else {
                Err(Errno::EINVAL)
            };
        }
        let group = match pid {
            0 => cx.group().clone(),
            p => cx.find_process(p).ok_or(Errno::EINVAL)?,
        };
        Ok(AnyClock::Process(group, kind))
    }
    /// As [`AnyClock::find`], for calls that read: alarm clocks show nothing without a real-time clock device, which the
    /// sandbox does not have.
    fn find_readable(cx: &Cx<'_>, id: i32) -> Result<AnyClock> {
        match AnyClock::find(cx, id)? {
            AnyClock::Wall(c) if c.is_alarm() => Err(Errno::EINVAL),
            clock => Ok(clock),
        }
    }
    /// Nanoseconds it shows.
    pub(super) fn now(&self, cx: &Cx<'_>) -> u64 {
        match self {
            AnyClock::Wall(c) => cx.task.time_offsets().now(*c),
            AnyClock::Process(g, kind) => kind.of(g.cpu_time()),
            AnyClock::Thread { own: true, kind } => {
                kind.of(cx.task.thread().map_or((0, 0), |t| t.cpu_time()))
            }
            // A running thread cannot be measured from outside.
            AnyClock::Thread { own: false, kind } => {
                let threads = cx.group().signals.lock().tasks().count().max(1) as u64;
                kind.of(cx.group().cpu_time()) / threads
            }
        }
    }
}

pub(super) fn clock_gettime(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let now = AnyClock::find_readable(cx, args.get(0))?.now(cx);
    cx.mem().put(args.get(1), &timespec(now))?;
    Ok(0)
}

pub(super) fn clock_getres(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let resolution = match AnyClock::find_readable(cx, args.get(0))? {
        AnyClock::Wall(c) => c.resolution(),
        // CPUCLOCK_SCHED counts nanoseconds; the other kinds say a tick, but their ids are never used.
        _ => 1,
    };
    cx.mem().put_opt(args.get(1), &timespec(resolution))?;
    Ok(0)
}

pub(super) fn clock_settime(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let clock = AnyClock::find(cx, args.get(0))?;
    match clock {
        AnyClock::Wall(Clock::Realtime) => {
            read_timespec(cx.mem(), args.get(1))?;
            Err(Errno::EPERM.into())
        }
        AnyClock::Wall(_) => Err(Errno::EINVAL.into()),
        _ => Err(Errno::EPERM.into()),
    }
}

/// `struct timex`, 208 bytes; what is not named here stays 0.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Timex {
    modes: u32,
    pad1: u32,
    offset: i64,
    freq: i64,
    maxerror: i64,
    esterror: i64,
    status: i32,
    pad2: u32,
    constant: i64,
    precision: i64,
    tolerance: i64,
    time: [i64; 2],
    tick: i64,
    rest: [u64; 14],
}

const STA_UNSYNC: i32 = 0x40;
const TIME_ERROR: i64 = 5;

fn adjust(cx: &mut Cx<'_>, ptr: UserPtr<Timex>) -> SysResult {
    let mut t = cx.mem().get(ptr)?;
    if t.modes != 0 {
        return Err(Errno::EPERM.into());
    }
    // An undisciplined clock as it is after boot.
    t.offset = 0;
    t.freq = 0;
    t.maxerror = 16_000_000;
    t.esterror = 16_000_000;
    t.status = STA_UNSYNC;
    t.constant = 2;
    t.precision = 1;
    t.tolerance = 32_768_000;
    t.time = timeval(realtime_ns());
    t.tick = 10_000;
    t.rest = [0; 14];
    cx.mem().put(ptr, &t)?;
    Ok(TIME_ERROR)
}

pub(super) fn adjtimex(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    adjust(cx, args.get(0))
}

pub(super) fn clock_adjtime(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    match AnyClock::find(cx, args.get(0))? {
        AnyClock::Wall(Clock::Realtime) => adjust(cx, args.get(1)),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

pub(super) fn gettimeofday(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (tv, tz): (UserPtr<[i64; 2]>, UserPtr<[i32; 2]>) = (args.get(0), args.get(1));
    cx.mem().put_opt(tv, &timeval(realtime_ns()))?;
    cx.mem().put_opt(tz, &[0, 0])?;
    Ok(0)
}

pub(super) fn settimeofday(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let tv: UserPtr<[i64; 2]> = args.get(0);
    if let Some(p) = tv.non_null() {
        let [sec, usec] = cx.mem().get(p)?;
        if sec < 0 || !(0..1_000_000).contains(&usec) {
            return Err(Errno::EINVAL.into());
        }
    }
    let tz: UserPtr<[i32; 2]> = args.get(1);
    if let Some(p) = tz.non_null() {
        cx.mem().get(p)?;
    }
    Err(Errno::EPERM.into())
}

pub(super) fn time(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let [now, _]: Timespec = timespec(Clock::RealtimeCoarse.now());
    cx.mem().put_opt(args.get(0), &now)?;
    Ok(now)
}

pub(super) fn times(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let out: UserPtr<[i64; 4]> = args.get(0);
    if let Some(p) = out.non_null() {
        let own = cx.group().cpu_time();
        let children = cx.group().children_cpu_time();
        let ticks = [own.0, own.1, children.0, children.1].map(crate::kernel::signal::ticks);
        cx.mem().put(p, &ticks)?;
    }
    // Linux counts from 5 minutes before boot, so that a wrap shows early; anything will do.
    Ok(crate::kernel::signal::ticks(Instant::now().0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timex_is_laid_out_as_linux_does() {
        assert_eq!(size_of::<Timex>(), size_of::<libc::timex>());
        assert_eq!(
            std::mem::offset_of!(Timex, tick),
            std::mem::offset_of!(libc::timex, tick)
        );
    }
}
