//! What a container uses, as `events --stats` prints it.

use super::{Cgroup, Version};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time in nanoseconds: all, user, system.
    pub cpu: (u64, u64, u64),
    /// Bytes now, at most ever, allowed.
    pub memory: (u64, u64, u64),
    /// Times that the limit was hit.
    pub memory_failures: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Tasks now and allowed; 0 for no limit.
    pub pids: (u64, u64),
}

fn number(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    match text.trim() {
        "max" => u64::MAX,
        n => n.parse().unwrap_or(0),
    }
}

/// The value of a line `key value`.
fn keyed(path: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| {
        let (k, v) = line.split_once(' ')?;
        (k == key).then(|| v.trim().parse().ok())?
    });
    value.unwrap_or(0)
}

impl Cgroup {
    /// Reads.
    pub fn stats(&self) -> Stats {
        let file = |controller: &str, name: &str| {
            self.dir(controller)
                .map_or(Default::default(), |d| d.join(name))
        };
        match self.version {
            Version::V1 => {
                // USER_HZ is 100 on every Linux.
                let ticks = |key| keyed(&file("cpuacct", "cpuacct.stat"), key) * 10_000_000;
                Stats {
                    cpu: (
                        number(&file("cpuacct", "cpuacct.usage")),
                        ticks("user"),
                        ticks("system"),
                    ),
                    memory: (
                        number(&file("memory", "memory.usage_in_bytes")),
                        number(&file("memory", "memory.max_usage_in_bytes")),
                        number(&file("memory", "memory.limit_in_bytes")),
                    ),
                    memory_failures: number(&file("memory", "memory.failcnt")),
                    oom_kills: keyed(&file("memory", "memory.oom_control"), "oom_kill"),
                    pids: (
                        number(&file("pids", "pids.current")),
                        limited(number(&file("pids", "pids.max"))),
                    ),
                }
            }
            Version::V2 => {
                let usec = |key| keyed(&file("", "cpu.stat"), key) * 1000;
                Stats {
                    cpu: (usec("usage_usec"), usec("user_usec"), usec("system_usec")),
                    memory: (
                        number(&file("", "memory.current")),
                        number(&file("", "memory.peak")),
                        number(&file("", "memory.max")),
                    ),
                    memory_failures: keyed(&file("", "memory.events"), "max"),
                    oom_kills: keyed(&file("", "memory.events"), "oom_kill"),
                    pids: (
                        number(&file("", "pids.current")),
                        limited(number(&file("", "pids.max"))),
                    ),
                }
            }
        }
    }
}

fn limited(n: u64) -> u64 {
    if n == u64::MAX { 0 } else { n }
}

impl Stats {
    /// In runc's form.
    pub fn to_json(self, id: &str) -> Value {
        json!({
            "type": "stats",
            "id": id,
            "data": {
                "cpu": {
                    "usage": { "total": self.cpu.0, "user": self.cpu.1, "kernel": self.cpu.2 },
                    "throttling": {},
                },
                "cpuset": {},
                "memory": {
                    "usage": {
                        "usage": self.memory.0, "max": self.memory.1, "limit": self.memory.2,
                        "failcnt": self.memory_failures,
                    },
                    "swap": { "failcnt": 0 }, "kernel": { "failcnt": 0 }, "kernelTCP": { "failcnt": 0 },
                },
                "pids": { "current": self.pids.0, "limit": self.pids.1 },
                "blkio": {}, "hugetlb": {}, "intel_rdt": {}, "network_interfaces": null,
            },
        })
    }
}
