//! Port tables: who is bound to what, and who may be (net/ipv4/inet_connection_sock.c, udp.c).

use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use crate::time::Instant;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// `net.ipv4.ip_local_port_range`.
const FIRST: u16 = 32768;
const LAST: u16 = 60999;
/// `net.ipv4.ip_unprivileged_port_start`: set at boot, then only read.
static UNPRIVILEGED: AtomicU16 = AtomicU16::new(1024);

/// First port that everybody may bind.
pub fn unprivileged() -> u16 {
    UNPRIVILEGED.load(Ordering::Relaxed)
}

/// Sets it.
pub fn set_unprivileged(port: u16) {
    UNPRIVILEGED.store(port, Ordering::Relaxed);
}

/// What the table asks of its sockets.
pub(super) trait PortOwner: Send + Sync {
    /// SO_REUSEADDR, SO_REUSEPORT.
    fn reuse(&self) -> (bool, bool);
    /// Whether it listens (TCP): SO_REUSEADDR does not help beside a listener.
    fn listens(&self) -> bool;
    /// User that made it: SO_REUSEPORT works among sockets of one user.
    fn uid(&self) -> u32;
    /// IPV6_V6ONLY of an IPv6 socket.
    fn v6_only(&self) -> bool;
    /// IP_LOCAL_PORT_RANGE: least and greatest port it is given, 0 for the usual ones.
    fn port_range(&self) -> (u16, u16);
}

/// TCP_TIMEWAIT_LEN, in nanoseconds.
const TIME_WAIT: u64 = 60_000_000_000;
/// Most addresses of closed connections that are kept (`net.ipv4.tcp_max_tw_buckets`).
const MAX_WAITING: usize = 8192;

/// The local end of a connection that this end closed first: bind(2) does not give its port to those who do not ask.
struct Waiting {
    local: SocketAddr,
    remote: SocketAddr,
    reuse: (bool, bool),
    uid: u32,
    v6_only: bool,
    end: Instant,
}

/// A socket's place in a port table.
pub(super) struct Entry<T> {
    pub addr: SocketAddr,
    pub socket: Weak<T>,
}

/// Sockets by local port.
pub(super) struct PortTable<T> {
    ports: Mutex<HashMap<u16, HashMap<u64, Entry<T>>>>,
    /// In the order they end.
    waiting: Mutex<VecDeque<Waiting>>,
    next: AtomicU64,
}

impl<T> Default for PortTable<T> {
    fn default() -> Self {
        PortTable {
            ports: Mutex::new(Rank::NET_TABLE, HashMap::new()),
            waiting: Mutex::new(Rank::LEAF, VecDeque::new()),
            next: AtomicU64::new(crate::time::Instant::now().0 / 1000),
        }
    }
}

/// Names a socket in its table: never used again.
pub(super) fn new_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Whether two local addresses may receive the same packet.
fn overlap(a: IpAddr, a_v6only: bool, b: IpAddr, b_v6only: bool) -> bool {
    match (a, b) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            a == b || a.is_unspecified() || b.is_unspecified()
        }
        (IpAddr::V6(v6), IpAddr::V4(_)) => v6.is_unspecified() && !a_v6only,
        (IpAddr::V4(_), IpAddr::V6(v6)) => v6.is_unspecified() && !b_v6only,
    }
}

/// Whether a socket bound to `own` receives what is sent to `ip`: `None` if not, else how exactly it matches.
pub(super) fn matches(own: IpAddr, v6_only: bool, ip: IpAddr) -> Option<u32> {
    if own == ip {
        return Some(2);
    }
    let any =
        own.is_unspecified() && (own.is_ipv4() == ip.is_ipv4() || (own.is_ipv6() && !v6_only));
    // An IPv4 socket is preferred to a dual one.
    any.then_some(u32::from(own.is_ipv4() == ip.is_ipv4()))
}

