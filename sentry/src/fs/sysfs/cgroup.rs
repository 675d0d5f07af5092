//! The sandbox's control group as it sees it: the root of its cgroup namespace, read-only (cgroups(7)).

use super::{Machine, Maker, cpu};

/// Files that say "no limit of its own".
const FIXED: &[(&str, &str)] = &[
    ("cgroup.controllers", "cpuset cpu io memory pids\n"),
    ("cgroup.events", "populated 1\nfrozen 0\n"),
    ("cgroup.freeze", "0\n"),
    ("cgroup.max.depth", "max\n"),
    ("cgroup.max.descendants", "max\n"),
    ("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n"),
    ("cgroup.subtree_control", "\n"),
    ("cgroup.type", "domain\n"),
    ("cpu.idle", "0\n"),
    ("cpu.max.burst", "0\n"),
    ("cpu.weight.nice", "0\n"),
    ("cpuset.cpus", "\n"),
    ("cpuset.cpus.partition", "member\n"),
    ("cpuset.mems", "\n"),
    ("cpuset.mems.effective", "0\n"),
    ("io.stat", ""),
    ("io.weight", "default 100\n"),
    ("memory.high", "max\n"),
    ("memory.low", "0\n"),
    ("memory.min", "0\n"),
    ("memory.oom.group", "0\n"),
    ("memory.swap.current", "0\n"),
    ("memory.swap.events", "high 0\nmax 0\nfail 0\n"),
    ("memory.swap.high", "max\n"),
    ("memory.swap.max", "0\n"),
    ("pids.events", "max 0\n"),
];

type Text = fn(&dyn Machine) -> String;

const MADE: &[(&str, Text)] = &[
    ("cgroup.procs", |m| ids(m, false)),
    ("cgroup.threads", |m| ids(m, true)),
    ("cpu.max", |m| format!("{}\n", m.limits().cpu_max)),
    ("cpu.stat", cpu_stat),
    ("cpu.weight", |m| format!("{}\n", m.limits().cpu_weight)),
    ("cpuset.cpus.effective", |m| {
        format!("{}\n", cpu::list(m.cpus()))
    }),
    ("memory.current", |m| format!("{}\n", m.memory().1)),
    ("memory.events", memory_events),
    ("memory.max", |m| limit(m.limits().memory)),
    ("memory.peak", |m| format!("{}\n", m.memory().1)),
    ("memory.stat", memory_stat),
    ("pids.current", |m| format!("{}\n", m.tasks())),
    ("pids.max", |m| limit(m.limits().tasks)),
];

pub(super) fn add(m: &mut Maker) {
    for (name, text) in FIXED {
        m.text(name, text);
    }
    for (name, make) in MADE {
        m.made(name, *make);
    }
}

fn ids(m: &dyn Machine, threads: bool) -> String {
    m.ids(threads).iter().map(|i| format!("{i}\n")).collect()
}

fn limit(value: Option<u64>) -> String {
    value.map_or("max\n".into(), |n| format!("{n}\n"))
}

fn cpu_stat(m: &dyn Machine) -> String {
    let (user, system) = m.cpu_time();
    format!(
        "usage_usec {}\nuser_usec {}\nsystem_usec {}\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
        user.saturating_add(system) / 1000,
        user / 1000,
        system / 1000
    )
}

fn memory_events(m: &dyn Machine) -> String {
    let e = m.memory_events();
    format!(
        "low 0\nhigh 0\nmax {}\noom {}\noom_kill {}\noom_group_kill 0\n",
        e.max, e.oom, e.oom_kill
    )
}

fn memory_stat(m: &dyn Machine) -> String {
    let (_, used) = m.memory();
    format!(
        "anon {used}\nfile 0\nkernel 0\nkernel_stack 0\npagetables 0\nsock 0\nshmem 0\nfile_mapped 0\nfile_dirty 0\nfile_writeback 0\nanon_thp 0\ninactive_anon 0\nactive_anon {used}\ninactive_file 0\nactive_file 0\nunevictable 0\nslab 0\npgfault 0\npgmajfault 0\n"
    )
}
