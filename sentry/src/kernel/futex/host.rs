//! Private futexes that the host makes: on a platform that can ([`cofferdam_platform::Thread::host_futexes`]), calls with FUTEX_PRIVATE_FLAG and without priority
//! inheritance are calls of the host threads, mostly without the sentry (`docs/platform.md`). Linux's keys of private and shared futexes
//! never match, so the two kinds need not know of each other.
//!
//! Within one address space all private futexes are in one place. They *come home*, to [`FutexTable`], as soon as a call needs
//! what the host is not given: when a thread has a seccomp filter or a tracer, for futex_waitv(2), for a requeue to a priority-inheriting lock. Who sleeps on the host then is
//! interrupted and waits on here. They never go back, but fork and execve make new address spaces.

use super::FutexTable;
use crate::abi::{Errno, Result};
use crate::kernel::{Cx, Kernel, signal, worker};
use crate::mm::MemoryManager;
use crate::sync::before_exchange;
use crate::syscalls::{OnSignal, SysErr, SysResult};
use crate::time::Instant;
use crate::usermem::UserPtr;
use cofferdam_platform::CutShort;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Part of an address space once its futexes came home.
#[derive(Default)]
struct Home(AtomicBool);

/// A call that waits on the host.
#[derive(Clone, Copy, Debug)]
pub struct HostWait {
    /// When it ends, if the guest gave that relative to its start.
    pub until: Option<Instant>,
    /// What a signal makes of it.
    pub on_signal: OnSignal,
}

/// Whether the futexes of this address space are in the sentry for good.
pub fn are_home(mm: &MemoryManager) -> bool {
    mm.extensions
        .existing::<Home>()
        .is_some_and(|h| h.0.load(Ordering::Relaxed))
}

/// Whether the host makes the private futex calls of the caller.
///
/// # Errors
/// ESRCH if it has no host thread.
pub fn serves(cx: &Cx<'_>) -> Result<bool> {
    let seen = cx.kernel().tracer.as_ref().is_some_and(|t| t.wants_all());
    if !cx.thread()?.host_futexes() || seen || are_home(cx.mm) {
        return Ok(false);
    }
    if cx.task.seccomp.active() || cx.task.tracing.is_traced() {
        come_home(cx);
        return Ok(false);
    }
    Ok(true)
}

/// From now on the private futexes of the caller's address space are the sentry's.
pub fn come_home(cx: &Cx<'_>) {
    if cx.thread().is_ok_and(|t| t.host_futexes()) {
        bring_home(cx.kernel(), cx.mm);
    }
}

/// The same for any address space: also where the host makes none, it does no harm.
pub fn bring_home(kernel: &Kernel, mm: &Arc<MemoryManager>) {
    if are_home(mm) {
        return;
    }
    let home = mm.extensions.extension::<Home>();
    home.0.store(true, Ordering::SeqCst);
    for task in kernel.tasks_of(mm) {
        task.unpublish();
        worker::call_back(&task);
    }
}

impl FutexTable {
    /// A thread comes back that may have changed and woken futexes on the host after others had begun to wait here: they look again.
    pub fn look_again(&self, mm: &MemoryManager) {
        self.wake_outdated(mm.id(), mm);
    }
}

/// Lets a stack grow to where a futex is.
fn reach(cx: &Cx<'_>, addr: u64) -> Result<()> {
    if cx.mm.find_vma(addr).is_none() {
        let thread = cx.thread()?;
        before_exchange();
        cx.mm.handle_fault(thread, addr, &cx.mm_limits());
    }
    Ok(())
}

/// A call that waits while the word at `addr` is `expected`.
pub fn wait(cx: &Cx<'_>, addr: u64, expected: u32, wait: HostWait) -> SysResult {
    reach(cx, addr)?;
    // Linux looks at the word first, then at signals.
    if signal::interrupts(cx.task)
        && matches!(cx.thread()?.cut_short(), None | Some(CutShort::Before))
        && cx.mem().get(UserPtr::<u32>::new(addr))? != expected
    {
        return Err(Errno::EAGAIN.into());
    }
    Err(SysErr::Host(wait))
}

/// A call that does not.
pub fn call(cx: &Cx<'_>, args: [u64; 6]) -> SysResult {
    const CMP_REQUEUE: u64 = libc::FUTEX_CMP_REQUEUE as u64;
    const WAKE_OP: u64 = libc::FUTEX_WAKE_OP as u64;
    let [addr, op, _, _, addr2, _] = args;
    match op & 0xf {
        CMP_REQUEUE => reach(cx, addr)?,
        WAKE_OP => reach(cx, addr2)?,
        _ => {}
    }
    before_exchange();
    match cx.thread()?.futex(args) {
        Ok(n @ 0..) => Ok(n),
        Ok(n) => Err(i32::try_from(-n)
            .map_or(Errno::EFAULT, Errno::from_raw)
            .into()),
        Err(e) => {
            log::debug!("a futex call on the host failed: {e}");
            Err(Errno::EFAULT.into())
        }
    }
}
