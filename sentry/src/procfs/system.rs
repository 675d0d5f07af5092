//! Machine-wide files: cpuinfo, meminfo, stat, uptime …, of the sandbox.

use super::Proc;
use crate::abi::Result;
use crate::fs::pseudo::{Attr, PseudoFile, StaticDir};
use crate::kernel::Kernel;
use crate::time::Offsets;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

type Text = fn(&Arc<Kernel>) -> String;
/// Of what depends on when the machine started, for who asks.
type Clocked = fn(&Arc<Kernel>, Offsets) -> String;

const FILES: &[(&str, Text)] = &[
    ("cmdline", |_| "BOOT_IMAGE=cofferdam\n".into()),
    ("cgroups", |_| {
        "#subsys_name\thierarchy\tnum_cgroups\tenabled\n".into()
    }),
    ("cpuinfo", |k| cpuinfo(k)),
    ("devices", |_| DEVICES.into()),
    ("diskstats", |_| String::new()),
    ("filesystems", filesystems),
    ("interrupts", |k| interrupts(k)),
    ("loadavg", loadavg),
    ("meminfo", meminfo),
    ("misc", |_| String::new()),
    ("modules", |_| String::new()),
    ("softirqs", softirqs),
    ("partitions", |_| "major minor  #blocks  name\n\n".into()),
    ("swaps", |_| {
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".into()
    }),
    ("version", |_| {
        format!(
            "Linux version {} (cofferdam) #1 SMP\n",
            crate::kernel::RELEASE
        )
    }),
    ("vmstat", vmstat),
];

const CLOCKED: &[(&str, Clocked)] = &[("stat", stat), ("uptime", uptime)];

const DEVICES: &str = "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n";

/// Types of file systems that can be mounted, or are there for the kernel's own use; none is on a device.
const TTY_DRIVERS: &str = "/dev/tty             /dev/tty        5       0 system:/dev/tty\n/dev/console         /dev/console    5       1 system:console\n/dev/ptmx            /dev/ptmx       5       2 system\npty_slave            /dev/pts      136 0-1048575 pty:slave\npty_master           /dev/ptm      128 0-1048575 pty:master\n";

const FILESYSTEMS: &[&str] = &[
    "sysfs", "tmpfs", "proc", "cgroup2", "devtmpfs", "sockfs", "pipefs", "devpts", "overlay",
    "mqueue",
];

/// Their names, in the order of sysfs(2).
pub fn filesystem_names() -> impl Iterator<Item = &'static str> {
    FILESYSTEMS.iter().copied()
}

fn filesystems(_: &Arc<Kernel>) -> String {
    filesystem_names()
        .map(|n| format!("nodev\t{n}\n"))
        .collect()
}

pub(super) fn add(proc: &Proc, dir: &mut StaticDir) {
    for (name, text) in FILES {
        let p = proc.clone();
        let content = move |_: &dyn crate::vfs::Caller| -> Result<Vec<u8>> {
            Ok(text(&p.kernel()?).into_bytes())
        };
        dir.add(name, PseudoFile::new(Attr::new(proc.fs, 0o444), content));
    }
    for (name, text) in CLOCKED {
        let p = proc.clone();
        let content = move |cx: &dyn crate::vfs::Caller| -> Result<Vec<u8>> {
            Ok(text(&p.kernel()?, super::offsets(cx)).into_bytes())
        };
        dir.add(name, PseudoFile::new(Attr::new(proc.fs, 0o444), content));
    }
    // What ps(1) finds the names of terminals by.
    let drivers = PseudoFile::fixed(Attr::new(proc.fs, 0o444), TTY_DRIVERS);
    let tty = StaticDir::new().with("drivers", drivers);
    dir.add("tty", tty.into_inode(Attr::new(proc.fs, 0o555)));
}

fn cpus(k: &Kernel) -> u32 {
    k.cpu_mask().count_ones()
}

/// The part of the host's /proc/cpuinfo that describes one processor, read once before lock-down: the guest runs on the
/// real processor and can ask it (CPUID) for the same.
static HOST_CPU: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default();
    first
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()))
        .collect()
});

/// Reads what must be read from the host; called at boot.
pub fn prepare() {
    LazyLock::force(&HOST_CPU);
}

fn cpuinfo(k: &Arc<Kernel>) -> String {
    let n = cpus(k);
    let mut out = String::new();
    for cpu in 0..n {
        for (key, value) in HOST_CPU.iter() {
            let value = match key.as_str() {
                "processor" | "core id" | "apicid" | "initial apicid" => cpu.to_string(),
                "physical id" => "0".into(),
                "siblings" | "cpu cores" => n.to_string(),
                _ => value.clone(),
            };
            let tabs = if key.len() < 8 { "\t\t" } else { "\t" };
            let space = if value.is_empty() { "" } else { " " };
            let _ = writeln!(out, "{key}{tabs}:{space}{value}");
        }
        out.push('\n');
    }
    out
}

