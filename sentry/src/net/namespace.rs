//! A network namespace: names, ports and interfaces that sockets share.

use super::inet::InetTables;
use super::interface::Interfaces;
use super::netlink::NetlinkTable;
use super::unix::UnixTable;

/// What `CLONE_NEWNET` would make another of. A sandbox has one.
#[derive(Default)]
pub struct NetNamespace {
    /// Abstract AF_UNIX names.
    pub unix: UnixTable,
    /// TCP and UDP ports.
    pub inet: InetTables,
    /// Netlink port numbers.
    pub netlink: NetlinkTable,
    /// Links and their addresses.
    pub interfaces: Interfaces,
}
