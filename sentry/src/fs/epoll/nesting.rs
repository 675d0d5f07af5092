//! Epoll instances that watch epoll instances: no loops, and chains of limited length.
//!
//! Wake-ups and readiness checks recurse along these chains.

use super::{Epoll, epoll_of};
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, MutexGuard, Rank};
use std::collections::HashMap;
use std::sync::Arc;

/// EP_MAX_NESTS of fs/eventpoll.c.
const MAX_NESTS: usize = 4;

static TREE: Mutex<()> = Mutex::new(Rank::EPOLL_TREE, ());

/// Notes that `outer` is about to watch `inner`. Hold the result until it does.
///
/// # Errors
/// ELOOP if `inner` already watches `outer`, directly or not, or the chain would be too long.
pub(super) fn link(outer: &Epoll, inner: &Arc<Epoll>) -> Result<MutexGuard<'static, ()>> {
    let guard = TREE.lock();
    let outer = outer.me.upgrade().ok_or(Errno::EINVAL)?;
    let below = extent(inner, &outer, &inner_ones, &mut HashMap::new(), 0)?;
    let above = extent(&outer, inner, &outer_ones, &mut HashMap::new(), 0)?;
    if below + 1 + above > MAX_NESTS {
        return Err(Errno::ELOOP);
    }
    let mut parents = inner.parents.lock();
    parents.retain(|p| p.strong_count() > 0);
    parents.push(Arc::downgrade(&outer));
    Ok(guard)
}

/// `outer` no longer watches `inner`.
pub(super) fn unlink(outer: &Epoll, inner: &Epoll) {
    let _guard = TREE.lock();
    let mut parents = inner.parents.lock();
    // A dup'ed descriptor may be watched twice: one entry each.
    if let Some(at) = parents.iter().position(|p| p.ptr_eq(&outer.me)) {
        parents.swap_remove(at);
    }
}

type Neighbours = dyn Fn(&Epoll) -> Vec<Arc<Epoll>>;

fn inner_ones(e: &Epoll) -> Vec<Arc<Epoll>> {
    let files: Vec<_> = e
        .interest
        .lock()
        .items
        .values()
        .filter_map(|i| i.file())
        .collect();
    files.iter().filter_map(|f| epoll_of(f).cloned()).collect()
}

fn outer_ones(e: &Epoll) -> Vec<Arc<Epoll>> {
    e.parents
        .lock()
        .iter()
        .filter_map(|p| p.upgrade())
        .collect()
}

/// Length of the longest chain from `e` along `next`; ELOOP if it comes by `avoid` or is too long.
fn extent(
    e: &Arc<Epoll>,
    avoid: &Arc<Epoll>,
    next: &Neighbours,
    seen: &mut HashMap<*const Epoll, usize>,
    depth: usize,
) -> Result<usize> {
    if Arc::ptr_eq(e, avoid) || depth > MAX_NESTS {
        return Err(Errno::ELOOP);
    }
    if let Some(n) = seen.get(&Arc::as_ptr(e)) {
        return Ok(*n);
    }
    let mut longest = 0;
    for n in next(e) {
        longest = longest.max(1 + extent(&n, avoid, next, seen, depth + 1)?);
    }
    seen.insert(Arc::as_ptr(e), longest);
    Ok(longest)
}
