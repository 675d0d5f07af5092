//! Network interfaces: the loopback and dummies, their addresses and routes. What sockets route by, and what netlink and
//! ioctls show and change.

use crate::abi::{Errno, Result};
use crate::sync::{Mutex, Rank};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Most interfaces of a network namespace, addresses of an interface, and routes that were added.
const MAX_INTERFACES: usize = 64;
const MAX_ADDRESSES: usize = 64;
const MAX_ROUTES: usize = 256;
/// Most bytes of a name (IFNAMSIZ less the NUL).
const MAX_NAME: usize = 15;

// IFF_*.
const UP: u32 = 0x1;
const RUNNING: u32 = 0x40;
const LOWER_UP: u32 = 0x1_0000;
/// What may be changed beside IFF_UP: DEBUG, NOTRAILERS, NOARP, PROMISC, ALLMULTI, MULTICAST, PORTSEL, AUTOMEDIA, DYNAMIC.
const CHANGEABLE: u32 = 0x4 | 0x20 | 0x80 | 0x100 | 0x200 | 0x1000 | 0x2000 | 0x4000 | 0x8000;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddr {
    /// The address.
    pub ip: IpAddr,
    /// Leading bits that name the network.
    pub prefix: u8,
    /// Broadcast address, if the network has one.
    pub broadcast: Option<Ipv4Addr>,
    /// RT_SCOPE_*: 254 host, 253 link, 0 global.
    pub scope: u8,
    /// The other end of a point-to-point link (IFA_ADDRESS).
    pub peer: Option<IpAddr>,
    /// Its network has a route that is its own: further addresses of the network have none, and somebody may have taken or replaced it.
    pub routed: bool,
}

impl InterfaceAddr {
    /// An address without more.
    pub fn new(ip: IpAddr, prefix: u8, scope: u8) -> InterfaceAddr {
        InterfaceAddr {
            ip,
            prefix,
            broadcast: None,
            scope,
            peer: None,
            routed: true,
        }
    }
    fn network(&self) -> (IpAddr, u8) {
        (network(self.ip, self.prefix), self.prefix)
    }
}

/// What an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `lo`.
    Loopback,
    /// A link that takes everything and gives nothing.
    Dummy,
}

/// A network interface.
pub struct Interface {
    index: u32,
    kind: Kind,
    state: Mutex<State>,
}

#[derive(Clone)]
struct State {
    name: String,
    up: bool,
    flags: u32,
    mtu: u32,
    queue: u32,
    mac: [u8; 6],
    addresses: Vec<InterfaceAddr>,
}