fn uptime(k: &Arc<Kernel>, offsets: Offsets) -> String {
    let own = i64::try_from(k.boot.elapsed() / 10_000_000).unwrap_or(i64::MAX);
    // Below 0 where clocks are set back by more than the sandbox is old.
    let cs = own.saturating_add(offsets.boottime / 10_000_000);
    let idle = own.unsigned_abs().saturating_mul(cpus(k).into());
    format!(
        "{}.{:02} {}.{:02}\n",
        cs.div_euclid(100),
        cs.rem_euclid(100),
        idle / 100,
        idle % 100
    )
}

fn loadavg(k: &Arc<Kernel>) -> String {
    let (running, tasks, last) = (k.runnable().max(1), k.task_count(), k.last_pid());
    let mut out = String::new();
    for load in k.loads() {
        // Rounded to the nearest hundredth.
        let hundredths = (load * 100 + 1024) >> 11;
        let _ = write!(out, "{}.{:02} ", hundredths / 100, hundredths % 100);
    }
    let _ = writeln!(out, "{running}/{tasks} {last}");
    out
}

fn meminfo(k: &Arc<Kernel>) -> String {
    let m = k.memory();
    let mut out = String::new();
    let mut line = |name: &str, bytes: u64| {
        let _ = writeln!(out, "{:<16}{:>8} kB", format!("{name}:"), bytes / 1024);
    };
    line("MemTotal", m.total);
    line("MemFree", m.free());
    line("MemAvailable", m.free());
    for zero in ["Buffers", "Cached", "SwapCached"] {
        line(zero, 0);
    }
    line("Active", m.used);
    line("Inactive", 0);
    line("Active(anon)", m.used);
    for zero in [
        "Inactive(anon)",
        "Active(file)",
        "Inactive(file)",
        "Unevictable",
        "Mlocked",
        "SwapTotal",
        "SwapFree",
        "Dirty",
        "Writeback",
    ] {
        line(zero, 0);
    }
    line("AnonPages", m.used);
    for zero in [
        "Mapped",
        "Shmem",
        "KReclaimable",
        "Slab",
        "SReclaimable",
        "SUnreclaim",
        "KernelStack",
        "PageTables",
    ] {
        line(zero, 0);
    }
    line("CommitLimit", m.total);
    line("Committed_AS", m.used);
    line("VmallocTotal", 34_359_738_367 * 1024);
    line("VmallocUsed", 0);
    line("VmallocChunk", 0);
    out.push_str("HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    out
}

fn stat(k: &Arc<Kernel>, offsets: Offsets) -> String {
    let ticks = |ns: u64| ns / 10_000_000;
    let (mut user, mut system) = (0u64, 0u64);
    for g in k.processes() {
        let (u, s) = g.cpu_time();
        user = user.saturating_add(u);
        system = system.saturating_add(s);
    }
    let n = u64::from(cpus(k));
    let all = ticks(k.boot.elapsed()).saturating_mul(n);
    let (user, system) = (ticks(user), ticks(system));
    let idle = all.saturating_sub(user + system);
    let mut out = format!("cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    for cpu in 0..n {
        let _ = writeln!(
            out,
            "cpu{cpu} {} 0 {} {} 0 0 0 0 0 0",
            user / n,
            system / n,
            idle / n
        );
    }
    let now = crate::time::realtime_ns() / 1_000_000_000;
    let _ = write!(
        out,
        "intr 0\nctxt 0\nbtime {}\nprocesses {}\nprocs_running 1\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        now.saturating_sub(offsets.since_boot(k.boot.elapsed()) / 1_000_000_000),
        k.last_pid(),
    );
    out
}

fn vmstat(k: &Arc<Kernel>) -> String {
    let m = k.memory();
    format!(
        "nr_free_pages {}\nnr_anon_pages {}\nnr_mapped 0\nnr_dirty 0\nnr_writeback 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\noom_kill 0\n",
        m.free() / 4096,
        m.used / 4096
    )
}

fn softirqs(k: &Arc<Kernel>) -> String {
    let n = cpus(k) as usize;
    let mut out = interrupts(k).replacen("    ", "                ", 1);
    for name in [
        "HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER",
        "RCU",
    ] {
        let _ = writeln!(out, "{name:>12}:{}", format!("{:>11}", 0).repeat(n));
    }
    out
}

fn interrupts(k: &Kernel) -> String {
    let mut out = String::from("    ");
    for cpu in 0..cpus(k) {
        let _ = write!(out, "       CPU{cpu}");
    }
    out.push('\n');
    out
}
