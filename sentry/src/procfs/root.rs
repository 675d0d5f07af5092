//! The top directory: static files, then a directory per process.

use super::{Proc, net, pid, sys, system, sysvipc};
use crate::abi::{Errno, Result};
use crate::fs::pseudo::{Attr, Child, Directory, PseudoDir, PseudoLink, StaticDir};
pub(super) use crate::kernel::task_of;
use crate::vfs::{Caller, FileType, InodeRef};

/// Listing keys of processes lie above those of the static files.
const PID_KEYS: u64 = 256;

struct Root {
    proc: Proc,
    fixed: StaticDir,
}

pub(super) fn make(proc: &Proc) -> InodeRef {
    let mut fixed = StaticDir::new();
    let link =
        |f: fn(&dyn Caller) -> Result<Vec<u8>>| PseudoLink::new(Attr::new(proc.fs, 0o777), f);
    fixed.add(
        "self",
        link(|cx| {
            Ok(task_of(cx)
                .ok_or(Errno::ENOENT)?
                .group()
                .pid()
                .to_string()
                .into_bytes())
        }),
    );
    fixed.add(
        "thread-self",
        link(|cx| {
            let t = task_of(cx).ok_or(Errno::ENOENT)?;
            Ok(format!("{}/task/{}", t.group().pid(), t.tid()).into_bytes())
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
    net::register();
    PseudoDir::new(
        Attr::owned(proc.fs, 0o555, 1, (0, 0)),
        Root {
            proc: proc.clone(),
            fixed,
        },
    )
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
        for g in self.proc.kernel()?.processes() {
            let pid = g.pid();
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