impl Interface {
    fn new(index: u32, kind: Kind, name: String) -> Interface {
        let (flags, mtu, mac) = match kind {
            Kind::Loopback => (0x8, 65536, [0; 6]),
            Kind::Dummy => {
                let n = crate::time::Instant::now()
                    .0
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let [a, b, c, d, e, f, ..] = (n ^ u64::from(index)).to_ne_bytes();
                // IFF_BROADCAST, IFF_NOARP; a locally administered address.
                (0x82, 1500, [a & 0xfc | 2, b, c, d, e, f])
            }
        };
        Interface {
            index,
            kind,
            state: Mutex::new(
                Rank::LEAF,
                State {
                    name,
                    up: false,
                    flags,
                    mtu,
                    queue: 1000,
                    mac,
                    addresses: Vec::new(),
                },
            ),
        }
    }
    fn get<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.state.lock())
    }
    /// Name, at most 15 bytes.
    pub fn name(&self) -> String {
        self.get(|s| s.name.clone())
    }
    /// Index, from 1.
    pub fn index(&self) -> u32 {
        self.index
    }
    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// IFF_*.
    pub fn flags(&self) -> u32 {
        self.get(|s| s.flags | if s.up { UP | RUNNING | LOWER_UP } else { 0 })
    }
    /// ARPHRD_*.
    pub fn hardware_type(&self) -> u16 {
        match self.kind {
            Kind::Loopback => 772,
            Kind::Dummy => 1,
        }
    }
    /// Link-layer address.
    pub fn hardware_addr(&self) -> [u8; 6] {
        self.get(|s| s.mac)
    }
    /// The one that means everybody.
    pub fn hardware_broadcast(&self) -> [u8; 6] {
        match self.kind {
            Kind::Loopback => [0; 6],
            Kind::Dummy => [0xff; 6],
        }
    }
    /// Bytes.
    pub fn mtu(&self) -> u32 {
        self.get(|s| s.mtu)
    }
    /// Length of the transmit queue.
    pub fn queue_len(&self) -> u32 {
        self.get(|s| s.queue)
    }
    /// Addresses, in the order they were added.
    pub fn addresses(&self) -> Vec<InterfaceAddr> {
        self.get(|s| s.addresses.clone())
    }
    /// The route of an address's network, `row`, is gone.
    fn unroute(&self, row: &Row) {
        let mut s = self.state.lock();
        let of_it = |a: &&mut InterfaceAddr| a.routed && a.network() == (row.dst, row.len);
        if let Some(a) = s.addresses.iter_mut().find(of_it) {
            a.routed = false;
        }
    }
    /// Whether it is in use.
    pub fn is_up(&self) -> bool {
        self.get(|s| s.up)
    }
}

/// How packets to an address would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this host; the source address is this unless the socket is bound.
    Local(IpAddr),
    /// To every host of a directly connected network; the source address, and the interface.
    Broadcast(IpAddr, u32),
    /// To a multicast group.
    Multicast,
    /// Out of an interface behind which nobody is; the source address, and the interface.
    Away(IpAddr, u32),
    /// Nowhere.
    Unreachable,
}

// rtm_table, rtm_protocol, rtm_type, rtm_scope.
const TABLE_LOCAL: u8 = 255;
/// RT_TABLE_MAIN.
pub const TABLE_MAIN: u8 = 254;
const PROTO_KERNEL: u8 = 2;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;
const TYPE_BROADCAST: u8 = 3;
const SCOPE_HOST: u8 = 254;
const SCOPE_LINK: u8 = 253;

/// One row of a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Row {
    pub dst: IpAddr,
    /// Leading bits of `dst` that count.
    pub len: u8,
    /// RT_TABLE_*, RTPROT_*, RT_SCOPE_*, RTN_*.
    pub table: u8,
    pub protocol: u8,
    pub scope: u8,
    pub kind: u8,
    pub source: Option<IpAddr>,
    pub gateway: Option<IpAddr>,
    /// Interface.
    pub index: u32,
    pub metric: u32,
}

impl Row {
    /// Whether it is of the main table.
    pub fn is_main(&self) -> bool {
        self.table == TABLE_MAIN
    }
}

/// Whether the first `len` bits are the same.
pub fn same_network(a: IpAddr, b: IpAddr, len: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            a.to_bits() & !host == b.to_bits() & !host
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let host = u128::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            a.to_bits() & !host == b.to_bits() & !host
        }
        _ => false,
    }
}

/// The address with its host bits cleared.
pub(super) fn network(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(a) => {
            let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            Ipv4Addr::from_bits(a.to_bits() & !host).into()
        }
        IpAddr::V6(a) => {
            let host = u128::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            Ipv6Addr::from_bits(a.to_bits() & !host).into()
        }
    }
}

/// The last address of a network.
fn last(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(a) => {
            let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            Ipv4Addr::from_bits(a.to_bits() | host).into()
        }
        IpAddr::V6(a) => {
            let host = u128::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            Ipv6Addr::from_bits(a.to_bits() | host).into()
        }
    }
}

