//! sysfs and the cgroup2 view: what programs read to learn about their machine (sysfs(5), cgroups(7)).
//!
//! Everything describes the sandbox: its processors, its memory limit, its loopback interface. There are no devices of the
//! host. `cpu` and `node` hold the processors and memory, `net` the interface, `cgroup` the control group that the
//! sandbox sees as its root.

mod cgroup;
mod cpu;
mod memory_events;
mod net;
mod node;

pub use memory_events::MemoryEvents;

use super::pseudo::{Attr, FsId, PseudoFile, PseudoLink, Tree};
use crate::abi::{Errno, Result};
use crate::vfs::{Caller, SuperBlock};
use std::sync::Arc;

/// What the machine is said to be; the kernel knows.
pub trait Machine: Send + Sync {
    /// Processors of the sandbox, at most 64; they are numbered from 0.
    fn cpus(&self) -> u32;
    /// Bytes of memory that the sandbox may use, and that it uses.
    fn memory(&self) -> (u64, u64);
    /// Live tasks.
    fn tasks(&self) -> usize;
    /// What the sandbox may have.
    fn limits(&self) -> Limits;
    /// What the host has done to it for want of memory.
    fn memory_events(&self) -> MemoryEvents;
    /// Ids of the processes that the caller sees, and of the tasks (`threads`).
    fn ids(&self, threads: bool) -> Vec<i32>;
    /// CPU time used by all processes, in nanoseconds (user, system).
    fn cpu_time(&self) -> (u64, u64);
}

/// Limits of the sandbox as its control group shows them; `None`: none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Tasks.
    pub tasks: Option<u64>,
    /// `cpu.max`, without the newline.
    pub cpu_max: String,
    /// `cpu.weight`.
    pub cpu_weight: u64,
}

/// Makes the files of a tree.
struct Maker {
    fs: FsId,
    machine: Arc<dyn Machine>,
    tree: Tree,
}

impl Maker {
    fn new(magic: u64, machine: &Arc<dyn Machine>) -> Maker {
        Maker {
            fs: FsId {
                dev: super::anonymous_device(),
                magic,
            },
            machine: machine.clone(),
            tree: Tree::default(),
        }
    }
    /// A file with this line.
    fn line(&mut self, path: &str, text: impl std::fmt::Display) {
        let file = PseudoFile::fixed(Attr::new(self.fs, 0o444), format!("{text}\n"));
        self.tree.put(path, file);
    }
    /// A file with exactly this text.
    fn text(&mut self, path: &str, text: &str) {
        let file = PseudoFile::fixed(Attr::new(self.fs, 0o444), text);
        self.tree.put(path, file);
    }
    /// A file whose text is made when it is read.
    fn made(&mut self, path: &str, make: impl Fn(&dyn Machine) -> String + Send + Sync + 'static) {
        let machine = self.machine.clone();
        let content = move |_: &dyn Caller| -> Result<Vec<u8>> { Ok(make(&*machine).into_bytes()) };
        self.tree
            .put(path, PseudoFile::new(Attr::new(self.fs, 0o444), content));
    }
    /// A file that can be opened but gives this error when read.
    fn error(&mut self, path: &str, error: Errno) {
        let content = move |_: &dyn Caller| -> Result<Vec<u8>> { Err(error) };
        self.tree
            .put(path, PseudoFile::new(Attr::new(self.fs, 0o444), content));
    }
    fn link(&mut self, path: &str, target: &'static str) {
        let link = PseudoLink::fixed(Attr::new(self.fs, 0o777), target);
        self.tree.put(path, link);
    }
    fn superblock(self, fs_type: &str) -> Arc<SuperBlock> {
        SuperBlock::new(self.tree.build(self.fs), fs_type, "rw")
    }
}

/// A sysfs, to be mounted at /sys.
pub fn superblock(machine: &Arc<dyn Machine>) -> Arc<SuperBlock> {
    const SYSFS_MAGIC: u64 = 0x6265_6572;
    let mut m = Maker::new(SYSFS_MAGIC, machine);
    for dir in [
        "block",
        "bus",
        "class/block",
        "class/mem",
        "class/tty",
        "dev/block",
        "dev/char",
        "devices/virtual",
        "firmware",
        "fs/bpf",
        "fs/cgroup",
        "fs/fuse/connections",
        "kernel/debug",
        "kernel/mm/hugepages",
        "kernel/security",
        "kernel/tracing",
        "module",
        "power",
    ] {
        m.tree.mkdir(dir);
    }
    cpu::add(&mut m);
    node::add(&mut m);
    net::add(&mut m);
    // Guest memory is never backed by huge pages: see docs/platform.md.
    let thp = "kernel/mm/transparent_hugepage";
    m.line(&format!("{thp}/enabled"), "always madvise [never]");
    m.line(
        &format!("{thp}/defrag"),
        "always defer defer+madvise madvise [never]",
    );
    m.line(
        &format!("{thp}/shmem_enabled"),
        "always within_size advise [never] deny force",
    );
    m.line(&format!("{thp}/hpage_pmd_size"), 2 << 20);
    m.line(&format!("{thp}/use_zero_page"), 1);
    m.line("kernel/address_bits", 64);
    m.line("kernel/cpu_byteorder", "little");
    m.line("kernel/fscaps", 1);
    m.line("kernel/profiling", 0);
    m.line("kernel/uevent_seqnum", 0);
    m.superblock("sysfs")
}

/// A cgroup2 file system, to be mounted at /sys/fs/cgroup.
pub fn cgroup_superblock(machine: &Arc<dyn Machine>) -> Arc<SuperBlock> {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    let mut m = Maker::new(CGROUP2_SUPER_MAGIC, machine);
    cgroup::add(&mut m);
    m.superblock("cgroup2")
}

#[cfg(test)]
mod tests;
