//! The top directory: static files, then a directory per process.

use super::{Proc, pid, sys, system, sysvipc};
use crate::abi::{Errno, Result};
use crate::fs::pseudo::{Attr, Child, Directory, PseudoDir, PseudoLink, StaticDir};
pub(super) use crate::kernel::task_of;
use crate::kernel::{PidNamespace, Task, ThreadGroup};
use crate::vfs::{Caller, FileType, InodeRef};
use std::sync::Arc;

/// Listing keys of processes lie above those of the static files.
const PID_KEYS: u64 = 256;

struct Root {
    proc: Proc,
    fixed: StaticDir,
}

pub(super) fn make(proc: &Proc) -> InodeRef {
    let mut fixed = StaticDir::new();
    let link = |f: fn(&PidNamespace, &dyn Caller) -> Result<Vec<u8>>| {
        let ns = proc.ns.clone();
        let text = move |cx: &dyn Caller| f(&ns, cx);
        PseudoLink::new(Attr::new(proc.fs, 0o777), text)
    };
    fixed.add(
        "self",
        link(|ns, cx| {
            let t = task_of(cx).ok_or(Errno::ENOENT)?;
            Ok(number(ns, t, t.group().pid())?.to_string().into_bytes())
        }),
    );
    fixed.add(
        "thread-self",
        link(|ns, cx| {
            let t = task_of(cx).ok_or(Errno::ENOENT)?;
            let pid = number(ns, t, t.group().pid())?;
            Ok(format!("{pid}/task/{}", number(ns, t, t.tid())?).into_bytes())
        }),
    );
    fixed.add(
        "mounts",
        PseudoLink::fixed(Attr::new(proc.fs, 0o777), "self/mounts"),
    );
    fixed.add(
        "net",
        PseudoLink::fixed(Attr::new(proc.fs, 0o777), "self/net"),
    );
    system::add(proc, &mut fixed);
    fixed.add("sys", sys::make(proc));
    fixed.add("sysvipc", sysvipc::make(proc));
    PseudoDir::new(
        Attr::owned(proc.fs, 0o555, 1, (0, 0)),
        Root {
            proc: proc.clone(),
            fixed,
        },
    )
}

/// What a task's number is where the file system was mounted; ENOENT if it is not seen there.
fn number(ns: &PidNamespace, task: &Task, pid: i32) -> Result<i32> {
    match task.kernel().pid_seen(ns, pid) {
        0 => Err(Errno::ENOENT),
        n => Ok(n),
    }
}

impl Directory for Root {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        if let Some(i) = self.fixed.find(name) {
            return Ok(i);
        }
        pid::lookup(&self.proc, pid::parse(name).ok_or(Errno::ENOENT)?)
    }
    fn list(&self, _: &dyn Caller) -> Result<Vec<Child>> {
        let mut all = self.fixed.children();
        let kernel = self.proc.kernel()?;
        let seen = |g: &Arc<ThreadGroup>| kernel.pid_seen(&self.proc.ns, g.pid());
        let mut pids: Vec<i32> = kernel.processes().iter().map(seen).collect();
        pids.retain(|pid| *pid != 0);
        pids.sort_unstable();
        for pid in pids {
            all.push(Child {
                name: pid.to_string().into_bytes(),
                ino: pid::ino(pid, 0),
                file_type: FileType::Directory,
                key: PID_KEYS + u64::from(pid.unsigned_abs()),
            });
        }
        Ok(all)
    }
}