/// The rows that an interface's addresses make (fib_add_ifaddr, addrconf_prefix_route).
fn rows(i: &Interface) -> Vec<Row> {
    let mut out = Vec::new();
    for a in i.addresses() {
        let row = |dst, len, table, scope, kind| Row {
            dst,
            len,
            table,
            protocol: PROTO_KERNEL,
            scope,
            kind,
            source: a.ip.is_ipv4().then_some(a.ip),
            gateway: None,
            index: i.index(),
            metric: 0,
        };
        let net = network(a.ip, a.prefix);
        match a.ip {
            IpAddr::V4(_) => {
                if i.kind() == Kind::Loopback && a.prefix < 32 {
                    // All of the loopback's networks are this host.
                    out.push(row(net, a.prefix, TABLE_LOCAL, SCOPE_HOST, TYPE_LOCAL));
                } else if a.prefix < 32 && a.routed {
                    out.push(row(net, a.prefix, TABLE_MAIN, SCOPE_LINK, TYPE_UNICAST));
                }
                out.push(row(a.ip, 32, TABLE_LOCAL, SCOPE_HOST, TYPE_LOCAL));
                if a.prefix < 31 {
                    let end = last(a.ip, a.prefix);
                    out.push(row(end, 32, TABLE_LOCAL, SCOPE_LINK, TYPE_BROADCAST));
                }
            }
            IpAddr::V6(_) => {
                if a.prefix < 128 && a.routed {
                    let mut r = row(net, a.prefix, TABLE_MAIN, 0, TYPE_UNICAST);
                    r.metric = 256;
                    out.push(r);
                }
                out.push(row(a.ip, 128, TABLE_LOCAL, 0, TYPE_LOCAL));
            }
        }
    }
    out
}

/// What to do if there is such a route, or none (NLM_F_REPLACE, NLM_F_CREATE).
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct AddRoute {
    pub replace: bool,
    pub create: bool,
}

/// The interfaces of a network namespace.
pub struct Interfaces {
    all: Mutex<Vec<Arc<Interface>>>,
    next: AtomicU32,
    /// Routes that were added.
    routes: Mutex<Vec<Row>>,
    /// The loopback is up with its usual addresses and no others: its routes need not be looked up.
    plain: AtomicBool,
}

