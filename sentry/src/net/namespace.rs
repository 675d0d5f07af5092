//! A network namespace (network_namespaces(7)): names, ports and interfaces that sockets share.

use super::inet::InetTables;
use super::interface::Interfaces;
use super::netlink::NetlinkTable;
use super::packet::PacketTable;
use super::unix::UnixTable;
use crate::abi::Result;
use crate::auth::{Caps, Credentials, NsCommon, UserNamespace};
use crate::sync::Quota;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Most of them (`user.max_net_namespaces`).
pub static QUOTA: Quota = Quota::new(1024);

/// PROC_NET_INIT_INO.
const INITIAL: u64 = 4_026_531_840;

/// `struct net`.
pub struct NetNamespace {
    /// Number and owner.
    pub common: NsCommon,
    /// SO_NETNS_COOKIE.
    pub cookie: u64,
    /// How many sockets it has.
    pub(super) sockets: Arc<AtomicUsize>,
    /// Abstract AF_UNIX names.
    pub unix: UnixTable,
    /// TCP and UDP ports.
    pub inet: InetTables,
    /// Netlink port numbers.
    pub netlink: NetlinkTable,
    /// Packet sockets.
    pub packets: PacketTable,
    /// Links and their addresses.
    pub interfaces: Interfaces,
}

impl Default for NetNamespace {
    /// The sandbox's first one, with its loopback up.
    fn default() -> NetNamespace {
        NetNamespace::with(NsCommon::initial(INITIAL), true)
    }
}

impl NetNamespace {
    fn with(common: NsCommon, up: bool) -> NetNamespace {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NetNamespace {
            common,
            cookie: NEXT.fetch_add(1, Ordering::Relaxed),
            sockets: Arc::default(),
            unix: UnixTable::default(),
            inet: InetTables::default(),
            netlink: NetlinkTable::default(),
            packets: PacketTable::default(),
            interfaces: Interfaces::loopback(up),
        }
    }
    /// CLONE_NEWNET: an empty one, whose loopback is down at first.
    ///
    /// # Errors
    /// ENOSPC if there are too many.
    pub fn create(owner: &Arc<UserNamespace>) -> Result<Arc<NetNamespace>> {
        let common = NsCommon::create(&QUOTA, owner)?;
        Ok(Arc::new(NetNamespace::with(common, false)))
    }
    /// How many sockets it has.
    pub fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }
    /// Whether these credentials have all of `caps` here.
    pub fn allows(&self, creds: &Credentials, caps: Caps) -> bool {
        creds.has_in(self.common.owner(), caps)
    }
}
