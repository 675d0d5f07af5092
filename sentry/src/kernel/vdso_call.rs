//! Calls of a vDSO that is concealed from a process whose clocks are shifted (`mm/vdso.rs`, `namespaces/time.rs`).

use super::{Cx, worker};
use crate::abi::Errno;
use crate::mm::VdsoFault;
use crate::usermem::UserPtr;

/// Takes a fault at `addr` of a concealed vDSO as the call that its function stands for, made where it was called. `None`: it was another fault; false: the task is
/// parked or gone.
pub(super) fn made(cx: &mut Cx<'_>, addr: u64) -> Option<bool> {
    let mm = cx.mm;
    let (rip, rsp) = (cx.regs().rip, cx.regs().rsp);
    let VdsoFault::Call(number) = mm.vdso_fault(rip, addr)? else {
        // A signal had come in the middle of it: better the host's time than none.
        return cx
            .thread()
            .and_then(|t| mm.conceal_vdso(t, false))
            .is_ok()
            .then_some(true);
    };
    let back = cx.mem().get(UserPtr::<u64>::new(rsp)).ok()?;
    let regs = cx.regs();
    regs.rip = back;
    regs.rsp = rsp.wrapping_add(8);
    // `vgetrandom`'s question for the size of its state, which only the vDSO has (`lib/vdso/getrandom.c`).
    if number == libc::SYS_getrandom && regs.r8 == u64::MAX {
        regs.set_return(-i64::from(Errno::ENOSYS.raw()));
        return Some(true);
    }
    regs.orig_rax = number.cast_unsigned();
    Some(worker::call_made(cx))
}
