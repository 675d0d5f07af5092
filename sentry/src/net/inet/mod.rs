//! TCP and UDP over IPv4 and IPv6 (tcp(7), udp(7), ip(7), ipv6(7)), within this host.
//!
//! A connection has no packets: it is two sockets that put bytes into each other's receive queues, and what packets would have
//! carried (SYN, FIN, RST, ICMP errors) changes the other socket's state at once.
//! [`stack`] has the packets that raw, ping and packet sockets send and see.
//!
//! Locks: a port table (`NET_TABLE`), then one socket's state (`OBJECT`), then options (`LEAF`); never two states at once.

mod addr;
mod core;
mod errors;
mod groups;
mod inbox;
pub mod listing;
mod options;
mod ports;
mod raw;
mod stack;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod wire;
mod wishes;

pub(in crate::net) use inbox::stamps;
pub use ports::{set_unprivileged as set_unprivileged_ports, unprivileged as unprivileged_ports};
pub use raw::RawSocket;
pub(in crate::net) use stack::input;
pub use tcp::TcpSocket;
pub use udp::UdpSocket;

use crate::abi::{Errno, Result};
use crate::auth::Credentials;
use crate::sync::{Mutex, Rank};
use crate::usermem::UserPtr;
use crate::vfs::Caller;
use ports::PortTable;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ports in use.
#[derive(Default)]
pub struct InetTables {
    tcp: PortTable<TcpSocket>,
    listeners: PortTable<TcpSocket>,
    udp: PortTable<UdpSocket>,
    udplite: PortTable<UdpSocket>,
    raw: stack::RawTable,
    groups: groups::Groups,
    /// What /proc/net/snmp counts.
    pub counters: Counters,
    /// `net.ipv4.ping_group_range`: least and greatest group that may open ping sockets.
    pub ping_groups: PingGroups,
}

/// A range of groups; at first it has none.
pub struct PingGroups(Mutex<(u32, u32)>);

impl Default for PingGroups {
    fn default() -> PingGroups {
        PingGroups(Mutex::new(Rank::LEAF, (1, 0)))
    }
}

impl PingGroups {
    /// The range.
    pub fn get(&self) -> (u32, u32) {
        *self.0.lock()
    }
    /// Sets it.
    pub fn set(&self, range: (u32, u32)) {
        *self.0.lock() = range;
    }
    /// Whether one of these credentials' groups is in it.
    pub fn allow(&self, c: &Credentials) -> bool {
        let (low, high) = self.get();
        let range = low..=high;
        range.contains(&c.egid) || c.groups.iter().any(|g| range.contains(g))
    }
}

/// ioctl(2) on IP sockets: time stamps, then interfaces.
fn control(
    cx: &dyn Caller,
    core: &core::Core,
    inbox: Option<&inbox::Inbox>,
    cmd: u32,
    arg: u64,
) -> Result<i64> {
    // SIOCGSTAMP, SIOCGSTAMPNS (the old ones; the new ones are the same here).
    let unit = match cmd {
        0x8906 | 0x8010_8906 => 1000,
        0x8907 | 0x8010_8907 => 1,
        _ => return crate::net::netlink::ioctl(cx, &core.namespace, cmd, arg),
    };
    let t = inbox.ok_or(Errno::ENOENT)?.last_stamp()?;
    let raw = [t.sec, i64::from(t.nsec / unit)];
    cx.memory().put(UserPtr::<[i64; 2]>::new(arg), &raw)?;
    Ok(0)
}

impl InetTables {
    /// Multicast groups that sockets are in, by interface, with the number of sockets.
    pub fn memberships(&self) -> Vec<(std::net::IpAddr, u32, usize)> {
        self.groups.list()
    }
}

/// Counters of the protocols (SNMP's).
#[derive(Default)]
pub struct Counters([AtomicU64; 7]);

/// Which counter.
#[derive(Clone, Copy)]
enum Count {
    ActiveOpens,
    PassiveOpens,
    AttemptFails,
    Resets,
    UdpIn,
    UdpNoPorts,
    UdpOut,
}

/// Their values.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Counts {
    pub active_opens: u64,
    pub passive_opens: u64,
    pub attempt_fails: u64,
    pub resets: u64,
    pub udp_in: u64,
    pub udp_no_ports: u64,
    pub udp_out: u64,
}

impl Counters {
    fn add(&self, what: Count) {
        if let Some(c) = self.0.get(what as usize) {
            c.fetch_add(1, Ordering::Relaxed);
        }
    }
    /// All values.
    pub fn get(&self) -> Counts {
        let [a, b, c, d, e, f, g] = self.0.each_ref().map(|c| c.load(Ordering::Relaxed));
        Counts {
            active_opens: a,
            passive_opens: b,
            attempt_fails: c,
            resets: d,
            udp_in: e,
            udp_no_ports: f,
            udp_out: g,
        }
    }
}
