//! Futexes.

use super::Cx;

/// Marks the robust futexes of an exiting task as owner-died and wakes waiters.
pub fn exit_robust_list(_cx: &mut Cx<'_>) {}

/// CLONE_CHILD_CLEARTID: writes 0 to the address and wakes one waiter.
pub fn wake_clear_child_tid(cx: &mut Cx<'_>, addr: u64) {
    let _ = cx.mem().write_bytes(addr, &[0; 4]);
}
