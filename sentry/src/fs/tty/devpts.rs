//! devpts: the file system of pseudo-terminal slaves (pts(4)).

use super::ioctl::slave_device;
use super::jobs::Jobs;
use super::master::Master;
use super::pty::{Pty, coarse_now};
use super::slave::Slave;
use crate::abi::{Errno, Result};
use crate::fs::anonymous_device;
use crate::fs::devices::makedev;
use crate::fs::pseudo::{Attr, Child, Directory, FsId, PseudoDir};
use crate::sync::{Charge, Mutex, Quota, Rank};
use crate::time::TimerQueue;
use crate::vfs::{
    Caller, FileOps, FileType, Inode, InodeMeta, InodeRef, OpenFlags, SetAttr, SetTime, Stat,
    StatFs, SuperBlock, Timestamp,
};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Most pairs at a time, unless the `max` option says less.
const MAX_PTYS: u32 = 512;

/// Mount options.
#[derive(Clone, Copy, Debug)]
pub struct DevptsOptions {
    /// Owner of new slaves, if not the opener of the master.
    pub uid: Option<u32>,
    /// Group of new slaves, likewise.
    pub gid: Option<u32>,
    /// Permission bits of new slaves.
    pub mode: u32,
    /// Permission bits of the `ptmx` node.
    pub ptmxmode: u32,
    /// Most pairs.
    pub max: u32,
}

impl Default for DevptsOptions {
    /// As Debian mounts it: `gid=5,mode=620,ptmxmode=666`.
    fn default() -> DevptsOptions {
        DevptsOptions {
            uid: None,
            gid: Some(5),
            mode: 0o620,
            ptmxmode: 0o666,
            max: MAX_PTYS,
        }
    }
}

