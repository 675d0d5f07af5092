//! /sys/devices/system/node: one memory node.

use super::cpu::{list, mask};
use super::{Machine, Maker};
use std::fmt::Write;

pub(super) fn add(m: &mut Maker) {
    let n = m.machine.cpus().clamp(1, 64);
    let root = "devices/system/node";
    for file in [
        "online",
        "possible",
        "has_cpu",
        "has_memory",
        "has_normal_memory",
    ] {
        m.line(&format!("{root}/{file}"), 0);
    }
    m.line(&format!("{root}/node0/cpulist"), list(n));
    m.line(&format!("{root}/node0/cpumap"), mask(0, n));
    m.line(&format!("{root}/node0/distance"), 10);
    m.made(&format!("{root}/node0/meminfo"), meminfo);
    m.text(
        &format!("{root}/node0/numastat"),
        "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0\n",
    );
    m.tree.mkdir(&format!("{root}/node0/hugepages"));
}

fn meminfo(machine: &dyn Machine) -> String {
    let (total, used) = machine.memory();
    let mut out = String::new();
    for (name, bytes) in [
        ("MemTotal", total),
        ("MemFree", total.saturating_sub(used)),
        ("MemUsed", used),
        ("Active", used),
        ("Inactive", 0),
        ("AnonPages", used),
        ("FilePages", 0),
        ("Shmem", 0),
    ] {
        let _ = writeln!(
            out,
            "Node 0 {:<15} {:>7} kB",
            format!("{name}:"),
            bytes / 1024
        );
    }
    out
}
