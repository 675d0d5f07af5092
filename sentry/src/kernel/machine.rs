//! What sysfs says of the machine ([`Machine`]): the sandbox.

use super::Kernel;
use crate::fs::sysfs::{Limits, Machine, MemoryEvents};
use std::sync::{Arc, Weak};

/// The kernel as sysfs sees it. It lives in its file systems, so they hold it weakly.
pub struct KernelMachine(Weak<Kernel>);

impl KernelMachine {
    /// For the sysfs of this sandbox.
    pub fn of(kernel: &Arc<Kernel>) -> Arc<dyn Machine> {
        Arc::new(KernelMachine(Arc::downgrade(kernel)))
    }
}

impl Machine for KernelMachine {
    fn cpus(&self) -> u32 {
        self.0.upgrade().map_or(1, |k| k.cpu_mask().count_ones())
    }
    fn memory(&self) -> (u64, u64) {
        self.0.upgrade().map_or((0, 0), |k| {
            let m = k.memory();
            (m.total, m.used)
        })
    }
    fn tasks(&self) -> usize {
        self.0.upgrade().map_or(0, |k| k.task_count())
    }
    fn limits(&self) -> Limits {
        let a = self
            .0
            .upgrade()
            .map_or_else(Default::default, |k| k.allowance());
        Limits {
            memory: a.memory,
            tasks: a.tasks,
            cpu_max: a.cpu_max(),
            cpu_weight: a.cpu_weight.unwrap_or(100),
        }
    }
    fn memory_events(&self) -> MemoryEvents {
        self.0
            .upgrade()
            .map_or_else(Default::default, |k| k.memory_events())
    }
    fn ids(&self, threads: bool) -> Vec<i32> {
        let Some(kernel) = self.0.upgrade() else {
            return Vec::new();
        };
        // Zombies are in no group.
        let live = kernel
            .processes()
            .into_iter()
            .map(|g| (g.pid(), g.threads()));
        let live = live.filter(|(_, t)| !t.is_empty());
        if !threads {
            return live.map(|(pid, _)| pid).collect();
        }
        let mut all: Vec<i32> = live
            .flat_map(|(_, t)| t.into_iter().map(|t| t.tid()))
            .collect();
        all.sort_unstable();
        all
    }
    fn cpu_time(&self) -> (u64, u64) {
        let Some(kernel) = self.0.upgrade() else {
            return (0, 0);
        };
        kernel.processes().iter().fold((0, 0), |(u, s), g| {
            let (user, system) = g.cpu_time();
            (u.saturating_add(user), s.saturating_add(system))
        })
    }
}
