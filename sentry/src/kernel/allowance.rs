//! What the sandbox as a whole may have, as the guest is told in procfs, sysinfo(2) and its control group's files.
//!
//! Only the task limit is kept here; memory and CPU time are the host's control group's to enforce.

use serde::{Deserialize, Serialize};

/// Limits; `None`: none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Tasks.
    pub tasks: Option<u64>,
    /// CPU time in microseconds per period.
    pub cpu_quota: Option<u64>,
    /// Length of that period in microseconds.
    pub cpu_period: Option<u64>,
    /// Weight against others, 1 to 10000.
    pub cpu_weight: Option<u64>,
}

impl Allowance {
    /// `cpu.max` as cgroups(7) has it, without the newline.
    pub fn cpu_max(&self) -> String {
        let quota = self.cpu_quota.map_or("max".into(), |q| q.to_string());
        format!("{quota} {}", self.cpu_period.unwrap_or(100_000))
    }
}

/// Ids inside, ids outside, how many (user_namespaces(7)): users and groups. Shown only: outside is the gofer's business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// `uid_map`.
    pub users: Vec<[u32; 3]>,
    /// `gid_map`.
    pub groups: Vec<[u32; 3]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_max_is_quota_and_period() {
        assert_eq!(Allowance::default().cpu_max(), "max 100000");
        let half = Allowance {
            cpu_quota: Some(25_000),
            cpu_period: Some(50_000),
            ..Allowance::default()
        };
        assert_eq!(half.cpu_max(), "25000 50000");
    }
}
