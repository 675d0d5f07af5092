//! /proc/sysvipc: the System V objects of the sandbox, one line each (proc_sysvipc_msg(5) and its siblings).

use super::Proc;
use crate::abi::Result;
use crate::auth::UserNamespace;
use crate::fs::pseudo::{Attr, PseudoFile, StaticDir};
use crate::kernel::ipc::{Object, State, Table};
use crate::kernel::namespaces::Ipc;
use crate::kernel::{Kernel, PidNamespace, task_of};
use crate::vfs::{Caller, InodeRef};
use std::sync::Arc;

/// File name and what generates it.
type Entry = (&'static str, fn(&Reader) -> String);

/// Who reads: objects are those of its IPC namespace, ids are called as in its others.
struct Reader {
    ipc: Arc<Ipc>,
    user_ns: Arc<UserNamespace>,
    pid_ns: Arc<PidNamespace>,
    kernel: Arc<Kernel>,
}

impl Reader {
    fn user(&self, user: u32) -> u32 {
        self.user_ns.show_user(user)
    }
    fn group(&self, group: u32) -> u32 {
        self.user_ns.show_group(group)
    }
    fn pid(&self, pid: i32) -> i32 {
        self.kernel.pid_seen(&self.pid_ns, pid)
    }
}

const FILES: &[Entry] = &[("msg", msg), ("sem", sem), ("shm", shm)];

pub(super) fn make(proc: &Proc) -> InodeRef {
    let mut dir = StaticDir::new();
    for (name, text) in FILES {
        let p = proc.clone();
        let content = move |cx: &dyn Caller| -> Result<Vec<u8>> {
            let kernel = p.kernel()?;
            let task = task_of(cx);
            let own = task.map_or_else(|| kernel.namespaces.clone(), |t| t.namespaces());
            let reader = Reader {
                ipc: own.ipc.clone(),
                user_ns: cx.credentials().user_ns.clone(),
                pid_ns: p.ns.clone(),
                kernel,
            };
            Ok(text(&reader).into_bytes())
        };
        dir.add(name, PseudoFile::new(Attr::new(proc.fs, 0o444), content));
    }
    dir.into_inode(Attr::new(proc.fs, 0o555))
}

fn lines<S>(
    head: &str,
    table: &Table<S>,
    line: impl Fn(&Object<S>, &State<S>) -> String,
) -> String {
    let mut out = format!("{head}\n");
    for object in table.all() {
        let state = object.state.lock();
        if !state.removed {
            out.push_str(&line(&object, &state));
            out.push('\n');
        }
    }
    out
}

fn msg(r: &Reader) -> String {
    let head = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime";
    lines(head, &r.ipc.objects.msg, |o, s| {
        let (p, d) = (&s.perm, &s.data);
        format!(
            "{:10} {:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}",
            p.key,
            o.id,
            p.mode,
            d.bytes,
            d.messages.len(),
            r.pid(d.lspid),
            r.pid(d.lrpid),
            r.user(p.uid),
            r.group(p.gid),
            r.user(p.cuid),
            r.group(p.cgid),
            d.stime,
            d.rtime,
            d.ctime
        )
    })
}

fn sem(r: &Reader) -> String {
    let head =
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime";
    lines(head, &r.ipc.objects.sem, |o, s| {
        let (p, d) = (&s.perm, &s.data);
        format!(
            "{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}",
            p.key,
            o.id,
            p.mode,
            d.sems.len(),
            r.user(p.uid),
            r.group(p.gid),
            r.user(p.cuid),
            r.group(p.cgid),
            d.otime,
            d.ctime
        )
    })
}

/// How much of a segment is resident is not known here: shown as 0.
fn shm(r: &Reader) -> String {
    r.ipc.objects.reap_segments();
    let head = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap";
    lines(head, &r.ipc.objects.shm, |o, s| {
        let (p, d) = (&s.perm, &s.data);
        format!(
            "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
            p.key,
            o.id,
            p.mode,
            d.size,
            r.pid(d.cpid),
            r.pid(d.lpid),
            d.attached(),
            r.user(p.uid),
            r.group(p.gid),
            r.user(p.cuid),
            r.group(p.cgid),
            d.atime,
            d.dtime,
            d.ctime,
            0,
            0
        )
    })
}
