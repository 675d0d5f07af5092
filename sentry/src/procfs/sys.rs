//! /proc/sys: sysctls. Those that the sandbox models can be read; few can be written.

use super::Proc;
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::fs::pseudo::{Attr, Content, PseudoFile, Tree};
use crate::fs::{inotify, pipe};
use crate::kernel::dnotify;
use crate::kernel::ipc::{msg, shm};
use crate::kernel::keys;
use crate::kernel::namespaces::{self, Ipc, UtsNamespace};
use crate::kernel::{NR_OPEN, PID_MAX, task_of};
use crate::mm::{self, random_u64};
use crate::net::{self, inet};
use crate::sync::{Knob, Quota};
use crate::vfs::permission::READ;
use crate::vfs::{Caller, InodeRef, lease, mount_ns};
use std::sync::Arc;

/// Path below /proc/sys and value.
const FIXED: &[(&str, &str)] = &[
    ("fs/aio-max-nr", "65536"),
    ("fs/file-max", "9223372036854775807"),
    ("fs/file-nr", "0\t0\t9223372036854775807"),
    ("fs/inotify/max_queued_events", "16384"),
    ("fs/inotify/max_user_watches", "65536"),
    ("fs/mqueue/msg_default", "10"),
    ("fs/mqueue/msg_max", "10"),
    ("fs/mqueue/msgsize_default", "8192"),
    ("fs/mqueue/msgsize_max", "8192"),
    ("fs/mqueue/queues_max", "256"),
    ("fs/overflowgid", "65534"),
    ("fs/overflowuid", "65534"),
    ("fs/pipe-user-pages-soft", "16384"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_symlinks", "1"),
    ("fs/suid_dumpable", "0"),
    ("kernel/cap_last_cap", "40"),
    ("kernel/core_pattern", "core"),
    ("kernel/core_uses_pid", "0"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/msgmax", "8192"),
    ("kernel/msgmnb", "16384"),
    ("kernel/ngroups_max", "65536"),
    ("kernel/osrelease", crate::kernel::RELEASE),
    ("kernel/ostype", "Linux"),
    ("kernel/overflowgid", "65534"),
    ("kernel/overflowuid", "65534"),
    ("kernel/perf_event_paranoid", "4"),
    ("kernel/pid_max", "32768"),
    ("kernel/printk", "4\t4\t1\t7"),
    ("kernel/random/entropy_avail", "256"),
    ("kernel/random/poolsize", "256"),
    ("kernel/randomize_va_space", "2"),
    ("kernel/sched_child_runs_first", "0"),
    ("kernel/sched_rt_period_us", "1000000"),
    ("kernel/sched_rt_runtime_us", "950000"),
    (
        "kernel/seccomp/actions_avail",
        "kill_process kill_thread trap errno log allow",
    ),
    ("kernel/sem", "32000\t1024000000\t500\t32000"),
    ("kernel/shmall", "18446744073692774399"),
    ("kernel/tainted", "0"),
    ("kernel/threads-max", "32768"),
    ("kernel/version", "#1 SMP"),
    ("kernel/yama/ptrace_scope", "0"),
    ("net/core/rmem_default", "212992"),
    ("net/core/rmem_max", "212992"),
    ("net/core/somaxconn", "4096"),
    ("net/core/netdev_max_backlog", "1000"),
    ("net/core/optmem_max", "131072"),
    ("net/core/default_qdisc", "pfifo_fast"),
    ("net/core/wmem_default", "212992"),
    ("net/core/wmem_max", "212992"),
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/ip_local_port_range", "32768\t60999"),
    ("net/ipv4/ip_default_ttl", "64"),
    ("net/ipv4/ip_nonlocal_bind", "0"),
    ("net/ipv4/ip_local_reserved_ports", ""),
    ("net/ipv4/icmp_echo_ignore_all", "0"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    ("net/ipv4/igmp_max_memberships", "20"),
    ("net/ipv4/igmp_max_msf", "10"),
    ("net/ipv4/tcp_allowed_congestion_control", "reno cubic"),
    ("net/ipv4/tcp_available_congestion_control", "reno cubic"),
    ("net/ipv4/tcp_congestion_control", "cubic"),
    ("net/ipv4/tcp_fastopen", "1"),
    ("net/ipv4/tcp_max_tw_buckets", "8192"),
    ("net/ipv4/tcp_mem", "190785\t254383\t381570"),
    ("net/ipv4/tcp_syn_retries", "6"),
    ("net/ipv4/tcp_synack_retries", "5"),
    ("net/ipv4/tcp_retries1", "3"),
    ("net/ipv4/tcp_retries2", "15"),
    ("net/ipv4/tcp_tw_reuse", "2"),
    ("net/ipv4/tcp_moderate_rcvbuf", "1"),
    ("net/ipv4/udp_rmem_min", "4096"),
    ("net/ipv4/udp_wmem_min", "4096"),
    ("net/ipv4/tcp_fin_timeout", "60"),
    ("net/ipv4/tcp_keepalive_intvl", "75"),
    ("net/ipv4/tcp_keepalive_probes", "9"),
    ("net/ipv4/tcp_keepalive_time", "7200"),
    ("net/ipv4/tcp_max_syn_backlog", "1024"),
    ("net/ipv4/tcp_rmem", "4096\t131072\t6291456"),
    ("net/ipv4/tcp_sack", "1"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/tcp_timestamps", "1"),
    ("net/ipv4/tcp_window_scaling", "1"),
    ("net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/lo/disable_ipv6", "0"),
    ("net/unix/max_dgram_qlen", "512"),
    ("vm/mmap_min_addr", "65536"),
    ("vm/overcommit_memory", "0"),
    ("vm/overcommit_ratio", "50"),
    ("vm/swappiness", "60"),
];

/// What may be set within bounds, mostly lower.
const KNOBS: &[(&str, &Knob)] = &[
    ("fs/dir-notify-enable", &dnotify::ENABLED),
    ("fs/inotify/max_user_instances", &inotify::MAX_INSTANCES),
    ("fs/lease-break-time", &lease::BREAK_TIME),
    ("fs/leases-enable", &lease::ENABLED),
    ("fs/mount-max", &mount_ns::MOUNT_MAX),
    ("fs/nr_open", &NR_OPEN),
    ("fs/pipe-max-size", &pipe::MAX_SIZE),
    ("kernel/keys/gc_delay", &keys::GC_DELAY),
    ("kernel/keys/maxbytes", &keys::USER_BYTES),
    ("kernel/keys/maxkeys", &keys::USER_KEYS),
    ("kernel/keys/root_maxbytes", &keys::ROOT_BYTES),
    ("kernel/keys/root_maxkeys", &keys::ROOT_KEYS),
    ("kernel/msgmni", &msg::MAX_QUEUES),
    ("kernel/shmmax", &shm::MAX_SIZE),
    ("kernel/shmmni", &shm::MAX_SEGMENTS),
    ("vm/max_map_count", &mm::MAX_MAP_COUNT),
];

/// Most namespaces of each kind (namespaces(7)), for the whole sandbox.
const NAMESPACES: &[(&str, &Quota)] = &[
    ("user/max_cgroup_namespaces", &namespaces::CGROUP_QUOTA),
    ("user/max_ipc_namespaces", &namespaces::IPC_QUOTA),
    ("user/max_mnt_namespaces", &mount_ns::NAMESPACES),
    ("user/max_net_namespaces", &net::NAMESPACE_QUOTA),
    ("user/max_pid_namespaces", &namespaces::PID_QUOTA),
    ("user/max_time_namespaces", &namespaces::TIME_QUOTA),
    ("user/max_uts_namespaces", &namespaces::UTS_QUOTA),
];

/// `user/max_user_namespaces`, of the caller's user namespace.
struct UserNamespaces;

impl Content for UserNamespaces {
    fn read(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        Ok(format!("{}\n", cx.credentials().user_ns.most()).into_bytes())
    }
    fn write(&self, cx: &dyn Caller, data: &[u8]) -> Result<usize> {
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let most = text.trim().parse().map_err(|_| Errno::EINVAL)?;
        cx.credentials().user_ns.set_most(most)?;
        Ok(data.len())
    }
    fn permission(&self, cx: &dyn Caller, mask: u32) -> Option<Result<()>> {
        let allowed = mask == READ || cx.credentials().has_own(Caps::SYS_RESOURCE);
        Some(if allowed { Ok(()) } else { Err(Errno::EACCES) })
    }
}

/// `net/ipv4/ping_group_range` of the caller's network namespace.
struct PingGroupRange;

fn network(cx: &dyn Caller) -> Result<Arc<net::NetNamespace>> {
    let task = task_of(cx).ok_or(Errno::ENOENT)?;
    Ok(task.namespaces().net.clone())
}

impl Content for PingGroupRange {
    fn read(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        let (low, high) = network(cx)?.inet.ping_groups.get();
        let ns = &cx.credentials().user_ns;
        // Nobody's range has no ids to translate.
        let shown = |g| if low > high { g } else { ns.show_group(g) };
        Ok(format!("{}\t{}\n", shown(low), shown(high)).into_bytes())
    }
    fn write(&self, cx: &dyn Caller, data: &[u8]) -> Result<usize> {
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let ids: std::result::Result<Vec<u32>, _> =
            text.split_whitespace().map(str::parse).collect();
        let ns = network(cx)?;
        // A number that is not given stays.
        let (low, high) = match ids.map_err(|_| Errno::EINVAL)?.as_slice() {
            [] => return Ok(data.len()),
            [low] => (*low, ns.inet.ping_groups.get().1),
            [low, high, ..] => (*low, *high),
        };
        if low > high {
            ns.inet.ping_groups.set((1, 0));
            return Ok(data.len());
        }
        let user_ns = &cx.credentials().user_ns;
        let range = (user_ns.group_arg(low)?, user_ns.group_arg(high)?);
        if range.0 > range.1 {
            return Err(Errno::EINVAL);
        }
        ns.inet.ping_groups.set(range);
        Ok(data.len())
    }
    fn permission(&self, cx: &dyn Caller, mask: u32) -> Option<Result<()>> {
        let root = network(cx).is_ok_and(|ns| ns.allows(cx.credentials(), Caps::NET_ADMIN));
        Some(if mask == READ || root {
            Ok(())
        } else {
            Err(Errno::EACCES)
        })
    }
}

/// One of them.
struct Limit(&'static Knob);

impl Content for Limit {
    fn read(&self, _: &dyn Caller) -> Result<Vec<u8>> {
        Ok(format!("{}\n", self.0.get()).into_bytes())
    }
    fn write(&self, _: &dyn Caller, data: &[u8]) -> Result<usize> {
        let number = std::str::from_utf8(data)
            .ok()
            .and_then(|t| t.trim().parse().ok());
        self.0.set(number.ok_or(Errno::EINVAL)?)?;
        Ok(data.len())
    }
}

/// What may be written but changes nothing: there are no caches of ours to drop, and no huge pages to be had (Linux, too,
/// takes the number and gives as many as it can).
const WRITES_WITHOUT_EFFECT: &[&str] = &["vm/drop_caches", "vm/nr_hugepages"];

/// A number that stays 0.
struct NoEffect;

impl Content for NoEffect {
    fn read(&self, _: &dyn Caller) -> Result<Vec<u8>> {
        Ok(b"0\n".to_vec())
    }
    fn write(&self, _: &dyn Caller, data: &[u8]) -> Result<usize> {
        let number = data.trim_ascii();
        if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
            return Err(Errno::EINVAL);
        }
        Ok(data.len())
    }
}

/// The value of a sysctl (a path below /proc/sys) that nothing changes.
pub fn fixed(path: &str) -> Option<String> {
    let found = FIXED.iter().find(|(p, _)| *p == path);
    found.map(|(_, value)| (*value).to_owned()).or_else(|| {
        let knob = KNOBS.iter().find(|(p, _)| *p == path);
        knob.map(|(_, k)| k.get().to_string())
    })
}

pub(super) fn make(proc: &Proc) -> InodeRef {
    let mut b = Tree::default();
    for (path, value) in FIXED {
        b.put(
            path,
            PseudoFile::fixed(Attr::new(proc.fs, 0o444), format!("{value}\n")),
        );
    }
    b.put(
        "user/max_user_namespaces",
        PseudoFile::new(Attr::new(proc.fs, 0o644), UserNamespaces),
    );
    for (path, quota) in NAMESPACES {
        let text = format!("{}\n", quota.max());
        b.put(path, PseudoFile::fixed(Attr::new(proc.fs, 0o444), text));
    }
    for (path, knob) in KNOBS {
        b.put(
            path,
            PseudoFile::new(Attr::new(proc.fs, 0o644), Limit(knob)),
        );
    }
    for path in WRITES_WITHOUT_EFFECT {
        b.put(path, PseudoFile::new(Attr::new(proc.fs, 0o644), NoEffect));
    }
    for (path, kind) in NEXT_IDS {
        let p = proc.clone();
        let file = NextId {
            proc: p,
            kind: *kind,
        };
        b.put(path, PseudoFile::new(Attr::new(proc.fs, 0o644), file));
    }
    b.put(
        "kernel/ns_last_pid",
        PseudoFile::new(Attr::new(proc.fs, 0o666), LastPid(proc.clone())),
    );
    let aio = |_: &dyn Caller| -> Result<Vec<u8>> {
        Ok(format!("{}\n", crate::kernel::aio::requests()).into_bytes())
    };
    b.put("fs/aio-nr", PseudoFile::new(Attr::new(proc.fs, 0o444), aio));
    let start = |_: &dyn Caller| -> Result<Vec<u8>> {
        Ok(format!("{}\n", inet::unprivileged_ports()).into_bytes())
    };
    b.put(
        "net/ipv4/ip_unprivileged_port_start",
        PseudoFile::new(Attr::new(proc.fs, 0o444), start),
    );
    b.put(
        "net/ipv4/ping_group_range",
        PseudoFile::new(Attr::new(proc.fs, 0o644), PingGroupRange),
    );
    let p = proc.clone();
    b.put(
        "kernel/hostname",
        PseudoFile::new(
            Attr::new(proc.fs, 0o644),
            Uts {
                proc: p,
                domain: false,
            },
        ),
    );
    let p = proc.clone();
    b.put(
        "kernel/domainname",
        PseudoFile::new(
            Attr::new(proc.fs, 0o644),
            Uts {
                proc: p,
                domain: true,
            },
        ),
    );
    let boot_id = format!("{}\n", uuid());
    b.put(
        "kernel/random/boot_id",
        PseudoFile::fixed(Attr::new(proc.fs, 0o444), boot_id),
    );
    let fresh = |_: &dyn Caller| -> Result<Vec<u8>> { Ok(format!("{}\n", uuid()).into_bytes()) };
    b.put(
        "kernel/random/uuid",
        PseudoFile::new(Attr::new(proc.fs, 0o444), fresh),
    );
    b.build(proc.fs)
}

#[derive(Clone, Copy)]
enum IpcKind {
    Msg,
    Sem,
    Shm,
}

const NEXT_IDS: &[(&str, IpcKind)] = &[
    ("kernel/msg_next_id", IpcKind::Msg),
    ("kernel/sem_next_id", IpcKind::Sem),
    ("kernel/shm_next_id", IpcKind::Shm),
];

/// The number that a task of the caller's PID namespace got last. The next one is the next that is free.
struct LastPid(Proc);

impl Content for LastPid {
    fn read(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        let kernel = self.0.kernel()?;
        let last = match task_of(cx) {
            Some(task) => kernel.last_pid_in(task.group().pid_ns()),
            None => kernel.last_pid(),
        };
        Ok(format!("{last}\n").into_bytes())
    }
    fn write(&self, cx: &dyn Caller, data: &[u8]) -> Result<usize> {
        let task = task_of(cx).ok_or(Errno::EPERM)?;
        let ns = task.group().pid_ns();
        if !cx.credentials().has_in(ns.common.owner(), Caps::SYS_ADMIN)
            && !cx
                .credentials()
                .has_in(ns.common.owner(), Caps::CHECKPOINT_RESTORE)
        {
            return Err(Errno::EPERM);
        }
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let pid = text.trim().parse().ok();
        let pid = pid
            .filter(|pid| (0..PID_MAX).contains(pid))
            .ok_or(Errno::EINVAL)?;
        self.0.kernel()?.set_last_pid(ns, pid);
        Ok(data.len())
    }
}

/// The id that the next object of a kind is to have, in the caller's IPC namespace; -1 for whichever.
struct NextId {
    proc: Proc,
    kind: IpcKind,
}

impl NextId {
    fn ipc(&self, cx: &dyn Caller) -> Result<Arc<Ipc>> {
        Ok(match task_of(cx) {
            Some(task) => task.namespaces().ipc.clone(),
            None => self.proc.kernel()?.namespaces.ipc.clone(),
        })
    }
}

impl Content for NextId {
    fn read(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        let ipc = self.ipc(cx)?;
        let next = match self.kind {
            IpcKind::Msg => ipc.objects.msg.next_id(),
            IpcKind::Sem => ipc.objects.sem.next_id(),
            IpcKind::Shm => ipc.objects.shm.next_id(),
        };
        Ok(format!("{}\n", next.unwrap_or(-1)).into_bytes())
    }
    fn write(&self, cx: &dyn Caller, data: &[u8]) -> Result<usize> {
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let id = text.trim().parse().ok().filter(|id: &i32| *id >= 0);
        let id = id.ok_or(Errno::EINVAL)?;
        let ipc = self.ipc(cx)?;
        match self.kind {
            IpcKind::Msg => ipc.objects.msg.set_next_id(id),
            IpcKind::Sem => ipc.objects.sem.set_next_id(id),
            IpcKind::Shm => ipc.objects.shm.set_next_id(id),
        }
        Ok(data.len())
    }
}

/// A random UUID, version 4.
fn uuid() -> String {
    let v: u128 = u128::from(random_u64()) << 64 | u128::from(random_u64());
    let v = v & !(0xf << 76) | (4 << 76);
    let v = v & !(0x3 << 62) | (2 << 62);
    let h = format!("{v:032x}");
    let part = |a: usize, b: usize| h.get(a..b).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// hostname and domainname.
struct Uts {
    proc: Proc,
    domain: bool,
}

impl Uts {
    fn namespace(&self, cx: &dyn Caller) -> Result<Arc<UtsNamespace>> {
        Ok(match task_of(cx) {
            Some(task) => task.namespaces().uts.clone(),
            None => self.proc.kernel()?.namespaces.uts.clone(),
        })
    }
    /// With the name that the caller sees.
    fn with<R>(&self, cx: &dyn Caller, f: impl FnOnce(&mut Vec<u8>) -> R) -> Result<R> {
        let uts = self.namespace(cx)?;
        let mut names = uts.names().lock();
        Ok(f(if self.domain {
            &mut names.domainname
        } else {
            &mut names.hostname
        }))
    }
}

impl Content for Uts {
    fn read(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        self.with(cx, |n| [n.as_slice(), b"\n"].concat())
    }
    fn write(&self, cx: &dyn Caller, data: &[u8]) -> Result<usize> {
        let uts = self.namespace(cx)?;
        if !cx.credentials().has_in(uts.common.owner(), Caps::SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        let line = data
            .split(|b| *b == b'\n' || *b == 0)
            .next()
            .unwrap_or_default();
        if line.len() > 64 {
            return Err(Errno::EINVAL);
        }
        self.with(cx, |n| *n = line.to_vec())?;
        Ok(data.len())
    }
}