impl<T: PortOwner> PortTable<T> {
    /// Binds `socket` to `addr`; port 0 chooses a free one. The address with its port.
    ///
    /// # Errors
    /// EADDRINUSE.
    pub fn bind(&self, id: u64, addr: SocketAddr, socket: &Arc<T>) -> Result<SocketAddr> {
        let mut ports = self.ports.lock();
        let port = if addr.port() == 0 {
            self.free_port(&ports, socket.port_range())
                .ok_or(Errno::EADDRINUSE)?
        } else {
            if conflicts(ports.get(&addr.port()), id, addr.ip(), &**socket)
                || self.is_awaited(addr, &**socket)
            {
                return Err(Errno::EADDRINUSE);
            }
            addr.port()
        };
        let mut bound = addr;
        bound.set_port(port);
        ports.entry(port).or_default().insert(
            id,
            Entry {
                addr: bound,
                socket: Arc::downgrade(socket),
            },
        );
        Ok(bound)
    }
    /// Whether a bound socket may start to listen: others may have been bound beside it.
    ///
    /// # Errors
    /// EADDRINUSE.
    pub fn check(&self, id: u64, addr: SocketAddr, socket: &T) -> Result<()> {
        let ports = self.ports.lock();
        if conflicts(ports.get(&addr.port()), id, addr.ip(), socket) {
            return Err(Errno::EADDRINUSE);
        }
        Ok(())
    }
    /// Enters a socket that shares its port with others (an accepted one).
    pub fn share(&self, id: u64, addr: SocketAddr, socket: &Arc<T>) {
        self.ports.lock().entry(addr.port()).or_default().insert(
            id,
            Entry {
                addr,
                socket: Arc::downgrade(socket),
            },
        );
    }
    /// Changes the address of a bound socket (connect picks a source address).
    pub fn set_addr(&self, id: u64, addr: SocketAddr) {
        if let Some(e) = self
            .ports
            .lock()
            .get_mut(&addr.port())
            .and_then(|p| p.get_mut(&id))
        {
            e.addr = addr;
        }
    }
    /// Gives the port up.
    pub fn unbind(&self, id: u64, port: u16) {
        let mut ports = self.ports.lock();
        if let Some(p) = ports.get_mut(&port) {
            p.remove(&id);
            if p.is_empty() {
                ports.remove(&port);
            }
        }
    }
    /// Live sockets on a port, oldest first, each with its local address.
    pub fn on_port(&self, port: u16) -> Vec<(SocketAddr, Arc<T>)> {
        let mut found: Vec<_> = {
            let ports = self.ports.lock();
            ports
                .get(&port)
                .into_iter()
                .flatten()
                .filter_map(|(id, e)| Some((*id, e.addr, e.socket.upgrade()?)))
                .collect()
        };
        found.sort_unstable_by_key(|f| f.0);
        found.into_iter().map(|(_, a, s)| (a, s)).collect()
    }

    /// A connection of `socket`'s from `local` to `remote` has ended, and this end closed it first.
    pub fn waits(&self, local: SocketAddr, remote: SocketAddr, socket: &T) {
        let entry = Waiting {
            local,
            remote,
            reuse: socket.reuse(),
            uid: socket.uid(),
            v6_only: socket.v6_only(),
            end: Instant::now().after(TIME_WAIT),
        };
        let mut w = self.waiting.lock();
        while w.len() >= MAX_WAITING || w.front().is_some_and(|f| f.end.remaining() == 0) {
            w.pop_front();
        }
        w.push_back(entry);
    }
    /// A reset has ended what is left of a connection.
    pub fn no_longer_waits(&self, local: SocketAddr, remote: SocketAddr) {
        let mut w = self.waiting.lock();
        w.retain(|e| (e.local, e.remote) != (local, remote));
    }
    /// Local and remote ends of what waits, with the time left in nanoseconds.
    pub fn waiting(&self) -> Vec<(SocketAddr, SocketAddr, u64)> {
        let w = self.waiting.lock();
        let left = w.iter().map(|e| (e.local, e.remote, e.end.remaining()));
        left.filter(|e| e.2 > 0).collect()
    }
    fn is_awaited(&self, addr: SocketAddr, socket: &T) -> bool {
        let (reuse_addr, reuse_port) = socket.reuse();
        // Before the lock: these take the socket's own, which ranks below it.
        let (uid, v6_only) = (socket.uid(), socket.v6_only());
        let w = self.waiting.lock();
        w.iter()
            .filter(|e| e.local.port() == addr.port() && e.end.remaining() > 0)
            .any(|e| {
                let by_addr = reuse_addr && e.reuse.0;
                let by_port = reuse_port && e.reuse.1 && uid == e.uid;
                overlap(addr.ip(), v6_only, e.local.ip(), e.v6_only) && !by_addr && !by_port
            })
    }
    /// All sockets with a port.
    pub fn all(&self) -> Vec<(SocketAddr, Arc<T>)> {
        let mut found: Vec<_> = {
            let ports = self.ports.lock();
            ports
                .values()
                .flatten()
                .filter_map(|(id, e)| Some((*id, e.addr, e.socket.upgrade()?)))
                .collect()
        };
        found.sort_unstable_by_key(|f| f.0);
        found.into_iter().map(|(_, a, s)| (a, s)).collect()
    }