impl Interfaces {
    /// The loopback alone.
    pub fn loopback(up: bool) -> Interfaces {
        let lo = Arc::new(Interface::new(1, Kind::Loopback, "lo".into()));
        let new = Interfaces {
            all: Mutex::new(Rank::INTERFACES, vec![lo.clone()]),
            next: AtomicU32::new(2),
            routes: Mutex::new(Rank::INTERFACES, Vec::new()),
            plain: AtomicBool::new(false),
        };
        if up {
            new.set_up(&lo, true);
        }
        new
    }
    /// All, by index.
    pub fn all(&self) -> Vec<Arc<Interface>> {
        self.all.lock().clone()
    }
    /// By name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Interface>> {
        self.all().into_iter().find(|i| i.name() == name)
    }
    /// By index.
    pub fn by_index(&self, index: u32) -> Option<Arc<Interface>> {
        self.all().into_iter().find(|i| i.index() == index)
    }
    /// Makes a dummy. Without a name it is `dummy0` or the like.
    ///
    /// # Errors
    /// EEXIST, EINVAL for a bad name, ENOBUFS.
    pub fn create(&self, name: Option<&str>) -> Result<Arc<Interface>> {
        let mut all = self.all.lock();
        if all.len() >= MAX_INTERFACES {
            return Err(Errno::ENOBUFS);
        }
        let taken = |n: &str| all.iter().any(|i| i.name() == n);
        let name = match name {
            Some(n) if !n.contains("%d") => {
                check_name(n)?;
                if taken(n) {
                    return Err(Errno::EEXIST);
                }
                n.to_owned()
            }
            pattern => {
                let pattern = pattern.unwrap_or("dummy%d");
                let mut names = (0..=MAX_INTERFACES).map(|n| pattern.replace("%d", &n.to_string()));
                let free = names.find(|n| !taken(n)).ok_or(Errno::ENFILE)?;
                check_name(&free)?;
                free
            }
        };
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let new = Arc::new(Interface::new(index, Kind::Dummy, name));
        all.push(new.clone());
        Ok(new)
    }
    /// Takes a dummy away.
    ///
    /// # Errors
    /// EOPNOTSUPP for the loopback.
    pub fn remove(&self, i: &Interface) -> Result<()> {
        if i.kind == Kind::Loopback {
            return Err(Errno::EOPNOTSUPP);
        }
        self.all.lock().retain(|o| o.index != i.index);
        self.routes.lock().retain(|r| r.index != i.index);
        Ok(())
    }
    /// Switches an interface on or off. The loopback gets its addresses when it goes up; IPv6 ones go when it goes down.
    pub fn set_up(&self, i: &Interface, up: bool) {
        {
            let mut s = i.state.lock();
            if up && !s.up && i.kind == Kind::Loopback {
                let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
                let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
                if !s.addresses.iter().any(|a| a.ip.is_ipv4()) {
                    s.addresses.insert(0, InterfaceAddr::new(v4, 8, 254));
                }
                if !s.addresses.iter().any(|a| a.ip == v6) {
                    s.addresses.push(InterfaceAddr::new(v6, 128, 254));
                }
            }
            if !up {
                s.addresses.retain(|a| a.ip.is_ipv4());
            }
            let mut networks = Vec::new();
            for a in &mut s.addresses {
                a.routed = !networks.contains(&a.network());
                networks.push(a.network());
            }
            s.up = up;
        }
        if !up {
            self.routes.lock().retain(|r| r.index != i.index);
        }
        self.changed();
    }
    /// Changes flags beside IFF_UP.
    pub fn set_flags(&self, i: &Interface, flags: u32, mask: u32) {
        let mask = mask & CHANGEABLE;
        let mut s = i.state.lock();
        s.flags = s.flags & !mask | flags & mask;
    }
    /// Renames an interface.
    ///
    /// # Errors
    /// EBUSY while it is up; EEXIST, EINVAL.
    pub fn rename(&self, i: &Interface, name: &str) -> Result<()> {
        if i.name() == name {
            return Ok(());
        }
        if i.is_up() {
            return Err(Errno::EBUSY);
        }
        check_name(name)?;
        if self.by_name(name).is_some() {
            return Err(Errno::EEXIST);
        }
        i.state.lock().name = name.to_owned();
        Ok(())
    }
    /// Sets the MTU.
    ///
    /// # Errors
    /// EINVAL.
    pub fn set_mtu(&self, i: &Interface, mtu: u32) -> Result<()> {
        if mtu > i32::MAX.cast_unsigned() {
            return Err(Errno::EINVAL);
        }
        i.state.lock().mtu = mtu;
        Ok(())
    }
    /// Sets the length of the transmit queue.
    pub fn set_queue_len(&self, i: &Interface, len: u32) {
        i.state.lock().queue = len;
    }
    /// Sets the link-layer address.
    ///
    /// # Errors
    /// EADDRNOTAVAIL for one that no interface may have.
    pub fn set_mac(&self, i: &Interface, mac: [u8; 6]) -> Result<()> {
        let [first, ..] = mac;
        if first & 1 != 0 || mac == [0; 6] {
            return Err(Errno::EADDRNOTAVAIL);
        }
        i.state.lock().mac = mac;
        Ok(())
    }
    /// Gives an interface one more address.
    ///
    /// # Errors
    /// EEXIST, ENOBUFS.
    pub fn add_address(&self, i: &Interface, a: InterfaceAddr) -> Result<()> {
        {
            let mut s = i.state.lock();
            let there =
                |o: &InterfaceAddr| o.ip == a.ip && (a.ip.is_ipv6() || o.prefix == a.prefix);
            if s.addresses.iter().any(there) {
                return Err(Errno::EEXIST);
            }
            if s.addresses.len() >= MAX_ADDRESSES {
                return Err(Errno::ENOBUFS);
            }
            let further = s.addresses.iter().any(|o| o.network() == a.network());
            s.addresses.push(InterfaceAddr {
                routed: !further,
                ..a
            });
        }
        self.changed();
        Ok(())
    }
    /// Takes one away; it.
    ///
    /// # Errors
    /// EADDRNOTAVAIL.
    pub fn remove_address(
        &self,
        i: &Interface,
        ip: IpAddr,
        prefix: Option<u8>,
    ) -> Result<InterfaceAddr> {
        let (gone, last) = {
            let mut s = i.state.lock();
            let here = |o: &InterfaceAddr| o.ip == ip && prefix.is_none_or(|p| p == o.prefix);
            let at = s.addresses.iter().position(here);
            let gone = s.addresses.remove(at.ok_or(Errno::EADDRNOTAVAIL)?);
            let heir = |o: &&mut InterfaceAddr| gone.routed && o.network() == gone.network();
            if let Some(heir) = s.addresses.iter_mut().find(heir) {
                heir.routed = true;
            }
            let last = ip.is_ipv4() && !s.addresses.iter().any(|a| a.ip.is_ipv4());
            (gone, last)
        };
        self.changed();
        // Routes of the address go with it, and all with an interface's last one (fib_sync_down_addr, fib_disable_ip).
        let local = self.is_local(ip);
        self.routes.lock().retain(|r| {
            let of_it = r.source == Some(ip) && !local;
            let idle = last && r.dst.is_ipv4() && r.index == i.index;
            !of_it && !idle
        });
        Ok(gone)
    }
    fn changed(&self) {
        let lo = self.by_index(1);
        let usual = lo.is_some_and(|lo| {
            lo.get(|s| {
                let addresses: Vec<_> = s.addresses.iter().map(|a| (a.ip, a.prefix)).collect();
                s.up && addresses
                    == [
                        (Ipv4Addr::LOCALHOST.into(), 8),
                        (Ipv6Addr::LOCALHOST.into(), 128),
                    ]
            })
        });
        self.plain.store(usual, Ordering::Relaxed);
    }
    /// All routes, in no order.
    fn unsorted(&self) -> Vec<Row> {
        let all = self.all();
        let own = all.iter().filter(|i| i.is_up()).flat_map(|i| rows(i));
        let mut out: Vec<_> = own.collect();
        out.extend(self.routes.lock().iter().copied());
        out
    }
    /// All routes: the main table, then that of this host's addresses.
    pub fn rows(&self) -> Vec<Row> {
        let (mut main, local): (Vec<_>, Vec<_>) =
            self.unsorted().into_iter().partition(Row::is_main);
        // As Linux walks its trees: a network of IPv4 after those that begin where it does, one of IPv6 after all that are in it.
        main.sort_by_key(|r| {
            let at = if r.dst.is_ipv4() {
                r.dst
            } else {
                last(r.dst, r.len)
            };
            (at, std::cmp::Reverse(r.len), r.metric)
        });
        main.extend(local);
        main
    }
    /// The interface on whose network a gateway is.
    pub fn near(&self, gateway: IpAddr) -> Option<u32> {
        let rows = self.unsorted();
        let near =
            |r: &&Row| r.is_main() && r.gateway.is_none() && same_network(r.dst, gateway, r.len);
        let nearest = |r: &&Row| (r.len, std::cmp::Reverse(r.metric));
        rows.iter()
            .filter(near)
            .max_by_key(nearest)
            .map(|r| r.index)
    }
    /// Adds a route, or puts it in the place of the one of the same network and metric.
    ///
    /// # Errors
    /// ENETUNREACH for a gateway that is on no network; EEXIST or ENOENT as `how` says; ENOBUFS.
    pub fn add_route(&self, row: Row, how: AddRoute) -> Result<()> {
        let rows = self.unsorted();
        if let Some(g) = row.gateway {
            let near =
                |r: &Row| r.is_main() && r.gateway.is_none() && same_network(r.dst, g, r.len);
            if !rows.iter().any(near) {
                return Err(Errno::ENETUNREACH);
            }
        }
        let same = |r: &Row| {
            (r.dst, r.len, r.metric, r.table) == (row.dst, row.len, row.metric, row.table)
        };
        let there = rows.iter().any(same);
        match (there, how.replace, how.create) {
            (true, false, _) => return Err(Errno::EEXIST),
            (false, _, false) => return Err(Errno::ENOENT),
            _ => {}
        }
        let full = {
            let all = self.routes.lock();
            // One that is replaced leaves its place, unless it is an address's.
            all.len() >= MAX_ROUTES && !all.iter().any(same)
        };
        if full {
            return Err(Errno::ENOBUFS);
        }
        if there {
            self.remove_route(same)?;
        }
        self.routes.lock().push(row);
        Ok(())
    }
    /// Takes away the first route that `which` means, of addresses or added.
    ///
    /// # Errors
    /// ESRCH.
    pub fn remove_route(&self, which: impl Fn(&Row) -> bool) -> Result<Row> {
        for i in self.all().iter().filter(|i| i.is_up()) {
            let row = rows(i).into_iter().find(|r| r.is_main() && which(r));
            if let Some(row) = row {
                i.unroute(&row);
                return Ok(row);
            }
        }
        let mut all = self.routes.lock();
        let at = all.iter().position(which).ok_or(Errno::ESRCH)?;
        Ok(all.remove(at))
    }
    /// Whether a socket may be bound to the address: it is one of this host's (the unspecified one is not).
    pub fn is_local(&self, ip: IpAddr) -> bool {
        matches!(self.route(ip), Route::Local(_))
    }
    /// Where packets to `ip` go. All of 127.0.0.0/8 is local, as on Linux.
    pub fn route(&self, ip: IpAddr) -> Route {
        if self.plain.load(Ordering::Relaxed) {
            match ip {
                IpAddr::V4(a) if a.is_loopback() && a.to_bits() & 0xff_ffff != 0xff_ffff => {
                    return Route::Local(ip);
                }
                IpAddr::V6(Ipv6Addr::LOCALHOST) => return Route::Local(ip),
                _ => {}
            }
        }
        if ip.is_multicast() {
            return Route::Multicast;
        }
        let all = self.unsorted();
        let best = |r: &&Row| (r.table == TABLE_LOCAL, r.len, std::cmp::Reverse(r.metric));
        let Some(r) = all
            .iter()
            .filter(|r| same_network(r.dst, ip, r.len))
            .max_by_key(best)
        else {
            return Route::Unreachable;
        };
        let source = || {
            r.source.or_else(|| {
                let i = self.by_index(r.index)?;
                let a = i.addresses().into_iter();
                a.map(|a| a.ip).find(|a| a.is_ipv4() == ip.is_ipv4())
            })
        };
        match r.kind {
            TYPE_LOCAL => Route::Local(ip),
            TYPE_BROADCAST => source().map_or(Route::Unreachable, |s| Route::Broadcast(s, r.index)),
            TYPE_UNICAST => source().map_or(Route::Unreachable, |s| Route::Away(s, r.index)),
            _ => Route::Unreachable,
        }
    }
}

