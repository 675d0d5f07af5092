//! Propagation of mounts (mount_namespaces(7), "SHARED SUBTREES"): who is a peer or a slave of whom.
//!
//! A shared mount is in a [`PeerGroup`]; a slave has one for its master, and may be shared itself. What is mounted on a shared
//! mount appears on all that hear of it: [`Planned`] says where. All changes run under the lock of `mount_ns`; locks here are LEAF.

use super::dentry::Dentry;
use super::mount::Mount;
use super::path::Path;
use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// Mounts that tell each other what is mounted on them.
pub struct PeerGroup {
    id: u32,
    members: Mutex<BTreeMap<i32, Weak<Mount>>>,
    /// Those that only listen.
    slaves: Mutex<BTreeMap<i32, Weak<Mount>>>,
}

static NEXT_GROUP: AtomicU32 = AtomicU32::new(1);

fn alive(list: &Mutex<BTreeMap<i32, Weak<Mount>>>) -> Vec<Arc<Mount>> {
    let list = list.lock();
    list.values().filter_map(Weak::upgrade).collect()
}

impl PeerGroup {
    fn new() -> Arc<PeerGroup> {
        Arc::new(PeerGroup {
            id: NEXT_GROUP.fetch_add(1, Ordering::Relaxed),
            members: Mutex::new(Rank::LEAF, BTreeMap::new()),
            slaves: Mutex::new(Rank::LEAF, BTreeMap::new()),
        })
    }
    /// What /proc/PID/mountinfo calls it.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// How a mount is tied to others.
#[derive(Clone, Default)]
pub struct Ties {
    /// Its peers, if it is shared.
    pub group: Option<Arc<PeerGroup>>,
    /// Those whose slave it is.
    pub master: Option<Arc<PeerGroup>>,
    /// It cannot be bound elsewhere.
    pub unbindable: bool,
}

/// MS_SHARED and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Propagation {
    Shared,
    Private,
    Slave,
    Unbindable,
}

/// What the copy of a mount is to it (`clone_mnt`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kin {
    /// As tied as it is.
    Peer,
    /// Its slave if it is shared, otherwise as tied as it is.
    SlaveOfShared,
    /// Its slave, and shared itself if told so.
    Slave(bool),
}

impl Mount {
    fn join(self: &Arc<Self>, group: &Arc<PeerGroup>) {
        group.members.lock().insert(self.id(), Arc::downgrade(self));
        self.with_ties(|t| t.group = Some(group.clone()));
    }

    fn serve(self: &Arc<Self>, master: Option<Arc<PeerGroup>>) {
        if let Some(m) = &master {
            m.slaves.lock().insert(self.id(), Arc::downgrade(self));
        }
        let old = self.with_ties(|t| std::mem::replace(&mut t.master, master));
        let new = self.ties().master.map(|m| m.id);
        if let Some(old) = old.filter(|o| Some(o.id) != new) {
            old.slaves.lock().remove(&self.id());
        }
    }

    /// Leaves its peers. If nobody is left there, their slaves get its master.
    fn leave_group(&self) -> Option<Arc<PeerGroup>> {
        let group = self.with_ties(|t| t.group.take())?;
        let left = {
            let mut members = group.members.lock();
            members.remove(&self.id());
            // Only up to the first that lives: thousands may leave, one after the other.
            while let Some(first) = members.first_entry() {
                if first.get().strong_count() > 0 {
                    break;
                }
                first.remove();
            }
            !members.is_empty()
        };
        if left {
            return Some(group);
        }
        let master = self.ties().master;
        for slave in alive(&group.slaves) {
            slave.serve(master.clone());
        }
        None
    }

    /// It is tied to nobody any more (`MS_PRIVATE`, and whoever is unmounted).
    pub(super) fn untie(&self) {
        self.leave_group();
        let master = self.with_ties(|t| {
            t.unbindable = false;
            t.master.take()
        });
        if let Some(master) = master {
            master.slaves.lock().remove(&self.id());
        }
    }

