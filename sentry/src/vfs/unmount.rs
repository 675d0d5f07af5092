//! Taking mounts away, here and wherever it is heard of.

use super::mount::Mount;
use super::mount_ns::{MountNamespace, begin_change, by_id};
use super::path::Path;
use super::propagation;
use crate::abi::{Errno, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

impl MountNamespace {
    /// umount2(2) of the mount whose root is `at`. `lazy` is MNT_DETACH: what is below goes along. Whoever hears of it loses
    /// what is at the same place.
    ///
    /// # Errors
    /// EINVAL if `at` is not the root of a mount of this namespace, or it is the namespace's root;
    /// EBUSY if it is in use or holds mounts.
    pub fn unmount(&self, at: Path, lazy: bool) -> Result<()> {
        let one = begin_change();
        let mount = at.mount.clone();
        if !Arc::ptr_eq(&at.dentry, mount.root()) {
            return Err(Errno::EINVAL);
        }
        drop(at);
        if mount.namespace_id() != self.id()
            || Arc::ptr_eq(&mount, &self.tree.lock().root)
            || mount.is_locked()
        {
            return Err(Errno::EINVAL);
        }
        let place = mount.mountpoint().ok_or(Errno::EINVAL)?;
        if !lazy {
            // Holders: the tree, the mount below, and `mount` here.
            if mount.has_children() || Arc::strong_count(&mount) > 3 {
                return Err(Errno::EBUSY);
            }
            // The same of those that go along; one that covers it whole does not count (`propagate_mount_busy`).
            for c in propagation::counterparts(&place) {
                let covers = c.child_at(c.root()).is_some();
                if (covers && c.children().len() > 1) || (!covers && c.has_children()) {
                    continue;
                }
                if Arc::strong_count(&c) > 3 + usize::from(covers) {
                    return Err(Errno::EBUSY);
                }
            }
        }
        let own = self.subtree(&mount);
        let gone = with_counterparts(&own);
        let mut told: HashMap<u64, HashSet<i32>> = HashMap::new();
        for m in &gone {
            told.entry(m.namespace_id()).or_default().insert(m.id());
        }
        let ids: HashSet<i32> = gone.iter().map(|m| m.id()).collect();
        let own_ids: HashSet<i32> = own.iter().map(|m| m.id()).collect();
        // What covers a mount that goes, and stays, comes down upon what is below and stays.
        let mut coming_down = Vec::new();
        for m in &gone {
            m.untie();
            let upon = m.child_at(m.root()).filter(|c| !ids.contains(&c.id()));
            let mut place = m.mountpoint();
            while let Some(p) = place
                .clone()
                .filter(|p| upon.is_some() && ids.contains(&p.mount.id()))
            {
                place = p.mount.mountpoint();
            }
            coming_down.extend(upon.zip(place).map(|(u, p)| (u.namespace_id(), u, p)));
        }
        for (_, m, _) in &coming_down {
            m.detach();
        }
        for m in &gone {
            if Arc::ptr_eq(m, &mount) || !own_ids.contains(&m.id()) {
                m.detach();
            } else {
                m.leave();
            }
        }
        for (namespace, m, place) in coming_down {
            m.attach(place, namespace);
        }
        let mut dropped = Vec::new();
        for (id, ids) in &told {
            let Some(ns) = by_id(*id) else { continue };
            {
                let mut tree = ns.tree.lock();
                tree.mounts.retain(|m| {
                    let stay = !ids.contains(&m.id());
                    if !stay {
                        dropped.push(m.clone());
                    }
                    stay
                });
                let left = tree.mounts.len();
                tree.charge.settle(left);
                tree.sort();
            }
            ns.changes.tell();
        }
        drop(one);
        drop((gone, own, dropped));
        Ok(())
    }
}

/// These mounts, and those at the same places on whoever hears of it that can go along (`propagate_umount`): not those that are
/// locked, or hold what stays.
fn with_counterparts(own: &[Arc<Mount>]) -> Vec<Arc<Mount>> {
    let own_ids: HashSet<i32> = own.iter().map(|m| m.id()).collect();
    let mut going: HashSet<i32> = own_ids.clone();
    let mut candidates = Vec::new();
    // Peers have the same counterparts: each place is looked at once, and those who hear of a group once for all its places.
    let mut places = Vec::new();
    let mut seen = HashSet::new();
    let mut groups = HashMap::new();
    for m in own {
        let Some(place) = m.mountpoint() else {
            continue;
        };
        let Some(group) = place.mount.ties().group else {
            continue;
        };
        let (id, name) = (group.id(), Arc::as_ptr(&place.dentry).addr());
        if seen.insert((id, name)) {
            places.push((id, name));
            let (_, names) = groups.entry(id).or_insert_with(|| (group, HashSet::new()));
            names.insert(name);
        }
    }
    let counterparts: HashMap<u32, HashMap<usize, Vec<Arc<Mount>>>> = groups
        .into_iter()
        .map(|(id, (group, names))| (id, propagation::mounted_at(group, &names)))
        .collect();
    for (id, name) in places {
        let there = counterparts.get(&id).and_then(|c| c.get(&name));
        for c in there.into_iter().flatten() {
            if !c.is_locked() && going.insert(c.id()) {
                candidates.push(c.clone());
            }
        }
    }
    let mut todo = candidates.clone();
    while let Some(c) = todo.pop() {
        let stays = |k: &Arc<Mount>| {
            let covers = k
                .mountpoint()
                .is_some_and(|p| Arc::ptr_eq(&p.dentry, c.root()));
            !covers && !going.contains(&k.id())
        };
        if own_ids.contains(&c.id()) || !c.children().iter().any(stays) {
            continue;
        }
        if going.remove(&c.id())
            && let Some(place) = c.mountpoint()
        {
            todo.push(place.mount);
        }
    }
    let mut all = own.to_vec();
    all.extend(candidates.into_iter().filter(|c| going.contains(&c.id())));
    all
}
