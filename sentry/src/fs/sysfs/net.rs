//! /sys/class/net: the loopback interface.

use super::Maker;
use crate::abi::Errno;

pub(super) fn add(m: &mut Maker) {
    m.link("class/net/lo", "../../devices/virtual/net/lo");
    let dir = "devices/virtual/net/lo";
    for (file, value) in [
        ("addr_assign_type", "0"),
        ("addr_len", "6"),
        ("address", "00:00:00:00:00:00"),
        ("broadcast", "00:00:00:00:00:00"),
        ("carrier", "1"),
        ("carrier_changes", "0"),
        ("dev_id", "0x0"),
        ("dev_port", "0"),
        ("dormant", "0"),
        ("flags", "0x9"),
        ("ifalias", ""),
        ("ifindex", "1"),
        ("iflink", "1"),
        ("link_mode", "0"),
        ("mtu", "65536"),
        ("netdev_group", "0"),
        ("operstate", "unknown"),
        ("proto_down", "0"),
        ("tx_queue_len", "1000"),
        ("type", "772"),
    ] {
        m.line(&format!("{dir}/{file}"), value);
    }
    m.text(&format!("{dir}/uevent"), "INTERFACE=lo\nIFINDEX=1\n");
    // A loopback interface has no link speed: ethtool has nothing to say.
    for file in ["duplex", "speed", "phys_port_id", "name_assign_type"] {
        m.error(&format!("{dir}/{file}"), Errno::EINVAL);
    }
    m.link(&format!("{dir}/subsystem"), "../../../../class/net");
    for file in [
        "collisions",
        "multicast",
        "rx_bytes",
        "rx_compressed",
        "rx_dropped",
        "rx_errors",
        "rx_packets",
        "tx_bytes",
        "tx_compressed",
        "tx_dropped",
        "tx_errors",
        "tx_packets",
    ] {
        m.line(&format!("{dir}/statistics/{file}"), 0);
    }
}
