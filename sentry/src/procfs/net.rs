//! /proc/PID/net: tables of the network namespace. Sockets add theirs through [`set_table`].

use super::Proc;
use crate::abi::Result;
use crate::fs::pseudo::{Attr, PseudoFile, StaticDir};
use crate::sync::{Mutex, Rank};
use crate::vfs::{Caller, InodeRef};

/// Makes one table's text.
pub type Table = fn() -> String;

static TABLES: Mutex<Vec<(&'static str, Table)>> = Mutex::new(Rank::LEAF, Vec::new());

/// Replaces the text of `/proc/net/NAME`.
pub fn set_table(name: &'static str, table: Table) {
    let mut t = TABLES.lock();
    t.retain(|(n, _)| *n != name);
    t.push((name, table));
}

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n";
const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n";

/// Tables without entries, until sockets give them theirs.
pub(super) fn register() {
    let empty: &[(&'static str, Table)] = &[
        ("dev", || {
            "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n".into()
        }),
        ("if_inet6", || {
            "00000000000000000000000000000001 01 80 10 80       lo\n".into()
        }),
        ("route", || {
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       \n".into()
        }),
        ("ipv6_route", || {
            "00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo\n".into()
        }),
        ("tcp", || TCP.into()),
        ("tcp6", || TCP6.into()),
        ("udp", || UDP.into()),
        ("udp6", || TCP6.into()),
        ("raw", || UDP.into()),
        ("raw6", || TCP6.into()),
        ("unix", || {
            "Num       RefCount Protocol Flags    Type St Inode Path\n".into()
        }),
        ("netlink", || {
            "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n".into()
        }),
        ("packet", || {
            "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n".into()
        }),
        ("arp", || {
            "IP address       HW type     Flags       HW address            Mask     Device\n"
                .into()
        }),
        ("protocols", || {
            "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re sp bi br ha uh gp em\n".into()
        }),
        ("sockstat", || {
            "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n".into()
        }),
        ("sockstat6", || {
            "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n".into()
        }),
    ];
    let mut t = TABLES.lock();
    for e in empty {
        if !t.iter().any(|(n, _)| *n == e.0) {
            t.push(*e);
        }
    }
}

/// The directory.
pub(super) fn make(proc: &Proc) -> InodeRef {
    let mut dir = StaticDir::new();
    let tables = TABLES.lock().clone();
    for (name, table) in tables {
        let content = move |_: &dyn Caller| -> Result<Vec<u8>> { Ok(table().into_bytes()) };
        dir.add(name, PseudoFile::new(Attr::new(proc.fs, 0o444), content));
    }
    dir.into_inode(Attr::new(proc.fs, 0o555))
}
