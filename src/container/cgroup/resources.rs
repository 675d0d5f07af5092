//! Limits of a configuration as contents of control files.

use super::Version;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

/// One control file's contents.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Whose file it is.
    pub controller: &'static str,
    /// Its name.
    pub file: String,
    /// What it is to hold.
    pub value: String,
    /// The container must not run without it.
    pub required: bool,
}

/// Processes and threads of our own in a container's control group, beside the guest's: monitor, gofer, sentry, spare stubs.
/// The guest's own limit is kept inside exactly; this one is for what could go wrong there.
pub const OWN_TASKS: i64 = 128;

fn must(controller: &'static str, file: impl Into<String>, value: impl ToString) -> Setting {
    Setting {
        controller,
        file: file.into(),
        value: value.to_string(),
        required: true,
    }
}

/// In the order in which they must be written.
pub fn settings(version: Version, r: &LinuxResources) -> Vec<Setting> {
    let mut out = Vec::new();
    if let Some(m) = r.memory() {
        match version {
            Version::V1 => memory_v1(m, &mut out),
            Version::V2 => memory_v2(m, &mut out),
        }
    }
    if let Some(c) = r.cpu() {
        cpu(version, c, &mut out);
    }
    if let Some(p) = r.pids() {
        let value = match p.limit() {
            n if n > 0 => n.saturating_add(OWN_TASKS).to_string(),
            _ => "max".into(),
        };
        out.push(must("pids", "pids.max", value));
    }
    if let Some(b) = r.block_io() {
        block_io(version, b, &mut out);
    }
    for page in r.hugepage_limits().iter().flatten() {
        let (size, limit) = (page.page_size(), page.limit());
        // Guests have no huge pages, so that a host without the controller keeps the limit too.
        out.push(Setting {
            required: false,
            ..match version {
                Version::V1 => must("hugetlb", format!("hugetlb.{size}.limit_in_bytes"), limit),
                Version::V2 => must("hugetlb", format!("hugetlb.{size}.max"), limit),
            }
        });
    }
    if version == Version::V2 {
        for (file, value) in r.unified().iter().flatten() {
            if !file.contains('/') {
                out.push(must("", file.clone(), value));
            }
        }
    }
    out
}

/// -1 is no limit.
fn bytes(limit: i64, version: Version) -> String {
    match version {
        Version::V2 if limit < 0 => "max".into(),
        _ => limit.to_string(),
    }
}

fn memory_v1(m: &LinuxMemory, out: &mut Vec<Setting>) {
    if let Some(limit) = m.limit().filter(|l| *l != 0) {
        out.push(must("memory", "memory.limit_in_bytes", limit));
    }
    if let Some(swap) = m.swap().filter(|s| *s != 0) {
        // The host may be built or booted without swap accounting.
        out.push(Setting {
            required: false,
            ..must("memory", "memory.memsw.limit_in_bytes", swap)
        });
    }
    if let Some(soft) = m.reservation().filter(|r| *r != 0) {
        out.push(must("memory", "memory.soft_limit_in_bytes", soft));
    }
    if let Some(swappiness) = m.swappiness().filter(|s| *s <= 100) {
        out.push(Setting {
            required: false,
            ..must("memory", "memory.swappiness", swappiness)
        });
    }
    if m.disable_oom_killer() == Some(true) {
        out.push(must("memory", "memory.oom_control", 1));
    }
}

/// The swap space that version 2 is to allow; -1 is no limit. The specification counts memory in.
pub fn swap_alone(m: &LinuxMemory) -> Option<i64> {
    let swap = m.swap().filter(|s| *s != 0)?;
    Some(match m.limit() {
        _ if swap < 0 => -1,
        Some(limit) if limit > 0 => swap.saturating_sub(limit).max(0),
        _ => swap,
    })
}

fn memory_v2(m: &LinuxMemory, out: &mut Vec<Setting>) {
    let v2 = Version::V2;
    if let Some(swap) = swap_alone(m) {
        out.push(Setting {
            required: false,
            ..must("memory", "memory.swap.max", bytes(swap, v2))
        });
    }
    if let Some(limit) = m.limit().filter(|l| *l != 0) {
        out.push(must("memory", "memory.max", bytes(limit, v2)));
    }
    if let Some(low) = m.reservation().filter(|r| *r != 0) {
        out.push(must("memory", "memory.low", bytes(low, v2)));
    }
}

