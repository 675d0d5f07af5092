//! Statistics: /proc/net/snmp, netstat, sockstat.

use crate::net::NetNamespace;
use crate::net::inet::listing;
use std::fmt::Write;

/// Names of a protocol's counters, and the values that are not 0.
fn lines(out: &mut String, what: &str, names: &str, values: &[(&str, u64)]) {
    let _ = writeln!(out, "{what}: {names}");
    let _ = write!(out, "{what}:");
    for name in names.split_whitespace() {
        let value = values.iter().find(|v| v.0 == name).map_or(0, |v| v.1);
        // No limit.
        if name == "MaxConn" {
            out.push_str(" -1");
        } else {
            let _ = write!(out, " {value}");
        }
    }
    out.push('\n');
}

const IP: &str = "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits";
const ICMP: &str = "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps";
const TCP: &str = "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors";
const UDP: &str = "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors";

pub(super) fn snmp(ns: &NetNamespace) -> String {
    let c = ns.inet.counters.get();
    let established = listing::tcp(ns)
        .iter()
        .filter(|e| matches!(e.state, 1 | 8))
        .count() as u64;
    let mut out = String::new();
    lines(&mut out, "Ip", IP, &[("Forwarding", 2), ("DefaultTTL", 64)]);
    lines(&mut out, "Icmp", ICMP, &[]);
    lines(
        &mut out,
        "Tcp",
        TCP,
        &[
            ("RtoAlgorithm", 1),
            ("RtoMin", 200),
            ("RtoMax", 120_000),
            ("ActiveOpens", c.active_opens),
            ("PassiveOpens", c.passive_opens),
            ("AttemptFails", c.attempt_fails),
            ("EstabResets", c.resets),
            ("CurrEstab", established),
        ],
    );
    lines(
        &mut out,
        "Udp",
        UDP,
        &[
            ("InDatagrams", c.udp_in),
            ("NoPorts", c.udp_no_ports),
            ("OutDatagrams", c.udp_out),
        ],
    );
    lines(&mut out, "UdpLite", UDP, &[]);
    out
}

pub(super) fn snmp6(ns: &NetNamespace) -> String {
    let _ = ns;
    let mut out = String::new();
    for name in [
        "Ip6InReceives",
        "Ip6InDelivers",
        "Ip6OutRequests",
        "Icmp6InMsgs",
        "Icmp6OutMsgs",
        "Udp6InDatagrams",
        "Udp6NoPorts",
        "Udp6InErrors",
        "Udp6OutDatagrams",
    ] {
        let _ = writeln!(out, "{name:<32}\t0");
    }
    out
}

pub(super) fn netstat(_: &NetNamespace) -> String {
    let mut out = String::new();
    lines(
        &mut out,
        "TcpExt",
        "SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned OutOfWindowIcmps LockDroppedIcmps ArpFilter TW TWRecycled TWKilled PAWSActive PAWSEstab DelayedACKs DelayedACKLocked DelayedACKLost ListenOverflows ListenDrops TCPHPHits TCPPureAcks TCPHPAcks TCPRenoRecovery TCPSackRecovery TCPSACKReneging TCPLostRetransmit TCPTimeouts TCPAbortOnData TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortFailed TCPMemoryPressures TCPBacklogDrop TCPDeferAcceptDrop TCPTimeWaitOverflow TCPReqQFullDrop TCPRetransFail TCPSynRetrans TCPOrigDataSent TCPDelivered",
        &[],
    );
    lines(
        &mut out,
        "IpExt",
        "InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets InMcastOctets OutMcastOctets InBcastOctets OutBcastOctets InCsumErrors InNoECTPkts InECT1Pkts InECT0Pkts InCEPkts ReasmOverlaps",
        &[],
    );
    out
}

pub(super) fn protocols(ns: &NetNamespace) -> String {
    let tcp = listing::tcp(ns);
    let udp = listing::udp(ns, false);
    let raw = listing::raw(ns, false);
    let mut out = String::from(
        "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n",
    );
    let six = libc::AF_INET6;
    let four = libc::AF_INET;
    for (name, n) in [
        ("PACKET", ns.packets.list().len()),
        ("RAWv6", listing::count(&raw, six)),
        ("UDPv6", listing::count(&udp, six)),
        ("TCPv6", listing::count(&tcp, six)),
        ("UNIX", ns.unix.list().len()),
        ("RAW", listing::count(&raw, four)),
        ("UDP", listing::count(&udp, four)),
        ("TCP", listing::count(&tcp, four)),
        ("NETLINK", ns.netlink.list().len()),
    ] {
        let _ = writeln!(
            out,
            "{name:<9} 1024 {n:>6}      -1   NI       0   no   kernel      n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n  n"
        );
    }
    out
}

pub(super) fn sockstat(ns: &NetNamespace) -> String {
    let tcp = listing::tcp(ns);
    let waiting = tcp.iter().filter(|e| e.left.is_some()).count();
    let four = libc::AF_INET;
    format!(
        "sockets: used {}\nTCP: inuse {} orphan 0 tw {waiting} alloc {} mem 0\nUDP: inuse {} mem 0\nUDPLITE: inuse {}\nRAW: inuse {}\nFRAG: inuse 0 memory 0\n",
        ns.sockets(),
        listing::count(&tcp, four),
        tcp.len() - waiting,
        listing::count(&listing::udp(ns, false), four),
        listing::count(&listing::udp(ns, true), four),
        listing::count(&listing::raw(ns, false), four),
    )
}

pub(super) fn sockstat6(ns: &NetNamespace) -> String {
    let six = libc::AF_INET6;
    format!(
        "TCP6: inuse {}\nUDP6: inuse {}\nUDPLITE6: inuse {}\nRAW6: inuse {}\nFRAG6: inuse 0 memory 0\n",
        listing::count(&listing::tcp(ns), six),
        listing::count(&listing::udp(ns, false), six),
        listing::count(&listing::udp(ns, true), six),
        listing::count(&listing::raw(ns, false), six),
    )
}
