//! Texts as programs parse them.

use super::*;
use crate::usermem::KernelSink;
use crate::vfs::{File, InodeRef, KernelCaller, OpenFlags};

struct Fake;
impl Machine for Fake {
    fn cpus(&self) -> u32 {
        4
    }
    fn memory(&self) -> (u64, u64) {
        (1 << 30, 1 << 20)
    }
    fn tasks(&self) -> usize {
        3
    }
    fn limits(&self) -> Limits {
        Limits {
            memory: Some(1 << 29),
            tasks: None,
            cpu_max: "50000 100000".into(),
            cpu_weight: 39,
        }
    }
    fn memory_events(&self) -> MemoryEvents {
        MemoryEvents {
            max: 9,
            oom: 2,
            oom_kill: 1,
        }
    }
    fn ids(&self, threads: bool) -> Vec<i32> {
        if threads { vec![1, 2, 7] } else { vec![1, 7] }
    }
    fn cpu_time(&self) -> (u64, u64) {
        (5_000_000, 2_000_000)
    }
}

fn find(sb: &SuperBlock, path: &str) -> Result<InodeRef> {
    let mut at = sb.root().inode().clone();
    for name in path.split('/') {
        at = at.lookup(name.as_bytes())?;
    }
    Ok(at)
}

fn read(sb: &SuperBlock, path: &str) -> Result<String> {
    let inode = find(sb, path)?;
    let ops = inode.clone().open(&KernelCaller, OpenFlags::empty())?;
    let file = File::new(ops, inode, None, OpenFlags::empty());
    let mut sink = KernelSink::new(1 << 16);
    file.ops().read(&file, &KernelCaller, &mut sink, &mut 0)?;
    Ok(String::from_utf8(sink.data).unwrap())
}

#[test]
fn processors() {
    let m: Arc<dyn Machine> = Arc::new(Fake);
    let sb = superblock(&m);
    let cpu = |f: &str| read(&sb, &format!("devices/system/cpu/{f}")).unwrap();
    assert_eq!(cpu("online"), "0-3\n");
    assert_eq!(cpu("offline"), "\n");
    assert_eq!(cpu("cpu2/topology/core_id"), "2\n");
    assert_eq!(cpu("cpu2/topology/thread_siblings"), "4\n");
    assert_eq!(cpu("cpu2/topology/core_siblings_list"), "0-3\n");
    assert!(find(&sb, "devices/system/cpu/cpu4").is_err());
    assert!(find(&sb, "devices/system/cpu/cpu0/online").is_err());
    assert_eq!(cpu::mask(32, 34), "3,00000000");
    assert_eq!(cpu::mask(0, 64), "ffffffff,ffffffff");
    assert_eq!(cpu::list(1), "0");
}

#[test]
fn memory_interface_and_kernel() {
    let m: Arc<dyn Machine> = Arc::new(Fake);
    let sb = superblock(&m);
    let mem = read(&sb, "devices/system/node/node0/meminfo").unwrap();
    assert_eq!(
        mem.lines().next().unwrap(),
        "Node 0 MemTotal:       1048576 kB"
    );
    assert_eq!(read(&sb, "devices/virtual/net/lo/mtu").unwrap(), "65536\n");
    assert_eq!(
        read(&sb, "devices/virtual/net/lo/speed"),
        Err(Errno::EINVAL)
    );
    let lo = find(&sb, "class/net/lo").unwrap();
    assert_eq!(
        lo.readlink(&KernelCaller).unwrap(),
        b"../../devices/virtual/net/lo"
    );
    let thp = read(&sb, "kernel/mm/transparent_hugepage/enabled").unwrap();
    assert!(thp.contains("[never]"));
    assert!(find(&sb, "fs/cgroup").is_ok());
    assert!(find(&sb, "block").is_ok());
}

#[test]
fn control_group() {
    let m: Arc<dyn Machine> = Arc::new(Fake);
    let sb = cgroup_superblock(&m);
    assert_eq!(sb.fs_type(), "cgroup2");
    assert_eq!(read(&sb, "memory.max").unwrap(), "536870912\n");
    let events = "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n";
    assert_eq!(read(&sb, "memory.events").unwrap(), events);
    assert_eq!(read(&sb, "pids.max").unwrap(), "max\n");
    assert_eq!(read(&sb, "cpu.max").unwrap(), "50000 100000\n");
    assert_eq!(read(&sb, "cpu.weight").unwrap(), "39\n");
    assert_eq!(read(&sb, "memory.current").unwrap(), "1048576\n");
    assert_eq!(read(&sb, "pids.current").unwrap(), "3\n");
    assert_eq!(read(&sb, "cgroup.procs").unwrap(), "1\n7\n");
    assert_eq!(read(&sb, "cpuset.cpus.effective").unwrap(), "0-3\n");
    assert!(
        read(&sb, "cpu.stat")
            .unwrap()
            .starts_with("usage_usec 7000\nuser_usec 5000\n")
    );
}