    pub(super) fn make_shared(self: &Arc<Self>) {
        self.with_ties(|t| t.unbindable = false);
        if self.ties().group.is_none() {
            self.join(&PeerGroup::new());
        }
    }

    /// It has no peers any more, and hears what it heard.
    pub(super) fn unshare(&self) {
        self.leave_group();
    }

    /// `change_mnt_propagation`.
    pub(super) fn set_propagation(self: &Arc<Self>, to: Propagation) {
        match to {
            Propagation::Shared => self.make_shared(),
            Propagation::Private => self.untie(),
            Propagation::Unbindable => {
                self.untie();
                self.with_ties(|t| t.unbindable = true);
            }
            Propagation::Slave => {
                self.with_ties(|t| t.unbindable = false);
                if let Some(group) = self.leave_group() {
                    self.serve(Some(group));
                }
            }
        }
    }

    /// Ties a copy of `self` that nobody knows yet.
    pub(super) fn tie_copy(&self, copy: &Arc<Mount>, kin: Kin) {
        let ties = self.ties();
        match (kin, &ties.group) {
            (Kin::Slave(_) | Kin::SlaveOfShared, Some(group)) => copy.serve(Some(group.clone())),
            (_, group) => {
                copy.serve(ties.master.clone());
                if let Some(g) = group {
                    copy.join(g);
                }
            }
        }
        if kin == Kin::Slave(true) {
            copy.make_shared();
        }
    }
}

/// A mount and where it is to be.
pub(super) type Placed = (Arc<Mount>, Option<Path>);
/// Mounts that are copied or moved together: the first is on top and has no place.
pub(super) type Tree = Vec<Placed>;

/// A copy of what was mounted, and where it is to be.
pub(super) struct Planned {
    pub at: Path,
    pub tree: Rc<Tree>,
}

/// Copies a tree, without what is unbindable.
///
/// # Errors
/// EPERM if that would uncover what a locked mount hides.
fn copy_tree(tree: &[Placed], kin: Kin) -> Result<Tree> {
    let mut copies: HashMap<i32, Arc<Mount>> = HashMap::new();
    let mut made = Tree::new();
    for (m, place) in tree {
        let place = match place {
            None => None,
            Some(p) => {
                let Some(parent) = copies.get(&p.mount.id()).cloned() else {
                    continue;
                };
                if m.ties().unbindable {
                    if m.is_locked() {
                        made.iter().for_each(|(m, _)| m.untie());
                        return Err(Errno::EPERM);
                    }
                    continue;
                }
                Some(Path {
                    mount: parent,
                    dentry: p.dentry.clone(),
                })
            }
        };
        let c = m.copy(m.root(), kin);
        copies.insert(m.id(), c.clone());
        made.push((c, place));
    }
    Ok(made)
}

/// Drops copies that were not to be.
pub(super) fn discard(plans: Vec<Planned>) {
    for (m, _) in plans.iter().flat_map(|p| p.tree.iter()) {
        m.untie();
    }
}

/// The names above a place, and itself: whether a mount shows it is one look then, however deep it is.
fn names_above(dentry: &Arc<Dentry>) -> HashSet<usize> {
    let mut seen = HashSet::new();
    let mut at = Some(dentry.clone());
    while let Some(d) = at {
        seen.insert(Arc::as_ptr(&d).addr());
        at = d.parent();
    }
    seen
}

/// Mounts that hear the same: the peers of one group, or a slave alone.
struct Audience {
    members: Vec<Arc<Mount>>,
    /// Whose slaves they are, by index; `None`: peers of whoever tells.
    master: Option<usize>,
    shared: bool,
}

/// Everybody who hears of what happens on `mount` (not itself).
fn listeners(mount: &Mount) -> Vec<Audience> {
    let Some(group) = mount.ties().group else {
        return Vec::new();
    };
    let mut found = all_listeners(group);
    if let Some(peers) = found.first_mut() {
        peers.members.retain(|m| m.id() != mount.id());
    }
    found
}

