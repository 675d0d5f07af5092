//! Clocks, sleeps, timers.

mod clock;
mod itimer;
mod posix;
mod sleep;
mod timerfd;

use super::{ArgKind, Syscall};
use crate::abi::Result;
use crate::kernel::Cx;
use crate::time::Clock;
use crate::time::spec::{self, Pair, Setting, Timespec};
use crate::usermem::{GuestMemory, UserPtr};

/// This family's calls.
#[rustfmt::skip]
pub static TABLE: &[Syscall] = {
    use ArgKind::*;
    const NO_STEPS: &str = "a host clock that is set does not move absolute deadlines";
    &[
        Syscall::new(libc::SYS_clock_gettime, "clock_gettime", clock::clock_gettime, &[Int, Ptr])
            .partial("CPU clocks of other threads are estimated"),
        Syscall::new(libc::SYS_clock_getres, "clock_getres", clock::clock_getres, &[Int, Ptr]),
        Syscall::new(libc::SYS_clock_settime, "clock_settime", clock::clock_settime, &[Int, Timespec])
            .partial("always EPERM"),
        Syscall::new(libc::SYS_clock_adjtime, "clock_adjtime", clock::clock_adjtime, &[Int, Ptr])
            .partial("reads only"),
        Syscall::new(libc::SYS_adjtimex, "adjtimex", clock::adjtimex, &[Ptr])
            .partial("reads only"),
        Syscall::new(libc::SYS_gettimeofday, "gettimeofday", clock::gettimeofday, &[Ptr, Ptr]),
        Syscall::new(libc::SYS_settimeofday, "settimeofday", clock::settimeofday, &[Ptr, Ptr])
            .partial("always EPERM"),
        Syscall::new(libc::SYS_time, "time", clock::time, &[Ptr]),
        Syscall::new(libc::SYS_times, "times", clock::times, &[Ptr]),
        Syscall::new(libc::SYS_nanosleep, "nanosleep", sleep::nanosleep, &[Timespec, Ptr]),
        Syscall::new(libc::SYS_clock_nanosleep, "clock_nanosleep", sleep::clock_nanosleep, &[Int, Hex, Timespec, Ptr])
            .partial(NO_STEPS),
        Syscall::new(libc::SYS_alarm, "alarm", itimer::alarm, &[Uint]),
        Syscall::new(libc::SYS_setitimer, "setitimer", itimer::setitimer, &[Int, Ptr, Ptr])
            .partial("CPU-time timers are up to 4 ms late, 64 ms after an idle phase"),
        Syscall::new(libc::SYS_getitimer, "getitimer", itimer::getitimer, &[Int, Ptr]),
        Syscall::new(libc::SYS_timer_create, "timer_create", posix::timer_create, &[Int, Ptr, Ptr])
            .partial("a thread's CPU clock counts as an equal part of its process's"),
        Syscall::new(libc::SYS_timer_settime, "timer_settime", posix::timer_settime, &[Int, Hex, Ptr, Ptr])
            .partial(NO_STEPS),
        Syscall::new(libc::SYS_timer_gettime, "timer_gettime", posix::timer_gettime, &[Int, Ptr]),
        Syscall::new(libc::SYS_timer_getoverrun, "timer_getoverrun", posix::timer_getoverrun, &[Int]),
        Syscall::new(libc::SYS_timer_delete, "timer_delete", posix::timer_delete, &[Int]),
        Syscall::new(libc::SYS_timerfd_create, "timerfd_create", timerfd::timerfd_create, &[Int, Hex]),
        Syscall::new(libc::SYS_timerfd_settime, "timerfd_settime", timerfd::timerfd_settime, &[Fd, Hex, Ptr, Ptr])
            .partial(NO_STEPS),
        Syscall::new(libc::SYS_timerfd_gettime, "timerfd_gettime", timerfd::timerfd_gettime, &[Fd, Ptr]),
    ]
};

/// TIMER_ABSTIME.
const ABSTIME: u32 = 1;

/// Reads a `struct timespec` as nanoseconds.
///
/// # Errors
/// EFAULT; EINVAL if it is negative or has more than a second's nanoseconds.
pub fn read_timespec(mem: &dyn GuestMemory, ptr: UserPtr<Timespec>) -> Result<u64> {
    spec::from_timespec(mem.get(ptr)?)
}

fn read_setting(cx: &Cx<'_>, ptr: UserPtr<Pair>) -> Result<Setting> {
    Setting::from_spec(cx.mem().get(ptr)?)
}

/// An absolute setting, as the host's clock shows that time. A time that was before the host's start has passed, but still arms.
fn on_host(cx: &Cx<'_>, clock: Clock, mut new: Setting) -> Setting {
    if new.value != 0 {
        new.value = cx.task.time_offsets().on_host(clock, new.value).max(1);
    }
    new
}