impl DevptsOptions {
    /// From mount(2) data, on top of the kernel's defaults.
    ///
    /// # Errors
    /// EINVAL for what is no option.
    pub fn parse(data: &[u8]) -> Result<DevptsOptions> {
        let mut o = DevptsOptions {
            uid: None,
            gid: None,
            mode: 0o600,
            ptmxmode: 0,
            max: MAX_PTYS,
        };
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        for option in text.split(',').filter(|o| !o.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let number = |radix| u32::from_str_radix(value, radix).map_err(|_| Errno::EINVAL);
            match name {
                "uid" => o.uid = Some(number(10)?),
                "gid" => o.gid = Some(number(10)?),
                "mode" => o.mode = number(8)? & 0o777,
                "ptmxmode" => o.ptmxmode = number(8)? & 0o777,
                "max" => o.max = number(10)?.min(MAX_PTYS),
                "newinstance" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(o)
    }

    /// As /proc/mounts shows them.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.uid.map(|u| format!("uid={u}")));
        parts.extend(self.gid.map(|g| format!("gid={g}")));
        parts.push(format!("mode={:03o}", self.mode));
        parts.push(format!("ptmxmode={:03o}", self.ptmxmode));
        if self.max < MAX_PTYS {
            parts.push(format!("max={}", self.max));
        }
        parts.join(",")
    }
}

/// One instance of the file system.
pub struct Devpts {
    pub(super) jobs: Arc<dyn Jobs>,
    pub(super) timers: Arc<TimerQueue>,
    fs: FsId,
    ptmx: Mutex<NodeAttr>,
    console: Mutex<Option<Weak<Pty>>>,
    options: DevptsOptions,
    table: Mutex<Table>,
    _charge: Option<Charge>,
}

/// Instances that guests mounted.
static INSTANCES: Quota = Quota::new(256);
/// Terminals of all instances.
static PAIRS: Quota = Quota::new(4 * MAX_PTYS as usize);

#[derive(Default)]
struct Table {
    /// Numbers in use, also of pairs that have lost their node.
    used: BTreeMap<u32, Charge>,
    nodes: BTreeMap<u32, Weak<Pty>>,
}

/// Inode numbers: the root is 1, ptmx 2, slave N is N + 3.
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;

impl Devpts {
    /// An empty instance.
    pub fn new(
        jobs: Arc<dyn Jobs>,
        timers: Arc<TimerQueue>,
        options: DevptsOptions,
    ) -> Arc<Devpts> {
        const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
        Arc::new(Devpts {
            _charge: None,
            jobs,
            timers,
            fs: FsId {
                dev: anonymous_device(),
                magic: DEVPTS_SUPER_MAGIC,
            },
            ptmx: Mutex::new(
                Rank::INODE,
                NodeAttr {
                    perm: options.ptmxmode,
                    uid: 0,
                    gid: 0,
                    times: [Timestamp::now(); 3],
                },
            ),
            options,
            console: Mutex::new(Rank::LEAF, None),
            table: Mutex::new(Rank::LEAF, Table::default()),
        })
    }
    /// One that a guest mounts.
    ///
    /// # Errors
    /// ENOSPC if there are too many.
    pub fn mounted(
        jobs: Arc<dyn Jobs>,
        timers: Arc<TimerQueue>,
        options: DevptsOptions,
    ) -> Result<Arc<Devpts>> {
        let charge = INSTANCES.charge(1).ok_or(Errno::ENOSPC)?;
        let mut new = Devpts::new(jobs, timers, options);
        if let Some(devpts) = Arc::get_mut(&mut new) {
            devpts._charge = Some(charge);
        }
        Ok(new)
    }
    /// Its mount options.
    pub fn options(&self) -> &DevptsOptions {
        &self.options
    }
    /// A file system to be mounted at /dev/pts.
    pub fn superblock(self: &Arc<Self>) -> Arc<SuperBlock> {
        SuperBlock::new(self.root(), "devpts", &self.options.text())
    }
    /// The terminal that /dev/console stands for.
    pub fn console(&self) -> Option<Arc<Pty>> {
        self.console.lock().as_ref()?.upgrade()
    }
    /// Makes a terminal /dev/console.
    pub fn set_console(&self, pty: &Arc<Pty>) {
        *self.console.lock() = Some(Arc::downgrade(pty));
    }
    /// The root directory.
    pub fn root(self: &Arc<Self>) -> InodeRef {
        PseudoDir::new(
            Attr::owned(self.fs, 0o755, ROOT_INO, (0, 0)),
            Root(self.clone()),
        )
    }
    /// A new pair, owned by the caller.
    pub(super) fn new_pty(self: &Arc<Self>, cx: &dyn Caller) -> Result<Arc<Pty>> {
        let index = {
            let mut t = self.table.lock();
            let index = (0..self.options.max)
                .find(|i| !t.used.contains_key(i))
                .ok_or(Errno::ENOSPC)?;
            let charge = PAIRS.charge(1).ok_or(Errno::ENOSPC)?;
            t.used.insert(index, charge);
            index
        };
        let creds = cx.credentials();
        let pty = Pty::new(
            self.clone(),
            index,
            self.options.mode,
            self.options.uid.unwrap_or(creds.fsuid),
            self.options.gid.unwrap_or(creds.fsgid),
        );
        let weak = Arc::downgrade(&pty);
        self.table.lock().nodes.insert(index, weak);
        Ok(pty)
    }
    /// The pair whose slave is `/dev/pts/index`, while its master is open.
    pub fn get(&self, index: u32) -> Option<Arc<Pty>> {
        let weak = self.table.lock().nodes.get(&index).cloned();
        weak?.upgrade()
    }
    /// Number of pairs.
    pub fn count(&self) -> usize {
        self.table.lock().used.len()
    }
    pub(super) fn remove_node(&self, index: u32) {
        self.table.lock().nodes.remove(&index);
    }
    pub(super) fn release_index(&self, index: u32) {
        let mut t = self.table.lock();
        t.used.remove(&index);
        t.nodes.remove(&index);
    }
    fn statfs(&self) -> StatFs {
        StatFs {
            magic: self.fs.magic,
            block_size: 4096,
            name_max: 255,
            ..StatFs::default()
        }
    }
}

/// What may be changed of a node.
#[derive(Clone, Copy)]
struct NodeAttr {
    perm: u32,
    uid: u32,
    gid: u32,
    /// atime, mtime, ctime.
    times: [Timestamp; 3],
}

struct Root(Arc<Devpts>);

impl Directory for Root {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        if name == b"ptmx" {
            return Ok(Arc::new(Ptmx {
                meta: InodeMeta::default(),
                devpts: self.0.clone(),
            }));
        }
        let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let index: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        if text != index.to_string() {
            return Err(Errno::ENOENT);
        }
        Ok(self.0.get(index).ok_or(Errno::ENOENT)?)
    }
    fn list(&self, _: &dyn Caller) -> Result<Vec<Child>> {
        let child = |ino: u64, name: String| Child {
            name: name.into_bytes(),
            ino,
            file_type: FileType::CharDevice,
            key: ino,
        };
        let mut out = vec![child(PTMX_INO, "ptmx".into())];
        let numbers: Vec<u32> = self.0.table.lock().nodes.keys().copied().collect();
        out.extend(
            numbers
                .into_iter()
                .map(|n| child(u64::from(n) + 3, n.to_string())),
        );
        Ok(out)
    }
}

