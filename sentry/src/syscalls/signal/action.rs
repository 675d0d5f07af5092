//! rt_sigaction(2), rt_sigprocmask(2), rt_sigpending(2), sigaltstack(2), rt_sigreturn(2).

use super::{SIGSET_SIZE, check_size, read_set};
use crate::abi::Errno;
use crate::kernel::Cx;
use crate::kernel::signal::{self, AltStack, SS_AUTODISARM, SigAction, SigSet, Signal, StackT};
use crate::syscalls::{Args, SysErr, SysResult};
use crate::usermem::UserPtr;
use zerocopy::IntoBytes;

pub(super) fn rt_sigaction(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    check_size(args.get(3))?;
    let (new, old): (UserPtr<SigAction>, UserPtr<SigAction>) = (args.get(1), args.get(2));
    let action = match new.non_null() {
        Some(p) => Some(cx.mem().get(p)?),
        None => None,
    };
    let signal = Signal::new(args.get(0)).ok_or(Errno::EINVAL)?;
    if action.is_some() && signal.is_kernel_only() {
        return Err(Errno::EINVAL.into());
    }
    let before = match action {
        Some(a) => signal::set_action(cx.task, signal, &a),
        None => {
            let handlers = cx.group().signals.lock().handlers().clone();
            handlers.get(signal)
        }
    };
    cx.mem().put_opt(old, &before)?;
    Ok(0)
}

const SIG_BLOCK: i32 = 0;
const SIG_UNBLOCK: i32 = 1;
const SIG_SETMASK: i32 = 2;

pub(super) fn rt_sigprocmask(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    check_size(args.get(3))?;
    let (new, old): (UserPtr<u64>, UserPtr<u64>) = (args.get(1), args.get(2));
    let before = cx.task.signals.blocked();
    if let Some(p) = new.non_null() {
        let set = read_set(cx, p)?;
        let mask = match args.get::<i32>(0) {
            SIG_BLOCK => before | set,
            SIG_UNBLOCK => before & !set,
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL.into()),
        };
        if mask != before {
            signal::set_blocked(cx.task, mask);
        }
    }
    cx.mem().put_opt(old, &before.0)?;
    Ok(0)
}

pub(super) fn rt_sigpending(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let size: usize = args.get(1);
    if size > SIGSET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let SigSet(set) = signal::pending(cx.task);
    let bytes = set.as_bytes();
    cx.mem()
        .write_bytes(args.get(0), bytes.get(..size).unwrap_or(bytes))?;
    Ok(0)
}

pub(super) fn sigaltstack(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (new, old): (UserPtr<StackT>, UserPtr<StackT>) = (args.get(0), args.get(1));
    let new = match new.non_null() {
        Some(p) => Some(cx.mem().get(p)?),
        None => None,
    };
    let sp = cx.regs().rsp;
    let before = cx.local.alt_stack;
    if let Some(n) = new {
        let n = AltStack {
            addr: n.sp,
            size: n.size,
            flags: n.flags,
        };
        cx.local.alt_stack.replace(n, sp)?;
    }
    let shown = StackT {
        sp: before.addr,
        flags: before.status(sp) | (before.flags & SS_AUTODISARM),
        pad: 0,
        size: before.size,
    };
    cx.mem().put_opt(old, &shown)?;
    Ok(0)
}

pub(super) fn rt_sigreturn(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    signal::sigreturn(cx);
    Err(SysErr::NoReturn)
}
