//! Whether one task may look into another (`ptrace_may_access`).

use super::{Cx, Task};
use crate::auth::Caps;
use std::sync::atomic::Ordering;

/// PTRACE_MODE_ATTACH with the caller's real ids: for process_vm_readv(2), pidfd_getfd(2), kcmp(2), get_robust_list(2).
pub fn may_access(cx: &Cx<'_>, target: &Task) -> bool {
    if std::sync::Arc::ptr_eq(cx.group(), target.group()) {
        return true;
    }
    let me = cx.creds();
    if me.has(Caps::SYS_PTRACE) {
        return true;
    }
    let it = target.creds();
    let same = [it.euid, it.suid, it.uid].iter().all(|id| *id == me.uid)
        && [it.egid, it.sgid, it.gid].iter().all(|id| *id == me.gid);
    same && target.group().dumpable.load(Ordering::Relaxed) == 1
        && me.permitted.contains(it.permitted)
}