    fn free_port(
        &self,
        ports: &HashMap<u16, HashMap<u64, Entry<T>>>,
        (low, high): (u16, u16),
    ) -> Option<u16> {
        // Each end counts only inside the usual range (inet_sk_get_local_port_range), so that nobody gets a privileged port.
        let within = |p: u16| (FIRST..=LAST).contains(&p).then_some(p);
        let first = within(low).unwrap_or(FIRST);
        let last = within(high).unwrap_or(LAST);
        let range = u64::from(last.checked_sub(first)?) + 1;
        (0..range).find_map(|_| {
            let n = self.next.fetch_add(1, Ordering::Relaxed) % range;
            let port = first + u16::try_from(n).unwrap_or(0);
            (!ports.contains_key(&port)).then_some(port)
        })
    }
}

fn conflicts<T: PortOwner>(
    there: Option<&HashMap<u64, Entry<T>>>,
    id: u64,
    ip: IpAddr,
    socket: &T,
) -> bool {
    let (reuse_addr, reuse_port) = socket.reuse();
    there
        .into_iter()
        .flatten()
        .filter(|(other, _)| **other != id)
        .filter_map(|(_, e)| Some((e.addr.ip(), e.socket.upgrade()?)))
        .any(|(other_ip, other)| {
            let (other_addr, other_port) = other.reuse();
            let by_addr = reuse_addr && other_addr && !other.listens();
            let by_port = reuse_port && other_port && socket.uid() == other.uid();
            overlap(ip, socket.v6_only(), other_ip, other.v6_only()) && !by_addr && !by_port
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Mutex, Rank};

    struct Owner {
        v6_only: Mutex<bool>,
        range: (u16, u16),
    }
    impl Owner {
        fn new(range: (u16, u16)) -> Arc<Owner> {
            Arc::new(Owner {
                // As a socket has it: the rank is checked.
                v6_only: Mutex::new(Rank::SOCKET_OPTIONS, false),
                range,
            })
        }
    }
    impl PortOwner for Owner {
        fn reuse(&self) -> (bool, bool) {
            (false, false)
        }
        fn listens(&self) -> bool {
            false
        }
        fn uid(&self) -> u32 {
            0
        }
        fn v6_only(&self) -> bool {
            *self.v6_only.lock()
        }
        fn port_range(&self) -> (u16, u16) {
            self.range
        }
    }

    #[test]
    fn a_range_of_ports_gives_no_others() {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        for (range, inside) in [
            ((40000, 40000), 40000..=40000),
            ((80, 1000), FIRST..=LAST),
            ((80, 40000), FIRST..=40000),
            ((60000, 65535), 60000..=LAST),
        ] {
            let table = PortTable::<Owner>::default();
            let owner = Owner::new(range);
            let port = table.bind(new_id(), any, &owner).unwrap().port();
            assert!(inside.contains(&port), "{port} of {range:?}");
        }
    }

    #[test]
    fn a_port_that_waits_is_not_bound() {
        let table = PortTable::<Owner>::default();
        let owner = Owner::new((0, 0));
        let local = SocketAddr::from(([127, 0, 0, 1], 4242));
        let remote = SocketAddr::from(([127, 0, 0, 1], 4243));
        table.waits(local, remote, &owner);
        let v6 = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 4242));
        let bound = table.bind(new_id(), v6, &owner);
        assert_eq!(bound, Err(Errno::EADDRINUSE));
        table.no_longer_waits(local, remote);
        assert_eq!(table.bind(new_id(), v6, &owner), Ok(v6));
    }
}