/// dev_valid_name.
fn check_name(name: &str) -> Result<()> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if name.is_empty() || name.len() > MAX_NAME || name == "." || name == ".." || name.contains(bad)
    {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_routes() {
        let down = Interfaces::loopback(false);
        assert_eq!(down.route([127, 0, 0, 1].into()), Route::Unreachable);
        let i = Interfaces::loopback(true);
        let lo = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(i.route([127, 0, 0, 1].into()), Route::Local(lo));
        let other = IpAddr::from([127, 9, 8, 7]);
        assert_eq!(i.route(other), Route::Local(other));
        assert_eq!(
            i.route([127, 255, 255, 255].into()),
            Route::Broadcast(lo, 1)
        );
        assert_eq!(i.route([10, 0, 0, 1].into()), Route::Unreachable);
        assert_eq!(i.route([224, 0, 0, 1].into()), Route::Multicast);
        assert_eq!(
            i.route(Ipv6Addr::LOCALHOST.into()),
            Route::Local(Ipv6Addr::LOCALHOST.into())
        );
    }

    #[test]
    fn dummies_have_networks() {
        let all = Interfaces::loopback(true);
        let d = all.create(None).unwrap();
        assert_eq!((d.name().as_str(), d.index()), ("dummy0", 2));
        assert_eq!(all.create(Some("dummy0")).err(), Some(Errno::EEXIST));
        assert_eq!(all.create(Some("a/b")).err(), Some(Errno::EINVAL));
        let own = IpAddr::from([10, 1, 0, 1]);
        all.add_address(&d, InterfaceAddr::new(own, 24, 0)).unwrap();
        assert_eq!(all.route(own), Route::Unreachable);
        all.set_up(&d, true);
        assert_eq!(all.route(own), Route::Local(own));
        assert_eq!(all.route([10, 1, 0, 7].into()), Route::Away(own, 2));
        assert_eq!(all.route([10, 1, 0, 255].into()), Route::Broadcast(own, 2));
        assert_eq!(all.route([10, 2, 0, 7].into()), Route::Unreachable);
        let row = Row {
            dst: [0, 0, 0, 0].into(),
            len: 0,
            table: TABLE_MAIN,
            protocol: 3,
            scope: 0,
            kind: TYPE_UNICAST,
            source: None,
            gateway: Some([10, 1, 0, 254].into()),
            index: d.index(),
            metric: 0,
        };
        let how = AddRoute {
            replace: false,
            create: true,
        };
        all.add_route(row, how).unwrap();
        assert_eq!(all.add_route(row, how), Err(Errno::EEXIST));
        assert_eq!(all.route([8, 8, 8, 8].into()), Route::Away(own, 2));
        // An address of IPv6 that goes is not IPv4's last one.
        let six = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
        let bare = all.create(None).unwrap();
        all.set_up(&bare, true);
        all.add_address(&bare, InterfaceAddr::new(six, 64, 0))
            .unwrap();
        let index = bare.index();
        let dst = [10, 3, 0, 0].into();
        let more = Row {
            dst,
            len: 16,
            index,
            ..row
        };
        all.add_route(more, how).unwrap();
        all.remove_address(&bare, six, None).unwrap();
        assert!(all.rows().contains(&more));
        // Two addresses of a network have one route.
        let second = InterfaceAddr::new([10, 1, 0, 2].into(), 24, 0);
        all.add_address(&d, second).unwrap();
        let net = |r: &Row| r.is_main() && r.dst == IpAddr::from([10, 1, 0, 0]);
        let source = || all.rows().into_iter().find(net).map(|r| r.source);
        assert_eq!(all.rows().into_iter().filter(net).count(), 1);
        all.remove_address(&d, own, None).unwrap();
        assert_eq!(source(), Some(Some([10, 1, 0, 2].into())));
        all.add_address(&d, InterfaceAddr::new(own, 24, 0)).unwrap();
        all.set_up(&d, false);
        all.set_up(&d, true);
        assert_eq!(all.rows().into_iter().filter(net).count(), 1);
        all.remove_route(net).unwrap();
        assert_eq!(source(), None);
        all.remove(&d).unwrap();
        assert_eq!(all.route([8, 8, 8, 8].into()), Route::Unreachable);
    }
}
