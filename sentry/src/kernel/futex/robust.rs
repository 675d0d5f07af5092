//! What an exiting task leaves behind: robust lists (get_robust_list(2)), PI locks, CLONE_CHILD_CLEARTID.

use super::op::{MAX_TRIES, exchange};
use super::{FutexTable, MATCH_ANY, OWNER_DIED, TID_MASK, WAITERS, target};
use crate::kernel::Cx;
use crate::usermem::UserPtr;
use cofferdam_platform::Thread;

/// Most entries that are looked at: a list may be a ring (`ROBUST_LIST_LIMIT`).
const LIMIT: usize = 2048;

/// `struct robust_list_head`.
#[derive(Clone, Copy)]
struct Head {
    next: u64,
    offset: u64,
    pending: u64,
}

/// Marks the robust futexes of an exiting (or exec'ing) task as owner-died, hands on its PI locks, and wakes waiters.
pub fn exit_robust_list(cx: &mut Cx<'_>) {
    // What the task waited for must not be handed to it any more.
    cx.local.progress = Default::default();
    cx.local.restart = None;
    let (head, _) = std::mem::take(&mut cx.local.robust_list);
    let table = cx.kernel().extensions.extension::<FutexTable>();
    if head != 0
        && let Ok(thread) = cx.thread()
    {
        walk(cx, &table, thread, head);
    }
    table.pi.owner_exits(cx.task.tid());
}

fn walk(cx: &Cx<'_>, table: &FutexTable, thread: &dyn Thread, at: u64) {
    let mem = cx.mem();
    let Ok([next, offset, pending]) = mem.get(UserPtr::<[u64; 3]>::new(at)) else {
        return;
    };
    let head = Head {
        next,
        offset,
        pending,
    };
    let (pending, pending_pi) = (head.pending & !1, head.pending & 1 != 0);
    let mut entry = head.next;
    for _ in 0..LIMIT {
        let (this, pi) = (entry & !1, entry & 1 != 0);
        if this == at {
            break;
        }
        // The next one first: the owner may free this one once it is marked.
        let next = mem.get(UserPtr::<u64>::new(this));
        if this != pending
            && died(cx, table, thread, this.wrapping_add(head.offset), pi, false).is_err()
        {
            return;
        }
        match next {
            Ok(n) => entry = n,
            Err(_) => return,
        }
    }
    if pending != 0 {
        let addr = pending.wrapping_add(head.offset);
        let _ = died(cx, table, thread, addr, pending_pi, true);
    }
}

/// `handle_futex_death`. An error ends the walk.
fn died(
    cx: &Cx<'_>,
    table: &FutexTable,
    thread: &dyn Thread,
    addr: u64,
    pi: bool,
    pending: bool,
) -> crate::abi::Result<()> {
    let target = target(cx.mm, addr, true)?;
    let mut value = cx.mem().get(UserPtr::<u32>::new(addr))?;
    for _ in 0..MAX_TRIES {
        if pending && !pi && value == 0 {
            // It died between unlocking and waking.
            let _ = table.wake(target.key, 1, MATCH_ANY);
            return Ok(());
        }
        if value & TID_MASK != cx.task.own_tid().cast_unsigned() {
            return Ok(());
        }
        let found = exchange(thread, addr, value, (value & WAITERS) | OWNER_DIED)?;
        if found == value {
            if !pi && value & WAITERS != 0 {
                let _ = table.wake(target.key, 1, MATCH_ANY);
            }
            return Ok(());
        }
        value = found;
    }
    Ok(())
}

/// CLONE_CHILD_CLEARTID: writes 0 to the address and wakes one waiter, if somebody else is in that memory (`mm_release`).
pub fn clear_child_tid(cx: &mut Cx<'_>) {
    let addr = std::mem::take(&mut cx.local.clear_child_tid);
    if addr == 0 || !cx.mm.is_shared() || cx.mem().put(UserPtr::<u32>::new(addr), &0).is_err() {
        return;
    }
    if let Ok(target) = target(cx.mm, addr, true) {
        let table = cx.kernel().extensions.extension::<FutexTable>();
        let _ = table.wake(target.key, 1, MATCH_ANY);
    }
}
