//! /sys/devices/system/cpu: one package with one core per processor.

use super::Maker;
use std::sync::LazyLock;

/// Caches of the first processor: index, then (file, value).
type Caches = Vec<(u32, Vec<(&'static str, String)>)>;

const CACHE_FILES: &[&str] = &[
    "coherency_line_size",
    "level",
    "number_of_sets",
    "physical_line_partition",
    "size",
    "type",
    "ways_of_associativity",
];

static CACHES: LazyLock<Caches> = LazyLock::new(|| {
    let read = |i: u32, file: &'static str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{i}/{file}");
        let text = std::fs::read_to_string(path).ok()?;
        Some((file, text.trim_end().to_owned()))
    };
    (0..8)
        .map(|i| (i, CACHE_FILES.iter().filter_map(|f| read(i, f)).collect()))
        .take_while(|(_, files): &(u32, Vec<_>)| !files.is_empty())
        .collect()
});

pub(super) fn prepare() {
    LazyLock::force(&CACHES);
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
    for cpu in 0..n {
        one(m, cpu, n);
    }
}

fn one(m: &mut Maker, cpu: u32, n: u32) {
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
    for (index, files) in CACHES.iter() {
        let cache = format!("{dir}/cache/index{index}");
        let level = files.iter().find(|(f, _)| *f == "level");
        // The last level is the package's, the others are the core's.
        let shared = level.is_some_and(|(_, l)| l == "3");
        let (as_list, as_mask) = if shared { &all } else { &own };
        for (file, value) in files {
            m.line(&format!("{cache}/{file}"), value);
        }
        m.line(&format!("{cache}/id"), if shared { 0 } else { cpu });
        m.line(&format!("{cache}/shared_cpu_list"), as_list);
        m.line(&format!("{cache}/shared_cpu_map"), as_mask);
    }
}
