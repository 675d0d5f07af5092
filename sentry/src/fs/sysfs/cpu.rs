//! /sys/devices/system/cpu: one package with one core per processor.

use super::Maker;
use std::arch::x86_64::__cpuid_count;

/// One cache of a core, as CPUID describes it; the guest can ask for the same.
struct Cache {
    level: u32,
    kind: &'static str,
    line: u32,
    partitions: u32,
    ways: u32,
    sets: u32,
}

/// Caches of the processor: CPUID leaf 4 (Intel) or 8000001D (AMD), which have the same form.
fn caches() -> Vec<Cache> {
    const INTEL: u32 = 4;
    const AMD: u32 = 0x8000_001d;
    for leaf in [INTEL, AMD] {
        let highest = __cpuid_count(leaf & 0x8000_0000, 0).eax;
        if highest < leaf {
            continue;
        }
        let found: Vec<Cache> = (0..8).map_while(|i| cache(leaf, i)).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn cache(leaf: u32, index: u32) -> Option<Cache> {
    let r = __cpuid_count(leaf, index);
    let kind = match r.eax & 0x1f {
        1 => "Data",
        2 => "Instruction",
        3 => "Unified",
        _ => return None,
    };
    Some(Cache {
        level: r.eax >> 5 & 7,
        kind,
        line: (r.ebx & 0xfff) + 1,
        partitions: (r.ebx >> 12 & 0x3ff) + 1,
        ways: (r.ebx >> 22) + 1,
        sets: r.ecx.saturating_add(1),
    })
}

/// `0-3`, or `0` for a single one.
pub(super) fn list(n: u32) -> String {
    match n {
        0 | 1 => "0".into(),
        n => format!("0-{}", n - 1),
    }
}

/// Processors `from..to` as a bit mask: groups of 32 bits, the highest first.
pub(super) fn mask(from: u32, to: u32) -> String {
    let bits = (from..to.min(64)).fold(0u64, |m, i| m | 1 << i);
    match bits >> 32 {
        0 => format!("{bits:x}"),
        high => format!("{high:x},{:08x}", bits as u32),
    }
}

pub(super) fn add(m: &mut Maker) {
    let n = m.machine.cpus().clamp(1, 64);
    let root = "devices/system/cpu";
    for file in ["online", "possible", "present"] {
        m.line(&format!("{root}/{file}"), list(n));
    }
    for file in ["offline", "isolated", "nohz_full"] {
        m.line(&format!("{root}/{file}"), "");
    }
    m.line(&format!("{root}/kernel_max"), 63);
    m.line(&format!("{root}/smt/active"), 0);
    m.line(&format!("{root}/smt/control"), "notsupported");
    let caches = caches();
    for cpu in 0..n {
        one(m, cpu, n, &caches);
    }
}

fn one(m: &mut Maker, cpu: u32, n: u32, caches: &[Cache]) {
    let dir = format!("devices/system/cpu/cpu{cpu}");
    let own = (cpu.to_string(), mask(cpu, cpu + 1));
    let all = (list(n), mask(0, n));
    // The boot processor cannot be taken offline and has no such file.
    if cpu > 0 {
        m.line(&format!("{dir}/online"), 1);
    }
    m.link(&format!("{dir}/node0"), "../../node/node0");
    let topology = format!("{dir}/topology");
    for (file, value) in [
        ("physical_package_id", 0),
        ("die_id", 0),
        ("cluster_id", 0),
        ("core_id", cpu),
    ] {
        m.line(&format!("{topology}/{file}"), value);
    }
    for (file, (as_list, as_mask)) in [
        ("thread_siblings", &own),
        ("core_cpus", &own),
        ("cluster_cpus", &own),
        ("core_siblings", &all),
        ("die_cpus", &all),
        ("package_cpus", &all),
    ] {
        m.line(&format!("{topology}/{file}_list"), as_list);
        m.line(&format!("{topology}/{file}"), as_mask);
    }
    for (index, c) in caches.iter().enumerate() {
        let dir = format!("{dir}/cache/index{index}");
        // The last level is the package's, the others are the core's.
        let shared = c.level >= 3;
        let (as_list, as_mask) = if shared { &all } else { &own };
        let bytes = [c.line, c.partitions, c.ways, c.sets]
            .iter()
            .fold(1u64, |size, f| size.saturating_mul(u64::from(*f)));
        for (file, value) in [
            ("coherency_line_size", c.line),
            ("id", if shared { 0 } else { cpu }),
            ("level", c.level),
            ("number_of_sets", c.sets),
            ("physical_line_partition", c.partitions),
            ("ways_of_associativity", c.ways),
        ] {
            m.line(&format!("{dir}/{file}"), value);
        }
        m.line(&format!("{dir}/size"), format!("{}K", bytes / 1024));
        m.line(&format!("{dir}/type"), c.kind);
        m.line(&format!("{dir}/shared_cpu_list"), as_list);
        m.line(&format!("{dir}/shared_cpu_map"), as_mask);
    }
}