/// The peers of a group, and everybody who hears of what happens on them.
fn all_listeners(first: Arc<PeerGroup>) -> Vec<Audience> {
    let mut found: Vec<Audience> = Vec::new();
    let mut seen = HashSet::from([first.id]);
    found.push(Audience {
        members: alive(&first.members),
        master: None,
        shared: true,
    });
    let mut todo = vec![(first, 0usize)];
    while let Some((group, index)) = todo.pop() {
        for slave in alive(&group.slaves) {
            let own = slave.ties().group;
            let members = match &own {
                None => vec![slave],
                Some(g) if seen.insert(g.id) => alive(&g.members),
                Some(_) => continue,
            };
            found.push(Audience {
                members,
                master: Some(index),
                shared: own.is_some(),
            });
            todo.extend(own.map(|g| (g, found.len() - 1)));
        }
    }
    found
}

/// Who else gets what is mounted at `at` (`propagate_mnt`). `room` says whether a namespace may get so many mounts more.
///
/// # Errors
/// ENOSPC, EPERM; nothing is left behind then.
pub(super) fn plan(
    at: &Path,
    tree: &[Placed],
    mut room: impl FnMut(u64, usize) -> bool,
) -> Result<Vec<Planned>> {
    let above = names_above(&at.dentry);
    let mut audiences = listeners(&at.mount);
    // Counted before anything is copied.
    for a in &mut audiences {
        a.members
            .retain(|m| m.namespace_id() != 0 && above.contains(&Arc::as_ptr(m.root()).addr()));
        for m in &a.members {
            if !room(m.namespace_id(), tree.len()) {
                return Err(Errno::ENOSPC);
            }
        }
    }
    let mut plans: Vec<Planned> = Vec::new();
    let first = Rc::new(tree.to_vec());
    // What was given to each group of listeners first: its own slaves get copies of that. Shared, for there may be many groups.
    let mut given: Vec<Rc<Tree>> = Vec::new();
    for Audience {
        members,
        master,
        shared,
    } in audiences
    {
        let source = master.and_then(|i| given.get(i)).unwrap_or(&first).clone();
        let mut own: Option<Rc<Tree>> = master.is_none().then(|| first.clone());
        for m in members {
            let copy = match &own {
                Some(own) => copy_tree(own, Kin::Peer),
                None => copy_tree(&source, Kin::Slave(shared)),
            };
            let copy = match copy {
                Ok(copy) => Rc::new(copy),
                Err(e) => {
                    discard(plans);
                    return Err(e);
                }
            };
            own.get_or_insert_with(|| copy.clone());
            plans.push(Planned {
                at: Path {
                    mount: m,
                    dentry: at.dentry.clone(),
                },
                tree: copy,
            });
        }
        // Where no peer shows the place, slaves get it from further up.
        given.push(own.unwrap_or(source));
    }
    Ok(plans)
}

/// What is mounted at some names (by address) on the peers of `group` and whoever hears of them. One look at each mount, however
/// many the names are.
pub(super) fn mounted_at(
    group: Arc<PeerGroup>,
    names: &HashSet<usize>,
) -> HashMap<usize, Vec<Arc<Mount>>> {
    let mut found: HashMap<usize, Vec<Arc<Mount>>> = HashMap::new();
    let everybody = all_listeners(group).into_iter().flat_map(|a| a.members);
    for m in everybody.filter(|m| m.namespace_id() != 0) {
        for child in m.children() {
            let name = child.mountpoint().map(|p| Arc::as_ptr(&p.dentry).addr());
            if let Some(name) = name.filter(|n| names.contains(n)) {
                found.entry(name).or_default().push(child);
            }
        }
    }
    found
}

/// What is mounted at the same place on everybody who hears of what happens on `parent`.
pub(super) fn counterparts(at: &Path) -> Vec<Arc<Mount>> {
    let everybody = listeners(&at.mount);
    everybody
        .into_iter()
        .flat_map(|a| a.members)
        .filter(|m| m.namespace_id() != 0)
        .filter_map(|m| m.child_at(&at.dentry))
        .collect()
}
