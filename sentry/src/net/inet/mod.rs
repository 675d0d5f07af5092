//! TCP and UDP over IPv4 and IPv6 (tcp(7), udp(7), ip(7), ipv6(7)), within this host.
//!
//! No packets: a connection is two sockets that put bytes into each other's receive queues, and what packets would have
//! carried (SYN, FIN, RST, ICMP errors) changes the other socket's state at once. An [`Interface`](super::interface::Interface)
//! on a real link would join at [`Interfaces::route`](super::interface::Interfaces::route).
//!
//! Locks: a port table (`NET_TABLE`), then one socket's state (`OBJECT`), then options (`LEAF`); never two states at once.

mod addr;
mod core;
mod options;
mod ports;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use ports::{set_unprivileged as set_unprivileged_ports, unprivileged as unprivileged_ports};
pub use tcp::TcpSocket;
pub use udp::UdpSocket;

use ports::PortTable;

/// Ports in use.
#[derive(Default)]
pub struct InetTables {
    tcp: PortTable<TcpSocket>,
    listeners: PortTable<TcpSocket>,
    udp: PortTable<UdpSocket>,
    udplite: PortTable<UdpSocket>,
}