fn cpu(version: Version, c: &LinuxCpu, out: &mut Vec<Setting>) {
    let period = c.period().filter(|p| *p != 0);
    let quota = c.quota().filter(|q| *q != 0);
    match version {
        Version::V1 => {
            if let Some(shares) = c.shares().filter(|s| *s != 0) {
                out.push(must("cpu", "cpu.shares", shares));
            }
            if let Some(period) = period {
                out.push(must("cpu", "cpu.cfs_period_us", period));
            }
            if let Some(quota) = quota {
                out.push(must("cpu", "cpu.cfs_quota_us", quota));
            }
        }
        Version::V2 => {
            if let Some(shares) = c.shares().filter(|s| *s != 0) {
                out.push(must("cpu", "cpu.weight", weight(shares)));
            }
            if quota.is_some() || period.is_some() {
                let quota = quota
                    .filter(|q| *q > 0)
                    .map_or("max".into(), |q| q.to_string());
                let value = format!("{quota} {}", period.unwrap_or(100_000));
                out.push(must("cpu", "cpu.max", value));
            }
        }
    }
    for (file, value) in [("cpuset.cpus", c.cpus()), ("cpuset.mems", c.mems())] {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            out.push(must("cpuset", file, value));
        }
    }
}

/// Version 2 has one file for quota and period: a change of one keeps the other, as `cpu.max` holds it `now`.
pub fn keep_bandwidth(limits: &mut LinuxResources, now: &str) {
    let Some(mut cpu) = limits.cpu().clone() else {
        return;
    };
    let (quota, period) = now.trim().split_once(' ').unwrap_or((now, ""));
    match (cpu.quota().is_some(), cpu.period().is_some()) {
        (true, false) => cpu.set_period(period.parse().ok()),
        (false, true) => cpu.set_quota(quota.parse().ok()),
        _ => return,
    };
    limits.set_cpu(Some(cpu));
}

/// Version 2's weight for version 1's shares: 2..262144 onto 1..10000.
pub fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn block_io(version: Version, b: &LinuxBlockIo, out: &mut Vec<Setting>) {
    if let Some(weight) = b.weight().filter(|w| *w != 0) {
        // Weights need the host's disk scheduler to have them.
        out.push(Setting {
            required: false,
            ..match version {
                Version::V1 => must("blkio", "blkio.weight", weight),
                Version::V2 => {
                    let weight = 1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990;
                    must("io", "io.weight", weight)
                }
            }
        });
    }
    let throttles = [
        (b.throttle_read_bps_device(), "read_bps", "rbps"),
        (b.throttle_write_bps_device(), "write_bps", "wbps"),
        (b.throttle_read_iops_device(), "read_iops", "riops"),
        (b.throttle_write_iops_device(), "write_iops", "wiops"),
    ];
    for (devices, v1, v2) in throttles {
        for d in devices.iter().flatten() {
            let device = format!("{}:{}", d.major(), d.minor());
            out.push(match version {
                Version::V1 => must(
                    "blkio",
                    format!("blkio.throttle.{v1}_device"),
                    format!("{device} {}", d.rate()),
                ),
                Version::V2 => must("io", "io.max", format!("{device} {v2}={}", d.rate())),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(version: Version, json: &str) -> Vec<String> {
        let r: LinuxResources = serde_json::from_str(json).unwrap();
        let all = settings(version, &r).into_iter();
        all.map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    const ALL: &str = r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":4096},
        "cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0-1"},"pids":{"limit":100},
        "blockIO":{"weight":10,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}]}}"#;

    #[test]
    fn version_1() {
        assert_eq!(
            lines(Version::V1, ALL),
            [
                "memory.limit_in_bytes=1048576",
                "memory.memsw.limit_in_bytes=2097152",
                "memory.soft_limit_in_bytes=4096",
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "cpuset.cpus=0-1",
                "pids.max=228",
                "blkio.weight=10",
                "blkio.throttle.read_bps_device=8:0 7",
            ]
        );
    }

    #[test]
    fn half_a_bandwidth_keeps_the_other() {
        let after = |json: &str, now| {
            let mut r: LinuxResources = serde_json::from_str(json).unwrap();
            keep_bandwidth(&mut r, now);
            settings(Version::V2, &r).pop().map(|s| s.value)
        };
        let quota = r#"{"cpu":{"quota":10000}}"#;
        assert_eq!(after(quota, "max 50000\n").unwrap(), "10000 50000");
        let period = r#"{"cpu":{"period":20000}}"#;
        assert_eq!(after(period, "5000 100000\n").unwrap(), "5000 20000");
        assert_eq!(after(period, "max 100000\n").unwrap(), "max 20000");
        assert_eq!(after(quota, "").unwrap(), "10000 100000");
        assert_eq!(after(r#"{"cpu":{"shares":0}}"#, "5000 100000\n"), None);
    }

    #[test]
    fn version_2() {
        assert_eq!(
            lines(Version::V2, ALL),
            [
                "memory.swap.max=1048576",
                "memory.max=1048576",
                "memory.low=4096",
                "cpu.weight=39",
                "cpu.max=50000 100000",
                "cpuset.cpus=0-1",
                "pids.max=228",
                "io.weight=1",
                "io.max=8:0 rbps=7",
            ]
        );
        assert_eq!(
            lines(
                Version::V2,
                r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1}}"#
            ),
            ["memory.swap.max=max", "memory.max=max", "pids.max=max"]
        );
    }
}
