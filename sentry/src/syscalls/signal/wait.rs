//! rt_sigtimedwait(2), rt_sigsuspend(2), pause(2), restart_syscall(2).

use super::{check_size, read_set};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::kernel::signal::{self, SigInfo};
use crate::syscalls::time::read_timespec;
use crate::syscalls::{Args, Block, OnSignal, SysResult, lookup};
use crate::usermem::UserPtr;

pub(super) fn rt_sigtimedwait(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    check_size(args.get(3))?;
    let wanted = read_set(cx, args.get(0))?.blockable();
    let info: UserPtr<SigInfo> = args.get(1);
    let timeout: UserPtr<[i64; 2]> = args.get(2);
    let deadline = match timeout.non_null() {
        // Later runs of the call find the deadline recorded.
        Some(_) if cx.progress().started => cx.progress().deadline,
        Some(p) => {
            let ns = read_timespec(cx.mem(), p)?;
            cx.deadline_after(Some(ns))
        }
        None => None,
    };
    if let Some(found) = signal::take_or_wait(cx.task, wanted) {
        signal::stop_waiting(cx.task);
        cx.mem().put_opt(info, &found)?;
        return Ok(i64::from(found.signo));
    }
    if cx.expired() {
        signal::stop_waiting(cx.task);
        return Err(Errno::EAGAIN.into());
    }
    cx.progress().started = true;
    Err(Block::until(deadline, OnSignal::Eintr).into())
}

pub(super) fn rt_sigsuspend(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    check_size(args.get(1))?;
    let mask = read_set(cx, args.get(0))?;
    signal::set_temporary_mask(cx, mask);
    Err(Block::until(None, OnSignal::RestartNoHand).into())
}

pub(super) fn pause(_: &mut Cx<'_>, _: &Args) -> SysResult {
    Err(Block::until(None, OnSignal::RestartNoHand).into())
}

/// Goes on with the call that a stop or an ignored signal interrupted (ERESTART_RESTARTBLOCK), with its progress.
pub(super) fn restart_syscall(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    let Some((number, args, progress)) = cx.local.restart.take() else {
        return Err(Errno::EINTR.into());
    };
    let Some(call) = lookup(number) else {
        return Err(Errno::EINTR.into());
    };
    // From here on the worker runs that call.
    cx.local.call = Some((number, args));
    cx.local.progress = progress;
    (call.handler)(cx, &Args(args))
}
