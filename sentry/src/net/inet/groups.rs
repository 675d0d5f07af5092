//! Multicast groups: which a socket is in and from whom it wants to hear (RFC 3678), and which the host is in.

use crate::abi::{Errno, Result};
use crate::net::socket::MEMORY;
use crate::sync::{Charge, Mutex, Rank};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Most memberships of a socket (`net.ipv4.igmp_max_memberships`), and sources of one (`igmp_max_msf`).
const MAX_MEMBERSHIPS: usize = 20;
const MAX_SOURCES: usize = 10;
/// What a membership costs, with its sources and its place in the namespace.
const COST: usize = 512;

/// Groups that sockets of a network namespace are in: for each, its interfaces with the number of sockets.
pub(in crate::net) struct Groups(Mutex<HashMap<IpAddr, BTreeMap<u32, usize>>>);

impl Default for Groups {
    fn default() -> Groups {
        Groups(Mutex::new(Rank::LEAF, HashMap::new()))
    }
}

impl Groups {
    /// Whether the host takes datagrams to the group.
    pub fn has(&self, group: IpAddr) -> bool {
        group == IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)) || self.0.lock().contains_key(&group)
    }
    /// All, with interface and number of sockets.
    pub fn list(&self) -> Vec<(IpAddr, u32, usize)> {
        let mut all: Vec<_> = {
            let groups = self.0.lock();
            let each = groups.iter();
            each.flat_map(|(g, on)| on.iter().map(|(i, n)| (*g, *i, *n)))
                .collect()
        };
        all.sort_unstable();
        all
    }
    fn join(&self, (group, index): (IpAddr, u32)) {
        let mut all = self.0.lock();
        *all.entry(group).or_default().entry(index).or_insert(0) += 1;
    }
    fn leave(&self, (group, index): (IpAddr, u32)) {
        let mut all = self.0.lock();
        let Some(on) = all.get_mut(&group) else {
            return;
        };
        if let Some(n) = on.get_mut(&index) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                on.remove(&index);
            }
        }
        if on.is_empty() {
            all.remove(&group);
        }
    }
}

/// One membership of a socket.
#[derive(Clone, Debug)]
struct Membership {
    key: (IpAddr, u32),
    /// Everybody but the sources is heard; else they alone.
    exclude: bool,
    sources: Vec<IpAddr>,
    _charge: Arc<Charge>,
}

/// What to do with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Join the group for this source alone, or for one more.
    Add,
    Drop,
    Block,
    Unblock,
}

/// A socket's memberships.
#[derive(Clone, Debug, Default)]
pub(super) struct Memberships(Vec<Membership>);

impl Memberships {
    /// Whether a datagram from `from` to the group is wanted; `others`: those of groups that the socket is not in are.
    pub fn accept(&self, group: IpAddr, from: IpAddr, others: bool) -> bool {
        let mut of_group = self.0.iter().filter(|m| m.key.0 == group).peekable();
        if of_group.peek().is_none() {
            return others;
        }
        of_group.any(|m| m.sources.contains(&from) != m.exclude)
    }
    fn position(&self, key: (IpAddr, u32)) -> Option<usize> {
        self.0.iter().position(|m| m.key == key)
    }
    fn add(&mut self, groups: &Groups, key: (IpAddr, u32), exclude: bool) -> Result<()> {
        if self.position(key).is_some() {
            return Err(Errno::EADDRINUSE);
        }
        if self.0.len() >= MAX_MEMBERSHIPS {
            return Err(Errno::ENOBUFS);
        }
        let charge = MEMORY.charge(COST).ok_or(Errno::ENOBUFS)?;
        groups.join(key);
        self.0.push(Membership {
            key,
            exclude,
            sources: Vec::new(),
            _charge: Arc::new(charge),
        });
        Ok(())
    }
    /// Joins a group on an interface.
    ///
    /// # Errors
    /// EADDRINUSE, ENOBUFS.
    pub fn join(&mut self, groups: &Groups, key: (IpAddr, u32)) -> Result<()> {
        self.add(groups, key, true)
    }
    /// Leaves it.
    ///
    /// # Errors
    /// EADDRNOTAVAIL.
    pub fn leave(&mut self, groups: &Groups, key: (IpAddr, u32)) -> Result<()> {
        let at = self.position(key).ok_or(Errno::EADDRNOTAVAIL)?;
        self.0.remove(at);
        groups.leave(key);
        Ok(())
    }
    /// Leaves all.
    pub fn leave_all(&mut self, groups: &Groups) {
        for m in self.0.drain(..) {
            groups.leave(m.key);
        }
    }
    /// Changes who is heard (ip_mc_source).
    ///
    /// # Errors
    /// EINVAL, EADDRNOTAVAIL, ENOBUFS.
    pub fn source(
        &mut self,
        groups: &Groups,
        key: (IpAddr, u32),
        source: IpAddr,
        how: Source,
    ) -> Result<()> {
        if how == Source::Add {
            match self.add(groups, key, false) {
                Ok(()) | Err(Errno::EADDRINUSE) => {}
                Err(e) => return Err(e),
            }
        }
        let exclude = matches!(how, Source::Block | Source::Unblock);
        let at = self.position(key).ok_or(Errno::EINVAL)?;
        let m = self.0.get_mut(at).ok_or(Errno::EINVAL)?;
        if m.exclude != exclude {
            if !m.sources.is_empty() {
                return Err(Errno::EINVAL);
            }
            m.exclude = exclude;
        }
        let there = m.sources.iter().position(|s| *s == source);
        match (how, there) {
            (Source::Add | Source::Block, Some(_)) | (Source::Drop | Source::Unblock, None) => {
                Err(Errno::EADDRNOTAVAIL)
            }
            (Source::Add | Source::Block, None) => {
                if m.sources.len() >= MAX_SOURCES {
                    return Err(Errno::ENOBUFS);
                }
                m.sources.push(source);
                Ok(())
            }
            (Source::Drop | Source::Unblock, Some(i)) => {
                m.sources.remove(i);
                if how == Source::Drop && m.sources.is_empty() {
                    return self.leave(groups, key);
                }
                Ok(())
            }
        }
    }
}
