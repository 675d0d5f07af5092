//! What a control group allows its container, as the container is to see it.

use super::resources::{OWN_TASKS, weight};
use super::{Cgroup, Version};
use cofferdam_sentry::kernel::Allowance;
use std::fs;

/// No limit, as version 1 says it: the largest number of bytes in whole pages.
const NO_LIMIT: u64 = i64::MAX as u64 / 4096 * 4096;

impl Cgroup {
    /// Reads what is set now.
    pub fn allowance(&self) -> Allowance {
        let read = |controller: &str, file: &str| {
            let text = fs::read_to_string(self.dir(controller)?.join(file)).ok()?;
            Some(text.trim().to_owned())
        };
        let number = |controller: &str, file: &str| read(controller, file)?.parse::<u64>().ok();
        let tasks = number("pids", "pids.max").map(|n| n.saturating_sub(OWN_TASKS as u64));
        match self.version {
            Version::V1 => Allowance {
                memory: number("memory", "memory.limit_in_bytes").filter(|n| *n < NO_LIMIT),
                tasks,
                // -1: none.
                cpu_quota: number("cpu", "cpu.cfs_quota_us"),
                cpu_period: number("cpu", "cpu.cfs_period_us"),
                cpu_weight: number("cpu", "cpu.shares").map(weight),
            },
            Version::V2 => {
                let max = read("cpu", "cpu.max").unwrap_or_default();
                let (quota, period) = max.split_once(' ').unwrap_or((&max, ""));
                Allowance {
                    memory: number("memory", "memory.max"),
                    tasks,
                    cpu_quota: quota.parse().ok(),
                    cpu_period: period.parse().ok(),
                    cpu_weight: number("cpu", "cpu.weight"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A group whose files are these.
    fn group(name: &str, version: Version, files: &[(&str, &str)]) -> (std::path::PathBuf, Cgroup) {
        let dir = std::env::temp_dir().join(format!("allowance-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (file, text) in files {
            fs::write(dir.join(file), text).unwrap();
        }
        let dirs = match version {
            Version::V1 => ["memory", "pids", "cpu"]
                .map(|c| (c.to_owned(), dir.clone()))
                .into(),
            Version::V2 => BTreeMap::from([(String::new(), dir.clone())]),
        };
        let scope = None;
        (
            dir,
            Cgroup {
                version,
                dirs,
                scope,
            },
        )
    }

    #[test]
    fn both_versions_are_read() {
        let (dir, one) = group(
            "v1",
            Version::V1,
            &[
                ("memory.limit_in_bytes", "1048576\n"),
                ("pids.max", "138\n"),
                ("cpu.cfs_quota_us", "50000\n"),
                ("cpu.cfs_period_us", "100000\n"),
                ("cpu.shares", "1024\n"),
            ],
        );
        let limited = Allowance {
            memory: Some(1 << 20),
            tasks: Some(10),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            cpu_weight: Some(39),
        };
        assert_eq!(one.allowance(), limited);
        fs::write(dir.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        fs::write(dir.join("cpu.cfs_quota_us"), "-1\n").unwrap();
        let now = one.allowance();
        assert_eq!((now.memory, now.cpu_quota), (None, None));
        fs::remove_dir_all(&dir).unwrap();

        let (dir, two) = group(
            "v2",
            Version::V2,
            &[
                ("memory.max", "1048576\n"),
                ("pids.max", "138\n"),
                ("cpu.max", "50000 100000\n"),
                ("cpu.weight", "39\n"),
            ],
        );
        assert_eq!(two.allowance(), limited);
        for file in ["memory.max", "pids.max"] {
            fs::write(dir.join(file), "max\n").unwrap();
        }
        fs::write(dir.join("cpu.max"), "max 100000\n").unwrap();
        let now = two.allowance();
        assert_eq!((now.memory, now.tasks, now.cpu_quota), (None, None, None));
        fs::remove_dir_all(&dir).unwrap();
    }
}