struct Ptmx {
    meta: InodeMeta,
    devpts: Arc<Devpts>,
}

impl Inode for Ptmx {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        FileType::CharDevice
    }
    fn stat(&self) -> Result<Stat> {
        let a = *self.devpts.ptmx.lock();
        let [atime, mtime, ctime] = a.times;
        Ok(Stat {
            dev: self.devpts.fs.dev,
            ino: PTMX_INO,
            file_type: FileType::CharDevice,
            perm: a.perm,
            nlink: 1,
            uid: a.uid,
            gid: a.gid,
            rdev: makedev(5, 2),
            size: 0,
            blksize: 1024,
            blocks: 0,
            atime,
            mtime,
            ctime,
            btime: ctime,
        })
    }
    fn set_attr(&self, _cx: &dyn Caller, changes: &SetAttr) -> Result<()> {
        device_attr(changes, |c| {
            let now = Timestamp::now();
            let time = |t: SetTime| match t {
                SetTime::Now => now,
                SetTime::At(t) => t,
            };
            let mut a = self.devpts.ptmx.lock();
            a.perm = c.perm.unwrap_or(a.perm);
            a.uid = c.uid.unwrap_or(a.uid);
            a.gid = c.gid.unwrap_or(a.gid);
            let [atime, mtime, _] = a.times;
            a.times = [
                c.atime.map_or(atime, time),
                c.mtime.map_or(mtime, time),
                now,
            ];
            Ok(())
        })
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(self.devpts.statfs())
    }
    fn open(self: Arc<Self>, cx: &dyn Caller, _flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(Master::open(&self.devpts, cx)?))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// A device node has no size to change: O_TRUNC on it does nothing.
fn device_attr(changes: &SetAttr, set: impl FnOnce(&SetAttr) -> Result<()>) -> Result<()> {
    if changes.size.is_some() {
        return Ok(());
    }
    set(changes)
}

/// The slave's node.
impl Inode for Pty {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        FileType::CharDevice
    }
    fn stat(&self) -> Result<Stat> {
        Ok(self.with(|s| Stat {
            dev: self.devpts.fs.dev,
            ino: u64::from(self.index) + 3,
            file_type: FileType::CharDevice,
            perm: s.perm,
            nlink: 1,
            uid: s.uid,
            gid: s.gid,
            rdev: slave_device(self.index),
            size: 0,
            blksize: 1024,
            blocks: 0,
            atime: s.atime,
            mtime: s.mtime,
            ctime: s.ctime,
            btime: s.ctime,
        }))
    }
    fn set_attr(&self, _cx: &dyn Caller, changes: &SetAttr) -> Result<()> {
        device_attr(changes, |c| {
            let time = |t: SetTime| match t {
                SetTime::Now => coarse_now(),
                SetTime::At(t) => t,
            };
            self.with(|s| {
                s.perm = c.perm.unwrap_or(s.perm);
                s.uid = c.uid.unwrap_or(s.uid);
                s.gid = c.gid.unwrap_or(s.gid);
                s.atime = c.atime.map_or(s.atime, time);
                s.mtime = c.mtime.map_or(s.mtime, time);
                s.ctime = Timestamp::now();
            });
            Ok(())
        })
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(self.devpts.statfs())
    }
    fn open(self: Arc<Self>, cx: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(Slave::open(&self, cx, flags)?))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
